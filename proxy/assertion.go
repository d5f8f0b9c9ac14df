package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
)

// assertionType keeps an assertion from being taken for an access token (RFC 8725 §3.11).
const assertionType = "jotgate-assertion+jwt"

// assertionsAtMost bounds what one token keeps; a token that reaches more tenants than this signs more often.
const assertionsAtMost = 16

// assertionKey is all that an assertion says and its token does not fix.
type assertionKey struct {
	to              *config.Assertion
	tenant, actions string
}

type assertion struct {
	compact string
	fresh   time.Time // until when it is sent
}

// setAssertion tells the upstream what was decided in a JWT that it can check with our key set, so that it need not
// trust the network between us.
func (g *Gate) setAssertion(to []field, p *inbound) ([]field, error) {
	a := p.plan.upstream.Assertion
	if a == nil {
		return to, nil
	}
	compact, err := g.assert(p, a)
	if err != nil {
		return to, fault("sign the assertion for upstream %s: %v", p.plan.upstream.Name, err)
	}
	return set(to, http.CanonicalHeaderKey(a.Header), compact), nil
}

// assert gives a signed assertion, the last one for the first half of its life: a signature costs more than a request.
func (g *Gate) assert(p *inbound, to *config.Assertion) (string, error) {
	s, key := p.grant, assertionKey{to, p.tenant, p.actions}
	s.mu.Lock()
	last, ok := s.assertions[key]
	s.mu.Unlock()
	if ok && p.now.Before(last.fresh) {
		return last.compact, nil
	}
	claims, err := json.Marshal(g.assertionClaims(p, to))
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	compact, err := g.sign(assertionType, claims)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assertions == nil || len(s.assertions) >= assertionsAtMost {
		s.assertions = make(map[assertionKey]assertion)
	}
	s.assertions[key] = assertion{compact, p.now.Add(to.TTL / 2)}
	return compact, nil
}

type assertionClaims struct {
	Issuer      string   `json:"iss"`
	Audience    string   `json:"aud"`
	Subject     string   `json:"sub"`
	IssuedAt    int64    `json:"iat"`
	Expiry      int64    `json:"exp"`
	ClientID    string   `json:"client_id,omitempty"`
	TokenIssuer string   `json:"token_issuer"`
	TokenID     string   `json:"token_id,omitempty"`
	Tenant      string   `json:"tenant,omitempty"`
	Actions     []string `json:"actions,omitempty"`
}

// assertionClaims never outlive the token that they are about.
func (g *Gate) assertionClaims(p *inbound, to *config.Assertion) *assertionClaims {
	c := &p.entry.verified.Claims
	issuer, subject := c.Identity()
	out := &assertionClaims{
		Issuer: g.issuer, Audience: to.Audience, Subject: subject, ClientID: c.ClientID,
		TokenIssuer: issuer, TokenID: c.ID, Tenant: p.tenant,
		IssuedAt: p.now.Unix(), Expiry: min(p.now.Add(to.TTL).Unix(), c.Expiry/1000),
	}
	if p.actions != "" {
		out.Actions = strings.Split(p.actions, ",")
	}
	return out
}
