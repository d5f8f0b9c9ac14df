package replay

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// A Hold keeps what says that it was made later than now, by a clock that is ahead, until that time has come. Without
// it, what is used once could be used twice: here, now, and again after a restart (or after a shared store has lost its
// memory) that still lies before the time at which the thing says that it was made. Nothing else bounds what a process
// knows of its predecessor.
//
// How many are held at once is bounded, and each holds its request's place among those in flight. The zero Hold is
// ready.
type Hold struct{ held atomic.Int64 }

// mostHeld bounds how many wait at once.
const mostHeld = 1024

// Errors of Until.
var (
	ErrHeldFull = errors.New("made ahead of this clock, and too many others wait for their time")
	ErrHeldLong = errors.New("made further ahead of this clock than the request may wait")
)

// Until waits until made has come, both in milliseconds since 1970, and reports whether there was anything to wait for.
// It ends early with the context.
func (h *Hold) Until(ctx context.Context, made, now int64) (waited bool, err error) {
	ahead := time.Duration(made-now) * time.Millisecond
	if ahead <= 0 {
		return false, nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= ahead {
		return false, ErrHeldLong
	}
	defer h.held.Add(-1)
	if h.held.Add(1) > mostHeld {
		return false, ErrHeldFull
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// Held is how many wait now.
func (h *Hold) Held() int64 { return h.held.Load() }
