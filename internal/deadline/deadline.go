// Package deadline keeps a socket's deadlines cheap. Telling a socket its deadline costs more than asking the clock,
// and most deadlines are moved on before they pass. So the socket is told late: what it was told may be too early,
// never too late, and a waiter that it wakes too early looks again.
//
// Sockets know the system's clock only, so there is no other here.
package deadline

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Deadline is one direction's of a connection.
type Deadline struct {
	tell func(time.Time) error
	dead *atomic.Bool

	mu    sync.Mutex
	due   time.Time // zero: never
	armed time.Time // what the socket knows; zero: never
}

// Init must be called before anything else. The socket's own method is tell; dead, which may be shared by both
// directions, tells that the connection was given up: its socket was told [Past], and that stays.
func (l *Deadline) Init(tell func(time.Time) error, dead *atomic.Bool) { l.tell, l.dead = tell, dead }

// In says that something must happen within d from now; not above zero is any time.
func (l *Deadline) In(d time.Duration) error {
	if d <= 0 {
		return l.At(time.Time{}, time.Time{})
	}
	now := time.Now()
	return l.At(now.Add(d), now)
}

// At says by when something must happen; the zero time is any time. now is the present.
func (l *Deadline) At(due, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = due
	return l.arm(now)
}

// Sooner moves the deadline to t if it is later.
func (l *Deadline) Sooner(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.due.IsZero() && !t.Before(l.due) {
		return nil
	}
	l.due = t
	return l.arm(time.Now())
}

// Early tells, after the socket gave up, that the time was not over yet; the socket is told the right one then.
func (l *Deadline) Early() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.dead.Load() || !l.due.IsZero() && !now.Before(l.due) {
		return false
	}
	return l.arm(now) == nil
}

// Revive undoes a giving up, when nothing waits on the socket any more: there is no deadline then.
func (l *Deadline) Revive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead.Store(false)
	l.due, l.armed = time.Time{}, time.Time{}
	return l.tell(time.Time{})
}

func (l *Deadline) arm(now time.Time) error {
	if l.due.IsZero() && l.armed.IsZero() {
		return nil
	}
	if !l.armed.IsZero() && l.armed.After(now) && (l.due.IsZero() || !l.armed.After(l.due)) {
		return nil
	}
	l.armed = l.due
	if err := l.tell(l.due); err != nil {
		return err
	}
	if l.dead.Load() { // the past may have been overwritten just now
		return l.tell(Past())
	}
	return nil
}

// Past is a time that wakes the waiters.
func Past() time.Time { return time.Unix(1, 0) }
