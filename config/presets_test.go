package config_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

const rsaKeys = `{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"k1","n":"$N","e":"AQAB"}]}`

// A vendor is what one issuer writes: its key set, and a token that its recipe takes. Times are filled in.
type vendor struct {
	jwks, header, claims, want string
	bad                        []variant
}

// A variant is the good token with other claims (null removes one), or with another header.
type variant struct{ name, header, claims, want string }

var vendors = map[string]vendor{
	"keycloak": {
		`{"keys":[{"kid":"enc","kty":"RSA","alg":"RSA-OAEP","use":"enc","n":"$N","e":"AQAB","x5c":["MIIC"],"x5t":"a"},` +
			`{"kid":"k1","kty":"RSA","alg":"RS256","use":"sig","n":"$N","e":"AQAB","x5c":["MIIC"],"x5t":"a","x5t#S256":"b"}]}`,
		`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
		`{"jti":"onrtac:1","iss":"https://kc.example.com/realms/shop","aud":["shop-api","account"],"sub":"7f1e","typ":"Bearer",` +
			`"azp":"web","sid":"s1","acr":"1","allowed-origins":["https://shop.example.com"],"realm_access":{"roles":["shop-reader","offline_access"]},` +
			`"resource_access":{"account":{"roles":["view-profile"]}},"scope":"openid profile ` +
			`organization","organization":["acme"]}`,
		"acme:READ",
		[]variant{
			{"before Keycloak 25, with a nonce", "", `{"nonce":"n"}`, "acme:READ"},
			{"organization as an object", "", `{"organization":{"acme":{"id":"42"},"globex":{}}}`, "acme:READ globex:READ"},
			{"two roles", "", `{"realm_access":{"roles":["shop-reader","shop-editor"]}}`, "acme:READ,WRITE"},
			{"no organization", "", `{"organization":null}`, ""},
			{"its id_token", "", `{"typ":"ID","nonce":"n","at_hash":"h","aud":"shop-api"}`, "refused: token_type_refused"},
			{"its refresh token", "", `{"typ":"Refresh"}`, "refused: token_type_refused"},
			{"its offline token", "", `{"typ":"Offline"}`, "refused: token_type_refused"},
			{
				"its logout token", "", `{"typ":"Logout","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`,
				"refused: token_type_refused",
			},
			{"another audience's", "", `{"aud":"account"}`, "refused: token_audience_mismatch"},
			{"another realm's", "", `{"iss":"https://kc.example.com/realms/other"}`, "refused: token_issuer_unknown"},
		},
	},
	"auth0": {
		`{"keys":[{"kty":"RSA","use":"sig","n":"$N","e":"AQAB","kid":"k1","x5t":"k1","x5c":["MIIC"],"alg":"RS256"}]}`,
		`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
		`{"iss":"https://shop.eu.auth0.com/","sub":"auth0|123","aud":["https://api.shop.example.com","https://shop.eu.auth0.com/userinfo"],` +
			`"azp":"web","scope":"openid orders:read","org_id":"org_9x","permissions":["orders:read"]}`,
		"acme:READ",
		[]variant{
			{"both permissions", "", `{"permissions":["orders:read","orders:write"]}`, "acme:READ,WRITE"},
			{"the RFC 9068 profile", `{"alg":"RS256","typ":"at+jwt","kid":"k1"}`, `{"azp":null,"client_id":"web"}`, "acme:READ"},
			{"machine to machine", "", `{"gty":"client-credentials","sub":"m2m@clients","scope":"orders:read"}`, "acme:READ"},
			{"another tenant's", "", `{"org_id":"org_7y"}`, "globex:READ"},
			{"a tenant that is not mapped", "", `{"org_id":"org_none"}`, ""},
			{
				"its id_token", "", `{"aud":"web","nonce":"n","scope":null,"azp":null,"permissions":null}`,
				"refused: token_type_refused",
			},
			{
				"its id_token, silent", "", `{"aud":"https://api.shop.example.com","scope":null,"azp":null,"permissions":null}`,
				"refused: token_type_refused",
			},
			{"another audience's", "", `{"aud":"https://other"}`, "refused: token_audience_mismatch"},
			{"without the slash", "", `{"iss":"https://shop.eu.auth0.com"}`, "refused: token_issuer_unknown"},
		},
	},
	"okta": {
		rsaKeys, `{"kid":"k1","alg":"RS256"}`,
		`{"ver":1,"jti":"AT.1","iss":"https://shop.okta.com/oauth2/default","aud":"api://default","cid":"0oa1","uid":"00u1",` +
			`"scp":["openid","orders:read"],"auth_time":1799999000,"sub":"alice@example.com","groups":["Everyone","shop-editors"],"tenant":"acme"}`,
		"acme:READ,WRITE",
		[]variant{
			{"without the group", "", `{"groups":["Everyone"]}`, "acme:READ"},
			{
				"its id_token", "", `{"scp":null,"cid":null,"uid":null,"amr":["pwd"],"nonce":"n","at_hash":"h"}`,
				"refused: token_type_refused",
			},
			{"its id_token, silent", "", `{"scp":null,"cid":null,"uid":null,"amr":["pwd"]}`, "refused: token_type_refused"},
			{"another audience's", "", `{"aud":"api://other"}`, "refused: token_audience_mismatch"},
			{"another tenant's", "", `{"tenant":"globex"}`, "globex:READ,WRITE"},
		},
	},
	"entra": {
		`{"keys":[{"kty":"RSA","use":"sig","kid":"k1","x5t":"k1","n":"$N","e":"AQAB","x5c":["MIIC"],"cloud_instance_name":"microsoftonline.com",` +
			`"issuer":"https://login.microsoftonline.com/{tenantid}/v2.0"},{"kty":"RSA","use":"sig","kid":"k2","n":"$N","e":"AQAB",` +
			`"issuer":"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"}]}`,
		`{"typ":"JWT","alg":"RS256","x5t":"k1","kid":"k1"}`,
		`{"aud":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","iss":"https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555/v2.0",` +
			`"aio":"x","azp":"cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee","azpacr":"0","name":"Alice","oid":"o","rh":"r","scp":"Orders.Read profile",` +
			`"sub":"s","tid":"11111111-2222-4333-8444-555555555555","uti":"u","ver":"2.0"}`,
		"acme:READ",
		[]variant{
			{"an app's own", "", `{"scp":null,"roles":["Orders.Write.All"],"idtyp":"app"}`, "acme:READ,WRITE"},
			{"another tenant's", "", `{"iss":"https://login.microsoftonline.com/66666666-7777-4888-9999-000000000000/v2.0","tid":"66666666-7777-4888-9999-000000000000"}`, "globex:READ"},
			{
				"a tenant that is not on the list", "",
				`{"iss":"https://login.microsoftonline.com/77777777-7777-4888-9999-000000000000/v2.0","tid":"77777777-7777-4888-9999-000000000000"}`, "refused: token_issuer_unknown",
			},
			{
				"a tid that is not its issuer's", "", `{"tid":"66666666-7777-4888-9999-000000000000"}`,
				"refused: token_claim_required",
			},
			{"a key that is for another issuer", `{"typ":"JWT","alg":"RS256","kid":"k2"}`, ``, "refused: token_key_unknown"},
			{
				"its id_token", "", `{"scp":null,"azp":null,"azpacr":null,"nonce":"n","preferred_username":"alice"}`,
				"refused: token_type_refused",
			},
			{
				"its id_token, silent", "", `{"scp":null,"azp":null,"azpacr":null,"preferred_username":"alice"}`,
				"refused: token_type_refused",
			},
			{"another audience's", "", `{"aud":"00000003-0000-0000-c000-000000000000"}`, "refused: token_audience_mismatch"},
		},
	},
	"cognito": {
		rsaKeys, `{"kid":"k1","alg":"RS256"}`,
		`{"sub":"aaaaaaaa","device_key":"d","cognito:groups":["acme-staff"],"iss":"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab1",` +
			`"version":2,"client_id":"1h57kf5cpq17m0eml12EXAMPLE","origin_jti":"o","event_id":"e","token_use":"access","scope":"openid","auth_time":1799999000,"jti":"j","username":"alice"}`,
		"acme:READ",
		[]variant{
			{"without the group", "", `{"cognito:groups":null}`, ""},
			{"its id_token", "", `{"token_use":"id","aud":"1h57kf5cpq17m0eml12EXAMPLE","client_id":null,"scope":null,"at_hash":"h"}`, "refused: token_type_refused"},
			{
				"its id_token with a client", "", `{"token_use":"id","aud":"1h57kf5cpq17m0eml12EXAMPLE"}`,
				"refused: token_type_refused",
			},
			{"another client's", "", `{"client_id":"other"}`, "refused: token_audience_mismatch"},
			{"an aud decides", "", `{"aud":"other"}`, "refused: token_audience_mismatch"},
		},
	},
	"google": {
		rsaKeys, `{"alg":"RS256","kid":"k1","typ":"JWT"}`,
		`{"iss":"https://accounts.google.com","azp":"32555940559.apps.googleusercontent.com","aud":"https://shop.example.com",` +
			`"sub":"1121","email":"batch@shop-123.iam.gserviceaccount.com","email_verified":true}`,
		"acme:READ",
		[]variant{
			{
				"a user's id_token", "", `{"aud":"32555940559.apps.googleusercontent.com","hd":"example.com","at_hash":"h"}`,
				"acme:READ",
			},
			{"an email that is not verified", "", `{"email_verified":false}`, "refused: token_claim_required"},
			{"… verified as a text", "", `{"email_verified":"true"}`, "refused: token_claim_required"},
			{"another account's", "", `{"email":"eve@shop-123.iam.gserviceaccount.com"}`, ""},
			{"another audience's", "", `{"aud":"https://other"}`, "refused: token_audience_mismatch"},
		},
	},
	"firebase": {
		rsaKeys, `{"alg":"RS256","kid":"k1","typ":"JWT"}`,
		`{"iss":"https://securetoken.google.com/shop-123","aud":"shop-123","auth_time":1799999000,"user_id":"u","sub":"u","role":"editor",` +
			`"email":"a@example.com","email_verified":true,"firebase":{"identities":{"email":["a@example.com"]},"sign_in_provider":"password","tenant":"acme-x1y2z"}}`,
		"acme:READ,WRITE",
		[]variant{
			{"another tenant's", "", `{"firebase":{"sign_in_provider":"password","tenant":"other-1"}}`, ""},
			{"without a tenant", "", `{"firebase":{"sign_in_provider":"password"}}`, ""},
			{
				"another project's", "", `{"iss":"https://securetoken.google.com/other","aud":"other"}`,
				"refused: token_issuer_unknown",
			},
			{"another audience's", "", `{"aud":"other"}`, "refused: token_audience_mismatch"},
			{"an access token, which Firebase has none of", "", `{"scope":"x"}`, "refused: token_type_refused"},
			{"without a subject", "", `{"sub":null}`, "refused: token_claims_malformed"},
		},
	},
	"kubernetes": {
		`{"keys":[{"use":"sig","kty":"RSA","kid":"k1","alg":"RS256","n":"$N","e":"AQAB"}]}`, `{"alg":"RS256","kid":"k1"}`,
		`{"aud":["shop"],"iss":"https://kubernetes.default.svc.cluster.local","jti":"j","kubernetes.io":{"namespace":"shop-acme",` +
			`"node":{"name":"n","uid":"u"},"pod":{"name":"orders-1","uid":"u"},"serviceaccount":{"name":"orders","uid":"u"}},` +
			`"sub":"system:serviceaccount:shop-acme:orders"}`,
		"acme:READ,WRITE",
		[]variant{
			{"another account's", "", `{"sub":"system:serviceaccount:shop-acme:eve"}`, ""},
			{"another namespace's", "", `{"kubernetes.io":{"namespace":"other"}}`, ""},
			{
				"the API server's audience", "", `{"aud":["https://kubernetes.default.svc.cluster.local"]}`,
				"refused: token_audience_mismatch",
			},
			{"one that lives a year", "", `{"exp":1831000000}`, "refused: token_lifetime_too_long"},
			{"an id_token", "", `{"nonce":"n"}`, "refused: token_type_refused"},
		},
	},
	"github_actions": {
		rsaKeys, `{"typ":"JWT","alg":"RS256","x5t":"k1","kid":"k1"}`,
		`{"jti":"j","sub":"repo:octo-org/shop:ref:refs/heads/main","aud":"https://shop.example.com","ref":"refs/heads/main","sha":"s",` +
			`"repository":"octo-org/shop","repository_owner":"octo-org","repository_id":"74","run_id":"1","actor":"octocat","workflow":"deploy",` +
			`"event_name":"push","ref_type":"branch","job_workflow_ref":"octo-org/shop/.github/workflows/deploy.yml@refs/heads/main",` +
			`"iss":"https://token.actions.githubusercontent.com"}`,
		"acme:READ",
		[]variant{
			{"another repository's", "", `{"repository":"eve/shop"}`, "refused: token_claim_required"},
			{"another branch's", "", `{"ref":"refs/pull/1/merge"}`, "refused: token_claim_required"},
			{"another audience's", "", `{"aud":"https://github.com/octo-org"}`, "refused: token_audience_mismatch"},
			{"an id_token", "", `{"nonce":"n"}`, "refused: token_type_refused"},
		},
	},
	"gitlab": {
		rsaKeys, `{"kid":"k1","typ":"JWT","alg":"RS256"}`,
		`{"namespace_id":"72","namespace_path":"acme","project_id":"20","project_path":"acme/shop","user_id":"1","user_login":"u","pipeline_id":"574",` +
			`"job_id":"302","ref":"main","ref_type":"branch","ref_protected":"true","runner_id":1,"jti":"j","iss":"https://gitlab.com",` +
			`"sub":"project_path:acme/shop:ref_type:branch:ref:main","aud":"https://shop.example.com"}`,
		"acme:READ",
		[]variant{
			{"another project's", "", `{"project_path":"eve/shop"}`, "refused: token_claim_required"},
			{"a branch that is not protected", "", `{"ref_protected":"false"}`, "refused: token_claim_required"},
			{"another audience's", "", `{"aud":"https://vault.example.com"}`, "refused: token_audience_mismatch"},
		},
	},
	"spiffe": {
		`{"spiffe_sequence":1,"spiffe_refresh_hint":600000,"keys":[{"use":"x509-svid","kty":"EC","crv":"P-256","x":"$X","y":"$Y","x5c":["MIIC"]},` +
			`{"use":"jwt-svid","kty":"EC","kid":"k1","crv":"P-256","x":"$X","y":"$Y"}]}`,
		`{"alg":"ES256","kid":"k1","typ":"JWT"}`,
		`{"aud":["shop"],"sub":"spiffe://example.org/ns/acme/sa/orders"}`,
		"acme:READ",
		[]variant{
			{"with iss", "", `{"iss":"spiffe://example.org"}`, "acme:READ"},
			{"typ JOSE", `{"alg":"ES256","kid":"k1","typ":"JOSE"}`, ``, "acme:READ"},
			{"no typ", `{"alg":"ES256","kid":"k1"}`, ``, "acme:READ"},
			{"another workload's", "", `{"sub":"spiffe://example.org/ns/acme/sa/eve"}`, ""},
			{
				"another trust domain's", "", `{"sub":"spiffe://evil.example/ns/acme/sa/orders"}`,
				"refused: token_claims_malformed",
			},
			{"another audience's", "", `{"aud":["other"]}`, "refused: token_audience_mismatch"},
		},
	},
	"supabase": {
		`{"keys":[{"alg":"ES256","crv":"P-256","ext":true,"key_ops":["verify"],"kid":"k1","kty":"EC","use":"sig","x":"$X","y":"$Y"}]}`,
		`{"alg":"ES256","kid":"k1","typ":"JWT"}`,
		`{"iss":"https://abcdefghijkl.supabase.co/auth/v1","sub":"u","aud":"authenticated","email":"a@example.com","phone":"",` +
			`"app_metadata":{"provider":"email","providers":["email"],"tenant":"acme"},"user_metadata":{"tenant":"globex"},"role":"authenticated",` +
			`"aal":"aal1","amr":[{"method":"password","timestamp":1799999000}],"session_id":"s","is_anonymous":false}`,
		"acme:READ",
		[]variant{
			{"an anonymous user's", "", `{"is_anonymous":true}`, "refused: token_claim_required"},
			{"another role", "", `{"role":"anon"}`, ""},
			{"another audience's", "", `{"aud":"anon"}`, "refused: token_audience_mismatch"},
			{"another project's", "", `{"iss":"https://zzzzzzzzzzzz.supabase.co/auth/v1"}`, "refused: token_issuer_unknown"},
			{"an id_token", "", `{"nonce":"n"}`, "refused: token_type_refused"},
		},
	},
	"clerk": {
		`{"keys":[{"use":"sig","kty":"RSA","kid":"k1","alg":"RS256","n":"$N","e":"AQAB"}]}`,
		`{"alg":"RS256","cat":"cl_B7","kid":"k1","typ":"JWT"}`,
		`{"azp":"https://shop.example.com","fva":[7,-1],"iss":"https://clerk.shop.example.com","sid":"sess_1","sub":"user_1","v":2,"pla":"u:free",` +
			`"o":{"id":"org_2abc","rol":"admin","slg":"acme","per":"read,manage","fpm":"3,2"}}`,
		"acme:READ,WRITE",
		[]variant{
			{"a member's", "", `{"o":{"id":"org_2abc","rol":"member"}}`, "acme:READ"},
			{"another organization's", "", `{"o":{"id":"org_other","rol":"admin"}}`, ""},
			{"without an organization", "", `{"o":null}`, ""},
			{"another app's", "", `{"azp":"https://evil.example"}`, "refused: token_audience_mismatch"},
			{"an aud decides", "", `{"aud":"other"}`, "refused: token_audience_mismatch"},
			{"an id_token", "", `{"nonce":"n"}`, "refused: token_type_refused"},
		},
	},
	"workos": {
		rsaKeys, `{"alg":"RS256","kid":"k1"}`,
		`{"iss":"https://api.workos.com/user_management/client_01ABC","sub":"user_01","act":{"sub":"admin@foocorp.com"},"org_id":"org_01HRDMC6CM",` +
			`"role":"member","roles":["member"],"permissions":["posts:read","posts:write"],"entitlements":["audit-logs"],"sid":"session_1","jti":"j"}`,
		"acme:READ,WRITE",
		[]variant{
			{"fewer permissions", "", `{"permissions":["posts:read"]}`, "acme:READ"},
			{"another organization's", "", `{"org_id":"org_other"}`, ""},
			{
				"another client's", "", `{"iss":"https://api.workos.com/user_management/client_02"}`,
				"refused: token_issuer_unknown",
			},
			{"for an audience", "", `{"aud":"other"}`, "refused: token_audience_mismatch"},
			{"an id_token", "", `{"nonce":"n"}`, "refused: token_type_refused"},
		},
	},
	"zitadel": {
		`{"keys":[{"use":"sig","kty":"RSA","kid":"k1","alg":"RS256","n":"$N","e":"AQAB"}]}`,
		`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
		`{"iss":"https://shop.zitadel.cloud","sub":"1","aud":["69234237810729234@shop","69234237810729019"],"client_id":"69234237810729234@shop","jti":"j",` +
			`"urn:zitadel:iam:org:project:roles":{"editor":{"acme":"acme.zitadel.cloud"},"reader":{"acme":"acme.zitadel.cloud","globex":"globex.zitadel.cloud"}}}`,
		"acme:READ,WRITE globex:READ",
		[]variant{
			{"roles as a list count for no organization", "", `{"urn:zitadel:iam:org:project:roles":["editor"]}`, ""},
			{
				"roles as a list of objects", "",
				`{"urn:zitadel:iam:org:project:roles":[{"editor":{"acme":"x"}},"reader",{"editor":{"globex":"y","*":"z"}}]}`,
				"acme:READ,WRITE globex:READ,WRITE",
			},
			{
				"its id_token", "", `{"at_hash":"h","azp":"69234237810729234@shop","client_id":null}`,
				"refused: token_type_refused",
			},
			{"another project's", "", `{"aud":["1"]}`, "refused: token_audience_mismatch"},
		},
	},
	"cloudflare_access": {
		`{"keys":[{"kid":"k1","kty":"RSA","alg":"RS256","use":"sig","e":"AQAB","n":"$N"}],"public_cert":{"kid":"k1","cert":"-----BEGIN CERTIFICATE-----"},"public_certs":[]}`,
		`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
		`{"type":"app","aud":["32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"],"iss":"https://yourteam.cloudflareaccess.com",` +
			`"common_name":"orders.access","sub":""}`,
		"acme:READ",
		[]variant{
			{"a user's", "", `{"common_name":null,"sub":"7335d417","email":"user@example.com","identity_nonce":"6ei","country":"US","custom":{}}`, ""},
			{"no typ", `{"alg":"RS256","kid":"k1"}`, ``, "acme:READ"},
			{"the global session's", "", `{"type":"org"}`, "refused: token_claim_required"},
			{"another application's", "", `{"aud":["other"]}`, "refused: token_audience_mismatch"},
			{"another team's", "", `{"iss":"https://other.cloudflareaccess.com"}`, "refused: token_issuer_unknown"},
		},
	},
}

// claimsOf merges overrides, of which null removes a claim, and fills in times where there are none.
func claimsOf(t testing.TB, base, overrides string) map[string]any {
	t.Helper()
	all := map[string]any{"iat": now.Unix() - 60, "exp": now.Unix() + 240}
	for _, text := range []string{base, overrides} {
		claims := map[string]any{}
		if text == "" {
			continue
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&claims); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		maps.Copy(all, claims)
	}
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// TestPresets holds each vendor's recipe to tokens and key sets of the shape that its documents show, good and bad.
func TestPresets(t *testing.T) {
	t.Parallel()
	head, all := recipes(t)
	for name, recipe := range all {
		v, known := vendors[name]
		if !known {
			t.Errorf("no tokens of %s", name)
			continue
		}
		c := load(t, head+recipe)
		for _, x := range append([]variant{{"a good token", "", "", v.want}}, v.bad...) {
			t.Run(name+"/"+x.name, func(t *testing.T) {
				t.Parallel()
				header := x.header
				if header == "" {
					header = v.header
				}
				if have := opens(t, c, v.jwks, theKey.sign(t, header, claimsOf(t, v.claims, x.claims))); have != x.want {
					t.Errorf("have %q, want %q", have, x.want)
				}
			})
		}
	}
}
