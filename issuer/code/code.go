// Package code seals authorization codes (RFC 6749 §4.1.2) that carry what they mean, so that no store is needed.
//
// A code is 96 bytes, always, and 128 characters of base64url without padding (RFC 4648 §5), the most that the seed's
// endpoint takes:
//
//	 0  1  version, 4 bits, and key id, 4 bits
//	 1  1  flags: bound to a client, to a PKCE challenge, to a redirect URI, to a key
//	 2 24  nonce: the code's identity; 19 random bytes, and 5 by which the log knows a code of another epoch
//	26 54  sealed with XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha-03):
//	        0 6  issued at, milliseconds since 1970
//	        6 3  lifetime and nominal lifetime, 12 bits of seconds each
//	        9 4  digest of the issuing client's name
//	       13 4  digest of the role's name
//	       17 37 tenant, then subject, each a byte that tells form and length, then its packed bytes; then custom
//	             claims, if there are any (claims.go); then zeros
//	80 16  tag
//
// The key comes from a secret by HKDF-SHA256 (RFC 5869). The associated data are the header, the issuer's URL, the
// epoch of the replay guard, the list of prefixes, and what the redeemer presents, each only if the header says that
// the code is bound to it (RFC 7636 for the challenge). So a code opens only for the issuer, guard, prefixes and
// redeemer that it was sealed for, and every other one is told no more than that it is unknown.
//
// Clients and roles are named by digest and prefixes by their place in sorted order, never by a place in the config: a
// reload that reorders any of them changes what no code means.
//
// Opening a code says what it means. Whether it may be used now is for Live, the config in force and the replay guard
// to tell, in this order.
package code

import (
	"encoding/base64"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

const (
	version = 1

	headerSize = 2
	nonceSize  = 24
	randomSize = nonceSize - epochMark - issuerMark
	epochMark  = 2
	issuerMark = 3
	plainSize  = 54
	tagSize    = 16
	codeSize   = headerSize + nonceSize + plainSize + tagSize

	// Length is the number of characters of every code.
	Length = 128

	// What the seed's endpoint takes at all; anything outside is malformed, anything inside that is no code of ours
	// is unknown.
	shortest = 32
	longest  = 128
)

// The flags of a header.
const (
	boundClient byte = 1 << iota
	boundChallenge
	boundRedirect
	boundKey
	allFlags = boundClient | boundChallenge | boundRedirect | boundKey
)

// A Grant is what a code says.
type Grant struct {
	// IssuedAt is in milliseconds since 1970.
	IssuedAt int64
	// Lifetime is how long the code may be redeemed, Nominal the code_ttl that its client had at issue. Both are whole
	// seconds, 1 to 600 (RFC 6749 §4.1.2), and Lifetime is at most Nominal.
	Lifetime, Nominal time.Duration
	// Client is who issued the code; Role is what it grants.
	Client, Role Digest
	// Tenant is the tenant that the role asks for; it may be empty.
	Tenant string
	// Subject is for whom the code's token will be. It is never empty.
	Subject string
	// Claims are the custom claims that the token will have, by PackClaims; "": none.
	Claims string
}

// NominalExpiry is the expiry by which the replay guard judges the code, in milliseconds since 1970.
func (g Grant) NominalExpiry() int64 {
	return g.IssuedAt + g.Nominal.Milliseconds()
}

// Live reports whether the code's life includes now: nil, or a *refusal.Error with CodeExpired or CodeNotYetValid. The
// leeway excuses an issuing replica whose clock is ahead; it never lengthens a life.
func (g Grant) Live(now time.Time, leeway time.Duration) error {
	ms := now.UnixMilli()
	if end := g.IssuedAt + g.Lifetime.Milliseconds(); ms >= end {
		return refusal.Because(refusal.CodeExpired, "expired %d ms ago", ms-end)
	}
	if ahead := g.IssuedAt - ms; ahead > leeway.Milliseconds() {
		return refusal.Because(refusal.CodeNotYetValid, "issued %d ms from now", ahead)
	}
	return nil
}

// A Binding is what a code is bound to: each part that is empty at Seal is not asked for at Open.
type Binding struct {
	ClientID    string // who alone may redeem
	Challenge   string // the code_challenge of RFC 7636, method S256
	RedirectURI string
	Key         string // dpop_jkt, the thumbprint of the key that the token will be bound to (RFC 9449 §10)
}

func (b Binding) flags() byte {
	var f byte
	if b.ClientID != "" {
		f |= boundClient
	}
	if b.Challenge != "" {
		f |= boundChallenge
	}
	if b.RedirectURI != "" {
		f |= boundRedirect
	}
	if b.Key != "" {
		f |= boundKey
	}
	return f
}

// Bound tells to what a code is bound.
type Bound struct{ Client, Challenge, RedirectURI, Key bool }

// Flags reads from a code's clear header what it is bound to, so that an endpoint can tell what to present and refuse
// what is missing or too much (a code_verifier for a code without a challenge, for instance). The header is clear and
// nothing here is proven until Open accepts the code. Errors are those of Open.
func Flags(code string) (Bound, error) {
	raw, err := decode(code)
	if err != nil {
		return Bound{}, err
	}
	f := raw[1]
	return Bound{
		Client: f&boundClient != 0, Challenge: f&boundChallenge != 0, RedirectURI: f&boundRedirect != 0,
		Key: f&boundKey != 0,
	}, nil
}

// encoding has no second spelling of the same bytes: 96 bytes fill 128 characters to the last bit, there is no padding,
// and well-formed codes have no line breaks, which the standard decoder would skip.
var encoding = base64.RawURLEncoding.Strict()

// TokenIDOf is [TokenID] of a code that was just sealed, told from its clear part: no key is asked.
func TokenIDOf(sealed string) (string, error) {
	raw, err := decode(sealed)
	if err != nil {
		return "", err
	}
	return TokenID([nonceSize]byte(raw[headerSize : headerSize+nonceSize])), nil
}

// decode takes a code apart as far as that goes without a key.
func decode(code string) (raw [codeSize]byte, err error) {
	if !wellFormed(code) {
		return raw, refusal.Because(refusal.CodeMalformed, "%d bytes, or characters outside A-Z a-z 0-9 - _", len(code))
	}
	if len(code) != Length {
		return raw, refusal.Because(refusal.CodeUnknown, "%d characters, ours have %d", len(code), Length)
	}
	if _, err := encoding.Decode(raw[:], []byte(code)); err != nil {
		return raw, refusal.Because(refusal.CodeMalformed, "not base64url")
	}
	if raw[0]>>4 != version || raw[1]&^allFlags != 0 {
		return raw, refusal.Because(refusal.CodeUnknown, "the header is none of ours")
	}
	return raw, nil
}

func wellFormed(code string) bool {
	if len(code) < shortest || len(code) > longest {
		return false
	}
	for i := range len(code) {
		c := code[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
