// Package route answers what a request asks for: which host, which path, which of the configured routes.
//
// A request's target is parsed once (Target.Parse): the raw bytes are what is sent on, the once-decoded segments are
// what is judged, and whatever two readers could take for two different paths is refused before any route is looked
// for (RFC 3986, RFC 9112 §3.2). A few such spellings (Oddity) a route may tolerate. Its host is compared in one
// canonical form (CanonicalHost; RFC 9110 §4.2.3).
//
// Patterns for hosts (Host) and paths (Path) are compiled into a Table once, which reports all that makes the choice
// of a route ambiguous (Conflict). Table.Match then finds the most specific route: exact host, host pattern, any host;
// within a host segment by segment, a literal before a placeholder, the longer before the shorter. Only then the
// method counts. Table.Explain tells the same story slowly, entry by entry.
//
// No path is ever normalised, and no refusal falls through to a broader route: in doubt the answer is an error from
// package refusal.
package route

import (
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

// An Entry is one row of a table: what to match, and the Value that a match brings.
type Entry[T any] struct {
	Host    Host     // the zero Host is any
	Path    Path     // the zero Path is a conflict
	Methods []string // as ParseMethod reads them; none: the usual seven from GET to OPTIONS
	Allow   Oddity   // what the entry allows
	Asks    []Demand // what a request must meet; none: the entry is open
	Absent  bool     // it is not found here: its paths are no other entry's either
	Value   T
}

// A Table holds compiled entries. It never changes and may be used by any number of goroutines. The zero Table matches
// nothing.
type Table[T any] struct {
	entries []Entry[T]
	exact   map[string]*node // by canonical host
	shapes  []hostShape      // the more literal labels the earlier
	any     *node
	leaves  []*leaf
	listed  map[string]bool // methods that some entry lists

	// Where one entry asks for more than another (survey):
	spellings map[string][]string // by the lower case of a literal; nil: no entry does
	capitals  bool                // some literal is not in lower case
	nestings  []Nesting
}

// hostShape gathers the host patterns that have their placeholders in the same places, so that a host is looked up once
// for each shape and not once for each pattern.
type hostShape struct {
	labels []part // of one of the patterns; only where the placeholders stand counts
	rank   int
	trees  map[string]*node // by the key that hostShape.key makes
}

// node is a place in the tree of path segments of one host. Most have one literal behind them, or none, and are spared
// a map: with thousands of routes a request waits for memory, not for work.
type node struct {
	literal  string // the first literal segment behind this one …
	next     *node  // … and where it leads; nil: none
	literals map[string]*node
	param    *node
	exact    *leaf // the path ends here
	tree     *leaf // the path goes on
}

// behind is where a literal segment leads to; nil: nowhere.
func (n *node) behind(segment string) *node {
	if n.literals != nil {
		return n.literals[segment]
	}
	if n.literal == segment {
		return n.next
	}
	return nil
}

// grow gives the place behind a literal segment, made when there is none yet.
func (n *node) grow(segment string) *node {
	switch {
	case n.literals != nil:
		return grow(n.literals, segment)
	case n.next == nil:
		n.literal, n.next = segment, &node{}
		return n.next
	case n.literal == segment:
		return n.next
	}
	n.literals = map[string]*node{n.literal: n.next}
	return grow(n.literals, segment)
}

// leaf is what was chosen: a host and a path, whatever their placeholders are called, with one or more entries.
type leaf struct {
	host    Host
	path    Path
	entries []int      // those that are found here before the absent ones
	here    int        // how many are
	all     int        // the entry that takes the usual methods and no other, or -1
	methods []methodOf // of the other entries
	allowed []string   // the methods, sorted
	wary    Oddity     // spellings of its paths that may belong to a route that asks for more
}

// methodOf says whose a method is.
type methodOf struct {
	method string
	entry  int
}

// entry finds the one that takes a method.
func (l *leaf) entry(method string) (entry int, ok bool) {
	if l.all >= 0 && slices.Contains(knownMethods, method) {
		return l.all, true
	}
	for i := range l.methods {
		if m := &l.methods[i]; m.method == method {
			return m.entry, true
		}
	}
	return 0, false
}

// NewTable compiles entries. With conflicts there is no table.
func NewTable[T any](entries []Entry[T]) (*Table[T], []Conflict) {
	t := &Table[T]{entries: slices.Clone(entries), exact: map[string]*node{}, listed: map[string]bool{}}
	var conflicts []Conflict
	for i := range t.entries {
		e := &t.entries[i]
		e.Methods = slices.Clone(e.Methods)
		if why := unreachable(e.Path, e.Methods); why != "" {
			conflicts = append(conflicts, Conflict{First: i, Second: -1, Why: why})
			continue
		}
		if !e.Absent {
			conflicts = append(conflicts, t.insert(i, e)...)
		}
	}
	for i := range t.entries { // an absent entry takes what none that is here takes
		if e := &t.entries[i]; e.Absent && e.Path.text != "" {
			t.insert(i, e)
		}
	}
	conflicts = append(conflicts, t.rivals()...)
	if len(conflicts) > 0 {
		return nil, conflicts
	}
	slices.SortStableFunc(t.shapes, func(a, b hostShape) int { return b.rank - a.rank })
	for _, l := range t.leaves {
		l.finish()
	}
	t.survey()
	return t, nil
}

func (t *Table[T]) insert(i int, e *Entry[T]) (conflicts []Conflict) {
	place := t.root(e.Host).leaf(e.Path)
	if *place == nil {
		*place = &leaf{host: e.Host, path: e.Path, all: -1}
		t.leaves = append(t.leaves, *place)
	}
	l := *place
	l.entries = append(l.entries, i)
	if !e.Absent {
		l.here++
	}
	if len(e.Methods) == 0 && len(l.entries) == 1 {
		l.all = i
		return nil
	}
	methods := e.Methods
	if len(methods) == 0 {
		methods = knownMethods
	}
	rivals := map[int]bool{}
	for _, method := range methods {
		t.listed[method] = true
		rival, taken := l.entry(method)
		if taken && rival != i && !rivals[rival] && !e.Absent {
			rivals[rival] = true
			conflicts = append(conflicts, Conflict{First: rival, Second: i, Why: "the same hosts and paths, and both take " +
				method})
		}
		if !taken {
			l.methods = append(l.methods, methodOf{method, i})
		}
	}
	return conflicts
}

// holds reports whether one of l's entries is found here.
func (l *leaf) holds(entry int) bool {
	return l.here == len(l.entries) || slices.Contains(l.entries[:l.here], entry)
}

func (l *leaf) finish() {
	all := l.all >= 0 && l.holds(l.all)
	if all && len(l.methods) == 0 {
		l.allowed = knownMethods
		return
	}
	if all {
		l.allowed = slices.Clone(knownMethods)
	}
	for _, m := range l.methods {
		if l.holds(m.entry) {
			l.allowed = append(l.allowed, m.method)
		}
	}
	slices.Sort(l.allowed)
}

// root is the tree of a host pattern, made when there is none yet.
func (t *Table[T]) root(h Host) *node {
	switch {
	case h.text == "":
		if t.any == nil {
			t.any = &node{}
		}
		return t.any
	case h.labels == nil:
		return grow(t.exact, h.text)
	}
	at := t.shape(h)
	if at < 0 {
		at = len(t.shapes)
		t.shapes = append(t.shapes, hostShape{labels: h.labels, rank: h.rank(), trees: map[string]*node{}})
	}
	return grow(t.shapes[at].trees, string(t.shapes[at].key(nil, h.text)))
}

func (t *Table[T]) shape(h Host) int {
	return slices.IndexFunc(t.shapes, func(s hostShape) bool { return s.holds(h) })
}

func grow(nodes map[string]*node, key string) *node {
	n := nodes[key]
	if n == nil {
		n = &node{}
		nodes[key] = n
	}
	return n
}

func (s *hostShape) holds(h Host) bool {
	return slices.EqualFunc(s.labels, h.labels, func(a, b part) bool { return (a.name == "") == (b.name == "") })
}

// key appends to room the labels of host, or of a pattern, that stand where s has literals. An empty label, which no
// canonical host has, makes a key that no pattern has.
func (s *hostShape) key(room []byte, host string) []byte {
	for i := range s.labels {
		label, rest, _ := strings.Cut(host, ".")
		if label == "" {
			return room[:0]
		}
		if s.labels[i].name == "" {
			room = append(room, label...)
		}
		room = append(room, '.')
		host = rest
	}
	return room
}

// leaf is the place of a path below n, with every node on the way to it.
func (n *node) leaf(p Path) **leaf {
	for _, s := range p.segments {
		if s.name == "" {
			n = n.grow(s.literal)
			continue
		}
		if n.param == nil {
			n.param = &node{}
		}
		n = n.param
	}
	if p.tree {
		return &n.tree
	}
	return &n.exact
}

// A Match is what Table.Match found. It can be used again, and refers to its Target, which must not be parsed anew
// while the Match is in use.
type Match[T any] struct {
	Value   T
	Entry   int      // index of the entry; -1 without a match
	Allowed []string // the methods of the chosen host and path, sorted, with refusal.MethodNotAllowed; not to be changed

	entry  *Entry[T]
	target *Target
	host   string
}

// Param is the value that {name} of the path has, decoded once. odd says that two readers could disagree about it,
// since an oddity lies in it or before it: what is judged by it (a tenant) must then be refused.
func (m *Match[T]) Param(name string) (value string, odd, ok bool) {
	if m.entry == nil {
		return "", false, false
	}
	i := placed(m.entry.Path.segments, name)
	if i < 0 {
		return "", false, false
	}
	return m.target.Segment(i), m.target.odd(i), true
}

// HostParam is the value that {name} of the host has, in lower case.
func (m *Match[T]) HostParam(name string) (string, bool) {
	if m.entry == nil {
		return "", false
	}
	i := placed(m.entry.Host.labels, name)
	if i < 0 {
		return "", false
	}
	rest := m.host
	for range i {
		_, rest, _ = strings.Cut(rest, ".")
	}
	label, _, _ := strings.Cut(rest, ".")
	return label, true
}

// The errors of Match have no operand: a path may hold a credential, and an attacker asks for missing ones in bulk.
var (
	errNotFound error = &refusal.Error{Reason: refusal.RouteNotFound}
	errMethod   error = &refusal.Error{Reason: refusal.MethodNotAllowed}
	errOdd      error = &refusal.Error{Reason: refusal.PathAmbiguous, Detail: "path: an oddity that no route here allows"}
	errReading  error = &refusal.Error{
		Reason: refusal.PathAmbiguous,
		Detail: "path: with its oddities read in another way it belongs to a more specific route",
	}
	errNoRequest error = &refusal.Error{Reason: refusal.PathAmbiguous, Detail: "path: none was parsed"}
)

// Match fills m with the entry for a canonical host, a method and a parsed target. It refuses with
// refusal.RouteNotFound, refusal.MethodNotAllowed (m.Allowed is set), or refusal.PathAmbiguous: the target has an
// oddity that the chosen entry does not allow, or no entry was chosen, or another reading of the path would have chosen
// a more specific entry, or one that asks for more, past which the oddity would smuggle the request.
//
// A path of absent entries alone is not found, and no broader entry is chosen in their place.
func (t *Table[T]) Match(host, method string, target *Target, m *Match[T]) error {
	*m = Match[T]{Entry: -1}
	if target.count == 0 {
		return errNoRequest
	}
	l := t.find(host, target)
	if target.Oddities != 0 {
		if err := t.tolerate(host, method, target, l); err != nil {
			return err
		}
	}
	if l == nil || l.here == 0 {
		return errNotFound
	}
	i, ok := l.entry(method)
	if !ok || !l.holds(i) {
		m.Allowed = l.allowed
		return errMethod
	}
	if l.wary != 0 {
		if err := t.spelled(host, method, target, l, ""); err != nil {
			return err
		}
	}
	e := &t.entries[i]
	m.Value, m.Entry, m.entry, m.target, m.host = e.Value, i, e, target, host
	return nil
}

// find chooses host and path. A host without a matching path leaves the choice to the less specific hosts.
func (t *Table[T]) find(host string, target *Target) *leaf {
	s := search{target: target}
	if n := t.exact[host]; n != nil {
		if l := s.find(n, 0); l != nil {
			return l
		}
	}
	if len(t.shapes) > 0 && !isAddress(host) {
		if l := t.findShape(host, &s); l != nil {
			return l
		}
	}
	if t.any != nil {
		return s.find(t.any, 0)
	}
	return nil
}

func (t *Table[T]) findShape(host string, s *search) *leaf {
	for n := range t.shaped(host) {
		if l := s.find(n, 0); l != nil {
			return l
		}
	}
	return nil
}

// shaped yields the trees of the host patterns that match a host, the more specific first.
func (t *Table[T]) shaped(host string) func(yield func(*node) bool) {
	return func(yield func(*node) bool) {
		var room [maxHost + 3]byte
		if host == "" || len(host) > maxHost {
			return
		}
		labels := strings.Count(host, ".") + 1
		for i := range t.shapes {
			shape := &t.shapes[i]
			if len(shape.labels) != labels {
				continue
			}
			if n := shape.trees[string(shape.key(room[:0], host))]; n != nil && !yield(n) {
				return
			}
		}
	}
}

// search walks a tree of segments, the more specific branch first. Each node stands for one pattern's beginning and is
// reached in one way only, so however the request is made, a search visits at most the nodes of the tree: the work is
// bounded by the table, and an attacker has no share in it.
type search struct {
	target *Target
	nodes  int // visited so far
}

func (s *search) find(n *node, depth int) *leaf {
	s.nodes++
	if depth == s.target.count {
		return n.exact
	}
	if text := s.target.at(depth).text; text != "" {
		if child := n.behind(text); child != nil {
			if l := s.find(child, depth+1); l != nil {
				return l
			}
		}
		if n.param != nil {
			if l := s.find(n.param, depth+1); l != nil {
				return l
			}
		}
	}
	return n.tree
}
