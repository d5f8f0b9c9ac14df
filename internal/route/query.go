package route

import "strings"

// QueryValues returns the values of every member of a raw query that is called name, decoded once. Members are
// separated by "&" alone, and their names compare after one decoding (of escapes, and of "+" as a space).
//
// It is for a value that something is judged by, so ok is false, without values, when another parser could find other
// ones: a ";" that would separate or end such a member, a name with a broken escape, control characters or broken
// UTF-8, a name that is the one asked for only after another decoding or to a framework that is free with names
// (resembles), or a value with any of these faults. Elsewhere in the query all this does no harm.
func QueryValues(query, name string) (values []string, ok bool) {
	for member := range strings.SplitSeq(query, "&") {
		if member == "" {
			continue
		}
		if strings.Contains(member, ";") {
			if semicolonHides(member, name) {
				return nil, false
			}
			continue
		}
		key, raw, _ := strings.Cut(member, "=")
		is, sure := isName(key, name)
		if !sure {
			return nil, false
		}
		if !is {
			continue
		}
		value, good := decodeMember(raw)
		if !good {
			return nil, false
		}
		values = append(values, value)
	}
	return values, true
}

// semicolonHides reports whether a member with semicolons is, or for a parser that splits there holds, one called name.
func semicolonHides(member, name string) bool {
	for piece := range strings.SplitSeq(member, ";") {
		key, _, _ := strings.Cut(piece, "=")
		if is, sure := isName(key, name); is || !sure {
			return true
		}
	}
	return false
}

// isName compares a raw key; sure is false when parsers could disagree about it.
func isName(key, name string) (is, sure bool) {
	text, good := decodeMember(key)
	if !good {
		return false, false
	}
	if text == name {
		return true, true
	}
	return false, !resembles(text, name) && (!encoded(text) || !resembles(decodeFully(text), name))
}

// resembles reports whether some framework takes a member of this name for one called name: ASP.NET ignores the case of
// letters; PHP drops spaces in front and makes "_" of dots, spaces and an unclosed bracket; PHP, Rails, Express (qs)
// and Spring take name[], name[0], name.x, [name] and ]name for the member itself, or for one with parts.
func resembles(text, name string) bool {
	if len(text) < len(name) {
		return false // all of them only ever shorten a name
	}
	text = strings.TrimLeft(text, " []")
	if len(text) < len(name) || !alike(text[:len(name)], name) {
		return longer(text, name)
	}
	rest := text[len(name):]
	return rest == "" || strings.IndexByte("[].", rest[0]) >= 0 || strings.Trim(rest, " ") == ""
}

// longer is resembles for a text whose letters take more bytes than the name's: U+017F is an "s" to some, U+212A a "k".
func longer(text, name string) bool {
	folded := strings.Map(func(c rune) rune {
		switch c {
		case '\u017f':
			return 's'
		case '\u212a':
			return 'k'
		}
		return c
	}, text)
	return folded != text && resembles(folded, name)
}

// alike compares names as PHP and ASP.NET do.
func alike(a, b string) bool {
	for i := range len(a) {
		if plainName(a[i]) != plainName(b[i]) {
			return false
		}
	}
	return true
}

func plainName(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '.' || c == ' ' || c == '[':
		return '_'
	}
	return c
}

func decodeMember(raw string) (string, bool) {
	if strings.ContainsAny(raw, "+%") {
		text := make([]byte, 0, len(raw))
		for i := 0; i < len(raw); i++ {
			c := raw[i]
			switch c {
			case '+':
				c = ' '
			case '%':
				var ok bool
				if c, ok = octet(raw[i:]); !ok {
					return "", false
				}
				i += 2
			}
			text = append(text, c)
		}
		raw = string(text)
	}
	return raw, printable(raw) == nil
}
