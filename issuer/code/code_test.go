package code_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/issuer/code"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// secret is the n-th of the tests' secrets.
func secret(n int) []byte {
	sum := sha256.Sum256(fmt.Append(nil, "a secret of the tests ", n))
	return sum[:]
}

// options are those of most tests; change alters them.
func options(change func(*code.Options)) code.Options {
	o := code.Options{
		Issuer: "https://gate.example", Secrets: [][]byte{secret(1)}, Epoch: bytes.Repeat([]byte{7}, 32),
		Prefixes: []string{"did:empe:testnet:", "user:", "urn:example:"},
	}
	if change != nil {
		change(&o)
	}
	return o
}

func sealer(t testing.TB, change func(*code.Options)) *code.Sealer {
	t.Helper()
	s, err := code.New(options(change))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func grant() code.Grant {
	return code.Grant{
		IssuedAt: 1_700_000_000_123, Lifetime: 30 * time.Second, Nominal: 60 * time.Second,
		Client: code.DigestOf("shop"), Role: code.DigestOf("reader"),
		Tenant: "acme", Subject: "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
	}
}

func seal(t testing.TB, s *code.Sealer, g code.Grant, b code.Binding) string {
	t.Helper()
	text, err := s.Seal(g, b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	for _, g := range []code.Grant{
		grant(),
		{Lifetime: time.Second, Nominal: time.Second, Subject: "x"},
		{IssuedAt: 1<<48 - 1, Lifetime: 600 * time.Second, Nominal: 600 * time.Second, Tenant: "日本", Subject: "é"},
	} {
		text := seal(t, s, g, code.Binding{})
		o, err := s.Open(text, code.Binding{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(g, o.Grant); diff != "" {
			t.Error(diff)
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(text) != code.Length || !bytes.Equal(raw[2:26], o.Nonce[:]) {
			t.Errorf("%s is not 96 bytes with the nonce at 2: %v", text, err)
		}
	}
}

func TestEverySingleCharacterChange(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	text := seal(t, s, grant(), code.Binding{})
	for at := range len(text) {
		for _, c := range alphabet {
			changed := text[:at] + string(c) + text[at+1:]
			if _, err := s.Open(changed, code.Binding{}); changed != text && refusal.Of(err) != refusal.CodeUnknown {
				t.Fatalf("character %d as %c: %v", at, c, err)
			}
		}
	}
}

func TestOtherSpellingsOfTheSameBytes(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	text := seal(t, s, grant(), code.Binding{})
	for !strings.ContainsAny(text, "-_") {
		text = seal(t, s, grant(), code.Binding{})
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]string{
		"standard alphabet": base64.StdEncoding.EncodeToString(raw), "padding": text + "=", "two paddings": text + "==",
		"line feed after": text + "\n", "line feed inside": text[:64] + "\n" + text[64:],
		"carriage return in place of one": text[:127] + "\r",
		"space before":                    " " + text, "percent": "%" + text[1:], "NUL": text[:127] + "\x00",
		"full-width": text[:125] + "Ａ",
		"twice":      text + text,
		"hex":        fmt.Sprintf("%x", raw), "empty": "", "31 characters": text[:31], "129 characters": text + "A",
		"dot": text[:60] + "." + text[61:],
	} {
		if _, err := s.Open(other, code.Binding{}); refusal.Of(err) != refusal.CodeMalformed {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := code.Flags(other); refusal.Of(err) != refusal.CodeMalformed {
			t.Errorf("flags, %s: %v", name, err)
		}
	}
}

func TestForgedAndTruncated(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	text := seal(t, s, grant(), code.Binding{})
	for _, forged := range []string{
		text[:32], text[:127], text[:124], text[1:], strings.Repeat("A", 128), strings.Repeat("A", 32), text[:64] +
			strings.Repeat("A", 64), strings.Repeat("_", 128),
	} {
		if _, err := s.Open(forged, code.Binding{}); refusal.Of(err) != refusal.CodeUnknown {
			t.Errorf("%s: %v", forged, err)
		}
	}
}

// Whatever differs between who sealed and who opens, the code does not open; the log alone is told of another epoch.
func TestAnothersCode(t *testing.T) {
	t.Parallel()
	text := seal(t, sealer(t, nil), grant(), code.Binding{})
	for name, change := range map[string]func(*code.Options){
		"issuer":         func(o *code.Options) { o.Issuer = "https://gate.example/" },
		"key":            func(o *code.Options) { o.Secrets = [][]byte{secret(2)} },
		"epoch":          func(o *code.Options) { o.Epoch = bytes.Repeat([]byte{8}, 32) },
		"longer epoch":   func(o *code.Options) { o.Epoch = append(o.Epoch, 0) },
		"prefix added":   func(o *code.Options) { o.Prefixes = append(o.Prefixes, "zz:") },
		"prefix removed": func(o *code.Options) { o.Prefixes = o.Prefixes[:2] },
		"no prefixes":    func(o *code.Options) { o.Prefixes = nil },
		"moved border":   func(o *code.Options) { o.Issuer += "\x07"; o.Epoch = o.Epoch[1:] },
	} {
		_, err := sealer(t, change).Open(text, code.Binding{})
		want := refusal.Because(refusal.CodeUnknown, "no key of ours sealed it for this use")
		if strings.HasSuffix(name, "epoch") {
			want = refusal.Because(refusal.CodeOtherEpoch,
				"it has the mark of a code of this issuer, of another process or epoch")
		}
		if diff := cmp.Diff(want, err); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A process that restarted has neither the old secret nor the old epoch, and can still tell.
func TestCodeOfAnotherProcessIsTold(t *testing.T) {
	t.Parallel()
	text := seal(t, sealer(t, nil), grant(), code.Binding{ClientID: "shop"})
	other := sealer(t, func(o *code.Options) { o.Secrets, o.Epoch = [][]byte{secret(2)}, bytes.Repeat([]byte{8}, 32) })
	if _, err := other.Open(text, code.Binding{}); refusal.Of(err) != refusal.CodeOtherEpoch {
		t.Errorf("another process: %v", err)
	}
	stranger := sealer(t, func(o *code.Options) {
		o.Issuer, o.Epoch = "https://other.example",
			bytes.Repeat([]byte{8}, 32)
	})
	if _, err := stranger.Open(text, code.Binding{}); refusal.Of(err) != refusal.CodeUnknown {
		t.Errorf("another issuer: %v", err)
	}
	if _, err := sealer(t, nil).Open(text, code.Binding{}); refusal.Of(err) != refusal.CodeUnknown {
		t.Errorf("the same epoch, presented by somebody else: %v", err)
	}
}

func TestReorderedPrefixesAndSecretsKeepTheMeaning(t *testing.T) {
	t.Parallel()
	g := grant()
	g.Subject = "did:empe:testnet:" + strings.Repeat("0a", 20)
	text := seal(t, sealer(t, nil), g, code.Binding{})
	other := sealer(t, func(o *code.Options) {
		o.Prefixes = []string{"urn:example:", "did:empe:testnet:", "user:"}
		o.Secrets = nil
		for n := 40; n >= 1; n-- { // 40 keys share 16 key ids
			o.Secrets = append(o.Secrets, secret(n))
		}
	})
	o, err := other.Open(text, code.Binding{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(g, o.Grant); diff != "" {
		t.Error(diff)
	}
	if _, err := sealer(t, nil).Open(seal(t, other, g, code.Binding{}),
		code.Binding{}); refusal.Of(err) != refusal.CodeUnknown {
		t.Errorf("sealed by a secret that we have not: %v", err)
	}
}

func TestBinding(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	all := code.Binding{
		ClientID: "shop", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
		RedirectURI: "https://shop.example/back", Key: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
	}
	wrong := code.Binding{
		ClientID: "shoq", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN",
		RedirectURI: "https://shop.example/back/", Key: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4J",
	}
	for mask := range 16 {
		bound, presented := pick(mask, all, code.Binding{}), pick(mask, all, wrong)
		text := seal(t, s, grant(), bound)
		flags, err := code.Flags(text)
		if want := (code.Bound{
			Client: mask&1 != 0, Challenge: mask&2 != 0, RedirectURI: mask&4 != 0,
			Key: mask&8 != 0,
		}); err != nil || flags != want {
			t.Errorf("bound to %+v: flags %+v, %v", bound, flags, err)
		}
		if _, err := s.Open(text, presented); err != nil { // what it is not bound to is not looked at
			t.Errorf("bound to %+v, presented %+v: %v", bound, presented, err)
		}
		for part := 1; part < 16; part <<= 1 {
			if mask&part == 0 {
				continue
			}
			for _, p := range []code.Binding{pick(mask&^part, all, wrong), pick(mask&^part, all, code.Binding{})} {
				if _, err := s.Open(text, p); refusal.Of(err) != refusal.CodeUnknown {
					t.Errorf("bound to %+v, presented %+v: %v", bound, p, err)
				}
			}
		}
	}
}

// pick takes the parts that mask names from yes and the others from no.
func pick(mask int, yes, no code.Binding) code.Binding {
	if mask&1 != 0 {
		no.ClientID = yes.ClientID
	}
	if mask&2 != 0 {
		no.Challenge = yes.Challenge
	}
	if mask&4 != 0 {
		no.RedirectURI = yes.RedirectURI
	}
	if mask&8 != 0 {
		no.Key = yes.Key
	}
	return no
}

// A flag that is cleared or set in the clear header does not unbind or rebind a code, and two fields are not one.
func TestClearHeaderIsAuthenticated(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	text := seal(t, s, grant(), code.Binding{ClientID: "shop", Challenge: "c"})
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for flags := range 256 {
		if byte(flags) == raw[1] {
			continue
		}
		forged := bytes.Clone(raw)
		forged[1] = byte(flags)
		if _, err := s.Open(base64.RawURLEncoding.EncodeToString(forged),
			code.Binding{ClientID: "shop", Challenge: "c", RedirectURI: "r"}); refusal.Of(err) != refusal.CodeUnknown {
			t.Errorf("flags %08b: %v", flags, err)
		}
	}
	if _, err := s.Open(text, code.Binding{ClientID: "sho", Challenge: "pc"}); refusal.Of(err) != refusal.CodeUnknown {
		t.Errorf("moved border: %v", err)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	g := code.Grant{IssuedAt: 1_000_000, Lifetime: 30 * time.Second, Nominal: 60 * time.Second}
	if g.NominalExpiry() != 1_060_000 {
		t.Errorf("nominal expiry %d", g.NominalExpiry())
	}
	for _, c := range []struct {
		now  int64
		want error
	}{
		{1_000_000, nil},
		{1_029_999, nil},
		{1_030_000, refusal.Because(refusal.CodeExpired, "expired 0 ms ago")},
		{1_030_001, refusal.Because(refusal.CodeExpired, "expired 1 ms ago")},
		{995_000, nil},
		{994_999, refusal.Because(refusal.CodeNotYetValid, "issued 5001 ms from now")},
	} {
		if diff := cmp.Diff(c.want, g.Live(time.UnixMilli(c.now), 5*time.Second)); diff != "" {
			t.Errorf("at %d: %s", c.now, diff)
		}
	}
}

// The longest of each kind, and one byte more.
func TestWhatFits(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	const tooLong = "code_too_long: tenant and subject need %d bytes, a code has 35"
	for name, c := range map[string]struct {
		tenant, subject string
		need            int // 0: it fits
	}{
		"plain":                   {"", strings.Repeat("x-", 17) + "x", 0},
		"plain, one more":         {"", strings.Repeat("x-", 18), 36},
		"with a tenant":           {"thirteen-lttr", strings.Repeat("x-", 11), 0},
		"with a tenant, one more": {"thirteen-lttr", strings.Repeat("x-", 11) + "x", 36},
		"DID":                     {"thirteen-lttr", "did:empe:testnet:" + strings.Repeat("0123456789", 4), 0},
		"DID, one more in tenant": {"fourteen-lettr", "did:empe:testnet:" + strings.Repeat("0123456789", 4), 0},
		"DID, two more in tenant": {"fifteen-letters", "did:empe:testnet:" + strings.Repeat("0123456789", 4), 36},
		"DID not listed":          {"", "did:empe:mainnet:" + strings.Repeat("0123456789", 4), 57},
		"UUID":                    {strings.Repeat("-t", 9) + "-", "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", 0},
		"UUID, one more":          {strings.Repeat("-t", 10), "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", 36},
		"two UUIDs": {
			"6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "user:6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
			0,
		},
		"UUID in capitals":           {"", "6F9619FF-8B86-4D01-B42D-00CF4FC964FF", 36},
		"70 hex digits":              {"", strings.Repeat("0f", 35), 0},
		"72 hex digits":              {"", strings.Repeat("0f", 36), 36},
		"hex in capitals, as base58": {"", strings.Repeat("AF", 23), 0},
		"base58, as a Solana key":    {"t-", "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T", 0},
		"a subject of 64 KiB":        {"", strings.Repeat("x-", 32768), 65536},
	} {
		g := grant()
		g.Tenant, g.Subject = c.tenant, c.subject
		text, err := s.Seal(g, code.Binding{})
		if c.need != 0 {
			if want := fmt.Sprintf(tooLong, c.need); err == nil || err.Error() != want ||
				refusal.Of(err) != refusal.CodeTooLong {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if o, err := s.Open(text, code.Binding{}); err != nil || o.Grant != g || len(text) != 128 {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

func TestWhatIsNotSealed(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	for name, c := range map[string]struct {
		change func(*code.Grant)
		want   string
	}{
		"no subject": {func(g *code.Grant) { g.Subject = "" }, "body_invalid: the subject is empty"},
		"CR LF": {
			func(g *code.Grant) { g.Subject = "a\r\nb" },
			"body_invalid: the subject is not UTF-8 without control characters",
		},
		"NUL": {
			func(g *code.Grant) { g.Tenant = "a\x00" },
			"body_invalid: the tenant is not UTF-8 without control characters",
		},
		"C1": {
			func(g *code.Grant) { g.Tenant = "a\u0085" },
			"body_invalid: the tenant is not UTF-8 without control characters",
		},
		"bad UTF-8": {
			func(g *code.Grant) { g.Subject = "a\xff" },
			"body_invalid: the subject is not UTF-8 without control characters",
		},
		"before 1970": {
			func(g *code.Grant) { g.IssuedAt = -1 },
			"code: issued at -1 ms, which does not fit into 48 bits",
		},
		"after 10889": {
			func(g *code.Grant) { g.IssuedAt = 1 << 48 },
			"code: issued at 281474976710656 ms, which does not fit into 48 bits",
		},
		"no life": {
			func(g *code.Grant) { g.Lifetime = 0 },
			"code: lifetime 0s of 1m0s: whole seconds are needed, at least 1, at most the nominal, itself at most 10m0s",
		},
		"half a second": {
			func(g *code.Grant) { g.Lifetime = 1500 * time.Millisecond },
			"code: lifetime 1.5s of 1m0s: whole seconds are needed, at least 1, at most the nominal, itself at most 10m0s",
		},
		"longer than client": {
			func(g *code.Grant) { g.Lifetime = 61 * time.Second },
			"code: lifetime 1m1s of 1m0s: whole seconds are needed, at least 1, at most the nominal, itself at most 10m0s",
		},
		"601 s": {
			func(g *code.Grant) { g.Nominal = 601 * time.Second },
			"code: lifetime 30s of 10m1s: whole seconds are needed, at least 1, at most the nominal, itself at most 10m0s",
		},
	} {
		g := grant()
		c.change(&g)
		if text, err := s.Seal(g, code.Binding{}); text != "" || err == nil || err.Error() != c.want {
			t.Errorf("%s: got %q, %v", name, text, err)
		}
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*code.Options){
		"codes: the issuer is empty": func(o *code.Options) { o.Issuer = "" },
		"codes: the epoch has 8 bytes: it needs at least 16": func(
			o *code.Options,
		) {
			o.Epoch = o.Epoch[:8]
		},
		"codes: no secret: one must seal": func(
			o *code.Options,
		) {
			o.Secrets = nil
		},
		"codes: secret 1 has 31 bytes: it needs at least 32": func(
			o *code.Options,
		) {
			o.Secrets = append(o.Secrets, secret(2)[:31])
		},
		"codes: secrets 0 and 2 are the same": func(
			o *code.Options,
		) {
			o.Secrets = append(o.Secrets, secret(2), secret(1))
		},
		"codes: prefix \"user:\" is listed twice": func(
			o *code.Options,
		) {
			o.Prefixes = append(o.Prefixes, "user:")
		},
		"codes: prefix \"\" is empty or not UTF-8 without " +
			"control characters": func(o *code.Options) { o.Prefixes = append(o.Prefixes, "") },
		"codes: prefix \"a\\xff\" is empty or not UTF-8 without " +
			"control characters": func(o *code.Options) { o.Prefixes = append(o.Prefixes, "a\xff") },
		"codes: 257 prefixes: at most 256 fit": func(
			o *code.Options,
		) {
			o.Prefixes = manyPrefixes(257)
		},
	} {
		if _, err := code.New(options(change)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := code.New(options(func(o *code.Options) { o.Prefixes = manyPrefixes(256) })); err != nil {
		t.Error(err)
	}
}

func manyPrefixes(n int) []string {
	p := make([]string, n)
	for i := range p {
		p[i] = fmt.Sprintf("p%d:", i)
	}
	return p
}

func TestTokenID(t *testing.T) {
	t.Parallel()
	nonce := [24]byte{1, 2, 3}
	id, err := uuid.Parse(code.TokenID(nonce))
	if err != nil || id.Version() != 8 || id.Variant() != uuid.RFC4122 || id.String() != code.TokenID(nonce) {
		t.Errorf("%v, %v", id, err)
	}
	if bytes.Contains(id[:], nonce[:3]) || code.TokenID([24]byte{1, 2, 4}) == id.String() {
		t.Errorf("%v shows the nonce or is not its own", id)
	}
}

func TestCollisionOfNames(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 200_000 { // 2^32 digests: some 5 pairs are to be expected
		names = append(names, fmt.Sprint("client-", i))
	}
	a, b, found := code.Collision(names)
	if !found || a == b || code.DigestOf(a) != code.DigestOf(b) {
		t.Errorf("%q and %q, %v", a, b, found)
	}
	if a, b, found := code.Collision([]string{"x", "y", "x"}); found {
		t.Errorf("%q and %q", a, b)
	}
}

// Issuing must not repeat a nonce, and no part of a code may show what is sealed.
func TestCodesDiffer(t *testing.T) {
	t.Parallel()
	s := sealer(t, nil)
	seen := map[string]bool{}
	for range 10_000 {
		text := seal(t, s, grant(), code.Binding{})
		if seen[text[3:35]] || seen[text[36:67]] {
			t.Fatal("repeated")
		}
		seen[text[3:35]], seen[text[36:67]] = true, true
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f, func(o *code.Options) { o.Epoch = []byte(uuid.NewString()) })
	text := seal(f, s, grant(), code.Binding{})
	f.Add("", 0, byte(0))
	f.Add(strings.Repeat("A", 128), 5, byte('A'))
	f.Add(text, 127, byte('-'))
	f.Add(text[:64], 64, byte('='))
	// Property: what opens is a code that was sealed, character by character.
	f.Fuzz(func(t *testing.T, any string, at int, c byte) {
		changed := []byte(text)
		changed[uint(at)%uint(len(changed))] = c
		for _, presented := range []string{any, string(changed), any + text, text + any, text[:min(len(any), 128)] + any} {
			o, err := s.Open(presented, code.Binding{})
			if (err == nil) != (presented == text) {
				t.Fatalf("%q: %+v, %v", presented, o, err)
			}
			if r := refusal.Of(err); err != nil && r != refusal.CodeMalformed && r != refusal.CodeUnknown &&
				r != refusal.CodeOtherEpoch {
				t.Fatalf("%q: %v", presented, err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := sealer(b, nil)
	g := grant()
	b.ReportAllocs()
	for b.Loop() {
		seal(b, s, g, code.Binding{})
	}
}

func BenchmarkOpen(b *testing.B) {
	s := sealer(b, nil)
	for name, binding := range map[string]code.Binding{
		"free": {},
		"bound": {
			ClientID: "shop", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
			RedirectURI: "https://shop.example/back",
		},
	} {
		b.Run(name, func(b *testing.B) {
			text := seal(b, s, grant(), binding)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Open(text, binding); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpenForged(b *testing.B) {
	s := sealer(b, nil)
	text := seal(b, s, grant(), code.Binding{})
	text = text[:127] + map[bool]string{true: "B", false: "A"}[text[127] == 'A']
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(text, code.Binding{}); err == nil {
			b.Fatal("opened")
		}
	}
}
