package app

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/proxy"
)

// The verdicts of two configurations are compared point by point: a point stands for all requests that are matched by
// the same routes of both ([route.Points]). What each configuration asks for there is asked of its gate; whether a
// holder has it follows from the holder's permissions.

// A stance is what a configuration asks of the requests of a point.
type stance struct {
	route  *config.Route // nil: they are refused, whatever the token
	open   bool          // no token is needed
	action string        // "": any accepted token has it
	place  place         // of the tenant that the action is asked for on
}

// A place is where a request has its tenant.
type place struct {
	from  config.Source // FromNowhere: it is fixed
	name  string        // a header's or a query member's
	index int           // of a segment, or a label
	fixed string
	any   bool // the pattern of tenants does not judge it: the configuration itself names it
}

// A probe is one request.
type probe struct {
	method, url string
	header      http.Header
	tenant      string // that it was made for, where that is asked for
	listener    string // that it comes in on; "": any that lets it through
}

// tables are the verdicts of both configurations, and who is judged by them.
type tables struct {
	*Diff
	methods []string
	// of both, where routes of either name some: each decides by itself. Else one without a name stands for all.
	listeners []string
	queries   []string // members that hold a tenant
	headers   []string
	tenants   []string // that either names, and samples of those that none does
	samples   []string
	none      string // that neither takes for a tenant
	free      string // what stands in a free place that is no tenant's
	holders   []*holder
	points    []route.Point
	whole     bool
	literals  map[string]bool           // of hosts and paths: a tenant of such a name can be in the place of another route
	decided   map[[2]*config.Route]bool // pairs that decide about the same requests
	patterns  [2]*regexp.Regexp
}

func (d *Diff) tables() *tables {
	t := &tables{Diff: d, decided: map[[2]*config.Route]bool{}, methods: []string{http.MethodGet, http.MethodPost}}
	var patterns []route.Pattern
	for i, j := range d.both() {
		t.patterns[i] = j.snap.config.TenantPattern
		for _, r := range j.snap.config.Routes {
			hosts := r.Hosts
			if len(hosts) == 0 {
				hosts = []route.Host{{}}
			}
			for _, h := range hosts {
				patterns = append(patterns, route.Pattern{Host: h, Path: r.Path})
			}
			t.methods = append(t.methods, r.Methods...)
			switch r.Require.From {
			case config.FromHeader:
				t.headers = append(t.headers, r.Require.Name)
			case config.FromQuery:
				t.queries = append(t.queries, r.Require.Name)
			}
		}
	}
	t.listeners = d.listeners()
	t.methods, t.headers, t.queries = sorted(t.methods), sorted(t.headers), sorted(t.queries)
	t.points, t.whole = route.Points(patterns)
	t.literals = route.Literals(patterns)
	for t.free = "free"; t.literals[t.free]; t.free += "-x" {
	}
	named := d.named()
	t.samples = samples(t.patterns, func(s string) bool {
		return t.literals[strings.ToLower(s)] || slices.Contains(named, s)
	})
	t.tenants = slices.Concat(named, t.samples)
	for _, s := range []string{"no!tenant", "!", strings.Repeat("x", 100)} {
		if t.none == "" && !t.patterns[0].MatchString(s) && !t.patterns[1].MatchString(s) {
			t.none = s
			t.tenants = append(t.tenants, s)
		}
	}
	t.holders = d.holdersOf(t.samples[0], named)
	return t
}

// listeners lists those whose requests are compared. One that a configuration lacks is told by the setting.
func (d *Diff) listeners() []string {
	a, b := d.old.snap.config, d.fresh.snap.config
	before, after := a.RouteListeners(), b.RouteListeners()
	switch {
	case a.Tables == nil && b.Tables == nil:
		return []string{""}
	case a.Tables == nil: // the same routes on each
		return after
	case b.Tables == nil:
		return before
	}
	all := slices.DeleteFunc(after, func(name string) bool { return !slices.Contains(before, name) })
	if len(all) == 0 {
		return []string{""}
	}
	return all
}

func (d *Diff) both() [2]*Judge { return [2]*Judge{d.old, d.fresh} }

// mostTenants bounds the tenants that are tried one by one for every holder.
const mostTenants = 256

// tenantsOf lists those that are tried for a holder: where the configurations name more than are tried for everyone,
// its own come first.
func (t *tables) tenantsOf(h *holder) []string {
	if len(t.tenants) < mostTenants {
		return t.tenants
	}
	var own []string
	for _, p := range h.holds {
		if p == nil {
			continue
		}
		for _, entry := range *p {
			if entry.Tenant != token.Any && entry.Tenant != token.Global && !slices.Contains(t.tenants, entry.Tenant) {
				own = append(own, entry.Tenant)
			}
		}
	}
	return slices.Concat(sorted(own), t.tenants)
}

// named lists the tenants that either configuration names.
func (d *Diff) named() (all []string) {
	for _, h := range d.holdersOf("", nil) {
		for _, p := range h.holds {
			if p != nil {
				for _, entry := range *p {
					all = append(all, entry.Tenant)
				}
			}
		}
	}
	for _, j := range d.both() {
		for _, r := range j.snap.config.Routes {
			all = append(all, r.Require.Tenant)
		}
	}
	all = slices.DeleteFunc(sorted(all), func(t string) bool {
		return t == "" || t == token.Any || t == token.Global || strings.Contains(t, token.Placeholder)
	})
	return all[:min(len(all), mostTenants)]
}

// samples are names of tenants that no configuration has: two that both patterns of tenants take, and one that each
// takes alone.
func samples(patterns [2]*regexp.Regexp, taken func(string) bool) (all []string) {
	random := rand.New(rand.NewPCG(1, 2))
	tries := []string{"some-tenant", "other-tenant", "third-tenant"}
	for _, p := range patterns {
		parsed, err := syntax.Parse(p.String(), syntax.Perl)
		if err != nil {
			continue
		}
		for range 400 {
			tries = append(tries, sample(parsed, random))
		}
	}
	suits := func(most int, old, fresh bool) {
		for _, s := range tries {
			if most > 0 && s != "" && !taken(s) && !strings.ContainsAny(s, "*/{}") && !slices.Contains(all, s) &&
				patterns[0].MatchString(s) == old && patterns[1].MatchString(s) == fresh {
				all, most = append(all, s), most-1
			}
		}
	}
	suits(2, true, true)
	suits(1, false, true)
	suits(1, true, false)
	if len(all) == 0 { // there is none but what is named
		all = []string{"some-tenant"}
	}
	return all
}

// sample is a text that a regular expression matches, or nearly.
func sample(r *syntax.Regexp, random *rand.Rand) string {
	var b strings.Builder
	switch r.Op {
	case syntax.OpLiteral:
		return string(r.Rune)
	case syntax.OpCharClass:
		if n := len(r.Rune) / 2; n > 0 {
			i := 2 * random.IntN(n)
			return string(r.Rune[i] + rune(random.IntN(int(min(r.Rune[i+1]-r.Rune[i], 100))+1)))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return string(rune('a' + random.IntN(26)))
	case syntax.OpAlternate:
		return sample(r.Sub[random.IntN(len(r.Sub))], random)
	case syntax.OpCapture, syntax.OpConcat:
		for _, s := range r.Sub {
			b.WriteString(sample(s, random))
		}
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		least, most := r.Min, r.Max
		switch r.Op {
		case syntax.OpStar:
			least, most = 0, 8
		case syntax.OpPlus:
			least, most = 1, 8
		case syntax.OpQuest:
			least, most = 0, 1
		}
		if most < 0 || most > least+8 {
			most = least + 8
		}
		for range least + random.IntN(most-least+1) {
			b.WriteString(sample(r.Sub[0], random))
		}
	}
	return b.String()
}

// request makes a request of a spot: before and after are the tenants in the places where each configuration reads
// one; where both read the same place, after is.
func (t *tables) request(s spot, a, b place, before, after string) *probe {
	fill := func(from config.Source) func(int) string {
		return func(i int) string {
			switch {
			case b.from == from && b.index == i:
				return after
			case a.from == from && a.index == i:
				return before
			}
			return t.free
		}
	}
	p := &probe{method: s.method, header: http.Header{}, listener: s.listener}
	p.url = "https://" + s.at.Host(fill(config.FromHost)) + s.at.Path(fill(config.FromPath))
	value := func(from config.Source, name string) string {
		if a.from == from && a.name == name && (b.from != from || b.name != name) {
			return before
		}
		return after
	}
	for _, name := range t.headers {
		p.header[name] = []string{value(config.FromHeader, name)}
	}
	for i, name := range t.queries {
		p.url += string("?&"[min(i, 1)]) + name + "=" + url.QueryEscape(value(config.FromQuery, name))
	}
	return p
}

// stance asks a gate what it asks for at a point.
func (t *tables) stance(which int, s spot) stance {
	sample := t.samples[0]
	for _, tenant := range t.samples {
		if t.patterns[which].MatchString(tenant) {
			sample = tenant
			break
		}
	}
	return t.ask(which, s.at, t.request(s, place{}, place{}, sample, sample))
}

func (t *tables) ask(which int, at route.Point, p *probe) stance {
	trace := t.both()[which].trace(p, proxy.Bearer{Permissions: token.Permissions{}, Brief: true})
	r := trace.Chosen
	if r == nil || trace.Own {
		return stance{}
	}
	s := stance{route: r}
	switch {
	case r.Public && trace.Allowed, r.Require.Optional && trace.Allowed, trace.Shadow, r.Shadow && trace.Allowed:
		s.open = true
	case trace.Allowed:
	case trace.Reason == refusal.TenantDenied, trace.Reason == refusal.ActionDenied,
		trace.Reason == refusal.TenantMalformed:
		s.action = r.Require.Action
		s.place = t.placeOf(r, at)
	default:
		return stance{}
	}
	return s
}

// placeOf is where the requests of a point have the tenant that a route asks for.
func (t *tables) placeOf(r *config.Route, at route.Point) place {
	q := &r.Require
	switch {
	case q.Global:
		return place{fixed: token.Global, any: true}
	case q.Tenant != "":
		return place{fixed: q.Tenant, any: true}
	}
	switch q.From {
	case config.FromPath:
		if i := r.Path.Place(q.Name); at.FreeSegment(i) {
			return place{from: q.From, index: i}
		} else {
			return place{fixed: at.Segment(i)}
		}
	case config.FromHost:
		for _, h := range r.Hosts {
			if i := h.Place(q.Name); at.FreeLabel(i) {
				return place{from: q.From, index: i}
			} else if i >= 0 {
				return place{fixed: at.Label(i)}
			}
		}
	}
	return place{from: q.From, name: q.Name, index: -1}
}

// allows reports whether a configuration lets a holder's request through that has this tenant in its place.
func (t *tables) allows(which int, s *stance, h *holder, tenant string) bool {
	switch {
	case s.route == nil:
		return false
	case s.open:
		return true
	case h.holds[which] == nil || h.name == anonymous:
		return false
	case s.action == "":
		return true
	case s.place.from == config.FromNowhere:
		tenant = s.place.fixed
	}
	return (s.place.any || t.patterns[which].MatchString(tenant)) && h.holds[which].Allows(tenant, s.action)
}

// moves reports whether one request can have different tenants for the two.
func moves(a, b *stance) bool {
	return a.place != b.place && a.action != "" && b.action != ""
}

type changeKey struct {
	opens         bool
	route, holder string
}

type changeFound struct {
	methods, tenants, listeners map[string]bool

	probe *probe
}

// A meeting is a pair of stances, with the points, methods and listeners where they meet.
type meeting struct {
	a, b  stance
	spots []spot
	clear map[[2]string][]spot // for tenants that are literals of other routes: the spots that stay what they are
}

type spot struct {
	at               route.Point
	method, listener string
}

// spots calls f with each.
func (t *tables) spots(f func(s spot)) {
	for _, at := range t.points {
		for _, method := range t.methods {
			for _, listener := range t.listeners {
				f(spot{at, method, listener})
			}
		}
	}
}

// changes compares the verdicts.
func (t *tables) changes() (all []Change) {
	found := map[changeKey]*changeFound{}
	for _, m := range t.meetings() {
		for _, h := range t.holders {
			t.meet(m, h, found)
		}
	}
	for k, f := range found {
		c := Change{
			Opens: k.opens, Route: k.route, Holder: k.holder, Methods: slices.Sorted(maps.Keys(f.methods)),
			Listeners: slices.Sorted(maps.Keys(f.listeners)), Example: f.probe.String(),
		}
		if len(c.Listeners) == len(t.listeners) {
			c.Listeners = nil
		}
		if slices.Equal(c.Methods, t.methods) {
			c.Methods = nil
		}
		delete(f.tenants, t.none)
		if c.Tenants = slices.Sorted(maps.Keys(f.tenants)); len(c.Tenants) >= t.judged(k.opens) {
			c.Tenants = nil
		}
		all = append(all, c)
	}
	return all
}

// judged is how many tenants the configuration knows that opens what it is about.
func (t *tables) judged(opens bool) (n int) {
	p := t.patterns[0]
	if opens {
		p = t.patterns[1]
	}
	for _, tenant := range t.tenants {
		if p.MatchString(tenant) {
			n++
		}
	}
	return n
}

// meetings lists each pair of stances once.
func (t *tables) meetings() (all []*meeting) {
	type key struct{ a, b stance }
	seen := map[key]*meeting{}
	t.spots(func(s spot) {
		a, b := t.stance(0, s), t.stance(1, s)
		if a.route == nil && b.route == nil {
			return
		}
		if a.route != nil && b.route != nil {
			t.decided[[2]*config.Route{a.route, b.route}] = true
		}
		m := seen[key{a, b}]
		if m == nil {
			m = &meeting{a: a, b: b, clear: map[[2]string][]spot{}}
			seen[key{a, b}] = m
			all = append(all, m)
		}
		m.spots = append(m.spots, s)
	})
	return all
}

// label is what a canonical host can have in a tenant's place.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// at lists the spots whose requests are decided by the pair when they have these tenants.
func (t *tables) at(m *meeting, before, after string) []spot {
	for from, tenant := range map[place]string{m.a.place: before, m.b.place: after} {
		if from.from == config.FromHost && !label.MatchString(tenant) {
			return nil
		}
	}
	if !t.literals[strings.ToLower(before)] && !t.literals[strings.ToLower(after)] {
		return m.spots
	}
	key := [2]string{before, after}
	clear, known := m.clear[key]
	if !known {
		for _, s := range m.spots {
			p := t.request(s, m.a.place, m.b.place, before, after)
			a, b := t.ask(0, s.at, p), t.ask(1, s.at, p)
			if a.like(&m.a) && b.like(&m.b) {
				clear = append(clear, s)
			}
		}
		m.clear[key] = clear
	}
	return clear
}

func (s *stance) like(other *stance) bool { return s.route == other.route && s.open == other.open }

func (t *tables) meet(m *meeting, h *holder, found map[changeKey]*changeFound) {
	tell := func(opens bool, tenant, before, after string) (told bool) {
		spots := t.at(m, before, after)
		if len(spots) == 0 {
			return false
		}
		decides := m.b.route
		if !opens {
			decides = m.a.route
		}
		k := changeKey{opens, labelOf(decides), h.name}
		f := found[k]
		if f == nil {
			f = &changeFound{methods: map[string]bool{}, tenants: map[string]bool{}, listeners: map[string]bool{}}
			f.probe = t.request(spots[0], m.a.place, m.b.place, before, after)
			found[k] = f
		}
		for _, s := range spots {
			f.methods[s.method], f.listeners[s.listener] = true, true
		}
		f.tenants[tenant] = true
		return true
	}
	tenants := t.tenantsOf(h)
	if !moves(&m.a, &m.b) {
		for _, tenant := range tenants {
			if before, after := t.allows(0, &m.a, h, tenant), t.allows(1, &m.b, h, tenant); before != after {
				tell(after, tenant, tenant, tenant)
			}
		}
		return
	}
	var allowed, denied [2][]string
	for _, tenant := range tenants {
		for which, s := range []*stance{&m.a, &m.b} {
			if t.allows(which, s, h, tenant) {
				allowed[which] = append(allowed[which], tenant)
			} else {
				denied[which] = append(denied[which], tenant)
			}
		}
	}
	for _, tenant := range allowed[1] {
		for _, before := range slices.Backward(denied[0]) { // the samples come last
			if tell(true, tenant, before, tenant) {
				break
			}
		}
	}
	for _, tenant := range allowed[0] {
		for _, after := range slices.Backward(denied[1]) {
			if tell(false, tenant, tenant, after) {
				break
			}
		}
	}
}

// looser lists the conditions that were loosened of routes that decide about the same requests; back is the way back.
func (t *tables) looser(back bool) (all []string) {
	old, fresh := t.old.snap.config, t.fresh.snap.config
	for pair := range t.decided {
		if back {
			all = append(all, looser(fresh, old, pair[1], pair[0])...)
		} else {
			all = append(all, looser(old, fresh, pair[0], pair[1])...)
		}
	}
	return sorted(all)
}

func labelOf(r *config.Route) string {
	var hosts []string
	for _, h := range r.Hosts {
		hosts = append(hosts, h.String())
	}
	return strings.Join(hosts, ",") + r.Path.String()
}

// String is a request as people write it.
func (p *probe) String() string {
	text := p.method + " " + p.url
	for _, name := range slices.Sorted(maps.Keys(p.header)) {
		text += " " + name + ": " + p.header.Get(name)
	}
	return text
}

func (j *Judge) trace(p *probe, as proxy.Bearer) *proxy.Trace {
	on := func(listener string) *proxy.Trace {
		return j.snap.trace(newRequest(p.method, p.url, p.header), listener, as, j.server.clock())
	}
	if p.listener == "" && j.snap.config.Tables != nil { // where some listener lets it through
		for _, listener := range j.snap.config.RouteListeners() {
			if trace := on(listener); trace.Allowed {
				return trace
			}
		}
	}
	return on(p.listener)
}

// bearer is what a holder's requests bring under one of the configurations.
func (h *holder) bearer(which int) proxy.Bearer {
	if h.name == anonymous || h.holds[which] == nil {
		return proxy.Bearer{}
	}
	return proxy.Bearer{Permissions: *h.holds[which]}
}

// allowed reports whether a configuration lets the holder's request through.
func (h *holder) allowed(j *Judge, which int, p probe) bool { return j.allows(&p, h.bearer(which)) }

// Names that no configuration is likely to have, for the tenants that none names, where one configuration is judged
// alone.
const (
	someTenant  = "some-tenant"
	otherTenant = "other-tenant"
)

// holders lists everybody, with someTenant in the place of a role's tenant.
func (d *Diff) holders() []*holder { return d.holdersOf(someTenant, nil) }

// tenants lists those that are named, and two that are not.
func (d *Diff) tenants() []string { return append(d.named(), someTenant, otherTenant) }

// filled puts a tenant in the place of each {name}.
func filled(pattern, tenant string) string {
	for {
		before, rest, found := strings.Cut(pattern, "{")
		if !found {
			return pattern
		}
		_, after, _ := strings.Cut(rest, "}")
		pattern = before + tenant + after
	}
}

func (j *Judge) allows(p *probe, as proxy.Bearer) bool {
	trace := j.trace(p, as)
	return (trace.Allowed || trace.Shadow) && !trace.Own
}

func (t *tables) called(tenants []string, ofATenant bool) []string {
	return sampled(tenants, t.samples, ofATenant)
}

func called(tenants []string, ofATenant bool) []string {
	return sampled(tenants, []string{someTenant, otherTenant}, ofATenant)
}

// sampled names tenants for people: the samples stand for those that no configuration names.
func sampled(tenants, samples []string, ofATenant bool) []string {
	for i, name := range tenants {
		switch {
		case name == samples[0] && ofATenant:
			tenants[i] = "its own tenant"
		case slices.Contains(samples, name):
			tenants[i] = "other tenants"
		}
	}
	if tenants = sorted(tenants); len(tenants) == 0 {
		return nil
	}
	return tenants
}
