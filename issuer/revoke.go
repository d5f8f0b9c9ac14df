package issuer

import (
	"net/http"
	"slices"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// revoke revokes a token (RFC 7009), for the client that was given it, and for clients that may `revoke`. When it is
// answered, the next request with the token is refused here, and on every replica when they share a store. A token that
// is none of ours, or has ended, is revoked already (§2.2).
func (c *call) revoke() (*answer, error) {
	p, err := c.params()
	if err != nil {
		return nil, err
	}
	client, anyones, err := c.revoker(p)
	if err != nil {
		return nil, err
	}
	given := p.one("token")
	if given == "" {
		return nil, lacking("token")
	}
	i := c.issuer
	if !client.Public { // of a public client any caller can say that it is one: only a token of its own shows it
		if _, err := c.turn(issuing, client); err != nil {
			return nil, err
		}
	}
	v, err := i.verifier.VerifyUntimed(given, ours)
	if err != nil && refusal.Of(err).Status() >= http.StatusInternalServerError {
		return nil, err
	}
	if err != nil {
		c.event.Note = "no token of ours"
		return &answer{status: http.StatusOK}, nil
	}
	t := &v.Claims
	c.event.TokenID, c.event.Subject = t.ID, t.Subject
	switch {
	case !anyones && t.ClientID != client.ID:
		return nil, &fault{reason: refusal.GrantNotAllowed, text: "The token is another client's", detail: "client " +
			client.ID + " may not revoke"}
	case client.Public:
		if _, err := c.turn(issuing, client); err != nil {
			return nil, err
		}
	}
	switch {
	case t.Expiry <= c.now.UnixMilli():
		c.event.Note = "it had ended"
		return &answer{status: http.StatusOK}, nil
	case i.revocations == nil:
		return nil, refusal.Because(refusal.RevocationOff, "neither revocations.file nor a shared store is set")
	}
	return c.revokes(t, client)
}

// revokes keeps the revocation of a token and answers 200 once it is durable. A disk or a store that does not keep it
// is a 503 (RFC 7009 §2.2.1): the token is then as good as before, and the client has to try again.
func (c *call) revokes(t *token.Claims, client *config.Client) (*answer, error) {
	err := c.issuer.revocations.Revoke(c.r.Context(), t.Issuer, t.ID, client.ID, t.Expiry)
	if refusal.Of(err) == refusal.StoreUnavailable {
		return nil, &fault{
			reason: refusal.StoreUnavailable, text: "The revocation could not be kept; try again",
			detail: err.Error(),
		}
	}
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK}, nil
}

// revoker is who asks, and whether that may revoke anyone's tokens. A public client only says who it is; as it has to
// have the token, and can revoke its own alone, that does (§2.1).
func (c *call) revoker(p params) (client *config.Client, anyones bool, err error) {
	if c.byBearer() {
		client, err = c.asking(p)
		return client, true, err
	}
	if client, err = c.caller(p); err == nil && client == nil {
		err = unauthenticated("no client is named")
	}
	if err != nil {
		return nil, false, err
	}
	return client, !client.Public && slices.Contains(client.May, c.endpoint.scope), nil
}
