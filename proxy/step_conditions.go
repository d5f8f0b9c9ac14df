package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
)

// The conditions that a route can add to a token and its permission. Each step is wanted by the routes that have its key alone.

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
			if issuer := p.entry.verified.Claims.Issuer; !slices.Contains(p.plan.route.Require.Issuers, issuer) {
				return refusal.Because(refusal.IssuerDenied, "iss %.130q", issuer)
			}
			return nil
		},
		say: func(_ *Gate, p *inbound) string { return p.entry.verified.Claims.Issuer + " is taken on this route" },
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
		if !p.entry.verified.Claims.HasScope(word) {
			return refusal.Because(refusal.ScopeMissing, "the scope lacks %s", word)
		}
	}
	return nil
}
