package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// An authority issues client certificates.
type authority struct {
	pem  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key: key}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "orders"}, DNSNames: []string{"orders.internal"},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// mutual is a TLS listener's settings with client certificates.
func mutual(t *testing.T, pair listen.KeyPair, clients listen.ClientAuth) *listen.Certificates {
	t.Helper()
	c, err := listen.LoadTLS(listen.CertificateOptions{Pairs: []listen.KeyPair{pair}, Clients: clients})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client makes a client with a certificate; none: without.
func client(t *testing.T, h2 bool, sessions tls.ClientSessionCache, certs ...tls.Certificate) *http.Client {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: certs, ClientSessionCache: sessions,
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// whose answers with what the handshake has verified.
func whose(w http.ResponseWriter, r *http.Request) {
	name := "nobody"
	if len(r.TLS.VerifiedChains) > 0 {
		name = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	fmt.Fprint(w, name, " ", r.TLS.DidResume)
}

func told(c *http.Client, url string) string {
	answer, err := c.Get(url)
	if err != nil {
		return "refused"
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	if answer.StatusCode != 200 {
		return answer.Status
	}
	return strings.Fields(string(text))[0]
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	good := ours.issue(t, nil)
	foreign := theirs.issue(t, nil)
	expired := ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := ours.issue(t, func(c *x509.Certificate) {
		c.NotBefore = time.Now().Add(time.Hour)
		c.NotAfter = time.Now().Add(2 * time.Hour)
	})
	server := ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	stolen := tls.Certificate{Certificate: good.Certificate, PrivateKey: foreign.PrivateKey}
	pair := listentest.WritePair(t, "main.example", "127.0.0.1")
	for _, required := range []bool{true, false} {
		certs := mutual(t, pair, listen.ClientAuth{CAs: ours.pem, Required: required})
		ls := start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", TLS: certs}}}, http.HandlerFunc(whose))
		url := "https://" + ls.Addr("main").String() + "/"
		without := "nobody"
		if required {
			without = "refused"
		}
		for name, c := range map[string]struct {
			certs []tls.Certificate
			want  string
		}{
			"good": {[]tls.Certificate{good}, "orders"}, "none": {nil, without},
			"of another authority": {[]tls.Certificate{foreign}, "refused"}, "expired": {[]tls.Certificate{expired}, "refused"},
			"not yet valid": {[]tls.Certificate{early}, "refused"}, "a server's": {[]tls.Certificate{server}, "refused"},
			"without its key": {[]tls.Certificate{stolen}, "refused"},
		} {
			for _, h2 := range []bool{true, false} {
				transport := client(t, h2, nil)
				// A client leaves out what the server says it cannot use: this one shows its certificate all the same.
				transport.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (
					*tls.Certificate, error,
				) {
					if len(c.certs) == 0 {
						return new(tls.Certificate), nil
					}
					return &c.certs[0], nil
				}
				if got := told(transport, url); got != c.want {
					t.Errorf("required %v, HTTP/2 %v, %s: %s, want %s", required, h2, name, got, c.want)
				}
			}
		}
	}
}

// A kept connection is judged anew after a reload, on both protocols.
func TestKeptConnectionsAfterTheAuthorityHasChanged(t *testing.T) {
	t.Parallel()
	ours, next := newAuthority(t, "ours"), newAuthority(t, "next")
	pair := listentest.WritePair(t, "main.example", "127.0.0.1")
	for name, c := range map[string]struct {
		before, after listen.ClientAuth
		cert          bool
		want, fresh   string
	}{
		"another authority": {
			listen.ClientAuth{CAs: ours.pem},
			listen.ClientAuth{CAs: next.pem},
			true, "403 Forbidden",
			"nobody",
		},
		"one more authority": {
			listen.ClientAuth{CAs: ours.pem, Required: true},
			listen.ClientAuth{CAs: ours.pem + next.pem, Required: true},
			true, "orders", "orders",
		},
		"required now": {
			listen.ClientAuth{},
			listen.ClientAuth{CAs: ours.pem, Required: true},
			false, "403 Forbidden",
			"refused",
		},
		"optional now": {
			listen.ClientAuth{CAs: ours.pem, Required: true},
			listen.ClientAuth{CAs: ours.pem},
			true,
			"orders", "orders",
		},
		"no authority":        {listen.ClientAuth{CAs: ours.pem}, listen.ClientAuth{}, true, "403 Forbidden", "nobody"},
		"nothing has changed": {listen.ClientAuth{CAs: ours.pem}, listen.ClientAuth{CAs: ours.pem}, true, "orders", "orders"},
	} {
		for _, h2 := range []bool{true, false} {
			certs := mutual(t, pair, c.before)
			ls := start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", TLS: certs}}}, http.HandlerFunc(whose))
			url := "https://" + ls.Addr("main").String() + "/"
			var shown []tls.Certificate
			if c.cert {
				shown = append(shown, ours.issue(t, nil))
			}
			sessions := tls.NewLRUClientSessionCache(8)
			kept := client(t, h2, sessions, shown...)
			if first := told(kept, url); first == "refused" {
				t.Fatalf("%s: %s", name, first)
			}
			certs.Take(mutual(t, pair, c.after))
			if got := told(kept, url); got != c.want {
				t.Errorf("%s, HTTP/2 %v: kept: %s, want %s", name, h2, got, c.want)
			}
			// A session from before the reload does not carry the old verdict into a new connection.
			if got := told(client(t, h2, sessions, shown...), url); got != c.fresh {
				t.Errorf("%s, HTTP/2 %v: a new connection with an old session: %s, want %s", name, h2, got, c.fresh)
			}
		}
	}
}

// A session of one listener does not open another, whose authority is another one.
func TestSessionTicketsArePerListener(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	pair := listentest.WritePair(t, "main.example", "127.0.0.1")
	ls := start(t, listen.Options{Listeners: []listen.Listener{
		{Name: "ours", TLS: mutual(t, pair, listen.ClientAuth{CAs: ours.pem})},
		{Name: "again", TLS: mutual(t, pair, listen.ClientAuth{CAs: ours.pem})},
		{Name: "theirs", TLS: mutual(t, pair, listen.ClientAuth{CAs: theirs.pem})},
	}}, http.HandlerFunc(whose))
	sessions := tls.NewLRUClientSessionCache(8)
	ask := func(listener string, certs ...tls.Certificate) string {
		c := client(t, false, sessions, certs...)
		c.Transport.(*http.Transport).TLSClientConfig.ServerName = "main.example" // the cache's key
		answer, err := c.Get("https://" + ls.Addr(listener).String() + "/")
		if err != nil {
			return "refused"
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		c.CloseIdleConnections()
		return string(text)
	}
	cert := ours.issue(t, nil)
	if got := ask("ours", cert); got != "orders false" {
		t.Fatal(got)
	}
	if got := ask("ours"); got != "orders true" {
		t.Errorf("the same listener: %q, want a session that goes on", got)
	}
	if got := ask("theirs"); got != "nobody false" {
		t.Errorf("a listener with another authority: %q", got)
	}
	if got := ask("ours", cert); !strings.HasPrefix(got, "orders") {
		t.Fatal(got)
	}
	if got := ask("again"); got != "nobody false" {
		t.Errorf("another listener: %q", got)
	}
}
