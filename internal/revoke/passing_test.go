package revoke

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A mark of a session revokes its tokens, and those that were made from them; it is forgotten when all of them have
// ended, and not before, also by a process that reads the file later.
func TestMarksOfSessionsPass(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	o := Options{
		File: filepath.Join(t.TempDir(), "revoked"), Capacity: 8, Clients: 1, Clock: func() time.Time { return now },
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	l.SetLife(48 * time.Hour)
	ctx := context.Background()
	for _, m := range []struct {
		kind  Kind
		value string
	}{{Session, "s"}, {LoggedOut, "bob"}} {
		if err := l.LogOut(ctx, m.kind, "https://op.test", m.value, now); err != nil {
			t.Fatal(err)
		}
	}
	issued := now.Add(-time.Minute).UnixMilli()
	original := token.Ancestor{Issuer: "https://op.test", Subject: "alice", Session: "s", ID: "1", IssuedAt: issued}
	revoked := func(c *token.Claims) bool { return refusal.Of(l.Check(c, "")) == refusal.TokenRevoked }
	for name, c := range map[string]struct {
		claims token.Claims
		want   bool
	}{
		"of the session":            {token.Claims{Issuer: "https://op.test", Session: "s", IssuedAt: issued}, true},
		"of another session":        {token.Claims{Issuer: "https://op.test", Session: "t", IssuedAt: issued}, false},
		"of another issuer":         {token.Claims{Issuer: "https://other.test", Session: "s", IssuedAt: issued}, false},
		"issued later":              {token.Claims{Issuer: "https://op.test", Session: "s", IssuedAt: now.UnixMilli()}, false},
		"of the subject":            {token.Claims{Issuer: "https://op.test", Subject: "bob", IssuedAt: issued}, true},
		"of a subject named like s": {token.Claims{Issuer: "https://op.test", Subject: "s", IssuedAt: issued}, false},
		"exchanged": {
			token.Claims{Issuer: "https://gate.test", IssuedAt: now.UnixMilli() + 1000, Ancestors: []token.Ancestor{original}},
			true,
		},
	} {
		if got := revoked(&c.claims); got != c.want {
			t.Errorf("%s: revoked %t, want %t", name, got, c.want)
		}
	}
	session := &token.Claims{Issuer: "https://op.test", Session: "s", IssuedAt: issued}
	reopen := func() {
		if err := l.compact(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = Open(o); err != nil {
			t.Fatal(err)
		}
		l.SetLife(48 * time.Hour)
	}
	now = now.Add(48 * time.Hour)
	if reopen(); !revoked(session) {
		t.Error("two days later, when its last token ends, the mark is gone")
	}
	now = now.Add(keptAfterExpiry + time.Second)
	if reopen(); revoked(session) || l.Stats().Marks != 0 {
		t.Errorf("later still: %+v", l.Stats())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Logouts take half of the list at most, so that there is room for what an operator revokes.
func TestLogoutsTakeHalfOfTheList(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l, err := Open(Options{
		File: filepath.Join(t.TempDir(), "revoked"), Capacity: 8, Clients: 1, Clock: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := range 5 {
		err := l.LogOut(context.Background(), Session, "https://op.test", string(rune('a'+n)), now)
		if full := refusal.Of(err) == refusal.RevocationFull; full != (n == 4) {
			t.Errorf("logout %d: %v", n, err)
		}
	}
	if err := l.Mark(context.Background(), Subject, "https://op.test", "alice", now); err != nil {
		t.Errorf("the operator's: %v", err)
	}
}
