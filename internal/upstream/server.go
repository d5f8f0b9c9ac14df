package upstream

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A server is one address of a pool.
type server struct {
	name    string // its host and port
	client  client
	slots   chan struct{} // one for each request in flight; nil: no limit
	waiting atomic.Int32
	down    atomic.Int64 // Unix nanoseconds until which it gets no requests
}

func newServer(name string, connections int, client client) *server {
	s := &server{name: name, client: client}
	if connections > 0 {
		s.slots = make(chan struct{}, connections)
	}
	return s
}

func (s *server) up(now time.Time) bool    { return now.UnixNano() >= s.down.Load() }
func (s *server) eject(until time.Time)    { s.down.Store(until.UnixNano()) }
func (s *server) queueIsFull(n int32) bool { return int(n) > cap(s.slots) }
func (s *server) busy(why string) error {
	return refusal.Because(refusal.UpstreamBusy, "%s: %s", s.name, why)
}

func (s *server) gone(err error) error {
	return refusal.Because(refusal.ClientClosed, "waiting for %s: %v", s.name, err)
}

// acquire waits its turn: as many requests as there are connections may wait, and each as long as a connection may take.
// A longer queue would only answer clients that have given up.
func (s *server) acquire(ctx context.Context, patience time.Duration) error {
	if s.slots == nil {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	defer s.waiting.Add(-1)
	if s.queueIsFull(s.waiting.Add(1)) {
		return s.busy("every connection is in use and the queue is full")
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return s.busy("every connection is in use and none came free in time")
	case <-ctx.Done():
		return s.gone(ctx.Err())
	}
}

func (s *server) release() {
	if s.slots != nil {
		<-s.slots
	}
}
