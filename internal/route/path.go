package route

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// A Path is a pattern for paths: literal segments and {name}, each of which matches one segment that is not empty.
// One that ends in "/" covers the tree below it: "/admin/" matches "/admin/" and "/admin/x/y", but not "/admin".
// The zero Path matches nothing.
type Path struct {
	text     string
	segments []part // without the empty one behind a last slash
	tree     bool
}

// A part of a pattern is a literal, or a placeholder when it has a name.
type part struct{ literal, name string }

func (a part) matches(text string) bool {
	return text != "" && (a.name != "" || a.literal == text)
}

func (a part) covers(b part) bool {
	return a.name != "" || b.name == "" && a.literal == b.literal
}

func (a part) overlaps(b part) bool {
	return a.name != "" || b.name != "" || a.literal == b.literal
}

func names(parts []part) []string {
	var names []string
	for _, a := range parts {
		if a.name != "" {
			names = append(names, a.name)
		}
	}
	return names
}

// placed is the index of {name}, or -1.
func placed(parts []part, name string) int {
	for i := range parts {
		if parts[i].name == name && name != "" {
			return i
		}
	}
	return -1
}

// ParsePath reads a path pattern. Literals are written decoded, and such as the path of a request can hold without any
// oddity; names are [a-z_][a-z0-9_]*, each once.
func ParsePath(pattern string) (Path, error) {
	rest, ok := strings.CutPrefix(pattern, "/")
	if !ok {
		return Path{}, fmt.Errorf("path %q: does not start with a slash: write \"/%s\"", pattern, pattern)
	}
	p := Path{text: pattern}
	if rest, p.tree = strings.CutSuffix(rest, "/"); rest == "" && !p.tree {
		return Path{text: pattern, tree: true}, nil
	}
	if n := strings.Count(rest, "/") + 1; n >= MaxSegments {
		return Path{}, fmt.Errorf("path %q: has %d segments: write fewer than %d", pattern, n, MaxSegments)
	}
	for word := range strings.SplitSeq(rest, "/") {
		s, err := parsePart(word)
		if err != nil {
			return Path{}, fmt.Errorf("path %q: %w", pattern, err)
		}
		if placed(p.segments, s.name) >= 0 {
			return Path{}, fmt.Errorf("path %q: {%s} is there twice: give each placeholder its own name", pattern, s.name)
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func parsePart(word string) (part, error) {
	if word == "" {
		return part{}, errors.New("an empty segment: write single slashes")
	}
	if strings.ContainsAny(word, "{}") {
		name, err := parsePlaceholder(word)
		return part{name: name}, err
	}
	return part{literal: word}, judgeLiteral(word)
}

func judgeLiteral(word string) error {
	switch {
	case isDots(word):
		return fmt.Errorf("segment %q: a request with a dot segment is refused: leave it out", word)
	case word == "*" || word == "**":
		return fmt.Errorf("segment %q: no wildcard: write {name} for one segment, or end the path in / for the tree below it",
			word)
	case strings.ContainsAny(word, "?#"):
		return fmt.Errorf("segment %q: a path pattern has no query and no fragment", word)
	case strings.ContainsAny(word, `;\`):
		return fmt.Errorf("segment %q: a request with ; or \\ in its path is refused or ambiguous: no literal can hold it",
			word)
	case encoded(word):
		return fmt.Errorf("segment %q: write literals decoded, not percent-encoded", word)
	case printable(word) != nil:
		return fmt.Errorf("segment %q: a control character, or not UTF-8", word)
	}
	return nil
}

// parsePlaceholder reads "{name}", which must be the whole of word.
func parsePlaceholder(word string) (string, error) {
	name, opens := strings.CutPrefix(word, "{")
	name, closes := strings.CutSuffix(name, "}")
	if !opens || !closes || strings.ContainsAny(name, "{}") {
		return "", fmt.Errorf("%q: a placeholder is {name}, alone between its borders", word)
	}
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return "", fmt.Errorf("%q: a placeholder's name is [a-z_][a-z0-9_]*", word)
		}
	}
	if name == "" {
		return "", fmt.Errorf("%q: a placeholder needs a name", word)
	}
	return name, nil
}

// String is the pattern as it was written.
func (p Path) String() string { return p.text }

// Params lists the names of the placeholders, in order.
func (p Path) Params() []string { return names(p.segments) }

// Place returns the index of the segment that {name} stands for, or -1.
func (p Path) Place(name string) int { return placed(p.segments, name) }

// Beginning returns the literal segments with which p begins, each behind a slash. Paths that overlap begin alike: the
// one's beginning is that of the other, or there are more segments in it.
func (p Path) Beginning() string {
	var b strings.Builder
	for _, s := range p.segments {
		if s.name != "" {
			break
		}
		b.WriteString("/" + s.literal)
	}
	return b.String()
}

// Rewritten returns the pattern of the paths that p matches, without the literal prefix strip and with the literal
// prefix add before them. The error says that not every such path begins with strip.
func (p Path) Rewritten(strip, add string) (Path, error) {
	rest, ok := strings.CutPrefix(p.text, strip)
	if !ok || strip != "" && rest != "" && rest[0] != '/' {
		return Path{}, fmt.Errorf("path %q: does not begin with %q", p.text, strip)
	}
	if rest == "" && add == "" {
		return Path{text: "/", segments: []part{{}}}, nil // that one path, and not the tree that the pattern "/" covers
	}
	return ParsePath(add + rest)
}

// Overlaps reports whether some path is matched by both.
func (p Path) Overlaps(q Path) bool { return p.overlaps(q) }

// Before reports whether p is more specific than q.
func (p Path) Before(q Path) bool { return p.compare(q) < 0 }

// Covers reports whether p matches every path that q matches.
func (p Path) Covers(q Path) bool {
	if p.text == "" || q.text == "" || !fits(p, q) {
		return false
	}
	for i, s := range p.segments {
		if !s.covers(q.segments[i]) {
			return false
		}
	}
	return true
}

// fits reports whether a path is long enough for p whenever it is for q.
func fits(p, q Path) bool {
	switch {
	case !p.tree:
		return !q.tree && len(p.segments) == len(q.segments)
	case q.tree:
		return len(p.segments) <= len(q.segments)
	}
	return len(p.segments) < len(q.segments)
}

// overlaps reports whether some path is matched by both.
func (p Path) overlaps(q Path) bool {
	if p.text == "" || q.text == "" || !meets(p, q) {
		return false
	}
	for i := range min(len(p.segments), len(q.segments)) {
		if !p.segments[i].overlaps(q.segments[i]) {
			return false
		}
	}
	return true
}

// meets reports whether some number of segments suits both.
func meets(p, q Path) bool {
	switch {
	case p.tree && q.tree:
		return true
	case p.tree:
		return len(q.segments) > len(p.segments)
	case q.tree:
		return len(p.segments) > len(q.segments)
	}
	return len(p.segments) == len(q.segments)
}

// compare orders two patterns by how specific they are, the more specific first (negative): segment by segment from
// the left a literal before a placeholder, then the longer before the shorter. Of two that match one path, zero means
// that they match the same paths.
func (p Path) compare(q Path) int {
	for i := range min(len(p.segments), len(q.segments)) {
		a, b := p.segments[i], q.segments[i]
		switch {
		case a.name == "" && b.name != "":
			return -1
		case a.name != "" && b.name == "":
			return 1
		case a.name == "" && a.literal != b.literal:
			return 0
		}
	}
	return cmp.Compare(len(q.segments), len(p.segments))
}

// matches is the plain reading of the contract. A table finds its routes in another way, and is tested against this.
func (p Path) matches(t *Target) bool { return t.count > 0 && p.matchesFirst(t, t.count) }

// matchesFirst is matches for the first count segments of t; of one more than it has, the last is empty.
func (p Path) matchesFirst(t *Target, count int) bool {
	return p.matchesBy(t, count, func(s part, text string) bool { return s.matches(text) })
}

// matchesFolded is matchesFirst without the case of letters.
func (p Path) matchesFolded(t *Target, count int) bool {
	return p.matchesBy(t, count, func(s part, text string) bool {
		return s.matches(text) || s.name == "" && lower(s.literal) == lower(text)
	})
}

func (p Path) matchesBy(t *Target, count int, matches func(part, string) bool) bool {
	n := len(p.segments)
	if p.text == "" || !p.tree && count != n || p.tree && count <= n || n > t.count {
		return false
	}
	for i, s := range p.segments {
		if !matches(s, t.Segment(i)) {
			return false
		}
	}
	return true
}
