package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/jotgate/jotgate/internal/jose"
)

const (
	ourIssuer     = "https://gate.example.com"
	foreignIssuer = "https://kc.example.com/realms/shop"
)

// epoch is the time at which the tests' tokens are judged.
var epoch = time.UnixMilli(1_700_000_000_000)

// testKey is a key of any algorithm, signed with by plain standard library code that shares nothing with the package.
type testKey struct {
	alg     string
	kid     string
	private any
	public  *jose.PublicKey
}

func hashOf(alg string) crypto.Hash {
	switch alg[2:] {
	case "256":
		return crypto.SHA256
	case "384":
		return crypto.SHA384
	case "512":
		return crypto.SHA512
	}
	return 0
}

func digestOf(alg, signed string) []byte {
	h := hashOf(alg).New()
	h.Write([]byte(signed))
	return h.Sum(nil)
}

func sizeOf(alg string) int { return map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[alg] }

func (k *testKey) signature(signed string) []byte {
	var sig []byte
	var err error
	switch key := k.private.(type) {
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(rand.Reader, key, digestOf(k.alg, signed)); err == nil {
			size := sizeOf(k.alg)
			sig = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	case *rsa.PrivateKey:
		if k.alg[:2] == "PS" {
			sig, err = rsa.SignPSS(rand.Reader, key, hashOf(k.alg), digestOf(k.alg, signed),
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(nil, key, hashOf(k.alg), digestOf(k.alg, signed))
		}
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(signed))
	case []byte:
		mac := hmac.New(hashOf(k.alg).New, key)
		mac.Write([]byte(signed))
		sig = mac.Sum(nil)
	}
	if err != nil {
		panic(err)
	}
	return sig
}

// signs tells, by plain standard library code, whether the key made the signature.
func (k *testKey) signs(signed string, sig []byte) bool {
	switch key := k.private.(type) {
	case *ecdsa.PrivateKey:
		size := sizeOf(k.alg)
		return len(sig) == 2*size && ecdsa.Verify(&key.PublicKey, digestOf(k.alg, signed),
			new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
	case *rsa.PrivateKey:
		if k.alg[:2] == "PS" {
			return rsa.VerifyPSS(&key.PublicKey, hashOf(k.alg), digestOf(k.alg, signed), sig,
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(&key.PublicKey, hashOf(k.alg), digestOf(k.alg, signed), sig) == nil
	case ed25519.PrivateKey:
		return ed25519.Verify(key.Public().(ed25519.PublicKey), []byte(signed), sig)
	case []byte:
		return hmac.Equal(k.signature(signed), sig)
	}
	return false
}

// forge signs any header and payload, as they are.
func (k *testKey) forge(header, payload string) string {
	signed := b64(header) + "." + b64(payload)
	return signed + "." + b64(string(k.signature(signed)))
}

func (k *testKey) header(typ string) string {
	return fmt.Sprintf(`{"alg":%q,"typ":%q,"kid":%q}`, k.alg, typ, k.kid)
}

func (k *testKey) token(payload string) string { return k.forge(k.header("at+jwt"), payload) }

// verifying is what a verifier needs: the public half, or the secret.
func (k *testKey) verifying() any {
	if s, ok := k.private.(crypto.Signer); ok {
		return s.Public()
	}
	return k.private
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newTestKey(alg, kid string, private any) *testKey {
	k := &testKey{alg: alg, kid: kid, private: private}
	shown := must(jwk.FromRaw(k.verifying()))
	_ = shown.Set(jwk.AlgorithmKey, jwa.SignatureAlgorithm(alg))
	_ = shown.Set(jwk.KeyIDKey, kid)
	set, skipped, err := jose.ParseKeySet(must(json.Marshal(shown)))
	if err != nil || len(skipped) > 0 {
		panic(fmt.Sprint(err, skipped))
	}
	k.public = set.Key(kid)
	return k
}

// fixed is a scalar, a seed or a secret that is the same in every process, as the fuzzer's workers need.
func fixed(n int, of byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = of + byte(i)
	}
	return b
}

func fixedEC(alg string, curve elliptic.Curve, of byte) *testKey {
	scalar := fixed(sizeOf(alg), of)
	scalar[0] = 0 // below the curve's order
	return newTestKey(alg, "kid-"+alg, must(ecdsa.ParseRawPrivateKey(curve, scalar)))
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// fastKeys are made without a search for primes.
var fastKeys = sync.OnceValue(func() []*testKey {
	return []*testKey{
		fixedEC("ES256", elliptic.P256(), 1), fixedEC("ES384", elliptic.P384(), 2), fixedEC("ES512", elliptic.P521(), 3),
		newTestKey("EdDSA", "kid-EdDSA", ed25519.NewKeyFromSeed(fixed(32, 4))),
		newTestKey("HS256", "kid-HS256", fixed(32, 5)), newTestKey("HS384", "kid-HS384", fixed(48, 6)),
		newTestKey("HS512", "kid-HS512", fixed(64, 7)),
	}
})

var allKeys = sync.OnceValue(func() []*testKey {
	keys := fastKeys()
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		keys = append(keys, newTestKey(alg, "kid-"+alg, rsaKey()))
	}
	return keys
})

func keyFor(t testing.TB, alg string) *testKey {
	t.Helper()
	for _, k := range allKeys() {
		if k.alg == alg {
			return k
		}
	}
	t.Fatalf("no key for %s", alg)
	return nil
}

func setOf(keys ...*testKey) *jose.KeySet {
	var public []*jose.PublicKey
	for _, k := range keys {
		public = append(public, k.public)
	}
	return must(jose.NewKeySet(public...))
}

func holding(set *jose.KeySet) func() *jose.KeySet { return func() *jose.KeySet { return set } }

func newVerifier(t testing.TB, issuers ...*jose.Issuer) *jose.Verifier {
	t.Helper()
	v, err := jose.NewVerifier(jose.Options{
		Issuers: issuers, Leeway: 5 * time.Second, PreparedKeys: jose.DefaultPreparedKeys,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ours(keys ...*testKey) *jose.Issuer {
	return &jose.Issuer{URL: ourIssuer, Own: true, MaxLifetime: 24 * time.Hour, Keys: holding(setOf(keys...))}
}

// goodClaims is a payload of ours that holds everything.
const goodClaims = `{"iss":"https://gate.example.com","sub":"user-7","aud":["https://gate.example.com/api"],"client_id":"shop",` +
	`"iat":1700000000,"nbf":1700000000,"exp":1700003600,"jti":"0190","grantor":"shop",` +
	`"tenantPermissions":[{"tenant":"acme","allowedActions":["READ_TENANT","MANAGE_TICKETS"]},{"tenant":"*","allowedActions":[]}]}`
