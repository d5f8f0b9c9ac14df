package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/crypto/acme/autocert"

	"github.com/jotgate/jotgate/internal/refusal"
)

// ErrAnotherAsks is returned for a certificate that is not there yet, and that another replica has just asked for.
var ErrAnotherAsks = errors.New("another replica is asking the authority for this certificate; try again in a moment")

const (
	// turn is how long the replica that finds no certificate is the only one to ask for it. An authority that is asked by
	// several at once checks each by the answers of the others, and counts failures. It ends with the certificate; one
	// whose owner fails, or dies, is another's after this time.
	turn = 2 * time.Minute
	// openChallenge is how long the answer to an authority's challenge is kept at most.
	openChallenge = time.Hour
)

// Certificates keeps what an ACME client has to keep for one authority: the key of its account, certificates with their
// keys, and the challenges that are open, so that any replica answers an authority that another one has asked. Those
// who can read the store can read them. What is lost with the store is issued anew.
func (s *Store) Certificates(directory string) autocert.Cache {
	sum := sha256.Sum256([]byte(directory))
	return certificates{Store: s, prefix: "acme:" + hex.EncodeToString(sum[:8]) + ":"}
}

type certificates struct {
	*Store
	prefix string // of an authority's names: its certificates are not another's
}

// Get returns autocert.ErrCacheMiss where nothing is kept, and ErrAnotherAsks for a certificate for which it is not
// this replica's turn. A store that does not answer is another error, on which no certificate is asked for: an
// authority's limits are not for the outages of a store.
func (c certificates) Get(ctx context.Context, name string) (data []byte, err error) {
	mine := true
	err = c.within(ctx, func(ctx context.Context) error {
		data, err = c.client.Get(ctx, c.name(name)).Bytes()
		if !errors.Is(err, redis.Nil) {
			return err
		}
		if isCertificate(name) {
			mine, err = c.takeTurn(ctx, name)
			return err
		}
		return nil
	})
	switch {
	case err != nil && strings.HasSuffix(name, "+http-01"): // strangers who ask for one are told the error
		return nil, autocert.ErrCacheMiss
	case err != nil:
		return nil, err
	case !mine:
		return nil, ErrAnotherAsks
	case data == nil:
		return nil, autocert.ErrCacheMiss
	}
	return data, nil
}

// isCertificate tells certificates from accounts ("acme_account+key") and challenges ("…+token", "…+http-01").
func isCertificate(name string) bool {
	return !strings.Contains(name, "+") || strings.HasSuffix(name, "+rsa")
}

// takeTurn reports whether this replica is the one to ask for a certificate.
func (c certificates) takeTurn(ctx context.Context, name string) (bool, error) {
	key := c.name(name + "+turn")
	taken, err := c.client.SetNX(ctx, key, c.replica, turn).Result()
	if err != nil || taken {
		return taken, err
	}
	owner, err := c.client.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) { // it has just ended
		return false, nil
	}
	return owner == c.replica, err
}

// Put keeps a certificate, an account's key or the answer to a challenge.
func (c certificates) Put(ctx context.Context, name string, data []byte) error {
	life := openChallenge
	if isCertificate(name) || strings.HasSuffix(name, "+key") {
		life = 0 // for good
	}
	return c.within(ctx, func(ctx context.Context) error {
		if err := c.client.Set(ctx, c.name(name), data, life).Err(); err != nil || life > 0 {
			return err
		}
		return c.client.Del(ctx, c.name(name+"+turn")).Err()
	})
}

func (c certificates) Delete(ctx context.Context, name string) error {
	return c.within(ctx, func(ctx context.Context) error { return c.client.Del(ctx, c.name(name)).Err() })
}

func (c certificates) name(name string) string { return c.Key(c.prefix + name) }

// within does something within the store's deadline, and counts it.
func (c certificates) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	c.operations.Add(1)
	if err := do(ctx); err != nil {
		c.failures.Add(1)
		return refusal.Because(refusal.StoreUnavailable, "redis: %v", err)
	}
	return nil
}
