package revoke

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// join is what a replica does when it starts.
func join(t *testing.T, server *redistest.Server, change func(*SharedOptions)) *List {
	t.Helper()
	store, err := redisstore.Open(t.Context(), &config.Redis{
		Network: "tcp", Address: server.Addr(), Pool: 8, DialTimeout: 2 * time.Second, Timeout: 2 * time.Second,
		Prefix: "jotgate", Skew: 5 * time.Second,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := SharedOptions{
		Store: store, Capacity: 10_000, Clients: 1, Clock: time.Now, Poll: 20 * time.Millisecond, MaxStaleness: time.Minute,
	}
	if change != nil {
		change(&o)
	}
	l, err := Join(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), store.Close() })
	return l
}

func revokeShared(t *testing.T, l *List, id, client string) {
	t.Helper()
	if err := l.Revoke(t.Context(),
		Token{Issuer: issuer, ID: id, Client: client, Expiry: time.Now().Add(time.Hour).UnixMilli()}); err != nil {
		t.Fatal(err)
	}
}

func TestSharedRevokedEverywhere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one, other := join(t, server, nil), join(t, server, nil)
	revokeShared(t, one, "a", "web")
	if !revoked(one.Check(claims("a"), "k")) {
		t.Error("not in force where it was revoked, at once")
	}
	redistest.Eventually(t, "in force on the other replica", func() bool { return revoked(other.Check(claims("a"), "k")) })
	if err := other.Check(claims("b"), "k"); err != nil {
		t.Errorf("another token: %v", err)
	}
	now := time.Now()
	if err := other.Mark(t.Context(), Tenant, issuer, "acme", now); err != nil {
		t.Fatal(err)
	}
	old := &token.Claims{Issuer: issuer, ID: "c", IssuedAt: now.UnixMilli() - 1000}
	redistest.Eventually(t, "a mark is", func() bool { return revoked(one.CheckTenant(old, "acme")) })
	if err := other.Mark(t.Context(), Tenant, issuer, "acme", now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	late := join(t, server, nil) // it begins with what there is
	if !revoked(late.Check(claims("a"), "k")) || !revoked(late.CheckTenant(old, "acme")) {
		t.Error("a replica that starts later begins without the list, or with a mark that moved back")
	}
}

// A revocation is forgotten only if the store and every replica that knew of it lose their memory together.
func TestSharedStoreForgets(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*redistest.Server){
		"flushed":     func(s *redistest.Server) { s.Do("FLUSHALL") },
		"restarted":   func(s *redistest.Server) { s.Restart() },
		"an old dump": func(s *redistest.Server) { s.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			one := join(t, server, nil)
			if name == "an old dump" { // of before
				revokeShared(t, one, "older", "web")
				server.Do("SAVE")
			}
			const many = 2500 // more than two pages
			for n := range many {
				revokeShared(t, one, fmt.Sprint("t", n), "")
			}
			forget(server)
			redistest.Eventually(t, "the store has it again", func() bool {
				length, err := server.Client().HLen(context.Background(), "{jotgate}:revoked:records").Result()
				return err == nil && length >= many
			})
			late := join(t, server, nil)
			for _, n := range []int{0, 1, page - 1, page, page + 1, many - 1} {
				if !revoked(late.Check(claims(fmt.Sprint("t", n)), "k")) {
					t.Errorf("t%d is forgotten", n)
				}
			}
		})
	}
}

func TestSharedCapacity(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	// 4 for the client, one of them for replayed codes, 4 for the operator
	small := func(o *SharedOptions) { o.Capacity, o.Clients = 8, 1 }
	one, other := join(t, server, small), join(t, server, small)
	end := time.Now().Add(time.Hour).UnixMilli()
	replayed := func(l *List, id string) error {
		return l.Revoke(t.Context(), Token{Issuer: issuer, ID: id, Client: "web", Expiry: end, Replayed: true})
	}
	if err := replayed(one, "r0"); err != nil {
		t.Error(err)
	}
	if err := replayed(other, "r1"); refusal.Of(err) != refusal.RevocationFull {
		t.Errorf("replayed codes over their share: %v", err)
	}
	for n := range 3 { // whatever replayed codes took
		revokeShared(t, []*List{one, other}[n%2], fmt.Sprint("w", n), "web")
	}
	err := other.Revoke(t.Context(), Token{Issuer: issuer, ID: "w4", Client: "web", Expiry: end})
	if refusal.Of(err) != refusal.RevocationFull {
		t.Errorf("a client over its share: %v", err)
	}
	revokeShared(t, other, "w0", "web") // it is there already
	for n := range 4 {
		if err := one.Mark(t.Context(), Subject, issuer, fmt.Sprint("s", n), time.Now()); err != nil {
			t.Errorf("the operator: %v", err)
		}
	}
	if err := one.Mark(t.Context(), Subject, issuer, "s4", time.Now()); refusal.Of(err) != refusal.RevocationFull {
		t.Errorf("over the capacity: %v", err)
	}
}

// What ended long ago makes room, in the store and in memory; what lives is never dropped for it.
func TestSharedForgetsWhatEnded(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := join(t, server, func(o *SharedOptions) { o.Capacity, o.Clients = 40, 0 })
	long := time.Now().Add(-keptAfterExpiry - time.Second).UnixMilli()
	for n := range 200 {
		if err := l.Revoke(t.Context(), Token{
			Issuer: issuer, ID: fmt.Sprint("e", n), Client: "web",
			Expiry: long,
		}); err != nil {
			t.Fatal(err)
		}
	}
	revokeShared(t, l, "lives", "web")
	if got := l.Stats().Tokens; got > 41 {
		t.Errorf("%d entries in memory", got)
	}
	for n := range 100 {
		if err := l.Revoke(t.Context(), Token{
			Issuer: issuer, ID: fmt.Sprint("f", n), Client: "web",
			Expiry: long,
		}); err != nil {
			t.Fatal(err)
		}
	}
	if !revoked(l.Check(claims("lives"), "k")) || !revoked(join(t, server, nil).Check(claims("lives"), "k")) {
		t.Error("a living revocation was forgotten")
	}
}

// A store that does not answer: nothing is revoked by halves, and on_stale says what becomes of tokens.
func TestSharedStale(t *testing.T) {
	t.Parallel()
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refuse ", refuse), func(t *testing.T) {
			t.Parallel()
			core, log := observer.New(zap.InfoLevel)
			server := redistest.Start(t)
			l := join(t, server, func(o *SharedOptions) {
				o.MaxStaleness, o.RefuseStale, o.Log = 200*time.Millisecond, refuse, zap.New(core)
			})
			revokeShared(t, l, "a", "web")
			server.Kill()
			redistest.Eventually(t, "it is stale", func() bool { return l.Stats().Stale })
			redistest.Eventually(t, "the log says so", func() bool { return log.FilterLevelExact(zap.ErrorLevel).Len() == 1 })
			want := refusal.Reason("")
			if refuse {
				want = refusal.RevocationsStale
			}
			if got := refusal.Of(l.Check(claims("b"), "k")); got != want {
				t.Errorf("a token that was not revoked: %q", got)
			}
			if err := l.Check(claims("a"), "k"); err == nil {
				t.Error("what is known to be revoked is let through")
			}
			if err := l.Revoke(t.Context(),
				Token{Issuer: issuer, ID: "c", Client: "web", Expiry: time.Now().Add(time.Hour).UnixMilli()}); refusal.Of(
				err) != refusal.StoreUnavailable {
				t.Errorf("revoked without a store: %v", err)
			}
			server.Restart()
			redistest.Eventually(t, "it is right again", func() bool {
				return !l.Stats().Stale &&
					l.Check(claims("b"), "k") == nil
			})
			if !revoked(l.Check(claims("a"), "k")) {
				t.Error("forgotten")
			}
		})
	}
}

// The check of a token does not ask the store.
func TestSharedCheckDoesNotAskTheStore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := join(t, server, func(o *SharedOptions) { o.Poll = time.Hour })
	revokeShared(t, l, "a", "web")
	before := l.shared.o.Store.Stats().Operations
	for range 10_000 {
		if err := l.Check(claims("b"), "k"); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.shared.o.Store.Stats().Operations - before; got > 100 { // the watch of the store itself, once a second
		t.Errorf("%d operations for 10000 checks", got)
	}
}

// TestSharedUndo: every mark is an entry of its own on every replica, and the latest of what is left counts.
func TestSharedUndo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := join(t, server, nil), join(t, server, nil)
	base := time.Now().Truncate(time.Second)
	at := func(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }
	refused := func(l *List, n int) bool { // a token of this second
		return l.Check(&token.Claims{Issuer: issuer, ID: "j", Subject: "alice", IssuedAt: at(n).UnixMilli()}, "k") != nil
	}
	revokeShared(t, a, "one", "web")
	if err := b.Revoke(t.Context(), Token{
		Issuer: issuer, ID: "of-a-replayed-code", Client: "web", Expiry: at(3600).UnixMilli(), Replayed: true,
	}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 3, 1} {
		mark(t, []*List{a, b}[n%2], Subject, "alice", at(n))
	}
	for _, l := range []*List{a, b} {
		redistest.Eventually(t, "each replica lists each entry", func() bool {
			page, more := l.Entries("", 10)
			return len(page) == 5 && !more
		})
		for _, jti := range []string{"one", "of-a-replayed-code"} {
			id := idOf(t, l, "token", jti, time.Time{})
			if _, err := l.Undo(t.Context(), id); refusal.Of(err) != refusal.RevocationKept {
				t.Errorf("undo of a token: %v", err)
			}
		}
	}
	for _, undone := range []struct {
		by      *List
		n, left int
	}{{a, 2, 3}, {b, 3, 1}, {a, 1, 0}} {
		id := idOf(t, undone.by, "subject", "alice", at(undone.n))
		if e, err := undone.by.Undo(t.Context(), id); err != nil || e.At != at(undone.n).UnixMilli() {
			t.Fatalf("undo: %+v, %v", e, err)
		}
		late := join(t, server, nil)
		for i, l := range []*List{undone.by, a, b, late} {
			for n := 0; n < 4; n++ {
				want := n < undone.left
				if i == 0 || i == 3 { // durable and in force at once
					if got := refused(l, n); got != want {
						t.Errorf("without %d: issued in %d: refused %v, want %v", undone.n, n, got, want)
					}
				}
				redistest.Eventually(t, "in force on both", func() bool { return refused(l, n) == want })
			}
			if _, err := l.Undo(t.Context(), id); refusal.Of(err) != refusal.RevocationUnknown {
				t.Errorf("undone twice: %v", err)
			}
		}
	}
	mark(t, b, Subject, "alice", at(2)) // what was undone can be marked again, also by one that undid it
	redistest.Eventually(t, "marked again", func() bool { return refused(a, 1) && refused(b, 1) })
	peek, err := Peek(t.Context(), a.shared.o)
	if err != nil {
		t.Fatal(err)
	}
	if page, _ := peek.Entries("", 10); len(page) != 3 {
		t.Errorf("read once: %v", page)
	}
}

// TestSharedUndoKnowsWhatAnotherMarked: a replica that has not read a mark yet, or only just joins, undoes it.
func TestSharedUndoKnowsWhatAnotherMarked(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := join(t, server, nil), join(t, server, func(o *SharedOptions) { o.Poll = time.Hour })
	at := time.Now()
	mark(t, a, Tenant, "acme", at)
	id := idOf(t, a, "tenant", "acme", at)
	if _, err := b.Undo(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "undone", func() bool { return a.Stats().Marks == 0 && b.Stats().Marks == 0 })
	server.Kill()
	if _, err := b.Undo(t.Context(), id); refusal.Of(err) != refusal.StoreUnavailable {
		t.Errorf("undone without a store: %v", err)
	}
}

// TestSharedUndoSurvivesTheStore: when the store loses its memory, what was undone stays undone and what was marked
// stays marked, in whatever order replicas write what they know, and also if one of them missed the last word.
func TestSharedUndoSurvivesTheStore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		again bool // it is marked again after it was undone
		want  bool
	}{"undone": {}, "marked again": {true, true}} {
		for _, behindFirst := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", behind first ", behindFirst), func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t)
				still := func(o *SharedOptions) { o.Poll = time.Hour }
				a, behind := join(t, server, still), join(t, server, still)
				at := time.Now()
				mark(t, a, Subject, "alice", at)
				mark(t, a, Subject, "bob", at)
				if err := behind.shared.refresh(t.Context(), behind); err != nil {
					t.Fatal(err)
				}
				undo := func() {
					if _, err := a.Undo(t.Context(), idOf(t, a, "subject", "alice", at)); err != nil {
						t.Fatal(err)
					}
				}
				undo()
				if c.again {
					if err := behind.shared.refresh(t.Context(), behind); err != nil {
						t.Fatal(err)
					}
					mark(t, a, Subject, "alice", at)
				}
				server.Do("FLUSHALL")
				order := []*List{a, behind, a}
				if behindFirst {
					order = []*List{behind, a, behind}
				}
				for _, l := range order {
					if err := l.shared.refresh(t.Context(), l); err != nil {
						t.Fatal(err)
					}
				}
				old := func(subject string) *token.Claims {
					return &token.Claims{Issuer: issuer, ID: "j", Subject: subject, IssuedAt: at.UnixMilli() - 1000}
				}
				for i, l := range []*List{a, behind, join(t, server, nil)} {
					if got := revoked(l.Check(old("alice"), "k")); got != c.want {
						t.Errorf("replica %d: alice revoked %v, want %v", i, got, c.want)
					}
					if !revoked(l.Check(old("bob"), "k")) {
						t.Errorf("replica %d: bob's mark is forgotten", i)
					}
				}
			})
		}
	}
}

// TestSharedReadsOlderMarks: version 0.1.0 kept one mark for each name.
func TestSharedReadsOlderMarks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := join(t, server, nil)
	at := time.Now().UnixMilli()
	name := `["subject","` + issuer + `","alice"]`
	server.Do("HSET", "{jotgate}:revoked:records", name, fmt.Sprint(at, " "))
	server.Do("ZADD", "{jotgate}:revoked:order", server.Do("INCR", "{jotgate}:revoked:last"), name)
	redistest.Eventually(t, "it is read", func() bool { return a.Stats().Marks == 1 })
	mark(t, a, Subject, "alice", time.UnixMilli(at-60_000))
	if _, err := a.Undo(t.Context(), idOf(t, a, "subject", "alice", time.UnixMilli(at))); err != nil {
		t.Fatal(err)
	}
	late := join(t, server, nil)
	for _, l := range []*List{a, late} {
		c := &token.Claims{Issuer: issuer, ID: "j", Subject: "alice", IssuedAt: at - 61_000}
		if page, _ := l.Entries("", 10); len(page) != 1 || page[0].At != at-60_000 || !revoked(l.Check(c, "k")) {
			t.Errorf("left: %v", page)
		}
	}
	server.Do("HSET", "{jotgate}:revoked:records", `["x"]`, "0 ")
	server.Do("ZADD", "{jotgate}:revoked:order", server.Do("INCR", "{jotgate}:revoked:last"), `["x"]`)
	if err := a.shared.refresh(t.Context(), a); err == nil {
		t.Error("a name that is none of ours is read past")
	}
}

// TestSharedForgetsUndone: what was undone makes room after a day, in the store and in memory.
func TestSharedForgetsUndone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var ahead atomic.Int64
	l := join(t, server, func(o *SharedOptions) {
		o.Capacity, o.Clients = 4, 0
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	at := time.Now()
	for n := range 4 {
		mark(t, l, Subject, fmt.Sprint("s", n), at)
		if _, err := l.Undo(t.Context(), idOf(t, l, "subject", fmt.Sprint("s", n), at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Mark(t.Context(), Subject, issuer, "more", at); refusal.Of(err) != refusal.RevocationFull {
		t.Errorf("over the capacity: %v", err)
	}
	for _, name := range server.Client().HKeys(t.Context(), "{jotgate}:revoked:records").Val() {
		server.Do("ZADD", "{jotgate}:revoked:ends", 1, name) // a day later
	}
	ahead.Store(int64(keptUndone))
	mark(t, l, Subject, "more", at)
	mark(t, l, Subject, "most", at)
	if got := server.Client().HLen(t.Context(), "{jotgate}:revoked:records").Val(); got != 2 || len(l.words) != 2 {
		t.Errorf("%d entries in the store, %d in memory, want 2", got, len(l.words))
	}
}

// TestSharedMarksOfSessionsOutliveALongerLife: a mark that was set while tokens were short-lived is kept for the longer
// ones that a later configuration lets in, as soon as one replica says how long these live.
func TestSharedMarksOfSessionsOutliveALongerLife(t *testing.T) {
	t.Parallel()
	for _, longer := range []bool{false, true} {
		server := redistest.Start(t)
		// One of two is for logouts.
		small := func(o *SharedOptions) { o.Capacity, o.Clients = 2, 0 }
		first := join(t, server, small)
		at := time.Now().Add(-usualLife - keptAfterExpiry - time.Hour) // past its life at once
		if err := first.LogOut(t.Context(), Session, issuer, "a", at); err != nil {
			t.Fatal(err)
		}
		if second := join(t, server, small); longer {
			second.SetLife(48 * time.Hour)
			second.shared.sync(t.Context(), second)
		}
		// What another replica writes, which does not know yet, makes room first.
		err := first.LogOut(t.Context(), Session, issuer, "b", time.Now())
		if full := refusal.Of(err) == refusal.RevocationFull; full != longer || err != nil && !full {
			t.Errorf("longer %t: room for another: %v", longer, err)
		}
		third := join(t, server, func(o *SharedOptions) { small(o); o.Poll, o.Life = time.Hour, 48*time.Hour })
		fourth := join(t, server, small)
		fourth.SetLife(48 * time.Hour) // by a reload
		fourth.shared.sync(t.Context(), fourth)
		old := &token.Claims{Issuer: issuer, Subject: "s", Session: "a", IssuedAt: at.UnixMilli() - 1000}
		if a, b := revoked(third.Check(old, "k")), revoked(fourth.Check(old, "k")); a != longer || b != longer {
			t.Errorf("longer %t: a token of the session is revoked: %t, %t", longer, a, b)
		}
	}
}
