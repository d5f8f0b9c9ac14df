package route

import "slices"

// A Verdict says what became of one entry.
type Verdict uint8

const (
	Chosen          Verdict = iota // the request's route
	HostDiffers                    // the host pattern does not match
	PathDiffers                    // the path pattern does not match
	LessSpecific                   // both match, and so does an entry that is more specific
	MethodDiffers                  // the chosen host and path, but the entry lacks the method
	OddityRefused                  // the chosen entry does not tolerate an oddity of the path
	ReadingDisputed                // another reading of the odd path chooses a more specific entry
	ReadingStricter                // another reading of the path chooses an entry that asks for more
	NotHere                        // the path is the entry's, and the entry is absent
)

func (v Verdict) String() string {
	switch v {
	case Chosen:
		return "chosen"
	case HostDiffers:
		return "the host does not match"
	case PathDiffers:
		return "the path does not match"
	case LessSpecific:
		return "a more specific route matches"
	case MethodDiffers:
		return "the method is not among the route's"
	case OddityRefused:
		return "the path has an oddity that the route does not allow"
	case ReadingDisputed:
		return "the path, read in another way, belongs to a more specific route"
	case ReadingStricter:
		return "the path, read in another way, belongs to a route that asks for something else"
	case NotHere:
		return "the route does not answer on this listener"
	}
	return "unknown"
}

// Matches reports whether the entry's host and path cover the request's, chosen or not.
func (v Verdict) Matches() bool { return v != HostDiffers && v != PathDiffers }

// Considered is one entry with what became of it.
type Considered[T any] struct {
	Entry   int
	Value   T
	Verdict Verdict
}

// Explain tells of every entry, in the table's order, why it was or was not chosen. It goes through them one by one
// and shares nothing with Match but the patterns, so that the one can be tested by the other.
func (t *Table[T]) Explain(host, method string, target *Target) []Considered[T] {
	story := make([]Considered[T], len(t.entries))
	best := t.mostSpecific(host, target)
	for i := range t.entries {
		e := &t.entries[i]
		story[i] = Considered[T]{Entry: i, Value: e.Value, Verdict: t.verdict(e, best, host, method, target)}
	}
	return story
}

func (t *Table[T]) verdict(e, best *Entry[T], host, method string, target *Target) Verdict {
	switch {
	case !e.Host.matches(host):
		return HostDiffers
	case !e.Path.matches(target):
		return PathDiffers
	case e.compare(best) != 0:
		return LessSpecific
	case e.Absent:
		return NotHere
	case !e.takes(method):
		return MethodDiffers
	case target.Oddities&^e.Allow != 0:
		return OddityRefused
	case target.Oddities != 0 && t.disputed(best, host, target):
		return ReadingDisputed
	case t.confused(e, host, method, target):
		return ReadingStricter
	}
	return Chosen
}

// confused reports whether a reading of the target belongs to an entry that asks for more than e, the chosen one.
func (t *Table[T]) confused(e *Entry[T], host, method string, target *Target) bool {
	if t.misspelled(e, host, method, target, e.Allow, false) {
		return true
	}
	if target.Oddities == 0 {
		return false
	}
	var other Target
	for as := range target.ways() {
		if !other.read(target, as) || t.misspelled(e, host, method, &other, e.Allow, false) {
			return true
		}
	}
	return other.authority(target) && t.misspelled(e, host, method, &other, 0, true)
}

// misspelled goes through the spellings of a target by every entry that has one of them: its literals in its own case,
// and its last slash.
func (t *Table[T]) misspelled(e *Entry[T], host, method string, target *Target, allow Oddity, moved bool) bool {
	var spelled Target
	for i := range t.entries {
		rival := &t.entries[i]
		if !rival.takes(method) || !asksMore(rival.Asks, e.Asks, moved) || rival.samePattern(e) ||
			rival.Absent && t.replaced(rival, method) {
			continue
		}
		if !moved && e.compare(rival) < 0 {
			continue
		}
		for _, how := range [...]Oddity{0, LetterCase, TrailingSlash, LetterCase | TrailingSlash} {
			if !spelled.as(target, how, rival.Path) || how&^spelled.differs(target) != 0 || how&^allow == 0 && !moved {
				continue
			}
			if allow&TrailingSlash != 0 && rival.Path.matchesFirst(target, spelled.count) ||
				allow&LetterCase != 0 && rival.Path.matchesFolded(target, target.count) {
				continue
			}
			if best := t.mostSpecific(host, &spelled); best != nil && best.samePattern(rival) {
				return true
			}
		}
	}
	return false
}

// replaced reports whether an entry that is not absent takes the paths and the method of an absent one.
func (t *Table[T]) replaced(absent *Entry[T], method string) bool {
	return slices.ContainsFunc(t.entries, func(e Entry[T]) bool {
		return !e.Absent && e.takes(method) && e.samePattern(absent)
	})
}

// as fills t with another spelling of a target: with the literals of p in their own case, and with a last slash more or
// less. False: p does not match that.
func (t *Target) as(target *Target, how Oddity, p Path) bool {
	t.reset()
	count := target.count
	if how&TrailingSlash != 0 {
		if count++; target.Segment(target.count-1) == "" {
			count -= 2
		}
	}
	if count < 1 || count > MaxSegments {
		return false
	}
	for i := range count {
		s := segment{}
		if i < target.count {
			s.text = target.Segment(i)
		}
		if how&LetterCase != 0 && i < len(p.segments) && lower(p.segments[i].literal) == lower(s.text) {
			s.text = p.segments[i].literal
		}
		t.keep(s)
	}
	return p.matches(t)
}

// differs returns by what the spelling t of a target differs from it.
func (t *Target) differs(target *Target) (how Oddity) {
	if t.count != target.count {
		how = TrailingSlash
	}
	for i := range min(t.count, target.count) {
		if t.Segment(i) != target.Segment(i) {
			how |= LetterCase
		}
	}
	return how
}

// mostSpecific is the first of the entries that match and than which none that matches is more specific; or nil.
func (t *Table[T]) mostSpecific(host string, target *Target) *Entry[T] {
	var best *Entry[T]
	for i := range t.entries {
		e := &t.entries[i]
		if e.Host.matches(host) && e.Path.matches(target) && (best == nil || e.compare(best) < 0) {
			best = e
		}
	}
	return best
}

func (t *Table[T]) disputed(best *Entry[T], host string, target *Target) bool {
	for as := range target.ways() {
		var other Target
		if !other.read(target, as) {
			return true
		}
		if rival := t.mostSpecific(host, &other); rival != nil && !best.samePattern(rival) && best.compare(rival) >= 0 {
			return true
		}
	}
	return false
}

// compare orders the more specific first (negative).
func (e *Entry[T]) compare(f *Entry[T]) int {
	if c := e.Host.compare(f.Host); c != 0 {
		return c
	}
	return e.Path.compare(f.Path)
}

func (e *Entry[T]) samePattern(f *Entry[T]) bool {
	return e.Host.Covers(f.Host) && f.Host.Covers(e.Host) && e.Path.Covers(f.Path) && f.Path.Covers(e.Path)
}

func (e *Entry[T]) takes(method string) bool {
	methods := e.Methods
	if len(methods) == 0 {
		methods = knownMethods
	}
	for _, m := range methods {
		if m == method {
			return true
		}
	}
	return false
}
