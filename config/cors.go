package config

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/grammar"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// buildCORS returns nil where there is none, or it is off.
func (b *builder) buildCORS(w yaml.Setting[writtenCORS]) *CORS {
	if !w.Given || w.Value.off {
		return nil
	}
	c := &CORS{
		Origins: yaml.Values(w.Value.origins), Methods: yaml.Values(w.Value.methods), Headers: yaml.Values(w.Value.headers),
		Expose: yaml.Values(w.Value.expose), Credentials: w.Value.credentials.Value, MaxAge: w.Value.maxAge,
	}
	if w.Value.headers == nil {
		c.Headers = []string{"Authorization", "Content-Type", "DPoP"}
	}
	if c.Credentials {
		b.noWildcards(&w.Value)
	}
	return c
}

// noWildcards refuses what a browser does not take with credentials: Fetch, "CORS protocol and credentials".
func (b *builder) noWildcards(w *writtenCORS) {
	for _, list := range [][]yaml.Setting[string]{w.origins, w.headers, w.expose} {
		for _, item := range list {
			if item.Usable() && item.Value == "*" {
				b.Fault(item.At, item.Shown+" conflicts with credentials: true", "list the names, or remove credentials")
			}
		}
	}
}

const (
	scriptOriginLike = `^(\*|https?://[!-~]+)$`
	fieldNameLike    = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"
)

// isScriptOrigin takes what a browser sends as Origin, with "*." for one label in the place of its first; and "*".
func isScriptOrigin(s string) (problem, remedy string) {
	switch s {
	case "*":
		return "", ""
	case "null":
		return "is the origin of any sandboxed page", `list the origins of your own pages, or "*" for any`
	}
	plain := strings.Replace(s, "://*.", "://x.", 1)
	if problem, _ := isOrigin(plain); problem != "" {
		return "is not an origin", "write http(s)://host, optionally with a port, and nothing after it"
	}
	host := plain[strings.Index(plain, "://")+3:]
	switch {
	case strings.Contains(plain, "*"):
		return "has a * that is not the whole first label", `write it like "https://*.example.com"`
	case strings.ToLower(s) != s:
		return "has capitals, which browsers do not send", "write " + strings.ToLower(s)
	case strings.HasPrefix(s, "http://") && strings.HasSuffix(s, ":80"),
		strings.HasPrefix(s, "https://") && strings.HasSuffix(s, ":443"):
		return "names the default port, which browsers do not send", "write " + s[:strings.LastIndexByte(s, ':')]
	case strings.Contains(s, "*") && !strings.Contains(strings.TrimPrefix(host, "x."), "."):
		return "matches every site of a top-level domain", `write it like "https://*.example.com"`
	}
	return "", ""
}

// isFieldName takes any header name (RFC 9110 §5.6.2), and "*".
func isFieldName(s string) (problem, remedy string) {
	if len(s) > 64 || !grammar.IsToken(s) {
		return "is not a valid header name", "use 1 to 64 letters, digits and hyphens, as in X-Tenant"
	}
	return "", ""
}

// lintCORS warns of routes that scripts of the configured origins cannot use.
func (b *builder) lintCORS() {
	for i, r := range b.Routes {
		if r.CORS == nil {
			continue
		}
		w := &b.file.routes.Value[i].Value
		at, whose := w.path.At, "the top level's cors"
		if w.cors.Given {
			at, whose = w.cors.At, "its cors"
		}
		if !r.Public && !r.CORS.sets("Authorization") {
			b.Warn(at, "scripts cannot use this route: "+whose+" does not let them set Authorization",
				"add authorization to its headers")
		}
		if r.Require.From == FromHeader && !r.CORS.sets(r.Require.Name) {
			b.Warn(at, "scripts cannot use this route: "+whose+" does not let them set "+r.Require.Name+
				", which names the tenant", "add it to its headers")
		}
		takes := func(method string) bool { return len(r.Methods) == 0 || slices.Contains(r.Methods, method) }
		if len(r.CORS.Methods) > 0 && !slices.ContainsFunc(r.CORS.Methods, takes) {
			b.Warn(at, "scripts cannot use this route: it takes none of the methods of "+whose,
				"remove methods: the default is the route's own")
		}
	}
}

// sets reports whether a script may set a request field.
func (c *CORS) sets(name string) bool {
	return slices.ContainsFunc(c.Headers, func(h string) bool {
		return h == "*" || textproto.CanonicalMIMEHeaderKey(h) == textproto.CanonicalMIMEHeaderKey(name)
	})
}
