package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// series are those of one route that every request counts in. They lie together: with thousands of routes a request
// waits for memory, and counters and histograms of the library's are spread over several places each. A scrape is told
// of those that are not zero.
type series struct {
	name   string
	waited histogram
	fine   [len(methods)]atomic.Uint64 // answered 2xx, since the last scrape
	rest   atomic.Pointer[passed]      // with other statuses; made when first needed
}

// passed are requests that were not refused, by method and class.
type passed [len(methods)][len(classes)]atomic.Uint64

const fineClass = 2 // of classes

// count counts one that was not refused.
func (s *series) count(method, class int) {
	if class == fineClass {
		s.fine[method].Add(1)
		return
	}
	rest := s.rest.Load()
	if rest == nil {
		s.rest.CompareAndSwap(nil, new(passed))
		rest = s.rest.Load()
	}
	rest[method][class].Add(1)
}

// tell moves what was counted to the counters.
func (s *series) tell(requests *prometheus.CounterVec) {
	move := func(n *atomic.Uint64, method, class int) {
		if n.Load() > 0 {
			requests.WithLabelValues(s.name, methods[method], classes[class], "").Add(float64(n.Swap(0)))
		}
	}
	rest := s.rest.Load()
	for i := range s.fine {
		move(&s.fine[i], i, fineClass)
		for j := range classes {
			if rest != nil {
				move(&rest[i][j], i, j)
			}
		}
	}
}

// waitedBounds are the upper bounds of a histogram's buckets; the last bucket has none.
var waitedBounds = [...]time.Duration{
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// A histogram counts durations.
type histogram struct {
	sum     atomic.Int64 // nanoseconds
	buckets [len(waitedBounds) + 1]atomic.Uint64
}

func (h *histogram) observe(d time.Duration) {
	d = max(0, d)
	i := 0
	for i < len(waitedBounds) && d > waitedBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// metric is what a scrape has of it; nil: nothing was observed.
func (h *histogram) metric(desc *prometheus.Desc, route string) prometheus.Metric {
	count, below := uint64(0), make(map[float64]uint64, len(waitedBounds))
	for i := range h.buckets {
		if count += h.buckets[i].Load(); i < len(waitedBounds) {
			below[waitedBounds[i].Seconds()] = count
		}
	}
	if count == 0 {
		return nil
	}
	// one label, as desc has
	return prometheus.MustNewConstHistogram(desc, count, time.Duration(h.sum.Load()).Seconds(), below, route)
}

// waits collects the histograms of all routes.
type waits struct {
	metrics *Metrics
	desc    *prometheus.Desc
}

func newWaits(m *Metrics, o prometheus.Opts) waits {
	return waits{m, prometheus.NewDesc(o.Name, o.Help, []string{"route"}, nil)}
}

// Describe implements prometheus.Collector.
func (w waits) Describe(to chan<- *prometheus.Desc) { to <- w.desc }

// Collect implements prometheus.Collector.
func (w waits) Collect(to chan<- prometheus.Metric) {
	w.metrics.mu.RLock()
	defer w.metrics.mu.RUnlock()
	for _, s := range w.metrics.live {
		if metric := s.waited.metric(w.desc, s.name); metric != nil {
			to <- metric
		}
	}
}
