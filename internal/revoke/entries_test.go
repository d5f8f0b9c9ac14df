package revoke

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

func mark(t *testing.T, l *List, kind Kind, value string, at time.Time) {
	t.Helper()
	if err := l.Mark(context.Background(), kind, issuer, value, at); err != nil {
		t.Fatal(err)
	}
}

// idOf returns the id of the only entry like this.
func idOf(t *testing.T, l *List, kind, value string, at time.Time) string {
	t.Helper()
	page, _ := l.Entries("", 1000)
	id := ""
	for _, e := range page {
		if e.Kind == kind && e.Value == value && (at.IsZero() || e.At == at.UnixMilli()) {
			if id != "" {
				t.Fatalf("%s %s is there twice", kind, value)
			}
			id = e.ID
		}
	}
	if id == "" {
		t.Fatalf("%s %s at %v is not in %v", kind, value, at, page)
	}
	return id
}

// TestUndoLeavesTheLatestOther: each mark is an entry of its own, in whatever order they came, also after a restart and
// a compaction.
func TestUndoLeavesTheLatestOther(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 100, 1, c)
	defer func() { l.Close() }()
	at := func(hours int) time.Time { return c.time().Add(time.Duration(hours) * time.Hour) }
	for _, hours := range []int{2, 3, 1, 3} {
		mark(t, l, Subject, "alice", at(hours))
	}
	mark(t, l, Subject, "bob", at(3))
	if s := l.Stats(); s.Marks != 4 {
		t.Fatalf("%d marks, want 4", s.Marks)
	}
	refused := func(subject string, hours int) bool {
		issued := at(hours).Add(-time.Second).UnixMilli()
		return revoked(l.Check(&token.Claims{Issuer: issuer, ID: "j", Subject: subject, IssuedAt: issued}, "k"))
	}
	again := func() {
		l.write.Lock()
		if err := l.compact(); err != nil {
			t.Fatal(err)
		}
		l.write.Unlock()
		l.Close()
		l = open(t, path, 100, 1, c)
	}
	for _, undone := range []struct{ hours, left int }{{2, 3}, {3, 1}, {1, 0}} {
		id := idOf(t, l, "subject", "alice", at(undone.hours))
		e, err := l.Undo(context.Background(), id)
		if err != nil || e.Value != "alice" || e.At != at(undone.hours).UnixMilli() {
			t.Fatalf("undo: %+v, %v", e, err)
		}
		for _, restart := range []func(){func() {}, func() { l.Close(); l = open(t, path, 100, 1, c) }, again} {
			restart()
			for hours := 1; hours <= 3; hours++ {
				if got, want := refused("alice", hours), hours <= undone.left; got != want {
					t.Errorf("without %d: issued before %d: refused %v, want %v", undone.hours, hours, got, want)
				}
			}
			if !refused("bob", 3) {
				t.Error("another subject's mark went, too")
			}
			if _, err := l.Undo(context.Background(), id); refusal.Of(err) != refusal.RevocationUnknown {
				t.Errorf("undone twice: %v", err)
			}
		}
	}
	mark(t, l, Subject, "alice", at(2)) // what was undone can be marked again
	if !refused("alice", 2) {
		t.Error("a mark that was undone before does not count")
	}
}

// TestUndoNeverATokenNorWhatIsNotThere also tries ids that are none.
func TestUndoNeverATokenNorWhatIsNotThere(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "revoked"), newClock()
	l := open(t, path, 100, 1, c)
	revoke(t, l, "one", "", c)
	id := idOf(t, l, "token", "one", time.Time{})
	if _, err := l.Undo(context.Background(), id); refusal.Of(err) != refusal.RevocationKept {
		t.Errorf("a token: %v", err)
	}
	if !revoked(l.Check(claims("one"), "k")) {
		t.Error("the token opens again")
	}
	for _, id := range []string{"", "x", "../..", id[1:], id + "0", "00000000000000000000000000000000"} {
		if _, err := l.Undo(context.Background(), id); refusal.Of(err) != refusal.RevocationUnknown {
			t.Errorf("%q: %v", id, err)
		}
	}
	mark(t, l, Issuer, "", c.time())
	id = idOf(t, l, "issuer", "", c.time())
	l.Close()
	if _, err := l.Undo(context.Background(), id); refusal.Of(err) != refusal.StoreUnavailable {
		t.Errorf("what the disk did not take was undone: %v", err)
	}
	if !revoked(l.Check(&token.Claims{Issuer: issuer, ID: "j"}, "k")) {
		t.Error("the mark went although its end is not durable")
	}
}

// TestSearch: what is searched for stands anywhere in an entry, whatever its case, and the pages are those of the hits.
func TestSearch(t *testing.T) {
	t.Parallel()
	l, err := Open(Options{File: filepath.Join(t.TempDir(), "revoked"), Capacity: 100, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	at := time.Now()
	for n := range 7 {
		mark(t, l, Subject, fmt.Sprint("Alice-", n), at)
		mark(t, l, Tenant, fmt.Sprint("acme-", n), at)
	}
	id := idOf(t, l, "tenant", "acme-3", at)
	for text, want := range map[string]int{"": 14, "alice": 7, "TENANT": 7, "-3": 2, id: 1, issuer: 14, "mallory": 0} {
		seen, after := 0, ""
		for more := true; more; {
			var page []Entry
			page, more = l.Search(text, after, 3)
			if more && len(page) != 3 {
				t.Fatalf("%q: a page of %d with more behind", text, len(page))
			}
			for _, e := range page {
				if seen++; e.ID <= after {
					t.Errorf("%q: %s behind %s", text, e.ID, after)
				}
				after = e.ID
			}
		}
		if seen != want {
			t.Errorf("%q: %d entries, want %d", text, seen, want)
		}
	}
}

// TestEntriesArePaged walks the pages, and leaves out what ended.
func TestEntriesArePaged(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := open(t, filepath.Join(t.TempDir(), "revoked"), 1000, 1, c)
	defer l.Close()
	for i := range 23 {
		revoke(t, l, fmt.Sprint("t", i), "", c)
		mark(t, l, Subject, fmt.Sprint("s", i), c.time())
	}
	walk := func() (seen map[string]bool, pages int) {
		seen = map[string]bool{}
		for after := ""; ; pages++ {
			page, more := l.Entries(after, 10)
			if len(page) > 10 || more && len(page) != 10 {
				t.Fatalf("a page of %d", len(page))
			}
			for _, e := range page {
				if seen[e.ID] || e.ID <= after {
					t.Fatalf("%+v comes twice, or out of order", e)
				}
				seen[e.ID] = true
				after = e.ID
			}
			if !more {
				return seen, pages + 1
			}
		}
	}
	if seen, pages := walk(); len(seen) != 46 || pages != 5 {
		t.Errorf("%d entries on %d pages, want 46 on 5", len(seen), pages)
	}
	c.step(time.Hour + keptAfterExpiry)
	if seen, _ := walk(); len(seen) != 23 {
		t.Errorf("%d entries after the tokens' end, want 23", len(seen))
	}
}
