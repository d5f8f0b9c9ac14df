package replay_test

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

// settings are those of a configuration that names the server alone.
func settings(server *redistest.Server) *config.Redis {
	return &config.Redis{
		Network: "tcp", Address: server.Addr(), Pool: 32, DialTimeout: 10 * time.Second, Timeout: 10 * time.Second,
		Prefix: "jotgate", Skew: 5 * time.Second,
	}
}

func open(t testing.TB, c *config.Redis) *redisstore.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), c, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// living is the use of the n-th code, sealed now under the guard's epoch for a minute.
func living(g *replay.Redis, n uint64) replay.Use {
	u := replay.Use{Client: "a", Expiry: time.Now().Add(10 * time.Minute).UnixMilli(), Epoch: g.Epoch()}
	binary.BigEndian.PutUint64(u.Nonce[:], n)
	return u
}

func TestSharedCodePresentedTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one := replay.NewRedis(open(t, settings(server)), []string{"a"})
	other := replay.NewRedis(open(t, settings(server)), []string{"a"})
	for n, g := range map[uint64]*replay.Redis{1: one, 2: other} {
		u := living(g, n)
		if err := g.Consume(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		for _, again := range []*replay.Redis{one, other} {
			if err := again.Consume(t.Context(), u); refusal.Of(err) != refusal.CodeUsed {
				t.Errorf("code %d again: %v", n, err)
			}
		}
	}
}

func TestSharedConcurrentRedemptions(t *testing.T) {
	t.Parallel()
	const codes, presenters = 2000, 16
	server := redistest.Start(t)
	guards := []*replay.Redis{
		replay.NewRedis(open(t, settings(server)), []string{"a"}), replay.NewRedis(open(t, settings(server)), []string{"a"}),
	}
	uses := make([]replay.Use, codes)
	for n := range uses {
		uses[n] = living(guards[n%2], uint64(n))
	}
	wins := make([]atomic.Int32, codes)
	var others atomic.Int64
	var group sync.WaitGroup
	for p := range presenters {
		group.Go(func() {
			for i := range codes {
				n := (i + p*17) % codes
				switch err := guards[p%2].Consume(t.Context(), uses[n]); refusal.Of(err) {
				case "":
					wins[n].Add(1)
				case refusal.CodeUsed:
				default:
					others.Add(1)
				}
			}
		})
	}
	group.Wait()
	for n := range wins {
		if w := wins[n].Load(); w != 1 {
			t.Fatalf("code %d was accepted %d times", n, w)
		}
	}
	if o := others.Load(); o != 0 {
		t.Errorf("%d refusals for another reason than code_used", o)
	}
}

// Whatever makes the store forget ends the epoch: a code that was used before is refused, and a new one is good.
func TestStoreThatForgets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		forget func(s *redistest.Server)
	}{
		"flushed": {nil, func(s *redistest.Server) { s.Do("FLUSHALL") }},
		"flushed, with the epoch's own record put back": {nil, func(s *redistest.Server) {
			id := s.Do("HGET", "{jotgate}:epoch", "id")
			s.Do("FLUSHALL")
			s.Do("HSET", "{jotgate}:epoch", "id", "x"+id.(string), "began", "1", "seen", "1")
		}},
		"killed, without persistence":      {nil, func(s *redistest.Server) { s.Restart() }},
		"killed, with an old dump":         {nil, func(s *redistest.Server) { s.Do("SAVE"); s.Restart() }},
		"killed, with an append-only file": {[]string{"--appendonly", "yes"}, func(s *redistest.Server) { s.Restart() }},
		"shut down, with a dump": {
			[]string{"--save", "3600 1"},
			func(s *redistest.Server) { s.Shutdown(); s.Restart() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, c.args...)
			g := replay.NewRedis(open(t, settings(server)), []string{"a"})
			u, unused := living(g, 1), living(g, 2)
			if err := g.Consume(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			c.forget(server)
			for _, u := range []replay.Use{u, unused} {
				err := g.Consume(t.Context(), u)
				if refusal.Of(err) != refusal.CodeOtherEpoch {
					t.Errorf("after: %v", err)
				}
			}
			fresh := living(g, 3)
			if err := g.Consume(t.Context(), fresh); err != nil {
				t.Errorf("a new code: %v", err)
			}
			if err := g.Consume(t.Context(), u); refusal.Of(err) != refusal.CodeOtherEpoch {
				t.Errorf("the old code, later: %v", err)
			}
		})
	}
}

// Assertions and proofs have no epoch in them: what was made before the store may have forgotten is refused.
func TestSharedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := settings(server)
	c.Skew = 100 * time.Millisecond
	first, second := open(t, c), open(t, c)
	one, other := replay.NewOnce(first, "assertion", 10*time.Minute), replay.NewOnce(second, "assertion", 10*time.Minute)
	elsewhere := replay.NewOnce(first, "proof", 10*time.Minute)
	redistest.Eventually(t, "the store remembers long enough", func() bool { return time.Now().UnixMilli() > one.Since() })
	made := time.Now()
	u := replay.Use{Client: "a", Nonce: [24]byte{1}, Expiry: made.Add(time.Minute).UnixMilli()}
	want := func(reason refusal.Reason, o *replay.Once, u replay.Use, made time.Time) {
		t.Helper()
		if err := o.Consume(t.Context(), u, made.UnixMilli()); refusal.Of(err) != reason {
			t.Errorf("got %v, want %q", err, reason)
		}
	}
	want("", one, u, made)
	want(refusal.CodeUsed, one, u, made)
	want(refusal.CodeUsed, other, u, made)
	want("", elsewhere, u, made) // a namespace of its own
	another := u
	another.Client = "b"
	want("", other, another, made) // whose maker has names of its own
	late := u
	late.Nonce, late.Expiry = [24]byte{2}, made.Add(time.Hour).UnixMilli()
	want(refusal.CodeNotYetValid, one, late, made)
	late.Expiry = made.Add(-time.Minute).UnixMilli()
	want(refusal.CodeBelowFloor, one, late, made)
	unused := u
	unused.Nonce = [24]byte{3}
	for _, forget := range []func(){func() { server.Do("FLUSHALL") }, server.Restart} {
		forget()
		want(refusal.CodeBelowFloor, one, u, made)
		want(refusal.CodeBelowFloor, other, u, made)
		want(refusal.CodeBelowFloor, other, unused, made) // never used, refused all the same
	}
	first.Look(t.Context())
	redistest.Eventually(t, "new ones count again", func() bool {
		fresh := replay.Use{Client: "a", Nonce: [24]byte{4}, Expiry: time.Now().Add(time.Minute).UnixMilli()}
		return one.Consume(t.Context(), fresh, time.Now().UnixMilli()) == nil
	})
	server.Kill()
	want(refusal.StoreUnavailable, one, unused, time.Now())
}

// A replica whose clock is ahead by more than the skew makes what seems to be from after the store's loss. It is not
// accepted at all, so that it cannot be accepted before the loss and after it.
func TestSharedOnceOfAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := settings(server)
	c.Skew = time.Second
	store := open(t, c)
	tickets := replay.NewOnce(store, "ticket", 6*time.Minute)
	settled := func() {
		redistest.Eventually(t, "the store remembers long enough", func() bool {
			store.Look(t.Context())
			return time.Now().UnixMilli() > tickets.Since()
		})
	}
	settled()
	made := time.Now().Add(20 * time.Second)
	u := replay.Use{Client: "a", Nonce: [24]byte{1}, Expiry: made.Add(time.Minute).UnixMilli()}
	for _, when := range []string{"before the loss", "after it"} {
		if err := tickets.Consume(t.Context(), u, made.UnixMilli()); refusal.Of(err) != refusal.CodeNotYetValid {
			t.Errorf("%s: %v", when, err)
		}
		server.Do("FLUSHALL")
		settled()
	}
	// Of a clock that is less ahead, one use before the loss is the only one.
	near := time.Now().Add(700 * time.Millisecond)
	v := replay.Use{Client: "a", Nonce: [24]byte{2}, Expiry: near.Add(time.Minute).UnixMilli()}
	if err := tickets.Consume(t.Context(), v, near.UnixMilli()); err != nil {
		t.Fatal(err)
	}
	server.Do("FLUSHALL")
	settled()
	if err := tickets.Consume(t.Context(), v, near.UnixMilli()); refusal.Of(err) != refusal.CodeBelowFloor {
		t.Errorf("after the loss: %v", err)
	}
}
