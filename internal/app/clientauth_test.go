package app_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// issuedBy makes an authority's PEM, and a client certificate of it.
func issuedBy(t *testing.T, name string) (authority []byte, client tls.Certificate) {
	t.Helper()
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "orders"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, root, root, keys[0].Public(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	issued, err := x509.CreateCertificate(rand.Reader, leaf, root, keys[1].Public(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		tls.Certificate{Certificate: [][]byte{issued}, PrivateKey: keys[1]}
}

// The file of client_ca may change while the gate runs: a kept connection is refused if its certificate's authority is
// gone, stays if it is not, and a reload that names a broken file changes nothing.
func TestAReloadChangesTheAuthorityOfClients(t *testing.T) {
	t.Parallel()
	pair := listentest.WritePair(t, "gate.test", "127.0.0.1")
	ours, client := issuedBy(t, "ours")
	next, _ := issuedBy(t, "next")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	put := func(pems ...[]byte) {
		if err := os.WriteFile(ca, bytes.Join(pems, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(ours)
	g := startGate(t, "listen: 127.0.0.1:0\n", `listeners:
  - {name: main, address: "127.0.0.1:0", tls: {certificates: [{cert: `+pair.Cert+`, key: `+pair.Key+`}], client_ca: `+ca+`}}
`)
	ask := func(c *http.Client) int {
		answer, err := c.Get("https://" + g.Addr("main").String() + "/open/")
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
	newClient := func(certs ...tls.Certificate) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 20 * time.Second}
	}
	kept := newClient(client)
	if status := ask(kept); status != 200 {
		t.Fatalf("with a certificate: %d", status)
	}
	if status := ask(newClient()); status != 0 {
		t.Errorf("without a certificate: %d, want the handshake refused", status)
	}
	g.until(`jotgate_certificate_expiry_timestamp_seconds{file="` + pair.Cert + `",listener="main"} 4.1025312e+09`)

	put([]byte("no certificate"))
	if err := g.Reload(); err == nil {
		t.Error("a file without a certificate: the reload was not refused")
	}
	if status := ask(kept); status != 200 {
		t.Errorf("after a reload that was refused: %d", status)
	}
	put(ours, next)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status := ask(kept); status != 200 {
		t.Errorf("beside another authority: %d", status)
	}
	put(next)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status := ask(kept); status != 403 {
		t.Errorf("after its authority was removed: %d, want 403", status)
	}
	g.eventually(`"reason":"client_cert_refused"`)
	if status := ask(newClient(client)); status != 0 {
		t.Errorf("a new connection: %d, want the handshake refused", status)
	}
}

// issuedWithNames makes an authority's PEM and two of its client certificates: one of orders, with names of all kinds,
// and one whose names only look like those.
func issuedWithNames(t *testing.T) (authority []byte, orders, others tls.Certificate) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key := newKey()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(subject pkix.Name, dns, uris []string, ips ...net.IP) tls.Certificate {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: subject, NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSNames: dns, IPAddresses: ips,
		}
		for _, text := range uris {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			leaf.URIs = append(leaf.URIs, u)
		}
		own := newKey()
		issued, err := x509.CreateCertificate(rand.Reader, leaf, root, own.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{issued}, PrivateKey: own}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		issue(pkix.Name{CommonName: "orders", Organization: []string{"A %ö Co."}}, []string{"orders.internal"},
			[]string{"spiffe://test/orders", "urn:a,b"}, net.IPv4(192, 0, 2, 1)),
		issue(pkix.Name{CommonName: "orders.internal"}, []string{"spiffe://test/orders", "a.orders.internal"}, nil)
}
