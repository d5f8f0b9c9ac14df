package config

import (
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
		MaxConnections: w.maxConnections, MaxIdle: min(w.maxIdle.Value, w.maxConnections),
	}
	for _, server := range yaml.Values(w.servers) {
		if parsed, err := url.Parse(server); err == nil { // checked when it was read
			u.Servers = append(u.Servers, parsed)
		}
	}
	if w.maxIdle.Given && w.maxIdle.Usable() && w.maxIdle.Value > w.maxConnections {
		b.Fault(w.maxIdle.At, w.maxIdle.Shown+" is more than max_connections", "lower it, or raise the limit")
	}
	if w.caFile.Given {
		u.CAFile = b.buildCA(w.caFile, u)
	}
	if w.assertion.Usable() {
		u.Assertion = b.buildAssertion(w.assertion)
	}
	return u
}

func (b *builder) buildCA(w yaml.Setting[string], u *Upstream) string {
	if !slices.ContainsFunc(u.Servers, func(s *url.URL) bool { return s.Scheme == "https" }) {
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
	if slices.ContainsFunc(b.IdentityHeaders.All(), func(h string) bool { return strings.EqualFold(h, header.Value) }) {
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
	defaults.servers = []yaml.Setting[string]{w}
	return b.buildUpstream(w.Value, &defaults)
}
