// Package proxy is the gate: it lets a request through to its upstream only if the request's bearer token allows what
// its route asks for.
//
// A request is judged by one route, one token and one rule, and what was judged is what is sent. The function steps
// lists the checks, each in a file of its own; the gate, explain and the tests of a policy walk that list:
//
//	route       the most specific route for host and path, then the method         (step_route.go)
//	bearer      exactly one bearer token, in the Authorization header (RFC 6750)   (step_credential.go)
//	token       from the cache of verified ones or verified anew (RFC 7519); then
//	            its times, its kind, revocations and its audience                  (step_token.go, cache.go)
//	proof       of the key that the token is bound to, if it is (RFC 9449)         (step_proof.go)
//	grant       what the token is worth here, by its grantor or its issuer         (step_grant.go)
//	tenant      the tenant that the request is about                               (step_tenant.go)
//	permission  the first entry for that tenant decides                            (step_permission.go)
//
// Then headers of ours replace the client's, and the request goes to the upstream (headers.go, forward.go,
// upgrade.go). So does a request that a route in shadow would refuse (shadow.go). What is cached is never a verdict:
// time, revocation, audience and permission are judged on every request, on a cached token too.
//
// Requests go on as they came: the raw target, the Host field, the body as it streams (RFC 9110, RFC 9112). Removed are
// fields for one hop (RFC 9110 §7.6.1) and every spelling of a field that only we may set, on public routes too.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/ticket"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/trust"
	"github.com/jotgate/jotgate/internal/upstream"
)

// Options are what a gate is made of. Config, Verifier, Cache and Upstreams are required.
type Options struct {
	Config      *config.Config
	Verifier    *jose.Verifier  // of this Config's issuers
	Cache       *Cache          // outlives reloads
	Upstreams   *upstream.Pools // outlives reloads
	Rates       *Rates          // outlives reloads; nil: new ones
	SharedRates SharedRates     // nil: rate limits count in Rates alone
	Revocations Revocations     // nil: nothing is revoked
	Proofs      *dpop.Checker   // nil: no token that is bound to a key is let in
	Tickets     *Tickets        // nil: no ticket is drawn or taken
	Clock       func() time.Time

	// Draining ends when upgraded streams are to end, because the process is about to. nil: never.
	Draining context.Context
	// Sign makes the compact JWS of an assertion for an upstream. nil: the issuer's first key, if there is one.
	Sign func(typ string, claims []byte) (string, error)

	// Offline says that the keys that other issuers publish are not fetched, as in `jotgate explain`.
	Offline bool

	further []step // of tests: they follow all others
}

// Revocations knows what was revoked; both methods refuse with [refusal.TokenRevoked].
type Revocations interface {
	Check(c *token.Claims, keyID string) error
	CheckTenant(c *token.Claims, tenant string) error
}

// A Gate judges requests by one configuration. It is immutable and safe for concurrent use.
type Gate struct {
	table        func(listener string) *route.Table[*config.Route]
	listed       *route.Table[*config.Route] // any listener's: all know the same methods
	routes       []*config.Route             // in the file's order
	plans        []plan                      // by the routes' places in the file
	trust        *trust.Policy
	fields       *fields
	tenants      tenantNames
	limits       config.Limits
	verifier     *jose.Verifier
	cache        *Cache
	revocations  Revocations
	proofs       *dpop.Checker
	tickets      *Tickets // nil: there are none
	leeway       time.Duration
	clock        func() time.Time
	draining     context.Context
	sign         func(typ string, claims []byte) (string, error)
	issuer       string       // ours, for assertions
	cors         *cors.Policy // of what no route decides
	speaksCORS   bool         // here, or on some route
	forwardings  sync.Pool    // of *forwarding
	inbounds     sync.Pool    // of *inbound
	choosing     step         // of the route
	further      []step       // of tests
	offline      bool
	claims       []config.ClaimHeader // of all routes, each once
	tokenCookies []string             // that hold a token on any route
	ourHosts     map[string]bool      // that the configuration names
	releases     []func()
}

// New makes a gate of a configuration. The gate must be closed when no more requests come to it.
func New(o Options) (*Gate, error) {
	g := &Gate{
		table: o.Config.TableOf, listed: o.Config.Table, routes: o.Config.Routes, limits: o.Config.Limits,
		verifier: o.Verifier, cache: o.Cache,
		revocations: o.Revocations, proofs: o.Proofs, clock: o.Clock,
		draining: cmp.Or(o.Draining, context.Background()), sign: o.Sign,
		tickets: o.Tickets, leeway: o.Config.ClockLeeway,
		tenants: newTenantNames(o.Config.TenantPattern), choosing: stepRoute(), further: o.further, offline: o.Offline,
	}
	if g.listed == nil || g.verifier == nil || g.cache == nil || o.Upstreams == nil {
		return nil, errors.New("gate: a compiled table, a verifier, a cache and upstreams are required")
	}
	if g.clock == nil {
		g.clock = time.Now
	}
	g.trust = trust.New(o.Config)
	if i := o.Config.Issuer; i != nil {
		g.issuer = i.URL
		if g.sign == nil && len(i.Keys) > 0 {
			g.sign = i.Keys[0].Sign
		}
	}
	g.fields = newFields(o.Config)
	g.cors = CORS(o.Config.CORS)
	g.speaksCORS = g.cors != nil
	if o.Rates == nil {
		o.Rates = new(Rates)
	}
	g.tokenCookies, g.ourHosts = o.Config.TokenCookies(), ownHosts(o.Config)
	if err := g.plan(&o); err != nil {
		g.Close()
		return nil, fmt.Errorf("gate: %w", err)
	}
	return g, nil
}

// Close lets go of the connections that only this gate needs. Requests on their way end well.
func (g *Gate) Close() {
	for _, release := range g.releases {
		release()
	}
}

// An inbound is one request on its way through the gate.
type inbound struct {
	x       *request.Exchange
	r       *http.Request
	now     time.Time
	match   route.Match[*config.Route]
	plan    *plan
	token   string // the compact form, a part of the Authorization field
	dpop    bool   // it came with the scheme DPoP
	entry   *entry // the verified token; nil on a public route
	grant   *grant
	tenant  string // "" on a route without one
	decider int    // one more than the index of the permission that decided; 0: none did
	actions string // those of the permission that decided, as the upstream gets them
	trial   *trial // nil: the request is served
	failed  *step  // the one that refused; nil: none has

	decision      bool     // another proxy asks, and forwards the request itself
	preflight     bool     // a preflight, which the gate answers itself: the route is that of the request that is to come
	methods       []string // that its route takes
	elsewhere     bool     // the token stood outside of Authorization
	offeredBearer bool     // in Sec-WebSocket-Protocol
	anonymous     bool     // it has no token, and its route can do without

	ticketed bool            // a ticket stands for the token
	ticket   *ticket.Content // what it says, once it is open
	drawer   *inbound        // the request that draws a ticket for this one; nil: this one is served
}

// ServeHTTP judges a request and forwards it. w is the exchange that the server's chain has begun, with the canonical
// host and the parsed target in it.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := g.inbounds.Get().(*inbound)
	if !ok {
		p = new(inbound)
	}
	p.x, p.r, p.now = request.From(w), r, g.clock()
	p.x.Header()[request.RequestIDHeader] = []string{p.x.ID}
	if err := g.admit(p); err != nil {
		if p.ticketed {
			p.x.Ticket = request.TicketRefused
		}
		if p.x.KeepStory {
			p.x.Story = g.story(p, err)
		}
		if login := g.loginFor(p, err); login != "" {
			p.x.SignIn(err, login)
			return
		}
		p.x.Refuse(err)
		return
	}
	if p.preflight {
		p.x.Preflight(p.methods)
		return
	}
	p.conceal()
	p.confine()
	if g.forward(p) {
		p.x.Release()
		*p = inbound{}
		g.inbounds.Put(p)
	}
}

// admit judges the request; nil lets it through.
func (g *Gate) admit(p *inbound) error {
	if err := p.try(g, &g.choosing); err != nil {
		return err
	}
	if p.preflight {
		return nil
	}
	if p.plan.pool == nil && !p.decision {
		return refusal.Because(refusal.RouteNotFound, "route %s has upstream: none, it is for decision alone",
			p.plan.route.Name)
	}
	if !p.plan.route.Public {
		p.x.Trace.Judging()
		defer p.x.Trace.Judged()
	}
	return p.spare(g.walk(p))
}

// fault is a refusal for what cannot be unless we are wrong.
func fault(format string, args ...any) error {
	return refusal.Because(refusal.InternalError, format, args...)
}
