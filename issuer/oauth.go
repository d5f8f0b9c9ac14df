package issuer

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
)

// The grants of POST /oauth2/token. There is no implicit and no password grant (RFC 9700 §2.1.2, §2.4), and no refresh
// token: a refresh token is a credential that lives long and must be looked up, while our codes are cheap to issue
// anew.
const (
	grantCode     = "authorization_code"
	grantClient   = "client_credentials"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// grantTypes lists what oauthToken serves, for the metadata.
func grantTypes() []string { return []string{grantCode, grantClient, grantExchange} }

// An oauthAnswer is RFC 6749 §5.1's, with RFC 8693 §2.2.1's issued_token_type.
type oauthAnswer struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type,omitempty"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	Scope           string `json:"scope,omitempty"`
}

// oauthToken is the token endpoint of RFC 6749 §3.2; each grant has a file of its own.
func (c *call) oauthToken() (*answer, error) {
	p, err := c.params()
	if err != nil {
		return nil, err
	}
	if err := c.readProof(); err != nil {
		return nil, err
	}
	var body *oauthAnswer
	switch grant := p.one("grant_type"); grant {
	case "":
		return nil, lacking("grant_type")
	case grantCode:
		body, err = c.grantByCode(p)
	case grantClient:
		body, err = c.grantToClient(p)
	case grantExchange:
		body, err = c.grantByExchange(p)
	default:
		return nil, &fault{reason: refusal.GrantUnsupported, text: "The grant_type is none of " +
			strings.Join(grantTypes(), ", ")}
	}
	if err != nil {
		return nil, err
	}
	body.TokenType, body.ExpiresIn = "Bearer", int64(c.event.TTL/time.Second)
	a := &answer{status: http.StatusOK, body: body}
	if c.proof != nil {
		body.TokenType = schemeDPoP
		if c.proof.Nonce != "" {
			a.header = http.Header{dpop.NonceHeader: {c.proof.Nonce}}
		}
	}
	return a, nil
}

// params are the parameters of a request to an OAuth endpoint. Those that we do not know are ignored (RFC 6749 §3.2).
type params map[string][]string

// one is a parameter's value; "" if it was not sent.
func (p params) one(name string) string {
	if len(p[name]) == 0 {
		return ""
	}
	return p[name][0]
}

// repeatable tells the parameters that a request may have more than once (RFC 8707 §2, RFC 8693 §2.1).
func repeatable(name string) bool { return name == "resource" || name == "audience" }

// params reads the form. A parameter without a value counts as not sent, and none is sent twice (RFC 6749 §3.1). None
// may come in the URL, which others log (RFC 6749 §2.3.1).
func (c *call) params() (params, error) {
	if !c.contentType("application/x-www-form-urlencoded") {
		return nil, &fault{
			reason: refusal.MediaUnsupported,
			text:   "The parameters must be sent as Content-Type: application/x-www-form-urlencoded, without a content coding",
		}
	}
	if c.r.URL.RawQuery != "" {
		return nil, bad("The parameters belong into the body, not into the URL")
	}
	data, err := c.read()
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, bad("The form is malformed")
	}
	p := make(params, len(values))
	for name, list := range values {
		if len(list) > 1 && !repeatable(name) {
			return nil, bad("A parameter is there twice")
		}
		if list = slices.DeleteFunc(list, func(s string) bool { return s == "" }); len(list) > 0 {
			p[name] = list
		}
	}
	return p, nil
}

func lacking(name string) error { return bad("The request lacks the parameter %s", name) }

// audiences are those that a token is for: all that can be, narrowed to what the request names by resource (RFC 8707)
// or, in an exchange, by audience too.
func (p params) audiences(all []string) ([]string, error) {
	wanted := p["resource"]
	if p.one("grant_type") == grantExchange {
		wanted = slices.Concat(wanted, p["audience"])
	}
	if len(wanted) == 0 {
		return all, nil
	}
	var chosen []string
	for _, a := range wanted {
		if !slices.Contains(all, a) {
			return nil, &fault{reason: refusal.ResourceUnknown, text: "No token is issued here for this resource or audience"}
		}
		if !slices.Contains(chosen, a) {
			chosen = append(chosen, a)
		}
	}
	return chosen, nil
}

// sign encodes and signs the claims of a grant, once the client has a turn, and notes them for the audit.
func (c *call) sign(client *config.Client, claims *token.Claims, grant string) (string, error) {
	if _, err := c.turn(issuing, client); err != nil {
		return "", err
	}
	return c.signTaken(claims, grant)
}

// signTaken is sign for a client that has taken its turn already.
func (c *call) signTaken(claims *token.Claims, grant string) (string, error) {
	c.event.Subject, c.event.TokenID, c.event.Note = claims.Subject, claims.ID, "grant "+grant
	if c.workload != "" {
		c.event.Note += ", workload " + noted(c.workload)
	}
	c.event.TTL = time.Duration(claims.Expiry-claims.IssuedAt) * time.Millisecond
	if err := c.bind(claims); err != nil {
		return "", err
	}
	if err := c.await(); err != nil {
		return "", err
	}
	if err := c.prove(); err != nil {
		return "", err
	}
	compact, _, err := c.issuer.minter.mint(c.r.Context(), claims)
	return compact, err
}

// oauth is the dialect of the OAuth endpoints (RFC 6749 §5.2; RFC 7009 §2.2.1 and RFC 7662 §2.3 refer to it).
type oauth struct{}

// An oauthError is what a refusal looks like.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (oauth) body(_ *call, status int, f *fault) any {
	code := oauthCode(f.reason, status)
	if code == "invalid_grant" {
		// What is wrong with a code is not told to a caller that could not redeem it.
		return oauthError{code, "The code is expired, was used before, or is not for this request"}
	}
	return oauthError{code, described(f.text)}
}

// status is 400 for what RFC 6749 does not say otherwise, and HTTP's own where the request never got as far as OAuth.
func (oauth) status(r refusal.Reason) int {
	switch s := r.Status(); {
	case r == refusal.CodeUnknown, r == refusal.CodeOtherEpoch:
		return http.StatusBadRequest
	case r == refusal.RevocationOff:
		return http.StatusBadRequest
	default:
		return s
	}
}

// challenge is the WWW-Authenticate of a 401: Basic for clients (RFC 6749 §5.2), Bearer for management tokens.
func (oauth) challenge(x *request.Exchange, r refusal.Reason) string {
	if r == refusal.ClientUnauthenticated || r == refusal.AssertionUsed {
		return `Basic realm="jotgate", charset="UTF-8"`
	}
	if r.Status() == http.StatusUnauthorized || r.Status() == http.StatusForbidden {
		return x.Challenge(r)
	}
	return ""
}

// oauthCode is the error of a reason: those of RFC 6749 §5.2, RFC 6750 §3.1, RFC 7009 §2.2.1 and RFC 8707 §2. For what
// is no fault of the client, RFC 6749 has words only at another endpoint (§4.1.2.1); they are used here too.
func oauthCode(reason refusal.Reason, status int) string {
	switch reason {
	case refusal.ClientUnauthenticated, refusal.AssertionUsed:
		return "invalid_client"
	case refusal.CodeMalformed, refusal.CodeUnknown, refusal.CodeOtherEpoch, refusal.CodeExpired, refusal.CodeNotYetValid,
		refusal.CodeUsed,
		refusal.CodeBelowFloor, refusal.CodeRevoked, refusal.CodeClientGone, refusal.CodeRoleGone, refusal.CodeNotCovered,
		refusal.PKCEFailed:
		return "invalid_grant"
	case refusal.GrantNotAllowed:
		return "unauthorized_client"
	case refusal.GrantUnsupported:
		return "unsupported_grant_type"
	case refusal.ScopeUnknown:
		return "invalid_scope"
	case refusal.ResourceUnknown:
		return "invalid_target"
	case refusal.RevocationOff:
		return "unsupported_token_type"
	case refusal.ProofNonce:
		return "use_dpop_nonce"
	case refusal.ProofMissing, refusal.ProofMalformed, refusal.ProofMismatch, refusal.ProofKeyMismatch, refusal.ProofStale,
		refusal.ProofSignatureInvalid, refusal.ProofUsed:
		return "invalid_dpop_proof"
	}
	switch status {
	case http.StatusUnauthorized:
		return "invalid_token"
	case http.StatusForbidden:
		return "insufficient_scope"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "temporarily_unavailable"
	case http.StatusInternalServerError:
		return "server_error"
	}
	return "invalid_request"
}

// described is text as error_description can have it (RFC 6749 §5.2: printable ASCII without " and \).
func described(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, text)
}
