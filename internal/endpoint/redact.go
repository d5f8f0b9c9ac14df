package endpoint

import (
	"net/url"
	"strings"
)

// longestPlain is how long a segment of a path can be without looking like a credential: a code has 128 characters, and
// the shortest token has more.
const longestPlain = 100

const redacted = "[redacted]"

// Redact returns a raw path as a log may hold it.
//
// The access-token dialect has a credential in its paths. A client that misspells such a path, or sends it to a host
// that does not serve it, still sends the credential. So in every path, whatever follows the dialect's name is
// redacted, in the same segment (behind ";" or an escaped slash) or in a later one, and the name is found in any
// spelling: escaped, escaped again, in capitals, with other punctuation. A segment as long as a token is redacted
// wherever it stands.
func Redact(path string) string {
	if len(path) <= longestPlain && !names(path) {
		return path // as most are
	}
	segments := strings.Split(path, "/")
	behind := false
	for i, segment := range segments {
		rest, found := afterName(unescape(segment))
		switch {
		case len(segment) > longestPlain, behind && !harmless[segment], found && rest != "" && rest != "s":
			segments[i] = redacted
		}
		behind = behind || found
	}
	return strings.Join(segments, "/")
}

// harmless are the segments behind the dialect's name that are no credential.
var harmless = map[string]bool{"": true, "create": true, "create.json": true, "delete": true, "delete.json": true}

// name is the dialect's name without its punctuation.
const name = "accesstoken"

// names reports whether the dialect's name is in a raw path.
func names(path string) bool {
	if strings.IndexByte(path, '%') >= 0 {
		path = unescape(path)
	}
	_, found := afterName(path)
	return found
}

// afterName returns what follows the dialect's name in text. Punctuation and the case of letters do not count. A text
// without a "k" is not read.
func afterName(text string) (rest string, found bool) {
	if strings.IndexByte(text, 'k') < 0 && strings.IndexByte(text, 'K') < 0 {
		return "", false
	}
	matched := 0
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case c == name[matched]:
			if matched++; matched == len(name) {
				return text[i+1:], true
			}
		case c == name[0]:
			matched = 1
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '/':
			matched = 0
		}
	}
	return "", false
}

// unescape undoes escapes, and those of escapes, and leaves a percent sign alone that begins none.
func unescape(text string) string {
	for range 4 {
		if strings.IndexByte(text, '%') < 0 {
			break
		}
		decoded, err := url.PathUnescape(text)
		if err != nil {
			decoded = lenient(text)
		}
		if decoded == text {
			break
		}
		text = decoded
	}
	return text
}

// lenient undoes the escapes that are well-formed.
func lenient(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+3 <= len(text) {
			if c, err := url.PathUnescape(text[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
