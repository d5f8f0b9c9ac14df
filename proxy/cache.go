package proxy

import (
	"context"
	"errors"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A Cache keeps tokens whose signature was checked, never what was decided about a request. It is bounded in bytes, by
// the least recently used, and outlives reloads: an entry counts as long as its issuer's settings and keys are those
// that it was verified with.
//
// It is cut into shards with a lock each, so that cores do not wait for one another. The budget is one for all of them:
// large tokens that meet in one shard do not evict each other while others have room.
type Cache struct {
	seed     maphash.Seed // of this process; so no one can make tokens that meet
	size     int64
	room     atomic.Int64  // bytes left; below zero only until someone has evicted
	ticks    atomic.Uint64 // tokens that were put in: what entries are dated by
	shards   []shard
	verified atomic.Int64 // tokens that were not found
}

type shard struct {
	mu      sync.Mutex
	lru     *simplelru.LRU[uint64, *entry] // by keyed hashes of compact forms
	flights map[flightKey]*flight
	hits    int64
	_       [64]byte // the next shard's lock is on another cache line
}

// An entry is one verified token.
type entry struct {
	compact  string // compared whole: the hash only finds it
	used     uint64 // Cache.ticks when it was asked for last; under its shard's lock
	verified *jose.Verified
	by       *jose.Verifier // the latest whose settings it is known to fit …
	keys     *jose.KeySet   // … and its keys
	size     int64
	grant    atomic.Pointer[grant]
}

// A flight is a token that is being verified, with the requests that brought it in the meantime.
type flight struct {
	done  chan struct{} // made by the first who waits, under the shard's lock
	entry *entry
	err   error
}

// flightKey keeps gates apart: after a reload the same token may be judged by other keys.
type flightKey struct {
	token string
	gate  *Gate
}

const (
	shardsAtMost = 16
	shardAtLeast = 256 << 10
	entryAtLeast = 1 << 10
)

// NewCache makes a cache of about so many bytes; 0 makes one that keeps nothing.
func NewCache(size int64) *Cache {
	n := min(max(size/shardAtLeast, 1), shardsAtMost)
	n = 1 << (bits.Len64(uint64(n)) - 1) // a power of two, so that a digest's bits choose
	c := &Cache{seed: maphash.MakeSeed(), size: size, shards: make([]shard, n)}
	c.room.Store(size)
	for i := range c.shards {
		s := &c.shards[i]
		s.flights = make(map[flightKey]*flight)
		lru, err := simplelru.NewLRU(int(max(size/entryAtLeast, 1)), func(_ uint64, e *entry) { c.room.Add(e.size) })
		if err != nil { // only for a size below one
			panic(err)
		}
		s.lru = lru
	}
	return c
}

// find returns the hash of a token and its shard.
func (c *Cache) find(compact string) (uint64, *shard) {
	h := maphash.String(c.seed, compact)
	return h, &c.shards[int(h)&(len(c.shards)-1)]
}

// Misses counts the tokens that were verified because they were not found, good and bad ones.
func (c *Cache) Misses() int64 { return c.verified.Load() }

// Hits counts the times that a token was found.
func (c *Cache) Hits() int64 {
	n := int64(0)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.hits
		s.mu.Unlock()
	}
	return n
}

// Len counts the tokens that are kept.
func (c *Cache) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.lru.Len()
		s.mu.Unlock()
	}
	return n
}

// verified gives the entry of a token: from the cache, from the request that is verifying it just now, or verified
// anew. Failures are not kept.
func (g *Gate) verified(ctx context.Context, compact string) (*entry, error) {
	h, s := g.cache.find(compact)
	s.mu.Lock()
	if e, ok := s.lru.Get(h); ok && e.compact == compact {
		if g.current(e) {
			s.hits++
			e.used = g.cache.ticks.Load()
			s.mu.Unlock()
			return e, nil
		}
		s.lru.Remove(h)
	}
	key := flightKey{compact, g}
	if f := s.flights[key]; f != nil {
		if f.done == nil {
			f.done = make(chan struct{})
		}
		s.mu.Unlock()
		return f.wait(ctx)
	}
	f := &flight{err: errPanicked}
	s.flights[key] = f
	s.mu.Unlock()
	defer g.cache.land(h, s, key, f)
	f.entry, f.err = g.verifyAnew(compact)
	return f.entry, f.err
}

var errPanicked = errors.New("verifying the token broke off")

func (f *flight) wait(ctx context.Context) (*entry, error) {
	select {
	case <-f.done:
		return f.entry, f.err
	case <-ctx.Done():
		return nil, refusal.Because(refusal.ClientClosed, "waiting for a token to be verified: %v", ctx.Err())
	}
}

// land ends a flight, whatever became of it.
func (c *Cache) land(h uint64, s *shard, key flightKey, f *flight) {
	s.mu.Lock()
	delete(s.flights, key)
	if f.err == nil && f.entry.size <= c.size {
		s.lru.Remove(h) // Add would replace an entry without telling, and its bytes would be lost
		c.room.Add(-f.entry.size)
		f.entry.used = c.ticks.Add(1)
		s.lru.Add(h, f.entry)
	}
	s.mu.Unlock()
	if f.done != nil { // the flight is no longer found
		close(f.done)
	}
	for c.room.Load() < 0 && c.evict() {
	}
}

// evict forgets the entry that was asked for longest ago, of all shards; false if there is none.
func (c *Cache) evict() bool {
	var oldest *shard
	var least uint64
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		if _, e, ok := s.lru.GetOldest(); ok && (oldest == nil || e.used < least) {
			oldest, least = s, e.used
		}
		s.mu.Unlock()
	}
	if oldest == nil {
		return false
	}
	oldest.mu.Lock()
	defer oldest.mu.Unlock()
	if c.room.Load() < 0 { // others evict as well
		oldest.lru.RemoveOldest()
	}
	return true
}

// drop forgets an expired token at once, instead of when others need its room.
func (c *Cache) drop(compact string) {
	h, s := c.find(compact)
	s.mu.Lock()
	if e, ok := s.lru.Peek(h); ok && e.compact == compact {
		s.lru.Remove(h)
	}
	s.mu.Unlock()
}

// weigh is about what an entry keeps alive: the token itself, its claims in memory and as identity headers, and the
// index of its permissions.
func weigh(compact string, v *jose.Verified) int64 {
	const fixed, perEntry, perAction, perString = 1 << 10, 96, 40, 32
	n := int64(fixed + 3*len(compact) + 2*perEntry*(len(v.Claims.Ancestors)+len(v.Claims.ActorTokens)) +
		perString*(len(v.Claims.Audience)+countWords(v)))
	for i := range v.Claims.Permissions {
		n += perEntry + perAction*int64(len(v.Claims.Permissions[i].AllowedActions))
	}
	return n
}

func countWords(v *jose.Verified) int {
	n := len(v.Scopes) + len(v.Retained)
	for _, list := range v.Words {
		n += 1 + 2*len(list)
		for _, w := range list {
			n += len(w.Tenants)
		}
	}
	return n
}
