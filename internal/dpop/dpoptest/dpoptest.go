// Package dpoptest makes DPoP proofs (RFC 9449 §4.2), good and bad ones, for tests. It writes and signs them by itself,
// so that a mistake of the code that reads them does not hide.
package dpoptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"
)

// A Key is a client's.
type Key struct {
	Algorithm  string         // alg of its proofs
	JWK        map[string]any // its public half
	Thumbprint string         // RFC 7638

	t      testing.TB
	signer crypto.Signer
}

// New makes a key for ES256, EdDSA, Ed25519, RS256 or PS256; RSA keys have bits, or 2048 if that is 0.
func New(t testing.TB, algorithm string, bits int) *Key {
	t.Helper()
	k := &Key{Algorithm: algorithm, t: t}
	var canonical string
	switch algorithm {
	case "ES256":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		k.must(err)
		point, err := key.PublicKey.Bytes()
		k.must(err)
		x, y := encode(point[1:33]), encode(point[33:])
		k.signer, k.JWK = key, map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y}
		canonical = `{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`
	case "EdDSA", "Ed25519":
		public, key, err := ed25519.GenerateKey(rand.Reader)
		k.must(err)
		k.signer, k.JWK = key, map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(public)}
		canonical = `{"crv":"Ed25519","kty":"OKP","x":"` + encode(public) + `"}`
	default:
		key, err := rsa.GenerateKey(rand.Reader, max(bits, 2048))
		k.must(err)
		n, e := encode(key.N.Bytes()), encode(big.NewInt(int64(key.E)).Bytes())
		k.signer, k.JWK = key, map[string]any{"kty": "RSA", "n": n, "e": e}
		canonical = `{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`
	}
	sum := sha256.Sum256([]byte(canonical))
	k.Thumbprint = encode(sum[:])
	return k
}

func (k *Key) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// A Change is made to a proof before it is signed; nil for a member leaves it out.
type Change struct{ Header, Claims map[string]any }

// Proof makes a proof for a request, with a jti of its own.
func (k *Key) Proof(method, url string, at time.Time, changes ...Change) string {
	k.t.Helper()
	header := map[string]any{"typ": "dpop+jwt", "alg": k.Algorithm, "jwk": k.JWK}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": at.Unix()}
	for _, c := range changes {
		merge(header, c.Header)
		merge(claims, c.Claims)
	}
	return k.Sign(k.text(header), k.text(claims))
}

// For makes a Change that names the token in ath.
func For(token string) Change {
	sum := sha256.Sum256([]byte(token))
	return Change{Claims: map[string]any{"ath": encode(sum[:])}}
}

// Nonce makes a Change that has the nonce.
func Nonce(nonce string) Change { return Change{Claims: map[string]any{"nonce": nonce}} }

func merge(into, from map[string]any) {
	maps.Copy(into, from)
	maps.DeleteFunc(into, func(_ string, v any) bool { return v == nil })
}

func (k *Key) text(members map[string]any) string {
	text, err := json.Marshal(members)
	k.must(err)
	return string(text)
}

// Sign makes a JWS of a header and a payload as they are.
func (k *Key) Sign(header, payload string) string {
	k.t.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(k.signature([]byte(signed)))
}

func (k *Key) signature(signed []byte) []byte {
	sum := sha256.Sum256(signed)
	switch key := k.signer.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		k.must(err)
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		return ed25519.Sign(key, signed)
	}
	var options crypto.SignerOpts = crypto.SHA256
	if strings.HasPrefix(k.Algorithm, "PS") {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	signature, err := k.signer.Sign(rand.Reader, sum[:], options)
	k.must(err)
	return signature
}

// HMAC is Sign with a shared secret and HS256, whatever the header says.
func HMAC(header, payload string, secret []byte) string {
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed)) // a hash never fails
	return signed + "." + encode(h.Sum(nil))
}
