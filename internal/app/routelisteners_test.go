package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/app"
)

const listenerRoutes = `routes:
  - {path: /, public: true, upstream: "$APP"}
  - {name: ops, path: /ops/, listeners: [inner], require: authenticated, upstream: "$APP", cors: {origins: ["https://a.test"]}}
  - {name: both-inner, path: /both, listeners: [inner], public: true, upstream: "$APP", headers: {request: {set: {X-By: inner}}}}
  - {name: both-main, path: /both, listeners: [main], public: true, upstream: "$APP", headers: {request: {set: {X-By: main}}}}
  - {name: asked, path: /asked, listeners: [decision], require: authenticated, upstream: none}
`

func startListeners(t *testing.T) *gate {
	return startGate(t, "listen: 127.0.0.1:0\n", `listeners:
  - {name: main, address: "127.0.0.1:0"}
  - {name: inner, address: "127.0.0.1:0", h2c: true}
decision: {listen: "127.0.0.1:0"}
`, "routes:\n", listenerRoutes)
}

// TestARouteAnswersOnItsListenersAlone: elsewhere it is not found, and no broader route takes its paths, in no
// spelling; a preflight, a decision, explain and a ticket's request see the same.
func TestARouteAnswersOnItsListenersAlone(t *testing.T) {
	t.Parallel()
	g := startListeners(t)
	bearer := "Bearer " + g.token("acme")
	for _, c := range []struct {
		listener, method, path string
		status                 int
		want                   string
	}{
		{"main", "GET", "/x", 200, ""},
		{"main", "GET", "/ops/x", 404, "route_not_found"},
		{"main", "PUT", "/ops/x", 404, "route_not_found"},
		{"main", "GET", "/OPS/x", 400, "path_ambiguous"},
		{"main", "GET", "/ops", 400, "path_ambiguous"},
		{"main", "GET", "//ops/x", 400, "path_ambiguous"},
		{"main", "GET", "/o%70s/x", 404, "route_not_found"},
		{"main", "GET", "/both", 200, "X-By: main"},
		{"main", "GET", "/asked", 404, "route_not_found"},
		{"inner", "GET", "/ops/x", 200, "X-Jotgate-Subject: alice"},
		{"inner", "GET", "/both", 200, "X-By: inner"},
		{"inner", "GET", "/asked", 404, "route_not_found"},
		{"inner", "GET", "/t/acme/", 200, "X-Jotgate-Tenant: acme"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+g.Addr(c.listener).String()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = c.path
		r.Header.Set("Authorization", bearer)
		a := g.answer(r)
		body := new(strings.Builder)
		_ = a.Header.Write(body)
		if a.StatusCode != c.status {
			t.Errorf("%s: %s %s: %d, want %d", c.listener, c.method, c.path, a.StatusCode, c.status)
		}
		if id := a.Header.Get("X-Request-Id"); a.StatusCode != 200 {
			if got := g.reason(id); got != c.want {
				t.Errorf("%s: %s %s: reason %s, want %s", c.listener, c.method, c.path, got, c.want)
			}
		}
		trace, err := g.Trace(app.Question{
			Request: c.method + " http://a.test" + c.path, Listener: c.listener, Token: strings.TrimPrefix(bearer, "Bearer "),
		})
		if err != nil || trace.Allowed != (c.status == 200) || !trace.Allowed && string(trace.Reason) != c.want {
			t.Errorf("%s: %s %s: explain says %+v, %v", c.listener, c.method, c.path, trace, err)
		}
	}
	for _, c := range []struct{ listener, want string }{{"main", ""}, {"inner", "https://a.test"}} {
		r, err := http.NewRequestWithContext(t.Context(), "OPTIONS", "http://"+g.Addr(c.listener).String()+"/ops/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://a.test")
		r.Header.Set("Access-Control-Request-Method", "GET")
		if got := g.answer(r).Header.Get("Access-Control-Allow-Origin"); got != c.want {
			t.Errorf("a preflight on %s: allows %q, want %q", c.listener, got, c.want)
		}
	}
	ask := g.asks()["traefik"]
	for path, want := range map[string]int{"/x": 200, "/ops/x": 404, "/OPS/x": 400, "/both": 404, "/asked": 200} {
		if a := g.answer(ask("GET", "https://a.test"+path, "Authorization", bearer)); a.StatusCode != want {
			t.Errorf("a question about %s: %d, want %d", path, a.StatusCode, want)
		}
	}
	if _, err := g.Trace(app.Question{Request: "GET http://a.test/", Listener: "other"}); err == nil ||
		!strings.Contains(err.Error(), "write one of main, inner, decision") {
		t.Errorf("a listener that is not there: %v", err)
	}
}

// TestAReloadMovesARouteToAnotherListener: kept connections see it with their next request, and a reload that is not to
// widen refuses it.
func TestAReloadMovesARouteToAnotherListener(t *testing.T) {
	t.Parallel()
	g := startListeners(t)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(listener string) int {
		status, _ := g.asking(client, "http://"+g.Addr(listener).String()+"/ops/x", g.token("acme"))
		return status
	}
	moved := strings.Replace(listenerRoutes, "path: /ops/, listeners: [inner]", "path: /ops/, listeners: [main]", 1)
	edits := func(routes string, more ...string) []string {
		return append([]string{"listen: 127.0.0.1:0\n", `listeners:
  - {name: main, address: "127.0.0.1:0"}
  - {name: inner, address: "127.0.0.1:0", h2c: true}
decision: {listen: "127.0.0.1:0"}
`, "routes:\n", routes}, more...)
	}
	if main, inner := ask("main"), ask("inner"); main != 404 || inner != 200 {
		t.Errorf("before: %d on main, %d on inner", main, inner)
	}
	g.write(edits(moved)...)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if main, inner := ask("main"), ask("inner"); main != 200 || inner != 404 {
		t.Errorf("after: %d on main, %d on inner", main, inner)
	}
	const deny = "watch: false\nreload: {deny_widening: true}\n"
	g.write(edits(moved, "watch: false\n", deny)...)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	g.write(edits(listenerRoutes, "watch: false\n", deny)...)
	if err := g.Reload(); err == nil || !strings.Contains(err.Error(), "listeners") {
		t.Errorf("the reload that widens: %v", err)
	}
}
