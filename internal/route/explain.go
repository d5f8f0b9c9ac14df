package route

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
		return "the path has an oddity that the route does not tolerate"
	case ReadingDisputed:
		return "the path, read in another way, belongs to a more specific route"
	}
	return "unknown"
}

// Matches tells whether the entry's host and path cover the request's, chosen or not.
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
	case !e.takes(method):
		return MethodDiffers
	case target.Oddities&^e.Allow != 0:
		return OddityRefused
	case target.Oddities != 0 && t.disputed(best, host, target):
		return ReadingDisputed
	}
	return Chosen
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
