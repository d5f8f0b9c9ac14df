package app_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/listen/listentest"
	"github.com/jotgate/jotgate/issuer"
)

// digestOf is a certificate's SHA-256, as x5t#S256 and as the app is told it.
func digestOf(c tls.Certificate) (thumbprint, hexadecimal string) {
	sum := sha256.Sum256(c.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(sum[:]), hex.EncodeToString(sum[:])
}

// boundTo is the gate's own token for alice on acme, bound to a certificate.
func (g *gate) boundTo(thumbprint string) string {
	g.t.Helper()
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		g.t.Fatal(err)
	}
	_, claims, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	bound := *claims
	bound.Cert = thumbprint
	signed, err := g.Config().Issuer.Keys[0].Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &bound))
	if err != nil {
		g.t.Fatal(err)
	}
	return signed
}

// startMutual runs a gate with a TLS listener that verifies certificates where they are shown, and a plain one.
func startMutual(t *testing.T) (g *gate, certs map[string]tls.Certificate) {
	t.Helper()
	pair := listentest.WritePair(t, "gate.test", "127.0.0.1")
	authority, orders, others := issuedWithNames(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	g = startGate(t, "listen: 127.0.0.1:0\n", `listeners:
  - {name: main, address: "127.0.0.1:0"}
  - name: mtls
    address: "127.0.0.1:0"
    tls: {certificates: [{cert: `+pair.Cert+`, key: `+pair.Key+`}], client_ca: `+ca+`, client_auth: optional}
`, "  - {path: /open/, public: true, upstream: \"$APP\"}\n", `  - {path: /open/, public: true, upstream: "$APP"}
  - {path: /internal/, require: {client_cert: {san: [orders.internal, "spiffe://test/orders"]}}, upstream: "$APP"}
  - {path: /uri/, require: {client_cert: {san: ["spiffe://test/orders"]}}, upstream: "$APP"}
`, "drain:", "decision: {listen: \"127.0.0.1:0\"}\ndrain:", "may: [issue_codes]", "may: [issue_codes, introspect]")
	return g, map[string]tls.Certificate{"orders": orders, "others": others}
}

// mutualClient is one with a certificate, unless that is empty.
func mutualClient(t *testing.T, h2 bool, cert tls.Certificate) *http.Client {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if cert.Certificate != nil {
		config.Certificates = []tls.Certificate{cert}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func (g *gate) asking(client *http.Client, url, bearer string, fields ...string) (status int, body string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), "GET", url, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header[fields[i]] = []string{fields[i+1]}
	}
	a, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	all, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return a.StatusCode, string(all)
}

// TestATokenBoundToACertificate opens only on a connection with it (RFC 8705 §3), over both versions of HTTP; the
// routes' own demand is judged beside it.
func TestATokenBoundToACertificate(t *testing.T) {
	t.Parallel()
	g, certs := startMutual(t)
	thumbprint, _ := digestOf(certs["orders"])
	bound, plain := g.boundTo(thumbprint), g.token("acme")
	secure, clear := "https://"+g.Addr("mtls").String(), "http://"+g.Addr("main").String()
	for _, h2 := range []bool{false, true} {
		clients := map[string]*http.Client{"": mutualClient(t, h2, tls.Certificate{})}
		for name, cert := range certs {
			clients[name] = mutualClient(t, h2, cert)
		}
		for _, c := range []struct {
			name, cert, url, bearer string
			want                    int
		}{
			{"its certificate", "orders", secure + "/t/acme/", bound, 200},
			{"its certificate, from the cache", "orders", secure + "/t/acme/", bound, 200},
			{"another certificate", "others", secure + "/t/acme/", bound, 401},
			{"no certificate", "", secure + "/t/acme/", bound, 401},
			{"no TLS", "", clear + "/t/acme/", bound, 401},
			{"its certificate again", "orders", secure + "/t/acme/", bound, 200},
			{"its certificate, another tenant", "orders", secure + "/t/globex/", bound, 403},
			{"a plain token, a certificate", "others", secure + "/t/acme/", plain, 200},
			{"a name that the route asks for", "orders", secure + "/internal/", plain, 200},
			{"… and no token", "orders", secure + "/internal/", "", 401},
			{"… over a plain listener", "", clear + "/internal/", plain, 403},
			{"… without a certificate", "", secure + "/internal/", plain, 403},
			{"another name", "others", secure + "/internal/", plain, 403},
			{"a URI", "orders", secure + "/uri/", bound, 200},
			{"a DNS name like the URI", "others", secure + "/uri/", plain, 403},
		} {
			if got, body := g.asking(clients[c.cert], c.url, c.bearer); got != c.want {
				t.Errorf("HTTP/2 %v: %s: %d %s, want %d", h2, c.name, got, body, c.want)
			}
		}
	}
	g.eventually(`"reason":"token_cert_mismatch"`)
	g.eventually(`"reason":"client_cert_denied"`)
}

// TestOnlyTheHandshakeTellsOfACertificate: what a client says of its certificate never reaches the app, in no spelling,
// on no route and on no listener; what the handshake has verified does.
func TestOnlyTheHandshakeTellsOfACertificate(t *testing.T) {
	t.Parallel()
	g, certs := startMutual(t)
	_, sum := digestOf(certs["orders"])
	bearer := g.token("acme")
	forged := []string{
		"X-Jotgate-Cert-Subject", "CN=forged", "X-Jotgate-Cert-San", "DNS:forged", "X-Jotgate-Cert-Sha256", "forged",
		"x-jotgate-cert-san", "forged", "X_Jotgate_Cert_San", "forged", "X-Jotgate_Cert.Sha256", "forged",
	}
	for _, h2 := range []bool{false, true} {
		for _, path := range []string{"/open/", "/t/acme/"} {
			for _, scheme := range []string{"http", "https"} {
				url := "http://" + g.Addr("main").String() + path
				if scheme == "https" {
					url = "https://" + g.Addr("mtls").String() + path
				}
				fields := forged
				if h2 && scheme == "https" {
					fields = forged[:6] // a client of HTTP/2 writes each name once, in lower case
				}
				status, body := g.asking(mutualClient(t, h2, tls.Certificate{}), url, bearer, fields...)
				if status != 200 || strings.Contains(body, "forged") || strings.Contains(body, "Cert") {
					t.Errorf("HTTP/2 %v: %s: %d\n%s", h2, url, status, body)
				}
				if scheme == "http" {
					continue
				}
				status, body = g.asking(mutualClient(t, h2, certs["orders"]), url, bearer, fields...)
				if status != 200 || strings.Contains(body, "forged") {
					t.Errorf("HTTP/2 %v: %s: %d\n%s", h2, url, status, body)
				}
				for _, want := range []string{
					"X-Jotgate-Cert-Subject: CN=orders,O=A %25%C3%B6 Co.\r\n",
					"X-Jotgate-Cert-San: DNS:orders.internal, URI:spiffe://test/orders, URI:urn:a%2Cb, IP:192.0.2.1\r\n",
					"X-Jotgate-Cert-Sha256: " + sum + "\r\n",
				} {
					if !strings.Contains(body, want) {
						t.Errorf("HTTP/2 %v: %s: no %q in\n%s", h2, url, want, body)
					}
				}
			}
		}
	}
}

// TestADecisionHasNoCertificate: the question's connection is the front's, so that a bound token opens nothing.
func TestADecisionHasNoCertificate(t *testing.T) {
	t.Parallel()
	g, certs := startMutual(t)
	thumbprint, _ := digestOf(certs["orders"])
	ask := func(bearer string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.DecisionAddr().String()+"/traefik", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Method": "GET", "Proto": "https", "Host": "app.test", "Uri": "/t/acme/", "For": "192.0.2.7",
		} {
			r.Header.Set("X-Forwarded-"+name, value)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		r.Header.Set("X-Jotgate-Cert-Sha256", thumbprint)
		return g.answer(r)
	}
	if a := ask(g.boundTo(thumbprint)); a.StatusCode != 401 {
		t.Errorf("bound to a certificate: %d, want 401", a.StatusCode)
	}
	a := ask(g.token("acme"))
	if values := a.Header.Values("X-Jotgate-Cert-Sha256"); a.StatusCode != 200 || len(values) != 1 || values[0] != "" {
		t.Errorf("%d, told %q, want it empty", a.StatusCode, values)
	}
}

// TestBoundToACertificateAtTheEndpoints: introspection tells of the binding (RFC 8705 §3.2), so that such a token does
// not pass for a plain bearer.
func TestBoundToACertificateAtTheEndpoints(t *testing.T) {
	t.Parallel()
	g, certs := startMutual(t)
	thumbprint, _ := digestOf(certs["orders"])
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, claims, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, cert := range []string{"", thumbprint} {
		bound := *claims
		bound.Cert = cert
		signed, err := g.Config().Issuer.Keys[0].Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &bound))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.Addr("main").String()+"/oauth2/introspect",
			strings.NewReader("token="+signed))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "gate.test"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("web", "0123456789abcdefghijkl")
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		if _ = a.Body.Close(); err != nil {
			t.Fatal(err)
		}
		told := strings.Contains(string(body), `"cnf":{"x5t#S256":"`+cert+`"}`)
		if active := strings.Contains(string(body), `"active":true`); !active || told != (cert != "") {
			t.Errorf("bound to %q: introspection says %d %s", cert, a.StatusCode, body)
		}
	}
}

// TestACertificateThatIsAskedForNoMoreWidens: a reload that is not to widen may add the demand, and neither loosen it
// nor drop it.
func TestACertificateThatIsAskedForNoMoreWidens(t *testing.T) {
	t.Parallel()
	edits := func(more string) []string {
		return []string{
			"watch: false\n", "watch: false\nreload: {deny_widening: true}\n",
			"action: READ}, upstream", "action: READ" + more + "}, upstream",
		}
	}
	const one, two = ", client_cert: {san: [a.internal]}", ", client_cert: {san: [a.internal, b.internal]}"
	g := startGate(t, edits("")...)
	for _, step := range []struct{ more, opens string }{
		{two, ""},
		{one, ""},
		{two, "routes[/t/{tenant}/].require.client_cert.san: b.internal"},
		{"", "routes[/t/{tenant}/].require.client_cert.san: any"},
		{one, ""},
	} {
		g.write(edits(step.more)...)
		err := g.Reload()
		if step.opens == "" && err != nil || step.opens != "" && (err == nil || !strings.Contains(err.Error(), step.opens)) {
			t.Errorf("to %q: %v, want %q", step.more, err, step.opens)
		}
	}
	if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+g.token("acme")); status != 403 {
		t.Errorf("status %d, want 403", status)
	}
}
