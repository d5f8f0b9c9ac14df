package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// scrape lists the series of a metric, as a scrape has them.
func scrape(t *testing.T, m *Metrics, name string) []string {
	t.Helper()
	return scrapeOf(t, m.Handler(), name)
}

// byLibrary answers scrapes as Prometheus' own library does.
func byLibrary(t *testing.T, all ...prometheus.Collector) http.Handler {
	t.Helper()
	registry := prometheus.NewRegistry()
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

func scrapeOf(t *testing.T, h http.Handler, name string) (lines []string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, name) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func answered(route string, status int, reason refusal.Reason, upstream string) *request.Exchange {
	x := new(request.Exchange)
	x.Begin(httptest.NewRecorder(), time.Now())
	x.Route, x.Reason, x.Upstream, x.Waited = route, reason, upstream, 3*time.Millisecond
	if status > 0 {
		x.WriteHeader(status)
	}
	return x
}

func TestRequestsAreCountedByWhatWasDecided(t *testing.T) {
	t.Parallel()
	m := NewMetrics("v1")
	r := m.Routes([]string{"app"})
	r.Observe("GET", answered("app", 200, "", "127.0.0.1:1"))
	r.Observe("GET", answered("app", 204, "", "127.0.0.1:1"))
	r.Observe("GET", answered("app", 403, refusal.ActionDenied, ""))
	r.Observe("GET", answered("", 404, refusal.RouteNotFound, ""))
	r.Observe("BREW", answered("app", 0, refusal.ClientClosed, ""))
	r.Observe("POST", answered("redeem_code", 201, "", ""))
	r.Observe("GET", answered("app", 400, refusal.Reason("made_up"), ""))
	r.Refused(&request.Exchange{Reason: refusal.HeaderTooLarge})
	want := []string{
		`jotgate_requests_total{method="GET",reason="",route="app",status="2xx"} 2`,
		`jotgate_requests_total{method="GET",reason="action_denied",route="app",status="4xx"} 1`,
		`jotgate_requests_total{method="GET",reason="internal_error",route="app",status="4xx"} 1`,
		`jotgate_requests_total{method="GET",reason="route_not_found",route="none",status="4xx"} 1`,
		`jotgate_requests_total{method="POST",reason="",route="redeem_code",status="2xx"} 1`,
		`jotgate_requests_total{method="other",reason="client_closed",route="app",status="none"} 1`,
		`jotgate_requests_total{method="other",reason="header_too_large",route="none",status="4xx"} 1`,
	}
	if diff := cmp.Diff(want, scrape(t, m, "jotgate_requests_total")); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`jotgate_upstream_seconds_count{route="app"} 2`},
		scrape(t, m, "jotgate_upstream_seconds_count")); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
	if got := scrape(t, m, "jotgate_added_seconds_count"); len(got) != 1 || got[0] != "jotgate_added_seconds_count 6" {
		t.Errorf("added: %v", got)
	}
	if got := scrape(t, m, "jotgate_build_info"); len(got) != 1 || !strings.Contains(got[0], `version="v1"`) {
		t.Errorf("build: %v", got)
	}
}

// A client cannot make series: neither by methods nor by what becomes a route's name.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	r := m.Routes(nil)
	for i := range 10_000 {
		r.Observe(fmt.Sprintf("M%d", i), answered(fmt.Sprintf("name-%d", i), 200, "", ""))
	}
	if n := len(scrape(t, m, "jotgate_requests_total")); n != mostExtra+1 {
		t.Errorf("%d series, want %d", n, mostExtra+1)
	}
}

func TestRoutesThatAReloadDropsAreForgotten(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	old := m.Routes([]string{"stays", "goes"})
	for _, name := range []string{"stays", "goes"} {
		old.Observe("GET", answered(name, 200, "", "a"))
	}
	next := m.Routes([]string{"stays", "comes"})
	old.Retire(next)
	next.Observe("GET", answered("stays", 200, "", "a"))
	want := []string{`jotgate_requests_total{method="GET",reason="",route="stays",status="2xx"} 2`}
	if diff := cmp.Diff(want, scrape(t, m, "jotgate_requests_total")); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`jotgate_upstream_seconds_count{route="stays"} 2`},
		scrape(t, m, "jotgate_upstream_seconds_count")); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
}

// A request that outlived its configuration brings a series back; the reload after that forgets it.
func TestARequestThatOutlivesItsRouteIsForgottenLater(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	old, next, last := m.Routes([]string{"goes"}), m.Routes(nil), m.Routes(nil)
	old.Retire(next)
	old.Observe("GET", answered("goes", 401, "token_missing", ""))
	if n := len(scrape(t, m, "jotgate_requests_total")); n != 1 {
		t.Fatalf("%d series of the request, want 1", n)
	}
	next.Retire(last)
	if got := scrape(t, m, "jotgate_requests_total"); len(got) > 0 {
		t.Errorf("still there: %v", got)
	}
}

// What is let through costs no allocation.
func TestObservingDoesNotAllocate(t *testing.T) {
	r := NewMetrics("").Routes([]string{"app"})
	x := answered("app", 200, "", "127.0.0.1:1")
	if n := testing.AllocsPerRun(100, func() { r.Observe("GET", x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	r := NewMetrics("").Routes([]string{"app"})
	x := new(request.Exchange)
	x.Begin(httptest.NewRecorder(), time.Now())
	x.Route, x.Upstream, x.Waited = "app", "127.0.0.1:1", time.Millisecond
	x.WriteHeader(200)
	b.ReportAllocs()
	for b.Loop() {
		r.Observe("GET", x)
	}
}

// The histogram of a route has the library's buckets and sums.
func TestWaitsAreCountedAsByTheLibrary(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	r := m.Routes([]string{"app", "quiet"})
	bounds := make([]float64, 0, len(waitedBounds))
	for _, bound := range waitedBounds {
		bounds = append(bounds, bound.Seconds())
	}
	library := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "jotgate_upstream_seconds", Help: "-",
		Buckets: bounds,
	}, []string{"route"})
	waits := []time.Duration{0, time.Nanosecond, time.Minute, 30 * time.Second, 1500 * time.Millisecond}
	for _, bound := range waitedBounds {
		waits = append(waits, bound-time.Nanosecond, bound, bound+time.Nanosecond)
	}
	for _, wait := range waits {
		x := answered("app", 200, "", "127.0.0.1:1")
		x.Waited = wait
		r.Observe("GET", x)
		library.WithLabelValues("app").Observe(wait.Seconds())
	}
	for _, part := range []string{"_bucket", "_count"} {
		want := scrapeOf(t, byLibrary(t, library), "jotgate_upstream_seconds"+part)
		if diff := cmp.Diff(want, scrape(t, m, "jotgate_upstream_seconds"+part)); diff != "" {
			t.Errorf("(-library +ours)\n%s", diff)
		}
	}
	sum := time.Duration(0)
	for _, wait := range waits {
		sum += wait
	}
	if got := scrape(t, m, "jotgate_upstream_seconds_sum"); len(got) != 1 ||
		got[0] != fmt.Sprintf(`jotgate_upstream_seconds_sum{route="app"} %v`, sum.Seconds()) {
		t.Errorf("%v, want %v", got, sum)
	}
}

// No request is counted twice or lost, though scrapes and reloads go on beside it.
func TestCountsAreExactBesideScrapesAndReloads(t *testing.T) {
	t.Parallel()
	const workers, each = 4, 500
	m := NewMetrics("")
	var inForce atomic.Pointer[Routes]
	inForce.Store(m.Routes([]string{"app", "a"}))
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range each {
				x := answered("app", 200, "", "127.0.0.1:1")
				x.Place = i % 2 // found by its place, or by its name
				inForce.Load().Observe("GET", x)
				inForce.Load().Observe("POST", answered("mint", 201, "", ""))
			}
		})
	}
	all.Go(func() {
		for i := range 50 {
			scrape(t, m, "jotgate_requests_total")
			old, next := inForce.Load(), m.Routes([]string{"app", fmt.Sprint("b", i)})
			inForce.Store(next)
			old.Retire(next)
		}
	})
	all.Wait()
	want := []string{
		fmt.Sprintf(`jotgate_requests_total{method="GET",reason="",route="app",status="2xx"} %d`, workers*each),
		fmt.Sprintf(`jotgate_requests_total{method="POST",reason="",route="mint",status="2xx"} %d`, workers*each),
	}
	if diff := cmp.Diff(want, scrape(t, m, "jotgate_requests_total")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := len(m.live); n != 5 { // none, other, app, the last b, mint
		t.Errorf("%d series are kept", n)
	}
}

// A route may be called as what stands for none, or for too many; when it goes, these stay.
func TestRoutesWithReservedNames(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	old := m.Routes([]string{noRoute, otherRoute})
	next := m.Routes(nil)
	old.Retire(next)
	for i := range mostExtra + 1 {
		next.Observe("GET", answered(fmt.Sprint("extra-", i), 200, "", ""))
	}
	next.Observe("GET", answered("", 204, "", ""))
	got := scrape(t, m, "jotgate_requests_total")
	for _, want := range []string{noRoute, otherRoute} {
		if line := `jotgate_requests_total{method="GET",reason="",route="` + want + `",status="2xx"} 1`; !slices.Contains(got,
			line) {
			t.Errorf("no line %s", line)
		}
	}
}
