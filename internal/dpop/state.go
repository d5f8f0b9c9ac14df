package dpop

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

// shares is into how many parts the memory is cut, by key. A flood of proofs of one key crowds out only the
// keys of the same part, and no outsider can tell which those are.
const shares = 16

// State is what outlives a reload: which proofs this process has accepted, and the secret of its nonces. It is safe for
// concurrent use.
type State struct {
	secret []byte
	used   *replay.Memory
	seed   maphash.Seed
	names  [shares]string
	hold   replay.Hold  // for proofs of clocks that are ahead
	began  int64        // ms, a whole second
	maxAge atomic.Int64 // ns
	keys   atomic.Pointer[jose.ProofKeys]
	ended  atomic.Bool // a prepared key was wrong: none is prepared until the process ends
	most   int         // of keys that are prepared; PrepareKeys alone touches it
}

// PrepareKeys says how many keys that come again and again are prepared at a time; at first none is. disagreed is told
// the thumbprint of one that accepted a signature which the standard library does not accept; nothing is prepared then.
// Calls must not overlap.
func (s *State) PrepareKeys(most int, disagreed func(thumbprint string)) {
	if most == s.most {
		return // those that are prepared stay
	}
	s.most = most
	keys := jose.NewProofKeys(most)
	keys.OnDisagreement(func(thumbprint string) {
		s.ended.Store(true)
		disagreed(thumbprint)
	})
	if s.ended.Load() {
		keys = nil
	}
	s.keys.Store(keys)
}

// BeginAt says that what was made before this moment may have been accepted by another process. It comes before the
// first proof.
func (s *State) BeginAt(t time.Time) { s.began = t.UnixMilli() }

// LeastCapacity is the smallest memory of used proofs, in entries.
const LeastCapacity = 1 << 10

// NewState remembers up to capacity proofs, each until it is older than maxAge; a nil clock is time.Now. The second in
// which it is made counts as known: nothing else may have accepted a proof in it.
func NewState(capacity int, maxAge time.Duration, clock func() time.Time) (*State, error) {
	if clock == nil {
		clock = time.Now
	}
	s := &State{
		secret: make([]byte, LeastSecret), seed: maphash.MakeSeed(),
		began: clock().Truncate(time.Second).UnixMilli(),
	}
	rand.Read(s.secret) // never fails (crypto/rand)
	for i := range s.names {
		s.names[i] = strconv.Itoa(i)
	}
	s.maxAge.Store(int64(maxAge))
	used, err := replay.NewMemory(replay.Options{
		Clients: s.names[:], Capacity: capacity,
		Clock: func() time.Time { return clock().Add(-time.Duration(s.maxAge.Load())) },
	})
	if err != nil {
		return nil, fmt.Errorf("dpop: %w", err)
	}
	s.used = used
	return s, nil
}

// Reconfigure takes over a reload. An error changes nothing.
func (s *State) Reconfigure(capacity int, maxAge time.Duration) error {
	if err := s.used.Reconfigure(s.names[:], capacity); err != nil {
		return fmt.Errorf("dpop: %w", err)
	}
	s.maxAge.Store(int64(maxAge))
	return nil
}

// Since is when this process began to remember.
func (s *State) Since() int64 { return s.began }

// Spend is Once's. The guard keeps proofs by the time at which they were made, not by the one at which they end: the
// floor then means the same after a reload that lets proofs grow older.
func (s *State) Spend(ctx context.Context, u Use) error {
	share := s.names[maphash.String(s.seed, u.Key)%shares]
	err := s.used.Consume(ctx, replay.Use{Client: share, Nonce: u.ID, Expiry: u.IssuedAt})
	switch refusal.Of(err) {
	case "":
		return nil
	case refusal.StoreUnavailable:
		return err
	case refusal.CodeUsed:
		return refusal.Because(refusal.ProofUsed, "key %s", u.Key)
	}
	return refusal.Because(refusal.ProofUsed, "too many came since to tell: key %s", u.Key)
}
