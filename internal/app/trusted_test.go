package app_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
)

// A foreigner is another issuer: metadata, a key set, and tokens written by hand.
type foreigner struct {
	*httptest.Server
	t    *testing.T
	seen atomic.Int64
	keys atomic.Pointer[string]
	key  *jose.PrivateKey
}

func newForeigner(t *testing.T) *foreigner {
	t.Helper()
	f := &foreigner{t: t, key: newSigner(t)}
	f.publish(f.key)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.seen.Add(1)
		keys := f.keys.Load()
		switch {
		case keys == nil:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":"%s","jwks_uri":"%s/certs"}`, f.URL, f.URL)
		case r.URL.Path == "/certs":
			_, _ = fmt.Fprint(w, *keys)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func newSigner(t *testing.T) *jose.PrivateKey {
	t.Helper()
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publish replaces the key set; without any key the server is down.
func (f *foreigner) publish(keys ...*jose.PrivateKey) {
	f.t.Helper()
	if keys == nil {
		f.keys.Store(nil)
		return
	}
	var public []*jose.PublicKey
	for _, key := range keys {
		public = append(public, key.Public())
	}
	set, err := jose.NewKeySet(public...)
	if err != nil {
		f.t.Fatal(err)
	}
	text := string(set.JWKS())
	f.keys.Store(&text)
}

// token is one by key, with claims over those that every token here has; a claim of nil is left out.
func (f *foreigner) token(key *jose.PrivateKey, typ string, over map[string]any) string {
	f.t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": f.URL, "sub": "alice", "aud": "api", "iat": now, "exp": now + 300,
		"jti": fmt.Sprint(now),
	}
	for name, value := range over {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		f.t.Fatal(err)
	}
	signed, err := key.Sign(typ, text)
	if err != nil {
		f.t.Fatal(err)
	}
	return signed
}

// trusting is the edit that puts trusted issuers into settings; $F is the foreigner's URL.
func (f *foreigner) trusting(entry string) []string {
	return []string{"routes:\n", strings.ReplaceAll("trusted_issuers:\n  - {issuer: \"$F\", "+entry+"}\nroutes:\n", "$F",
		f.URL), "roles: {", "roles: {support: [{tenant: acme, actions: [READ]}, {tenant: evil, actions: [READ]}], "}
}

const (
	likeKeycloak = `audiences: [api], token_types: [JWT], require_claims: {typ: Bearer}, client_claim: azp, roles: ` +
		`{from: realm_access.roles, map: {kc-support: support}}, permissions: [{tenant: acme, actions: [READ]}]`
	likeAuth0 = `audiences: ["https://api.shop.example"], token_types: [JWT], client_claim: azp, roles: {from: ` +
		`"https://shop.example/roles", map: {support: support}}, permissions: [{tenant: acme, actions: [READ]}]`
	likeOurs = `audiences: [api], permissions: [{tenant: acme, actions: [READ]}]`
)

// open asks for a tenant's page and gives the status with the reason that the log has for it.
func (g *gate) open(tenant, bearer string) string {
	g.t.Helper()
	status, header, _ := g.get("/t/"+tenant+"/", "Authorization", "Bearer "+bearer)
	if status == 200 {
		return "200"
	}
	return fmt.Sprintf("%d %s", status, g.reason(header.Get("X-Request-Id")))
}

// reason waits for the access line of a request, which is written with others.
func (g *gate) reason(id string) string {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		for line := range strings.Lines(g.log.String()) {
			var access struct {
				RequestID string `json:"request_id"`
				Reason    string
			}
			if strings.Contains(line, id) && json.Unmarshal([]byte(line), &access) == nil && access.RequestID == id {
				return access.Reason
			}
		}
	}
	g.t.Fatalf("no access line of request %s", id)
	return ""
}

// TestTokensOfOtherIssuers: the shapes that Keycloak and Auth0 give their tokens, through the whole gate.
func TestTokensOfOtherIssuers(t *testing.T) {
	t.Parallel()
	keycloak := map[string]any{
		"typ": "Bearer", "azp": "shop-web", "session_state": "0a1b", "acr": "1", "scope": "openid profile", "sid": "0a1b",
		"realm_access":    map[string]any{"roles": []string{"offline_access", "kc-support"}},
		"resource_access": map[string]any{"account": map[string]any{"roles": []string{"view-profile"}}},
		"email_verified":  true, "preferred_username": "alice", "aud": []string{"api", "account"},
	}
	auth0 := map[string]any{
		"aud": []string{"https://api.shop.example", "https://shop.eu.auth0.com/userinfo"}, "azp": "aBcD",
		"scope": "openid read:tickets",
		"sub":   "auth0|5f7c8ec7c33c6c004bbafe82", "https://shop.example/roles": []string{"support"}, "jti": nil,
	}
	with := func(base map[string]any, over ...any) map[string]any {
		claims := maps.Clone(base)
		for i := 0; i < len(over); i += 2 {
			claims[over[i].(string)] = over[i+1]
		}
		return claims
	}
	own := map[string]any{
		"client_id":         "web2",
		"tenantPermissions": []any{map[string]any{"tenant": "*", "allowedActions": []string{"*"}}},
	}
	for _, c := range []struct {
		name, entry, typ, tenant string
		claims                   map[string]any
		want                     string
	}{
		{"Keycloak", likeKeycloak, "JWT", "acme", keycloak, "200"},
		{"Keycloak, a tenant over the ceiling", likeKeycloak, "JWT", "evil", keycloak, "403 action_denied"},
		{"Keycloak, without the role", likeKeycloak, "JWT", "acme", with(keycloak, "realm_access", nil), "403 tenant_denied"},
		{
			"Keycloak, a role of another client", likeKeycloak, "JWT", "acme",
			with(keycloak, "realm_access", nil, "roles", []string{"kc-support"}), "403 tenant_denied",
		},
		{
			"Keycloak, permissions of its own invention", likeKeycloak, "JWT", "acme",
			with(keycloak, "realm_access", nil, "tenantPermissions", own["tenantPermissions"], "master", true),
			"403 tenant_denied",
		},
		{
			"Keycloak's id_token", likeKeycloak, "JWT", "acme", with(keycloak, "typ", "ID", "at_hash", "x"),
			"401 token_type_refused",
		},
		{"Keycloak's refresh token", likeKeycloak, "JWT", "acme", with(keycloak, "typ", "Refresh"), "401 token_type_refused"},
		{
			"Keycloak, another audience", likeKeycloak, "JWT", "acme", with(keycloak, "aud", "account"),
			"401 token_audience_mismatch",
		},
		{
			"Keycloak, subject like our client", likeKeycloak, "JWT", "acme", with(keycloak, "sub", "web"),
			"401 token_subject_reserved",
		},
		{
			"Keycloak, subject with a line break", likeKeycloak, "JWT", "acme",
			with(keycloak, "sub", "a\r\nX-Jotgate-Tenant: evil"), "401 token_identity_refused",
		},
		{"Keycloak, expired", likeKeycloak, "JWT", "acme", with(keycloak, "exp", 1), "401 token_expired"},
		{"Auth0", likeAuth0, "JWT", "acme", auth0, "200"},
		{"Auth0, a tenant over the ceiling", likeAuth0, "JWT", "evil", auth0, "403 action_denied"},
		{
			"Auth0, machine to machine", likeAuth0, "JWT", "acme", with(auth0, "scope", nil, "gty", "client-credentials"),
			"200",
		},
		{
			"Auth0's id_token, its client trusted as an audience", strings.Replace(likeAuth0, "https://api.shop.example", "aBcD",
				1), "JWT", "acme", with(auth0, "aud", "aBcD", "azp", nil, "scope", nil, "sid", "x", "email", "a@example.com"),
			"401 token_type_refused",
		},
		{
			"Auth0's id_token with a nonce", strings.Replace(likeAuth0, "https://api.shop.example", "aBcD", 1), "JWT", "acme",
			with(auth0, "aud", "aBcD", "nonce", "n"), "401 token_type_refused",
		},
		{"the RFC 9068 profile of Auth0", likeOurs, "at+jwt", "acme", with(own, "scope", "openid"), "200"},
		{"another Jotgate's", likeOurs, "at+jwt", "acme", own, "200"},
		{"another Jotgate's, over the ceiling", likeOurs, "at+jwt", "other", own, "403 action_denied"},
		{"JWT where only at+jwt is trusted", likeOurs, "JWT", "acme", own, "401 token_type_refused"},
		{
			"an id_token where only at+jwt is trusted", likeOurs, "JWT", "acme", with(own, "nonce", "n"),
			"401 token_type_refused",
		},
		{"at+jwt where only JWT is trusted", likeKeycloak, "at+jwt", "acme", keycloak, "401 token_type_refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newForeigner(t)
			g := startGate(t, f.trusting(c.entry)...)
			if have := g.open(c.tenant, f.token(f.key, c.typ, c.claims)); have != c.want {
				t.Errorf("have %s, want %s", have, c.want)
			}
			if seen := g.app.seen.Load(); (seen > 0) != (c.want == "200") {
				t.Errorf("the app saw %d requests", seen)
			}
		})
	}
}

// TestTenantsOfOtherIssuers: what a token names as its own tenant opens that tenant's routes and no other's, through
// the whole gate.
func TestTenantsOfOtherIssuers(t *testing.T) {
	t.Parallel()
	const own = `audiences: [api], tenants: {from: org}, actions: {from: scope}, permissions: [{tenant: "*", ` +
		`actions: ["*"]}]`
	const cognito = `audiences: [web3], audience_claims: [aud, client_id], token_types: [none, JWT], tenants: {from: ` +
		`org}, actions: {from: scope}, permissions: [{tenant: "*", actions: [READ]}]`
	var crowd []string
	for i := range 65 {
		crowd = append(crowd, fmt.Sprint("t", i))
	}
	for _, c := range []struct {
		name, entry, typ, tenant string
		claims                   map[string]any
		want                     string
	}{
		{"its tenant", own, "at+jwt", "acme", map[string]any{"org": "acme", "scope": "READ"}, "200"},
		{"another tenant", own, "at+jwt", "other", map[string]any{"org": "acme", "scope": "READ"}, "403 tenant_denied"},
		{"without the action", own, "at+jwt", "acme", map[string]any{"org": "acme", "scope": "WRITE"}, "403 action_denied"},
		{"no tenant", own, "at+jwt", "acme", map[string]any{"scope": "READ"}, "403 tenant_denied"},
		{"the word * as its tenant", own, "at+jwt", "acme", map[string]any{"org": "*", "scope": "READ"}, "403 tenant_denied"},
		{
			"too many tenants", own, "at+jwt", "t1",
			map[string]any{"org": crowd, "scope": "READ"},
			"401 token_claims_malformed",
		},
		{
			"permissions of its own invention", own, "at+jwt", "other",
			map[string]any{
				"org": "acme", "scope": "READ",
				"tenantPermissions": []any{map[string]any{"tenant": "*", "allowedActions": []string{"*"}}},
			},
			"403 tenant_denied",
		},
		{"client_id in place of aud", cognito, "JWT", "acme", map[string]any{
			"aud": nil, "client_id": "web3", "org": "acme",
			"scope": "READ", "token_use": "access",
		}, "200"},
		{"an aud decides", cognito, "JWT", "acme", map[string]any{
			"aud": "other", "client_id": "web3", "org": "acme",
			"scope": "READ",
		}, "401 token_audience_mismatch"},
		{
			"client_id like our client", own, "at+jwt", "acme",
			map[string]any{"client_id": "web", "org": "acme", "scope": "READ"},
			"401 token_subject_reserved",
		},
		{
			"client_claim like our client", own + ", client_claim: azp", "at+jwt", "acme",
			map[string]any{"azp": "web", "org": "acme", "scope": "READ"},
			"401 token_subject_reserved",
		},
		{
			"client_id like our client, beside client_claim", own + ", client_claim: azp", "at+jwt", "acme",
			map[string]any{"azp": "web2", "client_id": "web", "org": "acme", "scope": "READ"},
			"401 token_subject_reserved",
		},
		{"an application that is an object", own, "at+jwt", "acme", map[string]any{
			"application": map[string]any{"id": "web"},
			"org":         "acme", "scope": "READ",
		}, "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newForeigner(t)
			g := startGate(t, f.trusting(c.entry)...)
			for range 2 { // the second time from the cache
				if have := g.open(c.tenant, f.token(f.key, c.typ, c.claims)); have != c.want {
					t.Errorf("have %s, want %s", have, c.want)
				}
			}
		})
	}
}

// TestForeignTokensManageNothing: not even with every scope word of ours.
func TestForeignTokensManageNothing(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.trusting(likeOurs)...)
	bearer := f.token(f.key, "at+jwt", map[string]any{
		"aud": []string{"api", "https://gate.test"}, "client_id": "web",
		"scope": "issue_codes",
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url("/api/v1/authorization-codes"),
		strings.NewReader(`{"role":"reader","tenant":"acme","subject":"alice"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusForbidden {
		t.Errorf("have %d", a.StatusCode)
	}
}

// TestRemovedKeyEndsCachedTokens: a key that its issuer removed opens nothing with the very next request after the
// fetch, and a key that is new is found by the first token that names it.
func TestRemovedKeyEndsCachedTokens(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.trusting(likeOurs)...)
	claims := map[string]any{
		"client_id":         "c",
		"tenantPermissions": []any{map[string]any{"tenant": "acme", "allowedActions": []string{"READ"}}},
	}
	old := f.token(f.key, "at+jwt", claims)
	for range 2 { // the second time from the cache
		if have := g.open("acme", old); have != "200" {
			t.Fatalf("before: %s", have)
		}
	}
	next := newSigner(t)
	f.publish(next)
	if have := g.open("acme", f.token(next, "at+jwt", claims)); have != "200" {
		t.Errorf("the new key: %s", have)
	}
	if have := g.open("acme", old); have != "401 token_key_unknown" {
		t.Errorf("the removed key: %s", have)
	}
	asked := f.seen.Load()
	stranger := newSigner(t)
	for range 8 {
		if have := g.open("acme", f.token(stranger, "at+jwt", claims)); have != "503 issuer_unavailable" {
			t.Errorf("an unknown key, which may have been published since: %s", have)
		}
	}
	if n := f.seen.Load(); n != asked {
		t.Errorf("%d requests to the issuer within the cooldown", n-asked)
	}
}

// TestIssuerDownAtTheStart stops neither our own tokens nor another issuer's, is named by readiness, and is over when
// it is.
func TestIssuerDownAtTheStart(t *testing.T) {
	t.Parallel()
	down, up := newForeigner(t), newForeigner(t)
	down.publish()
	edits := up.trusting(likeOurs)
	edits[1] = strings.Replace(edits[1], "trusted_issuers:\n", "trusted_issuers:\n  - {issuer: \""+down.URL+
		"\", fetch: {refresh: 1s, cooldown: 1s}, "+likeOurs+"}\n", 1)
	g := startGate(t, edits...)
	claims := map[string]any{
		"client_id":         "c",
		"tenantPermissions": []any{map[string]any{"tenant": "acme", "allowedActions": []string{"READ"}}},
	}
	if have := g.open("acme", g.token("acme")); have != "200" {
		t.Errorf("our own token: %s", have)
	}
	if have := g.open("acme", up.token(up.key, "at+jwt", claims)); have != "200" {
		t.Errorf("the other issuer's: %s", have)
	}
	bearer := down.token(down.key, "at+jwt", claims)
	if have := g.open("acme", bearer); have != "503 issuer_unavailable" {
		t.Errorf("its own: %s", have)
	}
	if want, have := "ready\nwarning: trusted issuer "+down.URL+": no keys yet, its tokens are refused\n",
		g.ready(); have != want {
		t.Errorf("readyz: %q, want %q", have, want)
	}
	down.publish(down.key)
	for deadline := time.Now().Add(20 * time.Second); g.open("acme", bearer) != "200"; {
		if time.Now().After(deadline) {
			t.Fatal("still refused")
		}
	}
	if have := g.ready(); have != "ready\n" {
		t.Errorf("readyz: %q", have)
	}
}

func (g *gate) ready() string {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+g.AdminAddr().String()+"/readyz", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		g.t.Fatalf("readyz: %d %v", a.StatusCode, err)
	}
	return string(body)
}

// TestReloadKeepsFetchedKeys: a reload in the very moment when the issuer is down costs nothing; one that changes how
// the keys are fetched neither.
func TestReloadKeepsFetchedKeys(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.trusting(likeOurs)...)
	claims := map[string]any{
		"client_id":         "c",
		"tenantPermissions": []any{map[string]any{"tenant": "acme", "allowedActions": []string{"READ"}}},
	}
	bearer := f.token(f.key, "at+jwt", claims)
	if have := g.open("acme", bearer); have != "200" {
		t.Fatalf("before: %s", have)
	}
	f.publish()
	for _, entry := range []string{likeOurs, likeOurs + ", max_token_ttl: 2h", likeOurs + ", fetch: {refresh: 30m}"} {
		g.write(f.trusting(entry)...)
		if err := g.Reload(); err != nil {
			t.Fatal(err)
		}
		if have := g.open("acme", bearer); have != "200" {
			t.Errorf("after a reload with %q: %s", entry, have)
		}
	}
	if err := os.WriteFile(g.file, []byte("version: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if g.Reload() == nil {
		t.Error("a bad file is taken")
	}
	if have := g.open("acme", bearer); have != "200" {
		t.Errorf("after a refused reload: %s", have)
	}
	g.write()
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if have := g.open("acme", bearer); have != "401 token_issuer_unknown" {
		t.Errorf("no longer trusted: %s", have)
	}
}

// TestHeadersOfTokensCauseNoConnection: whatever a token says of keys elsewhere, no connection is made.
func TestHeadersOfTokensCauseNoConnection(t *testing.T) {
	t.Parallel()
	trap := newForeigner(t)
	f := newForeigner(t)
	g := startGate(t, f.trusting(likeKeycloak)...)
	if have := g.open("acme", f.token(f.key, "JWT",
		map[string]any{"typ": "Bearer", "realm_access": map[string]any{"roles": []string{"kc-support"}}})); have != "200" {
		t.Fatalf("a good token: %s", have)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := f.seen.Load()
	jwk := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s"}`, base64.RawURLEncoding.EncodeToString(public))
	for name, header := range map[string]string{
		"jku":               `"jku":"` + trap.URL + `/certs"`,
		"x5u":               `"x5u":"` + trap.URL + `/certs"`,
		"jwk":               `"jwk":` + jwk,
		"x5c":               `"x5c":["AA=="]`,
		"kid like a URL":    `"kid":"` + trap.URL + `/certs"`,
		"kid like a path":   `"kid":"../../certs"`,
		"another's issuer":  `"kid":"x"`,
		"iss in the header": `"kid":"y","iss":"` + trap.URL + `"`,
	} {
		issuer := f.URL
		if name == "another's issuer" {
			issuer = trap.URL
		}
		encode := base64.RawURLEncoding.EncodeToString
		signed := encode([]byte(`{"alg":"EdDSA","typ":"JWT",`+header+`}`)) + "." +
			encode([]byte(fmt.Sprintf(`{"iss":%q,"sub":"alice","aud":"api","typ":"Bearer","exp":%d}`, issuer, time.Now().Unix()+
				300)))
		bearer := signed + "." + encode(ed25519.Sign(private, []byte(signed)))
		// A second unknown kid within the cooldown cannot be judged, so it may be 503.
		if have := g.open("acme", bearer); !strings.HasPrefix(have, "401 ") && have != "503 issuer_unavailable" {
			t.Errorf("%s: %s", name, have)
		}
	}
	if n := trap.seen.Load(); n != 0 {
		t.Errorf("%d connections where a token said", n)
	}
	if n := f.seen.Load() - asked; n > 2 { // discovery and keys, once, for the unknown kids
		t.Errorf("the issuer was asked %d times", n)
	}
}
