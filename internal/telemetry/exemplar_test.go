package telemetry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/request"
)

// openMetrics is the body of a scrape that asks for OpenMetrics, by lines.
func openMetrics(t *testing.T, h http.Handler) []string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	const want = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, want) {
		t.Fatalf("Content-Type: %s", got)
	}
	return strings.Split(w.Body.String(), "\n")
}

// A tracer whose spans reach no collector.
func tracer(t *testing.T, ratio float64) *otel.Tracer {
	t.Helper()
	all := otel.New(otel.Options{URL: "http://127.0.0.1:1", Ratio: ratio})
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		all.Close(done)
	})
	return all
}

// traced is an exchange that waited for its upstream, and is part of a trace.
func traced(by *otel.Tracer, start time.Time, waited time.Duration) *request.Exchange {
	x := answered("app", 200, "", "127.0.0.1:1")
	x.Start, x.Waited = start, waited
	x.Trace = by.Begin(http.Header{}, false, start)
	return x
}

// All kinds of families, with exemplars, are written as the library writes OpenMetrics.
func TestOpenMetricsAsByTheLibrary(t *testing.T) {
	t.Parallel()
	const help = "a \\ and \"a\"\nline"
	m := NewMetrics("")
	bounds := make([]float64, 0, len(waitedBounds))
	for _, bound := range waitedBounds {
		bounds = append(bounds, bound.Seconds())
	}
	histogram := prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Name: "jotgate_upstream_seconds", Help: help, Buckets: bounds}, []string{"route"})
	spans, start := tracer(t, 1), time.Unix(1_700_000_000, 0)
	for _, waited := range []time.Duration{time.Second, 30 * time.Second, time.Hour, 3 * time.Millisecond} {
		x := traced(spans, start, waited)
		id := x.Trace.ID()
		m.named("app").waited.observeTraced(waitedBounds, waited, x, start)
		histogram.WithLabelValues("app").(prometheus.ExemplarObserver).
			ObserveWithExemplar(waited.Seconds(), prometheus.Labels{"trace_id": id})
		x.Trace.End(otel.Answer{})
	}
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a_gauge", Help: help}, []string{"z"})
	gauge.WithLabelValues("\"quoted\" \\ \n").Set(0.25)
	gauge.WithLabelValues("é").Set(1e6)
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "a_counter_total", Help: help})
	counter.Add(12)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range []prometheus.Collector{histogram, gauge, counter} {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	library := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	ours := scrapes(func(s *Scrape) {
		of := &m.named("app").waited
		spread, _ := of.spread(waitedBounds)
		s.histogram("jotgate_upstream_seconds", help, spread, of, "route", "app")
		s.Gauge("a_gauge", help, 0.25, "z", "\"quoted\" \\ \n")
		s.Gauge("a_gauge", help, 1e6, "z", "é")
		s.Counter("a_counter_total", help, 12)
	}, true)
	// The library writes its own time, and every value as a number with a point.
	alike := func(lines []string) []string {
		moment, whole := regexp.MustCompile(`("\} \S+) \S+$`), regexp.MustCompile(`^(\S+ \d+)\.0( #|$)`)
		for i := range lines {
			lines[i] = whole.ReplaceAllString(lines[i], "$1$2")
			if strings.Contains(lines[i], " # {") {
				lines[i] = moment.ReplaceAllString(lines[i], "$1")
			}
		}
		return lines
	}
	want, got := alike(openMetrics(t, library)), alike(openMetrics(t, ours))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-library +ours)\n%s", diff)
	}
	if n := strings.Count(strings.Join(got, "\n"), `# {trace_id="`); n != 4 {
		t.Errorf("%d exemplars, want 4", n)
	}
}

// No two families of a whole scrape have one name, each sample is of the family above it, and the last line says that
// nothing is missing.
func TestOpenMetricsAreWhole(t *testing.T) {
	t.Parallel()
	m := NewMetrics("v1")
	m.Trace()
	x := traced(tracer(t, 1), time.Now(), time.Millisecond)
	m.Routes([]string{"app"}).Observe("GET", x)
	lines := openMetrics(t, m.Handler())
	if n := len(lines); lines[n-1] != "" || lines[n-2] != "# EOF" {
		t.Errorf("the end: %q", lines[n-2:])
	}
	suffixes := map[string][]string{
		"counter": {"_total"}, "gauge": {""}, "unknown": {""}, "histogram": {"_bucket", "_sum", "_count"},
		"summary": {"", "_sum", "_count"},
	}
	name, kind, seen := "", "", map[string]bool{}
	for _, line := range lines[:len(lines)-2] {
		if family, is := strings.CutPrefix(line, "# TYPE "); is {
			name, kind, _ = strings.Cut(family, " ")
			if seen[name] || suffixes[kind] == nil {
				t.Errorf("%s", line)
			}
			seen[name] = true
		} else if !strings.HasPrefix(line, "#") {
			sample := line[:strings.IndexAny(line, "{ ")]
			if !slices.ContainsFunc(suffixes[kind], func(suffix string) bool { return sample == name+suffix }) {
				t.Errorf("%s in %s %s", line, kind, name)
			}
		}
	}
	if !seen["jotgate_requests"] || !seen["go_memstats_alloc_bytes"] || !seen["go_memstats_alloc_bytes_total"] {
		t.Error("families are missing")
	}
	id := x.Trace.ID()
	for _, of := range []string{"jotgate_added_seconds_bucket", `jotgate_upstream_seconds_bucket{route="app",`} {
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, of) && strings.Contains(line, ` # {trace_id="`+id+`"} 0.`)
		}) {
			t.Errorf("no exemplar of %s", of)
		}
	}
}

// Requests whose spans are not sent leave no exemplar, and of those within a second the first stays.
func TestExemplarsAreOfTracesThatCanBeFound(t *testing.T) {
	t.Parallel()
	var h histogram
	start := time.Unix(1_700_000_000, 0)
	observe := func(by *otel.Tracer, after time.Duration) string {
		x := traced(by, start, time.Millisecond)
		h.observeTraced(waitedBounds, time.Millisecond, x, start.Add(after))
		return x.Trace.ID()
	}
	observe(tracer(t, 0), 0)
	if h.exemplars.Load() != nil {
		t.Error("there is memory for exemplars without a traced request")
	}
	all := tracer(t, 1)
	first := observe(all, 0)
	observe(all, time.Second-1)
	if text := h.exemplar(0).text(); !strings.Contains(text, first) {
		t.Errorf("%s, want %s", text, first)
	}
	if second := observe(all, time.Second); !strings.Contains(h.exemplar(0).text(), second) {
		t.Errorf("%s, want %s", h.exemplar(0).text(), second)
	}
	if h.exemplar(1) != nil {
		t.Error("another bucket has one, too")
	}
}

func TestWhoGetsOpenMetrics(t *testing.T) {
	t.Parallel()
	for accept, open := range map[string]bool{
		"":                             false,
		"*/*":                          false,
		"text/plain":                   false,
		"application/openmetrics-text": true,
		"application/openmetrics-text; version=1.0.0; charset=utf-8":                                           true,
		"application/openmetrics-text;version=0.0.1":                                                           false,
		"application/openmetrics-text;q=0":                                                                     false,
		"application/openmetrics-text;q=2":                                                                     false,
		"application/openmetrics-text;q=NaN":                                                                   false,
		"application/openmetrics-text;q=0.2,text/plain;q=0.3":                                                  false,
		"text/plain;version=1.0.0, Application/OpenMetrics-Text;q=0.1":                                         true,
		"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=1": true,
		"application/openmetrics-text;;,":                                                                      false,
	} {
		if got := prefersOpen([]string{accept}); got != open {
			t.Errorf("%q: %v", accept, got)
		}
		// Without traces there is nothing that the text format does not tell.
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		NewMetrics("").Handler().ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); got != plainType || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q without traces: %v", accept, w.Header())
		}
	}
}
