package issuer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
)

// manager is the client whose management token the request brings, if that token's scope and the client's entry in the
// present config both have the endpoint's word, and the client has a turn left.
func (c *call) manager() (*config.Client, error) {
	bearer, err := c.bearer()
	if err != nil {
		return nil, err
	}
	v, err := c.issuer.verifier.Verify(bearer.text, c.now, ours)
	if err != nil {
		return nil, err
	}
	if err := c.holdsCertificate(&v.Claims); err != nil {
		return nil, err
	}
	if err := c.holdsKey(v, bearer); err != nil {
		return nil, err
	}
	client, err := c.issuer.manages(v, c.now)
	if err != nil {
		return nil, err
	}
	c.x.Issuer, c.event.ClientID = v.Claims.Issuer, client.ID
	if word := c.endpoint.scope; !v.Claims.HasScope(word) || !may(client, word) {
		return nil, refusal.Because(refusal.ScopeMissing, "%s is not both in the token's scope and in `may` of client %s",
			word, client.ID)
	}
	_, err = c.turn(issuing, client)
	return client, err
}

// turn takes one of the client's turns: of those that it has on all replicas together where they are counted so, and
// the store tells, or else of those that it has here. A limit is no reason to stop working. What was refused after all
// gives its turn back.
func (c *call) turn(kind string, client *config.Client) (giveBack func(), err error) {
	i, perSecond := c.issuer, c.issuer.config.Limits.IssueRate
	if i.rates != nil {
		switch wait, err := i.rates.Allow(c.r.Context(), kind+client.ID, perSecond); {
		case err != nil:
		case wait > 0:
			return nil, tooMany(perSecond, wait.Seconds(), "client "+client.ID+", on all replicas")
		default:
			return func() {
				if err := i.rates.Return(c.r.Context(), kind+client.ID, perSecond); err != nil {
					i.log.Debug("a turn was not given back: " + err.Error())
				}
			}, nil
		}
	}
	return i.state.allow(kind, client.ID, perSecond, c.now)
}

// ours is what can be told before the signature is checked: only our own tokens manage. Whether one is a management
// token is judged after it, since an authentic token of the wrong kind is answered otherwise than a forged one.
func ours(v *jose.Verified) error {
	if !v.Issuer.Own {
		return refusal.Because(refusal.TokenIssuerUnknown, "tokens of %q manage nothing here", v.Claims.Issuer)
	}
	return nil
}

// manages is the client of an authentic management token.
func (i *Issuer) manages(v *jose.Verified, now time.Time) (*config.Client, error) {
	t := &v.Claims
	if !managementToken(t, i.settings.URL) {
		return nil, refusal.Because(refusal.TokenNotManagement,
			"aud, scope or tenantPermissions are not a management token's")
	}
	client := i.clients.byID[t.ClientID]
	if client == nil {
		return nil, refusal.Because(refusal.GrantorUnknown, "there is no client %q", t.ClientID)
	}
	if err := mustBind(client, t); err != nil {
		return nil, err
	}
	if other := i.clients.byID[t.Subject]; other != nil && other != client {
		return nil, refusal.Because(refusal.TokenSubjectReserved, "the subject is client %s", other.ID)
	}
	if i.revocations != nil {
		if err := i.revocations.Check(v, now); err != nil {
			return nil, err
		}
	}
	return client, nil
}

func managementToken(t *token.Claims, url string) bool {
	return slices.Equal(t.Audience, []string{url}) && t.Manages() && t.Permissions == nil
}

// A credential is a token as it stands in Authorization.
type credential struct {
	text string
	dpop bool // of the scheme DPoP (RFC 9449 §7.1), else of Bearer
}

// bearer is the request's one credential (RFC 6750 §2.1). A second one is refused even if it is the same.
func (c *call) bearer() (credential, error) {
	text, err := c.authorization()
	return credential{text, c.x.DPoP}, err
}

func (c *call) authorization() (string, error) {
	headers, inQuery := c.r.Header["Authorization"], hasMember(c.r.URL.RawQuery, "access_token")
	switch {
	case len(headers) > 1 || len(headers) == 1 && inQuery:
		return "", refusal.Because(refusal.CredentialsMultiple, "%d Authorization headers, access_token in the query: %t",
			len(headers), inQuery)
	case len(headers) == 1 && request.HasTokenCookie(c.r.Header["Cookie"]):
		return "", refusal.Because(refusal.CredentialsMultiple, "an Authorization header beside a cookie access_token")
	case inQuery:
		return "", refusal.Because(refusal.TokenInQuery, "access_token is a query member")
	case len(headers) == 0:
		return "", refusal.Because(refusal.TokenMissing, "no Authorization header")
	}
	scheme, credential, _ := strings.Cut(headers[0], " ")
	credential = strings.TrimLeft(credential, " ")
	bound := strings.EqualFold(scheme, schemeDPoP)
	if !bound && !strings.EqualFold(scheme, "Bearer") {
		return "", refusal.Because(refusal.TokenSchemeUnsupported, "the scheme is neither Bearer nor DPoP")
	}
	if credential == "" {
		return "", refusal.Because(refusal.TokenMissing, "nothing follows the scheme")
	}
	c.x.DPoP = bound
	return credential, nil
}

// hasMember reports whether any reader of the query would find the member: one that splits at semicolons, too.
func hasMember(query, name string) bool {
	for member := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		key, _, _ := strings.Cut(member, "=")
		if plain, err := url.QueryUnescape(key); err == nil {
			key = plain
		}
		if key == name {
			return true
		}
	}
	return false
}

// A holder is who an accessTokenId makes the caller: a client, as itself or by a token.
type holder struct {
	client *config.Client
	token  *token.Claims // nil: the client's fixed id
}

// may reports whether the holder may do what word says: a token's scope, or its being a master, and its client's entry
// in the present config must both allow it.
func (h *holder) may(word string) bool {
	switch {
	case !may(h.client, word):
		return false
	case h.token == nil:
		return true
	case h.token.Manages():
		return h.token.HasScope(word)
	}
	return h.token.Master
}

// holder finds out whose accessTokenId the request brings: as query member, as form field on the endpoints that take a
// form, or as bearer. The form is read before, as it may hold the credential.
func (c *call) holder(form map[string]string) (*holder, error) {
	id, err := c.accessTokenID(form)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, denied(refusal.TokenMissing, missingID)
	}
	h, err := c.issuer.holderOf(id, c.now)
	if err != nil {
		return nil, err
	}
	c.event.ClientID = h.client.ID
	_, err = c.turn(issuing, h.client)
	return h, err
}

// missingID is what the original says to a request without an accessTokenId.
const missingID = "Access token ID param missing from request"

func (c *call) accessTokenID(form map[string]string) (string, error) {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return "", bad("The query is malformed")
	}
	given := query["accessTokenId"]
	if len(given) > 0 && request.HasTokenCookie(c.r.Header["Cookie"]) {
		return "", refusal.Because(refusal.CredentialsMultiple, "an accessTokenId beside a cookie access_token")
	}
	if id, ok := form["accessTokenId"]; ok {
		given = append(given, id)
	}
	if _, ok := c.r.Header["Authorization"]; ok || hasMember(c.r.URL.RawQuery, "access_token") {
		bearer, err := c.bearer()
		switch reason := refusal.Of(err); {
		case err == nil && bearer.dpop:
			return "", denied(refusal.TokenSchemeUnsupported, "This API takes no tokens that are bound to a key")
		case err == nil:
			given = append(given, bearer.text)
		case reason == refusal.CredentialsMultiple:
			return "", err
		case len(given) == 0:
			return "", denied(reason, missingID) // nothing that could be an id
		default:
			return "", refusal.Because(refusal.CredentialsMultiple, "an accessTokenId beside another credential")
		}
	}
	switch len(given) {
	case 0:
		return "", nil
	case 1:
		return given[0], nil
	}
	return "", refusal.Because(refusal.CredentialsMultiple, "%d credentials", len(given))
}

// holderOf finds out whose accessTokenId this is. Tokens are judged whole before anything of them is told, but for
// their times: of an expired one the dialect says that it is, which a forger must not be told.
func (i *Issuer) holderOf(id string, now time.Time) (*holder, error) {
	if client := i.clients.fixedTo(id); client != nil {
		return &holder{client: client}, nil
	}
	v, err := i.authentic(id, now)
	if err != nil {
		return nil, unknown(err, accessDenied, id)
	}
	if v.Claims.Key != "" || v.Claims.Cert != "" {
		return nil, denied(refusal.TokenBound, "This API takes no tokens that are bound to a key")
	}
	if err := i.verifier.CheckTimes(v, now); err != nil {
		f := &fault{reason: refusal.Of(err), code: accessDenied, text: noToken(v.Claims.ID), detail: err.Error()}
		if f.reason == refusal.TokenExpired {
			f.text = expired(&v.Claims)
		}
		return nil, f
	}
	client := i.clients.byID[v.Claims.ClientID]
	return &holder{client: client, token: &v.Claims}, nil
}

// authentic is a token of ours that one of our present clients was given and that is not revoked; it may be expired.
func (i *Issuer) authentic(compact string, now time.Time) (*jose.Verified, error) {
	v, err := i.verifier.VerifyUntimed(compact, ours)
	if err != nil {
		return nil, err
	}
	return v, i.known(v, now)
}

// known refuses a token of ours that no present client of ours was given, or that is revoked.
func (i *Issuer) known(v *jose.Verified, now time.Time) error {
	t := &v.Claims
	if managementToken(t, i.settings.URL) {
		_, err := i.manages(v, now)
		return err
	}
	if t.Manages() || !slices.ContainsFunc(t.Audience,
		func(a string) bool { return slices.Contains(i.settings.Audiences, a) }) {
		return refusal.Because(refusal.TokenAudienceMismatch,
			"neither a management token nor for one of issuer.audiences")
	}
	client := i.clients.byID[t.ClientID]
	if client == nil || i.clients.byID[t.Grantor] == nil {
		return refusal.Because(refusal.GrantorUnknown, "client %q or grantor %q is gone", t.ClientID, t.Grantor)
	}
	if err := mustBind(client, t); err != nil {
		return err
	}
	if i.revocations != nil {
		if err := i.revocations.Check(v, now); err != nil {
			return err
		}
	}
	return nil
}

func expired(t *token.Claims) string {
	end := t.Expiry
	if t.ExpiresOn != 0 {
		end = t.ExpiresOn
	}
	when := time.UnixMilli(end).UTC().Format("2006-01-02T15:04:05.000Z")
	if t.Application == "" {
		return "Access token \"" + t.ID + "\" expired on " + when
	}
	return "Access token \"" + t.ID + "\" of application \"" + t.Application + "\" expired on " + when
}

func noToken(name string) string { return `No access token found for ID "` + name + `"` }

// digest names a credential without telling it: 48 bits of its SHA-256.
func digest(credential string) string {
	sum := sha256.Sum256([]byte(credential))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

func denied(reason refusal.Reason, text string) error {
	return &fault{reason: reason, code: accessDenied, text: text}
}

// unknown is the refusal of an id that names no token of ours, whatever is wrong with it. That we cannot tell is
// another matter.
func unknown(err error, code, id string) error {
	reason := refusal.Of(err)
	switch {
	case reason.Status() >= http.StatusInternalServerError:
		return err
	case reason == refusal.TokenMalformed, code == noSuchToken:
		reason = refusal.CredentialUnknown
	}
	f := &fault{reason: reason, code: code, text: noToken(digest(id)), detail: err.Error()}
	if code == noSuchToken {
		f.status = http.StatusNotFound
	}
	return f
}
