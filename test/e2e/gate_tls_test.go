package e2e_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// shown is the serial number of the certificate that a client is shown who asks for a name.
func shown(t *testing.T, address, name string) int64 {
	t.Helper()
	// Which certificate it is, not whether to trust it, is asked here.
	c, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// A certificate is renewed twenty times, and every other time the new files do not fit together, while clients go on
// asking and connecting.
func TestACertificateChangeUnderLoadLosesNoRequest(t *testing.T) {
	t.Parallel()
	book := openLedger(t)
	g := &gate{folder: t.TempDir()}
	authorities, renewal := x509.NewCertPool(), &gate{folder: t.TempDir()}
	const renewals = 20
	// The clients trust all that are to come: an authority cannot be added while they check.
	chains := make([][2]string, renewals+1)
	for i := range chains {
		certificate(t, renewal.folder, "new", int64(i), "gate.test")
		chains[i] = [2]string{renewal.read(t, "new.pem"), renewal.read(t, "new.key")}
		authorities.AppendCertsFromPEM([]byte(chains[i][0]))
	}
	install := func(certificate, key int) {
		writeFile(t, g.folder+"/a.pem", []byte(chains[certificate][0]))
		writeFile(t, g.folder+"/a.key", []byte(chains[key][1]))
	}
	install(0, 0)
	g.configure(t, fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0", tls: {certificates: [{cert: a.pem, key: a.key}]}}]
admin: {listen: ""}
log: {access: false}
routes: [{path: /open/, public: true, upstream: %q}]
`, book.url()))
	g.serve(t)
	address := g.at(t, "main")
	clients := &load{path: "/open/", host: "gate.test", renew: 20, dial: func() (net.Conn, error) {
		return tls.Dial("tcp", address, &tls.Config{RootCAs: authorities, ServerName: "gate.test"})
	}}
	clients.run(t, 2000, func() {
		for i := 1; i <= renewals; i++ {
			install(i, i-1)
			g.signal(t, syscall.SIGHUP)
			// the watch may see to it, too
			g.count(t, g.stderr, `"msg":"reload refused: the configuration in force stays","by":"operator"`, i)
			if n := shown(t, address, "gate.test"); n != int64(i-1) {
				t.Errorf("with files that do not fit: certificate %d, want the old one, %d", n, i-1)
			}
			install(i, i)
			g.signal(t, syscall.SIGHUP)
			g.count(t, g.stderr, `"msg":"reloaded","by":"operator"`, i)
			if n := shown(t, address, "gate.test"); n != int64(i) {
				t.Errorf("renewed: certificate %d, want %d", n, i)
			}
		}
	})
	clients.settle(t, book)
}

// Several listeners, each with its own certificates, one that redirects, and one config for all.
func TestListenersSideBySide(t *testing.T) {
	t.Parallel()
	book := openLedger(t)
	g := &gate{folder: t.TempDir()}
	certificate(t, g.folder, "shop", 11, "shop.test")
	certificate(t, g.folder, "wild", 12, "*.tenants.test")
	certificate(t, g.folder, "other", 13, "other.test")
	secure := freeAddress(t)
	g.configure(t, fmt.Sprintf(`version: 1
listeners:
  - {name: edge, address: %q, tls: {certificates: [{cert: shop.pem, key: shop.key}, {cert: wild.pem, key: wild.key}]}}
  - {name: other, address: "127.0.0.1:0", tls: {certificates: [{cert: other.pem, key: other.key}]}}
  - {name: inside, address: "127.0.0.1:0"}
  - {name: redirect, address: "127.0.0.1:0", redirect: https}
admin: {listen: ""}
routes: [{path: /open/, public: true, upstream: %q}]
`, secure, book.url()))
	g.serve(t)
	for _, c := range []struct {
		listener, name string
		serial         int64
	}{
		{"edge", "shop.test", 11},
		{"edge", "SHOP.test", 11},
		{"edge", "acme.tenants.test", 12},
		{"edge", "a.b.tenants.test", 11}, // a wildcard stands for one label: the default
		{"edge", "nobody.test", 11},
		{"edge", "", 11},
		{"other", "other.test", 13},
		{"other", "shop.test", 13},
	} {
		if n := shown(t, g.at(t, c.listener), c.name); n != c.serial {
			t.Errorf("%s, asked for %q: certificate %d, want %d", c.listener, c.name, n, c.serial)
		}
	}
	if err := askOnce(g.at(t, "inside")); err != nil {
		t.Error(err)
	}
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(book.account())
	for _, c := range []struct {
		name, request string
		status        int
		location      string
	}{
		{"a page", "GET /open/1?x=%2f HTTP/1.1\r\nHost: shop.test\r\n\r\n", 308, "https://shop.test:" + port +
			"/open/1?x=%2f"},
		{"another port", "GET / HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n", 308, "https://shop.test:" + port + "/"},
		{"an address", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 308, "https://[::1]:" + port + "/"},
		{"a form", "POST /open/1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello", 308, "https://shop.test:" +
			port + "/open/1"},
		{
			"two slashes, which would be a host", "GET //evil.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n", 308,
			"https://shop.test:" + port + "//evil.test/",
		},
		{"a host that is none", "GET / HTTP/1.1\r\nHost: shop.test/evil\r\n\r\n", 400, ""},
		{"a user before the host", "GET / HTTP/1.1\r\nHost: shop.test@evil.test\r\n\r\n", 400, ""},
		{"a header in the target", "GET /\rSet-Cookie:x HTTP/1.1\r\nHost: shop.test\r\n\r\n", 400, ""},
		{"everything", "OPTIONS * HTTP/1.1\r\nHost: shop.test\r\n\r\n", 405, ""},
	} {
		status, header := exchange(t, g.at(t, "redirect"), c.request)
		if status != c.status || header.Get("Location") != c.location {
			t.Errorf("%s: %d to %q, want %d to %q", c.name, status, header.Get("Location"), c.status, c.location)
		}
	}
	if !maps.Equal(before, book.account()) {
		t.Error("the app saw a request that was redirected")
	}
}

// exchange sends bytes as they are and reads the head of one answer.
func exchange(t *testing.T, address, request string) (int, http.Header) {
	t.Helper()
	c := dial(t, address, nil)
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s: %v", strings.SplitN(request, "\r\n", 2)[0], err)
	}
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header
}
