package config

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
)

// defaultListen is loopback: who wants more says so.
const defaultListen = "127.0.0.1:8080"

func (b *builder) buildListeners() {
	switch {
	case b.file.listen.given && b.file.listeners.given:
		b.fault(b.file.listeners.at, "is there beside listen", "keep one of the two")
	case b.file.listeners.given:
		for _, l := range b.file.listeners.Value {
			if !l.bad {
				b.buildListener(l)
			}
		}
	case b.file.listen.usable():
		b.Listeners = []Listener{{Name: "main", Address: b.file.listen.Value}}
	default:
		b.Listeners = []Listener{{Name: "main", Address: defaultListen}}
	}
}

func (b *builder) buildListener(w setting[writtenListener]) {
	l := Listener{
		Name: w.Value.name.Value, Address: w.Value.address.Value,
		Redirect: w.Value.redirect.given, ReusePort: w.Value.reusePort,
	}
	if l.Name == "" {
		l.Name = l.Address
	}
	if l.Redirect && w.Value.tls.given {
		b.fault(w.Value.redirect.at, "is there beside tls", "a listener that redirects to https is a plain one")
	}
	if slices.ContainsFunc(b.Listeners, func(o Listener) bool { return o.Name == l.Name }) {
		b.fault(w.at, "has the name "+quote(l.Name)+", as an earlier listener has", "give each its own name")
	}
	if b.listensOn(l.Address) {
		b.fault(w.Value.address.at, w.Value.address.shown+" is listened on already", "give each listener its own address")
	}
	if w.Value.tls.given {
		l.TLS = b.buildTLS(w.Value.tls.Value)
	}
	b.Listeners = append(b.Listeners, l)
}

// listensOn tells whether an earlier listener has the address; port 0 is another one each time.
func (b *builder) listensOn(address string) bool {
	return !strings.HasSuffix(address, ":0") &&
		slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Address == address })
}

// buildTLS tries every pair, so that a certificate that does not fit its key is found by check and not by the first
// client.
func (b *builder) buildTLS(w writtenTLS) *TLS {
	t := &TLS{}
	for _, c := range w.certificates {
		pair := Certificate{Cert: b.resolve(c.Value.cert.Value), Key: b.resolve(c.Value.key.Value)}
		cert, certOK := b.contents(c.Value.cert)
		key, keyOK := b.contents(c.Value.key)
		if certOK && keyOK {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				b.fault(c.at, "is not a certificate with its key ("+strings.TrimPrefix(err.Error(), "tls: ")+")", "name two PEM files that belong together")
			}
		}
		t.Certificates = append(t.Certificates, pair)
	}
	return t
}

// contents reads a file that a setting names.
func (b *builder) contents(path setting[string]) ([]byte, bool) {
	data, err := b.readFile(b.resolve(path.Value))
	if err != nil {
		b.fault(path.at, "the file "+path.shown+" cannot be read ("+cause(err)+")", "create it; a relative path starts at this file's folder")
		return nil, false
	}
	return data, true
}

func (b *builder) buildAdmin() {
	w := b.file.admin
	b.Admin = Admin{
		Listen: w.Value.listen.Value, Implicit: !w.given,
		Token: w.Value.token, HealthListen: w.Value.healthListen.Value, Pprof: w.Value.pprof,
	}
	for _, address := range []setting[string]{w.Value.listen, w.Value.healthListen} {
		if address.given && address.Value != "" && b.listensOn(address.Value) {
			b.fault(address.at, address.shown+" is listened on already", "give admin its own address")
		}
	}
	if l, h := w.Value.listen, w.Value.healthListen; h.given && h.Value != "" && h.Value == l.Value && !strings.HasSuffix(h.Value, ":0") {
		b.fault(h.at, h.shown+" is admin.listen already", "leave health_listen out: admin answers health too")
	}
}

func (b *builder) buildTrustedProxies() {
	for _, w := range b.file.trustedProxies {
		if w.bad {
			continue
		}
		prefix, problem, remedy := parsePrefix(w.Value)
		if problem != "" {
			b.fault(w.at, w.shown+" "+problem, remedy)
			continue
		}
		if prefix.Bits() == 0 {
			b.warn(w.at, w.shown+" is everyone", "whoever connects can now claim any client address")
		}
		b.TrustedProxies = append(b.TrustedProxies, prefix)
	}
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
		return prefix, "is an IPv4 range in IPv6 spelling", "write it in IPv4 spelling"
	case prefix != prefix.Masked():
		return prefix, "has bits beyond its length", "did you mean " + prefix.Masked().String() + "?"
	}
	return prefix, "", ""
}

func (b *builder) buildIdentityHeaders() {
	w := &b.file.identity.Value
	h := &b.IdentityHeaders
	for _, name := range []struct {
		from setting[string]
		to   *string
	}{
		{w.subject, &h.Subject},
		{w.issuer, &h.Issuer},
		{w.client, &h.Client},
		{w.tenant, &h.Tenant},
		{w.actions, &h.Actions},
		{w.tokenID, &h.TokenID},
	} {
		canonical := canonicalHeader(name.from.Value)
		if canonical != "" && slices.Contains(h.All(), canonical) {
			at := name.from.at
			b.fault(at, quote(canonical)+" names two identity headers", "give each its own name")
		}
		*name.to = canonical
	}
}
