package jose_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

func TestForeignClaims(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "EdDSA")
	keycloak := jose.Issuer{
		URL: foreignIssuer, Types: []string{"JWT"}, Keys: holding(setOf(key)), RequireClaims: map[string]string{"typ": "Bearer"},
		ClientClaim: "azp", RolesFrom: "realm_access.roles",
	}
	auth0 := keycloak
	auth0.RequireClaims, auth0.RolesFrom = map[string]string{"email_verified": "true", "org.id": "7"}, "https://shop.example.com/roles"
	plain := keycloak
	plain.RequireClaims, plain.ClientClaim, plain.RolesFrom = nil, "", ""
	type answer struct {
		Client string
		Roles  []string
		Reason refusal.Reason
	}
	for _, c := range []struct {
		name   string
		issuer jose.Issuer
		claims string
		want   answer
	}{
		{"all of them", keycloak, `"typ":"Bearer","azp":"web","realm_access":{"x":[],"roles":["a","b"]}`, answer{"web", []string{"a", "b"}, ""}},
		{"client_id does not stand in for azp", keycloak, `"typ":"Bearer","client_id":"other"`, answer{}},
		{"azp beats client_id", keycloak, `"typ":"Bearer","client_id":"other","azp":"web"`, answer{Client: "web"}},
		{"no rules", plain, `"typ":7,"azp":"web","client_id":"c","realm_access":7`, answer{Client: "c"}},
		{"no rules, and a claim without a name", plain, `"":"x","scp":"y"`, answer{}},
		{"… of another type", plain, `"":{"":7},"scp":"y"`, answer{}},
		{"Keycloak's id_token", plain, `"typ":"ID","azp":"web","client_id":"c"`, answer{Reason: refusal.TokenTypeRefused}},
		{"Cognito's id_token", plain, `"token_use":"id","scope":"x"`, answer{Reason: refusal.TokenTypeRefused}},
		{"Cognito's access token", plain, `"token_use":"access"`, answer{}},
		{"an id_token without any claim of its own", plain, `"azp":"web","email":"a@example.com","sid":"s"`, answer{Reason: refusal.TokenTypeRefused}},
		{"an access token without client", auth0, `"email_verified":true,"org.id":"7"`, answer{Reason: refusal.TokenTypeRefused}},
		{"a scope deeper down tells nothing", plain, `"x":{"scope":"y"},"realm_access":{"client_id":"c"}`, answer{Reason: refusal.TokenTypeRefused}},
		{"Okta's scopes", plain, `"scp":["a"],"cid":"c"`, answer{}},
		{"tenant permissions", plain, `"tenantPermissions":[]`, answer{}},
		{"a Kubernetes service account", plain, `"kubernetes.io":{"namespace":"shop"}`, answer{}},
		{"required claim missing", keycloak, `"azp":"web"`, answer{Reason: refusal.TokenClaimRequired}},
		{"required claim another", keycloak, `"typ":"bearer"`, answer{Reason: refusal.TokenClaimRequired}},
		{"required claim an id_token's", keycloak, `"typ":"ID"`, answer{Reason: refusal.TokenTypeRefused}},
		{"required claim a list", keycloak, `"typ":["Bearer"]`, answer{Reason: refusal.TokenClaimRequired}},
		{"required claim a number", keycloak, `"typ":1`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"required claim in other capitals", keycloak, `"Typ":"Bearer"`, answer{Reason: refusal.TokenClaimRequired}},
		{"required claim deeper down", keycloak, `"x":{"typ":"Bearer"}`, answer{Reason: refusal.TokenClaimRequired}},
		{"roles missing", keycloak, `"typ":"Bearer","realm_access":{}`, answer{}},
		{"roles at another depth", keycloak, `"typ":"Bearer","roles":["a"],"x":{"realm_access":{"roles":["a"]}}`, answer{}},
		{"roles in something that is no object", keycloak, `"typ":"Bearer","realm_access":[{"roles":["a"]}]`, answer{}},
		{"a single role", keycloak, `"typ":"Bearer","realm_access":{"roles":"a"}`, answer{Roles: []string{"a"}}},
		{"roles with a number", keycloak, `"typ":"Bearer","realm_access":{"roles":["a",1]}`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"roles an object", keycloak, `"typ":"Bearer","realm_access":{"roles":{"a":true}}`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"roles null", keycloak, `"typ":"Bearer","realm_access":{"roles":null}`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"two claims of one path", keycloak, `"typ":"Bearer","realm_access.roles":["admin"],"realm_access":{"roles":["a"]}`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"azp a list", keycloak, `"typ":"Bearer","azp":["web"]`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"azp empty", keycloak, `"typ":"Bearer","azp":""`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"a path with dots of its own", auth0, `"scope":"","email_verified":true,"org":{"id":"7"},"https://shop.example.com/roles":["r"]`, answer{Roles: []string{"r"}}},
		{"a required claim in two places", auth0, `"email_verified":true,"org.id":"7","org":{"id":"8"}`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"not true", auth0, `"email_verified":false,"org":{"id":"7"}`, answer{Reason: refusal.TokenClaimRequired}},
		{"an empty list of audiences", plain, `"aud":[]`, answer{Reason: refusal.TokenClaimsMalformed}},
		{"an id_token's nonce", keycloak, `"typ":"Bearer","nonce":"n"`, answer{Reason: refusal.TokenTypeRefused}},
		{"a nonce deeper down", keycloak, `"typ":"Bearer","x":{"nonce":"n"},"realm_access":{"nonce":"n"}`, answer{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			payload := `{"iss":"` + foreignIssuer + `","sub":"s","exp":1700003600,` + c.claims + `}`
			x, err := newVerifier(t, &c.issuer).Verify(key.forge(key.header("JWT"), payload), epoch, nil)
			have := answer{Reason: refusal.Of(err)}
			if err == nil {
				have.Client, have.Roles = x.Claims.ClientID, x.Roles
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Errorf("%v (-want +have)\n%s", err, diff)
			}
		})
	}
}

func TestForeignKeysAndTimes(t *testing.T) {
	t.Parallel()
	rs, ps := keyFor(t, "RS256"), keyFor(t, "PS256")
	unnamed, _, err := jose.ParseKeySet([]byte(`{"keys":[` + strings.Replace(string(must(json.Marshal(must(rs.publicJWK())))), `"kid":"kid-RS256"`, `"kid":"k"`, 1) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	payload := `{"iss":"` + foreignIssuer + `","sub":"s","exp":1700003600}`
	head := func(alg, kid string) string { return `{"alg":"` + alg + `","typ":"at+jwt"` + kid + `}` }
	withKID := `,"kid":"k"`
	for _, c := range []struct {
		name   string
		issuer jose.Issuer
		bearer string
		want   refusal.Reason
	}{
		{"the default of its type", jose.Issuer{Keys: holding(unnamed)}, rs.forge(head("RS256", withKID), payload), ""},
		{"not another of its type", jose.Issuer{Keys: holding(unnamed)}, ps.forge(head("PS256", withKID), payload), refusal.TokenAlgorithmRefused},
		{"the settings choose", jose.Issuer{Keys: holding(unnamed), Algorithms: []string{"ES256", "PS256"}}, ps.forge(head("PS256", withKID), payload), ""},
		{"and the default is out", jose.Issuer{Keys: holding(unnamed), Algorithms: []string{"PS256"}}, rs.forge(head("RS256", withKID), payload), refusal.TokenAlgorithmRefused},
		{"none that fits", jose.Issuer{Keys: holding(unnamed), Algorithms: []string{"ES256"}}, rs.forge(head("RS256", withKID), payload), refusal.TokenAlgorithmRefused},
		{"a key that names its alg keeps it", jose.Issuer{Keys: holding(setOf(rs)), Algorithms: []string{"PS256"}}, ps.forge(head("PS256", `,"kid":"kid-RS256"`), payload), refusal.TokenAlgorithmRefused},
		{"no kid, one key", jose.Issuer{Keys: holding(unnamed)}, rs.forge(head("RS256", ""), payload), ""},
		{"no kid, two keys of two algorithms", jose.Issuer{Keys: holding(setOf(rs, keyFor(t, "ES256")))},
			rs.forge(head("RS256", ""), payload), ""},
		{"iat required", jose.Issuer{Keys: holding(unnamed), RequireIssuedAt: true}, rs.forge(head("RS256", withKID), payload), refusal.TokenClaimsMalformed},
		{"no iat, ends within the limit", jose.Issuer{Keys: holding(unnamed), MaxLifetime: time.Hour}, rs.forge(head("RS256", withKID), payload), ""},
		{"no iat, ends beyond the limit", jose.Issuer{Keys: holding(unnamed), MaxLifetime: time.Hour - time.Millisecond}, rs.forge(head("RS256", withKID), payload), refusal.TokenLifetimeTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.issuer.URL = foreignIssuer
			if _, err := newVerifier(t, &c.issuer).Verify(c.bearer, epoch, nil); refusal.Of(err) != c.want {
				t.Errorf("have %v, want %q", err, c.want)
			}
		})
	}
}

func TestVerifiersThatAreRefused(t *testing.T) {
	t.Parallel()
	issuer := ours(keyFor(t, "ES256"))
	bad := *issuer
	bad.Algorithms = []string{"none"}
	for _, c := range []struct {
		name    string
		options jose.Options
		want    string
	}{
		{"two issuers of one URL", jose.Options{Issuers: []*jose.Issuer{issuer, ours()}}, "issuer https://gate.example.com is there twice"},
		{"no URL", jose.Options{Issuers: []*jose.Issuer{{Keys: issuer.Keys}}}, `issuer "": an issuer needs a URL and keys`},
		{"no keys", jose.Options{Issuers: []*jose.Issuer{{URL: "x"}}}, `issuer "x": an issuer needs a URL and keys`},
		{"alg none", jose.Options{Issuers: []*jose.Issuer{&bad}}, "issuer https://gate.example.com: algorithm \"none\" is not one of " +
			"[ES256 ES384 ES512 EdDSA HS256 HS384 HS512 PS256 PS384 PS512 RS256 RS384 RS512]"},
		{"leeway", jose.Options{Leeway: 61 * time.Second}, "leeway 1m1s is not from 0 to 1m0s"},
		{"negative leeway", jose.Options{Leeway: -1}, "leeway -1ns is not from 0 to 1m0s"},
	} {
		if _, err := jose.NewVerifier(c.options); err == nil || err.Error() != c.want {
			t.Errorf("%s: have %v\nwant %s", c.name, err, c.want)
		}
	}
	v := newVerifier(t)
	if _, err := v.Verify(keyFor(t, "ES256").token(goodClaims), epoch, nil); err == nil {
		t.Error("a verifier that trusts nobody accepts a token")
	}
}
