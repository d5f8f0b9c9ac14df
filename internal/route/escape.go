package route

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEncodings bounds how often a tolerated double encoding may be encoded again.
const maxEncodings = 4

var (
	errEscape    = errors.New("a percent sign without two hex digits")
	errBackslash = errors.New("an encoded backslash")
	errControl   = errors.New("an encoded control character")
	errUTF8      = errors.New("escapes that are not UTF-8")
)

// decode undoes the percent-encoding of a segment once. An encoded dot is an oddity wherever it stands: RFC 3986 §2.3
// has no use for it, and evasion has.
func decode(raw string) (segment, error) {
	var s segment
	text := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			text = append(text, raw[i])
			continue
		}
		c, ok := octet(raw[i:])
		if !ok {
			return s, errEscape
		}
		switch c {
		case '.':
			s.odd |= EncodedDot
		case '\\':
			return s, errBackslash
		case '/':
			s.odd |= EncodedSlash
		case ';':
			s.odd |= Semicolon
		}
		text = append(text, c)
		i += 2
	}
	s.text = string(text)
	// Judged on the decoded text, since "%25%34%31" is as much of a second escape as "%2541".
	if encoded(s.text) {
		s.odd |= DoubleEncoding
	}
	if !utf8.ValidString(s.text) {
		s.odd |= NotUTF8
	}
	if strings.ContainsFunc(s.text, unicode.IsControl) {
		return s, errControl
	}
	return s, nil
}

func printable(text string) error {
	if !utf8.ValidString(text) {
		return errUTF8
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return errControl
	}
	return nil
}

// octet is the byte that the escape at the start of s stands for.
func octet(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	high, low := nibble(s[1]), nibble(s[2])
	return byte(high<<4 | low), s[0] == '%' && high >= 0 && low >= 0
}

func nibble(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c - 'a' + 10)
	case 'A' <= c && c <= 'F':
		return int(c - 'A' + 10)
	}
	return -1
}

// encoded reports whether text holds an escape.
func encoded(text string) bool {
	for i := range len(text) {
		if _, ok := octet(text[i:]); ok {
			return true
		}
	}
	return false
}

// decodeAgain undoes every escape that text holds and leaves other percent signs alone, as lenient readers do.
func decodeAgain(text string) string {
	if !encoded(text) {
		return text
	}
	again := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c, ok := octet(text[i:])
		if !ok {
			c = text[i]
		} else {
			i += 2
		}
		again = append(again, c)
	}
	return string(again)
}

// decodeFully decodes as often as a tolerated double encoding may be nested.
func decodeFully(text string) string {
	for range maxEncodings {
		text = decodeAgain(text)
	}
	return text
}

func isDots(text string) bool { return text == "." || text == ".." }

// hidesWorse reports whether an odd segment turns into something that is always refused, once a reader takes the oddity
// the other way: a dot segment behind an encoded slash or before a path parameter ("..;"), or, decoded again or without
// the bytes that are not UTF-8, that, a backslash or a control character.
func hidesWorse(text string) bool {
	for range maxEncodings {
		if isWorse(text) {
			return true
		}
		if !utf8.ValidString(text) && (isWorse(dropInvalid(text)) || overlong(text) != text) {
			return true
		}
		again := decodeAgain(text)
		if again == text {
			return false
		}
		text = again
	}
	return true
}

func isWorse(text string) bool {
	for piece := range strings.FieldsFuncSeq(text, isBorder) {
		if isDots(piece) {
			return true
		}
	}
	return strings.Contains(text, `\`) || strings.ContainsFunc(text, unicode.IsControl)
}

func isBorder(c rune) bool { return c == '/' || c == '\\' || c == ';' }

// dropInvalid is what a reader sees that skips the bytes that are not UTF-8.
func dropInvalid(text string) string { return strings.ToValidUTF8(text, "") }

// overlong is what a reader sees that decodes ASCII from more than one byte (0xC0 0xAE is a dot to it), which RFC 3629
// §3 forbids.
func overlong(text string) string {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case (c == 0xc0 || c == 0xc1) && i+1 < len(text) && text[i+1]&0xc0 == 0x80:
			c = c<<6 | text[i+1]&0x3f
			i++
		case c == 0xe0 && i+2 < len(text) && text[i+1]&0xfe == 0x80 && text[i+2]&0xc0 == 0x80:
			c = text[i+1]<<6 | text[i+2]&0x3f
			i += 2
		case c == 0xf0 && i+3 < len(text) && text[i+1] == 0x80 && text[i+2]&0xfe == 0x80 && text[i+3]&0xc0 == 0x80:
			c = text[i+2]<<6 | text[i+3]&0x3f
			i += 3
		}
		out = append(out, c)
	}
	return string(out)
}
