package app

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/admin/console"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/trust"
)

// consoleOn reports whether there are pages: a token signs in, and the configuration does not turn them off.
func (g *Gate) consoleOn() bool {
	a := &g.Config().Admin
	return a.Console && a.Token != ""
}

// consoleOptions are what the console reads of a gate, when a page is asked for.
func (g *Gate) consoleOptions() console.Options {
	o := console.Options{
		Token: g.adminToken, Clock: g.clock, Done: g.drain, Audit: g.auditConsole,
		Overview: g.overview, Traffic: g.metrics.Read, Load: g.consoleLoad,
		Refusals: g.refusals.list, Recent: g.recentRefusals, Explain: g.explain, Reasons: reasonNames,
		Routes: g.consoleRoutes, Holders: g.holderNames, Matrix: g.matrix,
		Issuers: g.consoleIssuers, Upstreams: g.consoleUpstreams, Memories: g.consoleMemories, Config: g.consoleConfig,
		AuditRevocation: func(r *http.Request, w admin.Revocation, err error) {
			g.auditRevocationBy("console", r, w, err)
		},
	}
	if g.memory.revocations != nil {
		o.Revocations, o.RevocationStatus = g.memory.revocations, g.revocationStatus
	}
	return o
}

func (g *Gate) auditConsole(r *http.Request, event, outcome string) {
	g.log.Audit.Info(event, zap.String("event", event), zap.String("outcome", outcome),
		zap.String("remote", r.RemoteAddr))
}

func (g *Gate) overview() console.Overview {
	snap := g.snapshot.Load()
	o := console.Overview{
		Version: g.version, Started: g.began, Loaded: snap.loaded, Generation: snap.generation, Warnings: g.Warnings(),
	}
	if err := g.Ready(); err != nil {
		o.NotReady = err.Error()
	}
	if snap.keepStory {
		o.Keeps = snap.config.Admin.Refusals
	}
	return o
}

func (g *Gate) consoleLoad() console.Load {
	l := console.Load{InFlight: g.load.InFlight(), Streams: g.load.Streams()}
	if g.started.Load() { // before that there are no listeners to ask
		l.Connections = g.listeners.Open()
	}
	return l
}

// mostRecent bounds what a chart of refusals counts, in a ring that is much larger than the usual one.
const mostRecent = 20_000

func (g *Gate) recentRefusals(since time.Time) (all []console.Recent) {
	for k := range g.refusals.latest("") {
		if k.at < since.UnixMilli() || len(all) == mostRecent {
			break
		}
		all = append(all, console.Recent{At: time.UnixMilli(k.at), Reason: k.reason})
	}
	return all
}

func reasonNames() (all []string) {
	for _, r := range refusal.All() {
		all = append(all, string(r))
	}
	return all
}

func (g *Gate) consoleRoutes() (all []console.Route) {
	for _, r := range g.Config().Routes {
		one := console.Route{
			Name: r.Name, Host: strings.Join(texts(r.Hosts), ", "), Path: r.Path.String(), Methods: r.Methods,
			Opens: needs(r), Public: r.Public, Shadow: r.Shadow, Conditions: conditions(r),
		}
		if r.Upstream != nil {
			one.Upstream = r.Upstream.Name
		}
		all = append(all, one)
	}
	return all
}

// needs says what opens a route, but for its further conditions.
func needs(r *config.Route) (text string) {
	q := &r.Require
	switch {
	case r.Public:
		return "nothing"
	case q.Action == "":
		text = "any accepted token"
	case q.Global:
		text = q.Action + ", without a tenant"
	case q.Tenant != "":
		text = q.Action + " on " + q.Tenant
	default:
		text = q.Action + " on the tenant in " + map[config.Source]string{
			config.FromPath: "path.", config.FromHost: "host.", config.FromHeader: "header.", config.FromQuery: "query.",
		}[q.From] + q.Name
	}
	if q.Optional {
		text += ", or no token"
	}
	return text
}

func conditions(r *config.Route) (all []string) {
	q := &r.Require
	add := func(what string, list []string) {
		if len(list) > 0 {
			all = append(all, what+" "+strings.Join(list, ", "))
		}
	}
	add("scopes", q.Scopes)
	add("issuers", q.Issuers)
	for _, claim := range q.Claims {
		add("claim", []string{strings.Join(claim.Claim, ".")})
	}
	add("client certificate", q.CertNames)
	add("audiences", r.Audiences)
	add("from", texts(r.AllowFrom))
	add("not from", texts(r.DenyFrom))
	for _, limit := range r.RateLimits {
		add("at most", []string{fmt.Sprintf("%d in %v by %s", limit.Requests, limit.Per, limit.By)})
	}
	return all
}

// Bounds of one matrix: each cell is judged, as a request would be.
const (
	mostJudged  = 40_000
	mostCellsOf = 6 // tenants that are tried beside two that no configuration names
)

// everyone compares the configuration in force with itself, for the lists that a comparison makes.
func (g *Gate) everyone() *Diff {
	j := &Judge{g, g.snapshot.Load()}
	return &Diff{j, j}
}

func (g *Gate) holderNames() (names []string) {
	for _, h := range g.everyone().holders() {
		names = append(names, h.name)
	}
	slices.SortStableFunc(names, func(a, b string) int { // roles are what an operator thinks in
		return cmp.Compare(rankOf(a), rankOf(b))
	})
	return names
}

func rankOf(holder string) int {
	switch {
	case strings.HasPrefix(holder, "role "):
		return 0
	case holder == anonymous, holder == anybody:
		return 1
	}
	return 2
}

// matrix judges what holders open, by the tables in force.
func (g *Gate) matrix(names []string) (m console.Matrix, ok bool) {
	d := g.everyone()
	j := d.old
	var chosen []*holder
	all := d.holders()
	for _, name := range names {
		i := slices.IndexFunc(all, func(h *holder) bool { return h.name == name })
		if i < 0 {
			return m, false
		}
		chosen = append(chosen, all[i])
	}
	m.Holders = names
	tenants, judged := matrixTenants(d, chosen), 0
	for _, r := range j.snap.config.Routes {
		probes := routeProbes(r, tenants)
		if judged += len(probes) * len(chosen); judged > mostJudged {
			m.Cut = true
			break
		}
		row := console.MatrixRow{Route: strings.Join(texts(r.Hosts), ",") + r.Path.String(), Needs: needs(r)}
		for _, h := range chosen {
			row.Cells = append(row.Cells, cellOf(j, h, probes))
		}
		m.Rows = append(m.Rows, row)
	}
	return m, true
}

// matrixTenants are those that the holders name, as far as there is room, and two that no holder names.
func matrixTenants(d *Diff, chosen []*holder) []string {
	var named []string
	known := d.tenants()
	for _, h := range chosen {
		if h.holds[0] == nil {
			continue
		}
		for _, entry := range *h.holds[0] {
			if slices.Contains(known, entry.Tenant) && entry.Tenant != someTenant && entry.Tenant != otherTenant {
				named = append(named, entry.Tenant)
			}
		}
	}
	named = sorted(named)
	return append(named[:min(len(named), mostCellsOf)], someTenant, otherTenant)
}

// routeProbes makes a request for each method and tenant of a route.
func routeProbes(r *config.Route, tenants []string) (all []probe) {
	methods := r.Methods
	if len(methods) == 0 {
		methods = []string{http.MethodGet, http.MethodPost}
	}
	if r.Require.From == config.FromNowhere {
		tenants = []string{someTenant}
	}
	host := "any.example"
	if len(r.Hosts) > 0 {
		host = r.Hosts[0].String()
	}
	for _, tenant := range tenants {
		p := probe{tenant: tenant, header: http.Header{}}
		p.url = "https://" + filled(host, tenant) + filled(r.Path.String(), tenant)
		if strings.HasSuffix(p.url, "/") {
			p.url += "x"
		}
		switch r.Require.From {
		case config.FromHeader:
			p.header.Set(r.Require.Name, tenant)
		case config.FromQuery:
			p.url += "?" + r.Require.Name + "=" + tenant
		case config.FromNowhere:
			p.tenant = ""
		}
		for _, p.method = range methods {
			all = append(all, p)
		}
	}
	return all
}

func cellOf(j *Judge, h *holder, probes []probe) (c console.Cell) {
	methods, tenants := map[string]int{}, map[string]int{}
	perMethod, perTenant := map[string]int{}, map[string]int{}
	for _, p := range probes {
		c.Tried++
		perMethod[p.method]++
		perTenant[p.tenant]++
		if h.allowed(j, 0, p) {
			c.Open++
			methods[p.method]++
			tenants[p.tenant]++
		}
	}
	if len(methods) < len(perMethod) {
		for method := range methods {
			c.Methods = append(c.Methods, method)
		}
		slices.Sort(c.Methods)
	}
	if len(tenants) < len(perTenant) {
		for tenant := range tenants {
			c.Tenants = append(c.Tenants, tenant)
		}
		slices.Sort(c.Tenants)
		c.Tenants = called(c.Tenants, strings.HasSuffix(h.name, ofATenant))
	}
	return c
}

func (g *Gate) consoleIssuers() (all console.Issuers) {
	snap := g.snapshot.Load()
	if snap.issuer != nil {
		all.URL, all.Keys = snap.config.Issuer.URL, snap.signingKeys()
	}
	for _, t := range snap.config.TrustedIssuers {
		all.Trusted = append(all.Trusted, g.trusted(t))
	}
	for _, x := range trust.Exchanges(snap.config) {
		all.Exchanges = append(all.Exchanges, console.Exchange{
			Client: x.Client, Issuer: x.Issuer, Audiences: x.Audiences, Named: x.Named, Claims: x.Claims, Most: x.Most,
		})
	}
	for _, x := range trust.Workloads(snap.config) {
		all.Workloads = append(all.Workloads, console.Workload{
			Client: x.Client, Issuer: x.Issuer, Is: x.Is, Audiences: x.Identity.Audiences,
			MaxLifetime: x.Identity.MaxLifetime, Once: x.Identity.Once,
		})
	}
	for _, t := range snap.config.TrustedIssuers {
		if len(t.LogoutAudiences) > 0 {
			all.Logouts = append(all.Logouts, console.TrustedIssuer{Issuer: t.Issuer, Audiences: t.LogoutAudiences})
		}
	}
	for listener, certificates := range g.certificates {
		for _, e := range certificates.Expiries() {
			all.Certificates = append(all.Certificates, console.Certificate{
				Listener: listener, File: e.File, NotAfter: e.NotAfter,
			})
		}
	}
	slices.SortFunc(all.Certificates, func(a, b console.Certificate) int {
		return strings.Compare(a.Listener+"\x00"+a.File, b.Listener+"\x00"+b.File)
	})
	return all
}

// signingKeys are our own, in the file's order.
func (snap *snapshot) signingKeys() (all []console.SigningKey) {
	if snap.issuer == nil {
		return nil
	}
	for i, k := range snap.issuer.KeyStates() {
		key := console.SigningKey{
			ID: k.ID, Algorithm: k.Algorithm, State: "verifies", Published: k.Published, Signs: k.From,
		}
		if i < len(snap.config.Issuer.KeyFiles) {
			file := snap.config.Issuer.KeyFiles[i]
			key.File, key.State = file.Path, cmp.Or(file.State, key.State)
			if info, err := os.Stat(file.Path); err == nil {
				key.Made = info.ModTime()
			}
		}
		if k.Signs {
			key.State = "signs"
		}
		all = append(all, key)
	}
	return all
}

func (g *Gate) trusted(t *config.TrustedIssuer) console.TrustedIssuer {
	one := console.TrustedIssuer{Issuer: cmp.Or(t.Pattern, t.Issuer), State: "ok", Audiences: t.Audiences}
	if t.Remote == nil {
		one.Keys = keysIn(t.Keys)
		return one
	}
	one.MaxAge, one.Refresh, one.State = t.Remote.MaxAge, t.Remote.Refresh, "missing"
	for _, k := range g.KeySets() {
		if k.Issuer != one.Issuer {
			continue
		}
		one.From, one.Keys, one.Age, one.Fetched = k.From, k.Keys, k.Age, k.Fetched
		one.Attempted, one.Fetches, one.Failures = k.Attempted, k.Fetches, k.Failures
		switch {
		case k.Available && k.Keys > 0 && k.Err == nil:
			one.State = "ok"
		case k.Available && k.Keys > 0:
			one.State = "stale"
		}
		if k.Err != nil {
			one.Problem = k.Err.Error()
		}
	}
	return one
}

func keysIn(set *jose.KeySet) int {
	if set == nil {
		return 0
	}
	return set.Len()
}

func (g *Gate) consoleUpstreams() (all []console.Server) {
	places := map[string]int{}
	for _, r := range g.Config().Routes {
		if r.Upstream != nil {
			places[r.Upstream.Name] = r.Upstream.MaxConnections
		}
	}
	for _, s := range g.memory.upstreams.States() {
		all = append(all, console.Server{
			Upstream: s.Upstream, Address: s.Server, Up: s.Up, InUse: s.InUse, Places: places[s.Upstream],
			Ejections: s.Ejections, Unasked: s.Unasked,
		})
	}
	return all
}

func (g *Gate) consoleMemories() (all console.Memories) {
	m, snap := g.memory, g.snapshot.Load()
	if snap.guard != nil {
		for _, c := range snap.guard.Stats() {
			guard := console.Guard{Client: c.Client, Fill: c.Fill, Capacity: c.Capacity}
			if c.Floor > 0 {
				guard.Floor = time.UnixMilli(c.Floor)
			}
			all.Guards = append(all.Guards, guard)
		}
	}
	tickets := console.Fill{Name: "Used tickets", Note: "one-time tickets for requests that cannot have a header"}
	if !snap.config.Tickets.Taken {
		tickets.Note = "no route takes tickets"
	}
	for _, c := range m.tickets.Stats() {
		tickets.Fill, tickets.Capacity = tickets.Fill+c.Fill, tickets.Capacity+c.Capacity
	}
	hits, misses := m.cache.Hits(), m.cache.Misses()
	all.Others = []console.Fill{
		tickets,
		{
			Name: "Verified tokens", Fill: m.cache.Len(),
			Note: fmt.Sprintf("%d found, %d verified anew; what is kept is never a verdict", hits, misses),
		},
		{
			Name: "Refusals with their trace", Fill: g.refusals.held(), Capacity: snap.config.Admin.Refusals,
			Note: "for explain by request id",
		},
	}
	if m.store != nil {
		state, stats := m.store.State(), m.store.Stats()
		all.Store = &console.Store{
			Epoch: state.Epoch, Answered: state.Answered, Operations: stats.Operations, Failures: stats.Failures,
			Epochs: stats.Epochs,
		}
		if state.Err != nil {
			all.Store.Problem = state.Err.Error()
		}
	}
	return all
}

func (g *Gate) revocationStatus() console.RevocationStatus {
	c, stats := g.Config(), g.memory.revocations.Stats()
	s := console.RevocationStatus{
		Kept: c.Revocations.File, Tokens: stats.Tokens, Marks: stats.Marks, Capacity: stats.Capacity, Stale: stats.Stale,
	}
	if stats.Shared {
		s.Kept = "the store that replicas share"
	}
	if c.Issuer != nil {
		s.Issuers = append(s.Issuers, c.Issuer.URL)
	}
	for _, t := range c.TrustedIssuers {
		s.Issuers = append(s.Issuers, t.Issuer)
	}
	return s
}

// reloads are the latest ones.
type reloads struct {
	mu     sync.Mutex
	all    []console.Reload // the latest first
	before *config.Config   // what was in force before the one that is; nil: none was
}

// mostReloads bounds those that are remembered, mostFaults what is remembered of each.
const (
	mostReloads = 20
	mostFaults  = 20
)

func (r *reloads) add(last *admin.LastReload, before, now *config.Config) {
	one := console.Reload{At: last.At, By: last.By}
	if last.Err != nil {
		one.Faults = strings.Split(last.Err.Error(), "\n")
		one.Faults = one.Faults[:min(len(one.Faults), mostFaults)]
	} else {
		one.Digest = now.Digest
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.Insert(r.all, 0, one)
	r.all = r.all[:min(len(r.all), mostReloads)]
	if last.Err == nil {
		r.before = before
	}
}

// compared is what the last reload changed, once it was asked for.
type compared struct {
	mu         sync.Mutex
	generation int
	changes    []console.Change
	problem    string
}

// mostCompared bounds the routes of both configurations that a page compares, while it is waited for.
const mostCompared = 400

func (g *Gate) consoleConfig() console.Config {
	snap := g.snapshot.Load()
	c := snap.config
	v := console.Config{File: c.File, Digest: c.Digest}
	for _, w := range c.Warnings {
		v.Warnings = append(v.Warnings, w.String())
	}
	var err error
	if v.Text, err = c.Redacted(); err != nil {
		v.Text = ""
	}
	g.reloads.mu.Lock()
	before := g.reloads.before
	v.Reloads = slices.Clone(g.reloads.all)
	g.reloads.mu.Unlock()
	if before == nil {
		return v
	}
	v.Compared = true
	if old, err := before.Redacted(); err == nil {
		v.Lines = difference(old, v.Text)
	}
	v.Changes, v.Problem = g.compared.of(before, snap, g.clock)
	return v
}

// of compares once for each configuration.
func (k *compared) of(before *config.Config, snap *snapshot, clock func() time.Time) ([]console.Change, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.generation == snap.generation {
		return k.changes, k.problem
	}
	k.generation, k.changes, k.problem = snap.generation, nil, ""
	if len(before.Routes)+len(snap.config.Routes) > mostCompared {
		k.problem = "they have too many routes for a page; use jotgate diff OLD NEW"
		return nil, k.problem
	}
	d, err := NewDiff(before, snap.config, clock)
	if err != nil {
		k.problem = err.Error()
		return nil, k.problem
	}
	for _, c := range d.Changes() {
		k.changes = append(k.changes, console.Change{Opens: c.Opens, Text: c.String()})
	}
	if err := d.Close(); err != nil {
		k.problem = err.Error()
	}
	return k.changes, k.problem
}

// Bounds of a difference of texts.
const (
	mostDiffered = 2000 // lines of each, between those that both begin and end with
	around       = 2    // equal lines that are shown about a change
)

// difference lists the lines that are not in both texts, with some that are.
func difference(old, fresh string) (all []console.Line) {
	a, b := strings.Split(strings.TrimRight(old, "\n"), "\n"), strings.Split(strings.TrimRight(fresh, "\n"), "\n")
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	if head == len(a) && head == len(b) {
		return nil
	}
	same := func(lines []string) {
		for _, text := range lines {
			all = append(all, console.Line{Sign: " ", Text: text})
		}
	}
	same(a[:head])
	all = append(all, differing(a[head:len(a)-tail], b[head:len(b)-tail])...)
	same(a[len(a)-tail:])
	return shortened(all)
}

// differing is the shortest difference of two texts, or of long ones all lines of both.
func differing(a, b []string) (all []console.Line) {
	if len(a) > mostDiffered || len(b) > mostDiffered {
		a, b = a[:min(len(a), mostDiffered)], b[:min(len(b), mostDiffered)]
		for _, text := range a {
			all = append(all, console.Line{Sign: "-", Text: text})
		}
		for _, text := range b {
			all = append(all, console.Line{Sign: "+", Text: text})
		}
		return all
	}
	longest := make([][]int16, len(a)+1) // common subsequences of what is left of a and b
	for i := range longest {
		longest[i] = make([]int16, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, console.Line{Sign: " ", Text: a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || longest[i+1][j] >= longest[i][j+1]):
			all = append(all, console.Line{Sign: "-", Text: a[i]})
			i++
		default:
			all = append(all, console.Line{Sign: "+", Text: b[j]})
			j++
		}
	}
	return all
}

// shortened leaves out equal lines far from a change.
func shortened(lines []console.Line) (all []console.Line) {
	near := func(i int) bool {
		for k := max(0, i-around); k <= min(len(lines)-1, i+around); k++ {
			if lines[k].Sign != " " {
				return true
			}
		}
		return false
	}
	for i, l := range lines {
		switch {
		case near(i):
			all = append(all, l)
		case len(all) == 0 || all[len(all)-1].Sign != "…":
			all = append(all, console.Line{Sign: "…"})
		}
	}
	return all
}
