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
