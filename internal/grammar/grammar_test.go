package grammar_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/grammar"
)

// The tables agree with x/net's for each byte, alone, and inside of longer text.
func TestByteClassesAgreeWithHTTPGuts(t *testing.T) {
	t.Parallel()
	for i := range 256 {
		b := string([]byte{byte(i)})
		if got, want := grammar.IsToken(b), httpguts.ValidHeaderFieldName(b); got != want {
			t.Errorf("IsToken(%q) = %t, want %t", b, got, want)
		}
		if got, want := grammar.IsToken([]byte(b)), grammar.IsToken(b); got != want {
			t.Errorf("IsToken of the bytes %q = %t, want %t", b, got, want)
		}
		for before := range 20 {
			s := strings.Repeat("a", before) + b + strings.Repeat("b", 19-before)
			if got, want := grammar.IsFieldValue(s), httpguts.ValidHeaderFieldValue(s); got != want {
				t.Errorf("IsFieldValue(%q) = %t, want %t", s, got, want)
			}
		}
		if got, want := grammar.IsHex(byte(i)), strings.Contains("0123456789abcdefABCDEF", b); got != want {
			t.Errorf("IsHex(%q) = %t, want %t", b, got, want)
		}
	}
	if grammar.IsToken("") {
		t.Error("the empty string is no token")
	}
}

func TestPlainUntilNeverSkipsAControlCharacter(t *testing.T) {
	t.Parallel()
	for i := range 256 {
		for at := range 40 {
			s := strings.Repeat("x", at) + string([]byte{byte(i)}) + strings.Repeat("y", 40-at)
			for from := range 42 {
				got := grammar.PlainUntil(s, from)
				if grammar.IsControl(byte(i)) && from <= at && got > at {
					t.Fatalf("PlainUntil(%q, %d) = %d: skips the control character at %d", s, from, got, at)
				}
				if !grammar.IsControl(byte(i)) && got+8 <= len(s) {
					t.Fatalf("PlainUntil(%q, %d) = %d: stops before the last eight bytes", s, from, got)
				}
			}
		}
	}
}

func TestTrimTakesSpacesAndTabsOnly(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", " \t ": "", " a b\t": "a b", "\u00a0a\u00a0": "\u00a0a\u00a0", "\va\r": "\va\r",
	} {
		if got := grammar.Trim(in); got != want {
			t.Errorf("Trim(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEqualFoldFoldsASCIIOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s    string
		want bool
	}{{"CHUNKED", true}, {"Chunked", true}, {"chunke", false}, {"chun\u212aed", false}, {"chun[ed", false}} {
		if got := grammar.EqualFold(c.s, "chunked"); got != c.want {
			t.Errorf("EqualFold(%q) = %t, want %t", c.s, got, c.want)
		}
	}
}

func TestUnhexReadsBothCases(t *testing.T) {
	t.Parallel()
	for i, c := range []byte("0123456789abcdef") {
		if got := grammar.Unhex(c); int(got) != i {
			t.Errorf("Unhex(%q) = %d", c, got)
		}
	}
	for i, c := range []byte("ABCDEF") {
		if got := grammar.Unhex(c); int(got) != 10+i {
			t.Errorf("Unhex(%q) = %d", c, got)
		}
	}
}
