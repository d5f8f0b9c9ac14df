package httpserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/grammar"
)

// AllowsBody reports whether a response of that status has a body (RFC 9110 section 6.4.1).
func AllowsBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// ExpectsContinue reports whether a request's Expect field is the one expectation there is (RFC 9110 section 10.1.1).
func ExpectsContinue(expect []string) bool {
	return len(expect) == 1 && strings.EqualFold(expect[0], "100-continue")
}

// ValidTrailer reports whether a field of that name may stand in a trailer section. httpguts does not check for a
// token, and any other name would split an HTTP/1.1 response there.
func ValidTrailer(name string) bool {
	return grammar.IsToken(name) && httpguts.ValidTrailerHeader(name)
}

// AppendTrailers adds the names that Trailer fields announce, in their canonical form, without those that cannot be
// trailers.
func AppendTrailers(to, fields []string) []string {
	for _, list := range fields {
		for name := range strings.SplitSeq(list, ",") {
			if name = http.CanonicalHeaderKey(grammar.Trim(name)); ValidTrailer(name) {
				to = append(to, name)
			}
		}
	}
	return to
}

// Trailers gives each trailer of a response: first those whose names were announced, then those that the handler set
// with http.TrailerPrefix, sorted by name.
func Trailers(h http.Header, announced []string, give func(name, value string)) {
	for _, name := range announced {
		for _, value := range h[name] {
			give(name, value)
		}
	}
	var late []string
	for name := range h {
		if unprefixed, is := strings.CutPrefix(name, http.TrailerPrefix); is && ValidTrailer(unprefixed) {
			late = append(late, name)
		}
	}
	slices.Sort(late)
	for _, name := range late {
		for _, value := range h[name] {
			give(name[len(http.TrailerPrefix):], value)
		}
	}
}

// ParseTarget is url.ParseRequestURI, and needs no parser for targets of unreserved characters, as most are. The URL
// that it returns may be room, which must be zero.
func ParseTarget(room *url.URL, target string) (*url.URL, error) {
	path, query, there := strings.Cut(target, "?")
	if !unreserved(path) {
		return url.ParseRequestURI(target)
	}
	room.Path, room.RawQuery, room.ForceQuery = path, query, there && query == ""
	return room, nil
}

func unreserved(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '/', c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}
