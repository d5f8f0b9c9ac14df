package token

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Global stands, in a request and in what a token of another issuer opens, for what belongs to no tenant. An entry for
// Any allows it too; an entry for Global allows it without opening any tenant.
const Global = "\x00global"

// longestShown is how long a tenant can be without looking like a credential in the tenant's place: a code has 128
// characters.
const longestShown = 100

// Shown is a tenant as a message or a log has it.
func Shown(tenant string) string {
	switch {
	case tenant == Global:
		return Any
	case len(tenant) > longestShown:
		return "[redacted]"
	}
	return tenant
}

// MostTenants bounds the tenants of one token.
const MostTenants = 64

// A Word is one word of a claim, which the issuer may have given for some tenants alone.
type Word struct {
	Text    string
	Tenants []string // as the issuer calls them; nil: no tenants in particular
}

// A Mapping says what the words of another issuer's tokens open here.
type Mapping struct {
	Tenants *TenantRule       // nil: the token's own tenants play no part
	Sources []Source          // none: what the token says in tenantPermissions
	Ceiling Permissions       // the most that any of its tokens opens
	Pattern *regexp.Regexp    // of tenants' names; nil: any
	Rename  map[string]string // the issuer's name of a tenant: ours; nil: the same
}

// A TenantRule makes the token's words its tenants: it opens these alone.
type TenantRule struct {
	Words  int  // which list of words
	Global bool // what belongs to no tenant may be opened as well
}

// A Source gives permissions for words: each role is one of its own, all actions together are one.
type Source struct {
	Words     int                    // which list of words
	Roles     map[string]Permissions // what a role opens; nil: the words are actions
	Actions   map[string][]string    // the issuer's word: our actions; nil: the words as they are
	PerTenant bool                   // a role counts for the tenants of its word alone
}

// TooManyTenants is why a token with more than MostTenants tenants is refused.
type TooManyTenants struct{ Count int }

func (e *TooManyTenants) Error() string {
	return fmt.Sprintf("%d tenants, the limit is %d", e.Count, MostTenants)
}

// Opens is what a token opens that has these lists of words, and says this in tenantPermissions: what any of its
// sources alone opens, for its own tenants where there is a rule for them, cut to the ceiling.
func (m *Mapping) Opens(words [][]Word, said Permissions) (Permissions, error) {
	var tenants []string
	if m.Tenants != nil {
		var named []string
		for _, w := range words[m.Tenants.Words] {
			named = append(named, w.Text)
		}
		if tenants = m.tenants(named); len(tenants) > MostTenants {
			return nil, &TooManyTenants{len(tenants)}
		}
	}
	var sum Permissions
	if len(m.Sources) == 0 {
		sum = m.within(said.named(), tenants)
	}
	for i := range m.Sources {
		p, err := m.source(&m.Sources[i], words, tenants)
		if err != nil {
			return nil, err
		}
		sum = Union(sum, p)
	}
	sum = sum.Cut(m.Ceiling)
	if m.Tenants != nil {
		sum = slices.DeleteFunc(slices.Clone(sum), func(e TenantPermission) bool {
			return !slices.Contains(tenants, e.Tenant) && !(m.Tenants.Global && e.Tenant == Global)
		})
	}
	return sum, nil
}

// source is what one source opens.
func (m *Mapping) source(s *Source, words [][]Word, tenants []string) (sum Permissions, err error) {
	if s.Roles == nil {
		actions := s.actions(words[s.Words])
		if len(actions) == 0 {
			return nil, nil
		}
		for _, tenant := range tenants {
			sum = append(sum, TenantPermission{Tenant: tenant, AllowedActions: actions})
		}
		return sum, nil
	}
	seen := map[string]bool{}
	for _, w := range words[s.Words] {
		role, known := s.Roles[w.Text]
		if !known || seen[w.Text] {
			continue
		}
		seen[w.Text] = true
		if s.PerTenant {
			own := m.tenants(w.Tenants)
			if m.Tenants != nil {
				own = slices.DeleteFunc(own, func(t string) bool { return !slices.Contains(tenants, t) })
			}
			if len(own) > MostTenants {
				return nil, &TooManyTenants{len(own)}
			}
			sum = Union(sum, role.within(own, false))
			continue
		}
		sum = Union(sum, m.within(role, tenants))
	}
	return sum, nil
}

// named leaves out entries for the word {tenant}, which is filled in roles of ours alone: in a token it is no tenant.
func (p Permissions) named() Permissions {
	placeholder := func(e TenantPermission) bool { return e.Tenant == Placeholder }
	if !slices.ContainsFunc(p, placeholder) {
		return p
	}
	return slices.DeleteFunc(slices.Clone(p), placeholder)
}

func (m *Mapping) within(p Permissions, tenants []string) Permissions {
	if m.Tenants == nil {
		return p
	}
	return p.within(tenants, m.Tenants.Global)
}

// within narrows p to some tenants: for each, the entry that decides there, with {tenant} filled; and, where global is
// set, what p allows globally. What p says of other tenants is gone.
func (p Permissions) within(tenants []string, global bool) (q Permissions) {
	if i := p.Deciding(Global); global && i >= 0 {
		q = append(q, TenantPermission{Tenant: Global, AllowedActions: p[i].AllowedActions})
	}
	for _, tenant := range tenants {
		filled := p.For(tenant)
		if i := filled.Deciding(tenant); i >= 0 {
			q = append(q, TenantPermission{Tenant: tenant, AllowedActions: filled[i].AllowedActions})
		}
	}
	return q
}

// tenants lists our names of an issuer's tenants, each once; what is no tenant does not count.
func (m *Mapping) tenants(named []string) []string {
	var list []string
	for _, name := range named {
		if tenant, counts := m.Tenant(name); counts && !slices.Contains(list, tenant) {
			list = append(list, tenant)
		}
	}
	return list
}

// Tenant is our name of an issuer's tenant; counts is false for a word that is none here. The word "*" is none,
// whatever it is mapped to.
func (m *Mapping) Tenant(name string) (tenant string, counts bool) {
	if name == Any {
		return "", false
	}
	if m.Rename != nil {
		renamed, known := m.Rename[name]
		if !known {
			return "", false
		}
		name = renamed
	}
	switch {
	case name == Any, name == Placeholder, name == Global, name == "", name == ".", name == "..":
		return "", false
	}
	return name, m.Pattern == nil || m.Pattern.MatchString(name)
}

// actions lists the actions that words mean, each once. The word "*" is none, nor is one that no header can hold.
func (s *Source) actions(words []Word) []string {
	var list []string
	for _, w := range words {
		if w.Text == Any {
			continue
		}
		means := []string{w.Text}
		if s.Actions != nil {
			means = s.Actions[w.Text]
		} else if strings.ContainsFunc(w.Text, unicode.IsControl) {
			continue
		}
		for _, action := range means {
			if !slices.Contains(list, action) {
				list = append(list, action)
			}
		}
	}
	return list
}
