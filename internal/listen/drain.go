package listen

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// A Drain is a graceful shutdown of the listeners.
type Drain struct {
	// Delay is how long connections are still accepted, so that load balancers learn of the shutdown before it. Each
	// answer meanwhile says Connection: close (HTTP/1.1) or GOAWAY (HTTP/2).
	Delay time.Duration
	// IdleGrace is how long an idle connection is kept after that. HTTP/1.1 cannot tell an idle client that its
	// connection ends, and a request that is on its way at that moment is lost.
	IdleGrace time.Duration
	// InFlight returns the number of requests whose loss is an error. nil: that of each open connection is.
	InFlight func() int
}

// BeginDrain makes each answer from now on the last one of its connection, and changes nothing else.
func (ls *Listeners) BeginDrain() { ls.draining.Store(true) }

// Draining reports whether BeginDrain or Drain was called.
func (ls *Listeners) Draining() bool { return ls.draining.Load() }

// Drain serves on for the delay, stops accepting, ends Stopped, waits for
// requests in flight and returns when the last connection is closed. If ctx ends first, the connections that are left
// are closed; the error is the cause of ctx if requests were in flight.
func (ls *Listeners) Drain(ctx context.Context, d Drain) error {
	ls.BeginDrain()
	wait(ctx, d.Delay)
	ls.stopAccepting()
	if ls.neverServed() {
		return ls.Close()
	}
	ls.retire(time.Now().Add(d.IdleGrace))
	select {
	case <-ls.empty:
	case <-ctx.Done():
	}
	lost := ls.Open()
	if lost > 0 && d.InFlight != nil {
		lost = d.InFlight()
	}
	var err error
	if lost > 0 {
		err = context.Cause(ctx)
	}
	return errors.Join(err, ls.Close())
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// How long the backlog of a listening socket is emptied before it is closed.
const (
	queueWait    = 20 * time.Millisecond
	takeoverWait = 300 * time.Millisecond // must outlast TCP handshakes that are under way
	queueMost    = time.Second            // bounds it where new connections keep coming
)

// stopAccepting empties the backlogs and closes the listening sockets.
func (ls *Listeners) stopAccepting() {
	for _, l := range ls.listeners {
		l.stopBy.Store(time.Now().Add(queueMost).UnixNano())
		wait := queueWait
		if l.ReusePort {
			wait = takeoverWait
			if err := dropNew(l.raw); err != nil {
				ls.log.Warn("a connection that arrives while the listener closes may be lost",
					zap.String("listener", l.Name), zap.Error(err))
			}
		}
		_ = l.raw.SetDeadline(time.Now().Add(wait)) // fails only if it is closed already
	}
	if !ls.neverServed() {
		for _, l := range ls.listeners {
			<-l.accepted
			l.handshakes.Wait()
		}
	}
	ls.stop()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.stopped = true
	ls.emptied()
}

func (ls *Listeners) neverServed() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return !ls.started
}

func (ls *Listeners) retire(at time.Time) {
	ls.retireAt.Store(&at)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for s := range ls.open {
		if c := s.connection(); c != nil {
			c.Retire(at)
		}
	}
}

// Close closes the listeners and all connections at once. It returns when Serve has returned. The contexts of requests
// in flight end, and the reads and writes of their handlers fail.
func (ls *Listeners) Close() error {
	ls.closeAll()
	if !ls.neverServed() {
		<-ls.served
	}
	return nil
}

func (ls *Listeners) closeAll() {
	ls.draining.Store(true)
	ls.stop()
	ls.mu.Lock()
	ls.stopped = true
	ls.emptied()
	left := make([]*socket, 0, len(ls.open))
	for s := range ls.open {
		left = append(left, s)
	}
	ls.mu.Unlock()
	for _, l := range ls.listeners {
		_ = l.raw.Close() // it may be closed already
	}
	for _, s := range left {
		_ = s.Close()
		if c := s.connection(); c != nil {
			c.Abort()
		}
	}
}
