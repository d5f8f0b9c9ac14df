package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
	"golang.org/x/crypto/acme/autocert"

	"github.com/jotgate/jotgate/internal/refusal"
)

// Certificates keeps what an ACME client has to keep: the key of its account, certificates with their keys, and the
// challenges that are open, so that any replica answers an authority that another one has asked. Those who can read the
// store can read them. What is lost with the store is issued anew.
func (s *Store) Certificates() autocert.Cache { return certificates{s} }

type certificates struct{ *Store }

// Get returns autocert.ErrCacheMiss where nothing is kept. A store that does not answer is another error, on which no
// certificate is asked for: an authority's limits are not for the outages of a store.
func (c certificates) Get(ctx context.Context, name string) (data []byte, err error) {
	err = c.within(ctx, func(ctx context.Context) error {
		data, err = c.client.Get(ctx, c.name(name)).Bytes()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	if err == nil && data == nil {
		err = autocert.ErrCacheMiss
	}
	return data, err
}

func (c certificates) Put(ctx context.Context, name string, data []byte) error {
	return c.within(ctx, func(ctx context.Context) error { return c.client.Set(ctx, c.name(name), data, 0).Err() })
}

func (c certificates) Delete(ctx context.Context, name string) error {
	return c.within(ctx, func(ctx context.Context) error { return c.client.Del(ctx, c.name(name)).Err() })
}

func (c certificates) name(name string) string { return c.Key("acme:" + name) }

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
