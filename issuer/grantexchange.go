package issuer

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// The token types of RFC 8693 §3 that our access tokens are.
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// mostActors bounds how often a token can be exchanged, one out of the other.
const mostActors = 8

// grantByExchange gives a client that may `exchange` a narrower token for one of ours (RFC 8693). The new token opens
// nothing that the old one does not, nor anything that the client may not hand on; it ends when the old one does, if
// not before; it never manages and is never a master. It stands on the old one's grantor, as the old one does, and
// tells in `act` who exchanged it, and in `exchanged_from` which tokens it comes from: revoking one of these revokes
// it. A request can narrow it further: by resource and audience, and by our own parameters tenant_permissions (JSON, as
// the claim) and expires_in (seconds).
func (c *call) grantByExchange(p params) (*oauthAnswer, error) {
	client, err := c.confidential(p)
	if err != nil {
		return nil, err
	}
	if !may(client, token.Exchange) {
		return nil, refusal.Because(refusal.GrantNotAllowed, "%s is not in `may` of client %s", token.Exchange, client.ID)
	}
	if err := exchangeable(p); err != nil {
		return nil, err
	}
	subject, err := c.subjectToken(p.one("subject_token"), client)
	if err != nil {
		return nil, err
	}
	claims, err := c.narrowed(p, subject, client)
	if err != nil {
		return nil, err
	}
	compact, err := c.sign(client, claims, "token-exchange of "+subject.Claims.ID)
	if err != nil {
		return nil, err
	}
	return &oauthAnswer{AccessToken: compact, IssuedTokenType: typeAccessToken}, nil
}

// exchangeable holds the request to what is exchanged here.
func exchangeable(p params) error {
	isToken := func(kind string) bool { return kind == typeAccessToken || kind == typeJWT }
	switch requested := p.one("requested_token_type"); {
	case p.one("subject_token") == "":
		return lacking("subject_token")
	case p.one("subject_token_type") == "":
		return lacking("subject_token_type")
	case !isToken(p.one("subject_token_type")):
		return bad("subject_token_type must be %s or %s", typeAccessToken, typeJWT)
	case requested != "" && !isToken(requested):
		return bad("requested_token_type must be %s or %s", typeAccessToken, typeJWT)
	case p.one("actor_token") != "" || p.one("actor_token_type") != "":
		return bad("The actor is the client that authenticates; leave actor_token out")
	case p.one("scope") != "":
		return &fault{reason: refusal.ScopeUnknown, text: "An exchanged token has no scope"}
	}
	return nil
}

// subjectToken is what the token says, if it opens something here now and is not somebody's own.
func (c *call) subjectToken(compact string, client *config.Client) (*jose.Verified, error) {
	v, err := c.issuer.presentable(compact, c.now)
	if err != nil && refusal.Of(err).Status() >= http.StatusInternalServerError {
		return nil, err // we cannot tell
	}
	if err != nil {
		return nil, notExchanged(err.Error())
	}
	t := &v.Claims
	switch {
	case t.Manages():
		return nil, notExchanged("a management token")
	case c.issuer.clients.byID[t.Subject] != nil && t.Subject != client.ID:
		return nil, notExchanged("another client's own token") // its subject would be one that only that client may have
	case t.Key != "" && (c.proof == nil || c.proof.Thumbprint != t.Key):
		return nil, notExchanged("bound to a key that this request has no proof of") // who has it may be a thief
	case len(t.Actors) >= mostActors:
		return nil, notExchanged("exchanged too often")
	}
	return v, nil
}

func notExchanged(detail string) error {
	return &fault{
		reason: refusal.SubjectTokenRefused, text: "The subject_token is not one that can be exchanged here",
		detail: detail,
	}
}

// presentable is a token of ours that opens something at this moment, a management token among them.
func (i *Issuer) presentable(compact string, now time.Time) (*jose.Verified, error) {
	v, err := i.authentic(compact, now)
	if err != nil {
		return nil, err
	}
	if err := i.verifier.CheckTimes(v, now); err != nil {
		return nil, err
	}
	if v.Claims.Manages() {
		return v, nil // who it is was judged; what it may is asked at each endpoint
	}
	_, err = i.trust.Worth(v)
	return v, err
}

// narrowed are the new token's claims.
func (c *call) narrowed(p params, v *jose.Verified, client *config.Client) (*token.Claims, error) {
	t := &v.Claims
	life, err := c.narrowedLife(p, t)
	if err != nil {
		return nil, err
	}
	claims, err := c.issuer.minter.claims(client, t.Subject, life)
	if err != nil {
		return nil, err
	}
	claims.Expiry = min(claims.Expiry, t.Expiry)
	claims.Grantor = t.Grantor
	claims.Actors = append([]token.Actor{{Subject: client.ID}}, t.Actors...)
	from := token.Ancestor{ID: t.ID, ClientID: t.ClientID, KeyID: v.KeyID, IssuedAt: t.IssuedAt}
	claims.Ancestors = append([]token.Ancestor{from}, t.Ancestors...)
	if claims.Permissions, err = c.narrowedPermissions(p, t, client); err != nil {
		return nil, err
	}
	var possible []string // what of the old token's audience is ours to issue for
	for _, a := range t.Audience {
		if slices.Contains(c.issuer.settings.Audiences, a) {
			possible = append(possible, a)
		}
	}
	claims.Audience, err = p.audiences(possible)
	return claims, err
}

func (c *call) narrowedLife(p params, t *token.Claims) (time.Duration, error) {
	life := min(c.issuer.settings.TokenTTL, time.Duration(t.Expiry-c.now.Unix()*1000)*time.Millisecond)
	if wanted := p.one("expires_in"); wanted != "" {
		seconds, err := strconv.ParseInt(wanted, 10, 64)
		if err != nil || seconds < 1 || wanted[0] == '+' {
			return 0, bad("expires_in must be a number of seconds, 1 or more")
		}
		if seconds < int64(life/time.Second) {
			life = time.Duration(seconds) * time.Second
		}
	}
	if life = life.Truncate(time.Second); life < time.Second {
		return 0, notExchanged("it ends within the second")
	}
	return life, nil
}

// narrowedPermissions cuts what the old token opens to what the client may hand on, or may itself if the token is its
// own, and then to what is asked for.
func (c *call) narrowedPermissions(p params, t *token.Claims, client *config.Client) (token.Permissions, error) {
	cut := t.Permissions.Cut(t.Ceiling(client.Permissions, client.Delegate))
	if asked := p.one("tenant_permissions"); asked != "" {
		r := strictjson.NewString(asked)
		wanted, err := readPermissions(r, c.issuer.config.TenantPattern, false)
		if err == nil {
			err = r.End()
		}
		if err != nil {
			return nil, bad("tenant_permissions is not a list of {tenant, allowedActions}: %s", readable(err))
		}
		cut = cut.Cut(wanted)
	}
	if cut == nil {
		cut = token.Permissions{}
	}
	return cut, nil
}
