package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

// Most frameworks take "/Admin/" or "/admin" for "/admin/". Where the table has another route for such a spelling, and
// that one asks for more, the path must not pass by the route that it has as it stands. Most tables have no such pair
// of routes, or few: which routes have one beside them is found once, when the table is compiled (survey), and the
// paths of all others are matched as if this file did not exist.

// A Demand is one condition that an entry puts on requests. Two demands are the same if they are equal.
type Demand struct {
	What    string // such as "READ on the tenant in the path"
	Segment int    // which segment of the path it is about, from 1; 0: none
}

// asksMore reports whether a asks for something that b does not. Where a is found by a reading in which the segments
// have moved, a demand about a segment is always something else.
func asksMore(a, b []Demand, moved bool) bool {
	return slices.ContainsFunc(a, func(d Demand) bool { return moved && d.Segment > 0 || !slices.Contains(b, d) })
}

// A Nesting is a pair of entries of which one path is the other's to a reader that ignores the case of letters or a
// last slash, and of which the strict one asks for more.
type Nesting struct {
	Loose, Strict int
	How           Oddity
}

// surveyMost bounds the work of finding such pairs, in visited nodes. A table that needs more has them all suspected.
const surveyMost = 2 << 20

// A survey finds the routes beside which a stricter one stands.
type survey[T any] struct {
	table  *Table[T]
	strict *leaf
	at     int // index of the strict entry
	left   int // nodes that may still be visited
}

// survey fills in what each leaf has to be wary of.
func (t *Table[T]) survey() {
	if len(t.entries) == 0 || !t.unequal() {
		return
	}
	t.spellings = make(map[string][]string)
	for i := range t.entries {
		for _, s := range t.entries[i].Path.segments {
			folded := lower(s.literal)
			if s.name == "" && !slices.Contains(t.spellings[folded], s.literal) {
				t.spellings[folded] = append(t.spellings[folded], s.literal)
				t.capitals = t.capitals || s.literal != folded
			}
		}
	}
	s := survey[T]{table: t, left: surveyMost}
	for _, l := range t.leaves {
		for _, i := range l.entries {
			if len(t.entries[i].Asks) > 0 {
				s.strict, s.at = l, i
				s.hosts()
			}
		}
		if s.left < 0 {
			for _, l := range t.leaves {
				l.wary = spellings
			}
			return
		}
	}
}

// unequal reports whether some entry asks for something that another does not. Where segments can move, each demand
// about one is something else.
func (t *Table[T]) unequal() bool {
	moved := slices.ContainsFunc(t.entries, func(e Entry[T]) bool { return e.Allow&DoubleSlash != 0 })
	first := t.entries[0].Asks
	return slices.ContainsFunc(t.entries, func(e Entry[T]) bool {
		return asksMore(e.Asks, first, moved) || asksMore(first, e.Asks, moved)
	})
}

// hosts walks the trees of every host that the strict route's own can be found beside.
func (s *survey[T]) hosts() {
	t, host := s.table, s.strict.host
	if t.any != nil {
		s.walk(t.any, 0)
	}
	if host.text != "" && host.labels == nil {
		s.walk(t.exact[host.text], 0)
	} else {
		for _, n := range t.exact {
			s.walk(n, 0)
		}
	}
	for i := range t.shapes {
		for _, n := range t.shapes[i].trees {
			s.walk(n, 0)
		}
	}
}

// walk goes where a path can be that is the strict route's in another spelling.
func (s *survey[T]) walk(n *node, depth int) {
	if s.left--; s.left < 0 {
		return
	}
	p := s.strict.path
	k := len(p.segments)
	s.note(n.exact, p.tree && depth > k || !p.tree && depth == k, p.tree && depth >= k)
	s.note(n.tree, p.tree || depth < k, true)
	switch {
	case depth < k && p.segments[depth].name == "":
		for _, spelling := range s.table.spellings[lower(p.segments[depth].literal)] {
			if child := n.behind(spelling); child != nil {
				s.walk(child, depth+1)
			}
		}
	case depth < k || p.tree:
		for _, child := range n.literals {
			s.walk(child, depth+1)
		}
		if n.literals == nil && n.next != nil {
			s.walk(n.next, depth+1)
		}
	}
	if n.param != nil && (depth < k || p.tree) {
		s.walk(n.param, depth+1)
	}
}

// note makes l wary of the strict route, if a path of l can be the strict route's and would be refused there.
func (s *survey[T]) note(l *leaf, byCase, bySlash bool) {
	if l == nil || l == s.strict || l.before(s.strict) {
		return
	}
	var how Oddity
	if byCase {
		how |= LetterCase
	}
	if bySlash {
		how |= TrailingSlash
	}
	if how == 0 {
		return
	}
	strict := &s.table.entries[s.at]
	for _, i := range l.entries[:l.here] {
		loose := &s.table.entries[i]
		if !asksMore(strict.Asks, loose.Asks, false) || !strict.meets(loose) {
			continue
		}
		l.wary |= how
		if len(s.table.nestings) < mostNestings {
			s.table.nestings = append(s.table.nestings, Nesting{Loose: i, Strict: s.at, How: how})
		}
	}
}

// mostNestings bounds what a table remembers for its warnings.
const mostNestings = 1 << 12

// meets reports whether some method is taken by both.
func (e *Entry[T]) meets(f *Entry[T]) bool {
	return slices.ContainsFunc(knownMethods, func(m string) bool { return e.takes(m) && f.takes(m) }) ||
		slices.ContainsFunc(e.Methods, f.takes)
}

// Nestings returns the pairs of entries that a path can confuse, the strict one inside the loose one or beside it, in
// the order of the strict ones. Very many are cut short.
func (t *Table[T]) Nestings() []Nesting { return slices.Clone(t.nestings) }

// Value returns the value of an entry.
func (t *Table[T]) Value(entry int) T { return t.entries[entry].Value }

// spelled refuses a target that, read without the case of letters or with the last slash added or dropped, belongs to a
// route that asks for more than the entry of l for this method, unless that entry allows it. The reading says how
// target came about; "": as it was sent.
func (t *Table[T]) spelled(host, method string, target *Target, l *leaf, reading string) error {
	i, ok := l.entry(method)
	if !ok || !l.holds(i) {
		return nil
	}
	chosen := &t.entries[i]
	if t.spellings == nil || chosen.Allow&spellings == spellings {
		return nil
	}
	s := t.look(host, method, target, l, i)
	s.fold = t.capitals || capital(target)
	if s.fold && chosen.Allow&LetterCase == 0 && (l.wary&LetterCase != 0 || reading != "") && s.search(target.count) {
		return s.refusal(t, and(reading, "without the case of letters"))
	}
	if l.wary&TrailingSlash == 0 && reading == "" {
		return nil
	}
	how, count := "with the last slash added", target.count+1
	if last := target.count - 1; target.Segment(last) == "" {
		how, count = "with the last slash dropped", last
	}
	if count == 0 || count > MaxSegments {
		return nil
	}
	if chosen.Allow&TrailingSlash != 0 && !s.fold {
		return nil
	}
	s.allow = chosen.Allow // what differs by one of the two alone may be allowed
	if s.search(count) {
		return s.refusal(t, and(reading, how))
	}
	return nil
}

// elsewhere refuses a target that is the path behind an authority, if it belongs to a route that asks for more. No
// route allows that: `double_slash` means that slashes are merged.
func (t *Table[T]) elsewhere(host, method string, target *Target, l *leaf) error {
	i, ok := l.entry(method)
	if !ok || !l.holds(i) || t.spellings == nil {
		return nil
	}
	s := t.look(host, method, target, l, i)
	s.fold, s.moved = true, true
	last := target.count - 1
	toggled := target.count + 1
	if target.Segment(last) == "" {
		toggled = last
	}
	if s.search(target.count) || toggled > 0 && toggled <= MaxSegments && s.search(toggled) {
		return s.refusal(t, "with what stands behind // read as an authority")
	}
	return nil
}

func and(reading, how string) string {
	if reading == "" {
		return how
	}
	return reading + " and " + how
}

// capital reports whether a segment has a letter that another case would write otherwise.
func capital(t *Target) bool {
	for i := range t.count {
		text := t.Segment(i)
		for j := range len(text) {
			if 'A' <= text[j] && text[j] <= 'Z' {
				return true
			}
		}
	}
	return false
}

// A look is a search for routes by another reading of a path. Like search, it visits each node of a tree once at most.
type look[T any] struct {
	table  *Table[T]
	host   string
	method string
	target *Target
	chosen *leaf
	asks   []Demand // what the chosen entry asks for

	count int    // segments; one more than the target's: an empty one is added
	fold  bool   // literals compare without the case of letters
	moved bool   // the segments are not where the chosen route has them
	allow Oddity // a route that is found by one of these alone is none

	rival int // index of the entry that asks for more; -1: none
}

func (t *Table[T]) look(host, method string, target *Target, l *leaf, entry int) *look[T] {
	return &look[T]{
		table: t, host: host, method: method, target: target, chosen: l, asks: t.entries[entry].Asks, rival: -1,
	}
}

// search reports whether a path of count segments belongs to a route that asks for more.
func (s *look[T]) search(count int) bool {
	s.count = count
	t := s.table
	if n := t.exact[s.host]; n != nil && s.visit(n, 0) {
		return true
	}
	if len(t.shapes) > 0 && !isAddress(s.host) {
		for n := range t.shaped(s.host) {
			if s.visit(n, 0) {
				return true
			}
		}
	}
	return t.any != nil && s.visit(t.any, 0)
}

// visit considers every route below n that the path can be, and reports whether one asks for more.
func (s *look[T]) visit(n *node, depth int) bool {
	if depth == s.count {
		return s.consider(n.exact)
	}
	if text := s.text(depth); text != "" {
		if !s.fold {
			if child := n.behind(text); child != nil && s.visit(child, depth+1) {
				return true
			}
		} else {
			for _, spelling := range s.table.spellings[lower(text)] {
				if child := n.behind(spelling); child != nil && s.visit(child, depth+1) {
					return true
				}
			}
		}
		if n.param != nil && s.visit(n.param, depth+1) {
			return true
		}
	}
	return s.consider(n.tree)
}

func (s *look[T]) text(depth int) string {
	if depth == s.target.count {
		return ""
	}
	return s.target.Segment(depth)
}

// consider reports whether l asks for more than the chosen route, and is the route of the path as l spells it.
func (s *look[T]) consider(l *leaf) bool {
	switch {
	case l == nil, l == s.chosen,
		!s.moved && s.chosen.before(l), // the chosen one is the configuration's word on a part of it, in every spelling
		s.allow&TrailingSlash != 0 && l.path.matchesFirst(s.target, s.count),
		s.allow&LetterCase != 0 && l.path.matchesFolded(s.target, s.target.count):
		return false
	}
	i, ok := l.entry(s.method)
	if !ok || !asksMore(s.table.entries[i].Asks, s.asks, s.moved) || !s.belongs(l) {
		return false
	}
	s.rival = i
	return true
}

// belongs reports whether the path, with the literals that l has, is one of l's and of no more specific route's.
func (s *look[T]) belongs(l *leaf) bool {
	how := Oddity(0)
	if s.fold {
		how |= LetterCase
	}
	if s.count != s.target.count {
		how |= TrailingSlash
	}
	var spelled Target
	return spelled.as(s.target, how, l.path) && s.table.find(s.host, &spelled) == l
}

// refusal names the reading and the route. The texts are the configuration's, and hold nothing that was sent.
func (s *look[T]) refusal(t *Table[T], reading string) error {
	e := &t.entries[s.rival]
	return &refusal.Error{
		Reason: refusal.PathAmbiguous,
		Detail: fmt.Sprintf("path: %s it belongs to %s, which asks for something else", reading, e.pattern()),
	}
}

// pattern is what an entry matches, for a message.
func (e *Entry[T]) pattern() string {
	var b strings.Builder
	if len(e.Methods) > 0 {
		b.WriteString(strings.Join(e.Methods, ",") + " ")
	}
	return b.String() + e.Host.String() + e.Path.String()
}
