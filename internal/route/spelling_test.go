package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/refusal"
)

// asking is an entry in one line: a pattern, what it allows, and what it asks for.
type asking struct {
	methods string // "" or separated by commas
	host    string
	path    string
	allow   Oddity
	asks    []Demand
}

func (a asking) entry(t interface{ Fatal(...any) }) Entry[int] {
	e := Entry[int]{Host: mustHost(t, a.host), Path: mustPath(t, a.path), Allow: a.allow, Asks: a.asks}
	if a.methods != "" {
		e.Methods = strings.Split(a.methods, ",")
	}
	return e
}

func tableOf(t interface{ Fatal(...any) }, rows ...asking) *Table[int] {
	var entries []Entry[int]
	for i, a := range rows {
		e := a.entry(t)
		e.Value = i
		entries = append(entries, e)
	}
	table, conflicts := NewTable(entries)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	return table
}

var (
	open   []Demand
	token  = []Demand{{What: "token"}}
	read   = []Demand{{What: "token"}, {"READ", 2}}
	manage = []Demand{{What: "token"}, {"MANAGE", 2}}
	fixed  = []Demand{{What: "token"}, {"READ on acme", 0}}
)

// The request that each spelling makes, and what the gate says. A dash is a refusal as ambiguous.
func TestASpellingOfAStricterRouteDoesNotPassByALooserOne(t *testing.T) {
	t.Parallel()
	settings := []asking{{path: "/t/{tenant}/", asks: read}, {path: "/t/{tenant}/settings", asks: manage}}
	panel := []asking{{path: "/"}, {path: "/admin/", asks: token}}
	for _, c := range []struct {
		name  string
		rows  []asking
		paths map[string]string // a path, and the entry or "-"
	}{
		{"a stricter route in a looser tree", settings, map[string]string{
			"/t/acme/settings": "1", "/t/acme/settings/": "-", "/t/acme/SETTINGS": "-", "/t/acme/Settings/": "-",
			"/t/acme/setting%73/": "-",
			"/t/acme/%53ettings":  "-", "/t/ACME/settings": "1", "/t/acme/settings/x": "0", "/t/acme/setting": "0",
			"/t/acme/":           "0",
			"/t/acme/SETTINGS/x": "0", "/t/Acme/orders/7": "0", "/T/acme/settings": "404",
		}},
		{"a guarded tree beside a public one", panel, map[string]string{
			"/admin/panel": "1", "/ADMIN/panel": "-", "/Admin/": "-", "/admin": "-", "/ADMIN": "-", "/": "0",
			"/administrator": "0", "/x/admin/": "0",
			"/adm%49n/x": "-",
		}},
		{"letter case allowed", []asking{{path: "/", allow: LetterCase}, {path: "/admin/", asks: token}}, map[string]string{
			"/ADMIN/panel": "0", "/admin": "-", "/ADMIN": "-",
		}},
		{
			"trailing slash allowed",
			[]asking{{path: "/", allow: TrailingSlash}, {path: "/admin/", asks: token}},
			map[string]string{
				"/ADMIN/panel": "-", "/admin": "0", "/ADMIN": "-",
			},
		},
		{
			"both allowed",
			[]asking{{path: "/", allow: LetterCase | TrailingSlash}, {path: "/admin/", asks: token}},
			map[string]string{
				"/ADMIN/panel": "0", "/admin": "0", "/ADMIN": "0",
			},
		},
		{
			"a public path in a guarded tree is public in every spelling",
			[]asking{{path: "/", asks: token}, {path: "/health"}},
			map[string]string{
				"/health": "1", "/health/": "0", "/HEALTH": "0", "/x": "0",
			},
		},
		{
			"a literal beside a placeholder",
			[]asking{{path: "/{t}/", asks: read}, {path: "/me", asks: token}},
			map[string]string{
				"/me": "1", "/me/": "0", "/ME": "404", "/ME/": "0", "/acme/": "0",
			},
		},
		{
			"a public path with a guarded tree of its name",
			[]asking{{path: "/admin"}, {path: "/admin/", asks: token}},
			map[string]string{
				"/admin": "-", "/admin/": "1",
			},
		},
		{"another method", []asking{
			{path: "/t/{tenant}/", asks: read},
			{methods: "DELETE", path: "/t/{tenant}/settings", asks: manage},
		}, map[string]string{
			"/t/acme/settings/": "0", "/t/acme/SETTINGS": "0",
		}},
		{"another tenant", []asking{{path: "/t/{tenant}/", asks: read}, {path: "/t/acme/", asks: fixed}}, map[string]string{
			"/t/ACME/x": "-", "/t/acme/x": "1", "/t/acme": "404", "/t/other/x": "0",
		}},
		{
			"the same demands",
			[]asking{{path: "/t/{tenant}/", asks: read}, {path: "/t/{tenant}/settings", asks: read}},
			map[string]string{
				"/t/acme/settings/": "0", "/t/acme/SETTINGS": "0",
			},
		},
		{"literals of other case", []asking{{path: "/Admin/", asks: token}, {path: "/admin/"}}, map[string]string{
			"/admin/x": "-", "/Admin/x": "0", "/ADMIN/x": "404",
		}},
		{"on another host", []asking{
			{path: "/"},
			{host: "a.example", path: "/admin/", asks: token},
			{host: "{x}.example", path: "/ops", asks: token},
		}, map[string]string{
			"/ADMIN/x": "-", "/Ops": "-", "/ops/": "-", "/x": "0",
		}},
		{"an authority", []asking{
			{path: "/", allow: DoubleSlash},
			{path: "/admin/", asks: token},
			{path: "/t/{tenant}/", asks: read},
		}, map[string]string{
			"//x/admin/secret": "-", "//x/ADMIN/secret": "-", "//x/admin": "-", "//x/y": "0", "///x/admin/s": "-", "//": "0",
			"//x":        "0",
			"/x//admin/": "0", "//x/t/acme/": "-",
		}},
		{
			"an odd path in another case",
			[]asking{{path: "/", allow: Semicolon}, {path: "/admin/", asks: token}},
			map[string]string{
				"/ADMIN;v=1/x": "-", "/admin;v": "-", "/x;y": "0",
			},
		},
	} {
		table := tableOf(t, c.rows...)
		for path, want := range c.paths {
			var target Target
			var m Match[int]
			if err := target.Parse(path); err != nil {
				t.Fatal(err)
			}
			err := table.Match("a.example", "GET", &target, &m)
			got := fmt.Sprint(m.Entry)
			switch refusal.Of(err) {
			case refusal.PathAmbiguous:
				got = "-"
			case refusal.RouteNotFound:
				got = "404"
			}
			if got != want {
				t.Errorf("%s: %s: %s (%v), want %s", c.name, path, got, err, want)
			}
			sameStory(t, table, "a.example", "GET", &target, m.Entry)
		}
	}
}

// sameStory compares Match with Explain.
func sameStory(t interface{ Errorf(string, ...any) }, table *Table[int], host, method string, target *Target,
	entry int,
) {
	explained := -1
	for _, c := range table.Explain(host, method, target) {
		if c.Verdict == Chosen {
			explained = c.Entry
		}
	}
	if explained != entry {
		t.Errorf("%s %s%s: Match chooses %d, Explain %d", method, host, target.Path, entry, explained)
	}
}

func TestARefusalNamesTheReadingAndTheRoute(t *testing.T) {
	t.Parallel()
	table := tableOf(t, asking{path: "/", allow: DoubleSlash | Semicolon},
		asking{methods: "GET,HEAD", path: "/admin/", asks: token})
	for path, want := range map[string]string{
		"/ADMIN/secret": "path: without the case of letters it belongs to GET,HEAD /admin/, which asks for something else",
		"/admin":        "path: with the last slash added it belongs to GET,HEAD /admin/, which asks for something else",
		"//x/admin/y": "path: with what stands behind // read as an authority it belongs to GET,HEAD /admin/, which " +
			"asks for something else",
		"/ADMIN;secret/x": "path: with its oddities read in another way and without the case of letters it belongs to " +
			"GET,HEAD /admin/, which asks for something else",
	} {
		var target Target
		var m Match[int]
		if err := target.Parse(path); err != nil {
			t.Fatal(err)
		}
		if err := table.Match("a", "GET", &target, &m); err == nil || err.Error() != "path_ambiguous: "+want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A reader is a framework: what it takes a path for.
type reader struct {
	name  string
	fold  bool                             // letters compare without case
	slash bool                             // a last slash does not count
	read  func(path string) (string, bool) // the path that it looks for, decoded; false: it refuses
}

var readers = []reader{
	{name: "Express", fold: true, slash: true, read: func(path string) (string, bool) { return once(path), true }},
	{
		name: "Express behind new URL", fold: true, slash: true,
		read: func(path string) (string, bool) { return once(behindAuthority(path)), true },
	},
	{name: "Rails", slash: true, read: func(path string) (string, bool) {
		return once(slashes.ReplaceAllString(path, "/")),
			true
	}},
	{name: "Spring 5", slash: true, read: func(path string) (string, bool) {
		return once(parameters.ReplaceAllString(slashes.ReplaceAllString(path, "/"), "")), true
	}},
	{name: "ASP.NET", fold: true, slash: true, read: func(path string) (string, bool) { return once(path), true }},
	{name: "PHP", slash: true, read: func(path string) (string, bool) {
		return once(slashes.ReplaceAllString(path, "/")),
			true
	}},
	{name: "a proxy that decodes twice", read: func(path string) (string, bool) {
		return slashes.ReplaceAllString(strings.NewReplacer("%61", "a", "%41", "A", "%2f", "/").Replace(once(path)), "/"),
			true
	}},
}

func once(path string) string {
	return strings.NewReplacer("%61", "a", "%41", "A", "%2f", "\x01", "%25", "%").Replace(path)
}

func behindAuthority(path string) string {
	trimmed := strings.TrimLeft(path, "/")
	if len(path)-len(trimmed) < 2 {
		return path
	}
	_, rest, _ := strings.Cut(trimmed, "/")
	return "/" + rest
}

// matches is whether a framework's route of this pattern takes the path.
func (r reader) matches(pattern, path string) bool {
	want, have := strings.Split(pattern, "/")[1:], strings.Split(path, "/")[1:]
	tree := want[len(want)-1] == ""
	if tree {
		want = want[:len(want)-1]
	}
	if n := len(have); have[n-1] == "" && r.slash && n > 1 {
		have = have[:n-1]
	}
	n := len(have)
	switch {
	case !tree && n != len(want), tree && n < len(want), tree && n == len(want) && !r.slash:
		return false
	}
	for i, w := range want {
		if have[i] == "" || w[0] != '{' && w != have[i] && !(r.fold && strings.EqualFold(w, have[i])) {
			return false
		}
	}
	return true
}

// What goes through by one route is, to no framework, the path of another route that asks for more: not in whatever
// spelling, for routes that allow nothing but what the path needs.
func TestNoReadingOfAPathThatPassesBelongsToARouteThatRefuses(t *testing.T) {
	t.Parallel()
	sets := [][]Demand{open, token, read, manage, fixed}
	passed, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var rows []asking
		for range rapid.IntRange(2, 8).Draw(t, "routes") {
			a := asking{asks: rapid.SampledFrom(sets).Draw(t, "asks")}
			a.allow = Oddity(rapid.Uint16Range(0, uint16(everyOddity)).Draw(t, "allow"))
			for i := range rapid.IntRange(0, 3).Draw(t, "length") {
				word := rapid.SampledFrom([]string{"a", "A", "b", "ab", "{}"}).Draw(t, "segment")
				a.path += "/" + strings.ReplaceAll(word, "{}", fmt.Sprintf("{p%d}", i))
			}
			if a.path == "" || rapid.Bool().Draw(t, "tree") {
				a.path += "/"
			}
			a.methods = rapid.SampledFrom([]string{"", "", "GET", "PUT"}).Draw(t, "methods")
			if !slices.ContainsFunc(rows, func(b asking) bool { return clash(rule{path: a.path}, rule{path: b.path}) }) {
				rows = append(rows, a)
			}
		}
		table := tableOf(t, rows...)
		for range 16 {
			path := rapid.SampledFrom([]string{"", "", "", "/", "//"}).Draw(t, "front")
			for range rapid.IntRange(1, 4).Draw(t, "segments") {
				path += "/" + rapid.SampledFrom([]string{
					"a", "A", "b", "B", "ab", "Ab", "%61", "%41", "c", "a;x", "", "a%2fb",
					"%2561",
				}).Draw(t, "segment")
			}
			if rapid.Bool().Draw(t, "slash") {
				path += "/"
			}
			var target Target
			var m Match[int]
			if err := target.Parse(path); err != nil {
				t.Fatal(err)
			}
			err := table.Match("a.example", "GET", &target, &m)
			sameStory(t, table, "a.example", "GET", &target, m.Entry)
			if err != nil {
				refused++
				continue
			}
			passed++
			for _, r := range readers {
				harmless(t, r, rows, m.Entry, path)
			}
		}
	})
	if passed < 100 || refused < 100 {
		t.Errorf("%d paths passed, %d did not", passed, refused)
	}
}

// harmless fails if a reader takes a path that passed by an entry for that of one that asks for more.
func harmless(t *rapid.T, r reader, rows []asking, chosen int, path string) {
	seen, ok := r.read(path)
	if !ok {
		return
	}
	takes := func(a asking) bool { return a.methods == "" || a.methods == "GET" }
	for i, a := range rows {
		if !r.matches(a.path, seen) {
			continue
		}
		shadowed := slices.ContainsFunc(rows, func(b asking) bool {
			return r.matches(b.path, seen) && mustPath(t, b.path).compare(mustPath(t, a.path)) < 0
		})
		if shadowed || !takes(a) {
			continue
		}
		moved := seen != once(path) && strings.HasPrefix(path, "//")
		if asksMore(a.asks, rows[chosen].asks, false) {
			t.Fatalf("%s passes by %d (%+v), and %s reads %s, which belongs to %d (%+v); moved %v\n%+v",
				path, chosen, rows[chosen], r.name, seen, i, a, moved, rows)
		}
	}
}

func TestNestingsNameTheStricterRouteInsideTheLooser(t *testing.T) {
	t.Parallel()
	table := tableOf(t,
		asking{path: "/"}, asking{path: "/admin/", asks: token}, asking{path: "/health"},
		asking{methods: "DELETE", path: "/x", asks: manage},
		asking{path: "/t/{tenant}/", asks: read}, asking{path: "/t/{tenant}/public/"}, asking{path: "/login", asks: open},
	)
	var got [][2]int
	for _, n := range table.Nestings() {
		got = append(got, [2]int{n.Loose, n.Strict})
	}
	want := [][2]int{{0, 1}, {0, 3}, {0, 4}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A table that is too large to be surveyed suspects every route, and judges as before.
func TestATableThatIsTooLargeToSurveySuspectsAll(t *testing.T) {
	t.Parallel()
	rows := []asking{{path: "/"}}
	for i := range 1500 {
		rows = append(rows, asking{path: fmt.Sprintf("/{x}/r%d", i), asks: token},
			asking{path: fmt.Sprintf("/s%d/", i), asks: token})
	}
	table := tableOf(t, rows...)
	if table.leaves[0].wary != spellings {
		t.Fatalf("surveyed: %v", table.leaves[0].wary)
	}
	var target Target
	var m Match[int]
	for path, want := range map[string]bool{"/x/y/z": true, "/S7/x": false, "/s7": false, "/s7/x": true} {
		if err := target.Parse(path); err != nil {
			t.Fatal(err)
		}
		if err := table.Match("", "GET", &target, &m); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReadingsAllocateNothing(t *testing.T) {
	table := tableOf(t,
		asking{path: "/t/{tenant}/", asks: read}, asking{path: "/t/{tenant}/settings", asks: manage},
		asking{host: "{x}.example.com", path: "/t/"})
	var target Target
	var m Match[int]
	for _, path := range []string{"/t/acme/orders/7", "/t/acme/settings", "/t/acme/x/"} {
		allocs := testing.AllocsPerRun(100, func() {
			if err := target.Parse(path); err != nil {
				t.Fatal(err)
			}
			if err := table.Match("shop.example", "GET", &target, &m); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", path, allocs)
		}
	}
}
