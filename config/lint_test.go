package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const lintHead = `version: 1
upstreams: {app: {servers: [http://127.0.0.1:3000]}}
`

// issuers is an issuer with clients that have this to say.
func issuers(clients ...string) string {
	var all []string
	for i, c := range clients {
		all = append(all, fmt.Sprintf(`{id: client-%d, delegate: [{tenant: "*", actions: ["*"]}], %s}`, i, c))
	}
	return "issuer: {url: http://gate, keys: [{file: k.pem, create: true}], clients: [" + strings.Join(all, ", ") + "]}\n"
}

// TestLint holds files that are taken to the exact warnings that they bring.
func TestLint(t *testing.T) {
	t.Parallel()
	const issuer = `issuer: {url: http://gate, keys: [{file: k.pem, create: true}], clients: [{id: web, may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}]}
`
	for _, c := range []struct{ name, text, want string }{
		{"a role and its route", issuer + `roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: "/{t}/", require: {tenant_from: path.t, action: READ}, upstream: app}]`, ``},
		{
			"an exchange that no client may make",
			issuer + `trusted_issuers: [{issuer: https://a, jwks_url: https://a/k, audiences: [a], exchange: true, permissions: [{tenant: x, actions: [READ]}]}]
routes: [{path: /a, require: authenticated, upstream: app}]`,
			`gate.yaml:4:88: trusted_issuers[0].exchange: has no effect: no client may exchange tokens; add exchange to a ` +
				`client's may, or remove it`,
		},
		{
			"custom claims of a client that makes no token",
			issuers(`claims: [plan]`) + `routes: [{path: /a, require: authenticated, upstream: app}]`,
			`gate.yaml:3:141: issuer.clients[0].claims: has no effect: the client makes no token that could carry them; add ` +
				`issue_codes, issue_user_tokens or exchange to may, or remove it`,
		},
		{
			"a certificate that no listener asks for",
			issuer + `routes: [{path: /a, require: {client_cert: {san: [a.internal]}}, upstream: app}]`,
			`gate.yaml:4:44: routes[0].require.client_cert: cannot be met: no listener asks for client certificates; ` +
				`set client_ca in a listener's tls`,
		},
		{
			"a login page for any host",
			issuer + `routes: [{path: /a, require: authenticated, upstream: app, login_url: "https://l.example/?to={url}"},
  {path: /b, hosts: [app.example], require: authenticated, upstream: app, login_url: "http://127.0.0.1:1/?to={url}"}]`,
			`gate.yaml:4:71: routes[0].login_url: is used for hosts that other routes or issuer.url name, for localhost and ` +
				`for addresses alone; add hosts to the route: a login page must not send its users back to a host that anybody ` +
				`can choose`,
		},
		{
			"a role that opens no route",
			issuer + `roles: {reader: [{tenant: "{tenant}", actions: [READ]}], writer: [{tenant: acme, actions: [WRITE]}]}
routes: [{path: "/{t}/", require: {tenant_from: path.t, action: READ}, upstream: app}, {path: /me, require: authenticated, upstream: app}]`,
			`gate.yaml:4:66: roles.writer: opens no route that requires an action; compare its tenants and actions with what ` +
				`the routes require`,
		},
		{
			"an action of another tenant", issuer + `roles: {reader: [{tenant: acme, actions: [READ]}]}
routes: [{path: /a, require: {tenant: acme, action: READ}, upstream: app}, {path: /b, require: {tenant: other, action: READ}, upstream: app}]`,
			`gate.yaml:5:96: routes[1].require: cannot be met: no role, client, user or trusted issuer has READ on that ` +
				`tenant; add it to a role, or require another action`,
		},
		{
			"a global action that only one tenant's entry has",
			issuer + `roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: /a, require: {tenant: acme, action: READ}, upstream: app}, {path: /b, require: {global: true, action: READ}, upstream: app}]`,
			`gate.yaml:5:96: routes[1].require: cannot be met: no role, client, user or trusted issuer has READ on that ` +
				`tenant; add it to a role, or require another action`,
		},
		{
			"an entry that decides first and holds nothing",
			issuer + `roles: {reader: [{tenant: acme, actions: []}, {tenant: "*", actions: [READ]}]}
routes: [{path: /a, require: {tenant: acme, action: READ}, upstream: app}, {path: /b, require: {tenant: other, action: READ}, upstream: app}]`,
			`gate.yaml:5:30: routes[0].require: cannot be met: no role, client, user or trusted issuer has READ on that ` +
				`tenant; add it to a role, or require another action`,
		},
		{
			"an action that only a client grants freely",
			`issuer: {url: http://gate, keys: [{file: k.pem, create: true}], clients: [{id: web, may: [create_access_tokens], delegate: [{tenant: "*", actions: [WRITE]}]}]}
routes: [{path: /a, require: {tenant: acme, action: WRITE}, upstream: app}]`, ``,
		},
		{"no route asks for an action", issuer + `roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: /me, require: authenticated, upstream: app}]`, ``},
		{
			"a delegate with a word that no role has", `issuer:
  url: http://gate
  keys: [{file: k.pem, create: true}]
  clients: [{id: web, may: [issue_codes], delegate: [{tenant: acme, actions: [READ, RAED]}, {tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: "/{t}/", require: {tenant_from: path.t, action: READ}, upstream: app}]`,
			`gate.yaml:6:54: issuer.clients[0].delegate[0]: grants RAED, which no role has on that tenant; add it to a role, ` +
				`or remove it: a client should grant no more than is used`,
		},
		{
			"a word that a client grants freely, and no route asks for", `issuer:
  url: http://gate
  keys: [{file: k.pem, create: true}]
  clients: [{id: web, may: [create_access_tokens], delegate: [{tenant: acme, actions: [READ, WRITE, RAED]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: "/{t}/", require: {tenant_from: path.t, action: READ}, upstream: app}, {path: "/{t}/w", require: {tenant_from: path.t, action: WRITE}, upstream: "http://127.0.0.1:3999"}]`,
			`gate.yaml:6:63: issuer.clients[0].delegate[0]: grants RAED, which no role has on that tenant and no route ` +
				`requires; correct the spelling, or remove it: a client should grant no more than is used`,
		},
		{
			"a guarded route inside a looser one", `issuer: {url: "http://gate", keys: [{file: k.pem, create: true}]}
routes:
  - {path: /, public: true, upstream: app}
  - {path: /admin/, require: authenticated, upstream: app}
  - {path: /admin/health, public: true, upstream: app}
  - {path: /other/, require: authenticated, upstream: "http://127.0.0.1:3999"}
`,
			`gate.yaml:6:5: routes[1]: asks for more than routes[0] ("/"), which takes the same path in another spelling to ` +
				`the same upstream; let the app compare paths exactly, or let the looser route ask for as much; with another ` +
				`letter case or last slash a path is refused as ambiguous`,
		},
		{"two clients by the defaults", issuers("may: [issue_codes]", "may: [issue_codes]"), ``},
		{"room for what may be issued", issuers("may: [issue_codes], code_ttl: 2s", "may: [exchange], code_ttl: 10m") +
			"replay: {capacity: 20}\nlimits: {issue_rate: 10}", ``},
		{
			"no room for the rate", issuers("may: [issue_codes]", "may: [issue_codes], code_ttl: 10s", "may: [introspect]") +
				"limits: {issue_rate: 10001}",
			`gate.yaml:3:75: issuer.clients[0]: may issue 600060 codes within their lifetime (limits.issue_rate 10001 × ` +
				`code_ttl 1m0s), but its share of replay.capacity is 524288: when that is full, unused codes are refused; raise ` +
				`replay.capacity to 1200120, or lower limits.issue_rate or code_ttl`,
		},
		{
			"no room for the life", issuers("may: [issue_codes], code_ttl: 10m"),
			`gate.yaml:3:75: issuer.clients[0]: may issue 6000000 codes within their lifetime (limits.issue_rate 10000 × ` +
				`code_ttl 10m0s), but its share of replay.capacity is 1048576: when that is full, unused codes are refused; ` +
				`raise replay.capacity to 6000000, or lower limits.issue_rate or code_ttl`,
		},
		{
			"a small memory", issuers("may: [issue_codes], code_ttl: 1s") + "replay: {capacity: 1000}",
			`gate.yaml:3:75: issuer.clients[0]: may issue 10000 codes within their lifetime (limits.issue_rate 10000 × ` +
				`code_ttl 1s), but its share of replay.capacity is 1000: when that is full, unused codes are refused; raise ` +
				`replay.capacity to 10000, or lower limits.issue_rate or code_ttl`,
		},
		{
			"no memory is large enough", issuers("may: [issue_codes], code_ttl: 10m") + "limits: {issue_rate: 1000000}",
			`gate.yaml:3:75: issuer.clients[0]: may issue 600000000 codes within their lifetime (limits.issue_rate 1000000 × ` +
				`code_ttl 10m0s), but its share of replay.capacity is 1048576: when that is full, unused codes are refused; ` +
				`lower limits.issue_rate or code_ttl`,
		},
		{
			"a route in shadow", issuer + `roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: "/{t}/", shadow: true, require: {tenant_from: path.t, action: READ}, upstream: app}, {path: /me, shadow: false, require: authenticated, upstream: app}]`,
			`gate.yaml:5:34: routes[0].shadow: forwards every request that this route would refuse for its token, tenant or ` +
				`permission; remove it once the access log shows no unexpected shadow_reason` +
				"\n" + `gate.yaml:5:102: routes[1]: asks for more than routes[0] ("/{t}/"), which takes the same path in another ` +
				`spelling to the same upstream; let the app compare paths exactly, or let the looser route ask for as much; ` +
				`with another letter case or last slash a path is refused as ambiguous`,
		},
		{
			"tenants that differ in case",
			issuer + `roles: {a: [{tenant: acme, actions: [READ]}], b: [{tenant: Acme, actions: [READ]}]}
routes: [{path: /a, require: {tenant: ACME, action: READ}, upstream: app}, {path: /b, require: {tenant: Acme, action: READ}, upstream: app}, {path: /c, require: {tenant: acme, action: READ}, upstream: app}]`,
			`gate.yaml:4:60: roles.b[0].tenant: "Acme" differs from the tenant "acme" only in case; use one spelling if one tenant is meant: tenants are compared byte by byte
gate.yaml:5:30: routes[0].require: cannot be met: no role, client, user or trusted issuer has READ on that tenant; add it to a role, or require another action
gate.yaml:5:39: routes[0].require.tenant: "ACME" differs from the tenant "acme" only in case; use one spelling if one tenant is meant: tenants are compared byte by byte
gate.yaml:5:105: routes[1].require.tenant: "Acme" differs from the tenant "acme" only in case; use one spelling if one tenant is meant: tenants are compared byte by byte`,
		},
		{
			"a tenant with capitals, from a host", issuer + `roles: {a: [{tenant: Acme, actions: [READ]}]}
routes: [{path: /, hosts: ["{t}.example.com"], require: {tenant_from: host.t, action: READ}, upstream: app}]`,
			`gate.yaml:4:22: roles.a[0].tenant: "Acme" has capitals, but a tenant taken from a host is in lower case; write ` +
				`it in lower case, or take the tenant from another part of the request`,
		},
		{
			"hosts that differ in case",
			`routes: [{path: /a, hosts: [app.example.com], public: true, upstream: app}, {path: /b, hosts: [App.example.com], ` +
				`public: true, upstream: app}]`,
			`gate.yaml:3:96: routes[1].hosts[0]: "App.example.com" differs from the host "app.example.com" only in case; use ` +
				`one spelling: hosts are compared in lower case`,
		},
		{
			"segments that are parameters elsewhere",
			`routes: [{path: "/users/:id", public: true, upstream: app}, {path: "/a/<int:n>/$x", public: true, upstream: app}]`,
			`gate.yaml:3:17: routes[0].path: the segment ":id" matches only itself; write {id} to match any one segment
gate.yaml:3:68: routes[1].path: the segment "<int:n>" matches only itself; write {n} to match any one segment
gate.yaml:3:68: routes[1].path: the segment "$x" matches only itself; write {x} to match any one segment`,
		},
		{
			"routes that scripts cannot use", issuer + `cors: {origins: ["https://a.example"], headers: [content-type]}
routes: [{path: /a, require: authenticated, upstream: app}, {path: /b, public: true, upstream: app}, {path: /c, cors: off, require: authenticated, upstream: app},
  {path: /d, methods: [GET], public: true, upstream: app, cors: {origins: ["*"], methods: [PUT]}},
  {path: /e, require: {tenant_from: header.X-Tenant, action: READ}, upstream: app, cors: {origins: ["*"]}},
  {path: /f, require: {tenant_from: header.X-Tenant, action: READ}, upstream: app, cors: {origins: ["*"], headers: ["*"]}}]
roles: {reader: [{tenant: acme, actions: [READ]}]}`,
			`gate.yaml:5:17: routes[0].path: scripts cannot use this route: the top level's cors does not let them set Authorization; add authorization to its headers
gate.yaml:6:65: routes[3].cors: scripts cannot use this route: it takes none of the methods of its cors; remove methods: the default is the route's own
gate.yaml:7:90: routes[4].cors: scripts cannot use this route: its cors does not let them set X-Tenant, which names the tenant; add it to its headers`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse("gate.yaml", []byte(lintHead+c.text+"\n"), hermetic)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, Faults(got.Warnings).Error()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
