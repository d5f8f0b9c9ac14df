package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// DecisionListener is the name by which routes name the listener of decision.
const DecisionListener = "decision"

// Answers reports whether the route answers on a listener.
func (r *Route) Answers(listener string) bool {
	return r.Listeners == nil || slices.Contains(r.Listeners, listener)
}

// TableOf returns the routes as a listener has them; "" is the first listener that has routes.
func (c *Config) TableOf(listener string) *route.Table[*Route] {
	if t := c.Tables[listener]; t != nil {
		return t
	}
	return c.Table
}

// RouteListeners lists the listeners that have routes, in the file's order, and then decision.
func (c *Config) RouteListeners() (names []string) {
	for _, l := range c.Listeners {
		if !l.Redirect {
			names = append(names, l.Name)
		}
	}
	if c.Decision != nil {
		names = append(names, DecisionListener)
	}
	return names
}

// buildRouteListeners takes the listeners that a route names.
func (b *builder) buildRouteListeners(w *writtenRoute, r *Route) {
	known := b.RouteListeners()
	bad := func(l yaml.Setting[writtenListener]) bool { return l.Bad }
	whole := !b.file.listeners.Bad && !slices.ContainsFunc(b.file.listeners.Value, bad)
	for _, name := range w.listeners {
		switch {
		case name.Bad:
		case slices.Contains(known, name.Value):
			r.Listeners = append(r.Listeners, name.Value)
		case slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Name == name.Value }):
			b.Fault(name.At, name.Shown+" redirects every request and has no routes", "name another listener")
		case whole:
			b.Fault(name.At, name.Shown+" is not the name of a listener", "write one of "+strings.Join(known, ", "))
		}
	}
	if len(w.listeners) > 0 && r.Listeners == nil {
		r.Listeners = []string{} // none that is known
	}
}

// compile makes the tables, one for all listeners that have the same routes, and reports each conflict at the later of
// its two routes.
func (b *builder) compile(entries []route.Entry[*Route], places []yaml.Place) {
	if !slices.ContainsFunc(b.Routes, func(r *Route) bool { return r.Listeners != nil }) {
		table, conflicts := route.NewTable(entries)
		b.Table = table
		b.conflicting(conflicts, entries, places)
		return
	}
	b.Tables = map[string]*route.Table[*Route]{}
	alike := map[string]*route.Table[*Route]{} // by which entries are absent
	var all []route.Conflict
	for _, name := range b.RouteListeners() {
		here, key := onListener(entries, name)
		table, made := alike[key]
		if !made {
			var conflicts []route.Conflict
			table, conflicts = route.NewTable(here)
			for _, c := range conflicts {
				if !slices.Contains(all, c) {
					all = append(all, c)
				}
			}
			alike[key] = table
		}
		b.Tables[name] = table
		if b.Table == nil {
			b.Table = table
		}
	}
	b.conflicting(all, entries, places)
}

// onListener returns the entries as a listener has them: those of other listeners are absent, and a path that could be
// read as one of theirs is one that asks for more. The key says which are absent.
func onListener(entries []route.Entry[*Route], listener string) (here []route.Entry[*Route], key string) {
	var absent strings.Builder
	here = slices.Clone(entries)
	for i := range here {
		if e := &here[i]; !e.Value.Answers(listener) {
			e.Absent = true
			e.Asks = append(slices.Clone(e.Asks), route.Demand{What: "another listener"})
			fmt.Fprintf(&absent, "%d ", i)
		}
	}
	return here, absent.String()
}

// beyond reports whether a route answers on a listener that another does not.
func beyond(r, other *Route) bool {
	if other.Listeners == nil || r.Listeners == nil {
		return other.Listeners != nil
	}
	return slices.ContainsFunc(r.Listeners, func(l string) bool { return !other.Answers(l) })
}

// shareListener reports whether two routes answer on one listener.
func shareListener(r, other *Route) bool {
	return r.Listeners == nil || slices.ContainsFunc(r.Listeners, other.Answers)
}

// lintListeners refuses routes that none of their listeners can answer.
func (b *builder) lintListeners() {
	for i, r := range b.Routes {
		if r.Listeners != nil && r.Upstream == nil && !slices.Contains(r.Listeners, DecisionListener) {
			b.Fault(b.file.routes.Value[i].Value.upstream.At, "is for decision alone, which listeners does not name",
				"add decision to the route's listeners, or name an upstream")
		}
	}
}

// lintCertificates warns of routes that ask for what none of their listeners asks its clients for. A name means what
// its authority says that it means, so there must be one authority for each route.
func (b *builder) lintCertificates() {
	for i, r := range b.Routes {
		if len(r.Require.CertNames) == 0 {
			continue
		}
		authorities := map[string]bool{}
		for _, l := range b.Listeners {
			if l.TLS != nil && l.TLS.ClientCA != "" && r.Answers(l.Name) {
				authorities[l.TLS.ClientCA] = true
			}
		}
		if b.Decision != nil && b.Decision.ClientCA != "" && r.Answers(DecisionListener) {
			authorities[b.Decision.ClientCA] = true
		}
		at := b.file.routes.Value[i].Value.require.Value.clientCert.At
		switch {
		case len(authorities) == 1:
		case len(authorities) > 1:
			b.Fault(at, "is met by a certificate of any of its listeners' client_ca, and these differ",
				"name in the route's listeners those with one client_ca, or use one client_ca on all of them")
		case r.Listeners != nil:
			b.Warn(at, "cannot be met: none of the route's listeners asks for client certificates",
				"set client_ca in the tls of one of them")
		default:
			b.Warn(at, "cannot be met: no listener asks for client certificates", "set client_ca in a listener's tls")
		}
	}
}
