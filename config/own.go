package config

import (
	"slices"

	"github.com/jotgate/jotgate/internal/route"
)

// OwnPaths lists the paths that our own endpoints answer on, for the dialects that are served; none without an issuer.
// One that ends in "/" is a whole tree. They answer on issuer.serve.hosts, or on any host if there are none.
func (c *Config) OwnPaths() []route.Path {
	if c.Issuer == nil {
		return nil
	}
	s := &c.Issuer.Serve
	own := []string{"/.well-known/jwks.json", "/openapi.json"}
	if s.Codes {
		own = append(own, "/api/v1/authorization-codes", "/api/v1/tokens")
	}
	if s.UserTokens {
		own = append(own, "/api/v1/authorization-tokens")
	}
	if s.AccessTokens {
		own = append(own, s.AccessTokenPrefix+"/api/1/access_token/")
	}
	if s.OAuth2 {
		own = append(own, "/oauth2/token", "/oauth2/introspect", "/oauth2/revoke",
			"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
			"/.well-known/oauth-protected-resource")
	}
	paths := make([]route.Path, 0, len(own))
	for _, pattern := range own {
		if p, err := route.ParsePath(pattern); err == nil { // the prefix was checked when it was read
			paths = append(paths, p)
		}
	}
	return paths
}

// OwnHost tells whether our own endpoints answer on every host that h matches.
func (c *Config) OwnHost(h route.Host) bool {
	return c.Issuer != nil && (len(c.Issuer.Serve.Hosts) == 0 || slices.Contains(c.Issuer.Serve.Hosts, h.String()))
}
