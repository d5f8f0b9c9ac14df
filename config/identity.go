package config

import (
	"slices"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildIdentityHeaders() {
	w := &b.file.identity.Value
	h := &b.IdentityHeaders
	for _, name := range []struct {
		from yaml.Setting[string]
		to   *string
	}{
		{w.subject, &h.Subject},
		{w.issuer, &h.Issuer},
		{w.client, &h.Client},
		{w.tenant, &h.Tenant},
		{w.actions, &h.Actions},
		{w.tokenID, &h.TokenID},
	} {
		canonical := canonicalHeader(name.from.Value)
		if canonical != "" && slices.Contains(h.All(), canonical) {
			at := name.from.At
			b.Fault(at, yaml.Quote(canonical)+" is the name of two identity headers", "give each its own name")
		}
		if isCertHeader(canonical) {
			b.Fault(name.from.At, yaml.Quote(canonical)+" tells of the client's certificate", "choose another header")
		}
		*name.to = canonical
	}
}
