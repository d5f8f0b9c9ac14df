package code

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func testPacker(t testing.TB) packer {
	p, err := newPacker([]string{"user:", "did:", "did:empe:testnet:", "a", "日"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Property: what is packed is unpacked to the same string, in no more bytes than it had, and what follows is left.
func FuzzPack(f *testing.F) {
	p := testPacker(f)
	for _, s := range []string{
		"", "x", "0", "00", "0a", "0A", "abcdef0123", "1", "11", "1111111111zz", "z", "1zz", "did:", "did:empe:testnet:00ff",
		"did:empe:testnet:did:",
		"6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "user:6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
		"00000000-0000-0000-0000-000000000000",
		"{6f9619ff-8b86-4d01-b42d-00cf4fc964ff}", "urn:uuid:6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "aaaa", "日本",
		"4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T",
		strings.Repeat("1", 35), strings.Repeat("f", 70), strings.Repeat("z", 47),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w := p.pack(s)
		if w.size() > len(s) {
			t.Fatalf("%q takes %d bytes", s, w.size())
		}
		if w.size() > maxPacked {
			return
		}
		got, rest, err := p.unpack(append(w.appendTo(nil), "rest"...))
		if err != nil || got != s || string(rest) != "rest" {
			t.Fatalf("%q became %q, %q, %v", s, got, rest, err)
		}
	})
}

// Property: whatever 54 bytes are accepted as a grant are those that the grant is written as.
func FuzzGrant(f *testing.F) {
	p := testPacker(f)
	for _, s := range []string{"x", "did:empe:testnet:00ff", "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "zzzzzzzz"} {
		var plain [plainSize]byte
		if err := p.putGrant(plain[:], Grant{
			IssuedAt: 1, Lifetime: time.Second, Nominal: time.Minute, Tenant: "t",
			Subject: s,
		}); err != nil {
			f.Fatal(err)
		}
		f.Add(plain[:])
	}
	f.Add(bytes.Repeat([]byte{255}, plainSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) != plainSize {
			return
		}
		g, err := p.grant(data)
		if err != nil {
			return
		}
		var again [plainSize]byte
		if err := p.putGrant(again[:], g); err != nil || !bytes.Equal(again[:], data) {
			t.Fatalf("%+v: %x became %x, %v", g, data, again, err)
		}
	})
}

func TestPackedSizes(t *testing.T) {
	t.Parallel()
	p := testPacker(t)
	for s, want := range map[string]packed{
		"":                    {raw, -1, []byte{}},
		"x":                   {raw, -1, []byte("x")},
		"00ff":                {hexDigits, -1, []byte{0, 255}},
		"00fF":                {raw, -1, []byte("00fF")},
		"0":                   {raw, -1, []byte("0")},
		"11":                  {hexDigits, -1, []byte{0x11}},
		"zz":                  {raw, -1, []byte("zz")}, // 57*58+57 takes two bytes
		"zzzz":                {base58, -1, []byte{0xac, 0xad, 0x0f}},
		"user:":               {raw, 4 - 1, []byte{}},
		"did:":                {raw, 1, []byte{}},
		"did:00":              {hexDigits, 1, []byte{0}},
		"did:empe:testnet:00": {hexDigits, 2, []byte{0}},
		"did:empe:testnet:6f9619ff-8b86-4d01-b42d-00cf4fc964ff": {
			canonUUID, 2,
			[]byte("\x6f\x96\x19\xff\x8b\x86\x4d\x01\xb4\x2d\x00\xcf\x4f\xc9\x64\xff"),
		},
	} {
		got := p.pack(s)
		if got.form != want.form || got.prefix != want.prefix || !bytes.Equal(got.bytes, want.bytes) {
			t.Errorf("%q: %+v, want %+v", s, got, want)
		}
	}
}

// Strings have one spelling in a code: every other way to write the same grant is refused, though it decodes.
func TestOneSpellingInside(t *testing.T) {
	t.Parallel()
	p := testPacker(t)
	var plain [plainSize]byte
	if err := p.putGrant(plain[:], Grant{
		Lifetime: time.Second, Nominal: time.Second, Tenant: "t",
		Subject: "00ff",
	}); err != nil {
		t.Fatal(err)
	}
	good := plain
	if _, err := p.grant(good[:]); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]struct {
		from  int
		bytes []byte
	}{
		"padding":                    {53, []byte{1}},
		"hex digits as they are":     {19, []byte{4, '0', '0', 'f', 'f'}},
		"a length beyond the end":    {19, []byte{35}},
		"an undefined form":          {19, []byte{218}},
		"the last undefined form":    {19, []byte{255}},
		"a prefix that is none":      {19, []byte{109, 5}},
		"a prefix without its place": {19, []byte{108, 0}},
		"an empty subject":           {19, []byte{0, 0, 0}},
		"a control character":        {19, []byte{1, 7, 0}},
		"bad UTF-8":                  {19, []byte{1, 0xff, 0}},
		"no lifetime":                {6, []byte{0, 0, 1}},
		"lifetime over nominal":      {6, []byte{0, 0x20, 1}},
		"601 seconds":                {6, []byte{0, 0x12, 0x59}},
	} {
		bad := plain
		copy(bad[at.from:], at.bytes)
		if g, err := p.grant(bad[:]); err == nil {
			t.Errorf("%s: %+v", name, g)
		}
	}
}
