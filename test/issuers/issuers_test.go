// Package issuers_test runs the gate before issuers that others wrote: a certified OpenID provider, nginx that serves a
// key set, and a second Jotgate.
package issuers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/issuer"
)

const audience = "https://api.shop.example"

// A gate trusts one issuer, and has an app behind it that says who is asking.
type gate struct {
	*app.Gate
	t *testing.T
}

// startGate runs a gate with an entry of trusted_issuers, for the usual audience and others.
func startGate(t *testing.T, entry string, audiences ...string) *gate {
	t.Helper()
	return run(t, `version: 1
listen: 127.0.0.1:0
admin: {listen: ""}
roles: {reader: [{tenant: acme, actions: [READ]}]}
trusted_issuers:
  - {`+entry+`, audiences: ["`+strings.Join(append(audiences, audience), `", "`)+`"]}
routes:
  - {path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "`+startApp(t)+`"}
`)
}

// startApp runs the app.
func startApp(t *testing.T) string {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("X-Jotgate-Subject"), " from ", r.Header.Get("X-Jotgate-Client"))
	}))
	t.Cleanup(backend.Close)
	return backend.URL
}

func run(t *testing.T, settings string) *gate {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := keyfile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(io.Discard, "info", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	s, err := app.New(app.Options{Config: c, ConfigPath: file, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return &gate{s, t}
}

// get asks for a tenant's page and gives the status, and the body of a 200.
func (g *gate) get(tenant, bearer string) string {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+g.Addr("main").String()+"/t/"+tenant+"/",
		nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	status, body := do(g.t, r)
	if status != http.StatusOK {
		return fmt.Sprint(status)
	}
	return "200 " + body
}

func do(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

func (g *gate) want(what, tenant, bearer, want string) {
	g.t.Helper()
	if have := g.get(tenant, bearer); have != want {
		g.t.Errorf("%s: have %q, want %q; keys %+v", what, have, want, g.KeySets())
	}
}

// freeAddress is one of this machine's without a listener just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a program of another until the test ends.
func start(t *testing.T, dir, name string, args ...string) (out io.Reader) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath(filepath.Join("/usr/sbin", name)); err != nil {
			t.Fatalf("%s is needed for this test; scripts/deps installs it: %v", name, err)
		}
	}
	c := exec.Command(path, args...)
	c.Dir, c.Stderr = dir, t.Output()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if out, err = c.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait() // how it ends says nothing
	})
	return out
}

// installed runs npm ci once, with the versions and digests of package-lock.json.
var installed = sync.OnceValue(func() error {
	if lock, err := os.Stat("package-lock.json"); err == nil {
		if done, err := os.Stat("node_modules/.package-lock.json"); err == nil && !done.ModTime().Before(lock.ModTime()) {
			return nil
		}
	}
	out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci (scripts/deps installs npm): %w\n%s", err, out)
	}
	return nil
})

// TestCertifiedProvider: tokens of oidc-provider, whose keys are found by discovery.
func TestCertifiedProvider(t *testing.T) {
	t.Parallel()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(start(t, ".", "node", "provider.mjs"))
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("the provider does not start: %v", err)
	}
	provider := strings.TrimSpace(line)
	entry := `issuer: "` + provider +
		`", roles: {from: realm.roles, map: {auditor: reader}}, permissions: [{tenant: acme, actions: ["*"]}]`
	g := startGate(t, entry)
	bearer := grant(t, provider, audience)
	g.want("its access token", "acme", bearer, "200 warehouse from warehouse")
	g.want("the same from the cache", "acme", bearer, "200 warehouse from warehouse")
	g.want("another tenant", "other", bearer, "403")
	own := startGate(t, strings.Replace(entry,
		"roles: {from: realm.roles, map: {auditor: reader}}, permissions: [{tenant: acme",
		`tenants: {from: organization}, actions: {from: scope, map: {read: READ}}, permissions: [{tenant: "*"`, 1))
	own.want("its own organization", "acme", bearer, "200 warehouse from warehouse")
	own.want("another organization", "other", bearer, "403")
	moved := startGate(t, strings.Replace(entry,
		"roles: {from: realm.roles, map: {auditor: reader}}, permissions: [{tenant: acme",
		`tenants: {from: organization, map: {acme: other}}, actions: {from: scope, map: {read: READ}}, permissions: `+
			`[{tenant: "*"`, 1))
	moved.want("its organization, which is another tenant here", "other", bearer, "200 warehouse from warehouse")
	moved.want("the name that it has there", "acme", bearer, "403")
	g.want("another audience", "acme", grant(t, provider, "https://another.example"), "401")
	g.want("changed by one letter", "acme", bearer[:len(bearer)-10]+flip(bearer[len(bearer)-10:]), "401")

	status, idToken := ask(t, provider+"/test/id_token", nil)
	if status != http.StatusOK {
		t.Fatalf("id_token: %d %s", status, idToken)
	}
	g.want("its id_token", "acme", idToken, "401")
	anything := startGate(t, strings.Replace(entry, "roles:", "token_types: [JWT, at+jwt], roles:", 1), "warehouse")
	anything.want("its access token", "acme", bearer, "200 warehouse from warehouse")
	anything.want("its id_token, where typ JWT is trusted", "acme", idToken, "401")
}

// grant asks for a token as a client does.
func grant(t *testing.T, provider, resource string) string {
	t.Helper()
	status, body := ask(t, provider+"/token", url.Values{
		"grant_type": {"client_credentials"}, "scope": {"read"}, "resource": {resource},
		"client_id": {"warehouse"}, "client_secret": {"a-secret-of-this-test-alone"},
	})
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.Token == "" {
		t.Fatalf("no token: %d %s", status, body)
	}
	return answer.Token
}

func ask(t *testing.T, address string, form url.Values) (int, string) {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return do(t, r)
}

// flip changes the first letter.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// TestKeySetServedByNginx: rotated, broken and gone, while the gate runs.
func TestKeySetServedByNginx(t *testing.T) {
	t.Parallel()
	dir, address := t.TempDir(), freeAddress(t)
	user := "" // nginx's workers would be another user, who may not read the test's files
	if os.Getuid() == 0 {
		user = "user root; "
	}
	settings := user + fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr;
events { worker_connections 64; }
http {
  access_log off; default_type application/json;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen %[2]s; root %[1]s/www; absolute_redirect off; location = /old { return 301 /keys.json; } }
}
`, dir, address)
	keys := filepath.Join(dir, "www", "keys.json")
	if err := os.MkdirAll(filepath.Dir(keys), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	old, fresh := newKey(t), newKey(t)
	publish(t, keys, jwks(t, old))
	start(t, dir, "nginx", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
	await(t, address)

	g := startGate(t, `issuer: "https://idp.example", jwks_url: "http://`+address+
		`/old", fetch: {refresh: 1s, cooldown: 1s}, permissions: [{tenant: acme, actions: [READ]}]`)
	by := func(key *jose.PrivateKey) string { return sign(t, key, "https://idp.example") }
	g.want("a key that nginx serves, behind a redirect", "acme", by(old), "200 alice from shop")
	publish(t, keys, jwks(t, old, fresh))
	g.want("a key that is new", "acme", by(fresh), "200 alice from shop")
	publish(t, keys, "<html>502 Bad Gateway</html>")
	fetched := g.KeySets()[0].Failures
	g.until("a failed fetch", func() bool { return g.KeySets()[0].Failures > fetched })
	g.want("the last good keys", "acme", by(old), "200 alice from shop")
	publish(t, keys, jwks(t, fresh))
	g.until("the old key's end", func() bool { return g.get("acme", by(old)) == "401" })
	g.want("the new key", "acme", by(fresh), "200 alice from shop")
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	fetched = g.KeySets()[0].Failures
	g.until("a failed fetch", func() bool { return g.KeySets()[0].Failures > fetched })
	g.want("the last good keys", "acme", by(fresh), "200 alice from shop")
	g.want("a key that cannot be looked up", "acme", by(newKey(t)), "503")
}

func (g *gate) until(what string, done func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%s does not come; keys %+v", what, g.KeySets())
		}
	}
}

func await(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// publish replaces a file in one step.
func publish(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) *jose.PrivateKey {
	t.Helper()
	key, err := jose.Generate("RS256")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func jwks(t *testing.T, keys ...*jose.PrivateKey) string {
	t.Helper()
	var public []*jose.PublicKey
	for _, key := range keys {
		public = append(public, key.Public())
	}
	set, err := jose.NewKeySet(public...)
	if err != nil {
		t.Fatal(err)
	}
	return string(set.JWKS())
}

func sign(t *testing.T, key *jose.PrivateKey, issuer string) string {
	t.Helper()
	now := time.Now().Unix()
	signed, err := key.Sign("at+jwt",
		fmt.Appendf(nil, `{"iss":%q,"sub":"alice","aud":%q,"client_id":"shop","iat":%d,"exp":%d,
		"tenantPermissions":[{"tenant":"*","allowedActions":["*"]}]}`, issuer, audience, now, now+300))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestSecondJotgate: a gate that issues nothing judges the tokens of one that does, by discovery and by jwks_url.
func TestSecondJotgate(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	other := run(t, `version: 1
listen: `+address+`
admin: {listen: ""}
issuer:
  url: http://`+address+`
  audiences: ["`+audience+`"]
  keys: [{file: main.pem, create: true}]
  clients: [{id: web, may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: /open/, public: true, upstream: "http://127.0.0.1:9"}]
`)
	m, err := issuer.NewMinter(other.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token := func(tenant string) string {
		bearer, _, err := m.ForRole("web", "reader", tenant, "alice", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return bearer
	}
	for name, place := range map[string]string{"discovery": "", "jwks_url": `, jwks_url: "http://` + address +
		`/.well-known/jwks.json"`} {
		g := startGate(t, `issuer: "http://`+address+`"`+place+`, permissions: [{tenant: acme, actions: [READ]}]`)
		g.want(name, "acme", token("acme"), "200 alice from web")
		g.want(name+", over the ceiling", "other", token("other"), "403")
	}
}
