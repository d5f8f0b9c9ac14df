package upstream

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// slowStart is how long a server that has come back, or that is new, gets less than its share.
const slowStart = 10 * time.Second

// members are the servers of a pool at a time. They do not change.
type members struct {
	all  []*server
	ring []*server // each as often as its weight says, spread evenly
}

// newMembers spreads the servers by their weights: of each turn the one that is furthest behind its share.
func newMembers(all []*server) *members {
	m := &members{all: all}
	total, divisor := 0, 0
	for _, s := range all {
		divisor = gcd(divisor, s.weight)
	}
	behind := make([]int, len(all))
	for _, s := range all {
		total += s.weight / divisor
	}
	for range total {
		best := 0
		for i, s := range all {
			if behind[i] += s.weight / divisor; behind[i] > behind[best] {
				best = i
			}
		}
		behind[best] -= total
		m.ring = append(m.ring, all[best])
	}
	return m
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// anewWithin is how long after its first failed try a request may come back to servers that it has met. Those that
// refuse connections do so at once.
const anewWithin = 2 * time.Second

// A choice is the servers that one request may meet.
type choice struct {
	pool    *Pool
	members *members
	turn    uint64
	key     string
	tried   [4]*server
	count   int       // of tried
	failed  int       // tries
	since   time.Time // when the first try failed
	sent    int       // times that something of the request may have been sent
}

// first returns the server that a request meets first.
func (c *choice) first() *server {
	if len(c.members.all) == 1 {
		return c.members.all[0]
	}
	return c.next()
}

// another returns a server that was not tried; nil if there is none. It is one of the pool's servers as they are now:
// when servers fail, their name has often moved by then. When all were tried, those before the last one may be back,
// unless it takes them long to fail.
func (c *choice) another(failed *server) *server {
	if c.failed == len(c.tried) {
		return nil
	}
	if c.failed++; c.failed == 1 {
		c.since = c.pool.clock()
	}
	c.tried[c.count] = failed
	c.count++
	c.members = c.pool.members.Load()
	if s := c.next(); s != nil || c.count == 1 || c.pool.clock().Sub(c.since) > anewWithin {
		return s
	}
	c.tried[0], c.count = failed, 1
	return c.next()
}

func (c *choice) next() *server {
	now := c.pool.clock()
	var s *server
	switch b := c.pool.settings.Balance; {
	case b.Hashed() && c.key != "":
		s = c.byKey(now)
	case b == LeastRequests:
		s = c.leastUsed(now)
	default:
		s = c.inTurn(now, c.turn, nil)
	}
	if s == nil { // none is up: one that is not is better than an error without a try
		for i := range c.members.ring {
			if s := c.members.ring[(c.turn+uint64(i))%uint64(len(c.members.ring))]; c.untried(s) {
				return s
			}
		}
	}
	return s
}

func (c *choice) untried(s *server) bool { return !slices.Contains(c.tried[:c.count], s) }

// inTurn returns the server whose turn it is, or the next one that is up. One in its slow start passes some of its
// turns on.
func (c *choice) inTurn(now time.Time, turn uint64, but *server) (spare *server) {
	ring := c.members.ring
	for i := range ring {
		s := ring[(turn+uint64(i))%uint64(len(ring))]
		switch {
		case s == but || !s.up(now) || !c.untried(s):
		case s.passesOn(now):
			spare = s
		default:
			return s
		}
	}
	return spare
}

// leastUsed returns the less busy of two servers: that is nearly as good as the least busy of all, and does not send
// every request of the same moment to one server.
func (c *choice) leastUsed(now time.Time) *server {
	ring := c.members.ring
	a := c.inTurn(now, uint64(rand.IntN(len(ring))), nil)
	b := c.inTurn(now, uint64(rand.IntN(len(ring))), a)
	if b == nil {
		return a
	}
	if a == nil || len(b.slots)*a.weight < len(a.slots)*b.weight {
		return b
	}
	return a
}

// byKey returns the server with the highest rank for the key (rendezvous hashing): when servers come and go, only the
// keys of those move. Every replica of the gate ranks alike.
func (c *choice) byKey(now time.Time) (best *server) {
	highest := math.Inf(-1)
	for _, s := range c.members.all {
		if !s.up(now) || !c.untried(s) {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(c.key))
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(s.name))
		x := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53) // in (0, 1)
		if rank := -float64(s.weight) / math.Log(x); rank > highest {
			best, highest = s, rank
		}
	}
	return best
}

// mix spreads what FNV leaves close together (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
