package issuer

import (
	"strings"
	"testing"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// TestRevoke is RFC 7009: by its own client, or by one that may; afterwards it is good for nothing.
func TestRevoke(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	done := reply{200, map[string]string{"Cache-Control": "no-store", "Pragma": "no-cache"}, ""}
	code := func(members string, f string, options ...option) string {
		return into[oauthAnswer](t, h.token("grant_type=authorization_code&code="+h.codeFor(members)+"&"+f, options...),
			200).AccessToken
	}
	web := basicAuth("web", webSecret)
	verified := "client_id=spa&code_verifier=" + appendixVerifier
	for name, c := range map[string]struct {
		compact string
		by      []option
		form    string
	}{
		"its own client":        {code("", "", web), []option{web}, ""},
		"its own public client": {code(pkce, verified), nil, "client_id=spa"},
		"one that may":          {code("", "", web), []option{basicAuth("svc", svcSecret)}, ""},
		"a management token":    {code("", "", web), []option{bearer(h.management("svc", token.Revoke))}, ""},
		"with a hint":           {code("", "", web), []option{web}, "token_type_hint=refresh_token"},
		"one's own management":  {h.management("svc", token.Exchange), []option{basicAuth("svc", svcSecret)}, ""},
		"a created token": {
			h.created(makerID, `{"application":"a","master":true}`).ID,
			[]option{basicAuth("svc", svcSecret)},
			"",
		},
	} {
		claims := h.claimsOf(c.compact)
		same(t, name, h.post("/oauth2/revoke", form("token", c.compact)+"&"+c.form, c.by...), done)
		if ev := h.events.last(); ev.Name != "oauth_revoke" || ev.Outcome != "granted" || ev.TokenID != claims.ID {
			t.Errorf("%s: the audit says %+v", name, ev)
		}
		if _, err := h.issuer.Load().presentable(c.compact, h.clock.now()); refusal.Of(err) != refusal.TokenRevoked {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name+", again", h.post("/oauth2/revoke", form("token", c.compact)+"&"+c.form, c.by...), done)
	}
	for name, compact := range map[string]string{
		"none of ours": "x", "a code": h.codeFor(""),
		"ended": h.created(makerID, `{"application":"a","expiresOn":1}`).ID,
	} {
		before := len(h.by)
		same(t, name, h.post("/oauth2/revoke", form("token", compact), basicAuth("svc", svcSecret)), done)
		if len(h.by) != before {
			t.Errorf("%s takes room", name)
		}
	}
}

// TestRevocationThatIsNotKept is RFC 7009 §2.2.1: 503, and the token is as good as before.
func TestRevocationThatIsNotKept(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	compact := h.created(makerID, `{"application":"a"}`).ID
	h.revoked.mu.Lock()
	h.revoked.broken = refusal.Because(refusal.StoreUnavailable, "no space left on device")
	h.revoked.mu.Unlock()
	got := h.post("/oauth2/revoke", form("token", compact), basicAuth("svc", svcSecret))
	want := `{"error":"temporarily_unavailable","error_description":"The revocation could not be kept; try again"}`
	if got.Status != 503 || got.Header["Retry-After"] == "" || strings.TrimSpace(got.Body) != want {
		t.Errorf("/oauth2/revoke: %+v", got)
	}
	if got := h.ask("POST", "/api/1/access_token/"+compact+"/delete?accessTokenId="+makerID, ""); got.Status != 503 {
		t.Errorf("the access-token dialect: %+v", got)
	}
	if _, err := h.issuer.Load().presentable(compact, h.clock.now()); err != nil {
		t.Errorf("the token: %v", err)
	}
}

// TestStrangersTakeNoTurnsOfAPublicClient: anybody can say that it is a public client; its turns are for its own
// tokens.
func TestStrangersTakeNoTurnsOfAPublicClient(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) { c.Limits.IssueRate = 2 })
	h.on = true
	h.reload(h.config)
	code := h.codeFor(pkce)
	own := into[oauthAnswer](t, h.token("grant_type=authorization_code&code="+code+"&client_id=spa&code_verifier="+
		appendixVerifier), 200)
	others := h.created(makerID, `{"application":"a"}`).ID
	for range 20 {
		if got := h.post("/oauth2/revoke", "client_id=spa&token=x"); got.Status != 200 {
			t.Fatalf("no token: %+v", got)
		}
		if got := h.post("/oauth2/revoke", "client_id=spa&"+form("token", others)); got.Status != 400 {
			t.Fatalf("another's token: %+v", got)
		}
	}
	for i := range 5 {
		want := 200
		if i == 4 { // the burst is twice the rate
			want = 429
		}
		if got := h.post("/oauth2/revoke", "client_id=spa&"+form("token", own.AccessToken)); got.Status != want {
			t.Errorf("its own token, time %d: %+v", i, got)
		}
	}
}

// TestRevokeRefusals: no client revokes another's token.
func TestRevokeRefusals(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	compact := h.roleToken("shop", "support", "", "alice")
	good := form("token", compact)
	another := oauthFault(400, "unauthorized_client", "The token is another client's")
	for name, c := range map[string]struct {
		form    string
		options []option
		want    reply
		reason  refusal.Reason
	}{
		"no client":             {good, nil, badClient(), refusal.ClientUnauthenticated},
		"its own client's name": {good + "&client_id=shop", nil, badClient(), refusal.ClientUnauthenticated},
		"another client":        {good, []option{basicAuth("web", webSecret)}, another, refusal.GrantNotAllowed},
		"another public client": {good + "&client_id=spa", nil, another, refusal.GrantNotAllowed},
		"the token as bearer": {
			good,
			[]option{bearer(compact)},
			oauthFault(403, "insufficient_scope", "The token is no management token", "Www-Authenticate",
				`Bearer realm="jotgate", error="insufficient_scope"`), refusal.TokenNotManagement,
		},
		"no token": {
			"",
			[]option{basicAuth("svc", svcSecret)},
			oauthFault(400, "invalid_request", "The request lacks the parameter token"), refusal.BodyInvalid,
		},
	} {
		same(t, name, h.post("/oauth2/revoke", c.form, c.options...), c.want)
		if ev := h.events.last(); ev.Outcome != "refused" || ev.Reason != c.reason {
			t.Errorf("%s: the audit says %+v", name, ev)
		}
	}
	if _, err := h.issuer.Load().presentable(compact, h.clock.now()); err != nil {
		t.Errorf("the token: %v", err)
	}
	h.on = false
	h.reload(h.config)
	same(t, "nothing can be revoked", h.post("/oauth2/revoke", good, basicAuth("svc", svcSecret)),
		oauthFault(400, "unsupported_token_type", "Nothing can be revoked without revocations.file"))
}

// TestEscalationOAuthTokens: what the OAuth endpoints give for the routes manages nothing.
func TestEscalationOAuthTokens(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	svc := basicAuth("svc", svcSecret)
	tokens := map[string]string{
		"a client's own token": into[oauthAnswer](t, h.token(ownGrant, svc), 200).AccessToken,
		"a redeemed code's token": into[oauthAnswer](t, h.token("grant_type=authorization_code&code="+h.codeFor(""), svc),
			200).AccessToken,
		"an exchanged token": into[oauthAnswer](t, h.token(exchangeForm(h.roleToken("shop", "support", "", "alice")),
			svc), 200).AccessToken,
		"an exchanged master": into[oauthAnswer](t,
			h.token(exchangeForm(h.created(makerID, `{"application":"m","master":true}`).ID), svc), 200).AccessToken,
	}
	walls := append(walls(), wall{"/oauth2/introspect", "token=x", "svc", token.Introspect},
		wall{"/oauth2/revoke", "token=x", "svc", token.Revoke})
	for name, compact := range tokens {
		for _, w := range walls {
			ask := h.ask
			if w.body == "token=x" {
				ask = func(_, path, body string, options ...option) reply { return h.post(path, body, options...) }
			}
			if got := ask("POST", w.path, w.body, bearer(compact)); got.Status != 403 {
				t.Errorf("%s at %s: %v", name, w.path, got)
			}
		}
		if got := h.create(compact, `{"application":"b"}`); got.Status != 403 {
			t.Errorf("%s as accessTokenId: %v", name, got)
		}
	}
	// A management token is no subject_token, and its scope is that of its client's `may` at each endpoint.
	narrow := into[oauthAnswer](t, h.token(ownGrant+"&scope=introspect", svc), 200).AccessToken
	for _, w := range walls[:1] {
		if got := h.ask("POST", w.path, w.body, bearer(narrow)); got.Status != 403 {
			t.Errorf("scope introspect at %s: %v", w.path, got)
		}
	}
}
