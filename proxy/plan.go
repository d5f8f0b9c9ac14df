package proxy

import (
	"fmt"
	"slices"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/upstream"
)

// A plan is a route with all that is known of it before a request comes.
type plan struct {
	route     *config.Route
	upstream  *config.Upstream
	pool      *upstream.Pool
	bodyLimit int64 // 0: none
	pattern   string
	steps     []step // what judges its requests
	cors      *cors.Policy
	rates     []rateLimit
	claims    []claimField
	sources   sources
	scopes    []string // that a challenge tells: of the resource, and those that the route asks for

	hop               *config.Hop // nil: the path goes on as it came
	request, response *edits      // nil: no field is set or removed
}

// plan compiles every route, and opens one pool for each upstream.
func (g *Gate) plan(o *Options) error {
	c, pools := o.Config, o.Upstreams
	g.plans = make([]plan, len(c.Routes))
	opened := make(map[*config.Upstream]*upstream.Pool)
	for i, r := range c.Routes {
		pool := opened[r.Upstream]
		if pool == nil && r.Upstream != nil {
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
		g.speaksCORS = g.speaksCORS || r.CORS != nil
		rates, err := g.rateLimits(r, o.Rates, o.SharedRates)
		if err != nil {
			return fmt.Errorf("route %s: rate_limit: %w", r.Name, err)
		}
		g.plans[i] = plan{
			route: r, upstream: r.Upstream, pool: pool, bodyLimit: limit, pattern: r.Path.String(), steps: g.stepsOf(r),
			cors: CORS(r.CORS), rates: rates, claims: g.claimFields(r), sources: g.sourcesOf(r),
			scopes: challenged(r),
		}
		if r.Hop.StripPrefix != "" || r.Hop.AddPrefix != "" {
			g.plans[i].hop = &r.Hop
		}
		g.plans[i].request, g.plans[i].response = newEdits(&r.Hop.Request), newEdits(&r.Hop.Response)
	}
	return nil
}

// challenged are the scopes that a client should ask for to get through (RFC 6750 §3).
func challenged(r *config.Route) []string {
	if r.Resource == nil {
		return r.Require.Scopes
	}
	all := slices.Clip(r.Resource.Scopes)
	for _, word := range r.Require.Scopes {
		if !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	return all
}

func (g *Gate) open(r *config.Route, c *config.Config, pools *upstream.Pools) (*upstream.Pool, error) {
	u := r.Upstream
	if len(u.Servers) == 0 {
		return nil, fmt.Errorf("route %s: no upstream", r.Name)
	}
	if u.Assertion != nil && g.sign == nil {
		return nil, fmt.Errorf("upstream %s: an assertion needs an issuer with a key", u.Name)
	}
	var servers []upstream.Server
	for i, s := range u.Servers {
		server := upstream.Server{URL: s}
		if u.Weights != nil {
			server.Weight = u.Weights[i]
		}
		servers = append(servers, server)
	}
	var health upstream.Health
	if h := u.Health; h != nil {
		health = upstream.Health{
			Path: h.Path, GRPC: h.Path == "", Service: h.Service, Host: u.Host,
			Interval: h.Interval, Timeout: h.Timeout, Up: h.Up, Down: h.Down, Status: h.Status,
		}
	}
	pool, release, err := pools.Open(upstream.Settings{
		Name: u.Name, Servers: servers, ConnectTimeout: u.ConnectTimeout, ResponseTimeout: u.ResponseTimeout,
		StallTimeout: c.Limits.StallTimeout, MaxConnections: u.MaxConnections, MaxIdle: u.MaxIdle,
		PerClient: u.PerClient, Balance: upstream.Balance(u.Balance), Health: health, Eject: upstream.Eject(u.Eject),
		Retry: upstream.Retry(u.Retry), Resolve: u.Resolve, TLS: upstream.TLS(u.TLS),
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	g.releases = append(g.releases, release)
	return pool, nil
}
