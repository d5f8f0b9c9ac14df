package proxy

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

const sourceRoutes = `  - {path: /any, require: authenticated, upstream: app, token_from: [authorization, websocket_protocol, {header: X-Token}, {cookie: session}]}
  - {path: /header, require: authenticated, upstream: app, token_from: [{header: X-Token}]}
  - {path: /cookie, require: authenticated, upstream: app, token_from: [{cookie: session}], cors: {origins: ["https://spa.example", "https://*.wild.example"], credentials: true}}
  - {path: /socket, require: authenticated, upstream: app, upgrade: true, token_from: [authorization, websocket_protocol, {cookie: session}]}
  - {path: /kept, require: authenticated, upstream: app, forward_token: true, token_from: [{header: X-Token}, {cookie: session}]}
  - {path: /maybe, require: optional, upstream: app}
  - {path: /dark, require: authenticated, upstream: app, shadow: true, token_from: [{header: X-Token}, {cookie: session}]}
`

// TestTokensElsewhere: what is taken from where, what is refused, and what the app gets of it.
func TestTokensElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(settings + sourceRoutes)
	h.build()
	good, other := h.mint(), h.mint(func(c *token.Claims) { c.Subject = "bob" })
	auth, header, cookie := "Authorization: Bearer "+good, "X-Token: "+good, "Cookie: a=b; session="+good+"; c=d"
	protocol := "Sec-WebSocket-Protocol: bearer, " + good + ", chat.v1"
	for _, c := range []struct {
		name, method, path string
		lines              []string
		want               refusal.Reason
	}{
		{"authorization", "GET", "/any", []string{auth}, ""},
		{"a header", "GET", "/any", []string{header}, ""},
		{"a header, another spelling of its name", "GET", "/any", []string{"x-token: " + good}, ""},
		{"a protocol", "GET", "/any", []string{protocol}, ""},
		{
			"a protocol, behind others", "GET", "/any",
			[]string{"Sec-WebSocket-Protocol: chat.v1", "Sec-WebSocket-Protocol: bearer ," + good},
			"",
		},
		{"a cookie", "GET", "/any", []string{cookie}, ""},
		{"a cookie, quoted", "GET", "/any", []string{`Cookie: session="` + good + `"`}, ""},
		{"a cookie beside another source does not count", "POST", "/any", []string{auth, "Cookie: session=" + other}, ""},
		{"two sources", "GET", "/any", []string{auth, header}, refusal.CredentialsMultiple},
		{"the same twice", "GET", "/any", []string{header, header}, refusal.CredentialsMultiple},
		{
			"two bearers in one list", "GET", "/any",
			[]string{"Sec-WebSocket-Protocol: bearer, " + good + ", bearer, " + other},
			refusal.CredentialsMultiple,
		},
		{"a cookie twice", "GET", "/any", []string{cookie, "Cookie: session=" + other}, refusal.CredentialsMultiple},
		{"bearer without a token", "GET", "/any", []string{"Sec-WebSocket-Protocol: chat, bearer"}, refusal.TokenMalformed},
		{
			"bearer with a word for a token", "GET", "/any",
			[]string{"Sec-WebSocket-Protocol: bearer, chat"},
			refusal.TokenMalformed,
		},
		{"a scheme in the header", "GET", "/any", []string{"X-Token: Bearer " + good}, refusal.TokenMalformed},
		{"an empty header", "GET", "/any", []string{"X-Token:"}, refusal.TokenMalformed},
		{"beside the query", "GET", "/any?access_token=x", []string{header}, refusal.CredentialsMultiple},
		{
			"beside a cookie access_token", "GET", "/any",
			[]string{header, "Cookie: access_token=" + other},
			refusal.CredentialsMultiple,
		},
		{"none", "GET", "/any", []string{"Cookie: a=b"}, refusal.TokenMissing},

		{"Authorization alone, where it is not named", "GET", "/header", []string{auth}, refusal.TokenMissing},
		{"Authorization beside what is named", "GET", "/header", []string{auth, header}, refusal.CredentialsMultiple},
		{
			"Basic where Authorization is not named is not judged", "GET", "/header",
			[]string{"Authorization: Basic eDp5", header},
			"",
		},
		{"a protocol beside what is named", "GET", "/header", []string{protocol, header}, refusal.CredentialsMultiple},
		{"another route's cookie alone", "GET", "/header", []string{cookie}, refusal.TokenMissing},
		{
			"another route's cookie beside what is named", "GET", "/header",
			[]string{cookie, header},
			refusal.CredentialsMultiple,
		},
		{"another route's cookie on a route without token_from", "GET", "/me", []string{cookie}, refusal.TokenMissing},
		{"another route's cookie beside Authorization", "GET", "/me", []string{cookie, auth}, refusal.CredentialsMultiple},
		{"a protocol on a route without token_from", "GET", "/me", []string{protocol}, refusal.TokenMissing},
		{"a protocol beside Authorization", "GET", "/me", []string{protocol, auth}, refusal.CredentialsMultiple},
		{"other protocols are no tokens", "GET", "/me", []string{"Sec-WebSocket-Protocol: chat, superchat", auth}, ""},
		{"an unnamed cookie where a token is optional", "GET", "/maybe", []string{cookie}, refusal.TokenMissing},
		{"an unnamed protocol where a token is optional", "GET", "/maybe", []string{protocol}, refusal.TokenMissing},
		{"a public route judges none", "GET", "/assets/x", []string{cookie, auth}, ""},

		{"a cookie, read from another site", "GET", "/cookie", []string{cookie, "Sec-Fetch-Site: cross-site"}, ""},
		{"a cookie, by hand", "POST", "/cookie", []string{cookie, "Sec-Fetch-Site: none"}, ""},
		{"a cookie, from this origin", "POST", "/cookie", []string{cookie, "Sec-Fetch-Site: same-origin"}, ""},
		{"a cookie, from this origin by Origin", "POST", "/cookie", []string{cookie, "Origin: http://app.example"}, ""},
		{"a cookie, with the port", "POST", "/cookie", []string{cookie, "Origin: http://app.example:80"}, ""},
		{
			"a form of another site", "POST", "/cookie",
			[]string{cookie, "Sec-Fetch-Site: cross-site", "Origin: https://evil.example"},
			refusal.CrossSite,
		},
		{
			"a sibling host", "POST", "/cookie",
			[]string{cookie, "Sec-Fetch-Site: same-site", "Origin: http://www.app.example"},
			refusal.CrossSite,
		},
		{
			"Sec-Fetch-Site outweighs Origin", "POST", "/cookie",
			[]string{cookie, "Sec-Fetch-Site: cross-site", "Origin: http://app.example"},
			refusal.CrossSite,
		},
		{
			"Sec-Fetch-Site twice", "POST", "/cookie",
			[]string{cookie, "Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"},
			refusal.CrossSite,
		},
		{"neither", "DELETE", "/cookie", []string{cookie}, refusal.CrossSite},
		{"a null origin", "POST", "/cookie", []string{cookie, "Origin: null"}, refusal.CrossSite},
		{"another scheme", "POST", "/cookie", []string{cookie, "Origin: https://app.example"}, refusal.CrossSite},
		{"another port", "POST", "/cookie", []string{cookie, "Origin: http://app.example:8080"}, refusal.CrossSite},
		{
			"an origin that begins like ours", "POST", "/cookie",
			[]string{cookie, "Origin: http://app.example.evil.example"},
			refusal.CrossSite,
		},
		{
			"an origin that ends like ours", "POST", "/cookie",
			[]string{cookie, "Origin: http://evilapp.example"},
			refusal.CrossSite,
		},
		{
			"two origins", "POST", "/cookie",
			[]string{cookie, "Origin: http://app.example", "Origin: https://evil.example"},
			refusal.CrossSite,
		},
		{
			"an origin of cors with credentials", "POST", "/cookie",
			[]string{cookie, "Sec-Fetch-Site: cross-site", "Origin: https://spa.example"},
			"",
		},
		{
			"one that only a wildcard has", "POST", "/cookie",
			[]string{cookie, "Sec-Fetch-Site: cross-site", "Origin: https://a.wild.example"},
			refusal.CrossSite,
		},
		{
			"a WebSocket of another site", "GET", "/cookie",
			[]string{cookie, "Sec-Fetch-Mode: websocket", "Origin: https://evil.example"},
			refusal.CrossSite,
		},
		{
			"its handshake without Upgrade", "GET", "/cookie",
			[]string{cookie, "Sec-WebSocket-Key: x", "Origin: https://evil.example"},
			refusal.CrossSite,
		},
		{
			"any upgrade", "GET", "/cookie",
			[]string{cookie, "Upgrade: foo", "Origin: https://evil.example"},
			refusal.CrossSite,
		},
		{
			"a WebSocket of this origin", "GET", "/cookie",
			[]string{cookie, "Sec-Fetch-Mode: websocket", "Origin: http://app.example"},
			"",
		},
		{"a bad token in shadow", "GET", "/dark", []string{"X-Token: x", "Cookie: session=y; a=b"}, ""},
	} {
		text := c.method + " " + c.path + " HTTP/1.1\r\nHost: app.example\r\nContent-Length: 0\r\n" +
			strings.Join(c.lines, "\r\n") + "\r\n\r\n"
		got, trace := h.verdict(text), h.trace(text, Bearer{})
		if got.reason != c.want || c.path != "/dark" && trace.Reason != c.want || (got.reached == 1) != (c.want == "") {
			t.Errorf("%s: %d %s, traced %s (%s); want %q", c.name, got.status, got.reason, trace.Reason, trace.Detail, c.want)
		}
		if c.want == refusal.CrossSite && (got.status != 403 || got.challenge != "") {
			t.Errorf("%s: %d %q", c.name, got.status, got.challenge)
		}
		if got.reached != 1 || c.path == "/assets/x" {
			continue
		}
		for _, line := range h.app.seen()[0].fields {
			name, value, _ := strings.Cut(line, ": ")
			if strings.Contains(value, good) || strings.Contains(value, other) || strings.EqualFold(name, "X-Token") ||
				strings.EqualFold(name, "Authorization") || strings.Contains(value, "bearer") ||
				strings.Contains(value, "session=") {
				t.Errorf("%s: the app gets %s", c.name, line)
			}
			if strings.EqualFold(name, "Cookie") && value != "a=b; c=d" && value != "a=b" {
				t.Errorf("%s: the app gets the cookies %q", c.name, value)
			}
			if strings.EqualFold(name, protocolField) && value != "chat.v1" && value != "chat, superchat" {
				t.Errorf("%s: the app gets the protocols %q", c.name, value)
			}
		}
	}
	// forward_token is for header and cookie.
	h.verdict(get("/kept", "", "X-Token: "+good, "Cookie: a=b; session="+other))
	sent := h.app.seen()[0]
	if strings.Join(sent.get("X-Token"), "") != good || strings.Join(sent.get("Cookie"), "") != "a=b; session="+other {
		t.Errorf("with forward_token the app gets %q", sent.fields)
	}
}

// TestBoundTokensElsewhere: a token that is bound to a key is none without its proof, wherever it stands.
func TestBoundTokensElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.judgeProofs(nil)
	h.load(settings + sourceRoutes)
	h.build()
	bound := h.mint(func(c *token.Claims) { c.Key = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })
	for _, line := range []string{"X-Token: " + bound, "Cookie: session=" + bound, "Sec-WebSocket-Protocol: bearer, " +
		bound} {
		if got := h.verdict(get("/any", "", line)); got.reason != refusal.TokenBound || got.reached != 0 {
			t.Errorf("%.20s: %+v", line, got)
		}
	}
}

// TestAnswersToTokensElsewhereArePrivate: a shared cache knows of Authorization alone that an answer is one user's (RFC
// 9111 §3.5).
func TestAnswersToTokensElsewhereArePrivate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(settings + sourceRoutes)
	h.build()
	good := h.mint()
	for said, want := range map[string]string{
		"":                                      "private",
		"Cache-Control: public, max-age=60":     "max-age=60, private",
		"Cache-Control: s-maxage=60, max-age=5": "max-age=5, private",
		"cache-control: Private, max-age=5":     "Private, max-age=5",
		"Cache-Control: no-store":               "no-store",
		`Cache-Control: private="Set-Cookie", max-age=600`:  `private="Set-Cookie", max-age=600, private`,
		"Cache-Control: PUBLIC\r\nCache-Control: max-age=1": "max-age=1, private",
	} {
		if said != "" {
			said += "\r\n"
		}
		h.app.says(readAndSay("HTTP/1.1 200 OK\r\n" + said + "Content-Length: 2\r\n\r\nok"))
		got := h.raw(get("/any", "", "X-Token: "+good))
		if text := strings.Join(got.header["Cache-Control"], "; "); text != want || got.body != "ok" {
			t.Errorf("%q: %q, want %q", said, text, want)
		}
	}
	h.app.says(readAndSay("HTTP/1.1 200 OK\r\nCDN-Cache-Control: max-age=600\r\nSurrogate-Control: max-age=600\r\n" +
		"Content-Length: 2\r\n\r\nok"))
	got := h.raw(get("/any", "", "X-Token: "+good)).header
	if got.Get("CDN-Cache-Control")+got.Get("Surrogate-Control") != "" {
		t.Errorf("a CDN may store it: %v", got)
	}
	h.app.says(readAndSay("HTTP/1.1 200 OK\r\nCache-Control: public\r\nContent-Length: 2\r\n\r\nok"))
	if got := h.raw(get("/any", good)); got.header.Get("Cache-Control") != "public" {
		t.Errorf("with Authorization: %q", got.header.Get("Cache-Control"))
	}
}

// TestBearerIsTheProtocolOfLastResort: an app that chooses none of the client's protocols, since it saw none, gets the
// client its answer all the same.
func TestBearerIsTheProtocolOfLastResort(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(settings + sourceRoutes)
	h.build()
	good := h.mint()
	for _, c := range []struct{ offered, answered, sent, want string }{
		{"bearer, " + good, "", "", "bearer"},
		{"bearer, " + good + ", chat.v1", "", "chat.v1", "bearer"},
		{"chat.v1, bearer, " + good, "Sec-WebSocket-Protocol: chat.v1\r\n", "chat.v1", "chat.v1"},
	} {
		h.app.forget()
		h.app.says(func(c2 net.Conn, _ *received) bool {
			_, _ = c2.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
				c.answered + "\r\n"))
			return false
		})
		client, in := h.dial()
		_, _ = client.Write([]byte("GET /socket HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: " +
			"websocket\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: " + c.offered +
			"\r\n\r\n"))
		got, err := http.ReadResponse(in, nil)
		if err != nil || got.StatusCode != 101 || strings.Join(got.Header["Sec-Websocket-Protocol"], ";") != c.want {
			t.Fatalf("%.20s: %v %+v, want %q", c.offered, err, got, c.want)
		}
		_ = client.Close()
		if sent := strings.Join(h.app.seen()[0].get("Sec-WebSocket-Protocol"), ";"); sent != c.sent {
			t.Errorf("%.20s: the app gets %q, want %q", c.offered, sent, c.sent)
		}
	}
}

// A cookie that holds a token comes with every request to its site: no app gets it, a public route's neither.
func TestTokenCookieDoesNotReachPublicRoutes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(settings + sourceRoutes)
	h.build()
	good := h.mint()
	h.app.forget()
	if got := h.raw(get("/assets/x", "", "Cookie: a=b; session="+good+"; c=d")); got.status != 200 {
		t.Fatal(got.status)
	}
	if seen := h.app.seen(); len(seen) != 1 || strings.Join(seen[0].get("Cookie"), "|") != "a=b; c=d" {
		t.Errorf("%v", seen)
	}
}
