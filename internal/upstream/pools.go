// Package upstream keeps the connections to the servers behind the gate.
//
// A [Pool] is one upstream: servers that run the same app. It has the limits that a gate needs: the connections of a server,
// the requests that wait for one, and the time for a connection, for the head of an answer and for progress of its body.
// Errors are [refusal.Error] values, so that the gate answers 502, 503 or 504 without reading error texts.
//
// A server that cannot be connected to gets no requests for a few seconds while others are there. Retries: the request
// that met it goes to the next server, as nothing of it was sent; a request of which anything may have been sent is
// retried only if it is [h1.Request.Repeatable].
//
// Two clients send requests, behind one interface: [h1.Client] over HTTP/1.1, plain or TLS, and net/http's transport over HTTP/2.
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

// Settings describe one upstream. A duration of zero means no limit.
type Settings struct {
	Servers         []*url.URL // http://host:port, https://, h2c://, unix:/path, unix+h2c:/path; at least one
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration // from the end of the request to the head of the answer
	StallTimeout    time.Duration // without any progress of a body, either way
	MaxConnections  int           // per server; as many requests again may wait for one
	MaxIdle         int           // kept connections per server
	CAFile          string        // PEM of the authorities for https servers; "" is the system's
}

// Pools holds every pool that some configuration in use names.
type Pools struct {
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

// Open returns the pool of these settings, the one in use if there is one. release must be called once, when the caller sends
// no more requests; those in flight end well.
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
		in = &shared{pool: newPool(s, authorities, p.clock)}
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
