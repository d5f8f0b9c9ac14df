// Package grammar holds the character classes and small parsers of HTTP messages (RFC 9110 section 5) that more than
// one package needs: tokens, field values, white space, hex digits, hosts. Each is written once, so that no two readers
// of one message disagree. It imports nothing of this module.
package grammar

import "unsafe"

// Text is a string or its bytes.
type Text interface{ ~string | ~[]byte }

// The characters of a token (RFC 9110 section 5.6.2), one bit for each ASCII character.
const (
	tokenLow = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' | (1<<10-1)<<'0'

	tokenHigh = (1<<26-1)<<('A'-64) | (1<<26-1)<<('a'-64) |
		1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
)

// IsTokenByte reports whether c may stand in a token: a method, a field name, a parameter name.
func IsTokenByte(c byte) bool {
	if c < 64 {
		return uint64(tokenLow)>>c&1 != 0
	}
	return c < 128 && uint64(tokenHigh)>>(c-64)&1 != 0
}

// IsToken reports whether s is a token, which is never empty.
func IsToken[T Text](s T) bool {
	for i := range len(s) {
		if !IsTokenByte(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

// IsControl reports whether c is a control character, tab among them.
func IsControl(c byte) bool { return c < ' ' || c == 0x7f }

// IsFieldByte reports whether c may stand in a field value (RFC 9110 section 5.5): visible characters, space, tab, and
// bytes above 0x7f.
func IsFieldByte(c byte) bool { return !IsControl(c) || c == '\t' }

// IsFieldValue reports whether all bytes of s may stand in a field value. White space at its ends is allowed here.
func IsFieldValue(s string) bool {
	for i := PlainUntil(s, 0); i < len(s); i++ {
		if !IsFieldByte(s[i]) {
			return false
		}
	}
	return true
}

// PlainUntil skips bytes, eight at a time, that are no control characters. It returns an index at or before the first
// control character from that index on; what is left must be looked at byte by byte.
func PlainUntil(s string, from int) int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	for ; from+8 <= len(s); from += 8 {
		b := s[from : from+8]
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56 // compiled to one load
		del := x ^ low*0x7f
		if ((x-low*0x20)&^x|(del-low)&^del)&high != 0 {
			break
		}
	}
	return from
}

// String lets b be read as a string without a copy. The string must not outlive the call it is made for, nor b be
// written meanwhile.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Trim takes white space off both ends (OWS of RFC 9110 section 5.6.3): spaces and tabs, nothing else.
func Trim[T Text](s T) T {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// EqualFold reports whether s is the word, which is in lower case, in any case. It folds ASCII letters only.
func EqualFold[T Text](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// IsDigit reports whether c is a decimal digit.
func IsDigit(c byte) bool { return '0' <= c && c <= '9' }

// IsHex reports whether c is a hexadecimal digit in either case.
func IsHex(c byte) bool { return IsDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// Unhex returns the value of a hexadecimal digit.
func Unhex(c byte) byte {
	if IsDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
