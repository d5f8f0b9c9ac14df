package http1

import (
	"sync"
	"sync/atomic"
	"time"
)

// A deadline is one direction's of a connection. Telling the socket costs more than asking the clock, so the socket is told
// late: what it was told may be too early, never too late. Whoever it wakes too early looks again.
//
// Sockets know the system's clock only, so there is no other here.
type deadline struct {
	tell func(time.Time) error
	dead *atomic.Bool // the connection was given up: its socket was told the past, and that stays

	mu    sync.Mutex
	due   time.Time // zero: never
	armed time.Time // what the socket knows; zero: never
}

// in says that something must happen within d from now; 0 is any time.
func (l *deadline) in(d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d <= 0 {
		l.due = time.Time{}
		return l.arm(time.Time{})
	}
	now := time.Now()
	l.due = now.Add(d)
	return l.arm(now)
}

// early tells, after the socket gave up, that the time was not over yet; the socket is told the right one then.
func (l *deadline) early() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.dead.Load() || !l.due.IsZero() && !now.Before(l.due) {
		return false
	}
	return l.arm(now) == nil
}

func (l *deadline) arm(now time.Time) error {
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
		return l.tell(past())
	}
	return nil
}

// past is a time that wakes whoever waits.
func past() time.Time { return time.Unix(1, 0) }
