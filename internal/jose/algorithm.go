package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384, crypto.SHA512
	"slices"
)

// family is the kind of key that an algorithm needs.
type family byte

const (
	familyEC family = iota + 1
	familyRSA
	familyPSS
	familyEd25519
	familyHMAC
)

// algorithm is a row of RFC 7518 §3.1 (EdDSA: RFC 8037 §3.1). "none" has no row.
type algorithm struct {
	family family
	hash   crypto.Hash // 0 where the signature scheme hashes by itself
	bits   int         // the curve's size, for familyEC
}

// algorithms is never written to.
var algorithms = map[string]algorithm{
	"ES256": {familyEC, crypto.SHA256, 256}, "ES384": {familyEC, crypto.SHA384, 384},
	"ES512": {familyEC, crypto.SHA512, 521},
	"RS256": {familyRSA, crypto.SHA256, 0}, "RS384": {familyRSA, crypto.SHA384, 0}, "RS512": {familyRSA, crypto.SHA512, 0},
	"PS256": {familyPSS, crypto.SHA256, 0}, "PS384": {familyPSS, crypto.SHA384, 0}, "PS512": {familyPSS, crypto.SHA512, 0},
	"HS256": {familyHMAC, crypto.SHA256, 0}, "HS384": {familyHMAC, crypto.SHA384, 0},
	"HS512": {familyHMAC, crypto.SHA512, 0},
	"EdDSA": {familyEd25519, 0, 0},
}

// Algorithms lists what the verifier knows, sorted.
func Algorithms() []string {
	names := make([]string, 0, len(algorithms))
	for name := range algorithms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// SigningAlgorithms lists what tokens can be signed with; the first is the default.
func SigningAlgorithms() []string { return []string{"ES256", "RS256", "EdDSA"} }

// digest hashes the signed text as the algorithm says.
func (a algorithm) digest(signed []byte) []byte {
	h := a.hash.New()
	h.Write(signed)
	return h.Sum(make([]byte, 0, a.hash.Size()))
}

// verify reports whether the key made this signature over signed. material fits the algorithm: newPublicKey saw to it.
func (a algorithm) verify(material any, signed, signature []byte) bool {
	switch key := material.(type) {
	case *ecdsa.PublicKey:
		der, ok := joinToDER(signature, (a.bits+7)/8)
		return ok && ecdsa.VerifyASN1(key, a.digest(signed), der)
	case *rsa.PublicKey:
		if a.family == familyPSS { // RFC 7518 §3.5: the salt is as long as the hash
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(key, a.hash, a.digest(signed), signature, options) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, a.digest(signed), signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, signed, signature)
	case hmacSecret:
		mac := hmac.New(a.hash.New, key)
		mac.Write(signed)
		return hmac.Equal(mac.Sum(nil), signature)
	}
	return false
}

// joinToDER turns r and s, size bytes each (RFC 7518 §3.4), into the DER that crypto/ecdsa reads.
func joinToDER(signature []byte, size int) ([]byte, bool) {
	if len(signature) != 2*size {
		return nil, false
	}
	body := make([]byte, 0, 2*size+12)
	body = appendDERInteger(body, signature[:size])
	body = appendDERInteger(body, signature[size:])
	der := make([]byte, 0, len(body)+3)
	if len(body) < 0x80 {
		der = append(der, 0x30, byte(len(body)))
	} else {
		der = append(der, 0x30, 0x81, byte(len(body)))
	}
	return append(der, body...), true
}

// appendDERInteger appends a number of less than 127 bytes.
func appendDERInteger(dst, number []byte) []byte {
	for len(number) > 1 && number[0] == 0 {
		number = number[1:]
	}
	if number[0] >= 0x80 {
		dst = append(dst, 2, byte(len(number)+1), 0)
	} else {
		dst = append(dst, 2, byte(len(number)))
	}
	return append(dst, number...)
}

// splitDER turns the DER that crypto/ecdsa writes into r and s, size bytes each.
func splitDER(der []byte, size int) ([]byte, bool) {
	if len(der) < 2 || der[0] != 0x30 || int(der[1]) != len(der)-2 {
		return nil, false
	}
	signature := make([]byte, 2*size)
	rest, ok := fillDERInteger(signature[:size], der[2:])
	if !ok {
		return nil, false
	}
	rest, ok = fillDERInteger(signature[size:], rest)
	return signature, ok && len(rest) == 0
}

// fillDERInteger reads an integer into dst, right-aligned.
func fillDERInteger(dst, der []byte) (rest []byte, ok bool) {
	if len(der) < 2 || der[0] != 2 || int(der[1]) > len(der)-2 {
		return nil, false
	}
	number, rest := der[2:2+der[1]], der[2+der[1]:]
	for len(number) > 0 && number[0] == 0 {
		number = number[1:]
	}
	if len(number) > len(dst) {
		return nil, false
	}
	copy(dst[len(dst)-len(number):], number)
	return rest, true
}
