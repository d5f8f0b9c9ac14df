package replay_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

// start is when the tests' clocks start, in milliseconds.
const start = 1_700_000_000_000

// A guard is a Memory with a clock to turn.
type guard struct {
	*replay.Memory
	t   testing.TB
	now atomic.Int64
}

func newGuard(t testing.TB, capacity int, clients ...string) *guard {
	t.Helper()
	g := &guard{t: t}
	g.now.Store(start)
	m, err := replay.NewMemory(replay.Options{
		Clients: clients, Capacity: capacity,
		Clock: func() time.Time { return time.UnixMilli(g.now.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Memory = m
	return g
}

// use makes the use of the n-th code of client, which expires after the start by this much.
func use(client string, n uint64, expires time.Duration) replay.Use {
	u := replay.Use{Client: client, Expiry: start + expires.Milliseconds()}
	binary.BigEndian.PutUint64(u.Nonce[:], n)
	return u
}

// want consumes u and compares the whole error.
func (g *guard) want(u replay.Use, want error) {
	g.t.Helper()
	if diff := cmp.Diff(want, g.Consume(g.t.Context(), u)); diff != "" {
		g.t.Fatalf("consume %+v (-want +got):\n%s", u, diff)
	}
}

func used(client string) error {
	return refusal.Because(refusal.CodeUsed, "%s", client)
}

func below(client string, expires, floor time.Duration) error {
	return refusal.Because(refusal.CodeBelowFloor, "client %q: nominal expiry %d ms is not above the floor %d ms",
		client, start+expires.Milliseconds(), start+floor.Milliseconds())
}

func gone(client string) error {
	return refusal.Because(refusal.CodeClientGone, "client %q may not issue codes", client)
}

func TestCodePresentedTwice(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 4, "a")
	g.want(use("a", 1, time.Minute), nil)
	g.want(use("a", 1, time.Minute), used("a"))
	g.want(use("a", 2, time.Minute), nil)
	g.want(use("a", 1, time.Minute), used("a"))
}

func TestClientThatMayNotIssue(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 4, "a")
	g.want(use("b", 1, time.Minute), gone("b"))
	g.want(use("", 1, time.Minute), gone(""))
}

func TestNoClients(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 1)
	g.want(use("a", 1, time.Minute), gone("a"))
}

func TestFloodUntilEvictionThenReplay(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 3, "a")
	g.want(use("a", 1, 50*time.Second), nil)
	for n := uint64(2); n <= 4; n++ {
		g.want(use("a", n, time.Minute), nil)
	}
	g.want(use("a", 1, 50*time.Second), below("a", 50*time.Second, 50*time.Second))
	g.want(use("a", 9, 50*time.Second), below("a", 50*time.Second, 50*time.Second)) // never used, refused all the same
	g.want(use("a", 9, 50*time.Second+time.Millisecond), nil)
}

func TestReplayDoesNotRefreshItsEntry(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 2, "a")
	g.want(use("a", 1, 10*time.Second), nil)
	g.want(use("a", 2, 20*time.Second), nil)
	g.want(use("a", 1, 10*time.Second), used("a"))
	g.want(use("a", 3, 30*time.Second), nil)
	g.want(use("a", 1, 10*time.Second), below("a", 10*time.Second, 10*time.Second))
	g.want(use("a", 2, 20*time.Second), used("a"))
}

func TestClockSteppedBackThenReplay(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 100, "a")
	g.want(use("a", 1, time.Minute), nil)
	g.now.Add(time.Hour.Milliseconds())
	g.want(use("a", 2, time.Hour+time.Minute), nil) // prunes the first
	g.now.Store(start)
	g.want(use("a", 1, time.Minute), below("a", time.Minute, time.Minute))
	g.want(use("a", 3, time.Minute+time.Millisecond), nil)
}

func TestFloorNeverFalls(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 1, "a")
	g.want(use("a", 1, time.Minute), nil)
	g.want(use("a", 2, time.Hour), nil)
	g.want(use("a", 3, 2*time.Minute), nil) // evicts the one of an hour
	g.now.Add(-time.Hour.Milliseconds())
	g.want(use("a", 4, 2*time.Hour), nil) // evicts the one of two minutes
	g.want(use("a", 2, time.Hour), below("a", time.Hour, time.Hour))
}

func TestResizeThenReplay(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 4, "a")
	for n := uint64(1); n <= 4; n++ {
		g.want(use("a", n, time.Duration(n)*time.Minute), nil)
	}
	if err := g.Reconfigure([]string{"a"}, 2); err != nil {
		t.Fatal(err)
	}
	g.want(use("a", 1, time.Minute), below("a", time.Minute, 2*time.Minute))
	g.want(use("a", 2, 2*time.Minute), below("a", 2*time.Minute, 2*time.Minute))
	if err := g.Reconfigure([]string{"a"}, 8); err != nil {
		t.Fatal(err)
	}
	g.want(use("a", 2, 2*time.Minute), below("a", 2*time.Minute, 2*time.Minute))
	g.want(use("a", 3, 3*time.Minute), used("a"))
}

func TestReloadWithoutChange(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 4, "a", "b")
	g.want(use("a", 1, time.Minute), nil)
	if err := g.Reconfigure([]string{"b", "a"}, 4); err != nil {
		t.Fatal(err)
	}
	g.want(use("a", 1, time.Minute), used("a"))
	g.want(use("a", 2, time.Second), nil)
}

func TestDroppedClientComesBack(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 4, "a", "b")
	g.want(use("a", 1, time.Minute), nil)
	g.want(use("a", 2, time.Second), nil)
	if err := g.Reconfigure([]string{"b"}, 4); err != nil {
		t.Fatal(err)
	}
	g.want(use("a", 1, time.Minute), gone("a"))
	g.want(use("b", 1, time.Second), nil) // who stayed is not touched by the floor that the dropped one left
	if err := g.Reconfigure([]string{"b", "a"}, 4); err != nil {
		t.Fatal(err)
	}
	g.want(use("a", 1, time.Minute), below("a", time.Minute, time.Minute)) // the highest, not the last
	g.want(use("a", 2, time.Second), below("a", time.Second, time.Minute))
	g.want(use("a", 3, time.Minute+1*time.Millisecond), nil)
	g.want(use("b", 2, time.Second), nil)
}

// A client dropped with an empty set and a raised floor must leave the floor.
func TestDroppedClientLeavesItsFloor(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 1, "a")
	g.want(use("a", 1, time.Hour), nil)
	for range 2 {
		if err := g.Reconfigure(nil, 1); err != nil {
			t.Fatal(err)
		}
		if err := g.Reconfigure([]string{"a"}, 1); err != nil {
			t.Fatal(err)
		}
	}
	g.want(use("a", 1, time.Hour), below("a", time.Hour, time.Hour))
}

func TestOneClientCannotCrowdOutAnother(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 20, "a", "b")
	g.want(use("b", 1, time.Second), nil)
	for n := range uint64(1000) {
		g.want(use("a", n, time.Minute+time.Duration(n)*time.Millisecond), nil)
	}
	g.want(use("b", 1, time.Second), used("b"))
	g.want(use("b", 2, time.Second), nil)
}

// One redemption prunes at most two entries, however many have expired; each adds one, so the set shrinks in use.
func TestWorkOfOneRedemptionIsBounded(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 1000, "a")
	for n := range uint64(1000) {
		g.want(use("a", n, time.Minute), nil)
	}
	g.now.Add(time.Hour.Milliseconds())
	var fills []int
	for n := range uint64(3) {
		g.want(use("a", 5000+n, 2*time.Hour), nil)
		fills = append(fills, g.Stats()[0].Fill)
	}
	if diff := cmp.Diff([]int{999, 998, 997}, fills); diff != "" {
		t.Error(diff)
	}
}

func TestMemoryIsBoundedWhateverClientsComeAndGo(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 10, "first")
	for n := range 1000 {
		clients := []string{fmt.Sprint("x", n), fmt.Sprint("y", n), fmt.Sprint("x", n+1)}
		if err := g.Reconfigure(clients, 10); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(10) {
			for _, c := range clients {
				g.want(use(c, uint64(n)*100+i, time.Duration(n+1)*time.Minute+time.Duration(i)*time.Millisecond), nil)
			}
		}
		all := g.Stats()
		if len(all) != 3 || all[0].Fill > 3 || all[1].Fill > 3 || all[2].Fill > 3 {
			t.Fatalf("over the bound: %+v", all)
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 8, "b", "a", "c")
	for n := range uint64(3) {
		g.want(use("b", n, time.Minute), nil)
	}
	g.want(use("c", 1, time.Minute), nil)
	want := []replay.ClientStats{
		{Client: "a", Capacity: 2},
		{Client: "b", Fill: 2, Capacity: 2, Floor: start + 60_000},
		{Client: "c", Fill: 1, Capacity: 2},
	}
	if diff := cmp.Diff(want, g.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestBadOptionsChangeNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		clients  []string
		capacity int
		want     string
	}{
		"no capacity":       {[]string{"a"}, 0, "replay capacity is 0: it must be at least 1"},
		"negative capacity": {nil, -5, "replay capacity is -5: it must be at least 1"},
		"too many clients": {
			[]string{"a", "b", "c"},
			2,
			"replay capacity 2 is less than the 3 clients that may issue codes: each needs at least 1",
		},
		"twice":   {[]string{"a", "b", "a"}, 9, `client "a" is named twice`},
		"no name": {[]string{"a", ""}, 9, "client 1 has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := replay.NewMemory(replay.Options{Clients: c.clients, Capacity: c.capacity}); err == nil ||
				err.Error() != c.want {
				t.Errorf("new: got %v, want %s", err, c.want)
			}
			g := newGuard(t, 5, "z", "y")
			g.want(use("z", 1, time.Minute), nil)
			before := g.Stats()
			if err := g.Reconfigure(c.clients, c.capacity); err == nil || err.Error() != c.want {
				t.Errorf("reconfigure: got %v, want %s", err, c.want)
			}
			if diff := cmp.Diff(before, g.Stats()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEndedRequestSpendsNothing(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 4, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := g.Consume(ctx, use("a", 1, time.Minute))
	if diff := cmp.Diff(refusal.Because(refusal.StoreUnavailable, `client "a": context canceled`), err); diff != "" {
		t.Error(diff)
	}
	g.want(use("a", 1, time.Minute), nil)
}

// Two guards that start at the same instant of the same clock have different epochs.
func TestEpochIsNotTheTimeOfStart(t *testing.T) {
	t.Parallel()
	a, b := newGuard(t, 1, "a"), newGuard(t, 1, "a")
	if len(a.Epoch()) != 32 || bytes.Equal(a.Epoch(), b.Epoch()) {
		t.Errorf("epochs %x and %x", a.Epoch(), b.Epoch())
	}
	epoch := a.Epoch()
	clear(epoch)
	if bytes.Equal(a.Epoch(), epoch) {
		t.Error("the epoch can be changed from outside")
	}
}

func TestDefaultClock(t *testing.T) {
	t.Parallel()
	m, err := replay.NewMemory(replay.Options{Clients: []string{"a"}, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Consume(t.Context(),
		replay.Use{Client: "a", Expiry: time.Now().Add(time.Minute).UnixMilli()}); err != nil {
		t.Error(err)
	}
}

// 10^5 codes, each presented once by each of 64 goroutines: one winner each, also while reloads resize.
func TestConcurrentRedemptions(t *testing.T) {
	t.Parallel()
	const codes, presenters = 100_000, 64
	g := newGuard(t, 4*codes, "a", "b")
	wins := make([]atomic.Int32, codes)
	uses := make([]replay.Use, codes)
	for n := range uses {
		uses[n] = use([]string{"a", "b"}[n%2], uint64(n), time.Minute)
	}
	ctx := t.Context()
	var others atomic.Int64
	var group sync.WaitGroup
	for p := range presenters {
		group.Go(func() {
			for i := range codes {
				n := (i + p*17) % codes // close together, yet not in lockstep
				err := g.Consume(ctx, uses[n])
				if err == nil {
					wins[n].Add(1)
				} else if err.(*refusal.Error).Reason != refusal.CodeUsed {
					others.Add(1)
				}
			}
		})
	}
	for i := range 20 {
		if err := g.Reconfigure([]string{"a", "b"}, 2*codes+i); err != nil {
			t.Error(err)
		}
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

// Codes are presented again while they are being evicted. A floor that is raised after the lock was released, even by
// nanoseconds, lets some of them in twice: so many wait for the lock that it is often handed on in that gap.
func TestPropertyEvictionIsAtomic(t *testing.T) {
	t.Parallel()
	const codes, presenters = 100_000, 64
	g := newGuard(t, 1, "a")
	ctx := t.Context()
	wins := make([]atomic.Int32, codes)
	var latest, last atomic.Int64 // the last that was handed out, the last that was accepted
	present := func(n int64) {
		if g.Consume(ctx, use("a", uint64(n), time.Minute+time.Duration(n)*time.Millisecond)) == nil {
			wins[n].Add(1)
			last.Store(n)
		}
	}
	var group sync.WaitGroup
	for range presenters {
		group.Go(func() {
			for n := latest.Add(1); n < codes; n = latest.Add(1) {
				present(n)
				for range 3 {
					present(last.Load()) // being evicted, as likely as not
				}
			}
		})
	}
	group.Wait()
	accepted := 0
	for n := range wins {
		w := wins[n].Load()
		accepted += int(w)
		if w > 1 {
			t.Fatalf("code %d was accepted %d times", n, w)
		}
	}
	if accepted < codes/100 {
		t.Errorf("only %d of %d codes were accepted", accepted, codes)
	}
}

func TestRefusalsNameNoCredential(t *testing.T) {
	t.Parallel()
	g := newGuard(t, 1, "a")
	u := use("a", 1, time.Minute)
	copy(u.Nonce[:], "NONCENONCENONCENONCENONC")
	g.want(u, nil)
	err := g.Consume(t.Context(), u)
	var r *refusal.Error
	if !errors.As(err, &r) || bytes.Contains([]byte(err.Error()), u.Nonce[:4]) ||
		bytes.Contains([]byte(err.Error()), fmt.Appendf(nil, "%x", u.Nonce[:4])) {
		t.Errorf("got %v", err)
	}
}

// full is a guard whose one set is full of codes that live.
func full(b *testing.B, fill int) (*guard, func() replay.Use) {
	g := newGuard(b, fill, "a")
	n := int64(0)
	next := func() replay.Use {
		n++
		u := replay.Use{Client: "a", Expiry: start + 60_000 + n}
		rand.Read(u.Nonce[:])
		return u
	}
	for range fill {
		g.consume(b, next())
	}
	return g, next
}

func (g *guard) consume(b *testing.B, u replay.Use) {
	if err := g.Consume(context.Background(), u); err != nil {
		b.Fatal(err)
	}
}

// Each redemption evicts one and adds one. Includes making a random nonce, as does the base.
func BenchmarkConsume(b *testing.B) {
	for _, fill := range []int{10, 1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(fill), func(b *testing.B) {
			g, next := full(b, fill)
			b.ReportAllocs()
			for b.Loop() {
				g.consume(b, next())
			}
		})
	}
}

// The same for two sizes in turns, so that noise meets both: how much dearer is a redemption among 10^6 than among 10?
func BenchmarkFlatness(b *testing.B) {
	few, nextFew := full(b, 10)
	many, nextMany := full(b, 1_000_000)
	var costFew, costMany time.Duration
	const batch = 256
	uses := make([]replay.Use, batch)
	timed := func(g *guard, next func() replay.Use) time.Duration {
		for i := range uses {
			uses[i] = next()
		}
		at := time.Now()
		for _, u := range uses {
			g.consume(b, u)
		}
		return time.Since(at)
	}
	rounds := 0
	for b.Loop() {
		costFew += timed(few, nextFew)
		costMany += timed(many, nextMany)
		rounds++
	}
	b.ReportMetric(float64(costFew.Nanoseconds())/float64(rounds*batch), "ns/use-of-10")
	b.ReportMetric(float64(costMany.Nanoseconds())/float64(rounds*batch), "ns/use-of-10^6")
	b.ReportMetric(float64(costMany)/float64(costFew), "ratio")
}
