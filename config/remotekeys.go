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
		b.Fault(
			asked.At,
			asked.Shown+" is plain http, so an attacker on the network could replace the keys",
			"use https, set insecure_http: true, or list its keys in files",
		)
	}
	if f.refresh.Usable() && f.maxAge.Usable() && r.MaxAge < r.Refresh {
		b.Fault(
			f.maxAge.At,
			yaml.SpellDuration(r.MaxAge)+" is less than refresh, "+yaml.SpellDuration(r.Refresh),
			"raise it: while the keys are too old, every token is refused",
		)
	}
	return r
}

// onlyFetched refuses what has a meaning only for keys that are fetched. jwks_url beside keys is one too many.
func (b *builder) onlyFetched(w *writtenTrusted) {
	if w.jwksURL.Given {
		b.Fault(w.jwksURL.At, "conflicts with keys", "set only one of the two")
	}
	if w.insecureHTTP.Given {
		b.Fault(w.insecureHTTP.At, "has no effect with keys", "remove it: only keys that are fetched need it")
	}
	if w.fetch.Given {
		b.Fault(w.fetch.At, "has no effect with keys", "remove it: only keys that are fetched need it")
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
