package proxy

import (
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/refusal"
)

func stepRoute() step {
	return step{
		name: "route", run: (*Gate).choose,
		say: func(_ *Gate, p *inbound) string {
			if p.preflight {
				return strings.TrimSpace(p.x.Route + " (a CORS preflight, which the gate answers itself)")
			}
			if p.x.SentPath != "" {
				return p.x.Route + ": the upstream gets " + endpoint.Redact(p.x.SentPath)
			}
			return p.x.Route
		},
		need: func(_ *Gate, p *inbound, reason refusal.Reason) string {
			switch reason {
			case refusal.RouteNotFound:
				return "a route whose hosts and path cover this request"
			case refusal.MethodNotAllowed:
				return "one of the methods " + strings.Join(p.match.Allowed, ", ")
			case refusal.PathAmbiguous:
				return "another spelling of the path, or insecure_allow on the route"
			}
			return ""
		},
	}
}

func stepPublic() step {
	return step{
		name: "public", wanted: func(r *config.Route) bool { return r.Public },
		run: func(*Gate, *inbound) error { return nil },
		say: func(*Gate, *inbound) string { return "no token is judged on this route" },
	}
}

// choose finds the one route that judges this request. A method that the route lacks is refused, and never looked for
// in a broader route, which might ask for less.
func (g *Gate) choose(p *inbound) error {
	if g.speaksCORS && g.asksFirst(p) {
		return nil
	}
	err := g.table(p.x.Listener).Match(p.x.Host, p.r.Method, &p.x.Target, &p.match)
	switch refusal.Of(err) {
	case "":
	case refusal.MethodNotAllowed:
		p.x.Header().Set("Allow", strings.Join(p.match.Allowed, ", "))
		g.speakForOthers(p)
		fallthrough
	default:
		if !g.listed.Knows(p.r.Method) {
			return refusal.Because(refusal.MethodUnsupported, "method %.32q", p.r.Method)
		}
		return err
	}
	i := p.match.Value.Index
	if i >= len(g.plans) || g.plans[i].route != p.match.Value {
		return fault("the table and the configuration have different routes")
	}
	p.chosen(g, i)
	if p.plan.hop != nil {
		return p.rewrite(p.plan.hop)
	}
	return nil
}

// chosen takes the route of a place in the file.
func (p *inbound) chosen(g *Gate, i int) {
	p.plan = &g.plans[i]
	p.x.Route, p.x.Pattern, p.x.Place = p.plan.route.Name, p.plan.pattern, i+1
	p.x.CORS = p.plan.cors.Answer(p.r)
	p.x.Scopes = p.plan.scopes
	if r := p.plan.route.Resource; r != nil {
		p.x.ResourceMetadata = r.Metadata
	}
}
