package token

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var plainTenant = regexp.MustCompile(`\A(?:[A-Za-z0-9._~-]{1,64})\z`)

func roleOf(entries ...TenantPermission) Permissions { return entries }

func on(tenant string, actions ...string) TenantPermission {
	return TenantPermission{Tenant: tenant, AllowedActions: append([]string{}, actions...)}
}

func wordsOf(texts ...string) []Word {
	var list []Word
	for _, text := range texts {
		list = append(list, Word{Text: text})
	}
	return list
}

// TestMapping holds each sentence on what a token's words open to its outcome.
func TestMapping(t *testing.T) {
	t.Parallel()
	all := roleOf(on(Any, Any))
	roles := map[string]Permissions{
		"reader": roleOf(on(Placeholder, "READ")),
		"writer": roleOf(on(Placeholder, "WRITE")),
		"any":    roleOf(on(Any, "READ")),
		"fixed":  roleOf(on("globex", "READ")),
		"shut":   roleOf(on("acme"), on(Any, "READ")),
		"acme":   roleOf(on("acme", "WRITE")),
		"ops":    roleOf(on(Placeholder, "READ"), on(Any, "CREATE")),
	}
	own := &TenantRule{Words: 0}
	tenanted := Mapping{Tenants: own, Sources: []Source{{Words: 1, Roles: roles}}, Ceiling: all, Pattern: plainTenant}
	with := func(change func(*Mapping)) Mapping {
		m := tenanted
		change(&m)
		return m
	}
	renamed := with(func(m *Mapping) { m.Rename = map[string]string{"org_1": "acme"} })
	global := with(func(m *Mapping) { m.Tenants = &TenantRule{Global: true} })
	free := with(func(m *Mapping) { m.Tenants = nil })
	actions := with(func(m *Mapping) {
		m.Sources = []Source{{Words: 1, Actions: map[string][]string{
			"orders:read": {"READ"},
			"orders:all":  {"READ", "WRITE"},
		}}}
	})
	asTheyAre := with(func(m *Mapping) { m.Sources = []Source{{Words: 1}} })
	both := with(func(m *Mapping) { m.Sources = []Source{{Words: 1, Roles: roles}, {Words: 2}} })
	perTenant := with(func(m *Mapping) { m.Tenants, m.Sources = nil, []Source{{Words: 1, Roles: roles, PerTenant: true}} })
	said := with(func(m *Mapping) { m.Sources = nil })
	none := []Word(nil)
	for _, c := range []struct {
		name  string
		m     Mapping
		words [][]Word
		said  Permissions
		want  Permissions
	}{
		{
			"a role is filled for the token's tenant", tenanted,
			[][]Word{wordsOf("acme"), wordsOf("reader")},
			nil,
			roleOf(on("acme", "READ")),
		},
		{
			"… for each of them", tenanted,
			[][]Word{wordsOf("acme", "globex"), wordsOf("reader")},
			nil,
			roleOf(on("acme", "READ"), on("globex", "READ")),
		},
		{"… once", tenanted, [][]Word{wordsOf("acme", "acme"), wordsOf("reader", "reader")}, nil, roleOf(on("acme", "READ"))},
		{"without tenants nothing", tenanted, [][]Word{none, wordsOf("reader", "any", "fixed")}, nil, nil},
		{"a role that is not mapped", tenanted, [][]Word{wordsOf("acme"), wordsOf("admin")}, nil, nil},
		{"the word * is no tenant", tenanted, [][]Word{wordsOf("*"), wordsOf("reader", "any")}, nil, nil},
		{
			"… nor the placeholder, nor a path's dots", tenanted,
			[][]Word{wordsOf("{tenant}", ".", "..", Global), wordsOf("reader")},
			nil, nil,
		},
		{
			"what does not match tenant_pattern does not count", tenanted,
			[][]Word{wordsOf("a/b", "acme"), wordsOf("reader")},
			nil, roleOf(on("acme", "READ")),
		},
		{
			"what is not in map does not count", renamed,
			[][]Word{wordsOf("org_1", "acme", "org_2"), wordsOf("reader")},
			nil,
			roleOf(on("acme", "READ")),
		},
		{
			"the word * does not count, whatever it is mapped to",
			with(func(m *Mapping) { m.Rename = map[string]string{Any: "acme", "org_1": "globex"} }),
			[][]Word{wordsOf(Any, "org_1"), wordsOf("reader")},
			nil,
			roleOf(on("globex", "READ")),
		},
		{
			"* in a role means each of the tenants", tenanted,
			[][]Word{wordsOf("acme"), wordsOf("any")},
			nil,
			roleOf(on("acme", "READ")),
		},
		{"a fixed tenant outside them does not count", tenanted, [][]Word{wordsOf("acme"), wordsOf("fixed")}, nil, nil},
		{"… inside them it does", tenanted, [][]Word{wordsOf("globex"), wordsOf("fixed")}, nil, roleOf(on("globex", "READ"))},
		{"global needs the word", tenanted, [][]Word{wordsOf("acme"), wordsOf("ops")}, nil, roleOf(on("acme", "READ"))},
		{"… and opens no tenant by itself", global, [][]Word{none, wordsOf("ops")}, nil, roleOf(on(Global, "CREATE"))},
		{
			"… beside the tenant", global,
			[][]Word{wordsOf("acme"), wordsOf("ops")},
			nil,
			roleOf(on(Global, "CREATE"), on("acme", "READ")),
		},
		{
			"two roles add up", tenanted,
			[][]Word{wordsOf("acme"), wordsOf("reader", "writer")},
			nil,
			roleOf(on("acme", "READ", "WRITE"), on(Any)),
		},
		{
			"a role that shuts a tenant out", tenanted,
			[][]Word{wordsOf("acme", "globex"), wordsOf("shut")},
			nil,
			roleOf(on("acme"), on("globex", "READ")),
		},
		{"one source alone is never changed", free, [][]Word{none, wordsOf("shut")}, nil, roles["shut"]},
		{
			"… two are merged for each tenant and *", free,
			[][]Word{none, wordsOf("shut", "acme")},
			nil,
			roleOf(on("acme", "WRITE"), on(Any, "READ")),
		},
		{
			"actions for each tenant", actions,
			[][]Word{wordsOf("acme", "globex"), wordsOf("orders:read", "x")},
			nil,
			roleOf(on("acme", "READ"), on("globex", "READ")),
		},
		{
			"a word may mean several", actions,
			[][]Word{wordsOf("acme"), wordsOf("orders:all", "orders:read")},
			nil,
			roleOf(on("acme", "READ", "WRITE")),
		},
		{
			"without map the words as they are", asTheyAre,
			[][]Word{wordsOf("acme"), wordsOf("READ", "x")},
			nil,
			roleOf(on("acme", "READ", "x")),
		},
		{
			"the word * is no action", asTheyAre,
			[][]Word{wordsOf("acme"), wordsOf("*", "READ")},
			nil,
			roleOf(on("acme", "READ")),
		},
		{"a word that no header can hold", asTheyAre, [][]Word{wordsOf("acme"), wordsOf("a\nb")}, nil, nil},
		{
			"roles and actions add up", both,
			[][]Word{wordsOf("acme"), wordsOf("reader"), wordsOf("DELETE")},
			nil,
			roleOf(on("acme", "READ", "DELETE")),
		},
		{
			"roles for their own tenants alone", perTenant,
			[][]Word{none, {{"reader", []string{"acme"}}, {"writer", []string{"globex", "*"}}}},
			nil,
			roleOf(on("acme", "READ"), on("globex", "WRITE"), on(Any)),
		},
		{"… a * role means those", perTenant, [][]Word{none, {{"any", []string{"acme"}}}}, nil, roleOf(on("acme", "READ"))},
		{
			"tenantPermissions, for the token's tenants alone", said,
			[][]Word{wordsOf("acme"), none},
			roleOf(on("acme", "READ"), on("globex", "READ"), on(Any, "X")), roleOf(on("acme", "READ")),
		},
		{
			"… where {tenant} is no tenant", said,
			[][]Word{wordsOf("acme"), none},
			roleOf(on(Placeholder, "READ")), nil,
		},
		{
			"cut to the ceiling", with(func(m *Mapping) { m.Ceiling = roleOf(on("acme", "READ")) }),
			[][]Word{wordsOf("acme", "globex"), wordsOf("reader", "writer")},
			nil,
			roleOf(on("acme", "READ"), on("globex")),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			have, err := c.m.Opens(c.words, c.said)
			if err != nil {
				t.Fatal(err)
			}
			if c.m.Tenants != nil { // an entry that allows nothing, last, says nothing
				c.want = slices.DeleteFunc(slices.Clone(c.want), func(e TenantPermission) bool { return e.Tenant == Any })
			}
			if len(have)+len(c.want) > 0 {
				if diff := cmp.Diff(c.want, have); diff != "" {
					t.Errorf("(-want +have)\n%s", diff)
				}
			}
		})
	}
}

func TestTooManyTenants(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range MostTenants + 1 {
		names = append(names, fmt.Sprint("t", i))
	}
	role := map[string]Permissions{"r": roleOf(on(Placeholder, "READ"))}
	m := Mapping{
		Tenants: &TenantRule{}, Sources: []Source{{Words: 1, Roles: role}}, Ceiling: roleOf(on(Any, Any)),
		Pattern: plainTenant,
	}
	each := Mapping{Sources: []Source{{Words: 1, Roles: role, PerTenant: true}}, Ceiling: m.Ceiling}
	for _, n := range []int{MostTenants, MostTenants + 1} {
		_, err := m.Opens([][]Word{wordsOf(append([]string{"*", "a/b"}, names[:n]...)...), wordsOf("r")}, nil)
		_, errEach := each.Opens([][]Word{nil, {{"r", names[:n]}}}, nil)
		for _, err := range []error{err, errEach} {
			var many *TooManyTenants
			if errors.As(err, &many) != (n > MostTenants) {
				t.Errorf("%d tenants: %v", n, err)
			}
		}
	}
}

// anyMapping draws an entry, and what a token holds: words that are tenants, roles of several sources, roles that are
// given per tenant, actions with and without a map, and tenantPermissions.
func anyMapping(t *rapid.T) (m Mapping, words [][]Word, said Permissions) {
	names := []string{"acme", "globex", "a/b", "", ".", Any, Placeholder, Global, "o1", "o2"}
	entries := func(label string, tenants ...string) (p Permissions) {
		for i := range rapid.IntRange(0, 3).Draw(t, label+" entries") {
			tenant := rapid.SampledFrom(tenants).Draw(t, fmt.Sprint(label, " tenant ", i))
			actions := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"READ", "WRITE", Any}), rapid.ID[string])
			p = append(p, on(tenant, actions.Draw(t, fmt.Sprint(label, " actions ", i))...))
		}
		return p
	}
	m.Ceiling = entries("ceiling", "acme", "globex", Any)
	if rapid.Bool().Draw(t, "has a pattern") {
		m.Pattern = plainTenant
	}
	if rapid.Bool().Draw(t, "has tenants") {
		m.Tenants = &TenantRule{Global: rapid.Bool().Draw(t, "global")}
		if rapid.Bool().Draw(t, "renames") {
			m.Rename = map[string]string{"o1": "acme", "o2": "globex", Any: "initech"}
		}
	}
	drawn := func(label string, from ...string) []string {
		return rapid.SliceOf(rapid.SampledFrom(from)).Draw(t, label)
	}
	words = append(words, wordsOf(drawn("tenants", names...)...))
	for n := range rapid.IntRange(0, 3).Draw(t, "sources of roles") {
		label := fmt.Sprint("source ", n)
		s := Source{Words: len(words), Roles: map[string]Permissions{}}
		s.PerTenant = rapid.Bool().Draw(t, label+" per tenant")
		var list []Word
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"r1", "r2", "r3"}), rapid.ID[string]).Draw(t,
			label+" words") {
			w := Word{Text: name}
			if s.PerTenant {
				w.Tenants = drawn(label+" tenants of "+name, names...)
			}
			list = append(list, w)
		}
		tenants := []string{"acme", "globex", Any}
		if m.Tenants != nil || s.PerTenant { // a template needs a tenant
			tenants = append(tenants, Placeholder)
		}
		for _, name := range []string{"r1", "r2"} { // r3 is not mapped
			s.Roles[name] = entries(label+" "+name, tenants...)
		}
		m.Sources, words = append(m.Sources, s), append(words, list)
	}
	if m.Tenants != nil && rapid.Bool().Draw(t, "has actions") {
		s := Source{Words: len(words)}
		if rapid.Bool().Draw(t, "maps actions") {
			s.Actions = map[string][]string{"x": {"READ", "WRITE"}, "READ": {"DELETE"}, Any: {"WRITE"}}
		}
		m.Sources = append(m.Sources, s)
		words = append(words, wordsOf(drawn("actions", "READ", "WRITE", "x", "a\nb", Any)...))
	}
	return m, words, entries("tenantPermissions", "acme", "globex", Any, Placeholder)
}

// TestMergedAllowsWhatSomeSourceAllows compares with a model that never merges: a question is allowed if and only if
// some source alone allows it, by its first entry that matches, and the ceiling does, and it is about a tenant of the
// token's own where there is a rule for these.
func TestMergedAllowsWhatSomeSourceAllows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, words, said := anyMapping(t)
		opens, err := m.Opens(words, said)
		if err != nil {
			t.Fatal(err)
		}
		for _, tenant := range []string{"acme", "globex", "initech", "o1", Global} {
			for _, action := range []string{"READ", "WRITE", "DELETE", "x", Any} {
				have, want := opens.Allows(tenant, action), modelAllows(&m, words, said, tenant, action)
				if have != want {
					t.Fatalf("%+v with %v and %v opens %v: %q %s: %v, want %v", m, words, said, opens, tenant, action, have, want)
				}
			}
		}
	})
}

// modelAllows is the rule, said one question at a time.
func modelAllows(m *Mapping, words [][]Word, said Permissions, tenant, action string) bool {
	if !m.Ceiling.Allows(tenant, action) {
		return false
	}
	means := func(word string) bool { // reports whether the issuer's word names this tenant
		switch word {
		case Any, Placeholder, Global, "", ".", "..":
			return false
		}
		if m.Rename != nil {
			ours, known := m.Rename[word]
			return known && ours == tenant
		}
		return word == tenant && (m.Pattern == nil || m.Pattern.MatchString(word))
	}
	own := slices.ContainsFunc(words[0], func(w Word) bool { return means(w.Text) })
	if m.Tenants != nil && !own && !(tenant == Global && m.Tenants.Global) {
		return false
	}
	allows := func(p Permissions, template bool) bool {
		for _, e := range p { // the first that matches decides
			if e.Tenant == tenant || e.Tenant == Any || template && e.Tenant == Placeholder && tenant != Global {
				return slices.Contains(e.AllowedActions, action) || slices.Contains(e.AllowedActions, Any)
			}
		}
		return false
	}
	if len(m.Sources) == 0 {
		return allows(said, false)
	}
	for _, s := range m.Sources {
		for _, w := range words[s.Words] {
			switch {
			case s.Roles == nil && w.Text == Any:
			case s.Roles == nil && s.Actions != nil:
				if own && slices.Contains(s.Actions[w.Text], action) {
					return true
				}
			case s.Roles == nil:
				if own && w.Text == action && w.Text != "a\nb" {
					return true
				}
			case s.PerTenant && !slices.ContainsFunc(w.Tenants, means):
			case allows(s.Roles[w.Text], true):
				return true
			}
		}
	}
	return false
}
