package telemetry

import (
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// kinds are the series' names, with their types, labels and nothing that changes.
func kinds(t *testing.T, h http.Handler) (all []string) {
	t.Helper()
	for _, line := range scrapeOf(t, h, "") {
		if name, is := strings.CutPrefix(line, "# TYPE "); is {
			all = append(all, name)
		} else if !strings.HasPrefix(line, "#") {
			all = append(all, line[:strings.LastIndexByte(line, ' ')])
		}
	}
	return all
}

// What is told of the runtime and the process has the library's names, types and labels, in its order.
func TestRuntimeAndProcessAsByTheLibrary(t *testing.T) {
	t.Parallel()
	ours := scrapes(func(s *Scrape) {
		collectRuntime(s)
		collectProcess(s)
	}, false)
	library := byLibrary(t, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if diff := cmp.Diff(kinds(t, library), kinds(t, ours)); diff != "" {
		t.Errorf("(-library +ours)\n%s", diff)
	}
	// Those that stand still have the library's values.
	for _, name := range []string{
		"process_start_time_seconds", "process_max_fds", "process_virtual_memory_max_bytes", "go_gc_gogc_percent",
		"go_gc_gomemlimit_bytes", "go_sched_gomaxprocs_threads",
	} {
		if diff := cmp.Diff(scrapeOf(t, library, name), scrapeOf(t, ours, name)); diff != "" {
			t.Errorf("(-library +ours)\n%s", diff)
		}
	}
}

// Whatever stands in labels, help and values is written as the library writes it.
func TestTextAsByTheLibrary(t *testing.T) {
	t.Parallel()
	const help = "a \\ and\na line"
	values := []string{"", "plain", `"quoted"`, `back\slash`, "two\nlines", "é", "a b"}
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a_gauge", Help: help}, []string{"z", "b"})
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "a_counter", Help: help})
	counter.Add(123456789)
	numbers := []float64{0, -1, 0.1, 1e6, 1e21, 123456789, 1.5e-7}
	for i, v := range values {
		gauge.WithLabelValues(v, "x").Set(numbers[i])
	}
	ours := scrapes(func(s *Scrape) {
		s.Counter("a_counter", help, 123456789)
		for i, v := range values {
			s.Gauge("a_gauge", help, numbers[i], "z", v, "b", "x")
		}
	}, false)
	want, got := scrapeOf(t, byLibrary(t, gauge, counter), ""), scrapeOf(t, ours, "")
	slices.Sort(want) // the order of values with quotes apart
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-library +ours)\n%s", diff)
	}
}

func TestScrapesArePackedWhereTheScraperAsks(t *testing.T) {
	t.Parallel()
	h := scrapes(func(s *Scrape) { s.Gauge("one", "-", 1) }, false)
	const text = "# HELP one -\n# TYPE one gauge\none 1\n"
	for accept, packed := range map[string]bool{
		"": false, "gzip": true, "br, gzip;q=0.5": true, "GZIP": true, "gzip;q=0": false, "gzip; q=0.000": false,
		"identity": false, "x-gzip": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("%q: packed is %t", accept, got)
		}
		body := io.Reader(w.Body)
		if packed {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != text || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%q: %s, %v, %v", accept, got, err, w.Header())
		}
	}
}

func TestFewScrapesAtATime(t *testing.T) {
	t.Parallel()
	began, end := make(chan bool, mostScrapes), make(chan bool)
	h := scrapes(func(*Scrape) {
		began <- true
		<-end
	}, false)
	ask := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return w.Code
	}
	done := make(chan int, mostScrapes)
	for range mostScrapes {
		go func() { done <- ask() }()
		<-began
	}
	if status := ask(); status != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", status)
	}
	close(end)
	for range mostScrapes {
		if status := <-done; status != http.StatusOK {
			t.Errorf("%d", status)
		}
	}
}

func TestAddedAsByTheLibrary(t *testing.T) {
	t.Parallel()
	var bounds []float64
	for _, bound := range addedBounds {
		bounds = append(bounds, bound.Seconds())
	}
	library := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "jotgate_added_seconds", Help: "-", Buckets: bounds})
	m := NewMetrics("")
	for _, d := range append([]time.Duration{0, time.Minute}, addedBounds...) {
		library.Observe(d.Seconds())
		m.added.observe(addedBounds, d)
	}
	for _, part := range []string{"_bucket", "_count"} {
		want := scrapeOf(t, byLibrary(t, library), "jotgate_added_seconds"+part)
		if diff := cmp.Diff(want, scrape(t, m, "jotgate_added_seconds"+part)); diff != "" {
			t.Errorf("(-library +ours)\n%s", diff)
		}
	}
}

func TestCountersAreForgottenByTheirFirstLabel(t *testing.T) {
	t.Parallel()
	c := newCounters("n", "-", "route", "reason")
	c.with("a", "x").Add(2)
	c.with("b", "a").Add(3)
	c.with("a", "x").Add(1)
	got := map[values]uint64{}
	c.each(func(v values, n uint64) { got[v] = n })
	if want := map[values]uint64{{"a", "x"}: 3, {"b", "a"}: 3}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	c.forget("a")
	clear(got)
	c.each(func(v values, n uint64) { got[v] = n })
	if want := map[values]uint64{{"b", "a"}: 3}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
