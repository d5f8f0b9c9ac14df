package telemetry

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// Metrics are what a scrape is told. Every label has few values: routes are named by the configuration, methods come
// from a list, reasons from package refusal.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	spared   *prometheus.CounterVec
	added    prometheus.Histogram
	reloads  *prometheus.CounterVec
	widening *prometheus.CounterVec
	loaded   prometheus.Gauge
	faults   *prometheus.CounterVec
	tickets  [len(ticketResults)]prometheus.Counter // by request.TicketUse
	reasons  map[refusal.Reason]bool

	mu    sync.RWMutex
	live  map[string]*series // of the routes in force, and of what no configuration names, by name
	extra int                // how many of the latter
}

// NewMetrics makes the metrics of one process. version is the release; "" asks the build's own stamp.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jotgate_requests_total",
			Help: "Requests that were answered; reason is why one was refused, empty if it was not.",
		}, []string{"route", "method", "status", "reason"}),
		spared: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jotgate_shadow_refusals_total",
			Help: "Requests that were let through because their route is in shadow; reason is why they would have been refused.",
		}, []string{"route", "reason"}),
		added: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "jotgate_added_seconds",
			Help:    "What the gate adds: from a request's head to the head of its answer, without the upstream's part.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .05, .25},
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jotgate_reloads_total", Help: "Reloads of the configuration: done, or refused, which changes nothing.",
		}, []string{"result"}),
		widening: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jotgate_reload_widenings_total",
			Help: "Reloads that reload.deny_widening denied, and those for which an operator allowed to widen.",
		}, []string{"result"}),
		loaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "jotgate_config_loaded_timestamp_seconds", Help: "When the configuration in force was loaded.",
		}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jotgate_http2_faults_total",
			Help: "HTTP/2 streams that were reset, and connections that were ended, for what their client did; reason is the " +
				"error code, or stalled.",
		}, []string{"scope", "reason"}),
		reasons: map[refusal.Reason]bool{}, live: map[string]*series{},
	}
	tickets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jotgate_tickets_total", Help: "One-time tickets: issued, redeemed by their request, or refused.",
	}, []string{"result"})
	for _, name := range []string{noRoute, otherRoute} {
		m.live[name] = &series{name: name}
	}
	for _, reason := range refusal.All() {
		m.reasons[reason] = true
	}
	for _, result := range []string{"done", "refused"} {
		m.reloads.WithLabelValues(result) // so that the first one is an increase
	}
	for _, scope := range []string{"stream", "connection"} {
		m.faults.WithLabelValues(scope, "protocol_error")
	}
	for _, result := range []string{"allowed", "denied"} {
		m.widening.WithLabelValues(result)
	}
	for use, result := range ticketResults {
		if result != "" {
			m.tickets[use] = tickets.WithLabelValues(result)
		}
	}
	waited := newWaits(m, prometheus.Opts{
		Name: "jotgate_upstream_seconds",
		Help: "From asking the upstream to the head of its answer.",
	})
	// of names that differ
	m.registry.MustRegister(m.requests, m.spared, m.added, waited, m.reloads, m.widening, m.loaded, m.faults, tickets,
		buildInfo(version),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func buildInfo(version string) prometheus.Collector {
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
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jotgate_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// ticketResults are the labels of request.TicketUse.
var ticketResults = [...]string{
	request.TicketIssued: "issued", request.TicketRedeemed: "redeemed", request.TicketRefused: "refused",
}

// Register adds a collector that reads what is at hand when it is scraped.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	scrape := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.tell()
		scrape.ServeHTTP(w, r)
	})
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
func (m *Metrics) Loaded(at time.Time) { m.loaded.Set(float64(at.UnixMilli()) / 1000) }

// HTTP2Fault counts a stream that was reset, or a connection that was ended, for what its client did. Reasons come from
// one list.
func (m *Metrics) HTTP2Fault(connection bool, reason string) {
	scope := "stream"
	if connection {
		scope = "connection"
	}
	m.faults.WithLabelValues(scope, reason).Inc()
}

// Reloaded counts a reload.
func (m *Metrics) Reloaded(err error) {
	result := "done"
	if err != nil {
		result = "refused"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// Widening counts a reload that was denied because it opens what is closed, or that an operator allowed to.
func (m *Metrics) Widening(allowed bool) {
	result := "denied"
	if allowed {
		result = "allowed"
	}
	m.widening.WithLabelValues(result).Inc()
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
	gone := prometheus.Labels{"route": route}
	m.requests.DeletePartialMatch(gone)
	m.spared.DeletePartialMatch(gone)
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
		r.metrics.requests.WithLabelValues(s.name, methods[i], classes[class], r.metrics.reason(x.Reason)).Inc()
	}
	if x.Shadow != "" {
		r.metrics.spared.WithLabelValues(s.name, r.metrics.reason(x.Shadow)).Inc()
	}
	if x.Ticket != 0 {
		r.metrics.tickets[x.Ticket].Inc()
	}
	if x.Upstream != "" {
		s.waited.observe(x.Waited)
	}
	if head := x.Head(); !head.IsZero() {
		r.metrics.added.Observe(max(0, head.Sub(x.Start)-x.Waited).Seconds())
	}
}

// Refused counts a request that no handler saw.
func (r *Routes) Refused(x *request.Exchange) {
	class := min(x.Reason.Status()/100, len(classes)-1)
	r.metrics.requests.WithLabelValues(noRoute, "other", classes[class], r.metrics.reason(x.Reason)).Inc()
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
