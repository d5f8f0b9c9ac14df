package telemetry

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// Metrics are what a scrape is told. Every label has few values: routes are named by the configuration, methods come
// from a list, reasons from package refusal.
type Metrics struct {
	requests *counters
	spared   *counters
	added    histogram
	reloads  *counters
	widening *counters
	loaded   atomic.Int64 // milliseconds since 1970
	faults   *counters
	tickets  [len(ticketResults)]*atomic.Uint64 // by request.TicketUse
	used     *counters                          // those of tickets
	build    []string                           // labels of what runs
	others   []Collector
	traced   bool // exemplars are told
	reasons  map[refusal.Reason]bool

	mu    sync.RWMutex
	live  map[string]*series // of the routes in force, and of what no configuration names, by name
	extra int                // how many of the latter
}

// NewMetrics makes the metrics of one process. version is the release; "" asks the build's own stamp.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		requests: newCounters("jotgate_requests_total",
			"Requests that were answered; reason is why one was refused, empty if it was not.",
			"route", "method", "status", "reason"),
		spared: newCounters("jotgate_shadow_refusals_total",
			"Requests that were let through because their route is in shadow; reason is why they would have been refused.",
			"route", "reason"),
		reloads: newCounters("jotgate_reloads_total",
			"Reloads of the configuration: done, or refused, which changes nothing.", "result"),
		widening: newCounters("jotgate_reload_widenings_total",
			"Reloads that reload.deny_widening denied, and those for which an operator allowed to widen.", "result"),
		faults: newCounters("jotgate_http2_faults_total",
			"HTTP/2 streams that were reset, and connections that were ended, for what their client did; reason is the "+
				"error code, or stalled.", "scope", "reason"),
		used: newCounters("jotgate_tickets_total", "One-time tickets: issued, redeemed by their request, or refused.",
			"result"),
		build: buildLabels(version), reasons: map[refusal.Reason]bool{}, live: map[string]*series{},
	}
	for _, name := range []string{noRoute, otherRoute} {
		m.live[name] = &series{name: name}
	}
	for _, reason := range refusal.All() {
		m.reasons[reason] = true
	}
	for _, result := range []string{"done", "refused"} {
		m.reloads.with(result) // so that the first one is an increase
	}
	for _, scope := range []string{"stream", "connection"} {
		m.faults.with(scope, "protocol_error")
	}
	for _, result := range []string{"allowed", "denied"} {
		m.widening.with(result)
	}
	for use, result := range ticketResults {
		if result != "" {
			m.tickets[use] = m.used.with(result)
		}
	}
	return m
}

// buildLabels say what runs.
func buildLabels(version string) []string {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if version == "" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return []string{"version", version, "revision", revision, "goversion", runtime.Version()}
}

// ticketResults are the labels of request.TicketUse.
var ticketResults = [...]string{
	request.TicketIssued: "issued", request.TicketRedeemed: "redeemed", request.TicketRefused: "refused",
}

// A Collector adds what it knows when a scrape asks.
type Collector interface{ Collect(to *Scrape) }

// Register adds a collector that reads what is at hand when it is scraped. It is not for use beside scrapes.
func (m *Metrics) Register(c Collector) { m.others = append(m.others, c) }

// Trace says that some requests are traced: scrapers that ask for OpenMetrics get it, since Prometheus' text format has
// no exemplars. It is for use before Handler.
func (m *Metrics) Trace() { m.traced = true }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler { return scrapes(m.collect, m.traced) }

func (m *Metrics) collect(s *Scrape) {
	m.tell()
	for _, c := range []*counters{m.requests, m.spared, m.reloads, m.widening, m.faults, m.used} {
		c.collect(s)
	}
	s.Gauge("jotgate_config_loaded_timestamp_seconds", "When the configuration in force was loaded.",
		float64(m.loaded.Load())/1000)
	s.Gauge("jotgate_build_info", "Always 1; the labels say what runs.", 1, m.build...)
	added, _ := m.added.spread(addedBounds)
	s.histogram("jotgate_added_seconds",
		"What the gate adds: from a request's head to the head of its answer, without the upstream's part.",
		added, &m.added)
	m.mu.RLock()
	for name, of := range m.live {
		if waited, any := of.waited.spread(waitedBounds); any {
			s.histogram("jotgate_upstream_seconds", "From asking the upstream to the head of its answer.",
				waited, &of.waited, "route", name)
		}
	}
	m.mu.RUnlock()
	for _, c := range m.others {
		c.Collect(s)
	}
	collectRuntime(s)
	collectProcess(s)
}

// tell brings the counters up to date.
func (m *Metrics) tell() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range m.live {
		s.tell(m.requests)
	}
}

// Loaded records that a configuration came into force; at the start it is no reload.
func (m *Metrics) Loaded(at time.Time) { m.loaded.Store(at.UnixMilli()) }

// HTTP2Fault counts a stream that was reset, or a connection that was ended, for what its client did. Reasons come from
// one list.
func (m *Metrics) HTTP2Fault(connection bool, reason string) {
	scope := "stream"
	if connection {
		scope = "connection"
	}
	m.faults.with(scope, reason).Add(1)
}

// Reloaded counts a reload.
func (m *Metrics) Reloaded(err error) {
	result := "done"
	if err != nil {
		result = "refused"
	}
	m.reloads.with(result).Add(1)
}

// Widening counts a reload that was denied because it opens what is closed, or that an operator allowed to.
func (m *Metrics) Widening(allowed bool) {
	result := "denied"
	if allowed {
		result = "allowed"
	}
	m.widening.with(result).Add(1)
}

// The methods that have a label of their own.
var methods = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, "other",
}

// classes of statuses; the first is an answer that broke off before its head.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

const (
	noRoute    = "none"  // refused before a route was chosen
	otherRoute = "other" // a name beyond those that were announced and the first few that were not
	mostExtra  = 64
)

// Routes are the series of one configuration's routes. What is let through is counted without looking up labels.
type Routes struct {
	metrics *Metrics
	byPlace []*series // of the configuration's routes, in its order
	gone    []string  // the routes that the reload before this one dropped; Retire alone touches it
}

// Routes announces the names of a configuration's routes, in its order. The configuration is about to come into force:
// those that it shares with the one before go on counting.
func (m *Metrics) Routes(names []string) *Routes {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &Routes{metrics: m, byPlace: make([]*series, len(names))}
	for i, name := range names {
		if m.live[name] == nil {
			m.live[name] = &series{name: name}
		}
		r.byPlace[i] = m.live[name]
	}
	return r
}

// Retire forgets the series of the routes that next does not have any more. A request that is still on its way may
// bring one back; it is forgotten with the next reload. Calls must not overlap.
func (r *Routes) Retire(next *Routes) {
	stays := make(map[string]bool, len(next.byPlace))
	for _, s := range next.byPlace {
		stays[s.name] = true
	}
	for _, s := range r.byPlace {
		if !stays[s.name] {
			r.metrics.forget(s.name)
			next.gone = append(next.gone, s.name)
		}
	}
	for _, name := range r.gone {
		if !stays[name] {
			r.metrics.forget(name)
		}
	}
}

func (m *Metrics) forget(route string) {
	m.requests.forget(route)
	m.spared.forget(route)
	if route == noRoute || route == otherRoute { // a route may have such a name
		return
	}
	m.mu.Lock()
	delete(m.live, route)
	m.mu.Unlock()
}

// Observe counts a finished exchange.
func (r *Routes) Observe(method string, x *request.Exchange) {
	s := r.of(x)
	i := slices.Index(methods[:], method)
	if i < 0 {
		i = len(methods) - 1
	}
	class := min(max(x.Status()/100, 0), len(classes)-1)
	if x.Reason == "" {
		s.count(i, class)
	} else {
		r.metrics.requests.with(s.name, methods[i], classes[class], r.metrics.reason(x.Reason)).Add(1)
	}
	if x.Shadow != "" {
		r.metrics.spared.with(s.name, r.metrics.reason(x.Shadow)).Add(1)
	}
	if x.Ticket != 0 {
		r.metrics.tickets[x.Ticket].Add(1)
	}
	if x.Upstream != "" {
		s.waited.observeTraced(waitedBounds, x.Waited, x, x.Start.Add(x.Waited))
	}
	if head := x.Head(); !head.IsZero() {
		r.metrics.added.observeTraced(addedBounds, head.Sub(x.Start)-x.Waited, x, head)
	}
}

// Refused counts a request that no handler saw.
func (r *Routes) Refused(x *request.Exchange) {
	class := min(x.Reason.Status()/100, len(classes)-1)
	r.metrics.requests.with(noRoute, "other", classes[class], r.metrics.reason(x.Reason)).Add(1)
}

// of finds a request's series, by its route's place if it has one.
func (r *Routes) of(x *request.Exchange) *series {
	if at := x.Place - 1; at >= 0 && at < len(r.byPlace) && r.byPlace[at].name == x.Route {
		return r.byPlace[at]
	}
	return r.metrics.named(x.Route)
}

// named gives the series of what has no place: endpoints of ours, and none.
func (m *Metrics) named(name string) *series {
	if name == "" {
		name = noRoute
	}
	m.mu.RLock()
	s := m.live[name]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s = m.live[name]; {
	case s != nil:
	case m.extra == mostExtra:
		return m.live[otherRoute]
	default:
		s = &series{name: name}
		m.live[name] = s
		m.extra++
	}
	return s
}

// reason bounds the label to the list of reasons.
func (m *Metrics) reason(r refusal.Reason) string {
	if m.reasons[r] {
		return string(r)
	}
	return string(refusal.InternalError)
}
