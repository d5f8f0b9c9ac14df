package listen

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"

	"github.com/jotgate/jotgate/internal/refusal"
)

// ClientAuth says whose certificates clients show (mutual TLS). A certificate that a client shows is verified whether
// it is required or not.
type ClientAuth struct {
	CAs      string // PEM; "": clients are asked for no certificate
	Required bool   // a client without a certificate is refused in the handshake
}

// clients are a ClientAuth that was read.
type clients struct {
	authorities *x509.CertPool // nil: none are asked for
	roots       map[string]bool
	digest      [sha256.Size]byte
	required    bool
	changed     bool // by a reload: there may be connections from before
}

func loadClients(o ClientAuth) (c clients, err error) {
	if o.CAs == "" {
		return c, nil
	}
	c = clients{
		authorities: x509.NewCertPool(), roots: map[string]bool{}, digest: sha256.Sum256([]byte(o.CAs)), required: o.Required,
	}
	for rest := []byte(o.CAs); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return c, fmt.Errorf("tls: client_ca: %w", err)
		}
		c.authorities.AddCert(root)
		c.roots[string(root.Raw)] = true
	}
	if len(c.roots) == 0 {
		return c, errors.New("tls: client_ca: has no certificate in PEM")
	}
	return c, nil
}

func (c *clients) same(other *clients) bool {
	return (c.authorities == nil) == (other.authorities == nil) && c.digest == other.digest && c.required == other.required
}

func (c *clients) mode() tls.ClientAuthType {
	switch {
	case c.authorities == nil:
		return tls.NoClientCert
	case c.required:
		return tls.RequireAndVerifyClientCert
	}
	return tls.VerifyClientCertIfGiven
}

var (
	errCertificateMissing   = errors.New("the connection was made without a certificate, which is required now")
	errCertificateUntrusted = errors.New("the connection was made with a certificate of an authority that does not " +
		"count any more")
)

// judge returns an error if a handshake from before a reload would fail now. The handshake has verified a chain to its
// root; that root must still count.
func (c *clients) judge(state *tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		if c.required {
			return errCertificateMissing
		}
		return nil
	}
	for _, chain := range state.VerifiedChains {
		if c.roots[string(chain[len(chain)-1].Raw)] {
			return nil
		}
	}
	return errCertificateUntrusted
}

// judging refuses requests on kept connections whose handshake would fail now, since a reload changed the authority.
type judging struct {
	certificates *Certificates
	refuse       func(http.ResponseWriter, *http.Request, *refusal.Error)
	next         http.Handler
}

func (j judging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c := &j.certificates.now.Load().clients; c.changed && r.TLS != nil {
		if err := c.judge(r.TLS); err != nil {
			j.refuse(w, r, &refusal.Error{Reason: refusal.ClientCertRefused, Detail: err.Error()})
			return
		}
	}
	j.next.ServeHTTP(w, r)
}
