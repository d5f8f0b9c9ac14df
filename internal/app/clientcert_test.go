package app_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/listen/listentest"
)

const certificateClients = `clients:
    - {id: dns, tls_client_auth: {san_dns: orders.internal}, permissions: [{tenant: acme, actions: [READ]}], may: [introspect, revoke, exchange, issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}
    - {id: uri, tls_client_auth: {san_uri: "spiffe://test/orders"}, permissions: [{tenant: acme, actions: [READ]}]}
    - {id: dn, tls_client_auth: {subject_dn: "CN=orders,O=A %ö Co."}, permissions: [{tenant: acme, actions: [READ]}]}
    - {id: web, secret: 0123456789abcdefghijkl, may: [introspect, exchange], permissions: [{tenant: acme, actions: [READ]}], delegate: [{tenant: "*", actions: ["*"]}]}
`

// startCertificateClients runs a gate whose clients authenticate with certificates, by a clock that can be moved.
func startCertificateClients(t *testing.T) (g *gate, orders, others tls.Certificate, ahead *atomic.Int64) {
	t.Helper()
	pair := listentest.WritePair(t, "gate.test", "127.0.0.1")
	authority, orders, others := issuedWithNames(t)
	folder := t.TempDir()
	ca := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(ca, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	ahead = new(atomic.Int64)
	g = &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	g.clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	clients, _, _ := strings.Cut(settings[strings.Index(settings, "clients:"):], "\n")
	g.write("listen: 127.0.0.1:0\n", `listeners:
  - {name: main, address: "127.0.0.1:0"}
  - name: mtls
    address: "127.0.0.1:0"
    tls: {certificates: [{cert: `+pair.Cert+`, key: `+pair.Key+`}], client_ca: `+ca+`, client_auth: optional}
`, clients+"\n", certificateClients, "  url: https://gate.test\n", "  url: https://gate.test\n  token_ttl: 6h\n",
		"drain:", "revocations: {file: "+filepath.Join(folder, "revoked")+"}\ndrain:")
	g.run()
	return g, orders, others, ahead
}

// form posts a form; fields are names and values of the head.
func (g *gate) form(client *http.Client, to string, form url.Values, fields ...string) (int, map[string]any) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), "POST", to, strings.NewReader(form.Encode()))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	a, err := client.Do(r)
	if err != nil {
		return 0, nil
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	var body map[string]any
	if len(text) > 0 && json.Unmarshal(text, &body) != nil {
		g.t.Fatalf("%s: %d %s", to, a.StatusCode, text)
	}
	return a.StatusCode, body
}

// TestAClientAuthenticatesWithItsCertificate at every OAuth endpoint, and gets tokens that are good on its connections
// alone (RFC 8705 §2.1, §3); what only looks like its certificate is refused.
func TestAClientAuthenticatesWithItsCertificate(t *testing.T) {
	t.Parallel()
	g, orders, others, _ := startCertificateClients(t)
	_, stranger := issuedBy(t, "another authority")
	secure, clear := "https://"+g.Addr("mtls").String(), "http://"+g.Addr("main").String()
	none := mutualClient(t, false, tls.Certificate{})
	for _, h2 := range []bool{false, true} {
		own, other := mutualClient(t, h2, orders), mutualClient(t, h2, others)
		grant := func(id string) url.Values {
			return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}}
		}
		for _, c := range []struct {
			name   string
			client *http.Client
			at, id string
			want   int
			fields []string
		}{
			{"its DNS name", own, secure, "dns", 200, nil},
			{"its URI", own, secure, "uri", 200, nil},
			{"its subject", own, secure, "dn", 200, nil},
			{"another DNS name", other, secure, "dns", 401, nil},
			{"a DNS name that looks like its URI", other, secure, "uri", 401, nil},
			{"another subject", other, secure, "dn", 401, nil},
			{"no certificate", none, secure, "dns", 401, nil},
			{"no TLS", none, clear, "dns", 401, nil},
			{"a header", none, clear, "dns", 401, []string{
				"X-Jotgate-Cert-San", "DNS:orders.internal", "X-Forwarded-Client-Cert", "DNS=orders.internal",
				"X-SSL-Client-Verify", "SUCCESS", "X-SSL-Client-S-DN", "CN=orders", "Client-Cert", ":AAAA:",
			}},
			{"no such client", own, secure, "absent", 401, nil},
			{"a client with a secret, by a certificate", own, secure, "web", 401, nil},
		} {
			status, body := g.form(c.client, c.at+"/oauth2/token", grant(c.id), c.fields...)
			if status != c.want || status == 401 && body["error"] != "invalid_client" {
				t.Errorf("HTTP/2 %v: %s: %d %v, want %d", h2, c.name, status, body, c.want)
			}
		}
		foreign := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (
			*tls.Certificate, error,
		) {
			return &stranger, nil // whatever authorities the server names
		}}
		transport := &http.Transport{TLSClientConfig: foreign, ForceAttemptHTTP2: h2}
		t.Cleanup(transport.CloseIdleConnections)
		if status, _ := g.form(&http.Client{Transport: transport}, secure+"/oauth2/token", grant("dns")); status != 0 {
			t.Errorf("HTTP/2 %v: a certificate of another authority: %d, want the handshake refused", h2, status)
		}

		_, body := g.form(own, secure+"/oauth2/token", grant("dns"))
		bound, _ := body["access_token"].(string)
		for _, c := range []struct {
			name   string
			client *http.Client
			at     string
			want   int
		}{
			{"its connection", own, secure, 200},
			{"a thief's connection with a certificate", other, secure, 401},
			{"a thief's connection", none, secure, 401},
			{"a thief without TLS", none, clear, 401},
		} {
			if status, text := g.asking(c.client, c.at+"/t/acme/", bound); status != c.want {
				t.Errorf("HTTP/2 %v: the token on %s: %d %s, want %d", h2, c.name, status, text, c.want)
			}
		}
		thumbprint, _ := digestOf(orders)
		status, body := g.form(own, secure+"/oauth2/introspect", url.Values{"client_id": {"dns"}, "token": {bound}})
		if cnf, _ := body["cnf"].(map[string]any); status != 200 || body["active"] != true || cnf["x5t#S256"] != thumbprint {
			t.Errorf("HTTP/2 %v: introspection: %d %v", h2, status, body)
		}
		asked := url.Values{"client_id": {"dns"}, "token": {bound}}
		if status, _ = g.form(other, secure+"/oauth2/introspect", asked); status != 401 {
			t.Errorf("HTTP/2 %v: introspection by another certificate: %d, want 401", h2, status)
		}

		scoped := grant("dns")
		scoped.Set("scope", "introspect")
		_, body = g.form(own, secure+"/oauth2/token", scoped)
		manages, _ := body["access_token"].(string)
		asked.Del("client_id")
		status, body = g.form(own, secure+"/oauth2/introspect", asked, "Authorization", "Bearer "+manages)
		if status != 200 {
			t.Errorf("HTTP/2 %v: by its management token: %d %v", h2, status, body)
		}
		status, body = g.form(other, secure+"/oauth2/introspect", asked, "Authorization", "Bearer "+manages)
		if status != 401 {
			t.Errorf("HTTP/2 %v: by a stolen management token: %d %v, want 401", h2, status, body)
		}

		exchange := url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {bound},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "client_id": {"dns"},
		}
		if status, body = g.form(own, secure+"/oauth2/token", exchange); status != 200 {
			t.Errorf("HTTP/2 %v: exchanged by its holder: %d %v", h2, status, body)
		}
		exchanged, _ := body["access_token"].(string)
		if status, _ := g.asking(none, clear+"/t/acme/", exchanged); status != 401 {
			t.Errorf("HTTP/2 %v: what came out, elsewhere: %d, want 401", h2, status)
		}
		exchange.Set("client_id", "web")
		exchange.Set("client_secret", "0123456789abcdefghijkl")
		if status, body = g.form(none, clear+"/oauth2/token", exchange); status != 400 {
			t.Errorf("HTTP/2 %v: exchanged without the certificate: %d %v, want 400", h2, status, body)
		}

		status, body = g.form(own, secure+"/oauth2/revoke", url.Values{"client_id": {"dns"}, "token": {bound}})
		if status != 200 {
			t.Errorf("HTTP/2 %v: revocation: %d %v", h2, status, body)
		}
		if status, _ = g.asking(own, secure+"/t/acme/", bound); status != 401 {
			t.Errorf("HTTP/2 %v: the revoked token: %d, want 401", h2, status)
		}
	}
	a, err := http.Get(clear + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var metadata struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Bound   bool     `json:"tls_client_certificate_bound_access_tokens"`
	}
	if err := json.NewDecoder(a.Body).Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	if !metadata.Bound || !slices.Contains(metadata.Methods, "tls_client_auth") {
		t.Errorf("metadata: %+v", metadata)
	}
}

// TestAnExpiredCertificateOnAKeptConnection ends with its last moment: for routes, tokens and the token endpoint.
func TestAnExpiredCertificateOnAKeptConnection(t *testing.T) {
	t.Parallel()
	g, orders, _, ahead := startCertificateClients(t)
	own, secure := mutualClient(t, true, orders), "https://"+g.Addr("mtls").String()
	grant := url.Values{"grant_type": {"client_credentials"}, "client_id": {"dns"}}
	status, body := g.form(own, secure+"/oauth2/token", grant)
	bound, _ := body["access_token"].(string)
	if status != 200 {
		t.Fatalf("%d %v", status, body)
	}
	if status, text := g.asking(own, secure+"/t/acme/", bound); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	ahead.Store(int64(2 * time.Hour)) // the certificate is good for one
	if status, text := g.asking(own, secure+"/t/acme/", bound); status != 401 || strings.Contains(text, "X-Jotgate-Cert") {
		t.Errorf("a token that is bound to it: %d %s, want 401", status, text)
	}
	g.eventually(`"reason":"token_cert_mismatch"`)
	if status, body := g.form(own, secure+"/oauth2/token", grant); status != 401 || body["error"] != "invalid_client" {
		t.Errorf("the token endpoint: %d %v, want 401", status, body)
	}
	if status, text := g.asking(own, secure+"/open/", ""); status != 200 || strings.Contains(text, "X-Jotgate-Cert") {
		t.Errorf("a public route: %d, and the app is told %s", status, text)
	}
}
