package replay

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/jotgate/jotgate/internal/refusal"
)

// prunedPerUse bounds the work of one redemption. It is more than the one entry that a redemption adds, so a set of
// expired entries shrinks while it is used.
const prunedPerUse = 2

// A set is what the guard remembers of one client. Its owner's mutex covers every call.
type set struct {
	used     *simplelru.LRU[[24]byte, int64] // nonce to nominal expiry, in the order of acceptance
	capacity int
	floor    int64
	highest  int64 // the highest nominal expiry ever accepted
}

func newSet(capacity int) (*set, error) {
	s := &set{capacity: capacity}
	// simplelru calls back from inside the eviction itself, on the caller's goroutine, so the floor rises under the
	// mutex that the eviction holds, and no removal can be written that forgets it.
	used, err := simplelru.NewLRU(capacity, func(_ [24]byte, expiry int64) { s.raise(expiry) })
	if err != nil {
		return nil, err
	}
	s.used = used
	return s, nil
}

// raise lifts the floor to expiry, after an eviction or removal; the floor never falls.
func (s *set) raise(expiry int64) {
	s.floor = max(s.floor, expiry)
}

// consume accepts a code the first time, or tells why not.
func (s *set) consume(nonce [24]byte, expiry, now int64) refusal.Reason {
	s.prune(now)
	if s.used.Contains(nonce) {
		return refusal.CodeUsed
	}
	if expiry <= s.floor {
		return refusal.CodeBelowFloor
	}
	s.used.Add(nonce, expiry)
	s.highest = max(s.highest, expiry)
	return ""
}

// prune drops the longest held entries whose nominal expiry has come, a few at a time. It stops at the first that
// still lives; that one lives for one code_ttl at most, so fewer acceptances than the capacity within one code_ttl
// never evict a living entry.
func (s *set) prune(now int64) {
	for range prunedPerUse {
		_, expiry, ok := s.used.GetOldest()
		if !ok || expiry > now {
			return
		}
		s.used.RemoveOldest()
	}
}

// resize drops the longest held entries beyond the new capacity.
func (s *set) resize(capacity int) {
	if capacity != s.capacity {
		s.used.Resize(capacity)
		s.capacity = capacity
	}
}

// legacy is the floor that covers everything this set ever accepted: what a set that goes whole leaves behind.
func (s *set) legacy() int64 {
	return max(s.floor, s.highest)
}
