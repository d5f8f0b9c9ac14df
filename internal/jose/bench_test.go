package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/jotgate/jotgate/internal/jose"
)

// BenchmarkVerify compares a whole verification with the bare check of its signature and with jwx's.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "HS256"} {
		key := keyFor(b, alg)
		v := newVerifier(b, ours(key))
		compact := key.token(goodClaims)
		b.Run(alg+"/whole", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(compact, epoch, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+"/bare", func(b *testing.B) { bareVerify(b, key, compact) })
		b.Run(alg+"/jwx", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jwxVerifies(key, compact); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func bareVerify(b *testing.B, key *testKey, compact string) {
	dot := strings.LastIndexByte(compact, '.')
	signed, sig := compact[:dot], must(base64.RawURLEncoding.DecodeString(compact[dot+1:]))
	b.ReportAllocs()
	for b.Loop() {
		if !key.signs(signed, sig) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkRefuse is what a bad token costs that is refused before its signature is looked at.
func BenchmarkRefuse(b *testing.B) {
	key := keyFor(b, "ES256")
	v := newVerifier(b, ours(key))
	for name, bearer := range map[string]string{
		"expired": key.token(with("exp", "1")), "kid": key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"x"}`, goodClaims),
		"shape": strings.Repeat("a", 500),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(bearer, epoch, nil); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// BenchmarkSign compares encoding and signing with the bare signature over as many bytes, and with jwx's.
func BenchmarkSign(b *testing.B) {
	claims := must(jose.DecodeClaims(goodClaims))
	for _, alg := range jose.SigningAlgorithms() {
		key := must(jose.Generate(alg))
		block, _ := pem.Decode(must(key.MarshalPEM()))
		raw := must(x509.ParsePKCS8PrivateKey(block.Bytes))
		b.Run(alg+"/whole", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Sign(jose.TypeAccessToken, jose.EncodeClaims(make([]byte, 0, 512), claims)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+"/bare", func(b *testing.B) { bareSign(b, raw) })
		b.Run(alg+"/jwx", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jws.Sign([]byte(goodClaims), jws.WithKey(jwa.SignatureAlgorithm(alg), raw)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func bareSign(b *testing.B, raw any) {
	text := bytes.Repeat([]byte("a"), len(goodClaims)*4/3+100)
	b.ReportAllocs()
	for b.Loop() {
		h := crypto.SHA256.New()
		h.Write(text)
		var err error
		switch key := raw.(type) {
		case *ecdsa.PrivateKey:
			_, err = ecdsa.SignASN1(rand.Reader, key, h.Sum(nil))
		case *rsa.PrivateKey:
			_, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, h.Sum(nil))
		case ed25519.PrivateKey:
			ed25519.Sign(key, text)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
