package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A server is one address of a pool.
type server struct {
	pool   *Pool
	entry  *Server // of the settings
	name   string  // its host and port
	weight int
	client client
	stop   func() // ends its health check

	slots   chan struct{} // one for each request in flight; nil: no limit
	waiting atomic.Int32
	share   int // places that one client connection may hold; 0: all of them
	mu      sync.Mutex
	shares  map[string]*share

	sick      atomic.Bool  // its health check fails
	down      atomic.Int64 // Unix nanoseconds until which it is ejected
	failures  atomic.Int32 // in a row
	row       atomic.Int32 // ejections in a row
	ejections atomic.Uint64
	unasked   atomic.Uint64
	warming   atomic.Int64 // Unix nanoseconds until which it gets less than its share; 0: never
}

// newServer makes a server of an entry. address is one that the entry's name was found to have; "" dials the name.
func (p *Pool) newServer(entry *Server, address string) *server {
	s := &server{
		pool: p, entry: entry, name: name(entry.URL), weight: max(1, entry.Weight), stop: func() {},
		shares: make(map[string]*share),
	}
	if address != "" {
		s.name = address
	}
	if n := p.settings.MaxConnections; n > 0 {
		s.slots = make(chan struct{}, n)
		if f := p.settings.PerClient; f > 0 && f < 1 {
			s.share = max(1, int(f*float64(n)))
		}
	}
	s.client = newClient(entry.URL, address, &p.settings, p.tls, s.noteUnasked)
	if p.settings.Health.enabled() {
		ctx, cancel := context.WithCancel(p.over)
		s.stop = cancel
		p.work.Go(func() { s.check(ctx) })
	}
	return s
}

// close ends what runs for the server, and its idle connections. Requests in flight end well.
func (s *server) close() {
	s.stop()
	s.client.close()
}

// up reports whether the server gets requests while others are up.
func (s *server) up(now time.Time) bool {
	return !s.sick.Load() && (s.down.Load() == 0 || now.UnixNano() >= s.down.Load())
}

// warm begins the slow start.
func (s *server) warm(now time.Time) { s.warming.Store(now.Add(slowStart).UnixNano()) }

// passesOn reports whether a server in its slow start leaves this request to another one.
func (s *server) passesOn(now time.Time) bool {
	until := s.warming.Load()
	if until == 0 {
		return false
	}
	left := time.Duration(until - now.UnixNano())
	if left <= 0 {
		s.warming.CompareAndSwap(until, 0)
		return false
	}
	return rand.Float64() < float64(left)/float64(slowStart)
}

// noteUnasked is told of bytes that belong to no request. The client keeps no connection for a minute then.
func (s *server) noteUnasked() {
	s.unasked.Add(1)
	s.log().Warn("upstream server sent bytes that belong to no request; no connection to it is kept for a minute",
		zap.String("server", s.name))
}

func (s *server) log() *zap.Logger {
	return s.pool.pools.Log.With(zap.String("upstream", s.pool.settings.Name))
}

func (s *server) busy(why string) error {
	return refusal.Because(refusal.UpstreamBusy, "%s: %s", s.name, why)
}

func (s *server) gone(err error) error {
	return refusal.Because(refusal.ClientClosed, "waiting for %s: %v", s.name, err)
}

// A share is what one client connection holds of a server.
type share struct {
	connection string
	slots      chan struct{}
	users      int // requests that hold a place or wait for one
}

// acquire takes a place. As many requests as there are places may wait, and each as long as a connection may take: a
// longer queue would only answer clients that have given up. A connection at its share waits for a place of its own.
func (s *server) acquire(ctx context.Context, patience time.Duration, connection string) (*share, error) {
	if s.slots == nil {
		return nil, nil
	}
	var err error
	own := s.enter(connection)
	if own != nil {
		if err := s.wait(ctx, own.slots, patience, "the connection holds its share of the places"); err != nil {
			s.leave(own)
			return nil, err
		}
	}
	select {
	case s.slots <- struct{}{}:
		return own, nil
	default:
	}
	defer s.waiting.Add(-1)
	if int(s.waiting.Add(1)) > cap(s.slots) {
		err = s.busy("every connection is in use and the queue is full")
	} else {
		err = s.wait(ctx, s.slots, patience, "every connection is in use")
	}
	if err != nil && own != nil {
		<-own.slots
		s.leave(own)
	}
	if err != nil {
		return nil, err
	}
	return own, nil
}

func (s *server) wait(ctx context.Context, slots chan struct{}, patience time.Duration, why string) error {
	select {
	case slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
		return nil
	case <-timer.C:
		return s.busy(why + " and none came free in time")
	case <-ctx.Done():
		return s.gone(ctx.Err())
	}
}

// enter finds the share of a connection; nil where it needs none. limits.h2_streams bounds the requests that wait for
// one.
func (s *server) enter(connection string) *share {
	if s.share == 0 || connection == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.shares[connection]
	if own == nil {
		own = &share{connection: connection, slots: make(chan struct{}, s.share)}
		s.shares[connection] = own
	}
	own.users++
	return own
}

func (s *server) leave(own *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(s.shares, own.connection)
	}
}

// release gives a place back.
func (s *server) release(own *share) {
	if s.slots != nil {
		<-s.slots
	}
	if own != nil {
		<-own.slots
		s.leave(own)
	}
}
