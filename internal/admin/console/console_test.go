package console

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/telemetry"
)

const adminToken = "an-admin-token-of-the-console"

// A stage is a console with a clock and a token that a test can set.
type stage struct {
	*Console
	now    time.Time
	token  string
	audits []string
}

func newStage() *stage {
	s := &stage{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), token: adminToken}
	s.Console = New(Options{
		Token: func() string { return s.token }, Clock: func() time.Time { return s.now },
		Audit:    func(_ *http.Request, event, outcome string) { s.audits = append(s.audits, event+" "+outcome) },
		Overview: func() Overview { return Overview{} }, Load: func() Load { return Load{} },
		Traffic:  func() telemetry.Reading { return telemetry.Reading{} },
		Refusals: func(admin.RefusalQuery) admin.RefusalPage { return admin.RefusalPage{} },
		Recent:   func(time.Time) []Recent { return nil }, Memories: func() Memories { return Memories{} },
	})
	return s
}

// A shot is one request to a stage.
type shot struct {
	method, path, host, remote string
	form                       url.Values
	header                     map[string]string
	cookies                    []*http.Cookie
}

func (s *stage) shoot(q shot) *httptest.ResponseRecorder {
	if q.method == "" {
		q.method = http.MethodGet
	}
	r := httptest.NewRequest(q.method, q.path, strings.NewReader(q.form.Encode()))
	r.Host, r.RemoteAddr = "127.0.0.1:9090", "127.0.0.1:50000"
	if q.host != "" {
		r.Host = q.host
	}
	if q.remote != "" {
		r.RemoteAddr = q.remote
	}
	if q.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	for _, c := range q.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// signIn posts a token, from an address, with a fresh form.
func (s *stage) signIn(token, remote string) *httptest.ResponseRecorder {
	return s.shoot(shot{
		method: "POST", path: signInPath, remote: remote,
		form: url.Values{"csrf": {s.sessions.signInForm()}, "token": {token}},
	})
}

func (s *stage) session(t *testing.T) *http.Cookie {
	t.Helper()
	w := s.signIn(adminToken, "")
	if w.Code != http.StatusSeeOther || len(w.Result().Cookies()) != 1 {
		t.Fatalf("sign-in: %d %s", w.Code, w.Body)
	}
	return w.Result().Cookies()[0]
}

func (s *stage) csrf(c *http.Cookie) string { return s.sessions.form(s.sessions.open(c.Value)) }

// in reports whether a cookie opens the console.
func (s *stage) in(cookies ...*http.Cookie) bool {
	return s.shoot(shot{path: "/console/codes", cookies: cookies}).Code == http.StatusOK
}

// TestEveryAnswerIsHardened: pages, failures, redirects and assets.
func TestEveryAnswerIsHardened(t *testing.T) {
	t.Parallel()
	s := newStage()
	c := s.session(t)
	for _, q := range []shot{
		{path: "/"},
		{path: "/", cookies: []*http.Cookie{c}},
		{path: "/console/codes"},
		{path: "/console/nowhere"},
		{path: "/console/console.js"},
		{path: signInPath},
		{path: eventsPath},
		{method: "POST", path: signInPath},
	} {
		h := s.shoot(q).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "frame-ancestors 'none'",
			"base-uri 'none'", "form-action 'self'",
		} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %s", q.path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" ||
			!strings.Contains(h.Get("Cache-Control"), "no-") || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", q.path, h)
		}
	}
}

// TestTemplatesHaveNoInlineCode that the policy would stop, and load no file from elsewhere.
func TestTemplatesHaveNoInlineCode(t *testing.T) {
	t.Parallel()
	inline := regexp.MustCompile(`(?i)<script>|<style|\sstyle=|\son[a-z]+=|javascript:|(src|href|action)="(https?:)?//`)
	entries, err := files.ReadDir("assets")
	if err != nil || len(entries) < 10 {
		t.Fatalf("%d assets: %v", len(entries), err)
	}
	for _, e := range entries {
		data, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := inline.Find(data); found != nil && strings.HasSuffix(e.Name(), ".html") {
			t.Errorf("%s: %s", e.Name(), found)
		}
		if regexp.MustCompile(`@import|url\(|innerHTML|eval\(`).Match(data) {
			t.Errorf("%s loads or runs something", e.Name())
		}
	}
}

// TestForgedCookies: of another process, of another key, cut, changed, old, and of a form.
func TestForgedCookies(t *testing.T) {
	t.Parallel()
	s, other := newStage(), newStage()
	c := s.session(t)
	if !s.in(c) {
		t.Fatal("the session does not open the console")
	}
	cookie := func(value string) *http.Cookie { return &http.Cookie{Name: c.Name, Value: value} }
	for name, forged := range map[string]*http.Cookie{
		"of another process": other.session(t), "cut": cookie(c.Value[:len(c.Value)-2]), "empty": cookie(""),
		"longer": cookie(c.Value + "AAAA"), "padded": cookie(c.Value + "="),
		"a sign-in form": cookie(s.sessions.signInForm()),
		"a form":         cookie(s.csrf(c)), "zeros": cookie(base64.RawURLEncoding.EncodeToString(make([]byte, 64))),
		"another name":                {Name: "__Host-" + c.Name, Value: c.Value},
		"sealed by us for another id": cookie(s.sessions.sealed("session", make([]byte, 8+idBytes))),
	} {
		if s.in(forged) {
			t.Errorf("%s opens the console", name)
		}
	}
	for i := range c.Value {
		other := byte('A')
		if c.Value[i] == other {
			other = 'B'
		}
		if s.in(cookie(c.Value[:i] + string(other) + c.Value[i+1:])) {
			t.Errorf("with character %d changed it opens the console", i)
		}
	}
}

// TestCookiePlantedByAnotherPort: cookies ignore ports. What another port has set neither opens the console nor keeps
// the operator's own from doing so.
func TestCookiePlantedByAnotherPort(t *testing.T) {
	t.Parallel()
	s := newStage()
	c := s.session(t)
	planted := &http.Cookie{Name: c.Name, Value: "planted"}
	if s.in(planted) {
		t.Error("a planted cookie opens the console")
	}
	if !s.in(planted, c) || !s.in(c, planted) || !s.in(planted, planted, planted, c) {
		t.Error("a planted cookie keeps the session out")
	}
	// A page of another port is of the same site, so that the browser sends the session with what it asks for.
	form := url.Values{"csrf": {s.csrf(c)}}
	for name, header := range map[string]map[string]string{
		"same site": {"Sec-Fetch-Site": "same-site"}, "cross site": {"Sec-Fetch-Site": "cross-site"},
		"another port": {"Origin": "http://127.0.0.1:3000"}, "another host": {"Origin": "http://evil.example.com"},
		"an opaque origin": {"Origin": "null"},
	} {
		w := s.shoot(shot{method: "POST", path: signOutPath, form: form, header: header, cookies: []*http.Cookie{c}})
		if w.Code != http.StatusForbidden || !s.in(c) {
			t.Errorf("%s: %d", name, w.Code)
		}
		if w := s.shoot(shot{path: eventsPath, header: header, cookies: []*http.Cookie{c}}); header["Origin"] == "" &&
			w.Code != http.StatusForbidden {
			t.Errorf("%s listens to events: %d", name, w.Code)
		}
	}
}

// TestCSRF: a form is of its session.
func TestCSRF(t *testing.T) {
	t.Parallel()
	s := newStage()
	mine, other := s.session(t), s.session(t)
	for name, form := range map[string]url.Values{
		"none": {}, "empty": {"csrf": {""}}, "of another session": {"csrf": {s.csrf(other)}},
		"of the sign-in page": {"csrf": {s.sessions.signInForm()}}, "the cookie": {"csrf": {mine.Value}},
	} {
		for _, path := range []string{signOutPath, "/console/inspect", "/console/revocations", "/console/revocations/undo"} {
			if w := s.shoot(shot{method: "POST", path: path, form: form, cookies: []*http.Cookie{mine}}); w.Code != 403 {
				t.Errorf("%s: %s: %d", name, path, w.Code)
			}
		}
	}
	w := s.shoot(shot{
		method: "POST", path: signOutPath, form: url.Values{"csrf": {s.csrf(mine), s.csrf(mine)}},
		cookies: []*http.Cookie{mine},
	})
	if w.Code != http.StatusBadRequest || !s.in(mine) {
		t.Errorf("twice: %d", w.Code)
	}
	w = s.shoot(shot{
		method: "POST", path: signOutPath, form: url.Values{"csrf": {s.csrf(mine)}}, cookies: []*http.Cookie{mine},
		header: map[string]string{"Origin": "http://127.0.0.1:9090", "Sec-Fetch-Site": "same-origin"},
	})
	if w.Code != http.StatusSeeOther || s.in(mine) || !s.in(other) {
		t.Errorf("the right one: %d", w.Code)
	}
}

// TestLoginCSRF: no other site signs a browser in, or with a form that is not ours.
func TestLoginCSRF(t *testing.T) {
	t.Parallel()
	s := newStage()
	old := s.sessions.signInForm()
	s.now = s.now.Add(signInLife)
	for name, q := range map[string]shot{
		"no form":          {form: url.Values{"token": {adminToken}}},
		"another's form":   {form: url.Values{"token": {adminToken}, "csrf": {newStage().sessions.signInForm()}}},
		"an old form":      {form: url.Values{"token": {adminToken}, "csrf": {old}}},
		"another origin":   {header: map[string]string{"Origin": "http://127.0.0.1:3000"}},
		"another site":     {header: map[string]string{"Sec-Fetch-Site": "cross-site"}},
		"of the same site": {header: map[string]string{"Sec-Fetch-Site": "same-site"}},
	} {
		if q.method, q.path = "POST", signInPath; q.form == nil {
			q.form = url.Values{"token": {adminToken}, "csrf": {s.sessions.signInForm()}}
		}
		if w := s.shoot(q); w.Code != http.StatusForbidden || len(w.Result().Cookies()) > 0 {
			t.Errorf("%s: %d %v", name, w.Code, w.Result().Cookies())
		}
	}
}

// TestSessionsEnd after eight hours, with a changed token even if it comes back, and when others push them out.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newStage()
	c := s.session(t)
	s.now = s.now.Add(sessionLife - time.Millisecond)
	if !s.in(c) {
		t.Error("it ends early")
	}
	s.now = s.now.Add(time.Millisecond)
	if s.in(c) {
		t.Error("it does not end")
	}
	s.now = s.now.Add(-time.Hour)
	if s.in(c) {
		t.Error("a clock that is set back brings it back")
	}
	for _, token := range []string{"another-admin-token-of-it", ""} {
		c = s.session(t)
		s.token = token
		s.TokenChanged()
		if s.in(c) {
			t.Errorf("it outlives its token: %q", token)
		}
		s.token = adminToken
		if s.in(c) {
			t.Error("it comes back with its token")
		}
	}
	c = s.session(t)
	for range mostSessions {
		s.now = s.now.Add(time.Second)
		s.session(t)
	}
	if s.in(c) || len(s.sessions.live) != mostSessions {
		t.Errorf("%d sessions", len(s.sessions.live))
	}
}

// TestCookieName: away from plain loopback the cookie is Secure, and its name says so.
func TestCookieName(t *testing.T) {
	t.Parallel()
	for host, loopback := range map[string]bool{
		"127.0.0.1:9090": true, "localhost:9090": true, "LOCALHOST": true, "[::1]:9090": true, "127.9.9.9": true,
		"10.0.0.7:9090": false, "192.0.2.1": false, "[2001:db8::1]:9090": false, "gate.example.com": false,
	} {
		s := newStage()
		w := s.shoot(shot{
			method: "POST", path: signInPath, host: host,
			form: url.Values{"csrf": {s.sessions.signInForm()}, "token": {adminToken}},
		})
		c := w.Result().Cookies()
		if len(c) != 1 || c[0].Secure == loopback || strings.HasPrefix(c[0].Name, "__Host-") == loopback || !c[0].HttpOnly ||
			c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "/" || c[0].Domain != "" {
			t.Errorf("%s: %v", host, c)
		}
	}
}

// TestBruteForce: an address has to wait longer each time, with the right token too; all addresses share a room for
// wrong ones, which keeps no other address out.
func TestBruteForce(t *testing.T) {
	t.Parallel()
	s := newStage()
	const attacker, operator = "192.0.2.1:1000", "198.51.100.1:1000"
	for i := range freeFailures {
		if w := s.signIn("wrong", attacker); w.Code != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i, w.Code)
		}
	}
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		w := s.signIn(adminToken, attacker)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("before %d s: %d", wait, w.Code)
		}
		s.now = s.now.Add(wait * time.Second)
		if w := s.signIn("wrong", attacker); w.Code != http.StatusUnauthorized {
			t.Errorf("after %d s: %d %s", wait, w.Code, w.Header().Get("Retry-After"))
		}
	}
	if w := s.signIn(adminToken, operator); w.Code != http.StatusSeeOther {
		t.Errorf("another address: %d", w.Code)
	}
	s.now = s.now.Add(time.Hour)
	if w := s.signIn(adminToken, attacker); w.Code != http.StatusSeeOther {
		t.Errorf("an hour later: %d", w.Code)
	}
	codes := map[int]int{}
	for i := range 200 { // each from a network of its own
		at := netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(i)}), 1000)
		codes[s.signIn("wrong", at.String()).Code]++
	}
	if codes[http.StatusUnauthorized] > burst+1 || codes[http.StatusTooManyRequests] < 160 {
		t.Errorf("all addresses: %v", codes)
	}
	if w := s.signIn(adminToken, operator); w.Code != http.StatusSeeOther {
		t.Errorf("the operator, during a flood: %d", w.Code)
	}
	for range 30 { // one network of IPv6
		s.signIn("wrong", "[2001:db8:ffff::1]:1")
	}
	if n := s.attempts.addresses.Len(); n > mostAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
	if len(s.audits) < 200 || !strings.Contains(strings.Join(s.audits, ","), "console_sign_in limited") {
		t.Errorf("%d audit lines", len(s.audits))
	}
}

// TestMethods: another method than a path has is 405 with Allow.
func TestMethods(t *testing.T) {
	t.Parallel()
	s := newStage()
	c := s.session(t)
	for path, allow := range map[string]string{
		signInPath: "POST", signOutPath: "POST", "/console/revocations/undo": "POST", eventsPath: "GET, HEAD",
		"/console/codes": "GET, HEAD", "/console/inspect": "GET, HEAD, POST", "/console/revocations": "GET, HEAD, POST",
		"/": "GET, HEAD", "/console/console.css": "GET, HEAD",
	} {
		for _, cookies := range [][]*http.Cookie{nil, {c}} {
			w := s.shoot(shot{method: "DELETE", path: path, cookies: cookies})
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != allow {
				t.Errorf("DELETE %s: %d %q, want 405 %q", path, w.Code, w.Header().Get("Allow"), allow)
			}
		}
	}
}

// TestOversizedForms and others that no page of ours sends.
func TestOversizedForms(t *testing.T) {
	t.Parallel()
	s := newStage()
	c := s.session(t)
	large := url.Values{"csrf": {s.csrf(c)}, "token": {strings.Repeat("x", formBytes)}}
	for _, path := range []string{signInPath, "/console/inspect", signOutPath} {
		w := s.shoot(shot{method: "POST", path: path, form: large, cookies: []*http.Cookie{c}})
		if w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d", path, w.Code)
		}
		for kind, want := range map[string]int{"application/json": 415, "multipart/form-data; boundary=x": 415, "": 415} {
			w := s.shoot(shot{
				method: "POST", path: path, form: url.Values{"csrf": {"x"}}, cookies: []*http.Cookie{c},
				header: map[string]string{"Content-Type": kind},
			})
			if w.Code != want {
				t.Errorf("%s as %q: %d", path, kind, w.Code)
			}
		}
	}
	if !s.in(c) {
		t.Error("the session has ended")
	}
}

// TestFollowing: a sign-in leads nowhere but to the console.
func TestFollowing(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/console/refusals?reason=token_expired": "/console/refusals?reason=token_expired",
		"/console/config":                        "/console/config",
		"":                                       "/", "https://evil.example.com/console/": "/", "//evil.example.com/console/": "/", "/\\evil.example.com": "/",
		"/console/..//evil": "/", "/console//evil.example.com": "/", "javascript:alert(1)": "/", "/metrics": "/",
		"/console/\r\nSet-Cookie: a=b": "/", "http:/console/x": "/", "/console/%2e%2e//x": "/",
	} {
		if got := following(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	for have, want := range map[string]string{
		number(0): "0", number(999): "999", number(1234567): "1\u202f234\u202f567", number(-1000): "-1\u202f000",
		brief(0): "0 µs", brief(1500 * time.Microsecond): "1.5 ms", brief(90 * time.Second): "1 min 30 s",
		brief(25 * time.Hour): "1 d 1 h", brief(-time.Second): "−1 s", rate(0.26): "0.3", rate(1234): "1\u202f234",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
	for most, want := range map[float64]float64{0: 1, .3: .5, 1: 1, 1.1: 2, 7: 10, 70: 100, 130: 200} {
		if got := nice(most); got != want {
			t.Errorf("nice(%v) = %v, want %v", most, got, want)
		}
	}
}
