package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

const resourceSettings = `resources:
  - {resource: "https://gate.test/mcp", scopes: [tools, "files:read"]}
  - {resource: "https://gate.test/open", path: /open/, authorization_servers: ["https://login.test"]}
routes:
  - {path: /mcp, require: authenticated, upstream: "$APP"}
  - {path: /else, require: authenticated, upstream: "$APP"}`

func startResources(t *testing.T) *gate {
	return startGate(t, "routes:", resourceSettings, "may: [issue_codes]", "may: [issue_codes, exchange]",
		"url: https://gate.test",
		`url: https://gate.test`+"\n  audiences: [https://gate.test/api, https://gate.test/mcp]")
}

// fetch returns what a listener answers at gate.test.
func (g *gate) fetch(method, path, bearer string, fields ...string) (*http.Response, string) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.url(path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Host = "gate.test"
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return a, string(body)
}

// RFC 9728 §3: the document stands where the identifier says, is JSON, names the resource to the letter (§3.3), and can
// be read by scripts of any origin.
func TestResourceHasItsMetadata(t *testing.T) {
	t.Parallel()
	g := startResources(t)
	a, body := g.fetch("GET", "/.well-known/oauth-protected-resource/mcp", "", "Origin", "https://app.test")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || a.StatusCode != 200 {
		t.Fatalf("%d %v %s", a.StatusCode, err, body)
	}
	if got["resource"] != "https://gate.test/mcp" ||
		!slices.Equal(texts(got["authorization_servers"]), []string{"https://gate.test"}) ||
		!slices.Equal(texts(got["scopes_supported"]), []string{"tools", "files:read"}) ||
		!slices.Equal(texts(got["bearer_methods_supported"]), []string{"header"}) {
		t.Errorf("%s", body)
	}
	if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Access-Control-Allow-Origin") != "*" ||
		a.Header.Get("Etag") == "" || a.Header.Get("X-Request-Id") == "" {
		t.Errorf("%v", a.Header)
	}
	if again, _ := g.fetch("GET", "/.well-known/oauth-protected-resource/mcp", "", "If-None-Match",
		a.Header.Get("Etag")); again.StatusCode != 304 {
		t.Errorf("the same again: %d", again.StatusCode)
	}
	if head, text := g.fetch("HEAD", "/.well-known/oauth-protected-resource/mcp", ""); head.StatusCode != 200 ||
		text != "" {
		t.Errorf("HEAD: %d %q", head.StatusCode, text)
	}
	if post, _ := g.fetch("POST", "/.well-known/oauth-protected-resource/mcp", ""); post.StatusCode != 405 ||
		post.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", post.StatusCode, post.Header)
	}
	_, body = g.fetch("GET", "/.well-known/oauth-protected-resource/open", "")
	if !strings.Contains(body, `"authorization_servers":["https://login.test"]`) ||
		strings.Contains(body, "scopes_supported") {
		t.Errorf("%s", body)
	}
	if n := g.app.seen.Load(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
}

func texts(list any) (all []string) {
	items, _ := list.([]any)
	for _, item := range items {
		text, _ := item.(string)
		all = append(all, text)
	}
	return all
}

// RFC 9728 §5.1: the challenge names the metadata, by the config and not by what the client says its host is.
func TestResourcesChallengeNamesItsMetadata(t *testing.T) {
	t.Parallel()
	g := startResources(t)
	const want = `Bearer realm="jotgate", ` +
		`resource_metadata="https://gate.test/.well-known/oauth-protected-resource/mcp", scope="tools files:read"`
	for _, fields := range [][]string{nil, {"X-Forwarded-Host", "evil.test"}} {
		if a, _ := g.fetch("GET", "/mcp", "", fields...); a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") != want {
			t.Errorf("%v: %d %s", fields, a.StatusCode, a.Header.Get("WWW-Authenticate"))
		}
	}
	if a, _ := g.fetch("GET", "/else", ""); strings.Contains(a.Header.Get("WWW-Authenticate"),
		"oauth-protected-resource/mcp") {
		t.Errorf("a route that is no resource's: %v", a.Header)
	}
}

// narrowed exchanges a token of ours for one for the resource /mcp alone.
func (g *gate) narrowed(compact string) string {
	g.t.Helper()
	a, reason := g.swap("web", compact, "resource", "https://gate.test/mcp")
	if a.Status != 200 {
		g.t.Fatal(a.Status, reason)
	}
	return a.Token
}

// Below a resource's path only tokens whose aud has it count, and one for a resource alone counts nowhere else
// (RFC 8707 §2, RFC 9728 §7.4).
func TestOnlyTokensForTheResourceOpenIt(t *testing.T) {
	t.Parallel()
	g := startResources(t)
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	both, _, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/mcp": 200, "/else": 200, "/t/acme/": 200} {
		if a, _ := g.fetch("GET", path, both); a.StatusCode != want {
			t.Errorf("a token for both, %s: %d", path, a.StatusCode)
		}
	}
	for path, want := range map[string]int{"/mcp": 200, "/else": 401, "/t/acme/": 401} {
		if a, _ := g.fetch("GET", path, g.narrowed(both)); a.StatusCode != want {
			t.Errorf("a token for the resource alone, %s: %d", path, a.StatusCode)
		}
	}
	// The same issuer and key, but for the API alone.
	api := startGate(t, "routes:", resourceSettings)
	m, err = issuer.NewMinter(api.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	alone, _, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/mcp": 401, "/else": 200, "/t/acme/": 200} {
		if a, _ := api.fetch("GET", path, alone); a.StatusCode != want {
			t.Errorf("a token for the API alone, %s: %d", path, a.StatusCode)
		}
	}
}

// The nearer of two nested resources counts, wherever it is in the list.
func TestNestedResources(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		`  - {resource: "https://gate.test/mcp", path: /mcp/}
  - {resource: "https://gate.test/mcp/admin", path: /mcp/admin/}
`, `  - {resource: "https://gate.test/mcp/admin", path: /mcp/admin/}
  - {resource: "https://gate.test/mcp", path: /mcp/}
`,
	} {
		g := startGate(t, "routes:", "resources:\n"+list+`routes:
  - {path: /mcp/, require: authenticated, upstream: "$APP"}
  - {path: /mcp/admin/, require: authenticated, upstream: "$APP"}`,
			"url: https://gate.test", "url: https://gate.test\n  audiences: [https://gate.test/mcp]")
		token := g.token("acme")
		for path, want := range map[string]int{"/mcp/x": 200, "/mcp/admin/x": 401} {
			if a, _ := g.fetch("GET", path, token); a.StatusCode != want {
				t.Errorf("%s: %d, want %d, with\n%s", path, a.StatusCode, want, list)
			}
		}
	}
}

// TestResourcesOfAGateThatIssuesNothing: a gate that trusts others alone has resources like any: their metadata, the
// challenge with what a client should ask for (RFC 6750 §3), and tokens for the resource alone.
func TestResourcesOfAGateThatIssuesNothing(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, append(f.trusting(likeOurs), `issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}]
  clients: [{id: web, secret: 0123456789abcdefghijkl, may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}]
`, "resources:\n  - {resource: \"https://gate.test/mcp\", scopes: [tools]}\n"+
		"  - {resource: \"https://gate.test/tree\", path: /tree/}\n",
		"  - {path: /open/,", `  - {path: /mcp, require: {scopes: [orders, tools]}, upstream: "$APP"}
  - {path: /tree/, require: authenticated, upstream: "$APP"}
  - {path: /scoped, require: {scopes: [orders]}, upstream: "$APP"}
  - {path: /open/,`)...)
	if _, body := g.fetch("GET", "/.well-known/oauth-protected-resource/tree", ""); body !=
		`{"resource":"https://gate.test/tree","authorization_servers":["`+f.URL+`"],"bearer_methods_supported":["header"],`+
			`"dpop_signing_alg_values_supported":["ES256","Ed25519","EdDSA","PS256","RS256"]}` {
		t.Errorf("what has no value is left out, and who issues is named: %s", body)
	}
	signed := func(aud, scope string) string {
		return f.token(f.key, "at+jwt", map[string]any{"aud": aud, "scope": scope})
	}
	metadata := func(path string) string {
		return `, resource_metadata="https://gate.test/.well-known/oauth-protected-resource` + path + `"`
	}
	const realm, mcp = `Bearer realm="jotgate"`, "https://gate.test/mcp"
	for _, c := range []struct {
		name, path, bearer string
		status             int
		challenge          string
	}{
		{"no token", "/mcp", "", 401, realm + metadata("/mcp") + `, scope="tools orders"`},
		{
			"not a token", "/mcp", "x", 401,
			realm + `, error="invalid_token"` + metadata("/mcp") + `, scope="tools orders"`,
		},
		{
			"a token for the gate's other routes", "/mcp", signed("api", "tools orders"), 401,
			realm + `, error="invalid_token"` + metadata("/mcp") + `, scope="tools orders"`,
		},
		{
			"a scope less", "/mcp", signed(mcp, "tools"), 403,
			realm + `, error="insufficient_scope"` + metadata("/mcp") + `, scope="tools orders"`,
		},
		{"all of them", "/mcp", signed(mcp, "orders tools"), 200, ""},
		{
			"the resource's token elsewhere", "/scoped", signed(mcp, "orders"), 401,
			realm + `, error="invalid_token", scope="orders"`,
		},
		{
			"no resource, a scope less", "/scoped", signed("api", "x"), 403,
			realm + `, error="insufficient_scope", scope="orders"`,
		},
		{"no resource, no token", "/scoped", "", 401, realm + `, scope="orders"`},
		{"below the resource", "/tree/a/b", "", 401, realm + metadata("/tree")},
		{"neither resource nor scope", "/t/acme/", "", 401, realm},
		{"metadata of nothing", "/.well-known/oauth-protected-resource/none", "", 404, ""},
		{"metadata in another case", "/.well-known/oauth-protected-resource/MCP", "", 404, ""},
		{"metadata with a slash", "/.well-known/oauth-protected-resource/mcp/", "", 404, ""},
		{"metadata of the host, which is no resource", "/.well-known/oauth-protected-resource", "", 404, ""},
	} {
		a, body := g.fetch("GET", c.path, c.bearer)
		if got := a.Header.Get("WWW-Authenticate"); a.StatusCode != c.status || got != c.challenge {
			t.Errorf("%s: %d %s %s, want %d %s", c.name, a.StatusCode, got, body, c.status, c.challenge)
		}
	}
}
