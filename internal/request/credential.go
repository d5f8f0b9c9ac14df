package request

import "strings"

// ConsoleCookies are the names of the console's session, without and with TLS. A cookie goes to every port of its host
// (RFC 6265 §8.5), so that a browser sends the session to apps that the gate fronts there: it never reaches them.
var ConsoleCookies = []string{"jotgate_console", "__Host-jotgate_console"}

// HasConsoleCookie reports whether the cookies of a request may hold a session of the console.
func HasConsoleCookie(fields []string) bool {
	for _, field := range fields {
		if strings.Contains(field, ConsoleCookies[0]) {
			return true
		}
	}
	return false
}

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
