package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// What is written is JSON, and encoding/json reads the text back, with U+FFFD for what is not UTF-8.
func TestAppendStringIsReadBack(t *testing.T) {
	t.Parallel()
	read := func(s string) string {
		t.Helper()
		var got string
		text := AppendString([]byte("x"), s)[1:]
		if err := json.Unmarshal(text, &got); err != nil || !utf8.Valid(text) {
			t.Fatalf("%q is written as %s (%v)", s, text, err)
		}
		return got
	}
	for c := range 256 { // each byte at each place of a word of eight
		for before := range 10 {
			s := strings.Repeat("a", before) + string([]byte{byte(c)}) + strings.Repeat("z", 9)
			if want := strings.ToValidUTF8(s, "\uFFFD"); read(s) != want {
				t.Errorf("%q is read back as %q", s, read(s))
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,40}`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		want := "" // rune by rune: each byte that is not UTF-8 is one U+FFFD
		for _, r := range s {
			want += string(r)
		}
		var got string
		if err := json.Unmarshal(AppendString(nil, s), &got); err != nil || got != want {
			t.Fatalf("%q is read back as %q (%v)", s, got, err)
		}
	})
}

func TestAppendStringAllocatesNothing(t *testing.T) {
	room := make([]byte, 0, 256)
	for _, s := range []string{"a plain text of more than eight bytes", "with \"quotes\" and\nlines", "grüße \xff"} {
		if n := testing.AllocsPerRun(100, func() { room = AppendString(room[:0], s) }); n != 0 {
			t.Errorf("%q: %v allocations", s, n)
		}
	}
}

func BenchmarkAppendString(b *testing.B) {
	room := make([]byte, 0, 256)
	for b.Loop() {
		room = AppendString(room[:0], "0192f0c1-7b1a-7e55-8a4c-3f1b6a1d2c3e")
	}
}
