package app

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

// A generator makes small configurations whose routes overlap each other, and requests that meet them.
type generator struct {
	*rand.Rand
	listeners bool // there are two, which routes may name
}

func (g generator) one(words ...string) string { return words[g.IntN(len(words))] }

func (g generator) path() string {
	path, names := "", []string{"{x}", "{y}", "{z}"}
	for i := range 1 + g.IntN(3) {
		path += "/" + g.one("a", "b", "acme", names[i], names[i])
	}
	return path + g.one("", "/", "/")
}

func (g generator) route(path string) string {
	text := "  - {path: \"" + path + "\", upstream: \"http://127.0.0.1:1\""
	host := g.one("", "", "h.example", "{t}.example")
	if g.listeners {
		text += g.one("", "", ", listeners: [a]", ", listeners: [b]", ", listeners: [a, b]")
	}
	if host != "" {
		text += ", hosts: [\"" + host + "\"]"
	}
	if g.IntN(3) == 0 {
		text += ", methods: [" + g.one("GET", "PUT", "GET, DELETE") + "]"
	}
	if g.IntN(12) == 0 {
		text += ", insecure_allow: [trailing_slash]"
	}
	places := []string{
		"tenant: acme", "tenant: a", "global: true", "tenant_from: header.X-Team", "tenant_from: query.team",
	}
	for _, name := range []string{"x", "y", "z"} {
		if strings.Contains(path, "{"+name+"}") {
			places = append(places, "tenant_from: path."+name, "tenant_from: path."+name)
		}
	}
	if strings.Contains(host, "{") {
		places = append(places, "tenant_from: host.t")
	}
	switch g.IntN(8) {
	case 0:
		return text + ", public: true}\n"
	case 1:
		return text + ", require: optional}\n"
	case 2:
		return text + ", require: authenticated}\n"
	}
	return text + ", require: {" + g.one(places...) + ", action: " + g.one("READ", "WRITE") + g.condition() + "}}\n"
}

// condition is what a route asks of a token beside its permissions.
func (g generator) condition() string {
	return g.one("", "", "", ", scopes: [orders]", ", scopes: [orders, stock]", ", claims: {plan: gold}",
		", claims: {plan: [gold, free]}", `, issuers: ["https://kc.example"]`, `, issuers: ["http://shop"]`)
}

func (g generator) permissions(templated bool) string {
	tenants := []string{"acme", "b", "zed", `"*"`}
	if templated {
		tenants = append(tenants, `"{tenant}"`, `"{tenant}"`)
	}
	g.Shuffle(len(tenants), func(i, j int) { tenants[i], tenants[j] = tenants[j], tenants[i] })
	var all []string
	some := tenants[:1+g.IntN(2)]
	rank := map[string]int{`"{tenant}"`: 1, `"*"`: 2} // the first that matches decides
	slices.SortFunc(some, func(a, b string) int { return cmp.Compare(rank[a], rank[b]) })
	for _, tenant := range slices.Compact(some) {
		all = append(all, "{tenant: "+tenant+", actions: ["+g.one("READ", "WRITE", "READ, WRITE", `"*"`)+"]}")
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (g generator) config() string {
	listeners, pattern := "", ""
	if g.listeners = g.IntN(4) == 0; g.listeners {
		listeners = `listeners: [{name: a, address: "127.0.0.1:1"}, {name: b, address: "127.0.0.1:2"}]` + "\n"
	}
	if g.IntN(4) == 0 {
		pattern = "tenant_pattern: \"" + g.one("[a-z]{1,4}", "[a-z]{1,4}|[A-Z]{3}", "[a-z-]{1,12}") + "\"\n"
	}
	// Routes that conflict are found by themselves: it takes a fraction of the time.
	const first = "routes:\n  - {path: /b/, require: authenticated, upstream: \"http://127.0.0.1:1\"}\n"
	short := listeners + pattern + first
	routes := "version: 1\n" + short
	for range 2 + g.IntN(5) {
		routes = g.with(routes)
	}
	return "version: 1\n" + g.issuing() + g.trusted() + strings.TrimPrefix(routes, "version: 1\n")
}

// issuing are our own tokens: clients, users and roles.
func (g generator) issuing() string {
	text := "issuer:\n  url: http://shop\n  keys: [{file: k.pem, create: true}]\n  audiences: [http://shop/api" +
		g.one("", "", ", web") + "]\n  clients:\n"
	for _, id := range []string{"web", "ops"} {
		text += "    - {id: " + id + ", permissions: " + g.permissions(false) + ", delegate: " + g.permissions(false) + "}\n"
	}
	text += "  users:\n    - {id: 6ba7b810-9dad-11d1-80b4-00c04fd430c8, role: " + g.one("fixed", "other") + "}\n"
	if g.IntN(2) == 0 {
		text += "    - {id: 6ba7b811-9dad-11d1-80b4-00c04fd430c8, permissions: " + g.permissions(false) + "}\n"
	}
	return text + "roles:\n  fixed: " + g.permissions(false) + "\n  other: " + g.permissions(false) +
		"\n  given: " + g.permissions(true) + "\n"
}

// trusted is an issuer of others' tokens, with what it maps.
func (g generator) trusted() string {
	text := "trusted_issuers:\n  - issuer: https://kc.example\n    jwks_url: https://kc.example/keys\n    permissions: " +
		g.permissions(false) + "\n    audiences: [" + g.one("api", "api", "api, web", "web") + "]\n    token_types: [JWT" +
		g.one("", ", at+jwt") + "]\n"
	mapped := g.IntN(3)
	if mapped > 0 {
		text += "    tenants: {from: org" + g.one("", ", map: {o1: acme}", ", map: {o1: acme, o2: b}") + "}\n"
	}
	switch {
	case mapped == 2:
		text += "    actions: {from: scope" +
			g.one("", ", map: {orders: READ}", ", map: {orders: READ, stock: WRITE}") + "}\n"
	case mapped == 1:
		text += "    roles: {from: groups, map: {staff: given" + g.one("", ", boss: fixed") + "}}\n"
	case g.IntN(2) == 0:
		text += "    roles: {from: groups, map: {staff: fixed" + g.one("", ", boss: other") + "}}\n"
	}
	return text + g.one("", "    require_claims: {plan: gold}\n", "    require_claims: {plan: [gold, free]}\n") +
		g.one("", "    kinds: [access, id]\n", "    kinds: [id]\n")
}

// with adds a route, unless it conflicts with another.
func (g generator) with(text string) string {
	g.listeners = strings.Contains(text, "listeners: [{name: a")
	for range 20 {
		longer := text + g.route(g.path())
		if _, err := parse(longer); err == nil {
			return longer
		}
	}
	return text
}

// swaps are changes of one setting, either way.
var swaps = [][2]string{
	{"[READ]", "[READ, WRITE]"},
	{"tenant: zed", "tenant: b"},
	{"action: READ", "action: WRITE"},
	{"require: authenticated", "public: true"},
	{"require: optional", "require: authenticated"},
	{"[api]", "[api, web]"},
	{"[web]", "[api, web]"},
	{"[http://shop/api]", "[http://shop/api, web]"},
	{"[JWT]", "[JWT, at+jwt]"},
	{"{from: org}", "{from: org, map: {o1: acme}}"},
	{"{o1: acme}", "{o1: acme, o2: b}"},
	{"{o1: acme}", "{o1: b}"},
	{"{from: scope}", "{from: scope, map: {orders: READ}}"},
	{"{orders: READ}", "{orders: READ, stock: WRITE}"},
	{"{orders: READ}", "{orders: WRITE}"},
	{"{staff: given}", "{staff: given, boss: fixed}"},
	{"{staff: fixed}", "{staff: fixed, boss: other}"},
	{"{plan: gold}", "{plan: [gold, free]}"},
	{"    require_claims: {plan: gold}\n", ""},
	{", claims: {plan: gold}", ""},
	{", scopes: [orders]", ""},
	{"scopes: [orders]", "scopes: [orders, stock]"},
	{`, issuers: ["https://kc.example"]`, ""},
	{`["https://kc.example"]`, `["http://shop"]`},
	{"    kinds: [id]\n", "    kinds: [access, id]\n"},
	{"    kinds: [access, id]\n", ""},
	{", listeners: [a]", ", listeners: [a, b]"},
	{", listeners: [b]", ", listeners: [a]"},
	{", listeners: [b]", ""},
	{"role: fixed", "role: other"},
	{", methods: [GET]", ", methods: [GET, DELETE]"},
	{", methods: [PUT]", ""},
	{"tenant_from: header.X-Team", "tenant_from: query.team"},
	{"tenant_from: path.x", "tenant: acme"},
	{"{id: web,", "{id: www,"},
	{"tenant_pattern: \"[a-z]{1,4}\"\n", ""},
	{", insecure_allow: [trailing_slash]", ""},
}

// edited changes one thing: most changes of people are small.
func (g generator) edited(text string) string {
	lines := strings.SplitAfter(text, "\n")
	first := slices.Index(lines, "routes:\n") + 1
	for range 20 {
		edited := text
		switch i := first + g.IntN(max(1, len(lines)-first-1)); g.IntN(8) {
		case 0:
			return g.with(text)
		case 1:
			if len(lines)-first > 3 {
				edited = strings.Join(slices.Concat(lines[:i], lines[i+1:]), "")
			}
		default:
			edited = g.swapped(text)
		}
		if _, err := parse(edited); err == nil && edited != text {
			return edited
		}
	}
	return g.with(text)
}

// swapped changes one place.
func (g generator) swapped(text string) string {
	swap := swaps[g.IntN(len(swaps))]
	from, to := swap[0], swap[1]
	if g.IntN(2) == 0 && to != "" {
		from, to = to, from
	}
	n := strings.Count(text, from)
	if n == 0 {
		return text
	}
	at := 0
	for range g.IntN(n) + 1 {
		at += strings.Index(text[at:], from) + 1
	}
	return text[:at-1] + to + text[at-1+len(from):]
}

// claims are those of a token of either issuer, right and wrong in all that a configuration looks at.
func (g generator) claims() string {
	entry := `{"tenant":"` + g.one("acme", "b", "zed", "*") + `","allowedActions":["` +
		g.one("READ", `READ","WRITE`, "*") + `"]}`
	if g.IntN(3) == 0 {
		return `{"aud":"` + g.one("http://shop/api", "http://shop/api", "web", "http://shop") + `","sub":"` +
			g.one("u", "web", "ops") + `","grantor":"` +
			g.one("web", "ops", "www", "6ba7b810-9dad-11d1-80b4-00c04fd430c8") + `"` +
			g.one("", `,"plan":"gold"`, `,"scope":"orders"`) + `,"tenantPermissions":[` + entry + `]}`
	}
	return `{"iss":"https://kc.example","aud":"` + g.one("api", "api", "web") + `","sub":"u"` +
		g.one("", `,"plan":"gold"`, `,"plan":"free"`) + g.one(`,"org":"o1"`, `,"org":"acme"`, `,"org":["b","o2"]`, "") +
		g.one(`,"scope":"orders"`, `,"scope":"orders stock READ"`, `,"scope":"READ WRITE"`, "") +
		g.one(`,"groups":["staff"]`, `,"groups":["boss"]`, "") + g.one("", `,"nonce":"n"`, `,"typ":"Bearer"`) + `}`
}

func (g generator) request(methods []string) *probe {
	word := func() string { return g.one("a", "b", "acme", "acme", "zed", "other", "abc", "some-one", "ABC") }
	p := &probe{method: methods[g.IntN(len(methods))], header: http.Header{"X-Team": {word()}}}
	p.url = "https://" + g.one("h.example", "acme.example", "zed.example", "elsewhere.test")
	for range 1 + g.IntN(4) {
		p.url += "/" + word()
	}
	p.url += g.one("", "/") + "?team=" + word()
	return p
}
