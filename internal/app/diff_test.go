package app_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/jose"
)

const comparedConfig = `version: 1
trusted_proxies: [10.0.0.0/8]
issuer:
  url: http://shop
  keys: [{file: k.pem, create: true}]
  clients: [{id: web, may: [issue_codes], delegate: [{tenant: "*", actions: [READ]}]}]
roles:
  reader: [{tenant: "{tenant}", actions: [READ]}]
  auditor: [{tenant: acme, actions: [AUDIT]}]
trusted_issuers:
  - {issuer: https://kc.example, keys: [{file: keys.json}], audiences: [api], require_claims: {email_verified: true}, permissions: [{tenant: acme, actions: [AUDIT]}]}
routes:
  - {path: "/t/{tenant}/", methods: [GET], require: {tenant_from: path.tenant, action: READ}, upstream: "http://127.0.0.1:3000"}
  - {path: "/t/{tenant}/", methods: [DELETE], require: {tenant_from: path.tenant, action: DROP}, upstream: "http://127.0.0.1:3000"}
  - {path: /h/, hosts: ["{tenant}.shop.example"], require: {tenant_from: host.tenant, action: READ}, upstream: "http://127.0.0.1:3000"}
  - {path: /q/, require: {tenant_from: query.team, action: READ}, upstream: "http://127.0.0.1:3000"}
  - {path: /x/, require: {tenant_from: header.X-Team, action: READ}, upstream: "http://127.0.0.1:3000"}
  - {path: /audit/, require: {tenant: acme, action: AUDIT}, upstream: "http://127.0.0.1:3000"}
  - {path: /me, require: authenticated, upstream: "http://127.0.0.1:3000"}
  - {path: /public/, public: true, upstream: "http://127.0.0.1:3000"}
`

func compared(t *testing.T, edits ...string) *config.Config {
	t.Helper()
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewKeySet(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(edits...).Replace(comparedConfig)
	if len(edits) > 0 && text == comparedConfig {
		t.Fatalf("%q edit nothing", edits)
	}
	c, err := config.Parse("x.yaml", []byte(text), config.Options{ReadFile: func(path string) ([]byte, error) {
		if strings.HasSuffix(path, "keys.json") {
			return set.JWKS(), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lines writes changes as people read them.
func changed(all []app.Change) (lines []string) {
	for _, c := range all {
		line := "closes "
		if c.Opens {
			line = "opens "
		}
		if c.Setting != "" {
			lines = append(lines, line+c.Setting)
			continue
		}
		line += strings.Join(c.Methods, ",") + " " + c.Route + ": " + c.Holder
		if len(c.Tenants) > 0 {
			line += " on " + strings.Join(c.Tenants, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

func TestDiffShowsWhatAConfigOpensAndCloses(t *testing.T) {
	t.Parallel()
	base := compared(t)
	keys := base.TrustedIssuers[0].Keys // the same ones on both sides
	for _, c := range []struct {
		name           string
		edits          []string
		opened, closed []string
	}{
		{name: "nothing"},
		{name: "another order of routes and names", edits: []string{"{path: /me,", "{name: self, path: /me,"}},
		{
			name:   "a public route",
			edits:  []string{"/me, require: authenticated", "/me, public: true"},
			opened: []string{"opens  /me: without a token"},
		},
		{
			name:   "an optional token",
			edits:  []string{"/me, require: authenticated", "/me, require: optional"},
			opened: []string{"opens  /me: without a token"},
		},
		{
			name:  "an action that is asked for no more",
			edits: []string{"require: {tenant: acme, action: AUDIT}", "require: authenticated"},
			opened: []string{
				"opens  /audit/: with any accepted token",
			},
		},
		{
			name:  "another action",
			edits: []string{"action: DROP", "action: READ"},
			opened: []string{
				"opens DELETE /t/{tenant}/: role reader of a tenant on its own tenant",
				"opens DELETE /t/{tenant}/: what client web grants, at most",
			},
		},
		{
			name:   "a wider role",
			edits:  []string{"{tenant: acme, actions: [AUDIT]}]\ntrusted", "{tenant: acme, actions: [AUDIT, DROP]}]\ntrusted"},
			opened: []string{"opens DELETE /t/{tenant}/: role auditor on acme"},
		},
		{
			name: "a new route in a tree",
			edits: []string{
				"  - {path: /me,",
				"  - {path: \"/t/{tenant}/help/\", public: true, upstream: \"http://127.0.0.1:3000\"}\n  - {path: /me,",
			},
			opened: []string{
				"opens  /t/{tenant}/help/: without a token",
			},
		},
		{
			name: "another place of the tenant",
			edits: []string{
				"hosts: [\"{tenant}.shop.example\"], require: {tenant_from: host.tenant",
				"hosts: [\"{tenant}.shop.example\"], require: {tenant_from: header.X-Team",
			},
			opened: []string{"opens  {tenant}.shop.example/h/: role reader of a tenant on its own tenant"},
			closed: []string{
				"closes  {tenant}.shop.example/h/: role reader of a tenant on its own tenant",
				"closes  {tenant}.shop.example/h/: what client web grants, at most", // without the header
			},
		},
		{
			name: "a new client, and a user",
			edits: []string{
				"roles:\n",
				"    - {id: ops, permissions: [{tenant: \"*\", actions: [DROP]}]}\n  users: [{id: " +
					"6ba7b810-9dad-11d1-80b4-00c04fd430c8, role: auditor}]\nroles:\n",
				"clients: [{id: web, may: [issue_codes], delegate: [{tenant: \"*\", actions: [READ]}]}]",
				"clients:\n    - {id: web, may: [issue_codes], delegate: [{tenant: \"*\", actions: [READ]}]}",
			},
			opened: []string{
				"opens  /audit/: user 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
				"opens  /me: client ops",
				"opens  /me: user 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
				"opens DELETE /t/{tenant}/: client ops",
			},
		},
		{
			name: "settings that no request shows",
			edits: []string{
				"[10.0.0.0/8]", "[10.0.0.0/8, 192.168.0.0/16]", "audiences: [api], require_claims: {email_verified: true}",
				"audiences: [api, other]",
				"may: [issue_codes]", "may: [issue_codes, exchange]", "/public/, public: true",
				"/public/, public: true, cors: {origins: [\"*\"]}, insecure_allow: [semicolon]",
			},
			opened: []string{
				"opens issuer.clients[web].may: exchange",
				"opens routes[/public/].cors.origins: *",
				"opens routes[/public/].insecure_allow: semicolon",
				"opens trusted_issuers[https://kc.example].audiences: other",
				"opens trusted_issuers[https://kc.example].require_claims, dropped: email_verified true",
				"opens trusted_proxies: 192.168.0.0/16",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fresh := compared(t, c.edits...)
			fresh.TrustedIssuers[0].Keys = keys
			for _, way := range []struct {
				what       string
				old, fresh *config.Config
				want       []string
			}{
				{"there", base, fresh, slices.Concat(c.opened, c.closed)},
				{"back", fresh, base, slices.Concat(opening(c.closed), closing(c.opened))},
			} {
				d, err := app.NewDiff(way.old, way.fresh, time.Now)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				if diff := cmp.Diff(way.want, changed(d.Changes())); diff != "" {
					t.Errorf("%s (-want +got):\n%s", way.what, diff)
				}
			}
		})
	}
}

func opening(closed []string) (opened []string) {
	for _, line := range closed {
		opened = append(opened, "opens"+strings.TrimPrefix(line, "closes"))
	}
	return opened
}

// closing is the way back: what opened closes.
func closing(opened []string) (closed []string) {
	for _, line := range opened {
		closed = append(closed, "closes"+strings.TrimPrefix(line, "opens"))
	}
	return closed
}

func TestDiffOfALog(t *testing.T) {
	t.Parallel()
	d, err := app.NewDiff(compared(t), compared(t, "action: DROP", "action: READ", "/me, require: authenticated",
		"/me, public: true",
		"tenant_from: query.team, action: READ", "tenant_from: query.team, action: AUDIT"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const token = `"issuer":"http://shop","client_id":"web","tenant":"acme","entry":"acme READ,WRITE"`
	report, err := d.Log(strings.NewReader(`{"log":"access","msg":"request","method":"DELETE","host":"a","path":"/t/acme/1","status":403,` + token + `}
{"log":"access","msg":"request","method":"DELETE","host":"a","path":"/t/acme/1","status":403,` + token + `}
{"log":"access","msg":"request","method":"GET","host":"a","path":"/t/acme/1","status":200,` + token + `}
{"log":"access","msg":"request","method":"GET","host":"a","path":"/q/","status":200,` + token + `}
{"log":"access","msg":"request","method":"GET","host":"a","path":"/me","status":401,"reason":"token_missing"}
{"log":"audit","msg":"code_issue"}
` + strings.Repeat("x", 2<<20) + `
no JSON
{"log":"access","msg":"request","method":"GET","host":"a","path":"/me","status":200,"issuer":"http://shop","client_id":"web"}
{"log":"access","msg":"request","status":400,"reason":"request_malformed"}`))
	if err != nil || report.Requests != 7 || report.Unknown != 1 || report.Unreadable != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	want := []app.Change{
		{Opens: true, Route: "a/me", Methods: []string{"GET"}, Holder: "without a token", Count: 1},
		{
			Opens: true, Route: "a/t/acme/1", Methods: []string{"DELETE"}, Holder: "client web", Tenants: []string{"acme"},
			Count: 2,
		},
		{Route: "a/q/", Methods: []string{"GET"}, Holder: "client web", Tenants: []string{"acme"}, Count: 1},
	}
	if diff := cmp.Diff(want, report.Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDiffOfALogTellsWhatItCannotTell: a line does not say what else its token opens, or whether there was one.
func TestDiffOfALogTellsWhatItCannotTell(t *testing.T) {
	t.Parallel()
	const (
		accepted = `"issuer":"http://shop","client_id":"web",`
		read     = accepted + `"tenant":"acme","entry":"acme READ",`
	)
	for _, c := range []struct {
		name  string
		edits []string
		line  string
		want  string // opens, closes, same or unknown
	}{
		{
			"an action that the entry has",
			[]string{
				"action: DROP",
				"action: READ",
			},
			`"method":"DELETE","path":"/t/acme/1","status":403,"reason":"action_denied",` + read,
			"opens",
		},
		{
			"an action that it has not",
			[]string{
				"action: READ}",
				"action: LIST}",
			},
			`"method":"GET","path":"/t/acme/1","status":200,` + read,
			"closes",
		},
		{
			"another action that it has not",
			[]string{
				"action: DROP",
				"action: LIST",
			},
			`"method":"DELETE","path":"/t/acme/1","status":403,"reason":"action_denied",` + read,
			"same",
		},
		{
			"no entry for the tenant",
			[]string{
				"action: DROP",
				"action: LIST",
			},
			`"method":"DELETE","path":"/t/b/1",` +
				`"status":403,"reason":"tenant_denied","tenant":"b",` + accepted,
			"same",
		},
		{
			"another tenant",
			[]string{
				"tenant_from: path.tenant, action: DROP",
				"tenant: zed, action: DROP",
			},
			`"method":"DELETE","path":"/t/acme/1","status":403,"reason":"action_denied",` + read,
			"unknown",
		},
		{
			"an entry for any tenant, and another tenant",
			[]string{
				"tenant_from: path.tenant, action: READ",
				"tenant: zed, action: READ",
			},
			`"method":"GET","path":"/t/acme/1","status":200,"tenant":"acme","entry":"* READ",` + accepted,
			"unknown",
		},
		{
			"an action where none was asked for",
			[]string{
				"/me, require: authenticated",
				"/me, require: {tenant: acme, action: READ}",
			},
			`"method":"GET","path":"/me","status":200,` + accepted,
			"unknown",
		},
		{
			"a token is asked for, and none was looked at",
			[]string{
				"/public/, public: true",
				"/public/, require: authenticated",
			},
			`"method":"GET","path":"/public/x","status":200,`,
			"unknown",
		},
		{
			"no token is asked for any more",
			[]string{
				"/me, require: authenticated",
				"/me, public: true",
			},
			`"method":"GET","path":"/me","status":401,"reason":"token_expired",`,
			"unknown",
		},
		{
			"the same, and there was none",
			[]string{
				"/me, require: authenticated",
				"/me, public: true",
			},
			`"method":"GET","path":"/me","status":401,"reason":"token_missing",`,
			"opens",
		},
		{
			"a token that is refused, on a route that stays",
			[]string{
				"action: DROP",
				"action: READ",
			},
			`"method":"GET","path":"/me","status":401,"reason":"token_expired",`,
			"same",
		},
		{
			"an issuer that is not trusted any more",
			[]string{
				"https://kc.example,",
				"https://kd.example,",
			},
			`"method":"GET","path":"/me","status":200,"issuer":"https://kc.example",`,
			"closes",
		},
		{
			"an issuer that opens something else",
			[]string{
				"permissions: [{tenant: acme, actions: [AUDIT]}]",
				"permissions: [{tenant: acme, actions: [DROP]}]",
			},
			`"method":"GET","path":"/audit/1",` +
				`"status":200,"issuer":"https://kc.example","tenant":"acme","entry":"acme AUDIT",`,
			"unknown",
		},
		{
			"scopes",
			[]string{
				"/me, require: authenticated",
				"/me, require: {scopes: [read]}",
			},
			`"method":"GET","path":"/me","status":200,` + accepted,
			"unknown",
		},
		{
			"addresses",
			[]string{
				"/public/, public: true",
				"/public/, public: true, allow_from: [10.0.0.0/8]",
			},
			`"method":"GET","path":"/public/x","status":200,`,
			"unknown",
		},
		{
			"addresses, and another route",
			[]string{
				"/public/, public: true",
				"/public/, public: true, allow_from: [10.0.0.0/8]",
			},
			`"method":"GET","path":"/me","status":200,` + accepted,
			"same",
		},
		{
			"a tenant that is read elsewhere",
			[]string{
				"tenant_from: query.team",
				"tenant_from: header.X-Team",
			},
			`"method":"GET","path":"/q/","status":200,` + read,
			"unknown",
		},
		{
			"a redacted path",
			[]string{
				"/public/, public: true",
				"/public/, require: authenticated",
			},
			`"method":"GET","path":"/public/[redacted]","status":200,`,
			"unknown",
		},
		{
			"a route that is gone",
			[]string{
				"{path: /public/, public: true",
				"{path: /other/, public: true",
			},
			`"method":"GET","path":"/public/x","status":200,`,
			"closes",
		},
		{
			"a terminal's escape",
			[]string{
				"{path: /me,",
				"{path: /mine,",
			},
			`"method":"GET","path":"/me","status":200,"issuer":"http://shop","client_id":"a\u001b[31m",`,
			"closes",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, err := app.NewDiff(compared(t), compared(t, c.edits...), time.Now)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			line := `{"log":"access","msg":"request","host":"a",` + strings.TrimSuffix(c.line, ",") + "}"
			report, err := d.Log(strings.NewReader(line))
			got := "same"
			switch {
			case report.Unknown == 1:
				got = "unknown"
			case len(report.Changes) == 1 && report.Changes[0].Opens:
				got = "opens"
			case len(report.Changes) == 1:
				got = "closes"
			}
			if err != nil || got != c.want || report.Requests != 1 {
				t.Errorf("%s, want %s: %+v, %v", got, c.want, report, err)
			}
			for _, change := range report.Changes {
				if strings.ContainsRune(change.String(), 0x1b) {
					t.Errorf("%q", change.String())
				}
			}
		})
	}
}

// The access log says which entry decided, so that a log can be judged again.
func TestAccessLineHasTheEntryThatDecided(t *testing.T) {
	t.Parallel()
	g := startGate(t, `reader: [{tenant: "{tenant}", actions: [READ]}]`,
		`reader: [{tenant: "{tenant}", actions: [READ, WRITE]}]`)
	if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+g.token("acme")); status != 200 {
		t.Fatalf("status %d", status)
	}
	g.eventually(`"entry":"acme READ,WRITE"`)
}

// The running configuration's word counts: one that denies widening is reloaded when it narrows, and never widens
// itself.
func TestReloadThatDeniesWidening(t *testing.T) {
	t.Parallel()
	deny := []string{"watch: false\n", "watch: false\nreload: {deny_widening: true}\n"}
	g := startGate(t, deny...)
	g.write("/open/, public: true", "/open/, public: true, insecure_allow: [semicolon]")
	err := g.Reload()
	want := "reload.deny_widening: the new configuration opens reload.deny_widening: false; " +
		"routes[/open/].insecure_allow: semicolon; to allow it: jotgate reload --allow-widening"
	if err == nil || err.Error() != want {
		t.Errorf("wider, without the key: %v, want %s", err, want)
	}
	g.write(append(deny, "action: READ}, upstream", "action: WRITE}, upstream")...)
	if err := g.Reload(); err != nil {
		t.Errorf("narrower: %v", err)
	}
	g.write(deny...)
	if err := g.Reload(); err == nil ||
		!strings.Contains(err.Error(), `opens any method of /t/{tenant}/ role reader of a tenant on its own tenant; `) {
		t.Errorf("the way back: %v", err)
	}
	if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+g.token("acme")); status != 403 {
		t.Errorf("status %d, want 403", status)
	}
	for body, want := range map[string]int{
		"": 409, `{"allow_widening":false}`: 409, `{"allow_widening":1}`: 400, `{"wide":true}`: 400,
	} {
		if status, text := g.operate("POST", "/reload", operatorToken, body); status != want {
			t.Errorf("%s: %d %s, want %d", body, status, text, want)
		}
	}
	if status, text := g.operate("POST", "/reload", operatorToken, `{"allow_widening":true}`); status != 204 {
		t.Errorf("allowed: %d %s", status, text)
	}
	for _, want := range []string{
		`jotgate_reload_widenings_total{result="denied"} 4`, `jotgate_reload_widenings_total{result="allowed"} 1`,
	} {
		if metrics := g.scrape(); !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	g.eventually(`"msg":"reload","outcome":"done","by":"operator","widening_allowed":true`)
	if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+g.token("acme")); status != 200 {
		t.Errorf("status %d, want 200", status)
	}
}

// Which audiences open the routes without their own depends on the resources, too, so that less of these can open.
func TestDiffTellsWhatAudiencesOpenOtherRoutes(t *testing.T) {
	t.Parallel()
	const (
		api, mcp = "https://gate.test/api", "https://gate.test/mcp"
		setting  = "issuer.audiences of routes without their own: "
	)
	file := func(audiences string, resources ...string) string {
		all := ""
		for _, r := range resources {
			all += "  - {resource: " + r + "}\n"
		}
		if all != "" {
			all = "resources:\n" + all
		}
		return "version: 1\nlisten: \"127.0.0.1:1\"\nissuer: {url: \"https://gate.test\", audiences: [" + audiences +
			"], keys: [{file: k.pem, create: true}]}\n" + all +
			"routes:\n  - {path: /else, require: authenticated, upstream: \"http://127.0.0.1:3\"}\n" +
			"  - {path: /mcp, require: authenticated, upstream: \"http://127.0.0.1:3\"}\n" +
			"  - {path: /api, require: authenticated, upstream: \"http://127.0.0.1:3\"}\n"
	}
	none := config.Options{ReadFile: func(path string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}}
	parse := func(text string) *config.Config {
		c, err := config.Parse("x.yaml", []byte(text), none)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct{ name, old, fresh, want string }{
		{"the other audience goes", file(api+", "+mcp, mcp), file(mcp, mcp), mcp},
		{"the resource goes", file(api+", "+mcp, mcp), file(api + ", " + mcp), mcp},
		{"the other one becomes a resource", file(api+", "+mcp, mcp), file(api+", "+mcp, mcp, api), mcp},
	} {
		d, err := app.NewDiff(parse(c.old), parse(c.fresh), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		told := func(one app.Change) bool { return one.Opens && one.Setting == setting+c.want }
		if !slices.ContainsFunc(d.Changes(), told) {
			t.Errorf("%s: %+v", c.name, d.Changes())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiffJudgesEachListener: a route that only one listener has is compared there, and where its requests are decided
// otherwise on another one as well, the change says where.
func TestDiffJudgesEachListener(t *testing.T) {
	t.Parallel()
	const listeners = "version: 1\n" +
		"listeners: [{name: a, address: \"127.0.0.1:1\"}, {name: b, address: \"127.0.0.1:2\"}]\n" +
		"issuer: {url: \"http://shop\", keys: [{file: k.pem, create: true}]}\n" +
		"roles: {boss: [{tenant: acme, actions: [READ]}]}\nroutes:\n"
	route := func(more string) string { return "  - {path: /x/, " + more + ", upstream: \"http://127.0.0.1:3\"}\n" }
	onB := func(more string) string {
		return listeners + route("listeners: [b], require: {tenant: acme, "+more+"}")
	}
	none := config.Options{ReadFile: func(path string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}}
	const wide = "  - {path: /, require: authenticated, upstream: \"http://127.0.0.1:3\"}\n"
	for _, c := range []struct {
		name, old, fresh string
		want             []app.Change
	}{
		{"an action", onB("action: WRITE"), onB("action: READ"), []app.Change{
			{Opens: true, Route: "/x/", Holder: "role boss", Listeners: []string{"b"}, Example: "GET https://free.free/x/"},
		}},
		{"public again, beside a route for all", onB("action: WRITE") + wide, onB("action: WRITE") +
			strings.Replace(wide, "require: authenticated", "public: true", 1), []app.Change{
			{Opens: true, Route: "/", Holder: "without a token", Example: "GET https://free.free/"},
		}},
		{"a bad token", listeners + route("require: optional"), listeners + route("public: true"), []app.Change{
			{Opens: true, Setting: "routes[/x/].public or in shadow, for tokens that are not accepted: true"},
		}},
		{
			"a bad token in shadow", listeners + route("require: optional"),
			listeners + route("require: optional, shadow: true"),
			[]app.Change{
				{Opens: true, Setting: "routes[/x/].public or in shadow, for tokens that are not accepted: true"},
			},
		},
	} {
		old, err := config.Parse("x.yaml", []byte(c.old), none)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := config.Parse("x.yaml", []byte(c.fresh), none)
		if err != nil {
			t.Fatal(err)
		}
		for _, back := range []bool{false, true} {
			if back {
				old, fresh = fresh, old
			}
			d, err := app.NewDiff(old, fresh, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(c.want)
			for i := range want {
				want[i].Opens = !back
			}
			if diff := cmp.Diff(want, d.Changes()); diff != "" {
				t.Errorf("%s, back %v (-want +got):\n%s", c.name, back, diff)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
