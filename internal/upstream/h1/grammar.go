package h1

import (
	"net/textproto"
	"strings"

	"github.com/jotgate/jotgate/internal/grammar"
)

// validTrailer leaves out what frames or routes a message (RFC 9110 §6.5.1).
func validTrailer(name string) bool {
	return grammar.IsToken(name) && !reserved(name)
}

// canonical is name as http.Header has it; it is itself where it is that already, which costs nothing.
func canonical(name string) string {
	upper := true
	for i := range len(name) {
		c := name[i]
		if upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			return textproto.CanonicalMIMEHeaderKey(name)
		}
		upper = c == '-'
	}
	return name
}

// listed reports whether a list (RFC 9110 §5.6.1) has a word, in any letter case.
func listed(list, word string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(grammar.Trim(item), word) {
			return true
		}
	}
	return false
}
