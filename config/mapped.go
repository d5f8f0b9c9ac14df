package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

// Mapped tells an operator what the words of a token's claims came to: one line for each claim that gives tenants,
// roles or actions, with what it holds and what of it counts. roles are the words that roles were looked for in.
func (t *TrustedIssuer) Mapped(v *jose.Verified) (roles, lines []string) {
	m := t.Mapping
	if len(v.Words) != len(t.Words) { // the token was refused before they were read
		return nil, nil
	}
	if m.Tenants != nil {
		lines = append(lines, t.tenantsOf(v.Words[m.Tenants.Words], t.Words[m.Tenants.Words].From))
	}
	for i := range m.Sources {
		s := &m.Sources[i]
		what, claim := "actions", t.Words[s.Words].From
		var counts []string
		for _, w := range v.Words[s.Words] {
			if s.Roles == nil {
				if means, known := s.Actions[w.Text]; s.Actions != nil && known {
					counts = append(counts, fmt.Sprintf("%q means %s", w.Text, strings.Join(means, ", ")))
				}
				continue
			}
			roles = append(roles, w.Text)
			if _, known := s.Roles[w.Text]; known {
				counts = append(counts, fmt.Sprintf("%q is a role here", w.Text))
			}
			for _, name := range w.Tenants {
				if tenant, ok := m.Tenant(name); ok {
					counts = append(counts, fmt.Sprintf("for tenant %q", tenant))
				}
			}
		}
		if s.Roles != nil {
			what = "roles"
		} else if s.Actions == nil {
			counts = append(counts, "as they are")
		}
		lines = append(lines, line(what, claim, v.Words[s.Words], counts, mapped(s)))
	}
	if len(m.Sources) == 0 {
		lines = append(lines, "permissions: no roles and no actions are mapped, so tenantPermissions counts")
	}
	return roles, lines
}

func (t *TrustedIssuer) tenantsOf(words []token.Word, claim jose.Path) string {
	var counts, known []string
	for _, w := range words {
		if tenant, ok := t.Mapping.Tenant(w.Text); ok {
			counts = append(counts, fmt.Sprintf("%q is tenant %q", w.Text, tenant))
		}
	}
	for name := range t.Mapping.Rename {
		known = append(known, name)
	}
	return line("tenants", claim, words, counts, known)
}

func mapped(s *token.Source) (words []string) {
	for word := range s.Roles {
		words = append(words, word)
	}
	for word := range s.Actions {
		words = append(words, word)
	}
	return words
}

func line(what string, claim jose.Path, words []token.Word, counts, known []string) string {
	const most = 16
	var holds []string
	for _, w := range words[:min(len(words), most)] {
		holds = append(holds, fmt.Sprintf("%.64q", w.Text))
	}
	if len(words) > most {
		holds = append(holds, "…")
	}
	text := fmt.Sprintf("%s: claim %s holds %s", what, claim, strings.Join(holds, " "))
	if len(words) == 0 {
		text = fmt.Sprintf("%s: claim %s is missing, or holds no words", what, claim)
	}
	if len(counts) > 0 {
		return text + ": " + strings.Join(counts, ", ")
	}
	slices.Sort(known)
	if len(known) > most {
		known = append(known[:most:most], "…")
	}
	if len(known) > 0 {
		return text + ": none counts, the map has " + strings.Join(known, ", ")
	}
	return text + ": none counts"
}

// Wants tells an operator which claims would have given an action on a tenant, or what in the entry keeps every token
// from it. It is "" where tenantPermissions counts, which needs no telling.
func (t *TrustedIssuer) Wants(tenant, action string) string {
	m := t.Mapping
	asked := fmt.Sprintf("%s on tenant %q", action, token.Shown(tenant))
	if tenant == token.Global {
		asked = action + " globally"
	}
	var named []string
	switch {
	case len(m.Sources) == 0:
		return ""
	case !m.Ceiling.Allows(tenant, action):
		return asked + " in the entry's permissions, the ceiling of all tokens of this issuer"
	case m.Tenants == nil:
	case tenant == token.Global:
		if !m.Tenants.Global {
			return asked + ", which takes tenants: {global: true} in the issuer's entry"
		}
	case m.Rename == nil:
		named = []string{token.Shown(tenant)}
	default:
		for theirs, ours := range m.Rename {
			if ours == tenant {
				named = append(named, theirs)
			}
		}
		if len(named) == 0 {
			return fmt.Sprintf("a word for tenant %q in the map of tenants of the issuer's entry",
				token.Shown(tenant))
		}
	}
	var sources []string
	for i := range m.Sources {
		if words := giving(&m.Sources[i], tenant, action); len(words) > 0 {
			sources = append(sources, hasOneOf(t.Words[m.Sources[i].Words].From, words))
		}
	}
	if len(sources) == 0 {
		return "a word in the entry's roles or actions that means " + asked
	}
	wanted := strings.Join(sources, " or ")
	if len(named) > 0 {
		wanted = hasOneOf(t.Words[m.Tenants.Words].From, named) + ", and " + wanted
	}
	return "for " + asked + ": " + wanted
}

// giving lists the words of a source that mean the action on the tenant.
func giving(s *token.Source, tenant, action string) (words []string) {
	for word, role := range s.Roles {
		if tenant != token.Global { // which fills no {tenant}
			role = role.For(tenant)
		}
		if role.Allows(tenant, action) {
			words = append(words, word)
		}
	}
	for word, actions := range s.Actions {
		if slices.Contains(actions, action) || slices.Contains(actions, token.Any) {
			words = append(words, word)
		}
	}
	if s.Roles == nil && s.Actions == nil {
		words = append(words, action)
	}
	return words
}

func hasOneOf(claim jose.Path, words []string) string {
	const most = 8
	slices.Sort(words)
	if len(words) > most {
		words = append(words[:most:most], "…")
	}
	return "claim " + claim.String() + " with " + strings.Join(words, " or ")
}
