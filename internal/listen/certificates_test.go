package listen_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// shown is the common name of the certificate that a client who asks for name gets.
func shown(t testing.TB, ls *listen.Listeners, name string) string {
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
	certs, err := listen.LoadCertificates([]listen.KeyPair{
		listentest.WritePair(t, "first.example"),
		listentest.WritePair(t, "b.example", "*.wild.example"), listentest.WritePair(t, "x.wild.example"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ls := start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", TLS: certs}}}, new(ledger))
	for name, want := range map[string]string{
		"first.example": "first.example", "B.example": "b.example", "y.wild.example": "b.example",
		"x.wild.example":   "x.wild.example",
		"y.y.wild.example": "first.example", "unknown.example": "first.example", "": "first.example",
	} {
		if got := shown(t, ls, name); got != want {
			t.Errorf("%q gets %s, want %s", name, got, want)
		}
	}
	if e := certs.Expiries(); len(e) != 3 || e[1].NotAfter.Year() != 2100 ||
		strings.Join(e[1].Names, " ") != "b.example *.wild.example" {
		t.Errorf("%v", e)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{})
	ls := start(t, o, new(ledger))
	_, err := tls.Dial("tcp", ls.Addr("main").String(), &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10,
		MaxVersion: tls.VersionTLS11,
	})
	if err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func TestCertificateFaults(t *testing.T) {
	t.Parallel()
	a, b := listentest.WritePair(t, "a.example"), listentest.WritePair(t, "b.example")
	for name, row := range map[string]struct {
		pairs []listen.KeyPair
		want  string
	}{
		"none": {nil, "tls: no certificate; set cert and key of at least one"},
		"another's key": {[]listen.KeyPair{a, {Cert: a.Cert, Key: b.Key}}, "tls: certificate " + a.Cert + " with key " +
			b.Key + ": tls: private key does not match public key"},
		"no such file": {[]listen.KeyPair{{Cert: a.Cert + "x", Key: a.Key}}, "tls: certificate " + a.Cert + "x with key " +
			a.Key + ": open " + a.Cert + "x: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := listen.LoadCertificates(row.pairs); err == nil || err.Error() != row.want {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
}

// Certificates change under load: no request fails, a bad pair changes nothing, a connection that is open stays.
func TestCertificateReloadUnderLoad(t *testing.T) {
	t.Parallel()
	o, certs := secure(t, listen.Limits{})
	ls := start(t, o, new(ledger))
	var stop atomic.Bool
	var g sync.WaitGroup
	for i := range 4 {
		keep, url := listentest.Client(t, i%2 == 0), "https://"+ls.Addr("main").String()
		g.Go(func() {
			for !stop.Load() {
				fresh := listentest.Client(t, i%2 == 0)
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
	a, b := listentest.WritePair(t, "a.example"), listentest.WritePair(t, "b.example")
	for i := range 50 {
		pair := []listen.KeyPair{a, b}[i%2]
		if err := certs.Replace([]listen.KeyPair{pair}); err != nil {
			t.Error(err)
		}
		if err := certs.Replace([]listen.KeyPair{{Cert: a.Cert, Key: b.Key}}); err == nil {
			t.Error("a bad pair was accepted")
		}
		if got, want := shown(t, ls, "any.example"), []string{"a.example", "b.example"}[i%2]; got != want {
			t.Errorf("shown %s, want %s", got, want)
		}
	}
	stop.Store(true)
	g.Wait()
}
