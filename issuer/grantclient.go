package issuer

import (
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// grantToClient gives a client a token of its own (RFC 6749 §4.4): with a scope, a management token within its `may`;
// without, an access token with its permissions.
func (c *call) grantToClient(p params) (*oauthAnswer, error) {
	client, err := c.confidential(p)
	if err != nil {
		return nil, err
	}
	m := c.issuer.minter
	claims, err := m.claims(client, client.ID, 0)
	if err != nil {
		return nil, err
	}
	if scope := p.one("scope"); scope != "" {
		err = c.manageWithin(p, client, scope, claims)
	} else {
		err = c.ownWithin(p, client, claims)
	}
	if err != nil {
		return nil, err
	}
	compact, err := c.sign(client, claims, grantClient)
	if err != nil {
		return nil, err
	}
	return &oauthAnswer{AccessToken: compact, Scope: claims.Scope}, nil
}

// manageWithin makes claims those of a management token. Its only resource is the issuer.
func (c *call) manageWithin(p params, client *config.Client, scope string, claims *token.Claims) (err error) {
	for word := range strings.SplitSeq(scope, " ") {
		if !may(client, word) {
			return refusal.Because(refusal.ScopeUnknown, "client %s does not have every word of the scope in its `may`",
				client.ID)
		}
	}
	claims.Scope, claims.Grantor = scope, ""
	claims.Audience, err = p.audiences([]string{c.issuer.settings.URL})
	return err
}

// ownWithin makes claims those of the client's own access token.
func (c *call) ownWithin(p params, client *config.Client, claims *token.Claims) (err error) {
	if len(client.Permissions) == 0 {
		return &fault{
			reason: refusal.GrantNotAllowed, detail: "client " + client.ID + " has no permissions",
			text: "The client has no permissions of its own; ask for a scope, if it is to manage tokens",
		}
	}
	claims.Permissions = client.Permissions
	claims.Audience, err = p.audiences(c.issuer.settings.Audiences)
	return err
}
