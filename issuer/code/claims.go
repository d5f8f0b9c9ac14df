package code

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// Custom claims stand behind the subject: a byte for the length of all of them, then each with two bytes of its name's
// digest and its value. The first byte of a value tells what it is:
//
//	  0 to 217  a string, as tenant and subject are written, without prefixes
//	218, 219    false, true
//	220 to 228  an integer of 0 to 8 bytes, two's complement
//	229 to 237  a list of 0 to 8 strings
//	238 to 255  not defined
//
// A code without claims has none of these bytes.
const (
	claimFalse   = prefixedUUID + 1
	claimTrue    = claimFalse + 1
	claimInteger = claimTrue + 1
	claimList    = claimInteger + 9
	claimEnd     = claimList + 9
	listAtMost   = 8
)

// PackClaims writes custom claims as a Grant has them. Each value is JSON: a string, a boolean, an integer or a list of
// strings. Errors are refusals with CodeTooLong.
func PackClaims(list []token.Custom) (string, error) {
	var packed []byte
	for _, c := range list {
		name := token.ClaimDigestOf(c.Name)
		packed = append(packed, name[:]...)
		var err error
		if packed, err = packValue(packed, strictjson.NewString(c.Value)); err != nil {
			return "", refusal.Because(refusal.CodeTooLong, "the claim %s: %v", c.Name, err)
		}
	}
	if len(packed) > roomForStrings-1 {
		return "", refusal.Because(refusal.CodeTooLong, "the claims need %d bytes, a code has %d for them, its tenant and "+
			"its subject", len(packed)+1, roomForStrings)
	}
	return string(packed), nil
}

func packValue(dst []byte, r *strictjson.Reader) ([]byte, error) {
	switch r.Kind() {
	case strictjson.KindString:
		s, err := r.String()
		if err == nil {
			err = fits(s)
		}
		if err != nil {
			return nil, err
		}
		return packer{}.pack(s).appendTo(dst), nil
	case strictjson.KindBool:
		is, err := r.Bool()
		if is {
			return append(dst, byte(claimTrue)), err
		}
		return append(dst, byte(claimFalse)), err
	case strictjson.KindNumber:
		n, err := r.Int64()
		return packInteger(dst, n), err
	case strictjson.KindArray:
		list, err := r.Strings()
		if err == nil && len(list) > listAtMost {
			err = fmt.Errorf("a list of %d, a code has room for %d", len(list), listAtMost)
		}
		if err != nil {
			return nil, err
		}
		dst = append(dst, byte(claimList+len(list)))
		for _, s := range list {
			if err := fits(s); err != nil {
				return nil, err
			}
			dst = packer{}.pack(s).appendTo(dst)
		}
		return dst, nil
	}
	return nil, errors.New("no string, boolean, integer or list of strings")
}

// fits refuses a string that no code can hold, whatever else it has.
func fits(s string) error {
	if size := (packer{}).pack(s).size(); size > maxPacked {
		return fmt.Errorf("a string needs %d bytes, a code has %d", size, maxPacked)
	}
	return nil
}

func packInteger(dst []byte, n int64) []byte {
	size := 0
	for ; size < 8; size++ {
		if unused := 64 - 8*size; n<<unused>>unused == n {
			break
		}
	}
	var all [8]byte
	binary.BigEndian.PutUint64(all[:], uint64(n))
	return append(append(dst, byte(claimInteger+size)), all[8-size:]...)
}

// UnpackClaims reads what PackClaims wrote. names are those that the code's client may carry through now; a claim of
// another name is an error.
func UnpackClaims(packed string, names []string) ([]token.Custom, error) {
	var list []token.Custom
	rest := []byte(packed)
	for len(rest) > 0 {
		if len(rest) < 3 {
			return nil, errors.New("a claim is cut off")
		}
		name := ""
		for _, n := range names {
			if token.ClaimDigestOf(n) == token.ClaimDigest(rest[:2]) {
				name = n
			}
		}
		if name == "" {
			return nil, errors.New("its client may not carry one of its claims any more")
		}
		value, after, err := unpackValue(rest[2:])
		if err != nil {
			return nil, err
		}
		list, rest = append(list, token.Custom{Name: name, Value: string(value)}), after
	}
	return list, nil
}

func unpackValue(from []byte) (value, rest []byte, err error) {
	switch tag := int(from[0]); {
	case tag < claimFalse:
		s, rest, err := packer{}.unpack(from)
		return strictjson.AppendString(nil, s), rest, err
	case tag <= claimTrue:
		return strconv.AppendBool(nil, tag == claimTrue), from[1:], nil
	case tag < claimList:
		size := tag - claimInteger
		if len(from) < 1+size {
			return nil, nil, errors.New("an integer is cut off")
		}
		n := int64(0)
		for i, b := range from[1 : 1+size] {
			if n = n<<8 | int64(b); i == 0 {
				n = int64(int8(b))
			}
		}
		return strconv.AppendInt(nil, n, 10), from[1+size:], nil
	case tag < claimEnd:
		value, rest = []byte{'['}, from[1:]
		for i := range tag - claimList {
			if i > 0 {
				value = append(value, ',')
			}
			var s string
			if s, rest, err = (packer{}).unpack(rest); err != nil {
				return nil, nil, err
			}
			value = strictjson.AppendString(value, s)
		}
		return append(value, ']'), rest, nil
	default:
		return nil, nil, fmt.Errorf("value %d is not defined", tag)
	}
}
