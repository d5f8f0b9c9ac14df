// Package shared is the connection to the memory that replicas share: one Redis or Valkey server, or the master that
// Sentinels name.
//
// What is kept there is only worth something as long as the store forgets nothing. A store forgets when it is flushed,
// when it is restarted (without persistence all, with it what was not yet on the disk), when a replica is promoted that
// had not received everything, and when an old dump is loaded. So the store has an epoch: a random sentinel together
// with the server's run id, its replication id and its count of evicted keys, kept under one key. Every script that
// accepts something once compares the epoch in the same atomic step: the sentinel is gone after a flush, a restarted or
// a promoted server has another run id, and a server that was demoted and promoted again has another replication id.
// A replica that finds that key and server do not agree begins a new epoch with a new sentinel, and whatever was sealed
// under an older one is refused from then on.
//
// A server that evicts keys forgets marks and may keep the sentinel; hence noeviction is required and looked at again
// and again, and a key that is evicted all the same ends the epoch. A server that tells the time wrongly forgets too
// early: each script sees that its clock has not gone back, and judges by the server's clock when marks may end.
// docs/scaling.md has what holds under which failure.
package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
)

// lookEvery is how often a replica looks at the store of its own accord.
const lookEvery = time.Second

// A Store is a connection to the shared memory, for one process. It is safe for concurrent use.
type Store struct {
	client  *redis.Client
	prefix  string
	timeout time.Duration
	skew    time.Duration
	log     *zap.Logger
	replica string // tells this process from the others

	state   atomic.Pointer[State]
	looking sync.Mutex // one look at a time
	looked  time.Time  // when the last look ended; guarded by looking

	operations, failures, epochs atomic.Int64

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// quiet keeps the library from writing to standard error past our log. Its logger is the process's.
var quiet = sync.OnceFunc(logging.Disable)

// Open connects to the store and looks at it. A store that does not answer is no error: it may come back, and until
// then everything that needs it is refused. One that answers, and cannot hold the guarantee, is.
func Open(ctx context.Context, c *config.Redis, log *zap.Logger) (*Store, error) {
	quiet()
	if log == nil {
		log = zap.NewNop()
	}
	client, err := connect(c)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	s := &Store{
		client: client, prefix: "{" + c.Prefix + "}:", timeout: c.Timeout, skew: c.Skew, log: log.Named("redis"),
		replica: rand.Text(),
	}
	s.state.Store(&State{Err: errUnasked})
	state := s.Look(ctx)
	if state.Unfit && !(c.Sentinel != nil && errors.Is(state.Err, errNotMaster)) {
		return nil, errors.Join(fmt.Errorf("redis: %w", state.Err), client.Close())
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.stopped.Go(func() { s.watch(background) })
	return s, nil
}

// Close ends the connections and waits for what works in the background.
func (s *Store) Close() error {
	s.stop()
	s.stopped.Wait()
	return s.client.Close()
}

func connect(c *config.Redis) (*redis.Client, error) {
	secure, err := secured(c.TLS)
	if err != nil {
		return nil, err
	}
	if c.Sentinel != nil {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: c.Sentinel.Master, SentinelAddrs: c.Sentinel.Addresses,
			SentinelUsername: c.Sentinel.Username, SentinelPassword: c.Sentinel.Password.Reveal(),
			Protocol: 2, Username: c.Username, Password: c.Password.Reveal(), DB: c.Database, TLSConfig: secure,
			PoolSize: c.Pool, MaxActiveConns: c.Pool, PoolTimeout: c.Timeout, DialTimeout: c.DialTimeout,
			ReadTimeout: attempt(c.Timeout), WriteTimeout: attempt(c.Timeout), ContextTimeoutEnabled: true,
			MaxRetries: attempts - 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: attempt(c.Timeout) / 4,
			DisableIdentity: true,
		}), nil
	}
	return redis.NewClient(&redis.Options{
		Network: c.Network, Addr: c.Address,
		Protocol: 2, Username: c.Username, Password: c.Password.Reveal(), DB: c.Database, TLSConfig: secure,
		PoolSize: c.Pool, MaxActiveConns: c.Pool, PoolTimeout: c.Timeout, DialTimeout: c.DialTimeout, DialerRetries: 1,
		ReadTimeout: attempt(c.Timeout), WriteTimeout: attempt(c.Timeout), ContextTimeoutEnabled: true,
		MaxRetries: attempts - 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: attempt(c.Timeout) / 4,
		DisableIdentity: true, MaintNotificationsConfig: noHandoffs(),
	}), nil
}

// attempts is how often an operation is sent within its deadline. Every script of ours may run twice: it recognises
// what it did before.
const attempts = 3

func attempt(whole time.Duration) time.Duration { return whole / 2 }

// noHandoffs switches off an extension of one vendor that asks the server for more than the protocol has.
func noHandoffs() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func secured(c *config.RedisTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.Authorities != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(c.Authorities)) {
			return nil, errors.New("tls.ca holds no certificate")
		}
	}
	if c.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// Key is the full name of one of our keys. All of them are in one hash slot, so that one script can use them together.
func (s *Store) Key(name string) string { return s.prefix + name }

// Skew is by how much the clocks of replicas and store may differ. What the epoch began with counts, so that a mark
// lives long enough for every replica, whatever is configured there.
func (s *Store) Skew() time.Duration {
	if state := s.state.Load(); state.Epoch != "" {
		return state.Skew
	}
	return s.skew
}

// Run runs a script within the deadline. Whatever goes wrong is a refusal with StoreUnavailable: what the script did
// is then unknown.
func (s *Store) Run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.operations.Add(1)
	answer, err := script.Run(ctx, s.client, keys, args...).Result()
	if err == nil || errors.Is(err, redis.Nil) {
		return answer, nil
	}
	s.failures.Add(1)
	return nil, refusal.Because(refusal.StoreUnavailable, "redis: %v", err)
}

// Stats count what was asked of the store.
type Stats struct{ Operations, Failures, Epochs int64 }

// Stats tells what was asked of the store so far: scripts, those without an answer, and changes of the epoch that
// this process saw.
func (s *Store) Stats() Stats {
	return Stats{s.operations.Load(), s.failures.Load(), s.epochs.Load()}
}

// random is a value that was never drawn before.
func random() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Owner is a value by which a script recognises what an earlier attempt of the same call did.
func Owner() string { return random() }
