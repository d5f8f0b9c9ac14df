package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

func secret(body string) reply {
	return reply{200, map[string]string{
		"Cache-Control": "no-store", "Pragma": "no-cache",
		"Content-Type": "application/json",
	}, body + "\n"}
}

const inactive = `{"active":false}`

// TestIntrospect is RFC 7662 §2.2: what a good token says, by each way to ask.
func TestIntrospect(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	compact := h.roleToken("shop", "agent", "acme", "alice")
	c := h.claimsOf(compact)
	want := `{"active":true,"iss":"https://gate.test","sub":"alice","aud":["https://gate.test/api","https://other.test"],"client_id":"shop",` +
		`"jti":"` + c.ID + `","token_type":"Bearer","iat":1772366401,"exp":1772370001,"grantor":"shop",` +
		`"tenantPermissions":[{"tenant":"acme","allowedActions":["READ_TENANT"]}]}`
	for name, got := range map[string]reply{
		"basic": h.post("/oauth2/introspect", form("token", compact), basicAuth("svc", svcSecret)),
		"post": h.post("/oauth2/introspect", form("token", compact, "client_id", "svc", "client_secret",
			svcSecret)),
		"a management token": h.post("/oauth2/introspect", form("token", compact),
			bearer(h.management("svc", token.Introspect))),
		"a hint": h.post("/oauth2/introspect", form("token", compact, "token_type_hint", "refresh_token"),
			basicAuth("svc", svcSecret)),
	} {
		same(t, name, got, secret(want))
	}
	exchangedTwice, err := testKey(t, "ES256").Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, func() *token.Claims {
		c.Actors, c.Application, c.Permissions = []token.Actor{{Subject: "b"}, {Subject: "a"}}, "app", token.Permissions{}
		return &c
	}()))
	if err != nil {
		t.Fatal(err)
	}
	got := h.post("/oauth2/introspect", form("token", exchangedTwice), basicAuth("svc", svcSecret))
	if !strings.Contains(got.Body, `"application":"app","act":{"sub":"b","act":{"sub":"a"}}}`) {
		t.Errorf("actors: %v", got)
	}
}

// TestIntrospectInactive: whatever is wrong with a token, exactly {"active":false} is told.
func TestIntrospectInactive(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) {
		c.Issuer.Clients = append(c.Issuer.Clients, &config.Client{
			ID: "narrow", Secret: "a secret of one resource server",
			May: []string{token.Introspect}, Audiences: []string{"https://other.test"},
		})
	})
	h.on = true
	h.reload(h.config)
	h.trust(testKey(t, "RS256"))
	good := h.roleToken("shop", "support", "", "alice")
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
	foreign, err := testKey(t, "RS256").Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &token.Claims{
		Issuer: "https://foreign.test", Subject: "x", Audience: []string{issuerURL + "/api"}, ClientID: "shop",
		Grantor: "shop", ID: "1",
		IssuedAt: h.clock.now().UnixMilli(), Expiry: h.clock.now().Add(time.Hour).UnixMilli(),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, compact := range map[string]string{
		"nothing of a token": "x",
		"a code":             h.codeFor(""),
		"an accessTokenId":   makerID,
		"a secret":           svcSecret,
		"expired": forged(func(c *token.Claims) {
			c.IssuedAt -= 7200_000
			c.Expiry = h.clock.now().Unix() * 1000
		}),
		"not yet":                   forged(func(c *token.Claims) { c.NotBefore = c.IssuedAt + 60_000 }),
		"tampered":                  tampered(good),
		"revoked":                   revoked,
		"foreign":                   foreign,
		"of a grantor gone":         forged(func(c *token.Claims) { c.Grantor = "gone" }),
		"of a client gone":          forged(func(c *token.Claims) { c.ClientID = "gone" }),
		"beyond its grantor":        forged(func(c *token.Claims) { c.Permissions = all("*", "DELETE_TENANT") }),
		"a management token":        h.management("shop", token.IssueCodes),
		"one's own management":      h.management("svc", token.Introspect),
		"for another audience":      forged(func(c *token.Claims) { c.Audience = []string{"https://elsewhere.test"} }),
		"born expired":              h.created(makerID, `{"application":"a","expiresOn":1}`).ID,
		"subject named as a client": forged(func(c *token.Claims) { c.Subject = "svc" }),
	} {
		same(t, name, h.post("/oauth2/introspect", form("token", compact), basicAuth("svc", svcSecret)), secret(inactive))
	}
	narrow := basicAuth("narrow", "a secret of one resource server")
	same(t, "outside the caller's audiences", h.post("/oauth2/introspect", form("token", forged(func(c *token.Claims) {
		c.Audience = []string{issuerURL + "/api"}
	})), narrow), secret(inactive))
	if got := h.post("/oauth2/introspect", form("token", good), narrow); !strings.HasPrefix(got.Body, `{"active":true`) {
		t.Errorf("inside the caller's audiences: %v", got)
	}
}

// tampered is a token with one character of its signature changed.
func tampered(compact string) string {
	at, other := len(compact)-10, "A"
	if compact[at] == 'A' {
		other = "B"
	}
	return compact[:at] + other + compact[at+1:]
}

// TestIntrospectRefusals: who may not ask gets no answer about any token.
func TestIntrospectRefusals(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	good := form("token", h.roleToken("shop", "support", "", "alice"))
	may := oauthFault(400, "unauthorized_client", "The client may not introspect")
	multiple := oauthFault(400, "invalid_request", "The request brings more than one credential; send exactly one")
	challenge := func(kind string) []string {
		return []string{"Www-Authenticate", `Bearer realm="jotgate", error="` + kind + `"`}
	}
	own, _, err := h.minter().Own("svc", 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		form    string
		options []option
		want    reply
		reason  refusal.Reason
	}{
		"no client": {good, nil, badClient(), refusal.ClientUnauthenticated},
		"a wrong secret": {
			good,
			[]option{basicAuth("svc", webSecret)},
			badClient(),
			refusal.ClientUnauthenticated,
		},
		"a client that may not": {good, []option{basicAuth("web", webSecret)}, may, refusal.GrantNotAllowed},
		"a public client": {
			good + "&client_id=spa", nil,
			oauthFault(400, "unauthorized_client", "The client may not use this grant"), refusal.GrantNotAllowed,
		},
		"no token": {
			"",
			[]option{basicAuth("svc", svcSecret)},
			oauthFault(400, "invalid_request", "The request lacks the parameter token"), refusal.BodyInvalid,
		},
		"two tokens": {
			good + "&token=x",
			[]option{basicAuth("svc", svcSecret)},
			oauthFault(400, "invalid_request", "A parameter is there twice"), refusal.BodyInvalid,
		},
		"an access token as bearer": {
			good,
			[]option{bearer(own)},
			oauthFault(403, "insufficient_scope", "The token is no management token", challenge("insufficient_scope")...),
			refusal.TokenNotManagement,
		},
		"another scope": {
			good,
			[]option{bearer(h.management("svc", token.Revoke))},
			oauthFault(403, "insufficient_scope", "The token's scope, or its client, does not allow this",
				challenge("insufficient_scope")...), refusal.ScopeMissing,
		},
		"a bad bearer": {
			good,
			[]option{bearer("x")},
			oauthFault(401, "invalid_token", "The token is not accepted", challenge("invalid_token")...),
			refusal.TokenMalformed,
		},
		"a bearer and a secret": {
			good + "&" + form("client_id", "svc", "client_secret", svcSecret),
			[]option{bearer(h.management("svc", token.Introspect))},
			multiple, refusal.CredentialsMultiple,
		},
	} {
		same(t, name, h.post("/oauth2/introspect", c.form, c.options...), c.want)
	}
	same(t, "GET", h.ask("GET", "/oauth2/introspect?"+good, "", basicAuth("svc", svcSecret)),
		oauthFault(405, "invalid_request", "The endpoint does not have this method; the Allow header lists those it has",
			"Allow", "POST"))
}
