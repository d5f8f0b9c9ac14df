package trust

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

// Certificate returns what the client showed in the handshake with us, once that has verified it; nil: none.
func Certificate(connection *tls.ConnectionState, now time.Time) *x509.Certificate {
	if connection == nil || len(connection.VerifiedChains) == 0 {
		return nil
	}
	cert := connection.PeerCertificates[0]
	if now.After(cert.NotAfter) { // the connection outlived it
		return nil
	}
	return cert
}

// Bound holds a token to the certificate that it is bound to (RFC 8705 §3), by cnf.x5t#S256: a thief has the token, but
// not the key that the handshake needs.
func Bound(digest string, cert *x509.Certificate) error {
	if cert == nil {
		return refusal.Because(refusal.TokenCertMismatch, "the connection has no client certificate")
	}
	sum := sha256.Sum256(cert.Raw)
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(digest)) != 1 {
		return refusal.Because(refusal.TokenCertMismatch, "the connection has another client certificate")
	}
	return nil
}
