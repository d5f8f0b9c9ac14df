package issuer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// codeFault is the whole answer of the issuer dialect to a refused POST.
func codeFault(status, number int, name, message, path string, headers ...string) reply {
	r := reply{Status: status, Header: map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"}}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = headers[i+1]
	}
	body, err := json.Marshal(codeError{name, message, number, status, status, "POST", path})
	if err != nil {
		panic(err)
	}
	r.Body = string(body) + "\n"
	return r
}

const notTaken = "The body is not what this endpoint takes: "

// TestRedeem is api.md §1's table, row by row.
func TestRedeem(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	seed := seedDocument(t)
	const path = "/api/v1/tokens"
	body := func(detail string) reply { return codeFault(400, 10002, "BadRequestError", notTaken+detail, path) }
	malformed := codeFault(400, 10003, "BadRequestError", "The body is not what this endpoint takes", path)
	unknown := codeFault(404, 10004, "NotFoundError", "Authorization request not found", path)
	wrap := func(code string) string { return `{"authorization_code":"` + code + `"}` }
	x := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct {
		body string
		want reply
	}{
		"not JSON": {"authorization_code=x", body("byte 0: want an object")},
		"an array": {"[]", body("byte 0: want an object, have an array")},
		"member missing": {"{}", codeFault(400, 10002, "BadRequestError", "The body lacks the member authorization_code",
			path)},
		"null":            {`{"authorization_code":null}`, body("byte 22: authorization_code: want a string, have null")},
		"a number":        {`{"authorization_code":1}`, body("byte 22: authorization_code: want a string, have a number")},
		"unknown member":  {`{"authorization_code":"x","more":1}`, body("there is no member more here")},
		"a member's case": {`{"Authorization_code":"x"}`, body("there is no member Authorization_code here")},
		"duplicate": {
			`{"authorization_code":"x","authorization_code":"x"}`,
			body("byte 26: authorization_code: the member is there twice"),
		},
		"trailing data": {wrap("x") + "{}", body("byte 26: data after the end of the value")},
		"empty":         {wrap(""), malformed},
		"length 31":     {wrap(x(31)), malformed},
		"length 129":    {wrap(x(129)), malformed},
		"a dot":         {wrap(x(40) + "."), malformed},
		"padding":       {wrap(x(40) + "="), malformed},
		"plus":          {wrap(x(40) + "+"), malformed},
		"slash":         {wrap(x(40) + "/"), malformed},
		"space":         {wrap(x(40) + " "), malformed},
		"non-ASCII":     {wrap(x(40) + "é"), malformed},
		"length 32":     {wrap(x(32)), unknown},
		"length 127":    {wrap(x(127)), unknown},
		"forged":        {wrap(x(128)), unknown},
	} {
		got := h.ask("POST", path, c.body)
		same(t, name, got, c.want)
		h.againstSeed(seed, got)
	}
	// No body at all, as a client that forgot it sends it.
	got := h.ask("POST", path, "", header("Content-Type", "application/json"))
	same(t, "no body", got, body("byte 0: want an object, but the document ends here"))
	same(t, "no body, no type", h.ask("POST", path, "", header("Content-Type", "")),
		body("byte 0: want an object, but the document ends here"))

	ok := h.redeem(h.code(`{"subject":"alice","role":"support"}`))
	h.againstSeed(seed, ok)
	answer := into[tokenAnswer](t, ok, 201)
	same(t, "201", ok, reply{
		201,
		map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"},
		`{"access_token":"` + answer.AccessToken + `","token_type":"Bearer","expires_in":3600}` + "\n",
	})
}

func seedDocument(t testing.TB) *openapi3.T {
	t.Helper()
	data, err := os.ReadFile("testdata/seed_tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// againstSeed holds an answer of /api/v1/tokens to the seed's own document.
func (h *house) againstSeed(seed *openapi3.T, r reply) {
	h.Helper()
	request, err := http.NewRequest("POST", h.server.URL+"/api/v1/tokens", nil)
	if err != nil {
		h.Fatal(err)
	}
	response := &http.Response{StatusCode: r.Status, Header: http.Header{"Content-Type": {r.Header["Content-Type"]}}}
	h.validate(seed, request, response, []byte(r.Body))
}

// TestTokenOfACode: its claims are RFC 9068's and ours, and nothing else.
func TestTokenOfACode(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	sealed := h.code(`{"subject":"alice","role":"agent","tenant":"acme"}`)
	compact := into[tokenAnswer](t, h.redeem(sealed), 201).AccessToken
	opened, _, err := h.issuer.Load().sealer.open(t.Context(), sealed, code.Binding{})
	if err != nil {
		t.Fatal(err)
	}
	now := h.clock.now().Unix() * 1000
	same(t, "claims", h.claimsOf(compact), token.Claims{
		Issuer: issuerURL, Subject: "alice", Audience: []string{issuerURL + "/api"}, ClientID: "shop", Grantor: "shop",
		ID: code.TokenID(opened.Nonce), IssuedAt: now, Expiry: now + 3600_000, Permissions: all("acme", "READ_TENANT"),
	})
}

// TestMedia: a body is taken for JSON only if it says that it is.
func TestMedia(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	refused := codeFault(415, 10016, "UnsupportedMediaTypeError",
		"The body must be sent as Content-Type: application/json, without a content coding", "/api/v1/tokens")
	for _, c := range []struct {
		types []string
		want  int
	}{
		{[]string{"application/json"}, 404},
		{[]string{"application/json; charset=utf-8"}, 404},
		{[]string{"Application/JSON; Charset=UTF-8"}, 404},
		{[]string{"application/json; charset=latin1"}, 415},
		{[]string{"text/json"}, 415},
		{[]string{"application/x-www-form-urlencoded"}, 415},
		{[]string{"application/json", "application/json"}, 415},
		{[]string{""}, 415},
		{nil, 415},
	} {
		got := h.ask("POST", "/api/v1/tokens", `{"authorization_code":"`+strings.Repeat("x", 128)+`"}`,
			func(r *http.Request) { r.Header["Content-Type"] = c.types })
		if got.Status != c.want {
			t.Errorf("%q: %v", c.types, got)
		}
		if c.want == 415 {
			same(t, fmt.Sprint(c.types), got, refused)
		}
	}
	if got := h.ask("POST", "/api/v1/tokens", "x", header("Content-Encoding", "gzip")); got.Status != 415 {
		t.Errorf("gzip: %v", got)
	}
}

// TestBodyLimit: at the limit fine, one byte over it 413, told or not told before.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	body := func(n int) string {
		return strings.Repeat(" ", n-151) + `{"authorization_code":"` + strings.Repeat("x", 126) + `"}`
	}
	want := codeFault(413, 10015, "PayloadTooLargeError", "The body is larger than this endpoint takes", "/api/v1/tokens",
		"Connection", "close")
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	if got := h.ask("POST", "/api/v1/tokens", body(65536)); got.Status != 404 {
		t.Errorf("at the limit: %v", got)
	}
	if got := h.ask("POST", "/api/v1/tokens", body(65536), chunked); got.Status != 404 {
		t.Errorf("at the limit, chunked: %v", got)
	}
	for name, o := range map[string]option{"length": func(*http.Request) {}, "chunked": chunked} {
		got := h.ask("POST", "/api/v1/tokens", body(65537), o)
		delete(got.Header, "Connection") // the client's transport keeps it to itself
		delete(want.Header, "Connection")
		same(t, name, got, want)
	}
}

// TestIssueCode holds every member of the request to its rules.
func TestIssueCode(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	const path = "/api/v1/authorization-codes"
	auth := bearer(h.management("shop", token.IssueCodes))
	bad := func(message string) reply { return codeFault(400, 10002, "BadRequestError", message, path) }
	good := strings.Repeat("A", 43)
	for name, c := range map[string]struct {
		body string
		want reply
	}{
		"no subject":           {`{"role":"support"}`, bad("The body lacks the member subject")},
		"no role":              {`{"subject":"alice"}`, bad("The body lacks the member role")},
		"unknown role":         {`{"subject":"alice","role":"nobody"}`, bad("There is no such role in the config")},
		"tenant missing":       {`{"subject":"alice","role":"agent"}`, bad("The role needs a tenant")},
		"tenant not asked for": {`{"subject":"alice","role":"support","tenant":"acme"}`, bad("The role takes no tenant")},
		"tenant *":             {`{"subject":"alice","role":"agent","tenant":"*"}`, bad("The tenant is not a tenant's name")},
		"tenant placeholder": {
			`{"subject":"alice","role":"agent","tenant":"{tenant}"}`,
			bad("The tenant is not a tenant's name"),
		},
		"tenant with a slash": {
			`{"subject":"alice","role":"agent","tenant":"a/b"}`,
			bad("The tenant is not a tenant's name"),
		},
		"tenant empty": {
			`{"subject":"alice","role":"agent","tenant":""}`,
			bad(notTaken + "byte 45: tenant: this is empty; leave the member out instead"),
		},
		"subject with CR": {`{"subject":"a\rb","role":"support"}`, bad("subject has a control character")},
		"subject a client": {
			`{"subject":"plain","role":"support"}`,
			codeFault(400, 10011, "BadRequestError", "subject is the id of a client", path),
		},
		"subject too long": {`{"subject":"` + strings.Repeat("-g", 18) + `","role":"support"}`, reply{}},
		"expires_in 0": {
			`{"subject":"a","role":"support","expires_in":0}`,
			bad("expires_in must be from 1 to 60, the client's code_ttl in seconds"),
		},
		"expires_in 61": {
			`{"subject":"a","role":"support","expires_in":61}`,
			bad("expires_in must be from 1 to 60, the client's code_ttl in seconds"),
		},
		"expires_in 1.5": {
			`{"subject":"a","role":"support","expires_in":1.5}`,
			bad(notTaken + "byte 45: expires_in: want a whole number"),
		},
		"expires_in a string": {
			`{"subject":"a","role":"support","expires_in":"1"}`,
			bad(notTaken + "byte 45: expires_in: want a number, have a string"),
		},
		"client unknown": {
			`{"subject":"a","role":"support","client_id":"nobody"}`,
			bad("client_id is no client of the config"),
		},
		"challenge alone": {
			`{"subject":"a","role":"support","code_challenge":"` + good + `"}`,
			bad("code_challenge and code_challenge_method go together"),
		},
		"method alone": {
			`{"subject":"a","role":"support","code_challenge_method":"S256"}`,
			bad("code_challenge and code_challenge_method go together"),
		},
		"method plain": {`{"subject":"a","role":"support","code_challenge":"` + good +
			`","code_challenge_method":"plain"}`, bad("code_challenge_method must be S256")},
		"challenge short": {
			`{"subject":"a","role":"support","code_challenge":"abc","code_challenge_method":"S256"}`,
			bad("code_challenge must be a SHA-256 in base64url without padding, 43 characters"),
		},
		"redirect relative": {
			`{"subject":"a","role":"support","redirect_uri":"/cb"}`,
			bad("redirect_uri must be an absolute URI without a fragment"),
		},
		"redirect fragment": {
			`{"subject":"a","role":"support","redirect_uri":"https://a.test/cb#x"}`,
			bad("redirect_uri must be an absolute URI without a fragment"),
		},
		"beyond delegate": {
			`{"subject":"a","role":"owner"}`,
			codeFault(403, 10010, "ForbiddenError", "This is more than the client may hand on", path, "Www-Authenticate",
				`Bearer realm="jotgate", error="insufficient_scope"`),
		},
		"a tenant beyond it": {
			`{"subject":"a","role":"agent","tenant":"secret"}`,
			codeFault(403, 10010, "ForbiddenError", "This is more than the client may hand on", path, "Www-Authenticate",
				`Bearer realm="jotgate", error="insufficient_scope"`),
		},
	} {
		got := h.ask("POST", path, c.body, auth)
		if name == "subject too long" {
			e := into[codeError](t, got, 400)
			if e.Code != 10012 || e.Message != "The code would be too long: tenant and subject need 36 bytes, a code has 35" {
				t.Errorf("%s: %+v", name, e)
			}
			continue
		}
		same(t, name, got, c.want)
	}
	got := h.ask("POST", path, `{"subject":"alice","role":"support","expires_in":7}`, auth)
	answer := into[codeAnswer](t, got, 201)
	same(t, "201", got, reply{
		201,
		map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"},
		`{"authorization_code":"` + answer.AuthorizationCode + `","expires_in":7}` + "\n",
	})
}

// TestBearerOfIssueCode: who may ask for codes.
func TestBearerOfIssueCode(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	const path = "/api/v1/authorization-codes"
	const body = `{"subject":"alice","role":"support"}`
	good := h.management("shop", token.IssueCodes)
	plainChallenge, invalid := `Bearer realm="jotgate"`, `Bearer realm="jotgate", error="invalid_token"`
	missing := codeFault(401, 10008, "UnauthorizedError", "A management token is needed, as Authorization: Bearer", path,
		"Www-Authenticate", plainChallenge)
	refused := codeFault(401, 10008, "UnauthorizedError", "The token is not accepted", path, "Www-Authenticate", invalid)
	two := codeFault(400, 10007, "BadRequestError", "The request brings more than one credential; send exactly one", path,
		"Www-Authenticate", `Bearer realm="jotgate", error="invalid_request"`)
	scope := codeFault(403, 10009, "ForbiddenError", "The token's scope, or its client, does not allow this", path,
		"Www-Authenticate", `Bearer realm="jotgate", error="insufficient_scope"`)
	for name, c := range map[string]struct {
		target  string
		options []option
		want    reply
	}{
		"none":                  {path, nil, missing},
		"another scheme":        {path, []option{header("Authorization", "Basic "+good)}, missing},
		"nothing after it":      {path, []option{header("Authorization", "Bearer ")}, missing},
		"in the query":          {path + "?access_token=" + good, nil, missing},
		"two headers":           {path, []option{bearer(good), bearer(good)}, two},
		"header and query":      {path + "?access_token=x", []option{bearer(good)}, two},
		"header, encoded query": {path + "?a=b;%61ccess_token", []option{bearer(good)}, two},
		"header and cookie":     {path, []option{bearer(good), header("Cookie", "a=b; access_token=x")}, two},
		"garbage":               {path, []option{bearer("garbage")}, refused},
		"one character changed": {path, []option{bearer(changed(good))}, refused},
		"a scope without it":    {path, []option{bearer(h.management("shop", token.IssueUserTokens))}, scope},
	} {
		same(t, name, h.ask("POST", c.target, body, c.options...), c.want)
	}
	if got := h.ask("POST", path, body, header("Authorization", "bEARER "+good)); got.Status != 201 {
		t.Errorf("the scheme in another case: %v", got)
	}
	h.clock.advance(time.Hour)
	same(t, "expired", h.ask("POST", path, body, bearer(good)), refused)
}

// changed is a token with another last but one character, so that decoding stays possible.
func changed(compact string) string {
	i := len(compact) - 2
	c := byte('A')
	if compact[i] == c {
		c = 'B'
	}
	return compact[:i] + string(c) + compact[i+1:]
}

// TestCodeRefusedLater: authentic codes whose time or ground is gone are 400, all alike.
func TestCodeRefusedLater(t *testing.T) {
	t.Parallel()
	gone := codeFault(400, 10005, "BadRequestError",
		"The authorization code is expired, was used before, or may no longer be redeemed", "/api/v1/tokens")
	for name, c := range map[string]struct {
		then   func(h *house)
		reason refusal.Reason
	}{
		"expired by 0 ms": {func(h *house) { h.clock.advance(time.Minute) }, refusal.CodeExpired},
		"expired by 1 ms": {func(h *house) { h.clock.advance(time.Minute + time.Millisecond) }, refusal.CodeExpired},
		"from the future": {
			func(h *house) { h.clock.advance(-5*time.Second - time.Millisecond) },
			refusal.CodeNotYetValid,
		},
		"client gone": {func(h *house) {
			h.change(
				func(c *config.Config) { c.Issuer.Clients = c.Issuer.Clients[1:] })
		}, refusal.CodeClientGone},
		"client may no more": {
			func(h *house) { h.change(func(c *config.Config) { c.Issuer.Clients[0].May = nil }) },
			refusal.CodeClientGone,
		},
		"role gone": {
			func(h *house) { h.change(func(c *config.Config) { delete(c.Roles, "agent") }) },
			refusal.CodeRoleGone,
		},
		"role takes no tenant": {func(h *house) {
			h.change(func(c *config.Config) { c.Roles["agent"].Permissions = all("acme", "READ_TENANT") })
		}, refusal.CodeRoleGone},
		"role beyond delegate": {func(h *house) {
			h.change(func(c *config.Config) { c.Roles["agent"].Permissions = all(token.Placeholder, "*") })
		}, refusal.CodeNotCovered},
		"delegate cut": {
			func(h *house) { h.change(func(c *config.Config) { c.Issuer.Clients[0].Delegate = nil }) },
			refusal.CodeNotCovered,
		},
		"subject now a client": {
			func(h *house) { h.change(func(c *config.Config) { c.Issuer.Clients[3].ID = "alice" }) },
			refusal.CodeNotCovered,
		},
		"code_ttl cut since": {func(h *house) {
			h.change(func(c *config.Config) { c.Issuer.Clients[0].CodeTTL = time.Second })
			h.clock.advance(time.Second)
		}, refusal.CodeExpired},
	} {
		h := newHouse(t, nil)
		sealed := h.code(`{"subject":"alice","role":"agent","tenant":"acme"}`)
		c.then(h)
		same(t, name, h.redeem(sealed), gone)
		if got := h.events.last().Reason; got != c.reason {
			t.Errorf("%s: the reason is %s, want %s", name, got, c.reason)
		}
	}
}

// change reloads with a config that differs from the first one.
func (h *house) change(f func(*config.Config)) {
	h.Helper()
	c := settings(h)
	f(c)
	h.reload(c)
}

// TestRefusedCodeIsNotSpent: a caller that cannot redeem a code cannot burn it.
func TestRefusedCodeIsNotSpent(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	h.change(func(c *config.Config) { c.Issuer.Clients[0].Delegate = nil })
	if got := h.redeem(sealed); got.Status != 400 {
		t.Fatalf("not covered: %v", got)
	}
	h.change(func(c *config.Config) { c.Limits.IssueRate = 1 })
	for range 3 { // the burst, and more: the rate refuses before the code is consumed
		h.redeem(h.codeUnlimited("bob"))
	}
	if got := h.redeem(sealed); got.Status != 429 {
		t.Fatalf("too many: %v", got)
	}
	h.change(func(*config.Config) {})
	if got := h.redeem(sealed); got.Status != 201 {
		t.Errorf("after two refusals: %v", got)
	}
}

// codeUnlimited seals a code without asking for it.
func (h *house) codeUnlimited(subject string) string {
	h.Helper()
	sealed, err := h.issuer.Load().sealer.seal(code.Grant{
		IssuedAt: h.clock.now().UnixMilli(), Lifetime: time.Minute, Nominal: time.Minute,
		Client: code.DigestOf("shop"), Role: code.DigestOf("support"), Subject: subject,
	}, code.Binding{})
	if err != nil {
		h.Fatal(err)
	}
	return sealed
}

// TestCodeOfAnotherProcess: a restart, or a replica without the store, knows none of the codes before it.
func TestCodeOfAnotherProcess(t *testing.T) {
	t.Parallel()
	unknown := codeFault(404, 10004, "NotFoundError", "Authorization request not found", "/api/v1/tokens")
	h := newHouse(t, func(c *config.Config) {
		c.Issuer.CodeSecrets = []config.Secret{"a code secret of thirty-two bytes or more"}
	})
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	h.guard = h.newGuard()
	h.reload(h.config)
	same(t, "another epoch", h.redeem(sealed), unknown)

	h = newHouse(t, nil)
	sealed = h.code(`{"subject":"alice","role":"support"}`)
	h.change(func(*config.Config) {})
	if got := h.redeem(sealed); got.Status != 201 {
		t.Errorf("after a reload: %v", got)
	}
	sealed = h.code(`{"subject":"alice","role":"support"}`)
	h.state = NewState()
	h.change(func(*config.Config) {})
	same(t, "another secret", h.redeem(sealed), unknown)

	sealed = h.code(`{"subject":"alice","role":"support"}`)
	h.change(func(c *config.Config) { c.Issuer.URL = "https://other.test" })
	same(t, "another issuer", h.redeem(sealed), unknown)
}

// TestBoundCodes: the seed's endpoint knows no redeemer, so a code that is bound to one is unknown there.
func TestBoundCodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	unknown := codeFault(404, 10004, "NotFoundError", "Authorization request not found", "/api/v1/tokens")
	for name, member := range map[string]string{
		"client":   `"client_id":"other"`,
		"PKCE":     `"code_challenge_method":"S256","code_challenge":"` + strings.Repeat("A", 43) + `"`,
		"redirect": `"redirect_uri":"https://app.test/cb"`,
	} {
		same(t, name, h.redeem(h.code(`{"subject":"alice","role":"support",`+member+`}`)), unknown)
	}
}

// TestEveryOneCharacterChange: no neighbour of a code is one, and the code still works after all of them.
func TestEveryOneCharacterChange(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	for i := range sealed {
		other := byte('A')
		if sealed[i] == other {
			other = 'B'
		}
		if got := h.redeem(sealed[:i] + string(other) + sealed[i+1:]); got.Status != 404 {
			t.Errorf("character %d changed: %v", i, got)
		}
	}
	if got := h.redeem(sealed); got.Status != 201 {
		t.Errorf("the code itself: %v", got)
	}
}

// TestConcurrentRedemptions: 64 at once, one 201.
func TestConcurrentRedemptions(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	start := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			<-start
			response, err := h.server.Client().Post(h.server.URL+"/api/v1/tokens", "application/json",
				strings.NewReader(`{"authorization_code":"`+sealed+`"}`))
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			statuses[response.StatusCode]++
		})
	}
	close(start)
	wg.Wait()
	same(t, "statuses", statuses, map[int]int{201: 1, 400: 63})
}

// TestFloodThenReplay: when memory runs out, an old code is refused, not taken again.
func TestFloodThenReplay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Replay.Capacity = 4 * 8 })
	first := h.code(`{"subject":"alice","role":"support"}`)
	if got := h.redeem(first); got.Status != 201 {
		t.Fatal(got)
	}
	for i := range 20 {
		h.clock.advance(time.Millisecond)
		if got := h.redeem(h.code(fmt.Sprintf(`{"subject":"user-%d","role":"support"}`, i))); got.Status != 201 {
			t.Fatalf("flood %d: %v", i, got)
		}
	}
	if got := h.redeem(first); got.Status != 400 {
		t.Errorf("replay after the flood: %v", got)
	}
	h.clock.advance(-time.Second)
	if got := h.redeem(first); got.Status != 400 {
		t.Errorf("replay after the clock was set back: %v", got)
	}
}

// TestStoreDown: no answer is no acceptance; the code may be spent, and the client is told when to come again.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	h.issuer.Load().guard = down{h.guard}
	same(t, "down", h.redeem(sealed), codeFault(503, 10006, "ServiceUnavailableError",
		"Whether the code was used before cannot be told now; it may be spent", "/api/v1/tokens", "Retry-After", "1"))
}

type down struct{ Guard }

func (down) Consume(context.Context, replay.Use) error {
	return refusal.Because(refusal.StoreUnavailable, "no answer")
}

// TestLifetimeLongerThanAllowed: whichever process sealed it, a code does not live longer than codes may.
func TestLifetimeLongerThanAllowed(t *testing.T) {
	t.Parallel()
	client := &config.Client{ID: "shop", CodeTTL: time.Hour}
	now := time.UnixMilli(1_800_000_000_000)
	for name, g := range map[string]code.Grant{
		"nominal over 600 s":    {Lifetime: time.Minute, Nominal: 601 * time.Second},
		"lifetime over nominal": {Lifetime: 61 * time.Second, Nominal: time.Minute},
	} {
		g.IssuedAt = now.UnixMilli()
		if err := codeLife(&code.Opened{Grant: g}, client, now, 0); refusal.Of(err) != refusal.CodeExpired {
			t.Errorf("%s: %v", name, err)
		}
	}
	g := code.Grant{IssuedAt: now.UnixMilli(), Lifetime: 600 * time.Second, Nominal: 600 * time.Second}
	if err := codeLife(&code.Opened{Grant: g}, client, now.Add(599*time.Second), 0); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

// TestRandomCodes: what only looks like a code opens nothing.
func TestRandomCodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for range 200 {
		raw := make([]byte, 96)
		_, _ = rand.Read(raw)
		if got := h.redeem(fmt.Sprintf("%x", raw)[:128]); got.Status != 404 {
			t.Fatal(got)
		}
	}
}

// counted are the turns that all replicas have together.
type counted struct {
	wait time.Duration
	err  error
}

func (c counted) Allow(context.Context, string, int) (time.Duration, error) { return c.wait, c.err }

func (c counted) Return(context.Context, string, int) error { return c.err }

// TestRateOfAllReplicas: where turns are counted for all replicas, that decides; a store that does not tell leaves it
// to this one.
func TestRateOfAllReplicas(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Limits.IssueRate = 1 })
	const path, body = "/api/v1/authorization-codes", `{"subject":"alice","role":"support"}`
	auth := bearer(h.management("shop", token.IssueCodes))
	ask := func() int { return h.ask("POST", path, body, auth).Status }
	h.issuer.Load().rates = counted{}
	for range 9 { // more than this process alone would allow
		if got := ask(); got != 201 {
			t.Fatalf("allowed by all: %d", got)
		}
	}
	h.issuer.Load().rates = counted{wait: 1500 * time.Millisecond}
	same(t, "429", h.ask("POST", path, body, auth), codeFault(429, 10017, "TooManyRequestsError",
		"Too many requests; the Retry-After header says when to come again", path,
		"Retry-After", "2", "X-Ratelimit-Limit", "1", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "2"))
	h.issuer.Load().rates = counted{err: refusal.Because(refusal.StoreUnavailable, "no answer")}
	if got := []int{ask(), ask(), ask()}; got[0] != 201 || got[1] != 201 || got[2] != 429 {
		t.Errorf("without an answer: %v", got)
	}
}

// bucket counts the turns that are out.
type bucket struct{ taken, given int }

func (b *bucket) Allow(context.Context, string, int) (time.Duration, error) {
	b.taken++
	return 0, nil
}

func (b *bucket) Return(context.Context, string, int) error {
	b.given++
	return nil
}

// TestUsedCodesTakeNoTurns: a client that presents a used code again and again leaves the turns to those whose codes
// are good, and so does who only says that it is a public client.
func TestUsedCodesTakeNoTurns(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) { c.Limits.IssueRate = 2 })
	h.on = true
	h.reload(h.config)
	used := h.codeFor("")
	good := []string{h.codeFor("")}
	h.clock.advance(time.Second)
	good = append(good, h.codeFor(""), h.codeFor(""))
	if got := h.redeem(used); got.Status != 201 {
		t.Fatal(got)
	}
	for range 50 {
		if got := h.redeem(used); got.Status != 400 {
			t.Fatalf("a used code: %v", got)
		}
		if got := h.token("grant_type=authorization_code&code=" + used); got.Status != 400 {
			t.Fatalf("a used code at /oauth2/token: %v", got)
		}
	}
	for i, code := range good { // with the first, all four of the burst
		if got := h.redeem(code); got.Status != 201 {
			t.Errorf("good code %d: %v", i, got)
		}
	}
	shared := &bucket{}
	h.issuer.Load().rates = shared
	for range 5 {
		h.redeem(used)
	}
	if shared.taken != 5 || shared.given != 5 {
		t.Errorf("of all replicas' turns %d are taken and %d given back", shared.taken, shared.given)
	}
}

// TestRateOfIssuing: a client over its rate is told when to come again; the others are not in its way.
func TestRateOfIssuing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Limits.IssueRate = 2 })
	const path = "/api/v1/authorization-codes"
	auth := bearer(h.management("shop", token.IssueCodes))
	for i := range 4 { // the burst is twice the rate
		if got := h.ask("POST", path, `{"subject":"alice","role":"support"}`, auth); got.Status != 201 {
			t.Fatalf("%d: %v", i, got)
		}
	}
	want := codeFault(429, 10017, "TooManyRequestsError",
		"Too many requests; the Retry-After header says when to come again", path,
		"Retry-After", "1", "X-Ratelimit-Limit", "2", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1")
	same(t, "429", h.ask("POST", path, `{"subject":"alice","role":"support"}`, auth), want)
	h.change(func(c *config.Config) { c.Limits.IssueRate = 2 })
	same(t, "429 after a reload", h.ask("POST", path, `{"subject":"alice","role":"support"}`, auth), want)
	if got := h.ask("POST", path, `{"subject":"alice","role":"agent","tenant":"acme"}`,
		bearer(h.management("other", token.IssueCodes))); got.Status != 201 {
		t.Errorf("another client: %v", got)
	}
	h.clock.advance(time.Second)
	if got := h.ask("POST", path, `{"subject":"alice","role":"support"}`, auth); got.Status != 201 {
		t.Errorf("a second later: %v", got)
	}
}
