package ticket

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func sealer(t *testing.T, epoch string, secrets ...string) *Sealer {
	t.Helper()
	var raw [][]byte
	for _, s := range secrets {
		raw = append(raw, []byte(strings.Repeat(s, 32)))
	}
	s, err := New(raw, []byte(epoch))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestATicketOpensWhereItWasSealed: with any of the secrets, and under the same epoch alone.
func TestATicketOpensWhereItWasSealed(t *testing.T) {
	t.Parallel()
	q := Request{Method: "GET", Host: "app.example", Path: "/a", Query: "x=1"}
	want := Content{Request: q.Digest(), Made: 1, Expiry: 2, Tenant: "acme", Type: "at+jwt", KeyID: "k", Claims: `{"a":1}`}
	sealed, err := sealer(t, "one", "a").Seal(&want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := sealer(t, "one", "b", "a").Open(sealed)
	if err != nil {
		t.Fatal(err)
	}
	want.Nonce = got.Nonce
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
	for name, other := range map[string]*Sealer{
		"another epoch": sealer(t, "two", "a"), "another secret": sealer(t, "one", "b"), "no epoch": sealer(t, "", "a"),
	} {
		if _, err := other.Open(sealed); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryChangedBitIsRefused, and every cut and every other spelling of the same bytes.
func TestEveryChangedBitIsRefused(t *testing.T) {
	t.Parallel()
	s := sealer(t, "one", "a")
	sealed, err := s.Seal(&Content{Claims: `{}`})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if _, err := s.Open(base64.RawURLEncoding.EncodeToString(raw)); err == nil {
				t.Fatalf("byte %d, bit %d", i, bit)
			}
			raw[i] ^= 1 << bit
		}
	}
	for i := range sealed {
		if _, err := s.Open(sealed[:i]); err == nil {
			t.Fatalf("cut at %d", i)
		}
	}
	for _, other := range []string{
		sealed + "=", sealed + "\n", "\r" + sealed, sealed[:9] + "\n" + sealed[9:], sealed + "A",
	} {
		if _, err := s.Open(other); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

// TestWhatDoesNotFitIsRefused, and what does is at most MaxLength long.
func TestWhatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	s := sealer(t, "one", "a")
	noise := make([]byte, 2000)
	rand.Read(noise)
	text := base64.StdEncoding.EncodeToString(noise)
	if _, err := s.Seal(&Content{Claims: text}); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v", err)
	}
	if _, err := s.Seal(&Content{Claims: strings.Repeat("a", 1<<20)}); !errors.Is(err, ErrTooLong) {
		t.Errorf("a megabyte that packs well: %v", err)
	}
	sealed, err := s.Seal(&Content{Claims: text[:900]})
	if err != nil || len(sealed) > MaxLength {
		t.Errorf("%d: %v", len(sealed), err)
	}
}

// TestDigestsTellRequestsApart where a border between two fields moves.
func TestDigestsTellRequestsApart(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]Request{}
	for _, q := range []Request{
		{"GET", "a", "/b", "c"},
		{"HEAD", "a", "/b", "c"},
		{"GET", "a/", "b", "c"},
		{"GET", "a", "/bc", ""},
		{"GET", "", "a/b", "c"},
		{"GETa", "", "/b", "c"},
		{"GET", "a", "/b", ""},
	} {
		if other, twice := seen[q.Digest()]; twice {
			t.Errorf("%v and %v", q, other)
		}
		seen[q.Digest()] = q
	}
}
