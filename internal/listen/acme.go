package listen

import (
	"crypto/tls"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/jotgate/jotgate/internal/request"
)

// ACME has certificates issued and renewed by a certification authority (RFC 8555). The authority is shown control of a
// domain by TLS-ALPN-01 (RFC 8737) on the listener itself, or by HTTP-01 on one that redirects to https.
type ACME struct {
	Domains   []string
	Email     string // of the account; may be empty
	Directory string // URL; "": Let's Encrypt
	Storage   string // folder for the account's key, certificates and their keys
	// Shared keeps them in place of Storage, for all replicas: each can answer the challenges of any other, one at a time;
	// nil: Storage.
	Shared autocert.Cache
}

// acmeCertificates are those that an authority has issued.
type acmeCertificates struct {
	settings ACME
	manager  *autocert.Manager

	mu   sync.Mutex
	ends map[string]time.Time // by domain
}

func newACME(settings ACME) *acmeCertificates {
	directory := settings.Directory
	if directory == "" {
		directory = acme.LetsEncryptURL
	}
	cache := settings.Shared
	if cache == nil {
		cache = autocert.DirCache(settings.Storage)
	}
	return &acmeCertificates{
		settings: settings, ends: map[string]time.Time{},
		manager: &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: cache, Email: settings.Email,
			HostPolicy: autocert.HostWhitelist(settings.Domains...),
			Client:     &acme.Client{DirectoryURL: directory, UserAgent: "jotgate"},
		},
	}
}

func (a *acmeCertificates) same(other *acmeCertificates) bool {
	return reflect.DeepEqual(a.settings, other.settings)
}

func (a *acmeCertificates) has(domain string) bool {
	return slices.Contains(a.settings.Domains, domain)
}

// certificate returns the certificate of a domain, and waits for the authority if there is none yet. A client without
// SNI, or with a name of none, gets that of the first domain.
func (a *acmeCertificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	domain := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !a.has(domain) {
		domain = a.settings.Domains[0]
	}
	asked := *hello
	asked.ServerName = domain
	cert, err := a.manager.GetCertificate(&asked)
	if err == nil && cert.Leaf != nil && !slices.Contains(hello.SupportedProtos, acme.ALPNProto) {
		a.mu.Lock()
		a.ends[domain] = cert.Leaf.NotAfter
		a.mu.Unlock()
	}
	return cert, err
}

func (a *acmeCertificates) expiries() (all []Expiry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, domain := range slices.Sorted(maps.Keys(a.ends)) {
		all = append(all, Expiry{File: "acme:" + domain, Names: []string{domain}, NotAfter: a.ends[domain]})
	}
	return all
}

// Obtain has the certificates of all ACME domains issued that are not there yet, and returns the first error.
func (c *Certificates) Obtain() error {
	set := c.now.Load()
	if set.acme == nil {
		return nil
	}
	for _, domain := range set.acme.settings.Domains {
		hello := &tls.ClientHelloInfo{
			ServerName: domain, SupportedVersions: []uint16{tls.VersionTLS13},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		}
		if _, err := set.acme.certificate(hello); err != nil {
			return err
		}
	}
	return nil
}

// offerHTTP01 has the manager choose HTTP-01 where TLS-ALPN-01 fails.
func (c *Certificates) offerHTTP01(set *chainSet) {
	if c.http01 && set.acme != nil {
		_ = set.acme.manager.HTTPHandler(nil)
	}
}

// HTTP01 answers the authority's challenges on plain HTTP, and has next answer everything else.
func (c *Certificates) HTTP01(next http.Handler) http.Handler {
	c.http01 = true
	c.offerHTTP01(c.now.Load())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if set := c.now.Load(); set.acme != nil && strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
			asked := *r
			asked.Host = withPort(r.Host, 0) // the manager compares it with the domains
			w.Header().Set(request.RequestIDHeader, request.NewID())
			set.acme.manager.HTTPHandler(next).ServeHTTP(w, &asked)
			return
		}
		next.ServeHTTP(w, r)
	})
}
