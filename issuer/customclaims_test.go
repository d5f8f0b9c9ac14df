package issuer

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

// claimsHouse lets shop, svc and web carry claims.
func claimsHouse(t testing.TB) *house {
	return oauthHouse(t, func(c *config.Config) {
		for _, client := range c.Issuer.Clients {
			switch client.ID {
			case "shop":
				client.Claims = []string{"email", "plan", "beta", "seats", "teams"}
			case "svc":
				client.Claims = []string{"plan", "teams", "email"}
			case "web":
				client.May, client.Delegate = []string{token.Exchange}, all("*", "*")
			}
		}
	})
}

// customOf reads the claims of a token that are none of ours.
func customOf(t testing.TB, compact string) string {
	t.Helper()
	u, err := jose.Parse(compact, 0)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(u.Payload), &claims); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"iss", "sub", "aud", "client_id", "iat", "exp", "jti", "grantor", "tenantPermissions", "exchanged_from", "act",
	} {
		delete(claims, name)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCustomClaimsGoThrough codes, user tokens and exchanges, as their client's entry lists them.
func TestCustomClaimsGoThrough(t *testing.T) {
	t.Parallel()
	h := claimsHouse(t)
	const some = `{"teams":["a","b"],"plan":"gold","beta":true,"seats":-40000}`
	want := `{"beta":true,"plan":"gold","seats":-40000,"teams":["a","b"]}`
	code := h.code(`{"subject":"alice","role":"support","claims":` + some + `}`)
	redeemed := into[tokenAnswer](t, h.ask("POST", "/api/v1/tokens", `{"authorization_code":"`+code+`"}`), 201).AccessToken
	if got := customOf(t, redeemed); got != want {
		t.Errorf("by a code: %s", got)
	}
	user := into[userTokenAnswer](t, h.ask("POST", "/api/v1/authorization-tokens",
		`{"user_type":"end_user","user_id":"`+aliceID+`","claims":`+some+`}`,
		bearer(h.management("shop", token.IssueUserTokens))), 200).AccessToken
	if got := customOf(t, user); got != want {
		t.Errorf("a user's token: %s", got)
	}
	svc := basicAuth("svc", svcSecret)
	for _, c := range []struct {
		name, form, want string
		option           option
	}{
		{"what the exchanging client may carry", exchangeForm(redeemed), `{"plan":"gold","teams":["a","b"]}`, svc},
		{"what it asks for of that", exchangeForm(redeemed, "claims", "plan email"), `{"plan":"gold"}`, svc},
		{"nothing", exchangeForm(redeemed), `{}`, basicAuth("web", webSecret)},
	} {
		if got := customOf(t, into[oauthAnswer](t, h.token(c.form, c.option), 200).AccessToken); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	same(t, "a claim that it may not carry", h.token(exchangeForm(redeemed, "claims", "plan beta"), svc),
		oauthFault(400, "invalid_request", "claims has a name that is not in claims of client svc"))
}

// TestCustomClaimsRefused: names that the client's entry does not list, and values of other shapes and sizes.
func TestCustomClaimsRefused(t *testing.T) {
	t.Parallel()
	h := claimsHouse(t)
	caller := bearer(h.management("shop", token.IssueCodes+" "+token.IssueUserTokens))
	for name, claims := range map[string]string{
		"not listed":            `{"role":"admin"}`,
		"ours":                  `{"tenantPermissions":[]}`,
		"twice":                 `{"plan":"a","plan":"b"}`,
		"other case":            `{"Plan":"a"}`,
		"null":                  `{"plan":null}`,
		"an object":             `{"plan":{"a":"b"}}`,
		"a fraction":            `{"plan":1.5}`,
		"an exponent":           `{"plan":1e3}`,
		"beyond 2^53":           `{"plan":9007199254740992}`,
		"a control character":   `{"plan":"a\nb"}`,
		"a list of lists":       `{"plan":[["a"]]}`,
		"a list of numbers":     `{"plan":[1]}`,
		"a long text":           `{"plan":"` + strings.Repeat("a", 257) + `"}`,
		"a long text in a list": `{"plan":["` + strings.Repeat("a", 65) + `"]}`,
		"a long list":           `{"plan":["` + strings.Repeat(`a","`, 16) + `a"]}`,
		"no object":             `["plan"]`,
		"all of them too long": `{"plan":"` + strings.Repeat("é", 128) + `","email":"` + strings.Repeat("é", 128) +
			`","teams":["` + strings.Repeat(strings.Repeat("b", 64)+`","`, 9) + `b"]}`,
	} {
		got := h.ask("POST", "/api/v1/authorization-codes",
			`{"subject":"alice","role":"support","claims":`+claims+`}`, caller)
		if got.Status != 400 {
			t.Errorf("%s: a code: %v", name, got)
		}
		got = h.ask("POST", "/api/v1/authorization-tokens",
			`{"user_type":"end_user","user_id":"`+aliceID+`","claims":`+claims+`}`, caller)
		if got.Status != 422 || name != "twice" && !strings.Contains(got.Body, `"claims"`) {
			t.Errorf("%s: a user's token: %v", name, got)
		}
		for _, secret := range []string{"admin", "aaaaaaaaaaaaaaaaaaaa"} {
			if strings.Contains(got.Body, secret) {
				t.Errorf("%s: the answer repeats a value: %v", name, got)
			}
		}
	}
}

// TestCustomClaimsThatFitACode: what does not fit says so, with the bytes that it needs and has.
func TestCustomClaimsThatFitACode(t *testing.T) {
	t.Parallel()
	h := claimsHouse(t)
	caller := bearer(h.management("shop", token.IssueCodes))
	for _, c := range []struct{ subject, claims, fault string }{
		{aliceID, `{"plan":"gold","beta":true}`, ""},                    // 16 + 1+7+3 of 35
		{aliceID, `{"email":"alice@example.com"}`, "37"},                // 16 + 1+20
		{"alice", `{"email":"alice@example.com"}`, ""},                  // 5 + 21
		{"alice", `{"email":"` + strings.Repeat("a", 26) + `"}`, ""},    // 4 + 1+… in base58
		{"alice", `{"teams":["00000000000000000000000000000000"]}`, ""}, // a list's hex digits, two in a byte
		{aliceID, `{"plan":"` + strings.Repeat("_", 15) + `"}`, ""},     // 16 + 1+2+1+15 = 35, all that there is
		{aliceID, `{"plan":"` + strings.Repeat("_", 16) + `"}`, "36"},   // one more
		{"alice", `{"plan":"` + strings.Repeat("_", 36) + `"}`, "36"},
		{"alice", `{"teams":["1","2","3","4","5","6","7","8","9"]}`, "9"},
	} {
		got := h.ask("POST", "/api/v1/authorization-codes",
			`{"subject":"`+c.subject+`","role":"support","claims":`+c.claims+`}`, caller)
		switch {
		case c.fault == "" && got.Status != 201:
			t.Errorf("%s: %v", c.claims, got)
		case c.fault != "" && (got.Status != 400 || !strings.Contains(got.Body, "would be too long") ||
			!strings.Contains(got.Body, c.fault)):
			t.Errorf("%s: %v", c.claims, got)
		}
	}
}

// TestCustomClaimsOfAClientThatMayNoMore: a code with a claim that its client lost is not redeemed.
func TestCustomClaimsOfAClientThatMayNoMore(t *testing.T) {
	t.Parallel()
	h := claimsHouse(t)
	code := h.code(`{"subject":"alice","role":"support","claims":{"plan":"gold"}}`)
	h.config.Issuer.Clients[0].Claims = []string{"email"}
	h.reload(h.config)
	got := h.ask("POST", "/api/v1/tokens", `{"authorization_code":"`+code+`"}`)
	if got.Status != 400 || h.events.last().Reason != "code_not_covered" {
		t.Errorf("%v, %s", got, h.events.last().Reason)
	}
	h.config.Issuer.Clients[0].Claims = []string{"seats", "plan"} // a place in the list means nothing
	h.reload(h.config)
	h.clock.advance(time.Second)
	redeemed := into[tokenAnswer](t, h.ask("POST", "/api/v1/tokens", `{"authorization_code":"`+code+`"}`), 201)
	if d := cmp.Diff(`{"plan":"gold"}`, customOf(t, redeemed.AccessToken)); d != "" {
		t.Error(d)
	}
}
