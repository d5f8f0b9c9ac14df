package issuers_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// exchanging is the config of a gate that exchanges a provider's tokens for its own.
const exchanging = `version: 1
listen: $ADDRESS
admin: {listen: ""}
issuer:
  url: http://$ADDRESS
  audiences: ["http://$ADDRESS/api"]
  keys: [{file: main.pem, create: true}]
  clients:
    - id: orders
      secret: 0123456789abcdefghijkl
      may: [exchange, introspect]
      delegate: [{tenant: acme, actions: [READ]}]
revocations: {file: revoked}
trusted_issuers:
  - {$ENTRY, exchange: true, permissions: [{tenant: acme, actions: [READ, WRITE]}]}
roles: {reader: [{tenant: acme, actions: [READ, WRITE]}]}
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "$APP"}]
`

// exchangeOf has a provider's token exchanged, and gives the status, the new token and what it says.
func exchangeOf(t *testing.T, address, subject, kind string) (status int, compact string, claims map[string]any) {
	t.Helper()
	status, body := ask(t, "http://"+address+"/oauth2/token", url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {subject}, "subject_token_type": {"urn:ietf:params:oauth:token-type:" + kind},
		"client_id": {"orders"}, "client_secret": {"0123456789abcdefghijkl"},
	})
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	if parts := strings.Split(answer.Token, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
	}
	return status, answer.Token, claims
}

// exchangesTokensOf plays the exchange of a real provider's access token, and of what is none.
func exchangesTokensOf(t *testing.T, provider, entry, access, id, subject string) {
	t.Helper()
	address := freeAddress(t)
	g := run(t, strings.NewReplacer("$ADDRESS", address, "$APP", startApp(t),
		"$ENTRY", `issuer: "`+provider+`", `+entry).Replace(exchanging))
	status, compact, claims := exchangeOf(t, address, access, "access_token")
	if status != http.StatusOK {
		t.Fatalf("its access token: %d", status)
	}
	from, _ := claims["exchanged_from"].([]any)
	if len(from) != 1 || claims["sub"] != subject || claims["iss"] != "http://"+address {
		t.Fatalf("%v", claims)
	}
	if original, _ := from[0].(map[string]any); original["iss"] != provider || original["sub"] != subject {
		t.Errorf("exchanged_from %v", from)
	}
	g.want("what it was exchanged for", "acme", compact, "200 "+subject+" from orders")
	g.want("another tenant", "other", compact, "403")
	for name, c := range map[string]struct{ compact, kind string }{
		"its id_token as an access token": {id, "access_token"},
		"its id_token":                    {id, "id_token"},
		"its id_token as a JWT":           {id, "jwt"},
		"changed by one letter":           {access[:len(access)-10] + flip(access[len(access)-10:]), "access_token"},
	} {
		if status, compact, _ := exchangeOf(t, address, c.compact, c.kind); status != http.StatusBadRequest || compact != "" {
			t.Errorf("%s: %d", name, status)
		}
	}
	playsExchange(t, map[string]any{
		"issuer": "http://" + address, "resource": "http://" + address + "/api", "route": "http://" + address + "/t/acme/",
		"client": "orders", "secret": "0123456789abcdefghijkl", "provider": provider, "subject": subject,
		"access": access, "id": id, "life": 300,
	})
	program := zitadelProgram(t)
	for _, c := range []struct{ name, token, secret, want string }{
		{"zitadel's client", access, "0123456789abcdefghijkl", "200 " + subject + " from orders"},
		{"zitadel's client, with an id_token", id, "0123456789abcdefghijkl", ""},
		{"zitadel's client, with a wrong secret", access, "0123456789abcdefghijkx", ""},
	} {
		out, err := exec.CommandContext(t.Context(), program, "http://"+address, "orders", c.secret, c.token).Output()
		if (err == nil) != (c.want != "") {
			t.Errorf("%s: %v %s", c.name, err, out)
		} else if c.want != "" {
			g.want(c.name, "acme", strings.TrimSpace(string(out)), c.want)
		}
	}
}

// playsExchange plays token exchange as clients from npm do it.
func playsExchange(t *testing.T, given map[string]any) {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", "exchange.mjs", string(text)).CombinedOutput()
	if err != nil || strings.Count(string(out), "ok ") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestProvidersTokensAreExchanged: those of oidc-provider.
func TestProvidersTokensAreExchanged(t *testing.T) {
	t.Parallel()
	provider := startProvider(t)
	status, id := ask(t, provider+"/test/id_token", nil)
	if status != http.StatusOK {
		t.Fatalf("id_token: %d", status)
	}
	exchangesTokensOf(t, provider, `audiences: ["`+audience+`"], roles: {from: realm.roles, map: {auditor: reader}}`,
		grant(t, provider, audience), id, "warehouse")
}

// TestZitadelsTokensAreExchanged: those of the Go provider of zitadel/oidc, which a user's login ends with.
func TestZitadelsTokensAreExchanged(t *testing.T) {
	t.Parallel()
	provider := startZitadel(t)
	access, id := login(t, provider)
	exchangesTokensOf(t, provider, `audiences: [shop], algorithms: [RS256], token_types: [JWT], `+
		`roles: {from: realm.roles, map: {auditor: reader}}`, access, id, "id1")
}
