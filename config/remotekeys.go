package config

import (
	"net/netip"
	"net/url"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// remoteKeys is where a trusted issuer's keys are published: at jwks_url, or where its own metadata says.
func (b *builder) remoteKeys(w *writtenTrusted) *RemoteKeys {
	f := &w.fetch.Value
	r := &RemoteKeys{
		URL: w.jwksURL.Value, InsecureHTTP: w.insecureHTTP.Value, Authorities: b.authorities(f.caFile),
		Refresh: f.refresh.Value, MaxAge: f.maxAge.Value, Cooldown: f.cooldown, Wait: f.wait, Timeout: f.timeout,
	}
	asked := w.issuer
	if w.jwksURL.Given {
		asked = w.jwksURL
	}
	if asked.Usable() && !r.InsecureHTTP && plainHTTP(asked.Value) {
		b.Fault(asked.At, asked.Shown+" is plain http, and whoever is in between can put in keys of his own", "use https, or write insecure_http: true beside it, or keep its keys in files")
	}
	if f.refresh.Usable() && f.maxAge.Usable() && r.MaxAge < r.Refresh {
		b.Fault(f.maxAge.At, yaml.SpellDuration(r.MaxAge)+" is less than refresh, "+yaml.SpellDuration(r.Refresh), "raise it: keys that are too old refuse every token")
	}
	return r
}

// onlyFetched refuses what has a meaning only for keys that are fetched. jwks_url beside keys is one too many.
func (b *builder) onlyFetched(w *writtenTrusted) {
	if w.jwksURL.Given {
		b.Fault(w.jwksURL.At, "is there beside keys", "keep one of the two")
	}
	if w.insecureHTTP.Given {
		b.Fault(w.insecureHTTP.At, "has a meaning only for keys that are fetched", "remove it")
	}
	if w.fetch.Given {
		b.Fault(w.fetch.At, "has a meaning only for keys that are fetched", "remove it")
	}
}

// plainHTTP reports whether an address that was checked as a URL is asked without TLS, and not on this very machine.
func plainHTTP(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return !(err == nil && addr.IsLoopback() || strings.EqualFold(u.Hostname(), "localhost"))
}
