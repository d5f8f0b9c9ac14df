package h2

import (
	"net/textproto"
	"strings"

	"github.com/jotgate/jotgate/internal/grammar"
)

// Both spellings of names that requests and answers often have: HTTP/2's is in lower case (RFC 9113 section 8.2.1).
var canonicals, lowered = spellings(
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Access-Control-Allow-Credentials",
	"Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers",
	"Access-Control-Max-Age", "Access-Control-Request-Headers", "Access-Control-Request-Method", "Age", "Allow",
	"Authorization",
	"Cache-Control", "Connection", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length",
	"Content-Location",
	"Content-Range", "Content-Security-Policy", "Content-Type", "Cookie", "Date", "Dnt", "Dpop", "Dpop-Nonce", "Etag",
	"Expect", "Expires",
	"Forwarded", "From", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since",
	"Keep-Alive",
	"Last-Modified", "Link", "Location", "Max-Forwards", "Origin", "Pragma", "Priority", "Proxy-Authenticate",
	"Proxy-Authorization",
	"Proxy-Connection", "Range", "Referer", "Refresh", "Retry-After", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile",
	"Sec-Ch-Ua-Platform",
	"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Server", "Set-Cookie",
	"Strict-Transport-Security", "Te",
	"Traceparent", "Tracestate", "Trailer", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent",
	"Vary", "Via",
	"Www-Authenticate", "X-Content-Type-Options", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
	"X-Frame-Options",
	"X-Request-Id", "X-Requested-With",
)

func spellings(names ...string) (canonicals, lowered map[string]string) {
	canonicals, lowered = make(map[string]string, len(names)), make(map[string]string, len(names))
	for _, name := range names {
		low := strings.ToLower(name)
		canonicals[low], lowered[name] = name, low
	}
	return canonicals, lowered
}

// canonicalName is a name as net/http's headers have it; "" for one that is no token in lower case.
func canonicalName(name string) string {
	if canonical, ok := canonicals[name]; ok {
		return canonical
	}
	if !grammar.IsToken(name) {
		return ""
	}
	for i := range len(name) {
		if 'A' <= name[i] && name[i] <= 'Z' {
			return ""
		}
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// lowerName is the other way.
func lowerName(name string) string {
	if low, ok := lowered[name]; ok {
		return low
	}
	return strings.ToLower(name)
}
