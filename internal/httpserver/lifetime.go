// Package httpserver holds what the servers of HTTP/1.1 (package h1) and HTTP/2 (package h2) share: the limits of a
// connection, the clocks of its bodies, the context of a request, and the rules of messages that both versions have
// (RFC 9110).
package httpserver

import (
	"context"
	"sync"
	"time"
)

// A Lifetime is the context of a request: it ends at End. A server makes one for each request, so what a context costs
// is paid only when it is asked for. It must not be copied.
type Lifetime struct {
	Base  context.Context // whose values it has, and whose end is its own where somebody waits for it
	Asker Asker           // told when somebody waits; may be nil

	mu     sync.Mutex
	inner  context.Context // made when somebody asks
	cancel context.CancelFunc
	then   func()
	stop   func() bool // forget, made once
	ended  bool
}

// An Asker hears that somebody wants to be told of a Lifetime's end. It must not wait, nor ask back.
type Asker interface{ Asked() }

var _ context.Context = (*Lifetime)(nil)

// Deadline implements context.Context: there is none.
func (l *Lifetime) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (l *Lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil {
		l.inner, l.cancel = context.WithCancel(l.Base)
		if l.ended {
			l.cancel()
		} else {
			l.asked()
		}
	}
	return l.inner.Done()
}

func (l *Lifetime) asked() {
	if l.Asker != nil {
		l.Asker.Asked()
	}
}

// Err implements context.Context.
func (l *Lifetime) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.inner != nil:
		return l.inner.Err()
	case l.ended:
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (l *Lifetime) Value(key any) any {
	l.mu.Lock()
	inner := l.inner
	l.mu.Unlock()
	if inner == nil {
		inner = l.Base
	}
	return inner.Value(key)
}

// OnEnd is context.AfterFunc for one function at a time, without what that costs: f runs when the context ends, on the
// goroutine that ends it, so it must not wait. stop reports whether it will not run.
func (l *Lifetime) OnEnd(f func()) (stop func() bool) {
	l.mu.Lock()
	if l.ended || l.then != nil {
		l.mu.Unlock()
		return context.AfterFunc(l, f)
	}
	l.then = f
	l.asked()
	if l.stop == nil {
		l.stop = l.forget
	}
	l.mu.Unlock()
	return l.stop
}

func (l *Lifetime) forget() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.then != nil
	l.then = nil
	return was
}

// Renew makes an ended Lifetime one of another request. It returns false, and does nothing, if somebody has waited for
// the end: the context may be held on to.
func (l *Lifetime) Renew() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil || l.then != nil || !l.ended {
		return false
	}
	l.ended = false
	return true
}

// End cancels the context, once.
func (l *Lifetime) End() {
	l.mu.Lock()
	then, cancel := l.then, l.cancel
	l.then, l.ended = nil, true
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if then != nil {
		then()
	}
}
