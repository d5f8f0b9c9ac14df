package listen

import (
	"net/http"
	"strconv"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// A redirect answers each request 308, which keeps method and body (RFC 9110 section 15.4.9), with the target as it was
// sent. The host is well formed: package h1 refuses others.
type redirect struct {
	port   int
	refuse func(http.ResponseWriter, *http.Request, *refusal.Error)
}

func (to redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI[0] != '/' { // OPTIONS * and CONNECT
		to.refuse(w, r, &refusal.Error{Reason: refusal.MethodUnsupported, Detail: "no path to redirect"})
		return
	}
	if r.Host == "" { // HTTP/1.0
		to.refuse(w, r, &refusal.Error{Reason: refusal.HostMalformed, Detail: "no host to redirect to"})
		return
	}
	w.Header().Set("Location", "https://"+withPort(r.Host, to.port)+r.RequestURI)
	w.Header().Set("Content-Length", "0")
	w.Header().Set(request.RequestIDHeader, request.NewID())
	w.WriteHeader(http.StatusPermanentRedirect)
}

// withPort returns a well-formed host with another port.
func withPort(host string, port int) string {
	end := len(host)
	for i := len(host) - 1; i >= 0 && host[i] != ']'; i-- {
		if host[i] == ':' {
			end = i
			break
		}
	}
	if port == 0 || port == 443 {
		return host[:end]
	}
	return host[:end] + ":" + strconv.Itoa(port)
}
