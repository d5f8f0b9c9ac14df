package issuer

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// RFC 7636 appendix B.
const (
	appendixVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	appendixChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func (h *house) codeFor(members string) string {
	h.Helper()
	return h.code(`{"subject":"alice","role":"support"` + members + `}`)
}

const pkce = `,"code_challenge":"` + appendixChallenge + `","code_challenge_method":"S256"`

// TestCodeGrant: who may redeem which code, and whose the token then is.
func TestCodeGrant(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	for name, c := range map[string]struct {
		members string // of the code's request
		form    string // beside grant_type and code
		options []option
		client  string // of the token
	}{
		"a free code, no client":    {"", "", nil, "shop"},
		"a free code, a client":     {"", "", []option{basicAuth("web", webSecret)}, "web"},
		"a free code, its issuer":   {"", "", []option{basicAuth("svc", svcSecret)}, "svc"},
		"a free code, redirect_uri": {"", form("redirect_uri", "https://any.test/cb"), nil, "shop"},
		"a client's code":           {`,"client_id":"web"`, "", []option{basicAuth("web", webSecret)}, "web"},
		"a client's code, by post": {
			`,"client_id":"web"`, form("client_id", "web", "client_secret", webSecret), nil,
			"web",
		},
		"a client's code, client_id beside": {
			`,"client_id":"web"`, "client_id=web",
			[]option{basicAuth("web", webSecret)},
			"web",
		},
		"a public client's code": {
			`,"client_id":"spa"` + pkce,
			form("client_id", "spa", "code_verifier", appendixVerifier), nil, "spa",
		},
		"a challenged code, no client": {pkce, form("code_verifier", appendixVerifier), nil, "shop"},
		"a challenged code, a client": {
			pkce, form("code_verifier", appendixVerifier),
			[]option{basicAuth("web", webSecret)},
			"web",
		},
		"a bound redirect_uri": {
			`,"redirect_uri":"https://app.test/cb?x=1"`, form("redirect_uri", "https://app.test/cb?x=1"), nil, "shop",
		},
		"all at once": {
			`,"client_id":"web","redirect_uri":"https://app.test/cb"` + pkce,
			form("redirect_uri", "https://app.test/cb", "code_verifier", appendixVerifier),
			[]option{basicAuth("web", webSecret)},
			"web",
		},
	} {
		sealed := h.codeFor(c.members)
		opened := code.Bound{}
		if flags, err := code.Flags(sealed); err != nil || flags == opened && c.members != "" {
			t.Fatal(name, flags, err)
		}
		claims := h.granted(h.token("grant_type=authorization_code&code="+sealed+"&"+c.form, c.options...),
			oauthAnswer{TokenType: "Bearer", ExpiresIn: 3600})
		now := h.clock.now().Unix() * 1000
		id := claims.ID
		same(t, name, claims, token.Claims{
			Issuer: issuerURL, Subject: "alice", Audience: []string{issuerURL + "/api", "https://other.test"},
			ClientID: c.client, Grantor: "shop",
			ID: id, IssuedAt: now, Expiry: now + 3600_000, Permissions: all("acme", "READ_TENANT", "MANAGE_TICKETS"),
		})
	}
}

// TestCodeGrantRefusals: a code that is not for this request is not spent: afterwards the right request gets it.
func TestCodeGrantRefusals(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	web, svc := []option{basicAuth("web", webSecret)}, []option{basicAuth("svc", svcSecret)}
	verified := "code_verifier=" + appendixVerifier
	for name, c := range map[string]struct {
		members, form string
		options       []option
		want          reply
		reason        refusal.Reason
		right         string // the right request for this code
		rightOptions  []option
	}{
		"another client's code": {`,"client_id":"web"`, "", svc, badGrant(), refusal.CodeUnknown, "", web},
		"a public client for another's": {
			`,"client_id":"web"`, "client_id=spa", nil, badGrant(), refusal.PKCEFailed, "",
			web,
		},
		"a client's code, no client": {
			`,"client_id":"web"`, "", nil, badClient(), refusal.ClientUnauthenticated, "",
			web,
		},
		"a client's code, its name alone": {
			`,"client_id":"web"`, "client_id=web", nil, badClient(),
			refusal.ClientUnauthenticated, "", web,
		},
		"a client's code, a wrong secret": {
			`,"client_id":"web"`, "",
			[]option{basicAuth("web", svcSecret)},
			badClient(),
			refusal.ClientUnauthenticated, "", web,
		},
		"challenge without verifier": {pkce, "", nil, badGrant(), refusal.PKCEFailed, verified, nil},
		"verifier without challenge": {"", verified, nil, badGrant(), refusal.PKCEFailed, "", nil},
		"downgrade: a public client": {"", "client_id=spa", nil, badGrant(), refusal.PKCEFailed, "", nil},
		"a wrong verifier": {
			pkce, "code_verifier=" + strings.Repeat("x", 43), nil, badGrant(),
			refusal.CodeUnknown, verified, nil,
		},
		"the challenge as verifier": {
			pkce, "code_verifier=" + appendixChallenge, nil, badGrant(), refusal.CodeUnknown,
			verified, nil,
		},
		"a verifier of 42": {
			pkce, "code_verifier=" + appendixVerifier[:42], nil, badGrant(),
			refusal.PKCEFailed, verified, nil,
		},
		"a verifier of 129": {
			pkce, "code_verifier=" + strings.Repeat("x", 129), nil, badGrant(),
			refusal.PKCEFailed, verified, nil,
		},
		"a verifier with a space": {
			pkce, "code_verifier=" + appendixVerifier[:42] + "+", nil, badGrant(),
			refusal.PKCEFailed, verified, nil,
		},
		"an empty verifier": {pkce, "code_verifier=", nil, badGrant(), refusal.PKCEFailed, verified, nil},
		"method plain": {
			pkce, "code_challenge_method=plain&code_verifier=" + appendixChallenge, nil,
			badGrant(), refusal.CodeUnknown, verified, nil,
		},
		"another redirect_uri": {
			`,"redirect_uri":"https://app.test/cb"`, form("redirect_uri", "https://app.test/cb/"), nil, badGrant(),
			refusal.CodeUnknown,
			form("redirect_uri", "https://app.test/cb"), nil,
		},
		"no redirect_uri": {
			`,"redirect_uri":"https://app.test/cb"`, "", nil, badGrant(), refusal.CodeUnknown,
			form("redirect_uri", "https://app.test/cb"), nil,
		},
		"another resource": {
			"", form("resource", "https://evil.test"), nil,
			oauthFault(400, "invalid_target", "No token is issued here for this resource or audience"), refusal.ResourceUnknown,
			"", nil,
		},
	} {
		sealed := h.codeFor(c.members)
		ask := func(more string, options []option) reply {
			return h.token("grant_type=authorization_code&code="+sealed+"&"+more, options...)
		}
		same(t, name, ask(c.form, c.options), c.want)
		if ev := h.events.last(); ev.Name != "oauth_token" || ev.Outcome != "refused" || ev.Reason != c.reason {
			t.Errorf("%s: the audit says %+v", name, ev)
		}
		if got := ask(c.right, c.rightOptions); got.Status != 200 {
			t.Errorf("%s: then the right request: %v", name, got)
		}
	}
	for name, c := range map[string]struct {
		form string
		want reply
	}{
		"no code": {
			"grant_type=authorization_code",
			oauthFault(400, "invalid_request", "The request lacks the parameter code"),
		},
		"no code's":   {"grant_type=authorization_code&code=x", badGrant()},
		"a forged":    {"grant_type=authorization_code&code=" + strings.Repeat("x", 128), badGrant()},
		"bad flags":   {"grant_type=authorization_code&code=EQ" + strings.Repeat("x", 126), badGrant()},
		"a 129 char.": {"grant_type=authorization_code&code=" + strings.Repeat("x", 129), badGrant()},
	} {
		same(t, name, h.token(c.form), c.want)
	}
}

// TestPublicClientsCodesNeedPKCE: none is sealed without a challenge, to begin with.
func TestPublicClientsCodesNeedPKCE(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	got := h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":"support","client_id":"spa"}`,
		bearer(h.management("shop", token.IssueCodes)))
	same(t, "answer", got, codeFault(400, 10002, "BadRequestError",
		"client_id is a public client: its codes need a code_challenge", "/api/v1/authorization-codes"))
}

// TestPKCEAppendixB is RFC 7636 appendix B.
func TestPKCEAppendixB(t *testing.T) {
	t.Parallel()
	same(t, "challenge", challengeOf(appendixVerifier), appendixChallenge)
	for s, want := range map[string]bool{
		appendixVerifier: true, strings.Repeat("~", 128): true, "-._~" + strings.Repeat("0", 39): true,
		strings.Repeat("a", 42): false, strings.Repeat("a", 129): false, strings.Repeat("a", 43) + "=": false,
		strings.Repeat("a", 43) + "\n": false, strings.Repeat("é", 43): false, strings.Repeat("a", 43) + "@": false,
		strings.Repeat("a", 43) + "[": false,
	} {
		if isVerifier(s) != want {
			t.Errorf("%q: %t", s, !want)
		}
	}
}

// TestCodeGrantOnceAmongMany: one of 64 concurrent requests has the token, whichever endpoint they ask.
func TestCodeGrantOnceAmongMany(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	sealed := h.codeFor("")
	var wait sync.WaitGroup
	statuses := make(chan int, 64)
	for n := range 64 {
		wait.Go(func() {
			if n%2 == 0 {
				statuses <- h.redeem(sealed).Status
			} else {
				statuses <- h.token("grant_type=authorization_code&code=" + sealed).Status
			}
		})
	}
	wait.Wait()
	close(statuses)
	count := map[int]int{}
	for s := range statuses {
		count[s]++
	}
	if count[200]+count[201] != 1 || count[400] != 63 {
		t.Errorf("%v", count)
	}
}

// TestCodePresentedAgainRevokesItsToken is RFC 6749 §4.1.2, and only at this endpoint: at the seed's, a holder that
// tries again would kill its own token.
func TestCodePresentedAgainRevokesItsToken(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	sealed := h.codeFor(pkce)
	good := "grant_type=authorization_code&code=" + sealed + "&code_verifier=" + appendixVerifier
	claims := h.granted(h.token(good), oauthAnswer{TokenType: "Bearer", ExpiresIn: 3600})
	revoked := func() bool {
		h.revoked.mu.Lock()
		defer h.revoked.mu.Unlock()
		return h.by[claims.ID] == "shop"
	}
	// A caller that cannot redeem the code cannot revoke its token either.
	same(t, "a thief without the verifier", h.token("grant_type=authorization_code&code="+sealed+"&code_verifier="+
		strings.Repeat("x", 43)), badGrant())
	if revoked() {
		t.Error("a thief without the verifier revoked the token")
	}
	same(t, "again", h.token(good), badGrant())
	if !revoked() {
		t.Error("the token is still good")
	}
	if until := h.revoked.replayed.Load(); until > h.clock.now().Add(h.config.Issuer.MaxTokenTTL).UnixMilli() ||
		until < claims.Expiry {
		t.Errorf("remembered until %d, the token ends at %d and the latest that one could end is a max_token_ttl from now",
			until, claims.Expiry)
	}
	if ev := h.events.last(); ev.Reason != refusal.CodeUsed || ev.TokenID != claims.ID ||
		!strings.Contains(ev.Note, "its token is revoked") {
		t.Errorf("the audit says %+v", ev)
	}
	plain := h.codeFor("")
	kept := h.claimsOf(into[tokenAnswer](t, h.redeem(plain), 201).AccessToken)
	h.redeem(plain)
	if h.by[kept.ID] != "" {
		t.Error("the seed's endpoint revoked the token of a holder that tried again")
	}
}

// TestCodeBelowFloorRevokesItsToken: a used code that the guard had to forget revokes its token all the same.
func TestCodeBelowFloorRevokesItsToken(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) { c.Replay.Capacity = 4 }) // one for each client
	h.on = true
	h.reload(h.config)
	first, second := h.codeFor(""), ""
	claims := h.granted(h.token("grant_type=authorization_code&code="+first),
		oauthAnswer{TokenType: "Bearer", ExpiresIn: 3600})
	h.clock.advance(time.Second)
	second = h.codeFor("")
	if got := h.token("grant_type=authorization_code&code=" + second); got.Status != 200 {
		t.Fatal(got)
	}
	same(t, "again", h.token("grant_type=authorization_code&code="+first), badGrant())
	if ev := h.events.last(); ev.Reason != refusal.CodeBelowFloor || h.by[claims.ID] != "shop" {
		t.Errorf("the audit says %+v, revoked are %v", ev, h.by)
	}
}

// TestCodeGrantResource is RFC 8707 §2.2: one of the audiences, or several.
func TestCodeGrantResource(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	for _, c := range []struct{ resources, want []string }{
		{[]string{"https://other.test"}, []string{"https://other.test"}},
		{
			[]string{"https://other.test", issuerURL + "/api", "https://other.test"},
			[]string{"https://other.test", issuerURL + "/api"},
		},
	} {
		f := "grant_type=authorization_code&code=" + h.codeFor("")
		for _, r := range c.resources {
			f += "&" + form("resource", r)
		}
		claims := h.granted(h.token(f), oauthAnswer{TokenType: "Bearer", ExpiresIn: 3600})
		same(t, fmt.Sprint(c.resources), claims.Audience, c.want)
	}
}

// TestCodeGrantAfterTheConfigChanged: a code stands on the present config, here as at the seed's endpoint.
func TestCodeGrantAfterTheConfigChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*config.Config)
		reason refusal.Reason
	}{
		"its issuer is gone": {
			func(c *config.Config) { c.Issuer.Clients = c.Issuer.Clients[1:] },
			refusal.CodeClientGone,
		},
		"its issuer may no more": {func(c *config.Config) { c.Issuer.Clients[0].May = nil }, refusal.CodeClientGone},
		"its issuer covers no more": {
			func(c *config.Config) { c.Issuer.Clients[0].Delegate = all("acme", "READ_TENANT") },
			refusal.CodeNotCovered,
		},
		"its role is gone": {func(c *config.Config) { delete(c.Roles, "support") }, refusal.CodeRoleGone},
		"its subject is a client": {func(c *config.Config) {
			c.Issuer.Clients = append(c.Issuer.Clients, &config.Client{ID: "alice"})
		}, refusal.CodeNotCovered},
	} {
		h := oauthHouse(t, nil)
		sealed := h.codeFor("")
		c.change(h.config)
		h.reload(h.config)
		same(t, name, h.token("grant_type=authorization_code&code="+sealed), badGrant())
		if ev := h.events.last(); ev.Reason != c.reason {
			t.Errorf("%s: %+v", name, ev)
		}
	}
	h := oauthHouse(t, nil)
	sealed := h.codeFor("")
	h.clock.advance(time.Minute)
	same(t, "expired", h.token("grant_type=authorization_code&code="+sealed), badGrant())
}
