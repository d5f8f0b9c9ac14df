package config

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func canonicalHeader(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

func (b *builder) buildRoutes() {
	var entries []route.Entry[*Route]
	var places []yaml.Place // of each entry's route
	own := b.OwnPaths()
	for i := range b.file.routes.Value {
		b.Routes = append(b.Routes, b.buildRoute(i, &b.file.routes.Value[i]))
	}
	b.buildResources()
	for i, r := range b.Routes {
		w := &b.file.routes.Value[i]
		if w.Bad || !w.Value.path.Usable() {
			continue
		}
		b.notOurs(w, r, own)
		hosts := r.Hosts
		if len(hosts) == 0 {
			hosts = []route.Host{{}}
		}
		for _, host := range hosts {
			entries = append(
				entries,
				route.Entry[*Route]{Host: host, Path: r.Path, Methods: r.Methods, Allow: r.Allow, Asks: r.asks(host), Value: r},
			)
			places = append(places, w.At)
		}
	}
	b.compile(entries, places)
	b.rewrittenPlaces()
	b.uniqueNames()
	b.somethingToDo()
}

func (b *builder) buildRoute(index int, s *yaml.Setting[writtenRoute]) *Route {
	w := &s.Value
	r := &Route{
		Index: index, Name: w.name.Value, Methods: yaml.Values(w.methods), Public: w.public.Value,
		ForwardToken: w.forwardToken.Value, Audiences: yaml.Values(w.audiences.Value), Upgrade: w.upgrade,
		BodyBytes: b.Limits.BodyBytes, Shadow: w.shadow.Value, EndWithToken: w.endWithToken.Value,
	}
	if r.Name == "" {
		r.Name = w.path.Value
	}
	if w.bodyBytes.Given {
		r.BodyBytes = w.bodyBytes.Value
	}
	if r.CORS = b.CORS; w.cors.Given {
		r.CORS = b.buildCORS(w.cors)
	}
	if path, err := route.ParsePath(w.path.Value); err == nil { // its error was told when it was read
		r.Path = path
	}
	for _, host := range yaml.Values(w.hosts) {
		if h, err := route.ParseHost(host); err == nil {
			r.Hosts = append(r.Hosts, h)
		}
	}
	for _, spelling := range yaml.Values(w.insecureAllow) {
		if oddity, err := route.ParseOddity(spelling); err == nil {
			r.Allow |= oddity
		}
	}
	if b.Issuer != nil {
		b.notOurURL(w.audiences.Value, b.Issuer.URL)
	}
	b.buildRouteListeners(w, r)
	b.buildAccess(s, r)
	b.buildConditions(w, r)
	b.buildLogin(w, r)
	b.buildHop(w, r)
	r.Upstream = b.upstream(w.upstream)
	return r
}

// buildAccess sees that a route says who may pass: nothing is open by omission.
func (b *builder) buildAccess(s *yaml.Setting[writtenRoute], r *Route) {
	w := &s.Value
	switch {
	case w.public.Given && w.require.Given:
		b.Fault(w.require.At, "conflicts with public", "set only one of the two")
	case !w.public.Given && !w.require.Given:
		b.Fault(
			s.At,
			"has neither require nor public",
			"write require: authenticated, require: {action: …, tenant_from: …}, or public: true",
		)
	case w.require.Usable():
		b.buildRequire(w, r)
	}
	if w.public.Given && w.forwardToken.Value {
		b.Fault(
			w.forwardToken.At,
			"has no effect on a public route",
			"remove it: a public route passes Authorization on anyway",
		)
	}
	if w.public.Given && w.shadow.Value {
		b.Fault(
			w.shadow.At,
			"has no effect on a public route",
			"remove it: a public route refuses no request for its token",
		)
	}
	switch {
	case !w.endWithToken.Value:
	case w.public.Given:
		b.Fault(w.endWithToken.At, "has no effect on a public route", "remove it: a public route judges no token")
	case w.upstream.Value == "none":
		b.Fault(w.endWithToken.At, "has no effect with upstream: none",
			"remove it: the proxy that asks carries the stream, and does not ask again")
	}
	if w.public.Given && w.audiences.Given {
		b.Fault(w.audiences.At, "has no effect on a public route", "remove it: a public route judges no token")
	}
}

func (b *builder) buildRequire(w *writtenRoute, r *Route) {
	q := &w.require.Value
	if q.authenticated {
		r.Require.Optional = q.optional
		return
	}
	r.Require.Action = q.action.Value
	if !q.action.Given {
		b.buildWithoutAction(w, q)
		return
	}
	ways := 0
	for _, given := range []bool{q.tenant.Given, q.tenantFrom.Given, q.global.Given} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		b.Fault(w.require.At, fmt.Sprintf("names the tenant in %d ways", ways),
			"set exactly one of tenant, tenant_from and global: true")
		return
	}
	switch {
	case q.global.Given:
		r.Require.Global = true
	case q.tenant.Given:
		if b.isTenantName(q.tenant) {
			r.Require.Tenant = q.tenant.Value
		}
	default:
		b.buildTenantFrom(q.tenantFrom, w, r)
	}
}

// buildWithoutAction takes a require that asks for other conditions alone; any good token that meets them will do.
func (b *builder) buildWithoutAction(w *writtenRoute, q *writtenRequire) {
	if q.tenant.Given || q.tenantFrom.Given || q.global.Given || len(q.scopes) == 0 && len(q.issuers) == 0 &&
		len(q.claims) == 0 && !q.clientCert.Given {
		b.Fault(w.require.At.Key("action"), "is missing", "name the action that the token must allow, like READ")
	}
}

func (b *builder) buildTenantFrom(w yaml.Setting[string], written *writtenRoute, r *Route) {
	source, name, _ := strings.Cut(w.Value, ".")
	r.Require.Name = name
	switch source {
	case "path":
		r.Require.From = FromPath
		if written.path.Usable() && !slices.Contains(r.Path.Params(), name) {
			b.Fault(
				w.At,
				w.Shown+" names no parameter of the path "+yaml.Quote(r.Path.String()),
				"write {"+placeholder(name)+"} as one of its segments",
			)
		}
	case "host":
		r.Require.From = FromHost
		lacks := func(h route.Host) bool { return !slices.Contains(h.Params(), name) }
		if len(r.Hosts) == 0 || slices.ContainsFunc(r.Hosts, lacks) {
			b.Fault(
				w.At,
				w.Shown+" is not a parameter of every host of this route",
				`write {`+placeholder(name)+`} in each: hosts: ["{`+placeholder(name)+`}.example.com"]`,
			)
		}
	case "header":
		r.Require.From, r.Require.Name = FromHeader, canonicalHeader(name)
		problem, remedy := isHeader(name)
		switch {
		case problem != "":
			b.Fault(w.At, w.Shown+" "+problem, remedy)
		case slices.Contains(b.IdentityHeaders.All(), r.Require.Name) || isCertHeader(r.Require.Name):
			b.Fault(
				w.At,
				w.Shown+" is an identity header, which clients cannot send",
				"choose another header, like X-Tenant",
			)
		}
	case "query":
		r.Require.From = FromQuery
		if len(name) > 64 || !plainRunes(name, "._~-") {
			b.Fault(w.At, w.Shown+" names no query parameter", "write it like query.tenant")
		}
	default:
		b.Fault(w.At, w.Shown+" is not a part of a request", "write path.x, host.x, header.X-Tenant or query.x")
	}
}

// placeholder is a name for a remedy: what was written, if it could be one.
func placeholder(name string) string {
	if yaml.PlainName(name) {
		return name
	}
	return "tenant"
}

// notOurs refuses a route that lies inside one of our endpoints: it would never be asked.
func (b *builder) notOurs(w *yaml.Setting[writtenRoute], r *Route, own []route.Path) {
	inside := b.OwnHost(route.Host{})
	if len(r.Hosts) > 0 {
		inside = slices.ContainsFunc(r.Hosts, b.OwnHost)
	}
	if !inside {
		return
	}
	for _, p := range own {
		if p.Covers(r.Path) {
			b.Fault(
				w.Value.path.At,
				w.Value.path.Shown+" is inside "+yaml.Quote(p.String())+", which the issuer serves itself",
				"choose another path, or restrict hosts or dialects in issuer.serve",
			)
			return
		}
	}
}

// conflicting reports each conflict at the later of its two routes.
func (b *builder) conflicting(conflicts []route.Conflict, entries []route.Entry[*Route], places []yaml.Place) {
	for _, c := range conflicts {
		if c.Second < 0 {
			b.Fault(places[c.First], "can never match ("+c.Why+")", "correct it, or remove it")
			continue
		}
		first, second := entries[c.First], entries[c.Second]
		if len(first.Methods) == 0 && len(second.Methods) == 0 && first.Host.String() == second.Host.String() &&
			first.Path.Covers(second.Path) && second.Path.Covers(first.Path) {
			b.Fault(places[c.Second], "has the same hosts and path as "+places[c.First].Path,
				"remove one of the two, or give them different methods")
			continue
		}
		b.Fault(places[c.Second], "conflicts with "+places[c.First].Path+" ("+c.Why+")",
			"make one of the two more specific, or give them different methods")
	}
}

func (b *builder) uniqueNames() {
	first := map[string]int{}
	for i, w := range b.file.routes.Value {
		name := w.Value.name
		if !name.Usable() || !name.Given {
			continue
		}
		if j, twice := first[name.Value]; twice {
			b.Fault(name.At, fmt.Sprintf("%s is the name of routes[%d]", name.Shown, j), "give each route its own name")
			continue
		}
		first[name.Value] = i
	}
}

// somethingToDo refuses a file that can only ever answer 404 or 401.
func (b *builder) somethingToDo() {
	if b.Issuer == nil && len(b.file.routes.Value) == 0 && !b.file.routes.Bad {
		b.Fault(
			yaml.Place{Line: 1, Column: 1},
			"the file has neither routes nor an issuer",
			"add routes, issuer or both",
		)
	}
	if b.Issuer != nil || len(b.file.trustedIssuers) > 0 {
		return
	}
	for _, w := range b.file.routes.Value {
		if w.Value.require.Usable() {
			b.Fault(
				w.Value.require.At,
				"requires a token, but no issuer is configured",
				"add issuer or trusted_issuers",
			)
			return
		}
	}
}
