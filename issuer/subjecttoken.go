package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/trust"
)

// A subject is a token that is to be exchanged, as it was judged.
type subject struct {
	*jose.Verified
	permissions token.Permissions // what it opens here
	ancestors   []token.Ancestor  // of what is made from it: the latest first, the token itself among them
	actors      []token.Actor     // who has acted with it
	mayAct      jose.Value        // its claim may_act
}

// mostActors bounds how often a token can be exchanged, one out of the other, and mostTokens the tokens that one comes
// from and was exchanged with: each of them is looked for among the revocations.
const (
	mostActors = 8
	mostTokens = 24
)

// subjectToken is the request's subject_token, if it opens something here now, is not another client's own, and the
// sender of the request has the key that it is bound to. Every other one gets the same answer.
func (c *call) subjectToken(p params, client *config.Client) (*subject, error) {
	s, err := c.judged(p.one("subject_token"), p.one("subject_token_type"))
	if err != nil && refusal.Of(err).Status() >= http.StatusInternalServerError {
		return nil, err // we cannot tell
	}
	if err != nil {
		return nil, notExchanged(err.Error())
	}
	t := &s.Claims
	switch {
	case c.issuer.clients.byID[t.Subject] != nil && t.Subject != client.ID:
		return nil, notExchanged("another client's own token") // its subject would be one that only that client may have
	case len(s.actors) >= mostActors:
		return nil, notExchanged("exchanged too often")
	}
	return s, nil
}

func notExchanged(detail string) error {
	return &fault{
		reason: refusal.SubjectTokenRefused, text: "The subject_token is not one that can be exchanged here",
		detail: detail,
	}
}

// judged judges a token as the gate does on a route that asks for no more than a good token, and whether the request
// proves that its sender has it. Tokens of other issuers are taken where their entry says exchange: true.
func (c *call) judged(compact, kind string) (*subject, error) {
	i := c.issuer
	v, err := i.verifier.Verify(compact, c.now, i.worthVerifying)
	if err != nil {
		return nil, err
	}
	s := &subject{Verified: v}
	if v.Issuer.Own {
		err = s.ours(i, c)
	} else {
		err = s.theirs(i, c, compact)
	}
	if err != nil {
		return nil, err
	}
	if err := s.isA(kind); err != nil {
		return nil, err
	}
	if err := c.holds(&v.Claims); err != nil {
		return nil, err
	}
	values, err := i.verifier.ClaimsOf(compact, "may_act")
	if err != nil {
		return nil, err
	}
	s.mayAct = values[0]
	return s, nil
}

// worthVerifying refuses what cannot be exchanged, before its signature is paid for.
func (i *Issuer) worthVerifying(v *jose.Verified) error {
	known := i.trust.Issuer(v)
	switch {
	case v.Issuer.Own:
		return nil
	case known == nil || !known.Trusted.Exchange:
		return refusal.Because(refusal.TokenIssuerUnknown, "issuer %s has no exchange: true", v.Issuer.URL)
	case !trust.MeantFor(&v.Claims, known.Audiences):
		return refusal.Because(refusal.TokenAudienceMismatch, "aud %.100q", v.Claims.Audience)
	}
	return nil
}

// ours judges a token of ours, which may itself be an exchanged one: what is made from it keeps its lineage.
func (s *subject) ours(i *Issuer, c *call) (err error) {
	t := &s.Claims
	if err := i.known(s.Verified, c.now); err != nil {
		return err
	}
	if t.Manages() {
		return &refusal.Error{Reason: refusal.TokenManagement}
	}
	if s.permissions, err = i.trust.Worth(s.Verified); err != nil {
		return err
	}
	s.actors = t.Actors
	s.ancestors = append([]token.Ancestor{{ID: t.ID, ClientID: t.ClientID, KeyID: s.KeyID, IssuedAt: t.IssuedAt}},
		t.Ancestors...)
	return nil
}

// theirs judges a token of another issuer, and takes down what revocations and later configurations need to know of it.
func (s *subject) theirs(i *Issuer, c *call, compact string) (err error) {
	t := &s.Claims
	if s.permissions, err = i.trust.Worth(s.Verified); err != nil {
		return err
	}
	if t.Subject == "" {
		return refusal.Because(refusal.TokenClaimsMalformed, "no sub, which a token of ours must have")
	}
	if err := jose.CheckIdentity(t); err != nil {
		return err
	}
	if i.revocations != nil {
		opened := *s.Verified
		opened.Claims.Permissions = s.permissions
		if err := i.revocations.Check(&opened, c.now); err != nil {
			return err
		}
	}
	// A permission for what belongs to no tenant has no form in a token of ours but "*", which would open every tenant.
	s.permissions = slices.DeleteFunc(slices.Clone(s.permissions),
		func(e token.TenantPermission) bool { return e.Tenant == token.Global })
	for _, a := range t.Actors {
		if a.Issuer == "" {
			a.Issuer = t.Issuer
		}
		s.actors = append(s.actors, a)
	}
	for _, a := range t.Ancestors { // another Jotgate's
		a.Issuer, a.Subject, a.Grantor = t.Issuer, t.Subject, t.Grantor
		s.ancestors = append(s.ancestors, a)
	}
	id := t.ID
	if id == "" {
		id = digestID(compact)
	}
	s.ancestors = append(s.ancestors, token.Ancestor{
		Issuer: t.Issuer, Subject: t.Subject, Session: t.Session, Grantor: t.Grantor, ID: id, ClientID: t.ClientID,
		KeyID: s.KeyID, IssuedAt: t.IssuedAt,
	})
	return nil
}

// digestID names a token without a jti: by its header and claims, since some signatures have a second spelling.
func digestID(compact string) string {
	signed := compact[:strings.LastIndexByte(compact, '.')]
	sum := sha256.Sum256([]byte(signed))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// isA holds a token to the type that the request says it has (RFC 8693 §3): access_token is for what is known to be
// one, id_token for what is known to be the other, jwt for both and for what says nothing of itself.
func (s *subject) isA(kind string) error {
	kinds := map[string]bool{typeJWT: true, typeAccessToken: s.Issuer.Own || s.Kind == jose.KindAccess}
	kinds[typeIDToken] = s.Kind == jose.KindID
	if !kinds[kind] {
		return refusal.Because(refusal.TokenTypeRefused, "it is no %s", kind)
	}
	return nil
}

// holds asks for the proof of a token that is bound to a key: who has the token alone may be a thief. The new token is
// bound to the same.
func (c *call) holds(t *token.Claims) error {
	if t.Key != "" && (c.proof == nil || c.proof.Thumbprint != t.Key) {
		return refusal.Because(refusal.TokenBound, "bound to key %s, of which this request has no proof", t.Key)
	}
	if t.Cert != "" {
		return trust.Bound(t.Cert, trust.Certificate(c.r.TLS, c.now))
	}
	return nil
}

// An acting is who acts with a new token.
type acting struct {
	as     token.Actor
	named  *mayAct          // the subject token's may_act; nil: it has none
	tokens []token.Ancestor // the actors' tokens, with all that they were made from
	until  int64            // when the first of the tokens ends, in ms
}

// actor is who acts with the new token (RFC 8693 §4.1): the client that asks for it or, where the subject token's
// may_act names somebody else, whom the actor_token shows.
func (c *call) actor(p params, s *subject, client *config.Client) (*acting, error) {
	url := c.issuer.settings.URL
	named, err := readMayAct(s.mayAct)
	if err != nil {
		return nil, notExchanged("may_act: " + err.Error())
	}
	acts := &acting{
		as: token.Actor{Subject: client.ID}, named: named, tokens: slices.Clone(s.Claims.ActorTokens), until: s.Claims.Expiry,
	}
	given := p.one("actor_token")
	if given == "" {
		if named != nil && !named.namesClient(client.ID, url) {
			return nil, notExchanged("may_act does not name client " + client.ID)
		}
		return acts, nil
	}
	a, err := c.judged(given, p.one("actor_token_type"))
	if err != nil && refusal.Of(err).Status() >= http.StatusInternalServerError {
		return nil, err
	}
	if err != nil {
		return nil, noActor(err.Error())
	}
	acts.until = min(acts.until, a.Claims.Expiry)
	acts.add(a, url)
	issuer, subject := a.Claims.Identity()
	from, _ := s.Claims.Identity()
	switch {
	case a.Issuer.Own && a.Claims.Own() && subject == client.ID:
		if named != nil && !named.namesClient(client.ID, url) {
			return nil, noActor("may_act does not name client " + client.ID)
		}
		return acts, nil
	case named == nil:
		return nil, noActor("another than the client, which the subject_token's may_act would have to name")
	case !named.names(issuer, subject, client.ID, from):
		return nil, noActor("may_act names another")
	}
	acts.as = token.Actor{Issuer: issuer, Subject: subject}
	return acts, nil
}

// add adds an actor's token, those that it was made from, and those of the actors with which it was.
func (acts *acting) add(a *subject, url string) {
	t := &a.Claims
	for _, from := range slices.Concat(a.ancestors, t.ActorTokens) {
		if from.Issuer == "" { // ours
			from.Issuer, from.Subject, from.Grantor = url, t.Subject, t.Grantor
		}
		same := func(known token.Ancestor) bool { return known.Issuer == from.Issuer && known.ID == from.ID }
		if !slices.ContainsFunc(acts.tokens, same) {
			acts.tokens = append(acts.tokens, from)
		}
	}
}

func noActor(detail string) error {
	return &fault{
		reason: refusal.ActorRefused, text: "The actor_token is not one that may act for the subject_token", detail: detail,
	}
}

// A mayAct is the claim may_act (RFC 8693 §4.4): who may become the actor.
type mayAct struct{ issuer, subject, client string }

// readMayAct reads the claim; nil: there is none. What it says beside these members cannot be checked here, and must
// not be left out.
func readMayAct(v jose.Value) (*mayAct, error) {
	if v == "" {
		return nil, nil
	}
	r, m := strictjson.NewString(string(v)), &mayAct{}
	err := r.Object(func(name string) (err error) {
		switch name {
		case "iss":
			m.issuer, err = r.String()
		case "sub":
			m.subject, err = r.String()
		case "client_id":
			m.client, err = r.String()
		default:
			err = r.Unknown(name)
		}
		return err
	})
	return m, err
}

// json is the claim as it goes on with an exchanged token, of whose original it still speaks.
func (m *mayAct) json() string {
	b := []byte("{")
	for _, member := range [][2]string{{"iss", m.issuer}, {"sub", m.subject}, {"client_id", m.client}} {
		if member[1] == "" {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = strictjson.AppendString(append(strictjson.AppendString(b, member[0]), ':'), member[1])
	}
	return string(append(b, '}'))
}

// namesClient reports whether the claim names one of our clients, which our issuer knows and no other.
func (m *mayAct) namesClient(id, url string) bool {
	return m.subject+m.client != "" && (m.subject == "" || m.subject == id) && (m.client == "" || m.client == id) &&
		(m.issuer == "" || m.issuer == url)
}

// names reports whether the claim names another actor, and not another client than the one that asks. Without iss it
// speaks of subjects of the issuer that wrote it: that of the token which the subject token was first made from.
func (m *mayAct) names(issuer, subject, client, own string) bool {
	if m.issuer != "" {
		own = m.issuer
	}
	return m.subject == subject && own == issuer && (m.client == "" || m.client == client)
}
