package issuer

import (
	"testing"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// TestClientGrant: with a scope a management token, without one the client's own.
func TestClientGrant(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	svc := basicAuth("svc", svcSecret)
	now := h.clock.now().Unix() * 1000
	both := []string{issuerURL + "/api", "https://other.test"}
	for name, c := range map[string]struct {
		form  string
		scope string
		aud   []string
	}{
		"own":                 {"", "", both},
		"own, an empty scope": {"scope=", "", both},
		"own, one resource":   {form("resource", "https://other.test"), "", []string{"https://other.test"}},
		"own, two resources": {
			form("resource", "https://other.test", "resource", issuerURL+"/api"), "",
			[]string{"https://other.test", issuerURL + "/api"},
		},
		"one word":                 {"scope=issue_codes", "issue_codes", []string{issuerURL}},
		"several words":            {"scope=exchange+issue_codes", "exchange issue_codes", []string{issuerURL}},
		"a word, for its resource": {"scope=revoke&" + form("resource", issuerURL), "revoke", []string{issuerURL}},
		"audience is for exchange": {form("audience", "https://evil.test"), "", both},
	} {
		claims := h.granted(h.token("grant_type=client_credentials&"+c.form, svc),
			oauthAnswer{TokenType: "Bearer", ExpiresIn: 3600, Scope: c.scope})
		want := token.Claims{
			Issuer: issuerURL, Subject: "svc", Audience: c.aud, ClientID: "svc", ID: claims.ID, IssuedAt: now, Expiry: now +
				3600_000, Scope: c.scope,
		}
		if c.scope == "" {
			want.Grantor, want.Permissions = "svc", all("acme", "READ_TENANT", "MANAGE_TICKETS")
		}
		same(t, name, claims, want)
	}
	// What it is good for: the scope opens the endpoint, and no other.
	manage := into[oauthAnswer](t, h.token("grant_type=client_credentials&scope=issue_codes", svc), 200).AccessToken
	if got := h.ask("POST", "/api/v1/authorization-codes", `{"subject":"bob","role":"agent","tenant":"acme"}`,
		bearer(manage)); got.Status != 201 {
		t.Errorf("a management token of this grant: %v", got)
	}
	if ev := h.events.last(); ev.ClientID != "svc" {
		t.Errorf("%+v", ev)
	}
}

func TestClientGrantRefusals(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	svc := basicAuth("svc", svcSecret)
	scope := oauthFault(400, "invalid_scope", "The scope has a word that the client may not have")
	target := oauthFault(400, "invalid_target", "No token is issued here for this resource or audience")
	for name, c := range map[string]struct {
		form    string
		options []option
		want    reply
		reason  refusal.Reason
	}{
		"no client":    {"", nil, badClient(), refusal.ClientUnauthenticated},
		"a name alone": {"client_id=svc", nil, badClient(), refusal.ClientUnauthenticated},
		"a public client": {
			"client_id=spa", nil,
			oauthFault(400, "unauthorized_client", "The client may not use this grant"), refusal.GrantNotAllowed,
		},
		"a management token": {
			"",
			[]option{bearer(h.management("shop", token.IssueCodes))},
			badClient(),
			refusal.ClientUnauthenticated,
		},
		"a word it has not":     {"scope=issue_user_tokens", []option{svc}, scope, refusal.ScopeUnknown},
		"one word of two":       {"scope=issue_codes+create_masters", []option{svc}, scope, refusal.ScopeUnknown},
		"an unknown word":       {"scope=openid", []option{svc}, scope, refusal.ScopeUnknown},
		"two spaces":            {"scope=issue_codes++exchange", []option{svc}, scope, refusal.ScopeUnknown},
		"a permission as scope": {"scope=READ_TENANT", []option{svc}, scope, refusal.ScopeUnknown},
		"a scope for the routes": {
			"scope=issue_codes&" + form("resource", issuerURL+"/api"),
			[]option{svc},
			target,
			refusal.ResourceUnknown,
		},
		"own, for the issuer": {form("resource", issuerURL), []option{svc}, target, refusal.ResourceUnknown},
		"own, for one unknown": {
			form("resource", issuerURL+"/api", "resource", "https://evil.test"),
			[]option{svc},
			target,
			refusal.ResourceUnknown,
		},
		"own, without permissions": {
			"",
			[]option{basicAuth("web", webSecret)},
			oauthFault(400, "unauthorized_client",
				"The client has no permissions of its own; ask for a scope, if it is to manage tokens"), refusal.GrantNotAllowed,
		},
	} {
		same(t, name, h.token("grant_type=client_credentials&"+c.form, c.options...), c.want)
		if ev := h.events.last(); ev.Outcome != "refused" || ev.Reason != c.reason {
			t.Errorf("%s: the audit says %+v", name, ev)
		}
	}
}

// TestClientGrantAfterTheConfigChanged: a scope or a client that the config lost is worth nothing at once.
func TestClientGrantAfterTheConfigChanged(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	manage := into[oauthAnswer](t, h.token("grant_type=client_credentials&scope=issue_codes", basicAuth("svc", svcSecret)),
		200).AccessToken
	ask := func() reply {
		return h.ask("POST", "/api/v1/authorization-codes", `{"subject":"bob","role":"agent","tenant":"acme"}`,
			bearer(manage))
	}
	h.config.Issuer.Clients[5].May = []string{token.Exchange}
	h.reload(h.config)
	if got := ask(); got.Status != 403 {
		t.Errorf("a word that the client lost: %v", got)
	}
	h.config.Issuer.Clients = append([]*config.Client{}, h.config.Issuer.Clients[:5]...)
	h.reload(h.config)
	if got := ask(); got.Status != 401 {
		t.Errorf("a client that is gone: %v", got)
	}
}
