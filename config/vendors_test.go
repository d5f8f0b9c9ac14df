package config_test

import "testing"

// TestTokensWithoutPreset: tokens of vendors that have no preset, of the shape that they write, under the entry that
// takes them.
func TestTokensWithoutPreset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines          []string
		header, claims string
		want           string
	}{
		"FusionAuth": {
			[]string{
				"issuer: acme.com", plainKeys, "token_types: [JWT]", "kinds: [access, workload]",
				"tenants: {from: tid, map: {t1: acme}}",
				"roles: {from: roles, map: {editor: editor}}",
			},
			`{"alg":"RS256","typ":"JWT","kid":"k1","gty":["authorization_code"],"use":"token"}`,
			`{"iss":"acme.com","aud":"shop","sub":"u","jti":"j","authenticationType":"PASSWORD","email":"a@example.com",` +
				`"email_verified":true,"applicationId":"shop","roles":["editor"],"sid":"s","auth_time":1,"tid":"t1"}`,
			"acme:READ,WRITE",
		},
		"Authentik": {
			[]string{
				"issuer: https://auth.example.com/application/o/shop/", "token_types: [JWT]", "tenants: {from: ak.org}",
				"roles: {from: groups, map: {authentik Admins: editor}}",
			},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"iss":"https://auth.example.com/application/o/shop/","sub":"h","aud":"shop","acr":"goauthentik.io/providers/oauth2/default",` +
				`"amr":["pwd"],"azp":"shop","uid":"u","scope":"openid  email","groups":["authentik Admins"],"ak":{"org":"acme"}}`,
			"acme:READ,WRITE",
		},
		"Dex": {
			[]string{
				"issuer: https://dex.example.com", "token_types: [none, JWT]", "kinds: [id]",
				"tenants: {from: federated_claims.connector_id, map: {ldap: acme}}",
				`roles: {from: groups, map: {"org:team": reader}}`,
			},
			`{"alg":"RS256","kid":"k1"}`,
			`{"iss":"https://dex.example.com","sub":"CgcyMzQyNzQ5EgZnaXRodWI","aud":"shop","at_hash":"h","c_hash":"c","email":"a@b.c",` +
				`"email_verified":true,"groups":["org:team"],"federated_claims":{"connector_id":"ldap","user_id":"u"}}`,
			"acme:READ",
		},
		"Ory Hydra": {
			[]string{
				"issuer: https://hydra.example.com/", "token_types: [JWT]", "tenants: {from: ext.org}",
				"actions: {from: scp, map: {read: READ}}",
			},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"aud":["shop"],"client_id":"c","ext":{"org":"acme"},"iss":"https://hydra.example.com/","jti":"j","nbf":1799999000,` +
				`"scp":["read","offline"],"sub":"u"}`,
			"acme:READ",
		},
		"Ory Hydra without an audience": {
			[]string{"issuer: https://hydra.example.com/", "token_types: [JWT]", "audience_claims: [aud, client_id]"},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"aud":[],"client_id":"shop","iss":"https://hydra.example.com/","jti":"j","scp":["read"],"sub":"u"}`,
			"refused: token_claims_malformed",
		},
		"Spring Authorization Server": {
			[]string{
				"issuer: http://auth-server:9000", plainKeys, "token_types: [none]", "tenants: {from: org}",
				"actions: {from: scope, map: {message.read: READ}}",
			},
			`{"kid":"k1","alg":"RS256"}`,
			`{"sub":"messaging-client","aud":"shop","nbf":1799999000,"scope":["message.read","openid"],"iss":"http://auth-server:9000","jti":"j","org":"acme"}`,
			"acme:READ",
		},
		"IdentityServer": {
			[]string{"issuer: https://demo.duendesoftware.com", "tenants: {from: client_tenant}", "actions: {from: scope, map: {api: READ}}"},
			`{"alg":"RS256","kid":"k1","x5t":"k1","typ":"at+jwt"}`,
			`{"iss":"https://demo.duendesoftware.com","nbf":1799999000,"aud":"shop","scope":["openid","api","offline_access"],"amr":["pwd"],` +
				`"client_id":"interactive","sub":"1","auth_time":1,"idp":"local","sid":"s","jti":"j","client_tenant":"acme"}`,
			"acme:READ",
		},
		"ADFS": {
			[]string{
				"issuer: http://adfs.example.com/adfs/services/trust", plainKeys, "token_types: [JWT]", "client_claim: appid",
				"tenants: {from: company}", `roles: {from: "http://schemas.microsoft.com/ws/2008/06/identity/claims/role", map: {Editors: editor}}`,
			},
			`{"typ":"JWT","alg":"RS256","x5t":"k1","kid":"k1"}`,
			`{"aud":"shop","iss":"http://adfs.example.com/adfs/services/trust","apptype":"Public","appid":"a","authmethod":"x","auth_time":"2026-01-01T00:00:00.000Z",` +
				`"ver":"1.0","scp":"openid","sub":"s","company":"acme","http://schemas.microsoft.com/ws/2008/06/identity/claims/role":["Editors","Users"]}`,
			"acme:READ,WRITE",
		},
		"PingFederate": {
			[]string{"issuer: https://ping.example.com", "token_types: [none]", "tenants: {from: Org}", "actions: {from: scope, map: {edit: WRITE}}"},
			`{"alg":"RS256","kid":"k1","pi.atm":"2"}`,
			`{"scope":["edit"],"client_id":"im_client","iss":"https://ping.example.com","aud":"shop","jti":"j","Username":"joe","Org":"acme","sub":"joe"}`,
			"acme:WRITE",
		},
		"PingOne": {
			[]string{
				"issuer: https://auth.pingone.eu/env/as", "token_types: [none]", `require_claims: {'["p1.rid"]': present}`, "tenants: {from: env, map: {e1: acme}}",
				"actions: {from: scope, map: {edit: WRITE}}",
			},
			`{"alg":"RS256","kid":"k1"}`,
			`{"client_id":"c","iss":"https://auth.pingone.eu/env/as","aud":["shop"],"scope":"edit","sub":"s","sid":"x","acr":"Single_Factor","env":"e1","org":"o1","p1.rid":"r"}`,
			"acme:WRITE",
		},
		"Keycloak's organizations with attributes": {
			[]string{"issuer: https://kc.example.com/realms/shop", "preset: keycloak", "tenants: {}", "roles: {map: {editor: editor}}"},
			`{"alg":"RS256","typ" : "JWT","kid" : "k1"}`,
			`{"iss":"https://kc.example.com/realms/shop","aud":"shop","sub":"u","typ":"Bearer","azp":"web","realm_access":{"roles":["editor"]},` +
				`"organization":{"acme":{"id":"42","city":["Oslo"],"groups":["/a"]}}}`,
			"acme:READ,WRITE",
		},
		"Keycloak's lightweight token": {
			[]string{"issuer: https://kc.example.com/realms/shop", "preset: keycloak", "tenants: {}", "actions: {map: {\"orders:read\": READ}}"},
			`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://kc.example.com/realms/shop","aud":"shop","jti":"j","typ":"Bearer","azp":"web","sid":"s","scope":"orders:read","organization":["acme"]}`,
			"acme:READ",
		},
		"Keycloak's token that is bound by DPoP": {
			[]string{"issuer: https://kc.example.com/realms/shop", "preset: keycloak", "tenants: {}", "actions: {map: {\"orders:read\": READ}}"},
			`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://kc.example.com/realms/shop","aud":"shop","jti":"j","typ":"DPoP","azp":"web","sub":"u","scope":"orders:read","organization":["acme"],` +
				`"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}`,
			"acme:READ",
		},
		"… which is not bound": {
			[]string{"issuer: https://kc.example.com/realms/shop", "preset: keycloak"},
			`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://kc.example.com/realms/shop","aud":"shop","typ":"DPoP","azp":"web","sub":"u"}`,
			"refused: token_type_refused",
		},
		"Entra's v1.0 token of an app": {
			[]string{
				`issuer_pattern: "https://sts.windows.net/{tid}/"`, "issuer_values: {tid: [t1]}", plainKeys, "preset: entra",
				"tenants: {map: {t1: acme}}", "roles: {map: {Orders.All: editor}}",
			},
			`{"typ":"JWT","alg":"RS256","x5t":"k1","kid":"k1"}`,
			`{"iss":"https://sts.windows.net/t1/","aud":"shop","appid":"web","appidacr":"1","idp":"https://sts.windows.net/t1/","oid":"o","rh":"r","roles":["Orders.All"],"sub":"o","tid":"t1","uti":"u","ver":"1.0"}`,
			"acme:READ,WRITE",
		},
		"Auth0's machine token with namespaced claims": {
			[]string{"issuer: https://shop.eu.auth0.com/", "preset: auth0", "tenants: {from: \"https://shop.example.com/org\"}", "actions: {from: scope}"},
			`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://shop.eu.auth0.com/","sub":"c@clients","aud":"shop","azp":"c","scope":"READ","gty":"client-credentials","https://shop.example.com/org":"acme"}`,
			"acme:READ",
		},
		"Google's issuer without a scheme": {
			[]string{
				"issuer: accounts.google.com", plainKeys, "preset: google", "tenants: {map: {example.com: acme}}",
				"roles: {map: {a@example.com: reader}}", "require_claims: {email_verified: true}",
			},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"iss":"accounts.google.com","azp":"c","aud":"shop","sub":"1","hd":"example.com","email":"a@example.com",` +
				`"email_verified":true,"at_hash":"h"}`,
			"acme:READ",
		},
		"a Clerk session with an open task": {
			[]string{
				"issuer: https://clerk.shop.example.com", "preset: clerk", "require_claims: {sts: active}",
				"tenants: {}", "roles: {map: {admin: editor}}",
			},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"iss":"https://clerk.shop.example.com","azp":"shop","sub":"u","sts":"pending","v":2,"o":{"id":"acme","rol":"admin"}}`,
			"refused: token_claim_required",
		},
		"Google's Identity-Aware Proxy": {
			[]string{
				"issuer: https://cloud.google.com/iap", plainKeys, "token_types: [JWT]", "kinds: [workload]", "tenants: {from: hd, map: {example.com: acme}}",
				"roles: {from: google.access_levels, map: {level: reader}}",
			},
			`{"alg":"ES256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://cloud.google.com/iap","aud":"shop","email":"a@example.com","sub":"accounts.google.com:1","hd":"example.com","google":{"access_levels":["level"]},"identity_source":"GOOGLE"}`,
			"acme:READ",
		},
		"CircleCI": {
			[]string{
				"issuer: https://oidc.circleci.com/org/o1", "token_types: [JWT]", "kinds: [workload]",
				`require_claims: {'["oidc.circleci.com/project-id"]': p1}`,
				`tenants: {from: ["oidc.circleci.com/org-id"], map: {o1: acme}}`,
				"roles: {from: [\"oidc.circleci.com/context-ids\"], map: {c1: reader}}",
			},
			`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://oidc.circleci.com/org/o1","aud":"shop","sub":"org/o1/project/p1/user/u1","oidc.circleci.com/project-id":"p1","oidc.circleci.com/org-id":"o1","oidc.circleci.com/context-ids":["c1"]}`,
			"acme:READ",
		},
		"Hasura's namespace": {
			[]string{plainIssuer, "token_types: [JWT]", "tenants: {from: \"https://hasura.io/jwt/claims.x-hasura-org\"}", "roles: {from: [\"https://hasura.io/jwt/claims\", x-hasura-allowed-roles], map: {editor: editor}}"},
			`{"alg":"RS256","typ":"JWT","kid":"k1"}`,
			`{"iss":"https://idp.example.com","aud":"shop","azp":"c","sub":"s","https://hasura.io/jwt/claims":{"x-hasura-org":"acme","x-hasura-allowed-roles":["editor"]}}`,
			"acme:READ,WRITE",
		},
		"Laravel Passport, times with fractions": {
			[]string{
				plainIssuer, "token_types: [JWT]", "kinds: [workload]", "tenants: {from: org}",
				"actions: {from: scopes, map: {read: READ}}",
			},
			`{"typ":"JWT","alg":"RS256"}`,
			`{"iss":"https://idp.example.com","aud":"shop","jti":"j","iat":1799999940.123456,"nbf":1799999940.123456,"exp":1800000240.5,"sub":"1","scopes":["read"],"org":"acme"}`,
			"acme:READ",
		},
		"Azure AD B2C": {
			[]string{"issuer: https://shop.b2clogin.com/t1/v2.0/", plainKeys, "token_types: [JWT]", "client_claim: azp", "tenants: {from: extension_Org}", "actions: {from: scp, map: {read: READ}}"},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"iss":"https://shop.b2clogin.com/t1/v2.0/","aud":"shop","sub":"s","tfp":"B2C_1_signin","scp":"read","azp":"web","ver":"1.0","nbf":1799999940,"extension_Org":"acme","emails":["a@b.c"]}`,
			"acme:READ",
		},
		"Logto": {
			[]string{"issuer: https://t.logto.app/oidc", "tenants: {from: organization_id}", "actions: {from: scope, map: {\"orders:read\": READ}}"},
			`{"alg":"ES256","typ":"at+jwt","kid":"k1"}`,
			`{"jti":"j","sub":"u","iss":"https://t.logto.app/oidc","client_id":"c","organization_id":"acme","scope":"orders:read","aud":"shop"}`,
			"acme:READ",
		},
		"Descope's tenants": {
			[]string{"issuer: https://api.descope.com/P1", "token_types: [JWT]", "kinds: [workload]", "tenants: {from: tenants}", "roles: {from: roles, map: {editor: editor}}"},
			`{"alg":"RS256","kid":"k1","typ":"JWT"}`,
			`{"amr":["email"],"drn":"DS","iss":"https://api.descope.com/P1","aud":"shop","sub":"U","roles":["editor"],"tenants":{"acme":{"permissions":["x"],"roles":["viewer"]},"globex":{}}}`,
			"acme:READ,WRITE globex:READ,WRITE",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := c.lines
			jwks := rsaKeys
			if len(c.header) > 14 && c.header[:14] == `{"alg":"ES256"` {
				jwks = `{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"k1","x":"$X","y":"$Y"}]}`
			}
			cfg := load(t, entry(lines...))
			if have := opens(t, cfg, jwks, theKey.sign(t, c.header, claimsOf(t, c.claims, ""))); have != c.want {
				t.Errorf("have %q, want %q", have, c.want)
			}
		})
	}
}
