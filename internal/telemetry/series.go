package telemetry

import (
	"sync/atomic"
	"time"
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
func (s *series) tell(requests *counters) {
	move := func(n *atomic.Uint64, method, class int) {
		if n.Load() > 0 {
			requests.with(s.name, methods[method], classes[class], "").Add(n.Swap(0))
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

// waitedBounds are the upper bounds of the buckets of what upstreams take; the last bucket has none.
var waitedBounds = []time.Duration{
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// addedBounds are those of what the gate adds.
var addedBounds = []time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond,
	500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond,
	250 * time.Millisecond,
}

const mostBounds = 14

// A histogram counts durations. Its bounds, at most mostBounds, are the same at every call.
type histogram struct {
	sum     atomic.Int64 // nanoseconds
	buckets [mostBounds + 1]atomic.Uint64

	exemplars atomic.Pointer[exemplars] // nil: no request was traced
}

// observe counts d, and returns its bucket.
func (h *histogram) observe(bounds []time.Duration, d time.Duration) int {
	d = max(0, d)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
	return i
}

func (h *histogram) total() time.Duration { return time.Duration(h.sum.Load()) }
