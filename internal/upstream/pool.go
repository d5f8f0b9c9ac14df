package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const (
	ejection   = 5 * time.Second
	idleExpiry = 90 * time.Second
)

// A Pool is one upstream. It is safe for concurrent use.
type Pool struct {
	settings Settings
	servers  []*server
	turn     atomic.Uint32
	clock    func() time.Time
	host     string // stands for the Host field of a request that has none
}

func newPool(s Settings, authorities *x509.CertPool, clock func() time.Time) *Pool {
	p := &Pool{settings: s, clock: clock, host: s.Servers[0].Host}
	if p.host == "" {
		p.host = "localhost" // a socket in the file system
	}
	base := &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	for _, u := range s.Servers {
		p.servers = append(p.servers, newServer(name(u), s.MaxConnections, newClient(u, &p.settings, base, nil)))
	}
	return p
}

func (p *Pool) close() {
	for _, s := range p.servers {
		s.client.close()
	}
}

// Do sends q to a server of the pool and reads the head of the answer into a, which must be closed after that. Errors are
// refusals, and a need not be closed then. q's body is not closed where no server could be connected to.
func (p *Pool) Do(ctx context.Context, q *h1.Request, a *Answer) error {
	if q.Host == "" { // HTTP/1.0
		q.Host = p.host
	}
	start := int(p.turn.Add(1))
	for tried := 0; ; tried++ {
		s := p.choose(start + tried)
		err := p.once(ctx, s, q, a)
		if err == nil {
			return nil
		}
		var d *h1.DialError
		if !errors.As(err, &d) {
			return classify(ctx, s, err)
		}
		if ctx.Err() == nil {
			s.eject(p.clock().Add(ejection))
		}
		if tried+1 >= len(p.servers) || ctx.Err() != nil {
			return classify(ctx, s, err)
		}
	}
}

// once asks one server, once it has a place for the request.
func (p *Pool) once(ctx context.Context, s *server, q *h1.Request, a *Answer) error {
	if err := s.acquire(ctx, p.settings.ConnectTimeout); err != nil {
		return err
	}
	a.From = s.name
	if err := s.client.do(ctx, q, a); err != nil {
		s.release()
		return err
	}
	a.server = s
	return nil
}

// choose returns the server whose turn it is, one that is up if there is one.
func (p *Pool) choose(turn int) *server {
	now := p.clock()
	for i := range p.servers {
		if s := p.servers[(turn+i)%len(p.servers)]; s.up(now) {
			return s
		}
	}
	return p.servers[turn%len(p.servers)]
}
