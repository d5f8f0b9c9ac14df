package config

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// defaultListen is loopback: who wants more says so.
const defaultListen = "127.0.0.1:8080"

func (b *builder) buildListeners() {
	switch {
	case b.file.listen.Given && b.file.listeners.Given:
		b.Fault(b.file.listeners.At, "is there beside listen", "keep one of the two")
	case b.file.listeners.Given:
		for _, l := range b.file.listeners.Value {
			if !l.Bad {
				b.buildListener(l)
			}
		}
	case b.file.listen.Usable():
		b.Listeners = []Listener{{Name: "main", Address: b.file.listen.Value}}
	default:
		b.Listeners = []Listener{{Name: "main", Address: defaultListen}}
	}
}

func (b *builder) buildListener(w yaml.Setting[writtenListener]) {
	l := Listener{
		Name: w.Value.name.Value, Address: w.Value.address.Value,
		Redirect: w.Value.redirect.Given, ReusePort: w.Value.reusePort,
	}
	if l.Name == "" {
		l.Name = l.Address
	}
	if l.Redirect && w.Value.tls.Given {
		b.Fault(w.Value.redirect.At, "is there beside tls", "a listener that redirects to https is a plain one")
	}
	if slices.ContainsFunc(b.Listeners, func(o Listener) bool { return o.Name == l.Name }) {
		b.Fault(w.At, "has the name "+yaml.Quote(l.Name)+", as an earlier listener has", "give each its own name")
	}
	if b.listensOn(l.Address) {
		b.Fault(w.Value.address.At, w.Value.address.Shown+" is listened on already", "give each listener its own address")
	}
	if w.Value.tls.Given {
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
		pair := Certificate{Cert: b.Resolve(c.Value.cert.Value), Key: b.Resolve(c.Value.key.Value)}
		cert, certOK := b.contents(c.Value.cert)
		key, keyOK := b.contents(c.Value.key)
		if certOK && keyOK {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				b.Fault(c.At, "is not a certificate with its key ("+strings.TrimPrefix(err.Error(), "tls: ")+")", "name two PEM files that belong together")
			}
		}
		t.Certificates = append(t.Certificates, pair)
	}
	return t
}

// contents reads a file that a setting names.
func (b *builder) contents(path yaml.Setting[string]) ([]byte, bool) {
	data, err := b.ReadFile(b.Resolve(path.Value))
	if err != nil {
		b.Fault(path.At, "the file "+path.Shown+" cannot be read ("+yaml.Cause(err)+")", "create it; a relative path starts at this file's folder")
		return nil, false
	}
	return data, true
}

func (b *builder) buildAdmin() {
	w := b.file.admin
	b.Admin = Admin{
		Listen: w.Value.listen.Value, Implicit: !w.Given,
		Token: w.Value.token, HealthListen: w.Value.healthListen.Value, Pprof: w.Value.pprof,
	}
	for _, address := range []yaml.Setting[string]{w.Value.listen, w.Value.healthListen} {
		if address.Given && address.Value != "" && b.listensOn(address.Value) {
			b.Fault(address.At, address.Shown+" is listened on already", "give admin its own address")
		}
	}
	if l, h := w.Value.listen, w.Value.healthListen; h.Given && h.Value != "" && h.Value == l.Value && !strings.HasSuffix(h.Value, ":0") {
		b.Fault(h.At, h.Shown+" is admin.listen already", "leave health_listen out: admin answers health too")
	}
}

func (b *builder) buildTrustedProxies() {
	for _, w := range b.file.trustedProxies {
		if w.Bad {
			continue
		}
		prefix, problem, remedy := parsePrefix(w.Value)
		if problem != "" {
			b.Fault(w.At, w.Shown+" "+problem, remedy)
			continue
		}
		if prefix.Bits() == 0 {
			b.Warn(w.At, w.Shown+" is everyone", "whoever connects can now claim any client address")
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
		from yaml.Setting[string]
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
			at := name.from.At
			b.Fault(at, yaml.Quote(canonical)+" names two identity headers", "give each its own name")
		}
		*name.to = canonical
	}
}
