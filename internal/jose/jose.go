// Package jose makes and judges tokens: keys and key sets (RFC 7517, 7638), signing and verifying in the compact
// serialisation (RFC 7515, 7518, 8037), and the claims of RFC 9068 access tokens (RFC 7519, RFC 8725).
//
// A token is parsed strictly before anything else sees it: [Parse] takes three base64url segments in the one spelling
// that their bytes have, with a header that names no key and asks for nothing, and [DecodeClaims] takes a payload of
// strict JSON with claims of the right types. [Verifier] then goes from the cheap to the dear: size, shape, header,
// typ, claims, issuer, key and algorithm, times, whatever the caller asks for, and the signature last.
//
// Two rules hold everywhere. The algorithm belongs to the key, and a token that names another is refused; no key ever
// comes from a token. Keys are parsed by jwx, which no other package imports; signatures are made and checked by the
// standard library, and the tests compare both ways.
package jose
