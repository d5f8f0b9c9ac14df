package app_test

import (
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

// settingsOfDecisions has a route that only fronts ask about beside those of settings.
const decisionRoutes = `routes:
  - {path: "/none/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: none}
  - {path: "/w/{tenant}/", methods: [POST], require: {tenant_from: path.tenant, action: WRITE}, upstream: none}
  - {path: "/q/", require: {tenant_from: query.tenant, action: READ}, upstream: none}
  - {path: /ws/, require: authenticated, upgrade: true, upstream: none}`

func startDecisions(t *testing.T, edits ...string) *gate {
	return startGate(t, append([]string{
		"routes:", decisionRoutes, "drain:", "decision: {listen: \"127.0.0.1:0\"}\ndrain:",
	}, edits...)...)
}

// An ask is a question over HTTP, in the words of one front.
type ask func(method, url string, fields ...string) *http.Request

// asks returns how each front says that it has a request.
func (g *gate) asks() map[string]ask {
	to := func(path string) *http.Request {
		r, err := http.NewRequest("GET", "http://"+g.DecisionAddr().String()+path, nil)
		if err != nil {
			g.t.Fatal(err)
		}
		return r
	}
	add := func(r *http.Request, fields []string) *http.Request {
		for i := 0; i < len(fields); i += 2 {
			r.Header.Add(fields[i], fields[i+1])
		}
		return r
	}
	parts := func(url string) (scheme, host, target string) {
		scheme, rest, _ := strings.Cut(url, "://")
		host, target, _ = strings.Cut(rest, "/")
		return scheme, host, "/" + target
	}
	forwarded := func(path string) ask {
		return func(method, url string, fields ...string) *http.Request {
			scheme, host, target := parts(url)
			return add(to(path), append([]string{
				"X-Forwarded-Method", method, "X-Forwarded-Proto", scheme, "X-Forwarded-Host", host,
				"X-Forwarded-Uri", target, "X-Forwarded-For", "192.0.2.7",
			}, fields...))
		}
	}
	return map[string]ask{
		"nginx": func(method, url string, fields ...string) *http.Request {
			scheme, host, target := parts(url)
			r := add(to("/nginx"), append([]string{
				"X-Original-Method", method, "X-Original-Uri", target, "X-Forwarded-Proto", scheme, "X-Forwarded-For", "192.0.2.7",
			}, fields...))
			r.Host = host
			return r
		},
		"ingress-nginx": func(method, url string, fields ...string) *http.Request {
			return add(to("/nginx"), append([]string{
				"X-Original-Method", method, "X-Original-Url", url, "X-Forwarded-For", "192.0.2.7",
			}, fields...))
		},
		"traefik": forwarded("/traefik"),
		"caddy":   forwarded("/caddy?a=b"), // Caddy appends the request's query
		"haproxy": forwarded("/haproxy"),
		"envoy": func(method, url string, fields ...string) *http.Request {
			scheme, host, target := parts(url)
			r := add(to("/"), append([]string{"X-Forwarded-Proto", scheme, "X-Forwarded-For", "192.0.2.7"}, fields...))
			r.Method, r.Host = method, host
			r.URL.Opaque = "/envoy" + target
			return r
		},
	}
}

// answer sends a question.
func (g *gate) answer(r *http.Request) *http.Response {
	g.t.Helper()
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		g.t.Fatal(err)
	}
	return a
}

// Every front, in its own words, gets the verdict that the request would get from a listener.
func TestFrontsAreAnsweredAsARequestWouldBe(t *testing.T) {
	t.Parallel()
	g := startDecisions(t)
	good := "Bearer " + g.token("acme")
	expired := "Bearer " + g.tokenOf(time.Now().Add(-2*time.Hour), "acme")
	for _, c := range []struct {
		name, method, url string
		fields            []string
		want              int
		tenant            string
	}{
		{"allowed", "GET", "https://app.test/none/acme/x?y=1", []string{"Authorization", good}, 200, "acme"},
		{"allowed, with an upstream", "GET", "https://app.test/t/acme/", []string{"Authorization", good}, 200, "acme"},
		{"wrong tenant", "GET", "https://app.test/none/globex/x", []string{"Authorization", good}, 403, ""},
		{"no token", "GET", "https://app.test/none/acme/x", nil, 401, ""},
		{"expired", "GET", "https://app.test/none/acme/x", []string{"Authorization", expired}, 401, ""},
		{"POST with a READ token", "POST", "https://app.test/w/acme/x", []string{"Authorization", good}, 403, ""},
		{"a method that the route lacks", "GET", "https://app.test/w/acme/x", []string{"Authorization", good}, 405, ""},
		{
			"a spoofed identity", "GET", "https://app.test/none/acme/x",
			[]string{"X-Jotgate-Tenant", "acme", "X-Jotgate-Subject", "root"},
			401, "",
		},
		{
			"a spoofed identity beside a token", "GET", "https://app.test/none/acme/x",
			[]string{"Authorization", good, "X-Jotgate-Tenant", "globex"},
			200, "acme",
		},
		{"encoded slash", "GET", "https://app.test/none/globex%2f..%2facme/x", []string{"Authorization", good}, 400, ""},
		{"double slash", "GET", "https://app.test/none//acme/x", []string{"Authorization", good}, 400, ""},
		{"dot segments", "GET", "https://app.test/none/globex/../acme/x", []string{"Authorization", good}, 400, ""},
		{"query tenant", "GET", "https://app.test/q/?tenant=acme", []string{"Authorization", good}, 200, "acme"},
		{
			"query tenant twice", "GET", "https://app.test/q/?tenant=acme&tenant=globex",
			[]string{"Authorization", good},
			400,
			"",
		},
		{
			"two credentials", "GET", "https://app.test/none/acme/x",
			[]string{"Authorization", good, "Authorization", good},
			400, "",
		},
		{"no route", "GET", "https://app.test/elsewhere", []string{"Authorization", good}, 404, ""},
		{"an endpoint of ours", "POST", "https://gate.test/api/v1/tokens", []string{"Authorization", good}, 404, ""},
		{"public", "GET", "https://app.test/open/x", nil, 200, ""},
		{
			"WebSocket that the route allows", "GET", "https://app.test/ws/",
			[]string{"Authorization", good, "Sec-Websocket-Key", "a"},
			200, "",
		},
		{
			"WebSocket that it does not", "GET", "https://app.test/none/acme/x",
			[]string{"Authorization", good, "Sec-Websocket-Key", "a"},
			400, "",
		},
		{
			"WebSocket by Sec-Fetch-Mode", "GET", "https://app.test/none/acme/x",
			[]string{"Authorization", good, "Sec-Fetch-Mode", "websocket"},
			400, "",
		},
		{"gRPC without a token", "POST", "https://app.test/w/acme/x", []string{"Content-Type", "application/grpc"}, 401, ""},
	} {
		for name, ask := range g.asks() {
			a := g.answer(ask(c.method, c.url, c.fields...))
			want, said := c.want, ""
			if strings.HasSuffix(name, "nginx") && want >= 400 {
				said = http.StatusText(want)
				if want != 401 {
					want = 403
				}
			}
			if a.StatusCode != want || said != "" && a.Header.Get("X-Jotgate-Status") != strconv.Itoa(c.want) {
				t.Errorf("%s, %s: %d %v, want %d", c.name, name, a.StatusCode, a.Header, want)
			}
			if a.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s, %s: no request id", c.name, name)
			}
			if want == 401 && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s, %s: no challenge", c.name, name)
			}
			if c.want != 200 {
				continue
			}
			for _, field := range []string{
				"Subject", "Issuer", "Client", "Tenant", "Actions", "Token-Id", "Cert-Subject", "Cert-San", "Cert-Sha256",
			} {
				if values := a.Header.Values("X-Jotgate-" + field); len(values) != 1 {
					t.Errorf("%s, %s: X-Jotgate-%s is there %d times, it must be there to overwrite the client's", c.name, name, field,
						len(values))
				}
			}
			if got := a.Header.Get("X-Jotgate-Tenant"); got != c.tenant {
				t.Errorf("%s, %s: tenant %q, want %q", c.name, name, got, c.tenant)
			}
		}
	}
	for name := range maps.Keys(g.asks()) {
		if name != "ingress-nginx" {
			g.eventually(`"front":"` + name + `"`)
		}
	}
	g.eventually(`"client":"192.0.2.7"`)
}

// What a client can add to a question through its front makes it refused, never another question.
func TestQuestionsThatSayTwoThings(t *testing.T) {
	t.Parallel()
	g := startDecisions(t)
	good := "Bearer " + g.token("acme")
	const url = "https://app.test/none/acme/x"
	for _, c := range []struct {
		name, front string
		fields      []string // the client's, "-" before a name removes the front's
		want        int
	}{
		{"two methods", "nginx", []string{"X-Original-Method", "GET"}, 403},
		{"no method", "nginx", []string{"-X-Original-Method", ""}, 403},
		{"two URIs", "nginx", []string{"X-Original-Uri", "/open/"}, 403},
		{"the same URI twice", "nginx", []string{"X-Original-Uri", "/none/acme/x"}, 403},
		{"another URL beside the URI", "nginx", []string{"X-Original-Url", "https://app.test/open/"}, 403},
		{"another host beside the URI", "nginx", []string{"X-Original-Url", "https://other.test/none/acme/x"}, 403},
		{"the same URL beside the URI", "nginx", []string{"X-Original-Url", url}, 200},
		{"no URI", "nginx", []string{"-X-Original-Uri", ""}, 403},
		{"another URI beside the URL", "ingress-nginx", []string{"X-Original-Uri", "/open/"}, 403},
		{
			"user in the URL", "ingress-nginx",
			[]string{"-X-Original-Url", "", "X-Original-Url", "https://a@app.test/none/acme/x"},
			403,
		},
		{"URL without a path", "ingress-nginx", []string{"-X-Original-Url", "", "X-Original-Url", "https://app.test"}, 403},
		{"two methods", "traefik", []string{"X-Forwarded-Method", "GET"}, 400},
		{"no method", "caddy", []string{"-X-Forwarded-Method", ""}, 400},
		{"two hosts", "caddy", []string{"X-Forwarded-Host", "other.test"}, 400},
		{"two URIs", "haproxy", []string{"X-Forwarded-Uri", "/open/"}, 400},
		{"no scheme", "traefik", []string{"-X-Forwarded-Proto", ""}, 400},
		{"an unknown scheme", "traefik", []string{"-X-Forwarded-Proto", "", "X-Forwarded-Proto", "gopher"}, 400},
		{"a WebSocket's scheme", "traefik", []string{"-X-Forwarded-Proto", "", "X-Forwarded-Proto", "wss"}, 200},
		{"an absolute URI", "caddy", []string{"-X-Forwarded-Uri", "", "X-Forwarded-Uri", "http://app.test/none/acme/x"}, 400},
		{"nginx's fields to another front", "caddy", []string{"X-Original-Uri", "/open/", "X-Original-Method", "HEAD"}, 200},
	} {
		r := g.asks()[c.front]("GET", url, "Authorization", good)
		for i := 0; i < len(c.fields); i += 2 {
			if name, removed := strings.CutPrefix(c.fields[i], "-"); removed {
				r.Header.Del(name)
			} else {
				r.Header.Add(c.fields[i], c.fields[i+1])
			}
		}
		if a := g.answer(r); a.StatusCode != c.want || a.StatusCode == 403 && a.Header.Get("X-Jotgate-Status") != "400" {
			t.Errorf("%s, %s: %d %v, want %d", c.front, c.name, a.StatusCode, a.Header, c.want)
		}
	}
}

func TestOnlyFrontsMayAsk(t *testing.T) {
	t.Parallel()
	if g := startGate(t); g.DecisionAddr() != nil {
		t.Fatal("a decision listener without decision")
	}
	g := startGate(t, "routes:", decisionRoutes, "drain:",
		"decision: {listen: \"127.0.0.1:0\", from: [192.0.2.0/24]}\ndrain:")
	good := "Bearer " + g.token("acme")
	for name, ask := range g.asks() {
		if a := g.answer(ask("GET", "https://app.test/none/acme/x", "Authorization", good)); a.StatusCode != 403 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	g.eventually(`"reason":"front_forbidden"`)
}

// A route with upstream: none is for questions alone.
func TestRouteWithoutUpstreamIsNotThereOnAListener(t *testing.T) {
	t.Parallel()
	g := startDecisions(t)
	r, err := http.NewRequest("GET", g.url("/none/acme/x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.token("acme"))
	if a := g.answer(r); a.StatusCode != 404 {
		t.Errorf("%d", a.StatusCode)
	}
	if a := g.answer(g.asks()["nginx"]("GET", "https://app.test/none/acme/x", "Authorization",
		"Bearer "+g.token("acme"))); a.StatusCode != 200 {
		t.Errorf("as a question: %d", a.StatusCode)
	}
}

// tokenOf is a token of another time; it lives for an hour.
func (g *gate) tokenOf(at time.Time, tenant string) string {
	g.t.Helper()
	m, err := issuer.NewMinter(g.Config(), func() time.Time { return at })
	if err != nil {
		g.t.Fatal(err)
	}
	token, _, err := m.ForRole("web", "reader", tenant, "alice", time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// What routes tell the app of a token's claims is told to fronts too, and empty where there is nothing to tell.
func TestClaimHeadersReachFronts(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:", `routes:
  - {path: /me/, require: authenticated, claim_headers: [{claim: email, header: X-User-Email}, {claim: sub, header: X-User}], upstream: none}
  - {path: /pub/, public: true, upstream: none}`, "drain:", "decision: {listen: \"127.0.0.1:0\"}\ndrain:")
	bearer := "Bearer " + g.token("acme")
	for _, c := range []struct {
		path, user string
	}{{"/me/", "alice"}, {"/pub/", ""}} {
		a := g.answer(g.asks()["traefik"]("GET", "https://app.test"+c.path, "Authorization", bearer, "X-User-Email",
			"root@evil.test"))
		if a.StatusCode != 200 || a.Header.Get("X-User") != c.user || a.Header.Get("X-User-Email") != "" ||
			len(a.Header.Values("X-User-Email")) != 1 {
			t.Errorf("%s: %d %v", c.path, a.StatusCode, a.Header)
		}
	}
}

// What an app could read as an identity field, and a front does not remove, is refused.
func TestOtherSpellingsOfIdentityFieldsAreRefused(t *testing.T) {
	t.Parallel()
	g := startDecisions(t)
	for _, name := range []string{"X_Jotgate_Subject", "X-Jotgate_Tenant", "X.Jotgate.Client"} {
		for front, want := range map[string]int{"traefik": 400, "caddy": 400, "haproxy": 400, "envoy": 400, "nginx": 403} {
			r := g.asks()[front]("GET", "https://app.test/open/x")
			r.Header[name] = []string{"root"}
			if a := g.answer(r); a.StatusCode != want {
				t.Errorf("%s, %s: %d, want %d", front, name, a.StatusCode, want)
			}
		}
	}
}
