package route

import "strings"

// tolerate judges a target with oddities, for which l, perhaps nil, was chosen.
//
// That the route allows them is not enough. Say "/" is public and allows double_slash, and "/admin/" is guarded:
// "//admin/x" belongs to "/" as it stands, while an upstream that merges slashes serves "/admin/x". So every way to
// read the oddities is matched too, and none may lead to a route that is more specific than the chosen one. A less
// specific one may stand behind it: "/files/{name}" allows an encoded slash in spite of a "/" beside it.
func (t *Table[T]) tolerate(host, method string, target *Target, l *leaf) error {
	if l == nil || l.here == 0 || !t.allows(l, method, target.Oddities) {
		return errOdd
	}
	var other Target
	for as := range target.ways() {
		if !other.read(target, as) {
			return errOdd
		}
		if rival := t.find(host, &other); rival != nil && rival != l && !l.before(rival) {
			return errReading
		}
		if err := t.spelled(host, method, &other, l, "with its oddities read in another way"); err != nil {
			return err
		}
	}
	if other.authority(target) {
		return t.elsewhere(host, method, &other, l)
	}
	return nil
}

// allows reports whether the entry for method allows the oddities; with a method that l lacks, whether any does, so
// that the answer is 405 where the path is not at fault.
func (t *Table[T]) allows(l *leaf, method string, oddities Oddity) bool {
	if i, ok := l.entry(method); ok && l.holds(i) {
		return oddities&^t.entries[i].Allow == 0
	}
	for _, i := range l.entries[:l.here] {
		if oddities&^t.entries[i].Allow == 0 {
			return true
		}
	}
	return false
}

// before reports whether l is more specific than m.
func (l *leaf) before(m *leaf) bool {
	if c := l.host.compare(m.host); c != 0 {
		return c < 0
	}
	return l.path.compare(m.path) < 0
}

// ways gives each set of oddities that a reader could take the other way. Merging slashes is always among them, since
// the other readings make empty segments; what a second decoding brings to light may be read either way too.
func (t *Target) ways() func(yield func(Oddity) bool) {
	some := t.Oddities&^EncodedDot | DoubleSlash // a reader that knows no escapes finds no route by an escaped dot
	if some&DoubleEncoding != 0 {
		some |= EncodedSlash | Semicolon
	}
	return func(yield func(Oddity) bool) {
		for as := some; as != 0; as = (as - 1) & some {
			if !yield(as) {
				return
			}
		}
	}
}

// read fills t with target as a reader sees it that decodes until nothing is encoded, drops bytes that are not UTF-8,
// splits at encoded slashes, drops path parameters and merges slashes, each if it is in as. False: that makes too many
// segments.
func (t *Target) read(target *Target, as Oddity) bool {
	t.reset()
	for i := range target.count {
		text := target.Segment(i)
		if as&DoubleEncoding != 0 {
			text = decodeFully(text)
		}
		if as&NotUTF8 != 0 {
			text = dropInvalid(text)
		}
		for more := true; more; {
			var piece string
			piece, text, more = cutIf(as&EncodedSlash != 0, text, "/")
			piece, _, _ = cutIf(as&Semicolon != 0, piece, ";")
			last := !more && i == target.count-1
			if piece == "" && !last && as&DoubleSlash != 0 {
				continue
			}
			if t.count == MaxSegments {
				return false
			}
			t.keep(segment{text: piece})
		}
	}
	return true
}

func cutIf(cut bool, text, border string) (before, after string, found bool) {
	if !cut {
		return text, "", false
	}
	return strings.Cut(text, border)
}

// authority fills t with target as a reader sees it that takes "//x/y" for a reference with an authority (RFC 3986
// §4.2), as the URL parser of browsers and Node does: the path is what follows it. False: the path does not start so.
func (t *Target) authority(target *Target) bool {
	at := 0
	for at < target.count-1 && target.Segment(at) == "" {
		at++
	}
	if at == 0 {
		return false
	}
	t.reset()
	for i := at + 1; i < target.count; i++ {
		t.keep(segment{text: target.Segment(i)})
	}
	if t.count == 0 {
		t.keep(segment{})
	}
	return true
}
