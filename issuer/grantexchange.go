package issuer

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// The token types of RFC 8693 §3 that are taken. Ours are the first two at once.
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
)

// grantByExchange gives a client that may `exchange` a narrower token for one of ours, or for one of an issuer whose
// entry says exchange: true (RFC 8693). The new token opens nothing that the old one does not, nor anything that the
// client may not hand on; it ends when the old one does, if not before; it never manages and is never a master. Made
// from one of ours it stands on the old one's grantor; made from another issuer's, on the client and on that issuer's
// entry. It tells in `act` who acts, and in `exchanged_from` which tokens it comes from: revoking one of these revokes
// it. A request can narrow it further: by scope, resource and audience, and by our own parameters tenant_permissions
// (JSON, as the claim) and expires_in (seconds).
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
	// A bad token costs as much as a good one, so each attempt takes a turn.
	if _, err := c.turn(issuing, client); err != nil {
		return nil, err
	}
	s, err := c.subjectToken(p, client)
	if err != nil {
		return nil, err
	}
	claims, scope, err := c.narrowed(p, s, client)
	if err != nil {
		return nil, err
	}
	compact, err := c.signTaken(claims, "token-exchange of "+lineage(claims.Ancestors))
	if err != nil {
		return nil, err
	}
	return &oauthAnswer{AccessToken: compact, IssuedTokenType: typeAccessToken, Scope: scope}, nil
}

// lineage names the tokens that a token was made from, for a line of the audit.
func lineage(ancestors []token.Ancestor) string {
	var b strings.Builder
	for i := range ancestors {
		if i > 0 {
			b.WriteString(" of ")
		}
		b.WriteString(ancestors[i].ID)
	}
	if n := len(ancestors); n > 0 && ancestors[n-1].Issuer != "" {
		b.WriteString(" of issuer " + ancestors[n-1].Issuer)
	}
	return b.String()
}

// exchangeable holds the request to what is exchanged here.
func exchangeable(p params) error {
	isToken := func(kind string) bool { return kind == typeAccessToken || kind == typeJWT }
	isSubject := func(kind string) bool { return isToken(kind) || kind == typeIDToken }
	requested, kind, actor := p.one("requested_token_type"), p.one("subject_token_type"), p.one("actor_token_type")
	switch {
	case p.one("subject_token") == "":
		return lacking("subject_token")
	case kind == "":
		return lacking("subject_token_type")
	case !isSubject(kind):
		return bad("subject_token_type must be %s, %s or %s", typeAccessToken, typeJWT, typeIDToken)
	case requested != "" && !isToken(requested):
		return bad("requested_token_type must be %s or %s", typeAccessToken, typeJWT)
	case p.one("actor_token") != "" && actor == "":
		return lacking("actor_token_type")
	case p.one("actor_token") == "" && actor != "":
		return bad("actor_token_type without actor_token")
	case actor != "" && !isSubject(actor):
		return bad("actor_token_type must be %s, %s or %s", typeAccessToken, typeJWT, typeIDToken)
	}
	return nil
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

// narrowed are the new token's claims, and what of the request's scope they keep.
func (c *call) narrowed(p params, s *subject, client *config.Client) (*token.Claims, string, error) {
	t := &s.Claims
	acts, err := c.actor(p, s, client)
	if err != nil {
		return nil, "", err
	}
	life, err := c.narrowedLife(p, acts.until)
	if err != nil {
		return nil, "", err
	}
	claims, err := c.issuer.minter.claims(client, t.Subject, life)
	if err != nil {
		return nil, "", err
	}
	claims.Expiry = min(claims.Expiry, acts.until)
	claims.Cert = t.Cert
	claims.Actors = append([]token.Actor{acts.as}, s.actors...)
	claims.Ancestors = s.ancestors
	if claims.ActorTokens = acts.tokens; len(claims.Ancestors)+len(claims.ActorTokens) > mostTokens {
		return nil, "", notExchanged("it comes from too many tokens")
	}
	if claims.Custom, err = c.carried(p, p.one("subject_token"), client); err != nil {
		return nil, "", err
	}
	if acts.named != nil { // who may act goes on with the token, or exchanging it again would shed it
		claims.Custom = append(claims.Custom, token.Custom{Name: "may_act", Value: acts.named.json()})
	}
	possible, most := c.issuer.settings.Audiences, client.Delegate
	if !s.Issuer.Own && len(p["audience"])+len(p["resource"]) == 0 {
		// What the client does not ask for, its user's token must open already: not routes with audiences of their own.
		possible = c.issuer.trust.Narrow(possible, t.Audience)
	}
	if s.Issuer.Own {
		claims.Grantor = t.Grantor
		most = t.Ceiling(client.Permissions, client.Delegate) // of its own token what it may itself
		possible = slices.DeleteFunc(slices.Clone(possible),
			func(a string) bool { return !slices.Contains(t.Audience, a) })
	}
	if claims.Permissions, err = c.narrowedPermissions(p, s.permissions.Cut(most)); err != nil {
		return nil, "", err
	}
	var scope string
	if claims.Permissions, scope, err = c.scoped(p.one("scope"), claims.Permissions); err != nil {
		return nil, "", err
	}
	if claims.Audience, err = p.audiences(possible); err != nil {
		return nil, "", err
	}
	if len(claims.Audience) == 0 {
		return nil, "", &fault{
			reason: refusal.ResourceUnknown, text: "Name the resource or audience: none goes with this subject_token by itself",
		}
	}
	return claims, scope, jose.CheckIdentity(claims)
}

func (c *call) narrowedLife(p params, until int64) (time.Duration, error) {
	life := min(c.issuer.settings.TokenTTL, time.Duration(until-c.now.Unix()*1000)*time.Millisecond)
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

// narrowedPermissions cuts permissions to what is asked for.
func (c *call) narrowedPermissions(p params, cut token.Permissions) (token.Permissions, error) {
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

// scoped cuts permissions to the words of a scope: each is the name of a role, whose "{tenant}" means any, or else an
// action. kept are the words that allow anything then (RFC 6749 §3.3); the new token itself has no scope, which would
// make it a management token.
func (c *call) scoped(scope string, all token.Permissions) (cut token.Permissions, kept string, err error) {
	if scope == "" {
		return all, "", nil
	}
	var wanted token.Permissions
	var words []string
	for word := range strings.SplitSeq(scope, " ") {
		allows := token.Permissions{{Tenant: token.Any, AllowedActions: []string{word}}}
		if role := c.issuer.config.Roles[word]; role != nil {
			allows = role.Permissions.For(token.Any)
		} else if word == token.Any {
			continue
		}
		one := all.Cut(allows)
		if slices.Contains(words, word) || !slices.ContainsFunc(one,
			func(e token.TenantPermission) bool { return len(e.AllowedActions) > 0 }) {
			continue
		}
		words, wanted = append(words, word), token.Union(wanted, allows)
	}
	if len(words) == 0 {
		return nil, "", &fault{
			reason: refusal.ScopeUnknown,
			text:   "The scope has no role and no action that the subject_token and the client allow",
		}
	}
	return all.Cut(wanted), strings.Join(words, " "), nil
}
