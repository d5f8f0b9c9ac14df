package config

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildUpstreams() {
	b.Upstreams = make(map[string]*Upstream, len(b.file.upstreams))
	for _, w := range b.file.upstreams {
		b.Upstreams[w.Name] = b.buildUpstream(w.Name, &w.Value)
	}
}

func (b *builder) buildUpstream(name string, w *writtenUpstream) *Upstream {
	u := &Upstream{
		Name: name, Host: w.host,
		ConnectTimeout: w.connectTimeout, ResponseTimeout: w.responseTimeout,
		MaxConnections: w.maxConnections, MaxIdle: w.maxConnections, PerClient: w.perClient, Balance: w.balance,
		Eject: Eject{Failures: w.eject.failures, For: w.eject.pause, Statuses: yaml.Values(w.eject.statuses)},
		Retry: w.retry, Resolve: w.resolve,
	}
	b.buildServers(w.servers, u)
	if w.maxIdle.Usable() {
		u.MaxIdle = min(w.maxIdle.Value, w.maxConnections)
	}
	if w.maxIdle.Given && w.maxIdle.Usable() && w.maxIdle.Value > w.maxConnections {
		b.Fault(w.maxIdle.At, w.maxIdle.Shown+" is more than max_connections", "lower it, or raise the limit")
	}
	if w.health.Usable() {
		u.Health = b.buildHealth(w.health)
	}
	if w.caFile.Given {
		u.TLS.CAFile = b.buildCA(w.caFile, u)
	}
	if w.tls.Usable() {
		b.buildUpstreamTLS(w, u)
	}
	if w.assertion.Usable() {
		u.Assertion = b.buildAssertion(w.assertion)
	}
	return u
}

func (b *builder) buildServers(servers []yaml.Setting[writtenServer], u *Upstream) {
	weighted := false
	seen := make(map[string]bool, len(servers))
	for _, w := range servers {
		if w.Bad {
			continue
		}
		at, shown := w.At, w.Shown
		if w.Value.url.Given {
			at, shown = w.Value.url.At, w.Value.url.Shown
		}
		server := w.Value.url.Value
		if seen[server] {
			b.Fault(at, shown+" is listed twice", "remove one")
		}
		seen[server] = true
		parsed, err := url.Parse(server)
		if err != nil { // checked when it was read
			continue
		}
		u.Servers = append(u.Servers, parsed)
		u.Weights = append(u.Weights, max(1, w.Value.weight.Value))
		weighted = weighted || w.Value.weight.Given
	}
	if !weighted {
		u.Weights = nil
	}
}

func (b *builder) buildHealth(w yaml.Setting[writtenHealth]) *Health {
	h := &w.Value
	out := &Health{
		Path: h.path.Value, Service: h.grpc.Value, Interval: h.interval, Timeout: h.timeout.Value, Up: h.up, Down: h.down,
		Status: yaml.Values(h.status),
	}
	switch {
	case h.path.Given == h.grpc.Given:
		b.Fault(w.At, "needs exactly one of path and grpc",
			"write {path: /healthz}, or {grpc: \"\"} for gRPC's health service")
	case h.grpc.Given && len(h.status) > 0:
		b.Fault(h.grpc.At, "conflicts with status", "remove status: gRPC's health service says SERVING")
	}
	return out
}

func (b *builder) buildUpstreamTLS(w *writtenUpstream, u *Upstream) {
	x := &w.tls.Value
	if !slices.ContainsFunc(u.Servers, isHTTPS) {
		b.Fault(w.tls.At, "has no effect without an https server", "write https:// in servers, or remove it")
	}
	if x.caFile.Given {
		if w.caFile.Given {
			b.Fault(w.caFile.At, "conflicts with tls.ca_file", "set only one")
		} else {
			u.TLS.CAFile = b.buildCA(x.caFile, u)
		}
	}
	u.TLS.ServerName = x.serverName.Value
	switch {
	case x.cert.Given != x.key.Given:
		b.Fault(w.tls.At, "has only one of cert and key", "write both, or neither")
	case x.cert.Usable() && x.key.Usable() && x.cert.Given:
		u.TLS.CertFile, u.TLS.KeyFile = b.Resolve(x.cert.Value), b.Resolve(x.key.Value)
		cert, fine := b.contents(x.cert)
		key, too := b.contents(x.key)
		if fine && too {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				b.Fault(x.cert.At, x.cert.Shown+" and key are not a certificate and its key", "name PEM files that belong together")
			}
		}
	}
}

func isHTTPS(s *url.URL) bool { return s.Scheme == "https" }

func (b *builder) buildCA(w yaml.Setting[string], u *Upstream) string {
	if !slices.ContainsFunc(u.Servers, isHTTPS) {
		b.Fault(w.At, "has no effect on http servers", "write https:// in servers, or remove it")
	}
	if data, ok := b.contents(w); ok && !x509.NewCertPool().AppendCertsFromPEM(data) {
		b.Fault(w.At, w.Shown+" holds no certificate", "name a PEM file of CA certificates")
	}
	return b.Resolve(w.Value)
}

func (b *builder) buildAssertion(w yaml.Setting[writtenAssertion]) *Assertion {
	header := w.Value.header
	if b.Issuer == nil {
		b.Fault(w.At, "needs a signing key, but no issuer is configured", "add issuer, or remove it")
	}
	if slices.ContainsFunc(b.IdentityHeaders.All(), func(h string) bool { return strings.EqualFold(h, header.Value) }) ||
		isCertHeader(header.Value) {
		b.Fault(header.At, header.Shown+" is an identity header", "choose another header name")
	}
	return &Assertion{Header: canonicalHeader(header.Value), Audience: w.Value.audience, TTL: w.Value.ttl}
}

// noUpstream is the upstream of a route that is for questions to decision alone.
const noUpstream = "none"

// upstream resolves a route's upstream: a name, or a URL, which is an upstream of its own with every default.
func (b *builder) upstream(w yaml.Setting[string]) *Upstream {
	if !w.Usable() {
		return nil
	}
	if w.Value == noUpstream {
		return nil
	}
	u, ok := b.Upstreams[w.Value]
	switch {
	case ok:
	case strings.Contains(w.Value, "/"):
		u = b.inline(w)
		b.Upstreams[w.Value] = u
	default:
		var names []string
		for _, named := range b.file.upstreams {
			names = append(names, named.Name)
		}
		b.Fault(
			w.At,
			w.Shown+" is not an upstream of this file",
			b.suggest(w.Value, names, "upstreams, or write a URL"),
		)
	}
	return u
}

// inline reads the empty upstream, so that its defaults are those of the keys.
func (b *builder) inline(w yaml.Setting[string]) *Upstream {
	defaults := upstream().Defaults()
	defaults.servers = []yaml.Setting[writtenServer]{{Value: writtenServer{url: w}, At: w.At, Shown: w.Shown, Given: true}}
	return b.buildUpstream(w.Value, &defaults)
}
