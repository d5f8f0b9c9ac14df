package console

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Bounds of attempts to sign in. The token has 128 bits: what they keep small is the noise, and the work.
const (
	freeFailures  = 5                // of an address, before it has to wait
	longestWait   = time.Minute      // between two attempts; it doubles from a second
	forgiven      = 15 * time.Minute // after the last failure an address begins anew
	mostAddresses = 1024             // that are remembered; the one that was heard of longest ago makes room
	burst         = 30               // attempts of all addresses together, then …
	perAttempt    = 2 * time.Second  // … one in so much time
)

// attempts count those that failed, by address and together.
type attempts struct {
	clock func() time.Time

	mu        sync.Mutex
	addresses *simplelru.LRU[netip.Prefix, *failures]
	full      time.Time // when the room of all addresses is whole again
}

type failures struct {
	count int
	last  time.Time
	until time.Time // when the next attempt may be made
}

func newAttempts(clock func() time.Time) *attempts {
	addresses, _ := simplelru.NewLRU[netip.Prefix, *failures](mostAddresses, nil) // its error is of a size below 1
	return &attempts{clock: clock, addresses: addresses}
}

// begin counts a wrong attempt, or says how long the address has to wait for one. A right one waits for its own address
// alone: strangers at others must not keep the operator out.
func (a *attempts) begin(from netip.Addr, right bool) (wait time.Duration) {
	key, now := network(from), a.clock()
	a.mu.Lock()
	defer a.mu.Unlock()
	f, known := a.addresses.Get(key)
	if !known || now.Sub(f.last) > forgiven {
		f = &failures{}
		a.addresses.Add(key, f)
	}
	if wait = f.until.Sub(now); wait > 0 {
		return wait
	}
	if right {
		a.addresses.Remove(key)
		return 0
	}
	if a.full.Before(now) {
		a.full = now
	}
	if wait = a.full.Add(perAttempt).Sub(now) - burst*perAttempt; wait > 0 {
		return wait
	}
	a.full = a.full.Add(perAttempt)
	f.count++
	f.last = now
	if over := f.count - freeFailures; over >= 0 {
		f.until = now.Add(min(longestWait, time.Second<<min(over, 10)))
	}
	return 0
}

// network is what counts as one address: an IPv4 address, or a /64 of IPv6, which is one subscriber's.
func network(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // of an invalid address it is the zero prefix
	return p
}
