package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A Cache keeps tokens whose signature was checked, never what was decided about a request. It is bounded in bytes, by
// the least recently used, and outlives reloads: an entry counts as long as its issuer's settings and keys are those
// that it was verified with.
//
// It is cut into shards with a lock each, so that cores do not wait for one another.
type Cache struct {
	shards   []shard
	verified atomic.Int64 // tokens that were not found
}

type shard struct {
	mu      sync.Mutex
	lru     *simplelru.LRU[digest, *entry]
	room    int64 // bytes left; below zero only inside put
	flights map[flightKey]*flight
	hits    int64
	_       [64]byte // the next shard's lock is on another cache line
}

// A digest stands for a token: SHA-256 of its compact form.
type digest [sha256.Size]byte

func digestOf(compact string) digest {
	// Without the copy that a conversion would make on every request; Sum256 only reads.
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(compact), len(compact)))
}

// An entry is one verified token.
type entry struct {
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
	token digest
	gate  *Gate
}

const (
	shardsAtMost = 64
	shardAtLeast = 256 << 10
	entryAtLeast = 1 << 10
)

// NewCache makes a cache of about so many bytes; 0 makes one that keeps nothing.
func NewCache(size int64) *Cache {
	n := min(max(size/shardAtLeast, 1), shardsAtMost)
	n = 1 << (bits.Len64(uint64(n)) - 1) // a power of two, so that a digest's bits choose
	c := &Cache{shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i].init(size / n)
	}
	return c
}

func (s *shard) init(size int64) {
	s.room, s.flights = size, make(map[flightKey]*flight)
	lru, err := simplelru.NewLRU(int(max(size/entryAtLeast, 1)), func(_ digest, e *entry) { s.room += e.size })
	if err != nil { // only for a size below one
		panic(err)
	}
	s.lru = lru
}

func (c *Cache) shard(d digest) *shard { return &c.shards[int(d[0])&(len(c.shards)-1)] }

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
	d := digestOf(compact)
	s := g.cache.shard(d)
	s.mu.Lock()
	if e, ok := s.lru.Get(d); ok {
		if g.current(e) {
			s.hits++
			s.mu.Unlock()
			return e, nil
		}
		s.lru.Remove(d)
	}
	key := flightKey{d, g}
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
	defer s.land(key, f)
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
func (s *shard) land(key flightKey, f *flight) {
	s.mu.Lock()
	delete(s.flights, key)
	if f.err == nil {
		s.put(key.token, f.entry)
	}
	s.mu.Unlock()
	if f.done != nil { // the flight is no longer found
		close(f.done)
	}
}

func (s *shard) put(d digest, e *entry) {
	s.lru.Remove(d) // Add would replace an entry without telling, and its bytes would be lost
	s.room -= e.size
	s.lru.Add(d, e)
	for s.room < 0 {
		if _, _, ok := s.lru.RemoveOldest(); !ok {
			return
		}
	}
}

// drop forgets an expired token at once, instead of when others need its room.
func (c *Cache) drop(compact string) {
	d := digestOf(compact)
	s := c.shard(d)
	s.mu.Lock()
	s.lru.Remove(d)
	s.mu.Unlock()
}

// weigh is about what an entry keeps alive: the claims as they were in the token, in memory and as identity headers.
func weigh(compact string, v *jose.Verified) int64 {
	const fixed, perEntry, perAction, perString = 1 << 10, 96, 40, 32
	n := int64(fixed + 3*len(compact) + 2*perEntry*len(v.Claims.Ancestors) +
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
