package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/trust"
)

// A Bearer says how the token of a traced request is taken. The zero Bearer takes what stands in Authorization, as the
// gate does.
type Bearer struct {
	Unverified bool // its key and its signature are not looked at
	// instead of Authorization: what the token says, as if its issuer had signed it; "" for none
	Claims      string
	Permissions token.Permissions // instead of Authorization: what the token opens here, whatever its issuer; nil for none
	Brief       bool              // the routes that were not chosen are not told
}

// A Trace tells how a request was judged, step by step, without any being sent. It holds no credential.
type Trace struct {
	Allowed    bool           `json:"allowed"`
	Reason     refusal.Reason `json:"reason,omitempty"`
	Status     int            `json:"status,omitempty"`     // what the client is answered, but for a Shadow
	Detail     string         `json:"detail,omitempty"`     // the cause
	Needed     string         `json:"needed,omitempty"`     // what would have been let through
	Unverified bool           `json:"unverified,omitempty"` // it is not known whether the token is genuine
	// refused by the policy, but let through: the route is in shadow
	Shadow bool `json:"shadow,omitempty"`
	Own    bool `json:"own_endpoint,omitempty"` // one of our own endpoints would answer: no route decides

	Request *TracedRequest `json:"request,omitempty"` // nil for a token alone
	Routes  []TracedRoute  `json:"routes,omitempty"`  // each that was considered
	Steps   []Step         `json:"steps"`

	Token       *TracedToken      `json:"token,omitempty"`
	Permissions token.Permissions `json:"permissions,omitempty"` // what the token is worth here
	Tenant      string            `json:"tenant,omitempty"`
	TenantFrom  string            `json:"tenant_from,omitempty"`
	Deciding    *int              `json:"deciding_entry,omitempty"` // of permissions

	Opens []Opening `json:"opens,omitempty"` // of a token alone

	Chosen *config.Route `json:"-"` // nil: no route decides
}

// A TracedRequest is what was judged of a request's head.
type TracedRequest struct {
	Method   string   `json:"method"`
	Host     string   `json:"host"`                // canonical
	Path     string   `json:"path"`                // as it came, which is what is judged …
	SentPath string   `json:"sent_path,omitempty"` // … and what the upstream gets, where the route has prefixes
	Segments []string `json:"segments"`
}

// A TracedRoute is one route with what became of it.
type TracedRoute struct {
	Route     string   `json:"route"`
	Index     int      `json:"index"` // in routes
	Host      string   `json:"host,omitempty"`
	Path      string   `json:"path"`
	Methods   []string `json:"methods,omitempty"`
	Listeners []string `json:"listeners,omitempty"` // none: all
	Verdict   string   `json:"verdict"`
	Matches   bool     `json:"matches"` // its host and path cover the request's
	Shadow    bool     `json:"shadow,omitempty"`
}

// The outcomes of a Step.
const (
	StepPassed  = "passed"
	StepRefused = "refused"
	StepSkipped = "not checked"
)

// A Step is one check of the chain.
type Step struct {
	Check   string `json:"check"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`
}

// A TracedToken is what a token says.
type TracedToken struct {
	Issuer      string            `json:"iss"`
	Subject     string            `json:"sub,omitempty"`
	Client      string            `json:"client_id,omitempty"`
	Grantor     string            `json:"grantor,omitempty"`
	ID          string            `json:"jti,omitempty"`
	Key         string            `json:"kid,omitempty"`
	Bound       string            `json:"jkt,omitempty"`      // cnf.jkt: the key that it is bound to
	Cert        string            `json:"x5t#S256,omitempty"` // cnf.x5t#S256: the certificate that it is bound to
	Audience    []string          `json:"aud,omitempty"`
	Scope       string            `json:"scope,omitempty"`
	Roles       []string          `json:"roles,omitempty"`
	From        []string          `json:"exchanged_from,omitempty"` // the tokens that it comes from, the latest first
	ActorTokens []string          `json:"actor_tokens,omitempty"`   // the actors' tokens that it was exchanged with
	Workload    []string          `json:"authenticates,omitempty"`  // the clients whose workload it is of
	Mapped      []string          `json:"mapped,omitempty"`         // of another issuer's token: which claim gave what
	IssuedAt    string            `json:"iat,omitempty"`
	NotBefore   string            `json:"nbf,omitempty"`
	Expiry      string            `json:"exp,omitempty"`
	Permissions token.Permissions `json:"tenantPermissions,omitempty"`
}

// An Opening is a route that a token opens.
type Opening struct {
	Route   string   `json:"route"`
	Path    string   `json:"path"`
	Methods []string `json:"methods,omitempty"`
	Public  bool     `json:"public,omitempty"`  // with any token, and without
	Tenants []string `json:"tenants,omitempty"` // for which tenants; with AnyTenant, for all but these
	Any     bool     `json:"any_tenant,omitempty"`
}

// Refused is the trace of a request that does not get as far as the gate.
func Refused(check string, err error) *Trace {
	t := &trial{trace: &Trace{}}
	t.refused(nil, &step{name: check}, &inbound{x: request.From(silent{})}, err)
	return t.trace
}

// A trial is how a request is judged for a trace: by the steps that judge it when it is served, but nothing is sent,
// spent or remembered.
type trial struct {
	as    Bearer
	alone bool // there is a token without a request
	trace *Trace
	extra []Step // what the present step tells beside itself
}

// Trace judges a request as ServeHTTP does, by the same steps, and tells each. x has the canonical host and the parsed
// target. Nothing is sent, and nothing is remembered.
func (g *Gate) Trace(x *request.Exchange, r *http.Request, as Bearer) *Trace {
	t := &trial{as: as, trace: &Trace{
		Unverified: as.Unverified, Request: &TracedRequest{Method: r.Method, Host: x.Host, Path: x.Target.Path},
	}}
	for i := range x.Target.Segments() {
		t.trace.Request.Segments = append(t.trace.Request.Segments, x.Target.Segment(i))
	}
	p := &inbound{x: x, r: r, now: g.clock(), trial: t}
	if !as.Brief {
		g.consider(p)
	}
	if as.Permissions != nil {
		p.entry = &entry{verified: &jose.Verified{Issuer: &jose.Issuer{}}}
		p.grant = &grant{
			gate: g, permissions: as.Permissions, index: as.Permissions.Index(),
			actions: make([]string, len(as.Permissions)),
		}
		t.trace.Permissions = as.Permissions
	}
	t.trace.Allowed = p.try(g, &g.choosing) == nil && (p.preflight || g.walk(p) == nil)
	t.trace.Request.SentPath = x.SentPath
	if p.plan != nil {
		t.trace.Chosen = p.plan.route
	}
	return t.trace
}

// consider tells of each route why it was chosen or not.
func (g *Gate) consider(p *inbound) {
	for _, c := range g.table(p.x.Listener).Explain(p.x.Host, p.r.Method, &p.x.Target) {
		r, hosts := c.Value, []string{}
		for _, h := range c.Value.Hosts {
			hosts = append(hosts, h.String())
		}
		p.trial.trace.Routes = append(p.trial.trace.Routes, TracedRoute{
			Route: r.Name, Index: r.Index, Host: strings.Join(hosts, ", "), Path: r.Path.String(), Methods: r.Methods,
			Listeners: r.Listeners, Verdict: c.Verdict.String(), Matches: c.Verdict.Matches(), Shadow: r.Shadow,
		})
	}
}

// try runs one step and writes down what came of it.
func (t *trial) try(g *Gate, s *step, p *inbound) error {
	if t.alone && s.about != aboutToken || t.as.Permissions != nil && s.about != aboutRequest {
		return nil
	}
	var why skipped
	err := s.run(g, p)
	switch {
	case errors.As(err, &why):
		t.tell(s.name, StepSkipped, string(why))
	case err != nil:
		t.refused(g, s, p, err)
	case s.say != nil:
		t.tell(s.name, StepPassed, s.say(g, p))
	}
	t.trace.Steps, t.extra = append(t.trace.Steps, t.extra...), nil
	t.found(p)
	if errors.As(err, &why) {
		return nil
	}
	return err
}

func (t *trial) tell(check, outcome, detail string) {
	if detail != "" {
		t.trace.Steps = append(t.trace.Steps, Step{check, outcome, detail})
	}
}

func (t *trial) refused(g *Gate, s *step, p *inbound, err error) {
	reason := p.x.Note(err)
	t.tell(s.name, StepRefused, err.Error())
	t.trace.Reason, t.trace.Status, t.trace.Detail = reason, reason.Status(), p.x.Detail
	if t.trace.Needed = neededAnywhere(g, p, reason); t.trace.Needed == "" && s.need != nil {
		t.trace.Needed = s.need(g, p, reason)
	}
	t.trace.Shadow = p.plan != nil && p.plan.route.Shadow && spared(reason)
}

// shownGrant spells the entry for what belongs to no tenant.
func shownGrant(p token.Permissions) token.Permissions {
	i := slices.IndexFunc(p, func(e token.TenantPermission) bool { return e.Tenant == token.Global })
	if i < 0 {
		return p
	}
	shown := slices.Clone(p)
	shown[i].Tenant = "(global)"
	return shown
}

// found takes into the trace what the request's steps have found so far.
func (t *trial) found(p *inbound) {
	if p.grant != nil && p.plan != nil {
		t.trace.Permissions, t.trace.TenantFrom = shownGrant(p.grant.permissions), from(&p.plan.route.Require)
	}
	t.trace.Tenant = token.Shown(p.tenant)
	if p.decider > 0 {
		i := p.decider - 1
		t.trace.Deciding = &i
	}
}

// unproven reports whether the trial can have no proof of a key.
func (t *trial) unproven() bool { return t.alone || t.as.Claims != "" || t.as.Unverified }

// verified is the token, by its signature or without it.
func (t *trial) verified(g *Gate, p *inbound) (_ *entry, err error) {
	var v *jose.Verified
	switch {
	case t.as.Claims != "":
		v, err = g.verifier.Said(t.as.Claims)
	case t.as.Unverified:
		if v, err = g.verifier.Unsigned(p.token); err == nil {
			t.extra = append(t.extra, Step{
				"signature", StepSkipped, "ANYBODY MAY HAVE WRITTEN THIS TOKEN: its key and its signature were not looked at",
			})
		}
	default:
		// As verifyAnew does, so that of two things that are wrong the same one is told.
		v, err = g.verifier.Verify(p.token, p.now, g.trust.Opens)
	}
	if err != nil {
		if u, faulty := g.verifier.Unsigned(p.token); faulty == nil {
			t.trace.Token, t.trace.Unverified = g.said(u), true // what it says may tell why it was refused
		}
		return nil, err
	}
	t.trace.Token = g.said(v)
	return &entry{verified: v, by: g.verifier}, nil
}

// verifiedBy tells how the token was verified.
func (t *trial) verifiedBy(v *jose.Verified) string {
	switch {
	case t.as.Claims != "":
		return "as the test says"
	case t.as.Unverified:
		return "it has the form of one"
	}
	return fmt.Sprintf("signed with key %.80q of issuer %s", v.KeyID, v.Issuer.URL)
}

// neededAnywhere says what would have been let through where the refusing step alone does not know it.
func neededAnywhere(g *Gate, p *inbound, reason refusal.Reason) string {
	switch reason {
	case refusal.TokenExpired:
		return "a token whose exp lies ahead"
	case refusal.TokenManagement:
		return "an access token: one without scope, and with aud for this route"
	case refusal.TokenAudienceMismatch:
		return g.neededAudience(p)
	}
	return ""
}

func (g *Gate) neededAudience(p *inbound) string {
	var audiences []string
	said := p.trial.trace.Token
	switch {
	case len(p.plan.route.Audiences) > 0:
		audiences = p.plan.route.Audiences
	case said != nil && g.trust.Named(said.Issuer) != nil && p.trial.alone:
		audiences = g.trust.Named(said.Issuer).Anywhere
	case said != nil && g.trust.Named(said.Issuer) != nil:
		audiences = g.trust.Named(said.Issuer).Audiences
	}
	if len(audiences) == 0 {
		return "a token of an issuer whose audiences this route takes"
	}
	return fmt.Sprintf("a token whose aud has one of %q", audiences)
}

// said is what a token says, for people to read.
func (g *Gate) said(v *jose.Verified) *TracedToken {
	c := &v.Claims
	said := &TracedToken{
		Issuer: c.Issuer, Subject: c.Subject, Client: c.ClientID, Grantor: c.Grantor, ID: c.ID, Key: v.KeyID, Bound: c.Key,
		Cert: c.Cert, Audience: c.Audience,
		Scope: c.Scope, IssuedAt: stamp(c.IssuedAt), NotBefore: stamp(c.NotBefore), Expiry: stamp(c.Expiry),
		Permissions: c.Permissions,
	}
	for i := range c.Ancestors {
		said.From = append(said.From, ancestry(&c.Ancestors[i]))
	}
	for i := range c.ActorTokens {
		said.ActorTokens = append(said.ActorTokens, ancestry(&c.ActorTokens[i]))
	}
	if i := g.trust.Issuer(v); i != nil && !i.Own {
		said.Roles, said.Mapped = i.Trusted.Mapped(v)
		said.Workload = g.trust.Authenticates(v)
	}
	return said
}

// ancestry tells of a token that another was made from.
func ancestry(a *token.Ancestor) string {
	if a.Issuer == "" {
		return fmt.Sprintf("jti %.130q, which client %.130q had", a.ID, a.ClientID)
	}
	return fmt.Sprintf("jti %.130q of issuer %.260q, subject %.130q, client %.130q", a.ID, a.Issuer, a.Subject, a.ClientID)
}

func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// TraceToken tells of a token alone what it says, whether it is good, and which routes it opens now.
func (g *Gate) TraceToken(compact string, unverified bool) *Trace {
	t := &trial{as: Bearer{Unverified: unverified}, alone: true, trace: &Trace{Unverified: unverified}}
	any := &config.Route{}
	p := &inbound{
		x: request.From(silent{}), now: g.clock(), trial: t, plan: &plan{route: any, steps: g.stepsOf(any)},
		r: (&http.Request{Header: http.Header{"Authorization": {"Bearer " + compact}}}).WithContext(context.Background()),
	}
	if t.trace.Allowed = g.walk(p) == nil; t.trace.Allowed {
		t.trace.Opens = g.opens(p)
	}
	return t.trace
}

// opens lists the routes that a good token opens, in the file's order.
func (g *Gate) opens(p *inbound) (all []Opening) {
	v := p.entry.verified
	for _, r := range g.routes {
		o := Opening{Route: r.Name, Path: r.Path.String(), Methods: r.Methods, Public: r.Public}
		if r.Public || trust.MeantFor(&v.Claims, g.audiences(r, v)) && within(p.grant.permissions, &o, &r.Require) {
			all = append(all, o)
		}
	}
	return all
}

// within reports whether the permissions meet what a route requires, and for which tenants.
func within(p token.Permissions, o *Opening, q *config.Require) bool {
	switch {
	case q.Action == "":
		return true
	case q.Global:
		return p.Allows(token.Global, q.Action)
	case q.Tenant != "":
		o.Tenants = []string{q.Tenant}
		return p.Allows(q.Tenant, q.Action)
	}
	o.Any = p.Allows(token.Any, q.Action)
	for _, e := range p {
		if e.Tenant != token.Any && e.Tenant != token.Global && p.Allows(e.Tenant, q.Action) != o.Any {
			o.Tenants = append(o.Tenants, e.Tenant)
		}
	}
	return o.Any || len(o.Tenants) > 0
}

// silent is an answer that is not sent.
type silent struct{}

func (silent) Header() http.Header         { return http.Header{} }
func (silent) Write(p []byte) (int, error) { return len(p), nil }
func (silent) WriteHeader(int)             {}
