package route

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A path without oddities is one that no reader can take differently: net/url decodes it to the same text, path.Clean
// finds nothing to do, and written anew from its segments it is judged the same. A query is never changed.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/b/?c=d", "/%61dmin", "/caf%C3%A9", "/100%25", "//", "/a;b", "/a%2fb", "/%2541", "/%25%34%31", "/..;/a",
		"/a/../b",
		"/%2e%2e/", "/%c0%af", "/a#b", `/a\b`, "*", "http://a/b", "/\x00", "/a%252f..%252fb", "/...",
		strings.Repeat("/a", 300),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		var target Target
		if err := target.Parse(uri); err != nil {
			if target.Segments() != 0 || target.Path != "" || target.Query != "" {
				t.Fatalf("refused with %v, and yet %q", err, target.Path)
			}
			if r := refusal.Of(err); r != refusal.PathAmbiguous && r != refusal.RequestMalformed && r != refusal.URITooLong {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		raw := target.Path
		if target.HasQuery {
			raw += "?" + target.Query
		}
		if raw != uri {
			t.Fatalf("sent on as %q", raw)
		}
		texts := segments(&target)
		for _, text := range texts {
			if strings.ContainsAny(text, "\\\x00\r\n") || isDots(text) {
				t.Fatalf("accepted segment %q", text)
			}
		}
		noReadingClimbs(t, &target)
		if target.Oddities == 0 {
			plainPath(t, uri, &target, texts)
		}
	})
}

func segments(target *Target) (texts []string) {
	for i := range target.Segments() {
		texts = append(texts, target.Segment(i))
	}
	return texts
}

func plainPath(t *testing.T, uri string, target *Target, texts []string) {
	decoded := "/" + strings.Join(texts, "/")
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Path != decoded || u.Host != "" {
		t.Fatalf("net/url reads %+v, %v; judged was %q", u, err, decoded)
	}
	if clean := path.Clean(decoded); clean != decoded && clean+"/" != decoded {
		t.Fatalf("path.Clean makes %q of %q", clean, decoded)
	}
	var escaped []string
	for _, text := range texts {
		escaped = append(escaped, url.PathEscape(text))
	}
	var again Target
	if err := again.Parse("/" + strings.Join(escaped, "/")); err != nil {
		t.Fatalf("written anew: %v", err)
	}
	if !slices.Equal(segments(&again), texts) || again.Oddities != 0 {
		t.Fatalf("written anew: %q with %v; was %q", segments(&again), again.Oddities, texts)
	}
}

// However the oddities are read, and in whatever order, no dot segment comes out.
func noReadingClimbs(t *testing.T, target *Target) {
	text := target.Path
	for range 6 {
		text = decodeAgain(text)
		for piece := range strings.SplitSeq(strings.ReplaceAll(text, `\`, "/"), "/") {
			if piece, _, _ = strings.Cut(piece, ";"); isDots(piece) {
				t.Fatalf("%q can be read as %q", target.Path, text)
			}
		}
	}
}

// What is canonical stays so, is what a URL has between "//" and "/", and is matched by itself as a pattern.
func FuzzCanonicalHost(f *testing.F) {
	for _, seed := range []string{
		"a.example", "A.Example.:80", "[::1]:8080", "[0::0]", "127.0.0.1", "127.1", "0x7f.1", "a:b", "", ".",
		"\u212A.example", "a@b", "[fe80::1%25a]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		canonical, err := CanonicalHost(host)
		if err != nil {
			if canonical != "" || refusal.Of(err) != refusal.HostMalformed {
				t.Fatalf("refused with %q, %v", canonical, err)
			}
			return
		}
		if again, err := CanonicalHost(canonical); err != nil || again != canonical {
			t.Fatalf("%q again: %q, %v", canonical, again, err)
		}
		u, err := url.Parse("http://" + canonical + "/")
		if err != nil || u.Host != canonical || u.Port() != "" || u.User != nil || u.Path != "/" {
			t.Fatalf("net/url reads %q as %+v, %v", canonical, u, err)
		}
		h, err := ParseHost(canonical)
		if err != nil || h.String() != canonical || !h.matches(canonical) {
			t.Fatalf("%q as a pattern: %q, %v", canonical, h, err)
		}
	})
}

// A pattern that is accepted matches the path that is made from it, covers itself and is covered by "/".
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"/", "/a/{b}/", "/{a}/{a}", "/a//b", "/é/100%/:x", "/%61", "/..", "/{", "/*", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		p, err := ParsePath(pattern)
		if err != nil {
			return
		}
		request := ""
		for _, word := range strings.Split(pattern, "/")[1:] {
			if strings.HasPrefix(word, "{") {
				word = "v"
			}
			request += "/" + url.PathEscape(word)
		}
		var target Target
		if err := target.Parse(request); err != nil || target.Oddities != 0 || !p.matches(&target) {
			t.Fatalf("%q: %q gives %v, %v", pattern, request, err, target.Oddities)
		}
		table, conflicts := NewTable([]Entry[int]{{Path: p}})
		var m Match[int]
		if len(conflicts) > 0 || table.Match("", "GET", &target, &m) != nil {
			t.Fatalf("%q: %q is not found, %v", pattern, request, conflicts)
		}
		if !p.Covers(p) || !mustPath(t, "/").Covers(p) {
			t.Fatalf("%q does not cover itself, or is not covered by /", pattern)
		}
	})
}

func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"", "a.b", "{x}.b", "{x}.{x}", "{x}.1", "[::1]", "::1", "a:80", "*", "A.B.", "{x}."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		h, err := ParseHost(pattern)
		if err != nil {
			return
		}
		host := "a"
		for i, word := range strings.Split(h.String(), ".") {
			if strings.HasPrefix(word, "{") {
				word = "v"
			}
			if host += "." + word; i == 0 {
				host = word
			}
		}
		canonical := ""
		if h.String() != "" {
			if canonical, err = CanonicalHost(host); err != nil || canonical != host {
				t.Fatalf("%q: host %q is made %q, %v", pattern, host, canonical, err)
			}
		}
		table, conflicts := NewTable([]Entry[int]{{Host: h, Path: mustPath(t, "/")}})
		var target Target
		var m Match[int]
		if err := target.Parse("/"); err != nil {
			t.Fatal(err)
		}
		if len(conflicts) > 0 || !h.matches(canonical) || table.Match(canonical, "GET", &target, &m) != nil {
			t.Fatalf("%q does not match %q", pattern, canonical)
		}
		if !h.Covers(h) {
			t.Fatalf("%q does not cover itself", pattern)
		}
	})
}

// Where the strict reading finds values, net/url finds the same ones.
func FuzzQueryValues(f *testing.F) {
	for _, seed := range []string{
		"t=a", "t=a&t=b", "x;t=1", "t=%zz", "%74=a+b", "t", "&&=", "t;", "%2574=a", "x=1;y&t=2",
		"x=%zz&t=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, ok := QueryValues(query, "t")
		if !ok {
			if values != nil {
				t.Fatalf("refused with %q", values)
			}
			return
		}
		parsed, _ := url.ParseQuery(query)
		if !slices.Equal(values, parsed["t"]) {
			t.Fatalf("got %q, net/url %q", values, parsed["t"])
		}
		split, _ := url.ParseQuery(strings.ReplaceAll(query, ";", "&"))
		if !slices.Equal(values, split["t"]) {
			t.Fatalf("got %q, one who splits at semicolons %q", values, split["t"])
		}
	})
}
