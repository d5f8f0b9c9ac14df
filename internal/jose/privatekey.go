package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jotgate/jotgate/internal/strictjson"
)

// TypeAccessToken is the typ of the access tokens that we sign (RFC 9068 §2.1).
const TypeAccessToken = "at+jwt"

// A PrivateKey signs with one algorithm: ES256, RS256 or EdDSA. It is safe for concurrent use.
type PrivateKey struct {
	public *PublicKey
	signer crypto.Signer
	header string // for TypeAccessToken: base64url, with the dot after it
}

// Generate makes a new key for one of SigningAlgorithms.
func Generate(alg string) (*PrivateKey, error) {
	var material any
	var err error
	switch alg {
	case "ES256":
		material, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256":
		material, err = rsa.GenerateKey(rand.Reader, minRSABits)
	case "EdDSA":
		_, material, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("cannot make a key for %s, only for %v", brief(alg), SigningAlgorithms())
	}
	if err != nil {
		return nil, fmt.Errorf("make an %s key: %w", alg, err)
	}
	return newPrivateKey(material, alg, "")
}

func newPrivateKey(material any, alg, id string) (*PrivateKey, error) {
	public, err := publicHalf(material)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	k := &PrivateKey{signer: material.(crypto.Signer)} // publicHalf lets no other type through
	if k.public, err = newPublicKey(public, alg, id); err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if !slices.Contains(SigningAlgorithms(), k.public.alg) {
		return nil, fmt.Errorf("private key: %s only verifies; sign with one of %v", k.public.alg, SigningAlgorithms())
	}
	k.header = k.encodeHeader(TypeAccessToken)
	return k, nil
}

// ID is the key's kid.
func (k *PrivateKey) ID() string { return k.public.id }

// Algorithm is what the key signs with.
func (k *PrivateKey) Algorithm() string { return k.public.alg }

// Public is the half that verifies and is published.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// String names the key.
func (k *PrivateKey) String() string { return k.public.String() }

// Format writes String whatever the verb, so that printing a key never shows its secret.
func (k *PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalPEM writes the key as PKCS#8. A kid that is not the thumbprint is lost.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("write key %s: %w", k.public.id, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func (k *PrivateKey) encodeHeader(typ string) string {
	text := append([]byte(`{"alg":"`), k.public.alg...)
	text = append(text, `","typ":`...)
	text = strictjson.AppendString(text, typ)
	text = append(text, `,"kid":`...)
	text = append(strictjson.AppendString(text, k.public.id), '}')
	return base64.RawURLEncoding.EncodeToString(text) + "."
}

// Sign makes a token of the claims, a JSON object such as EncodeClaims writes, in the compact serialisation.
// typ is TypeAccessToken for access tokens, whose header is at hand, or another for other kinds of JWT.
func (k *PrivateKey) Sign(typ string, claims []byte) (string, error) {
	header := k.header
	if typ != TypeAccessToken {
		header = k.encodeHeader(typ)
	}
	const longestSignature = 88 // of ES256 and EdDSA with its dot; RS256 grows
	compact := make([]byte, 0, len(header)+base64.RawURLEncoding.EncodedLen(len(claims))+longestSignature)
	compact = append(compact, header...)
	compact = base64.RawURLEncoding.AppendEncode(compact, claims)
	signature, err := k.sign(compact)
	if err != nil {
		return "", fmt.Errorf("sign with key %s: %w", k.public.id, err)
	}
	compact = append(compact, '.')
	return string(base64.RawURLEncoding.AppendEncode(compact, signature)), nil
}

func (k *PrivateKey) sign(signed []byte) ([]byte, error) {
	a := algorithms[k.public.alg]
	switch key := k.signer.(type) {
	case *ecdsa.PrivateKey:
		der, err := ecdsa.SignASN1(rand.Reader, key, a.digest(signed))
		if err != nil {
			return nil, err
		}
		signature, ok := splitDER(der, (a.bits+7)/8)
		if !ok {
			return nil, errors.New("crypto/ecdsa wrote a signature that is no DER")
		}
		return signature, nil
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(nil, key, a.hash, a.digest(signed))
	case ed25519.PrivateKey:
		return ed25519.Sign(key, signed), nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign", k.signer)
}
