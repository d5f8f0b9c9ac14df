package config_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
)

// A fuzzedEntry is an entry of trusted_issuers with the tenants that a token names by it, read independently; nil where
// the entry leaves that open.
type fuzzedEntry struct {
	lines []string
	named func(claims map[string]any) []string
}

// wordsIn lists the words of a claim: a string's, a list's strings, an object's keys.
func wordsIn(v any, split string) (words []string) {
	switch v := v.(type) {
	case string:
		if split == "" {
			return []string{v}
		}
		return strings.Split(v, split)
	case []any:
		for _, e := range v {
			if text, isText := e.(string); isText {
				words = append(words, text)
			}
		}
	case map[string]any:
		for name := range v {
			words = append(words, name)
		}
	}
	return words
}

// grantedIn lists the tenants that roles are given for: the keys of the objects below an object, or a list of such.
func grantedIn(v any) (tenants []string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if _, isObject := e.(map[string]any); isObject {
				tenants = append(tenants, grantedIn(e)...)
			}
		}
	case map[string]any:
		for _, below := range v {
			if _, isObject := below.(map[string]any); isObject {
				tenants = append(tenants, wordsIn(below, "")...)
			}
		}
	}
	return tenants
}

func renamed(words []string, names map[string]string) (tenants []string) {
	for _, w := range words {
		if ours := names[w]; ours != "" {
			tenants = append(tenants, ours)
		}
	}
	return tenants
}

var fuzzedEntries = []fuzzedEntry{
	{
		[]string{
			plainIssuer, `tenants: {from: org, global: true, map: {o1: acme, o2: globex, "*": initech}}`,
			"roles: [{from: realm.roles, map: {a: reader, b: any, c: acme}}, {from: granted, keys: true, tenants: keys, map: " +
				"{a: editor}}]",
			"actions: {from: scope}",
		},
		func(claims map[string]any) []string {
			return renamed(wordsIn(claims["org"], ""), map[string]string{"o1": "acme", "o2": "globex"})
		},
	},
	{
		[]string{
			plainIssuer, `tenants: {from: a.b, split: ","}`, "roles: {from: [a, c.d], keys: true, map: {x: any, y: editor}}",
			`actions: {from: scp, map: {r: READ, "*": WRITE, all: [READ, WRITE, DELETE]}}`,
		},
		func(claims map[string]any) []string {
			a, _ := claims["a"].(map[string]any)
			return wordsIn(a["b"], ",")
		},
	},
	{
		[]string{plainIssuer, "roles: {from: granted, keys: true, tenants: keys, map: {a: editor, b: any}}"},
		func(claims map[string]any) []string { return grantedIn(claims["granted"]) },
	},
	{
		[]string{plainIssuer, "tenants: {from: org}"},
		func(claims map[string]any) []string { return wordsIn(claims["org"], "") },
	},
	{
		[]string{
			`issuer_pattern: "https://login.example.com/{tid}/v2"`, "issuer_values: {tid: [t1]}", plainKeys,
			"tenants: {from: tid, map: {t1: acme, t2: globex}}", "actions: {from: scope}",
		},
		func(map[string]any) []string { return []string{"acme"} },
	},
	{[]string{plainIssuer}, nil},
}

// FuzzMapping: whatever a token's claims hold, it opens no more than the ceiling, and no tenant that it does not name.
func FuzzMapping(f *testing.F) {
	var all []*config.Config
	for _, e := range fuzzedEntries {
		c, err := parse(strings.Replace(entry(e.lines...), `permissions: [{tenant: "*", actions: ["*"]}]`,
			`permissions: [{tenant: globex, actions: [READ]}, {tenant: initech, actions: []}, `+
				`{tenant: "*", actions: [READ, WRITE]}]`, 1))
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, c)
	}
	for _, seed := range []struct {
		entry        uint8
		claims, want string // want is what it opens, so that no seed is refused unseen
	}{
		{0, `{"org":"o1","realm":{"roles":["a"]}}`, "acme:READ"},
		{0, `{"org":["o1","o2","*"],"scope":"READ * DELETE"}`, "acme:READ globex:READ"},
		{0, `{"org":{"o1":{},"acme":1},"realm":{"roles":"b"}}`, "*:READ acme:READ"},
		{0, `{"granted":{"a":{"o2":1,"*":1}},"org":"o2"}`, "globex:READ"},
		{0, `{"org":null,"scope":["READ"],"tenantPermissions":[{"tenant":"*","allowedActions":["*"]}]}`, ""},
		{1, `{"a":{"b":"acme,globex","c.d":{"x":null,"y":[]}}}`, "acme:READ,WRITE globex:READ"},
		{1, `{"a":{"b":["acme","*",7,"a/b"]},"scp":["all","*"]}`, "acme:READ,WRITE"},
		{1, `{"a":{"b":{"initech":1}},"scp":"r all"}`, ""},
		{2, `{"granted":{"a":{"acme":"d","*":1},"b":{"globex":1}}}`, "acme:READ,WRITE globex:READ"},
		{2, `{"granted":[{"a":{"acme":1}},{"a":{"globex":1}},"b"]}`, "acme:READ,WRITE globex:READ"},
		{3, `{"org":"acme","tenantPermissions":[{"tenant":"{tenant}","allowedActions":["READ"]}]}`, ""},
		{3, `{"org":"acme","tenantPermissions":[{"tenant":"*","allowedActions":["*"]}]}`, "acme:READ,WRITE"},
		{4, `{"scope":"READ"}`, "acme:READ"},
		{4, `{"tid":null,"scope":["WRITE","*"]}`, "acme:WRITE"},
		{5, `{"tenantPermissions":[{"tenant":"globex","allowedActions":["*"]},{"tenant":"\u0000global","allowedActions":["X"]}]}`, "globex:READ"},
	} {
		v := saidBy(f, all[seed.entry], seed.claims)
		if v == nil {
			f.Fatalf("%s is refused", seed.claims)
		}
		p, err := all[seed.entry].TrustedIssuers[0].Opens(v)
		if have := spell(p); err != nil || have != seed.want {
			f.Errorf("entry %d, %s opens %q, %v; want %q", seed.entry, seed.claims, have, err, seed.want)
		}
		f.Add(seed.entry, seed.claims)
	}
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		e, c := fuzzedEntries[int(n)%len(all)], all[int(n)%len(all)]
		v := saidBy(t, c, text)
		if v == nil {
			return
		}
		p, err := c.TrustedIssuers[0].Opens(v)
		if err != nil {
			return
		}
		tenants, actions := []string{"acme", "globex", "initech", "other", token.Global}, []string{"READ", "WRITE", "DELETE"}
		for _, entry := range p {
			tenants, actions = append(tenants, entry.Tenant), append(actions, entry.AllowedActions...)
		}
		var named []string
		if e.named != nil {
			claims := map[string]any{}
			d := json.NewDecoder(strings.NewReader(strings.TrimSpace(text)))
			d.UseNumber() // of any size
			if err := d.Decode(&claims); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			named = e.named(claims)
		}
		global := c.TrustedIssuers[0].Mapping.Tenants == nil || c.TrustedIssuers[0].Mapping.Tenants.Global
		for _, tenant := range tenants {
			for _, action := range actions {
				switch {
				case !p.Allows(tenant, action):
				case !c.TrustedIssuers[0].Permissions.Allows(tenant, action):
					t.Fatalf("%s opens %v: %s on %q is over the ceiling", text, p, action, tenant)
				case tenant == token.Global && global, e.named == nil:
				case !slices.Contains(named, tenant):
					t.Fatalf("%s opens %v: it does not name %q", text, p, tenant)
				}
			}
		}
	})
}
