package revoke

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

const issuer = "https://gate.example.com"

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func open(t *testing.T, path string, capacity, clients int, c *clock) *List {
	t.Helper()
	l, err := Open(Options{File: path, Capacity: capacity, Clients: clients, Clock: c.time})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func claims(id string) *token.Claims { return &token.Claims{Issuer: issuer, ID: id, Subject: "alice"} }

func revoke(t *testing.T, l *List, id, client string, c *clock) {
	t.Helper()
	err := l.Revoke(context.Background(),
		Token{Issuer: issuer, ID: id, Client: client, Expiry: c.time().Add(time.Hour).UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
}

func revoked(err error) bool { return refusal.Of(err) == refusal.TokenRevoked }

func TestRevokedAtOnceAndAfterRestart(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 10, 1, c)
	if err := l.Check(claims("a"), "k"); err != nil {
		t.Fatalf("before: %v", err)
	}
	revoke(t, l, "a", "web", c)
	revoke(t, l, "a", "web", c) // twice is once
	for _, stage := range []string{"at once", "after a restart"} {
		if !revoked(l.Check(claims("a"), "k")) {
			t.Errorf("%s: a is let through", stage)
		}
		if err := l.Check(claims("b"), "k"); err != nil {
			t.Errorf("%s: b: %v", stage, err)
		}
		other := claims("a")
		other.Issuer = "https://other.example.com"
		if err := l.Check(other, "k"); err != nil {
			t.Errorf("%s: another issuer's a: %v", stage, err)
		}
		if got := l.Stats(); got != (Stats{Tokens: 1, Capacity: 10}) {
			t.Errorf("%s: stats %+v", stage, got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, path, 10, 1, c)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("journal: %v, %v", info.Mode(), err)
	}
	_ = l.Close()
	if err := l.Revoke(context.Background(), Token{Issuer: issuer, ID: "z"}); err == nil {
		t.Error("a closed list took a revocation")
	}
}

// TestRevokedAgainForLonger: the first revocation may know an earlier end.
func TestRevokedAgainForLonger(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 9, 2, c)
	for _, expiry := range []int64{1, c.time().Add(time.Hour).UnixMilli(), 2} {
		if err := l.Revoke(context.Background(), Token{Issuer: issuer, ID: "a", Client: "web", Expiry: expiry}); err != nil {
			t.Fatal(err)
		}
	}
	l.write.Lock()
	err := l.compact()
	l.write.Unlock()
	if err != nil || !revoked(l.Check(claims("a"), "k")) || l.Stats().Tokens != 1 {
		t.Errorf("after compaction: %v, %+v", err, l.Stats())
	}
	_ = l.Close()
	l = open(t, path, 9, 2, c)
	defer l.Close()
	if !revoked(l.Check(claims("a"), "k")) {
		t.Error("forgotten by a restart")
	}
}

// TestMarkOnATenantReachesPermissions: what opens something there must not become a younger token.
func TestMarkOnATenantReachesPermissions(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := open(t, filepath.Join(t.TempDir(), "revoked"), 9, 1, c)
	defer l.Close()
	if err := l.Mark(context.Background(), Tenant, issuer, "acme", c.time()); err != nil {
		t.Fatal(err)
	}
	read := []string{"READ"}
	for _, k := range []struct {
		name        string
		permissions token.Permissions
		issued      time.Duration
		want        bool
	}{
		{"names it", token.Permissions{{Tenant: "acme", AllowedActions: read}}, -time.Minute, true},
		{"any", token.Permissions{{Tenant: "*", AllowedActions: read}}, -time.Minute, true},
		{"another", token.Permissions{{Tenant: "globex", AllowedActions: read}}, -time.Minute, false},
		{"nothing there", token.Permissions{{Tenant: "acme"}, {Tenant: "*", AllowedActions: read}}, -time.Minute, false},
		{"younger", token.Permissions{{Tenant: "acme", AllowedActions: read}}, time.Second, false},
		{"none", nil, -time.Minute, false},
	} {
		claims := token.Claims{Issuer: issuer, Permissions: k.permissions, IssuedAt: c.time().Add(k.issued).UnixMilli()}
		if got := revoked(l.CheckPermissions(&claims)); got != k.want {
			t.Errorf("%s: %v, want %v", k.name, got, k.want)
		}
	}
}

func TestMarksRevokeWhatWasIssuedBefore(t *testing.T) {
	t.Parallel()
	c := newClock()
	path := filepath.Join(t.TempDir(), "revoked")
	mark := time.UnixMilli(1_800_000_000_500)
	old := token.Claims{
		Issuer: issuer, ID: "old", Subject: "alice", ClientID: "web", Grantor: "shop",
		IssuedAt: 1_800_000_000_000,
	}
	young := old
	young.IssuedAt = 1_800_000_001_000
	undated := old
	undated.IssuedAt = 0
	for _, m := range []struct {
		kind  Kind
		value string
	}{{Issuer, ""}, {Subject, "alice"}, {Client, "web"}, {Client, "shop"}, {KeyID, "k1"}, {Tenant, "acme"}} {
		l := open(t, path, 10, 1, c)
		check := func(claims token.Claims) error {
			return errors.Join(l.Check(&claims, "k1"), l.CheckTenant(&claims, "acme"))
		}
		if err := check(old); err != nil {
			t.Fatalf("%s: before the mark: %v", m.kind, err)
		}
		ctx := context.Background()
		if err := l.Mark(ctx, m.kind, issuer, m.value, mark); err != nil {
			t.Fatal(err)
		}
		if err := l.Mark(ctx, m.kind, issuer, m.value, mark.Add(-time.Hour)); err != nil { // never back
			t.Fatal(err)
		}
		if err := errors.Join(l.Close(), func() error { l = open(t, path, 10, 1, c); return nil }()); err != nil {
			t.Fatal(err)
		}
		if !revoked(check(old)) || !revoked(check(undated)) {
			t.Errorf("%s: old %v, undated %v", m.kind, check(old), check(undated))
		}
		stranger := old
		stranger.Issuer = "https://other.example.com"
		if err := errors.Join(check(young), check(stranger)); err != nil {
			t.Errorf("%s: young or stranger: %v", m.kind, err)
		}
		_ = l.Close()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullIsRefusedAndNothingIsForgottenWhileLive(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 9, 2, c) // two clients and the operator: three each, one of them for replayed codes
	defer l.Close()
	revoke(t, l, "a1", "a", c)
	revoke(t, l, "a2", "a", c)
	expiry := c.time().Add(time.Hour).UnixMilli()
	if err := l.Revoke(context.Background(),
		Token{Issuer: issuer, ID: "a3", Client: "a", Expiry: expiry}); refusal.Of(err) != refusal.RevocationFull {
		t.Fatalf("over the share: %v", err)
	}
	revoke(t, l, "b1", "b", c) // a cannot crowd out b
	c.step(time.Hour + keptAfterExpiry - time.Second)
	if err := l.Revoke(context.Background(),
		Token{Issuer: issuer, ID: "a3", Client: "a", Expiry: expiry}); refusal.Of(err) != refusal.RevocationFull {
		t.Fatalf("too early after the end: %v", err)
	}
	for _, id := range []string{"a1", "a2", "b1"} {
		if !revoked(l.Check(claims(id), "k")) {
			t.Errorf("%s was forgotten", id)
		}
	}
	c.step(time.Second)
	revoke(t, l, "a3", "a", c) // the ended ones made room
	if got := l.Stats().Tokens; got != 1 {
		t.Errorf("%d tokens, want 1", got)
	}
}

// TestReplayedCodesHaveAShareOfTheirOwn: however many codes are presented again, a client can revoke what it means to,
// and so can the others; and it stays so through a restart.
func TestReplayedCodesHaveAShareOfTheirOwn(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 80, 1, c) // 40 for the client, 10 of them for replayed codes
	end := c.time().Add(time.Hour).UnixMilli()
	revoke := func(id string, replayed bool) error {
		return l.Revoke(context.Background(), Token{Issuer: issuer, ID: id, Client: "web", Expiry: end, Replayed: replayed})
	}
	for i := range 200 {
		err := revoke(fmt.Sprint("replayed-", i), true)
		if i < 10 && err != nil || i >= 10 && refusal.Of(err) != refusal.RevocationFull {
			t.Fatalf("replayed code %d: %v", i, err)
		}
	}
	_ = l.Close()
	l = open(t, path, 80, 1, c)
	defer func() { _ = l.Close() }()
	if err := revoke("replayed-10", true); refusal.Of(err) != refusal.RevocationFull {
		t.Errorf("after a restart: %v", err)
	}
	for i := range 30 {
		if err := revoke(fmt.Sprint("own-", i), false); err != nil {
			t.Fatalf("revocation %d: %v", i, err)
		}
	}
	if !revoked(l.Check(claims("replayed-9"), "k")) || !revoked(l.Check(claims("own-29"), "k")) {
		t.Error("not all are kept")
	}
	c.step(time.Hour + keptAfterExpiry) // as long as the token could live, and then there is room
	if err := revoke("replayed-11", true); err != nil {
		t.Errorf("after the tokens' end: %v", err)
	}
}

// TestDiskFailureIsUnavailable: what the disk does not keep is not answered as revoked, nor as a fault of ours.
func TestDiskFailureIsUnavailable(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := open(t, filepath.Join(t.TempDir(), "revoked"), 9, 1, c)
	defer func() { _ = l.Close() }()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	good := l.file.file
	l.file.file = full
	err = l.Revoke(context.Background(),
		Token{Issuer: issuer, ID: "a", Client: "web", Expiry: c.time().Add(time.Hour).UnixMilli()})
	if refusal.Of(err) != refusal.StoreUnavailable || refusal.Of(err).Status() != 503 {
		t.Errorf("on a full disk: %v", err)
	}
	if revoked(l.Check(claims("a"), "k")) {
		t.Error("what is not kept counts as revoked")
	}
	l.file.file = good
	_ = full.Close()
}

func TestTornTailIsCutOff(t *testing.T) {
	t.Parallel()
	c := newClock()
	whole := filepath.Join(t.TempDir(), "revoked")
	l := open(t, whole, 10, 1, c)
	revoke(t, l, "a", "web", c)
	before, _ := os.ReadFile(whole)
	revoke(t, l, "b", "web", c)
	_ = l.Close()
	all, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(before); cut < len(all); cut++ {
		path := filepath.Join(t.TempDir(), "revoked")
		if err := os.WriteFile(path, all[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		var torn int64
		l, err := Open(Options{File: path, Capacity: 10, Clients: 1, Clock: c.time, Torn: func(n int64) { torn = n }})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if !revoked(l.Check(claims("a"), "k")) || l.Check(claims("b"), "k") != nil || torn != int64(cut-len(before)) {
			t.Fatalf("cut at %d: a %v, b %v, torn %d", cut, l.Check(claims("a"), "k"), l.Check(claims("b"), "k"), torn)
		}
		revoke(t, l, "c", "web", c)
		_ = l.Close()
		l = open(t, path, 10, 1, c)
		if !revoked(l.Check(claims("a"), "k")) || !revoked(l.Check(claims("c"), "k")) {
			t.Fatalf("cut at %d: what came after the tear is lost", cut)
		}
		_ = l.Close()
	}
}

func TestDamageIsAnError(t *testing.T) {
	t.Parallel()
	c := newClock()
	whole := filepath.Join(t.TempDir(), "revoked")
	l := open(t, whole, 10, 1, c)
	revoke(t, l, "a", "web", c)
	revoke(t, l, "b", "web", c)
	_ = l.Close()
	all, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Replace(all, []byte(`"value":"a"`), []byte(`"value":"x"`), 1)
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"a changed record":      {flipped, "line 2: checksum does not match"},
		"another file":          {[]byte("hello\n"), "line 1: not a journal of revocations of version 1"},
		"a file without a line": {[]byte("precious"), "line 1: not a journal of revocations"},
	} {
		path := filepath.Join(t.TempDir(), "revoked")
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Options{File: path, Capacity: 10, Clock: time.Now})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if left, _ := os.ReadFile(path); !bytes.Equal(left, c.content) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 10, 1, c)
	defer l.Close()
	if _, err := Open(Options{File: path, Capacity: 10, Clock: c.time}); !errors.Is(err, ErrHeld) {
		t.Errorf("second open: %v", err)
	}
}

func TestCompactionKeepsWhatLives(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 100_000, 1, c)
	if err := l.Mark(context.Background(), Subject, issuer, "bob", c.time()); err != nil {
		t.Fatal(err)
	}
	for i := range 1500 {
		revoke(t, l, fmt.Sprint("short-", i), "", c)
	}
	c.step(2 * time.Hour)
	for i := range 100 {
		revoke(t, l, fmt.Sprint("long-", i), "", c)
	}
	l.write.Lock()
	err := l.compact()
	l.write.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	revoke(t, l, "after", "", c)
	_ = l.Close()
	data, _ := os.ReadFile(path)
	if lines := bytes.Count(data, []byte("\n")); lines != 1+1+100+1 {
		t.Errorf("%d lines, want 103", lines)
	}
	l = open(t, path, 100_000, 1, c)
	defer l.Close()
	bob := &token.Claims{Issuer: issuer, Subject: "bob", IssuedAt: 1}
	if !revoked(l.Check(claims("long-99"), "k")) || !revoked(l.Check(claims("after"), "k")) ||
		!revoked(l.Check(bob, "k")) {
		t.Error("compaction lost a live entry")
	}
}

// TestKill9LosesNoAnswered revokes in a process of its own, which says each one after it was answered, kills it, and
// looks for every one that was said.
func TestKill9LosesNoAnswered(t *testing.T) {
	if path := os.Getenv("REVOKE_CHILD"); path != "" {
		child(path)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "revoked")
	said := 0
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKill9LosesNoAnswered$")
		cmd.Env = append(os.Environ(), "REVOKE_CHILD="+path, fmt.Sprint("REVOKE_FIRST=", said))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 20+10*round && lines.Scan(); n++ {
			if want := fmt.Sprint("id-", said); lines.Text() != want {
				t.Fatalf("child said %q, want %q", lines.Text(), want)
			}
			said++
		}
		if err := cmd.Process.Kill(); err != nil { // SIGKILL
			t.Fatal(err)
		}
		for lines.Scan() { // answered before the kill, read after it
			if strings.HasPrefix(lines.Text(), "id-") {
				said++
			}
		}
		_ = cmd.Wait() // killed
		l, err := Open(Options{File: path, Capacity: 1 << 20, Clock: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		for i := range said {
			if !revoked(l.Check(claims(fmt.Sprint("id-", i)), "k")) {
				t.Fatalf("round %d: id-%d of %d was answered and is gone", round, i, said)
			}
		}
		_ = l.Close()
	}
	if said < 200 {
		t.Errorf("only %d revocations were answered", said)
	}
}

func child(path string) {
	l, err := Open(Options{File: path, Capacity: 1 << 20, Clock: time.Now})
	if err != nil {
		fmt.Println(err)
		return
	}
	var first int
	_, _ = fmt.Sscan(os.Getenv("REVOKE_FIRST"), &first)
	for i := first; ; i++ {
		id := fmt.Sprint("id-", i)
		if err := l.Revoke(context.Background(), Token{Issuer: issuer, ID: id, Expiry: 1 << 60}); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(id)
	}
}

func TestConcurrentRevocations(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 1000, 1, c)
	defer l.Close()
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("%d-%d", g, i)
				err := l.Revoke(context.Background(), Token{Issuer: issuer, ID: id, Client: "", Expiry: 1 << 60})
				if err != nil || !revoked(l.Check(claims(id), "k")) {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	group.Wait()
	if got := l.Stats().Tokens; got != 160 {
		t.Errorf("%d tokens, want 160", got)
	}
}

func BenchmarkCheck(b *testing.B) {
	c := newClock()
	l, err := Open(Options{File: filepath.Join(b.TempDir(), "revoked"), Capacity: 1 << 17, Clock: c.time})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for _, n := range []int{0, 1, 1000} {
		for i := l.Stats().Tokens; i < n; i++ {
			if err := l.Revoke(context.Background(), Token{
				Issuer: issuer, ID: fmt.Sprint(i), Client: "",
				Expiry: 1 << 60,
			}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprint("entries=", n), func(b *testing.B) {
			b.ReportAllocs()
			live := claims("live")
			for b.Loop() {
				if err := l.Check(live, "k"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAncestors: a token ends with any that it was exchanged from, whatever would revoke that one. It is not
// parallel: it counts allocations.
func TestAncestors(t *testing.T) {
	c := newClock()
	born := c.time().Add(-time.Hour).UnixMilli()
	exchanged := func() *token.Claims {
		x := claims("c")
		x.IssuedAt, x.ClientID, x.Subject, x.Grantor = c.time().UnixMilli(), "third", "alice", "shop"
		x.Permissions = token.Permissions{{Tenant: "acme", AllowedActions: []string{"READ"}}}
		x.Ancestors = []token.Ancestor{
			{ID: "b", ClientID: "second", KeyID: "new", IssuedAt: c.time().UnixMilli()},
			{ID: "a", ClientID: "first", KeyID: "old", IssuedAt: born},
			{Issuer: "https://b", Subject: "bob", ID: "z", ClientID: "their-web", Grantor: "their-shop", IssuedAt: born},
		}
		return x
	}
	within := c.time().Add(-time.Minute) // after the first was issued, and before the others
	for name, w := range map[string]struct {
		revoke  func(l *List) error
		revoked bool
	}{
		"nothing":        {func(*List) error { return nil }, false},
		"itself":         {func(l *List) error { return l.Revoke(t.Context(), Token{Issuer: issuer, ID: "c"}) }, true},
		"its parent":     {func(l *List) error { return l.Revoke(t.Context(), Token{Issuer: issuer, ID: "b"}) }, true},
		"its root":       {func(l *List) error { return l.Revoke(t.Context(), Token{Issuer: issuer, ID: "a"}) }, true},
		"another":        {func(l *List) error { return l.Revoke(t.Context(), Token{Issuer: issuer, ID: "d"}) }, false},
		"another's root": {func(l *List) error { return l.Revoke(t.Context(), Token{Issuer: "https://b", ID: "a"}) }, false},
		"the subject":    {func(l *List) error { return l.Mark(t.Context(), Subject, issuer, "alice", within) }, true},
		"the grantor":    {func(l *List) error { return l.Mark(t.Context(), Client, issuer, "shop", within) }, true},
		"the first":      {func(l *List) error { return l.Mark(t.Context(), Client, issuer, "first", within) }, true},
		"the second":     {func(l *List) error { return l.Mark(t.Context(), Client, issuer, "second", within) }, false},
		"another issuer's grantor": {
			func(l *List) error { return l.Mark(t.Context(), Client, "https://b", "their-shop", within) },
			true,
		},
		"the old key": {func(l *List) error { return l.Mark(t.Context(), KeyID, issuer, "old", within) }, true},
		"the new key": {func(l *List) error { return l.Mark(t.Context(), KeyID, issuer, "new", within) }, false},
		"the issuer":  {func(l *List) error { return l.Mark(t.Context(), Issuer, issuer, "", within) }, true},
		"the tenant":  {func(l *List) error { return l.Mark(t.Context(), Tenant, issuer, "acme", within) }, true},
		"a tenant before": {
			func(l *List) error { return l.Mark(t.Context(), Tenant, issuer, "acme", time.UnixMilli(born)) },
			false,
		},
	} {
		l := open(t, filepath.Join(t.TempDir(), "revoked"), 9, 1, c)
		if err := w.revoke(l); err != nil {
			t.Fatal(err)
		}
		at, through := l.Check(exchanged(), "new"), l.CheckTenant(exchanged(), "acme")
		if got := revoked(at) || revoked(through); got != w.revoked {
			t.Errorf("%s: %v, %v", name, at, through)
		}
		if err := l.CheckPermissions(exchanged()); revoked(err) != revoked(through) {
			t.Errorf("%s: permissions: %v", name, err)
		}

		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, filepath.Join(t.TempDir(), "revoked"), 9, 1, c)
	defer l.Close()
	revoke(t, l, "z", "web", c)
	x := exchanged()
	if n := testing.AllocsPerRun(100, func() { _ = l.Check(x, "new") }); n > 0 {
		t.Errorf("a good exchanged token: %v allocations", n)
	}
}
