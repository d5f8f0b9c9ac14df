package proxy

import (
	"fmt"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

func stepPermission() step {
	return step{
		name: "permission", about: aboutRequest, run: (*Gate).authorize,
		say: func(_ *Gate, p *inbound) string {
			q := &p.plan.route.Require
			if p.anonymous {
				return "no token is needed"
			}
			if q.Action == "" {
				return "any good token will do"
			}
			i := p.decider - 1
			return fmt.Sprintf("entry %d (tenant %q) decides and holds %s", i, token.Shown(p.grant.permissions[i].Tenant),
				q.Action)
		},
		need: (*Gate).neededPermission,
	}
}

func (g *Gate) neededPermission(p *inbound, reason refusal.Reason) string {
	q := &p.plan.route.Require
	if reason != refusal.TenantDenied && reason != refusal.ActionDenied {
		return ""
	}
	if i := g.trust.Issuer(p.entry.verified); i != nil && !i.Own {
		if wanted := i.Trusted.Wants(p.asked(), q.Action); wanted != "" {
			return wanted
		}
	}
	if reason == refusal.TenantDenied {
		return fmt.Sprintf("an entry {tenant: %q, actions: [%s]} in the token's permissions", token.Shown(p.asked()),
			q.Action)
	}
	i := p.decider - 1
	return fmt.Sprintf("%s, or \"*\", among the actions of entry %d (tenant %q), which decides alone",
		q.Action, i, token.Shown(p.grant.permissions[i].Tenant))
}

// authorize makes the verdict: the first entry for the request's tenant, or for any, decides alone.
func (g *Gate) authorize(p *inbound) error {
	q := &p.plan.route.Require
	if q.Action == "" {
		return nil
	}
	if g.revocations != nil {
		if err := g.revocations.CheckTenant(&p.entry.verified.Claims, p.tenant); err != nil {
			return err
		}
	}
	asked := p.asked()
	i := p.grant.index.Deciding(asked)
	p.decider = i + 1
	if i < 0 {
		return refusal.Because(refusal.TenantDenied, "no entry for tenant %q", token.Shown(asked))
	}
	p.x.Entry = &p.grant.permissions[i]
	if !p.x.Entry.Holds(q.Action) {
		return refusal.Because(refusal.ActionDenied, "entry %d does not hold %s", i, q.Action)
	}
	p.actions = p.grant.actions[i]
	return nil
}

// asked is the tenant that the permissions are asked for.
func (p *inbound) asked() string {
	if p.plan.route.Require.Global {
		return token.Global
	}
	return p.tenant
}
