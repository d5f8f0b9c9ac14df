package proxy

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A cached token is judged anew on the very next request, whatever changed.
func TestACachedTokenIsNoVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*house)
		want   refusal.Reason
	}{
		{"nothing changed", func(*house) {}, ""},
		{"a reload that changes nothing", func(h *house) { h.load(settings) }, ""},
		{"revoked", func(h *house) { h.revoked.ids.Store("id-1", 1) }, refusal.TokenRevoked},
		{"expired", func(h *house) { h.now.Add(3600_000) }, refusal.TokenExpired},
		{"the clock stepped back", func(h *house) { h.now.Add(-3600_000) }, refusal.TokenNotYetValid},
		{"key removed", func(h *house) { h.keys.Store(must(jose.NewKeySet(h.foreign.Public()))) }, refusal.TokenKeyUnknown},
		{"no keys at hand", func(h *house) { h.keys.Store(nil) }, refusal.IssuerUnavailable},
		{
			"grantor removed", func(h *house) { h.load(strings.ReplaceAll(settings, "id: web", "id: web2")) },
			refusal.GrantorUnknown,
		},
		{"grantor cut", func(h *house) {
			h.load(strings.Replace(settings, `delegate: [{tenant: "*", actions: ["*"]}]`,
				`delegate: [{tenant: acme, actions: [READ]}]`, 1))
		}, refusal.GrantorNotCovering},
		{"another audience", func(h *house) {
			h.load(strings.Replace(settings, `audiences: [https://api.example]`, `audiences: [https://new.example]`, 1))
		}, refusal.TokenAudienceMismatch},
		{
			"another action", func(h *house) { h.load(strings.ReplaceAll(settings, "action: READ}", "action: WRITE}")) },
			refusal.ActionDenied,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			bearer := h.mint()
			if got := h.get("/t/acme/", bearer); got.status != 200 || h.cache.Len() != 1 {
				t.Fatalf("got %+v, %d cached", got, h.cache.Len())
			}
			c.change(h)
			h.app.forget()
			got := h.get("/t/acme/", bearer)
			if got.reason != c.want || len(h.app.seen()) != map[bool]int{true: 1}[c.want == ""] {
				t.Errorf("got %d %q, upstream %d; want %q", got.status, got.reason, len(h.app.seen()), c.want)
			}
			if c.name == "expired" && h.cache.Len() != 0 {
				t.Error("an expired token is kept")
			}
		})
	}
}

func TestFailuresAreNotCached(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint(func(c *token.Claims) { c.NotBefore = h.now.Load() + 60_000 })
	if got := h.get("/me", bearer); got.reason != refusal.TokenNotYetValid || h.cache.Len() != 0 {
		t.Fatalf("got %s, %d cached", got.reason, h.cache.Len())
	}
	h.now.Add(60_000)
	if got := h.get("/me", bearer); got.status != 200 {
		t.Errorf("later: %s", got.reason)
	}
}

func TestTheCacheIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.cache = NewCache(64 << 10)
	h.build()
	for i := range 200 {
		if _, err := h.gate.verified(t.Context(), h.mint(func(c *token.Claims) { c.ID = fmt.Sprint(i) })); err != nil {
			t.Fatal(err)
		}
	}
	var kept int64
	for _, e := range h.cache.shards[0].lru.Values() {
		kept += e.size
	}
	if n, left := h.cache.Len(), h.cache.room.Load(); n < 10 || n > 64 || kept > 64<<10 || kept+left != 64<<10 {
		t.Errorf("%d tokens of %d bytes are kept, %d are left", n, kept, left)
	}
	h.cache = NewCache(0)
	h.build()
	if _, err := h.gate.verified(t.Context(), h.mint()); err != nil || h.cache.Len() != 0 {
		t.Errorf("a cache of nothing keeps %d (%v)", h.cache.Len(), err)
	}
}

// A request with a token that is being verified waits for that, and one who leaves does not wait.
func TestOneTokenIsVerifiedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// entered has room: no one may wait for it yet
	keys, entered, leave := h.keys.Load(), make(chan struct{}, 1), make(chan struct{})
	v := must(jose.NewVerifier(jose.Options{Issuers: []*jose.Issuer{{
		URL: h.config.Issuer.URL, Own: true,
		Keys: func() *jose.KeySet {
			select {
			case entered <- struct{}{}:
				<-leave
			default:
			}
			return keys
		},
	}}}))
	g := must(New(Options{Config: h.config, Verifier: v, Cache: NewCache(1 << 20), Upstreams: h.pools, Clock: h.clock}))
	defer g.Close()
	bearer := h.mint()
	var all sync.WaitGroup
	entries := make([]*entry, 16)
	all.Go(func() { entries[0], _ = g.verified(context.Background(), bearer) })
	<-entered
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := g.verified(gone, bearer); refusal.Of(err) != refusal.ClientClosed {
		t.Errorf("a client that is gone: %v", err)
	}
	for i := 1; i < len(entries); i++ {
		all.Go(func() { entries[i], _ = g.verified(context.Background(), bearer) })
	}
	close(leave)
	all.Wait()
	for i, e := range entries {
		if e == nil || e != entries[0] {
			t.Errorf("caller %d got another entry", i)
		}
	}
}

func TestAPanicWhileVerifyingEndsTheFlight(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := must(jose.NewVerifier(jose.Options{Issuers: []*jose.Issuer{{
		URL: h.config.Issuer.URL, Own: true,
		Keys: func() *jose.KeySet { panic("keys") },
	}}}))
	g := must(New(Options{Config: h.config, Verifier: v, Cache: NewCache(1 << 20), Upstreams: h.pools, Clock: h.clock}))
	defer g.Close()
	bearer := h.mint()
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			g.verified(context.Background(), bearer)
		}()
	}
}

// large is a token with so many entries, as a user of many tenants has one.
func (h *house) large(i, entries int) string {
	return h.mint(func(c *token.Claims) {
		c.ID, c.Permissions = fmt.Sprint("large-", i), nil
		for n := range entries {
			c.Permissions = append(c.Permissions, token.TenantPermission{
				Tenant: fmt.Sprintf("tenant-%d-%d", i, n), AllowedActions: []string{"READ", "WRITE", "DELETE"},
			})
		}
	})
}

// The budget is one for all shards: large tokens that come to less than it are all found again, and one that is larger
// than all of it drives no other out.
func TestTheBudgetIsOneForAllShards(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.cache = NewCache(6 << 20)
	h.config.Limits.TokenBytes = 1 << 20
	h.build()
	var tokens []string
	size := int64(0)
	for i := 0; size < 5<<20; i++ {
		tokens = append(tokens, h.large(i, 300))
		e, err := h.gate.verified(t.Context(), tokens[i])
		if err != nil {
			t.Fatal(err)
		}
		size += e.size
	}
	before := h.cache.Misses()
	for _, compact := range tokens {
		if _, err := h.gate.verified(t.Context(), compact); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.cache.Misses() - before; n > 0 || h.cache.Len() != len(tokens) {
		t.Errorf("%d of %d tokens are verified again", n, len(tokens))
	}
	h.cache.size = 100 << 10 // of which nothing is left: a small token still drives the oldest out, a large one none
	if _, err := h.gate.verified(t.Context(), h.large(-1, 3000)); err != nil || h.cache.Len() != len(tokens) {
		t.Errorf("%d are left of %d (%v)", h.cache.Len(), len(tokens), err)
	}
}

// What was asked for longest ago goes first, whichever shard it is in.
func TestTheOldestOfAllShardsGoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.cache = NewCache(4 << 20)
	h.config.Limits.TokenBytes = 1 << 20
	h.build()
	ask := func(compact string) {
		t.Helper()
		if _, err := h.gate.verified(t.Context(), compact); err != nil {
			t.Fatal(err)
		}
	}
	known := h.mint()
	ask(known)
	for i := range 200 {
		ask(h.large(i, 200))
		before := h.cache.Misses()
		if ask(known); h.cache.Misses() != before {
			t.Fatalf("the token in use went after %d others", i)
		}
	}
	if h.cache.Len() > 150 {
		t.Errorf("%d are kept", h.cache.Len())
	}
	if left := h.cache.room.Load(); left < 0 || left > 300<<10 {
		t.Errorf("%d bytes are left", left)
	}
}

// Two tokens whose hashes meet are two tokens.
func TestTokensWhoseHashesMeet(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, other := h.mint(), h.mint(func(c *token.Claims) { c.Subject = "bob" })
	e, err := h.gate.verified(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	hash, s := h.cache.find(other) // as if it were the same
	h.cache.room.Add(-e.size)
	s.lru.Add(hash, e)
	for range 2 {
		got, err := h.gate.verified(t.Context(), other)
		if err != nil || got.verified.Claims.Subject != "bob" {
			t.Fatalf("%v %+v", err, got)
		}
	}
	h.cache.drop(other)
	if got, err := h.gate.verified(t.Context(), one); err != nil || got != e {
		t.Errorf("the other one: %v", err)
	}
}

// Memory stays within 1.3 times the budget, for short tokens and long ones, with what judging keeps beside them.
func TestTheCacheWeighsWhatItKeeps(t *testing.T) { // not parallel: it looks at the heap
	const budget = 8 << 20
	for _, entries := range []int{1, 30, 300} {
		h := newHouse(t)
		h.cache = NewCache(budget)
		h.config.Limits.TokenBytes = 1 << 20
		h.build()
		before := heap()
		for i := 0; h.cache.room.Load() > budget/20; i++ {
			e, err := h.gate.verified(t.Context(), h.large(i, entries))
			if err != nil {
				t.Fatal(err)
			}
			e.grant.Store(h.gate.newGrant(e.verified))
		}
		n := h.cache.Len()
		if kept := heap() - before; kept > budget*13/10 && !raceEnabled {
			t.Errorf("%d tokens of %d entries keep %d bytes of %d", n, entries, kept, budget)
		} else {
			t.Logf("%d tokens of %d entries keep %.2f of the budget", n, entries, float64(kept)/budget)
		}
		runtime.KeepAlive(h)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
