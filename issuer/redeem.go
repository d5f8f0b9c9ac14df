package issuer

import (
	"net/http"
	"strconv"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
}

func (t tokenAnswer) appendJSON(dst []byte) []byte {
	dst = strictjson.AppendString(append(dst, `{"access_token":`...), t.AccessToken)
	dst = strictjson.AppendString(append(dst, `,"token_type":`...), t.TokenType)
	dst = strconv.AppendInt(append(dst, `,"expires_in":`...), t.ExpiresIn, 10)
	return append(dst, '}')
}

// redeemCode answers the holder of a code with the token that the code stands for, once. The seed's endpoint knows no
// caller, so a code that is bound to one is unknown here.
func (c *call) redeemCode() (*answer, error) {
	var given *string
	err := c.json(func(r *strictjson.Reader, name string) error {
		if name != "authorization_code" {
			return &unknownMember{name}
		}
		s, err := r.String()
		given = &s
		return err
	})
	if err != nil {
		return nil, err
	}
	if given == nil {
		return nil, need("authorization_code")
	}
	compact, err := c.redeem(redemption{code: *given, audiences: c.issuer.settings.Audiences})
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusCreated, body: tokenAnswer{compact, "Bearer", int64(c.event.TTL / time.Second)}}, nil
}

// A redemption is a code and how it is presented.
type redemption struct {
	code      string
	presented code.Binding
	client    *config.Client // who redeems, and has the token; nil: the client that issued the code
	audiences []string
	// replayed is told of a code that was used before, or may have been, with its nominal expiry in ms; nil: nothing is.
	replayed func(t *token.Claims, issuing *config.Client, expiry int64)
}

// redeem exchanges a code for a token. Everything that can be refused is refused before the code is consumed, so that
// no caller can burn a code that it could not redeem; the signature comes after, so that there are never two tokens. If
// it fails, the code is spent.
func (c *call) redeem(r redemption) (string, error) {
	i := c.issuer
	opened, epoch, err := i.sealer.open(c.r.Context(), r.code, r.presented)
	if err != nil {
		return "", err
	}
	if err := c.await(); err != nil {
		return "", err
	}
	claims, client, err := c.codeClaims(opened)
	if err != nil {
		return "", err
	}
	claims.Audience = r.audiences
	if r.client != nil {
		claims.ClientID = r.client.ID
	}
	if err := c.bind(claims); err != nil {
		return "", err
	}
	if err := i.unrevoked(opened, claims, c.now); err != nil {
		return "", err
	}
	payload, err := i.minter.encode(claims, i.config.Limits.TokenBytes)
	if err != nil {
		return "", refusal.Because(refusal.CodeNotCovered, "%v", err)
	}
	returnTurn, err := c.turn(redeeming, client)
	if err != nil {
		return "", err
	}
	release, err := i.minter.turn(c.r.Context())
	if err != nil {
		returnTurn()
		return "", err
	}
	defer release()
	if err := c.prove(); err != nil {
		returnTurn()
		return "", err
	}
	use := replay.Use{Client: client.ID, Nonce: opened.Nonce, Expiry: opened.NominalExpiry(), Epoch: epoch}
	if err := i.guard.Consume(c.r.Context(), use); err != nil {
		returnTurn() // the holder of a used code cannot use up the turns of those whose codes are good
		reason := refusal.Of(err)
		if r.replayed != nil && (reason == refusal.CodeUsed || reason == refusal.CodeBelowFloor) {
			r.replayed(claims, client, opened.NominalExpiry())
		}
		return "", err
	}
	return i.minter.sign(payload)
}

// unrevoked refuses a code that a revocation reaches. Its token would be younger than any not-before mark that is there
// now, so the marks judge the time at which the code was issued. A revoked token's id is left to the gate: it has its
// own reason here (the code was used before), which the guard tells.
func (i *Issuer) unrevoked(o *code.Opened, claims *token.Claims, now time.Time) error {
	if i.revocations == nil {
		return nil
	}
	issued := *claims
	issued.ID, issued.IssuedAt = "", o.IssuedAt
	err := i.revocations.Check(&jose.Verified{Claims: issued}, now)
	if refusal.Of(err) == refusal.TokenRevoked {
		return refusal.Because(refusal.CodeRevoked, "issued at %s: %v", time.UnixMilli(o.IssuedAt).UTC().Format(time.RFC3339),
			err)
	}
	return err
}

// codeClaims are those of the code's token, if the present config still grants it.
func (c *call) codeClaims(o *code.Opened) (*token.Claims, *config.Client, error) {
	i := c.issuer
	c.event.Subject, c.event.Tenant, c.event.TokenID = o.Subject, o.Tenant, code.TokenID(o.Nonce)
	client := i.clients.byDigest[o.Client]
	if client == nil || !may(client, token.IssueCodes) {
		return nil, nil, refusal.Because(refusal.CodeClientGone,
			"the client that issued the code is gone, or may no longer issue")
	}
	c.event.ClientID = client.ID
	if err := codeLife(o, client, c.now, i.config.ClockLeeway); err != nil {
		return nil, nil, err
	}
	role := i.roles[o.Role]
	if role == nil {
		return nil, nil, refusal.Because(refusal.CodeRoleGone, "the config has no such role any more")
	}
	c.event.Role = role.Name
	permissions, err := grantable(role, o.Tenant, i.config.TenantPattern)
	if err != nil {
		return nil, nil, refusal.Because(refusal.CodeRoleGone, "role %s has changed: %v", role.Name, err)
	}
	if !client.Delegate.Covers(permissions) {
		return nil, nil, refusal.Because(refusal.CodeNotCovered, "delegate of client %s no longer covers role %s", client.ID,
			role.Name)
	}
	if i.clients.byID[o.Subject] != nil {
		return nil, nil, refusal.Because(refusal.CodeNotCovered, "the subject is the id of a client now")
	}
	c.event.TTL = i.settings.TokenTTL.Truncate(time.Second)
	claims := i.minter.claimsAt(client, o.Subject, c.event.TokenID, c.now, c.now.Add(c.event.TTL))
	claims.Permissions = permissions
	if claims.Custom, err = code.UnpackClaims(o.Claims, client.Claims); err != nil {
		return nil, nil, refusal.Because(refusal.CodeNotCovered, "custom claims: %v", err)
	}
	return claims, client, nil
}

// codeLife reports whether the code's life includes now. It is never longer than codes may live at all (RFC 6749
// §4.1.2), nor, if the operator has cut the client's code_ttl since, than it would be now.
func codeLife(o *code.Opened, client *config.Client, now time.Time, leeway time.Duration) error {
	g := o.Grant
	if g.Lifetime > g.Nominal || g.Nominal > longestCode {
		return refusal.Because(refusal.CodeExpired, "its lifetime %v, of nominally %v, is longer than allowed", g.Lifetime,
			g.Nominal)
	}
	g.Lifetime = min(g.Lifetime, client.CodeTTL)
	return g.Live(now, leeway)
}

const longestCode = 600 * time.Second
