package keysets

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

const (
	// firstRetry is how long after a failed fetch the next one comes; it doubles with each that fails, up to Refresh.
	firstRetry = time.Second
	// mostWaiting bounds the requests that wait for one source; further ones are refused at once.
	mostWaiting = 1024
	// mostAbsent bounds the kids that are known not to be in the set.
	mostAbsent = 256
)

// A Source is one issuer's published key set. It is safe for concurrent use.
type Source struct {
	settings Settings
	fetcher  *fetcher
	log      *zap.Logger
	clock    func() time.Time

	held    atomic.Pointer[held]
	waiting atomic.Int64
	asked   chan struct{} // a request wants a fetch
	ended   chan struct{} // closed when there will be no more fetches

	mu      sync.Mutex
	flight  chan struct{}       // closed at the end of the fetch that is under way or asked for; nil if there is none
	sought  time.Time           // when a request last asked for one
	absent  map[string]struct{} // the kids that fetches since then were made for, and did not bring
	skipped string              // the keys that were left out, as they were told last
	tally
}

// held is a set with the moment that confirmed it.
type held struct {
	set *jose.KeySet
	at  time.Time
}

// tally is what became of the fetches.
type tally struct {
	fetches, failures uint64
	inARow            int // failures since the last success
	attempted         time.Time
	err               error // of the last one
	from              string
}

func newSource(settings Settings, log *zap.Logger, clock func() time.Time) (*Source, error) {
	f, err := newFetcher(settings)
	if err != nil {
		return nil, err
	}
	return &Source{
		settings: settings, fetcher: f, log: log.With(zap.String("issuer", settings.Issuer)), clock: clock,
		absent: make(map[string]struct{}), asked: make(chan struct{}, 1), ended: make(chan struct{}),
		flight: make(chan struct{}), // the first fetch, which begins without being asked for
	}, nil
}

// Keys is the present set; nil while none is at hand or the last one is too old. Two calls give the same address as
// long as the keys are the same.
func (s *Source) Keys() *jose.KeySet {
	h := s.held.Load()
	if h == nil || s.age(h) >= s.settings.MaxAge {
		return nil
	}
	return h.set
}

// age goes by the monotonic clock and by the calendar, whichever says more: the one stands still while a machine
// sleeps, the other can be set back.
func (s *Source) age(h *held) time.Duration {
	now := s.clock()
	return max(now.Sub(h.at), now.Round(0).Sub(h.at.Round(0)))
}

// Seek returns the set to look up a token's kid in ("": any set). An unknown kid causes a refetch, if that may help.
// The set lacks the kid if the issuer just said so; where that cannot be known, the refusal is IssuerUnavailable.
func (s *Source) Seek(kid string) (*jose.KeySet, error) {
	if set := s.Keys(); answers(set, kid) {
		return set, nil // it came in this very moment
	}
	flight := s.fly()
	inTime := s.await(flight)
	set, err := s.Keys(), s.lastError()
	switch {
	case answers(set, kid):
		return set, nil
	case err != nil:
		return nil, refusal.Because(refusal.IssuerUnavailable, "the keys of issuer %s: %v", s.settings.Issuer, err)
	case !inTime || set == nil:
		return nil, refusal.Because(refusal.IssuerUnavailable,
			"the keys of issuer %s did not come in time", s.settings.Issuer)
	case kid == "":
	case flight != nil:
		s.remember(kid)
	case !s.lacks(kid):
		return nil, refusal.Because(refusal.IssuerUnavailable,
			"the key set of issuer %s was fetched less than %v ago and has no key %.64q", s.settings.Issuer,
			s.settings.Cooldown, kid)
	}
	return set, nil
}

// remember notes that a fetch was made for a kid and did not bring it. Within the cooldown the kid is unknown then; of
// any other kid, which may have been published since, nothing is known.
func (s *Source) remember(kid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.absent) < mostAbsent {
		s.absent[kid] = struct{}{}
	}
}

func (s *Source) lacks(kid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, absent := s.absent[kid]
	return absent
}

func answers(set *jose.KeySet, kid string) bool {
	return set != nil && (kid == "" || set.Key(kid) != nil)
}

// fly gives the fetch that is under way, or a new one if the cooldown allows it; nil if there is neither.
func (s *Source) fly() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if s.flight == nil && (s.sought.IsZero() || now.Sub(s.sought).Abs() >= s.settings.Cooldown) {
		s.sought, s.flight = now, make(chan struct{})
		clear(s.absent)
		select {
		case s.asked <- struct{}{}:
		default:
		}
	}
	return s.flight
}

// await reports whether the flight ended within the bounded moment that a request has.
func (s *Source) await(flight <-chan struct{}) bool {
	if flight == nil {
		return true
	}
	if s.waiting.Add(1) > mostWaiting {
		s.waiting.Add(-1)
		return false
	}
	defer s.waiting.Add(-1)
	timer := time.NewTimer(s.settings.Wait)
	defer timer.Stop()
	select {
	case <-flight:
		return true
	case <-s.ended:
	case <-timer.C:
	}
	return false
}

func (s *Source) lastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// run fetches until ctx ends.
func (s *Source) run(ctx context.Context) {
	defer close(s.ended)
	defer s.fetcher.close()
	var delay time.Duration
	for {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-s.asked:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		s.begin()
		got, err := s.fetcher.fetch(ctx)
		if ctx.Err() != nil {
			return // it was cut short, which says nothing about the issuer
		}
		delay = s.end(got, err)
	}
}

// begin is the start of a fetch: requests that ask from here on wait for this one.
func (s *Source) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.asked:
	default:
	}
	if s.flight == nil {
		s.flight = make(chan struct{})
	}
}

// end takes what a fetch brought, and says when the next one is due.
func (s *Source) end(got *fetched, err error) (next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempted, s.err = s.clock(), err
	s.fetches++
	if err == nil {
		s.inARow = 0
		s.take(got)
		next = s.settings.Refresh - rand.N(s.settings.Refresh/10+1)
	} else {
		s.failures++
		s.inARow++
		next = backoff(s.inARow, s.settings.Refresh)
		s.tellFailure(err)
	}
	close(s.flight)
	s.flight = nil
	return next
}

// backoff is the time until the next fetch after so many failures in a row, less up to half of it as jitter.
func backoff(failures int, most time.Duration) time.Duration {
	d := most
	if failures < 20 { // 2^19 seconds are six days
		d = min(most, firstRetry<<(failures-1))
	}
	return d - rand.N(d/2+1)
}

// take puts a fetched set into force. One that says the same as before only confirms it.
func (s *Source) take(got *fetched) {
	before := s.held.Load()
	next := &held{set: got.set, at: s.attempted}
	if before != nil && before.set.Equal(got.set) {
		next.set = before.set
	}
	if before != nil {
		for _, kid := range kids(before.set) {
			if got.set.Key(kid) == nil && len(s.absent) < mostAbsent {
				s.absent[kid] = struct{}{} // it was removed, which is no guess
			}
		}
	}
	s.held.Store(next)
	s.from = got.from
	if before == nil || next.set != before.set {
		s.log.Info("trusted issuer: keys", zap.Strings("kids", kids(got.set)), zap.String("from", got.from))
	}
	told := ""
	if err := errors.Join(got.skipped...); err != nil {
		told = err.Error()
	}
	if told != "" && told != s.skipped {
		s.log.Warn("trusted issuer: keys left out", zap.Errors("keys", got.skipped))
	}
	s.skipped = told
}

// tellFailure says what still holds, so that an operator knows whether it is urgent.
func (s *Source) tellFailure(err error) {
	h := s.held.Load()
	if h == nil {
		s.log.Warn("trusted issuer: no keys yet, its tokens are refused", zap.Error(err))
		return
	}
	left := s.settings.MaxAge - s.age(h)
	if left <= 0 {
		s.log.Error("trusted issuer: its keys are too old, its tokens are refused", zap.Time("fetched", h.at), zap.Error(err))
		return
	}
	s.log.Warn("trusted issuer: the last good keys stay for now", zap.Time("fetched", h.at),
		zap.Time("until", h.at.Add(s.settings.MaxAge)), zap.Error(err))
}

func kids(set *jose.KeySet) []string {
	var all []string
	for _, key := range set.Keys() {
		all = append(all, key.ID())
	}
	return all
}

// Stats is how a source is doing.
type Stats struct {
	Issuer    string
	From      string        // the address that the keys came from last; "" before the first time
	Available bool          // there is a set, and it is not too old
	Keys      int           // in that set
	Age       time.Duration // of the last set since it was confirmed, also of one that is too old; 0 if there was none
	Fetched   time.Time     // when it was confirmed; zero if never
	Attempted time.Time     // when a fetch last ended; zero if none has
	Err       error         // why that one failed; nil if it did not
	Fetches   uint64        // that have ended, with the failed ones
	Failures  uint64
}

// Stats tells how the source is doing.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{
		Issuer: s.settings.Issuer, From: s.from, Attempted: s.attempted, Err: s.err, Fetches: s.fetches, Failures: s.failures,
	}
	if h := s.held.Load(); h != nil {
		stats.Fetched, stats.Age = h.at, max(s.age(h), 0)
		if stats.Available = stats.Age < s.settings.MaxAge; stats.Available {
			stats.Keys = h.set.Len()
		}
	}
	return stats
}
