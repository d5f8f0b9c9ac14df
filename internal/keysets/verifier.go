package keysets

import (
	"fmt"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
)

// Verifier returns the verifier of the tokens of our own issuer, if there is one, and of the trusted ones. Issuers
// whose keys would have to be fetched have none, and their tokens are refused: use [VerifierWith] where keys are
// fetched.
func Verifier(c *config.Config) (*jose.Verifier, error) {
	return VerifierWith(c, func(*config.TrustedIssuer) KeySource { return nowhere{} })
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
func VerifierWith(c *config.Config, source func(*config.TrustedIssuer) KeySource) (*jose.Verifier, error) {
	var issuers []*jose.Issuer
	retain, scopes := c.Retained()
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
			Retain:          retain,
			Scopes:          scopes,
		})
	}
	for _, t := range c.TrustedIssuers {
		keys, seek, origin := always(t.Keys), (func(string) (*jose.KeySet, error))(nil), any(nil)
		if t.Remote != nil {
			from := source(t)
			keys, seek, origin = from.Keys, from.Seek, from
		}
		issuers = append(issuers, &jose.Issuer{
			URL:            t.Issuer,
			Keys:           keys,
			Seek:           seek,
			Source:         origin,
			Types:          t.TokenTypes,
			Kinds:          t.Kinds,
			Algorithms:     t.Algorithms,
			MaxLifetime:    t.MaxTokenTTL,
			AudienceClaims: t.AudienceClaims,
			Require:        t.Require,
			ClientClaim:    t.ClientClaim,
			Words:          t.Words,
			TrustDomain:    t.TrustDomain,
			// What a logout has ended is known until all that was issued before has ended: by iat.
			RequireIssuedAt: len(t.LogoutAudiences) > 0,
			Retain:          retain,
			Scopes:          scopes,
		})
	}
	return jose.NewVerifier(jose.Options{
		Issuers: issuers, Leeway: c.ClockLeeway, MaxBytes: c.Limits.TokenBytes, PreparedKeys: c.Limits.PreparedKeys,
	})
}

func always(set *jose.KeySet) func() *jose.KeySet {
	return func() *jose.KeySet { return set }
}

// LogoutVerifier returns the verifier of the logout tokens of the trusted issuers that have logout_audiences; nil where
// none has. Retained are the claims events, nonce and sid.
func LogoutVerifier(c *config.Config, source func(*config.TrustedIssuer) KeySource) (*jose.Verifier, error) {
	var issuers []*jose.Issuer
	for _, t := range c.TrustedIssuers {
		if len(t.LogoutAudiences) == 0 {
			continue
		}
		i := &jose.Issuer{
			URL: t.Issuer, Keys: always(t.Keys), Types: []string{"", "logout+jwt"}, Algorithms: t.Algorithms, Logout: true,
			Retain: []jose.Path{{"events"}, {"nonce"}, {"sid"}},
		}
		if t.Remote != nil {
			from := source(t)
			i.Keys, i.Seek, i.Source = from.Keys, from.Seek, from
		}
		issuers = append(issuers, i)
	}
	if len(issuers) == 0 {
		return nil, nil
	}
	return jose.NewVerifier(jose.Options{Issuers: issuers, Leeway: c.ClockLeeway, MaxBytes: c.Limits.TokenBytes})
}
