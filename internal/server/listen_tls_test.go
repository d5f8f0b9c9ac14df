package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/server"
)

// writePair writes a self-signed certificate for the names, the first of which is its common name.
func writePair(t testing.TB, names ...string) server.KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Date(2100, 1, 2, 0, 0, 0, 0, time.UTC),
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair := server.KeyPair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{pair.Cert: {Type: "CERTIFICATE", Bytes: der}, pair.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair
}

// shown is the common name of the certificate that a client who asks for name gets.
func shown(t testing.TB, ls *server.Listeners, name string) string {
	t.Helper()
	c, err := tls.Dial("tcp", ls.Addr("main").String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificateByName(t *testing.T) {
	t.Parallel()
	certs, err := server.LoadCertificates([]server.KeyPair{writePair(t, "first.example"), writePair(t, "b.example", "*.wild.example"), writePair(t, "x.wild.example")})
	if err != nil {
		t.Fatal(err)
	}
	ls := start(t, server.ListenOptions{Listeners: []server.Listener{{Name: "main", TLS: certs.Config()}}}, new(ledger))
	for name, want := range map[string]string{
		"first.example": "first.example", "B.example": "b.example", "y.wild.example": "b.example", "x.wild.example": "x.wild.example",
		"y.y.wild.example": "first.example", "unknown.example": "first.example", "": "first.example",
	} {
		if got := shown(t, ls, name); got != want {
			t.Errorf("%q gets %s, want %s", name, got, want)
		}
	}
	if e := certs.Expiries(); len(e) != 3 || e[1].NotAfter.Year() != 2100 || strings.Join(e[1].Names, " ") != "b.example *.wild.example" {
		t.Errorf("%v", e)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, server.Limits{})
	ls := start(t, o, new(ledger))
	_, err := tls.Dial("tcp", ls.Addr("main").String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func TestCertificateFaults(t *testing.T) {
	t.Parallel()
	a, b := writePair(t, "a.example"), writePair(t, "b.example")
	for name, row := range map[string]struct {
		pairs []server.KeyPair
		want  string
	}{
		"none":          {nil, "tls: no certificate is named: give cert and key of at least one"},
		"another's key": {[]server.KeyPair{a, {Cert: a.Cert, Key: b.Key}}, "tls: certificate " + a.Cert + " with key " + b.Key + ": tls: private key does not match public key"},
		"no such file":  {[]server.KeyPair{{Cert: a.Cert + "x", Key: a.Key}}, "tls: certificate " + a.Cert + "x with key " + a.Key + ": open " + a.Cert + "x: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := server.LoadCertificates(row.pairs); err == nil || err.Error() != row.want {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
}

// Certificates change under load: no request fails, a bad pair changes nothing, a connection that is open stays.
func TestCertificateReloadUnderLoad(t *testing.T) {
	t.Parallel()
	o, certs := secure(t, server.Limits{})
	ls := start(t, o, new(ledger))
	var stop atomic.Bool
	var g sync.WaitGroup
	for i := range 4 {
		keep, url := client(t, i%2 == 0), "https://"+ls.Addr("main").String()
		g.Go(func() {
			for !stop.Load() {
				fresh := client(t, i%2 == 0)
				for _, c := range []*http.Client{keep, fresh} {
					r, err := c.Get(url)
					if err != nil {
						t.Error(err)
						return
					}
					_ = r.Body.Close()
				}
				fresh.CloseIdleConnections()
			}
		})
	}
	a, b := writePair(t, "a.example"), writePair(t, "b.example")
	for i := range 50 {
		pair := []server.KeyPair{a, b}[i%2]
		if err := certs.Replace([]server.KeyPair{pair}); err != nil {
			t.Error(err)
		}
		if err := certs.Replace([]server.KeyPair{{Cert: a.Cert, Key: b.Key}}); err == nil {
			t.Error("a bad pair was accepted")
		}
		if got, want := shown(t, ls, "any.example"), []string{"a.example", "b.example"}[i%2]; got != want {
			t.Errorf("shown %s, want %s", got, want)
		}
	}
	stop.Store(true)
	g.Wait()
}
