package redisstore_test

import (
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/redistest"
)

// Two replicas have together what one has alone, and each client its own.
func TestRateOfAllReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one, other := open(t, settings(server.Addr())), open(t, settings(server.Addr()))
	const perSecond, asked = 20, 400
	began, turns := time.Now(), 0
	for n := range asked {
		store := one
		if n%2 == 1 {
			store = other
		}
		wait, err := store.Allow(t.Context(), "issue a", perSecond)
		if err != nil {
			t.Fatal(err)
		}
		if wait > time.Second/perSecond {
			t.Fatalf("wait %v for a turn at %d a second", wait, perSecond)
		}
		if wait == 0 {
			turns++
		}
	}
	most := 2*perSecond + int(time.Since(began).Seconds()*perSecond) + 1
	if turns < 2*perSecond || turns > most {
		t.Errorf("%d turns, want %d to %d", turns, 2*perSecond, most)
	}
	if wait, err := other.Allow(t.Context(), "issue b", perSecond); err != nil || wait != 0 {
		t.Errorf("another client: %v, %v", wait, err)
	}
	server.Kill()
	if _, err := one.Allow(t.Context(), "issue a", perSecond); err == nil {
		t.Error("a store that is gone allows")
	}
}
