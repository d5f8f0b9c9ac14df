package issuer

import (
	"context"
	"crypto/rand"
	"math"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

// State is what outlives a reload: how much each client has asked for lately, which client assertions were used, which
// key signs, who is signing with RSA, and the secret that seals codes where the config has none. It is safe for
// concurrent use.
type State struct {
	codeSecret []byte
	keys       rotation
	rsa        chan struct{} // one element for each RSA signature under way
	lookups    lookups       // of users
	hold       replay.Hold   // for client assertions of clocks that are ahead

	mu         sync.Mutex
	rates      map[string]*rate.Limiter // two for each client at most, so bounded by the config
	assertions *replay.Memory           // the client assertions that were used
	began      time.Time                // when assertions began to remember
	tokenTTL   time.Duration            // the longest that a config had
}

// NewState makes the State of a process that has issued nothing yet.
func NewState() *State {
	s := &State{codeSecret: make([]byte, 32), rates: make(map[string]*rate.Limiter)}
	_, _ = rand.Read(s.codeSecret) // never fails: crypto/rand ends the process instead
	s.rsa = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	return s
}

// retain forgets clients that the config no longer has.
func (s *State) retain(settings *config.Issuer) {
	present := settings.Clients
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokenTTL = max(s.tokenTTL, settings.TokenTTL)
	kept := make(map[string]*rate.Limiter, len(s.rates))
	for _, c := range present {
		for _, kind := range []string{issuing, redeeming} {
			if l := s.rates[kind+c.ID]; l != nil {
				kept[kind+c.ID] = l
			}
		}
	}
	s.rates = kept
}

// What is counted of a client: what it asks for, and what holders of its codes redeem. Apart, since a holder of
// codes could otherwise use up what the client may ask for.
const (
	issuing   = "issue "
	redeeming = "redeem "
)

// allow takes one of the client's turns, or refuses with RateLimited and the headers that say when to come again.
func (s *State) allow(kind, client string, perSecond int, now time.Time) (giveBack func(), err error) {
	l := s.limiter(kind+client, perSecond)
	taken := l.ReserveN(now, 1)
	if taken.OK() && taken.DelayFrom(now) == 0 {
		return func() { taken.CancelAt(now) }, nil
	}
	taken.CancelAt(now)
	wait := (1 - l.TokensAt(now)) / float64(perSecond)
	return nil, tooMany(perSecond, wait, "client "+client)
}

// longestToken returns the longest that a token for a code can live: by a config that this process had, or, since other
// replicas may have had others, the most that any token may live now.
func (s *State) longestToken(settings *config.Issuer) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.tokenTTL, settings.MaxTokenTTL)
}

func (s *State) limiter(key string, perSecond int) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.rates[key]
	if l == nil || l.Limit() != rate.Limit(perSecond) {
		l = rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)
		s.rates[key] = l
	}
	return l
}

// tooMany is the refusal of a call that came too early. The time is in whole seconds from now, rounded up.
func tooMany(limit int, wait float64, detail string) error {
	seconds := strconv.Itoa(max(1, int(math.Ceil(wait))))
	return &fault{reason: refusal.RateLimited, detail: detail, header: http.Header{
		"Retry-After":           {seconds},
		"X-Ratelimit-Limit":     {strconv.Itoa(limit)},
		"X-Ratelimit-Remaining": {"0"},
		"X-Ratelimit-Reset":     {seconds},
	}}
}

// rsaWait is how long a call waits for its turn to sign with RSA.
const rsaWait = 2 * time.Second

// rsaTurn waits for a turn to sign with RSA. A signature costs a core a millisecond or more, so at most half of the
// cores do that at any time, and who waits too long is told to come again. The turn ends with release.
func (s *State) rsaTurn(ctx context.Context) (release func(), err error) {
	release = func() { <-s.rsa }
	select {
	case s.rsa <- struct{}{}:
		return release, nil
	default:
	}
	timer := time.NewTimer(rsaWait)
	defer timer.Stop()
	select {
	case s.rsa <- struct{}{}:
		return release, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, tooMany(cap(s.rsa), 1, "every core that may sign with RSA is taken")
}
