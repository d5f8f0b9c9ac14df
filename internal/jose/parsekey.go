package jose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/jotgate/jotgate/internal/strictjson"
)

// jwkHead is what a JWK says besides the key itself (RFC 7517 §4).
type jwkHead struct {
	kty, use, alg, kid string
	issuer             string // whose tokens the key is for (Microsoft Entra); "": any of those that the set is for
	operations         []string
	private            bool   // it has d, or for an oct key k
	material           []byte // a JWK of the members that make up the key, and no others
}

// jwkMaterial lists the members that make up a key (RFC 7518 §6, RFC 8037 §2); all others are not for jwx to see.
func jwkMaterial(name string) bool {
	switch name {
	case "kty", "crv", "x", "y", "n", "e", "k", "d", "p", "q", "dp", "dq", "qi", "oth":
		return true
	}
	return false
}

// readJWKHead reads one JWK strictly; the members that make up the key are for jwx. Members that are null, or empty
// where empty means nothing, count as absent: some writers (.NET's JsonWebKey) put every member that they know into
// each key.
func readJWKHead(text string) (h jwkHead, err error) {
	h.material = append(h.material, '{')
	err = strictjson.Document([]byte(text), func(r *strictjson.Reader, name string) (err error) {
		if r.Kind() == strictjson.KindNull {
			return r.Null()
		}
		if jwkMaterial(name) {
			return h.readMaterial(r, name)
		}
		switch name {
		case "use":
			h.use, err = r.String()
		case "alg":
			h.alg, err = r.String()
		case "kid":
			h.kid, err = r.String()
		case "issuer":
			if r.Kind() != strictjson.KindString {
				return r.Skip()
			}
			h.issuer, err = r.String()
		case "key_ops":
			h.operations, err = r.Strings()
		default:
			err = r.Skip()
		}
		return err
	})
	switch {
	case err != nil:
		return h, err
	case h.kty == "":
		return h, errors.New("no kty")
	}
	if h.alg == "Ed25519" && h.kty == "OKP" { // RFC 9864 §2.2
		h.alg = "EdDSA"
	}
	h.material = append(h.material, '}')
	return h, nil
}

func (h *jwkHead) readMaterial(r *strictjson.Reader, name string) error {
	if r.Kind() != strictjson.KindString {
		if name != "oth" {
			return r.Fault("want a string")
		}
		several := false
		err := r.Array(func() error {
			several = true
			return r.Skip()
		})
		h.private = h.private || several
		return err
	}
	value, err := r.String()
	if err != nil || value == "" {
		return err
	}
	switch name {
	case "kty":
		h.kty = value
	case "d", "k", "p", "q", "dp", "dq", "qi":
		h.private = true
	}
	if len(h.material) > 1 {
		h.material = append(h.material, ',')
	}
	h.material = fmt.Appendf(h.material, "%q:", name)
	quoted, err := json.Marshal(value)
	h.material = append(h.material, quoted...)
	return err
}

// mayDo returns what keeps a key from signing or verifying, by its own account (RFC 7517 §4.2, §4.3).
func (h jwkHead) mayDo(operation string) error {
	if h.use != "" && h.use != "sig" && h.use != "jwt-svid" { // SPIFFE Trust Domain and Bundle §4.2.2
		return fmt.Errorf("its use is %s, not sig", brief(h.use))
	}
	if len(h.operations) > 0 && !slices.Contains(h.operations, operation) {
		return fmt.Errorf("its key_ops lack %s", operation)
	}
	return nil
}

// rawJWK lets jwx turn a JWK into a key of the standard library.
func rawJWK(text []byte) (material any, err error) {
	key, err := jwk.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	if err := key.Raw(&material); err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	return material, nil
}

func parsePublicJWK(text string) (*PublicKey, error) {
	head, err := readJWKHead(text)
	if err != nil {
		return nil, err
	}
	if err := head.mayDo("verify"); err != nil {
		return nil, err
	}
	if head.private && head.kty != "oct" {
		return nil, errors.New("a private key does not belong here, only its public half")
	}
	material, err := rawJWK(head.material)
	if err != nil {
		return nil, err
	}
	if secret, ok := material.([]byte); ok {
		if head.kid == "" {
			return nil, errors.New("a symmetric key needs a kid") // a thumbprint would be a digest of the secret
		}
		material = hmacSecret(secret)
	}
	key, err := newPublicKey(material, head.alg, head.kid)
	if err == nil {
		key.issuer = head.issuer
	}
	return key, err
}

func parsePublicPEM(block *pem.Block) (*PublicKey, error) {
	if err := wholeDER(block.Bytes); err != nil {
		return nil, err
	}
	var material any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		material, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		material, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block %s, want PUBLIC KEY", brief(block.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", block.Type, err)
	}
	return newPublicKey(material, "", "")
}

// ParsePrivate reads one private key that can sign: PEM (PKCS#8, SEC 1 for EC, PKCS#1 for RSA) or a JWK. Nothing but
// white space may stand before or after it.
func ParsePrivate(data []byte) (*PrivateKey, error) {
	switch data = bytes.TrimSpace(data); {
	case len(data) > MaxKeySetBytes:
		return nil, fmt.Errorf("private key: %d bytes, the limit is %d", len(data), MaxKeySetBytes)
	case bytes.HasPrefix(data, []byte("{")):
		return parsePrivateJWK(string(data))
	case bytes.HasPrefix(data, []byte("-----BEGIN")):
		return parsePrivatePEM(data)
	}
	return nil, errors.New("private key: neither PEM nor a JWK")
}

func parsePrivateJWK(text string) (*PrivateKey, error) {
	head, err := readJWKHead(text)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if err := head.mayDo("sign"); err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if head.kty == "oct" || !head.private {
		return nil, errors.New("private key: this JWK holds no private key")
	}
	material, err := rawJWK(head.material)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return newPrivateKey(material, head.alg, head.kid)
}

func parsePrivatePEM(data []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(data)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam -genkey writes them before the key
		data = bytes.TrimSpace(rest)
		block, rest = pem.Decode(data)
	}
	switch {
	case block == nil || !bytes.HasPrefix(data, []byte("-----BEGIN")):
		return nil, errors.New("private key: the PEM is damaged")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("private key: more follows the first key; want one key in a file")
	case block.Headers["Proc-Type"] != "" || block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("private key: it is encrypted; decrypt it first")
	}
	material, err := parsePrivateDER(block)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return newPrivateKey(material, "", "")
}

func parsePrivateDER(block *pem.Block) (any, error) {
	if err := wholeDER(block.Bytes); err != nil {
		return nil, err
	}
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("a PEM block %s, want PRIVATE KEY", brief(block.Type))
}

// wholeDER refuses bytes after the key, which the x509 package would overlook.
func wholeDER(der []byte) error {
	var value asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &value); err != nil || len(rest) > 0 {
		return errors.New("the PEM does not hold exactly one DER value")
	}
	return nil
}

// publicHalf derives the public key from the private one and makes sure that they belong together.
func publicHalf(material any) (any, error) {
	switch key := material.(type) {
	case *ecdsa.PrivateKey:
		private, err := key.ECDH()
		if err != nil {
			return nil, errors.New("the EC key is not valid")
		}
		public, err := key.PublicKey.ECDH()
		if err != nil || !private.PublicKey().Equal(public) {
			return nil, errors.New("the EC key's halves do not belong together")
		}
		return &key.PublicKey, nil
	case *rsa.PrivateKey:
		if err := strongRSA(&key.PublicKey); err != nil {
			return nil, err
		}
		if err := key.Validate(); err != nil {
			return nil, fmt.Errorf("the RSA key is not valid: %w", err)
		}
		return &key.PublicKey, nil
	case ed25519.PrivateKey:
		if len(key) != ed25519.PrivateKeySize || !bytes.Equal(ed25519.NewKeyFromSeed(key.Seed()), key) {
			return nil, errors.New("the Ed25519 key's halves do not belong together")
		}
		return key.Public(), nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign here", material)
}
