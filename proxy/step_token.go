package proxy

import (
	"fmt"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/trust"
)

func stepToken() step {
	return step{
		name: "token", about: aboutToken, run: (*Gate).verify,
		say: func(_ *Gate, p *inbound) string { return p.trial.verifiedBy(p.entry.verified) },
		need: func(g *Gate, _ *inbound, reason refusal.Reason) string {
			switch reason {
			case refusal.TokenSignatureInvalid, refusal.TokenKeyUnknown, refusal.TokenAlgorithmRefused:
				return "a token that a present key of its issuer has signed with the key's own algorithm"
			case refusal.TokenTypeRefused:
				return "a token with a typ and of a kind that its issuer's entry accepts (token_types, kinds)"
			case refusal.TokenClaimRequired:
				return "claims that hold what require_claims of the issuer's entry asks for"
			case refusal.IssuerUnavailable:
				if g.offline {
					return "the keys that the issuer publishes, which are not fetched here: ask POST /explain on a running " +
						"gate's admin " +
						"listener, or judge what the token says with --unverified"
				}
				return "a key set of the issuer, which could not be fetched"
			case refusal.TokenIssuerUnknown:
				return "a token of " + strings.Join(g.trust.Issuers(), " or ")
			}
			return ""
		},
	}
}

// verify finds the token's claims, checked anew or from the cache. What a cache must not remember is judged by the
// steps that follow.
func (g *Gate) verify(p *inbound) (err error) {
	if p.ticketed {
		return g.openTicket(p)
	}
	if p.trial != nil {
		p.entry, err = p.trial.verified(g, p)
		return err
	}
	p.entry, err = g.verified(p.r.Context(), p.token)
	return err
}

func stepTime() step {
	return step{
		name: "time", about: aboutToken, run: (*Gate).timely,
		say: func(_ *Gate, p *inbound) string { return "until " + stamp(p.entry.verified.Claims.Expiry) },
	}
}

func (g *Gate) timely(p *inbound) error {
	err := g.verifier.CheckTimes(p.entry.verified, p.now)
	if refusal.Of(err) == refusal.TokenExpired {
		g.cache.drop(p.token)
	}
	return err
}

func stepKind() step {
	return step{
		name: "kind", about: aboutToken,
		run: (*Gate).opensRoutes,
		say: func(*Gate, *inbound) string { return "an access token" },
	}
}

// opensRoutes refuses a token that no route takes. Of a token that is served verifyAnew has asked the rest already.
func (g *Gate) opensRoutes(p *inbound) error {
	v := p.entry.verified
	if p.trial != nil {
		return g.trust.Opens(v)
	}
	if v.Issuer.Own && trust.Management(&v.Claims, v.Issuer.URL) {
		return &refusal.Error{Reason: refusal.TokenManagement}
	}
	return nil
}

func stepRevocation() step {
	return step{
		name: "revocation", about: aboutToken, run: (*Gate).unrevoked,
		say: func(*Gate, *inbound) string { return "not revoked" },
	}
}

func (g *Gate) unrevoked(p *inbound) error {
	if g.revocations == nil {
		if p.trial != nil {
			return skipped("no list of revoked tokens is at hand here")
		}
		return nil
	}
	v := p.entry.verified
	return g.revocations.Check(&v.Claims, v.KeyID)
}

func stepAudience() step {
	return step{
		name: "audience", about: aboutBoth, run: (*Gate).intended,
		say: func(g *Gate, p *inbound) string {
			return fmt.Sprintf("this route takes %q", g.audiences(p.plan.route, p.entry.verified))
		},
	}
}

// intended refuses a token that is not meant for the route.
func (g *Gate) intended(p *inbound) error {
	v := p.entry.verified
	if !trust.MeantFor(&v.Claims, g.audiences(p.plan.route, v)) {
		return refusal.Because(refusal.TokenAudienceMismatch, "aud %.100q", v.Claims.Audience)
	}
	return nil
}

// audiences are those that a route takes of an issuer's tokens.
func (g *Gate) audiences(r *config.Route, v *jose.Verified) []string {
	if len(r.Audiences) > 0 {
		return r.Audiences
	}
	return g.trust.Issuer(v).Audiences
}

// verifyAnew is what a token costs that the cache does not know. What it refuses does not depend on the request, since
// others that bring the same token at the same moment get the same answer.
func (g *Gate) verifyAnew(compact string) (*entry, error) {
	g.cache.verified.Add(1)
	v, err := g.verifier.Verify(compact, g.clock(), g.trust.Opens)
	if err != nil {
		return nil, err
	}
	// Of the very set that the key was found in: should the keys change meanwhile, the entry does not count.
	return &entry{
		compact:  strings.Clone(compact), // a part of it would keep the whole head
		verified: v, by: g.verifier, keys: v.Keys, size: weigh(compact, v),
	}, nil
}

// current reports whether an entry was verified by the settings and keys that are in use now. A reload brings a new
// verifier, which still knows the issuers that nothing has changed about, and a rotation new keys, so that what is gone
// ends every token that needed it with the next request. The entry's shard is locked.
func (g *Gate) current(e *entry) bool {
	if e.by != g.verifier {
		if !g.verifier.Knows(e.verified.Issuer) {
			return false
		}
		e.by = g.verifier
	}
	return e.verified.Issuer.Keys() == e.keys
}
