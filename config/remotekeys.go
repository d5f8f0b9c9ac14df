package config

import (
	"net/netip"
	"net/url"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// remoteKeys is where a trusted issuer's keys are published: at jwks_url, or where its own metadata says.
func (b *builder) remoteKeys(w *writtenTrusted, preset *Preset) *RemoteKeys {
	f := &w.fetch.Value
	r := &RemoteKeys{
		URL: w.jwksURL.Value, InsecureHTTP: w.insecureHTTP.Value, Authorities: b.authorities(f.caFile),
		Refresh: f.refresh.Value, MaxAge: f.maxAge.Value, Cooldown: f.cooldown, Wait: f.wait, Timeout: f.timeout,
	}
	asked := w.issuer
	switch {
	case w.jwksURL.Given:
		asked = w.jwksURL
	case w.issuerPattern.Given: // which needs jwks_url or keys
		return r
	default:
		if problem, _ := isIssuerURL(w.issuer.Value); problem != "" {
			b.Fault(w.issuer.At, w.issuer.Shown+" "+problem+", and only a URL says where its keys are",
				"write the URL, or say where the keys are with jwks_url or keys")
			return r
		}
		if preset.JWKSPath != "" {
			r.URL = strings.TrimSuffix(w.issuer.Value, "/") + preset.JWKSPath
		}
	}
	b.fetchCredentials(f, asked, r)
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

// fetchCredentials are what is sent along when the keys are fetched. Over plain http an attacker on the network would
// get them.
func (b *builder) fetchCredentials(f *writtenFetch, asked yaml.Setting[string], r *RemoteKeys) {
	plain := strings.HasPrefix(strings.ToLower(asked.Value), "http://")
	if f.bearer.Usable() && f.bearer.Given {
		r.Bearer, r.BearerFile = f.bearer.Value.Value, f.bearer.Value.File
		if r.BearerFile != "" {
			r.Bearer = "" // it is read for each fetch
		}
		if plain {
			b.Fault(f.bearer.At, "would go over plain http", "fetch the keys over https, or remove it")
		}
	}
	if f.headers.Usable() && f.headers.Given {
		r.Headers = make(map[string]Secret)
		for _, header := range f.headers.Value {
			r.Headers[header.Name] = header.Value
		}
		if plain {
			b.Fault(f.headers.At, "would go over plain http", "fetch the keys over https, or remove them")
		}
	}
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
