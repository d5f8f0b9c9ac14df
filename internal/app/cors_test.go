package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// corsApp is an app that speaks CORS for everybody, as many do, and counts what it is asked.
func corsApp(t *testing.T) (url string, seen *atomic.Int64) {
	seen = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Vary", "Accept-Encoding")
		w.Header().Set("X-Total", "7")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, seen
}

const corsRoutes = `cors: {origins: ["https://app.example.com", "https://*.shop.example"], expose: [x-total]}
issuer:
  serve: {cors: {origins: ["https://admin.example.com"], credentials: true, max_age: 0s}}
`

const (
	appsOrigin = "https://app.example.com"
	exposes    = "WWW-Authenticate, DPoP-Nonce, Retry-After, X-Request-Id"
	vary       = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
)

func corsGate(t *testing.T) (g *gate, seen *atomic.Int64) {
	url, seen := corsApp(t)
	g = startGate(t, "$APP", url, "issuer:\n", corsRoutes, "routes:\n", strings.ReplaceAll(`routes:
  - {path: "/r/{tenant}/", methods: [GET, HEAD], require: {tenant_from: path.tenant, action: READ}, upstream: "$APP"}
  - {path: "/r/{tenant}/", methods: [DELETE], require: {tenant_from: path.tenant, action: DROP}, upstream: "$APP"}
  - {path: /own/, public: true, upstream: "$APP", cors: {origins: ["https://*.partner.example:8443"], methods: [PUT], headers: [x-api], max_age: 1h}}
  - {path: /off/, public: true, upstream: "$APP", cors: off}
  - {path: /secret/, require: authenticated, upstream: "$APP", cors: off}
`, "$APP", url))
	return g, seen
}

// ask sends one request and returns its status and the fields that CORS is about.
func (g *gate) ask(method, path string, header ...string) (int, http.Header) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url(path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	_, _ = io.Copy(io.Discard, a.Body)
	return a.StatusCode, corsFields(a.Header)
}

// corsFields are the fields that CORS is about.
func corsFields(all http.Header) http.Header {
	h := http.Header{}
	for name, values := range all {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			h[name] = values
		}
	}
	return h
}

func allow(origin string, more ...string) http.Header {
	h := http.Header{"Access-Control-Allow-Origin": {origin}}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = []string{more[i+1]}
	}
	return h
}

func TestPreflightsAreAnsweredWithoutTokenAndApp(t *testing.T) {
	t.Parallel()
	g, seen := corsGate(t)
	const methods, headers, age = "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"
	const usual = "Authorization, Content-Type, DPoP"
	refused := http.Header{"Vary": {vary}}
	every := "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
	for _, c := range []struct {
		name, path, origin, method string
		status                     int
		want                       http.Header
	}{
		{"a route", "/r/acme/1", appsOrigin, "GET", 204, allow(appsOrigin, methods, "GET, HEAD", headers, usual, age, "600",
			"Vary", vary)},
		{
			"another method's route", "/r/acme/1", appsOrigin, "DELETE", 204,
			allow(appsOrigin, methods, "DELETE", headers, usual, age, "600", "Vary", vary),
		},
		{
			"a label of a wildcard", "/t/acme/1", "https://a.shop.example", "PUT", 204,
			allow("https://a.shop.example", methods, every, headers, usual, age, "600", "Vary", vary),
		},
		{
			"a route of its own", "/own/", "https://x.partner.example:8443", "PUT", 204,
			allow("https://x.partner.example:8443", methods, "PUT", headers, "x-api", age, "3600", "Vary", vary),
		},
		{"another origin", "/r/acme/1", "https://evil.example", "GET", 204, refused},
		{"the top level's origin where a route has its own", "/own/", appsOrigin, "PUT", 204, refused},
		{"another port", "/own/", "https://x.partner.example", "PUT", 204, refused},
		{"two labels", "/t/acme/1", "https://a.b.shop.example", "PUT", 204, refused},
		{"an origin that begins alike", "/r/acme/1", appsOrigin + ".evil.example", "GET", 204, refused},
		{"an origin that ends alike", "/t/acme/1", "https://evil-shop.example", "GET", 204, refused},
		{"null", "/r/acme/1", "null", "GET", 204, refused},
		{
			"a method that the path lacks", "/r/acme/1", appsOrigin, "PUT", 204,
			allow(appsOrigin, methods, "DELETE, GET, HEAD", headers, usual, age, "600", "Vary", vary),
		},
		{
			"no route: so that the script can read the 404", "/nowhere", appsOrigin, "PUT", 204,
			allow(appsOrigin, methods, every, headers, usual, age, "600", "Vary", vary),
		},
		{
			"a path that is refused before a route", "/r/acme/%2e%2e/", appsOrigin, "GET", 400,
			allow(appsOrigin, "Access-Control-Expose-Headers", exposes+", x-total", "Vary", "Origin"),
		},
		{"off: like any request", "/secret/", appsOrigin, "GET", 401, http.Header{}},
		{
			"a token endpoint", "/oauth2/token", "https://admin.example.com", "POST", 204,
			allow("https://admin.example.com", methods, "POST", headers, usual, age, "0", "Access-Control-Allow-Credentials",
				"true", "Vary", vary),
		},
		{
			"a token endpoint with a path parameter", "/api/1/access_token/x", "https://admin.example.com", "GET", 204,
			allow("https://admin.example.com", methods, "GET, HEAD", headers, usual, age, "0",
				"Access-Control-Allow-Credentials", "true", "Vary", vary),
		},
		{"a token endpoint, the routes' origin", "/oauth2/token", appsOrigin, "POST", 204, refused},
		{
			"a public document", "/.well-known/jwks.json", "https://evil.example", "GET", 204,
			allow("*", methods, "GET, HEAD", headers, "*", age, "86400", "Vary", vary),
		},
	} {
		status, got := g.ask("OPTIONS", c.path, "Origin", c.origin, "Access-Control-Request-Method", c.method)
		if diff := cmp.Diff(c.want, got); diff != "" || status != c.status {
			t.Errorf("%s: %d, want %d (-want +got):\n%s", c.name, status, c.status, diff)
		}
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
	if status, got := g.ask(
		"OPTIONS",
		"/off/",
		"Origin",
		appsOrigin,
		"Access-Control-Request-Method",
		"GET",
	); status != 204 || got.Get("Access-Control-Allow-Origin") != appsOrigin ||
		seen.Load() != 1 {
		t.Errorf("where the gate does not speak CORS: %d %v, the app saw %d", status, got, seen.Load())
	}
}

func TestAnswersAndRefusalsCarryTheFields(t *testing.T) {
	t.Parallel()
	g, seen := corsGate(t)
	bearer := "Bearer " + g.token("acme")
	total := exposes + ", x-total"
	fields := allow(appsOrigin, "Access-Control-Expose-Headers", total, "Vary", "Origin")
	fromApp := allow(appsOrigin, "Access-Control-Expose-Headers", total)
	fromApp["Vary"] = []string{"Accept-Encoding", "Origin"}
	none := http.Header{"Vary": {"Origin"}}
	for _, c := range []struct {
		name, method, path, origin, bearer string
		status                             int
		want                               http.Header
	}{
		{"allowed", "GET", "/r/acme/1", appsOrigin, bearer, 200, fromApp},
		{"no token", "GET", "/r/acme/1", appsOrigin, "", 401, fields},
		{"another tenant", "GET", "/r/other/1", appsOrigin, bearer, 403, fields},
		{"another method", "PUT", "/r/acme/1", appsOrigin, bearer, 405, fields},
		{"no route", "GET", "/nowhere", appsOrigin, bearer, 404, fields},
		{"an ambiguous path", "GET", "/r/acme//1", appsOrigin, bearer, 400, fields},
		{
			"another origin", "GET", "/r/acme/1", "https://evil.example", bearer, 200,
			http.Header{"Vary": {"Accept-Encoding", "Origin"}},
		},
		{"another origin, refused", "GET", "/r/acme/1", "https://evil.example", "", 401, none},
		{"no script", "GET", "/r/acme/1", "", "", 401, none},
		{"null", "GET", "/r/acme/1", "null", "", 401, none},
		{"OPTIONS that is no preflight needs a token", "OPTIONS", "/t/acme/1", appsOrigin, "", 401, fields},
		{
			"a token endpoint", "POST", "/oauth2/token", "https://admin.example.com", "", 415,
			allow("https://admin.example.com", "Access-Control-Allow-Credentials", "true", "Access-Control-Expose-Headers",
				exposes, "Vary", "Origin"),
		},
		{"a token endpoint, the routes' origin", "POST", "/oauth2/token", appsOrigin, "", 415, none},
		{
			"the key set", "GET", "/.well-known/jwks.json", "https://evil.example", "", 200,
			allow("*", "Access-Control-Expose-Headers", exposes, "Vary", "Origin"),
		},
		{
			"metadata", "GET", "/.well-known/oauth-authorization-server", "", "", 200,
			allow("*", "Access-Control-Expose-Headers", exposes, "Vary", "Origin"),
		},
		{"openapi", "GET", "/openapi.json", "null", "", 200, allow("*", "Access-Control-Expose-Headers", exposes, "Vary",
			"Origin")},
	} {
		var header []string
		if c.origin != "" {
			header = append(header, "Origin", c.origin)
		}
		if c.bearer != "" {
			header = append(header, "Authorization", c.bearer)
		}
		status, got := g.ask(c.method, c.path, header...)
		if diff := cmp.Diff(c.want, got); diff != "" || status != c.status {
			t.Errorf("%s: %d, want %d (-want +got):\n%s", c.name, status, c.status, diff)
		}
	}
	if n := seen.Load(); n != 2 {
		t.Errorf("the app saw %d requests, want 2", n)
	}
}

// A preflight with a huge question costs no more than one with a small one.
func TestPreflightWithTenThousandHeaders(t *testing.T) {
	t.Parallel()
	g, seen := corsGate(t)
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	ask := func(headers int) string {
		fmt.Fprintf(c, "OPTIONS /r/acme/1 HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\nAccess-Control-Request-Method: GET\r\n"+
			"Access-Control-Request-Headers: %s\r\n\r\n", appsOrigin, strings.Repeat("x,", headers))
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(a.StatusCode, a.Header["Access-Control-Allow-Headers"])
	}
	if small, large := ask(1), ask(10_000); small != large || small != "204 [Authorization, Content-Type, DPoP]" {
		t.Errorf("%s, and with ten thousand headers %s", small, large)
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
}

// Without any cors nothing changes: the app's fields pass, and it answers preflights of public routes.
func TestWithoutCORSTheAppSpeaks(t *testing.T) {
	t.Parallel()
	url, seen := corsApp(t)
	g := startGate(t, "$APP", url)
	want := allow(appsOrigin, "Access-Control-Allow-Credentials", "true", "Vary", "Accept-Encoding")
	for _, header := range [][]string{{"Origin", appsOrigin}, {
		"Origin", appsOrigin, "Access-Control-Request-Method",
		"PUT",
	}} {
		if _, got := g.ask("OPTIONS", "/open/", header...); cmp.Diff(want, got) != "" {
			t.Errorf("%v: %v", header, got)
		}
	}
	if status, got := g.ask("GET", "/t/acme/", "Origin", appsOrigin); status != 401 || len(got) != 0 {
		t.Errorf("a refusal: %d %v", status, got)
	}
	if n := seen.Load(); n != 2 {
		t.Errorf("the app saw %d requests", n)
	}
}

// A front that asks gets the fields with the status of a refusal, which it passes on; a yes has none of them.
func TestFrontsGetTheFieldsWithRefusals(t *testing.T) {
	t.Parallel()
	g := startDecisions(t, "version: 1\n", "version: 1\ncors: {origins: [\"https://app.example.com\"]}\n")
	const url = "https://app.test/none/acme/1"
	allowed := func(r *http.Request) (status int, h http.Header) {
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode, a.Header
	}
	for front, ask := range g.asks() {
		status, h := allowed(ask("OPTIONS", url, "Origin", appsOrigin, "Access-Control-Request-Method", "GET"))
		if status != 403 || h.Get("Access-Control-Allow-Origin") != appsOrigin ||
			h.Get("Access-Control-Allow-Methods") == "" {
			t.Errorf("%s: a preflight: %d %v", front, status, h)
		}
		status, h = allowed(ask("GET", url, "Origin", appsOrigin))
		if status != 401 || h.Get("Access-Control-Allow-Origin") != appsOrigin {
			t.Errorf("%s: a refusal: %d %v", front, status, h)
		}
		status, h = allowed(ask("GET", url, "Origin", appsOrigin, "Authorization", "Bearer "+g.token("acme")))
		if status != 200 || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a yes: %d %v", front, status, h)
		}
	}
}

// What is refused before its head was read to the end has the fields of the top level, too, if its Origin was read by
// then: a script can tell too large a cookie from a dead network.
func TestRefusalsOfUnreadHeadsCarryTheFields(t *testing.T) {
	t.Parallel()
	for _, http2 := range []string{"own", "standard"} {
		url, seen := corsApp(t)
		pair := listentest.WritePair(t, "127.0.0.1")
		limits := "limits: {http2: " + http2 + ", header_bytes: 4096, uri_bytes: 1024}\n"
		g := startGate(t, "$APP", url, "issuer:\n", limits+corsRoutes,
			"listen: 127.0.0.1:0\n", fmt.Sprintf("listeners:\n  - {name: main, address: \"127.0.0.1:0\"}\n  - {name: tls, "+
				"address: \"127.0.0.1:0\", tls: {certificates: [{cert: %q, key: %q}]}}\n", pair.Cert, pair.Key))
		fields := allow(appsOrigin, "Access-Control-Expose-Headers", exposes+", x-total", "Vary", "Origin")
		none := http.Header{"Vary": {"Origin"}}
		const origin = "Origin: " + appsOrigin + "\r\n"
		const get, post = "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
		large := strings.Repeat("a", 5000)
		for _, c := range []struct {
			name, head string
			status     int
			want       http.Header
		}{
			{"a cookie over the limit", get + origin + "Cookie: " + large, 431, fields},
			{"more fields than the limit", get + origin + strings.Repeat("A:\r\n", 1000), 431, fields},
			{"a field that is none", get + origin + "A b: c\r\n", 400, fields},
			{"no host, and no fault before the end", "GET / HTTP/1.1\r\n" + origin + "\r\n", 400, fields},
			{"two lengths", post + origin + "Content-Length: 1\r\nContent-Length: 1\r\n", 400, fields},
			{"a target that is none", "GET /%zz HTTP/1.1\r\nHost: a\r\n" + origin + "\r\n", 400, none}, // the first line
			{"spelled otherwise", get + "oRIGIN:" + appsOrigin + " \r\nA b: c\r\n", 400, fields},
			{"an Origin behind the limit", get + "A: " + large, 431, none},
			{"another origin", get + "Origin: https://evil.example\r\nA b: c\r\n", 400, none},
			{"two origins", get + origin + "Origin: https://evil.example\r\nA b: c\r\n", 400, none},
			{"half an origin", get + "Origin: " + appsOrigin + "\x01", 400, none},
			{"a folded origin", get + "Origin:\r\n " + appsOrigin + "\r\n", 400, none},
			{"an unknown expectation", get + origin + "Expect: more\r\n\r\n", 417, fields},
		} {
			conn, err := net.Dial("tcp", g.Addr("main").String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, c.head)
			a, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got := corsFields(a.Header)
			if diff := cmp.Diff(c.want, got); diff != "" || a.StatusCode != c.status {
				t.Errorf("%s: %d, want %d (-want +got):\n%s", c.name, a.StatusCode, c.status, diff)
			}
			_ = conn.Close()
		}
		client := listentest.Client(t, true)
		for _, c := range []struct {
			origin string
			want   http.Header
		}{{appsOrigin, fields}, {"https://evil.example", none}} {
			target := "https://" + g.Addr("tls").String() + "/" + strings.Repeat("a", 2000)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Origin", c.origin)
			a, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			if diff := cmp.Diff(c.want, corsFields(a.Header)); diff != "" || a.StatusCode != 414 || a.ProtoMajor != 2 {
				t.Errorf("%s, %s: %d, want 414 (-want +got):\n%s", http2, c.origin, a.StatusCode, diff)
			}
		}
		if n := seen.Load(); n != 0 {
			t.Errorf("the app saw %d requests", n)
		}
	}
}
