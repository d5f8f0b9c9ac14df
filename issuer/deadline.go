package issuer

import (
	"context"
	"sync"
	"time"
)

// A lazyDeadline is context.WithDeadline for calls that mostly do not wait: its timer starts with the first wait.
type lazyDeadline struct {
	parent context.Context
	at     time.Time

	mu     sync.Mutex
	inner  context.Context // with the timer; nil until then
	cancel context.CancelFunc
	over   bool
}

var _ context.Context = (*lazyDeadline)(nil)

func within(parent context.Context, d time.Duration) *lazyDeadline {
	return &lazyDeadline{parent: parent, at: time.Now().Add(d)}
}

// Deadline implements context.Context.
func (d *lazyDeadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *lazyDeadline) Done() <-chan struct{} { return d.whole().Done() }

func (d *lazyDeadline) whole() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.cancel = context.WithDeadline(d.parent, d.at)
		if d.over {
			d.cancel()
		}
	}
	return d.inner
}

// Err implements context.Context.
func (d *lazyDeadline) Err() error {
	d.mu.Lock()
	inner, over := d.inner, d.over
	d.mu.Unlock()
	switch {
	case inner != nil:
		return inner.Err()
	case over:
		return context.Canceled
	case !time.Now().Before(d.at):
		return context.DeadlineExceeded
	}
	return d.parent.Err()
}

// Value implements context.Context.
func (d *lazyDeadline) Value(key any) any {
	d.mu.Lock()
	inner := d.inner
	d.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return d.parent.Value(key)
}

// end cancels the context.
func (d *lazyDeadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.cancel != nil {
		d.cancel()
	}
}
