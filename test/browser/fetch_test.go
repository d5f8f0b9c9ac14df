package browser_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const clientSecret = "a-secret-of-the-script-that-is-long-enough"

const settings = `version: 1
listeners: [{address: "127.0.0.1:0", name: main, tls: {certificates: [{cert: cert.pem, key: key.pem}]}}]
admin: {listen: ""}
limits: {http2: %[4]s}
issuer:
  url: https://api.test
  keys: [{file: main.pem, create: true}]
  serve: {cors: {origins: [%[3]q]}}
  clients: [{id: page, secret: %[2]s, permissions: [{tenant: acme, actions: [READ]}]}]
routes:
  - path: "/t/{tenant}/"
    methods: [GET, PUT]
    require: {tenant_from: path.tenant, action: READ}
    upstream: %[1]q
    cors: {origins: [%[3]q]}
  - path: "/live/{tenant}/"
    require: {tenant_from: path.tenant, action: READ}
    upstream: %[1]q
    token_from: [ticket]
    cors: {origins: [%[3]q]}
`

// TestFetchAcrossOrigins: a script of one origin calls an API of another, and can tell why it is refused.
func TestFetchAcrossOrigins(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 16)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.Path
		_, _ = io.WriteString(w, r.Header.Get("X-Jotgate-Client"))
	}))
	t.Cleanup(backend.Close)
	origin := site(t, "app.test")
	folder := t.TempDir()
	certify(t, folder, "*.test")
	old := start(t, t.TempDir(), strings.ReplaceAll(fmt.Sprintf(settings, backend.URL, clientSecret, origin, "off"),
		"{cert: cert.pem, key: key.pem}", "{cert: "+folder+"/cert.pem, key: "+folder+"/key.pem}"))
	g := start(t, folder, fmt.Sprintf(settings, backend.URL, clientSecret, origin, "own"))
	play(t, "fetch.mjs", map[string]string{
		"old":  "https://api.test:" + old.port() + "/t/acme/orders",
		"page": origin, "stranger": site(t, "stranger.test"), "api": "https://api.test:" + g.port() + "/t/",
		"token":    g.token(t),
		"metadata": `resource_metadata="https://api.test/.well-known/oauth-protected-resource/api"`,
	}, "preflight and good call", "readable 401", "readable 403", "readable 405", "an origin that is not listed",
		"a ticket over h2", "20 of 20 early answers over h2", "20 of 20 early answers over http/1.1")
	close(asked)
	for have := range asked {
		if have != "PUT /t/acme/orders" && have != "GET /t/acme/orders" && have != "GET /live/acme/news" {
			t.Errorf("the app was asked %s", have)
		}
	}
}

var emptyPage = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!doctype html><title>a page</title><link rel=icon href=data:,>")
})

// site serves an empty page, by TLS, and returns its origin.
func site(t *testing.T, host string) (origin string) {
	t.Helper()
	server := httptest.NewUnstartedServer(emptyPage)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the browser looks at the certificate first, and comes again
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return "https://" + host + server.URL[strings.LastIndex(server.URL, ":"):]
}

// certify writes a self-signed certificate into the folder.
func certify(t *testing.T, folder string, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// token draws one for the client page.
func (g *gate) token(t *testing.T) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.Addr("main").String()+"/oauth2/token",
		strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("page", clientSecret)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var said struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || said.Token == "" {
		t.Fatalf("no token: %v %d", err, answer.StatusCode)
	}
	return said.Token
}
