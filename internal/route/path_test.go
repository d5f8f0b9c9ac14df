package route

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	for pattern, params := range map[string][]string{
		"/":                            nil,
		"/a":                           nil,
		"/a/":                          nil,
		"/tenants/{tenant}/tickets/":   {"tenant"},
		"/{a}/{_b2}":                   {"a", "_b2"},
		"/.well-known/jwks.json":       nil,
		"/café/a b/100%/:x/*.js/a@b/+": nil,
	} {
		p, err := ParsePath(pattern)
		if err != nil || p.String() != pattern || !slices.Equal(p.Params(), params) {
			t.Errorf("ParsePath(%q) = %q %q, %v", pattern, p, p.Params(), err)
		}
	}
	long := strings.Repeat("/a", MaxSegments)
	for pattern, want := range map[string]string{
		"":        `path "": does not start with a slash: write "/"`,
		"a/b":     `path "a/b": does not start with a slash: write "/a/b"`,
		"//":      `path "//": an empty segment: write single slashes`,
		"//a":     `path "//a": an empty segment: write single slashes`,
		"/a//b":   `path "/a//b": an empty segment: write single slashes`,
		"/a//":    `path "/a//": an empty segment: write single slashes`,
		"/a/../b": `path "/a/../b": segment "..": a request with a dot segment is refused: leave it out`,
		"/./":     `path "/./": segment ".": a request with a dot segment is refused: leave it out`,
		"/a/*": `path "/a/*": segment "*": no wildcard: write {name} for one segment, or end the path in / for the ` +
			`tree below it`,
		"/a?b": `path "/a?b": segment "a?b": a path pattern has no query and no fragment`,
		"/a#b": `path "/a#b": segment "a#b": a path pattern has no query and no fragment`,
		"/a;b": `path "/a;b": segment "a;b": a request with ; or \ in its path is refused or ambiguous: no ` +
			`literal can hold it`,
		`/a\b`: `path "/a\\b": segment "a\\b": a request with ; or \ in its path is refused or ambiguous: no ` +
			`literal can hold it`,
		"/%61":         `path "/%61": segment "%61": write literals decoded, not percent-encoded`,
		"/a\n":         `path "/a\n": segment "a\n": a control character, or not UTF-8`,
		"/\xff":        `path "/\xff": segment "\xff": a control character, or not UTF-8`,
		"/{}":          `path "/{}": "{}": a placeholder needs a name`,
		"/{a}b":        `path "/{a}b": "{a}b": a placeholder is {name}, alone between its borders`,
		"/{a":          `path "/{a": "{a": a placeholder is {name}, alone between its borders`,
		"/a}":          `path "/a}": "a}": a placeholder is {name}, alone between its borders`,
		"/{a}{b}":      `path "/{a}{b}": "{a}{b}": a placeholder is {name}, alone between its borders`,
		"/{A}":         `path "/{A}": "{A}": a placeholder's name is [a-z_][a-z0-9_]*`,
		"/{1a}":        `path "/{1a}": "{1a}": a placeholder's name is [a-z_][a-z0-9_]*`,
		"/{a...}":      `path "/{a...}": "{a...}": a placeholder's name is [a-z_][a-z0-9_]*`,
		"/{x}/{y}/{x}": `path "/{x}/{y}/{x}": {x} is there twice: give each placeholder its own name`,
		long:           `path "` + long + `": has 256 segments: write fewer than 256`,
	} {
		p, err := ParsePath(pattern)
		if err == nil || err.Error() != want || p.String() != "" {
			t.Errorf("ParsePath(%q) = %q, %v; want %s", pattern, p, err, want)
		}
	}
}

func TestPathCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"/", "/", true},
		{"/", "/a", true},
		{"/", "/a/{x}/", true},
		{"/a", "/a", true},
		{"/a", "/a/", false},
		{"/a/", "/a", false},
		{"/a/", "/a/", true},
		{"/a/", "/a/b", true},
		{"/a/", "/ab/c", false},
		{"/a/b", "/a/", false},
		{"/a/", "/", false},
		{"/{x}/", "/", false},
		{"/{x}", "/a", true},
		{"/a", "/{x}", false},
		{"/{x}", "/{y}", true},
		{"/{x}/b", "/a/{y}", false},
		{"/{x}/", "/a/b/c/", true},
		{"/a/{x}/", "/a/b", false},
		{"/a/{x}/", "/a/b/", true},
		{"/a/b", "/a/{x}", false},
	} {
		if got := mustPath(t, c.p).Covers(mustPath(t, c.q)); got != c.want {
			t.Errorf("%q covers %q: %v", c.p, c.q, got)
		}
	}
	if (Path{}).Covers(Path{}) || (Path{}).Covers(mustPath(t, "/")) || mustPath(t, "/").Covers(Path{}) {
		t.Error("the zero Path covers or is covered")
	}
}

func mustPath(t interface{ Fatal(...any) }, pattern string) Path {
	p, err := ParsePath(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
