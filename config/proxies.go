package config

import (
	"net/netip"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildTrustedProxies() {
	b.TrustedProxies, b.TrustUnix = b.peers(b.file.trustedProxies,
		"name the proxies alone: any client can now forge its address")
}

// peers reads addresses, ranges and the word unix.
func (b *builder) peers(written []yaml.Setting[string], remedy string) (all []netip.Prefix, unix bool) {
	var rest []yaml.Setting[string]
	for _, w := range written {
		if !w.Bad && w.Value == "unix" {
			unix = true
			continue
		}
		rest = append(rest, w)
	}
	return b.prefixes(rest, remedy), unix
}

// prefixes reads addresses and ranges; remedy is what to do about one that is every address.
func (b *builder) prefixes(written []yaml.Setting[string], remedy string) (all []netip.Prefix) {
	for _, w := range written {
		if w.Bad {
			continue
		}
		prefix, problem, fix := parsePrefix(w.Value)
		if problem != "" {
			b.Fault(w.At, w.Shown+" "+problem, fix)
			continue
		}
		if prefix.Bits() == 0 {
			b.Warn(w.At, w.Shown+" is every address", remedy)
		}
		all = append(all, prefix)
	}
	return all
}

func parsePrefix(s string) (prefix netip.Prefix, problem, remedy string) {
	if address, err := netip.ParseAddr(s); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), "", ""
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return prefix, "is neither an address nor a range", "write it like 10.0.0.7 or 10.0.0.0/8"
	case prefix.Addr().Is4In6():
		return prefix, "is an IPv4 range in IPv6 notation", "write it in IPv4 notation"
	case prefix != prefix.Masked():
		return prefix, "has host bits set", "did you mean " + prefix.Masked().String() + "?"
	}
	return prefix, "", ""
}
