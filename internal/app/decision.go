package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/decision"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// DecisionAddr returns the address that questions of other proxies come in on; it is nil if there is none.
func (g *Gate) DecisionAddr() net.Addr { return g.listeners.Addr(config.DecisionListener) }

func (g *Gate) decisionListener(c *config.Decision) listen.Listener {
	return listen.Listener{
		Name: config.DecisionListener, Address: c.Listen, H2C: true,
		Handler: decision.New(decision.Options{From: g.mayAsk, Decide: g.decide}),
	}
}

// mayAsk reports whether a peer may ask, by the config in force.
func (g *Gate) mayAsk(peer string) bool {
	d := g.Config().Decision
	addr, err := netip.ParseAddrPort(peer)
	return err == nil && d != nil && within(d.From, addr.Addr().Unmap())
}

// decide is the chain of a question: what ServeHTTP is for a request that comes to us.
func (g *Gate) decide(w http.ResponseWriter, q *decision.Question, fault error) {
	snap := g.snapshot.Load()
	x := new(request.Exchange)
	x.Begin(w, g.clock())
	defer g.finish(x, q.Request, snap)

	x.CORS = snap.cors.Answer(q.Request)
	g.asked(x, q, snap)
	x.Trace = g.begin(x, q.Request)
	if fault != nil {
		x.Refuse(fault)
		return
	}
	if err := snap.admit(x, q.Request); err != nil {
		x.Refuse(err)
		return
	}
	if err := snap.certified(q, g.clock()); err != nil {
		x.Refuse(err)
		return
	}
	if snap.owns(x, q.Request) || snap.resources.find(x, q.Request.URL.Path) != nil {
		x.Refuse(refusal.Because(refusal.RouteNotFound, "an endpoint of our own: let the front send it to a listener"))
		return
	}
	if snap.issuer != nil {
		x.ResourceMetadata = snap.issuer.ResourceMetadata(x.Host)
	}
	verdict, err := snap.gate.Decide(x, q.Request)
	if err != nil {
		x.Refuse(err)
		return
	}
	if verdict.Preflight != nil { // with the status of a refusal, so that the front passes it on
		x.Preflight(verdict.Preflight)
		return
	}
	x.CORS = cors.Answer{} // the app's answer is the front's to send
	fields := make([]decision.Field, len(verdict.Set))
	for i, f := range verdict.Set {
		fields[i] = decision.Field(f)
	}
	q.Allow(fields, verdict.Remove)
	x.WriteHeader(http.StatusOK)
}

// asked fills in who asks. The peer is the front; the client is the last address of X-Forwarded-For that is not one of
// trusted_proxies, or the one that the front says beside it. Where the front says none, there is none: the front's own
// address must not pass an allowlist in the client's place.
func (g *Gate) asked(x *request.Exchange, q *decision.Question, snap *snapshot) {
	x.Front, x.Scheme, x.ID, x.Listener = q.Front, q.Scheme, request.NewID(), config.DecisionListener
	x.Header()[request.RequestIDHeader] = []string{x.ID}
	x.LogPath = endpoint.Redact(pathOf(q.Request.RequestURI))
	if addr, err := netip.ParseAddrPort(q.Request.RemoteAddr); err == nil {
		x.Peer = addr.Addr().Unmap()
	}
	if q.Source.IsValid() {
		x.Client = q.Source.Unmap()
		if !snap.trusts(x.Client) {
			return
		}
	}
	snap.clientOf(x, q.Request.Header)
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// maxCertificate bounds what a front says of its client's certificate.
const maxCertificate = 64 << 10

// certified gives the request the client's certificate that the front passes on, if the config names its authorities
// and one of them has signed it. Else the request has none: what the front itself has verified is not known here.
func (snap *snapshot) certified(q *decision.Question, now time.Time) error {
	if snap.frontClients == nil || q.Certificate == "" {
		return nil
	}
	certs, err := parseCertificates(q.Certificate)
	if err != nil {
		return refusal.Because(refusal.QuestionMalformed, "the client's certificate: %v", err)
	}
	intermediates := x509.NewCertPool()
	for _, c := range certs[1:] {
		intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: snap.frontClients, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil {
		q.Request.TLS = &tls.ConnectionState{PeerCertificates: certs, VerifiedChains: chains}
	}
	return nil
}

// parseCertificates reads PEM that is percent-encoded: the client's certificate, then those that lead to its authority.
func parseCertificates(encoded string) ([]*x509.Certificate, error) {
	if len(encoded) > maxCertificate {
		return nil, fmt.Errorf("more than %d bytes", maxCertificate)
	}
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return nil, errors.New("not percent-encoded")
	}
	var certs []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, errors.New("a PEM block that is no certificate")
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM")
	}
	return certs, nil
}
