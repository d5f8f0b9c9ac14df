package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
)

const loginRoutes = `  - {path: /page/, require: authenticated, upstream: app, login_url: "https://login.example/in?a=1&return_to={url}&b=2"}
  - {path: /named/, hosts: [app.example, "{x}.apps.example"], require: authenticated, upstream: app, token_from: [{cookie: session}], login_url: "https://login.example/?return_to={url}"}
  - {path: /silent/, require: authenticated, upstream: app}
  - {path: /ws-page/, require: authenticated, upstream: app, upgrade: true, login_url: "https://login.example/?return_to={url}"}
`

// TestAPersonWithoutATokenIsSentToSignIn: a navigation, on a host that is ours, and nothing else. What is sent along is
// the request's own URL, whole and encoded.
func TestAPersonWithoutATokenIsSentToSignIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(settings + loginRoutes)
	browser := []string{
		"Accept: text/html,*/*;q=0.8", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document",
		"Sec-Fetch-Site: cross-site",
	}
	and := func(more ...string) []string { return append(append([]string{}, browser...), more...) }
	for _, c := range []struct {
		name, method, host, target, bearer string
		fields                             []string
		location                           string // "": it is refused
		status                             int
	}{
		{
			"a page", "GET", "127.0.0.1:8080", "/page/a?x=1&y=%26%23", "", browser,
			"https://login.example/in?a=1&return_to=http%3A%2F%2F127.0.0.1%3A8080%2Fpage%2Fa%3Fx%3D1%26y%3D%2526%2523&b=2", 302,
		},
		{
			"a host of the route, with a port", "GET", "app.example:8443", "/named/", "", browser,
			"https://login.example/?return_to=http%3A%2F%2Fapp.example%3A8443%2Fnamed%2F", 302,
		},
		{
			"a host of its pattern", "GET", "one.apps.example", "/named/", "", browser,
			"https://login.example/?return_to=http%3A%2F%2Fone.apps.example%2Fnamed%2F", 302,
		},
		{
			"an older browser", "GET", "localhost", "/page/", "", browser[:1],
			"https://login.example/in?a=1&return_to=http%3A%2F%2Flocalhost%2Fpage%2F&b=2", 302,
		},
		{
			"the issuer's host", "GET", "gate.example", "/page/", "", browser,
			"https://login.example/in?a=1&return_to=http%3A%2F%2Fgate.example%2Fpage%2F&b=2", 302,
		},
		{
			"behind a trusted proxy", "GET", "app.example", "/named/", "",
			and("Test-Trusted: 1", "X-Forwarded-Host: app.example:444"),
			"https://login.example/?return_to=http%3A%2F%2Fapp.example%3A444%2Fnamed%2F", 302,
		},
		{
			"a proxy's foreign host", "GET", "app.example", "/named/", "",
			and("Test-Trusted: 1", "X-Forwarded-Host: evil.example"), "", 401,
		},
		{
			"a stranger's X-Forwarded-Host", "GET", "app.example", "/named/", "", and("X-Forwarded-Host: evil.example"),
			"https://login.example/?return_to=http%3A%2F%2Fapp.example%2Fnamed%2F", 302,
		},
		{"a name that somebody points here", "GET", "evil.example", "/page/", "", browser, "", 401},
		{"one that begins like ours", "GET", "app.example.evil.example", "/page/", "", browser, "", 401},
		{"a target that names a host", "GET", "localhost", "http://evil.example/page/", "", browser, "", 400},
		{"a script", "GET", "localhost", "/page/", "", []string{"Accept: text/html", "Sec-Fetch-Mode: cors"}, "", 401},
		{
			"a script of another origin", "GET", "localhost", "/page/", "",
			[]string{"Accept: text/html", "Origin: https://a.example"},
			"", 401,
		},
		{
			"a frame", "GET", "localhost", "/page/", "",
			[]string{"Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
			"", 401,
		},
		{"a tool", "GET", "localhost", "/page/", "", []string{"Accept: */*"}, "", 401},
		{"a form", "POST", "localhost", "/page/", "", browser, "", 401},
		{"HEAD", "HEAD", "localhost", "/page/", "", browser, "", 401},
		{"a WebSocket", "GET", "localhost", "/ws-page/", "", append(and(), upgradeLines...), "", 401},
		{"a bad token", "GET", "localhost", "/page/", "nonsense", browser, "", 401},
		{"another scheme", "GET", "localhost", "/page/", "", and("Authorization: Basic eA=="), "", 401},
		{"a token in the query", "GET", "localhost", "/page/?access_token=x", "", browser, "", 401},
		{"a token where none is taken", "GET", "app.example", "/named/", "x", browser, "", 401},
		{"a route without", "GET", "localhost", "/silent/", "", browser, "", 401},
		{"too long to come back to", "GET", "localhost", "/page/?" + strings.Repeat("x", 2100), "", browser, "", 401},
	} {
		conn, in := h.dial()
		text := head(c.method, c.target, c.bearer, c.fields...)
		text = strings.Replace(text, "Host: app.example\r\n", "Host: "+c.host+"\r\n", 1)
		if !strings.Contains(text, "Host: "+c.host+"\r\n") {
			t.Fatalf("the harness has another host:\n%s", text)
		}
		_, _ = io.WriteString(conn, text)
		a, err := http.ReadResponse(in, &http.Request{Method: c.method})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		conn.Close()
		if got := a.Header.Get("Location"); got != c.location || a.StatusCode != c.status {
			t.Errorf("%s: %d %q, want %d %q", c.name, a.StatusCode, got, c.status, c.location)
		}
		if c.status == 302 {
			if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Vary") != "Accept" ||
				a.Header.Get("Www-Authenticate") != "" || h.visit().Reason != refusal.TokenMissing {
				t.Errorf("%s: %v %s", c.name, a.Header, h.visit().Reason)
			}
		}
	}
	if seen := h.app.seen(); len(seen) > 0 {
		t.Errorf("the app saw %+v", seen)
	}
}
