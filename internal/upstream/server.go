package upstream

import (
	"context"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// A server is one address of a pool.
type server struct {
	url     *url.URL
	client  *h1.Client    // nil where http.Transport alone speaks: TLS
	slots   chan struct{} // one for each request that is under way; nil: no bound
	waiting atomic.Int32
	down    atomic.Int64 // unix nanoseconds until which it is left out
}

func newServer(u *url.URL, connections int, client *h1.Client) *server {
	s := &server{url: u, client: client}
	if connections > 0 {
		s.slots = make(chan struct{}, connections)
	}
	return s
}

func (s *server) up(now time.Time) bool    { return now.UnixNano() >= s.down.Load() }
func (s *server) eject(until time.Time)    { s.down.Store(until.UnixNano()) }
func (s *server) queueIsFull(n int32) bool { return int(n) > cap(s.slots) }
func (s *server) busy(why string) error {
	return refusal.Because(refusal.UpstreamBusy, "%s: %s", s.url.Host, why)
}

func (s *server) gone(err error) error {
	return refusal.Because(refusal.ClientClosed, "waiting for %s: %v", s.url.Host, err)
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
