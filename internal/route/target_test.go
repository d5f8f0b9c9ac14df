package route

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/refusal"
)

// parsed is all that a Target says.
type parsed struct {
	Reason   refusal.Reason
	Path     string
	Query    string
	HasQuery bool
	Oddities Oddity
	Segments []string
}

func parse(uri string) parsed {
	var t Target
	err := t.Parse(uri)
	p := parsed{Reason: refusal.Of(err), Path: t.Path, Query: t.Query, HasQuery: t.HasQuery, Oddities: t.Oddities}
	for i := range t.Segments() {
		p.Segments = append(p.Segments, t.Segment(i))
	}
	return p
}

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]parsed{
		"/":                  {Path: "/", Segments: []string{""}},
		"/a":                 {Path: "/a", Segments: []string{"a"}},
		"/a/":                {Path: "/a/", Segments: []string{"a", ""}},
		"/a?":                {Path: "/a", HasQuery: true, Segments: []string{"a"}},
		"/a?x;y=1&z":         {Path: "/a", Query: "x;y=1&z", HasQuery: true, Segments: []string{"a"}},
		"/a?b?c/../%zz%00":   {Path: "/a", Query: "b?c/../%zz%00", HasQuery: true, Segments: []string{"a"}},
		"/a?f[x]={y}|^\\`\"": {Path: "/a", Query: "f[x]={y}|^\\`\"", HasQuery: true, Segments: []string{"a"}},
		"/%61dmin":           {Path: "/%61dmin", Segments: []string{"admin"}},
		"/caf%C3%A9/%20":     {Path: "/caf%C3%A9/%20", Segments: []string{"café", " "}},
		"/%3f%23%7b%25":      {Path: "/%3f%23%7b%25", Segments: []string{"?#{%"}},
		"/100%25":            {Path: "/100%25", Segments: []string{"100%"}},
		"/%25zz/%254":        {Path: "/%25zz/%254", Segments: []string{"%zz", "%4"}},
		"/.../.a/a./..a":     {Path: "/.../.a/a./..a", Segments: []string{"...", ".a", "a.", "..a"}},
		"/-._~!$&'()*+,=:@":  {Path: "/-._~!$&'()*+,=:@", Segments: []string{"-._~!$&'()*+,=:@"}},

		"//":            {Path: "//", Oddities: DoubleSlash, Segments: []string{"", ""}},
		"//a.example/x": {Path: "//a.example/x", Oddities: DoubleSlash, Segments: []string{"", "a.example", "x"}},
		"/a//":          {Path: "/a//", Oddities: DoubleSlash, Segments: []string{"a", "", ""}},
		"/a%2fb":        {Path: "/a%2fb", Oddities: EncodedSlash, Segments: []string{"a/b"}},
		"/a%2Fb/c":      {Path: "/a%2Fb/c", Oddities: EncodedSlash, Segments: []string{"a/b", "c"}},
		"/a;b=c":        {Path: "/a;b=c", Oddities: Semicolon, Segments: []string{"a;b=c"}},
		"/a%3Bb":        {Path: "/a%3Bb", Oddities: Semicolon, Segments: []string{"a;b"}},
		"/;/a":          {Path: "/;/a", Oddities: Semicolon, Segments: []string{";", "a"}},
		"/%2541":        {Path: "/%2541", Oddities: DoubleEncoding, Segments: []string{"%41"}},
		"/%25%34%31":    {Path: "/%25%34%31", Oddities: DoubleEncoding, Segments: []string{"%41"}},
		"/%252f/;//%2F": {
			Path: "/%252f/;//%2F", Oddities: EncodedSlash | Semicolon | DoubleSlash | DoubleEncoding,
			Segments: []string{"%2f", ";", "", "/"},
		},

		"/[a]/{b}/c|d^":   {Path: "/[a]/{b}/c|d^", Segments: []string{"[a]", "{b}", "c|d^"}}, // as browsers send them
		"/a%2ejson":       {Path: "/a%2ejson", Oddities: EncodedDot, Segments: []string{"a.json"}},
		"/%2E%2e%2E/x":    {Path: "/%2E%2e%2E/x", Oddities: EncodedDot, Segments: []string{"...", "x"}},
		"/%ff":            {Path: "/%ff", Oddities: NotUTF8, Segments: []string{"\xff"}},
		"/a%C3/%A9":       {Path: "/a%C3/%A9", Oddities: NotUTF8, Segments: []string{"a\xc3", "\xa9"}},
		"/%ed%a0%80":      {Path: "/%ed%a0%80", Oddities: NotUTF8, Segments: []string{"\xed\xa0\x80"}},
		"/%f4%90%80%80":   {Path: "/%f4%90%80%80", Oddities: NotUTF8, Segments: []string{"\xf4\x90\x80\x80"}},
		"/a%25ffb":        {Path: "/a%25ffb", Oddities: DoubleEncoding | NotUTF8, Segments: []string{"a%ffb"}},
		"/Fran%E7ois.txt": {Path: "/Fran%E7ois.txt", Oddities: NotUTF8, Segments: []string{"Fran\xe7ois.txt"}}, // ISO 8859-1
	} {
		if diff := cmp.Diff(want, parse(uri)); diff != "" {
			t.Errorf("Parse(%q), want -, got +:\n%s", uri, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]struct {
		reason refusal.Reason
		uris   []string
	}{
		"no origin form": {refusal.RequestMalformed, []string{
			"", "*", "a", "?x", "http://a.example/x", "HTTPS://a.example", "a.example:443", "mailto:x", "#",
		}},
		"dot segments": {refusal.PathAmbiguous, []string{
			"/.", "/..", "/./a", "/../a", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a/..?x",
		}},
		"encoded dots": {refusal.PathAmbiguous, []string{
			"/%2e", "/%2E%2e", "/%2e%2E/a", "/.%2e/a", "/%2e./a", "/a/%2e/b", "/a%2f%2e%2e%2fb", "/%2e%2e;x/a", "/a;%2e",
			"/%2e%252e/a", "/a%255c%2e",
		}},
		"dot segments behind path parameters": {refusal.PathAmbiguous, []string{
			"/..;/a", "/..;x", "/.;x/a", "/a/..;x=1;y/b", "/..%3bx/a", "/.%3B",
		}},
		"dot segments behind encoded slashes": {refusal.PathAmbiguous, []string{
			"/a%2f..%2fb", "/..%2fa", "/a%2F..", "/a%2f.", "/a%2f..;x%2fb", "/a;x%2f..",
		}},
		"dot segments behind double encoding": {refusal.PathAmbiguous, []string{
			"/%252e%252e/a", "/%252e", "/.%252e", "/%25252e%25252e", "/a%252f..%252fb", "/a%252f%252e%252e", "/..%253bx",
			"/%25%32%65%25%32%65",
		}},
		"worse behind double encoding": {refusal.PathAmbiguous, []string{
			"/%255c", "/a%255cb", "/%2500", "/%250d%250a", "/%25c0%25af", "/%252525252541",
		}},
		"backslash": {refusal.PathAmbiguous, []string{
			`/\`, `/a\b`, `/..\a`, `/\\a.example`, "/%5c", "/a%5C..%5Cb",
		}},
		"control characters": {refusal.PathAmbiguous, []string{
			"/%00", "/a%00b", "/%0a", "/%0D%0A", "/%09", "/%1f", "/%7F", "/%c2%80", "/%C2%9f",
		}},
		"ASCII in more bytes than one": {refusal.PathAmbiguous, []string{
			"/%c0%ae%c0%ae/a", "/%c0%af", "/%e0%80%af", "/%f0%80%80%af", "/a%C1%81", "/%25c0%25ae",
		}},
		"dot segments between bytes that are not UTF-8": {refusal.PathAmbiguous, []string{
			"/.%ff./a", "/%ff..", "/a%2f%ff.%fe.", "/%2e%ff%2e",
		}},
		"fragment": {refusal.PathAmbiguous, []string{
			"/#", "/a#b", "/a#/../b", "/a?x#y", "/#?",
		}},
		"bad escapes": {refusal.PathAmbiguous, []string{
			"/%", "/%4", "/%zz", "/%4g", "/%g4", "/a%/b", "/%u002e", "/%%32%65", "/%-1", "/%4?1",
		}},
		"foreign bytes in the path": {refusal.RequestMalformed, []string{
			"/a b", "/a\tb", "/\x00", "/\r\n", "/\x7f", "/é", "/\xff", "/<a>", `/"`, "/`",
		}},
		"foreign bytes in the query": {refusal.RequestMalformed, []string{
			"/?a b", "/?\t", "/?\x00", "/?\r\nX: y", "/?\x7f", "/?é", "/?\xff",
		}},
		"slashes by the thousand": {refusal.URITooLong, []string{
			strings.Repeat("/", MaxSegments+1), strings.Repeat("/a", MaxSegments+1), strings.Repeat("/a", 8000),
		}},
	} {
		for _, uri := range attack.uris {
			if diff := cmp.Diff(parsed{Reason: attack.reason}, parse(uri)); diff != "" {
				t.Errorf("%s: Parse(%q), want -, got +:\n%s", name, uri, diff)
			}
		}
	}
}

func TestParseTakesAsManySegmentsAsItSays(t *testing.T) {
	t.Parallel()
	got := parse(strings.Repeat("/a", MaxSegments))
	if got.Reason != "" || len(got.Segments) != MaxSegments || got.Segments[MaxSegments-1] != "a" {
		t.Errorf("%d segments: got %q and %d segments", MaxSegments, got.Reason, len(got.Segments))
	}
}

func TestParseLeavesNothingOfTheRequestBefore(t *testing.T) {
	t.Parallel()
	var used Target
	for _, before := range []string{"/;/a//b%2fc?d=e", strings.Repeat("/x", 40) + "//", strings.Repeat("/x", 40) + "/.."} {
		_ = used.Parse(before)
		if err := used.Parse("/t/acme"); err != nil {
			t.Fatal(err)
		}
		var fresh Target
		if err := fresh.Parse("/t/acme"); err != nil {
			t.Fatal(err)
		}
		used.more = nil
		if diff := cmp.Diff(fresh, used, cmp.AllowUnexported(Target{}, segment{})); diff != "" {
			t.Errorf("after %q, fresh -, used +:\n%s", before, diff)
		}
	}
}

// A detail goes to the log, and a path may hold a credential.
func TestRefusalsDoNotRepeatThePath(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"/s3cret/..", "/s3cret%", "/s3cret;/%00", "/s3cret#", "s3cret", "/s3cret?s3cret ",
		"/s3cret\x00",
	} {
		var target Target
		if err := target.Parse(uri); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Parse(%q) = %v", uri, err)
		}
	}
}

func TestParseOddity(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]Oddity{
		"encoded_slash": EncodedSlash, "semicolon": Semicolon, "double_slash": DoubleSlash, "double_encoding": DoubleEncoding,
		"encoded_dot": EncodedDot, "not_utf8": NotUTF8, "letter_case": LetterCase, "trailing_slash": TrailingSlash,
	} {
		if got, err := ParseOddity(word); got != want || err != nil || got.String() != word {
			t.Errorf("ParseOddity(%q) = %v, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "none", "Semicolon", "backslash", "semicolon, double_slash"} {
		if got, err := ParseOddity(word); err == nil {
			t.Errorf("ParseOddity(%q) = %v", word, got)
		}
	}
	_, err := ParseOddity("dots")
	want := `"dots" is no oddity that a route can allow: write one of ` + strings.Join(OddityWords(), ", ")
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
