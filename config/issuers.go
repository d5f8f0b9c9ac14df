package config

import (
	"slices"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildTrustedIssuers() {
	for _, t := range b.file.trustedIssuers {
		if !t.Value.issuer.Usable() {
			continue
		}
		b.buildTrusted(&t.Value)
	}
}

func (b *builder) buildTrusted(w *writtenTrusted) {
	t := &TrustedIssuer{
		Issuer:        w.issuer.Value,
		Audiences:     yaml.Values(w.audiences),
		Algorithms:    yaml.Values(w.algorithms),
		TokenTypes:    []string{"at+jwt", "application/at+jwt"},
		RequireClaims: map[string]string{},
		ClientClaim:   w.clientClaim,
		RolesMap:      map[string]*Role{},
		Permissions:   b.permissions(w.permissions.Value, noTemplates),
		MaxTokenTTL:   w.maxTokenTTL,
	}
	if w.tokenTypes.Given {
		t.TokenTypes = yaml.Values(w.tokenTypes.Value)
	}
	for _, claim := range w.requireClaims {
		t.RequireClaims[claim.Name] = claim.Value
	}
	if w.roles.Usable() {
		t.RolesFrom = w.roles.Value.from
		for _, role := range w.roles.Value.roles {
			t.RolesMap[role.Name] = b.fixedRole(role.Setting)
		}
	}
	switch same := func(o *TrustedIssuer) bool { return o.Issuer == t.Issuer }; {
	case b.Issuer != nil && b.Issuer.URL == t.Issuer:
		b.Fault(w.issuer.At, w.issuer.Shown+" is issuer.url", "remove this entry: our own tokens are trusted anyway")
	case slices.ContainsFunc(b.TrustedIssuers, same):
		b.Fault(w.issuer.At, w.issuer.Shown+" is listed twice", "keep one entry for each issuer")
	}
	if w.keys.Given {
		t.Keys = b.keySet(w.keys.Value)
		b.onlyFetched(w)
	} else {
		t.Remote = b.remoteKeys(w)
	}
	b.TrustedIssuers = append(b.TrustedIssuers, t)
}
