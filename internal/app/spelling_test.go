package app_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/refusal"
)

// The spellings by which a framework with its defaults would serve a stricter route's resource, on sockets.
func TestAnotherSpellingOfAGuardedPathIsRefused(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", `routes:
  - {path: "/t/{tenant}/settings", require: {tenant_from: path.tenant, action: MANAGE}, upstream: "$APP"}
  - {path: /admin/, require: authenticated, upstream: "$APP"}
  - {path: /, public: true, upstream: "$APP", insecure_allow: [double_slash, encoded_dot, not_utf8]}
  - {path: /lax/, public: true, upstream: "$APP", insecure_allow: [letter_case, trailing_slash]}
  - {path: /lax/secret, require: authenticated, upstream: "$APP"}
`)
	token := "Authorization: Bearer " + g.token("acme") + "\r\n"
	for _, c := range []struct{ method, path, header, want string }{
		{"GET", "/t/acme/settings", token, "403"},
		{"GET", "/t/acme/settings/", token, "400"},
		{"DELETE", "/t/acme/settings/", token, "400"},
		{"GET", "/t/acme/SETTINGS", token, "400"},
		{"GET", "/t/acme/orders/", token, "200"},
		{"GET", "/t/acme/Orders", token, "200"},
		{"GET", "/ADMIN/panel", "", "400"},
		{"GET", "/admin", "", "400"},
		{"GET", "/admin/panel", "", "401"},
		{"GET", "//x/admin/panel", "", "400"},
		{"GET", "//x/y", "", "200"},
		{"GET", "/lax/SECRET", "", "200"},
		{"GET", "/lax/secret/", "", "200"},
		{"GET", "/lax/secret", "", "401"},
		{"GET", "/report%2ejson", "", "200"},
		{"GET", "/%2e%2e/admin/panel", "", "400"},
		{"GET", "/a%2e%2e%2fb", "", "400"},
		{"GET", "/caf%e9", "", "200"},
		{"GET", "/t/acme/x%2ejson", token, "400"},
		{"GET", "/t/ac%2eme/x", token, "400"},
		{"GET", "/list/[1]|{a}^", "", "200"},
		{"GET", "/t/acme/[1]|{a}^", token, "200"},
	} {
		request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n", c.method, c.path, c.header)
		if got := g.raw(request); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s %s: %v, want %s", c.method, c.path, got, c.want)
		}
	}
	g.eventually(`"detail":"path: without the case of letters it belongs to /admin/, which asks for something else"`)
	trace, err := g.Trace(app.Question{Request: "GET http://a/ADMIN/panel"})
	if err != nil || trace.Reason != refusal.PathAmbiguous ||
		!strings.Contains(trace.Steps[0].Detail, "it belongs to /admin/") {
		t.Errorf("explain: %+v, %v", trace, err)
	}
}

// A route in shadow lets through what it asks for, and a limit of a rate is something to ask for: both count when a
// path is spelled otherwise.
func TestShadowsAndRatesCountForOtherSpellings(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", `routes:
  - {path: /admin/, require: authenticated, upstream: "$APP"}
  - {path: /login, public: true, rate_limit: {requests: 1, per: 1h, by: ip}, upstream: "$APP"}
  - {path: /pub/, public: true, upstream: "$APP"}
  - {path: /, require: authenticated, shadow: true, upstream: "$APP"}
`)
	for _, c := range []struct{ path, want string }{
		{"/admin/x", "401"},
		{"/Admin/x", "400"},
		{"/other", "200"},
		{"/login", "200"},
		{"/login", "429"},
		{"/Login", "400"},
		{"/login/", "400"},
		{"/pub/x", "200"},
		{"/PUB/x", "200"},
	} {
		request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", c.path)
		if got := g.raw(request); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %v, want %s", c.path, got, c.want)
		}
	}
}

// A tenant in the query is the one that every framework finds there, or none.
func TestATenantInTheQueryHasOneReading(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n",
		"routes:\n  - {path: /q, require: {tenant_from: query.tenant, action: READ}, upstream: \"$APP\"}\n")
	token := "Bearer " + g.token("acme")
	for query, want := range map[string]int{
		"tenant=acme": 200, "tenant=acme&x[]=1&y.z=2": 200, "tenant=victim": 403, "x=1": 400,
		"tenant=acme&tenant[]=victim": 400, "tenant=acme&tenant%5B0%5D=victim": 400, "tenant=acme&Tenant=victim": 400,
		"tenant=acme&%20tenant=victim": 400, "tenant=acme&tenant.x=victim": 400, "tenant[]=acme": 400,
	} {
		if got, _, _ := g.get("/q?"+query, "Authorization", token); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}
