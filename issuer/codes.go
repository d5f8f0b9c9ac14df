package issuer

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// A codeRequest is what POST /api/v1/authorization-codes takes.
type codeRequest struct {
	subject, role, tenant string
	binding               code.Binding
	method                string // of the challenge
	expiresIn             *int64
	client                *config.Client // who asks
	claims                []token.Custom
}

// member reads one member of the body.
func (q *codeRequest) member(r *strictjson.Reader, name string) (err error) {
	switch name {
	case "subject":
		q.subject, err = r.String()
	case "role":
		q.role, err = r.String()
	case "tenant":
		q.tenant, err = filled(r)
	case "client_id":
		q.binding.ClientID, err = filled(r)
	case "redirect_uri":
		q.binding.RedirectURI, err = filled(r)
	case "code_challenge":
		q.binding.Challenge, err = filled(r)
	case "dpop_jkt":
		q.binding.Key, err = filled(r)
	case "code_challenge_method":
		q.method, err = filled(r)
	case "claims":
		q.claims, err = readCustom(r, q.client)
	case "expires_in":
		var n int64
		n, err = r.Int64()
		q.expiresIn = &n
	default:
		err = &unknownMember{name}
	}
	return err
}

// filled reads a string that must say something: an empty one would count as a member that is not there.
func filled(r *strictjson.Reader) (string, error) {
	s, err := r.String()
	if err == nil && s == "" {
		err = r.Fault("this is empty; leave the member out instead")
	}
	return s, err
}

type codeAnswer struct {
	AuthorizationCode string `json:"authorization_code"`
	ExpiresIn         int64  `json:"expires_in"`
}

// issueCode hands out a code to a backend that has just logged its user in.
func (c *call) issueCode() (*answer, error) {
	client, err := c.manager()
	if err != nil {
		return nil, err
	}
	q := codeRequest{client: client}
	if err := c.json(q.member); err != nil {
		return nil, err
	}
	c.event.Subject, c.event.Tenant = q.subject, q.tenant
	grant, err := c.codeGrant(client, &q)
	if err != nil {
		return nil, err
	}
	sealed, err := c.issuer.sealer.seal(*grant, q.binding)
	if err != nil {
		return nil, unsealed(err)
	}
	if c.event.TokenID, err = code.TokenIDOf(sealed); err != nil {
		return nil, err
	}
	c.event.TTL = grant.Lifetime
	return &answer{status: http.StatusCreated, body: codeAnswer{sealed, int64(grant.Lifetime / time.Second)}}, nil
}

// unsealed lets the client read how many bytes a code has room for.
func unsealed(err error) error {
	var e *refusal.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Reason {
	case refusal.CodeTooLong:
		return &fault{reason: e.Reason, text: "The code would be too long: " + e.Detail}
	case refusal.BodyInvalid:
		return bad("The code cannot hold this: %s", e.Detail)
	}
	return err
}

// codeGrant holds the request to what the client may hand on.
func (c *call) codeGrant(client *config.Client, q *codeRequest) (*code.Grant, error) {
	if err := q.whole(); err != nil {
		return nil, err
	}
	i := c.issuer
	role := i.config.Roles[q.role]
	if role == nil {
		return nil, bad("There is no such role in the config")
	}
	c.event.Role = role.Name
	permissions, err := grantable(role, q.tenant, i.config.TenantPattern)
	if err != nil {
		return nil, err
	}
	if err := i.clients.subjectFault("subject", q.subject); err != nil {
		return nil, err
	}
	if id := q.binding.ClientID; id != "" && i.clients.byID[id] == nil {
		return nil, bad("client_id is no client of the config")
	}
	if bound := i.clients.byID[q.binding.ClientID]; bound != nil && bound.Public && q.binding.Challenge == "" {
		return nil, bad("client_id is a public client: its codes need a code_challenge")
	}
	if err := covered(client, permissions); err != nil {
		return nil, err
	}
	nominal := client.CodeTTL.Truncate(time.Second)
	lifetime := nominal
	if q.expiresIn != nil {
		if *q.expiresIn < 1 || *q.expiresIn > int64(nominal/time.Second) {
			return nil, bad("expires_in must be from 1 to %d, the client's code_ttl in seconds", nominal/time.Second)
		}
		lifetime = time.Duration(*q.expiresIn) * time.Second
	}
	packed, err := code.PackClaims(q.claims)
	if err != nil {
		return nil, unsealed(err)
	}
	return &code.Grant{
		IssuedAt: c.now.UnixMilli(), Lifetime: lifetime, Nominal: nominal, Claims: packed,
		Client: code.DigestOf(client.ID), Role: code.DigestOf(role.Name), Tenant: q.tenant, Subject: q.subject,
	}, nil
}

// whole reports whether the members that must be there are, and those that need each other.
func (q *codeRequest) whole() error {
	switch b := &q.binding; {
	case q.subject == "":
		return need("subject")
	case q.role == "":
		return need("role")
	case (b.Challenge == "") != (q.method == ""):
		return bad("code_challenge and code_challenge_method go together")
	case q.method != "" && q.method != "S256":
		return bad("code_challenge_method must be S256")
	case b.Challenge != "" && !challenge(b.Challenge):
		return bad("code_challenge must be a SHA-256 in base64url without padding, 43 characters")
	case b.Key != "" && !challenge(b.Key):
		return bad("dpop_jkt must be a SHA-256 in base64url without padding, 43 characters")
	case b.RedirectURI != "" && !redirectURI(b.RedirectURI):
		return bad("redirect_uri must be an absolute URI without a fragment")
	}
	return nil
}

// challenge reports whether s is an S256 code_challenge (RFC 7636 §4.2).
func challenge(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(sum) == 32 && len(s) == 43
}

// redirectURI reports whether s can be one (RFC 6749 §3.1.2). Whether the client may use it is not asked: at redemption
// the same must be presented, byte by byte.
func redirectURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && len(s) <= 2048 && !strings.Contains(s, "#") &&
		!strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}
