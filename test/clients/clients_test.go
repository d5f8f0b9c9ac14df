// Package clients_test plays real OAuth clients, unmodified, against a gate: oauth4webapi, openid-client and jose from
// npm in Node.js (clients.mjs), and golang.org/x/oauth2. Each client's own validator has to accept our tokens.
package clients_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
)

const clientSecret = "a/web+client:secret%of=30&bytes"

const settings = `version: 1
listen: %[1]s
admin: {listen: ""}
issuer:
  url: http://%[1]s
  keys: [{file: main.pem, create: true}]
  clients:
    - id: web
      secret: %[2]q
      may: [issue_codes, exchange, introspect]
      permissions: [{tenant: acme, actions: [READ]}]
      delegate: [{tenant: "*", actions: [READ]}]
    - {id: spa, public: true}
    - {id: mobile, public: true, dpop: required}
    - {id: signer, keys: [{file: signer.json}], permissions: [{tenant: acme, actions: [READ]}]}
dpop: {require_nonce: %[4]t}
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
revocations: {file: revoked}
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: %[3]q}]
`

// A world is a running gate, and the private key of its client signer.
type world struct {
	issuer string
	jwk    map[string]string
	nonce  bool // every DPoP proof must have one
}

func newWorld(t *testing.T, requireNonce bool) world {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = io.WriteString(w, "the app")
	}))
	t.Cleanup(backend.Close)
	// The issuer's URL has the port, so it must be known before the gate listens.
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := reserved.Addr().String()
	if err := reserved.Close(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	w := world{issuer: "http://" + address, nonce: requireNonce}
	var public []byte
	public, w.jwk = newSigner(t)
	for name, data := range map[string][]byte{
		"signer.json": public,
		"gate.yaml":   fmt.Appendf(nil, settings, address, clientSecret, backend.URL, requireNonce),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := keyfile.Load(filepath.Join(folder, "gate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(io.Discard, "error", false)
	if err != nil {
		t.Fatal(err)
	}
	// A new process refuses assertions of its first second; this one began a while ago.
	var behind atomic.Int64
	behind.Store(int64(time.Minute))
	clock := func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) }
	s, err := app.New(app.Options{Config: c, Log: log, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	behind.Store(0)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); _ = log.Close() })
	return w
}

// newSigner makes a key: the set of its public half, and all of it as a JWK.
func newSigner(t *testing.T) (public []byte, private map[string]string) {
	t.Helper()
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewKeySet(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := parsed.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var published struct{ Keys []map[string]string }
	if err := json.Unmarshal(set.JWKS(), &published); err != nil {
		t.Fatal(err)
	}
	private = published.Keys[0]
	private["d"] = base64.RawURLEncoding.EncodeToString(raw)
	delete(private, "use")
	return set.JWKS(), private
}

// installed runs npm ci once, with the versions and digests of package-lock.json.
var installed = sync.OnceValue(func() error {
	if done, err := os.Stat("node_modules/.package-lock.json"); err == nil {
		if lock, err := os.Stat("package-lock.json"); err == nil && !done.ModTime().Before(lock.ModTime()) {
			return nil
		}
	}
	if out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci (scripts/deps installs npm): %w\n%s", err, out)
	}
	return nil
})

// TestClientsOfNPM: oauth4webapi, openid-client and jose.
func TestClientsOfNPM(t *testing.T) {
	t.Parallel()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, false)
	w.play(t, "clients.mjs", 11)
}

// TestDPoPClientsOfNPM: oauth4webapi and openid-client with DPoP (RFC 9449), with and without nonces.
func TestDPoPClientsOfNPM(t *testing.T) {
	t.Parallel()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	for name, requireNonce := range map[string]bool{"no nonce": false, "nonces": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, requireNonce).play(t, "dpop.mjs", 6)
		})
	}
}

// play runs a script, which prints a line for each of its steps.
func (w world) play(t *testing.T, script string, steps int) {
	t.Helper()
	given, err := json.Marshal(map[string]any{
		"issuer": w.issuer, "resource": w.issuer + "/api", "route": w.issuer + "/t/acme/", "secret": clientSecret,
		"jwk": w.jwk, "nonce": w.nonce,
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", script, string(given)).CombinedOutput()
	if err != nil || strings.Count(string(out), "ok ") != steps {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestGoOAuth2 is golang.org/x/oauth2, which tries the ways of client authentication by itself.
func TestGoOAuth2(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	endpoint := oauth2.Endpoint{TokenURL: w.issuer + "/oauth2/token"}
	for name, style := range map[string]oauth2.AuthStyle{
		"detected": oauth2.AuthStyleAutoDetect,
		"header":   oauth2.AuthStyleInHeader, "params": oauth2.AuthStyleInParams,
	} {
		c := clientcredentials.Config{
			ClientID: "web", ClientSecret: clientSecret, TokenURL: endpoint.TokenURL,
			AuthStyle: style,
		}
		answer, err := c.Client(t.Context()).Get(w.issuer + "/t/acme/")
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%s: %v %v", name, err, answer)
		}
		answer.Body.Close()
	}
	verifier := oauth2.GenerateVerifier()
	code := func() string { return w.code(t, oauth2.S256ChallengeFromVerifier(verifier)) }
	spa := oauth2.Config{ClientID: "spa", Endpoint: endpoint, RedirectURL: "https://app.test/callback"}
	token, err := spa.Exchange(t.Context(), code(), oauth2.VerifierOption(verifier))
	if err != nil || token.TokenType != "Bearer" || time.Until(token.Expiry) > time.Hour {
		t.Fatalf("%v %v", err, token)
	}
	answer, err := spa.Client(t.Context(), token).Get(w.issuer + "/t/acme/")
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("%v %v", err, answer)
	}
	answer.Body.Close()
	_, err = spa.Exchange(context.WithoutCancel(t.Context()), code(), oauth2.VerifierOption(oauth2.GenerateVerifier()))
	if refused, ok := err.(*oauth2.RetrieveError); !ok || refused.ErrorCode != "invalid_grant" {
		t.Errorf("another verifier: %v", err)
	}
}

// code asks for a code of spa's, as the backend that has logged its user in.
func (w world) code(t *testing.T, challenge string) string {
	t.Helper()
	c := clientcredentials.Config{
		ClientID: "web", ClientSecret: clientSecret, TokenURL: w.issuer + "/oauth2/token",
		Scopes: []string{"issue_codes"},
	}
	body := fmt.Sprintf(`{"subject":"alice","role":"reader","tenant":"acme","client_id":"spa","code_challenge":%q,"code_challenge_method":"S256"}`, challenge)
	answer, err := c.Client(t.Context()).Post(w.issuer+"/api/v1/authorization-codes", "application/json",
		strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var said struct {
		Code string `json:"authorization_code"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || said.Code == "" {
		t.Fatalf("%v %d", err, answer.StatusCode)
	}
	return said.Code
}
