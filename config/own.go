package config

import (
	"slices"
	"strings"

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
		own = append(own, "/oauth2/token", "/oauth2/introspect", "/oauth2/revoke")
		own = append(own, c.Issuer.MetadataPaths()...)
		own = append(own, c.Issuer.ResourceMetadataPaths()...)
	}
	paths := make([]route.Path, 0, len(own))
	for _, pattern := range own {
		if p, err := route.ParsePath(pattern); err == nil { // the prefix was checked when it was read
			paths = append(paths, p)
		}
	}
	return paths
}

// MetadataPaths are where the issuer's metadata stand: the well-known part goes between its host and its path (RFC 8414
// §3.1); behind its path is where OpenID Connect Discovery §4 looks. The first is that of RFC 8414.
func (i *Issuer) MetadataPaths() []string {
	server, _ := WellKnown("oauth-authorization-server", i.URL) // the issuer's URL was checked when it was read
	openid, _ := WellKnown("openid-configuration", i.URL)
	paths := []string{server, openid}
	if path := strings.TrimPrefix(openid, "/.well-known/openid-configuration"); path != "" {
		paths = append(paths, path+"/.well-known/openid-configuration")
	}
	return paths
}

// ResourceMetadataPaths are where the metadata of our routes stand (RFC 9728 §3.1), for each audience that is a URL, and
// without a path for whoever looks only there.
func (i *Issuer) ResourceMetadataPaths() []string {
	paths := []string{resourceMetadata}
	for _, audience := range i.Audiences {
		if path, ok := WellKnown("oauth-protected-resource", audience); ok && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

const resourceMetadata = "/.well-known/oauth-protected-resource"

// WellKnown is the path of a well-known document about identifier; none if identifier is no URL that can have one.
func WellKnown(name, identifier string) (path string, ok bool) {
	u, err := webURL(identifier)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return "", false
	}
	path = u.EscapedPath()
	if path == "/" {
		path = ""
	}
	path = "/.well-known/" + name + path
	if _, err := route.ParsePath(path); err != nil || strings.HasSuffix(path, "/") {
		return "", false // a path that ends in a slash would be a whole tree
	}
	return path, true
}

// OwnHost tells whether our own endpoints answer on every host that h matches.
func (c *Config) OwnHost(h route.Host) bool {
	return c.Issuer != nil && (len(c.Issuer.Serve.Hosts) == 0 || slices.Contains(c.Issuer.Serve.Hosts, h.String()))
}
