package h2

import (
	"context"
	"sync"
	"time"
)

// A lifetime is the context of a request: it ends when the client resets the stream or goes away, at Abort, and when the
// handler has returned. What a context costs is paid when somebody asks for it.
type lifetime struct {
	base context.Context

	mu     sync.Mutex
	inner  context.Context // made when somebody asks
	cancel context.CancelFunc
	then   func()
	stop   func() bool // forget, made once
	ended  bool
}

var _ context.Context = (*lifetime)(nil)

// Deadline implements context.Context: there is none.
func (l *lifetime) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (l *lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil {
		l.inner, l.cancel = context.WithCancel(l.base)
		if l.ended {
			l.cancel()
		}
	}
	return l.inner.Done()
}

// Err implements context.Context.
func (l *lifetime) Err() error {
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
func (l *lifetime) Value(key any) any {
	l.mu.Lock()
	inner := l.inner
	l.mu.Unlock()
	if inner == nil {
		inner = l.base
	}
	return inner.Value(key)
}

// OnEnd is context.AfterFunc for one function at a time, without what that costs: f runs when the context ends, on the
// goroutine that ends it, so it must not wait. stop tells whether it will not run.
func (l *lifetime) OnEnd(f func()) (stop func() bool) {
	l.mu.Lock()
	if l.ended || l.then != nil {
		l.mu.Unlock()
		return context.AfterFunc(l, f)
	}
	l.then = f
	if l.stop == nil {
		l.stop = l.forget
	}
	l.mu.Unlock()
	return l.stop
}

func (l *lifetime) forget() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.then != nil
	l.then = nil
	return was
}

// end cancels the context, once.
func (l *lifetime) end() {
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
