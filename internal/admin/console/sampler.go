package console

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/telemetry"
)

const (
	tick        = 2 * time.Second
	kept        = 150              // samples: five minutes
	keptRoutes  = 6                // samples that have their routes
	interrupted = 15 * time.Second // without a sample: no page was open, and earlier samples are of another time
	lately      = 10 * time.Second
	lastMinute  = time.Minute
)

// A sample is what had been counted at one moment.
type sample struct {
	at                time.Time
	requests, refused uint64
	added, waited     telemetry.Spread
	reasons           map[string]uint64
	routes            map[string]routeCount // nil in all but the latest samples
}

type routeCount struct {
	requests, refused uint64
	waited            telemetry.Spread
}

// A sampler reads the counters while somebody looks. Pages that are open at a time share its samples.
type sampler struct {
	read  func() telemetry.Reading
	clock func() time.Time

	mu  sync.Mutex
	all []sample // the latest last
}

// take returns the samples of the last minutes, the latest last and not older than half a tick.
func (s *sampler) take() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if n := len(s.all); n > 0 {
		switch age := now.Sub(s.all[n-1].at); {
		case age >= 0 && age < tick/2:
			return slices.Clone(s.all)
		case age < 0 || age > interrupted:
			s.all = nil
		}
	}
	s.all = append(s.all, sampleOf(s.read(), now))
	if len(s.all) > kept {
		s.all = slices.Delete(s.all, 0, len(s.all)-kept)
	}
	if old := len(s.all) - 1 - keptRoutes; old >= 0 {
		s.all[old].routes = nil
	}
	return slices.Clone(s.all)
}

func sampleOf(r telemetry.Reading, now time.Time) sample {
	one := sample{at: now, added: r.Added, reasons: map[string]uint64{}, routes: map[string]routeCount{}}
	for _, c := range r.Requests {
		route := one.routes[c.Route]
		route.requests += c.Requests
		one.requests += c.Requests
		if c.Reason != "" {
			route.refused += c.Requests
			one.refused += c.Requests
			one.reasons[c.Reason] += c.Requests
		}
		one.routes[c.Route] = route
	}
	for name, waited := range r.Waited {
		route := one.routes[name]
		route.waited = waited
		one.routes[name] = route
		one.waited = one.waited.Plus(waited)
	}
	return one
}

// since returns the latest sample that is at least so old, or else the oldest; with routes, of those that have them.
func since(all []sample, age time.Duration, withRoutes bool) *sample {
	last := &all[len(all)-1]
	found := last
	for i := len(all) - 2; i >= 0; i-- {
		if withRoutes && all[i].routes == nil {
			break
		}
		if found = &all[i]; last.at.Sub(found.at) >= age {
			break
		}
	}
	return found
}

// perSecond is the rate between two counts.
func perSecond(before, after uint64, between time.Duration) float64 {
	if between <= 0 || after < before {
		return 0
	}
	return float64(after-before) / between.Seconds()
}

// counted lists names by their counts, the largest first.
func counted(counts map[string]uint64) []string {
	names := make([]string, 0, len(counts))
	for name, n := range counts {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			if counts[a] > counts[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}
