package proxy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/clientcert"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/trust"
)

// certBytes bounds what is told of a certificate's names: whole names beyond it are left out.
const certBytes = 4 << 10

// certificate is what the client showed in the handshake with us, once that has verified it; nil: none. In a decision
// it is what the front says of its client, verified against decision.client_ca; the front's own is not its client's.
func (p *inbound) certificate() *x509.Certificate {
	if p.r == nil {
		return nil
	}
	return trust.Certificate(p.r.TLS, p.now)
}

// hasCertificate holds a token to the certificate that it is bound to.
func (p *inbound) hasCertificate() error {
	want, cert := p.entry.verified.Claims.Cert, p.certificate()
	if cert == nil && p.trial != nil {
		return skipped("the token is bound to the client certificate " + want + ", and the connection's is not known here")
	}
	return trust.Bound(want, cert)
}

func stepClientCert() step {
	return step{
		name: "client_cert", run: (*Gate).knownByCertificate,
		wanted: func(r *config.Route) bool { return len(r.Require.CertNames) > 0 },
		say:    func(_ *Gate, p *inbound) string { return "the certificate has a name that this route asks for" },
		need: func(_ *Gate, p *inbound, _ refusal.Reason) string {
			return "a client certificate with one of the names " + strings.Join(p.plan.route.Require.CertNames, ", ")
		},
	}
}

// knownByCertificate asks for a certificate that has one of the route's names.
func (g *Gate) knownByCertificate(p *inbound) error {
	cert := p.certificate()
	switch {
	case cert == nil && p.trial != nil:
		return skipped("the client certificate that the request comes with is not known here")
	case cert == nil:
		return refusal.Because(refusal.ClientCertDenied, "the connection has no client certificate")
	}
	for _, want := range p.plan.route.Require.CertNames {
		if clientcert.Has(cert, want) {
			return nil
		}
	}
	return refusal.Because(refusal.ClientCertDenied, "the certificate %.100q has none of the route's names",
		cert.Subject.String())
}

// setCertificate tells the app of the client's certificate: its subject (RFC 4514), its alternative names, each with
// its kind, and its SHA-256 in hex.
func setCertificate(to []field, p *inbound) []field {
	cert := p.certificate()
	if cert == nil {
		return to
	}
	names := config.CertHeaders()
	if subject, ok := clientcert.Subject(cert); ok && len(fieldValue(subject)) <= certBytes {
		to = set(to, names[0], fieldValue(subject))
	}
	to = set(to, names[1], alternativeNames(cert))
	sum := sha256.Sum256(cert.Raw)
	return set(to, names[2], hex.EncodeToString(sum[:]))
}

// alternativeNames lists them as DNS:a.example, URI:spiffe://… A comma within a name is percent-encoded, as is "%", so
// that no name looks like two.
func alternativeNames(cert *x509.Certificate) string {
	var b strings.Builder
	add := func(kind, name string) {
		name = strings.ReplaceAll(fieldValue(name), ",", "%2C")
		if name == "" || b.Len()+len(kind)+len(name)+3 > certBytes {
			return
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(kind)
		b.WriteByte(':')
		b.WriteString(name)
	}
	for _, name := range cert.DNSNames {
		add("DNS", name)
	}
	for _, u := range cert.URIs {
		add("URI", u.String())
	}
	for _, address := range cert.EmailAddresses {
		add("email", address)
	}
	for _, ip := range cert.IPAddresses {
		add("IP", ip.String())
	}
	return b.String()
}
