package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// TypeProof is the typ of a DPoP proof (RFC 9449 §4.2).
const TypeProof = "dpop+jwt"

// A Proof is a DPoP proof of the right shape. Nothing in it may be trusted before Signed says so, and then it shows
// one thing: that its writer has the key of that thumbprint. It is the only JWT whose header brings its key, and that
// key is for nothing else.
type Proof struct {
	Thumbprint string // of its key (RFC 7638, SHA-256, base64url)
	Claims     ProofClaims

	key       *PublicKey
	signed    string
	signature []byte
}

// ProofClaims is what a proof says (RFC 9449 §4.2). Times are milliseconds since 1970; zero or "" means absent.
type ProofClaims struct {
	ID        string // jti
	Method    string // htm
	URL       string // htu
	IssuedAt  int64  // iat
	NotBefore int64  // nbf
	Expiry    int64  // exp
	TokenHash string // ath
	Nonce     string // nonce
}

// proofAlgorithms are the alg that a proof may have, each with the one of ours that it means. "Ed25519" is what RFC
// 9864 calls the EdDSA that we have. All are asymmetric.
var proofAlgorithms = map[string]string{
	"ES256": "ES256", "PS256": "PS256", "RS256": "RS256",
	"EdDSA": "EdDSA", "Ed25519": "EdDSA",
}

// ProofAlgorithms lists the alg that a proof may have, sorted.
func ProofAlgorithms() []string {
	names := make([]string, 0, len(proofAlgorithms))
	for name := range proofAlgorithms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The longest jti and nonce, in bytes: what is remembered of either is short, but a log line may tell them.
const (
	maxProofID    = 256
	maxProofNonce = 256
)

// maxProofRSABits is less than other keys may have: it is the client that chooses this one, and we that pay for it.
const maxProofRSABits = 4096

// ParseProof takes a DPoP proof apart as strictly as a token: at most limit bytes, the compact form in its one
// spelling, strict JSON, typ exactly dpop+jwt, an asymmetric alg, and a jwk that holds one public key and nothing
// private. The refusal is ProofMalformed.
func ParseProof(compact string, limit int) (*Proof, error) {
	if len(compact) > limit {
		return nil, badProof("%d bytes, the limit is %d", len(compact), limit)
	}
	header, payload, signature, err := segments(compact)
	if err != nil {
		return nil, badProof("%v", err)
	}
	p := &Proof{signed: compact[:len(compact)-len(signature)-1]}
	head, err := decode("header", header)
	if err != nil {
		return nil, badProof("%v", err)
	}
	if err := p.readHeader(head); err != nil {
		return nil, err
	}
	body, err := decode("payload", payload)
	if err != nil {
		return nil, badProof("%v", err)
	}
	if err := p.Claims.read(body); err != nil {
		return nil, err
	}
	if p.signature, err = decode("signature", signature); err != nil {
		return nil, badProof("%v", err)
	}
	return p, nil
}

// Signed reports whether the proof's own key signed it. keys may know the key already, and may be nil.
func (p *Proof) Signed(keys *ProofKeys) bool { return keys.signed(p) }

// Remember counts a good proof towards preparing its key. It is for proofs whose key a verified token is bound to: a
// stranger's key is not worth remembering.
func (p *Proof) Remember(keys *ProofKeys) { keys.remember(p) }

func badProof(format string, args ...any) error {
	return refusal.Because(refusal.ProofMalformed, format, args...)
}

func (p *Proof) readHeader(text []byte) error {
	var alg, typ, key string
	err := strictjson.Document(text, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "alg":
			alg, err = r.String()
		case "typ":
			typ, err = r.String()
		case "jwk":
			key, err = r.Raw()
		default:
			if dangerous(name) || bringsKey(name) && name != "cty" {
				return badProof("the header has %s", name)
			}
			err = r.Skip()
		}
		return err
	})
	ours := proofAlgorithms[alg]
	switch {
	case err != nil:
		return refusedAs(refusal.ProofMalformed, "header", err)
	case typ != TypeProof:
		return badProof("typ %s", brief(typ))
	case ours == "":
		return badProof("alg %s is not one of %v", brief(alg), ProofAlgorithms())
	case key == "":
		return badProof("no jwk")
	}
	k, err := readProofKey(key)
	if err != nil {
		return refusedAs(refusal.ProofMalformed, "jwk", err)
	}
	if k.alg != "" && k.alg != alg && proofAlgorithms[k.alg] != ours {
		return badProof("jwk: its alg is %s, the header's %s", brief(k.alg), brief(alg))
	}
	if p.key, p.Thumbprint, err = k.public(ours); err != nil {
		return badProof("jwk: %v", err)
	}
	return nil
}

// A proofKey is the jwk of a proof. It is read here and not by jwx, as any client can send one with every request; each
// member has one spelling, so that its thumbprint can be made of the text.
type proofKey struct{ kty, crv, x, y, n, e, alg, use string }

func readProofKey(text string) (k proofKey, err error) {
	err = strictjson.Document([]byte(text), func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "kty":
			k.kty, err = r.String()
		case "crv":
			k.crv, err = r.String()
		case "x":
			k.x, err = r.String()
		case "y":
			k.y, err = r.String()
		case "n":
			k.n, err = r.String()
		case "e":
			k.e, err = r.String()
		case "alg":
			k.alg, err = r.String()
		case "use":
			k.use, err = r.String()
		case "d", "k", "p", "q", "dp", "dq", "qi", "oth":
			return badProof("jwk: it holds more than a public key: %s", name)
		default:
			err = r.Skip()
		}
		return err
	})
	if err == nil && k.use != "" && k.use != "sig" {
		err = badProof("jwk: its use is %s", brief(k.use))
	}
	return k, err
}

// public is the key for one algorithm, with its thumbprint: SHA-256 of the required members, sorted (RFC 7638 §3.2). It
// has no letter that JSON would escape.
func (k *proofKey) public(alg string) (*PublicKey, string, error) {
	var material any
	var canonical string
	var err error
	switch k.kty {
	case "EC":
		material, err = k.ec()
		canonical = `{"crv":"P-256","kty":"EC","x":"` + k.x + `","y":"` + k.y + `"}`
	case "OKP":
		material, err = k.okp()
		canonical = `{"crv":"Ed25519","kty":"OKP","x":"` + k.x + `"}`
	case "RSA":
		material, err = k.rsa()
		canonical = `{"e":"` + k.e + `","kty":"RSA","n":"` + k.n + `"}`
	default:
		err = badProof("jwk: kty %s", brief(k.kty))
	}
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256([]byte(canonical))
	thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
	public, err := newPublicKey(material, alg, thumbprint)
	return public, thumbprint, err
}

func (k *proofKey) ec() (*ecdsa.PublicKey, error) {
	if k.crv != "P-256" {
		return nil, badProof("jwk: crv %s", brief(k.crv))
	}
	x, err := k.octets("x", k.x, 32)
	if err != nil {
		return nil, err
	}
	y, err := k.octets("y", k.y, 32)
	if err != nil {
		return nil, err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, badProof("jwk: the point is not on its curve")
	}
	return public, nil
}

func (k *proofKey) okp() (ed25519.PublicKey, error) {
	if k.crv != "Ed25519" {
		return nil, badProof("jwk: crv %s", brief(k.crv))
	}
	return k.octets("x", k.x, ed25519.PublicKeySize)
}

func (k *proofKey) rsa() (*rsa.PublicKey, error) {
	n, err := k.number("n", k.n, maxProofRSABits/8)
	if err != nil {
		return nil, err
	}
	e, err := k.number("e", k.e, 4)
	if err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func (k *proofKey) octets(name, text string, size int) ([]byte, error) {
	b, err := decode(name, text)
	if err != nil || len(b) != size {
		return nil, badProof("jwk: %s is not %d bytes in base64url", name, size)
	}
	return b, nil
}

// number reads a Base64urlUInt (RFC 7518 §2): no zeros in front.
func (k *proofKey) number(name, text string, most int) (*big.Int, error) {
	b, err := decode(name, text)
	if err != nil || len(b) == 0 || len(b) > most || b[0] == 0 {
		return nil, badProof("jwk: %s is not a number of at most %d bytes in base64url", name, most)
	}
	return new(big.Int).SetBytes(b), nil
}

// read takes the claims; those of other names are read strictly and skipped.
func (c *ProofClaims) read(payload []byte) error {
	err := strictjson.Document(payload, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "jti":
			c.ID, err = bounded(r, maxProofID)
		case "htm":
			c.Method, err = r.String()
		case "htu":
			c.URL, err = r.String()
		case "iat":
			c.IssuedAt, err = numericDate(r)
		case "nbf":
			c.NotBefore, err = numericDate(r)
		case "exp":
			c.Expiry, err = numericDate(r)
		case "ath":
			c.TokenHash, err = r.String()
		case "nonce":
			c.Nonce, err = bounded(r, maxProofNonce)
		default:
			err = r.Skip()
		}
		return err
	})
	if err != nil {
		return refusedAs(refusal.ProofMalformed, "claims", err)
	}
	for _, claim := range [...]struct {
		name  string
		there bool
	}{{"jti", c.ID != ""}, {"htm", c.Method != ""}, {"htu", c.URL != ""}, {"iat", c.IssuedAt != 0}} {
		if !claim.there {
			return badProof("claims: no %s", claim.name)
		}
	}
	return nil
}

func bounded(r *strictjson.Reader, most int) (string, error) {
	s, err := r.String()
	if err == nil && (s == "" || len(s) > most) {
		err = r.Fault("want 1 to %d bytes, have %d", most, len(s))
	}
	return s, err
}
