package proxy

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/jotgate/jotgate/config"
)

// Rates are the buckets of the routes' rate limits. They outlive reloads: a limit that a reload does not change goes on
// counting. The zero Rates is ready, and safe for concurrent use.
type Rates struct {
	mu  sync.Mutex
	all map[string]*buckets // by limit
}

// SharedRates count on all replicas together.
type SharedRates interface {
	// Take takes one of burst turns, of which one comes back each period, or reports how long to wait for it; full is how
	// long until all are back. After an error nothing is known.
	Take(ctx context.Context, key string, each time.Duration, burst int) (wait, full time.Duration, err error)
}

// bucketsAtMost bounds what one limit remembers; the client that came longest ago is forgotten first, and has all its
// turns again.
const bucketsAtMost = 1 << 16

// buckets are those of one limit: for each client when its bucket will be full again.
type buckets struct {
	users int // gates that have this limit, under Rates.mu

	mu   sync.Mutex
	full *simplelru.LRU[string, int64] // ns since 1970
}

// open returns the buckets of a limit until it is released.
func (r *Rates) open(name string) (b *buckets, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b = r.all[name]
	if b == nil {
		full, err := simplelru.NewLRU[string, int64](bucketsAtMost, nil)
		if err != nil {
			return nil, nil, err
		}
		b = &buckets{full: full}
		if r.all == nil {
			r.all = make(map[string]*buckets)
		}
		r.all[name] = b
	}
	b.users++
	return b, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if b.users--; b.users == 0 {
			delete(r.all, name)
		}
	}, nil
}

// take takes a turn (GCRA: what is kept is when the bucket will be full again). wait is how long until there is one, 0
// if one was taken, and full how long until all are back.
func (b *buckets) take(key string, now time.Time, each time.Duration, burst int) (wait, full time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := now.UnixNano()
	until, most := at, span(each, burst)
	if known, ok := b.full.Get(key); ok && known > at && known <= at+most { // later than most: the clock went back
		until = known
	}
	until += int64(each)
	if over := until - at - most; over > 0 {
		return time.Duration(over), time.Duration(until - int64(each) - at)
	}
	b.full.Add(key, until)
	return 0, time.Duration(until - at)
}

// span is how long an empty bucket takes to fill, bounded far above what any limit means.
func span(each time.Duration, burst int) int64 {
	const longest = int64(100 * 365 * 24 * time.Hour)
	if int64(each) > longest/int64(max(1, burst)) {
		return longest
	}
	return int64(each) * int64(burst)
}

// A rateLimit is one limit of a route.
type rateLimit struct {
	config.RateLimit
	name   string // what its keys begin with in the shared store
	local  *buckets
	shared SharedRates // nil: only local counts
}

// each is how long it takes for one turn to come back.
func (l *rateLimit) each() time.Duration { return max(1, l.Per/time.Duration(l.Requests)) }

// take takes a turn of the party that key names. A store that does not answer leaves it to this process: a limit is no
// reason to stop.
func (l *rateLimit) take(ctx context.Context, key string, now time.Time) (wait, full time.Duration) {
	if l.shared != nil {
		if wait, full, err := l.shared.Take(ctx, l.name+key, l.each(), l.Burst); err == nil {
			return wait, full
		}
	}
	return l.local.take(key, now, l.each(), l.Burst)
}

// rateLimits are a route's limits, opened.
func (g *Gate) rateLimits(r *config.Route, rates *Rates, shared SharedRates) ([]rateLimit, error) {
	var all []rateLimit
	for _, c := range r.RateLimits {
		name := "route " + r.Name + "\x00" + c.By + "\x00" + strconv.Itoa(c.Requests) + "\x00" + c.Per.String() + "\x00" +
			strconv.Itoa(c.Burst) + "\x00"
		local, release, err := rates.open(name)
		if err != nil {
			return nil, err
		}
		g.releases = append(g.releases, release)
		l := rateLimit{RateLimit: c, name: name, local: local}
		if c.Shared {
			l.shared = shared
		}
		all = append(all, l)
	}
	return all, nil
}

// network is the key of a client's address: an IPv4 address, or the /64 that an IPv6 client has for itself.
func network(client netip.Addr) string {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		if prefix, err := client.Prefix(64); err == nil {
			return prefix.Addr().String()
		}
	}
	return client.String()
}
