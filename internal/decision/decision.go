// Package decision reads the questions of other proxies ("fronts") and writes the answers in the way that each of them
// understands: nginx's auth_request, Traefik's ForwardAuth, Caddy's forward_auth, HAProxy's Lua, and Envoy's ext_authz
// over HTTP and over gRPC. It judges nothing: the request that a question is about goes through the same steps as one
// that the gate forwards (package proxy).
//
// The path of a question names the front, so that what a header means is never guessed:
//
//	/nginx             X-Original-Method, and X-Original-URL or X-Original-URI with the question's Host
//	/traefik, /caddy,  X-Forwarded-Method, -Proto, -Host and -Uri
//	/haproxy
//	/envoy/…           the question's own method, Host and target behind /envoy
//	/envoy.service.auth.v3.Authorization/Check
//	                   a gRPC message; see envoy.go
//
// Each of these must be there exactly once. A front passes on what its client sent, so a second value, or a second way
// of saying the URL that says something else, is the client's, and the question is refused.
package decision

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A Question is a request that a front asks about.
type Question struct {
	Front   string        // nginx, traefik, caddy, haproxy or envoy; "" if the path names none
	Request *http.Request // the client's method, raw target, host and fields; it has no body
	Scheme  string        // http or https, as the client used it
	Source  netip.Addr    // of the front's peer, where the front says it beside X-Forwarded-For (Envoy); else not valid

	// Certificate is the client's, as Envoy says it (source.certificate: PEM, percent-encoded); "": none. It is not
	// verified here.
	Certificate string

	allow func(fields []Field, remove []string)
}

// A Field is a header field that the front sets on the request that it forwards. One without a value replaces what the
// client sent by nothing.
type Field struct{ Name, Value string }

// Allow makes the answer to come one that lets the front forward the request, with these fields and without those named
// in remove. It is to be followed by status 200.
func (q *Question) Allow(fields []Field, remove []string) { q.allow(fields, remove) }

// Options are the parameters of New. Both are required.
type Options struct {
	// From reports whether the peer may ask.
	From func(peer string) bool
	// Decide answers a question on w: after q.Allow with 200, else with the status of the refusal. err is the fault of a
	// question that could not be read; it is to be refused, and q has only what was read before it.
	Decide func(w http.ResponseWriter, q *Question, err error)
}

// New returns the handler of a decision listener.
func New(o Options) http.Handler { return handler{o} }

type handler struct{ Options }

// ServeHTTP answers one question.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if path == checkMethod {
		h.check(w, r)
		return
	}
	f, err := frontOf(path)
	q := &Question{Front: f.name, Request: r, Scheme: "http"}
	a := &answer{ResponseWriter: w, status: f.status}
	q.allow = a.allow
	if !h.From(r.RemoteAddr) {
		err = refusal.Because(refusal.FrontForbidden, "%s is not in decision.from", r.RemoteAddr)
	}
	if err == nil {
		err = f.read(q, r)
	}
	h.Decide(a, q, err)
}

// A front is how one proxy asks and is answered.
type front struct {
	name   string
	read   func(*Question, *http.Request) error
	status func(http.Header, int) int // the status that the front is given in the place of a refusal's own
}

func frontOf(path string) (front, error) {
	switch path {
	case "/nginx":
		return front{"nginx", readOriginal, statusOfNginx}, nil
	case "/traefik", "/caddy", "/haproxy":
		return front{path[1:], readForwarded, statusAsItIs}, nil
	}
	if strings.HasPrefix(path, envoyPrefix+"/") {
		return front{"envoy", readEnvoy, statusAsItIs}, nil
	}
	return front{status: statusAsItIs}, refusal.Because(refusal.RouteNotFound,
		"no front has this path; ask at /nginx, /traefik, /caddy, /haproxy or /envoy/")
}
