package app

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/logout"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/revoke"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/upstream"
	"github.com/jotgate/jotgate/issuer"
	"github.com/jotgate/jotgate/proxy"
)

// A memory is what outlives every reload.
type memory struct {
	guard       *replay.Memory    // nil until a configuration issues something, and where the guard is …
	sharedGuard *replay.Redis     // … the store's
	store       *redisstore.Store // nil: nothing is shared
	revocations *revoke.List      // nil without a file and a store
	cache       *proxy.Cache
	upstreams   *upstream.Pools
	rates       *proxy.Rates
	issuer      *issuer.State
	keys        *keysets.Sources // of trusted issuers
	proofs      *dpop.State      // DPoP proofs that were used
	logouts     *logout.State    // logout tokens that were used
	tickets     *replay.Memory   // one-time tickets that were used, where the guard is this process's
	ticketKey   []byte           // seals tickets where the configuration has no secret

	disagreements atomic.Uint64 // between a prepared key and the standard library
}

func newMemory(c *config.Config, log *telemetry.Log, clock func() time.Time) (*memory, error) {
	m := &memory{
		cache: proxy.NewCache(c.Limits.TokenCacheBytes), rates: new(proxy.Rates), upstreams: upstream.NewPools(clock),
		issuer: issuer.NewState(),
		keys:   keysets.New(log.Logger, clock),
	}
	m.upstreams.Log = log.Named("upstream")
	var err error
	if m.proofs, err = dpop.NewState(c.DPoP.Capacity, c.DPoP.MaxAge, clock); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if m.tickets, err = replay.NewMemory(replay.Options{Capacity: c.Tickets.Capacity, Clock: clock}); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if m.logouts, err = logout.NewState(clock); err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.ticketKey = make([]byte, 32)
	rand.Read(m.ticketKey) // never fails (crypto/rand)
	if c.Redis != nil {
		store, err := redisstore.Open(context.Background(), c.Redis, log.Logger)
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.store = store
		if c.Replay.Shared {
			m.sharedGuard = replay.NewRedis(store, codeClients(c))
		}
	}
	list, err := openRevocations(c, m.store, log, clock)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	if list != nil {
		list.SetLife(c.SessionLife())
	}
	m.revocations = list
	return m, nil
}

// openRevocations is nil where nothing can be revoked.
func openRevocations(c *config.Config, store *redisstore.Store, log *telemetry.Log,
	clock func() time.Time,
) (*revoke.List, error) {
	if c.Revocations.Shared && store != nil {
		return revoke.Join(context.Background(), revoke.SharedOptions{
			Store: store, Capacity: c.Revocations.Capacity, Clients: len(clients(c)), Clock: clock, Log: log.Logger,
			Life: c.SessionLife(),
			Poll: c.Revocations.Poll, MaxStaleness: c.Revocations.MaxStaleness, RefuseStale: c.Revocations.RefuseStale,
		})
	}
	if c.Revocations.File == "" {
		return nil, nil
	}
	return revoke.Open(revoke.Options{
		File: c.Revocations.File, Capacity: c.Revocations.Capacity, Clients: len(clients(c)), Clock: clock,
		Torn: func(bytes int64) {
			log.Warn("revocations: a record that a crash cut short is cut off; it had not been answered",
				zap.String("file", c.Revocations.File), zap.Int64("bytes", bytes))
		},
	})
}

// close lets go of files, and waits for what works in the background. What is in memory ends with the process.
func (m *memory) close() error {
	m.keys.Close()
	var errs []error
	if m.revocations != nil {
		errs = append(errs, m.revocations.Close())
	}
	if m.store != nil {
		errs = append(errs, m.store.Close())
	}
	return errors.Join(errs...)
}

// warnings tell what is wrong with what replicas share. Taking this replica out of service would not help: the others
// have the same store, and what needs no store is served on.
func (m *memory) warnings() (all []string) {
	if m.store == nil {
		return nil
	}
	if state := m.store.State(); state.Err != nil {
		all = append(all, "the shared store cannot be used, no code is issued or redeemed: "+state.Err.Error())
	}
	if m.revocations != nil {
		if s := m.revocations.Stats(); s.Stale {
			all = append(all, "the list of revoked tokens is stale")
		}
	}
	return all
}

// guardFor is the replay guard, made when a configuration first issues something.
func (m *memory) guardFor(c *config.Config, clock func() time.Time) (*replay.Memory, error) {
	if m.guard != nil {
		return m.guard, nil
	}
	return replay.NewMemory(replay.Options{Clients: codeClients(c), Capacity: c.Replay.Capacity, Clock: clock})
}

func clients(c *config.Config) []*config.Client {
	if c.Issuer == nil {
		return nil
	}
	return c.Issuer.Clients
}

// codeClients are those that may issue codes.
func codeClients(c *config.Config) []string {
	var ids []string
	for _, client := range clients(c) {
		if slices.Contains(client.May, token.IssueCodes) {
			ids = append(ids, client.ID)
		}
	}
	return ids
}

// revocations is the list as the issuer sees it.
type revocations struct{ list *revoke.List }

// Check judges marks on tenants, too: what comes to the token endpoints names no tenant, and could be exchanged for a
// token that is younger than the mark.
func (r revocations) Check(v *jose.Verified, _ time.Time) error {
	if err := r.list.Check(&v.Claims, v.KeyID); err != nil {
		return err
	}
	return r.list.CheckPermissions(&v.Claims)
}

func (r revocations) Revoke(ctx context.Context, issuer, jti, client string, expiry int64) error {
	return r.list.Revoke(ctx, revoke.Token{Issuer: issuer, ID: jti, Client: client, Expiry: expiry})
}

func (r revocations) RevokeReplayed(ctx context.Context, issuer, jti, client string, expiry int64) error {
	return r.list.Revoke(ctx, revoke.Token{Issuer: issuer, ID: jti, Client: client, Expiry: expiry, Replayed: true})
}
