package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// The conditions that a route can add to a token and its permission. Each step is wanted by the routes that have its
// key alone.

func stepAddress() step {
	return step{
		name: "address", run: (*Gate).comesFrom,
		wanted: func(r *config.Route) bool { return len(r.AllowFrom)+len(r.DenyFrom) > 0 },
		say:    func(_ *Gate, p *inbound) string { return p.x.Client.String() + " may come here" },
		need: func(_ *Gate, p *inbound, _ refusal.Reason) string {
			r, all := p.plan.route, "any"
			if len(r.AllowFrom) > 0 {
				all = listed(r.AllowFrom)
			}
			if len(r.DenyFrom) > 0 {
				all += " but those of " + listed(r.DenyFrom)
			}
			return "a client's address: " + all
		},
	}
}

func listed(prefixes []netip.Prefix) string {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}

// comesFrom judges the client's address. Who has none, such as a peer on a Unix socket, is in no range.
func (g *Gate) comesFrom(p *inbound) error {
	r, client := p.plan.route, p.x.Client.Unmap().WithZone("")
	within := func(all []netip.Prefix) bool {
		return slices.ContainsFunc(all, func(one netip.Prefix) bool { return one.Contains(client) })
	}
	switch {
	case !client.IsValid() && p.trial != nil:
		return skipped("the address that the request comes from is not known here")
	case !client.IsValid():
		return refusal.Because(refusal.AddressDenied, "the client has no address")
	case within(r.DenyFrom):
		return refusal.Because(refusal.AddressDenied, "%s is in deny_from", client)
	case len(r.AllowFrom) > 0 && !within(r.AllowFrom):
		return refusal.Because(refusal.AddressDenied, "%s is not in allow_from", client)
	}
	return nil
}

func stepIssuer() step {
	return step{
		name: "issuer", about: aboutBoth,
		wanted: func(r *config.Route) bool { return len(r.Require.Issuers) > 0 },
		run: func(_ *Gate, p *inbound) error {
			if issuer, _ := p.entry.verified.Claims.Identity(); !slices.Contains(p.plan.route.Require.Issuers, issuer) {
				return refusal.Because(refusal.IssuerDenied, "iss %.130q", issuer)
			}
			return nil
		},
		say: func(_ *Gate, p *inbound) string {
			issuer, _ := p.entry.verified.Claims.Identity()
			return issuer + " is taken on this route"
		},
		need: func(_ *Gate, p *inbound, _ refusal.Reason) string {
			return "a token of " + strings.Join(p.plan.route.Require.Issuers, " or ")
		},
	}
}

func stepScopes() step {
	return step{
		name: "scope", about: aboutBoth,
		wanted: func(r *config.Route) bool { return len(r.Require.Scopes) > 0 },
		run:    (*Gate).scoped,
		say:    func(_ *Gate, p *inbound) string { return "it has " + strings.Join(p.plan.route.Require.Scopes, " ") },
		need: func(_ *Gate, p *inbound, _ refusal.Reason) string {
			return fmt.Sprintf("a token whose scope has all of %q", p.plan.route.Require.Scopes)
		},
	}
}

// scoped asks for every word of the route's scopes.
func (g *Gate) scoped(p *inbound) error {
	for _, word := range p.plan.route.Require.Scopes {
		if !slices.Contains(p.entry.verified.Scopes, word) {
			return refusal.Because(refusal.ScopeMissing, "the scope lacks %s", word)
		}
	}
	return nil
}

func stepClaims() step {
	return step{
		name: "claims", about: aboutBoth,
		wanted: func(r *config.Route) bool { return len(r.Require.Claims) > 0 },
		run: func(_ *Gate, p *inbound) error {
			if q := p.unmet(); q != nil {
				return refusal.Because(refusal.ClaimDenied, "%s holds %s", q.Claim, held(p.entry.verified.Claim(q.Claim)))
			}
			return nil
		},
		say: func(*Gate, *inbound) string { return "they hold what this route asks for" },
		need: func(_ *Gate, p *inbound, _ refusal.Reason) string {
			if q := p.unmet(); q != nil {
				return "a token whose claim " + q.Claim.String() + " is " + q.Condition.String()
			}
			return ""
		},
	}
}

// unmet is the first claim that does not hold what the route asks for; nil: all do.
func (p *inbound) unmet() *jose.Requirement {
	all := p.plan.route.Require.Claims
	for i := range all {
		if !all[i].Condition.Holds(p.entry.verified.Claim(all[i].Claim)) {
			return &all[i]
		}
	}
	return nil
}

// held is a claim's value for a log line.
func held(v jose.Value) string {
	if v == "" {
		return "nothing"
	}
	return fmt.Sprintf("%.100s", string(v))
}
