// Package clientcert reads the certificate that a client showed in the TLS handshake with us (RFC 8446 §4.4.2), for
// routes, tokens (RFC 8705 §3) and client authentication (RFC 8705 §2.1). No header field and no front can give one.
package clientcert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Of returns the certificate of a connection; nil if the handshake has verified none, or none any more: a connection
// can outlive its client's certificate, and the authorities above it.
func Of(state *tls.ConnectionState, now time.Time) *x509.Certificate {
	if state == nil {
		return nil
	}
	ended := func(c *x509.Certificate) bool { return now.After(c.NotAfter) }
	for _, chain := range state.VerifiedChains {
		if len(chain) > 0 && !slices.ContainsFunc(chain, ended) {
			return chain[0]
		}
	}
	return nil
}

// Thumbprint returns x5t#S256 (RFC 8705 §3.1).
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Subject returns the whole subject as RFC 4514 writes it, last part first. x509.Certificate.Subject.String leaves out
// all but one of several names of a kind, so that two subjects could look like one.
func Subject(c *x509.Certificate) (string, bool) {
	var all pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &all); err != nil || len(rest) > 0 {
		return "", false
	}
	return all.String(), true
}

// HasDNS reports whether a DNS name is one of the certificate's alternative names.
func HasDNS(c *x509.Certificate, want string) bool {
	return slices.ContainsFunc(c.DNSNames, func(name string) bool { return strings.EqualFold(name, want) })
}

// HasURI reports whether a URI is one of the certificate's alternative names.
func HasURI(c *x509.Certificate, want string) bool {
	for _, u := range c.URIs {
		if u.String() == want {
			return true
		}
	}
	return false
}

// Has reports whether one of the certificate's alternative names of the kind that want is equals it: an authority that
// lets clients choose their DNS names may not have checked that these are no URIs.
func Has(c *x509.Certificate, want string) bool {
	if strings.Contains(want, "://") {
		return HasURI(c, want)
	}
	if strings.Contains(want, "@") {
		return slices.Contains(c.EmailAddresses, want)
	}
	if address, err := netip.ParseAddr(want); err == nil {
		for _, ip := range c.IPAddresses {
			if a, is := netip.AddrFromSlice(ip); is && a.Unmap() == address.Unmap() {
				return true
			}
		}
		return false
	}
	return HasDNS(c, want)
}
