// Package admin is the operator's side of a running gate, on listeners of its own: is it alive, is it ready, and what
// is to be revoked.
//
// Health needs no token; whatever else comes to live here does, on loopback too, since a browser on the same machine is
// led to loopback addresses by any web page (hence the check of the Host header as well).
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// Options are what an admin handler stands on.
type Options struct {
	Token func() string // the present admin.token; "" refuses everything but health
	Ready func() error  // nil: ready; else why not
	// Warnings are what an operator should see to although the gate is ready, one line each. nil: there are never any.
	Warnings func() []string

	Revocations Revocations // nil: nothing can be revoked
	// Audit is told of each revocation and of each that failed, with the request that asked for it; required with
	// Revocations.
	Audit func(r *http.Request, w Revocation, err error)
	// Refused is told of each request that did not get past the token, and of the id that its answer has; nil: no one is.
	Refused func(r *http.Request, reason refusal.Reason, requestID string)

	Refusals func(q RefusalQuery) RefusalPage // nil: none are listed

	// Console serves pages for browsers at / and below /console/, as long as ConsoleOn says so; nil: there are none. It
	// signs in by itself, and is asked only what names this listener as its host.
	Console   http.Handler
	ConsoleOn func() bool

	Metrics http.Handler                  // answers scrapes, without a token; nil: there are none
	Explain func(q Question) (any, error) // nil: nothing is explained; its error is about the question

	Reload     func() error             // nil: there is no POST /reload; its error is what is wrong with the file
	Widen      func() error             // Reload that may open what is closed (reload.deny_widening); required with Reload
	LastReload func() *LastReload       // required with Reload; its nil: there was none
	LogLevel   func(level string) error // nil: there is no PUT /log-level
	Profile    func() bool              // whether profiles are given, now; nil: never
}

// New makes the handler of an admin listener. Another method than a path has is 405, another path 404.
//
//	GET /healthz  200 while the process answers
//	GET /readyz   200 while it wants requests, 503 with the reason while it does not (starting, draining); the 200 has a
//	              line for each thing amiss that most requests do not suffer from, as a trusted issuer that is down
//	GET /metrics  200 with what Prometheus scrapes
//	POST /revocations  204 once a revocation is durable and in force; needs the token
//	GET /revocations   200 with a page of what is revoked, as JSON; needs the token
//	DELETE /revocations/ID  204 once it is durable that a mark is undone; needs the token
//	GET /refusals      200 with a page of recent refusals, the latest first, as JSON; needs the token
//	POST /explain      200 with the trace of a decision, as JSON; needs the token
//	POST /reload       204 when the file is in force, 409 with its faults when nothing has changed; needs the token;
//	                   {"allow_widening": true} allows what reload.deny_widening denies
//	GET /reload        200 with what came of the latest one, whatever caused it, as JSON; needs the token
//	PUT /log-level     204, {"level": "debug"} holds until the next reload; needs the token
//	GET /, /console/   the console's pages, where there is one and it is on; they sign in by themselves
//	GET /debug/pprof/  the runtime's profiles, where admin.pprof allows it; needs the token
func New(o Options) http.Handler {
	open := health(o)
	if o.Metrics != nil {
		open.add("/metrics", http.MethodGet, o.Metrics.ServeHTTP)
	}
	mux, rest := open.mux(), guarded(o, operator(o))
	mux.Handle("/", rest)
	if o.Console != nil {
		pages := console(o, rest)
		mux.Handle("/{$}", pages)
		mux.Handle("/console/", pages)
	}
	return identified(mux)
}

// identified gives each answer that is an error an id, whatever wrote it. A request with a body is the last of its
// connection: the server waits for no rest of a body that nothing reads.
func identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(answer{w}, r)
	})
}

type answer struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a answer) WriteHeader(status int) {
	if h := a.Header(); status >= http.StatusBadRequest && h.Get(request.RequestIDHeader) == "" {
		h.Set(request.RequestIDHeader, request.NewID())
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// console serves the pages while they are on, and otherwise what is there without them.
func console(o Options, otherwise http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !o.ConsoleOn():
			otherwise.ServeHTTP(w, r)
		case !hostIsOurs(r.Host):
			refuse(o, w, r, refusal.HostMalformed)
		default:
			o.Console.ServeHTTP(w, r)
		}
	})
}

// NewHealth makes the handler of a listener that serves the health checks alone.
func NewHealth(o Options) http.Handler {
	mux := health(o).mux()
	mux.HandleFunc("/", notFound)
	return identified(mux)
}

// NewMetrics makes the handler of a listener that serves the metrics alone.
func NewMetrics(metrics http.Handler) http.Handler {
	p := pages{}
	p.add("/metrics", http.MethodGet, metrics.ServeHTTP)
	mux := p.mux()
	mux.HandleFunc("/", notFound)
	return identified(mux)
}

// pages are handlers by path and method; GET is HEAD too.
type pages map[string]map[string]http.HandlerFunc

func (p pages) add(path, method string, handle http.HandlerFunc) {
	if p[path] == nil {
		p[path] = map[string]http.HandlerFunc{}
	}
	p[path][method] = handle
}

// mux answers a method that a path lacks with 405 and Allow (RFC 9110 §15.5.6).
func (p pages) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for path, methods := range p {
		var allowed []string
		for method := range methods {
			if allowed = append(allowed, method); method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		slices.Sort(allowed)
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			if handle := methods[method]; handle != nil {
				handle(w, r)
				return
			}
			w.Header().Set("Allow", allow)
			request.Problem(w, refusal.MethodNotAllowed, request.NewID())
		})
	}
	return mux
}

func health(o Options) pages {
	p := pages{}
	p.add("/healthz", http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	p.add("/readyz", http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		body := "ready\n"
		if o.Warnings != nil {
			for _, warning := range o.Warnings() {
				body += "warning: " + warning + "\n"
			}
		}
		plain(w, http.StatusOK, body)
	})
	return p
}

// operator is what needs the token.
func operator(o Options) http.Handler {
	revoking := func(w http.ResponseWriter, _ *http.Request) {
		request.Problem(w, refusal.RevocationOff, request.NewID())
	}
	listing, undoing := revoking, revoking
	if o.Revocations != nil {
		revoking = postRevocation(o.Revocations, o.Audit)
		listing = getRevocations(o.Revocations)
		undoing = deleteRevocation(o.Revocations, o.Audit)
	}
	p := pages{}
	p.add(RevocationsPath, http.MethodPost, revoking)
	p.add(RevocationsPath, http.MethodGet, listing)
	p.add(RevocationsPath+"/", http.MethodDelete, undoing)
	if o.Refusals != nil {
		p.add(RefusalsPath, http.MethodGet, getRefusals(o.Refusals))
	}
	if o.Explain != nil {
		p.add(ExplainPath, http.MethodPost, explain(o.Explain))
	}
	if o.Reload != nil {
		p.add(ReloadPath, http.MethodPost, reload(o.Reload, o.Widen))
		p.add(ReloadPath, http.MethodGet, lastReload(o.LastReload))
	}
	if o.LogLevel != nil {
		p.add(LogLevelPath, http.MethodPut, setLevel(o.LogLevel))
	}
	if o.Profile != nil {
		p.add(profilePath, http.MethodGet, profile(o.Profile))
	}
	mux := p.mux()
	mux.HandleFunc("/", notFound)
	return mux
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	request.Problem(w, refusal.RouteNotFound, request.NewID())
}

// guarded lets through only requests that bring the admin token and name this listener as their host.
func guarded(o Options, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reason := refusal.HostMalformed
		if hostIsOurs(r.Host) {
			reason = judge(r.Header.Values("Authorization"), o.Token())
		}
		if reason == "" {
			next.ServeHTTP(w, r)
			return
		}
		refuse(o, w, r, reason)
	})
}

func refuse(o Options, w http.ResponseWriter, r *http.Request, reason refusal.Reason) {
	id := request.NewID()
	if o.Refused != nil {
		o.Refused(r, reason, id)
	}
	request.Problem(w, reason, id)
}

func judge(authorization []string, want string) refusal.Reason {
	switch len(authorization) {
	case 0:
		return refusal.TokenMissing
	case 1:
	default:
		return refusal.CredentialsMultiple
	}
	scheme, got, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return refusal.TokenSchemeUnsupported
	}
	// Digests are compared, so that the time taken does not tell the token's length either.
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	if subtle.ConstantTimeCompare(g[:], w[:]) != 1 || want == "" {
		return refusal.TokenSignatureInvalid
	}
	return ""
}

// hostIsOurs refuses the names that DNS rebinding needs: only addresses and localhost name an admin listener.
func hostIsOurs(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Zone() == ""
}

func plain(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a client that is gone cannot be told
}
