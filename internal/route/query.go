package route

import "strings"

// QueryValues gives the values of every member of a raw query that is called name, decoded once. Members are separated
// by "&" alone, and their names compare after one decoding (of escapes, and of "+" as a space).
//
// It is for a value that something is judged by, so ok is false, without values, when another parser could find other
// ones: a ";" that would separate or end such a member, a name with a broken escape, control characters or broken
// UTF-8, a name that is the one asked for only after another decoding, or a value with any of these faults. Elsewhere
// in the query all this does no harm. Spellings that some frameworks fold (capitals, "name[]") are other names.
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

// semicolonHides tells whether a member with semicolons is, or for a parser that splits there holds, one called name.
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
	return false, decodeFully(text) != name
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
