package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// series are those of one route that every request counts in. They lie together: with thousands of routes a request waits for memory, and
// counters and histograms of the library's are spread over several places each. A scrape is told of those that are not zero.
type series struct {
	name   string
	waited histogram
	passed [len(methods)][len(classes)]atomic.Uint64 // not refused, since the last scrape
}

// tell moves what passed to the counters.
func (s *series) tell(requests *prometheus.CounterVec) {
	for i := range s.passed {
		for j := range s.passed[i] {
			if s.passed[i][j].Load() == 0 {
				continue
			}
			if n := s.passed[i][j].Swap(0); n > 0 {
				requests.WithLabelValues(s.name, methods[i], classes[j], "").Add(float64(n))
			}
		}
	}
}

// waitedBounds are the upper bounds of a histogram's buckets; the last bucket has none.
var waitedBounds = [...]time.Duration{
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
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
	return prometheus.MustNewConstHistogram(desc, count, time.Duration(h.sum.Load()).Seconds(), below, route) // one label, as desc has
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
