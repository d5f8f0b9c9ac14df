package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A KeyPair names the files of a certificate chain and its private key, both PEM.
type KeyPair struct{ Cert, Key string }

// Certificates are those that a TLS listener shows, chosen by the name that the client asks for (SNI, RFC 6066
// section 3). Replace swaps them for all handshakes to come; connections that are open stay.
type Certificates struct{ now atomic.Pointer[chainSet] }

type chainSet struct {
	byName map[string][]*tls.Certificate // lower case, wildcards as they stand in the certificate
	all    []*tls.Certificate
	expiry []Expiry
}

// An Expiry is when a certificate ends.
type Expiry struct {
	File     string
	Names    []string
	NotAfter time.Time
}

// LoadCertificates reads the pairs. The first is shown to clients that name no host, or one that nobody has.
func LoadCertificates(pairs []KeyPair) (*Certificates, error) {
	c := new(Certificates)
	return c, c.Replace(pairs)
}

// Replace reads the pairs and puts them in the place of the old ones; after an error the old ones stay, all of them.
func (c *Certificates) Replace(pairs []KeyPair) error {
	if len(pairs) == 0 {
		return errors.New("tls: no certificate is named: give cert and key of at least one")
	}
	set := &chainSet{byName: map[string][]*tls.Certificate{}}
	for _, pair := range pairs {
		if err := set.add(pair); err != nil {
			return err
		}
	}
	c.now.Store(set)
	return nil
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

// Expiries tells when each certificate ends, for metrics and warnings.
func (c *Certificates) Expiries() []Expiry { return slices.Clone(c.now.Load().expiry) }

// choose takes the exact name before a wildcard for its last label, and of several (an RSA and an ECDSA one, say) the
// first that the client can use.
func (c *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	set := c.now.Load()
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
	if len(candidates) > 0 {
		return candidates[0], nil
	}
	return set.all[0], nil
}

// Config is for a Listener: TLS 1.2 and 1.3 with the standard library's choice of suites and curves, HTTP/2 first.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.choose,
	}
}

// Take puts the certificates that were loaded into fresh in the place of the old ones.
func (c *Certificates) Take(fresh *Certificates) { c.now.Store(fresh.now.Load()) }
