package issuer

import (
	"crypto/sha256"
	"encoding/base64"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// grantByCode redeems a code (RFC 6749 §4.1.3). All our codes are taken: one that is bound to a client only from that
// client, one that is bound to no client also from a request that names no client, as at the seed's endpoint.
func (c *call) grantByCode(p params) (*oauthAnswer, error) {
	client, err := c.caller(p)
	if err != nil {
		return nil, err
	}
	given := p.one("code")
	if given == "" {
		return nil, lacking("code")
	}
	binding, err := c.bound(p, given, client)
	if err != nil {
		return nil, err
	}
	audiences, err := p.audiences(c.issuer.settings.Audiences)
	if err != nil {
		return nil, err
	}
	compact, err := c.redeem(redemption{
		code: given, presented: binding, client: client, audiences: audiences,
		replayed: c.revokeReplayed,
	})
	if err != nil {
		return nil, err
	}
	c.event.Note += "grant " + grantCode
	if client != nil {
		c.event.Note += ", redeemed by " + client.ID
	}
	return &oauthAnswer{AccessToken: compact}, nil
}

// bound is what the request presents to the code, as far as the code's header asks for it. The header is clear, and
// proven only when the code opens.
func (c *call) bound(p params, given string, client *config.Client) (b code.Binding, err error) {
	flags, err := code.Flags(given)
	if err != nil {
		return b, err
	}
	switch {
	case flags.Client && client == nil:
		return b, unauthenticated("the code is bound to a client, and the request names none")
	case flags.Key && c.proof == nil:
		return b, refusal.Because(refusal.CodeUnknown, "the code is bound to a key, and the request has no proof")
	case flags.RedirectURI && p.one("redirect_uri") == "":
		return b, refusal.Because(refusal.CodeUnknown, "the code is bound to a redirect_uri, and the request has none")
	}
	if client != nil {
		b.ClientID = client.ID
	}
	if c.proof != nil {
		b.Key = c.proof.Thumbprint
	}
	b.RedirectURI = p.one("redirect_uri") // libraries always send it; it counts only if the code is bound to one
	b.Challenge, err = challenged(p.one("code_verifier"), flags.Challenge, client)
	return b, err
}

// challenged is the code_challenge that the verifier answers (RFC 7636 §4.6). Verifier and challenge come together: a
// verifier for a code without challenge is how a client notices that somebody took the challenge away (RFC 9700
// §4.8.2). Public clients have no other proof than this one.
func challenged(verifier string, asked bool, client *config.Client) (string, error) {
	switch {
	case !asked && verifier != "":
		return "", refusal.Because(refusal.PKCEFailed, "a code_verifier for a code without a challenge")
	case !asked && client != nil && client.Public:
		return "", refusal.Because(refusal.PKCEFailed, "the code of public client %s has no challenge", client.ID)
	case !asked:
		return "", nil
	case verifier == "":
		return "", refusal.Because(refusal.PKCEFailed, "no code_verifier for a code with a challenge")
	case !isVerifier(verifier):
		return "", refusal.Because(refusal.PKCEFailed, "the code_verifier is not 43 to 128 unreserved characters")
	}
	return challengeOf(verifier), nil
}

// challengeOf is the S256 challenge of a verifier (RFC 7636 §4.2).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// isVerifier reports whether s can be a code_verifier (RFC 7636 §4.1).
func isVerifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return 43 <= len(s) && len(s) <= 128
}

// revokeReplayed revokes the token of a code that is presented again (RFC 6749 §4.1.2): one of the two who had the
// code should not have had it. A code below the guard's floor may have been used as well.
func (c *call) revokeReplayed(t *token.Claims, issuing *config.Client, codeExpiry int64) {
	i := c.issuer
	if i.revocations == nil {
		c.event.Note = "presented again; nothing can be revoked without revocations.file or redis. "
		return
	}
	// Its token was made before now, and no later than the code could be redeemed, under a config that may have let it
	// live longer than the present one.
	expiry := min(c.now.UnixMilli(), codeExpiry) + i.state.longestToken(i.settings).Milliseconds()
	if err := i.revocations.RevokeReplayed(c.r.Context(), t.Issuer, t.ID, issuing.ID, expiry); err != nil {
		i.log.Error("the token of a code that was presented again could not be revoked: " + err.Error())
		c.event.Note = "presented again; its token could not be revoked. "
		return
	}
	c.event.Note = "presented again; its token is revoked. "
}
