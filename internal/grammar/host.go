package grammar

import (
	"net/netip"
	"strings"
)

// ValidHost reports whether host can stand in a Host field or an :authority: a DNS name (letters, digits, `-`, `_`, no
// empty label but for one trailing dot), an IPv4 address or an IPv6 address in brackets, and optionally a port of 1 to
// 65535. RFC 3986 would allow more in a reg-name; no one routes by it, and every extra character is one that two
// readers can take differently.
func ValidHost(host string) bool {
	if strings.HasPrefix(host, "[") {
		address, port, closed := strings.Cut(host[1:], "]")
		return closed && validIPv6(address) && (port == "" || port[0] == ':' && validPort(port[1:]))
	}
	name, port, hasPort := strings.Cut(host, ":")
	return validName(name) && (!hasPort || validPort(port))
}

func validIPv6(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && a.Is6() && a.Zone() == ""
}

func validPort(port string) bool {
	if len(port) == 0 || len(port) > 5 {
		return false
	}
	n := 0
	for i := range len(port) {
		if !IsDigit(port[i]) {
			return false
		}
		n = n*10 + int(port[i]-'0')
	}
	return 0 < n && n < 1<<16
}

func validName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= c|0x20 && c|0x20 <= 'z', IsDigit(c), c == '-', c == '_':
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0
}
