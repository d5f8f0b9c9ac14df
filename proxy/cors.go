package proxy

import (
	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/route"
)

// CORS compiles the settings of a configuration; nil for none.
func CORS(c *config.CORS) *cors.Policy {
	if c == nil {
		return nil
	}
	return cors.New(cors.Settings{
		Origins:     c.Origins,
		Methods:     c.Methods,
		Headers:     c.Headers,
		Expose:      c.Expose,
		Credentials: c.Credentials,
		MaxAge:      c.MaxAge,
	})
}

// asksFirst reports whether the request is a preflight that the gate answers: of a request whose route speaks CORS, or
// of one without a route, where the top level does, so that the script can read the 404. Any other is judged like every
// request with the method OPTIONS.
func (g *Gate) asksFirst(p *inbound) bool {
	method := cors.Asked(p.r)
	if method == "" {
		return false
	}
	var m route.Match[*config.Route]
	table := g.table(p.x.Listener)
	err := table.Match(p.x.Host, method, &p.x.Target, &m)
	var others []string // that the path takes instead
	if refusal.Of(err) == refusal.MethodNotAllowed && len(m.Allowed) > 0 {
		others = m.Allowed
		err = table.Match(p.x.Host, m.Allowed[0], &p.x.Target, &m)
	}
	switch {
	case refusal.Of(err) == refusal.RouteNotFound && g.cors != nil:
		p.preflight, p.methods = true, route.Methods()
		return true
	case err != nil || g.plans[m.Value.Index].cors == nil || g.plans[m.Value.Index].pool == nil && !p.decision:
		return false
	}
	p.match = m
	p.chosen(g, m.Value.Index)
	p.preflight, p.methods = true, others
	switch {
	case others != nil:
	case len(m.Value.Methods) > 0:
		p.methods = m.Value.Methods
	default:
		p.methods = route.Methods()
	}
	return true
}

// speakForOthers lets a script read a 405: it is of the path, which has routes for other methods.
func (g *Gate) speakForOthers(p *inbound) {
	if !g.speaksCORS || len(p.match.Allowed) == 0 {
		return
	}
	var m route.Match[*config.Route]
	if g.table(p.x.Listener).Match(p.x.Host, p.match.Allowed[0], &p.x.Target, &m) != nil {
		return
	}
	if policy := g.plans[m.Value.Index].cors; policy != nil {
		p.x.CORS = policy.Answer(p.r)
	}
}
