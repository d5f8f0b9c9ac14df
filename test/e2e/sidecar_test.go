package e2e_test

import (
	"bufio"
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
	"syscall"
	"testing"
)

// A sidecar is the documented sidecar config at work, in a folder of its own, before an app that counts.
type sidecar struct {
	*process
	folder, url, address string
	env                  []string
	app                  *app
}

// An app answers with the request as it arrived.
type app struct {
	requests atomic.Int64
	entered  chan struct{} // one for each request to /t/acme/slow
	leave    chan struct{} // which is answered when this is closed
}

type arrival struct {
	Target  string
	Headers http.Header
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	if r.URL.Path == "/t/acme/slow" {
		a.entered <- struct{}{}
		<-a.leave
	}
	_ = json.NewEncoder(w).Encode(arrival{r.RequestURI, r.Header}) // a client that is gone misses it
}

// sidecarConfig is examples/sidecar/config.yaml, letter by letter but for its two ports.
func sidecarConfig(t *testing.T, listen, upstream string) string {
	t.Helper()
	text, err := os.ReadFile("examples/sidecar/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replaced := string(text)
	for old, with := range map[string]string{`":8080"`: fmt.Sprintf("%q", listen), "http://127.0.0.1:3000": upstream} {
		if strings.Count(replaced, old) != 1 {
			t.Fatalf("examples/sidecar/config.yaml has %s not once", old)
		}
		replaced = strings.Replace(replaced, old, with, 1)
	}
	return replaced
}

func newSidecar(t *testing.T) *sidecar {
	t.Helper()
	s := &sidecar{
		folder: t.TempDir(), address: freeAddress(t),
		app: &app{entered: make(chan struct{}, 8), leave: make(chan struct{})},
	}
	upstream := httptest.NewServer(s.app)
	t.Cleanup(upstream.Close)
	s.url = "http://" + s.address
	s.env = []string{"WEB_SECRET=" + strings.TrimSpace(run(t, s.folder, nil, "keygen", "--secret"))}
	s.write(t, sidecarConfig(t, s.address, upstream.URL))
	s.start(t)
	return s
}

func (s *sidecar) write(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *sidecar) start(t *testing.T) {
	t.Helper()
	s.process = start(t, s.folder, s.env, "serve", "--config", "config.yaml")
	s.until(t, s.stderr, `"msg":"listening"`)
}

func (s *sidecar) management(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(run(t, s.folder, s.env, "mint", "--config", "config.yaml", "--client", "web", "--scope",
		"issue_codes"))
}

// code asks for a code for alice and tenant acme.
func (s *sidecar) code(t *testing.T) string {
	t.Helper()
	status, _, body := ask(t, "POST", s.url+"/api/v1/authorization-codes", s.management(t),
		`{"subject":"alice","role":"reader","tenant":"acme"}`)
	if status != 201 {
		t.Fatalf("a code: %d %s", status, body)
	}
	return member(t, body, "authorization_code")
}

func (s *sidecar) redeem(t *testing.T, code string) (int, string) {
	t.Helper()
	status, _, body := ask(t, "POST", s.url+"/api/v1/tokens", "", fmt.Sprintf(`{"authorization_code":%q}`, code))
	return status, body
}

func (s *sidecar) token(t *testing.T) string {
	t.Helper()
	status, body := s.redeem(t, s.code(t))
	if status != 201 {
		t.Fatalf("a token: %d %s", status, body)
	}
	return member(t, body, "access_token")
}

func member(t *testing.T, body, name string) string {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	value, ok := members[name].(string)
	if !ok || value == "" {
		t.Fatalf("no %s in %s", name, body)
	}
	return value
}

// raw sends bytes as they are and returns the status of the answer, which must end the connection or be whole.
func (s *sidecar) raw(t *testing.T, request string) (int, string) {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestTheSidecarStory(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)

	info, err := os.Stat(filepath.Join(s.folder, "keys/main.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the key file is %v, want -rw-------", info.Mode())
	}

	code := s.code(t)
	if len(code) != 128 {
		t.Errorf("the code has %d characters, want 128", len(code))
	}
	status, body := s.redeem(t, code)
	if status != 201 {
		t.Fatalf("redeemed: %d %s", status, body)
	}
	token := member(t, body, "access_token")

	for _, c := range []struct {
		name, method, path, bearer string
		status                     int
		upstream                   int64
	}{
		{"with the permission", "GET", "/t/acme/orders?a=1;b&c", token, 200, 1},
		{"without a token", "GET", "/t/acme/orders", "", 401, 0},
		{"another tenant", "GET", "/t/globex/orders", token, 403, 0},
		{"an altered token", "GET", "/t/acme/orders", token + "x", 401, 0},
		{"a management token on a route", "GET", "/t/acme/orders", s.management(t), 401, 0},
		{"the code as a bearer", "GET", "/t/acme/orders", code, 401, 0},
		{"an access token where codes are issued", "POST", "/api/v1/authorization-codes", token, 403, 0},
		{"the wildcard as a tenant", "GET", "/t/*/orders", token, 400, 0},
		{"no route", "GET", "/admin", token, 404, 0},
	} {
		before := s.app.requests.Load()
		status, _, body := ask(t, c.method, s.url+c.path, c.bearer, "")
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
		}
		if n := s.app.requests.Load() - before; n != c.upstream {
			t.Errorf("%s: the app saw %d requests, want %d", c.name, n, c.upstream)
		}
		if c.status == 200 {
			var got arrival
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if got.Target != c.path {
				t.Errorf("%s: the app saw %s, want %s", c.name, got.Target, c.path)
			}
			if got.Headers.Get("X-Jotgate-Subject") != "alice" || got.Headers.Get("X-Jotgate-Tenant") != "acme" ||
				got.Headers.Get("X-Jotgate-Actions") != "READ" || got.Headers.Get("Authorization") != "" {
				t.Errorf("%s: the app saw %v", c.name, got.Headers)
			}
		}
	}
	if status, body := s.redeem(t, code); status != 400 {
		t.Errorf("the code again: %d %s, want 400", status, body)
	}
}

// A restart keeps the key, so tokens live on; the codes that are out are refused, since no one knows which were used.
func TestARestartKeepsTheKeyAndRefusesTheCodesThatAreOut(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	token, used, unused := s.token(t), s.code(t), s.code(t)
	if status, body := s.redeem(t, used); status != 201 {
		t.Fatalf("redeemed: %d %s", status, body)
	}
	key, err := os.ReadFile(filepath.Join(s.folder, "keys/main.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Process.Kill(); err != nil { // a crash: nothing is written down
		t.Fatal(err)
	}
	s.exit(t)
	s.start(t)

	if again, err := os.ReadFile(filepath.Join(s.folder, "keys/main.pem")); err != nil || string(again) != string(key) {
		t.Errorf("the key file is another one, or gone: %v", err)
	}
	if status, _, body := ask(t, "GET", s.url+"/t/acme/orders", token, ""); status != 200 {
		t.Errorf("a token from before: %d %s, want 200", status, body)
	}
	for name, code := range map[string]string{"used": used, "unused": unused} {
		if status, body := s.redeem(t, code); status != 404 {
			t.Errorf("%s code from before: %d %s, want 404", name, status, body)
		}
	}
}

func TestAPathThatTwoReadersReadDifferentlyNeverArrives(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	token := s.token(t)
	before := s.app.requests.Load()
	for _, target := range []string{
		"/assets/../admin/x", "/t/globex/../acme/x", "/t/acme/../globex/x", "/t/acme/%2e%2e/globex/x", "/t//acme/x",
		"/t/acme//x",
		"/t/acme%2fx", "/t/acme/x%5c..%5cy", `/t/acme\x`, "/t/acme/..;/x", "/t/acme/x;y", "/t/acme/%00", "/t/acme/x#y",
		"/t/acme/%c0%af",
		"http://" + s.address + "/t/acme/x", "/t/acme/%252e%252e/x",
	} {
		status, body := s.raw(t, "GET "+target+" HTTP/1.1\r\nHost: "+s.address+"\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		if status != 400 {
			t.Errorf("%s: %d %s, want 400", target, status, body)
		}
	}
	if n := s.app.requests.Load() - before; n != 0 {
		t.Errorf("the app saw %d of them", n)
	}
}

func TestAClientsIdentityHeadersNeverArrive(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	for _, headers := range []string{
		"X-Jotgate-Subject: mallory\r\n",
		"x-jotgate-subject: mallory\r\nX-JOTGATE-SUBJECT: mallory\r\n",
		"X_Jotgate_Subject: mallory\r\n",
		"X-Jotgate_Subject: mallory\r\n",
		"Connection: X-Jotgate-Subject\r\nX-Jotgate-Subject: mallory\r\n",
		"X-Jotgate-Tenant: globex\r\nX-Jotgate-Actions: *\r\nX-Jotgate-Subject: mallory\r\n",
	} {
		status, body := s.raw(t, "GET /t/acme/x HTTP/1.1\r\nHost: "+s.address+"\r\nAuthorization: Bearer "+s.token(t)+"\r\n"+
			headers+"\r\n")
		if status != 200 {
			t.Errorf("%q: %d %s, want 200", headers, status, body)
			continue
		}
		var got arrival
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(body, "mallory") || strings.Contains(body, "globex") {
			t.Errorf("%q: the app saw %v", headers, got.Headers)
		}
		if values := got.Headers.Values("X-Jotgate-Subject"); len(values) != 1 || values[0] != "alice" {
			t.Errorf("%q: the app saw the subject %q, want alice once", headers, values)
		}
	}
}

func TestOfManyConcurrentRedemptionsOneSucceeds(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	code := s.code(t)
	var redeemed, refused atomic.Int64
	var group sync.WaitGroup
	begin := make(chan struct{})
	for range 64 {
		group.Go(func() {
			<-begin
			switch status, body := s.redeem(t, code); status {
			case 201:
				redeemed.Add(1)
			case 400:
				refused.Add(1)
			default:
				t.Errorf("%d %s", status, body)
			}
		})
	}
	close(begin)
	group.Wait()
	if redeemed.Load() != 1 || refused.Load() != 63 {
		t.Errorf("%d redeemed, %d refused; want 1 and 63", redeemed.Load(), refused.Load())
	}
}

// slow begins a request that the app does not answer yet, and returns the function that waits for its answer.
func (s *sidecar) slow(t *testing.T) (answer func() (*http.Response, error)) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/t/acme/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token(t))
	type result struct {
		answer *http.Response
		err    error
	}
	results := make(chan result, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		answer, err := client.Do(request)
		results <- result{answer, err}
	}()
	<-s.app.entered
	return func() (*http.Response, error) {
		r := <-results
		return r.answer, r.err
	}
}

func TestSIGTERMFinishesWhatHasBegun(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	wait := s.slow(t)
	s.signal(t, syscall.SIGTERM)
	s.until(t, s.stderr, `"msg":"draining"`)
	close(s.app.leave)
	answer, err := wait()
	if err != nil {
		t.Fatalf("the request that had begun: %v", err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 || len(body) == 0 {
		t.Errorf("the request that had begun: %d %q %v, want 200 and the whole body", answer.StatusCode, body, err)
	}
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestASecondSIGTERMClosesAtOnce(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	defer close(s.app.leave)
	wait := s.slow(t)
	s.signal(t, syscall.SIGTERM)
	s.until(t, s.stderr, `"msg":"draining"`)
	s.signal(t, syscall.SIGTERM)
	if code := s.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1: a request was cut off", code)
	}
	if answer, err := wait(); err == nil {
		answer.Body.Close()
		t.Errorf("the request that had begun: %d, want a broken connection", answer.StatusCode)
	}
}

func TestSIGHUPReloadsAndABadConfigChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	token := s.token(t)
	good, err := os.ReadFile(filepath.Join(s.folder, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	s.write(t, strings.Replace(string(good), "actions: [READ]", "action: [READ]", 1))
	s.signal(t, syscall.SIGHUP)
	s.until(t, s.stderr, `"msg":"reload refused`)
	if status, _, body := ask(t, "GET", s.url+"/t/acme/x", token, ""); status != 200 {
		t.Errorf("after a bad reload: %d %s, want 200", status, body)
	}

	s.write(t, strings.Replace(string(good), "action: READ}", "action: WRITE}", 1))
	s.signal(t, syscall.SIGHUP)
	s.until(t, s.stderr, `"msg":"reloaded`)
	if status, _, body := ask(t, "GET", s.url+"/t/acme/x", token, ""); status != 403 {
		t.Errorf("after the route asks for WRITE: %d %s, want 403", status, body)
	}
}

func TestHealthcheckKnowsServingFromDraining(t *testing.T) {
	t.Parallel()
	s := newSidecar(t)
	s.signal(t, syscall.SIGTERM)
	s.exit(t)
	config, err := os.ReadFile(filepath.Join(s.folder, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, string(config)+fmt.Sprintf("admin: {listen: %q}\n", freeAddress(t)))
	s.start(t)

	if code := s.healthcheck(t); code != 0 {
		t.Errorf("serving: exit code %d, want 0", code)
	}
	wait := s.slow(t)
	s.signal(t, syscall.SIGTERM)
	s.until(t, s.stderr, `"msg":"draining"`)
	if code := s.healthcheck(t); code != 1 {
		t.Errorf("draining: exit code %d, want 1", code)
	}
	close(s.app.leave)
	answer, err := wait()
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	s.exit(t)
	if code := s.healthcheck(t); code != 1 {
		t.Errorf("gone: exit code %d, want 1", code)
	}
}

func (s *sidecar) healthcheck(t *testing.T) int {
	t.Helper()
	return start(t, s.folder, s.env, "healthcheck", "--config", "config.yaml").exit(t)
}

func TestTheDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	temporary := t.TempDir()
	demo := start(t, t.TempDir(), []string{"TMPDIR=" + temporary}, "demo", "--once", "--listen", "127.0.0.1:0")
	if code := demo.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, status := range []string{"201 Created", "200 OK", "401 Unauthorized", "403 Forbidden", "400 Bad Request"} {
		if !strings.Contains(demo.stdout.String(), status) {
			t.Errorf("the story has no %s", status)
		}
	}
	left, err := os.ReadDir(temporary)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}

func TestADemoWhoseAddressIsTakenSaysSo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	demo := start(t, t.TempDir(), nil, "demo", "--once", "--listen", taken.Addr().String())
	if code := demo.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.Contains(demo.stderr.String(), "address already in use") {
		t.Errorf("it says %s", demo.stderr)
	}
}

// The example that documents every key is a config that serves, and opens nothing to a stranger.
func TestTheExampleConfigServesAsItIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{folder: t.TempDir(), address: freeAddress(t)}
	s.url = "http://" + s.address
	config := strings.NewReplacer("127.0.0.1:8080", s.address, "127.0.0.1:9090", freeAddress(t)).Replace(string(text))
	s.write(t, config)
	s.start(t)
	if status, _, body := ask(t, "GET", s.url+"/.well-known/jwks.json", "", ""); status != 200 {
		t.Errorf("the key set: %d %s, want 200", status, body)
	}
	if status, _, body := ask(t, "POST", s.url+"/api/v1/authorization-codes", "", `{}`); status != 401 {
		t.Errorf("a stranger asks for a code: %d %s, want 401", status, body)
	}
}
