package route

import "fmt"

// A Conflict is what keeps entries from being a table: two that are equally specific and can be asked for by one
// request, or one that no request can ever reach.
type Conflict struct {
	First, Second int // indexes of the entries; Second is -1 when First stands alone
	Why           string
}

func (c Conflict) Error() string {
	if c.Second < 0 {
		return fmt.Sprintf("entry %d: %s", c.First, c.Why)
	}
	return fmt.Sprintf("entries %d and %d: %s", c.First, c.Second, c.Why)
}

// unreachable says why no request can match, or "". Patterns that were parsed can always be reached, since no finite
// number of more specific ones covers a placeholder or a tree.
func unreachable(p Path, methods []string) string {
	if p.text == "" {
		return "no path: nothing matches"
	}
	for _, method := range methods {
		if _, err := ParseMethod(method); err != nil {
			return err.Error()
		}
	}
	return ""
}

// rivals finds pairs of host patterns that are equally specific, match some host in common ("a.{x}.io" and "{y}.b.io")
// and have paths in common: neither could be chosen before the other, whatever the methods.
func (t *Table[T]) rivals() (conflicts []Conflict) {
	patterns := t.patterned()
	for i, a := range patterns {
		for _, b := range patterns[i+1:] {
			if a.shape == b.shape || a.host.rank() != b.host.rank() || !a.host.overlaps(b.host) {
				continue
			}
			for _, l := range a.leaves {
				for _, m := range b.leaves {
					if l.path.overlaps(m.path) {
						conflicts = append(conflicts, rival(l, m))
					}
				}
			}
		}
	}
	return conflicts
}

func rival(l, m *leaf) Conflict {
	return Conflict{
		First: min(l.entries[0], m.entries[0]), Second: max(l.entries[0], m.entries[0]),
		Why: fmt.Sprintf("hosts %q and %q are equally specific and can both match one host, and paths %q and %q one path",
			l.host, m.host, l.path, m.path),
	}
}

// pattern is a host pattern with the leaves of its tree.
type pattern struct {
	host   Host
	shape  int
	leaves []*leaf
}

// patterned gathers the leaves that have a host pattern, unless all patterns have one shape: then no two of them can
// match one host.
func (t *Table[T]) patterned() []pattern {
	if len(t.shapes) < 2 {
		return nil
	}
	type key struct {
		shape int
		host  string
	}
	var patterns []pattern
	index := map[key]int{}
	for _, l := range t.leaves {
		if l.host.labels == nil {
			continue
		}
		shape := t.shape(l.host)
		k := key{shape, string(t.shapes[shape].key(nil, l.host.text))}
		at, ok := index[k]
		if !ok {
			at = len(patterns)
			index[k] = at
			patterns = append(patterns, pattern{host: l.host, shape: shape})
		}
		patterns[at].leaves = append(patterns[at].leaves, l)
	}
	return patterns
}
