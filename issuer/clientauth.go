package issuer

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/clientcert"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/trust"
)

// The ways in which a client shows who it is (RFC 6749 §2.3, RFC 7523 §2.2), as the metadata names them. A public
// client only says who it is.
const (
	authBasic     = "client_secret_basic"
	authPost      = "client_secret_post"
	authAssertion = "private_key_jwt"
	authTLS       = "tls_client_auth"
	authNone      = "none"
)

func authMethods(settings *config.Issuer) []string {
	return append(confidentialMethods(settings), authNone)
}

// presented is who the request says it comes from, and how it means to show that.
type presented struct {
	id, secret, assertion string
	method                string // "": the request names no client
}

// caller is the client that the request comes from: one that has shown its secret or its key, or a public one, which
// has neither; nil if the request names none. Whatever is wrong with the credentials gets one answer.
func (c *call) caller(p params) (*config.Client, error) {
	who, err := c.presented(p)
	if err != nil || who.method == "" {
		return nil, err
	}
	client, err := c.issuer.authenticate(c, who)
	if err != nil {
		return nil, err
	}
	if id := p.one("client_id"); id != "" && id != client.ID {
		return nil, bad("client_id is not the client that authenticates")
	}
	c.event.ClientID = client.ID
	return client, nil
}

// confidential is the caller where a grant or an endpoint is for clients that can show who they are.
func (c *call) confidential(p params) (*config.Client, error) {
	client, err := c.caller(p)
	switch {
	case err != nil:
		return nil, err
	case client == nil:
		return nil, unauthenticated("no client is named")
	case client.Public:
		return nil, refusal.Because(refusal.GrantNotAllowed, "client %s is public", client.ID)
	}
	return client, nil
}

func unauthenticated(detail string) error {
	return &fault{reason: refusal.ClientUnauthenticated, text: "Client authentication failed", detail: detail}
}

// presented finds the one way in which the request authenticates; more than one is refused (RFC 6749 §2.3).
func (c *call) presented(p params) (presented, error) {
	var ways []presented
	switch headers := c.r.Header["Authorization"]; {
	case len(headers) > 1:
		return presented{}, refusal.Because(refusal.CredentialsMultiple, "%d Authorization headers", len(headers))
	case len(headers) == 1:
		who, err := basic(headers[0])
		if err != nil {
			return presented{}, err
		}
		ways = append(ways, who)
	}
	id := p.one("client_id")
	if secret := p.one("client_secret"); secret != "" {
		ways = append(ways, presented{id: id, secret: secret, method: authPost})
	}
	if kind := p.one("client_assertion_type"); kind != "" || p.one("client_assertion") != "" {
		if kind != assertionType {
			return presented{}, unauthenticated("client_assertion_type is not jwt-bearer")
		}
		ways = append(ways, presented{id: id, assertion: p.one("client_assertion"), method: authAssertion})
	}
	switch {
	case len(ways) > 1:
		return presented{}, refusal.Because(refusal.CredentialsMultiple, "%d ways of client authentication", len(ways))
	case len(ways) == 1:
		return ways[0], nil
	case id != "":
		return presented{id: id, method: authNone}, nil
	}
	return presented{}, nil
}

// basic reads HTTP Basic as RFC 6749 §2.3.1 wants it: id and secret are form-encoded before they are joined.
func basic(header string) (presented, error) {
	scheme, credentials, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return presented{}, unauthenticated("the Authorization scheme is not Basic")
	}
	joined, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(credentials, " "))
	if err != nil {
		return presented{}, unauthenticated("Basic is not followed by base64")
	}
	id, secret, both := strings.Cut(string(joined), ":")
	if !both {
		return presented{}, unauthenticated("there is no colon in the Basic credentials")
	}
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil {
		return presented{}, unauthenticated("the Basic credentials are not form-encoded")
	}
	return presented{id: id, secret: secret, method: authBasic}, nil
}

// authenticate finds the client that who is.
func (i *Issuer) authenticate(c *call, who presented) (*config.Client, error) {
	switch who.method {
	case authAssertion:
		return i.asserted(c, who)
	case authNone:
		client := i.clients.byID[who.id]
		switch {
		case client != nil && client.Certificate != nil:
			return client, c.hasCertificate(client)
		case client != nil && client.Public:
			return client, nil
		}
		return nil, unauthenticated("the client must authenticate, or there is none of this id")
	}
	client := i.clients.byID[who.id]
	if !i.clients.holdsSecret(who.id, who.secret) || client == nil {
		return nil, unauthenticated("no client has this id and secret")
	}
	return client, nil
}

// hasCertificate is nil if the connection has the client's certificate (RFC 8705 §2.1), which its tokens are bound to.
func (c *call) hasCertificate(client *config.Client) error {
	cert := c.certificate()
	if cert == nil {
		return unauthenticated("the connection has no client certificate")
	}
	want := client.Certificate
	var has bool
	switch {
	case want.DNS != "":
		has = clientcert.HasDNS(cert, want.DNS)
	case want.URI != "":
		has = clientcert.HasURI(cert, want.URI)
	default:
		subject, ok := clientcert.Subject(cert)
		has = ok && want.Subject != "" && subject == want.Subject
	}
	if !has {
		return unauthenticated("the connection's certificate is not the client's")
	}
	c.thumbprint = clientcert.Thumbprint(cert)
	return nil
}

// certificate is the client's, of the connection that the request came on; nil: none.
func (c *call) certificate() *x509.Certificate { return trust.Certificate(c.r.TLS, c.now) }

// holdsCertificate reports whether the connection has the certificate that a token is bound to (RFC 8705 §3).
func (c *call) holdsCertificate(t *token.Claims) error {
	if t.Cert == "" {
		return nil
	}
	return trust.Bound(t.Cert, c.certificate())
}

// holdsSecret compares a secret with the client's in a time that tells nothing: by digests, and an unknown client's
// with one that no secret has.
func (all *clients) holdsSecret(id, secret string) bool {
	want, known := all.secrets[id]
	have := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(have[:], want[:]) == 1 && known && secret != ""
}

// secretDigest is the SHA-256 of the client's secret, if it has one.
func secretDigest(c *config.Client) (sum [sha256.Size]byte, has bool) {
	switch {
	case c.Secret != "":
		return sha256.Sum256([]byte(c.Secret.Reveal())), true
	case len(c.SecretSHA256) == sha256.Size:
		return [sha256.Size]byte(c.SecretSHA256), true
	}
	return sum, false
}
