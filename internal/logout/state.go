package logout

import (
	"context"
	"math"
	"mime"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

const (
	usedPerIssuer = 1 << 16 // logout tokens that are remembered; beyond it, old ones are refused, never accepted twice
	mostBuckets   = 1 << 13 // issuers and addresses that are counted; of more, the one seen longest ago starts anew
	mostPending   = 1 << 10 // tokens whose mark could not be kept
)

// A State is what outlives a reload: the logout tokens that were used, and how many of late. It is safe for concurrent
// use.
type State struct {
	began int64 // ms; what was made before may have been used in another process
	used  *replay.Memory

	mu      sync.Mutex
	buckets *simplelru.LRU[string, *rate.Limiter]
	again   *simplelru.LRU[[24]byte, unmarked]
}

// unmarked is a logout token that was used without its mark.
type unmarked struct {
	first bool  // it was sure to be used for the first time
	until int64 // ms; it is forgotten then
}

// NewState makes the State of a process, whose memory begins with the next whole second, as iat is in seconds.
func NewState(clock func() time.Time) (*State, error) {
	s := &State{began: clock().Truncate(time.Second).Add(time.Second).UnixMilli()}
	var err error
	if s.used, err = replay.NewMemory(replay.Options{Capacity: 1, Clock: clock}); err != nil {
		return nil, err
	}
	if s.buckets, err = simplelru.NewLRU[string, *rate.Limiter](mostBuckets, nil); err != nil {
		return nil, err
	}
	s.again, err = simplelru.NewLRU[[24]byte, unmarked](mostPending, nil)
	return s, err
}

// Reconfigure takes over a reload: these issuers' logout tokens are taken.
func (s *State) Reconfigure(issuers []string) error {
	return s.used.Reconfigure(issuers, usedPerIssuer*max(1, len(issuers)))
}

// Consume is what this process remembers. refusal.CodeBelowFloor is the answer for what was made before it began.
func (s *State) Consume(ctx context.Context, u replay.Use, made int64) error {
	if made < s.began {
		return refusal.Because(refusal.CodeBelowFloor, "made %d ms before this process began", s.began-made)
	}
	return s.used.Consume(ctx, u)
}

// take takes one of so many turns in a second; the burst is twice that.
func (s *State) take(key string, perSecond int, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.bucket(key, perSecond); !l.AllowN(now, 1) {
		return refusal.Because(refusal.RateLimited, "limits.logout_rate of %s is %d", key, perSecond)
	}
	return nil
}

// peek reports whether a turn is left.
func (s *State) peek(key string, perSecond int, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.bucket(key, perSecond); math.Floor(l.TokensAt(now)) < 1 {
		return refusal.Because(refusal.RateLimited, "limits.logout_rate of %s is %d", key, perSecond)
	}
	return nil
}

func (s *State) bucket(key string, perSecond int) *rate.Limiter {
	l, known := s.buckets.Get(key)
	if !known || l.Limit() != rate.Limit(perSecond) {
		l = rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)
		s.buckets.Add(key, l)
	}
	return l
}

// pending notes a token that was used while its mark could not be kept: its issuer may send it again.
func (s *State) pending(u replay.Use, first bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again.Add(u.Nonce, unmarked{first, now.Add(Longest).UnixMilli()})
}

// resume reports whether a token was used without its mark, which is to be made now, and what pending was told of it.
func (s *State) resume(u replay.Use, now time.Time) (first, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, known := s.again.Get(u.Nonce)
	s.again.Remove(u.Nonce)
	return m.first, known && now.UnixMilli() < m.until
}

// network is a client's address; of IPv6, whose clients have many, the /64.
func network(client netip.Addr) string {
	if client.Is6() && !client.Is4In6() {
		if p, err := client.Prefix(64); err == nil {
			return p.String()
		}
	}
	return client.String()
}

func isForm(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/x-www-form-urlencoded"
}
