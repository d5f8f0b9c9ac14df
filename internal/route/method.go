package route

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/grammar"
)

// Methods returns the methods that an entry without methods takes.
func Methods() []string { return slices.Clone(knownMethods) }

// knownMethods are those that an entry without methods takes, sorted. Others (WebDAV's, say) must be listed.
var knownMethods = []string{
	http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost,
	http.MethodPut,
}

// ParseMethod reads a method that a route may list: a token (RFC 9110 §5.6.2) in capitals, since methods are
// case-sensitive and no registered one has small letters. CONNECT, TRACE and HTTP/2's PRI are never let through.
func ParseMethod(word string) (string, error) {
	switch {
	case word == http.MethodConnect || word == http.MethodTrace || word == "PRI":
		return "", fmt.Errorf("method %q: is never let through: leave it out", word)
	case word != strings.ToUpper(word):
		return "", fmt.Errorf("method %q: methods are case-sensitive: write %q", word, strings.ToUpper(word))
	case word == "*":
		return "", fmt.Errorf("method %q: leave the methods out to let every known one through", word)
	case !grammar.IsToken(word):
		return "", fmt.Errorf("method %q: is no token of RFC 9110", word)
	}
	return word, nil
}

// Knows reports whether a request with this method can match at all: it is one that an entry without methods takes, or
// some entry lists it. CONNECT and TRACE never are.
func (t *Table[T]) Knows(method string) bool {
	return slices.Contains(knownMethods, method) || t.listed[method]
}
