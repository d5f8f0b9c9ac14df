package replay

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

// Options are what a Memory starts with.
type Options struct {
	// Clients are the ids of the clients that may issue codes; none means that no code is accepted.
	Clients []string
	// Capacity is how many used codes are remembered, shared out evenly among the clients and rounded down. It must
	// be at least 1, and at least the number of clients.
	Capacity int
	// Clock tells the time; nil means time.Now. It may step back.
	Clock func() time.Time
}

// A Memory is a guard for one process. Its memory is bounded by its capacity, whatever clients come and go.
// It is safe for concurrent use.
type Memory struct {
	clock func() time.Time
	epoch []byte

	mu   sync.Mutex // one for all: a redemption holds it for well under a microsecond, and signs outside it
	sets map[string]*set
	// floor covers every code that a dropped client's set had accepted. It holds for the clients that are added
	// later, which may be the dropped ones again; those that stayed have their own sets and need it not.
	floor int64
}

// NewMemory makes a guard that has accepted nothing yet, with an epoch of its own.
func NewMemory(o Options) (*Memory, error) {
	m := &Memory{clock: o.Clock, sets: map[string]*set{}}
	if m.clock == nil {
		m.clock = time.Now
	}
	m.epoch = newEpoch()
	if err := m.Reconfigure(o.Clients, o.Capacity); err != nil {
		return nil, err
	}
	return m, nil
}

// newEpoch is random, not the time of start: two starts can share an instant, by a crash loop or a clock that was
// set back, and a code of the first would then open in the second, which has forgotten it.
func newEpoch() []byte {
	epoch := make([]byte, 32)
	rand.Read(epoch) // never fails (crypto/rand)
	return epoch
}

// Epoch is 32 random bytes that are part of every code's associated data.
func (m *Memory) Epoch() []byte {
	return slices.Clone(m.epoch)
}

// Consume answers nil for the first use of a code, and for no other use of it ever after. Otherwise it is a
// *refusal.Error: CodeUsed, CodeBelowFloor, CodeClientGone, or StoreUnavailable when ctx had ended, in which case the
// code is not spent here (a shared store cannot promise that).
func (m *Memory) Consume(ctx context.Context, u Use) error {
	if err := ctx.Err(); err != nil {
		return refusal.Because(refusal.StoreUnavailable, "client %q: %v", u.Client, err)
	}
	reason, floor := m.judge(u, m.clock().UnixMilli())
	return refuse(reason, u, floor)
}

func (m *Memory) judge(u Use, now int64) (refusal.Reason, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sets[u.Client]
	if !ok {
		return refusal.CodeClientGone, m.floor
	}
	return s.consume(u.Nonce, u.Expiry, now), s.floor
}

// Reconfigure takes over a reload: clients that stay keep set and floor, resized to their new share; those that go
// leave the highest expiry they ever accepted to a floor that every client added from then on starts with.
// An error changes nothing.
func (m *Memory) Reconfigure(clients []string, capacity int) error {
	each, err := share(clients, capacity)
	if err != nil {
		return err
	}
	fresh := make(map[string]*set, len(clients))
	for _, c := range clients {
		s, err := newSet(each)
		if err != nil {
			return errors.Join(errors.New("client "+c), err)
		}
		fresh[c] = s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(fresh)
	for c, added := range fresh {
		if s, stays := m.sets[c]; stays {
			s.resize(each)
			continue
		}
		added.raise(m.floor)
		m.sets[c] = added
	}
	return nil
}

// drop lets go of the clients that are not in keep. It comes before any client is added.
func (m *Memory) drop(keep map[string]*set) {
	for c, s := range m.sets {
		if _, stays := keep[c]; !stays {
			m.floor = max(m.floor, s.legacy())
			delete(m.sets, c)
		}
	}
}

// ClientStats tell how full one client's set is.
type ClientStats struct {
	Client   string
	Fill     int   // used codes that are remembered, expired ones included until they are pruned
	Capacity int   // how many can be
	Floor    int64 // milliseconds since 1970; codes that nominally expire at it or before are refused
}

// Stats are those of every client, by name.
func (m *Memory) Stats() []ClientStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]ClientStats, 0, len(m.sets))
	for c, s := range m.sets {
		all = append(all, ClientStats{Client: c, Fill: s.used.Len(), Capacity: s.capacity, Floor: s.floor})
	}
	slices.SortFunc(all, func(a, b ClientStats) int { return strings.Compare(a.Client, b.Client) })
	return all
}
