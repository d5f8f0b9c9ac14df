package issuers_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startProvider runs oidc-provider and returns its issuer.
func startProvider(t *testing.T) string {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	return firstLine(t, "provider.mjs")
}

// firstLine runs a program of Node's until the test ends, and returns what it says first.
func firstLine(t *testing.T, args ...string) string {
	t.Helper()
	line, err := bufio.NewReader(start(t, ".", "node", args...)).ReadString('\n')
	if err != nil {
		t.Fatalf("%s does not start: %v", args[0], err)
	}
	return strings.TrimSpace(line)
}

// TestProvidersLogout: a session that ends at oidc-provider ends at the gate before oidc-provider has its answer; what
// is issued later counts. Without a sid, all tokens of the subject end. What the session's token was exchanged for ends
// with it.
func TestProvidersLogout(t *testing.T) {
	t.Parallel()
	provider := startProvider(t)
	app := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(app.Close)
	address := freeAddress(t)
	g := run(t, `version: 1
listen: `+address+`
admin: {listen: ""}
issuer:
  url: http://`+address+`
  keys: [{file: main.pem, create: true}]
  clients:
    - {id: orders, secret: 0123456789abcdefghijkl, may: [exchange], delegate: [{tenant: acme, actions: [READ]}]}
revocations: {file: "`+filepath.Join(t.TempDir(), "revoked")+`"}
trusted_issuers:
  - {issuer: "`+provider+`", audiences: ["`+audience+`"], logout_audiences: [warehouse], exchange: true,
     permissions: [{tenant: acme, actions: [READ]}]}
routes: [{path: /t/, require: authenticated, upstream: "`+app.URL+`"}]
`)
	uri := url.QueryEscape("http://" + g.Addr("main").String() + "/oauth2/backchannel-logout")
	for _, query := range []string{"uri=" + uri + "&sid=a-session", "uri=" + uri} {
		bearer := grant(t, provider, audience)
		g.want("before", "acme", bearer, "404")
		status, ours, _ := exchangeOf(t, address, bearer, "access_token")
		if status != http.StatusOK {
			t.Fatalf("exchanged: %d", status)
		}
		if _, body := ask(t, provider+"/test/logout?uri="+uri+"&sid=another", nil); body != "told" {
			t.Fatalf("another session's logout: %s", body)
		}
		g.want("after another session's logout", "acme", bearer, "404")
		g.want("what it was exchanged for", "acme", ours, "404")
		if _, body := ask(t, provider+"/test/logout?"+query, nil); body != "told" {
			t.Fatalf("the logout: %s", body)
		}
		g.want("after the logout", "acme", bearer, "401")
		g.want("what it was exchanged for, after the logout", "acme", ours, "401")
		if status, _, _ := exchangeOf(t, address, bearer, "access_token"); status != http.StatusBadRequest {
			t.Errorf("exchanged after the logout: %d", status)
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // iat is in whole seconds
	}
	g.want("a later token", "acme", grant(t, provider, audience), "404")
}
