package app_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
	jwtType       = "urn:ietf:params:oauth:token-type:jwt"
	idType        = "urn:ietf:params:oauth:token-type:id_token"

	// likeIdP is an entry whose tokens can be exchanged.
	likeIdP = `audiences: [api], token_types: [JWT], kinds: [access, id], client_claim: azp, exchange: true, ` +
		`require_claims: {org: shop}, roles: {from: roles, map: {desk: support}}, ` +
		`permissions: [{tenant: acme, actions: [READ, WRITE]}]`

	exchangers = `}]}, {id: svc, secret: 0123456789abcdefghijkl, may: [exchange, introspect], ` +
		`delegate: [{tenant: acme, actions: [READ, DELETE]}]}, ` +
		`{id: back, secret: 0123456789abcdefghijkl, may: [exchange], delegate: [{tenant: "*", actions: [READ]}]}, ` +
		`{id: idle, secret: 0123456789abcdefghijkl}]
roles: {support: [{tenant: acme, actions: [READ, WRITE, ADMIN]}, {tenant: evil, actions: [READ]}], none: [{tenant: far, actions: [FLY]}], `
)

// exchangeGate is a gate that trusts an issuer whose tokens can be exchanged.
func exchangeGate(t *testing.T, f *foreigner, edits ...string) *gate {
	t.Helper()
	g := startGate(t, exchangeEdits(f, edits...)...)
	if status, header, _ := g.get("/t/acme/", "Authorization", "Bearer "+f.user(nil)); status != 200 {
		t.Fatalf("the issuer's own token: %d %s", status, g.reason(header.Get("X-Request-Id")))
	}
	return g
}

func exchangeEdits(f *foreigner, edits ...string) []string {
	entry := "trusted_issuers:\n  - {issuer: \"" + f.URL + "\", " + likeIdP + "}\nrevocations: {file: revoked}\nroutes:\n"
	return append(edits,
		"}]}]\nroles: {", exchangers, "routes:\n", entry)
}

// edited replaces a text in what edits put in.
func edited(edits []string, old, with string) []string {
	edits = slices.Clone(edits)
	for i := 1; i < len(edits) && old != ""; i += 2 {
		edits[i] = strings.ReplaceAll(edits[i], old, with)
	}
	return edits
}

// user is the issuer's token of a user, with claims over the usual ones.
func (f *foreigner) user(over map[string]any) string {
	claims := map[string]any{
		"typ": "Bearer", "azp": "spa", "roles": []string{"desk"}, "org": "shop", "sid": "session-1", "jti": "original-1",
	}
	maps.Copy(claims, over)
	return f.token(f.key, "JWT", claims)
}

// An exchanged is the token endpoint's answer.
type exchanged struct {
	Status      int    `json:"-"`
	Token       string `json:"access_token"`
	Issued      string `json:"issued_token_type"`
	Type        string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// swap asks for an exchange, and gives the reason that the log has for a refusal.
func (g *gate) swap(client, subject string, more ...string) (a exchanged, reason string) {
	g.t.Helper()
	form := url.Values{
		"grant_type": {exchangeGrant}, "subject_token": {subject}, "subject_token_type": {accessType},
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url("/oauth2/token"),
		strings.NewReader(form.Encode()))
	must(g.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(client, "0123456789abcdefghijkl")
	response := exchangeOf(g.t, r)
	must(g.t, json.NewDecoder(response.Body).Decode(&a))
	if a.Status = response.StatusCode; a.Status != 200 {
		reason = g.reason(response.Header.Get("X-Request-Id"))
	}
	return a, reason
}

func claimsOf(t testing.TB, compact string) *token.Claims {
	t.Helper()
	u, err := jose.Parse(compact, 0)
	must(t, err)
	c, err := jose.DecodeClaims(u.Payload)
	must(t, err)
	return c
}

// TestExchangeOfAForeignToken is the whole story: what comes out, what it opens, and whom the app hears of.
func TestExchangeOfAForeignToken(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f)
	original := f.user(nil)
	a, _ := g.swap("svc", original)
	if a.Status != 200 || a.Type != "Bearer" || a.Issued != accessType || a.ExpiresIn < 1 || a.ExpiresIn > 300 {
		t.Fatalf("%+v", a)
	}
	got, before := claimsOf(t, a.Token), claimsOf(t, original)
	want := &token.Claims{
		Issuer: "https://gate.test", Subject: "alice", Audience: []string{"https://gate.test/api"}, ClientID: "svc",
		Grantor: "svc", ID: got.ID, IssuedAt: got.IssuedAt, Expiry: before.Expiry, Actors: []token.Actor{{Subject: "svc"}},
		Permissions: token.Permissions{
			{Tenant: "acme", AllowedActions: []string{"READ"}},
			{Tenant: "evil", AllowedActions: []string{}},
			{Tenant: "*", AllowedActions: []string{}},
		},
		Ancestors: []token.Ancestor{{
			Issuer: f.URL, Subject: "alice", Session: "session-1", ID: "original-1", ClientID: "spa", KeyID: kidOf(t, original),
			IssuedAt: before.IssuedAt,
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	status, _, head := g.get("/t/acme/", "Authorization", "Bearer "+a.Token)
	for _, field := range []string{
		"X-Jotgate-Issuer: " + f.URL, "X-Jotgate-Subject: alice", "X-Jotgate-Client: svc", "X-Jotgate-Token-Id: " + got.ID,
	} {
		if status != 200 || !strings.Contains(head, field+"\r\n") {
			t.Errorf("%d, the app does not hear %q:\n%s", status, field, head)
		}
	}
	for _, tenant := range []string{"evil", "other"} {
		if got := g.open(tenant, a.Token); !strings.HasPrefix(got, "403") {
			t.Errorf("tenant %s: %s", tenant, got)
		}
	}
}

func kidOf(t testing.TB, compact string) string {
	t.Helper()
	u, err := jose.Parse(compact, 0)
	must(t, err)
	return u.Header.KeyID
}

// TestExchangeIsNarrowedByTheRequest: scope, audience, resource, expires_in; and never more than there was.
func TestExchangeIsNarrowedByTheRequest(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, edited(exchangeEdits(f, "issuer:\n", "issuer:\n  audiences: [https://a.test, https://b.test]\n"),
		"delegate: [{tenant: acme, actions: [READ, DELETE]}]", `delegate: [{tenant: "*", actions: ["*"]}]`)...)
	acme := func(actions ...string) token.Permissions {
		return token.Permissions{{Tenant: "acme", AllowedActions: append([]string{}, actions...)}}
	}
	both := []string{"https://a.test", "https://b.test"}
	for _, c := range []struct {
		name     string
		more     []string
		allowed  token.Permissions
		audience []string
		scope    string
	}{
		{"plain", nil, acme("READ", "WRITE"), both, ""},
		{"an action", []string{"scope", "READ"}, acme("READ"), both, "READ"},
		{"two, one of them not held", []string{"scope", "WRITE ADMIN"}, acme("WRITE"), both, "WRITE"},
		{"a role", []string{"scope", "reader"}, acme("READ"), both, "reader"},
		{"a role and an action", []string{"scope", "reader WRITE"}, acme("READ", "WRITE"), both, "reader WRITE"},
		{"a word of every action", []string{"scope", "READ *"}, acme("READ"), both, "READ"},
		{"one audience", []string{"audience", "https://b.test"}, acme("READ", "WRITE"), both[1:], ""},
		{"one resource", []string{"resource", "https://a.test"}, acme("READ", "WRITE"), both[:1], ""},
		{"a longer life", []string{"expires_in", "86400"}, acme("READ", "WRITE"), both, ""},
		{
			"more permissions",
			[]string{"tenant_permissions", `[{"tenant":"*","allowedActions":["*"]}]`},
			acme("READ", "WRITE"),
			both, "",
		},
	} {
		original := f.user(nil)
		a, reason := g.swap("svc", original, c.more...)
		if a.Status != 200 {
			t.Errorf("%s: %d %s %s", c.name, a.Status, reason, a.Description)
			continue
		}
		got := claimsOf(t, a.Token)
		allowed := slices.DeleteFunc(slices.Clone(got.Permissions),
			func(e token.TenantPermission) bool { return len(e.AllowedActions) == 0 })
		if d := cmp.Diff(c.allowed, allowed); d != "" || !slices.Equal(got.Audience, c.audience) || a.Scope != c.scope {
			t.Errorf("%s: aud %v, scope %q\n%s", c.name, got.Audience, a.Scope, d)
		}
		if got.Expiry > claimsOf(t, original).Expiry || got.Scope != "" {
			t.Errorf("%s: it outlives the original, or has a scope: %+v", c.name, got)
		}
	}
	for _, c := range []struct{ name, parameter, value, fault string }{
		{"an audience that is none of ours", "audience", "https://evil.test", "invalid_target"},
		{"the original's audience", "audience", "api", "invalid_target"},
		{"the issuer as audience", "audience", "https://gate.test", "invalid_target"},
		{"a resource that is none of ours", "resource", "https://evil.test/x", "invalid_target"},
		{"a scope of another's actions", "scope", "ADMIN", "invalid_scope"},
		{"a word of may", "scope", "issue_codes exchange", "invalid_scope"},
		{"the word for all", "scope", "*", "invalid_scope"},
		{"a role that opens nothing of it", "scope", "none", "invalid_scope"},
	} {
		if a, _ := g.swap("svc", f.user(nil), c.parameter, c.value); a.Status != 400 || a.Error != c.fault {
			t.Errorf("%s: %d %s", c.name, a.Status, a.Error)
		}
	}
}

// TestExchangeAttacks: whatever opens no route here is exchanged for nothing, and each refusal is the same.
func TestExchangeAttacks(t *testing.T) {
	t.Parallel()
	f, stranger := newForeigner(t), newForeigner(t)
	other := newForeigner(t)
	g := exchangeGate(t, f, "routes:\n",
		"trusted_issuers:\n  - {issuer: \""+f.URL+"\", "+likeIdP+"}\n  - {issuer: \""+other.URL+"\", "+
			strings.Replace(likeIdP, "exchange: true, ", "", 1)+"}\nrevocations: {file: revoked}\nroutes:\n")
	now := time.Now().Unix()
	revoked := f.user(map[string]any{"jti": "revoked-1"})
	if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":"token","issuer":%q,"value":"revoked-1","at":%d}`, f.URL,
		(now+300)*1000)); status != 204 {
		t.Fatal(status)
	}
	over := func(pairs ...any) string {
		claims := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			claims[pairs[i].(string)] = pairs[i+1]
		}
		return f.user(claims)
	}
	id := over("typ", "ID", "nonce", "n")
	actors := func(n int) any {
		var act map[string]any
		for range n {
			before := act
			if act = map[string]any{"sub": "someone"}; before != nil {
				act["act"] = before
			}
		}
		return act
	}
	unsigned := func() string {
		parts := strings.Split(f.user(nil), ".")
		return "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
	}
	swapped := func() string { // the header and the signature of another token
		a, b := strings.Split(f.user(nil), "."), strings.Split(over("roles", []string{"desk", "x"}), ".")
		return a[0] + "." + b[1] + "." + a[2]
	}
	const subject, actor = "subject_token_refused", "actor_refused"
	for _, c := range []struct {
		name, client, subject string
		more                  []string
		status                int
		fault, reason         string
	}{
		{"a client without exchange", "idle", f.user(nil), nil, 400, "unauthorized_client", "grant_not_allowed"},
		{"an issuer without exchange: true", "svc", other.user(nil), nil, 400, "invalid_request", subject},
		{"an issuer that is not trusted", "svc", stranger.user(nil), nil, 400, "invalid_request", subject},
		{"another issuer's key", "svc", stranger.token(stranger.key, "JWT", map[string]any{
			"iss": f.URL, "typ": "Bearer", "org": "shop", "roles": []string{"desk"},
		}), nil, 400, "invalid_request", subject},
		{"our name, another's key", "svc", f.token(f.key, "at+jwt", map[string]any{
			"iss": "https://gate.test", "aud": "https://gate.test/api", "client_id": "svc", "grantor": "svc",
		}), nil, 400, "invalid_request", subject},
		{"unsigned", "svc", unsigned(), nil, 400, "invalid_request", subject},
		{"claims under another's signature", "svc", swapped(), nil, 400, "invalid_request", subject},
		{"expired", "svc", over("exp", now-1, "iat", now-300), nil, 400, "invalid_request", subject},
		{"ends within the second", "svc", over("exp", now), nil, 400, "invalid_request", subject},
		{"not yet", "svc", over("nbf", now+3600), nil, 400, "invalid_request", subject},
		{"lives too long", "svc", over("exp", now+2*86400), nil, 400, "invalid_request", subject},
		{"without exp", "svc", over("exp", nil), nil, 400, "invalid_request", subject},
		{"without sub", "svc", over("sub", nil), nil, 400, "invalid_request", subject},
		{"for another audience", "svc", over("aud", "billing"), nil, 400, "invalid_request", subject},
		{"without what require_claims asks for", "svc", over("org", "rival"), nil, 400, "invalid_request", subject},
		{"revoked", "svc", revoked, nil, 400, "invalid_request", subject},
		{"a subject like a client", "svc", over("sub", "web"), nil, 400, "invalid_request", subject},
		{"the subject is the client itself", "svc", over("sub", "svc"), nil, 400, "invalid_request", subject},
		{"a client like ours", "svc", over("client_id", "back"), nil, 400, "invalid_request", subject},
		{"azp like ours", "svc", over("azp", "back"), nil, 400, "invalid_request", subject},
		{"a subject with a line break", "svc", over("sub", "a\r\nX: y"), nil, 400, "invalid_request", subject},
		{"a refresh token", "svc", over("typ", "Refresh"), nil, 400, "invalid_request", subject},
		{"an offline token", "svc", over("typ", "Offline"), nil, 400, "invalid_request", subject},
		{"a logout token", "svc", over("typ", "Logout", "events", map[string]any{}), nil, 400, "invalid_request", subject},
		{
			"a security event", "svc", over("typ", nil, "events", map[string]any{"x": 1}), nil, 400, "invalid_request",
			subject,
		},
		{"an id_token, said to be an access token", "svc", id, nil, 400, "invalid_request", subject},
		{
			"an access token, said to be an id_token", "svc", f.user(nil),
			[]string{"subject_token_type", idType},
			400,
			"invalid_request", subject,
		},
		{"a refresh token's type", "svc", f.user(nil), []string{
			"subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token",
		}, 400, "invalid_request", "body_invalid"},
		{"SAML", "svc", f.user(nil), []string{
			"subject_token_type", "urn:ietf:params:oauth:token-type:saml2",
		}, 400, "invalid_request", "body_invalid"},
		{
			"an id_token is wanted", "svc", f.user(nil),
			[]string{"requested_token_type", idType},
			400, "invalid_request",
			"body_invalid",
		},
		{"a refresh token is wanted", "svc", f.user(nil), []string{
			"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token",
		}, 400, "invalid_request", "body_invalid"},
		{
			"may_act names another", "svc", over("may_act", map[string]any{"sub": "back"}), nil, 400, "invalid_request",
			subject,
		},
		{
			"may_act names another as well", "svc", over("may_act", map[string]any{"sub": "svc", "client_id": "back"}), nil, 400,
			"invalid_request", subject,
		},
		{
			"may_act of another issuer", "svc", over("may_act", map[string]any{"sub": "svc", "iss": f.URL}), nil, 400,
			"invalid_request", subject,
		},
		{"may_act names no one", "svc", over("may_act", map[string]any{}), nil, 400, "invalid_request", subject},
		{
			"may_act with what is not known", "svc", over("may_act", map[string]any{"sub": "svc", "cnf": 1}), nil, 400,
			"invalid_request", subject,
		},
		{"may_act is a text", "svc", over("may_act", "svc"), nil, 400, "invalid_request", subject},
		{"eight actors", "svc", over("act", actors(8)), nil, 400, "invalid_request", subject},
		{"a management token of ours", "svc", g.management(), nil, 400, "invalid_request", subject},
		{
			"bound to a key, without its proof", "svc", over("cnf", map[string]any{"jkt": strings.Repeat("A", 43)}), nil, 400,
			"invalid_request", subject,
		},
		{
			"bound to a certificate, without it", "svc", over("cnf", map[string]any{"x5t#S256": strings.Repeat("A", 43)}), nil,
			400, "invalid_request", subject,
		},
		{"bound to an unknown kind", "svc", over("cnf", map[string]any{"x": "y"}), nil, 400, "invalid_request", subject},
		{"an actor that is not named", "svc", f.user(nil), []string{
			"actor_token", over("sub", "bob"), "actor_token_type", accessType,
		}, 400, "invalid_request", actor},
		{"another actor than may_act names", "svc", over("may_act", map[string]any{"sub": "bob"}), []string{
			"actor_token", over("sub", "carol"), "actor_token_type", accessType,
		}, 400, "invalid_request", actor},
		{"the actor that may_act names, for another client", "svc", over("may_act", map[string]any{
			"sub": "bob", "client_id": "back",
		}), []string{"actor_token", over("sub", "bob"), "actor_token_type", accessType}, 400, "invalid_request", actor},
		{"an actor that is not trusted", "svc", over("may_act", map[string]any{"sub": "bob"}), []string{
			"actor_token", stranger.user(map[string]any{"sub": "bob"}), "actor_token_type", accessType,
		}, 400, "invalid_request", actor},
		{"an expired actor", "svc", over("may_act", map[string]any{"sub": "bob"}), []string{
			"actor_token", over("sub", "bob", "exp", now-1, "iat", now-9), "actor_token_type", accessType,
		}, 400, "invalid_request", actor},
		{
			"an actor_token without its type", "svc", f.user(nil),
			[]string{"actor_token", f.user(nil)},
			400,
			"invalid_request", "body_invalid",
		},
		{
			"a type without an actor_token", "svc", f.user(nil),
			[]string{"actor_token_type", accessType},
			400,
			"invalid_request", "body_invalid",
		},
	} {
		a, reason := g.swap(c.client, c.subject, c.more...)
		if a.Status != c.status || a.Error != c.fault || reason != c.reason || a.Token != "" {
			t.Errorf("%s: %d %s %s %q", c.name, a.Status, a.Error, reason, a.Description)
		}
		if reason == subject && a.Description != "The subject_token is not one that can be exchanged here" {
			t.Errorf("%s: the answer tells why: %q", c.name, a.Description)
		}
	}
	// What differs from these in one thing alone is exchanged.
	for _, c := range []struct {
		name, subject string
		more          []string
		actors        []token.Actor
	}{
		{"a JWT", f.user(nil), []string{"subject_token_type", jwtType}, nil},
		{"an id_token, as kinds has it", id, []string{"subject_token_type", idType}, nil},
		{"may_act names the client", over("may_act", map[string]any{"sub": "svc"}), nil, nil},
		{"may_act names it as client_id of ours", over("may_act", map[string]any{
			"client_id": "svc", "iss": "https://gate.test",
		}), nil, nil},
		{"seven actors", over("act", actors(7)), nil, append([]token.Actor{{Subject: "svc"}},
			slices.Repeat([]token.Actor{{Issuer: f.URL, Subject: "someone"}}, 7)...)},
		{"the actor that may_act names", over("may_act", map[string]any{"sub": "bob"}), []string{
			"actor_token", over("sub", "bob"), "actor_token_type", accessType,
		}, []token.Actor{{Issuer: f.URL, Subject: "bob"}}},
	} {
		a, reason := g.swap("svc", c.subject, c.more...)
		if a.Status != 200 {
			t.Errorf("%s: %d %s %s", c.name, a.Status, reason, a.Description)
			continue
		}
		if c.actors == nil {
			c.actors = []token.Actor{{Subject: "svc"}}
		}
		if d := cmp.Diff(c.actors, claimsOf(t, a.Token).Actors); d != "" {
			t.Errorf("%s: act\n%s", c.name, d)
		}
	}
}

// TestExchangedTokensEndWithTheForeignOriginal, at the gate, at introspection and where they would be exchanged again,
// whatever revokes the original; and its issuer's name alone is not enough.
func TestExchangedTokensEndWithTheForeignOriginal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, value string
		ours        bool // the mark is of our issuer
		ends        bool
	}{
		{"token", "original-1", false, true},
		{"token", "original-1", true, false},
		{"subject", "alice", false, true},
		{"subject", "alice", true, true}, // it is our own token's subject, too
		{"subject", "bob", false, false},
		{"client", "spa", false, true},
		{"client", "svc", true, true},
		{"client", "svc", false, false},
		{"tenant", "acme", false, true},
		{"issuer", "", false, true},
		{"key", "$KID", false, true},
	} {
		t.Run(fmt.Sprintf("%s %s %t", c.kind, c.value, c.ours), func(t *testing.T) {
			t.Parallel()
			f := newForeigner(t)
			g := exchangeGate(t, f)
			original := f.user(map[string]any{"iat": time.Now().Unix() - 20})
			first, _ := g.swap("svc", original)
			second, reason := g.swap("back", first.Token)
			if second.Status != 200 {
				t.Fatal(second.Status, reason)
			}
			issuer, at := f.URL, time.Now().Add(-10*time.Second).UnixMilli()
			switch {
			case c.ours:
				issuer, at = "https://gate.test", time.Now().Add(2*time.Second).UnixMilli()
			case c.kind == "token":
				at = time.Now().Add(time.Hour).UnixMilli()
			}
			value := strings.ReplaceAll(c.value, "$KID", kidOf(t, original))
			if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":%q,"issuer":%q,"value":%q,"at":%d}`, c.kind, issuer, value,
				at)); status != 204 {
				t.Fatalf("revocation: %d", status)
			}
			for name, compact := range map[string]string{"exchanged": first.Token, "twice": second.Token} {
				want := "200"
				if c.ends {
					want = "401 token_revoked"
				}
				if got := g.open("acme", compact); got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
				if active := g.active(compact); active == c.ends {
					t.Errorf("%s: active: %t", name, active)
				}
				if a, _ := g.swap("back", compact); (a.Status == 400) != c.ends {
					t.Errorf("%s: exchanged again: %d", name, a.Status)
				}
			}
		})
	}
}

// active asks the introspection endpoint.
func (g *gate) active(compact string) bool {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url("/oauth2/introspect"),
		strings.NewReader(url.Values{"token": {compact}}.Encode()))
	must(g.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("svc", "0123456789abcdefghijkl")
	var answer struct{ Active bool }
	must(g.t, json.NewDecoder(exchangeOf(g.t, r).Body).Decode(&answer))
	return answer.Active
}

// TestExchangedTokensStandOnTheConfig: each generation judges the issuer's entry as well as the client that granted.
func TestExchangedTokensStandOnTheConfig(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f)
	first, _ := g.swap("svc", f.user(nil))
	second, _ := g.swap("back", first.Token)
	plain := exchangeEdits(f)
	for _, c := range []struct{ name, old, new, want string }{
		{"as it was", "", "", "200"},
		{
			"the entry is gone", "trusted_issuers:\n  - {issuer: \"" + f.URL, "trusted_issuers:\n  - {issuer: \"" + f.URL + "/x",
			"401 original_not_covered",
		},
		{"no exchange: true", "exchange: true, ", "", "401 original_not_covered"},
		{
			"the ceiling is cut", "permissions: [{tenant: acme, actions: [READ, WRITE]}]",
			"permissions: [{tenant: acme, actions: [WRITE]}]", "401 original_not_covered",
		},
		{
			"another tenant's ceiling", "permissions: [{tenant: acme, actions: [READ, WRITE]}]",
			"permissions: [{tenant: evil, actions: [READ, WRITE]}]", "401 original_not_covered",
		},
		{"the grantor is gone", "{id: svc,", "{id: svc2,", "401 grantor_unknown"},
		{"the grantor's delegate is cut", "[READ, DELETE]", "[DELETE]", "401 grantor_not_covering"},
		{"a client has the subject's name", "{id: idle,", "{id: alice,", "401 token_subject_reserved"},
		{"as it was again", "", "", "200"},
	} {
		g.write(edited(plain, c.old, c.new)...)
		must(t, g.Reload())
		for name, compact := range map[string]string{"exchanged": first.Token, "twice": second.Token} {
			if got := g.open("acme", compact); got != c.want {
				t.Errorf("%s, %s: %s, want %s", c.name, name, got, c.want)
			}
		}
		if c.name == "the entry is gone" || c.name == "no exchange: true" {
			if a, _ := g.swap("svc", f.user(nil)); a.Status != 400 || a.Error != "invalid_request" {
				t.Errorf("%s: exchanged all the same: %d", c.name, a.Status)
			}
		}
	}
}

// TestExchangedIdentityIsTheOriginals: routes that name issuers, and limits by subject, go by the original.
func TestExchangedIdentityIsTheOriginals(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f, "  - {path: /open/", `  - path: /theirs
    require: {action: READ, tenant: acme, issuers: ["`+f.URL+`"]}
    upstream: "$APP"
  - {path: /ours, require: {action: READ, tenant: acme, issuers: ["https://gate.test"]}, upstream: "$APP"}
  - path: /few
    require: {action: READ, tenant: acme}
    rate_limit: {requests: 2, per: 1h, by: subject}
    upstream: "$APP"
  - {path: /open/`)
	original := f.user(nil)
	a, _ := g.swap("svc", original)
	ask := func(path, compact string) int {
		status, _, _ := g.get(path, "Authorization", "Bearer "+compact)
		return status
	}
	own := g.token("acme") // of our own alice, who must not be taken for theirs
	got := []int{
		ask("/theirs", a.Token), ask("/theirs", own), ask("/ours", a.Token), ask("/ours", own),
		ask("/few", a.Token), ask("/few", original), ask("/few", a.Token), ask("/few", original), ask("/few", own),
	}
	if want := []int{200, 403, 403, 200, 200, 200, 429, 429, 200}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestOriginalsWithoutJTI are named by a digest, which the signature's spelling does not change.
func TestOriginalsWithoutJTI(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f)
	original := f.user(map[string]any{"jti": nil})
	a, _ := g.swap("svc", original)
	b, _ := g.swap("svc", original)
	id := claimsOf(t, a.Token).Ancestors[0].ID
	if !strings.HasPrefix(id, "sha256:") || len(id) != len("sha256:")+43 || id != claimsOf(t, b.Token).Ancestors[0].ID {
		t.Fatalf("%q", id)
	}
	if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":"token","issuer":%q,"value":%q,"at":%d}`, f.URL, id,
		time.Now().Add(time.Hour).UnixMilli())); status != 204 {
		t.Fatal(status)
	}
	for _, compact := range []string{a.Token, b.Token} {
		if got := g.open("acme", compact); got != "401 token_revoked" {
			t.Error(got)
		}
	}
}

// TestExchangeFloodTakesTurns: bad subject tokens cost their client turns, as good ones do, and no more than that.
func TestExchangeFloodTakesTurns(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f, "drain:", "limits: {issue_rate: 5}\ndrain:")
	forged := f.token(newSigner(t), "JWT", map[string]any{"typ": "Bearer", "org": "shop"})
	statuses := map[int]int{}
	for range 60 {
		a, _ := g.swap("svc", forged)
		statuses[a.Status]++
	}
	if statuses[429] == 0 || statuses[400]+statuses[429] != 60 {
		t.Errorf("%v", statuses)
	}
	if a, reason := g.swap("back", f.user(nil)); a.Status != 200 {
		t.Errorf("another client: %d %s", a.Status, reason)
	}
}
