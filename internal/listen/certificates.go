package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// A KeyPair names the files of a certificate chain and its private key, both PEM.
type KeyPair struct{ Cert, Key string }

// Certificates are the certificates of a TLS listener, chosen by SNI (RFC 6066 section 3). Replace swaps them for new
// handshakes; open connections stay.
type Certificates struct {
	now    atomic.Pointer[chainSet]
	http1  bool // HTTP/2 is not offered
	http01 bool // a listener answers HTTP-01
}

type chainSet struct {
	byName map[string][]*tls.Certificate // lower case; wildcards as in the certificate
	all    []*tls.Certificate
	expiry []Expiry

	clients clients
	acme    *acmeCertificates // nil: none
	config  *tls.Config       // shared by sets whose clients are verified alike, so that their session tickets are good
}

// An Expiry is when a certificate ends.
type Expiry struct {
	File     string
	Names    []string
	NotAfter time.Time
}

// CertificateOptions are what a TLS listener needs.
type CertificateOptions struct {
	Pairs   []KeyPair
	Clients ClientAuth
	ACME    *ACME // nil: none; else Pairs may be empty
}

// LoadCertificates reads the pairs. The first is the default: for clients without SNI, or with an unknown name.
func LoadCertificates(pairs []KeyPair) (*Certificates, error) {
	return LoadTLS(CertificateOptions{Pairs: pairs})
}

// LoadTLS reads everything that a TLS listener needs.
func LoadTLS(o CertificateOptions) (*Certificates, error) {
	c := new(Certificates)
	return c, c.load(o)
}

// Replace reads the pairs and replaces all certificates with them; after an error the old ones stay.
func (c *Certificates) Replace(pairs []KeyPair) error {
	return c.load(CertificateOptions{Pairs: pairs})
}

func (c *Certificates) load(o CertificateOptions) error {
	if len(o.Pairs) == 0 && o.ACME == nil {
		return errors.New("tls: no certificate; set cert and key of at least one")
	}
	set := &chainSet{byName: map[string][]*tls.Certificate{}}
	for _, pair := range o.Pairs {
		if err := set.add(pair); err != nil {
			return err
		}
	}
	var err error
	if set.clients, err = loadClients(o.Clients); err != nil {
		return err
	}
	if o.ACME != nil {
		set.acme = newACME(*o.ACME)
	}
	c.put(set)
	return nil
}

// put makes a set the present one. Connections that were made under another authority are judged anew from now on.
func (c *Certificates) put(set *chainSet) {
	old := c.now.Load()
	if old != nil && old.acme != nil && set.acme != nil && old.acme.same(set.acme) {
		set.acme = old.acme // it has certificates, and may be waiting for one
	}
	alike := old != nil && old.clients.same(&set.clients)
	set.clients.changed = old != nil && (!alike || old.clients.changed)
	if alike && (old.acme == nil) == (set.acme == nil) {
		set.config = old.config
	} else {
		set.config = c.newConfig(set)
	}
	c.offerHTTP01(set)
	c.now.Store(set)
}

func (s *chainSet) add(pair KeyPair) error {
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return fmt.Errorf("tls: certificate %s with key %s: %w", pair.Cert, pair.Key, err)
	}
	names := slices.Clone(cert.Leaf.DNSNames)
	for _, ip := range cert.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range cert.Leaf.DNSNames {
		name = strings.ToLower(name)
		s.byName[name] = append(s.byName[name], &cert)
	}
	s.all = append(s.all, &cert)
	s.expiry = append(s.expiry, Expiry{File: pair.Cert, Names: names, NotAfter: cert.Leaf.NotAfter})
	return nil
}

// choose returns the certificate for the name that the client asks for: an exact name before a wildcard for its first
// label, and of several (say, one with RSA and one with ECDSA) the first that the client supports. What the files have
// not, ACME may.
func (c *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	set := c.now.Load()
	if set.acme != nil && slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return set.acme.certificate(hello)
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	candidates := set.byName[name]
	if len(candidates) == 0 {
		if _, parent, ok := strings.Cut(name, "."); ok {
			candidates = set.byName["*."+parent]
		}
	}
	for _, cert := range candidates {
		if hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	switch {
	case len(candidates) > 0:
		return candidates[0], nil
	case set.acme != nil && (len(set.all) == 0 || set.acme.has(name)):
		return set.acme.certificate(hello)
	}
	return set.all[0], nil
}

// Config returns the configuration for the next handshake: TLS 1.2 and 1.3, the suites and curves of the standard
// library, HTTP/2 before HTTP/1.1.
func (c *Certificates) Config() *tls.Config { return c.now.Load().config }

func (c *Certificates) newConfig(set *chainSet) *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.choose,
		ClientAuth:     set.clients.mode(),
		ClientCAs:      set.clients.authorities,
	}
	if c.http1 {
		config.NextProtos = []string{"http/1.1"}
	}
	if set.acme != nil {
		config.NextProtos = append(config.NextProtos, acme.ALPNProto)
	}
	return config
}

// withoutHTTP2 offers HTTP/1.1 alone.
func (c *Certificates) withoutHTTP2() {
	c.http1 = true
	set := *c.now.Load()
	set.config = c.newConfig(&set)
	c.now.Store(&set)
}

// Take replaces everything with what fresh has.
func (c *Certificates) Take(fresh *Certificates) {
	set := *fresh.now.Load()
	c.put(&set)
}

// Expiries returns when each certificate expires, for metrics and warnings.
func (c *Certificates) Expiries() []Expiry {
	set := c.now.Load()
	all := slices.Clone(set.expiry)
	if set.acme != nil {
		all = append(all, set.acme.expiries()...)
	}
	return all
}
