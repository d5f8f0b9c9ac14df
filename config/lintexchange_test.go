package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLintOfExchange: each config is taken, and the warnings say what in it cannot be meant. What differs from it in
// that alone brings none.
func TestLintOfExchange(t *testing.T) {
	t.Parallel()
	const (
		good = `issuer:
  url: https://gate.test
  audiences: [https://gate.test/api, https://gate.test/mcp]
  keys: [{file: k.pem, create: true}]
  clients:
    - {id: svc, may: [exchange], delegate: [{tenant: acme, actions: [READ]}]}
    - {id: app, permissions: [{tenant: acme, actions: [READ]}], identity: {issuer: https://ci.test, subject: {prefix: "repo:acme/shop:"}}}
trusted_issuers:
  - {issuer: https://kc.test, audiences: [api], exchange: true, logout_audiences: [shop], permissions: [{tenant: acme, actions: [READ]}]}
  - {issuer: https://ci.test, preset: github_actions, audiences: [ci], permissions: []}
  - {issuer: https://k8s.test, preset: kubernetes, audiences: [cluster], permissions: []}
revocations: {file: revoked}
resources:
  - {resource: https://gate.test/mcp}
routes:
  - {path: /mcp, require: authenticated, upstream: app}
  - {path: /acme, require: {tenant: acme, action: READ}, upstream: app}
`
		github = `identity: {issuer: https://ci.test, subject: {prefix: "repo:acme/shop:"}}`
	)
	for _, c := range []struct {
		name  string
		edits []string
		want  string
	}{
		{"nothing to warn of", nil, ``},
		{
			"issuer without oauth2",
			[]string{"keys: [{", "serve: {dialects: [codes]}\n  keys: [{"},
			`gate.yaml:9:23: issuer.clients[0].may[0]: has no effect: issuer.serve.dialects lacks oauth2, where ` +
				`tokens are exchanged; add oauth2, or remove the word` +
				"\n" + `gate.yaml:12:59: trusted_issuers[0].exchange: has no effect: issuer.serve.dialects lacks oauth2, ` +
				`where tokens are exchanged; add oauth2, or remove it`,
		},
		{
			"no delegate",
			[]string{", delegate: [{tenant: acme, actions: [READ]}]", ""},
			`gate.yaml:8:23: issuer.clients[0].may[0]: opens nothing: the client has no permissions to hand on; ` +
				`add delegate: it is the upper bound of what comes out` +
				"\n" + `gate.yaml:11:59: trusted_issuers[0].exchange: opens nothing: no client with exchange has ` +
				`permissions to hand on; add delegate to the client: it is the upper bound of what comes out`,
		},
		{
			"a delegate for another tenant",
			[]string{"delegate: [{tenant: acme", "delegate: [{tenant: other"},
			`gate.yaml:11:59: trusted_issuers[0].exchange: opens nothing: no delegate of a client with exchange ` +
				`allows what permissions of the issuer do; compare tenants and actions of the two: what comes out is ` +
				`what both allow`,
		},
		{
			"audiences of no route",
			[]string{
				"resources:\n  - {resource: https://gate.test/mcp}\n", "",
				"{path: /mcp, ", "{path: /mcp, audiences: [api], ", "{path: /acme, ", "{path: /acme, audiences: [api], ",
			},
			`gate.yaml:11:59: trusted_issuers[0].exchange: opens nothing here: no route takes a token for ` +
				`issuer.audiences, which exchanged ones are for; add one of issuer.audiences to the audiences of a ` +
				`route, or remove it if other services judge the tokens`,
		},
		{
			"a public client",
			[]string{"{id: svc, ", "{id: svc, public: true, ", "exchange: true, ", ""},
			`gate.yaml:8:37: issuer.clients[0].may[0]: has no effect: a client that cannot authenticate ` +
				`exchanges no tokens; give it a secret, keys or identity in place of public, or remove the word`,
		},
		{
			"nothing to exchange",
			[]string{"exchange: true, ", ""},
			`gate.yaml:8:23: issuer.clients[0].may[0]: has nothing to exchange: no trusted issuer has exchange: ` +
				`true, and no client issues tokens; add exchange: true to a trusted issuer, or remove the word`,
		},
		{"its own token to exchange", []string{
			"exchange: true, ", "", "{id: svc, ", "{id: svc, permissions: [{tenant: acme, actions: [READ]}], ",
		}, ``},
		{"users' tokens to exchange", []string{
			"exchange: true, ", "", "    - {id: app,",
			"    - {id: web, may: [issue_codes], delegate: [{tenant: acme, actions: [READ]}]}\n    - {id: app,",
		}, ``},
		{
			"a workload that is any repository",
			[]string{"repo:acme/shop:", "repo:acme/"},
			`gate.yaml:9:110: issuer.clients[1].identity.subject: is met by any repository of "acme", in any ` +
				`branch; name the repository, or add claims that say what is meant, like repository_owner`,
		},
		{"any repository, as it says", []string{
			github, `identity: {issuer: https://ci.test, subject: {prefix: "repo:acme/"}, claims: {repository_owner: acme}}`,
		}, ``},
		{
			"a lifetime that the issuer does not have",
			[]string{github, strings.Replace(github, "}}", "}, max_lifetime: 48h}", 1)},
			`gate.yaml:9:153: issuer.clients[1].identity.max_lifetime: has no effect beyond 24h, max_token_ttl ` +
				`of the trusted issuer; raise max_token_ttl there, or lower it`,
		},
		{
			"projected tokens, once each",
			[]string{
				github, `identity: {issuer: https://k8s.test, subject: "system:serviceaccount:prod:app", once: true}`,
			},
			`gate.yaml:9:151: issuer.clients[1].identity.once: locks the workload out for most of the time: ` +
				`kubelet projects the same token until 80 % of its lifetime have passed; remove it, and keep the ` +
				`lifetime of the projected token short`,
		},
		{
			"logouts of workloads",
			[]string{"audiences: [ci]", "audiences: [ci], logout_audiences: [ci]"},
			`gate.yaml:12:90: trusted_issuers[1].logout_audiences: has no effect: workloads have no session that ` +
				`ends; remove it`,
		},
		{
			"logouts for the API",
			[]string{"audiences: [api]", "audiences: [https://api.test]", "[shop]", "[https://api.test, shop]"},
			`gate.yaml:11:97: trusted_issuers[0].logout_audiences[0]: "https://api.test" is an audience of ` +
				`access tokens, which logout tokens do not have; write the id that the client of the login has at ` +
				`the issuer`,
		},
		{"logouts for the client of the id_tokens", []string{
			"audiences: [api]", "audiences: [https://api.test], kinds: [access, id]", "[shop]", "[https://api.test]",
		}, ``},
		{
			"a resource that our issuer does not know",
			[]string{", https://gate.test/mcp]", "]"},
			`gate.yaml:16:16: resources[0].resource: sends clients to issuer.url for tokens, which issues none ` +
				`for it; add it to issuer.audiences, or list other authorization_servers`,
		},
		{"a resource of another authorization server", []string{
			", https://gate.test/mcp]", "]", "{resource: https://gate.test/mcp}",
			"{resource: https://gate.test/mcp, authorization_servers: [https://kc.test]}",
		}, ``},
		{
			"an authorization server that is not trusted",
			[]string{
				"{resource: https://gate.test/mcp}",
				"{resource: https://gate.test/mcp, authorization_servers: [https://kc.test, https://other.test]}",
			},
			`gate.yaml:16:80: resources[0].authorization_servers[1]: "https://other.test" is neither issuer.url ` +
				`nor one of trusted_issuers, so its tokens are refused; add it to trusted_issuers, or remove it`,
		},
		{"an authorization server for closed tenants", []string{
			"{resource: https://gate.test/mcp}",
			"{resource: https://gate.test/mcp, authorization_servers: [https://login.test/organizations/v2.0]}",
			"  - {issuer: https://ci.test,",
			`  - {issuer_pattern: "https://login.test/{tid}/v2.0", issuer_values: {tid: [a]}, ` +
				"jwks_url: https://login.test/keys, audiences: [api], permissions: []}\n  - {issuer: https://ci.test,",
		}, ``},
		{
			"entries of one pattern",
			[]string{
				"  - {issuer: https://ci.test,",
				`  - {issuer_pattern: "https://login.test/{tid}/v2.0", issuer_values: {tid: [a]}, exchange: true, ` +
					"jwks_url: https://login.test/keys, audiences: [api], permissions: [{tenant: acme, actions: [READ]}]}\n" +
					`  - {issuer_pattern: "https://login.test/{tid}/v2.0", issuer_values: {tid: [b]}, exchange: true, ` +
					"jwks_url: https://login.test/keys, audiences: [api], permissions: [{tenant: globex, actions: [READ]}]}\n" +
					"  - {issuer: https://ci.test,",
			},
			`gate.yaml:13:92: trusted_issuers[2].exchange: opens nothing: no delegate of a client with exchange ` +
				`allows what permissions of the issuer do; compare tenants and actions of the two: what comes out is ` +
				`what both allow`,
		},
		{
			"resources alone",
			[]string{"[https://gate.test/api, https://gate.test/mcp]", "[https://gate.test/mcp]"},
			`gate.yaml:5:14: issuer.audiences: has resources alone as audiences, so that a token for one of them ` +
				`opens route /acme, too; add an audience that is no resource, or give the route audiences`,
		},
		{
			"scopes of our issuer",
			[]string{
				"{resource: https://gate.test/mcp}",
				"{resource: https://gate.test/mcp, authorization_servers: [https://gate.test], scopes: [tools]}",
			},
			`gate.yaml:16:92: resources[0].scopes[0]: sends clients with this scope to issuer.url, which knows ` +
				`the words of may alone; remove scopes: what a token of a client opens is its permissions`,
		},
		{"scopes of others, too", []string{
			"{resource: https://gate.test/mcp}", "{resource: https://gate.test/mcp, scopes: [tools]}",
		}, ``},
		{
			"a resource without https",
			[]string{
				"https://gate.test/mcp}", "http://gate.test/mcp}", "api, https://gate.test/mcp]", "api, http://gate.test/mcp]",
			},
			`gate.yaml:16:16: resources[0].resource: is plain http, so that others can replace its metadata (RFC ` +
				`9728 §1.2); write https, as clients reach it`,
		},
		{"a resource on this machine", []string{
			"https://gate.test/mcp}", "http://127.0.0.1:8080/mcp}", "api, https://gate.test/mcp]",
			"api, http://127.0.0.1:8080/mcp]",
		}, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := good
			for i := 0; i < len(c.edits); i += 2 {
				if !strings.Contains(text, c.edits[i]) {
					t.Fatalf("no %q to replace", c.edits[i])
				}
				text = strings.ReplaceAll(text, c.edits[i], c.edits[i+1])
			}
			got, err := Parse("gate.yaml", []byte(lintHead+text), hermetic)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, Faults(got.Warnings).Error()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
