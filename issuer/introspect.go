package issuer

import (
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// An introspection is RFC 7662 §2.2's answer: of a token that is not active, `active` alone.
type introspection struct {
	Active      bool              `json:"active"`
	Issuer      string            `json:"iss,omitempty"`
	Subject     string            `json:"sub,omitempty"`
	Audience    []string          `json:"aud,omitempty"`
	ClientID    string            `json:"client_id,omitempty"`
	ID          string            `json:"jti,omitempty"`
	TokenType   string            `json:"token_type,omitempty"`
	IssuedAt    int64             `json:"iat,omitempty"` // seconds, as exp
	Expiry      int64             `json:"exp,omitempty"`
	Scope       string            `json:"scope,omitempty"`
	Grantor     string            `json:"grantor,omitempty"`
	Application string            `json:"application,omitempty"`
	Actor       *actor            `json:"act,omitempty"`
	From        []ancestor        `json:"exchanged_from,omitempty"`
	ActorTokens []ancestor        `json:"actor_tokens,omitempty"`
	Confirm     *confirmation     `json:"cnf,omitempty"`
	Permissions token.Permissions `json:"tenantPermissions,omitempty"`
}

// A confirmation is the cnf claim of a token that is bound to a key (RFC 9449 §6.2) or to a certificate.
type confirmation struct {
	Thumbprint  string `json:"jkt,omitempty"`
	Certificate string `json:"x5t#S256,omitempty"` // RFC 8705 §3.2
}

// An actor is the act claim (RFC 8693 §4.1).
type actor struct {
	Subject string `json:"sub"`
	Issuer  string `json:"iss,omitempty"`
	Before  *actor `json:"act,omitempty"`
}

// An ancestor is a member of our claims exchanged_from and actor_tokens.
type ancestor struct {
	Issuer   string `json:"iss,omitempty"`
	Subject  string `json:"sub,omitempty"`
	Session  string `json:"sid,omitempty"`
	ID       string `json:"jti,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	KeyID    string `json:"kid,omitempty"`
	IssuedAt int64  `json:"iat,omitempty"` // seconds
}

// introspect tells a resource server what a token says, if the gate would take it now for one of the resource server's
// audiences. Why a token is not active is not told (RFC 7662 §2.2): what another party's token says is not disclosed.
func (c *call) introspect() (*answer, error) {
	p, err := c.params()
	if err != nil {
		return nil, err
	}
	client, err := c.asking(p)
	if err != nil {
		return nil, err
	}
	given := p.one("token")
	if given == "" {
		return nil, lacking("token")
	}
	v, err := c.issuer.presentable(given, c.now)
	if err != nil && refusal.Of(err).Status() >= http.StatusInternalServerError {
		return nil, err // we cannot tell
	}
	if err != nil || !c.issuer.mayKnow(client, &v.Claims) {
		return &answer{status: http.StatusOK, body: introspection{}}, nil
	}
	c.event.TokenID, c.event.Subject = v.Claims.ID, v.Claims.Subject
	return &answer{status: http.StatusOK, body: introspected(&v.Claims)}, nil
}

// mayKnow reports whether the token is meant for one of the caller's audiences.
func (i *Issuer) mayKnow(client *config.Client, t *token.Claims) bool {
	audiences := client.Audiences
	if audiences == nil {
		audiences = i.settings.Audiences
	}
	return slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(audiences, a) })
}

func introspected(t *token.Claims) introspection {
	said := introspection{
		Active: true, Issuer: t.Issuer, Subject: t.Subject, Audience: t.Audience, ClientID: t.ClientID, ID: t.ID,
		TokenType: "Bearer",
		IssuedAt:  t.IssuedAt / 1000, Expiry: t.Expiry / 1000, Scope: t.Scope, Grantor: t.Grantor, Application: t.Application,
		Permissions: t.Permissions,
	}
	if t.Key != "" || t.Cert != "" {
		said.Confirm = &confirmation{t.Key, t.Cert}
	}
	if t.Key != "" {
		said.TokenType = schemeDPoP
	}
	for _, a := range t.Ancestors {
		said.From = append(said.From, ancestor{a.Issuer, a.Subject, a.Session, a.ID, a.ClientID, a.KeyID, a.IssuedAt / 1000})
	}
	for _, a := range t.ActorTokens {
		said.ActorTokens = append(said.ActorTokens,
			ancestor{a.Issuer, a.Subject, a.Session, a.ID, a.ClientID, a.KeyID, a.IssuedAt / 1000})
	}
	for _, a := range slices.Backward(t.Actors) {
		said.Actor = &actor{a.Subject, a.Issuer, said.Actor}
	}
	return said
}

// asking is the client that asks at an endpoint for clients with a word in `may`: by client authentication, or by a
// management token with that word in its scope.
func (c *call) asking(p params) (*config.Client, error) {
	if c.byBearer() {
		if p.one("client_id") != "" || p.one("client_secret") != "" || p.one("client_assertion") != "" {
			return nil, refusal.Because(refusal.CredentialsMultiple, "client authentication beside a bearer")
		}
		return c.manager()
	}
	client, err := c.confidential(p)
	if err != nil {
		return nil, err
	}
	if word := c.endpoint.scope; !may(client, word) {
		return nil, &fault{reason: refusal.GrantNotAllowed, text: "The client may not " + word, detail: word +
			" is not in `may` of client " + client.ID}
	}
	return client, nil
}

// byBearer reports whether the request comes with a bearer, not with client authentication.
func (c *call) byBearer() bool {
	headers := c.r.Header["Authorization"]
	if len(headers) != 1 {
		return false
	}
	scheme, _, more := strings.Cut(headers[0], " ")
	return more && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, schemeDPoP))
}
