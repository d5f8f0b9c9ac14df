package config

import (
	"github.com/jotgate/jotgate/internal/token"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// buildDPoP comes after the issuer, whose code secrets make nonces too where there are none of their own: what both are
// made with is derived, so that neither tells the other.
func (b *builder) buildDPoP() {
	w := &b.file.dpop.Value
	b.DPoP = DPoP{
		Given:        b.file.dpop.Given,
		MaxAge:       w.maxAge.Value,
		RequireNonce: w.requireNonce,
		NonceTTL:     w.nonceTTL.Value,
		NonceSecrets: yaml.Values(w.nonceSecrets),
		Origins:      yaml.Values(w.origins),
		Capacity:     w.capacity.Value,
	}
	if len(b.DPoP.NonceSecrets) == 0 && b.Issuer != nil {
		b.DPoP.NonceSecrets = b.Issuer.CodeSecrets
	}
	if b.Issuer != nil {
		b.checkBound()
	}
}

// checkBound warns of clients whose tokens must be bound, and that ask for some where no proof is taken.
func (b *builder) checkBound() {
	for i, c := range b.Issuer.Clients {
		if !c.Bound {
			continue
		}
		for _, word := range []string{token.IssueUserTokens, token.CreateAccessTokens} {
			for _, has := range c.May {
				if has == word {
					b.Warn(
						b.file.issuer.Value.clients[i].Value.dpop.At,
						"conflicts with "+word+" in may: that API issues no bound tokens",
						"remove the word from may, or use another client for it",
					)
				}
			}
		}
		if !b.Issuer.Serve.OAuth2 {
			b.Warn(
				b.file.issuer.Value.clients[i].Value.dpop.At,
				"cannot be met: only the dialect oauth2 issues bound tokens, and issuer.serve.dialects lacks it",
				"add oauth2, or remove this",
			)
		}
	}
}
