package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// A Resource is a protected resource with metadata of its own (RFC 9728), such as an MCP server. The routes below its
// path take only tokens whose aud has it.
type Resource struct {
	URL     string // the resource identifier, which is an audience of tokens
	Path    route.Path
	Servers []string // issuer identifiers of its authorization servers
	Scopes  []string // that a client asks for; they are told, and not judged

	WellKnown string // path of its metadata (RFC 9728 §3.1)
	Metadata  string // URL of its metadata, as challenges tell it
	Host      string // canonical, of URL
}

// buildResources reads the resources and gives their routes the one audience. It comes between the routes and their
// table.
func (b *builder) buildResources() {
	first := map[string]int{} // by the URL of the metadata
	for i := range b.file.resources {
		w := &b.file.resources[i].Value
		r := b.buildResource(w)
		if r == nil {
			continue
		}
		if other, taken := first[r.Metadata]; taken {
			b.Fault(w.resource.At, fmt.Sprintf("has the metadata of resources[%d]", other), "list each resource once")
			continue
		}
		first[r.Metadata] = i
		b.Resources = append(b.Resources, r)
		b.protect(w, r)
	}
}

func (b *builder) buildResource(w *writtenResource) *Resource {
	if !w.resource.Usable() {
		return nil
	}
	path, ok := WellKnown("oauth-protected-resource", w.resource.Value)
	u, err := url.Parse(w.resource.Value)
	if !ok || err != nil {
		b.Fault(w.resource.At, w.resource.Shown+" has no place for metadata",
			"write a URL without query, fragment and final slash, like https://shop.example.com/api (RFC 9728 §1.2)")
		return nil
	}
	r := &Resource{
		URL: w.resource.Value, Servers: yaml.Values(w.servers), Scopes: yaml.Values(w.scopes),
		WellKnown: path, Metadata: u.Scheme + "://" + u.Host + path, Host: strings.ToLower(u.Hostname()),
	}
	text, at := u.EscapedPath(), w.resource.At
	if text == "" {
		text = "/"
	}
	if w.path.Given {
		text, at = w.path.Value, w.path.At
	}
	if r.Path, err = route.ParsePath(text); err != nil || len(r.Path.Params()) > 0 {
		b.Fault(at, yaml.Quote(text)+" is not a path without {…}",
			"write path: /api/ for the tree below it, or /mcp for that path alone")
		return nil
	}
	if len(r.Servers) == 0 {
		r.Servers = b.authorizationServers()
	}
	if len(r.Servers) == 0 {
		b.Fault(w.resource.At, "has no authorization server", "add authorization_servers, an issuer or trusted_issuers")
	}
	return r
}

// authorizationServers are the issuers whose tokens open routes.
func (b *builder) authorizationServers() (all []string) {
	if b.Issuer != nil && b.Issuer.Serve.OAuth2 {
		all = append(all, b.Issuer.URL)
	}
	for _, t := range b.TrustedIssuers {
		if _, err := webURL(t.Issuer); err == nil {
			all = append(all, t.Issuer)
		}
	}
	return all
}

// protect gives every route below the resource's path its audience. A route that is partly below it would judge those
// requests without the audience, so one for the path itself must be there.
func (b *builder) protect(w *writtenResource, r *Resource) {
	covered := false
	var whole, broader []*Route
	for i, candidate := range b.Routes {
		if !candidate.answersAt(r.Host) {
			continue
		}
		switch {
		case r.Path.Covers(candidate.Path):
			covered = true
			if candidate.Path.String() == r.Path.String() {
				whole = append(whole, candidate)
			}
			if candidate.Public {
				continue
			}
			if other := candidate.Resource; other != nil {
				switch {
				case other.Host != r.Host || other.Path.String() == r.Path.String():
					b.Fault(b.file.routes.Value[i].At,
						"is below two resources, "+yaml.Quote(other.URL)+" and "+yaml.Quote(r.URL),
						"write one route for each, with its hosts")
					continue
				case r.Path.Covers(other.Path): // that one is nearer, wherever it stands in the list
					continue
				}
			}
			if at := b.file.routes.Value[i].Value.audiences; at.Given && !slices.Contains(candidate.Audiences, r.URL) {
				b.Fault(at.At, "lacks "+yaml.Quote(r.URL)+", the resource that the route is below", "add it, or remove audiences")
			}
			candidate.Audiences, candidate.Resource = []string{r.URL}, r
		case candidate.Path.Overlaps(r.Path):
			broader = append(broader, candidate)
		}
	}
	// A broader route is chosen for a part of the path unless one for the path itself is for the same hosts.
	broader = slices.DeleteFunc(broader, func(wide *Route) bool {
		return slices.ContainsFunc(whole, func(own *Route) bool {
			return own.Path.Before(wide.Path) && (exactly(own, r.Host) || len(wide.Hosts) == 0)
		})
	})
	switch {
	case !covered && len(broader) == 0:
		b.Fault(w.resource.At, "has no route at "+yaml.Quote(r.Path.String()),
			"add a route there, or set path to where its routes are")
	case len(broader) > 0:
		b.Fault(w.resource.At, fmt.Sprintf("is partly behind route %s (%s), which takes other audiences",
			yaml.Quote(broader[0].Name), yaml.Quote(broader[0].Path.String())),
			"add a route with path: "+r.Path.String()+" and hosts: ["+r.Host+"]")
	}
}

// answersAt reports whether the route takes requests to a host.
func (r *Route) answersAt(host string) bool {
	if len(r.Hosts) == 0 {
		return true
	}
	exact, err := route.ParseHost(host)
	return err != nil || slices.ContainsFunc(r.Hosts, func(h route.Host) bool { return h.Covers(exact) })
}

// exactly reports whether the route names this host itself.
func exactly(r *Route, host string) bool {
	exact, err := route.ParseHost(host)
	return err == nil && slices.ContainsFunc(r.Hosts, func(h route.Host) bool { return h.String() == exact.String() })
}
