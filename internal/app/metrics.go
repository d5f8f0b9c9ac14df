package app

import (
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// gauges read, when they are scraped, what the parts of a server know of themselves.
type gauges struct{ server *Gate }

// A description is what the series of one name have in common.
type description struct {
	name, help string
	labels     []string
}

func describe(name, help string, labels ...string) description {
	return description{"jotgate_" + name, help, labels}
}

// with joins the labels' names and values.
func (d description) with(values []string) []string {
	both := make([]string, 0, 2*len(values))
	for i, value := range values {
		both = append(both, d.labels[i], value)
	}
	return both
}

// Collect tells everything once.
func (g gauges) Collect(to *telemetry.Scrape) {
	snap := g.server.snapshot.Load()
	g.memories(to, snap)
	g.connections(to)
	files := 0
	if w := g.server.watched.Load(); w != nil && w.err == nil {
		files = w.files
	}
	gauge(to, describe("watched_files", "Files whose change causes a reload; 0 if not all of them can be watched."),
		float64(files))
	succeeded := 1.0
	if last := g.server.latest.Load(); last != nil && last.Err != nil {
		succeeded = 0
	}
	gauge(to, describe("config_last_reload_successful",
		"0 if the latest reload was refused: the file is not what is in force."), succeeded)
	gauge(to, describe("config_generation",
		"Which configuration is in force: 1 at the start, one more with each reload that was not refused."),
		float64(snap.generation))
	gauge(to, describe("config_info", "Always 1; digest is the beginning of the SHA-256 of the file in force.", "digest"),
		1, snap.config.Digest)
	if g.server.tracer != nil {
		const help = "Requests whose spans the collector took (exported), did not take (failed), or that were too many for " +
			"the queue (dropped)."
		stats := g.server.tracer.Stats()
		counter(to, describe("traced_requests_total", help, "result"), float64(stats.Exported), "exported")
		counter(to, describe("traced_requests_total", help, "result"), float64(stats.Failed), "failed")
		counter(to, describe("traced_requests_total", help, "result"), float64(stats.Dropped), "dropped")
	}
	gauge(to, describe("shadow_routes", "Routes in shadow, which let through what they should refuse."),
		float64(len(snap.shadows())))
	for listener, certificates := range g.server.certificates {
		for _, e := range certificates.Expiries() {
			gauge(to, describe("certificate_expiry_timestamp_seconds", "When a listener's certificate ends.", "listener",
				"file"),
				seconds(e.NotAfter), listener, e.File)
			gauge(to, describe("certificate_remaining_seconds", "Until a listener's certificate expires.", "listener", "file"),
				e.NotAfter.Sub(g.server.clock()).Seconds(), listener, e.File)
		}
	}
	for _, k := range snap.signingKeys() {
		if !k.Made.IsZero() {
			gauge(to, describe("signing_key_age_seconds", "Since the file of a signing key was written.", "key", "state"),
				g.server.clock().Sub(k.Made).Seconds(), k.ID, k.State)
		}
	}
	g.upstreams(to)
	for _, k := range g.server.KeySets() {
		gauge(to, describe("issuer_keys", "Keys of a trusted issuer that publishes them.", "issuer"), float64(k.Keys),
			k.Issuer)
		gauge(to, describe("issuer_keys_age_seconds", "Since they were last confirmed.", "issuer"), k.Age.Seconds(), k.Issuer)
		counter(to, describe("issuer_key_fetches_total", "Attempts to fetch them that ended.", "issuer"), float64(k.Fetches),
			k.Issuer)
		counter(to, describe("issuer_key_fetch_failures_total", "Those that failed.", "issuer"), float64(k.Failures),
			k.Issuer)
	}
}

func (g gauges) upstreams(to *telemetry.Scrape) {
	for _, s := range g.server.memory.upstreams.States() {
		up := 0.0
		if s.Up {
			up = 1
		}
		gauge(to, describe("upstream_server_up", "1 if the server gets requests: it is neither ejected nor unhealthy.",
			"upstream", "server"),
			up, s.Upstream, s.Server)
		gauge(to, describe("upstream_server_in_use", "Requests in flight at the server, without streams.", "upstream",
			"server"),
			float64(s.InUse), s.Upstream, s.Server)
		counter(to, describe("upstream_server_ejections_total", "Times that failures ejected the server.", "upstream",
			"server"),
			float64(s.Ejections), s.Upstream, s.Server)
		counter(to, describe("upstream_unasked_total", "Times that the server sent bytes which belong to no request.",
			"upstream", "server"), float64(s.Unasked), s.Upstream, s.Server)
	}
}

func (g gauges) memories(to *telemetry.Scrape, snap *snapshot) {
	m := g.server.memory
	gauge(to, describe("token_cache_tokens", "Verified tokens that are kept."), float64(m.cache.Len()))
	counter(to, describe("token_cache_hits_total", "Tokens that were found among them."), float64(m.cache.Hits()))
	counter(to, describe("token_cache_misses_total", "Tokens that were verified because they were not kept."),
		float64(m.cache.Misses()))
	counter(to, describe("prepared_key_disagreements_total",
		"Signatures that a prepared key accepted and the standard library did not; after one nothing is prepared."),
		float64(m.disagreements.Load()))
	if snap.guard != nil {
		for _, c := range snap.guard.Stats() {
			gauge(to, describe("replay_used_codes", "Used codes that are remembered.", "client"), float64(c.Fill), c.Client)
			gauge(to, describe("replay_capacity", "How many can be.", "client"), float64(c.Capacity), c.Client)
			gauge(to, describe("replay_floor_timestamp_seconds", "Codes that end at it or before are refused.", "client"),
				float64(c.Floor)/1000, c.Client)
		}
	}
	if m.revocations != nil {
		s := m.revocations.Stats()
		gauge(to, describe("revocations", "Revocations in force.", "kind"), float64(s.Tokens), "token")
		gauge(to, describe("revocations", "Revocations in force.", "kind"), float64(s.Marks), "mark")
		gauge(to, describe("revocations_capacity", "How many revocations there can be."), float64(s.Capacity))
		if s.Shared {
			stale := 0.0
			if s.Stale {
				stale = 1
			}
			gauge(to, describe("revocations_age_seconds", "Since the shared store last told all that was revoked; -1: never."),
				max(-1, s.Age.Seconds()))
			gauge(to, describe("revocations_stale", "1 if that is longer ago than revocations.max_staleness."), stale)
		}
	}
	if m.store != nil {
		g.shared(to, m)
	}
}

func (g gauges) shared(to *telemetry.Scrape, m *memory) {
	up := 1.0
	if m.store.State().Err != nil {
		up = 0
	}
	s := m.store.Stats()
	gauge(to, describe("redis_up", "1 if the shared store answered when it was last asked, and can hold the guarantee."),
		up)
	counter(to, describe("redis_operations_total", "Scripts that the shared store was asked to run."),
		float64(s.Operations))
	counter(to, describe("redis_failures_total", "Those that it did not answer in time, or refused."), float64(s.Failures))
	counter(to, describe("redis_epochs_total",
		"Epochs of the shared store that this process saw; after each the codes from before are refused."), float64(s.Epochs))
}

func (g gauges) connections(to *telemetry.Scrape) {
	if !g.server.started.Load() { // before that there are no listeners to ask
		return
	}
	gauge(to, describe("connections_open", "Client connections that are open."), float64(g.server.listeners.Open()))
	gauge(to, describe("requests_in_flight", "Requests that are being served, without streams."),
		float64(g.server.load.InFlight()))
	gauge(to, describe("streams_open", "Answers of unknown length and upgraded connections."),
		float64(g.server.load.Streams()))
	counter(to, describe("connections_turned_away_total",
		"Connections that were closed at once, over limits.connections."),
		float64(g.server.listeners.TurnedAway()))
}

func gauge(to *telemetry.Scrape, d description, value float64, labels ...string) {
	to.Gauge(d.name, d.help, value, d.with(labels)...)
}

func counter(to *telemetry.Scrape, d description, value float64, labels ...string) {
	to.Counter(d.name, d.help, value, d.with(labels)...)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// series are those of a configuration's routes.
func series(m *telemetry.Metrics, c *config.Config) *telemetry.Routes {
	names := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		names[i] = r.Name
	}
	return m.Routes(names)
}
