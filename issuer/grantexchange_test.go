package issuer

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

func exchangeForm(subject string, more ...string) string {
	return form(append([]string{
		"grant_type", grantExchange, "subject_token", subject, "subject_token_type",
		typeAccessToken,
	}, more...)...)
}

func exchanged(expires int64) oauthAnswer {
	return oauthAnswer{IssuedTokenType: typeAccessToken, TokenType: "Bearer", ExpiresIn: expires}
}

// TestExchange is RFC 8693: the new token is never wider than the old one, nor longer.
func TestExchange(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	svc := basicAuth("svc", svcSecret)
	old := h.roleToken("shop", "support", "", "alice")
	before := h.claimsOf(old)
	h.clock.advance(1500 * time.Millisecond)
	now := h.clock.now().Unix() * 1000
	cut := token.Permissions{
		{Tenant: "acme", AllowedActions: []string{"READ_TENANT"}},
		{Tenant: "*", AllowedActions: []string{}},
	}
	base := token.Claims{
		Issuer: issuerURL, Subject: "alice", Audience: []string{issuerURL + "/api", "https://other.test"}, ClientID: "svc",
		Grantor:  "shop",
		IssuedAt: now, Expiry: before.Expiry, Permissions: cut, Actors: []token.Actor{{Subject: "svc"}},
		Ancestors: []token.Ancestor{{ID: before.ID, ClientID: "shop", KeyID: kidOf(t, old), IssuedAt: before.IssuedAt}},
	}
	with := func(change func(*token.Claims)) token.Claims {
		c := base
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		more    []string
		expires int64
		want    token.Claims
	}{
		"plain":   {nil, 3598, base},
		"a JWT":   {[]string{"requested_token_type", typeJWT}, 3598, base},
		"shorter": {[]string{"expires_in", "60"}, 60, with(func(c *token.Claims) { c.Expiry = now + 60_000 })},
		"longer":  {[]string{"expires_in", "999999999999"}, 3598, base},
		"one audience": {
			[]string{"audience", "https://other.test"},
			3598,
			with(func(c *token.Claims) { c.Audience = []string{"https://other.test"} }),
		},
		"one resource": {
			[]string{"resource", "https://other.test"},
			3598,
			with(func(c *token.Claims) { c.Audience = []string{"https://other.test"} }),
		},
		"one of each": {
			[]string{"resource", "https://other.test", "audience", issuerURL + "/api"},
			3598,
			with(func(c *token.Claims) { c.Audience = []string{"https://other.test", issuerURL + "/api"} }),
		},
		"fewer rights": {[]string{"tenant_permissions", `[]`}, 3598, with(func(c *token.Claims) {
			c.Permissions = token.Permissions{
				{Tenant: "acme", AllowedActions: []string{}},
				{Tenant: "*", AllowedActions: []string{}},
			}
		})},
		"more rights": {[]string{"tenant_permissions", `[{"tenant":"*","allowedActions":["*"]}]`}, 3598, base},
		"other rights": {[]string{
			"tenant_permissions",
			`[{"tenant":"acme","allowedActions":["DELETE_TENANT","READ_TENANT"]}]`,
		}, 3598, base},
		"unknown param": {[]string{"master", "true"}, 3598, base},
	} {
		claims := h.granted(h.token(exchangeForm(old, c.more...), svc), exchanged(c.expires))
		c.want.ID = claims.ID
		if claims.Expiry > before.Expiry {
			t.Errorf("%s: it outlives the old one", name)
		}
		same(t, name, claims, c.want)
	}
	// Of an exchanged token another: both actors are told, the latest first.
	h.config.Issuer.Clients[4].May, h.config.Issuer.Clients[4].Delegate = []string{token.Exchange}, all("*", "*")
	h.reload(h.config)
	once := into[oauthAnswer](t, h.token(exchangeForm(old), svc), 200).AccessToken
	twice := h.granted(h.token(exchangeForm(once), basicAuth("web", webSecret)), exchanged(3598))
	same(t, "actors", twice.Actors, []token.Actor{{Subject: "web"}, {Subject: "svc"}})
	same(t, "ancestors", twice.Ancestors, []token.Ancestor{
		{ID: h.claimsOf(once).ID, ClientID: "svc", KeyID: kidOf(t, once), IssuedAt: now},
		{ID: before.ID, ClientID: "shop", KeyID: kidOf(t, old), IssuedAt: before.IssuedAt},
	})
	same(t, "permissions", twice.Permissions, cut)
	same(t, "grantor and client", [2]string{twice.Grantor, twice.ClientID}, [2]string{"shop", "web"})
}

// TestExchangeOfOnesOwn: a client narrows its own token, and it stays its own.
func TestExchangeOfOnesOwn(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	own, _, err := h.minter().Own("svc", 0)
	if err != nil {
		t.Fatal(err)
	}
	claims := h.granted(h.token(exchangeForm(own, "tenant_permissions",
		`[{"tenant":"acme","allowedActions":["MANAGE_TICKETS"]}]`), basicAuth("svc", svcSecret)), exchanged(3600))
	want := token.Permissions{
		{Tenant: "acme", AllowedActions: []string{"MANAGE_TICKETS"}},
		{Tenant: "*", AllowedActions: []string{}},
	}
	same(t, "permissions", claims.Permissions, want)
	if !claims.Own() || h.issuer.Load().trust.Stands(&claims) != nil {
		t.Errorf("it opens nothing: %+v", claims)
	}
}

// TestExchangeDropsMaster: what is made of a master is none, and manages nothing.
func TestExchangeDropsMaster(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	master := h.created(makerID, `{"application":"app","master":true,"tenantPermissions":[{"tenant":"acme","allowedActions":["READ_TENANT"]}]}`).ID
	r := h.token(exchangeForm(master), basicAuth("svc", svcSecret))
	claims := h.granted(r, exchanged(3600))
	if claims.Master || claims.Application != "" || claims.Scope != "" || claims.ExpiresOn != 0 {
		t.Errorf("%+v", claims)
	}
	if got := h.create(into[oauthAnswer](t, r, 200).AccessToken, `{"application":"b"}`); got.Status != 403 {
		t.Errorf("an exchanged master creates: %v", got)
	}
}

// TestExchangeRefusals: what is no access token of ours that opens something now is exchanged for nothing.
func TestExchangeRefusals(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	h.trust(testKey(t, "RS256"))
	svc := []option{basicAuth("svc", svcSecret)}
	good := h.roleToken("shop", "support", "", "alice")
	own, _, err := h.minter().Own("plain", 0)
	if err != nil {
		t.Fatal(err)
	}
	revoked := h.roleToken("shop", "support", "", "bob")
	h.Revoke(t.Context(), issuerURL, h.claimsOf(revoked).ID, "shop", 0)
	forged := func(change func(*token.Claims)) string {
		c := h.claimsOf(good)
		change(&c)
		compact, err := testKey(t, "ES256").Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &c))
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	foreign := func() string {
		compact, err := testKey(t, "RS256").Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &token.Claims{
			Issuer: "https://foreign.test", Subject: "x", Audience: []string{issuerURL + "/api"}, ClientID: "shop",
			Grantor: "shop", ID: "1",
			IssuedAt: h.clock.now().UnixMilli(), Expiry: h.clock.now().Add(time.Hour).UnixMilli(),
			Permissions: all("*", "READ_TENANT"),
		}))
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	subject := oauthFault(400, "invalid_request", "The subject_token is not one that can be exchanged here")
	notAllowed := oauthFault(400, "unauthorized_client", "The client may not use this grant")
	kinds := typeAccessToken + " or " + typeJWT
	for name, c := range map[string]struct {
		form    string
		options []option
		want    reply
		reason  refusal.Reason
	}{
		"no client": {exchangeForm(good), nil, badClient(), refusal.ClientUnauthenticated},
		"a client that may not": {
			exchangeForm(good),
			[]option{basicAuth("web", webSecret)},
			notAllowed,
			refusal.GrantNotAllowed,
		},
		"a public client": {exchangeForm(good, "client_id", "spa"), nil, notAllowed, refusal.GrantNotAllowed},
		"a scope": {
			exchangeForm(good, "scope", token.IssueCodes), svc,
			oauthFault(400, "invalid_scope", "The scope has no role and no action that the subject_token and the client allow"),
			refusal.ScopeUnknown,
		},
		"an unknown audience": {
			exchangeForm(good, "audience", "https://evil.test"), svc,
			oauthFault(400, "invalid_target", "No token is issued here for this resource or audience"), refusal.ResourceUnknown,
		},
		"the issuer as audience": {
			exchangeForm(good, "audience", issuerURL), svc,
			oauthFault(400, "invalid_target", "No token is issued here for this resource or audience"), refusal.ResourceUnknown,
		},
		"no subject_token": {
			form("grant_type", grantExchange), svc,
			oauthFault(400, "invalid_request", "The request lacks the parameter subject_token"), refusal.BodyInvalid,
		},
		"no type": {
			form("grant_type", grantExchange, "subject_token", good), svc,
			oauthFault(400, "invalid_request", "The request lacks the parameter subject_token_type"), refusal.BodyInvalid,
		},
		"an id_token": {form("grant_type", grantExchange, "subject_token", good, "subject_token_type",
			"urn:ietf:params:oauth:token-type:id_token"), svc, subject, refusal.SubjectTokenRefused},
		"a refresh token": {form("grant_type", grantExchange, "subject_token", good, "subject_token_type",
			"urn:ietf:params:oauth:token-type:refresh_token"), svc, oauthFault(400, "invalid_request",
			"subject_token_type must be "+typeAccessToken+", "+typeJWT+" or "+typeIDToken), refusal.BodyInvalid},
		"a refresh token is wanted": {
			exchangeForm(good, "requested_token_type",
				"urn:ietf:params:oauth:token-type:refresh_token"), svc,
			oauthFault(400, "invalid_request", "requested_token_type must be "+kinds), refusal.BodyInvalid,
		},
		"an actor_token": {
			exchangeForm(good, "actor_token", own, "actor_token_type", typeAccessToken), svc,
			oauthFault(400, "invalid_request", "The actor_token is not one that may act for the subject_token"),
			refusal.ActorRefused,
		},
		"expires_in 0": {
			exchangeForm(good, "expires_in", "0"), svc,
			oauthFault(400, "invalid_request", "expires_in must be a number of seconds, 1 or more"), refusal.BodyInvalid,
		},
		"expires_in +5": {
			exchangeForm(good, "expires_in", "+5"), svc,
			oauthFault(400, "invalid_request", "expires_in must be a number of seconds, 1 or more"), refusal.BodyInvalid,
		},
		"expires_in 1e3": {
			exchangeForm(good, "expires_in", "1e3"), svc,
			oauthFault(400, "invalid_request", "expires_in must be a number of seconds, 1 or more"), refusal.BodyInvalid,
		},
		"permissions without tenant": {
			exchangeForm(good, "tenant_permissions", `[{"allowedActions":[]}]`), svc,
			oauthFault(400, "invalid_request",
				"tenant_permissions is not a list of {tenant, allowedActions}: byte 22: [0]: the member tenant is missing; name "+
					"the tenant, or '*' for all of them"), refusal.BodyInvalid,
		},
		"not a token": {exchangeForm("x"), svc, subject, refusal.SubjectTokenRefused},
		"a code":      {exchangeForm(h.codeFor("")), svc, subject, refusal.SubjectTokenRefused},
		"a management token": {
			exchangeForm(h.management("shop", token.IssueCodes)), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"one's own management token": {
			exchangeForm(h.management("svc", token.Exchange)), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"another client's own": {exchangeForm(own), svc, subject, refusal.SubjectTokenRefused},
		"a foreign token":      {exchangeForm(foreign()), svc, subject, refusal.SubjectTokenRefused},
		"a revoked one":        {exchangeForm(revoked), svc, subject, refusal.SubjectTokenRefused},
		"an expired one": {
			exchangeForm(forged(
				func(c *token.Claims) { c.IssuedAt -= 7200_000; c.Expiry = h.clock.now().Unix() * 1000 })), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"a tampered one": {exchangeForm(tampered(good)), svc, subject, refusal.SubjectTokenRefused},
		"one beyond its grantor": {exchangeForm(forged(func(c *token.Claims) {
			c.Permissions = all("*",
				"DELETE_TENANT")
		})), svc, subject, refusal.SubjectTokenRefused},
		"one of a grantor gone": {
			exchangeForm(forged(func(c *token.Claims) { c.Grantor = "gone" })), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"one of a client gone": {
			exchangeForm(forged(func(c *token.Claims) { c.ClientID = "gone" })), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"one for another audience": {
			exchangeForm(forged(
				func(c *token.Claims) { c.Audience = []string{"https://elsewhere.test"} })), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"one named like a client": {
			exchangeForm(forged(func(c *token.Claims) { c.Subject = "svc" })), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"an application like one": {
			exchangeForm(forged(func(c *token.Claims) { c.Application = "svc" })), svc, subject,
			refusal.SubjectTokenRefused,
		},
		"exchanged eight times": {exchangeForm(forged(func(c *token.Claims) {
			c.Actors = slices.Repeat([]token.Actor{{Subject: "a"}}, 8)
		})), svc, subject, refusal.SubjectTokenRefused},
	} {
		same(t, name, h.token(c.form, c.options...), c.want)
		if ev := h.events.last(); ev.Outcome != "refused" || ev.Reason != c.reason {
			t.Errorf("%s: the audit says %+v", name, ev)
		}
	}
}

// TestExchangeStandsOnTheGrantor: when the grantor of the old token loses what it handed on, so does the new one.
func TestExchangeStandsOnTheGrantor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"gone": func(c *config.Config) { c.Issuer.Clients = c.Issuer.Clients[1:] },
		"cut":  func(c *config.Config) { c.Issuer.Clients[0].Delegate = all("other", "*") },
	} {
		h := oauthHouse(t, nil)
		compact := into[oauthAnswer](t, h.token(exchangeForm(h.roleToken("shop", "support", "", "alice")),
			basicAuth("svc", svcSecret)), 200).AccessToken
		if _, err := h.issuer.Load().presentable(compact, h.clock.now()); err != nil {
			t.Fatal(err)
		}
		change(h.config)
		h.reload(h.config)
		if _, err := h.issuer.Load().presentable(compact, h.clock.now()); err == nil {
			t.Errorf("%s: the exchanged token still stands", name)
		}
	}
}

// TestExchangeNeverWidens: whatever permissions meet, what the new token allows, the old one, the client's delegate and
// the request each allow.
func TestExchangeNeverWidens(t *testing.T) {
	t.Parallel()
	names, words := []string{"a", "b", "*"}, []string{"R", "W", "*"}
	draw := func(t *rapid.T, what string) token.Permissions {
		p := token.Permissions{}
		for range rapid.IntRange(0, 3).Draw(t, what) {
			p = append(p, token.TenantPermission{
				Tenant: rapid.SampledFrom(names).Draw(t, "tenant"), AllowedActions: rapid.SliceOfN(rapid.SampledFrom(words), 0,
					2).Draw(t, "actions"),
			})
		}
		return p
	}
	i := &Issuer{config: settings(t)}
	rapid.Check(t, func(t *rapid.T) {
		old, delegate, asked := draw(t, "old"), draw(t, "delegate"), draw(t, "asked")
		for k := range asked {
			if asked[k].AllowedActions == nil {
				asked[k].AllowedActions = []string{}
			}
		}
		c := &call{issuer: i}
		p := params{"tenant_permissions": {string(jose.AppendPermissions(nil, asked))}}
		got, err := c.narrowedPermissions(p, old.Cut(delegate))
		if err != nil {
			t.Fatal(err)
		}
		for _, tenant := range []string{"a", "b", "c", "*"} {
			for _, action := range []string{"R", "W", "X"} {
				want := old.Allows(tenant, action) && delegate.Allows(tenant, action) && asked.Allows(tenant, action)
				if got.Allows(tenant, action) != want {
					t.Fatalf("%s on %s: %t, of %v, %v, %v: %v", action, tenant, !want, old, delegate, asked, got)
				}
			}
		}
	})
}
