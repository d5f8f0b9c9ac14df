package browser_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

const (
	consoleToken  = "an-admin-token-of-the-browser"
	consoleSecret = "a-client-secret-of-the-browser"
	wrongToken    = "not-the-token-of-this-gate"
)

// TestConsole: every page and action of the console, in a browser.
func TestConsole(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "fine")
	}))
	t.Cleanup(backend.Close)
	g := start(t, t.TempDir(), `version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", token: `+consoleToken+`}
revocations: {file: revoked}
issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}, {file: old.pem, create: true, state: retired}]
  clients: [{id: web, secret: `+consoleSecret+`, may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}], boss: [{tenant: "*", actions: ["*"]}]}
trusted_issuers:
  - {issuer: "http://127.0.0.1:1", audiences: [shop], permissions: [{tenant: acme, actions: [READ]}]}
routes:
  - {path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "`+backend.URL+`"}
  - {path: /open/, public: true, upstream: "`+backend.URL+`"}
watch: false
`)
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	gate := "http://" + g.Addr("main").String()
	refused := ask(t, gate+"/t/other/7?query=of-the-client", token)
	for _, path := range []string{"/t/acme/7", "/open/", "/nowhere", "/open/%3Cscript%3Ealert(1)%3C%2Fscript%3E"} {
		ask(t, gate+path, token)
	}
	secrets := []string{consoleToken, token, consoleSecret, wrongToken, "query=of-the-client"}
	made := filepath.Join(t.TempDir(), "made") // cookies and CSRF tokens, of which only the browser knows
	play(t, "console.mjs", map[string]any{
		"console": "http://" + g.AdminAddr().String(), "gate": gate, "token": consoleToken, "wrong": wrongToken,
		"refused": refused, "secrets": secrets, "made": made,
	}, "sign-in", "pages, light", "pages, dark", "pages, light, on a phone", "pages, dark, on a phone", "live",
		"filter and trace", "matrix", "revoke and undo", "inspect", "keyboard", "without a script", "sign-out")
	text, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, strings.Fields(string(text))...)
	if len(secrets) < 5+2*5 { // of each sign-in a cookie and a CSRF token
		t.Errorf("only %d secrets are known", len(secrets))
	}
	if err := g.Drain(t.Context()); err != nil { // and every access line is written
		t.Fatal(err)
	}
	log := g.log.String()
	for _, line := range []string{`"msg":"console_sign_in"`, `"reason":"tenant_denied"`, `"mallory"`} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %s", line)
		}
	}
	for _, secret := range secrets {
		if at := strings.Index(log, secret); at >= 0 {
			t.Errorf("the log has the secret %s: %s", secret, log[max(0, at-200):at+len(secret)])
		}
	}
}

// ask asks the gate with a token, and returns the id of the request.
func ask(t *testing.T, url, token string) (id string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.Header.Get("X-Request-Id")
}
