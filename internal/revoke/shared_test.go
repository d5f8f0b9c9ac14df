package revoke

import (
	"context"
	"fmt"
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

// TestSharedIsListedAndKept: every replica lists the same, the latest mark alone, and none undoes one.
func TestSharedIsListedAndKept(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := join(t, server, nil), join(t, server, nil)
	now := time.Now()
	revokeShared(t, a, "one", "web")
	for _, at := range []time.Time{now, now.Add(time.Second), now.Add(-time.Second)} {
		mark(t, a, Subject, "alice", at)
	}
	redistest.Eventually(t, "the other replica has them", func() bool {
		return b.Stats().Marks == 1 && b.Stats().Tokens == 1
	})
	latest := now.Add(time.Second).UnixMilli()
	for _, l := range []*List{a, b} {
		redistest.Eventually(t, "the latest mark is listed", func() bool {
			page, more := l.Entries("", 10)
			return len(page) == 2 && !more && (page[0].At == latest || page[1].At == latest)
		})
		id := idOf(t, l, "subject", "alice", time.Time{})
		if _, err := l.Undo(context.Background(), id); refusal.Of(err) != refusal.RevocationKept {
			t.Errorf("undo: %v", err)
		}
	}
	peek, err := Peek(t.Context(), a.shared.o)
	if err != nil {
		t.Fatal(err)
	}
	if page, _ := peek.Entries("", 10); len(page) != 2 {
		t.Errorf("read once: %v", page)
	}
}
