// Package trust judges what a verified token is worth under one configuration. The gate asks it of the token of a
// request, the token endpoints of one that is introspected or exchanged (RFC 8693), so that a token that opens no route
// is exchanged for none either.
//
// A token of ours is worth what it says, while the client that granted it is there and may still hand that on. Another
// issuer's is worth what the configuration makes of its claims. one of ours that was exchanged from another issuer's
// stands on both: on the client, and on the issuer's entry as it is now.
//
// What a token's verifier judges (package jose), its times and revocations come before.
package trust

import (
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// An Issuer is what a configuration says of one issuer's tokens.
type Issuer struct {
	Own       bool
	Audiences []string              // of routes without their own
	Anywhere  []string              // of any route
	Trusted   *config.TrustedIssuer // of an issuer that is not ours
}

// A Policy knows the issuers and clients of one configuration. It does not change, and is safe for concurrent use.
type Policy struct {
	issuers map[string]*Issuer
	clients map[string]*config.Client
	own     [][]string // the audiences of routes that have their own, each list once
}

// New makes the policy of a configuration.
func New(c *config.Config) *Policy {
	var routes []string
	for _, r := range c.Routes {
		routes = append(routes, r.Audiences...)
	}
	p := &Policy{issuers: make(map[string]*Issuer), clients: make(map[string]*config.Client)}
	known := map[string]bool{}
	for _, r := range c.Routes {
		if key := strings.Join(r.Audiences, "\x00"); key != "" && !known[key] {
			known[key], p.own = true, append(p.own, r.Audiences)
		}
	}
	for _, t := range c.TrustedIssuers {
		p.issuers[t.Issuer] = &Issuer{
			Trusted: t, Audiences: t.Audiences, Anywhere: slices.Concat(t.Audiences, routes),
		}
	}
	if i := c.Issuer; i != nil {
		p.issuers[i.URL] = &Issuer{Own: true, Audiences: General(c), Anywhere: slices.Concat(i.Audiences, routes)}
		for _, client := range i.Clients {
			p.clients[client.ID] = client
		}
	}
	return p
}

// General returns the audiences of our own tokens on routes without their own: a token that was asked for a resource
// alone opens the routes below that resource, and no others (RFC 8707 §2). Where all audiences are resources, all
// count.
func General(c *config.Config) []string {
	if c.Issuer == nil {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(c.Issuer.Audiences), func(a string) bool {
		return slices.ContainsFunc(c.Resources, func(r *config.Resource) bool { return r.URL == a })
	})
	if len(left) == 0 {
		return c.Issuer.Audiences
	}
	return left
}

// Issuer returns what is known of the issuer whose key signed v, nil if verifier and configuration do not speak of the
// same issuers, or if v is of none: a trial of bare permissions.
func (p *Policy) Issuer(v *jose.Verified) *Issuer {
	if v.Issuer == nil {
		return nil
	}
	if i := p.issuers[v.Issuer.URL]; i != nil && i.Own == v.Issuer.Own {
		return i
	}
	return nil
}

// Named returns what is known of the issuer of that name, nil if nothing is.
func (p *Policy) Named(issuer string) *Issuer { return p.issuers[issuer] }

// Issuers lists the names of all issuers.
func (p *Policy) Issuers() (all []string) {
	for name := range p.issuers {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// IsClient reports whether id is one of our clients'.
func (p *Policy) IsClient(id string) bool { return p.clients[id] != nil }

// Opens refuses what no route would take, which can be told before the signature is paid for.
func (p *Policy) Opens(v *jose.Verified) error {
	i := p.Issuer(v)
	if i == nil {
		return unknownIssuer(v)
	}
	if i.Own && Management(&v.Claims, v.Issuer.URL) {
		return &refusal.Error{Reason: refusal.TokenManagement}
	}
	if !MeantFor(&v.Claims, i.Anywhere) {
		return refusal.Because(refusal.TokenAudienceMismatch, "aud %.100q", v.Claims.Audience)
	}
	return nil
}

// Management reports whether a token of ours opens the token endpoints, and so no route.
func Management(c *token.Claims, url string) bool {
	return c.Scope != "" || slices.Contains(c.Audience, url)
}

// MeantFor reports whether one of the audiences is the token's.
func MeantFor(c *token.Claims, audiences []string) bool {
	for _, a := range c.Audience {
		if slices.Contains(audiences, a) {
			return true
		}
	}
	return false
}

// Worth returns what the token opens at most: of ours what it says, if it still stands; of another issuer's what this
// configuration makes of it.
func (p *Policy) Worth(v *jose.Verified) (token.Permissions, error) {
	i, c := p.Issuer(v), &v.Claims
	if i == nil {
		return nil, unknownIssuer(v)
	}
	if claim := c.Reserved(i.Own, p.IsClient); claim != "" {
		return nil, refusal.Because(refusal.TokenSubjectReserved, "%s is the id of a client", claim)
	}
	if i.Own {
		return c.Permissions, p.Stands(c)
	}
	if v.SaidClientID != "" && p.IsClient(v.SaidClientID) {
		return nil, refusal.Because(refusal.TokenSubjectReserved, "client_id is the id of a client")
	}
	permissions, err := i.Trusted.Opens(v)
	if err != nil {
		return nil, refusal.Because(refusal.TokenClaimsMalformed, "tenants: %v", err)
	}
	return permissions, nil
}

// Stands holds a token of ours to what it stands on, as the configuration is now: the client that has it, the ceiling
// of the client that granted it and, where it was exchanged from the token of another issuer, that issuer's.
func (p *Policy) Stands(c *token.Claims) error {
	grantor := p.clients[c.Grantor]
	if grantor == nil {
		return refusal.Because(refusal.GrantorUnknown, "grantor %.130q", c.Grantor)
	}
	client := p.clients[c.ClientID]
	if client == nil {
		return refusal.Because(refusal.GrantorUnknown, "client_id %.130q", c.ClientID)
	}
	if client.Bound && c.Key == "" {
		return refusal.Because(refusal.TokenUnbound, "client %s must bind its tokens to a key", c.ClientID)
	}
	if client.Certificate != nil && c.Cert == "" {
		return refusal.Because(refusal.TokenUnbound, "client %s must bind its tokens to its certificate", c.ClientID)
	}
	if !c.Ceiling(grantor.Permissions, grantor.Delegate).Covers(c.Permissions) {
		return refusal.Because(refusal.GrantorNotCovering, "grantor %s", c.Grantor)
	}
	for i := range c.ActorTokens {
		if err := p.known(&c.ActorTokens[i]); err != nil {
			return err
		}
	}
	if o := c.Original(); o != nil {
		return p.exchangeable(o, c.Permissions)
	}
	return nil
}

// known holds an actor's token to its issuer, as the configuration is now, and one of ours to its clients.
func (p *Policy) known(a *token.Ancestor) error {
	i := p.issuers[a.Issuer]
	switch {
	case i == nil:
		return refusal.Because(refusal.OriginalNotCovered, "issuer %.130q of the actor's token is not trusted", a.Issuer)
	case !i.Own && !i.Trusted.Exchange:
		return refusal.Because(refusal.OriginalNotCovered, "issuer %.130q of the actor's token has no exchange: true",
			a.Issuer)
	case i.Own && (p.clients[a.ClientID] == nil || a.Grantor != "" && p.clients[a.Grantor] == nil):
		return refusal.Because(refusal.GrantorUnknown, "the actor's token: client_id %.130q, grantor %.130q", a.ClientID,
			a.Grantor)
	}
	return nil
}

// Narrow returns those of our audiences that open no route to which a token for aud is not meant: routes with audiences
// of their own may be closed to it.
func (p *Policy) Narrow(audiences, aud []string) (narrow []string) {
	has := func(list []string) bool {
		return slices.ContainsFunc(list, func(a string) bool { return slices.Contains(aud, a) })
	}
	for _, a := range audiences {
		if !slices.ContainsFunc(p.own, func(route []string) bool { return slices.Contains(route, a) && !has(route) }) {
			narrow = append(narrow, a)
		}
	}
	return narrow
}

// exchangeable holds an exchanged token to the entry of the issuer whose token it was exchanged from.
func (p *Policy) exchangeable(o *token.Ancestor, permissions token.Permissions) error {
	i := p.issuers[o.Issuer]
	switch {
	case i == nil || i.Own:
		return refusal.Because(refusal.OriginalNotCovered, "issuer %.130q is not trusted", o.Issuer)
	case !i.Trusted.Exchange:
		return refusal.Because(refusal.OriginalNotCovered, "issuer %.130q has no exchange: true", o.Issuer)
	case !i.Trusted.Permissions.Covers(permissions):
		return refusal.Because(refusal.OriginalNotCovered, "permissions of issuer %.130q", o.Issuer)
	case p.IsClient(o.Subject):
		return refusal.Because(refusal.TokenSubjectReserved, "the original's sub is the id of a client")
	}
	return nil
}

func unknownIssuer(v *jose.Verified) error {
	return refusal.Because(refusal.InternalError, "issuer %s: unknown to the configuration", v.Issuer.URL)
}
