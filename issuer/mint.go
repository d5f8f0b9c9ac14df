package issuer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A Minter signs tokens for the clients of one config, within what that config lets each of them have. `jotgate mint`
// uses it alone; it is bound by the same rules as the endpoints. It is safe for concurrent use.
type Minter struct {
	config   *config.Config
	settings *config.Issuer
	clients  *clients
	signing  signing
	rsa      bool
	overhead int // what header and signature add to a token's length, at most
	state    *State
	clock    func() time.Time
}

// NewMinter makes a Minter; a nil clock is time.Now.
func NewMinter(cfg *config.Config, clock func() time.Time) (*Minter, error) {
	if cfg == nil || cfg.Issuer == nil {
		return nil, errors.New("issuer: the config has no issuer")
	}
	if clock == nil {
		clock = time.Now
	}
	return newMinter(cfg, clock, NewState())
}

func newMinter(cfg *config.Config, clock func() time.Time, state *State) (*Minter, error) {
	all, err := newClients(cfg.Issuer.Clients)
	if err != nil {
		return nil, err
	}
	if len(cfg.Issuer.Keys) == 0 {
		return nil, errors.New("issuer: issuer.keys is empty; at least one key must sign")
	}
	m := &Minter{config: cfg, settings: cfg.Issuer, clients: all, state: state, clock: clock}
	m.signing = state.keys.rotate(cfg.Issuer.Keys, clock())
	m.rsa = m.signing.rsa()
	// A first signature shows that the key can sign, and how much longer than its claims a token is: with each of these
	// keys always the same.
	for _, key := range m.signing.keys() {
		probe, err := key.Sign(jose.TypeAccessToken, nil)
		if err != nil {
			return nil, fmt.Errorf("issuer: key %s does not sign: %w", key.ID(), err)
		}
		m.overhead = max(m.overhead, len(probe))
	}
	return m, nil
}

// Management mints a management token: it opens token endpoints, within scope (words of `may`, separated by single
// spaces), and no route. An empty subject is the client itself; a zero ttl is issuer.token_ttl.
func (m *Minter) Management(client, scope, subject string, ttl time.Duration) (string, *token.Claims, error) {
	c, err := m.client(client)
	if err != nil {
		return "", nil, err
	}
	if subject == "" {
		subject = client
	}
	if subject != client {
		if err := m.clients.subjectFault("sub", subject); err != nil {
			return "", nil, err
		}
	}
	for word := range strings.SplitSeq(scope, " ") {
		if !may(c, word) {
			return "", nil, refusal.Because(refusal.ScopeMissing, "client %s does not have %q in its `may`, which is %v", client,
				word, c.May)
		}
	}
	claims, err := m.claims(c, subject, ttl)
	if err != nil {
		return "", nil, err
	}
	claims.Audience, claims.Scope, claims.Grantor = []string{m.settings.URL}, scope, ""
	return m.mint(context.Background(), claims)
}

// ForRole mints an access token with a role's permissions for a subject, which is no client's id. The tenant is for
// roles that say {tenant}, and only for these. A zero ttl is issuer.token_ttl.
func (m *Minter) ForRole(client, role, tenant, subject string, ttl time.Duration) (string, *token.Claims, error) {
	c, err := m.client(client)
	if err != nil {
		return "", nil, err
	}
	r := m.config.Roles[role]
	if r == nil {
		return "", nil, bad("there is no role %q in the config", role)
	}
	permissions, err := grantable(r, tenant, m.config.TenantPattern)
	if err != nil {
		return "", nil, err
	}
	if err := m.clients.subjectFault("sub", subject); err != nil {
		return "", nil, err
	}
	if err := covered(c, permissions); err != nil {
		return "", nil, err
	}
	claims, err := m.claims(c, subject, ttl)
	if err != nil {
		return "", nil, err
	}
	claims.Permissions = permissions
	return m.mint(context.Background(), claims)
}

// Own mints the client's own token, with its own permissions. A zero ttl is issuer.token_ttl.
func (m *Minter) Own(client string, ttl time.Duration) (string, *token.Claims, error) {
	c, err := m.client(client)
	if err != nil {
		return "", nil, err
	}
	claims, err := m.claims(c, client, ttl)
	if err != nil {
		return "", nil, err
	}
	claims.Permissions = append(token.Permissions{}, c.Permissions...)
	return m.mint(context.Background(), claims)
}

func (m *Minter) client(id string) (*config.Client, error) {
	c := m.clients.byID[id]
	if c == nil {
		return nil, refusal.Because(refusal.GrantorUnknown, "there is no client %q in the config", id)
	}
	return c, nil
}

// claims are those that every access token has (RFC 9068 §2.2). The jti sorts by time and is not secret.
func (m *Minter) claims(c *config.Client, subject string, ttl time.Duration) (*token.Claims, error) {
	if ttl == 0 {
		ttl = m.settings.TokenTTL
	}
	if ttl < time.Second || ttl > m.settings.MaxTokenTTL {
		return nil, bad("a token lives from 1s to %v (issuer.max_token_ttl), not %v", m.settings.MaxTokenTTL, ttl)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a jti: %w", err)
	}
	now := m.clock()
	return m.claimsAt(c, subject, id.String(), now, now.Add(ttl)), nil
}

// claimsAt are the claims of a token for our routes, with times in whole seconds as the token has them.
func (m *Minter) claimsAt(c *config.Client, subject, id string, issued, expires time.Time) *token.Claims {
	return &token.Claims{
		Issuer: m.settings.URL, Audience: m.settings.Audiences, Subject: subject, ClientID: c.ID, Grantor: c.ID, ID: id,
		IssuedAt: issued.Unix() * 1000, Expiry: expires.Unix() * 1000,
	}
}

// mint encodes and signs claims at once.
func (m *Minter) mint(ctx context.Context, claims *token.Claims) (string, *token.Claims, error) {
	return m.mintUpTo(ctx, claims, m.config.Limits.TokenBytes)
}

// mintUpTo is mint for a token of at most limit bytes.
func (m *Minter) mintUpTo(ctx context.Context, claims *token.Claims, limit int) (string, *token.Claims, error) {
	payload, err := m.encode(claims, limit)
	if err != nil {
		return "", nil, err
	}
	release, err := m.turn(ctx)
	if err != nil {
		return "", nil, err
	}
	defer release()
	compact, err := m.sign(payload)
	if err != nil {
		return "", nil, err
	}
	return compact, claims, nil
}

// encode makes the payload, if the token will have at most limit bytes: a longer one would be refused where it is used.
func (m *Minter) encode(claims *token.Claims, limit int) ([]byte, error) {
	if c := m.clients.byID[claims.ClientID]; c != nil && c.Bound && claims.Key == "" {
		return nil, &fault{
			reason: refusal.ProofMissing, status: http.StatusForbidden,
			text: "The client must bind its tokens to a key (dpop: required), which only /oauth2/token does",
		}
	}
	if c := m.clients.byID[claims.ClientID]; c != nil && c.Certificate != nil && claims.Cert == "" {
		return nil, &fault{
			reason: refusal.GrantNotAllowed, status: http.StatusForbidden,
			text: "The client's tokens are bound to its certificate (tls_client_auth), which only /oauth2/token does",
		}
	}
	payload := jose.EncodeClaims(make([]byte, 0, 512), claims)
	if size := m.overhead + base64.RawURLEncoding.EncodedLen(len(payload)); size > limit {
		return nil, &fault{
			reason: refusal.TokenTooLarge,
			text:   fmt.Sprintf("The token would have %d bytes, at most %d are taken", size, limit),
		}
	}
	return payload, nil
}

// turn waits until the key may sign; see State.rsaTurn.
func (m *Minter) turn(ctx context.Context) (release func(), err error) {
	if !m.rsa {
		return func() {}, nil
	}
	return m.state.rsaTurn(ctx)
}

func (m *Minter) sign(payload []byte) (string, error) {
	return m.signing.key(m.clock()).Sign(jose.TypeAccessToken, payload)
}
