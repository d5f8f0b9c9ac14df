package jose

import (
	"encoding/base64"
	"errors"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// DefaultMaxBytes bounds a token where nothing else is said.
const DefaultMaxBytes = 8 << 10

// maxKeyID bounds a kid, in bytes; it is looked up and logged.
const maxKeyID = 256

// A Header is what of a token's protected header (RFC 7515 §4) takes part in the judgement.
type Header struct {
	Algorithm string // alg
	Type      string // typ, as it is spelled; "" if absent
	KeyID     string // kid; "" if absent

	brings string // a member that names a key or a content type; ignored in other issuers' tokens, refused in ours
	alias  bool   // alg is spelled Ed25519 (RFC 9864 §2.2); Algorithm is EdDSA
}

// Unverified is a token of the right shape. Nothing in it may be trusted.
type Unverified struct {
	Header    Header
	Payload   string // the claims set's JSON, not looked at yet
	Signature []byte
	signed    string // header and payload as they were sent, which is what the signature covers
	known     bool   // the header was read before
}

// headers are those of tokens that were signed, by their spelling: an issuer writes the same ones again and again. A
// nil one knows none.
type headers struct {
	known atomic.Pointer[map[string]Header]
}

// headersMost bounds them. Further ones, which only the holder of an issuer's key can make, are read each time.
const headersMost = 64

func (h *headers) of(segment string) (header Header, known bool) {
	if h == nil {
		return Header{}, false
	}
	if all := h.known.Load(); all != nil {
		header, known = (*all)[segment]
	}
	return header, known
}

// keep remembers the header of a token that was signed.
func (h *headers) keep(u *Unverified) {
	old := h.known.Load()
	all := make(map[string]Header, headersMost)
	if old != nil {
		if len(*old) >= headersMost {
			return
		}
		maps.Copy(all, *old)
	}
	segment, _, _ := strings.Cut(u.signed, ".")
	header := u.Header
	header.Algorithm, header.Type, header.KeyID = strings.Clone(header.Algorithm), strings.Clone(header.Type),
		strings.Clone(header.KeyID)
	all[strings.Clone(segment)] = header
	h.known.CompareAndSwap(old, &all) // another may have been kept meanwhile; this one comes again
}

// Parse takes a token in the compact serialisation apart (RFC 7515 §7.1) and reads its header. It refuses, with a
// refusal's reason: more than limit bytes (DefaultMaxBytes if limit is not positive); anything but three segments that
// are not empty and in the only spelling of base64url that their bytes have; a header that is not a strict JSON
// object, that names a key, or that asks for an extension. Header members that are not known are ignored, as RFC 7515
// §4 says.
func Parse(compact string, limit int) (*Unverified, error) {
	u, err := parse(compact, limit, nil)
	if err == nil {
		err = u.Header.strict()
	}
	if err != nil {
		return nil, err
	}
	return u, nil
}

// strict refuses what may stand in other issuers' tokens alone, where it is ignored.
func (h *Header) strict() error {
	switch {
	case h.brings != "":
		return refusal.Because(refusal.TokenHeaderRefused, "the header has %s", h.brings)
	case h.alias:
		return refusal.Because(refusal.TokenAlgorithmRefused, "alg is spelled Ed25519")
	}
	return nil
}

// parse is Parse with what is known of headers, and without strict.
func parse(compact string, limit int, known *headers) (*Unverified, error) {
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if len(compact) > limit {
		return nil, refusal.Because(refusal.TokenTooLarge, "%d bytes, the limit is %d", len(compact), limit)
	}
	header, payload, signature, err := segments(compact)
	if err != nil {
		return nil, err
	}
	u := &Unverified{signed: compact[:len(compact)-len(signature)-1]}
	if u.Header, u.known = known.of(header); !u.known {
		head, err := decode("header", header)
		if err != nil {
			return nil, err
		}
		if u.Header, err = parseHeader(head); err != nil {
			return nil, err
		}
	}
	body, err := decode("payload", payload)
	if err != nil {
		return nil, err
	}
	u.Payload = unsafe.String(unsafe.SliceData(body), len(body)) // body has no other reference
	if u.Signature, err = decode("signature", signature); err != nil {
		return nil, err
	}
	return u, nil
}

// segments splits at the dots, without allocating, so that a megabyte of dots costs nothing.
func segments(compact string) (header, payload, signature string, err error) {
	header, rest, one := strings.Cut(compact, ".")
	payload, signature, two := strings.Cut(rest, ".")
	switch {
	case !one || !two:
		return "", "", "", refusal.Because(refusal.TokenMalformed, "not three segments")
	case strings.IndexByte(signature, '.') >= 0:
		return "", "", "", refusal.Because(refusal.TokenMalformed, "more than three segments")
	case header == "" || payload == "" || signature == "":
		return "", "", "", refusal.Because(refusal.TokenMalformed, "an empty segment")
	}
	return header, payload, signature, nil
}

// decode reads base64url without padding (RFC 7515 §2). Unused bits must be zero and line breaks, which the standard
// library skips, must not be there: otherwise one token would have many spellings, and each its own cache entry.
func decode(what, segment string) ([]byte, error) {
	if strings.IndexByte(segment, '\r') >= 0 || strings.IndexByte(segment, '\n') >= 0 {
		return nil, refusal.Because(refusal.TokenMalformed, "%s: a line break", what)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, refusal.Because(refusal.TokenMalformed, "%s: not base64url in its only spelling", what)
	}
	return b, nil
}

// bytesOf lets s be read as bytes without a copy. They must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func parseHeader(text []byte) (h Header, err error) {
	err = strictjson.Document(text, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "alg":
			h.Algorithm, err = r.String()
		case "typ":
			h.Type, err = r.String()
		case "kid":
			if h.KeyID, err = r.String(); err == nil && (h.KeyID == "" || len(h.KeyID) > maxKeyID) {
				err = refusal.Because(refusal.TokenHeaderRefused, "a kid of %d bytes, it may have 1 to %d", len(h.KeyID), maxKeyID)
			}
		default:
			if dangerous(name) {
				return refusal.Because(refusal.TokenHeaderRefused, "the header has %s", name)
			}
			if h.brings == "" && bringsKey(name) {
				h.brings = strings.Clone(name)
			}
			err = r.Skip()
		}
		return err
	})
	if err != nil {
		return Header{}, refusedAs(refusal.TokenMalformed, "header", err)
	}
	if h.Algorithm == "Ed25519" {
		h.Algorithm, h.alias = "EdDSA", true
	}
	if _, known := algorithms[h.Algorithm]; !known {
		return Header{}, refusal.Because(refusal.TokenAlgorithmRefused, "alg %s is not supported", brief(h.Algorithm))
	}
	return h, nil
}

// dangerous reports whether a header member would bring a key along, change what is signed, or make the token another
// thing than a signed one (RFC 7515 §4.1, RFC 7516 §4.1, RFC 7797, RFC 8725 §3.10). A thumbprint, x5t, brings none:
// some issuers put it beside kid in every token, and it is ignored.
func dangerous(name string) bool {
	switch name {
	case "crit", "b64", "zip", "enc", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c", "recipients", "encrypted_key":
		return true
	}
	return false
}

// bringsKey reports whether a header member names a key, or says what kind of content is signed. Some issuers (UAA,
// SAP) put jku into every token. The key comes from the issuer's key set alone, so it is ignored and never followed;
// our own tokens have none.
func bringsKey(name string) bool {
	switch name {
	case "jku", "jwk", "x5u", "x5c", "cty":
		return true
	}
	return false
}

// refusedAs gives err the reason r, unless it carries one of its own.
func refusedAs(r refusal.Reason, what string, err error) error {
	var own *refusal.Error
	if errors.As(err, &own) {
		return err
	}
	return refusal.Because(r, "%s: %v", what, err)
}

// brief quotes text that comes from outside, for a log line.
func brief(text string) string {
	const most = 64
	cut := ""
	if len(text) > most {
		text, cut = text[:most], "…"
	}
	return strconv.Quote(text) + cut
}
