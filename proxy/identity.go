package proxy

import "strings"

// fieldValue is s as the value of an identity header: plain ASCII as it is; "%", what is not ASCII, and a space at
// either end (which a recipient would trim: RFC 9110 §5.5) percent-encoded, so that it decodes to s and to nothing
// else. Tokens with control characters were refused before; should one come, it is encoded too.
func fieldValue(s string) string {
	if plainField(s) {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plainByte(c) && !(c == ' ' && (i == 0 || i == len(s)-1)) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func plainField(s string) bool {
	for i := range len(s) {
		if !plainByte(s[i]) {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}

func plainByte(c byte) bool { return ' ' <= c && c < 0x7f && c != '%' }

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
