package config

import (
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/route"
)

// OwnPaths returns the paths that our own endpoints answer on, for the dialects that are served; none without an
// issuer. One that ends in "/" is a whole tree. They answer on issuer.serve.hosts, or on any host if there are none.
func (c *Config) OwnPaths() []route.Path {
	if c.Issuer == nil {
		return nil
	}
	var paths []route.Path
	for _, pattern := range c.Issuer.Endpoints().Paths() {
		if p, err := route.ParsePath(pattern); err == nil { // the prefix was checked when it was read
			paths = append(paths, p)
		}
	}
	return paths
}

// Endpoints returns the endpoints that the issuer serves.
func (i *Issuer) Endpoints() endpoint.Served {
	s := &i.Serve
	return endpoint.Served{
		Codes:             s.Codes,
		UserTokens:        s.UserTokens,
		AccessTokens:      s.AccessTokens,
		OAuth2:            s.OAuth2,
		AccessTokenPrefix: s.AccessTokenPrefix,
		Metadata:          i.MetadataPaths(),
		ResourceMetadata:  i.ResourceMetadataPaths(),
	}
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

// ResourceMetadataPaths are where the metadata of our routes stand (RFC 9728 §3.1), for each audience that is a URL,
// and without a path for clients that look only there.
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

// OwnHost reports whether our own endpoints answer on every host that h matches.
func (c *Config) OwnHost(h route.Host) bool {
	return c.Issuer != nil && (len(c.Issuer.Serve.Hosts) == 0 || slices.Contains(c.Issuer.Serve.Hosts, h.String()))
}
