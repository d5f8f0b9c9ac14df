package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/refusal"
)

var elsewhere = []Demand{{What: "another listener"}}

// TestAnAbsentEntryHidesItsPathsFromBroaderOnes: what is not here is not found, and no broader entry answers for it, in
// no spelling of the path.
func TestAnAbsentEntryHidesItsPathsFromBroaderOnes(t *testing.T) {
	t.Parallel()
	table := mustTable(t,
		row(t, "* - /", 0),
		row(t, "* - /files/", DoubleSlash),
		absent(row(t, "* - /admin/", 0)),
		absent(row(t, "POST - /both", 0)),
		row(t, "GET - /both", 0),
		row(t, "* - /admin/health", 0),
		absent(row(t, "* {t}.internal /", 0)),
		row(t, "* - /same", 0),
		absent(row(t, "* - /same", 0)),
	)
	for _, c := range []struct{ method, host, uri, want string }{
		{"GET", "a", "/x", "* - /"},
		{"GET", "a", "/admin/x", "route_not_found"},
		{"PROPFIND", "a", "/admin/x", "route_not_found"},
		{"GET", "a", "/admin/health", "* - /admin/health"},
		{"GET", "a", "/both", "GET - /both"},
		{"POST", "a", "/both", "method_not_allowed GET"},
		{"GET", "a", "/same", "* - /same"},
		{"GET", "a.internal", "/x", "route_not_found"},
		{"GET", "a.internal", "/both", "route_not_found"},
		// Another reading belongs to a route that is elsewhere.
		{"GET", "a", "/Admin/x", "path_ambiguous"},
		{"GET", "a", "/admin", "path_ambiguous"},
		{"GET", "a", "/files//admin/x", "* - /files/"},
		{"GET", "a", "//admin/x", "path_ambiguous"},
		{"POST", "a", "/both/", "path_ambiguous"},
		{"GET", "a", "/both/", "* - /"},
		{"GET", "a", "/admin/x;y", "path_ambiguous"},
	} {
		if got := ask(table, c.method, c.host, c.uri); got != c.want {
			t.Errorf("%s %s%s: got %q, want %q", c.method, c.host, c.uri, got, c.want)
		}
	}
	var target Target
	if err := target.Parse("/admin/x"); err != nil {
		t.Fatal(err)
	}
	if got := table.Explain("a", "GET", &target)[2].Verdict; got != NotHere {
		t.Errorf("the verdict is %q", got)
	}
}

func absent(e Entry[string]) Entry[string] {
	e.Absent, e.Asks = true, slices.Concat(e.Asks, elsewhere)
	return e
}

// TestAnAbsentEntryOpensNothing: with some entries absent a request is answered by the entry that would answer it if
// all were here, or it is refused.
func TestAnAbsentEntryOpensNothing(t *testing.T) {
	t.Parallel()
	chosen, hidden := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var entries []Entry[int]
		for range rapid.IntRange(2, 12).Draw(t, "rules") {
			r := drawRule(t)
			r.path = strings.ReplaceAll(r.path, "b", rapid.SampledFrom([]string{"b", "B"}).Draw(t, "letter"))
			more := append(slices.Clone(entries), r.entry(t, len(entries)))
			if _, conflicts := NewTable(more); len(conflicts) == 0 {
				entries = more
			}
		}
		all, conflicts := NewTable(entries)
		if len(conflicts) > 0 {
			t.Fatal(conflicts)
		}
		for i := range entries {
			if rapid.Bool().Draw(t, fmt.Sprint("absent", i)) {
				entries[i].Absent, entries[i].Asks = true, elsewhere
			}
		}
		some, conflicts := NewTable(entries)
		if len(conflicts) > 0 {
			t.Fatal(conflicts)
		}
		for range 16 {
			host := rapid.SampledFrom(everyHost).Draw(t, "host")
			method := rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")
			path := drawPath(t)
			var target Target
			if err := target.Parse(path); err != nil {
				t.Fatal(err)
			}
			var before, after Match[int]
			_ = all.Match(host, method, &target, &before)
			err := some.Match(host, method, &target, &after)
			sameStory(t, some, host, method, &target, after.Entry)
			switch {
			case after.Entry >= 0:
				chosen++
				if entries[after.Entry].Absent || after.Entry != before.Entry {
					t.Fatalf("%s %s%s: %d, it was %d", method, host, path, after.Entry, before.Entry)
				}
			case before.Entry >= 0:
				hidden++
				if r := refusal.Of(err); r != refusal.RouteNotFound && r != refusal.PathAmbiguous && r != refusal.MethodNotAllowed {
					t.Fatal(err)
				}
			}
		}
	})
	if chosen < 100 || hidden < 100 {
		t.Errorf("%d requests were answered, %d were not", chosen, hidden)
	}
}
