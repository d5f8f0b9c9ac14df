package route

import (
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/refusal"
)

// The model says what the contract says, with strings and without any type of the package: a rule is a line, a request
// has a host, a method and a raw path, and every rule is looked at for every request.
type rule struct {
	host, path string
	methods    []string // none: GET and PUT, the only ones that the model asks with
	allow      Oddity
}

func (r rule) takes(method string) bool {
	return len(r.methods) == 0 || slices.Contains(r.methods, method)
}

func (r rule) covers(host, path string) bool {
	return labelsMatch(r.host, host) && pathMatches(r.path, path)
}

func labelsMatch(pattern, host string) bool {
	if pattern == "" {
		return true
	}
	words := strings.Split(host, ".")
	labels := strings.Split(pattern, ".")
	return slices.EqualFunc(labels, words, segmentMatches)
}

func segmentMatches(pattern, text string) bool {
	return text != "" && (pattern[0] == '{' || pattern == text)
}

func pathMatches(pattern, path string) bool {
	want := strings.Split(pattern, "/")[1:]
	have := strings.Split(path, "/")[1:]
	if n := len(want) - 1; want[n] == "" {
		if len(have) <= n {
			return false
		}
		want, have = want[:n], have[:n]
	}
	return slices.EqualFunc(want, have, segmentMatches)
}

// order is a sort key: the smaller the more specific; literals are in it, so that rules of different readings compare.
func (r rule) order() []string {
	key := []string{"2"}
	switch {
	case strings.Contains(r.host, "{"):
		key[0] = fmt.Sprintf("1 %02d", strings.Count(r.host, "{")+10-strings.Count(r.host, "."))
	case r.host != "":
		key[0] = "0"
	}
	for _, word := range strings.Split(strings.Trim(r.path, "/"), "/") {
		switch {
		case word == "":
		case word[0] == '{':
			key = append(key, "1")
		default:
			key = append(key, "0 "+word)
		}
	}
	return append(key, "2")
}

// precedes reports whether r is more specific than s, without a doubt.
func (r rule) precedes(s rule) bool {
	a, b := r.order(), s.order()
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		return (i == 0 || a[i][0] != b[i][0]) && a[i] < b[i]
	}
	return false
}

func (r rule) shape() string {
	return regexp.MustCompile(`\{\w+\}`).ReplaceAllString(r.host+" "+r.path, "{}")
}

// chosen are the rules of the most specific pattern that covers the request.
func chosen(rules []rule, host, path string) (at []int) {
	for i, r := range rules {
		switch {
		case !r.covers(host, path):
		case len(at) == 0 || slices.Compare(r.order(), rules[at[0]].order()) < 0:
			at = []int{i}
		case r.shape() == rules[at[0]].shape():
			at = append(at, i)
		}
	}
	return at
}

func plainly(path string) string { return strings.ReplaceAll(path, "%61", "a") }

var (
	parameters = regexp.MustCompile(`;[^/]*`)
	slashes    = regexp.MustCompile(`//+`)
)

// readings are the paths that others could see in this one.
func readings(path string, oddities Oddity) (others []string) {
	for as := range everyOddity + 1 {
		if extra := as &^ (oddities | DoubleSlash); extra != 0 && oddities&DoubleEncoding == 0 {
			continue
		}
		other := path
		if as&DoubleEncoding != 0 {
			other = strings.NewReplacer("%2561", "a", "%252f", "%2f").Replace(other)
		}
		if as&EncodedSlash != 0 {
			other = strings.ReplaceAll(other, "%2f", "/")
		}
		if as&Semicolon != 0 {
			other = parameters.ReplaceAllString(other, "")
		}
		if as&DoubleSlash != 0 {
			other = slashes.ReplaceAllString(other, "/")
		}
		others = append(others, plainly(other))
	}
	return others
}

func odd(path string) (o Oddity) {
	for text, bit := range map[string]Oddity{
		"%2f": EncodedSlash, ";": Semicolon, "//": DoubleSlash,
		"%25": DoubleEncoding,
	} {
		if strings.Contains(path, text) {
			o |= bit
		}
	}
	return o
}

// judge is the whole of what Match promises: the index of the rule, or -1 with the reason.
func judge(rules []rule, host, method, path string) (int, refusal.Reason) {
	oddities := odd(path)
	at := chosen(rules, host, plainly(path))
	taker := slices.IndexFunc(at, func(i int) bool { return rules[i].takes(method) })
	if oddities != 0 {
		tolerant := slices.ContainsFunc(at, func(i int) bool { return oddities&^rules[i].allow == 0 })
		if !tolerant || taker >= 0 && oddities&^rules[at[taker]].allow != 0 {
			return -1, refusal.PathAmbiguous
		}
		for _, other := range readings(path, oddities) {
			rival := chosen(rules, host, other)
			if len(rival) > 0 && rules[rival[0]].shape() != rules[at[0]].shape() && !rules[at[0]].precedes(rules[rival[0]]) {
				return -1, refusal.PathAmbiguous
			}
		}
	}
	switch {
	case len(at) == 0:
		return -1, refusal.RouteNotFound
	case taker < 0:
		return -1, refusal.MethodNotAllowed
	}
	return at[taker], ""
}

// clash reports whether one request could ask for both rules with neither before the other, by trying every request
// that tells their patterns apart.
func clash(r, s rule) bool {
	if r.shape() == s.shape() {
		return len(r.methods) == 0 || len(s.methods) == 0 ||
			slices.ContainsFunc(r.methods, func(m string) bool { return slices.Contains(s.methods, m) })
	}
	if r.order()[0] != s.order()[0] || hostShapeOf(r) == hostShapeOf(s) || r.host == "" || !strings.Contains(r.host, "{") {
		return false
	}
	return slices.ContainsFunc(everyHost, func(host string) bool {
		return labelsMatch(r.host, host) && labelsMatch(s.host, host)
	}) && slices.ContainsFunc(everyPath(), func(path string) bool {
		return pathMatches(r.path, path) && pathMatches(s.path, path)
	})
}

func hostShapeOf(r rule) string { return rule{host: r.host}.shape() }

var everyHost = []string{"a", "b", "a.a", "a.b", "b.a", "b.b", "a.a.a", "a.b.a"}

func everyPath() []string {
	paths, layer := []string{}, []string{""}
	for range 6 {
		var next []string
		for _, p := range layer {
			paths = append(paths, p+"/")
			for _, word := range []string{"a", "b"} {
				next = append(next, p+"/"+word)
			}
		}
		paths = append(paths, next...)
		layer = next
	}
	return paths
}

func drawRule(t *rapid.T) rule {
	r := rule{
		host: rapid.SampledFrom([]string{
			"", "", "a.b", "a", "{h}", "{h}.b", "a.{h}", "{h}.{i}", "{h}.b.a",
			"a.{h}.a",
		}).Draw(t, "host"),
		allow: Oddity(rapid.Uint8Range(0, uint8(everyOddity)).Draw(t, "allow")),
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "length") {
		word := rapid.SampledFrom([]string{"a", "b", "{}"}).Draw(t, "segment")
		r.path += "/" + strings.ReplaceAll(word, "{}", fmt.Sprintf("{p%d}", i))
	}
	if r.path == "" || rapid.Bool().Draw(t, "tree") {
		r.path += "/"
	}
	r.methods = rapid.SampledFrom([][]string{nil, {"GET"}, {"PUT"}, {"GET", "PUT"}}).Draw(t, "methods")
	return r
}

func drawPath(t *rapid.T) (path string) {
	words := []string{"a", "b", "a", "b", "%61", "c", "a", "b"}
	if rapid.IntRange(0, 2).Draw(t, "odd") == 0 {
		words = append(words, "", "a%2fb", "a;b", ";", "%2561", "a%252fb", "%2f")
	}
	for range rapid.IntRange(1, 6).Draw(t, "length") {
		path += "/" + rapid.SampledFrom(words).Draw(t, "segment")
	}
	if rapid.Bool().Draw(t, "slash") {
		path += "/"
	}
	return path
}

func (r rule) entry(t interface{ Fatal(...any) }, i int) Entry[int] {
	return Entry[int]{Host: mustHost(t, r.host), Path: mustPath(t, r.path), Methods: r.methods, Allow: r.allow, Value: i}
}

func compile(t interface{ Fatal(...any) }, rules []rule) (*Table[int], []Conflict) {
	var entries []Entry[int]
	for i, r := range rules {
		entries = append(entries, r.entry(t, i))
	}
	return NewTable(entries)
}

func TestTheTableAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var rules []rule
		for range rapid.IntRange(1, 24).Draw(t, "rules") {
			r := drawRule(t)
			if !slices.ContainsFunc(rules, func(s rule) bool { return clash(r, s) }) {
				rules = append(rules, r)
			}
		}
		table, conflicts := compile(t, rules)
		if len(conflicts) > 0 {
			t.Fatalf("conflicts that the model does not see: %v", conflicts)
		}
		for range 24 {
			host := rapid.SampledFrom(everyHost).Draw(t, "host")
			method := rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")
			agree(t, table, rules, host, method, drawPath(t))
		}
	})
}

func agree(t *rapid.T, table *Table[int], rules []rule, host, method, path string) {
	var target Target
	if err := target.Parse(path); err != nil {
		t.Fatal(err)
	}
	var m Match[int]
	err := table.Match(host, method, &target, &m)
	want, reason := judge(rules, host, method, path)
	if m.Entry != want || refusal.Of(err) != reason || want >= 0 && m.Value != want {
		t.Fatalf("%s %s%s: Match %d, %v; the model says %d, %q", method, host, path, m.Entry, err, want, reason)
	}
	explained := -1
	for _, c := range table.Explain(host, method, &target) {
		if c.Verdict == Chosen {
			if explained >= 0 {
				t.Fatalf("%s %s%s: Explain chooses %d and %d", method, host, path, explained, c.Entry)
			}
			explained = c.Entry
		}
	}
	if explained != want {
		t.Fatalf("%s %s%s: Explain chooses %d; the model says %d", method, host, path, explained, want)
	}
	if want >= 0 {
		sameParams(t, &m, rules[want].path, path)
	}
}

func sameParams(t *rapid.T, m *Match[int], pattern, path string) {
	words := strings.Split(path, "/")
	doubtful := false
	for i, name := range strings.Split(pattern, "/") {
		doubtful = doubtful || odd(words[i]) != 0 || words[i] == "" && i > 0 && i < len(words)-1
		if !strings.HasPrefix(name, "{") {
			continue
		}
		text := plainly(strings.NewReplacer("%25", "%", "%2f", "/").Replace(words[i]))
		if words[i] == "%2561" {
			text = "%61"
		}
		value, isOdd, ok := m.Param(strings.Trim(name, "{}"))
		if !ok || value != text || isOdd != doubtful {
			t.Fatalf("%s of %s in %s: got %q, odd %v, %v; want %q, odd %v", name, pattern, path, value, isOdd, ok, text,
				doubtful)
		}
	}
}

func TestConflictsAgreeWithTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rules := []rule{drawRule(t), drawRule(t)}
		_, conflicts := compile(t, rules)
		if got, want := len(conflicts) > 0, clash(rules[0], rules[1]); got != want {
			t.Fatalf("%+v: conflicts %v; the model says %v", rules, conflicts, want)
		}
	})
}

// p covers q if and only if no path is matched by q alone; paths of up to six segments tell all these patterns apart.
func TestCoversAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	paths := everyPath()
	rapid.Check(t, func(t *rapid.T) {
		p, q := drawRule(t), drawRule(t)
		// "c" stands for every literal that no pattern has.
		missed := func(path string) bool { return pathMatches(q.path, path) && !pathMatches(p.path, path) }
		want := !slices.ContainsFunc(paths, missed) && !slices.ContainsFunc(paths, func(path string) bool {
			return missed(strings.ReplaceAll(path, "b", "c")) || missed(strings.ReplaceAll(path, "a", "c"))
		})
		if got := mustPath(t, p.path).Covers(mustPath(t, q.path)); got != want {
			t.Fatalf("%q covers %q: %v; the model says %v", p.path, q.path, got, want)
		}
	})
}

// Every way of writing a chain of literals and placeholders, so that each wrong turn is found out only at the end.
func adversarial(t interface{ Fatal(...any) }, depth int) *Table[int] {
	var rules []rule
	for mask := range 1 << depth {
		var path strings.Builder
		for i := range depth {
			if mask>>i&1 == 0 {
				path.WriteString("/a")
			} else {
				fmt.Fprintf(&path, "/{p%d}", i)
			}
		}
		rules = append(rules, rule{path: path.String() + "/end"})
	}
	table, conflicts := compile(t, rules)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	return table
}

func size(n *node) int {
	if n == nil {
		return 0
	}
	sum := 1 + size(n.param)
	if n.literals == nil {
		return sum + size(n.next)
	}
	for _, child := range n.literals {
		sum += size(child)
	}
	return sum
}

func TestBacktrackingIsBoundedByTheTable(t *testing.T) {
	t.Parallel()
	for depth := 1; depth <= 10; depth++ {
		table := adversarial(t, depth)
		nodes := size(table.any)
		for _, path := range []string{
			strings.Repeat("/a", depth) + "/not", strings.Repeat("/a", depth+1), strings.Repeat("/a", MaxSegments), "/b/b", "/",
		} {
			var target Target
			if err := target.Parse(path); err != nil {
				t.Fatal(err)
			}
			s := search{target: &target}
			if l := s.find(table.any, 0); l != nil || s.nodes > nodes {
				t.Errorf("depth %d, %.20s…: visited %d of %d nodes, found %v", depth, path, s.nodes, nodes, l)
			}
		}
	}
}

// A chain that is deep, but has one wrong turn at each step, costs its length and not a power of it.
func TestBacktrackingIsLinearInAChain(t *testing.T) {
	t.Parallel()
	visited := func(depth int) int {
		var rules []rule
		for i := range depth {
			rules = append(rules, rule{path: strings.Repeat("/a", i) + fmt.Sprintf("/{p%d}", i) + "/end"})
		}
		table, conflicts := compile(t, rules)
		if len(conflicts) > 0 {
			t.Fatal(conflicts)
		}
		var target Target
		if err := target.Parse(strings.Repeat("/a", depth+5)); err != nil {
			t.Fatal(err)
		}
		s := search{target: &target}
		s.find(table.any, 0)
		return s.nodes
	}
	if few, many := visited(20), visited(200); many > 10*few || bits.Len(uint(few)) > 7 {
		t.Errorf("20 steps: %d nodes; 200 steps: %d", few, many)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	table := mustTable(t,
		row(t, "* - /", 0), row(t, "* {h}.example.com /tenants/{x}/tickets/", 0), row(t, "* {h}.{i}.com /nothing/", 0),
		row(t, "GET app.example.com /a/b", 0),
	)
	var target Target
	var m Match[string]
	for _, uri := range []string{
		"/", "/tenants/acme/tickets/7?x=y", "/tenants/acme", "/a/b", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p",
	} {
		for _, host := range []string{"app.example.com", "acme.example.com", "127.0.0.1", "[::1]"} {
			allocs := testing.AllocsPerRun(100, func() {
				canonical, err := CanonicalHost(host)
				if err != nil {
					t.Fatal(err)
				}
				if err := target.Parse(uri); err != nil {
					t.Fatal(err)
				}
				_ = table.Match(canonical, "GET", &target, &m)
				_, _, _ = m.Param("x")
				_, _ = m.HostParam("h")
			})
			if allocs != 0 {
				t.Errorf("%s%s: %v allocations", host, uri, allocs)
			}
		}
	}
}

// An escaped path costs its decoded text, and a Target that is used again brings its own room for more segments.
func TestAnOrdinaryEscapeCostsNoMoreThanItsText(t *testing.T) {
	var target Target
	for uri, most := range map[string]float64{"/caf%C3%A9/a": 2, "/%61/%62": 4, strings.Repeat("/a", 40): 0} {
		_ = target.Parse(uri)
		if allocs := testing.AllocsPerRun(100, func() { _ = target.Parse(uri) }); allocs > most {
			t.Errorf("%s: %v allocations", uri, allocs)
		}
	}
}

func TestTheModelItself(t *testing.T) {
	t.Parallel()
	type answer struct {
		At     int
		Reason refusal.Reason
	}
	rules := []rule{{path: "/", allow: everyOddity}, {path: "/a/{p}/"}, {path: "/{p}/b", methods: []string{"GET"}}}
	for path, want := range map[string]answer{
		"/":      {0, ""},
		"/a/b":   {2, ""},
		"/a/b/":  {1, ""},
		"/a//b/": {-1, refusal.PathAmbiguous},
		"/b;/c":  {0, ""},
		"/b;/b;": {-1, refusal.PathAmbiguous},
	} {
		at, reason := judge(rules, "a", "GET", path)
		if diff := cmp.Diff(want, answer{at, reason}); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", path, diff)
		}
	}
}
