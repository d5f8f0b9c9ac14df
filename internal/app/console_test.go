package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/admin"
)

// A visitor is a browser at the console: it keeps cookies, follows no redirect, and says where its forms come from.
type visitor struct {
	t      testing.TB
	base   string
	client *http.Client
}

func (g *gate) visit() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	transport := &http.Transport{}
	g.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: g.t, base: "http://" + g.AdminAddr().String(), client: &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (v *visitor) do(r *http.Request) (*http.Response, string) {
	v.t.Helper()
	answer, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer, string(body)
}

func (v *visitor) get(path string) (int, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	answer, body := v.do(r)
	return answer.StatusCode, body
}

func (v *visitor) post(path string, form url.Values, header ...string) (*http.Response, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", v.base)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.do(r)
}

var csrfOf = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// form returns the CSRF token of a page's forms.
func (v *visitor) form(path string) string {
	v.t.Helper()
	_, body := v.get(path)
	m := csrfOf.FindStringSubmatch(body)
	if m == nil {
		v.t.Fatalf("%s has no form: %.300s", path, body)
	}
	return html.UnescapeString(m[1])
}

func (v *visitor) signIn(token string) (*http.Response, string) {
	v.t.Helper()
	return v.post("/console/sign-in", url.Values{"csrf": {v.form("/")}, "token": {token}})
}

// signedIn is a visitor who has shown the admin token.
func (g *gate) signedIn() *visitor {
	g.t.Helper()
	v := g.visit()
	if answer, body := v.signIn(operatorToken); answer.StatusCode != http.StatusSeeOther {
		g.t.Fatalf("sign-in: %d %s", answer.StatusCode, body)
	}
	return v
}

var consolePages = []string{
	"/", "/console/refusals", "/console/routes", "/console/issuers", "/console/upstreams", "/console/codes",
	"/console/revocations", "/console/config", "/console/inspect",
}

// TestConsoleNeedsTheToken: without a session there is nothing but the way to sign in.
func TestConsoleNeedsTheToken(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	v := g.visit()
	for _, path := range consolePages[1:] {
		if status, body := v.get(path); status != http.StatusSeeOther {
			t.Errorf("%s without a session: %d %s", path, status, body)
		}
	}
	if status, body := v.get("/console/events"); status != 401 {
		t.Errorf("events without a session: %d %s", status, body)
	}
	if status, body := v.get("/"); status != 200 || !strings.Contains(body, `name="token"`) ||
		strings.Contains(body, "In flight") {
		t.Errorf("/ without a session: %d %s", status, body)
	}
	answer, body := v.signIn("not-the-token-of-the-test")
	if answer.StatusCode != 401 || len(answer.Cookies()) > 0 {
		t.Errorf("a wrong token: %d %s", answer.StatusCode, body)
	}
	answer, _ = v.signIn(operatorToken)
	cookies := answer.Cookies()
	if answer.StatusCode != 303 || answer.Header.Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("sign-in: %d %v", answer.StatusCode, answer.Header)
	}
	if c := cookies[0]; c.Name != "jotgate_console" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure ||
		c.Path != "/" || c.MaxAge != 8*60*60 {
		t.Errorf("cookie on plain loopback: %+v", c)
	}
	for _, path := range consolePages {
		status, body := v.get(path)
		if status != 200 || !strings.Contains(body, "<main") || !strings.Contains(body, `aria-current="page"`) {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
		if strings.Contains(body, operatorToken) || strings.Contains(body, "0123456789abcdefghijkl") {
			t.Errorf("%s has a secret", path)
		}
	}
	answer, _ = v.post("/console/sign-out", url.Values{"csrf": {v.form("/console/inspect")}})
	if answer.StatusCode != 303 {
		t.Errorf("sign-out: %d", answer.StatusCode)
	}
	v.client.Jar.SetCookies(mustURL(t, v.base), cookies) // kept by someone
	if status, _ := v.get("/console/codes"); status != 303 {
		t.Errorf("after signing out: %d", status)
	}
	for _, line := range []string{
		`"event":"console_sign_in","outcome":"refused"`, `"event":"console_sign_in","outcome":"done"`,
		`"event":"console_sign_out","outcome":"done"`,
	} {
		g.eventually(line)
	}
	if log := g.log.String(); strings.Contains(log, operatorToken) || strings.Contains(log, cookies[0].Value) {
		t.Error("the log has a credential")
	}
}

func mustURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestConsoleIsOff without a token, and where the configuration says so.
func TestConsoleIsOff(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]string{
		"no token": `admin: {listen: "127.0.0.1:0"}`, "turned off": `admin: {listen: "127.0.0.1:0", console: false, token: ` +
			operatorToken + `}`,
	} {
		g := startGate(t, `admin: {listen: "127.0.0.1:0", token: an-admin-token-of-the-test}`, edit)
		for _, path := range append([]string{"/console/console.css", "/console/sign-in"}, consolePages...) {
			answer, body := askAt(t, g.AdminAddr(), "GET", path, "")
			if answer.StatusCode != 401 {
				t.Errorf("%s: %s: %d %s", name, path, answer.StatusCode, body)
			}
		}
	}
	g := startGate(t)
	v := g.signedIn()
	g.write(`admin: {`, `admin: {console: false, `)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := v.get("/console/codes"); status != 401 {
		t.Errorf("turned off by a reload: %d", status)
	}
}

// TestConsoleRevokesAndUndoes by its forms, each with its audit line.
func TestConsoleRevokesAndUndoes(t *testing.T) {
	t.Parallel()
	g := startGate(t, "drain:", "revocations: {file: "+filepath.Join(t.TempDir(), "revoked")+"}\ndrain:")
	token := g.token("acme")
	open := func() int {
		status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token)
		return status
	}
	if got := open(); got != 200 {
		t.Fatalf("before: %d", got)
	}
	v := g.signedIn()
	csrf := v.form("/console/revocations")
	mark := url.Values{
		"csrf": {csrf}, "kind": {"subject"}, "issuer": {"https://gate.test"}, "value": {"alice"},
		"at": {time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)},
	}
	if answer, body := v.post("/console/revocations", mark); answer.StatusCode != 303 {
		t.Fatalf("revoke: %d %s", answer.StatusCode, body)
	}
	if got := open(); got != 401 {
		t.Errorf("marked: %d", got)
	}
	_, body := v.get("/console/revocations?search=ALICE")
	id := regexp.MustCompile(`name="id" value="([0-9a-f]{32})"`).FindStringSubmatch(body)
	if id == nil || !strings.Contains(body, "mark on subject") {
		t.Fatalf("not listed: %s", body)
	}
	if _, body := v.get("/console/revocations?search=bob"); strings.Contains(body, id[1]) {
		t.Error("a search for another finds it")
	}
	answer, body := v.post("/console/revocations/undo", url.Values{"csrf": {csrf}, "id": {id[1]}})
	if answer.StatusCode != 303 {
		t.Fatalf("undo: %d %s", answer.StatusCode, body)
	}
	if got := open(); got != 200 {
		t.Errorf("undone: %d", got)
	}
	g.eventually(`"event":"withdraw","outcome":"done","kind":"subject"`)
	g.eventually(`"event":"undo","outcome":"done","kind":"subject"`)
	g.eventually(`"by":"console"`)
	for name, bad := range map[string]url.Values{
		"past end": {"kind": {"token"}, "issuer": {"https://gate.test"}, "value": {"x"}, "at": {"2020-01-01T00:00:00Z"}},
		"no end":   {"kind": {"token"}, "issuer": {"https://gate.test"}, "value": {"x"}},
		"no kind":  {"issuer": {"https://gate.test"}, "value": {"x"}},
		"no time":  {"kind": {"subject"}, "issuer": {"https://gate.test"}, "value": {"x"}, "at": {"soon"}},
	} {
		bad.Set("csrf", csrf)
		if answer, _ := v.post("/console/revocations", bad); answer.StatusCode != 400 {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
	answer, _ = v.post("/console/revocations/undo", url.Values{"csrf": {csrf}, "id": {"zz"}})
	if answer.StatusCode != 404 {
		t.Errorf("undo of what is not there: %d", answer.StatusCode)
	}
}

// TestConsoleShowsRefusals with filters, traces, and as JSON for scripts.
func TestConsoleShowsRefusals(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", `routes:
  - {path: "/w/{tenant}/", require: {tenant_from: path.tenant, action: WRITE}, upstream: "$APP"}
`)
	token := g.token("acme")
	denied := g.dial("/t/other/7?secret=query-of-the-client", "Authorization", "Bearer "+token).Header.Get("X-Request-Id")
	missing := g.dial("/t/acme/7").Header.Get("X-Request-Id")
	g.eventually(`"request_id":"` + missing + `"`)
	v := g.signedIn()
	for _, c := range []struct {
		query  string
		denied bool
		missed bool
	}{
		{"", true, true},
		{"?reason=tenant_denied", true, false},
		{"?reason=token_missing", false, true},
		{"?subject=alice", true, false},
		{"?subject=ali", false, false},
		{"?tenant=other", true, false},
		{"?route=/t/{tenant}/", true, true},
		{"?route=nowhere", false, false},
		{"?since=" + time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04"), true, true},
		{"?until=" + time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04"), false, false},
		{"?since=2999-01-01T00:00", false, false},
	} {
		_, body := v.get("/console/refusals" + c.query)
		if strings.Contains(body, denied) != c.denied || strings.Contains(body, missing) != c.missed {
			t.Errorf("%s: %s", c.query, body)
		}
		status, list := g.operate("GET", "/refusals"+c.query, operatorToken, "")
		var page admin.RefusalPage
		if err := json.Unmarshal([]byte(list), &page); err != nil || status != 200 ||
			strings.Contains(list, denied) != c.denied || strings.Contains(list, missing) != c.missed {
			t.Errorf("JSON %s: %d %s", c.query, status, list)
		}
	}
	action := g.dial("/w/acme/7", "Authorization", "Bearer "+token).Header.Get("X-Request-Id")
	g.eventually(`"request_id":"` + action + `"`)
	if _, body := v.get("/console/refusals/" + action); !strings.Contains(body, "this one") ||
		!strings.Contains(body, "action_denied") {
		t.Errorf("the entry that decides: %s", body)
	}
	for _, path := range []string{"/console/refusals/" + denied, "/console/refusals?id=" + denied} {
		status, body := v.get(path)
		if status != 200 || !strings.Contains(body, "tenant_denied") || !strings.Contains(body, `class="steps"`) ||
			strings.Contains(body, "query-of-the-client") || strings.Contains(body, token) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := v.get("/console/refusals/unknown"); status != 404 {
		t.Errorf("an unknown id: %d", status)
	}
	if status, _ := v.get("/console/refusals?reason=a&reason=b"); status != 400 {
		t.Errorf("two reasons: %d", status)
	}
	for path, want := range map[string]int{
		"/refusals?limit=1": 200, "/refusals?limit=0": 400, "/refusals?what=x": 400, "/refusals?since=soon": 400,
		"/refusals?before=" + denied: 200,
	} {
		status, body := g.operate("GET", path, operatorToken, "")
		if status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if path == "/refusals?limit=1" && !strings.Contains(body, `"next":"`+action+`"`) {
			t.Errorf("a page of one: %s", body)
		}
		if strings.Contains(path, "before") && strings.Contains(body, missing) {
			t.Errorf("older ones: %s", body)
		}
	}
	if status, _ := g.operate("GET", "/refusals", "somebody", ""); status != 401 {
		t.Errorf("a stranger lists refusals: %d", status)
	}
}

// TestConsoleInspects a token, which no answer and no log has.
func TestConsoleInspects(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	token := g.token("acme")
	v := g.signedIn()
	csrf := v.form("/console/inspect")
	for _, c := range []struct {
		token, request, want string
		status               int
	}{
		{token, "", "/t/{tenant}/", 200},
		{"Bearer " + token, "", "good", 200},
		{token, "GET http://x/t/acme/7?token=" + token, "good", 200},
		{token, "GET http://x/t/other/7", "tenant_denied", 200},
		{token[:len(token)-8] + "AAAAAAAA", "", "token_signature_invalid", 200},
		{"", "", "Paste a token", 400},
		{token, "GET nowhere " + token, "This is no request", 400},
	} {
		answer, body := v.post("/console/inspect", url.Values{"csrf": {csrf}, "token": {c.token}, "request": {c.request}})
		if answer.StatusCode != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%.20s %q: %d, want %d with %q: %s", c.token, c.request, answer.StatusCode, c.status, c.want, body)
		}
		if strings.Contains(body, token[:len(token)-4]) || strings.Contains(body, token[strings.LastIndexByte(token, '.'):]) {
			t.Errorf("%q: the answer has the token", c.request)
		}
	}
	if strings.Contains(g.log.String(), token[len(token)/2:]) {
		t.Error("the log has the token")
	}
}

// TestConsoleShowsTheConfig without its secrets, and what the last reload changed.
func TestConsoleShowsTheConfig(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	v := g.signedIn()
	g.write("{path: /open/, public: true", "{path: /opened/, public: true")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	g.write("routes:", "rutes:")
	if err := g.Reload(); err == nil {
		t.Fatal("a bad file was taken")
	}
	_, body := v.get("/console/config")
	for _, want := range []string{
		"secret: &#39;[redacted]&#39;", "token: &#39;[redacted]&#39;", "path: /opened/",
		"opens</span> any method of /opened/",
		"closes</span> any method of /open/", "rutes", "did you mean routes?", `class="plus"`, `class="minus"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	if strings.Contains(body, "0123456789abcdefghijkl") || strings.Contains(body, operatorToken) {
		t.Error("a secret is shown")
	}
	if _, body := v.get("/"); !strings.Contains(body, "was refused") {
		t.Error("the overview does not tell of the reload that was refused")
	}
}

// TestConsoleMatrix: what is shown of a role is what the gate does.
func TestConsoleMatrix(t *testing.T) {
	t.Parallel()
	g := startGate(t, "roles: {",
		`roles: {boss: [{tenant: "*", actions: ["*"]}], other: [{tenant: acme, actions: [WRITE]}], `)
	v := g.signedIn()
	for holder, want := range map[string]string{
		"role boss": "opens", "role other": "closed", "role reader of a tenant": "opens in part:",
		"without a token": "closed",
	} {
		_, body := v.get("/console/routes?" + url.Values{"holder": {holder}}.Encode())
		at := strings.Index(body, `<th scope="row"><code>/t/{tenant}/</code>`)
		if at < 0 {
			t.Fatalf("%s: %s", holder, body)
		}
		row, _, _ := strings.Cut(body[at:], "</tr>")
		if !strings.Contains(row, `<span class="hide">`+want+`</span>`) {
			t.Errorf("%s: want %s: %s", holder, want, row)
		}
	}
	if status, _ := v.get("/console/routes?holder=nobody"); status != 404 {
		t.Errorf("an unknown holder: %d", status)
	}
}

// TestConsoleEvents are live, bounded in number, and end with the session, with a changed token and with a drain.
func TestConsoleEvents(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	v := g.signedIn()
	listen := func(v *visitor) (*http.Response, *bufio.Reader, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+"/console/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := v.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer, bufio.NewReader(answer.Body), cancel
	}
	answer, events, stop := listen(v)
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	token := g.token("acme")
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); { // longer than the server waits for a request
		if _, err := events.ReadString('\n'); err != nil {
			t.Fatalf("the stream ended by itself: %v", err)
		}
	}
	g.dial("/t/other/7", "Authorization", "Bearer "+token)
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if strings.Contains(line, operatorToken) || strings.Contains(line, token) {
			t.Fatal("an event has a credential")
		}
		if strings.Contains(line, `"reason-0":"tenant_denied"`) {
			break
		}
	}
	for range 7 {
		listen(v)
	}
	if answer, _, _ := listen(v); answer.StatusCode != 503 {
		t.Errorf("a ninth stream: %d", answer.StatusCode)
	}
	stop()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if answer, again, _ := listen(v); answer.StatusCode == 200 {
			events = again
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that its page has left keeps its place")
		}
	}
	g.write(operatorToken, "another-admin-token-of-the-test")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, events); err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Errorf("the stream of an old token: %v", err)
	}
	if status, _ := v.get("/console/codes"); status != 303 {
		t.Errorf("the session of an old token: %d", status)
	}
	g.write()
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := v.get("/console/codes"); status != 303 {
		t.Errorf("the session has come back with its token: %d", status)
	}
	v = g.signedIn()
	_, events, _ = listen(v)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, events)
		ended <- err
	}()
	if err := g.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("a drain leaves a stream open")
	}
}

// TestNoUpstreamSeesTheConsolesCookie: a browser sends it to every port of the host.
func TestNoUpstreamSeesTheConsolesCookie(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	for _, path := range []string{"/open/", "/t/acme/"} {
		_, _, body := g.get(path, "Authorization", "Bearer "+g.token("acme"), "Cookie",
			"a=1; jotgate_console=sealed; __Host-jotgate_console=sealed-too; b=2")
		if strings.Contains(body, "sealed") || !strings.Contains(body, "Cookie: a=1; b=2") {
			t.Errorf("%s: %s", path, body)
		}
		if _, _, body := g.get(path, "Authorization", "Bearer "+g.token("acme"), "Cookie", "jotgate_console=sealed"); strings.
			Contains(body, "Cookie") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// Names that are attacks on a page, as a client can have them in refusals.
const scriptName = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`

func TestConsoleEscapesWhatClientsChoose(t *testing.T) {
	t.Parallel()
	g := startGate(t, "{path: /open/",
		fmt.Sprintf("{name: %q, path: /x/, require: authenticated, upstream: \"$APP\"}\n  - {path: /open/", scriptName))
	m := g.token("acme")
	g.dial("/t/other/%3Cscript%3Ealert(1)%3C/script%3E", "Authorization", "Bearer "+m)
	g.dial("/x/%22onerror=alert(1)", "Authorization", "Bearer "+scriptName)
	id := g.dial("/x/<script>alert(1)</script>").Header.Get("X-Request-Id")
	g.eventually(id)
	v := g.signedIn()
	query := url.Values{"tenant": {scriptName}, "subject": {scriptName}}.Encode()
	for _, path := range append([]string{
		"/console/refusals?" + query, "/console/refusals/" + id,
		"/console/revocations?search=" + url.QueryEscape(scriptName) +
			"&kind=" + url.QueryEscape(scriptName) + "&value=" + url.QueryEscape(scriptName),
		"/console/refusals/" + url.PathEscape(scriptName), "/console/routes?holder=" + url.QueryEscape(scriptName),
		"/?next=" + url.QueryEscape(scriptName),
	}, consolePages...) {
		_, body := v.get(path)
		if strings.Contains(body, "<script>") || strings.Contains(body, "<img") {
			t.Errorf("%s: not escaped: %s", path, body)
		}
	}
}
