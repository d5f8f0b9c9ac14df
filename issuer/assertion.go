package issuer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// longestAssertion bounds exp - iat, and with it how long the jti of an assertion must be remembered.
	longestAssertion = 10 * time.Minute

	// assertionsPerClient bounds the memory of used assertions. Beyond it, old ones are refused, never accepted twice.
	assertionsPerClient = 1 << 16
)

// newAssertions makes the verifier of client assertions (RFC 7523 §3): each client that has keys is the issuer of its
// own, and its keys are for nothing else. Their typ is "JWT" or absent, as libraries send it, or the explicit one;
// never that of an access token.
func newAssertions(cfg *config.Config) (*jose.Verifier, error) {
	o := jose.Options{
		Leeway: cfg.ClockLeeway, MaxBytes: cfg.Limits.TokenBytes, PreparedKeys: cfg.Limits.PreparedKeys,
	}
	for _, c := range cfg.Issuer.Clients {
		if c.Keys == nil {
			continue
		}
		o.Issuers = append(o.Issuers, &jose.Issuer{
			URL: c.ID, Keys: func() *jose.KeySet { return c.Keys }, Types: []string{"", "JWT", "client-authentication+jwt"},
			MaxLifetime: longestAssertion, Assertions: true,
		})
	}
	return jose.NewVerifier(o)
}

// asserted is the client whose key signed the assertion. Its jti is consumed last, after every other check. What names
// none of these clients as its issuer may be the token of a workload.
func (i *Issuer) asserted(c *call, who presented) (*config.Client, error) {
	if len(i.workloads) > 0 && i.assertions.Names(who.assertion) == "" {
		return i.workload(c, who)
	}
	v, err := i.assertions.Verify(who.assertion, c.now, func(v *jose.Verified) error { return i.meant(v, who.id) })
	if err != nil {
		return nil, assertionFault(err)
	}
	t := &v.Claims
	made := t.IssuedAt
	if made == 0 {
		made = t.NotBefore
	}
	if err := i.spend(c, spent{
		client: t.Issuer, name: t.ID, made: made, notBefore: t.NotBefore, expiry: t.Expiry, guard: i.once,
	}); err != nil {
		return nil, assertionFault(err)
	}
	c.now = i.clock() // the assertion may have been held
	return i.clients.byID[v.Claims.Issuer], nil
}

// meant reports whether the assertion says what RFC 7523 §3 asks for: its subject is its issuer, and it is meant for
// us. It must name us alone: another party that it named could use it here.
func (i *Issuer) meant(v *jose.Verified, id string) error {
	t := &v.Claims
	switch {
	case t.Subject != t.Issuer || id != "" && id != t.Issuer:
		return refusal.Because(refusal.ClientUnauthenticated, "iss, sub and client_id are not one")
	case t.Cert != "":
		return refusal.Because(refusal.TokenBindingUnsupported, "an assertion that is bound to a certificate")
	case t.ID == "":
		return refusal.Because(refusal.ClientUnauthenticated, "no jti")
	case len(t.Audience) == 0:
		return refusal.Because(refusal.ClientUnauthenticated, "no aud")
	}
	ours := []string{i.settings.URL, i.at("/oauth2/token"), i.at("/oauth2/introspect"), i.at("/oauth2/revoke")}
	for _, a := range t.Audience {
		if !slices.Contains(ours, a) {
			return refusal.Because(refusal.ClientUnauthenticated, "aud names another than us")
		}
	}
	return nil
}

// at is the URL of one of our paths: they begin at the root of the issuer's host, whatever path the issuer has.
func (i *Issuer) at(path string) string { return origin(i.settings.URL) + path }

// origin is the scheme and host of an issuer's URL, which the config has checked.
func origin(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer
	}
	return u.Scheme + "://" + u.Host
}

// assertionFault tells the log what is wrong with an assertion, and the client only that it is.
func assertionFault(err error) error {
	reason := refusal.Of(err)
	switch {
	case reason == refusal.StoreUnavailable, reason == refusal.IssuerUnavailable, reason == refusal.SignaturesBusy,
		reason == refusal.RevocationsStale:
		return err // we cannot tell
	case reason != refusal.AssertionUsed:
		reason = refusal.ClientUnauthenticated
	}
	if errors.Is(err, errUndated) {
		return &fault{reason: reason, text: "Client authentication failed: " + errUndated.Error(), detail: err.Error()}
	}
	return &fault{reason: reason, text: "Client authentication failed", detail: err.Error()}
}

// An Assertions guard remembers which client assertions were used, for all replicas; see replay.Once.
type Assertions interface {
	Consume(ctx context.Context, u replay.Use, made int64) error
}

// errUndated is what a client is told whose assertion says neither when it was made nor from when on it counts: for a
// while after each start it cannot be told from one that the process before has accepted.
var errUndated = errors.New("the assertion has no iat, and this server began less than 10 minutes ago; add iat to it")

// spent is an assertion, or a workload's token, that authenticates once.
type spent struct {
	client          string     // whose share of the memory it takes
	name            string     // among those of the client
	made, notBefore int64      // ms; made is 0 where it has neither iat nor nbf
	expiry          int64      // ms
	guard           Assertions // nil: the state's
}

// spend consumes the jti of an assertion. The memory of them ends with the process, or with the shared store's epoch;
// so an assertion that was made before it began, and may have been used then, is refused. None is accepted before it
// was made (iat) and before it counts (nbf), by this clock: what lies ahead within the leeway is held until then, or it
// could be used again by a process that begins in between. One that has neither claim counts as made as early as it can
// have been.
func (i *Issuer) spend(c *call, s spent) error {
	dated := s.made != 0
	if !dated {
		s.made = s.expiry - longestAssertion.Milliseconds()
	}
	if _, err := i.state.hold.Until(c.r.Context(), max(s.made, s.notBefore), i.clock().UnixMilli()); err != nil {
		return refusal.Because(refusal.AssertionUsed, "%v", err)
	}
	sum := sha256.Sum256([]byte(s.name))
	use := replay.Use{Client: s.client, Nonce: [24]byte(sum[:24]), Expiry: s.expiry}
	var err error
	if s.guard != nil {
		err = s.guard.Consume(c.r.Context(), use, s.made)
	} else {
		err = i.state.spend(c.r.Context(), use, s.made)
	}
	switch refusal.Of(err) {
	case "":
		return nil
	case refusal.StoreUnavailable:
		return err
	case refusal.CodeUsed:
		return refusal.Because(refusal.AssertionUsed, "%v", err)
	default:
		if !dated {
			i.log.Warn("a client assertion without iat is refused for a while after a start: " + s.client + " should add iat")
			return fmt.Errorf("%w: %w", errUndated, refusal.Because(refusal.AssertionUsed, "%v", err))
		}
		return refusal.Because(refusal.AssertionUsed, "%v", err)
	}
}

// spend is what this process remembers.
func (s *State) spend(ctx context.Context, u replay.Use, made int64) error {
	if began := s.began.UnixMilli(); made < began {
		return refusal.Because(refusal.AssertionUsed, "made %d ms before this process began", began-made)
	}
	return s.assertions.Consume(ctx, u)
}

// remember makes room for the used assertions of the clients that have keys, and for the tokens of workloads that
// authenticate once. What a client used before a reload stays
// used after it.
func (s *State) remember(all []*config.Client, clock func() time.Time) error {
	var ids []string
	for _, c := range all {
		if c.Keys != nil || c.Identity != nil && c.Identity.Once {
			ids = append(ids, c.ID)
		}
	}
	capacity := assertionsPerClient * max(1, len(ids))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assertions != nil {
		return s.assertions.Reconfigure(ids, capacity)
	}
	guard, err := replay.NewMemory(replay.Options{Clients: ids, Capacity: capacity, Clock: clock})
	// A process begins at a whole second (see app.New), as iat is in whole seconds.
	s.assertions, s.began = guard, clock().Truncate(time.Second)
	return err
}
