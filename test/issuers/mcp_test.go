package issuers_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asClient plays an MCP client, and returns what it prints.
func asClient(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := exec.Command("node", append([]string{"mcp.mjs", "client"}, args...)...)
	out, err := c.Output()
	return strings.TrimSpace(string(out)), err
}

// TestMCPClientFindsItsWay: the client of the official SDK gets from the gate's refusal, by the metadata of the
// resource and those of its authorization server, to a token for the resource, and calls a tool of an MCP server behind
// the gate. The server learns who it is, and gets no token.
func TestMCPClientFindsItsWay(t *testing.T) {
	t.Parallel()
	provider := startProvider(t)
	server, address := firstLine(t, "mcp.mjs", "server"), freeAddress(t)
	resource := "http://" + address + "/mcp"
	run(t, `version: 1
listen: `+address+`
admin: {listen: ""}
trusted_issuers: [{issuer: "`+provider+`", audiences: [other], permissions: []}]
resources: [{resource: "`+resource+`", scopes: [read]}]
routes: [{path: /mcp, require: authenticated, upstream: "`+server+`"}]
`)
	out, err := asClient(t, resource, "warehouse", "a-secret-of-this-test-alone", provider)
	if want := "who: warehouse, no token"; err != nil || out != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
	if out, err := asClient(t, resource, "warehouse", "another secret", provider); err == nil {
		t.Errorf("with a wrong secret: %q", out)
	}
	if out, err := asClient(t, resource, "--token", grant(t, provider, audience)); err == nil {
		t.Errorf("with a token for another resource: %q", out)
	}
}

// goClient builds the client of the Go SDK, which is a module of its own.
func goClient(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "client")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "mcp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), program, args...).Output()
		return strings.TrimSpace(string(out)), err
	}
}

// TestMCPClientOfGo: the client of the official Go SDK goes the same ways: with its own steps of discovery to a token
// of a foreign issuer, and with its handler of client credentials, which names no resource, to one of ours.
func TestMCPClientOfGo(t *testing.T) {
	t.Parallel()
	provider, client := startProvider(t), goClient(t)
	server, foreign, own := firstLine(t, "mcp.mjs", "server"), freeAddress(t), freeAddress(t)
	run(t, `version: 1
listen: `+foreign+`
admin: {listen: ""}
trusted_issuers: [{issuer: "`+provider+`", audiences: [other], permissions: []}]
resources: [{resource: "http://`+foreign+`/mcp", scopes: [read]}]
routes: [{path: /mcp, require: authenticated, upstream: "`+server+`"}]
`)
	run(t, `version: 1
listen: `+own+`
admin: {listen: ""}
issuer:
  url: http://`+own+`
  audiences: ["http://`+own+`/mcp"]
  keys: [{file: main.pem, create: true}]
  clients: [{id: agent, secret: 0123456789abcdefghijkl, permissions: [{tenant: acme, actions: [CALL]}]}]
resources: [{resource: "http://`+own+`/mcp"}]
routes: [{path: /mcp, require: {tenant: acme, action: CALL}, upstream: "`+server+`"}]
`)
	const secret = "a-secret-of-this-test-alone"
	for _, c := range []struct {
		name string
		args []string
		want string // "": it gets nowhere
	}{
		{"to a foreign issuer", []string{"http://" + foreign + "/mcp", "warehouse", secret}, "who: warehouse, no token"},
		{"with a wrong secret", []string{"http://" + foreign + "/mcp", "warehouse", "another"}, ""},
		{"to ours", []string{"http://" + own + "/mcp", "agent", "0123456789abcdefghijkl", "own"}, "who: agent, no token"},
		{"to ours, with a wrong secret", []string{"http://" + own + "/mcp", "agent", "another", "own"}, ""},
	} {
		if out, err := client(c.args...); out != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", c.name, out, err, c.want)
		}
	}
}

// TestMCPClientOfOurs: a client that the gate's own issuer knows gets a token for the resource there (RFC 8707).
func TestMCPClientOfOurs(t *testing.T) {
	t.Parallel()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	server, address := firstLine(t, "mcp.mjs", "server"), freeAddress(t)
	resource := "http://" + address + "/mcp"
	run(t, `version: 1
listen: `+address+`
admin: {listen: ""}
issuer:
  url: http://`+address+`
  audiences: ["http://`+address+`/api", "`+resource+`"]
  keys: [{file: main.pem, create: true}]
  clients: [{id: agent, secret: 0123456789abcdefghijkl, permissions: [{tenant: acme, actions: [CALL]}]}]
resources: [{resource: "`+resource+`", scopes: [tools]}]
routes: [{path: /mcp, require: {tenant: acme, action: CALL}, upstream: "`+server+`"}]
`)
	tokenFor := func(resource string) (int, string) {
		status, body := ask(t, "http://"+address+"/oauth2/token", url.Values{
			"grant_type": {"client_credentials"}, "resource": {resource}, "client_id": {"agent"},
			"client_secret": {"0123456789abcdefghijkl"},
		})
		var answer struct {
			Token string `json:"access_token"`
		}
		_ = json.Unmarshal([]byte(body), &answer)
		return status, answer.Token
	}
	_, token := tokenFor(resource)
	out, err := asClient(t, resource, "--token", token)
	if want := "who: agent, no token"; err != nil || out != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
	_, token = tokenFor("http://" + address + "/api")
	if out, err := asClient(t, resource, "--token", token); err == nil {
		t.Errorf("with a token for the API: %q", out)
	}
	if status, _ := tokenFor("http://another.test/mcp"); status != http.StatusBadRequest {
		t.Errorf("a token for another resource: %d", status)
	}
}
