package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
)

// forgedFor is a token for an issuer with these keys that none of them signed; kid "" names no key.
func forgedFor(alg, kid string) string {
	header := `{"alg":"` + alg + `","typ":"at+jwt"`
	if kid != "" {
		header += `,"kid":"` + kid + `"`
	}
	claims := `{"iss":"https://issuer.test","sub":"a","exp":4102444800,"scope":"x"}`
	size := map[string]int{"ES256": 64, "ES384": 96, "ES512": 132, "RS256": 256}[alg]
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header+"}")) + "." + encode([]byte(claims)) + "." + encode([]byte(strings.Repeat("\x01", size)))
}

func ecKeys(t *testing.T, curve elliptic.Curve, kids ...string) *KeySet {
	t.Helper()
	var keys []*PublicKey
	for _, kid := range kids {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := newPublicKey(&private.PublicKey, "", kid)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	set, err := NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func verifierOf(t *testing.T, set *KeySet) *Verifier {
	t.Helper()
	v, err := NewVerifier(Options{Issuers: []*Issuer{{URL: "https://issuer.test", Keys: func() *KeySet { return set }}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Forged tokens under keys whose signatures cost much are checked a few at a time; a bounded number waits, and the rest
// is refused as busy. What costs little goes on meanwhile.
func TestDearSignatureChecksAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, alg, kid string
		set            *KeySet
		checks         int // what the token counts; 0: it costs too little to be bounded
	}{
		{"P-521", "ES512", "a", ecKeys(t, elliptic.P521(), "a"), 1},
		{"P-384", "ES384", "a", ecKeys(t, elliptic.P384(), "a"), 1},
		{"P-256", "ES256", "a", ecKeys(t, elliptic.P256(), "a"), 0},
		{"four keys without a kid", "ES256", "", ecKeys(t, elliptic.P256(), "a", "b", "c", "d", "e"), 4},
		{"two P-384 keys without a kid", "ES384", "", ecKeys(t, elliptic.P384(), "a", "b"), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(t, c.set)
			bearer := forgedFor(c.alg, c.kid)
			verify := func() refusal.Reason {
				_, err := v.VerifyUntimed(bearer, nil)
				return refusal.Of(err)
			}
			if have := verify(); have != refusal.TokenSignatureInvalid || v.dear.waiting.Load() != 0 {
				t.Fatalf("idle: %s, %d left", have, v.dear.waiting.Load())
			}
			v.dear.waiting.Store(v.dear.most - int64(c.checks) + 1) // one too few
			want := refusal.SignaturesBusy
			if c.checks == 0 {
				want = refusal.TokenSignatureInvalid
			}
			if have := verify(); have != want {
				t.Errorf("at the bound: %s, want %s", have, want)
			}
			v.dear.waiting.Store(v.dear.most - int64(c.checks))
			if have := verify(); have != refusal.TokenSignatureInvalid {
				t.Errorf("just below the bound: %s", have)
			}
		})
	}
}

// However many come at once, no more dear checks run than there are places, and each is answered.
func TestDearChecksRunInTheirPlaces(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, ecKeys(t, elliptic.P384(), "a"))
	bearer := forgedFor("ES384", "a")
	places := cap(v.dear.places)
	for range places {
		v.dear.places <- struct{}{} // all are taken
	}
	crowd := int(v.dear.most) + 50
	var done sync.WaitGroup
	results := make(chan refusal.Reason, crowd)
	for range crowd {
		done.Go(func() {
			_, err := v.VerifyUntimed(bearer, nil)
			results <- refusal.Of(err)
		})
	}
	for range 50 { // those above the bound are answered while every place is taken
		if have := <-results; have != refusal.SignaturesBusy {
			t.Errorf("while all places are taken: %s", have)
		}
	}
	for range places {
		<-v.dear.places
	}
	done.Wait()
	close(results)
	for have := range results {
		if have != refusal.TokenSignatureInvalid {
			t.Errorf("one that waited: %s", have)
		}
	}
	if left := v.dear.waiting.Load(); left != 0 || len(v.dear.places) != 0 {
		t.Errorf("%d checks and %d places are left behind", left, len(v.dear.places))
	}
}

// A verifier of a later configuration shares the bound.
func TestAdoptedBound(t *testing.T) {
	t.Parallel()
	first, second := verifierOf(t, ecKeys(t, elliptic.P256(), "a")), verifierOf(t, ecKeys(t, elliptic.P256(), "a"))
	if second.Adopt(first); second.dear != first.dear {
		t.Error("a reload doubles the places")
	}
}

func TestExpensiveKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		bits, exponent int
		want           string
	}{
		{2048, 3, ""},
		{4096, 65537, ""},
		{4104, 65537, "an RSA key of 4104 bits, more than 4096"},
		{2048, 65539, "an RSA key with the exponent 65539, more than 65537"},
		{2048, 1<<31 - 1, "an RSA key with the exponent 2147483647, more than 65537"},
	} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(c.bits-1))
		key, err := newPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: c.exponent}, "", "a")
		if err != nil {
			t.Fatal(err)
		}
		have := ""
		if err := key.Expensive(); err != nil {
			have = err.Error()
		}
		if have != c.want {
			t.Errorf("%d bits, exponent %d: have %q, want %q", c.bits, c.exponent, have, c.want)
		}
		var parsed parsedKeys
		if err := parsed.add(key, nil); err != nil {
			t.Fatal(err)
		}
		if parsed.keepUnambiguous(); (len(parsed.keys) == 1) != (c.want == "") {
			t.Errorf("%d bits, exponent %d, in a remote set: %d keys, left out %v", c.bits, c.exponent, len(parsed.keys),
				parsed.skipped)
		}
	}
}

// A flood of forged tokens whose checks are dear, each another one, against tokens that cost little and others that are
// known: the flood takes at most its places, what waits is bounded, and every good token is verified while the flood
// stands at its bound.
func TestForgedDearTokensStarveNoOthers(t *testing.T) {
	t.Parallel()
	cheap, err := Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewKeySet(append(ecKeys(t, elliptic.P521(), "dear").Keys(), cheap.Public())...)
	if err != nil {
		t.Fatal(err)
	}
	v := verifierOf(t, set)
	places := cap(v.dear.places)
	for range places {
		v.dear.places <- struct{}{} // the checks that run take as long as they may
	}
	flood, refused := int(v.dear.most)+1000, make(chan refusal.Reason, int(v.dear.most)+1000)
	var attackers sync.WaitGroup
	forged := forgedFor("ES512", "dear")
	for range flood {
		attackers.Go(func() {
			_, err := v.VerifyUntimed(forged, nil)
			refused <- refusal.Of(err)
		})
	}
	for range 1000 {
		if have := <-refused; have != refusal.SignaturesBusy {
			t.Fatalf("above the bound: %s", have)
		}
	}
	if waiting := v.dear.waiting.Load(); waiting != v.dear.most {
		t.Errorf("%d checks wait, of at most %d", waiting, v.dear.most)
	}
	for i := range 500 {
		claims := fmt.Sprintf(`{"iss":"https://issuer.test","sub":"a","exp":4102444800,"jti":"%d","scope":"x"}`, i)
		bearer, err := cheap.Sign("at+jwt", []byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.VerifyUntimed(bearer, nil); err != nil {
			t.Fatalf("a good token during the flood: %v", err)
		}
	}
	for range places {
		<-v.dear.places
	}
	attackers.Wait()
	if left := v.dear.waiting.Load(); left != 0 || len(v.dear.places) != 0 {
		t.Errorf("%d checks and %d places are left behind", left, len(v.dear.places))
	}
}
