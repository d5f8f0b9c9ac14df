package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// buildCertificate takes the certificate that a client authenticates with. It is then the only way: with a secret
// beside it, the holder of the secret needs no certificate.
func (b *builder) buildCertificate(w *yaml.Setting[writtenTLSClientAuth], c *writtenClient, client *Client) {
	if !w.Usable() || !w.Given {
		return
	}
	client.Certificate = &ClientCertificate{
		DNS: w.Value.sanDNS.Value, URI: w.Value.sanURI.Value, Subject: w.Value.subjectDN.Value,
	}
	given := 0
	for _, s := range []yaml.Setting[string]{w.Value.sanDNS, w.Value.sanURI, w.Value.subjectDN} {
		if s.Given {
			given++
		}
	}
	if given != 1 {
		b.Fault(w.At, fmt.Sprintf("names the certificate in %d ways", given),
			"set exactly one of san_dns, san_uri and subject_dn")
	}
	if c.secret.Given || c.secretSHA256.Given || c.accessTokenID.Given || c.keys.Given || c.identity.Given ||
		c.public.Value {
		b.Fault(w.At, "conflicts with secret, secret_sha256, access_token_id, keys, identity and public",
			"remove them: the certificate is how the client authenticates")
	}
}

// checkCertificates warns of clients that no listener asks for their certificate. A name means what its authority says
// that it means, so there must be one authority.
func (b *builder) checkCertificates() {
	if b.Issuer == nil {
		return
	}
	authorities := map[string]bool{}
	for _, l := range b.Listeners {
		if l.TLS != nil && l.TLS.ClientCA != "" {
			authorities[l.TLS.ClientCA] = true
		}
	}
	for i, c := range b.Issuer.Clients {
		if c.Certificate == nil {
			continue
		}
		w := &b.file.issuer.Value.clients[i].Value
		switch {
		case len(authorities) > 1:
			b.Fault(w.tlsClientAuth.At, "is met by a certificate of any listener's client_ca, and these differ",
				"use one client_ca on all listeners that have one")
		case len(authorities) == 0:
			b.Warn(w.tlsClientAuth.At, "cannot be met: no listener asks for client certificates",
				"set client_ca in a listener's tls")
		}
		if !b.Issuer.Serve.OAuth2 {
			b.Warn(w.tlsClientAuth.At,
				"cannot be met: only the dialect oauth2 takes client certificates, and issuer.serve.dialects lacks it",
				"add oauth2")
		}
		for _, word := range []string{token.IssueUserTokens, token.CreateAccessTokens} {
			if slices.Contains(c.May, word) {
				b.Warn(w.tlsClientAuth.At, "conflicts with "+word+" in may: that API issues no bound tokens",
					"remove the word from may, or use another client for it")
			}
		}
	}
}

func isCertDNS(s string) (problem, remedy string) {
	if strings.ContainsAny(s, ":/@ ") {
		return "is not a DNS name", "write it like orders.internal"
	}
	return isCertName(s)
}

func isCertURI(s string) (problem, remedy string) {
	if u, err := url.Parse(s); err != nil || u.Scheme == "" {
		return "is not a URI", "write it like spiffe://example.org/orders"
	}
	return isCertName(s)
}

func isSubjectDN(s string) (problem, remedy string) {
	if len(s) > 2048 || !strings.Contains(s, "=") || strings.ContainsFunc(s, yaml.IsControl) ||
		strings.Contains(strings.ReplaceAll(s, `\, `, ""), ", ") {
		return "is not a subject", "write it like CN=orders,O=Example, without spaces after the commas (RFC 4514)"
	}
	return "", ""
}
