package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/revoke"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/proxy"
)

// A Judge judges requests as a gate of its configuration would, and sends none: for `jotgate check` and `jotgate
// explain`. It binds nothing, writes nothing and fetches nothing: it knows what the file of revocations says, but
// neither what a shared store knows nor the keys that a trusted issuer publishes.
type Judge struct {
	server *Gate
	snap   *snapshot
}

// NewJudge makes a judge; the error is that of a gate that could not be built. Close it.
func NewJudge(c *config.Config, clock func() time.Time) (*Judge, error) {
	quiet := &telemetry.Log{Logger: zap.NewNop(), Audit: zap.NewNop()}
	dry := *c
	dry.Revocations.File = "" // a running gate may hold it: it is only read
	dry.Redis = nil           // nothing is asked of the store
	m, err := newMemory(&dry, quiet, clock)
	if err != nil {
		return nil, err
	}
	if c.Revocations.File != "" && !c.Revocations.Shared {
		m.revocations, err = revoke.Read(revoke.Options{
			File: c.Revocations.File, Capacity: c.Revocations.Capacity, Clients: len(clients(c)), Clock: clock,
		})
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	s := &Gate{dry: true, log: quiet, clock: clock, drain: make(chan struct{}), memory: m}
	snap, err := s.build(c)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return &Judge{s, snap}, nil
}

// Policy runs the configuration's tests; the error is [config.Faults], one for each that fails.
func (j *Judge) Policy() error { return j.snap.policy(j.server.clock()) }

// Trace tells how a request, or a token alone, would be judged.
func (j *Judge) Trace(q Question) (*proxy.Trace, error) { return j.snap.answer(q, j.server.clock()) }

// Close lets go of what the judge holds.
func (j *Judge) Close() error {
	j.snap.close()
	return j.server.memory.close()
}

// Trace tells how a request, or a token alone, would be judged now.
func (g *Gate) Trace(q Question) (*proxy.Trace, error) {
	return g.snapshot.Load().answer(q, g.clock())
}

// explain answers the questions that come to admin.
func (g *Gate) explain(q admin.Question) (any, error) {
	if q.RequestID != "" {
		kept := g.Refusal(q.RequestID)
		if kept == nil {
			return nil, refusal.Because(refusal.RouteNotFound,
				"no refusal with this request id is kept: it was not refused here, or is older than the last %d (admin.refusals)",
				g.Config().Admin.Refusals)
		}
		return json.RawMessage(kept), nil
	}
	return g.Trace(Question{
		Request: q.Request, Header: q.Headers, Token: q.Token, Unverified: q.Unverified,
		Listener: q.Listener,
	})
}

// A Question is what an operator asks about a decision: about a request, or about a token alone.
type Question struct {
	Request    string      // "GET https://host/path"; "" asks about the token alone
	Header     http.Header // of the request, by canonical names
	Token      string      // compact; "" is a request without one
	Unverified bool        // neither its key nor its signature is looked at
	Listener   string      // that the request comes in on; "" is the first one
}

func (snap *snapshot) answer(q Question, now time.Time) (*proxy.Trace, error) {
	if q.Request == "" {
		return snap.gate.TraceToken(q.Token, q.Unverified), nil
	}
	method, url, _ := strings.Cut(q.Request, " ")
	if err := config.CheckRequest(q.Request); err != nil {
		return nil, err
	}
	if known := snap.config.RouteListeners(); q.Listener != "" && !slices.Contains(known, q.Listener) {
		return nil, fmt.Errorf("no listener has the name %.80q; write one of %s", q.Listener, strings.Join(known, ", "))
	}
	r := newRequest(method, url, q.Header)
	if q.Token != "" {
		scheme := "Bearer "
		if len(r.Header[dpop.Header]) > 0 {
			scheme = "DPoP "
		}
		r.Header["Authorization"] = append(r.Header["Authorization"], scheme+q.Token)
	}
	return snap.trace(r, q.Listener, proxy.Bearer{Unverified: q.Unverified}, now), nil
}

// trace judges a request by the chain in chain.go, but for what comes from a socket, and by the gate.
func (snap *snapshot) trace(r *http.Request, listener string, as proxy.Bearer, now time.Time) *proxy.Trace {
	x := new(request.Exchange)
	x.Begin(silent{http.Header{}}, now)
	x.Scheme, x.Listener = r.URL.Scheme, listener
	if err := snap.admit(x, r); err != nil {
		return proxy.Refused("request", err)
	}
	if snap.owns(x, r) {
		return &proxy.Trace{Own: true, Steps: []proxy.Step{{
			Check: "route", Outcome: proxy.StepSkipped,
			Detail: "one of the issuer's own endpoints answers this; no route decides",
		}}}
	}
	return snap.gate.Trace(x, r, as)
}

// newRequest is one that came on no socket. The URL was checked.
func newRequest(method, url string, header http.Header) *http.Request {
	scheme, rest, _ := strings.Cut(url, "://")
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	if target[0] == '?' {
		target = "/" + target
	}
	r, err := http.NewRequest(method, scheme+"://"+host, nil)
	if err != nil { // the URL was checked, and the method is judged by the gate
		r = &http.Request{Method: method}
	}
	r.Host, r.RequestURI = host, target
	if u, err := r.URL.Parse(target); err == nil {
		r.URL = u
	}
	if r.Header = header.Clone(); r.Header == nil {
		r.Header = http.Header{}
	}
	return r
}

// silent is an answer that is not sent.
type silent struct{ header http.Header }

func (s silent) Header() http.Header       { return s.header }
func (silent) Write(p []byte) (int, error) { return len(p), nil }
func (silent) WriteHeader(int)             {}
