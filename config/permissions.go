package config

import (
	"slices"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// templates says whether "{tenant}" may stand for a tenant.
type templates bool

const (
	noTemplates templates = false
	inRoles     templates = true
)

// permissions checks entries together: their tenants by the tenant pattern, and that each can decide.
func (b *builder) permissions(w writtenPermissions, t templates) token.Permissions {
	p := token.Permissions{}
	for _, entry := range w {
		tenant := entry.Value.tenant
		if entry.Bad || !b.isTenant(tenant, t) {
			continue
		}
		if p.Deciding(tenant.Value) >= 0 {
			b.Fault(
				entry.At,
				"is never used: the earlier entry for "+yaml.Quote(p[p.Deciding(tenant.Value)].Tenant)+" matches first",
				"remove it, or move it up: the first entry that matches a tenant decides alone",
			)
			continue
		}
		actions := yaml.Values(entry.Value.actions)
		if len(actions) > 1 && slices.Contains(actions, token.Any) {
			b.Fault(entry.At, `lists actions together with "*"`, `write only ["*"], or name the actions`)
		}
		p = append(p, token.TenantPermission{Tenant: tenant.Value, AllowedActions: slices.Concat([]string{}, actions)})
	}
	return p
}

func (b *builder) isTenant(w yaml.Setting[string], t templates) bool {
	switch {
	case w.Value == token.Any:
		return true
	case w.Value == token.Placeholder && bool(t):
		return true
	case w.Value == token.Placeholder:
		b.Fault(w.At, w.Shown+" is not allowed here", "name the tenant: only roles may use {tenant}")
		return false
	}
	return b.isTenantName(w)
}

// isTenantName checks one tenant that is neither "*" nor "{tenant}".
func (b *builder) isTenantName(w yaml.Setting[string]) bool {
	if b.TenantPattern.MatchString(w.Value) && w.Value != "." && w.Value != ".." {
		return true
	}
	remedy := "tenant names match " + b.TenantPattern.String()[len(`\A(?:`):len(b.TenantPattern.String())-len(`)\z`)] +
		" (tenant_pattern)"
	b.Fault(w.At, w.Shown+" is not a tenant name", remedy)
	return false
}

func (b *builder) buildRoles() {
	b.Roles = make(map[string]*Role, len(b.file.roles))
	digests := make(map[token.Digest]string, len(b.file.roles))
	for _, w := range b.file.roles {
		digest := token.DigestOf(w.Name)
		if other, taken := digests[digest]; taken && other != w.Name {
			b.Fault(
				w.At,
				"has the same digest as the role "+yaml.Quote(other)+", so codes cannot tell the two apart",
				"rename one of them",
			)
		}
		digests[digest] = w.Name
		role := &Role{Name: w.Name, Permissions: b.permissions(w.Value, inRoles)}
		if !w.Bad && len(w.Value) == 0 {
			b.Fault(w.At, "is empty, so it allows nothing", "add an entry, or remove the role")
		}
		b.Roles[w.Name] = role
	}
}

// role resolves a role's name; nil if there is none, or if the name was wrong already.
func (b *builder) role(w yaml.Setting[string]) *Role {
	if !w.Usable() {
		return nil
	}
	role, ok := b.Roles[w.Value]
	if !ok {
		b.Fault(w.At, w.Shown+" is not a role of this file", b.suggest(w.Value, roleNames(b.Roles), "roles"))
	}
	return role
}

// fixedRole resolves the name of a role that names its tenants itself.
func (b *builder) fixedRole(w yaml.Setting[string]) *Role {
	role := b.role(w)
	if role != nil && role.Permissions.Templated() {
		b.Fault(w.At, w.Shown+" uses {tenant}, but nothing names a tenant here", "choose a role with fixed tenants")
	}
	return role
}

func roleNames(roles map[string]*Role) []string {
	var names []string
	for name := range roles {
		names = append(names, name)
	}
	return names
}

// suggest is the remedy for a name that is not among those of a section.
func (b *builder) suggest(name string, names []string, section string) string {
	slices.Sort(names)
	if near := yaml.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "add it to " + section
}
