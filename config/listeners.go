package config

import (
	"crypto/tls"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// defaultListen is loopback: who wants more says so.
const defaultListen = "127.0.0.1:8080"

func (b *builder) buildListeners() {
	switch {
	case b.file.listen.Given && b.file.listeners.Given:
		b.Fault(b.file.listeners.At, "conflicts with listen", "set only one of the two")
	case b.file.listeners.Given:
		for _, l := range b.file.listeners.Value {
			if !l.Bad {
				b.buildListener(l)
			}
		}
	case b.file.listen.Usable():
		b.Listeners = []Listener{{Name: "main", Address: b.listenAddress(b.file.listen.Value)}}
	default:
		b.Listeners = []Listener{{Name: "main", Address: defaultListen}}
	}
}

func (b *builder) buildListener(w yaml.Setting[writtenListener]) {
	l := Listener{
		Name: w.Value.name.Value, Address: w.Value.address.Value,
		Redirect: w.Value.redirect.Given, ReusePort: w.Value.reusePort, H2C: w.Value.h2c.Value,
	}
	if l.Name == "" {
		l.Name = l.Address
	}
	if strings.HasPrefix(l.Address, "unix:") {
		l.Address = b.listenAddress(l.Address)
		if w.Value.mode.Usable() {
			mode, _ := strconv.ParseUint(w.Value.mode.Value, 8, 32) // isMode has read it
			l.Mode = fs.FileMode(mode)
		}
	} else if w.Value.mode.Given {
		b.Fault(w.Value.mode.At, "is for Unix sockets alone", "remove it, or set address to unix:PATH")
	}
	if w.Value.reusePort && !isTCP(l.Address) {
		b.Fault(w.Value.address.At, w.Value.address.Shown+" cannot be shared with another process", "remove reuse_port")
	}
	b.buildProxyProtocol(&l, w.Value.proxyProtocol)
	if l.Redirect && w.Value.tls.Given {
		b.Fault(
			w.Value.redirect.At,
			"conflicts with tls",
			"remove one of the two: a listener that redirects to https serves plain HTTP",
		)
	}
	switch {
	case !l.H2C:
	case w.Value.tls.Given:
		b.Fault(w.Value.h2c.At, "conflicts with tls",
			"remove it: a listener with tls serves HTTP/2 to each client that asks for it")
	case b.file.limits.HTTP2 == "off":
		b.Fault(w.Value.h2c.At, "conflicts with limits.http2: off", "remove one of the two")
	}
	if slices.ContainsFunc(b.Listeners, func(o Listener) bool { return o.Name == l.Name }) {
		b.Fault(w.At, "has the name "+yaml.Quote(l.Name)+" of an earlier listener", "give each listener its own name")
	}
	if l.Name == DecisionListener && b.file.decision.Given {
		b.Fault(w.At, "has the name of the listener of decision", "give it another name")
	}
	if b.listensOn(l.Address) {
		b.Fault(
			w.Value.address.At,
			w.Value.address.Shown+" is the address of an earlier listener",
			"give each listener its own address",
		)
	}
	if w.Value.tls.Given {
		l.TLS = b.buildTLS(w.Value.tls)
	}
	b.Listeners = append(b.Listeners, l)
}

// listenAddress returns the address with the path of a Unix socket resolved.
func (b *builder) listenAddress(address string) string {
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		return "unix:" + b.Resolve(path)
	}
	return address
}

func (b *builder) buildClientAuth(t *TLS, w writtenTLS) {
	switch {
	case w.clientCA.Given && !w.clientCA.Bad:
		t.ClientCA, t.ClientAuth = b.authorities(w.clientCA), w.clientAuth.Value
	case w.clientAuth.Given && !w.clientCA.Given:
		b.Fault(w.clientAuth.At, "has no authority to verify certificates with", "set client_ca to a PEM file")
	}
}

// isTCP reports whether a listener binds its own TCP socket.
func isTCP(address string) bool {
	return !strings.HasPrefix(address, "unix:") && address != "systemd" && !strings.HasPrefix(address, "systemd:")
}

func (b *builder) buildProxyProtocol(l *Listener, w yaml.Setting[writtenProxyProtocol]) {
	if !w.Given || w.Bad {
		return
	}
	l.ProxyProtocol = &ProxyProtocol{Trusted: len(w.Value.from) == 0}
	if !l.ProxyProtocol.Trusted {
		l.ProxyProtocol.From, l.ProxyProtocol.Unix = b.peers(
			w.Value.from, "name the load balancers alone: any client can now choose its address")
		return
	}
	if len(b.TrustedProxies) == 0 && !b.TrustUnix {
		b.Fault(w.At, "takes the header from trusted_proxies, and there are none",
			"name the load balancers in trusted_proxies, or write proxy_protocol: {from: [10.0.0.0/8]}")
	}
}

// listensOn reports whether an earlier listener has the address; port 0 is another one each time.
func (b *builder) listensOn(address string) bool {
	return !strings.HasSuffix(address, ":0") &&
		slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Address == address })
}

// acmeStorage is a folder; "" is redis. A folder of that name is written ./redis.
func (b *builder) acmeStorage(s yaml.Setting[string]) string {
	if s.Value != "redis" {
		return b.Resolve(s.Value)
	}
	if !b.file.redis.Given {
		b.Fault(s.At, "needs redis, in which replicas share certificates", "add redis, or name a directory")
	}
	return ""
}

// buildTLS tries every pair, so that a certificate that does not fit its key is found by check and not by the first
// client.
func (b *builder) buildTLS(s yaml.Setting[writtenTLS]) *TLS {
	t, w := &TLS{}, s.Value
	if !s.Bad && len(w.certificates) == 0 && !w.acme.Given {
		b.Fault(s.At, "has no certificate", "set certificates: [{cert: a.pem, key: a.key}], or acme")
	}
	b.buildClientAuth(t, w)
	if w.acme.Usable() && w.acme.Given {
		t.ACME = &ACME{
			Domains: yaml.Values(w.acme.Value.domains), Email: w.acme.Value.email,
			Directory: w.acme.Value.directory.Value, Storage: b.acmeStorage(w.acme.Value.storage),
		}
	}
	for _, c := range w.certificates {
		pair := Certificate{Cert: b.Resolve(c.Value.cert.Value), Key: b.Resolve(c.Value.key.Value)}
		cert, certOK := b.contents(c.Value.cert)
		key, keyOK := b.contents(c.Value.key)
		if certOK && keyOK {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				b.Fault(
					c.At,
					"is not a matching certificate and key ("+strings.TrimPrefix(err.Error(), "tls: ")+")",
					"name two PEM files that belong together",
				)
			}
		}
		t.Certificates = append(t.Certificates, pair)
	}
	return t
}
