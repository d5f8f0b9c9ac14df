package jose

import (
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// rules are an issuer's, with the numbers of the values that they look at.
type rules struct {
	tree   wanted
	count  int
	client int // the number of ClientClaim; -1: none

	audience, require, words, retain int // the numbers of the first of each
}

// compile numbers the paths that an issuer's rules name.
func (i *Issuer) compile() *rules {
	r := &rules{client: -1}
	add := func(p Path) {
		r.tree.want(p, r.count)
		r.count++
	}
	if len(i.ClientClaim) > 0 {
		r.client = r.count
		add(i.ClientClaim)
	}
	r.audience = r.count
	for _, p := range i.AudienceClaims {
		add(p)
	}
	r.require = r.count
	for _, q := range i.Require {
		add(q.Claim)
	}
	r.words = r.count
	for _, w := range i.Words {
		add(w.From)
	}
	r.retain = r.count
	for _, p := range i.Retain {
		add(p)
	}
	if i.Scopes {
		add(Path{"scope"})
		add(Path{"scp"})
	}
	return r
}

// readRules goes over the payload once more, for what the issuer's rules ask for. Tokens of issuers without rules are
// spared it.
func (x *Verified) readRules(issuer *trusted, payload string) error {
	r := issuer.rules
	if r.count == 0 {
		return nil
	}
	values := make([]Value, r.count)
	if err := r.tree.collect(strictjson.NewString(payload), values); err != nil {
		return claimsFault(err)
	}
	x.Retained = values[r.retain:][:len(issuer.Retain):len(issuer.Retain)]
	if issuer.Scopes {
		split := WordRule{Split: " "}
		for _, v := range values[len(values)-2:] {
			for _, w := range split.words(v) {
				x.Scopes = append(x.Scopes, w.Text)
			}
		}
	}
	if issuer.Own || issuer.Assertions {
		return nil
	}
	if err := x.readClient(r, values); err != nil {
		return err
	}
	if len(x.Claims.Audience) == 0 {
		x.readAudience(values[r.audience:][:len(issuer.AudienceClaims)])
	}
	for n := range issuer.Require {
		if q := &issuer.Require[n]; !q.Condition.Holds(values[r.require+n]) {
			return refusal.Because(refusal.TokenClaimRequired, "issuer %s: %s is %s, required is %s", issuer.URL, q.Claim,
				values[r.require+n].shown(), q.Condition)
		}
	}
	for n := range issuer.Words {
		rule, value := &issuer.Words[n], values[r.words+n]
		if text, isText := value.Text(); rule.Fixed != "" && value != "" && !(isText && text == rule.Fixed) {
			return refusal.Because(refusal.TokenClaimRequired, "%s is %s, the issuer's name has %s", rule.From, value.shown(),
				brief(rule.Fixed))
		}
		x.Words = append(x.Words, rule.words(value))
	}
	return nil
}

func (x *Verified) readClient(r *rules, values []Value) error {
	if r.client < 0 {
		return nil
	}
	x.SaidClientID, x.Claims.ClientID = x.Claims.ClientID, ""
	v := values[r.client]
	if v == "" {
		return nil
	}
	text, ok := v.Text()
	if !ok || text == "" || len(text) > maxName {
		return refusal.Because(refusal.TokenClaimsMalformed, "claims: %s: want a string of 1 to %d bytes",
			x.Issuer.ClientClaim, maxName)
	}
	x.Claims.ClientID = text
	return nil
}

// readAudience takes the audiences from the first claim that stands in for a missing aud and names any.
func (x *Verified) readAudience(values []Value) {
	for _, v := range values {
		if list := v.Strings(); len(list) > 0 {
			x.Claims.Audience = list
			return
		}
	}
}

// Claim returns a claim that the issuer's Retain names; "" if the token lacks it, or if it is not retained.
func (x *Verified) Claim(p Path) Value {
	for n, retained := range x.Issuer.Retain {
		if slices.Equal(retained, p) && n < len(x.Retained) {
			return x.Retained[n]
		}
	}
	return ""
}

// domainOf is the trust domain of a SPIFFE ID; "" if it is none.
func domainOf(subject string) string {
	rest, isSPIFFE := strings.CutPrefix(subject, "spiffe://")
	domain, _, hasPath := strings.Cut(rest, "/")
	if !isSPIFFE || !hasPath {
		return ""
	}
	return domain
}
