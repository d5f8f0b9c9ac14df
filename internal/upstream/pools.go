// Package upstream keeps the connections to the servers behind the gate.
//
// A [Pool] is one upstream: servers that are the same app, asked in turn. It is an [http.RoundTripper] with the bounds
// that a gate needs: so many connections per server, so many requests waiting for one, so long for a connection, for the
// head of an answer and for any progress of its body. What goes wrong comes back as a [refusal.Error], so that the gate
// answers 502, 503 or 504 without reading error texts.
//
// A server that could not be reached is left out for a few seconds while others are there; a request that met it goes
// to the next one, as nothing of it was sent. A request of which anything may have been sent is never sent again, but for
// one exception of RFC 9110 §9.2.2 and RFC 9112 §9.3.1: an idempotent one without a body, on a kept connection that
// the server closed in the same moment.
//
// Two clients speak: [http1.Client] with plain-HTTP servers, as it costs a third of the other; http.Transport where there is
// TLS, and where a connection is to be upgraded. [Pool.Do] is the short way to the first.
//
// [Pools] outlive a reload: settings that did not change keep their connections.
package upstream

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"
)

// Settings say what one upstream is. Times of zero mean none.
type Settings struct {
	Servers         []*url.URL // scheme and host alone; at least one
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration // from the end of the request to the head of the answer
	StallTimeout    time.Duration // without any progress of a body, either way
	MaxConnections  int           // per server; as many requests again may wait for one
	MaxIdle         int           // kept connections per server
	CAFile          string        // PEM of the authorities for https servers; "" is the system's
}

// Pools holds every pool that some configuration in use names.
type Pools struct {
	// Standard has every pool that is opened from now on speak by http.Transport alone, so that tests can hold our own client
	// to what it does.
	Standard bool

	clock func() time.Time
	mu    sync.Mutex
	open  map[string]*shared
}

type shared struct {
	pool  *Pool
	users int
}

// NewPools starts without any pool.
func NewPools(clock func() time.Time) *Pools {
	return &Pools{clock: clock, open: make(map[string]*shared)}
}

// Open gives the pool of these settings, the one in use if there is one. Its release must be called once, when the caller
// sends nothing more; what is on its way then still ends well.
func (p *Pools) Open(s Settings) (pool *Pool, release func(), err error) {
	authorities, digest, err := readAuthorities(s.CAFile)
	if err != nil {
		return nil, nil, err
	}
	key := s.key(digest)
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.open[key]
	if in == nil {
		in = &shared{pool: newPool(s, authorities, p.clock, p.Standard)}
		p.open[key] = in
	}
	in.users++
	return in.pool, sync.OnceFunc(func() { p.release(key) }), nil
}

func (p *Pools) release(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.open[key]
	if in.users--; in.users == 0 {
		delete(p.open, key)
		in.pool.close()
	}
}

// key is equal for settings that may share connections: another content of the same CA file makes another pool.
func (s *Settings) key(authorities [sha256.Size]byte) string {
	return fmt.Sprint(s.Servers, s.ConnectTimeout, s.ResponseTimeout, s.StallTimeout, s.MaxConnections, s.MaxIdle, authorities)
}

func readAuthorities(file string) (*x509.CertPool, [sha256.Size]byte, error) {
	if file == "" {
		return nil, [sha256.Size]byte{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("read ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, [sha256.Size]byte{}, fmt.Errorf("ca_file %s: holds no PEM certificate", file)
	}
	return pool, sha256.Sum256(data), nil
}
