package token

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	tenants = []string{"acme", "globex", "umbrella", Any}
	actions = []string{"READ", "WRITE", "ADMIN", Any}
	// A tenant and an action that no generated entry names: what "*" alone decides.
	strangers = struct{ tenant, action string }{"stranger", "STRANGE"}
)

func permissions() *rapid.Generator[Permissions] {
	entry := rapid.Custom(func(t *rapid.T) TenantPermission {
		return TenantPermission{
			Tenant:         rapid.SampledFrom(tenants).Draw(t, "tenant"),
			AllowedActions: rapid.SliceOfN(rapid.SampledFrom(actions), 0, 3).Draw(t, "actions"),
		}
	})
	return rapid.Custom(func(t *rapid.T) Permissions { return rapid.SliceOfN(entry, 0, 5).Draw(t, "entries") })
}

// decide is the reference: the rules as the package comment words them.
func decide(p Permissions, tenant string, global bool, action string) bool {
	for _, e := range p {
		if e.Tenant == "*" || (!global && e.Tenant == tenant) {
			for _, a := range e.AllowedActions {
				if a == "*" || a == action {
					return true
				}
			}
			return false
		}
	}
	return false
}

// questions calls ask with every question that could tell two sets apart.
func questions(ask func(tenant string, global bool, action string)) {
	for _, action := range append(slices.Clone(actions), strangers.action) {
		if action == Any {
			continue // no request asks for the action "*"
		}
		ask("", true, action)
		for _, tenant := range append(slices.Clone(tenants), strangers.tenant) {
			if tenant != Any {
				ask(tenant, false, action)
			}
		}
	}
}

func allowed(p Permissions, tenant string, global bool, action string) bool {
	if global {
		tenant = Any
	}
	return p.Allows(tenant, action)
}

func TestAllowsIsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := permissions().Draw(t, "p")
		questions(func(tenant string, global bool, action string) {
			if got, want := allowed(p, tenant, global, action), decide(p, tenant, global, action); got != want {
				t.Fatalf("%v: tenant %q global %v action %s: %v, want %v", p, tenant, global, action, got, want)
			}
		})
	})
}

func TestCoversIsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, q := permissions().Draw(t, "p"), permissions().Draw(t, "q")
		want := true
		questions(func(tenant string, global bool, action string) {
			if decide(q, tenant, global, action) && !decide(p, tenant, global, action) {
				want = false
			}
		})
		if got := p.Covers(q); got != want {
			// {READ, WRITE, ADMIN} allows all actions asked for here, yet not "*": STRANGE keeps the two apart.
			t.Fatalf("%v covers %v: %v, want %v", p, q, got, want)
		}
	})
}

func TestCutOpensWhatBothOpen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, ceiling := permissions().Draw(t, "p"), permissions().Draw(t, "ceiling")
		cut := p.Cut(ceiling)
		questions(func(tenant string, global bool, action string) {
			want := decide(p, tenant, global, action) && decide(ceiling, tenant, global, action)
			if got := allowed(cut, tenant, global, action); got != want {
				t.Fatalf("%v cut to %v is %v: tenant %q global %v action %s: %v, want %v",
					p, ceiling, cut, tenant, global, action, got, want)
			}
		})
		if !p.Covers(cut) || !ceiling.Covers(cut) {
			t.Fatalf("%v cut to %v is %v, which one of them does not cover", p, ceiling, cut)
		}
		for _, e := range cut {
			if ceiling.Covers(p) {
				break
			}
			if e.AllowedActions == nil {
				t.Fatalf("cut entry %q has null actions", e.Tenant)
			}
		}
	})
}

func TestCutKeepsTheEntryLeftEmpty(t *testing.T) {
	t.Parallel()
	p := Permissions{{"acme", []string{"WRITE"}}, {Any, []string{"READ"}}}
	cut := p.Cut(Permissions{{Any, []string{"READ"}}})
	if cut.Allows("acme", "READ") {
		t.Errorf("%v: the later * decides for acme", cut)
	}
	if !cut.Allows("globex", "READ") {
		t.Errorf("%v: globex lost READ", cut)
	}
}

func TestOrderDecides(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		p      Permissions
		tenant string
		want   bool
	}{
		{"own entry first", Permissions{{"acme", []string{"READ"}}, {Any, nil}}, "acme", true},
		{"star first", Permissions{{Any, nil}, {"acme", []string{"READ"}}}, "acme", false},
		{"no union", Permissions{{"acme", []string{"WRITE"}}, {"acme", []string{"READ"}}}, "acme", false},
		{"no entry", Permissions{{"acme", []string{"READ"}}}, "globex", false},
		{"case", Permissions{{"acme", []string{"READ"}}}, "ACME", false},
		{"space", Permissions{{"acme", []string{"READ"}}}, "acme ", false},
		{"global needs star", Permissions{{"acme", []string{"READ"}}}, Any, false},
		{"global", Permissions{{"acme", nil}, {Any, []string{"READ"}}}, Any, true},
		{"empty set", nil, "acme", false},
	} {
		if got := c.p.Allows(c.tenant, "READ"); got != c.want {
			t.Errorf("%s: %v on %q: %v, want %v", c.name, c.p, c.tenant, got, c.want)
		}
	}
}

func TestShadowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    Permissions
		want int
	}{
		{nil, -1},
		{Permissions{{"a", nil}, {"b", nil}, {Any, nil}}, -1},
		{Permissions{{"a", nil}, {"a", nil}}, 1},
		{Permissions{{Any, nil}, {"a", nil}}, 1},
		{Permissions{{Any, nil}, {Any, nil}}, 1},
	} {
		if got := c.p.Shadowed(); got != c.want {
			t.Errorf("%v: shadowed %d, want %d", c.p, got, c.want)
		}
	}
}

func TestForFillsThePlaceholderAndLeavesTheRole(t *testing.T) {
	t.Parallel()
	role := Permissions{{Placeholder, []string{"READ"}}, {"shared", []string{"READ"}}}
	filled := role.For("acme")
	if filled[0].Tenant != "acme" || filled[1].Tenant != "shared" || role[0].Tenant != Placeholder {
		t.Errorf("filled %v from %v", filled, role)
	}
}

func TestScopeWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scope        string
		has, manages bool
	}{
		{"", false, false},
		{"issue_codes", true, true},
		{"revoke issue_codes", true, true},
		{"issue_codesx", false, false},
		{"openid profile", false, false},
		{"revoke", false, true},
		{" ", false, false},
	} {
		claims := Claims{Scope: c.scope}
		if claims.HasScope(IssueCodes) != c.has || claims.Manages() != c.manages || claims.HasScope("") {
			t.Errorf("scope %q: has %v, manages %v", c.scope, claims.HasScope(IssueCodes), claims.Manages())
		}
	}
}
