package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const idleExpiry = 90 * time.Second

// A Pool is one upstream. It is safe for concurrent use.
type Pool struct {
	settings Settings
	pools    *Pools
	tls      *tls.Config
	clock    func() time.Time
	host     string // stands for the Host field of a request that has none

	members atomic.Pointer[members]
	turn    atomic.Uint64 // requests so far
	budget  budget

	over context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

// A Caller is who sends a request, as far as it matters here.
type Caller struct {
	// Connection names the client's connection, where that carries several requests at once; "" takes no share.
	Connection string
	// Key decides on the server where the balance is Hashed; "" decides nothing.
	Key string
}

func newPool(s Settings, config *tls.Config, pools *Pools) *Pool {
	p := &Pool{settings: s, pools: pools, tls: config, clock: pools.clock, host: s.Servers[0].URL.Host}
	if p.host == "" {
		p.host = "localhost" // a socket in the file system
	}
	p.budget.share = s.Retry.Budget
	p.over, p.stop = context.WithCancel(context.Background())
	var all []*server
	for i := range s.Servers {
		all = append(all, p.newServer(&s.Servers[i], ""))
	}
	p.replace(all)
	if s.Resolve > 0 && p.hasNames() {
		p.work.Go(p.resolve)
	}
	return p
}

func (p *Pool) close() {
	p.stop()
	p.work.Wait()
	for _, s := range p.members.Load().all {
		s.close()
	}
}

// Do sends q to a server of the pool and reads the head of the answer into a, which must be closed after that. Errors
// are refusals, and a need not be closed then. q's body is not closed where no server could be connected to.
func (p *Pool) Do(ctx context.Context, caller Caller, q *h1.Request, a *Answer) error {
	if q.Host == "" { // HTTP/1.0
		q.Host = p.host
	}
	m := p.members.Load()
	c := choice{pool: p, members: m, turn: p.turn.Add(1), key: caller.Key}
	s := c.first()
	var before error // at the server that was asked before
	for a.again = false; ; a.again = true {
		err := p.once(ctx, caller.Connection, s, q, a)
		if err == nil {
			return nil
		}
		if !over(ctx) {
			p.failed(s, err)
		}
		next := c.another(s)
		if over(ctx) || next == nil || !p.again(q, err, &c) {
			return classify(ctx, s, err, before)
		}
		before = fmt.Errorf("%s: %w", s.name, err)
		s = next
	}
}

// over reports whether the request has ended: its client is gone, or its deadline has passed. A server may notice the
// deadline, too, and end the request a moment before our own timer does: that is no failure of the server.
func over(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return ctx.Err() != nil || has && !time.Now().Before(deadline)
}

// again decides whether a request goes to another server: always if nothing of it was sent, else only if that does no
// harm, and within bounds, so that a sick upstream does not get more requests than a healthy one.
func (p *Pool) again(q *h1.Request, err error, c *choice) bool {
	var (
		dial    *h1.DialError
		timeout net.Error
	)
	switch {
	case errors.As(err, &dial):
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			return true
		}
		c.sent++ // a server that does not even refuse costs time
		return c.sent < max(2, p.settings.Retry.Attempts)
	case !q.Repeatable() || !lost(err):
		return false
	}
	c.sent++
	return c.sent < p.settings.Retry.Attempts && p.budget.take(p.clock(), p.turn.Load())
}

// lost reports whether a connection ended before the first byte of an answer. A time-out is no such end: the server may
// still be busy with the request.
func lost(err error) bool {
	if h1.Lost(err) {
		return true
	}
	var (
		refused *refusal.Error
		timeout net.Error
		hangup  http2.StreamError
	)
	switch {
	case errors.As(err, &refused), errors.As(err, &timeout) && timeout.Timeout():
		return false
	case errors.As(err, &hangup):
		return hangup.Code == http2.ErrCodeRefusedStream
	}
	return isHTTP2Loss(err)
}

// once asks one server, once it has a place for the request.
func (p *Pool) once(ctx context.Context, connection string, s *server, q *h1.Request, a *Answer) error {
	a.From = s.name
	share, err := s.acquire(ctx, p.settings.ConnectTimeout, connection)
	if err != nil {
		return err
	}
	if err := s.client.do(ctx, q, a); err != nil {
		s.release(share)
		return err
	}
	a.server, a.share = s, share
	a.bad = p.isFailure(s, a.Status)
	if !a.mayLast() {
		return nil
	}
	if !a.bad {
		p.succeeded(s)
	}
	s.release(share)
	a.server = nil // limits.streams bounds them
	return nil
}

// mayLast reports whether the answer is a stream that has no natural end: such answers must not use up the places of
// ordinary requests.
func (a *Answer) mayLast() bool {
	if a.Status == http.StatusSwitchingProtocols {
		return true
	}
	if a.Length >= 0 {
		return false
	}
	for _, f := range a.Fields {
		if f.Name == "Content-Type" {
			return maySilent(f.Value)
		}
	}
	return false
}

func (p *Pool) states(to []ServerState) []ServerState {
	now := p.clock()
	for _, s := range p.members.Load().all {
		to = append(to, ServerState{
			Upstream: p.settings.Name, Server: s.name, Up: s.up(now), InUse: len(s.slots),
			Ejections: s.ejections.Load(), Unasked: s.unasked.Load(),
		})
	}
	return to
}

// broke notes that an answer's body ended early or stalled.
func (a *Answer) broke(err error) {
	if s := a.server; s != nil && (Stalled(err) || errors.Is(err, io.ErrUnexpectedEOF)) {
		a.bad = true
		s.pool.failed(s, err)
	}
}
