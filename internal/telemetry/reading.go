package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A Reading is what the metrics have counted so far, for who reads them without a scrape.
type Reading struct {
	Requests []Count
	Added    Spread            // what the gate adds
	Waited   map[string]Spread // what upstreams take, by route
}

// A Count is how many requests of a route were answered alike, whatever their method.
type Count struct {
	Route, Status, Reason string // of jotgate_requests_total
	Requests              uint64
}

// A Spread is a histogram: Counts[i] observations were at most Bounds[i], and more than the bound before; the last
// count has no bound.
type Spread struct {
	Bounds []time.Duration
	Counts []uint64
}

// Read reads the metrics. It costs requests nothing: they count as ever.
func (m *Metrics) Read() Reading {
	m.tell()
	r := Reading{Waited: map[string]Spread{}}
	places := map[Count]int{}
	for _, metric := range collected(m.requests) {
		c := Count{}
		for _, label := range metric.Label {
			switch label.GetName() {
			case "route":
				c.Route = label.GetValue()
			case "status":
				c.Status = label.GetValue()
			case "reason":
				c.Reason = label.GetValue()
			}
		}
		at, known := places[c]
		if !known {
			at = len(r.Requests)
			places[c] = at
			r.Requests = append(r.Requests, c)
		}
		r.Requests[at].Requests += uint64(metric.Counter.GetValue())
	}
	for _, metric := range collected(m.added) {
		r.Added = spreadOf(metric.Histogram)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for name, s := range m.live {
		if spread, any := s.waited.spread(); any {
			r.Waited[name] = spread
		}
	}
	return r
}

// collected returns what a scrape would have of a collector.
func collected(c prometheus.Collector) (all []*dto.Metric) {
	metrics := make(chan prometheus.Metric)
	go func() {
		c.Collect(metrics)
		close(metrics)
	}()
	for metric := range metrics {
		one := new(dto.Metric)
		if metric.Write(one) == nil {
			all = append(all, one)
		}
	}
	return all
}

func spreadOf(h *dto.Histogram) (s Spread) {
	below := uint64(0)
	for _, b := range h.GetBucket() {
		s.Bounds = append(s.Bounds, time.Duration(b.GetUpperBound()*float64(time.Second)))
		s.Counts = append(s.Counts, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	s.Counts = append(s.Counts, h.GetSampleCount()-below)
	return s
}

// spread reports whether there was any observation, too.
func (h *histogram) spread() (s Spread, any bool) {
	s = Spread{Bounds: waitedBounds[:], Counts: make([]uint64, len(h.buckets))}
	for i := range h.buckets {
		s.Counts[i] = h.buckets[i].Load()
		any = any || s.Counts[i] > 0
	}
	return s, any
}

// Minus returns what was observed since before, a reading of the same histogram; the zero Spread is one from before
// there was anything.
func (s Spread) Minus(before Spread) Spread {
	since := Spread{Bounds: s.Bounds, Counts: make([]uint64, len(s.Counts))}
	for i := range s.Counts {
		since.Counts[i] = s.Counts[i]
		if i < len(before.Counts) && before.Counts[i] <= s.Counts[i] {
			since.Counts[i] -= before.Counts[i]
		}
	}
	return since
}

// Plus returns the observations of both.
func (s Spread) Plus(other Spread) Spread {
	if len(s.Counts) == 0 {
		return other
	}
	both := Spread{Bounds: s.Bounds, Counts: append([]uint64(nil), s.Counts...)}
	for i := range min(len(both.Counts), len(other.Counts)) {
		both.Counts[i] += other.Counts[i]
	}
	return both
}

// Quantile estimates the duration that a share of the observations did not exceed, evenly within a bucket; beyond the
// last bound it is that bound. It reports whether there was any observation.
func (s Spread) Quantile(share float64) (time.Duration, bool) {
	total := uint64(0)
	for _, n := range s.Counts {
		total += n
	}
	if total == 0 || len(s.Bounds) == 0 {
		return 0, false
	}
	rank, below := share*float64(total), uint64(0)
	for i, n := range s.Counts[:len(s.Bounds)] {
		if n > 0 && float64(below+n) >= rank {
			low := time.Duration(0)
			if i > 0 {
				low = s.Bounds[i-1]
			}
			part := (rank - float64(below)) / float64(n)
			return low + time.Duration(part*float64(s.Bounds[i]-low)), true
		}
		below += n
	}
	return s.Bounds[len(s.Bounds)-1], true
}
