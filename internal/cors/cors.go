// Package cors is the CORS protocol of the Fetch standard (https://fetch.spec.whatwg.org/, "CORS protocol"), as the
// gate speaks it for the apps behind it: which fields an answer has for a script of another origin, and the answers to
// preflights. Names in quotes in this package are those of the standard's sections.
//
// It decides nothing about access. A script of an origin that is not allowed gets no field, and so the browser keeps
// the answer from it; whether the request is allowed is the gate's verdict on its token.
package cors

import (
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings say what scripts of other origins may do.
type Settings struct {
	// Origins are serialized as browsers send them, scheme://host with a port that is not the scheme's own. The host may
	// begin with "*.", which stands for exactly one label; "*" alone is every origin.
	Origins     []string
	Methods     []string // nil: those of what the request is for
	Headers     []string // request fields that scripts may set; "*" is any
	Expose      []string // response fields that scripts may read, beside those that are always exposed
	Credentials bool     // cookies may be sent; not with the origin "*"
	MaxAge      time.Duration
}

// exposed are the fields that the gate itself sets and that a script needs: why it was refused, when to try again, and
// what to name in a report.
const exposed = "WWW-Authenticate, DPoP-Nonce, Retry-After, X-Request-Id"

// A Policy is compiled settings. The nil Policy does not speak CORS. It is immutable.
type Policy struct {
	any         bool
	exact       map[string]bool
	patterns    []pattern
	methods     string
	headers     string
	expose      string
	credentials bool
	maxAge      string
}

// A pattern is an origin whose host begins with "*.".
type pattern struct{ before, after string }

// New compiles settings that were checked.
func New(s Settings) *Policy {
	p := &Policy{
		exact: map[string]bool{}, methods: strings.Join(s.Methods, ", "), headers: strings.Join(s.Headers, ", "),
		credentials: s.Credentials, maxAge: strconv.FormatInt(int64(s.MaxAge/time.Second), 10),
		expose: strings.Join(slices.Concat([]string{exposed}, s.Expose), ", "),
	}
	if slices.Contains(s.Headers, "*") {
		p.headers = "*, Authorization" // "CORS non-wildcard request-header name": the wildcard is not for Authorization
	}
	for _, origin := range s.Origins {
		before, after, wild := strings.Cut(origin, "*")
		switch {
		case origin == "*":
			p.any = true
		case wild:
			p.patterns = append(p.patterns, pattern{before, after})
		default:
			p.exact[origin] = true
		}
	}
	return p
}

// public is the policy of documents that everybody may read.
var public = &Policy{any: true, headers: "*", expose: exposed, maxAge: "86400"}

// Public returns the policy of public documents: every origin, without credentials.
func Public() *Policy { return public }

// longestOrigin is above what a browser sends: a host name has at most 253 bytes.
const longestOrigin = 512

// allows reports whether scripts of an origin may read answers, by the bytes of the serialized origin ("CORS check").
func (p *Policy) allows(origin string) bool {
	switch {
	case p.any || p.exact[origin]:
		return true
	case len(origin) > longestOrigin:
		return false
	}
	return slices.ContainsFunc(p.patterns, func(w pattern) bool { return w.matches(origin) })
}

// matches reports whether one label stands in the place of the "*".
func (w pattern) matches(origin string) bool {
	rest, ok := strings.CutPrefix(origin, w.before)
	if !ok {
		return false
	}
	label, ok := strings.CutSuffix(rest, w.after)
	return ok && label != "" && strings.IndexFunc(label, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}) < 0
}

// An Answer is what one answer says to scripts. The zero Answer leaves the answer as it is.
type Answer struct {
	policy *Policy
	origin string // the value of Access-Control-Allow-Origin; "": the request's origin is not allowed, or it has none

	methods string // of an answer to a preflight; "": it is another answer
}

// Answer returns what an answer to r says.
func (p *Policy) Answer(r *http.Request) Answer {
	if p == nil {
		return Answer{}
	}
	a := Answer{policy: p}
	origins := r.Header["Origin"]
	switch {
	case p.any && !p.credentials: // "HTTP responses": the wildcard suffices for requests without credentials
		a.origin = "*"
	case len(origins) == 1 && p.allows(origins[0]):
		a.origin = origins[0]
	}
	return a
}

// Speaks reports whether there is a policy.
func (a Answer) Speaks() bool { return a.policy != nil }

// Allowed reports whether the request's origin is allowed.
func (a Answer) Allowed() bool { return a.origin != "" }

const varyOrigin = "Origin"

// Apply replaces the CORS fields of a head with the policy's.
func (a Answer) Apply(h http.Header) {
	if a.policy == nil {
		return
	}
	for name := range h {
		if ofCORS(name) {
			delete(h, name)
		}
	}
	for name, value := range a.fields {
		h[name] = []string{value}
	}
	if !varies(h["Vary"]) {
		h["Vary"] = append(slices.Clip(h["Vary"]), varyOrigin)
	}
}

// Replace is Apply for the fields of a head that come as a sequence.
func (a Answer) Replace(fields iter.Seq2[string, string]) iter.Seq2[string, string] {
	if a.policy == nil {
		return fields
	}
	return func(yield func(string, string) bool) {
		var vary []string
		for name, value := range fields {
			if ofCORS(name) {
				continue
			}
			if name == "Vary" {
				vary = append(vary, value)
			}
			if !yield(name, value) {
				return
			}
		}
		for name, value := range a.fields {
			if !yield(name, value) {
				return
			}
		}
		if !varies(vary) {
			yield("Vary", varyOrigin)
		}
	}
}

// fields yields what a browser looks for: in an answer to a preflight, and in every other ("HTTP responses").
func (a Answer) fields(yield func(string, string) bool) {
	if a.origin == "" || !yield("Access-Control-Allow-Origin", a.origin) {
		return
	}
	p := a.policy
	if p.credentials && !yield("Access-Control-Allow-Credentials", "true") {
		return
	}
	if a.methods == "" {
		yield("Access-Control-Expose-Headers", p.expose)
		return
	}
	if !yield("Access-Control-Allow-Methods", a.methods) ||
		p.headers != "" && !yield("Access-Control-Allow-Headers", p.headers) {
		return
	}
	yield("Access-Control-Max-Age", p.maxAge)
}

func ofCORS(name string) bool { return strings.HasPrefix(name, "Access-Control-") }

// varies reports whether caches keep the answer for this origin alone already (RFC 9110 §12.5.5).
func varies(vary []string) bool {
	for _, line := range vary {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, varyOrigin) {
				return true
			}
		}
	}
	return false
}

// Asked returns the method of the request that r is a preflight of; "" if r is none ("HTTP requests").
func Asked(r *http.Request) string {
	if r.Method != http.MethodOptions || len(r.Header["Origin"]) != 1 {
		return ""
	}
	if methods := r.Header["Access-Control-Request-Method"]; len(methods) == 1 {
		return methods[0]
	}
	return ""
}

// Preflight returns what the answer to a preflight says, where these are the methods that the path takes. What the
// browser asks for is not looked at: the answer says what is allowed, the same for every question, and the browser
// compares ("CORS-preflight fetch").
func (a Answer) Preflight(methods []string) Answer {
	if a.methods = a.policy.methods; a.methods == "" {
		a.methods = strings.Join(methods, ", ")
	}
	return a
}
