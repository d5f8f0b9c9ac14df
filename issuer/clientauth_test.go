package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

const ownGrant = "grant_type=client_credentials"

// TestClientAuthentication: each way alone opens, and nothing near it does.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) {
		sum := sha256.Sum256([]byte("a secret that only its digest knows"))
		c.Issuer.Clients = append(c.Issuer.Clients,
			&config.Client{ID: "digest", SecretSHA256: sum[:], Permissions: all("acme", "READ_TENANT")},
			&config.Client{ID: "a/b+c", Secret: webSecret, Permissions: all("acme", "READ_TENANT")},
		)
	})
	raw := func(value string) option { return header("Authorization", value) }
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	multiple := oauthFault(400, "invalid_request", "The request brings more than one credential; send exactly one")
	signed := h.assertion(nil)
	assertion := form("client_assertion_type", assertionType, "client_assertion", signed)
	good := reply{Status: 200}
	for name, c := range map[string]struct {
		form    string
		options []option
		want    reply
	}{
		"basic":                        {"", []option{basicAuth("svc", svcSecret)}, good},
		"basic, client_id beside":      {"client_id=svc", []option{basicAuth("svc", svcSecret)}, good},
		"basic, what encoding changes": {"", []option{basicAuth("a/b+c", webSecret)}, good},
		"basic, another case":          {"", []option{raw("bASIC " + b64("svc:"+svcSecret))}, good},
		"post":                         {form("client_id", "svc", "client_secret", svcSecret), nil, good},
		"post, what encoding changes":  {form("client_id", "a/b+c", "client_secret", webSecret), nil, good},
		"a digest, basic":              {"", []option{basicAuth("digest", "a secret that only its digest knows")}, good},
		"a digest, post": {form("client_id", "digest", "client_secret",
			"a secret that only its digest knows"), nil, good},
		"the digest for the secret":     {form("client_id", "digest", "client_secret", "3c8b"), nil, badClient()},
		"basic, not form-encoded":       {"", []option{raw("Basic " + b64("a/b+c:"+webSecret))}, badClient()},
		"basic, a wrong secret":         {"", []option{basicAuth("svc", svcSecret+"x")}, badClient()},
		"basic, the secret's beginning": {"", []option{basicAuth("svc", svcSecret[:36])}, badClient()},
		"basic, no secret":              {"", []option{basicAuth("svc", "")}, badClient()},
		"basic, no colon":               {"", []option{raw("Basic " + b64("svc"))}, badClient()},
		"basic, nothing":                {"", []option{raw("Basic ")}, badClient()},
		"basic, not base64":             {"", []option{raw("Basic %%%")}, badClient()},
		"basic, base64url": {
			"",
			[]option{raw("Basic " + strings.TrimRight(b64("svc:"+svcSecret), "="))},
			badClient(),
		},
		"basic, half an escape":         {"", []option{raw("Basic " + b64("svc:%2"))}, badClient()},
		"basic, unknown client":         {"", []option{basicAuth("nobody", svcSecret)}, badClient()},
		"basic, no name":                {"", []option{basicAuth("", svcSecret)}, badClient()},
		"basic, another's secret":       {"", []option{basicAuth("web", svcSecret)}, badClient()},
		"basic, a public client":        {"", []option{basicAuth("spa", "")}, badClient()},
		"basic, one with keys":          {"", []option{basicAuth("signer", "")}, badClient()},
		"basic, one without anything":   {"", []option{basicAuth("shop", "")}, badClient()},
		"basic, the name in other case": {"", []option{basicAuth("SVC", svcSecret)}, badClient()},
		"post, a wrong secret":          {form("client_id", "svc", "client_secret", webSecret), nil, badClient()},
		"post, no name":                 {form("client_secret", svcSecret), nil, badClient()},
		"post, a public client":         {form("client_id", "spa", "client_secret", "x"), nil, badClient()},
		"a name alone":                  {"client_id=svc", nil, badClient()},
		"a name with keys alone":        {"client_id=signer", nil, badClient()},
		"another scheme":                {"", []option{raw("Digest svc")}, badClient()},
		"a bearer":                      {"", []option{bearer(h.management("svc", token.Exchange))}, badClient()},
		"an assertion of another type": {form("client_assertion", signed, "client_assertion_type",
			"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), nil, badClient()},
		"an assertion without a type": {form("client_assertion", signed), nil, badClient()},
		"a type without assertion":    {form("client_assertion_type", assertionType), nil, badClient()},
		"basic and post": {
			form("client_id", "svc", "client_secret", svcSecret),
			[]option{basicAuth("svc", svcSecret)},
			multiple,
		},
		"basic and assertion": {assertion, []option{basicAuth("svc", svcSecret)}, multiple},
		"post and assertion":  {assertion + "&client_secret=" + svcSecret, nil, multiple},
		"two Authorization headers": {
			"",
			[]option{basicAuth("svc", svcSecret), raw("Basic " + b64("svc:"+svcSecret))},
			multiple,
		},
		"basic, another client_id": {
			"client_id=web",
			[]option{basicAuth("svc", svcSecret)},
			oauthFault(400, "invalid_request", "client_id is not the client that authenticates"),
		},
		"assertion, another client_id": {assertion + "&client_id=svc", nil, badClient()},
		"secret and client_id in cookies": {
			"",
			[]option{header("Cookie", "client_id=svc; client_secret="+svcSecret)},
			badClient(),
		},
	} {
		got := h.token(ownGrant+"&"+c.form, c.options...)
		if c.want.Status == 200 {
			if got.Status != 200 {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		same(t, name, got, c.want)
	}
	if got := h.token(ownGrant + "&" + assertion); got.Status != 200 {
		t.Errorf("the assertion, which nothing above has spent: %v", got)
	}
}

// assertion is a good one of signer's, changed.
func (h *house) assertion(change func(*token.Claims)) string {
	return h.signedAssertion(testKey(h, "EdDSA"), "JWT", change)
}

func (h *house) signedAssertion(key *jose.PrivateKey, typ string, change func(*token.Claims)) string {
	h.Helper()
	now := h.clock.now().UnixMilli()
	c := &token.Claims{
		Issuer: "signer", Subject: "signer", Audience: []string{issuerURL}, ID: "0", IssuedAt: now,
		NotBefore: now, Expiry: now + 60_000,
	}
	if change != nil {
		change(c)
	}
	compact, err := key.Sign(typ, jose.EncodeClaims(nil, c))
	if err != nil {
		h.Fatal(err)
	}
	return compact
}

func (h *house) assert(assertion string) reply {
	h.Helper()
	return h.token(ownGrant + "&" + form("client_assertion_type", assertionType, "client_assertion", assertion))
}

// TestPrivateKeyJWT is RFC 7523 §3, rule by rule, and RFC 8725.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) {
		c.Issuer.Clients = append(c.Issuer.Clients, &config.Client{
			ID: "second", Keys: keySet(t, testKey(t, "RS256")),
			Permissions: all("acme", "READ_TENANT"),
		})
	})
	key := testKey(t, "EdDSA")
	n := 0
	with := func(change func(*token.Claims)) string {
		n++
		return h.assertion(func(c *token.Claims) {
			c.ID = strings.Repeat("j", n)
			change(c)
		})
	}
	for name, assertion := range map[string]string{
		"the issuer":         with(func(*token.Claims) {}),
		"the token endpoint": with(func(c *token.Claims) { c.Audience = []string{issuerURL + "/oauth2/token"} }),
		"both":               with(func(c *token.Claims) { c.Audience = []string{issuerURL, issuerURL + "/oauth2/token"} }),
		"the longest life":   with(func(c *token.Claims) { c.Expiry = c.IssuedAt + longestAssertion.Milliseconds() }),
		"without nbf":        with(func(c *token.Claims) { c.NotBefore = 0 }),
		"an explicit typ":    h.signedAssertion(key, "client-authentication+jwt", func(c *token.Claims) { c.ID = "typ" }),
		"another algorithm": h.signedAssertion(testKey(t, "RS256"), "JWT",
			func(c *token.Claims) { c.Issuer, c.Subject = "second", "second" }),
		"a clock 1 s ahead": with(func(c *token.Claims) { c.IssuedAt += 1000 }),
		"nbf without iat":   with(func(c *token.Claims) { c.IssuedAt = 0 }),
		"further claims":    with(func(c *token.Claims) { c.Scope, c.ClientID = "x", "signer" }),
		"the same jti, other": h.signedAssertion(testKey(t, "RS256"), "JWT",
			func(c *token.Claims) { c.Issuer, c.Subject, c.ID = "second", "second", "j" }),
	} {
		if got := h.assert(assertion); got.Status != 200 {
			t.Errorf("%s: %v: %s", name, got, h.events.last().Reason)
		}
	}
	stranger, err := jose.Generate("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	for name, assertion := range map[string]string{
		"another's key":            h.signedAssertion(stranger, "JWT", nil),
		"another client's key":     h.signedAssertion(testKey(t, "RS256"), "JWT", nil),
		"our own key":              h.signedAssertion(testKey(t, "ES256"), "JWT", nil),
		"typ of an access token":   h.signedAssertion(key, "at+jwt", nil),
		"typ of an id_token hint":  h.signedAssertion(key, "id_token+jwt", nil),
		"an access token of ours":  h.roleToken("shop", "support", "", "alice"),
		"iss of another":           with(func(c *token.Claims) { c.Issuer = "svc" }),
		"sub of another":           with(func(c *token.Claims) { c.Subject = "svc" }),
		"no sub":                   with(func(c *token.Claims) { c.Subject = "" }),
		"no jti":                   with(func(c *token.Claims) { c.ID = "" }),
		"no aud":                   with(func(c *token.Claims) { c.Audience = nil }),
		"aud of another":           with(func(c *token.Claims) { c.Audience = []string{"https://evil.test"} }),
		"aud of another beside us": with(func(c *token.Claims) { c.Audience = []string{issuerURL, "https://evil.test"} }),
		"aud is our API":           with(func(c *token.Claims) { c.Audience = []string{issuerURL + "/api"} }),
		"aud with a slash":         with(func(c *token.Claims) { c.Audience = []string{issuerURL + "/"} }),
		"no exp":                   with(func(c *token.Claims) { c.Expiry = 0 }),
		"expired": with(func(c *token.Claims) {
			c.IssuedAt -= 120_000
			c.Expiry = h.clock.now().Unix() * 1000
		}),
		"too long a life": with(func(c *token.Claims) {
			c.Expiry = c.IssuedAt + longestAssertion.Milliseconds() +
				1000
		}),
		"too far an exp, no iat": with(func(c *token.Claims) {
			c.IssuedAt, c.Expiry = 0,
				c.Expiry+longestAssertion.Milliseconds()
		}),
		"not yet":             with(func(c *token.Claims) { c.NotBefore += 60_000 }),
		"from the future":     with(func(c *token.Claims) { c.IssuedAt += 60_000; c.Expiry += 60_000 }),
		"before this process": with(func(c *token.Claims) { c.IssuedAt -= 2000 }),
		"tampered":            h.assertion(nil) + "A",
		"none":                "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + strings.Split(h.assertion(nil), ".")[1] + ".",
		"not a JWT":           "x",
		"too large":           strings.Repeat("x", 8193),
	} {
		same(t, name, h.assert(assertion), badClient())
		if ev := h.events.last(); ev.Outcome != "refused" || ev.Reason != refusal.ClientUnauthenticated &&
			ev.Reason != refusal.AssertionUsed {
			t.Errorf("%s: %+v", name, ev)
		}
	}
}

// TestUndatedAssertion: without iat and nbf an assertion is refused for ten minutes after a start, and the client is
// told why.
func TestUndatedAssertion(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	undated := func(id string) string {
		return h.assertion(func(c *token.Claims) { c.ID, c.IssuedAt, c.NotBefore = id, 0, 0 })
	}
	got := h.assert(undated("a"))
	if got.Status != 401 || !strings.Contains(got.Body, "invalid_client") || !strings.Contains(got.Body, "add iat to it") {
		t.Errorf("a young process: %v", got)
	}
	if ev := h.events.last(); ev.Reason != refusal.AssertionUsed {
		t.Errorf("%+v", ev)
	}
	h.clock.advance(longestAssertion)
	b := undated("b")
	if got := h.assert(b); got.Status != 200 {
		t.Errorf("ten minutes later: %v", got)
	}
	same(t, "twice", h.assert(b), badClient())
}

// TestAssertionAheadOfItsTime: what a clock that is ahead has made is not accepted before its time has come, so that a
// process that begins in between cannot accept it a second time.
func TestAssertionAheadOfItsTime(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	for name, change := range map[string]func(*token.Claims){
		"iat": func(c *token.Claims) { c.ID, c.IssuedAt = "iat", c.IssuedAt+1000 },
		"nbf": func(c *token.Claims) { c.ID, c.NotBefore = "nbf", c.IssuedAt+1000 },
	} {
		assertion := h.assertion(change)
		made := h.clock.now().Truncate(time.Second).Add(time.Second)
		sent := time.Now()
		if got := h.assert(assertion); got.Status != 200 {
			t.Fatalf("%s: %v", name, got)
		}
		if ahead := made.Sub(h.clock.now()); time.Since(sent) < ahead {
			t.Errorf("%s: accepted after %v, %v before its time", name, time.Since(sent), ahead-time.Since(sent))
		}
	}
	// A process that begins while it is held, or right after it was accepted.
	assertion := h.assertion(func(c *token.Claims) { c.ID, c.IssuedAt = "restart", c.IssuedAt+1000 })
	if got := h.assert(assertion); got.Status != 200 {
		t.Fatal(got)
	}
	// its time has come; app.New waits for a whole second
	h.clock.ms.Store(h.clock.now().Truncate(time.Second).Add(2 * time.Second).UnixMilli())
	h.state = NewState()
	h.reload(h.config)
	same(t, "after a restart", h.assert(assertion), badClient())
	if got := h.assert(h.assertion(func(c *token.Claims) { c.ID = "young" })); got.Status != 200 {
		t.Errorf("an honest client of a young process: %v", got)
	}
}

// TestAssertionOnce: of 64 requests with one assertion, one gets a token; a reload changes nothing about it, nor does
// its spelling matter, only its jti.
func TestAssertionOnce(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	assertion := h.assertion(nil)
	var wait sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for range 64 {
		wait.Go(func() {
			status := h.assert(assertion).Status
			mu.Lock()
			defer mu.Unlock()
			count[status]++
		})
	}
	wait.Wait()
	same(t, "statuses", count, map[int]int{200: 1, 401: 63})
	same(t, "the same jti, signed anew", h.assert(h.assertion(func(c *token.Claims) { c.Expiry += 1000 })), badClient())
	h.reload(h.config)
	same(t, "after a reload", h.assert(assertion), badClient())
	if ev := h.events.last(); ev.Reason != refusal.AssertionUsed {
		t.Errorf("%+v", ev)
	}
	signer := h.config.Issuer.Clients
	h.config.Issuer.Clients = signer[:7]
	h.reload(h.config)
	h.config.Issuer.Clients = signer
	h.reload(h.config)
	same(t, "after the client was gone", h.assert(assertion), badClient())
	h.clock.advance(2 * time.Minute)
	if got := h.assert(h.assertion(nil)); got.Status != 200 {
		t.Errorf("the jti long after its assertion ended: %v", got)
	}
}

// TestAssertionSpentLast: an assertion is not spent by a request that could not use it.
func TestAssertionSpentLast(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	assertion := h.assertion(nil)
	forged := assertion[:len(assertion)-4] + "AAAA"
	same(t, "forged", h.assert(forged), badClient())
	if got := h.assert(assertion); got.Status != 200 {
		t.Errorf("after a forgery with its jti: %v", got)
	}
}

// TestAssertionAfterRestart: a new process has forgotten what was used, so it takes nothing that the old one may have
// seen.
func TestAssertionAfterRestart(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	used, unused := h.assertion(nil), h.assertion(func(c *token.Claims) { c.ID = "unused" })
	if got := h.assert(used); got.Status != 200 {
		t.Fatal(got)
	}
	h.clock.advance(1100 * time.Millisecond)
	h.state = NewState()
	h.reload(h.config)
	same(t, "used", h.assert(used), badClient())
	same(t, "perhaps used", h.assert(unused), badClient())
	h.clock.advance(time.Second)
	if got := h.assert(h.assertion(nil)); got.Status != 200 {
		t.Errorf("made since: %v", got)
	}
}
