package listen

import (
	"context"
	"net/http"
	"strconv"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// Refused is a request that was answered in front of every handler, for the log and the metrics.
type Refused struct {
	Reason    refusal.Reason
	Detail    string // the cause; never from the request's own bytes
	RequestID string // as the client was told
	Remote    string // the peer's address and port
	TLS       bool
}

func (ls *Listeners) refuse(w http.ResponseWriter, r *http.Request, why *refusal.Error) {
	id := request.NewID()
	w.Header().Set(request.RequestIDHeader, id)
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	request.Problem(w, why.Reason, id)
	if ls.refused != nil {
		ls.refused(Refused{Reason: why.Reason, Detail: why.Detail, RequestID: id, Remote: r.RemoteAddr, TLS: r.TLS != nil})
	}
}

// redirect answers every request 308, so that method and body are kept (RFC 9110 section 15.4.9), with the target as
// it was sent. It never looks further: a host that was no host name was refused before.
type redirect struct{ port int }

func (d redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI[0] != '/' { // OPTIONS * and CONNECT
		request.Problem(w, refusal.MethodUnsupported, request.NewID())
		return
	}
	w.Header().Set("Location", "https://"+withPort(r.Host, d.port)+r.RequestURI)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
}

// withPort replaces the port of a well-formed host.
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

type stoppingKey struct{}

// Stopping is the context that ends when the listeners stop: an upgraded stream, which no answer will end, should say
// goodbye and close then. It never ends for a request that came another way.
func Stopping(r *http.Request) context.Context {
	if ctx, ok := r.Context().Value(stoppingKey{}).(context.Context); ok {
		return ctx
	}
	return context.WithoutCancel(r.Context())
}
