package telemetry

import "time"

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
	m.requests.each(func(v values, n uint64) {
		c := Count{Route: v[0], Status: v[2], Reason: v[3]}
		at, known := places[c]
		if !known {
			at = len(r.Requests)
			places[c] = at
			r.Requests = append(r.Requests, c)
		}
		r.Requests[at].Requests += n
	})
	r.Added, _ = m.added.spread(addedBounds)
	m.mu.RLock()
	defer m.mu.RUnlock()
	for name, s := range m.live {
		if spread, any := s.waited.spread(waitedBounds); any {
			r.Waited[name] = spread
		}
	}
	return r
}

// spread reports whether there was any observation, too.
func (h *histogram) spread(bounds []time.Duration) (s Spread, any bool) {
	s = Spread{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
	for i := range s.Counts {
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
