package proxy

import (
	"fmt"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream"
)

// A plan is a route with all that can be known of it before a request comes.
type plan struct {
	route     *config.Route
	upstream  *config.Upstream
	pool      *upstream.Pool
	direct    bool  // the pool speaks plain HTTP alone
	bodyLimit int64 // 0: none
	pattern   string
}

// plan compiles every route, and opens one pool for each upstream.
func (g *Gate) plan(c *config.Config, pools *upstream.Pools) error {
	g.plans = make([]plan, len(c.Routes))
	opened := make(map[*config.Upstream]*upstream.Pool)
	for i, r := range c.Routes {
		pool := opened[r.Upstream]
		if pool == nil {
			var err error
			if pool, err = g.open(r, c, pools); err != nil {
				return err
			}
			opened[r.Upstream] = pool
		}
		limit := r.BodyBytes
		if limit == 0 {
			limit = c.Limits.BodyBytes
		}
		g.plans[i] = plan{route: r, upstream: r.Upstream, pool: pool, direct: pool.Plain(), bodyLimit: limit, pattern: r.Path.String()}
	}
	return nil
}

func (g *Gate) open(r *config.Route, c *config.Config, pools *upstream.Pools) (*upstream.Pool, error) {
	u := r.Upstream
	if u == nil || len(u.Servers) == 0 {
		return nil, fmt.Errorf("route %s: no upstream", r.Name)
	}
	if u.Assertion != nil && g.sign == nil {
		return nil, fmt.Errorf("upstream %s: an assertion needs an issuer with a key", u.Name)
	}
	pool, release, err := pools.Open(upstream.Settings{
		Servers: u.Servers, ConnectTimeout: u.ConnectTimeout, ResponseTimeout: u.ResponseTimeout,
		StallTimeout: c.Limits.StallTimeout, MaxConnections: u.MaxConnections, MaxIdle: u.MaxIdle, CAFile: u.CAFile,
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	g.releases = append(g.releases, release)
	return pool, nil
}

// choose finds the one route that judges this request. A method that the route lacks is refused, and never looked for in a
// broader route, which might ask for less.
func (g *Gate) choose(p *inbound) error {
	err := g.table.Match(p.x.Host, p.r.Method, &p.x.Target, &p.match)
	switch refusal.Of(err) {
	case "":
	case refusal.MethodNotAllowed:
		p.x.Header().Set("Allow", strings.Join(p.match.Allowed, ", "))
		fallthrough
	default:
		if !g.table.Knows(p.r.Method) {
			return refusal.Because(refusal.MethodUnsupported, "method %.32q", p.r.Method)
		}
		return err
	}
	i := p.match.Value.Index
	if i >= len(g.plans) || g.plans[i].route != p.match.Value {
		return fault("the table and the configuration have different routes")
	}
	p.plan = &g.plans[i]
	p.x.Route, p.x.Pattern, p.x.Place = p.plan.route.Name, p.plan.pattern, i+1
	return nil
}
