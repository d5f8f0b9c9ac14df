package trust

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/jotgate/jotgate/internal/clientcert"
	"github.com/jotgate/jotgate/internal/refusal"
)

// Certificate returns what the client showed in the handshake with us, once that has verified it; nil: none.
func Certificate(connection *tls.ConnectionState, now time.Time) *x509.Certificate {
	return clientcert.Of(connection, now)
}

// Bound holds a token to the certificate that it is bound to (RFC 8705 §3), by cnf.x5t#S256: a thief has the token, but
// not the key that the handshake needs.
func Bound(digest string, cert *x509.Certificate) error {
	if cert == nil {
		return refusal.Because(refusal.TokenCertMismatch, "the connection has no client certificate")
	}
	if subtle.ConstantTimeCompare([]byte(clientcert.Thumbprint(cert)), []byte(digest)) != 1 {
		return refusal.Because(refusal.TokenCertMismatch, "the connection has another client certificate")
	}
	return nil
}
