package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/nistec"
	"pgregory.net/rapid"
)

// A preparedEC is a P-256 key, prepared, with its secret, which is what one needs for signatures that meet every odd
// sum.
type preparedEC struct {
	*ecdsa.PrivateKey
	*multiples
	secret *big.Int
}

func newPreparedEC(t testing.TB) *preparedEC {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return &preparedEC{key, prepare(&key.PublicKey, algorithms["ES256"]).(*multiples), new(big.Int).SetBytes(secret)}
}

// sign makes the signature of a number for the nonce k, without any check: s = (e + r·d)/k.
func (p *preparedEC) sign(t testing.TB, e, k *big.Int) (r, s *big.Int) {
	t.Helper()
	var scalar [32]byte
	point, err := nistec.NewP256Point().ScalarBaseMult(k.FillBytes(scalar[:]))
	if err != nil {
		t.Fatal(err)
	}
	x, err := point.BytesX()
	if err != nil {
		t.Fatal(err)
	}
	r = new(big.Int).SetBytes(x)
	r.Mod(r, p.order)
	s = new(big.Int).Mul(r, p.secret)
	s.Add(s, e).Mul(s, new(big.Int).ModInverse(k, p.order))
	return r, s.Mod(s, p.order)
}

// compare has crypto/ecdsa judge the same signature, and tells what both say.
func (p *preparedEC) compare(t interface{ Fatalf(string, ...any) }, digest, signature []byte) bool {
	want := false
	if der, ok := joinToDER(signature, 32); ok {
		want = ecdsa.VerifyASN1(&p.PublicKey, digest, der)
	}
	if have := p.verifyDigest(digest, signature); have != want {
		t.Fatalf("digest %x, signature %x: have %v, crypto/ecdsa says %v", digest, signature, have, want)
	}
	return want
}

func fixed(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

// edges are numbers at which a scalar, or its digits, could be read wrongly.
func edges(order *big.Int) []*big.Int {
	list := []*big.Int{new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))}
	for _, at := range []uint{0, 1, 5, 6, 7, 63, 64, 65, 66, 127, 128, 191, 192, 251, 252, 255} {
		list = append(list, new(big.Int).Lsh(big.NewInt(1), at))
	}
	for _, near := range []int64{-2, -1, 0, 1, 2} {
		list = append(list, new(big.Int).Add(order, big.NewInt(near)),
			new(big.Int).Rsh(new(big.Int).Add(order, big.NewInt(near)), 1))
	}
	return list
}

func TestMultiplesAreTheKeys(t *testing.T) {
	t.Parallel()
	p := newPreparedEC(t)
	encoded, err := p.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	q, err := nistec.NewP256Point().SetBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	check := func(v *big.Int) {
		t.Helper()
		want, err := nistec.NewP256Point().ScalarMult(q, fixed(v))
		if err != nil {
			t.Fatal(err)
		}
		have := nistec.NewP256Point()
		if p.addMultiple(have, fixed(v)); have.Equal(want) != 1 {
			t.Errorf("%x", v)
		}
	}
	for _, v := range edges(p.order) {
		check(v)
	}
	for range 200 {
		v, err := rand.Int(rand.Reader, p.order)
		if err != nil {
			t.Fatal(err)
		}
		check(v)
	}
}

// The sum of a verification doubles where both parts are one point, and is no point where they cancel out. A signer
// who knows the key's secret can make either happen; so can a party that chooses digest and signature freely.
func TestPreparedKeysMeetOddSums(t *testing.T) {
	t.Parallel()
	p := newPreparedEC(t)
	for _, k := range []int64{1, 2, 3, 4, 62, 63, 64, 65, 128, 4096} {
		r, _ := p.sign(t, new(big.Int), big.NewInt(k))
		product := new(big.Int).Mod(new(big.Int).Mul(r, p.secret), p.order)
		s := new(big.Int).Mul(product, big.NewInt(2))
		s.Mod(s.Mul(s, new(big.Int).ModInverse(big.NewInt(k), p.order)), p.order)
		if !p.compare(t, fixed(product), slices.Concat(fixed(r), fixed(s))) { // e = r·d: u·G is v·Q
			t.Errorf("nonce %d: a doubling is refused", k)
		}
		e := new(big.Int).Sub(p.order, product) // e = -r·d: they cancel out, whatever s is
		for _, s := range []*big.Int{big.NewInt(1), r, new(big.Int).Sub(p.order, big.NewInt(1))} {
			if p.compare(t, fixed(e), slices.Concat(fixed(r), fixed(s))) {
				t.Errorf("nonce %d: the point at infinity is accepted", k)
			}
		}
	}
}

func TestPreparedKeysTakeNoNumberOutOfRange(t *testing.T) {
	t.Parallel()
	p := newPreparedEC(t)
	digest := sha256.Sum256([]byte("signed"))
	r, s := p.sign(t, new(big.Int).SetBytes(digest[:]), big.NewInt(7))
	if !p.compare(t, digest[:], slices.Concat(fixed(r), fixed(s))) {
		t.Fatal("a good signature is refused")
	}
	if !p.compare(t, digest[:], slices.Concat(fixed(r), fixed(new(big.Int).Sub(p.order, s)))) {
		t.Error("the twin signature (r, n-s) is one as well")
	}
	for _, x := range edges(p.order) {
		for _, y := range append(edges(p.order), r, s) {
			for _, signature := range [][]byte{slices.Concat(fixed(x), fixed(y)), slices.Concat(fixed(y), fixed(x))} {
				for _, digest := range [][]byte{
					digest[:], make([]byte, 32), fixed(new(big.Int).Sub(p.order, big.NewInt(1))),
					fixed(p.order),
				} {
					p.compare(t, digest, signature)
				}
			}
		}
	}
	// A signature whose s is small has a spelling with s+n: e = s·k - r·d.
	small := big.NewInt(5)
	e := new(big.Int).Sub(new(big.Int).Mul(small, big.NewInt(7)), new(big.Int).Mul(r, p.secret))
	e.Mod(e, p.order)
	if !p.compare(t, fixed(e), slices.Concat(fixed(r), fixed(small))) {
		t.Error("a signature with a small s is refused")
	}
	if p.compare(t, fixed(e), slices.Concat(fixed(r), fixed(small.Add(small, p.order)))) {
		t.Error("its other spelling is accepted")
	}
	for _, size := range []int{0, 1, 63, 65, 128} {
		if p.verifyDigest(digest[:], make([]byte, size)) {
			t.Errorf("a signature of %d bytes is accepted", size)
		}
	}
}

func TestPreparedKeysVerifyAsTheLibrary(t *testing.T) {
	t.Parallel()
	p := newPreparedEC(t)
	good := 0
	rapid.Check(t, func(t *rapid.T) {
		digest := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest")
		der, err := ecdsa.SignASN1(rand.Reader, p.PrivateKey, digest)
		if err != nil {
			t.Fatal(err)
		}
		signature, _ := splitDER(der, 32)
		if at := rapid.IntRange(-64, 63).Draw(t, "wrong byte"); at >= 0 {
			signature[at] ^= rapid.Byte().Draw(t, "by")
		}
		if p.compare(t, digest, signature) {
			good++
		}
	})
	if good == 0 {
		t.Error("nothing was accepted")
	}
}

func FuzzPreparedEC(f *testing.F) {
	p := newPreparedEC(f)
	digest := sha256.Sum256([]byte("signed"))
	for _, k := range []int64{1, 2, 1 << 40} {
		r, s := p.sign(f, new(big.Int).SetBytes(digest[:]), big.NewInt(k))
		f.Add(digest[:], slices.Concat(fixed(r), fixed(s)))
	}
	f.Fuzz(func(t *testing.T, digest, signature []byte) {
		if len(digest) == 32 && len(signature) == 64 {
			p.compare(t, digest, signature)
		}
	})
}

func rsaKeys(t testing.TB) []*rsa.PrivateKey {
	t.Helper()
	var keys []*rsa.PrivateKey
	for _, bits := range []int{2048, 2056} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

func compareRSA(t testing.TB, key *rsa.PublicKey, p prepared, hash crypto.Hash, digest, signature []byte) bool {
	t.Helper()
	want := rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
	if have := p.(*rsaPrepared).verifyDigest(hash, digest, signature); have != want {
		t.Fatalf("%d bits, %v, signature %x: have %v, crypto/rsa says %v", key.N.BitLen(), hash, signature, have, want)
	}
	return want
}

// A forger who may choose the encoded message can make its cube root where the exponent is 3. So each encoding that is
// almost right is signed with the real key, whatever its exponent: none may pass.
func TestPreparedRSATakesOneEncodingAlone(t *testing.T) {
	t.Parallel()
	digest256, digest512 := sha256.Sum256([]byte("signed")), sha512.Sum512([]byte("signed"))
	for _, key := range rsaKeys(t) {
		p, size := prepare(&key.PublicKey, algorithms["RS256"]), key.Size()
		raw := func(encoded []byte) []byte { // the bare operation
			return new(big.Int).Exp(new(big.Int).SetBytes(encoded), key.D, key.N).FillBytes(make([]byte, size))
		}
		right := encodePKCS1(crypto.SHA256, digest256[:], size)
		if !compareRSA(t, &key.PublicKey, p, crypto.SHA256, digest256[:], raw(right)) {
			t.Errorf("%d bits: the right encoding is refused", key.N.BitLen())
		}
		for at := 1; at < size; at += 1 + 6*(at/8)%13 { // each of the first bytes, then some
			wrong := slices.Clone(right)
			wrong[at] ^= 1
			if compareRSA(t, &key.PublicKey, p, crypto.SHA256, digest256[:], raw(wrong)) {
				t.Errorf("%d bits: accepted with byte %d wrong", key.N.BitLen(), at)
			}
		}
		short := slices.Concat([]byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0},
			[]byte(digestInfo[crypto.SHA256]), digest256[:])
		trailing := append(short, make([]byte, size-len(short))...) // Bleichenbacher's of 2006
		bare := slices.Concat(right[:size-len(digestInfo[crypto.SHA256])-33], []byte{0}, digest256[:])
		for name, signature := range map[string][]byte{
			"garbage behind a short padding": raw(trailing),
			"no digest info":                 raw(append(make([]byte, max(0, size-len(bare))), bare...)),
			"zero":                           make([]byte, size), "one": append(make([]byte, size-1), 1),
			"the modulus":          key.N.FillBytes(make([]byte, size)),
			"the modulus less one": new(big.Int).Sub(key.N, big.NewInt(1)).FillBytes(make([]byte, size)),
			"one byte less":        raw(right)[1:], "one byte more": append(raw(right), 0),
			"a zero in front": append([]byte{0}, raw(right)...), "empty": nil,
		} {
			if compareRSA(t, &key.PublicKey, p, crypto.SHA256, digest256[:], signature) {
				t.Errorf("%d bits: %s is accepted", key.N.BitLen(), name)
			}
		}
		for _, x := range []struct {
			hash   crypto.Hash
			digest []byte
		}{{crypto.SHA256, digest256[:]}, {crypto.SHA384, digest512[:48]}, {crypto.SHA512, digest512[:]}} {
			signature, err := rsa.SignPKCS1v15(nil, key, x.hash, x.digest)
			if err != nil || !compareRSA(t, &key.PublicKey, p, x.hash, x.digest, signature) {
				t.Errorf("%d bits, %v: a good signature is refused: %v", key.N.BitLen(), x.hash, err)
			}
			if x.hash != crypto.SHA256 && compareRSA(t, &key.PublicKey, p, crypto.SHA256, digest256[:], signature) {
				t.Errorf("%d bits: a signature with %v passes for one with SHA-256", key.N.BitLen(), x.hash)
			}
		}
	}
}

func FuzzPreparedRSA(f *testing.F) {
	key := rsaKeys(f)[0]
	p := prepare(&key.PublicKey, algorithms["RS256"])
	digest := sha256.Sum256([]byte("signed"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signature)
	f.Fuzz(func(t *testing.T, signature []byte) {
		compareRSA(t, &key.PublicKey, p, crypto.SHA256, digest[:], signature)
	})
}

func signedBy(t *testing.T, alg string) (key *PublicKey, signed, signature []byte) {
	t.Helper()
	signed = []byte("signed")
	if alg == "HS256" {
		secret := hmacSecret("a secret of thirty-two bytes, or so")
		key, err := newPublicKey(secret, alg, "secret")
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(signed)
		return key, signed, mac.Sum(nil)
	}
	private, err := Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	if signature, err = private.sign(signed); err != nil {
		t.Fatal(err)
	}
	return private.Public(), signed, signature
}

// A key is prepared by its signatures, and judges the same before, meanwhile and after.
func TestKeysArePreparedByUse(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "HS256"} {
		p := newPreparations(DefaultPreparedKeys)
		key, signed, signature := signedBy(t, alg)
		bad := slices.Clone(signature)
		bad[len(bad)/2] ^= 1
		for range preparedAt/(goodWeight+badWeight) - 1 {
			if !p.verify(key, alg, signed, signature) || p.verify(key, alg, signed, bad) {
				t.Fatalf("%s: before", alg)
			}
		}
		if p.of(key) != nil {
			t.Fatalf("%s: prepared too early", alg)
		}
		var together sync.WaitGroup
		for range 8 {
			together.Go(func() {
				for range 8 {
					if !p.verify(key, alg, signed, signature) || p.verify(key, alg, signed, bad) {
						t.Errorf("%s: meanwhile", alg)
					}
				}
			})
		}
		together.Wait()
		if p.of(key) == nil {
			t.Errorf("%s: never prepared", alg)
		}
		var none *preparations
		if !none.verify(key, alg, signed, signature) || none.verify(key, alg, signed, bad) {
			t.Errorf("%s: where nothing may be prepared", alg)
		}
	}
}

// However many keys come and go, few are prepared, and one that is in use is never dropped for another: with more keys
// in use than places, each would be prepared again and again. One that is idle makes room.
func TestFewKeysArePrepared(t *testing.T) {
	t.Parallel()
	const most = 4
	p, now := newPreparations(most), time.Now()
	p.now = func() time.Time { return now }
	use := func(key *PublicKey, signed, signature []byte) {
		for range 2 * preparedAt / goodWeight {
			if !p.verify(key, "ES256", signed, signature) {
				t.Fatal("refused")
			}
		}
	}
	var first []*PublicKey
	for range most {
		key, signed, signature := signedBy(t, "ES256")
		use(key, signed, signature)
		first = append(first, key)
	}
	late, signed, signature := signedBy(t, "ES256")
	use(late, signed, signature)
	if p.of(late) != nil || len(p.keys) != most {
		t.Errorf("a key in use was dropped for another: %d are prepared", len(p.keys))
	}
	for _, key := range first {
		if p.of(key) == nil {
			t.Error("a key in use is no longer prepared")
		}
	}
	now = now.Add(preparedIdle)
	p.of(first[0])
	use(late, signed, signature)
	if p.of(late) == nil || p.of(first[0]) == nil || p.of(first[1]) != nil {
		t.Error("what is idle does not make room, or what is in use does")
	}
}

// Without places the standard library judges all.
func TestNoPreparedKeys(t *testing.T) {
	t.Parallel()
	v, err := NewVerifier(Options{PreparedKeys: 0})
	if err != nil || v.prepared != nil {
		t.Fatalf("%v, prepared: %v", err, v.prepared)
	}
	key, signed, signature := signedBy(t, "ES256")
	for range 2 * preparedAt {
		if !v.prepared.verify(key, "ES256", signed, signature) {
			t.Fatal("refused")
		}
	}
}

// One accepted signature in 1,024 is judged again by the standard library. A disagreement refuses it, is told once, and
// ends preparation for good, also for a verifier of a later configuration, whatever its number of prepared keys.
func TestDisagreementEndsPreparation(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256"} {
		var told []string
		v, err := NewVerifier(Options{PreparedKeys: 8})
		if err != nil {
			t.Fatal(err)
		}
		v.OnDisagreement(func(kid string) { told = append(told, kid) })
		p := v.prepared
		key, signed, signature := signedBy(t, alg)
		for range 2 * recheckEvery {
			if !p.verify(key, alg, signed, signature) {
				t.Fatal("refused")
			}
		}
		if p.of(key) == nil || p.judged.Load() < recheckEvery || len(told) != 0 {
			t.Fatalf("%s: prepared %v, %d judged, told %v", alg, p.of(key) != nil, p.judged.Load(), told)
		}
		p.tamper = func(bool) bool { return true } // arithmetic that accepts what it must not
		bad := slices.Clone(signature)
		bad[len(bad)/2] ^= 1
		accepted := 0
		for range recheckEvery + 1 {
			if p.verify(key, alg, signed, bad) {
				accepted++
			}
		}
		if accepted >= recheckEvery || !slices.Equal(told, []string{key.id}) {
			t.Errorf("%s: %d forged signatures passed, told %v", alg, accepted, told)
		}
		for range 2 * preparedAt {
			if p.verify(key, alg, signed, bad) || !p.verify(key, alg, signed, signature) {
				t.Fatalf("%s: after the disagreement", alg)
			}
		}
		if p.of(key) != nil {
			t.Errorf("%s: prepared again", alg)
		}
		for _, most := range []int{8, 9} {
			next, err := NewVerifier(Options{PreparedKeys: most})
			if err != nil {
				t.Fatal(err)
			}
			if next.Adopt(v); !next.prepared.ended.Load() {
				t.Errorf("%s: a reload with %d prepared keys prepares again", alg, most)
			}
		}
	}
}

// Where only FIPS 140's module may compute, the standard library judges alone.
func TestNothingIsPreparedUnderFIPS140(t *testing.T) {
	t.Parallel()
	if fips140.Enabled() {
		if newPreparations(DefaultPreparedKeys) != nil {
			t.Error("keys are prepared")
		}
		return
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingIsPreparedUnderFIPS140$", "-test.v")
	again.Env = append(os.Environ(), "GODEBUG=fips140=on")
	if said, err := again.CombinedOutput(); err != nil || !strings.Contains(string(said), "--- PASS") {
		t.Errorf("%v\n%s", err, said)
	}
}

// What is prepared outlives a reload, and is there once, whatever else changes.
func TestAdoptedPreparations(t *testing.T) {
	t.Parallel()
	first, err := NewVerifier(Options{MaxBytes: 1000, PreparedKeys: 4})
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewVerifier(Options{MaxBytes: 2000, PreparedKeys: 4})
	if err != nil {
		t.Fatal(err)
	}
	if second.Adopt(first); second.prepared != first.prepared || first.prepared == nil {
		t.Error("prepared anew")
	}
}

// What a Verifier has read of headers, it has read of signed tokens alone, and not without bound.
func TestHeadersThatAreKnown(t *testing.T) {
	t.Parallel()
	private, err := Generate("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewKeySet(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(Options{Issuers: []*Issuer{{URL: "http://issuer", Keys: func() *KeySet { return set }}}})
	if err != nil {
		t.Fatal(err)
	}
	claims := []byte(`{"iss":"http://issuer","sub":"a","exp":4102444800,"scope":"x"}`)
	known := func() int {
		if all := v.headers.known.Load(); all != nil {
			return len(*all)
		}
		return 0
	}
	good, err := private.Sign(TypeAccessToken, claims)
	if err != nil {
		t.Fatal(err)
	}
	bad := good[:len(good)-4] + "AAAA"
	if _, err := v.VerifyUntimed(bad, nil); err == nil || known() != 0 {
		t.Errorf("forged: %v, %d known", err, known())
	}
	for range 3 {
		if _, err := v.VerifyUntimed(good, nil); err != nil || known() != 1 {
			t.Errorf("signed: %v, %d known", err, known())
		}
		if _, err := v.VerifyUntimed(bad, nil); err == nil {
			t.Error("forged, with a header that is known: accepted")
		}
	}
	for i := range 2 * headersMost {
		// another header each time, of another type
		compact, err := private.Sign(strings.Repeat(" ", i)+TypeAccessToken, claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.VerifyUntimed(compact, nil); (err == nil) != (i == 0) {
			t.Errorf("typ with %d spaces: %v", i, err)
		}
		other, err := private.Sign(strings.Repeat("application/", 1)+strings.ToUpper(TypeAccessToken[:1+i%4])+
			TypeAccessToken[1+i%4:], claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.VerifyUntimed(other, nil); err != nil {
			t.Error(err)
		}
	}
	if n := known(); n < 3 || n > headersMost {
		t.Errorf("%d headers are known", n)
	}
}
