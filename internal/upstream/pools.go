// Package upstream keeps the connections to the servers behind the gate.
//
// A [Pool] is one upstream: servers that run the same app. It has the limits that a gate needs: the requests in flight
// at a server, those that wait for a place, and the time for a connection, for the head of an answer and for progress
// of its body. Errors are [refusal.Error] values, so that the gate answers 502, 503 or 504 without reading error texts.
//
//	pool.go     which servers a request meets, and when it is sent again
//	balance.go  whose turn it is
//	server.go   a server's places, and the share of them that one client connection may hold
//	eject.go    failures in a row leave a server alone for a growing pause
//	health.go   active health checks, over HTTP and gRPC
//	resolve.go  names are looked up anew, and all addresses used
//	retry.go    the budget of requests that are sent again
//	client.go   the interface of the two clients; dial.go, secure.go and http2.go are behind it
//
// Two clients send requests: [h1.Client] over HTTP/1.1, plain or TLS, and net/http's transport over HTTP/2.
//
// Retries: a request that met a server which cannot be connected to goes to the next one, as nothing of it was sent. A
// request of which anything may have been sent is sent again only if it is [h1.Request.Repeatable].
//
// [Pools] outlive a reload: settings that did not change keep their connections.
package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Settings describe one upstream. A duration of zero means no limit, where nothing else is said.
type Settings struct {
	Name            string // for logs and metrics
	Servers         []Server
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration // from the end of the request to the head of the answer
	StallTimeout    time.Duration // without any progress of a body, either way
	MaxConnections  int           // requests in flight per server; as many again may wait for a place
	MaxIdle         int           // idle connections per server
	PerClient       float64       // share of a server's places that one client connection may hold; 0: no limit
	Balance         Balance
	Health          Health
	Eject           Eject
	Retry           Retry
	Resolve         time.Duration // how often names are looked up; 0: only when a connection is made
	TLS             TLS
}

// A Server is one entry of an upstream.
type Server struct {
	URL    *url.URL // http://host:port, https://, h2c://, unix:/path, unix+h2c:/path
	Weight int      // its share of the requests, relative to the others; 0 counts as 1
}

// Balance says how servers are chosen.
type Balance string

// The ways to choose a server.
const (
	RoundRobin    Balance = "round_robin" // also what "" means
	LeastRequests Balance = "least_requests"
	HashTenant    Balance = "hash_tenant"
	HashSubject   Balance = "hash_subject"
	HashIP        Balance = "hash_ip"
)

// Hashed reports whether servers are chosen by a key of the request.
func (b Balance) Hashed() bool { return b == HashTenant || b == HashSubject || b == HashIP }

// TLS describes connections to https servers.
type TLS struct {
	CAFile     string // PEM of the authorities; "" is the system's
	ServerName string // what the certificate must be for, and SNI; "" is the URL's host
	CertFile   string // client certificate; "" for none
	KeyFile    string
}

// Pools holds every pool that some configuration in use names.
type Pools struct {
	// Log gets one line for each change of a server. Lookup finds a name's addresses. Both may be set before the first
	// Open.
	Log    *zap.Logger
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

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
	return &Pools{
		Log: zap.NewNop(), clock: clock, open: make(map[string]*shared),
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
	}
}

// Open returns the pool of these settings, the one in use if there is one. release must be called once, when the caller
// sends no more requests; those in flight end well.
func (p *Pools) Open(s Settings) (pool *Pool, release func(), err error) {
	if len(s.Servers) == 0 {
		return nil, nil, fmt.Errorf("no servers")
	}
	config, digest, err := s.TLS.read()
	if err != nil {
		return nil, nil, err
	}
	key := s.key(digest)
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.open[key]
	if in == nil {
		in = &shared{pool: newPool(s, config, p)}
		p.open[key] = in
	}
	in.users++
	return in.pool, sync.OnceFunc(func() { p.release(key) }), nil
}

func (p *Pools) release(key string) {
	p.mu.Lock()
	in := p.open[key]
	in.users--
	last := in.users == 0
	if last {
		delete(p.open, key)
	}
	p.mu.Unlock()
	if last {
		in.pool.close()
	}
}

// A ServerState is what metrics tell of a server.
type ServerState struct {
	Upstream, Server string
	Up               bool // it is neither ejected nor failing its health check
	InUse            int  // requests in flight
	Ejections        uint64
	Unasked          uint64 // times that bytes came which belong to no request
}

// States lists the servers of all pools, by upstream and server; two pools of one upstream, as there are during a
// reload, count together.
func (p *Pools) States() []ServerState {
	p.mu.Lock()
	var all []ServerState
	for _, in := range p.open {
		all = in.pool.states(all)
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b ServerState) int {
		return strings.Compare(a.Upstream+"\x00"+a.Server, b.Upstream+"\x00"+b.Server)
	})
	merged := all[:0]
	for _, s := range all {
		last := len(merged) - 1
		if last < 0 || merged[last].Upstream != s.Upstream || merged[last].Server != s.Server {
			merged = append(merged, s)
			continue
		}
		m := &merged[last]
		m.Up, m.InUse, m.Ejections, m.Unasked = m.Up && s.Up, m.InUse+s.InUse, m.Ejections+s.Ejections, m.Unasked+s.Unasked
	}
	return merged
}

// key is equal for settings that may share connections: another content of the same file makes another pool.
func (s *Settings) key(files [sha256.Size]byte) string {
	var b strings.Builder
	for _, server := range s.Servers {
		fmt.Fprint(&b, server.URL, server.Weight, " ")
	}
	rest := *s
	rest.Servers = nil
	fmt.Fprintf(&b, "%+v %x", rest, files)
	return b.String()
}

// read loads the files, and returns the digest of their contents.
func (t *TLS) read() (*tls.Config, [sha256.Size]byte, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: t.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	digest := sha256.New()
	load := func(file string) ([]byte, error) {
		data, err := os.ReadFile(file)
		fmt.Fprint(digest, len(data), " ")
		digest.Write(data)
		return data, err
	}
	if t.CAFile != "" {
		data, err := load(t.CAFile)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("read ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, [sha256.Size]byte{}, fmt.Errorf("ca_file %s: holds no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := load(t.CertFile)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("read cert: %w", err)
		}
		key, err := load(t.KeyFile)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("read key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("cert %s and key %s: %w", t.CertFile, t.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, [sha256.Size]byte(digest.Sum(nil)), nil
}
