package proxy

import "net/http"

// Trailers come when the head is long gone, and some recipients merge them into it all the same. So none passes that
// means something there (RFC 9110 §6.5.1): what frames the message or ends with the connection, what authenticates,
// redirects or says how long to keep the answer, and what only we may say. What an app tells at the end, as gRPC's
// status or a digest, does.

// headAlone are the folded names of such fields, in addition to those that only the gate may set in a request.
var headAlone = [...]string{
	"te", "expect", "max-forwards", "range", "accept-ranges",
	"authorization", "www-authenticate", "authentication-info", "dpop", "dpop-nonce", "cookie", "set-cookie",
	"set-cookie2",
	"age", "cache-control", "cdn-cache-control", "surrogate-control", "expires", "date", "pragma", "vary", "warning",
	"location", "refresh", "retry-after", "alt-svc", "clear-site-data", "x-sendfile",
	"content-type", "content-encoding", "content-range", "content-location", "content-disposition", "content-language",
	"content-security-policy", "content-security-policy-report-only", "strict-transport-security", "x-frame-options",
	"x-content-type-options",
}

// trail takes out of an answer's trailers, or of their announcement, what must not pass; hops are those of its head.
func (g *Gate) trail(trailer http.Header, hops hops) {
	var room [maxFold]byte
	for name := range trailer {
		folded := fold(room[:0], name)
		if g.fields.head.has(folded) || hops.list(name) || g.fields.ours(folded) || folds(folded, "access-control-") ||
			folds(folded, "x-accel-") {
			delete(trailer, name)
		}
	}
}
