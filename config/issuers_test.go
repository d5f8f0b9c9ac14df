package config_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
)

const issuersHead = `version: 1
roles:
  reader: [{tenant: "{tenant}", actions: [READ]}]
  editor: [{tenant: "{tenant}", actions: [READ, WRITE]}]
  any: [{tenant: "*", actions: [READ]}]
  acme: [{tenant: acme, actions: [READ]}]
routes:
  - {path: "/t/{t}/", methods: [GET], require: {tenant_from: path.t, action: READ}, upstream: "http://127.0.0.1:1"}
  - {path: "/t/{t}/", methods: [PUT], require: {tenant_from: path.t, action: WRITE}, upstream: "http://127.0.0.1:1"}
trusted_issuers:
`

// an entry of trusted_issuers, with what each needs.
func entry(lines ...string) string {
	all := append([]string{"audiences: [shop]", `permissions: [{tenant: "*", actions: ["*"]}]`}, lines...)
	return issuersHead + "  - " + strings.Join(all, "\n    ") + "\n"
}

const plainIssuer, plainKeys = "issuer: https://idp.example.com", "jwks_url: https://idp.example.com/keys"

// TestIssuerFaults holds each rule on an entry to the fault or the warning that breaking it brings.
func TestIssuerFaults(t *testing.T) {
	t.Parallel()
	pattern := `issuer_pattern: "https://login.example.com/{tid}/v2"`
	for _, c := range []struct {
		name  string
		lines []string
		want  string // in the fault; "warning: …": in the warning; "": neither
	}{
		{"a URL", []string{plainIssuer, "tenants: {from: org}"}, ""},
		{"no issuer", []string{plainKeys}, "trusted_issuers[0].issuer: is missing"},
		{"no URL, without keys", []string{"issuer: urn:shop:idp"}, "only a URL says where its keys are"},
		{"no URL, with jwks_url", []string{"issuer: urn:shop:idp", plainKeys, "tenants: {from: org}"}, ""},
		{"any text, with jwks_url", []string{"issuer: shop", plainKeys, "tenants: {from: org}"}, ""},
		{
			"issuer and issuer_pattern",
			[]string{plainIssuer, pattern, plainKeys, "issuer_values: {tid: [a]}"},
			"conflicts with issuer",
		},
		{
			"issuer_values without a pattern",
			[]string{plainIssuer, "issuer_values: {tid: [a]}"},
			"has no effect without issuer_pattern",
		},
		{"a pattern without keys", []string{pattern, "issuer_values: {tid: [a]}"}, "needs to know where the keys are"},
		{"a pattern without values", []string{pattern, plainKeys}, "has no issuer_values"},
		{
			"a pattern with another name",
			[]string{pattern, plainKeys, "issuer_values: {tenant: [a]}"},
			"is not in issuer_pattern exactly once",
		},
		{"a name without values", []string{
			`issuer_pattern: "https://{a}.example.com/{b}"`, plainKeys,
			"issuer_values: {a: [x]}",
		}, "has a {name} without values"},
		{"a value with a slash", []string{pattern, plainKeys, "issuer_values: {tid: [a/b]}"}, "is not a value"},
		{"a value twice", []string{pattern, plainKeys, "issuer_values: {tid: [a, a]}"}, "is listed twice"},
		{"a preset that is none", []string{plainIssuer, "preset: keycloack"}, "did you mean keycloak?"},
		{
			"trust_domain without spiffe",
			[]string{plainIssuer, "trust_domain: example.org"},
			"has no effect without preset: spiffe",
		},
		{
			"spiffe without a domain",
			[]string{"issuer: Shop_1/x", plainKeys, "preset: spiffe"},
			"does not say the trust domain",
		},
		{
			"actions without tenants",
			[]string{plainIssuer, "actions: {from: scope}"},
			"has no tenants that the actions are for",
		},
		{"actions with tenants", []string{plainIssuer, "actions: {from: scope}", "tenants: {from: org}"}, ""},
		{
			"a role with {tenant} without tenants",
			[]string{plainIssuer, "roles: {from: r, map: {a: reader}}"},
			"nothing names a tenant here",
		},
		{"… with tenants", []string{plainIssuer, "roles: {from: r, map: {a: reader}}", "tenants: {from: org}"}, ""},
		{"… with tenants: keys", []string{plainIssuer, "roles: {from: r, keys: true, tenants: keys, map: {a: reader}}"}, ""},
		{
			"tenants: keys without keys",
			[]string{plainIssuer, "roles: {from: r, tenants: keys, map: {a: reader}}"},
			"needs keys: true",
		},
		{"roles without from", []string{plainIssuer, "roles: {map: {a: acme}}"}, "roles.from: is missing"},
		{"roles without from, with a preset", []string{plainIssuer, "preset: keycloak", "roles: {map: {a: acme}}"}, ""},
		{"a list of roles", []string{plainIssuer, "roles: [{from: a, map: {x: acme}}, {from: b, map: {y: acme}}]"}, ""},
		{"a tenant that is none", []string{plainIssuer, `tenants: {from: org, map: {a: "b/c"}}`}, "is not a tenant"},
		{"a * tenant", []string{plainIssuer, `tenants: {from: org, map: {a: "*"}}`}, "is not a tenant"},
		{"a kind that is none", []string{plainIssuer, "kinds: [refresh]"}, "kinds[0]"},
		{"a condition that is empty", []string{plainIssuer, "require_claims: {a: []}"}, "is empty; list at least one"},
		{"a condition with another key", []string{plainIssuer, "require_claims: {a: {has: x}}"}, "a.has"},
		{"a yes", []string{plainIssuer, "require_claims: {a: 0x10}"}, "that JSON cannot spell"},
		{
			"bearer over http",
			[]string{"issuer: http://127.0.0.1:1", `fetch: {bearer: "${file:/x/token}"}`},
			"would go over plain http",
		},
		{
			"headers over http",
			[]string{"issuer: http://127.0.0.1:1", `fetch: {headers: {X-Key: k}}`},
			"would go over plain http",
		},
		{
			"a header that is ours",
			[]string{plainIssuer, `fetch: {headers: {Authorization: k}}`},
			"use bearer for Authorization",
		},
		{"bearer", []string{plainIssuer, `fetch: {bearer: "${file:/x/token}"}`, "tenants: {from: org}"}, ""},
		{"every tenant, by a * role", []string{plainIssuer, "roles: {from: r, map: {a: any}}"}, "warning: open every tenant"},
		{"… with tenants", []string{plainIssuer, "roles: {from: r, map: {a: any}}", "tenants: {from: org}"}, ""},
		{"every tenant, by tenantPermissions", []string{plainIssuer}, "warning: open every tenant"},
		{"a * ceiling over fixed roles", []string{plainIssuer, "roles: {from: r, map: {a: acme}}"}, ""},
		{
			"the word * renamed",
			[]string{plainIssuer, `tenants: {from: org, map: {"*": acme}}`},
			"warning: is never a tenant",
		},
		{
			"the word * as an action",
			[]string{plainIssuer, "tenants: {from: org}", `actions: {from: scope, map: {"*": READ}}`},
			"warning: is never an action",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := parse(entry(c.lines...))
			have := ""
			if err != nil {
				have = err.Error()
			} else if len(got.Warnings) > 0 {
				have = "warning: " + got.Warnings[0].Problem
			}
			kind, text, isWarning := strings.Cut(c.want, ": ")
			if !isWarning || kind != "warning" {
				text = c.want
			}
			if (c.want == "") != (have == "") || !strings.Contains(have, text) {
				t.Errorf("have %q, want %q", have, c.want)
			}
		})
	}
}

// Two entries or values for one iss, or our own URL, are faults, and so are two of one trust domain.
func TestIssuersThatAreThereTwice(t *testing.T) {
	t.Parallel()
	second := func(first, second string) string {
		return entry(first, plainKeys) + "  - " +
			strings.Join([]string{second, plainKeys, "audiences: [shop]", "permissions: [{tenant: acme, actions: [READ]}]"},
				"\n    ") + "\n"
	}
	const spiffe = "preset: spiffe\n    issuer: "
	for name, c := range map[string]struct{ text, want string }{
		"two entries": {second("issuer: a", "issuer: a"), "is listed twice"},
		"an entry and a value": {
			second("issuer: https://x/a", "issuer_pattern: \"https://x/{t}\"\n    issuer_values: {t: [a, b]}"),
			"is listed twice",
		},
		"two trust domains": {
			second(spiffe+"spiffe://example.org", spiffe+"https://example.org"),
			"has the trust domain of another entry",
		},
		"ours": {
			"issuer: {url: \"http://shop:8080\", keys: []}\n" + entry("issuer: http://shop:8080"),
			"is issuer.url",
		},
	} {
		if _, err := parse(strings.Replace("version: 1\n"+strings.ReplaceAll(c.text, "version: 1\n", ""), "\n\n", "\n",
			-1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSituations are what users of gates and libraries met, each with the right answer.
func TestSituations(t *testing.T) {
	t.Parallel()
	const base = `{"iss":"https://idp.example.com","sub":"s","aud":"shop","scope":"x"}`
	const at = `{"alg":"RS256","typ":"at+jwt","kid":"k1"}`
	tenants, scopes := "tenants: {from: org}", `actions: {from: scope, map: {"orders:read": READ, "orders:write": WRITE}}`
	twoRSA := `{"keys":[{"kty":"RSA","use":"sig","n":"` + strings.Repeat("3", 342) +
		`","e":"AQAB"},{"kty":"RSA","use":"sig","n":"$N","e":"AQAB"}]}`
	for _, c := range []struct {
		name                 string
		lines                []string
		jwks, header, claims string
		want                 string
	}{
		{
			"WSO2 with application as an object",
			[]string{plainIssuer, tenants, scopes},
			rsaKeys, at,
			`{"application":{"owner":"admin","tier":"Unlimited","id":7},"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			"UAA and SAP with jku in each header",
			[]string{plainIssuer, tenants, scopes},
			rsaKeys,
			`{"alg":"RS256","typ":"at+jwt","kid":"k1","jku":"https://uaa.example.com/token_keys"}`,
			`{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			".NET's key set with empty and null members",
			[]string{plainIssuer, tenants, scopes},
			`{"keys":[{"alg":"RS256","crv":null,"d":null,"dp":null,"dq":"","e":"AQAB","k":null,"key_ops":[],"keyid":"k1","kid":"k1","kty":"RSA","n":"$N","oth":null,"p":"","q":null,"qi":null,"use":"sig","x":null,"x5c":[],"x5t":"","x5u":"","y":null,"keysize":2048,"hasprivatekey":false}]}`,
			at, `{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			"one key under one kid for three algorithms",
			[]string{plainIssuer, tenants, scopes},
			`{"keys":[{"kty":"RSA","alg":"RS512","kid":"k1","n":"$N","e":"AQAB"},{"kty":"RSA","alg":"RS384","kid":"k1","n":"$N","e":"AQAB"},{"kty":"RSA","alg":"RS256","kid":"k1","n":"$N","e":"AQAB"}]}`,
			at, `{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			"no kid at all with two RSA keys",
			[]string{plainIssuer, tenants, scopes},
			twoRSA, `{"alg":"RS256","typ":"at+jwt"}`,
			`{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			"a kid, and the only key has none",
			[]string{plainIssuer, tenants, scopes},
			`{"keys":[{"kty":"RSA","n":"$N","e":"AQAB"}]}`, at,
			`{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			"a kid, and two keys that have none",
			[]string{plainIssuer, tenants, scopes},
			twoRSA, at, `{"org":"acme"}`,
			"refused: token_key_unknown",
		},
		{
			"scope as an array",
			[]string{plainIssuer, tenants, scopes},
			rsaKeys, at,
			`{"org":"acme","scope":["orders:read","orders:write"]}`, "acme:READ,WRITE",
		},
		{"scope null", []string{plainIssuer, tenants, scopes}, rsaKeys, at, `{"org":"acme","scope":null}`, ""},
		{
			"scope with two spaces",
			[]string{plainIssuer, tenants, scopes},
			rsaKeys, at,
			`{"org":"acme","scope":"orders:read  orders:write"}`, "acme:READ,WRITE",
		},
		{
			"a literal typ none is not no typ",
			[]string{plainIssuer, "token_types: [none]"},
			rsaKeys,
			`{"alg":"RS256","typ":"none","kid":"k1"}`, ``, "refused: token_type_refused",
		},
		{
			"no typ",
			[]string{plainIssuer, "token_types: [none]", tenants, scopes},
			rsaKeys, `{"alg":"RS256","kid":"k1"}`,
			`{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{
			"a key that names another issuer",
			[]string{plainIssuer},
			strings.Replace(rsaKeys, `"kty"`, `"issuer":"https://other","kty"`, 1), at, ``, "refused: token_key_unknown",
		},
		{
			"a key that names the issuer",
			[]string{plainIssuer, tenants, scopes},
			strings.Replace(rsaKeys, `"kty"`, `"issuer":"https://idp.example.com","kty"`, 1), at,
			`{"org":"acme","scope":"orders:read"}`, "acme:READ",
		},
		{"65 tenants", []string{plainIssuer, tenants, scopes}, rsaKeys, at, `{"scope":"orders:read","org":["` +
			strings.Join(tenantNames(65), `","`) + `"]}`, "refused: 65 tenants, the limit is 64"},
		{
			"* as a tenant that is renamed",
			[]string{plainIssuer, `tenants: {from: org, map: {"*": acme, o1: globex}}`, scopes},
			rsaKeys, at, `{"org":["*","o1"],"scope":"orders:read"}`, "globex:READ",
		},
		{
			"{tenant} in tenantPermissions",
			[]string{plainIssuer, tenants},
			rsaKeys, at,
			`{"org":"acme","tenantPermissions":[{"tenant":"{tenant}","allowedActions":["READ"]}]}`, "",
		},
		{"* as a tenant", []string{plainIssuer, tenants, scopes}, rsaKeys, at, `{"org":"*","scope":"orders:read"}`, ""},
		{
			"* as an action",
			[]string{plainIssuer, tenants, "actions: {from: scope}"},
			rsaKeys, at,
			`{"org":"acme","scope":"* READ"}`, "acme:READ",
		},
		{
			"a token for a tenant that its tenantPermissions exceed",
			[]string{plainIssuer, tenants},
			rsaKeys, at,
			`{"org":"acme","tenantPermissions":[{"tenant":"acme","allowedActions":["READ"]},{"tenant":"*","allowedActions":["*"]}]}`, "acme:READ",
		},
		{
			"tenantPermissions beside roles",
			[]string{plainIssuer, tenants, "roles: {from: r, map: {a: reader}}"},
			rsaKeys, at,
			`{"org":"acme","r":"a","tenantPermissions":[{"tenant":"*","allowedActions":["*"]}]}`, "acme:READ",
		},
		{
			"roles from two claims",
			[]string{
				plainIssuer, tenants,
				"roles: [{from: a, map: {x: reader}}, {from: b.c, map: {y: editor}}]",
			},
			rsaKeys, at,
			`{"org":["acme","globex"],"a":"x","b":{"c":["y"]}}`, "acme:READ,WRITE globex:READ,WRITE",
		},
		{
			"Entra's v1.0 token",
			[]string{
				`issuer_pattern: "https://sts.windows.net/{tid}/"`, "issuer_values: {tid: [t1]}",
				plainKeys, "preset: entra",
				"client_claim: appid", "tenants: {from: tid, map: {t1: acme}}", "actions: {map: {Orders.Read: READ}}",
			},
			rsaKeys,
			`{"typ":"JWT","alg":"RS256","x5t":"k1","kid":"k1"}`,
			`{"iss":"https://sts.windows.net/t1/","tid":"t1","appid":"web","appidacr":"1","scp":"Orders.Read","ver":"1.0","scope":null}`, "acme:READ",
		},
		{
			"AD's groups with split",
			[]string{plainIssuer, `tenants: {from: org, split: ","}`, scopes},
			rsaKeys, at,
			`{"org":"acme,globex","scope":"orders:read"}`, "acme:READ globex:READ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := load(t, entry(c.lines...))
			if have := opens(t, cfg, c.jwks, theKey.sign(t, c.header, claimsOf(t, base, c.claims))); have != c.want {
				t.Errorf("have %q, want %q", have, c.want)
			}
		})
	}
}

func tenantNames(n int) (all []string) {
	for i := range n {
		all = append(all, "t"+strconv.Itoa(i))
	}
	return all
}

// TestKeyThatIsGivenAKid: a PEM has no kid of its own, so that a token with one would never find it in a set of
// several.
func TestKeyThatIsGivenAKid(t *testing.T) {
	t.Parallel()
	text := entry(plainIssuer, "keys: [{file: a.pem, kid: a}]")
	got, err := config.Parse("gate.yaml", []byte(text),
		config.Options{ReadFile: func(string) ([]byte, error) { return pemOf(t), nil }})
	if err != nil {
		t.Fatal(err)
	}
	var kids []string
	for _, key := range got.TrustedIssuers[0].Keys.Keys() {
		kids = append(kids, key.ID())
	}
	if diff := cmp.Diff([]string{"a"}, kids); diff != "" {
		t.Error(diff)
	}
	two := func(string) ([]byte, error) { return append(pemOf(t), pemOf(t)...), nil }
	if _, err := config.Parse("gate.yaml", []byte(text), config.Options{ReadFile: two}); err == nil ||
		!strings.Contains(err.Error(), "a kid can be given to one key that has none") {
		t.Errorf("two keys: %v", err)
	}
}

// TestPatternsMakeIssuers: each value is an issuer of its own, with the tenant that its name says.
func TestPatternsMakeIssuers(t *testing.T) {
	t.Parallel()
	c := load(t, entry(`issuer_pattern: "https://{region}.example.com/{tid}"`, plainKeys,
		"issuer_values: {region: [eu, us], tid: [a, b]}", "tenants: {from: tid, map: {a: acme, b: globex}}",
		"actions: {from: scope}"))
	var names []string
	for _, i := range c.TrustedIssuers {
		names = append(names, i.Issuer)
	}
	want := []string{
		"https://eu.example.com/a", "https://eu.example.com/b", "https://us.example.com/a",
		"https://us.example.com/b",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for claims, want := range map[string]string{
		`{"iss":"https://eu.example.com/a"}`:             "acme:READ",
		`{"iss":"https://us.example.com/b"}`:             "globex:READ",
		`{"iss":"https://us.example.com/b","tid":"b"}`:   "globex:READ",
		`{"iss":"https://us.example.com/b","tid":"a"}`:   "refused: token_claim_required",
		`{"iss":"https://us.example.com/b","tid":7}`:     "refused: token_claim_required",
		`{"iss":"https://us.example.com/b","tid":["b"]}`: "refused: token_claim_required",
		`{"iss":"https://us.example.com/{tid}"}`:         "refused: token_issuer_unknown",
	} {
		bearer := theKey.sign(t, `{"alg":"RS256","typ":"at+jwt","kid":"k1"}`,
			claimsOf(t, `{"sub":"s","aud":"shop","scope":"READ"}`, claims))
		if have := opens(t, c, rsaKeys, bearer); have != want {
			t.Errorf("%s: have %q, want %q", claims, have, want)
		}
	}
}

// TestMappedSays which claim gave which tenant, role and action, and what is missing.
func TestMappedSays(t *testing.T) {
	t.Parallel()
	c := load(t, entry(plainIssuer, "tenants: {from: org, map: {o1: acme}}",
		"roles: [{from: realm.roles, map: {staff: reader}}, {from: granted, keys: true, tenants: keys, map: "+
			"{chief: editor}}]",
		`actions: {from: scope, map: {"orders:read": READ}}`))
	for claims, want := range map[string][]string{
		`{"org":["o1","o9"],"realm":{"roles":["staff","x"]},"granted":{"chief":{"o1":1}},"scope":"orders:read openid"}`: {
			`tenants: claim org holds "o1" "o9": "o1" is tenant "acme"`,
			`roles: claim realm.roles holds "staff" "x": "staff" is a role here`,
			`roles: claim granted holds "chief": "chief" is a role here, for tenant "acme"`,
			`actions: claim scope holds "orders:read" "openid": "orders:read" means READ`,
		},
		`{"org":"o9","scope":"openid"}`: {
			`tenants: claim org holds "o9": none counts, the map has o1`,
			`roles: claim realm.roles is missing, or holds no words: none counts, the map has staff`,
			`roles: claim granted is missing, or holds no words: none counts, the map has chief`,
			`actions: claim scope holds "openid": none counts, the map has orders:read`,
		},
	} {
		v := saidBy(t, c, claims)
		if v == nil {
			t.Fatalf("%s: refused", claims)
		}
		if _, have := c.TrustedIssuers[0].Mapped(v); cmp.Diff(want, have) != "" {
			t.Errorf("%s (-want +have)\n%s", claims, cmp.Diff(want, have))
		}
	}
}

// TestWants: what of a token's claims would have opened a tenant, or what in the entry keeps every token from it.
func TestWants(t *testing.T) {
	t.Parallel()
	const rename = "tenants: {from: org, map: {o1: acme, o2: acme}}"
	roles := "roles: {from: realm.roles, map: {staff: reader, chief: editor, all: any, only: acme}}"
	for _, c := range []struct {
		lines                []string
		tenant, action, want string
	}{
		{[]string{rename}, "acme", "READ", ""}, // tenantPermissions counts
		{
			[]string{rename, roles},
			"acme", "READ",
			`for READ on tenant "acme": claim org with o1 or o2, and claim realm.roles with all or chief or only or staff`,
		},
		{
			[]string{rename, roles},
			"acme", "WRITE",
			`for WRITE on tenant "acme": claim org with o1 or o2, and claim realm.roles with chief`,
		},
		{
			[]string{rename, roles},
			"acme", "DELETE",
			`a word in the entry's roles or actions that means DELETE on tenant "acme"`,
		},
		{[]string{rename, roles}, "other", "READ", `a word for tenant "other" in the map of tenants of the issuer's entry`},
		{
			[]string{"tenants: {from: org}", roles, "actions: {from: scope}"},
			"b", "DELETE",
			`for DELETE on tenant "b": claim org with b, and claim scope with DELETE`,
		},
		{
			[]string{rename, roles},
			token.Global, "READ",
			"READ globally, which takes tenants: {global: true} in the issuer's entry",
		},
		{
			[]string{"tenants: {from: org, global: true}", roles},
			token.Global, "READ",
			"for READ globally: claim realm.roles with all",
		},
		{
			[]string{"roles: {from: r, map: {only: acme, all: any}}"},
			"acme", "READ",
			`for READ on tenant "acme": claim r with all or only`,
		},
		{
			[]string{rename, "actions: {from: scope, map: {read: READ, admin: [\"*\"]}}"},
			"acme", "READ",
			`for READ on tenant "acme": claim org with o1 or o2, and claim scope with admin or read`,
		},
	} {
		issuer := load(t, entry(append([]string{plainIssuer}, c.lines...)...)).TrustedIssuers[0]
		if have := issuer.Wants(c.tenant, c.action); have != c.want {
			t.Errorf("%v, %s on %s:\nhave %s\nwant %s", c.lines, c.action, c.tenant, have, c.want)
		}
	}
	narrow := load(t, strings.Replace(entry(plainIssuer, rename, roles), `{tenant: "*", actions: ["*"]}`,
		`{tenant: acme, actions: [READ]}`, 1)).TrustedIssuers[0]
	const ceiling = `WRITE on tenant "acme" in the entry's permissions, the ceiling of all tokens of this issuer`
	if have := narrow.Wants("acme", "WRITE"); have != ceiling {
		t.Errorf("have %s, want %s", have, ceiling)
	}
}
