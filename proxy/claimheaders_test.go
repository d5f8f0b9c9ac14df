package proxy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

func TestClaimsOfARoute(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.with(`{path: /verified, require: {claims: {email_verified: true, groups: {contains: staff}}}, upstream: app}`,
		`{path: "/v/{tenant}/", require: {tenant_from: path.tenant, action: READ, claims: {acr: [gold, silver]}}, `+
			`upstream: app}`,
		`{path: /own, require: {claims: {sub: alice}}, upstream: app}`,
		`{path: /scp, require: {scopes: [orders]}, upstream: app}`)
	idp := func(more string) string { return h.mintForeign("https://idp.example", more) }
	for _, c := range []struct {
		name, path, bearer string
		want               refusal.Reason
		needed             string
	}{
		{"all hold", "/verified", idp(`"email_verified":true,"groups":["dev","staff"]`), "", ""},
		{
			"one is missing", "/verified", idp(`"groups":["staff"]`), refusal.ClaimDenied,
			"a token whose claim email_verified is true",
		},
		{
			"another type", "/verified", idp(`"email_verified":"true","groups":["staff"]`), refusal.ClaimDenied,
			"a token whose claim email_verified is true",
		},
		{
			"null", "/verified", idp(`"email_verified":null,"groups":["staff"]`), refusal.ClaimDenied,
			"a token whose claim email_verified is true",
		},
		{
			"a text is no list", "/verified", idp(`"email_verified":true,"groups":"staff"`), refusal.ClaimDenied,
			`a token whose claim groups is a list that contains "staff"`,
		},
		{"one of several", "/v/acme/", idp(`"acr":"silver"`), "", ""},
		{
			"none of them", "/v/acme/", idp(`"acr":"bronze"`), refusal.ClaimDenied,
			`a token whose claim acr is "gold" or "silver"`,
		},
		{"and the permission", "/v/other/", h.mintForeign("https://idp.example", `"acr":"gold"`,
			func(c *token.Claims) { c.Permissions = nil }), refusal.TenantDenied, ""},
		{"ours, too", "/own", h.mint(), "", ""},
		{
			"ours, another", "/own", h.mint(func(c *token.Claims) { c.Subject = "bob" }), refusal.ClaimDenied,
			`a token whose claim sub is "alice"`,
		},
		{"scp as a list", "/scp", idp(`"scp":["openid","orders"]`), "", ""},
		{"scp as a text", "/scp", idp(`"scp":"openid orders"`), "", ""},
		{"scp of another", "/scp", idp(`"scp":["order"]`), refusal.ScopeMissing, `a token whose scope has all of ["orders"]`},
	} {
		text := get(c.path, c.bearer)
		got, trace := h.verdict(text), h.trace(text, Bearer{})
		if got.reason != c.want || trace.Reason != c.want || (got.reached == 1) != (c.want == "") {
			t.Errorf("%s: %d %s, traced %s (%s); want %s", c.name, got.status, got.reason, trace.Reason, trace.Detail, c.want)
		}
		challenge := insufficient
		if c.want == refusal.ScopeMissing {
			challenge += `, scope="orders"`
		}
		if c.needed != "" && (trace.Needed != c.needed || got.status != 403 || got.challenge != challenge) {
			t.Errorf("%s: %d %q, needed %q, want %q", c.name, got.status, got.challenge, trace.Needed, c.needed)
		}
	}
	// A policy's test that says what the token claims is judged alike.
	claims := `{"iss":"https://idp.example","sub":"a","client_id":"x","aud":"https://api.example","exp":` +
		fmt.Sprint(h.now.Load()/1000+60) + `,"email_verified":%s,"groups":["staff"]}`
	for value, want := range map[string]refusal.Reason{"true": "", "false": refusal.ClaimDenied} {
		if trace := h.trace(get("/verified", ""), Bearer{Claims: fmt.Sprintf(claims, value)}); trace.Reason != want {
			t.Errorf("a policy's test, %s: %s (%s), want %q", value, trace.Reason, trace.Detail, want)
		}
	}
}

func TestClaimHeaders(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(strings.Replace(settings, "routes:", "claim_headers: [{claim: email, header: X-User-Email}]\nroutes:", 1) +
		`  - {path: /told, require: authenticated, upstream: app, claim_headers: [{claim: realm_access.roles, header: ` +
		`X-User-Roles, join: ","}, {claim: plan, header: X-Plan}]}` + "\n" +
		`  - {path: /maybe, require: optional, upstream: app}` + "\n")
	h.build()
	sent := func(text string) map[string]string {
		t.Helper()
		if got := h.verdict(text); got.reached != 1 {
			t.Fatalf("%+v for %s", got, text)
		}
		found := map[string]string{}
		for _, line := range h.app.seen()[0].fields {
			name, value, _ := strings.Cut(line, ": ")
			if folded := strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.HasPrefix(folded, "x-user-") ||
				folded == "x-plan" {
				found[name] = value
			}
		}
		return found
	}
	expect := func(name string, got map[string]string, want string) {
		t.Helper()
		if text := string(must(json.Marshal(got))); text != want {
			t.Errorf("%s: the app gets %s, want %s", name, text, want)
		}
	}
	forged := []string{
		"X-User-Email: root@example.com", "x_user_email: root@example.com", "X-User-Roles: admin",
		"X-Plan: free",
	}
	idp := func(more string) string { return h.mintForeign("https://idp.example", more) }
	full := idp(`"email":"alice@example.com","plan":"pro, yearly","realm_access":{"roles":["a,b","ü",7,{"x":1},null,""]}`)
	expect("all", sent(get("/told", full, forged...)),
		`{"X-Plan":"pro, yearly","X-User-Email":"alice@example.com","X-User-Roles":"a%2Cb,%C3%BC,7"}`)
	expect("from the cache", sent(get("/told", full, forged...)),
		`{"X-Plan":"pro, yearly","X-User-Email":"alice@example.com","X-User-Roles":"a%2Cb,%C3%BC,7"}`)
	expect("another route has the top level's alone", sent(get("/me", full, forged...)),
		`{"X-User-Email":"alice@example.com"}`)
	expect("missing, null, objects and empty lists",
		sent(get("/told", idp(`"email":null,"plan":{"a":1},"realm_access":{"roles":[]}`), forged...)), `{}`)
	expect("without a token", sent(get("/maybe", "", forged...)), `{}`)
	expect("on a public route", sent(get("/assets/x", "", forged...)), `{}`)
	expect("ours", sent(get("/told", h.mint(), forged...)), `{}`)
	if got := h.verdict(get("/told", idp(`"email":"a\nSet-Cookie: x"`))); got.reason != refusal.TokenIdentityRefused {
		t.Errorf("a control character: %+v", got)
	}
}

func TestClaimValueDecodesToWhatTheTokenSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ value, join, want string }{
		{`"a b"`, "", "a b"},
		{`"a b"`, " ", "a%20b"},
		{`"a, b"`, "", "a, b"},
		{`["a, b","c"]`, "", "a%2C b,c"},
		{`["a; b","c"]`, "; ", "a%3B%20b; c"},
		{`["a%2Cb"]`, ",", "a%252Cb"},
		{`[" a "]`, ",", "%20a%20"},
		{`true`, "", "true"},
		{`1.5e3`, "", "1.5e3"},
		{`[["a"],{"b":1},true]`, ",", "true"},
		{`""`, "", ""},
		{`{}`, "", ""},
	} {
		if got, err := claimValue(jose.Value(c.value), c.join); err != nil || got != c.want {
			t.Errorf("%s joined by %q: %q, %v; want %q", c.value, c.join, got, err, c.want)
		}
	}
}
