package proxy

import (
	"context"
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
)

// A Bearer says how the token of a traced request is taken. The zero Bearer takes what stands in Authorization, as the
// gate does.
type Bearer struct {
	Unverified  bool              // its key and its signature are not looked at
	Claims      string            // instead of Authorization: what the token says, as if its issuer had signed it; "" for none
	Permissions token.Permissions // instead of Authorization: what the token opens here, whoever issued it; nil for none
}

// A Trace tells how a request was judged, step by step, without any being sent. It holds no credential.
type Trace struct {
	Allowed    bool           `json:"allowed"`
	Reason     refusal.Reason `json:"reason,omitempty"`
	Status     int            `json:"status,omitempty"`       // what the client is answered, but for a Shadow
	Detail     string         `json:"detail,omitempty"`       // the cause
	Needed     string         `json:"needed,omitempty"`       // what would have been let through
	Unverified bool           `json:"unverified,omitempty"`   // nobody knows whether the token is genuine
	Shadow     bool           `json:"shadow,omitempty"`       // refused by the policy, but let through: the route is in shadow
	Own        bool           `json:"own_endpoint,omitempty"` // one of our own endpoints would answer: no route decides

	Request *TracedRequest `json:"request,omitempty"` // nil for a token alone
	Routes  []TracedRoute  `json:"routes,omitempty"`  // each that was considered
	Steps   []Step         `json:"steps"`

	Token       *TracedToken      `json:"token,omitempty"`
	Permissions token.Permissions `json:"permissions,omitempty"` // what the token is worth here
	Tenant      string            `json:"tenant,omitempty"`
	TenantFrom  string            `json:"tenant_from,omitempty"`
	Deciding    *int              `json:"deciding_entry,omitempty"` // of permissions

	Opens []Opening `json:"opens,omitempty"` // of a token alone
}

// A TracedRequest is what was judged of a request's head.
type TracedRequest struct {
	Method   string   `json:"method"`
	Host     string   `json:"host"` // canonical
	Path     string   `json:"path"` // as it came, which is what is sent on
	Segments []string `json:"segments"`
}

// A TracedRoute is one route with what became of it.
type TracedRoute struct {
	Route   string   `json:"route"`
	Index   int      `json:"index"` // in routes
	Host    string   `json:"host,omitempty"`
	Path    string   `json:"path"`
	Methods []string `json:"methods,omitempty"`
	Verdict string   `json:"verdict"`
	Matches bool     `json:"matches"` // its host and path cover the request's
	Shadow  bool     `json:"shadow,omitempty"`
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
	Bound       string            `json:"jkt,omitempty"` // cnf.jkt: the key that it is bound to
	Audience    []string          `json:"aud,omitempty"`
	Scope       string            `json:"scope,omitempty"`
	Roles       []string          `json:"roles,omitempty"`
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
	t := &tracing{inbound: &inbound{x: request.From(silent{})}, trace: &Trace{}}
	t.refused(check, err)
	return t.trace
}

// tracing is a inbound with its trace.
type tracing struct {
	*inbound
	gate  *Gate
	as    Bearer
	trace *Trace
}

// Trace judges a request as ServeHTTP does, by the same steps, and tells each. x has the canonical host and the parsed
// target. Nothing is sent, and nothing is remembered.
func (g *Gate) Trace(x *request.Exchange, r *http.Request, as Bearer) *Trace {
	t := &tracing{
		inbound: &inbound{x: x, r: r, now: g.clock()}, gate: g, as: as,
		trace: &Trace{Unverified: as.Unverified, Request: &TracedRequest{Method: r.Method, Host: x.Host, Path: x.Target.Path}},
	}
	for i := range x.Target.Segments() {
		t.trace.Request.Segments = append(t.trace.Request.Segments, x.Target.Segment(i))
	}
	t.considered()
	t.judge()
	return t.trace
}

// considered tells of each route why it was chosen or not.
func (t *tracing) considered() {
	for _, c := range t.gate.table.Explain(t.x.Host, t.r.Method, &t.x.Target) {
		r, hosts := c.Value, []string{}
		for _, h := range c.Value.Hosts {
			hosts = append(hosts, h.String())
		}
		t.trace.Routes = append(t.trace.Routes, TracedRoute{
			Route: r.Name, Index: r.Index, Host: strings.Join(hosts, ", "), Path: r.Path.String(), Methods: r.Methods,
			Verdict: c.Verdict.String(), Matches: c.Verdict.Matches(), Shadow: r.Shadow,
		})
	}
}

// judge is Gate.admit with a word about each step.
func (t *tracing) judge() {
	if !t.step("route", func() (string, error) {
		err := t.gate.choose(t.inbound)
		return t.x.Route, err
	}) {
		return
	}
	if t.plan.route.Public {
		t.trace.Allowed = true
		t.step("public", func() (string, error) { return "no token is judged on this route", nil })
		return
	}
	if !t.bearer() {
		return
	}
	t.trace.Allowed = t.step("tenant", t.findsTenant) && t.step("permission", t.mayAct)
}

// step runs one check and writes down what came of it.
func (t *tracing) step(check string, run func() (string, error)) bool {
	detail, err := run()
	if err == nil {
		t.trace.Steps = append(t.trace.Steps, Step{check, StepPassed, detail})
		return true
	}
	t.refused(check, err)
	return false
}

func (t *tracing) refused(check string, err error) {
	reason := t.x.Note(err)
	t.trace.Steps = append(t.trace.Steps, Step{check, StepRefused, err.Error()})
	t.trace.Reason, t.trace.Status, t.trace.Detail = reason, reason.Status(), t.x.Detail
	t.trace.Needed = t.needed(reason)
	t.trace.Shadow = t.plan != nil && t.plan.route.Shadow && spared(reason)
}

func (t *tracing) skip(check, why string) {
	t.trace.Steps = append(t.trace.Steps, Step{check, StepSkipped, why})
}

// bearer finds the token and what it is worth.
func (t *tracing) bearer() bool {
	if t.as.Permissions != nil {
		t.entry = &entry{verified: &jose.Verified{}}
		t.standing = &standing{gate: t.gate, permissions: t.as.Permissions, actions: make([]string, len(t.as.Permissions))}
		t.trace.Permissions = t.as.Permissions
		return true
	}
	if t.as.Claims == "" && !t.step("bearer", func() (string, error) { return "one, in Authorization", t.gate.bearer(t.inbound) }) {
		return false
	}
	v, ok := t.verified()
	return ok && t.good(v) && t.step("audience", func() (string, error) {
		return fmt.Sprintf("this route takes %q", t.gate.audiences(t.plan.route, v)), t.gate.intended(t.inbound, v)
	}) && t.proof(v) && t.step("standing", func() (string, error) { return t.stands(v) })
}

// proof checks what shows that a bound token's owner sends it. It spends nothing; what there is no proof of, it says so.
func (t *tracing) proof(v *jose.Verified) bool {
	if v.Claims.Key == "" && !t.dpop {
		return true
	}
	if t.as.Claims != "" || t.as.Unverified {
		t.skip("proof", "the token is bound to key "+v.Claims.Key+": each request must bring a proof by it")
		return true
	}
	t.entry = &entry{verified: v, by: t.gate.verifier}
	return t.step("proof", func() (string, error) {
		_, err := t.gate.shown(t.inbound)
		return "by key " + v.Claims.Key + "; whether it came before was not asked", err
	})
}

// good checks what holds on every route.
func (t *tracing) good(v *jose.Verified) bool {
	passed := t.step("time", func() (string, error) { return "until " + stamp(v.Claims.Expiry), t.gate.timely(t.inbound, v) }) &&
		t.step("kind", func() (string, error) { return "an access token", t.gate.worthVerifying(v) })
	if passed && t.gate.revocations == nil {
		t.skip("withdrawal", "no list of withdrawn tokens is at hand here")
		return true
	}
	return passed && t.step("withdrawal", func() (string, error) { return "not withdrawn", t.gate.kept(t.inbound, v) })
}

// verified is the token, by its signature or without it.
func (t *tracing) verified() (v *jose.Verified, ok bool) {
	verifier := t.gate.verifier
	switch {
	case t.as.Claims != "":
		ok = t.step("token", func() (_ string, err error) { v, err = verifier.Said(t.as.Claims); return "as the test says", err })
	case t.as.Unverified:
		ok = t.step("token", func() (_ string, err error) {
			v, err = verifier.Unsigned(t.token)
			return "it has the form of one", err
		})
		if ok {
			t.skip("signature", "ANYBODY MAY HAVE WRITTEN THIS TOKEN: its key and its signature were not looked at")
		}
	default:
		// As verifyAnew does, so that of two things that are wrong the same one is told.
		ok = t.step("token", func() (detail string, err error) {
			if v, err = verifier.Verify(t.token, t.now, t.gate.worthVerifying); err == nil {
				detail = fmt.Sprintf("signed with key %.80q of issuer %s", v.KeyID, v.Issuer.URL)
			}
			return detail, err
		})
	}
	if ok {
		t.trace.Token = said(v)
	} else if u, err := verifier.Unsigned(t.token); err == nil {
		t.trace.Token, t.trace.Unverified = said(u), true // what it says may tell why it was refused
	}
	return v, ok
}

func (t *tracing) stands(v *jose.Verified) (string, error) {
	t.entry = &entry{verified: v, by: t.gate.verifier}
	if err := t.gate.stand(t.inbound); err != nil {
		return "", err
	}
	t.trace.Permissions = t.standing.permissions
	if v.Issuer.Own {
		return fmt.Sprintf("granted by client %q, which may still hand it on", v.Claims.Grantor), nil
	}
	return "cut to what this issuer's tokens may open here", nil
}

func (t *tracing) findsTenant() (string, error) {
	q := &t.plan.route.Require
	err := t.gate.tenant(t.inbound)
	t.trace.Tenant, t.trace.TenantFrom = t.inbound.tenant, from(q)
	switch {
	case q.Action == "":
		return "none is asked for", err
	case q.Global:
		return "none: the action is global", err
	}
	return fmt.Sprintf("%q, from %s", t.inbound.tenant, from(q)), err
}

// from is where a tenant stands, as the configuration spells it.
func from(q *config.Require) string {
	switch {
	case q.Action == "" || q.Global:
		return ""
	case q.Tenant != "":
		return "the route"
	}
	place := map[config.Source]string{config.FromPath: "path.", config.FromHost: "host.", config.FromHeader: "header.", config.FromQuery: "query."}
	return place[q.From] + q.Name
}

func (t *tracing) mayAct() (string, error) {
	q := &t.plan.route.Require
	if q.Action == "" {
		return "any good token will do", nil
	}
	if i := t.standing.permissions.Deciding(t.asked()); i >= 0 {
		t.trace.Deciding = &i
	}
	if err := t.gate.authorize(t.inbound); err != nil {
		return "", err
	}
	return fmt.Sprintf("entry %d (tenant %q) decides and holds %s", *t.trace.Deciding, t.standing.permissions[*t.trace.Deciding].Tenant, q.Action), nil
}

// asked is the tenant that authorize asks the permissions for.
func (t *tracing) asked() string {
	if t.plan.route.Require.Global {
		return token.Any
	}
	return t.inbound.tenant
}

// needed says what would have been let through at the step that refused; "" where the reason says it.
func (t *tracing) needed(reason refusal.Reason) string {
	var q config.Require
	if t.plan != nil {
		q = t.plan.route.Require
	}
	switch reason {
	case refusal.RouteNotFound:
		return "a route whose hosts and path cover this request"
	case refusal.MethodNotAllowed:
		return "one of the methods " + strings.Join(t.match.Allowed, ", ")
	case refusal.PathAmbiguous:
		return "another spelling of the path, or insecure_allow on the route"
	case refusal.TokenMissing, refusal.TokenInQuery, refusal.TokenSchemeUnsupported:
		return "one header Authorization: Bearer TOKEN"
	case refusal.TokenSignatureInvalid, refusal.TokenKeyUnknown, refusal.TokenAlgorithmRefused:
		return "a token that a present key of its issuer has signed with the key's own algorithm"
	case refusal.TokenIssuerUnknown:
		return "a token of " + strings.Join(t.gate.issuers(), " or ")
	case refusal.TokenBound:
		return "Authorization: DPoP TOKEN, with a header DPoP: a proof by key " + t.trace.Token.Bound
	case refusal.TokenUnbound:
		return "a token that is bound to a key with Authorization: DPoP, one that is not with Bearer"
	case refusal.ProofMissing, refusal.ProofMalformed, refusal.ProofMismatch, refusal.ProofKeyMismatch, refusal.ProofStale,
		refusal.ProofNonce, refusal.ProofSignatureInvalid:
		return "one header DPoP: a proof of now for this method, URL and token, by the key that the token is bound to"
	case refusal.TokenExpired:
		return "a token whose exp lies ahead"
	case refusal.TokenManagement:
		return "an access token: one without scope, and with aud for this route"
	case refusal.TokenAudienceMismatch:
		return t.neededAudience()
	case refusal.GrantorUnknown:
		return "a token whose grantor and client_id are both clients in this config"
	case refusal.GrantorNotCovering:
		return "a grantor whose delegate (or permissions, for its own token) still covers all that the token says"
	case refusal.TenantMissing, refusal.TenantAmbiguous, refusal.TenantMalformed:
		return "exactly one tenant's name in " + from(&q)
	case refusal.TenantDenied:
		return fmt.Sprintf(`an entry {tenant: %q, actions: [%s]} in the token's permissions`, t.asked(), q.Action)
	case refusal.ActionDenied:
		return fmt.Sprintf(`%s, or "*", among the actions of entry %d (tenant %q), which decides alone`,
			q.Action, *t.trace.Deciding, t.standing.permissions[*t.trace.Deciding].Tenant)
	}
	return ""
}

func (t *tracing) neededAudience() string {
	audiences := t.plan.route.Audiences
	if said := t.trace.Token; len(audiences) == 0 && said != nil && t.gate.judges[said.Issuer] != nil {
		audiences = t.gate.judges[said.Issuer].audiences
	}
	return fmt.Sprintf("a token whose aud has one of %q", audiences)
}

func (g *Gate) issuers() (all []string) {
	for url := range g.judges {
		all = append(all, url)
	}
	slices.Sort(all)
	return all
}

// said is what a token says, for people to read.
func said(v *jose.Verified) *TracedToken {
	c := &v.Claims
	return &TracedToken{
		Issuer: c.Issuer, Subject: c.Subject, Client: c.ClientID, Grantor: c.Grantor, ID: c.ID, Key: v.KeyID, Bound: c.Key, Audience: c.Audience,
		Scope: c.Scope, Roles: v.Roles, IssuedAt: stamp(c.IssuedAt), NotBefore: stamp(c.NotBefore), Expiry: stamp(c.Expiry),
		Permissions: c.Permissions,
	}
}

func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// TraceToken tells of a token alone what it says, whether it is good, and which routes it opens now.
func (g *Gate) TraceToken(compact string, unverified bool) *Trace {
	x := request.From(silent{})
	r := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + compact}}}).WithContext(context.Background())
	t := &tracing{
		inbound: &inbound{x: x, r: r, now: g.clock(), plan: &plan{route: &config.Route{}}}, gate: g,
		as: Bearer{Unverified: unverified}, trace: &Trace{Unverified: unverified},
	}
	if !t.step("bearer", func() (string, error) { return "one", g.bearer(t.inbound) }) {
		return t.trace
	}
	v, ok := t.verified()
	if !ok {
		return t.trace
	}
	if v.Claims.Key != "" {
		t.skip("proof", "the token is bound to key "+v.Claims.Key+": each request must bring a proof by it")
	}
	t.trace.Allowed = t.good(v) && t.step("standing", func() (string, error) { return t.stands(v) })
	if t.trace.Allowed {
		t.trace.Opens = t.opens(v)
	}
	return t.trace
}

// opens lists the routes that a token of good standing opens, in the file's order.
func (t *tracing) opens(v *jose.Verified) (all []Opening) {
	for _, r := range t.gate.routes {
		o := Opening{Route: r.Name, Path: r.Path.String(), Methods: r.Methods, Public: r.Public}
		if r.Public || meantFor(&v.Claims, t.gate.audiences(r, v)) && t.within(&o, &r.Require) {
			all = append(all, o)
		}
	}
	return all
}

// within tells whether the permissions meet what a route requires, and for which tenants.
func (t *tracing) within(o *Opening, q *config.Require) bool {
	p := t.standing.permissions
	switch {
	case q.Action == "":
		return true
	case q.Global:
		return p.Allows(token.Any, q.Action)
	case q.Tenant != "":
		o.Tenants = []string{q.Tenant}
		return p.Allows(q.Tenant, q.Action)
	}
	o.Any = p.Allows(token.Any, q.Action)
	for _, e := range p {
		if e.Tenant != token.Any && p.Allows(e.Tenant, q.Action) != o.Any {
			o.Tenants = append(o.Tenants, e.Tenant)
		}
	}
	return o.Any || len(o.Tenants) > 0
}

// silent is an answer that nobody gets.
type silent struct{}

func (silent) Header() http.Header         { return http.Header{} }
func (silent) Write(p []byte) (int, error) { return len(p), nil }
func (silent) WriteHeader(int)             {}
