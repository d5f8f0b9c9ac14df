package config

import (
	"fmt"

	"github.com/jotgate/jotgate/internal/jose"
)

// KeySet is the public half of the issuer's keys, as it is published; nil without an issuer.
func (c *Config) KeySet() (*jose.KeySet, error) {
	if c.Issuer == nil {
		return nil, nil
	}
	public := make([]*jose.PublicKey, len(c.Issuer.Keys))
	for i, key := range c.Issuer.Keys {
		public[i] = key.Public()
	}
	return jose.NewKeySet(public...)
}

// Verifier judges the tokens of our own issuer, if there is one, and of the trusted ones. Those whose keys would have
// to be fetched have none, and their tokens are refused: VerifierWith is for whoever fetches them.
func (c *Config) Verifier() (*jose.Verifier, error) {
	return c.VerifierWith(func(*TrustedIssuer) KeySource { return nowhere{} })
}

// A KeySource gives the keys that an issuer publishes; see the members of [jose.Issuer] of the same names.
type KeySource interface {
	Keys() *jose.KeySet
	Seek(kid string) (*jose.KeySet, error)
}

type nowhere struct{}

func (nowhere) Keys() *jose.KeySet                { return nil }
func (nowhere) Seek(string) (*jose.KeySet, error) { return nil, nil }

// VerifierWith is Verifier with a source for each trusted issuer that has Remote.
func (c *Config) VerifierWith(source func(*TrustedIssuer) KeySource) (*jose.Verifier, error) {
	var issuers []*jose.Issuer
	own, err := c.KeySet()
	if err != nil {
		return nil, fmt.Errorf("the keys of issuer %s: %w", c.Issuer.URL, err)
	}
	if own != nil {
		issuers = append(issuers, &jose.Issuer{
			URL:             c.Issuer.URL,
			Keys:            always(own),
			Types:           []string{jose.TypeAccessToken},
			MaxLifetime:     max(c.Issuer.MaxTokenTTL, c.Issuer.MaxAccessTokenTTL),
			RequireIssuedAt: true,
			Own:             true,
		})
	}
	for _, t := range c.TrustedIssuers {
		keys, seek, origin := always(t.Keys), (func(string) (*jose.KeySet, error))(nil), any(nil)
		if t.Remote != nil {
			from := source(t)
			keys, seek, origin = from.Keys, from.Seek, from
		}
		issuers = append(issuers, &jose.Issuer{
			URL:           t.Issuer,
			Keys:          keys,
			Seek:          seek,
			Source:        origin,
			Types:         t.TokenTypes,
			Algorithms:    t.Algorithms,
			MaxLifetime:   t.MaxTokenTTL,
			RequireClaims: t.RequireClaims,
			ClientClaim:   t.ClientClaim,
			RolesFrom:     t.RolesFrom,
		})
	}
	return jose.NewVerifier(jose.Options{Issuers: issuers, Leeway: c.ClockLeeway, MaxBytes: c.Limits.TokenBytes})
}

func always(set *jose.KeySet) func() *jose.KeySet {
	return func() *jose.KeySet { return set }
}

// keySet gathers a trusted issuer's keys from its files. One key that is of no use does not lose the others.
func (b *builder) keySet(w []setting[writtenKeySet]) *jose.KeySet {
	var keys []*jose.PublicKey
	for _, k := range w {
		if k.bad {
			continue
		}
		data, ok := b.contents(k.Value.file)
		if !ok {
			continue
		}
		file := k.Value.file
		set, skipped, err := jose.ParseKeySet(data)
		for _, s := range skipped {
			b.warn(file.at, file.shown+" has a key that is left out ("+s.Error()+")", "remove or mend it")
		}
		if err != nil {
			b.fault(file.at, file.shown+" holds no public keys ("+err.Error()+")", "name a JWKS, a JWK or a PEM file")
			continue
		}
		keys = append(keys, set.Keys()...)
	}
	set, err := jose.NewKeySet(keys...)
	if err != nil && len(w) > 0 {
		b.fault(w[0].at, "does not go with the other files ("+err.Error()+")", "give each key its own kid")
	}
	return set
}
