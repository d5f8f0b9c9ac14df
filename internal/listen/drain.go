package listen

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// A Drain is how the listeners end. Zero times are as short as they say.
type Drain struct {
	// Delay is how long connections are still accepted, so that whoever sends traffic here can learn that it must
	// not. Every answer asks its client to close (HTTP/1.1) or says GOAWAY (HTTP/2).
	Delay time.Duration
	// IdleGrace is how long a connection that waits for a request is kept after that. HTTP/1.1 has no way to tell a
	// silent client that its connection ends: a request that is on its way when it does is lost, so give clients that
	// speak now and then the time to.
	IdleGrace time.Duration
}

// BeginDrain makes every answer from now on the last of its connection, and changes nothing else.
func (ls *Listeners) BeginDrain() { ls.draining.Store(true) }

// Draining tells whether BeginDrain or Drain was called.
func (ls *Listeners) Draining() bool { return ls.draining.Load() }

// Drain serves on for the delay, stops accepting, lets requests end, tells upgraded streams (Stopping) and returns when
// the last connection is closed. When ctx ends first, what is left is closed at once and the error says so.
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
	err := context.Cause(ctx)
	if ls.Open() == 0 {
		err = nil
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

// How long the kernel's queue is emptied before a listening socket is closed. Where a second instance takes over, it
// must outlast the handshakes that are under way.
const (
	queueWait    = 20 * time.Millisecond
	takeoverWait = 300 * time.Millisecond
	queueMost    = time.Second // where nothing stops new connections, this must
)

// stopAccepting empties the kernel's queue and closes the listening sockets.
func (ls *Listeners) stopAccepting() {
	for _, d := range ls.doors {
		d.stopBy.Store(time.Now().Add(queueMost).UnixNano())
		wait := queueWait
		if d.ReusePort {
			wait = takeoverWait
			if err := dropNew(d.raw); err != nil {
				ls.log.Warn("a connection that comes while the listener closes may be lost", zap.String("listener", d.Name), zap.Error(err))
			}
		}
		_ = d.raw.SetDeadline(time.Now().Add(wait)) // a closed one is what we want
	}
	if !ls.neverServed() {
		for _, d := range ls.doors {
			<-d.accepted
			d.handshakes.Wait()
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

// Close ends everything at once: listeners, requests, streams. It returns when Serve has; a handler that is at work
// then sees its reads and writes fail and its context end.
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
	for _, d := range ls.doors {
		_ = d.raw.Close() // it may be closed already
	}
	for _, s := range left {
		_ = s.Close()
		if c := s.connection(); c != nil {
			c.Abort()
		}
	}
}
