package issuer

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
)

// kidOf is the key that signed a token.
func kidOf(t testing.TB, compact string) string {
	t.Helper()
	u, err := jose.Parse(compact, 0)
	if err != nil {
		t.Fatal(err)
	}
	return u.Header.KeyID
}

func newKeys(t testing.TB, n int) []*jose.PrivateKey {
	t.Helper()
	var keys []*jose.PrivateKey
	for range n {
		k, err := jose.Generate("EdDSA")
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

// TestRotation goes through one rotation: a new key signs when it was published for as long as verifiers may not look.
func TestRotation(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, 3)
	a, b, c := keys[0], keys[1], keys[2]
	h := newHouse(t, func(cfg *config.Config) { cfg.Issuer.Keys = []*jose.PrivateKey{a} })
	signs := func(what string, want *jose.PrivateKey) {
		t.Helper()
		compact := h.roleToken("shop", "support", "", "alice")
		if got := kidOf(t, compact); got != want.ID() {
			t.Errorf("%s: signed by another key", what)
		}
		h.claimsOf(compact)
		other, err := h.issuer.Load().Sign("JWT", []byte("{}"))
		if err != nil || kidOf(t, other) != want.ID() {
			t.Errorf("%s: assertions are signed by another key: %v", what, err)
		}
	}
	load := func(keys ...*jose.PrivateKey) {
		h.config.Issuer.Keys = keys
		h.reload(h.config)
	}
	signs("start", a)
	load(a, b)
	signs("b is next", a)
	h.clock.advance(publishedFirst)
	signs("b is next for long", a)
	load(b, a)
	signs("b was published long before", b)
	load(c, b, a)
	signs("c was not published", b)
	h.clock.advance(publishedFirst - time.Millisecond)
	signs("c was published not long enough", b)
	h.clock.advance(time.Millisecond)
	signs("c was published long enough", c)
	load(a, c)
	signs("a was published all along", a)
	load(b, a, c)
	signs("b is back, as a new key is", a)
	load(b, c)
	signs("a is gone, so b signs, ready or not", b)
	h.state = NewState()
	load(c, b)
	signs("a new process trusts its config", c)
}

// TestRotationNeverSurprises: whatever a config makes of the keys, and whenever, a token's key was published long
// enough before it was signed, or no key that was is left; and it is one of the config's.
func TestRotationNeverSurprises(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, 4)
	rapid.Check(t, func(t *rapid.T) {
		now, r := time.UnixMilli(1_000_000_000_000), new(rotation)
		since := map[string]time.Time{}
		first := true
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			order := rapid.Permutation(keys).Draw(t, "order")[:rapid.IntRange(1, 4).Draw(t, "how many")]
			present := map[string]time.Time{}
			for _, k := range order {
				at, known := since[k.ID()]
				switch {
				case first:
					at = now.Add(-time.Hour)
				case !known:
					at = now
				}
				present[k.ID()] = at
			}
			since, first = present, false
			s := r.rotate(order, now)
			r.take(s)
			later := now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "later")) * time.Second)
			key := s.key(later)
			at, listed := since[key.ID()]
			if !listed {
				t.Fatal("signs with a key that the config does not have")
			}
			if ready := later.Sub(at) >= publishedFirst; !ready && key.ID() != order[0].ID() && r.published[key.ID()].IsZero() {
				t.Fatal(fmt.Sprintf("signs with a key published for %v, which is not the wanted one either", later.Sub(at)))
			}
			if later.Sub(since[order[0].ID()]) >= publishedFirst && key.ID() != order[0].ID() {
				t.Fatal("the wanted key was published long enough, and another signs")
			}
		}
	})
}
