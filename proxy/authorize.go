package proxy

import (
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// authorize makes the verdict: the first entry for the request's tenant, or for any, decides alone.
func (g *Gate) authorize(p *inbound) error {
	q := &p.plan.route.Require
	if q.Action == "" {
		return nil
	}
	claims := &p.entry.verified.Claims
	if g.revocations != nil {
		if err := g.revocations.CheckTenant(claims, p.tenant); err != nil {
			return err
		}
	}
	asked := p.tenant
	if q.Global {
		asked = token.Any
	}
	i := p.standing.permissions.Deciding(asked)
	if i < 0 {
		return refusal.Because(refusal.TenantDenied, "no entry for tenant %q", asked)
	}
	if !p.standing.permissions.Allows(asked, q.Action) {
		return refusal.Because(refusal.ActionDenied, "entry %d does not hold %s", i, q.Action)
	}
	p.actions = p.standing.actions[i]
	return nil
}
