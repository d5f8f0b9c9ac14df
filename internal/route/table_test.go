package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/refusal"
)

// row writes an entry down: "METHOD,… HOST PATH", host "-" for any, methods "*" for the usual ones.
func row(t interface{ Fatal(...any) }, text string, allow Oddity) Entry[string] {
	fields := strings.SplitN(text, " ", 3)
	e := Entry[string]{Path: mustPath(t, fields[2]), Allow: allow, Value: text}
	if fields[0] != "*" {
		e.Methods = strings.Split(fields[0], ",")
	}
	if fields[1] != "-" {
		e.Host = mustHost(t, fields[1])
	}
	return e
}

func mustTable(t interface{ Fatal(...any) }, entries ...Entry[string]) *Table[string] {
	table, conflicts := NewTable(entries)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	return table
}

// ask says in one line all that a match tells: the entry, or the reason with the allowed methods.
func ask(table *Table[string], method, host, uri string) string {
	var target Target
	if err := target.Parse(uri); err != nil {
		return "parse: " + string(refusal.Of(err))
	}
	var m Match[string]
	if err := table.Match(host, method, &target, &m); err != nil {
		if m.Entry != -1 || m.Value != "" {
			return fmt.Sprintf("refused with an entry: %+v", m)
		}
		return strings.TrimSpace(string(refusal.Of(err)) + " " + strings.Join(m.Allowed, ","))
	}
	if m.Allowed != nil {
		return "matched with allowed methods"
	}
	answer := m.Value
	for _, name := range []string{"h", "i"} {
		if value, ok := m.HostParam(name); ok {
			answer += " host." + name + "=" + value
		}
	}
	for _, name := range []string{"x", "y", "z"} {
		if value, odd, ok := m.Param(name); ok {
			answer += " " + name + "=" + value
			if odd {
				answer += "(odd)"
			}
		}
	}
	return answer
}

func TestTheMostSpecificRouteIsChosen(t *testing.T) {
	t.Parallel()
	table := mustTable(t,
		row(t, "* - /", 0),
		row(t, "GET - /admin/", 0),
		row(t, "POST,GET - /admin/{x}", 0),
		row(t, "* - /a/{x}/c", 0),
		row(t, "* - /{y}/b/d", 0),
		row(t, "* - /a/b/c/", 0),
		row(t, "* app.example.com /app/", 0),
		row(t, "PUT app.example.com /admin/", 0),
		row(t, "* {h}.example.com /t/{x}/", 0),
		row(t, "* {h}.{i}.com /t/", 0),
		row(t, "* {h}.{i}.com /only", 0),
		row(t, "* [::1] /six", 0),
	)
	for _, c := range []struct{ method, host, uri, want string }{
		{"GET", "z", "/", "* - /"},
		{"GET", "z", "/admin", "* - /"},
		{"GET", "z", "/administrator", "* - /"},
		{"GET", "z", "/admin/", "GET - /admin/"},
		{"GET", "z", "/admin/x/", "GET - /admin/"},
		{"GET", "z", "/admin/x", "POST,GET - /admin/{x} x=x"},
		{"GET", "z", "/%61dmin/%78?x=y", "POST,GET - /admin/{x} x=x"},
		{"GET", "z", "/Admin/x", "* - /"},
		{"GET", "z", "/a/b/c", "* - /a/{x}/c x=b"},
		{"GET", "z", "/a/b/c/", "* - /a/b/c/"},
		{"GET", "z", "/a/b/d", "* - /{y}/b/d y=a"},
		{"GET", "z", "/a/b/e", "* - /"},
		{"GET", "z", "/a//c", "path_ambiguous"},
		{"GET", "z", "/a%2fb", "path_ambiguous"},
		// The method comes last, and nothing falls through.
		{"PUT", "z", "/admin/x", "method_not_allowed GET,POST"},
		{"HEAD", "z", "/admin/", "method_not_allowed GET"},
		{"PROPFIND", "z", "/", "method_not_allowed DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT"},
		{"gEt", "z", "/", "method_not_allowed DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT"},
		{"TRACE", "z", "/admin/", "method_not_allowed GET"},
		{"GET", "app.example.com", "/admin/", "method_not_allowed PUT"},
		// A host without a path gives way to the less specific ones.
		{"GET", "app.example.com", "/app/x", "* app.example.com /app/"},
		{"GET", "app.example.com", "/t/u/", "* {h}.example.com /t/{x}/ host.h=app x=u"},
		{"GET", "app.example.com", "/t/u", "* {h}.{i}.com /t/ host.h=app host.i=example"},
		{"GET", "app.example.com", "/only", "* {h}.{i}.com /only host.h=app host.i=example"},
		{"GET", "app.example.com", "/other", "* - /"},
		{"GET", "a.b.example.com", "/only", "* - /"},
		{"GET", "[::1]", "/six", "* [::1] /six"},
		{"GET", "", "/x", "* - /"},
		{"GET", strings.Repeat("a", 300) + ".example.com", "/only", "* - /"},
	} {
		if got := ask(table, c.method, c.host, c.uri); got != c.want {
			t.Errorf("%s %s%s: got %q, want %q", c.method, c.host, c.uri, got, c.want)
		}
	}
}

func TestNoRouteIsNotFound(t *testing.T) {
	t.Parallel()
	table := mustTable(t, row(t, "* a.example /x", 0), row(t, "* {h}.b.example /x", 0), row(t, "* - /admin/", 0))
	for _, c := range []struct{ host, uri, want string }{
		{"a.example", "/x", "* a.example /x"},
		{"c.example", "/x", "route_not_found"},
		{"b.example", "/x", "route_not_found"},
		{".b.example", "/x", "route_not_found"},
		{"a.example", "/x/", "route_not_found"},
		{"a.example", "/x;y", "path_ambiguous"},
		{"a.example", "//x", "path_ambiguous"},
		{"", "/admin", "route_not_found"},
		{"", "/", "route_not_found"},
	} {
		if got := ask(table, "GET", c.host, c.uri); got != c.want {
			t.Errorf("%s%s: got %q, want %q", c.host, c.uri, got, c.want)
		}
	}
	var zero Table[string]
	if got := ask(&zero, "GET", "a.example", "/"); got != "route_not_found" {
		t.Errorf("the zero table: %s", got)
	}
}

func TestATargetThatWasNotParsedMatchesNothing(t *testing.T) {
	t.Parallel()
	table := mustTable(t, row(t, "* - /", everyOddity))
	var target Target
	_ = target.Parse("/..")
	m := Match[string]{Entry: 3, Value: "of the request before"}
	err := table.Match("", "GET", &target, &m)
	if refusal.Of(err) != refusal.PathAmbiguous || m.Entry != -1 || m.Value != "" {
		t.Errorf("got %v and %+v", err, m)
	}
	if _, _, ok := m.Param("x"); ok {
		t.Error("a match without an entry has a path parameter")
	}
	if _, ok := m.HostParam("x"); ok {
		t.Error("a match without an entry has a host parameter")
	}
	if story := table.Explain("", "GET", &target); story[0].Verdict != PathDiffers {
		t.Errorf("explained as %v", story)
	}
}

func TestOnlyTheRouteThatToleratesAnOddityTakesIt(t *testing.T) {
	t.Parallel()
	table := mustTable(t,
		row(t, "* - /plain/", 0),
		row(t, "* - /slash/{x}", EncodedSlash),
		row(t, "* - /slash/{x}/{y}/", EncodedSlash),
		row(t, "* - /semi/", Semicolon),
		row(t, "* - /double/{x}/", DoubleSlash),
		row(t, "* - /twice/{x}/{y}", DoubleEncoding),
		row(t, "GET - /mixed/", Semicolon),
		row(t, "PUT - /mixed/", 0),
	)
	for uri, want := range map[string]string{
		"/plain/a;b":         "path_ambiguous",
		"/plain/a%2fb":       "path_ambiguous",
		"/plain//":           "path_ambiguous",
		"/plain/%2541":       "path_ambiguous",
		"/slash/a%2fb":       "* - /slash/{x} x=a/b(odd)",
		"/slash/a%2fb/c":     "path_ambiguous",
		"/slash/a/b%2fc/d":   "* - /slash/{x}/{y}/ x=a y=b/c(odd)",
		"/slash/a%2fb/c/d":   "* - /slash/{x}/{y}/ x=a/b(odd) y=c(odd)",
		"/slash/a/b/c%2fd":   "* - /slash/{x}/{y}/ x=a y=b",
		"/slash/a%252fb":     "path_ambiguous",
		"/slash/a;b":         "path_ambiguous",
		"/slash//a":          "path_ambiguous",
		"/semi/a;b/c":        "* - /semi/",
		"/semi/a%3Bb":        "* - /semi/",
		"/semi;v=1/a":        "path_ambiguous",
		"/semi/a;b//":        "path_ambiguous",
		"/double/a//b":       "* - /double/{x}/ x=a",
		"/double//a/b":       "path_ambiguous",
		"//double/a/b":       "path_ambiguous",
		"/twice/%2541/b":     "* - /twice/{x}/{y} x=%41(odd) y=b(odd)",
		"/twice/a/%252541":   "* - /twice/{x}/{y} x=a y=%2541(odd)",
		"/twice/a/b%252fc":   "* - /twice/{x}/{y} x=a y=b%2fc(odd)",
		"/twice/%252e%252e/": "parse: path_ambiguous",
		"/mixed/a;b":         "GET - /mixed/",
		"/%6dixed/a;b":       "GET - /mixed/",
	} {
		if got := ask(table, "GET", "", uri); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
	for _, c := range []struct{ method, want string }{
		{"PUT", "path_ambiguous"}, {"POST", "method_not_allowed GET,PUT"},
	} {
		if got := ask(table, c.method, "", "/mixed/a;b"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.method, got, c.want)
		}
	}
}

// An upstream that reads the oddity the other way must not be led past the route that guards what it then serves.
func TestAToleratedOddityDoesNotLeadPastAGuardedRoute(t *testing.T) {
	t.Parallel()
	table := mustTable(t,
		row(t, "* - /", everyOddity),
		row(t, "* - /admin/", 0),
		row(t, "* - /t/{x}/", everyOddity),
		row(t, "* - /files/{x}", EncodedSlash),
		row(t, "* app.example.com /only", 0),
	)
	for uri, want := range map[string]string{
		"//admin/x":              "path_ambiguous",
		"/;/admin/x":             "path_ambiguous",
		"/;a=b//admin/x":         "path_ambiguous",
		"/admin;v=1/x":           "path_ambiguous",
		"/admin%3bv/x":           "path_ambiguous",
		"/admin%2fx":             "path_ambiguous",
		"/admin%252fx":           "path_ambiguous",
		"/%2561dmin/x":           "path_ambiguous",
		"/%252561dmin/x":         "path_ambiguous",
		"/%2fadmin%2f":           "path_ambiguous",
		"/admin;v%2fx":           "path_ambiguous",
		"/t//acme/x":             "path_ambiguous",
		"/t;v/acme/x":            "path_ambiguous",
		"/x;v/admin/":            "* - /",
		"//x":                    "* - /",
		"/x%2fadmin":             "* - /",
		"/administrator;v/x":     "* - /",
		"/files/a%2fb":           "* - /files/{x} x=a/b(odd)",
		"/files/a/b%2fc":         "* - /",
		"/t/acme/x;y//z%2f%2541": "* - /t/{x}/ x=acme",
		"/t/acme;y/x":            "* - /t/{x}/ x=acme;y(odd)",
		"/only;a":                "* - /",
	} {
		if got := ask(table, "GET", "", uri); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
	if got := ask(table, "GET", "app.example.com", "/only;a"); got != "path_ambiguous" {
		t.Errorf("past an exact host: got %q", got)
	}
	if got := ask(table, "GET", "", strings.Repeat("/a%2fa", MaxSegments)); got != "path_ambiguous" {
		t.Errorf("a reading with too many segments: got %q", got)
	}
}

// Neither "/{x}/b/" nor "/{x}/c/" is more specific, so a path that belongs to either, as one reads it, is refused.
func TestAToleratedOddityDoesNotChooseBetweenEquals(t *testing.T) {
	t.Parallel()
	table := mustTable(t, row(t, "* - /{x}/b/", EncodedSlash), row(t, "* - /{x}/c/", EncodedSlash))
	for uri, want := range map[string]string{
		"/a%2fc/b/": "path_ambiguous",
		"/a%2fb/b/": "* - /{x}/b/ x=a/b(odd)",
		"/a%2fd/b/": "* - /{x}/b/ x=a/d(odd)",
		"/a/b/c%2f": "* - /{x}/b/ x=a",
	} {
		if got := ask(table, "GET", "", uri); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
}

func TestAPlaceholderIsNoPartOfAnAddress(t *testing.T) {
	t.Parallel()
	table := mustTable(t, row(t, "* {h}.{i}.{j}.{k} /", 0), row(t, "* {h} /", 0), row(t, "* - /", 0))
	for host, want := range map[string]string{
		"a.b.c.d":   "* {h}.{i}.{j}.{k} / host.h=a host.i=b",
		"127.0.0.1": "* - /",
		"a":         "* {h} / host.h=a",
		"[::1]":     "* - /",
	} {
		if got := ask(table, "GET", host, "/"); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	type pair struct{ First, Second int }
	for name, c := range map[string]struct {
		rows []string
		want []pair
	}{
		"the same":                       {[]string{"GET - /a", "GET - /a"}, []pair{{0, 1}}},
		"named otherwise":                {[]string{"GET {h}.b /{x}/c/", "GET {i}.b /{y}/c/"}, []pair{{0, 1}}},
		"disjoint methods":               {[]string{"GET - /a", "PUT - /a"}, nil},
		"disjoint after the usual ones":  {[]string{"* - /a", "PROPFIND - /a"}, nil},
		"one of the usual":               {[]string{"* - /a", "GET,PUT - /a"}, []pair{{0, 1}}},
		"a method twice in one entry":    {[]string{"GET,GET - /a"}, nil},
		"three of a kind":                {[]string{"GET - /a", "PUT - /a", "GET,PUT - /a"}, []pair{{0, 2}, {1, 2}}},
		"tree and leaf":                  {[]string{"* - /a", "* - /a/"}, nil},
		"literal and placeholder":        {[]string{"* - /a", "* - /{x}"}, nil},
		"any host and one":               {[]string{"* - /a", "* a /a", "* {h} /a"}, nil},
		"hosts that meet":                {[]string{"GET a.{h} /x/", "PUT {h}.b /x/{x}"}, []pair{{0, 1}}},
		"hosts that meet, paths do not":  {[]string{"GET a.{h} /x/", "GET {h}.b /y/"}, nil},
		"hosts that never meet":          {[]string{"GET a.{h}.c /", "GET {h}.b.d /"}, nil},
		"hosts of other length":          {[]string{"GET a.{h} /", "GET {h}.b.{i} /"}, nil},
		"hosts, one more specific":       {[]string{"GET a.{h} /", "GET {i}.{h} /"}, nil},
		"a method in small letters":      {[]string{"get - /a"}, []pair{{0, -1}}},
		"a method that never is allowed": {[]string{"* - /b", "GET,CONNECT - /a"}, []pair{{1, -1}}},
	} {
		var entries []Entry[string]
		for _, text := range c.rows {
			entries = append(entries, row(t, text, 0))
		}
		table, conflicts := NewTable(entries)
		var got []pair
		for _, conflict := range conflicts {
			got = append(got, pair{conflict.First, conflict.Second})
		}
		if diff := cmp.Diff(c.want, got); diff != "" || (table == nil) != (len(conflicts) > 0) {
			t.Errorf("%s: table %v, want -, got +:\n%s", name, table != nil, diff)
		}
	}
}

func TestConflictsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, conflicts := NewTable([]Entry[string]{
		row(t, "GET a.{h} /x", 0), row(t, "HEAD,GET a.{h} /x", 0), row(t, "GET {h}.b /", 0), {}, row(t, "Get - /", 0),
	})
	var got []string
	for _, c := range conflicts {
		got = append(got, c.Error())
	}
	want := []string{
		"entries 0 and 1: the same hosts and paths, and both take GET",
		"entry 3: no path: nothing matches",
		`entry 4: method "Get": methods are case-sensitive: write "GET"`,
		`entries 0 and 2: hosts "a.{h}" and "{h}.b" are equally specific and can both match one host, and paths "/x" and ` +
			`"/" one path`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// A table is a snapshot: what its maker does with the slices afterwards changes nothing.
func TestATableKeepsItsEntries(t *testing.T) {
	t.Parallel()
	entries := []Entry[string]{row(t, "GET - /a", 0)}
	table := mustTable(t, entries...)
	entries[0].Methods[0] = "PUT"
	entries[0] = row(t, "* - /", everyOddity)
	if got := ask(table, "GET", "", "/a"); got != "GET - /a" {
		t.Errorf("got %q", got)
	}
	var target Target
	if err := target.Parse("/a"); err != nil {
		t.Fatal(err)
	}
	if got := table.Explain("", "GET", &target)[0].Verdict; got != Chosen {
		t.Errorf("explained as: %s", got)
	}
}

func TestExplainTellsOfEveryEntry(t *testing.T) {
	t.Parallel()
	table := mustTable(t,
		row(t, "* - /", Semicolon), row(t, "* a.b /x/", 0), row(t, "GET - /x/", Semicolon), row(t, "PUT - /x/", 0),
		row(t, "* - /y", 0),
	)
	for _, c := range []struct {
		method, uri string
		want        []Verdict
	}{
		{"GET", "/x/1", []Verdict{LessSpecific, HostDiffers, Chosen, MethodDiffers, PathDiffers}},
		{"PUT", "/x/1", []Verdict{LessSpecific, HostDiffers, MethodDiffers, Chosen, PathDiffers}},
		{"GET", "/x/;", []Verdict{LessSpecific, HostDiffers, Chosen, MethodDiffers, PathDiffers}},
		{"PUT", "/x/;", []Verdict{LessSpecific, HostDiffers, MethodDiffers, OddityRefused, PathDiffers}},
		{"GET", "/y;a", []Verdict{ReadingDisputed, HostDiffers, PathDiffers, PathDiffers, PathDiffers}},
	} {
		var target Target
		if err := target.Parse(c.uri); err != nil {
			t.Fatal(err)
		}
		var got []Verdict
		for i, considered := range table.Explain("c.d", c.method, &target) {
			if considered.Entry != i || considered.Value != table.entries[i].Value {
				t.Errorf("entry %d is told as %d, %q", i, considered.Entry, considered.Value)
			}
			got = append(got, considered.Verdict)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s: want -, got +:\n%s", c.method, c.uri, diff)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	for _, word := range append([]string{"PROPFIND", "M-SEARCH", "X_1"}, knownMethods...) {
		if got, err := ParseMethod(word); got != word || err != nil {
			t.Errorf("ParseMethod(%q) = %q, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "get", "gEt", "CONNECT", "TRACE", "PRI", "connect", "A B", "A\n", "A:", "*/", "É"} {
		if got, err := ParseMethod(word); got != "" || err == nil {
			t.Errorf("ParseMethod(%q) = %q", word, got)
		}
	}
	table := mustTable(t, row(t, "PROPFIND - /", 0))
	for method, want := range map[string]bool{
		"GET": true, "PROPFIND": true, "MKCOL": false, "TRACE": false, "get": false,
		"": false,
	} {
		if got := table.Knows(method); got != want {
			t.Errorf("Knows(%q) = %v", method, got)
		}
	}
}
