package proxy

import (
	"fmt"
	"regexp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/token"
)

func stepTenant() step {
	return step{
		name: "tenant", about: aboutRequest, run: (*Gate).tenant,
		say: func(_ *Gate, p *inbound) string {
			switch q := &p.plan.route.Require; {
			case q.Action == "":
				return "none is asked for"
			case q.Global:
				return "none: the action is global"
			default:
				return fmt.Sprintf("%q, from %s", token.Shown(p.tenant), from(q))
			}
		},
		need: func(_ *Gate, p *inbound, _ refusal.Reason) string {
			return "exactly one tenant's name in " + from(&p.plan.route.Require)
		},
	}
}

// from is where a tenant stands, as the configuration spells it; "" where none is asked for.
func from(q *config.Require) string {
	switch {
	case q.Action == "" || q.Global:
		return ""
	case q.Tenant != "":
		return "the route"
	}
	place := map[config.Source]string{
		config.FromPath: "path.", config.FromHost: "host.", config.FromHeader: "header.", config.FromQuery: "query.",
	}
	return place[q.From] + q.Name
}

// tenant finds the tenant that the request is about, where its route says it stands. There must be exactly one reading
// of it, since the app will read it again.
func (g *Gate) tenant(p *inbound) error {
	q := &p.plan.route.Require
	switch {
	case q.Action == "" || q.Global:
		return nil
	case q.Tenant != "":
		p.tenant = q.Tenant
	default:
		name, err := p.findTenant(q)
		if err != nil {
			return err
		}
		if !g.tenants.ok(name) {
			return refusal.Because(refusal.TenantMalformed, "tenant %.70q", token.Shown(name))
		}
		p.tenant = name
	}
	p.x.Tenant = token.Shown(p.tenant)
	return nil
}

func (p *inbound) findTenant(q *config.Require) (string, error) {
	switch q.From {
	case config.FromPath:
		name, odd, ok := p.match.Param(q.Name)
		if odd {
			return "", refusal.Because(refusal.TenantMalformed, "path.%s: readers could disagree about it", q.Name)
		}
		return one(name, ok)
	case config.FromHost:
		return one(p.match.HostParam(q.Name))
	case config.FromHeader:
		return p.tenantField(q.Name)
	case config.FromQuery:
		values, ok := route.QueryValues(p.x.Target.Query, q.Name)
		if !ok {
			return "", refusal.Because(refusal.TenantAmbiguous, "query.%s: readers could disagree about it", q.Name)
		}
		return only(values)
	}
	return "", fault("route %s: a tenant from nowhere", p.plan.route.Name)
}

// tenantField reads a field that must be there once, in any spelling that the app could take for it.
func (p *inbound) tenantField(name string) (string, error) {
	var room [maxFold]byte
	folded := string(fold(room[:0], name))
	for other := range p.r.Header {
		if other != name && string(fold(room[:0], other)) == folded {
			return "", refusal.Because(refusal.TenantAmbiguous, "header %.70q beside %s", other, name)
		}
	}
	return only(p.r.Header[name])
}

func only(values []string) (string, error) {
	if len(values) > 1 {
		return "", refusal.Because(refusal.TenantAmbiguous, "%d values", len(values))
	}
	if len(values) == 0 {
		return "", &refusal.Error{Reason: refusal.TenantMissing}
	}
	return one(values[0], true)
}

func one(value string, ok bool) (string, error) {
	if !ok || value == "" {
		return "", &refusal.Error{Reason: refusal.TenantMissing}
	}
	return value, nil
}

// tenantNames is what a tenant's name may be. The default pattern is matched by hand: it is on every request's way.
type tenantNames struct {
	pattern *regexp.Regexp // nil: the default, [A-Za-z0-9._~-]{1,64}
}

func newTenantNames(pattern *regexp.Regexp) tenantNames {
	if pattern == nil {
		return tenantNames{}
	}
	if pattern.String() == `\A(?:[A-Za-z0-9._~-]{1,64})\z` {
		return tenantNames{}
	}
	return tenantNames{pattern}
}

// ok refuses, whatever the pattern, the wildcard and the names that are dot segments.
func (t tenantNames) ok(name string) bool {
	if name == token.Any || name == "." || name == ".." {
		return false
	}
	if t.pattern != nil {
		return t.pattern.MatchString(name)
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '~' ||
			c == '-') {
			return false
		}
	}
	return 0 < len(name) && len(name) <= 64
}
