package issuer

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// longestID bounds a minted id, which has to fit into a URL.
const longestID = 6<<10 - 1

// JTIHeader names the created token for audits; its id is a credential.
const JTIHeader = "X-Access-Token-Jti"

// An accessToken is the dialect's model of one.
type accessToken struct {
	Application string            `json:"application"`
	Master      bool              `json:"master"`
	Permissions token.Permissions `json:"tenantPermissions"`
	ExpiresOn   int64             `json:"expiresOn"` // ms since 1970
	ID          string            `json:"id"`
}

func (t *accessToken) appendJSON(dst []byte) []byte {
	dst = strictjson.AppendString(append(dst, `{"application":`...), t.Application)
	dst = strconv.AppendBool(append(dst, `,"master":`...), t.Master)
	dst = jose.AppendPermissions(append(dst, `,"tenantPermissions":`...), t.Permissions)
	dst = strconv.AppendInt(append(dst, `,"expiresOn":`...), t.ExpiresOn, 10)
	dst = strictjson.AppendString(append(dst, `,"id":`...), t.ID)
	return append(dst, '}')
}

// member reads one member of the body.
func (t *accessToken) member(i *Issuer) func(r *strictjson.Reader, name string) error {
	return func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "application":
			t.Application, err = r.String()
		case "master":
			t.Master, err = r.Bool()
		case "tenantPermissions":
			t.Permissions, err = readPermissions(r, i.config.TenantPattern, i.settings.Serve.MissingTenantIsAny)
		case "expiresOn":
			t.ExpiresOn, err = readExpiresOn(r)
		case "id":
			err = r.Fault("the id is ours to make; leave it out")
		default:
			err = &unknownMember{name}
		}
		return err
	}
}

// readExpiresOn reads milliseconds since 1970; null is 0, as if the member were not there.
func readExpiresOn(r *strictjson.Reader) (int64, error) {
	if r.Kind() == strictjson.KindNull {
		return 0, r.Null()
	}
	ms, err := r.Int64()
	if err == nil && ms <= 0 {
		err = r.Fault("this must be milliseconds since 1970, above 0; leave it out for the longest life")
	}
	return ms, err
}

// createAccessToken lets a master make a token whose id is the credential: the signed token itself. The order is the
// original's: credential, body, master.
func (c *call) createAccessToken() (*answer, error) {
	h, err := c.holder(nil)
	if err != nil {
		return nil, err
	}
	var t accessToken
	if err := c.json(t.member(c.issuer)); err != nil {
		return nil, err
	}
	if t.Permissions == nil {
		t.Permissions = token.Permissions{} // none: it narrows the grant
	}
	c.event.Subject = t.Application
	if err := c.issuer.clients.subjectFault("application", t.Application); err != nil {
		return nil, err
	}
	if err := c.mayCreate(h, &t); err != nil {
		return nil, err
	}
	if t.ID, err = c.mintAccessToken(h, &t); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: &t, header: http.Header{JTIHeader: {c.event.TokenID}}}, nil
}

// mayCreate holds a new token to what its creator may make and its client may hand on.
func (c *call) mayCreate(h *holder, t *accessToken) error {
	if !h.may(token.CreateAccessTokens) {
		return notAllowed("CREATE_TOKEN")
	}
	if t.Master && !h.may(token.CreateMasters) {
		return notAllowed("CREATE_MASTER_TOKEN")
	}
	if err := covered(h.client, t.Permissions); err != nil {
		return &fault{
			reason: refusal.DelegateExceeded, code: actionDenied, detail: err.Error(),
			text: "The tenantPermissions are more than the client may hand on",
		}
	}
	return nil
}

func notAllowed(action string) error {
	return &fault{
		reason: refusal.MasterRequired, code: actionDenied,
		text: `Current subject does not have permission to execute global action "` + action + `"`,
	}
}

// mintAccessToken signs the token that t describes. An expiresOn that is absent or too far away is cut to the longest
// life, and t says so; one in the past makes a token that opens nothing, as it does in the original.
func (c *call) mintAccessToken(h *holder, t *accessToken) (string, error) {
	i := c.issuer
	end := c.now.Add(i.settings.MaxAccessTokenTTL).UnixMilli()
	if t.ExpiresOn == 0 || t.ExpiresOn > end {
		t.ExpiresOn = end
	}
	jti, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	expires := time.UnixMilli(max(t.ExpiresOn, 1000)) // exp is a positive number of whole seconds
	claims := i.minter.claimsAt(h.client, t.Application, jti.String(), c.now, expires)
	claims.Permissions, claims.Application, claims.Master, claims.ExpiresOn = t.Permissions, t.Application, t.Master,
		t.ExpiresOn
	c.event.TokenID, c.event.TTL = claims.ID, expires.Sub(c.now)
	if c.event.TTL <= 0 {
		c.event.Note = "born expired"
	}
	id, _, err := i.minter.mintUpTo(c.r.Context(), claims, min(longestID, i.config.Limits.TokenBytes))
	var f *fault
	if errors.As(err, &f) && f.reason == refusal.TokenTooLarge {
		return "", bad("%s; ask for fewer tenantPermissions", f.text)
	}
	return id, err
}

// readAccessToken answers what a token says, by decoding it, to a master of the same client.
func (c *call) readAccessToken() (*answer, error) {
	h, err := c.holder(nil)
	if err != nil {
		return nil, err
	}
	t, id, err := c.reach(h, "READ_TOKEN")
	if err != nil {
		return nil, err
	}
	said := accessToken{
		Application: t.Application, Master: t.Master, Permissions: t.Permissions, ExpiresOn: t.ExpiresOn,
		ID: id,
	}
	if said.Permissions == nil {
		said.Permissions = token.Permissions{}
	}
	return &answer{status: http.StatusOK, body: &said, header: http.Header{JTIHeader: {t.ID}}}, nil
}

// deleteAccessToken revokes a token, for a master of the same client.
func (c *call) deleteAccessToken() (*answer, error) {
	form, err := c.form()
	if err != nil {
		return nil, err
	}
	for name := range form {
		if name != "accessTokenId" {
			return nil, bad("The form takes accessTokenId alone")
		}
	}
	h, err := c.holder(form)
	if err != nil {
		return nil, err
	}
	t, _, err := c.reach(h, "DELETE_TOKEN")
	if err != nil {
		return nil, err
	}
	i := c.issuer
	if i.revocations == nil {
		return nil, refusal.Because(refusal.RevocationOff, "neither revocations.file nor a shared store is set")
	}
	return c.revokes(t, h.client)
}

// reach finds the token that the path names, for a holder who may act on it: a master whose client created it. Whether
// an id is unknown is told to masters alone.
func (c *call) reach(h *holder, action string) (*token.Claims, string, error) {
	if !h.may(token.CreateAccessTokens) {
		return nil, "", notAllowed(action)
	}
	id := strings.TrimSuffix(mux.Vars(c.r)["id"], ".json") // no token ends like that: its signature is longer
	v, err := c.issuer.authentic(id, c.now)
	if err == nil && v.Claims.Application == "" {
		err = refusal.Because(refusal.CredentialUnknown, "the token is none of this API's")
	}
	if err != nil {
		return nil, "", unknown(err, noSuchToken, id)
	}
	c.event.TokenID, c.event.Subject = v.Claims.ID, v.Claims.Application
	if v.Claims.Grantor != h.client.ID {
		return nil, "", notAllowed(action)
	}
	return &v.Claims, id, nil
}
