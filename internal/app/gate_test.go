package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/issuer"
)

// A gate is a running gate with an app behind it, and what it logged.
type gate struct {
	*app.Gate
	t    testing.TB
	file string // its configuration
	log  *lines
	app  *backend

	clock func() time.Time // nil: time.Now
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// A backend answers 200 with the head that it saw, and counts.
type backend struct {
	*httptest.Server
	seen atomic.Int64
	wait atomic.Pointer[chan struct{}] // non-nil: answers when it is closed
}

func newApp(t testing.TB) *backend {
	a := new(backend)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.seen.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		if wait := a.wait.Load(); wait != nil {
			<-*wait
		}
		_ = r.Header.Write(w)
	}))
	t.Cleanup(a.Close)
	return a
}

const settings = `version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", token: an-admin-token-of-the-test}
drain: {delay: 50ms, timeout: 10s}
issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}]
  clients: [{id: web, secret: 0123456789abcdefghijkl, may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes:
  - {path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "$APP"}
  - {path: /open/, public: true, upstream: "$APP"}
watch: false
`

// start runs a gate of settings, edited by the old-new pairs.
func startGate(t testing.TB, edits ...string) *gate {
	t.Helper()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	g.write(edits...)
	g.run()
	return g
}

// run starts a gate of what is written.
func (g *gate) run() {
	g.t.Helper()
	c, err := keyfile.Load(g.file)
	if err != nil {
		g.t.Fatal(err)
	}
	log, err := telemetry.NewLog(g.log, c.Log.Level, true)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = log.Close() })
	if g.Gate, err = app.New(app.Options{
		Config: c, ConfigPath: g.file, Log: log, Clock: g.clock,
	}); err != nil {
		g.t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = g.Close() })
}

func (g *gate) write(edits ...string) {
	g.t.Helper()
	text := strings.NewReplacer(append(edits, "$APP", g.app.URL)...).Replace(settings)
	text = strings.ReplaceAll(text, "$APP", g.app.URL)
	if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) url(path string) string { return "http://" + g.Addr("main").String() + path }

// token is one for alice on tenant, made by the gate's own rules.
func (g *gate) token(tenant string) string {
	g.t.Helper()
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		g.t.Fatal(err)
	}
	token, _, err := m.ForRole("web", "reader", tenant, "alice", time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

func (g *gate) get(path string, header ...string) (int, http.Header, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.url(path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	a, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(body)
}

// raw sends bytes on a connection of their own and gives the status lines that come back until it is closed.
func (g *gate) raw(request string) []string {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		g.t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	var statuses []string
	for s := bufio.NewScanner(c); s.Scan(); {
		if strings.HasPrefix(s.Text(), "HTTP/1.1 ") {
			statuses = append(statuses, strings.Fields(s.Text())[1])
		}
	}
	return statuses
}

func TestRequestsThatNoRouteCanAllow(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	for _, c := range []struct{ name, request, want string }{
		{"dot segments", "GET /open/../t/acme/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"assets to admin", "GET /assets/../admin/x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"absolute form", "GET http://a/open/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"TRACE", "TRACE /open/ HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "405"},
		{"CONNECT with a path", "CONNECT /open/ HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"lower case", "gEt /open/ HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"unknown", "PURGE /open/ HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"no host", "GET /open/ HTTP/1.1\r\n\r\n", "400"},
		{"long target", "GET /open/" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "414"},
	} {
		got := g.raw(c.request)
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	if n := g.app.seen.Load(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
}

// TestBodiesThatBreakOff are the client's fault on our endpoints and on routes alike, and never the network's or ours.
func TestBodiesThatBreakOff(t *testing.T) {
	t.Parallel()
	g := startGate(t, "drain:", "limits: {body_timeout: 200ms, stall_timeout: 1s}\ndrain:")
	token := g.token("acme")
	for _, c := range []struct{ name, request, want, reason string }{
		{
			"bad chunk to an endpoint",
			"POST /api/v1/tokens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
				"zz\r\n", "400", "body_malformed",
		},
		{
			"slow body to an endpoint",
			"POST /api/v1/tokens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", "408",
			"body_timeout",
		},
		{"bad chunk to a route", "POST /t/acme/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token +
			"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400", "body_malformed"},
		{"slow body to a route", "POST /t/acme/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token +
			"\r\nContent-Length: 9\r\n\r\n{", "408", "body_timeout"},
	} {
		c2, err := net.Dial("tcp", g.Addr("main").String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c2.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(c2, c.request); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c2).ReadString('\n') // the client stays, and waits
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.want+" ") {
			t.Errorf("%s: %q, %v, want %s", c.name, line, err, c.want)
		}
		_ = c2.Close()
		g.eventually(`"reason":"` + c.reason + `"`)
	}
}

// TestUnregisteredMethods are answered by whose path it is: in the dialect of ours, with the route's own Allow.
func TestUnregisteredMethods(t *testing.T) {
	t.Parallel()
	g := startGate(t, "public: true", "public: true, methods: [GET]")
	for _, c := range []struct{ path, allow, contentType string }{
		{"/api/v1/tokens", "POST", "application/json"},
		{"/open/", "GET", "application/problem+json"},
		{"/nowhere", "", "application/problem+json"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "BREW", g.url(c.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		if allow, there := a.Header["Allow"]; a.StatusCode != 405 || !there || allow[0] != c.allow ||
			a.Header.Get("Content-Type") != c.contentType {
			t.Errorf("BREW %s: %d %v", c.path, a.StatusCode, a.Header)
		}
	}
}

// TestBrokenAnswerToHTTP10 must not look whole, although the end of the connection is all that delimits it.
func TestBrokenAnswerToHTTP10(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nde")
			_ = c.Close()
		}
	}()
	g := startGate(t, "$APP", "http://"+l.Addr().String())
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET /open/ HTTP/1.0\r\nHost: a\r\n\r\n")
	if all, err := io.ReadAll(c); err == nil {
		t.Errorf("the broken answer ends like a whole one: %q", all)
	}
}

func TestRequestsBothSidesServe(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	if status, _, body := g.get("/t/acme/x", "Authorization", "Bearer "+g.token("acme")); status != 200 ||
		!strings.Contains(body, "X-Jotgate-Subject: alice\r\n") {
		t.Errorf("with the permission: %d %s", status, body)
	}
	if status, h, _ := g.get("/t/acme/x"); status != 401 || h.Get("WWW-Authenticate") == "" ||
		h.Get("X-Request-Id") == "" {
		t.Errorf("without a token: %d %v", status, h)
	}
	if status, _, body := g.get("/.well-known/jwks.json"); status != 200 || !strings.Contains(body, `"keys":[`) {
		t.Errorf("key set: %d %s", status, body)
	}
	if status, _, _ := g.get("/api/v1/tokens/"); status != 404 {
		t.Errorf("below an endpoint of ours: %d, want 404", status)
	}
}

// TestPathsThatHoldACredential are logged without it, however they are misspelled.
func TestPathsThatHoldACredential(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	credential := g.token("acme")
	for _, path := range []string{
		"/api/1/access_token/" + credential, "/api/1/access_token/" + credential + "/delete", "//api/1/access_token/" +
			credential,
		"/api/1/access_token/" + credential + ";x", "/api/1/access_token/../" + credential, "/api/1/access_token/" +
			credential + "%00",
		"/nowhere/" + credential, "/open/%2f" + credential, "/" + credential + "/" + strings.Repeat("x", 16<<10),
	} {
		g.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	const fixed = "a-fixed-id-of-the-config"
	for _, path := range []string{
		"/api/1/access_token/" + fixed, "/api/1/access_token/" + fixed + "//", "/api/1/Access_Token/" + fixed + "/delete",
		"/x/../api/1/access%5ftoken/" + fixed, "/api/1/access%255Ftoken/" + fixed, "/api//1/access_token;v=1/" + fixed,
		"/api/1/access_token/../" + fixed, "/api/1/access_token/" + fixed + "%00",
	} {
		g.raw("TRACE " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		g.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	g.get("/open/last")
	g.eventually(`"path":"/open/last"`)
	if log := g.log.String(); strings.Contains(log, credential[:40]) ||
		strings.Contains(log, credential[len(credential)-40:]) || strings.Contains(log, fixed) ||
		!strings.Contains(log, "[redacted]") {
		t.Errorf("a credential is in the log: %s", log)
	}
}

func TestForwardedFromTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	forwarded := []string{
		"X-Forwarded-For", "203.0.113.9, 192.0.2.7, 127.0.0.1", "X-Forwarded-Proto", "https", "X-Request-Id",
		"id-from-the-edge",
	}
	strict := startGate(t)
	_, h, body := strict.get("/open/", forwarded...)
	if !strings.Contains(body, "X-Forwarded-For: 127.0.0.1\r\n") ||
		!strings.Contains(body, "X-Forwarded-Proto: http\r\n") || h.Get("X-Request-Id") == "id-from-the-edge" {
		t.Errorf("unlisted peer: %v %s", h, body)
	}
	behind := startGate(t, "listen: 127.0.0.1:0\n", "listen: 127.0.0.1:0\ntrusted_proxies: [127.0.0.0/8]\n")
	_, h, body = behind.get("/open/", forwarded...)
	if !strings.Contains(body, "X-Forwarded-For: 203.0.113.9, 192.0.2.7, 127.0.0.1, 127.0.0.1\r\n") ||
		!strings.Contains(body, "X-Forwarded-Proto: https\r\n") || h.Get("X-Request-Id") != "id-from-the-edge" {
		t.Errorf("listed peer: %v %s", h, body)
	}
	behind.eventually(`"client":"192.0.2.7"`)
	behind.eventually(`"proxy_request_id":"id-from-the-edge"`)
	if log := strict.log.String(); strings.Contains(log, `"client":`) {
		t.Errorf("an unlisted peer's word is logged: %s", log)
	}
}

// eventually waits for the access log, which is written some time after the answer.
func (g *gate) eventually(text string) {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(g.log.String(),
		text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("%s is not in the log: %s", text, g.log)
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	token := g.token("acme")
	for _, c := range []struct {
		name  string
		edits []string
		fault string // "" for a good one
		open  int    // what a request for /t/acme/ gets after it
	}{
		{"nothing changed", nil, "", 200},
		{"no YAML", []string{"version: 1", "version: 1\n\tx"}, "gate.yaml:", 200},
		{"another action", []string{"action: READ", "action: WRITE"}, "", 403},
		{"back", nil, "", 200},
		{"unknown key", []string{"public: true", "publik: true"}, "publik", 200},
		{"the client is gone", []string{"id: web", "id: other"}, "", 401},
		{"it comes back", nil, "", 200},
		{"its delegate is cut", []string{
			`delegate: [{tenant: "*", actions: ["*"]}]`,
			`delegate: [{tenant: globex, actions: ["*"]}]`,
		}, "", 401},
		{"another address", []string{"listen: 127.0.0.1:0\n", "listen: 127.0.0.1:1\n"}, "listeners: cannot change", 401},
		{"back again", nil, "", 200},
		{"another key", []string{"main.pem", "other.pem"}, "", 401},
	} {
		g.write(c.edits...)
		err := g.Reload()
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: reload: %v, want %q", c.name, err, c.fault)
		}
		if got, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token); got != c.open {
			t.Errorf("%s: then %d, want %d", c.name, got, c.open)
		}
	}
	if log := g.log.String(); !strings.Contains(log, "reload refused") || !strings.Contains(log, `"outcome":"done"`) {
		t.Errorf("reloads are not told in %s", log)
	}
}

// TestRefusedReloadMakesNoKey: a key file that nothing published must not lie there for the next start to sign with.
func TestRefusedReloadMakesNoKey(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	g.write("main.pem", "new.pem", "listen: 127.0.0.1:0\n", "listen: 127.0.0.1:1\n")
	if err := g.Reload(); err == nil {
		t.Fatal("another address was reloaded")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(g.file), "new.pem")); !os.IsNotExist(err) {
		t.Errorf("new.pem: %v", err)
	}
}

// TestCodeStaysUsedAcrossReloads drops the issuing client and brings it back in between.
func TestCodeStaysUsedAcrossReloads(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	bearer, _, err := m.Management("web", "issue_codes", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	code := g.post("/api/v1/authorization-codes", bearer, `{"subject":"alice","role":"reader","tenant":"acme"}`,
		201)["authorization_code"]
	redeem := fmt.Sprintf(`{"authorization_code":%q}`, code)
	g.post("/api/v1/tokens", "", redeem, 201)
	for _, edits := range [][]string{nil, {"id: web", "id: other"}, nil} {
		g.write(edits...)
		if err := g.Reload(); err != nil {
			t.Fatal(err)
		}
		g.post("/api/v1/tokens", "", redeem, 400)
	}
}

func (g *gate) post(path, bearer, body string, want int) map[string]any {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url(path), strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	answer := map[string]any{}
	if err := json.NewDecoder(a.Body).Decode(&answer); err != nil || a.StatusCode != want {
		g.t.Fatalf("POST %s: %d %v %v, want %d", path, a.StatusCode, answer, err, want)
	}
	return answer
}

func TestDrainServesWhatHasBegun(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	admin := "http://" + g.AdminAddr().String()
	ready := func() int {
		a, err := http.Get(admin + "/readyz")
		if err != nil {
			return 0
		}
		_ = a.Body.Close()
		return a.StatusCode
	}
	if got := ready(); got != 200 {
		t.Fatalf("readyz %d", got)
	}
	release := make(chan struct{})
	g.app.wait.Store(&release)
	status := make(chan int, 1)
	go func() {
		got, _, _ := g.get("/open/slow")
		status <- got
	}()
	for g.app.seen.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(context.Background()) }()
	for ready() != 503 {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained with a request in flight: %v", err)
	case <-time.After(200 * time.Millisecond): // longer than drain.delay
	}
	close(release)
	if got := <-status; got != 200 {
		t.Errorf("the request in flight got %d", got)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainCutOffBySecondSignal(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	release := make(chan struct{})
	defer close(release)
	g.app.wait.Store(&release)
	ended := make(chan error, 1)
	go func() {
		a, err := http.Get(g.url("/open/slow"))
		if err == nil {
			_ = a.Body.Close()
		}
		ended <- err
	}()
	for g.app.seen.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Drain(ctx); err == nil {
		t.Error("a drain that was cut off says that all ended well")
	}
	if err := <-ended; err == nil {
		t.Error("the request that was cut off looks whole")
	}
}

func TestImplicitAdminAddressMayBeTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:9090")
	if err == nil { // taken by somebody else serves as well
		defer taken.Close()
	}
	g := startGate(t, "admin: {listen: \"127.0.0.1:0\", token: an-admin-token-of-the-test}\n", "")
	if status, _, _ := g.get("/open/"); status != 200 {
		t.Errorf("status %d", status)
	}
	if g.AdminAddr() != nil || !strings.Contains(g.log.String(), "default address is taken") {
		t.Errorf("admin %v, log %s", g.AdminAddr(), g.log)
	}
}

func TestExplicitAdminAddressMustBeFree(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	text := fmt.Sprintf("version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: %q}\nroutes: [{path: /, public: true, "+
		"upstream: \"http://127.0.0.1:1\"}]\n", taken.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := keyfile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(io.Discard, "info", false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := app.New(app.Options{Config: c, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "admin.listen") {
		t.Errorf("start: %v", err)
	}
}

// TestNothingIsLeftBehind is not parallel: it counts goroutines.
func TestNothingIsLeftBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	g := startGate(t)
	g.get("/t/acme/", "Authorization", "Bearer "+g.token("acme"))
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := g.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	g.app.Close()
	if err := goleak.Find(before,
		goleak.IgnoreAnyFunction("go.uber.org/zap/zapcore.(*BufferedWriteSyncer).flushLoop")); err != nil {
		t.Error(err)
	}
}

// TestReloadsUnderLoad sends requests over kept connections while good and bad reloads alternate: each is answered
// once, and as one of the two configurations says.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	token := g.token("acme")
	stop := make(chan struct{})
	var sent, lost, opened atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, _ := http.NewRequest(http.MethodPost, g.url("/t/acme/x"), strings.NewReader("body"))
				r.Header.Set("Authorization", "Bearer "+token)
				sent.Add(1)
				a, err := transport.RoundTrip(r)
				if err != nil {
					lost.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, a.Body)
				_ = a.Body.Close()
				switch a.StatusCode {
				case 200:
					opened.Add(1)
				case 403:
				default:
					lost.Add(1)
				}
			}
		})
	}
	for i := range 60 {
		switch i % 3 {
		case 0:
			g.write("action: READ", "action: WRITE")
		case 1:
			g.write("version: 1", "version: 7")
		case 2:
			g.write()
		}
		if err := g.Reload(); (err == nil) != (i%3 != 1) {
			t.Errorf("reload %d: %v", i, err)
		}
	}
	close(stop)
	clients.Wait()
	if lost.Load() != 0 || g.app.seen.Load() != opened.Load() || opened.Load() == 0 {
		t.Errorf("of %d requests %d were lost; the app saw %d, %d were answered 200", sent.Load(), lost.Load(),
			g.app.seen.Load(), opened.Load())
	}
}

// A trusted proxy may write a port behind the client's address. What is no address is somebody that is not known, and
// passes no allowlist in the proxy's place.
func TestAddressesOfTrustedProxies(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:", `routes:
  - {path: /in/, public: true, allow_from: [127.0.0.0/8, 10.0.0.0/8], upstream: "$APP"}`,
		"roles:", "trusted_proxies: [127.0.0.0/8]\nroles:")
	for said, want := range map[string]int{
		"203.0.113.9": 403, "203.0.113.9:4711": 403, "[2001:db8::1]:4711": 403, "[2001:db8::1]": 403,
		"unknown": 403, "_hidden": 403,
		"10.1.2.3": 200, "10.1.2.3:80": 200, "203.0.113.9, 10.1.2.3": 200,
		"10.1.2.3, 203.0.113.9:1": 403, "10.1.2.3, unknown": 403,
	} {
		r, err := http.NewRequest("GET", g.url("/in/x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", said)
		if a := g.answer(r); a.StatusCode != want {
			t.Errorf("%s: %d, want %d", said, a.StatusCode, want)
		}
	}
}
