package proxy

import (
	"context"
	"fmt"
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
	s := &h.cache.shards[0]
	var kept int64
	for _, e := range s.lru.Values() {
		kept += e.size
	}
	if n := h.cache.Len(); n < 10 || n > 64 || kept > 64<<10 || kept+s.room != 64<<10 {
		t.Errorf("%d tokens of %d bytes are kept, %d are left", n, kept, s.room)
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
