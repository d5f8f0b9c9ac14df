package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// asks lists what a request to r at a host of this pattern must meet, so that routes can be compared by what they ask
// for. A condition that is new here must come into the list, or a path that two readers take differently could escape
// it.
func (r *Route) asks(host route.Host) []route.Demand {
	list := r.conditions()
	if r.Public {
		return list
	}
	if r.Shadow { // it lets every request through that another token or tenant would help
		return slices.DeleteFunc(list, func(d route.Demand) bool {
			return !strings.HasPrefix(d.What, "an address ") && !strings.HasPrefix(d.What, "a rate ")
		})
	}
	if !r.Require.Optional {
		list = append(list, route.Demand{What: "a token"})
	}
	if len(r.Audiences) > 0 {
		list = append(list, route.Demand{What: "audience " + strings.Join(slices.Sorted(slices.Values(r.Audiences)), " ")})
	}
	q := &r.Require
	switch {
	case q.Action == "":
	case q.Global:
		list = append(list, route.Demand{What: q.Action + " globally"})
	case q.Tenant != "":
		list = append(list, route.Demand{What: q.Action + " on " + q.Tenant})
	default:
		d := route.Demand{What: fmt.Sprintf("%s on %s %s", q.Action, tenantSources[q.From], q.Name)}
		switch q.From {
		case FromPath: // by its place, since another route may call it otherwise
			d.Segment = r.Path.Place(q.Name) + 1
			d.What = q.Action + " on path"
		case FromHost:
			d.What = fmt.Sprintf("%s on label %d of the host", q.Action, host.Place(q.Name))
		}
		list = append(list, d)
	}
	return list
}

// conditions are what a route asks for beside a token and its permission.
func (r *Route) conditions() (list []route.Demand) {
	add := func(what string, words []string) {
		if len(words) > 0 {
			list = append(list, route.Demand{What: what + " " + strings.Join(slices.Sorted(slices.Values(words)), " ")})
		}
	}
	ranges := func(prefixes []netip.Prefix) (words []string) {
		for _, p := range prefixes {
			words = append(words, p.String())
		}
		return words
	}
	add("an address of", ranges(r.AllowFrom))
	add("an address outside of", ranges(r.DenyFrom))
	add("an issuer of", r.Require.Issuers)
	add("the scope", r.Require.Scopes)
	for _, l := range r.RateLimits {
		what := fmt.Sprintf("a rate of %d per %v, %d at once, by %s", l.Requests, l.Per, l.Burst, l.By)
		list = append(list, route.Demand{What: what})
	}
	add("a certificate of", r.Require.CertNames)
	for _, q := range r.Require.Claims {
		add("the claim "+q.Claim.String(), []string{q.Condition.String()})
	}
	return list
}

var tenantSources = map[Source]string{FromHeader: "header", FromQuery: "query"}

// lintNested warns of a guarded route inside a looser one of the same upstream: what the app takes for the guarded
// path, in a spelling that is not known here, is judged by the looser route.
func (b *builder) lintNested() {
	seen := map[*Route]bool{}
	for _, n := range b.nestings() {
		loose, strict := b.Table.Value(n.Loose), b.Table.Value(n.Strict)
		if seen[strict] || !sameServers(loose, strict) {
			continue
		}
		seen[strict] = true
		b.Warn(b.file.routes.Value[strict.Index].At,
			fmt.Sprintf("asks for more than %s (%s), which takes the same path in another spelling to the same upstream",
				placeOf(loose), yaml.Quote(loose.Path.String())),
			"let the app compare paths exactly, or let the looser route ask for as much; with another letter case or last "+
				"slash a path is "+
				"refused as ambiguous")
	}
}

// nestings are those of all tables, whose entries have the same places.
func (b *builder) nestings() []route.Nesting {
	all := b.Table.Nestings()
	for _, name := range b.RouteListeners() {
		if table := b.TableOf(name); table != b.Table {
			all = append(all, table.Nestings()...)
		}
	}
	return all
}

func placeOf(r *Route) string { return fmt.Sprintf("routes[%d]", r.Index) }

func sameServers(a, b *Route) bool {
	if a.Upstream == nil || b.Upstream == nil || a.Upstream == b.Upstream {
		return a.Upstream == b.Upstream
	}
	return slices.ContainsFunc(a.Upstream.Servers, func(x *url.URL) bool {
		return slices.ContainsFunc(b.Upstream.Servers, func(y *url.URL) bool { return *x == *y })
	})
}
