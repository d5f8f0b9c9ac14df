package code

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// A form is a way to write a string in fewer bytes.
type form byte

const (
	raw       form = iota // as it is
	hexDigits             // an even number of lower-case hex digits: half as many bytes
	base58                // Bitcoin's alphabet: 11 characters in 8 bytes or so
	canonUUID             // lower case, with hyphens: 16 bytes
)

// maxPacked is the most bytes that one string can have, since the other has at least none.
const maxPacked = roomForStrings

// The byte before a string tells form, prefix and length at once:
//
//	  0 to 107  raw, hexDigits, base58: 36 values each, one for each length from 0 to 35
//	108 to 215  the same with a prefix, whose place is the first byte and counts in the length
//	216, 217    canonUUID, whose length is known, without and with a prefix
//	218 to 255  not defined
const (
	sizes        = maxPacked + 1
	lengthForms  = int(canonUUID) // the forms that have a length
	lengthValues = sizes * lengthForms
	plainUUID    = 2 * lengthValues
	prefixedUUID = plainUUID + 1
)

// longestBase58 bounds the quadratic conversion. Nothing longer could fit.
const longestBase58 = 128

// maxPrefixes is how many places one byte can tell.
const maxPrefixes = 256

// A packer writes strings in as few bytes as it can. There is exactly one way that it writes each string.
type packer struct {
	prefixes []string // sorted, without duplicates
}

func newPacker(prefixes []string) (packer, error) {
	if len(prefixes) > maxPrefixes {
		return packer{}, fmt.Errorf("%d prefixes: at most %d fit", len(prefixes), maxPrefixes)
	}
	sorted := slices.Sorted(slices.Values(prefixes))
	for i, p := range sorted {
		if p == "" || !isText(p) {
			return packer{}, fmt.Errorf("prefix %q is empty or not UTF-8 without control characters", p)
		}
		if i > 0 && sorted[i-1] == p {
			return packer{}, fmt.Errorf("prefix %q is listed twice", p)
		}
	}
	return packer{prefixes: sorted}, nil
}

// packed is one way to write a string.
type packed struct {
	form   form
	prefix int // its place, or -1
	bytes  []byte
}

// size is without the byte that tells form and length.
func (w packed) size() int {
	if w.prefix >= 0 {
		return 1 + len(w.bytes)
	}
	return len(w.bytes)
}

// appendTo appends w, which fits.
func (w packed) appendTo(dst []byte) []byte {
	switch {
	case w.form == canonUUID && w.prefix >= 0:
		dst = append(dst, byte(prefixedUUID))
	case w.form == canonUUID:
		dst = append(dst, byte(plainUUID))
	case w.prefix >= 0:
		dst = append(dst, byte(lengthValues+sizes*int(w.form)+w.size()))
	default:
		dst = append(dst, byte(sizes*int(w.form)+w.size()))
	}
	if w.prefix >= 0 {
		dst = append(dst, byte(w.prefix))
	}
	return append(dst, w.bytes...)
}

// pack is the shortest way to write s; of equally short ones, the first form, and without a prefix before with one.
func (p packer) pack(s string) packed {
	best := packTail(s, -1)
	for i, prefix := range p.prefixes {
		if tail, ok := strings.CutPrefix(s, prefix); ok {
			if w := packTail(tail, i); w.size() < best.size() {
				best = w
			}
		}
	}
	return best
}

func packTail(s string, prefix int) packed {
	best := packed{form: raw, prefix: prefix, bytes: []byte(s)}
	consider := func(f form, b []byte, ok bool) {
		if ok && len(b) < len(best.bytes) {
			best.form, best.bytes = f, b
		}
	}
	b, ok := fromHex(s)
	consider(hexDigits, b, ok)
	b, ok = fromBase58(s)
	consider(base58, b, ok)
	b, ok = fromUUID(s)
	consider(canonUUID, b, ok)
	return best
}

// unpack reads one string and answers what follows it. It does not report whether this is how pack would write it.
func (p packer) unpack(from []byte) (s string, rest []byte, err error) {
	if len(from) == 0 {
		return "", nil, errors.New("the length is missing")
	}
	f, size, prefixed, err := readTag(from[0])
	if err != nil {
		return "", nil, err
	}
	from = from[1:]
	if size > len(from) {
		return "", nil, fmt.Errorf("%d bytes are announced, %d are there", size, len(from))
	}
	body, rest := from[:size], from[size:]
	if !prefixed {
		return f.unpack(body), rest, nil
	}
	if len(body) == 0 || int(body[0]) >= len(p.prefixes) {
		return "", nil, errors.New("the prefix is not listed")
	}
	return p.prefixes[body[0]] + f.unpack(body[1:]), rest, nil
}

// readTag reads the byte before a string; size counts the prefix's byte.
func readTag(tag byte) (f form, size int, prefixed bool, err error) {
	switch v := int(tag); {
	case v < 2*lengthValues:
		return form(v / sizes % lengthForms), v % sizes, v >= lengthValues, nil
	case v == plainUUID:
		return canonUUID, len(uuid.UUID{}), false, nil
	case v == prefixedUUID:
		return canonUUID, len(uuid.UUID{}) + 1, true, nil
	default:
		return 0, 0, false, fmt.Errorf("form %d is not defined", v)
	}
}

func (f form) unpack(b []byte) string {
	switch f {
	case hexDigits:
		return hex.EncodeToString(b)
	case base58:
		return toBase58(b)
	case canonUUID:
		return uuid.UUID(b).String()
	default:
		return string(b)
	}
}

func fromHex(s string) ([]byte, bool) {
	if strings.ContainsFunc(s, func(r rune) bool { return r >= 'A' && r <= 'F' }) {
		return nil, false
	}
	b, err := hex.DecodeString(s)
	return b, err == nil
}

func fromUUID(s string) ([]byte, bool) {
	if len(s) != 36 {
		return nil, false
	}
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return nil, false
	}
	return u[:], true
}
