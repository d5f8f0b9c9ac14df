package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestOAuthThroughTheChain: the challenge of the gate leads to the metadata, the metadata to the token endpoint, its token
// through the gate, and what is withdrawn there is refused here with the next request.
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
	if got := get("/t/other/", issued.Token); got.StatusCode != 403 || !strings.Contains(got.Header.Get("Www-Authenticate"), "resource_metadata=") {
		t.Errorf("another tenant: %d %v", got.StatusCode, got.Header)
	}
	if got := post("revocation_endpoint", url.Values{"token": {issued.Token}}); got.StatusCode != 200 {
		t.Fatalf("revocation: %d", got.StatusCode)
	}
	if got := get("/t/acme/", issued.Token); got.StatusCode != 401 {
		t.Errorf("a withdrawn token: %d", got.StatusCode)
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

func exchangeOf(t *testing.T, r *http.Request) *http.Response {
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
