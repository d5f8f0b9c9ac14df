package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

// RSA keys of other sizes are refused: shorter ones can be broken, longer ones make a verification a way to exhaust us.
const (
	minRSABits = 2048
	maxRSABits = 8192
	// A remote key set is another's text: a key in it must not make each signature many times as expensive.
	maxRemoteRSABits = 4096
	smallExponent    = 1<<16 + 1
)

// Expensive reports whether the key makes each of its signatures much more expensive than need be: an RSA key of more
// than 4096 bits, or with a large exponent. Such keys are taken from files, but not from a remote key set.
func (k *PublicKey) Expensive() error {
	key, ok := k.material.(*rsa.PublicKey)
	switch {
	case !ok:
		return nil
	case key.N.BitLen() > maxRemoteRSABits:
		return fmt.Errorf("an RSA key of %d bits, more than %d", key.N.BitLen(), maxRemoteRSABits)
	case key.E > smallExponent:
		return fmt.Errorf("an RSA key with the exponent %d, more than %d", key.E, smallExponent)
	}
	return nil
}

// hmacSecret is a symmetric key; by its type it is kept out of what is published.
type hmacSecret []byte

// A PublicKey verifies with one algorithm. A shared HMAC secret is one too, but is never published.
type PublicKey struct {
	id       string
	alg      string // the key's own, or the default of its type
	named    bool   // the key said which
	unnamed  bool   // it came without a kid; its id is its thumbprint
	issuer   string // the only issuer whose tokens it is for; "": any that has it
	material any    // *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey or hmacSecret

	weight atomic.Uint32 // of the signatures that were verified without preparation
}

// ID is the kid: the one that the key came with, or else its thumbprint (RFC 7638).
func (k *PublicKey) ID() string { return k.id }

// Algorithm is the only algorithm that the key verifies, where its issuer's settings do not choose another.
func (k *PublicKey) Algorithm() string { return k.alg }

// String names the key.
func (k *PublicKey) String() string { return k.alg + " key " + k.id }

// Format writes String whatever the verb, so that printing a key never shows a shared secret.
func (k *PublicKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Symmetric reports whether the key is a shared secret.
func (k *PublicKey) Symmetric() bool {
	_, secret := k.material.(hmacSecret)
	return secret
}

// equal reports whether both verify the same, under one name.
func (k *PublicKey) equal(other *PublicKey) bool {
	if other == nil || k.id != other.id || k.alg != other.alg || k.named != other.named ||
		k.unnamed != other.unnamed || k.issuer != other.issuer {
		return false
	}
	return k.sameMaterial(other)
}

func (k *PublicKey) sameMaterial(other *PublicKey) bool {
	switch key := k.material.(type) {
	case interface{ Equal(crypto.PublicKey) bool }:
		return key.Equal(other.material)
	case hmacSecret:
		secret, ok := other.material.(hmacSecret)
		return ok && bytes.Equal(key, secret)
	}
	return false
}

// tenantID stands, in the issuer that Microsoft Entra's keys name, for any tenant.
const tenantID = "{tenantid}"

// serves reports whether the key is for tokens of this issuer.
func (k *PublicKey) serves(issuer string) bool {
	before, after, any := strings.Cut(k.issuer, tenantID)
	switch {
	case k.issuer == "" || k.issuer == issuer:
		return true
	case !any || len(issuer) <= len(before)+len(after):
		return false
	}
	return strings.HasPrefix(issuer, before) && strings.HasSuffix(issuer, after) &&
		!strings.Contains(issuer[len(before):len(issuer)-len(after)], "/")
}

// fitFor reports whether the key verifies tokens of this algorithm for the issuer.
func (k *PublicKey) fitFor(i *Issuer, alg string) bool {
	return k.algorithmAmong(i.Algorithms) == alg && k.serves(i.URL)
}

// algorithmAmong chooses the key's algorithm where an issuer's settings list some: the key's own if it is listed, or,
// for a key that names none, the first that fits; "" if none does. The token has no say.
func (k *PublicKey) algorithmAmong(listed []string) string {
	if len(listed) == 0 || slices.Contains(listed, k.alg) {
		return k.alg
	}
	if k.named {
		return ""
	}
	for _, alg := range listed {
		if fits(alg, k.material) == nil {
			return alg
		}
	}
	return ""
}

// newPublicKey checks the key, and finds its algorithm and kid where they are "".
func newPublicKey(material any, alg, id string) (*PublicKey, error) {
	k := &PublicKey{id: id, alg: alg, named: alg != "", unnamed: id == "", material: material}
	if !k.named {
		k.alg = defaultAlgorithm(material)
	}
	if err := fits(k.alg, material); err != nil {
		return nil, err
	}
	if len(id) > maxKeyID {
		return nil, fmt.Errorf("kid has %d bytes, the limit is %d", len(id), maxKeyID)
	}
	if err := strong(material); err != nil {
		return nil, err
	}
	if k.id == "" {
		var err error
		if k.id, err = thumbprint(material); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func defaultAlgorithm(material any) string {
	switch key := material.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return "ES256"
		case 384:
			return "ES384"
		case 521:
			return "ES512"
		}
	case *rsa.PublicKey:
		return "RS256"
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}

// fits returns what keeps the key from being one of this algorithm.
func fits(alg string, material any) error {
	a, known := algorithms[alg]
	if _, secret := material.(hmacSecret); secret && alg == "" {
		return errors.New("a symmetric key must name its alg")
	}
	if !known {
		return fmt.Errorf("alg %s is not supported", brief(alg))
	}
	ok := false
	switch key := material.(type) {
	case *ecdsa.PublicKey:
		ok = a.family == familyEC && key.Curve.Params().BitSize == a.bits
	case *rsa.PublicKey:
		ok = a.family == familyRSA || a.family == familyPSS
	case ed25519.PublicKey:
		ok = a.family == familyEd25519
	case hmacSecret:
		ok = a.family == familyHMAC
		if ok && len(key) < a.hash.Size() { // RFC 7518 §3.2
			return fmt.Errorf("%s needs a secret of at least %d bytes, this one has %d", alg, a.hash.Size(), len(key))
		}
	}
	if !ok {
		return fmt.Errorf("alg %s does not fit this type of key", alg)
	}
	return nil
}

// strong refuses keys for which somebody else could sign.
func strong(material any) error {
	switch key := material.(type) {
	case *ecdsa.PublicKey:
		if _, err := key.ECDH(); err != nil {
			return errors.New("the point is not on its curve")
		}
	case *rsa.PublicKey:
		return strongRSA(key)
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key has %d bytes, this one has %d", ed25519.PublicKeySize, len(key))
		}
		if lowOrder(key) {
			return errors.New("the point is of low order: signatures for it can be forged")
		}
	}
	return nil
}

func strongRSA(key *rsa.PublicKey) error {
	switch bits := key.N.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return fmt.Errorf("an RSA key must have %d to %d bits, this one has %d", minRSABits, maxRSABits, bits)
	case key.N.Bit(0) == 0:
		return errors.New("the RSA modulus is even")
	case key.E < 3 || key.E%2 == 0 || int64(key.E) > 1<<31-1:
		return fmt.Errorf("the RSA exponent %d is not an odd number from 3 to 2^31-1", key.E)
	}
	return nil
}

// lowOrderPoints are the y coordinates (little-endian, sign bit clear, in every encoding below 2^255) of the eight
// points of the curve's torsion group. For such a key some signatures hold for any message.
var lowOrderPoints = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000", // y = 0, order 4
	"0100000000000000000000000000000000000000000000000000000000000000", // y = 1, the neutral element
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = -1, order 2
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p, 0 again
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p+1, 1 again
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
}

func lowOrder(key ed25519.PublicKey) bool {
	y := bytes.Clone(key)
	y[31] &= 0x7f
	return slices.Contains(lowOrderPoints[:], hex.EncodeToString(y))
}

// thumbprint is the key's name where it has no other (RFC 7638, with SHA-256).
func thumbprint(material any) (string, error) {
	key, err := toJWK(material)
	if err != nil {
		return "", err
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func toJWK(material any) (jwk.Key, error) {
	if secret, ok := material.(hmacSecret); ok {
		material = []byte(secret)
	}
	key, err := jwk.FromRaw(material)
	if err != nil {
		return nil, fmt.Errorf("make a JWK: %w", err)
	}
	return key, nil
}

// published is the key as others may see it; a symmetric one may not be seen.
func (k *PublicKey) published() (jwk.Key, error) {
	if k.Symmetric() {
		return nil, errors.New("a symmetric key is never published")
	}
	key, err := toJWK(k.material)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{
		jwk.KeyIDKey: k.id, jwk.AlgorithmKey: jwa.SignatureAlgorithm(k.alg), jwk.KeyUsageKey: jwk.ForSignature,
	} {
		if err := key.Set(name, value); err != nil {
			return nil, fmt.Errorf("make a JWK: %w", err)
		}
	}
	return key, nil
}
