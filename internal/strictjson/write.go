package strictjson

import "unicode/utf8"

// AppendString appends s as a JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD, so that the result is always
// JSON. It is the one writer of strings: log lines, claims and answers go through it.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	written := 0
	for i := plainUntil(s); i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var char rune
			if char, size = utf8.DecodeRuneInString(s[i:]); char != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[written:i]...)
		dst = appendEscape(dst, c)
		i += size
		written = i
	}
	dst = append(dst, s[written:]...)
	return append(dst, '"')
}

// plainUntil skips bytes, eight at a time, that stand for themselves in a JSON string. What is left must be looked at
// byte by byte.
func plainUntil(s string) int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56 // compiled to one load
		quote, backslash := x^low*'"', x^low*'\\'
		if (x|(x-low*' ')|(quote-low)|(backslash-low))&high != 0 {
			break // or nearly so: a borrow can look like a hit, never hide one
		}
	}
	return i
}

const hexDigits = "0123456789abcdef"

func appendEscape(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case c < ' ':
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, "\uFFFD"...)
}
