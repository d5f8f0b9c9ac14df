package jose_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

func equals(kind strictjson.Kind, text string) jose.Condition {
	return jose.Condition{{Scalar: jose.Scalar{Kind: kind, Text: text}}}
}

func text(s string) jose.Condition { return equals(strictjson.KindString, s) }

// TestForeignClaims holds each sentence on what another issuer's token says to what becomes of it.
func TestForeignClaims(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "EdDSA")
	base := jose.Issuer{URL: foreignIssuer, Types: []string{"JWT", "at+jwt", ""}, Keys: holding(setOf(key))}
	with := func(change func(*jose.Issuer)) jose.Issuer {
		i := base
		change(&i)
		return i
	}
	kinds := func(list ...jose.Kind) jose.Issuer { return with(func(i *jose.Issuer) { i.Kinds = list }) }
	plain, id, workload := base, kinds(jose.KindID), kinds(jose.KindWorkload)
	every := kinds(jose.KindAccess, jose.KindID, jose.KindWorkload)
	require := func(claim string, c jose.Condition) jose.Issuer {
		return with(func(i *jose.Issuer) {
			i.Require = []jose.Requirement{{Claim: must(jose.ParsePath(claim)), Condition: c}}
		})
	}
	words := func(rule jose.WordRule, from string) jose.Issuer {
		rule.From = must(jose.ParsePath(from))
		return with(func(i *jose.Issuer) { i.Words = []jose.WordRule{rule} })
	}
	azp := with(func(i *jose.Issuer) { i.ClientClaim = jose.Path{"azp"} })
	audience := with(func(i *jose.Issuer) { i.AudienceClaims = []jose.Path{{"client_id"}, {"azp"}} })
	present := jose.Condition{{Present: true}}
	contains := jose.Condition{{Contains: true, Scalar: jose.Scalar{Kind: strictjson.KindString, Text: "staff"}}}
	either := append(text("gold"), text("silver")...)
	const idBase = `"sub":"s","iat":1700000000,"aud":"a"`
	type answer struct {
		Client, Audience, Words string
		Kind                    jose.Kind
		Reason                  refusal.Reason
	}
	refused := func(r refusal.Reason) answer { return answer{Reason: r} }
	access := answer{Kind: jose.KindAccess}
	holds := func(words string) answer { return answer{Kind: jose.KindAccess, Words: words} }
	const typed, malformed, required = refusal.TokenTypeRefused, refusal.TokenClaimsMalformed, refusal.TokenClaimRequired
	for _, c := range []struct {
		name   string
		issuer jose.Issuer
		typ    string // of the header; "-": none
		claims string
		want   answer
	}{
		// Kinds: what a token says of itself decides first.
		{"the header at+jwt means access, even beside a nonce", plain, "at+jwt", `"nonce":"n"`, access},
		{"… in other capitals and with application/", plain, "application/AT+JWT", `"nonce":"n"`, access},
		{
			"typ Bearer means access, even beside a nonce (Keycloak before 25)", plain, "JWT", `"typ":"Bearer","nonce":"n"`,
			access,
		},
		{"token_use access means access, even beside at_hash", plain, "JWT", `"token_use":"access","at_hash":"h"`, access},
		{
			"typ DPoP means access, where a key is named (Keycloak)", plain, "JWT",
			`"typ":"DPoP","nonce":"n","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, access,
		},
		{"… and is refused where none is", every, "JWT", `"typ":"DPoP","scope":"x"`, refused(typed)},
		{
			"… and where token_use says id", every, "JWT",
			`"typ":"DPoP","token_use":"id","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, refused(typed),
		},
		{"typ ID means id", plain, "JWT", `"typ":"ID","scope":"x"`, refused(typed)},
		{
			"… and is taken where id is", id, "JWT", `"typ":"ID","scope":"x",` + idBase,
			answer{Kind: jose.KindID, Audience: "a"},
		},
		{"token_use id means id", plain, "JWT", `"token_use":"id","scope":"x"`, refused(typed)},
		{"Refresh is never taken", every, "JWT", `"typ":"Refresh","scope":"x"`, refused(typed)},
		{"Offline is never taken", every, "JWT", `"typ":"Offline","scope":"x"`, refused(typed)},
		{"Logout is never taken", every, "JWT", `"typ":"Logout","scope":"x"`, refused(typed)},
		{"Refresh is not taken under the header at+jwt", every, "at+jwt", `"typ":"Refresh"`, refused(typed)},
		{"events are never taken", every, "at+jwt", `"events":{}`, refused(typed)},
		{"events null are none", plain, "JWT", `"events":null,"scope":"x"`, access},
		{"two statements that differ: header and typ", every, "at+jwt", `"typ":"ID"`, refused(typed)},
		{"two statements that differ: typ and token_use", every, "JWT", `"typ":"Bearer","token_use":"id"`, refused(typed)},
		{"typ of another word", every, "JWT", `"typ":"Serialized-ID","scope":"x"`, refused(typed)},
		{"typ in other capitals is another word", every, "JWT", `"typ":"bearer","scope":"x"`, refused(typed)},
		{"token_use of another word", every, "JWT", `"token_use":"code","scope":"x"`, refused(typed)},
		{"typ that is no text", every, "JWT", `"typ":7,"scope":"x"`, refused(typed)},
		{"typ null is none", plain, "JWT", `"typ":null,"scope":"x"`, access},
		{"without any: nonce means id", plain, "JWT", `"nonce":"n","scope":"x"`, refused(typed)},
		{"… at_hash", plain, "-", `"at_hash":"n","scope":"x"`, refused(typed)},
		{"… c_hash", plain, "JWT", `"c_hash":"n","scope":"x"`, refused(typed)},
		{"… s_hash", plain, "JWT", `"s_hash":"n","scope":"x"`, refused(typed)},
		{"a nonce that is null is none", plain, "JWT", `"nonce":null,"scope":"x"`, access},
		{"a nonce deeper down", plain, "JWT", `"x":{"nonce":"n"},"scope":"x"`, access},
		{"else scope means access", plain, "-", `"scope":"x"`, access},
		{"… scp", plain, "JWT", `"scp":["a"]`, access},
		{"… client_id", plain, "JWT", `"client_id":"c"`, answer{Kind: jose.KindAccess, Client: "c"}},
		{"… cid", plain, "JWT", `"cid":"c"`, access},
		{"… azp", plain, "JWT", `"azp":"c"`, access},
		{"… tenantPermissions", plain, "JWT", `"tenantPermissions":[]`, access},
		{"scope null says nothing", plain, "JWT", `"scope":null`, refused(typed)},
		{"a scope deeper down says nothing", plain, "JWT", `"x":{"scope":"y"}`, refused(typed)},
		{"a silent token is not taken as access", plain, "JWT", `"email":"a@example.com","sid":"s"`, refused(typed)},
		{"… is taken as workload", workload, "-", `"email":"a@example.com"`, answer{Kind: jose.KindWorkload}},
		{"… is taken where id is", id, "JWT", idBase, answer{Kind: jose.KindID, Audience: "a"}},
		{"an access token where only workloads are", workload, "JWT", `"scope":"x"`, refused(typed)},
		{"an id_token where only workloads are", workload, "JWT", `"nonce":"n",` + idBase, refused(typed)},
		{"an id_token needs sub", id, "JWT", `"nonce":"n","iat":1700000000,"aud":"a"`, refused(malformed)},
		{"an id_token needs iat", id, "JWT", `"nonce":"n","sub":"s","aud":"a"`, refused(malformed)},
		{"an id_token needs aud", id, "JWT", `"nonce":"n","sub":"s","iat":1700000000`, refused(malformed)},
		{"an id_token has no code", id, "JWT", `"nonce":"n","code":"c",` + idBase, refused(typed)},
		{"… no response", id, "JWT", `"response":"c",` + idBase, refused(typed)},
		{"… no htm", id, "JWT", `"htm":"POST",` + idBase, refused(typed)},
		{"… no token_introspection", id, "JWT", `"token_introspection":{},` + idBase, refused(typed)},

		// Audiences.
		{
			"aud decides where it is there", audience, "JWT", `"aud":"a","client_id":"c"`,
			answer{Kind: jose.KindAccess, Audience: "a", Client: "c"},
		},
		{
			"client_id stands in for a missing aud", audience, "JWT", `"client_id":"c","azp":"z"`,
			answer{Kind: jose.KindAccess, Audience: "c", Client: "c"},
		},
		{"the next one stands in", audience, "JWT", `"azp":"z"`, answer{Kind: jose.KindAccess, Audience: "z"}},
		{"a list stands in", audience, "JWT", `"azp":["y",7,"z"]`, answer{Kind: jose.KindAccess, Audience: "y z"}},
		{"aud null is missing", audience, "JWT", `"aud":null,"azp":"z"`, answer{Kind: jose.KindAccess, Audience: "z"}},
		{"nothing stands in by default", plain, "JWT", `"client_id":"c"`, answer{Kind: jose.KindAccess, Client: "c"}},
		{"an empty list of audiences", plain, "JWT", `"aud":[],"scope":"x"`, refused(malformed)},

		// Required claims.
		{"a text equals a string", require("a", text("x")), "at+jwt", `"a":"x"`, access},
		{"… and no other", require("a", text("x")), "at+jwt", `"a":"X"`, refused(required)},
		{"… never a member of a list", require("a", text("x")), "at+jwt", `"a":["x"]`, refused(required)},
		{"… never a boolean", require("a", text("true")), "at+jwt", `"a":true`, refused(required)},
		{"… never a number", require("a", text("1")), "at+jwt", `"a":1`, refused(required)},
		{"… in any spelling of the JSON", require("a", text("x")), "at+jwt", `"a":"\u0078"`, access},
		{"contains finds a member", require("groups", contains), "at+jwt", `"groups":["x","staff"]`, access},
		{"… of a list alone", require("groups", contains), "at+jwt", `"groups":"staff"`, refused(required)},
		{"… not deeper down", require("groups", contains), "at+jwt", `"groups":[["staff"]]`, refused(required)},
		{"a boolean equals a boolean", require("a", equals(strictjson.KindBool, "true")), "at+jwt", `"a":true`, access},
		{"… never a text", require("a", equals(strictjson.KindBool, "true")), "at+jwt", `"a":"true"`, refused(required)},
		{"a number equals a number", require("a", equals(strictjson.KindNumber, "1")), "at+jwt", `"a":1.0`, access},
		{
			"… to its last digit", require("a", equals(strictjson.KindNumber, "9007199254740993")), "at+jwt",
			`"a":9007199254740992`, refused(required),
		},
		{"… never a text", require("a", equals(strictjson.KindNumber, "1")), "at+jwt", `"a":"1"`, refused(required)},
		{"a list means any of its members", require("acr", either), "at+jwt", `"acr":"silver"`, access},
		{"… and no other", require("acr", either), "at+jwt", `"acr":"bronze"`, refused(required)},
		{"present means there", require("a", present), "at+jwt", `"a":0`, access},
		{"… false is there", require("a", present), "at+jwt", `"a":false`, access},
		{"… missing is not", require("a", present), "at+jwt", `"b":0`, refused(required)},
		{"… null is not", require("a", present), "at+jwt", `"a":null`, refused(required)},
		{"… an empty text is not", require("a", present), "at+jwt", `"a":""`, refused(required)},
		{"… an empty list is not", require("a", present), "at+jwt", `"a":[ ]`, refused(required)},
		{"… an empty object is not", require("a", present), "at+jwt", `"a":{}`, refused(required)},
		{"a path", require("a.b", text("x")), "at+jwt", `"a":{"b":"x"}`, access},
		{"a path is not a name with a dot", require("a.b", text("x")), "at+jwt", `"a.b":"x"`, refused(required)},
		{"a list is a name with a dot", require(`["a.b"]`, text("x")), "at+jwt", `"a.b":"x"`, access},
		{"… and no path", require(`["a.b"]`, text("x")), "at+jwt", `"a":{"b":"x"}`, refused(required)},
		{"sub and aud can be required", require("sub", present), "at+jwt", `"sub":"s"`, access},

		// Words.
		{"a string is one word", words(jose.WordRule{}, "r"), "at+jwt", `"r":"a b"`, holds("a b;")},
		{"… split at spaces", words(jose.WordRule{Split: " "}, "r"), "at+jwt", `"r":"a  b "`, holds("a;b;")},
		{
			"of a list the strings count, as they are", words(jose.WordRule{Split: " "}, "r"), "at+jwt",
			`"r":["a b",1,null,["x"],{"y":1},"c",""]`, holds("a b;c;"),
		},
		{
			"an object counts by its keys", words(jose.WordRule{Keys: true}, "r"), "at+jwt", `"r":{"a":1,"b":{}}`,
			holds("a;b;"),
		},
		{"… where it may", words(jose.WordRule{}, "r"), "at+jwt", `"r":{"a":1}`, holds("")},
		{"null is no word", words(jose.WordRule{Keys: true}, "r"), "at+jwt", `"r":null`, holds("")},
		{"a number is no word", words(jose.WordRule{Keys: true}, "r"), "at+jwt", `"r":7`, holds("")},
		{"an empty text is no word", words(jose.WordRule{}, "r"), "at+jwt", `"r":""`, holds("")},
		{"nothing is no word", words(jose.WordRule{}, "r"), "at+jwt", `"x":1`, holds("")},
		{
			"an object of objects", words(jose.WordRule{Keys: true, PerTenant: true}, "r"), "at+jwt",
			`"r":{"a":{"t":"x","u":1},"b":7,"c":{}}`, holds("a(t u);"),
		},
		{"… that is a list", words(jose.WordRule{Keys: true, PerTenant: true}, "r"), "at+jwt", `"r":["a"]`, holds("")},
		{
			"a path to words", words(jose.WordRule{}, "realm_access.roles"), "at+jwt",
			`"roles":["x"],"realm_access":{"roles":["a"]},"x":{"realm_access":{"roles":["y"]}}`, holds("a;"),
		},
		{
			"a path through a list", words(jose.WordRule{}, "realm_access.roles"), "at+jwt", `"realm_access":[{"roles":["a"]}]`,
			holds(""),
		},
		{
			"a path is not a name with dots", words(jose.WordRule{}, "realm_access.roles"), "at+jwt",
			`"realm_access.roles":["admin"],"realm_access":{"roles":["a"]}`, holds("a;"),
		},
		{
			"a URL is a name", words(jose.WordRule{}, "https://shop.example.com/roles"), "at+jwt",
			`"https://shop.example.com/roles":["a"]`, holds("a;"),
		},
		{
			"… with a path behind it", words(jose.WordRule{}, "https://shop.example.com/claims.roles"), "at+jwt",
			`"https://shop.example.com/claims":{"roles":["a"]}`, holds("a;"),
		},
		{
			"kubernetes.io is a name", words(jose.WordRule{}, "kubernetes.io.namespace"), "at+jwt",
			`"kubernetes.io":{"namespace":"shop"}`, holds("shop;"),
		},
		{"a word that the issuer's name has", words(jose.WordRule{Fixed: "t1"}, "tid"), "at+jwt", `"x":1`, holds("t1;")},
		{"… and the claim says so too", words(jose.WordRule{Fixed: "t1"}, "tid"), "at+jwt", `"tid":"t1"`, holds("t1;")},
		{"… and the claim differs", words(jose.WordRule{Fixed: "t1"}, "tid"), "at+jwt", `"tid":"t2"`, refused(required)},
		{"… and the claim is a list", words(jose.WordRule{Fixed: "t1"}, "tid"), "at+jwt", `"tid":["t1"]`, refused(required)},

		// The client.
		{
			"azp in place of client_id", azp, "at+jwt", `"client_id":"other","azp":"web"`,
			answer{Kind: jose.KindAccess, Client: "web"},
		},
		{"client_id does not stand in for azp", azp, "at+jwt", `"client_id":"other"`, access},
		{"azp null is missing", azp, "at+jwt", `"azp":null`, access},
		{"azp a list", azp, "at+jwt", `"azp":["web"]`, refused(malformed)},
		{"azp empty", azp, "at+jwt", `"azp":""`, refused(malformed)},

		// Claims that have our names.
		{"application an object (WSO2)", plain, "at+jwt", `"application":{"id":7}`, access},
		{"scope a list", plain, "JWT", `"scope":["a","b"]`, access},
		{"scope with two spaces", plain, "JWT", `"scope":"a  b"`, access},
		{"master a text", plain, "at+jwt", `"master":"yes"`, access},
		{"expiresOn a text", plain, "at+jwt", `"expiresOn":"2026-01-01"`, access},
		{"grantor a number", plain, "at+jwt", `"grantor":7`, access},
		{"act a text", plain, "at+jwt", `"act":"x"`, access},
		{"tenantPermissions an object", plain, "at+jwt", `"tenantPermissions":{"a":1}`, access},
		{
			"tenantPermissions with other members", plain, "at+jwt",
			`"tenantPermissions":[{"tenant":"a","allowedActions":[],"x":1}]`, access,
		},
		{
			"null everywhere", plain, "at+jwt",
			`"sub":null,"aud":null,"jti":null,"iat":null,"nbf":null,"scope":null,"cnf":null,"client_id":null,"act":null,"master":null`, access,
		},
		{"an empty sub is no subject", workload, "JWT", `"sub":"","common_name":"x"`, answer{Kind: jose.KindWorkload}},
		{"a sub of another type", plain, "at+jwt", `"sub":7`, refused(malformed)},
		{"an iat of another type", plain, "at+jwt", `"iat":"now"`, refused(malformed)},
		{"a claim without a name", plain, "at+jwt", `"":{"":7}`, access},
		{"a member twice", plain, "at+jwt", `"application":{},"application":{}`, refused(refusal.TokenMalformed)},
		{"a member twice deeper down", plain, "at+jwt", `"application":{"a":1,"a":2}`, refused(refusal.TokenMalformed)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			payload := `{"iss":"` + foreignIssuer + `","exp":1700003600,` + c.claims + `}`
			header := key.header(c.typ)
			if c.typ == "-" {
				header = strings.Replace(key.header("X"), `"typ":"X",`, "", 1)
			}
			x, err := newVerifier(t, &c.issuer).Verify(key.forge(header, payload), epoch, nil)
			have := answer{Reason: refusal.Of(err)}
			if err == nil {
				have.Client, have.Kind, have.Audience = x.Claims.ClientID, x.Kind, strings.Join(x.Claims.Audience, " ")
				for _, list := range x.Words {
					for _, w := range list {
						have.Words += w.Text
						if w.Tenants != nil {
							have.Words += "(" + strings.Join(w.Tenants, " ") + ")"
						}
						have.Words += ";"
					}
				}
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Errorf("%v (-want +have)\n%s", err, diff)
			}
		})
	}
}

// Claims that have our names, in another shape, open nothing and say nothing.
func TestOurNamesInAnotherShapeCountAsAbsent(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "EdDSA")
	v := newVerifier(t, &jose.Issuer{URL: foreignIssuer, Keys: holding(setOf(key))})
	x, err := v.Verify(key.forge(key.header("at+jwt"), `{"iss":"`+foreignIssuer+
		`","exp":1700003600,"sub":"s","scope":["x"],`+
		`"application":{},"master":1,"grantor":[],"tenantPermissions":[{"tenant":"*"}],"exchanged_from":7}`), epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := token.Claims{Issuer: foreignIssuer, Subject: "s", Expiry: 1700003600000}
	if diff := cmp.Diff(want, x.Claims); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	// The same in a token of ours refuses it, whichever other issuers are trusted.
	ours, other := ours(key), jose.Issuer{URL: foreignIssuer, Keys: holding(setOf(key))}
	if _, err := newVerifier(t, ours,
		&other).Verify(key.token(strings.Replace(goodClaims, `"grantor":"shop"`, `"grantor":7`, 1)), epoch,
		nil); refusal.Of(err) != refusal.TokenClaimsMalformed {
		t.Errorf("ours: %v", err)
	}
}

// What is retained is there as it stood, of our own tokens too.
func TestRetainedClaims(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "EdDSA")
	retain := []jose.Path{{"email"}, {"realm_access", "roles"}, {"none"}}
	own := ours(key)
	own.Retain, own.Scopes = retain, true
	foreign := jose.Issuer{URL: foreignIssuer, Keys: holding(setOf(key)), Retain: retain, Scopes: true}
	v := newVerifier(t, own, &foreign)
	extra := `"email":"a@b","realm_access":{"roles":["x"]},"scope":"p q","scp":["r"],`
	for name, bearer := range map[string]string{
		"foreign": key.forge(key.header("at+jwt"), `{"iss":"`+foreignIssuer+`",`+extra+`"exp":1700003600}`),
		"ours":    key.token(strings.Replace(goodClaims, "{", "{"+extra, 1)),
	} {
		x, err := v.Verify(bearer, epoch, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if x.Claim(retain[0]) != `"a@b"` || x.Claim(retain[1]) != `["x"]` || x.Claim(retain[2]) != "" ||
			x.Claim(jose.Path{"sub"}) != "" {
			t.Errorf("%s: %q", name, x.Retained)
		}
		if diff := cmp.Diff([]string{"p", "q", "r"}, x.Scopes); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A JWT-SVID without iss belongs to the entry whose trust domain its sub has; with iss, its sub is of that domain too.
func TestSPIFFE(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	spiffe := func(url, domain string) *jose.Issuer {
		return &jose.Issuer{
			URL: url, TrustDomain: domain, Keys: holding(setOf(key)), Types: []string{"JWT", "JOSE", ""},
			Kinds: []jose.Kind{jose.KindWorkload},
		}
	}
	v := newVerifier(t, ours(key), spiffe("https://oidc.example.org", "example.org"),
		spiffe("spiffe://other.org", "other.org"),
		&jose.Issuer{
			URL: foreignIssuer, Keys: holding(setOf(key)), Types: []string{"JWT"},
			Kinds: []jose.Kind{jose.KindWorkload},
		})
	for _, c := range []struct {
		name, claims, issuer string
		want                 refusal.Reason
	}{
		{"without iss", `"sub":"spiffe://example.org/ns/shop"`, "https://oidc.example.org", ""},
		{"of the other", `"sub":"spiffe://other.org/x"`, "spiffe://other.org", ""},
		{"with iss", `"iss":"https://oidc.example.org","sub":"spiffe://example.org/x"`, "https://oidc.example.org", ""},
		{
			"with iss, of another domain", `"iss":"https://oidc.example.org","sub":"spiffe://other.org/x"`, "",
			refusal.TokenClaimRequired,
		},
		{"with iss, no SPIFFE ID", `"iss":"https://oidc.example.org","sub":"alice"`, "", refusal.TokenClaimRequired},
		{"without iss, of a domain that nothing trusts", `"sub":"spiffe://example.net/x"`, "", refusal.TokenClaimsMalformed},
		{"without iss, of a subdomain", `"sub":"spiffe://a.example.org/x"`, "", refusal.TokenClaimsMalformed},
		{"without iss, and no path", `"sub":"spiffe://example.org"`, "", refusal.TokenClaimsMalformed},
		{"without iss, no SPIFFE ID", `"sub":"alice"`, "", refusal.TokenClaimsMalformed},
		{
			"another issuer's, with a SPIFFE ID", `"iss":"` + foreignIssuer + `","sub":"spiffe://example.org/x"`, foreignIssuer,
			"",
		},
		{"iss null", `"iss":null,"sub":"spiffe://example.org/x"`, "https://oidc.example.org", ""},
		{"iss empty", `"iss":"","sub":"spiffe://example.org/x"`, "", refusal.TokenClaimsMalformed},
	} {
		x, err := v.Verify(key.forge(key.header("JWT"), `{"exp":1700003600,"aud":["a"],`+c.claims+`}`), epoch, nil)
		if refusal.Of(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		} else if err == nil && x.Claims.Issuer != c.issuer {
			t.Errorf("%s: of %s", c.name, x.Claims.Issuer)
		}
	}
	if _, err := jose.NewVerifier(jose.Options{Issuers: []*jose.Issuer{
		spiffe("a", "x.org"),
		spiffe("b", "x.org"),
	}}); err == nil {
		t.Error("two entries of one trust domain are accepted")
	}
}

// What a header says of keys is ignored in another issuer's token and refused in ours; what would change the token's
// meaning refuses both.
func TestHeaderMembersOfForeignTokens(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "EdDSA")
	v := newVerifier(t, ours(key), &jose.Issuer{URL: foreignIssuer, Keys: holding(setOf(key))})
	foreign := `{"iss":"` + foreignIssuer + `","exp":1700003600}`
	head := func(member string) string { return `{"alg":"EdDSA","typ":"at+jwt","kid":"kid-EdDSA",` + member + `}` }
	for member, ignored := range map[string]bool{
		`"jku":"https://uaa.example.com/token_keys"`: true, `"jwk":{"kty":"oct","k":"AAAA"}`: true, `"x5u":"https://x"`: true,
		`"x5c":["AAAA"]`: true, `"x5t":"a"`: true, `"cty":"JWT"`: true, `"x5t#S256":"a"`: true, `"nonce":"n"`: true,
		`"crit":["exp"]`: false, `"crit":[]`: false, `"b64":true`: false, `"zip":"DEF"`: false, `"enc":"A128GCM"`: false,
	} {
		for range 2 { // the second time the header is known
			if _, err := v.Verify(key.forge(head(member), foreign), epoch, nil); (err == nil) != ignored ||
				!ignored && refusal.Of(err) != refusal.TokenHeaderRefused {
				t.Errorf("%s in another issuer's token: %v", member, err)
			}
			ours := strings.HasPrefix(member, `"x5t`) || strings.HasPrefix(member, `"nonce`)
			if _, err := v.Verify(key.forge(head(member), goodClaims), epoch, nil); (err == nil) != ours ||
				!ours && refusal.Of(err) != refusal.TokenHeaderRefused {
				t.Errorf("%s in a token of ours: %v", member, err)
			}
		}
	}
	alias := strings.Replace(head(`"x":1`), `"EdDSA","typ"`, `"Ed25519","typ"`, 1)
	if _, err := v.Verify(key.forge(alias, foreign), epoch, nil); err != nil {
		t.Errorf("Ed25519 is another name of EdDSA: %v", err)
	}
	if _, err := v.Verify(key.forge(alias, goodClaims), epoch, nil); refusal.Of(err) != refusal.TokenAlgorithmRefused {
		t.Errorf("Ed25519 in a token of ours: %v", err)
	}
}

func TestForeignKeysAndTimes(t *testing.T) {
	t.Parallel()
	rs, ps := keyFor(t, "RS256"), keyFor(t, "PS256")
	unnamed, _, err := jose.ParseKeySet([]byte(`{"keys":[` +
		strings.Replace(string(must(json.Marshal(must(rs.publicJWK())))), `"kid":"kid-RS256"`, `"kid":"k"`, 1) + `]}`))
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
		{
			"not another of its type",
			jose.Issuer{Keys: holding(unnamed)},
			ps.forge(head("PS256", withKID), payload),
			refusal.TokenAlgorithmRefused,
		},
		{
			"the settings choose",
			jose.Issuer{Keys: holding(unnamed), Algorithms: []string{"ES256", "PS256"}},
			ps.forge(head("PS256", withKID), payload), "",
		},
		{
			"and the default is out",
			jose.Issuer{Keys: holding(unnamed), Algorithms: []string{"PS256"}},
			rs.forge(head("RS256", withKID), payload), refusal.TokenAlgorithmRefused,
		},
		{
			"none that fits",
			jose.Issuer{Keys: holding(unnamed), Algorithms: []string{"ES256"}},
			rs.forge(head("RS256", withKID), payload), refusal.TokenAlgorithmRefused,
		},
		{
			"a key that names its alg keeps it",
			jose.Issuer{Keys: holding(setOf(rs)), Algorithms: []string{"PS256"}},
			ps.forge(head("PS256", `,"kid":"kid-RS256"`), payload), refusal.TokenAlgorithmRefused,
		},
		{"no kid, one key", jose.Issuer{Keys: holding(unnamed)}, rs.forge(head("RS256", ""), payload), ""},
		{
			"no kid, two keys of two algorithms",
			jose.Issuer{Keys: holding(setOf(rs, keyFor(t, "ES256")))},
			rs.forge(head("RS256", ""), payload), "",
		},
		{
			"iat required",
			jose.Issuer{Keys: holding(unnamed), RequireIssuedAt: true},
			rs.forge(head("RS256", withKID), payload), refusal.TokenClaimsMalformed,
		},
		{
			"no iat, ends within the limit",
			jose.Issuer{Keys: holding(unnamed), MaxLifetime: time.Hour},
			rs.forge(head("RS256", withKID), payload), "",
		},
		{
			"no iat, ends beyond the limit",
			jose.Issuer{Keys: holding(unnamed), MaxLifetime: time.Hour - time.Millisecond},
			rs.forge(head("RS256", withKID), payload), refusal.TokenLifetimeTooLong,
		},
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
		{
			"two issuers of one URL",
			jose.Options{Issuers: []*jose.Issuer{issuer, ours()}},
			"issuer https://gate.example.com is there twice",
		},
		{"no URL", jose.Options{Issuers: []*jose.Issuer{{Keys: issuer.Keys}}}, `issuer "": an issuer needs a URL and keys`},
		{"no keys", jose.Options{Issuers: []*jose.Issuer{{URL: "x"}}}, `issuer "x": an issuer needs a URL and keys`},
		{
			"alg none",
			jose.Options{Issuers: []*jose.Issuer{&bad}},
			"issuer https://gate.example.com: algorithm \"none\" is not one of " +
				"[ES256 ES384 ES512 EdDSA HS256 HS384 HS512 PS256 PS384 PS512 RS256 RS384 RS512]",
		},
		{"leeway", jose.Options{Leeway: 61 * time.Second}, "leeway 1m1s is not from 0 to 1m0s"},
		{"negative leeway", jose.Options{Leeway: -1}, "leeway -1ns is not from 0 to 1m0s"},
	} {
		if _, err := jose.NewVerifier(c.options); err == nil || err.Error() != c.want {
			t.Errorf("%s: have %v\nwant %s", c.name, err, c.want)
		}
	}
	v := newVerifier(t)
	if _, err := v.Verify(keyFor(t, "ES256").token(goodClaims), epoch, nil); err == nil {
		t.Error("a verifier that trusts no issuer accepts a token")
	}
}
