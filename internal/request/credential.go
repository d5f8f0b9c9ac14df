package request

import "strings"

// HasTokenCookie reports whether a cookie of a request has the name of a token (RFC 6265 §4.2.1). A cookie is never a
// credential here, but beside one it is a second that some reader could take.
func HasTokenCookie(fields []string) bool {
	for _, field := range fields {
		if !strings.Contains(field, "access_token") {
			continue
		}
		for cookie := range strings.SplitSeq(field, ";") {
			name, _, _ := strings.Cut(cookie, "=")
			if strings.TrimSpace(name) == "access_token" {
				return true
			}
		}
	}
	return false
}
