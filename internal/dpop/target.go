package dpop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jotgate/jotgate/internal/route"
)

var errURL = errors.New("not an absolute http or https URL")

// splitURL takes an htu apart: the origin and the path, both normalised (RFC 3986 §6.2.2, §6.2.3) as §4.3 of RFC 9449
// advises. Query and fragment, which should not be there, do not count. Dot segments are not resolved: no request has
// any.
func splitURL(text string) (origin, path string, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return "", "", errURL
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	host := rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	origin, err = originOf(scheme, host)
	return origin, canonicalPath(path), err
}

// ParseOrigin reads a scheme and host like https://api.example.com:8443, in their one spelling.
func ParseOrigin(text string) (string, error) {
	scheme, host, found := strings.Cut(text, "://")
	if !found {
		return "", fmt.Errorf("origin %.128q: %w", text, errURL)
	}
	origin, err := originOf(scheme, host)
	if err != nil {
		return "", fmt.Errorf("origin %.128q: %w", text, err)
	}
	return origin, nil
}

// originOf is scheme, host and port in one spelling; the scheme's own port is left out.
func originOf(scheme, host string) (string, error) {
	scheme = strings.ToLower(scheme)
	usual := ""
	switch scheme {
	case "http":
		usual = "80"
	case "https":
		usual = "443"
	default:
		return "", errURL
	}
	name, err := route.CanonicalHost(host) // it has no user, and no more than one port
	if err != nil {
		return "", errURL
	}
	port := strings.TrimLeft(portOf(host), "0")
	if port == "" || port == usual {
		return scheme + "://" + name, nil
	}
	return scheme + "://" + name + ":" + port, nil
}

func portOf(host string) string {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || strings.HasSuffix(host, "]") {
		return ""
	}
	return host[colon+1:]
}

// canonicalPath undoes escapes of letters that need none, and writes the others in capitals (RFC 3986 §6.2.2). What is
// escaped for a reason, a slash above all, stays another path than the letter itself.
func canonicalPath(path string) string {
	if path == "" {
		return "/"
	}
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) || hex(path[i+1]) < 0 || hex(path[i+2]) < 0 {
			b = append(b, path[i])
			continue
		}
		if c := byte(hex(path[i+1])<<4 | hex(path[i+2])); unreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', capital(path[i+1]), capital(path[i+2]))
		}
		i += 2
	}
	return string(b)
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func capital(c byte) byte {
	if 'a' <= c && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// unreserved is RFC 3986 §2.3.
func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
