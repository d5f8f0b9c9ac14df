package app

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/logout"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/issuer"
	"github.com/jotgate/jotgate/proxy"
)

// A snapshot is one configuration, ready to judge requests. It does not change.
type snapshot struct {
	config *config.Config
	issuer *issuer.Issuer // nil: nothing is issued
	guard  *replay.Memory // the one in memory, or a new one that goes there with this snapshot; nil where it is shared
	gate   *proxy.Gate
	proofs *dpop.Checker
	tokens *jose.Verifier
	series *telemetry.Routes // nil in a Judge
	keys   []func()          // let go of the sources of trusted issuers' keys

	cors      *cors.Policy // of what no route decides; nil: none
	endpoints *endpointCORS
	resources resources
	logout    *logout.Endpoint // nil: no issuer tells of logouts

	frontClients *x509.CertPool // verifies the client certificates that a front passes on; nil: these do not count

	keepStory bool // refusals are kept, for explain

	generation int       // 1 at the start, one more with each reload
	loaded     time.Time // when it came into force
}

// build makes a snapshot, or nothing.
func (g *Gate) build(c *config.Config) (*snapshot, error) {
	snap := &snapshot{config: c, guard: g.memory.guard, cors: proxy.CORS(c.CORS), endpoints: newEndpointCORS(c)}
	if c.Decision != nil && c.Decision.ClientCA != "" {
		snap.frontClients = x509.NewCertPool()
		snap.frontClients.AppendCertsFromPEM([]byte(c.Decision.ClientCA))
	}
	snap.keepStory = g.refusals != nil && snap.keepsRefusals()
	var err error
	if snap.resources, err = newResources(c.Resources); err != nil {
		return nil, err
	}
	verifier, err := g.buildVerifier(snap)
	if err != nil {
		snap.close()
		return nil, err
	}
	verifier.OnDisagreement(g.disagreed)
	if before := g.snapshot.Load(); before != nil {
		verifier.Adopt(before.tokens) // so that tokens stay verified whose issuer is as it was
	}
	snap.tokens = verifier
	if snap.proofs, err = g.buildProofs(c); err != nil {
		snap.close()
		return nil, err
	}
	if c.Issuer != nil {
		if err := g.buildIssuer(snap, verifier); err != nil {
			snap.close()
			return nil, err
		}
	}
	options := proxy.Options{
		Config: c, Verifier: verifier, Cache: g.memory.cache, Upstreams: g.memory.upstreams, Rates: g.memory.rates,
		Proofs: snap.proofs,
		Clock:  g.clock, Draining: g.streams, Offline: g.dry,
	}
	if options.Tickets, err = g.buildTickets(c); err != nil {
		snap.close()
		return nil, err
	}
	if g.memory.store != nil {
		options.SharedRates = g.memory.store
	}
	if g.memory.revocations != nil {
		options.Revocations = g.memory.revocations
	}
	if snap.issuer != nil {
		options.Sign = snap.issuer.Sign // which key signs is a matter of time, too
	}
	if snap.gate, err = proxy.New(options); err != nil {
		snap.close()
		return nil, err
	}
	return snap, nil
}

// buildVerifier opens the sources of the keys that are fetched. Those of the snapshot before stay warm.
func (g *Gate) buildVerifier(snap *snapshot) (*jose.Verifier, error) {
	if g.dry {
		return keysets.Verifier(snap.config)
	}
	sources := make(map[*config.TrustedIssuer]*keysets.Source)
	for _, t := range snap.config.TrustedIssuers {
		if t.Remote == nil {
			continue
		}
		source, release, err := g.memory.keys.Open(keysets.Settings{
			Issuer: cmp.Or(t.Pattern, t.Issuer), URL: t.Remote.URL, InsecureHTTP: t.Remote.InsecureHTTP,
			Authorities: t.Remote.Authorities,
			Refresh:     t.Remote.Refresh, MaxAge: t.Remote.MaxAge, Cooldown: t.Remote.Cooldown, Wait: t.Remote.Wait,
			Timeout: t.Remote.Timeout, Bearer: t.Remote.Bearer, BearerFile: t.Remote.BearerFile,
			Headers: keysets.EncodeHeaders(t.Remote.Headers),
		})
		if err != nil {
			return nil, fmt.Errorf("trusted_issuers: %w", err)
		}
		sources[t], snap.keys = source, append(snap.keys, release)
	}
	source := func(t *config.TrustedIssuer) keysets.KeySource { return sources[t] }
	if err := g.buildLogout(snap, source); err != nil {
		return nil, err
	}
	return keysets.VerifierWith(snap.config, source)
}

// disagreed tells of a prepared key that accepted what the standard library does not.
func (g *Gate) disagreed(kid string) {
	g.memory.disagreements.Add(1)
	g.log.Error("a prepared key accepted a signature that the standard library does not: no key is prepared any more",
		zap.String("kid", kid))
}

// buildProofs makes the judge of DPoP proofs, one for our endpoints and for the gate: a proof that was used at either
// is used.
func (g *Gate) buildProofs(c *config.Config) (*dpop.Checker, error) {
	o := dpop.Options{
		MaxAge: c.DPoP.MaxAge, Leeway: c.ClockLeeway, RequireNonce: c.DPoP.RequireNonce, NonceTTL: c.DPoP.NonceTTL,
		Origins: c.DPoP.Origins, State: g.memory.proofs, Clock: g.clock,
	}
	if g.dry {
		o.Once = unspent{g.memory.proofs}
	}
	if g.memory.sharedGuard != nil {
		o.Once = sharedProofs{replay.NewOnce(g.memory.store, "proof", longestOnce)}
	}
	for _, secret := range c.DPoP.NonceSecrets {
		o.NonceSecrets = append(o.NonceSecrets, []byte(secret.Reveal()))
	}
	return dpop.New(o)
}

// unspent is what a Judge remembers of proofs: nothing, and it accepts none; so it has no beginning before which a
// proof would have to be doubted.
type unspent struct{ *dpop.State }

func (unspent) Since() int64 { return 0 }

func (g *Gate) buildIssuer(snap *snapshot, verifier *jose.Verifier) (err error) {
	var guard issuer.Guard = g.memory.sharedGuard
	if g.memory.sharedGuard == nil {
		if snap.guard, err = g.memory.guardFor(snap.config, g.clock); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		guard = snap.guard
	}
	options := issuer.Options{
		Config: snap.config, Verifier: verifier, Guard: guard, Proofs: snap.proofs, State: g.memory.issuer, Log: g.log.Logger,
		Audit: g.issued, Clock: g.clock,
	}
	if snap.config.Limits.Shared && g.memory.store != nil {
		options.Rates = g.memory.store
	}
	if g.memory.sharedGuard != nil {
		options.Assertions = replay.NewOnce(g.memory.store, "assertion", longestOnce)
		options.Workloads = replay.NewOnce(g.memory.store, "workload", longestWorkload(snap.config)+time.Minute)
	}
	if g.memory.revocations != nil {
		options.Revocations = revocations{g.memory.revocations}
	}
	snap.issuer, err = issuer.New(options)
	return err
}

// issued writes the audit line of what an issuer did.
func (g *Gate) issued(e issuer.Event) {
	words := e.Words()
	g.log.Issued(e.Name, words[:], e.TTL)
}

// shadows names the routes that are in shadow.
func (snap *snapshot) shadows() (names []string) {
	for _, r := range snap.config.Routes {
		if r.Shadow {
			names = append(names, r.Name)
		}
	}
	return names
}

// longestOnce is how long an assertion or a proof can be good: 10 minutes, and by how much its maker's clock may be
// ahead.
const longestOnce = 11 * time.Minute

// longestWorkload is the longest that a token can live that authenticates a workload once.
func longestWorkload(c *config.Config) (longest time.Duration) {
	for _, client := range clients(c) {
		if client.Identity != nil && client.Identity.Once {
			longest = max(longest, client.Identity.MaxLifetime)
		}
	}
	return longest
}

// sharedProofs are the proofs that any replica has accepted, as package dpop sees them.
type sharedProofs struct{ *replay.Once }

// Spend uses a proof unless it was used before.
func (p sharedProofs) Spend(ctx context.Context, u dpop.Use) error {
	err := p.Consume(ctx, replay.Use{Client: u.Key, Nonce: u.ID, Expiry: u.Expiry}, u.Made)
	switch refusal.Of(err) {
	case "", refusal.StoreUnavailable:
		return err
	}
	return refusal.Because(refusal.ProofUsed, "key %s: %v", u.Key, err)
}

// close lets go of what only this snapshot needs; requests on their way end well.
func (snap *snapshot) close() {
	if snap.issuer != nil {
		snap.issuer.Close()
	}
	if snap.gate != nil {
		snap.gate.Close()
	}
	for _, release := range snap.keys {
		release()
	}
}
