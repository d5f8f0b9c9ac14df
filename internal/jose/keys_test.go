package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/jotgate/jotgate/internal/jose"
)

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

func privateJWK(t testing.TB, key any, members ...string) string {
	t.Helper()
	shown, err := jwk.FromRaw(key)
	if err != nil {
		t.Fatal(err)
	}
	text := must(json.Marshal(shown))
	return string(text[:len(text)-1]) + strings.Join(append([]string{""}, members...), ",") + "}"
}

func TestPrivateKeysInEveryFormat(t *testing.T) {
	t.Parallel()
	ec := keyFor(t, "ES256").private.(*ecdsa.PrivateKey)
	ed := keyFor(t, "EdDSA").private.(ed25519.PrivateKey)
	sec1 := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec)))
	parameters := pemOf("EC PARAMETERS", must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})))
	for _, c := range []struct{ name, text, alg, kid string }{
		{"EC PKCS#8", pkcs8(t, ec), "ES256", ""},
		{"EC SEC 1", sec1, "ES256", ""},
		{"EC SEC 1 as openssl writes it", parameters + sec1, "ES256", ""},
		{"EC with white space around", "\n\n" + sec1 + "\n \n", "ES256", ""},
		{"EC with CRLF", strings.ReplaceAll(sec1, "\n", "\r\n"), "ES256", ""},
		{"EC JWK", privateJWK(t, ec), "ES256", ""},
		{
			"EC JWK with kid and alg", privateJWK(t, ec, `"kid":"mine","alg":"ES256","use":"sig","key_ops":["sign"]`), "ES256",
			"mine",
		},
		{"RSA PKCS#8", pkcs8(t, rsaKey()), "RS256", ""},
		{"RSA PKCS#1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), "RS256", ""},
		{"RSA JWK", privateJWK(t, rsaKey()), "RS256", ""},
		{"Ed25519 PKCS#8", pkcs8(t, ed), "EdDSA", ""},
		{"Ed25519 JWK", privateJWK(t, ed), "EdDSA", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			key, err := jose.ParsePrivate([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if key.Algorithm() != c.alg {
				t.Errorf("have %s, want %s", key.Algorithm(), c.alg)
			}
			want := c.kid
			if want == "" {
				public := must(jwk.FromRaw(map[string]any{
					"ES256": ec.Public(), "RS256": rsaKey().Public(),
					"EdDSA": ed.Public(),
				}[c.alg]))
				want = base64.RawURLEncoding.EncodeToString(must(public.Thumbprint(crypto.SHA256)))
			}
			if key.ID() != want {
				t.Errorf("kid %s, want %s", key.ID(), want)
			}
			again, err := jose.ParsePrivate(must(key.MarshalPEM()))
			if err != nil || again.Algorithm() != c.alg {
				t.Errorf("cannot be read back: %v", err)
			}
			compact := must(key.Sign("at+jwt", []byte(goodClaims)))
			issuer := ours()
			issuer.Keys = holding(must(jose.NewKeySet(key.Public())))
			if _, err := newVerifier(t, issuer).Verify(compact, epoch, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPrivateKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	ec := keyFor(t, "ES256").private.(*ecdsa.PrivateKey)
	good := pkcs8(t, ec)
	block, _ := pem.Decode([]byte(good))
	short := must(rsa.GenerateKey(rand.Reader, 1024))
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	var mixed map[string]any
	_ = json.Unmarshal([]byte(privateJWK(t, ec)), &mixed)
	var second map[string]any
	_ = json.Unmarshal([]byte(privateJWK(t, other)), &second)
	mixed["x"], mixed["y"] = second["x"], second["y"]
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "private key: neither PEM nor a JWK"},
		{"two keys", good + good, "private key: more follows the first key; want one key in a file"},
		{"text after it", good + "x", "private key: more follows the first key; want one key in a file"},
		{"text before it", "x\n" + good, "private key: neither PEM nor a JWK"},
		{"text between parameters and key", pemOf("EC PARAMETERS", nil) + "x\n" + good, "private key: the PEM is damaged"},
		{"damaged", good[:60], "private key: the PEM is damaged"},
		{
			"a byte after the DER", pemOf("PRIVATE KEY", append(block.Bytes, 0)),
			"private key: the PEM does not hold exactly one DER value",
		},
		{
			"a public key", pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(ec.Public()))),
			`private key: a PEM block "PUBLIC KEY", want PRIVATE KEY`,
		},
		{"a certificate", pemOf("CERTIFICATE", block.Bytes), `private key: a PEM block "CERTIFICATE", want PRIVATE KEY`},
		{"encrypted PKCS#8", pemOf("ENCRYPTED PRIVATE KEY", block.Bytes), "private key: it is encrypted; decrypt it first"},
		{
			"encrypted SEC 1", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
			"private key: it is encrypted; decrypt it first",
		},
		{"RSA of 1024 bits", pkcs8(t, short), "private key: an RSA key must have 2048 to 8192 bits, this one has 1024"},
		{
			"P-384", pkcs8(t, keyFor(t, "ES384").private),
			"private key: ES384 only verifies; sign with one of [ES256 RS256 EdDSA]",
		},
		{
			"PS256", privateJWK(t, rsaKey(), `"alg":"PS256"`),
			"private key: PS256 only verifies; sign with one of [ES256 RS256 EdDSA]",
		},
		{"alg of another type", privateJWK(t, ec, `"alg":"RS256"`), "private key: alg RS256 does not fit this type of key"},
		{"alg none", privateJWK(t, ec, `"alg":"none"`), `private key: alg "none" is not supported`},
		{"for encryption", privateJWK(t, ec, `"use":"enc"`), `private key: its use is "enc", not sig`},
		{"for verifying alone", privateJWK(t, ec, `"key_ops":["verify"]`), "private key: its key_ops lack sign"},
		{
			"long kid", privateJWK(t, ec, `"kid":"`+strings.Repeat("k", 257)+`"`),
			"private key: kid has 257 bytes, the limit is 256",
		},
		{"kid twice", privateJWK(t, ec, `"kid":"a","kid":"b"`), "the member is there twice"},
		{"a symmetric JWK", `{"kty":"oct","k":"AAAA","kid":"x","alg":"HS256"}`, "private key: this JWK holds no private key"},
		{
			"a public JWK", string(must(json.Marshal(must(jwk.FromRaw(ec.Public()))))),
			"private key: this JWK holds no private key",
		},
		{"a JWK set", `{"keys":[` + privateJWK(t, ec) + `]}`, "private key: no kty"},
		{"a JWK of two keys' halves", string(must(json.Marshal(mixed))), "belong together"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			key, err := jose.ParsePrivate([]byte(c.text))
			if err == nil {
				t.Fatalf("accepted as %v", key)
			}
			if !strings.HasPrefix(err.Error(), "private key: ") || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("have %v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := jose.Generate("HS256"); err == nil ||
		err.Error() != `cannot make a key for "HS256", only for [ES256 RS256 EdDSA]` {
		t.Errorf("a key for HS256: %v", err)
	}
}

// The key and its thumbprint are those of RFC 8037 appendix A.
func TestThumbprintOfRFC8037(t *testing.T) {
	t.Parallel()
	set, _, err := jose.ParseKeySet([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	if err != nil {
		t.Fatal(err)
	}
	if have := set.Keys()[0].ID(); have != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error(have)
	}
}

func TestWeakAndUnknownKeysAreSkippedAndTheOthersStay(t *testing.T) {
	t.Parallel()
	good := keyFor(t, "ES256")
	fine := string(must(json.Marshal(must(good.publicJWK()))))
	short := must(rsa.GenerateKey(rand.Reader, 1024)).Public()
	rsaWith := func(e int) string {
		return string(must(json.Marshal(must(jwk.FromRaw(&rsa.PublicKey{N: rsaKey().N, E: e})))))
	}
	even := &rsa.PublicKey{N: new(big.Int).Add(rsaKey().N, big.NewInt(1)), E: 65537}
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).SetBit(new(big.Int), 8192, 1), 0, 1), E: 65537}
	public := func(key any) string { return string(must(json.Marshal(must(jwk.FromRaw(key))))) }
	for _, c := range []struct{ name, key, want string }{
		{"unknown type", `{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA","kid":"pq"}`, ""},
		{"no type", `{"kid":"x"}`, "key 2: no kty"},
		{"not an object", `"key"`, "key 2: byte 0: want an object, have a string"},
		{"unknown curve", `{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}`, ""},
		{"X25519", `{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, ""},
		{"a point off the curve", `{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}`, ""},
		{
			"Ed25519 neutral element", `{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
			"key 2: the point is of low order: signatures for it can be forged",
		},
		{"short Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"AQAAAA"}`, ""},
		{"RSA of 1024 bits", public(short), "key 2: an RSA key must have 2048 to 8192 bits, this one has 1024"},
		{"RSA of 8193 bits", public(huge), "key 2: an RSA key must have 2048 to 8192 bits, this one has 8193"},
		{"RSA with exponent 1", rsaWith(1), "key 2: the RSA exponent 1 is not an odd number from 3 to 2^31-1"},
		{"RSA with an even exponent", rsaWith(65536), "key 2: the RSA exponent 65536 is not an odd number from 3 to 2^31-1"},
		{"RSA with an even modulus", public(even), "key 2: the RSA modulus is even"},
		{"empty secret", `{"kty":"oct","k":"","kid":"s","alg":"HS256"}`, ""},
		{
			"short secret", `{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg","kid":"s","alg":"HS256"}`,
			"key 2: HS256 needs a secret of at least 32 bytes, this one has 31",
		},
		{
			"a secret too short for HS512",
			`{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","kid":"s","alg":"HS512"}`,
			"key 2: HS512 needs a secret of at least 64 bytes, this one has 32",
		},
		{
			"a secret without alg", `{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","kid":"s"}`,
			"key 2: a symmetric key must name its alg",
		},
		{
			"a secret without kid", `{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","alg":"HS256"}`,
			"key 2: a symmetric key needs a kid",
		},
		{
			"a secret for an algorithm of pairs",
			`{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","alg":"RS256","kid":"s"}`,
			"key 2: alg RS256 does not fit this type of key",
		},
		{
			"HS256 with a public key", strings.Replace(public(rsaKey().Public()), "{", `{"alg":"HS256",`, 1),
			"key 2: alg HS256 does not fit this type of key",
		},
		{"ES384 with P-256", strings.Replace(public(fixedEC("ES256", elliptic.P256(), 8).verifying()), "{", `{"alg":"ES384",`,
			1), "key 2: alg ES384 does not fit this type of key"},
		{
			"alg none", strings.Replace(public(rsaKey().Public()), "{", `{"alg":"none",`, 1),
			`key 2: alg "none" is not supported`,
		},
		{
			"for encryption", strings.Replace(public(rsaKey().Public()), "{", `{"use":"enc",`, 1),
			`key 2: its use is "enc", not sig`,
		},
		{
			"for wrapping", strings.Replace(public(rsaKey().Public()), "{", `{"key_ops":["wrapKey"],`, 1),
			"key 2: its key_ops lack verify",
		},
		{"a private key", privateJWK(t, rsaKey()), "key 2: a private key does not belong here, only its public half"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			set, skipped, err := jose.ParseKeySet([]byte(`{"keys":[` + fine + "," + c.key + `],"x":1}`))
			if err != nil {
				t.Fatal(err)
			}
			if set.Len() != 1 || set.Key("kid-ES256") == nil || len(skipped) != 1 {
				t.Fatalf("%d keys, skipped %v", set.Len(), skipped)
			}
			if !strings.HasPrefix(skipped[0].Error(), "key 2: ") || (c.want != "" && skipped[0].Error() != c.want) {
				t.Errorf("have %v\nwant %s", skipped[0], c.want)
			}
			if _, _, err := jose.ParseKeySet([]byte(`{"keys":[` + c.key + `]}`)); err == nil ||
				!strings.HasPrefix(err.Error(), "key set: no key of use: ") {
				t.Errorf("alone: %v", err)
			}
		})
	}
}

func (k *testKey) publicJWK() (jwk.Key, error) {
	key, err := jwk.FromRaw(k.verifying())
	if err == nil {
		err = key.Set(jwk.KeyIDKey, k.kid)
	}
	return key, err
}

func TestKeySetsThatAreRefusedWhole(t *testing.T) {
	t.Parallel()
	one := string(must(json.Marshal(must(keyFor(t, "ES256").publicJWK()))))
	many := strings.Repeat(one+",", 100) + one
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "key set: neither a JWK set nor PEM"},
		{"HTML", "<html>", "key set: neither a JWK set nor PEM"},
		{"no keys", `{"keys":[]}`, "key set: there is no key in it"},
		{"keys twice", `{"keys":[],"keys":[]}`, "key set: byte 11: keys: the member is there twice"},
		{"keys an object", `{"keys":{}}`, "key set: byte 8: keys: want an array, have an object"},
		{"two of one kid", `{"keys":[` + one + "," + one + `]}`, `key set: two keys have the kid "kid-ES256"`},
		{"101 keys", `{"keys":[` + many + `]}`, "more than 100 keys"},
		{"over 1 MiB", `{"x":"` + strings.Repeat("a", 1<<20) + `"}`, "the key set has 1048584 bytes, the limit is 1048576"},
		{"data after it", `{"keys":[` + one + `]}x`, "data after the end of the value"},
		{
			"PEM and text", pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(rsaKey().Public()))) + "x",
			"key set: text that is not PEM",
		},
		{
			"a private key in PEM", pkcs8(t, rsaKey()),
			`key set: no key of use: key 1: a PEM block "PRIVATE KEY", want PUBLIC KEY`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			set, _, err := jose.ParseKeySet([]byte(c.text))
			if err == nil {
				t.Fatalf("accepted %d keys", set.Len())
			}
			if !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("have %v\nwant %s", err, c.want)
			}
		})
	}
	key := must(jose.Generate("EdDSA")).Public()
	if _, err := jose.NewKeySet(key, key); err == nil {
		t.Error("a set with the same key twice")
	}
}

func TestPublicKeysAsPEM(t *testing.T) {
	t.Parallel()
	var text string
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA"} {
		text += pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(keyFor(t, alg).verifying()))) + "\n"
	}
	text += pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey))
	set, skipped, err := jose.ParseKeySet([]byte(text))
	if err != nil || len(skipped) > 0 {
		t.Fatal(err, skipped)
	}
	var have []string
	for _, k := range set.Keys() {
		have = append(have, k.Algorithm())
	}
	if fmt.Sprint(have) != "[ES256 ES384 ES512 EdDSA RS256]" {
		t.Error(have)
	}
}

// TestLowOrderPointsAreWeakIndeed forges, for each point that is refused, a signature without any key: R is the
// neutral element and S is zero, which holds for every eighth message at the least.
func TestLowOrderPointsAreWeakIndeed(t *testing.T) {
	t.Parallel()
	sig := make([]byte, 64)
	sig[0] = 1
	for _, point := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		key := must(hex.DecodeString(point))
		forged := false
		for i := 0; i < 1000 && !forged; i++ {
			forged = ed25519.Verify(key, fmt.Appendf(nil, "message %d", i), sig)
		}
		if !forged {
			t.Errorf("%s: no message can be forged", point)
		}
		_, _, err := jose.ParseKeySet(fmt.Appendf(nil, `{"kty":"OKP","crv":"Ed25519","x":%q}`,
			base64.RawURLEncoding.EncodeToString(key)))
		if err == nil || !strings.Contains(err.Error(), "low order") {
			t.Errorf("%s: %v", point, err)
		}
	}
}

func TestSecretsAreNeverPublishedOrPrinted(t *testing.T) {
	t.Parallel()
	for _, k := range allKeys() {
		set := setOf(k)
		var shown struct{ Keys []map[string]any }
		if err := json.Unmarshal(set.JWKS(), &shown); err != nil {
			t.Fatal(err)
		}
		for _, key := range shown.Keys {
			for _, member := range []string{"d", "k", "p", "q", "dp", "dq", "qi"} {
				if _, there := key[member]; there {
					t.Errorf("%s: %s is published", k.alg, member)
				}
			}
			if key["kty"] == "oct" || key["use"] != "sig" || key["alg"] == nil || key["kid"] == nil {
				t.Errorf("%s: published as %v", k.alg, key)
			}
		}
		if secret, ok := k.private.([]byte); ok {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
				text := fmt.Sprintf(verb, k.public)
				if strings.Contains(text, hex.EncodeToString(secret)) || strings.Contains(text, fmt.Sprint(secret)) ||
					strings.Contains(text, string(secret)) {
					t.Errorf("%s with %s prints its secret: %s", k.alg, verb, text)
				}
			}
		}
	}
	for _, alg := range jose.SigningAlgorithms() {
		key := must(jose.Generate(alg))
		want := alg + " key " + key.ID()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			if have := fmt.Sprintf(verb, key); have != want {
				t.Errorf("%s: have %s, want %s", verb, have, want)
			}
		}
	}
}
