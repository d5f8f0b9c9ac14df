package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
)

// TestOAuthThroughTheChain: the challenge of the gate leads to the metadata, the metadata to the token endpoint, its
// token through the gate, and what is revoked there is refused here with the next request.
func TestOAuthThroughTheChain(t *testing.T) {
	t.Parallel()
	g := startGate(t, "may: [issue_codes]", "permissions: [{tenant: acme, actions: [READ]}], may: [introspect]",
		"roles:", "revocations: {file: revoked}\nroles:")
	get := func(path, token string) *http.Response {
		r, err := http.NewRequest(http.MethodGet, g.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "gate.test"
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return exchangeOf(t, r)
	}
	challenge := get("/t/acme/", "").Header.Get("Www-Authenticate")
	const want = `Bearer realm="jotgate", resource_metadata="https://gate.test/.well-known/oauth-protected-resource/api"`
	if challenge != want {
		t.Fatalf("challenge %s", challenge)
	}
	var resource struct {
		Servers []string `json:"authorization_servers"`
	}
	decode(t, get("/.well-known/oauth-protected-resource/api", ""), &resource)
	var metadata map[string]any
	decode(t, get("/.well-known/oauth-authorization-server", ""), &metadata)
	if len(resource.Servers) != 1 || resource.Servers[0] != metadata["issuer"] {
		t.Fatalf("%v %v", resource, metadata)
	}
	post := func(endpoint string, form url.Values) *http.Response {
		path := strings.TrimPrefix(metadata[endpoint].(string), "https://gate.test")
		r, err := http.NewRequest(http.MethodPost, g.url(path), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("web", "0123456789abcdefghijkl")
		return exchangeOf(t, r)
	}
	var issued struct {
		Token string `json:"access_token"`
	}
	decode(t, post("token_endpoint", url.Values{"grant_type": {"client_credentials"}}), &issued)
	if got := get("/t/acme/", issued.Token); got.StatusCode != 200 {
		t.Fatalf("the token opens nothing: %d %s", got.StatusCode, g.log)
	}
	if got := get("/t/other/", issued.Token); got.StatusCode != 403 ||
		!strings.Contains(got.Header.Get("Www-Authenticate"), "resource_metadata=") {
		t.Errorf("another tenant: %d %v", got.StatusCode, got.Header)
	}
	if got := post("revocation_endpoint", url.Values{"token": {issued.Token}}); got.StatusCode != 200 {
		t.Fatalf("revocation: %d", got.StatusCode)
	}
	if got := get("/t/acme/", issued.Token); got.StatusCode != 401 {
		t.Errorf("a revoked token: %d", got.StatusCode)
	}
	var told map[string]any
	decode(t, post("introspection_endpoint", url.Values{"token": {issued.Token}}), &told)
	if len(told) != 1 || told["active"] != false {
		t.Errorf("introspection: %v", told)
	}
	// A management token opens no route.
	decode(t, post("token_endpoint", url.Values{"grant_type": {"client_credentials"}, "scope": {"introspect"}}), &issued)
	if got := get("/t/acme/", issued.Token); got.StatusCode != 401 {
		t.Errorf("a management token on a route: %d", got.StatusCode)
	}
}

func exchangeOf(t testing.TB, r *http.Request) *http.Response {
	t.Helper()
	client := http.Transport{DisableKeepAlives: true}
	defer client.CloseIdleConnections()
	response, err := client.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return response
}

func decode(t *testing.T, response *http.Response, into any) {
	t.Helper()
	if response.StatusCode != 200 {
		t.Fatalf("%d", response.StatusCode)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// TestExchangedTokensEndWithTheirRoot, at the gate, from the cache, at introspection and where they would be exchanged
// again; and so they do when a mark reaches the root alone.
func TestExchangedTokensEndWithTheirRoot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, value string }{
		{"token", "$JTI"}, {"client", "web"}, {"subject", "web"}, {"tenant", "acme"}, {"issuer", ""},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			const also = ", {id: other, secret: 0123456789abcdefghijkl, may: [exchange, introspect], permissions: [{tenant: " +
				"acme, actions: [READ]}], delegate: [{tenant: \"*\", actions: [\"*\"]}]}]\nroles"
			g := startGate(t, "may: [issue_codes]", "permissions: [{tenant: acme, actions: [READ]}], may: [exchange]",
				"}]}]\nroles", "}]}"+also,
				"routes:", "revocations: {file: revoked}\nroutes:")
			post := func(client, path string, form url.Values) (status int, answer struct {
				Token  string `json:"access_token"`
				Active bool
				Error  string
			},
			) {
				t.Helper()
				r, err := http.NewRequest(http.MethodPost, g.url(path), strings.NewReader(form.Encode()))
				must(t, err)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.SetBasicAuth(client, "0123456789abcdefghijkl")
				a := exchangeOf(t, r)
				must(t, json.NewDecoder(a.Body).Decode(&answer))
				return a.StatusCode, answer
			}
			exchange := func(token string) url.Values {
				return url.Values{
					"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token},
					"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
				}
			}
			_, issued := post("web", "/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
			root, err := jose.Parse(issued.Token, 0)
			must(t, err)
			said, err := jose.DecodeClaims(root.Payload)
			must(t, err)
			if c.kind != "token" { // the root lies before the mark, what comes from it does not
				for end := time.UnixMilli(said.IssuedAt).Add(time.Second); time.Now().Before(end); {
					time.Sleep(time.Until(end))
				}
			}
			_, first := post("web", "/oauth2/token", exchange(issued.Token))
			_, second := post("web", "/oauth2/token", exchange(first.Token))
			all := []string{issued.Token, first.Token, second.Token}
			for range 2 { // the second time from the cache
				for i, token := range all {
					if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token); status != 200 {
						t.Fatalf("token %d is refused: %d %+v %+v", i, status, first, second)
					}
				}
			}
			value := strings.ReplaceAll(c.value, "$JTI", said.ID)
			at := said.IssuedAt + 1000
			if c.kind == "token" {
				at = said.Expiry
			}
			if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":%q,"issuer":"https://gate.test","value":%q,"at":%d}`, c.kind,
				value, at)); status != 204 {
				t.Fatalf("revocation: %d", status)
			}
			for i, token := range all {
				if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token); status != 401 {
					t.Errorf("token %d opens the route: %d", i, status)
				}
				if status, answer := post("other", "/oauth2/introspect", url.Values{"token": {token}}); status != 200 ||
					answer.Active {
					t.Errorf("token %d is active: %d", i, status)
				}
				if status, answer := post("web", "/oauth2/token", exchange(token)); status != 400 || answer.Error == "" {
					t.Errorf("token %d is exchanged: %d", i, status)
				}
			}
		})
	}
}
