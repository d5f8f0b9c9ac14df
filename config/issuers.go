package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// mostPatternIssuers bounds the issuers that one entry can stand for.
const mostPatternIssuers = 1024

func (b *builder) buildTrustedIssuers() {
	seen := map[string]bool{}
	domains := map[string]bool{}
	for i := range b.file.trustedIssuers {
		t := &b.file.trustedIssuers[i]
		w := &t.Value
		if !w.issuer.Usable() && !w.issuerPattern.Usable() {
			if !w.issuer.Given && !w.issuerPattern.Given && !t.Bad {
				b.Fault(t.At.Key("issuer"), "is missing", "write it as its tokens spell it, or write issuer_pattern")
			}
			continue
		}
		entry := b.trustedIssuer(w)
		for _, each := range b.expand(w, entry) {
			at := w.issuer
			if w.issuerPattern.Given {
				at = w.issuerPattern
			}
			switch {
			case b.Issuer != nil && b.Issuer.URL == each.Issuer:
				b.Fault(at.At, at.Shown+" is issuer.url", "remove this entry: our own tokens are trusted anyway")
			case seen[each.Issuer]:
				b.Fault(at.At, at.Shown+" is listed twice", "keep one entry for each issuer")
			case each.TrustDomain != "" && domains[each.TrustDomain]:
				b.Fault(at.At, "has the trust domain of another entry, "+yaml.Quote(each.TrustDomain),
					"keep one entry for each trust domain")
			}
			seen[each.Issuer] = true
			domains[each.TrustDomain] = true
			b.TrustedIssuers = append(b.TrustedIssuers, each)
			w.made = each
		}
	}
}

// expand makes an issuer of each combination of a pattern's values; without a pattern there is one.
func (b *builder) expand(w *writtenTrusted, entry *TrustedIssuer) []*TrustedIssuer {
	p := w.issuerPattern
	switch {
	case w.issuer.Given && p.Given:
		b.Fault(p.At, "conflicts with issuer", "set only one of the two")
		return nil
	case w.issuer.Given && w.issuerValues.Given:
		b.Fault(w.issuerValues.At, "has no effect without issuer_pattern", "remove it")
	}
	if !p.Given {
		entry.Issuer = w.issuer.Value
		return []*TrustedIssuer{entry}
	}
	if !w.keys.Given && !w.jwksURL.Given {
		b.Fault(p.At, "needs to know where the keys are", "write jwks_url or keys: discovery knows one issuer alone")
	}
	if !w.issuerValues.Usable() {
		if !w.issuerValues.Given {
			b.Fault(p.At, "has no issuer_values", "list the values of each {name}: issuer_values: {tid: [one, two]}")
		}
		return nil
	}
	type issuer struct {
		name   string
		values map[string]string
	}
	all := []issuer{{name: p.Value, values: map[string]string{}}}
	for _, v := range w.issuerValues.Value {
		placeholder := "{" + v.Name + "}"
		if strings.Count(p.Value, placeholder) != 1 {
			b.Fault(v.At, "is not in issuer_pattern exactly once", "write "+placeholder+" where the value stands, or remove it")
			return nil
		}
		var next []issuer
		for _, i := range all {
			for _, value := range yaml.Values(v.Value) {
				values := map[string]string{v.Name: value}
				for name, other := range i.values {
					values[name] = other
				}
				next = append(next, issuer{strings.Replace(i.name, placeholder, value, 1), values})
			}
		}
		if all = next; len(all) > mostPatternIssuers {
			b.Fault(v.At, fmt.Sprintf("makes %d issuers, the limit is %d", len(all), mostPatternIssuers), "list fewer values")
			return nil
		}
	}
	if strings.ContainsAny(all[0].name, "{}") {
		b.Fault(p.At, p.Shown+" has a {name} without values", "add it to issuer_values")
		return nil
	}
	var list []*TrustedIssuer
	for _, i := range all {
		each := *entry
		each.Issuer, each.Pattern = i.name, p.Value
		each.Words = slices.Clone(entry.Words)
		if rule := each.Mapping.Tenants; rule != nil {
			if words := &each.Words[rule.Words]; len(words.From) == 1 {
				words.Fixed = i.values[words.From[0]]
			}
		}
		list = append(list, &each)
	}
	return list
}

// trustedIssuer builds what all issuers of an entry share.
func (b *builder) trustedIssuer(w *writtenTrusted) *TrustedIssuer {
	preset := presetOf(w.preset)
	t := &TrustedIssuer{
		Preset:      w.preset,
		Audiences:   yaml.Values(w.audiences),
		Algorithms:  yaml.Values(w.algorithms),
		TokenTypes:  []string{"at+jwt", "application/at+jwt"},
		Permissions: b.permissions(w.permissions.Value, noTemplates),
		MaxTokenTTL: w.maxTokenTTL.Value,

		LogoutAudiences: yaml.Values(w.logout.Value),
		Exchange:        w.exchange.Value,
	}
	for i, alg := range t.Algorithms {
		if alg == "Ed25519" {
			t.Algorithms[i] = "EdDSA"
		}
	}
	if len(preset.TokenTypes) > 0 {
		t.TokenTypes = slices.Clone(preset.TokenTypes)
	}
	if w.tokenTypes.Given {
		t.TokenTypes = yaml.Values(w.tokenTypes.Value)
	}
	for i, typ := range t.TokenTypes {
		if typ == "none" {
			t.TokenTypes[i] = ""
		}
	}
	kinds := preset.Kinds
	if w.kinds.Given {
		kinds = yaml.Values(w.kinds.Value)
	}
	for _, kind := range kinds {
		t.Kinds = append(t.Kinds, jose.Kind(kind))
	}
	if preset.MaxTokenTTL > 0 && !w.maxTokenTTL.Given {
		t.MaxTokenTTL = preset.MaxTokenTTL
	}
	t.ClientClaim = w.clientClaim.Value
	if !w.clientClaim.Given && preset.ClientClaim != "" {
		t.ClientClaim = claimOf(preset.ClientClaim)
	}
	if slices.Equal(t.ClientClaim, jose.Path{"client_id"}) {
		t.ClientClaim = nil
	}
	claims := yaml.Values(w.audienceClaims.Value)
	if !w.audienceClaims.Given {
		for _, name := range preset.AudienceClaims {
			claims = append(claims, claimOf(name))
		}
	}
	for _, claim := range claims {
		if !slices.Equal(claim, jose.Path{"aud"}) { // aud decides in any case
			t.AudienceClaims = append(t.AudienceClaims, claim)
		}
	}
	for _, claim := range w.requireClaims {
		if !claim.Bad {
			t.Require = append(t.Require, jose.Requirement{Claim: claimOf(claim.Name), Condition: claim.Value})
		}
	}
	b.buildTrustDomain(w, t)
	b.buildMapping(w, t, &preset)
	if w.keys.Given {
		t.Keys = b.keySet(w.keys.Value)
		b.onlyFetched(w)
	} else {
		t.Remote = b.remoteKeys(w, &preset)
	}
	return t
}

// claimOf reads a path that has been checked.
func claimOf(name string) jose.Path {
	p, _ := jose.ParsePath(name)
	return p
}

func (b *builder) buildTrustDomain(w *writtenTrusted, t *TrustedIssuer) {
	switch {
	case w.preset != "spiffe" && w.trustDomain.Given:
		b.Fault(w.trustDomain.At, "has no effect without preset: spiffe", "remove it")
	case w.preset != "spiffe":
	case w.trustDomain.Given:
		t.TrustDomain = w.trustDomain.Value
	default:
		t.TrustDomain = w.issuer.Value
		if u, err := url.Parse(w.issuer.Value); err == nil && u.Host != "" {
			t.TrustDomain = u.Hostname()
		}
		if problem, _ := isTrustDomain(t.TrustDomain); problem != "" {
			b.Fault(w.issuer.At, w.issuer.Shown+" does not say the trust domain", "write trust_domain: example.org")
		}
	}
}

// buildMapping makes of the entry's tenants, roles and actions what its tokens' words open.
func (b *builder) buildMapping(w *writtenTrusted, t *TrustedIssuer, preset *Preset) {
	m := &token.Mapping{Ceiling: t.Permissions, Pattern: b.TenantPattern}
	t.Mapping = m
	if w.tenants.Usable() {
		x := &w.tenants.Value
		m.Tenants = &token.TenantRule{Words: b.words(t, w.tenants.At, &x.writtenWords, preset.Tenants), Global: x.global}
		t.Words[m.Tenants.Words].Keys = true // an object is always its keys
		if x.rename.Given {
			m.Rename = make(map[string]string)
			for _, name := range x.rename.Value {
				if name.Name == token.Any {
					b.Warn(name.At, `has no effect: the word "*" of a token is never a tenant`, "remove it")
				}
				if !name.Bad && b.isTenantName(name.Setting) {
					m.Rename[name.Name] = name.Value
				}
			}
		}
	}
	for _, source := range w.roles.Value {
		if source.Bad {
			continue
		}
		x := &source.Value
		s := token.Source{
			Words: b.words(t, source.At, &x.writtenWords, preset.Roles), Roles: make(map[string]token.Permissions),
		}
		rule := &t.Words[s.Words]
		usesPreset := !x.from.Given && preset.RolesPerTenant
		rule.PerTenant = x.tenants.Given || usesPreset
		rule.Keys = rule.Keys || rule.PerTenant
		s.PerTenant = rule.PerTenant
		if x.tenants.Given && x.from.Given && !x.keys {
			b.Fault(x.tenants.At, "needs keys: true", "write keys: true, tenants: keys")
		}
		for _, name := range x.roles {
			role := b.role(name.Setting)
			if m.Tenants == nil && !s.PerTenant {
				role = b.fixedRole(name.Setting)
			}
			if role != nil {
				s.Roles[name.Name] = role.Permissions
			}
		}
		m.Sources = append(m.Sources, s)
	}
	if w.actions.Usable() {
		x := &w.actions.Value
		s := token.Source{Words: b.words(t, w.actions.At, &x.writtenWords, preset.Actions)}
		if x.actions.Given {
			s.Actions = make(map[string][]string)
			for _, word := range x.actions.Value {
				if word.Name == token.Any {
					b.Warn(word.At, `has no effect: the word "*" of a token is never an action`, "remove it")
				}
				s.Actions[word.Name] = yaml.Values(word.Value)
			}
		}
		m.Sources = append(m.Sources, s)
		if !w.tenants.Given {
			b.Fault(w.actions.At, "has no tenants that the actions are for", "write tenants: {from: …}, or map roles")
		}
	}
	b.lintWideIssuer(w, m)
}

// words adds a rule to the entry's word lists, and returns its number.
func (b *builder) words(t *TrustedIssuer, at yaml.Place, w *writtenWords, preset string) int {
	rule := jose.WordRule{From: w.from.Value, Keys: w.keys, Split: w.split.Value}
	if !w.from.Given {
		if preset == "" {
			b.Fault(at.Key("from"), "is missing", "name the claim")
			preset = "sub"
		}
		rule.From = claimOf(preset)
	}
	if len(rule.From) == 0 { // its fault is told
		rule.From = jose.Path{"sub"}
	}
	if name := rule.From[len(rule.From)-1]; !w.split.Given && (name == "scope" || name == "scp") {
		rule.Split = " "
	}
	t.Words = append(t.Words, rule)
	return len(t.Words) - 1
}

// lintWideIssuer warns where every token of an issuer opens every tenant.
func (b *builder) lintWideIssuer(w *writtenTrusted, m *token.Mapping) {
	anyTenant := func(p token.Permissions) bool {
		i := p.Deciding(token.Any)
		return i >= 0 && len(p[i].AllowedActions) > 0
	}
	if m.Tenants != nil || !anyTenant(m.Ceiling) {
		return
	}
	if len(m.Sources) == 0 {
		b.Warn(w.permissions.At, "lets tenantPermissions of its tokens open every tenant: nothing else says which are theirs",
			`name the tenants in place of "*", or write tenants: {from: …}`)
	}
	wide := false
	for _, s := range m.Sources {
		for _, role := range s.Roles {
			wide = wide || !s.PerTenant && anyTenant(role)
		}
	}
	if wide {
		b.Warn(w.permissions.At, "lets every token with such a role open every tenant: nothing in the token names its tenant",
			`write tenants: {from: …}, or name the tenants in place of "*"`)
	}
}
