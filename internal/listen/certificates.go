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

// Certificates are the certificates of a TLS listener, chosen by SNI (RFC 6066 section 3). Replace swaps them for new
// handshakes; open connections stay.
type Certificates struct{ now atomic.Pointer[chainSet] }

type chainSet struct {
	byName map[string][]*tls.Certificate // lower case; wildcards as in the certificate
	all    []*tls.Certificate
	expiry []Expiry
}

// An Expiry is when a certificate ends.
type Expiry struct {
	File     string
	Names    []string
	NotAfter time.Time
}

// LoadCertificates reads the pairs. The first is the default: for clients without SNI, or with an unknown name.
func LoadCertificates(pairs []KeyPair) (*Certificates, error) {
	c := new(Certificates)
	return c, c.Replace(pairs)
}

// Replace reads the pairs and replaces all certificates with them; after an error the old ones stay.
func (c *Certificates) Replace(pairs []KeyPair) error {
	if len(pairs) == 0 {
		return errors.New("tls: no certificate; set cert and key of at least one")
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

// Expiries returns when each certificate expires, for metrics and warnings.
func (c *Certificates) Expiries() []Expiry { return slices.Clone(c.now.Load().expiry) }

// choose returns the certificate for the name that the client asks for: an exact name before a wildcard for its first
// label, and of several (say, one with RSA and one with ECDSA) the first that the client supports.
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

// Config returns the configuration for Listener.TLS: TLS 1.2 and 1.3, the suites and curves of the standard library,
// HTTP/2 before HTTP/1.1.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.choose,
	}
}

// Take replaces all certificates with those of fresh.
func (c *Certificates) Take(fresh *Certificates) { c.now.Store(fresh.now.Load()) }
