package upstream

import (
	"sync"
	"time"
)

// Retry bounds how often requests are sent again that may have reached a server.
type Retry struct {
	Attempts int     // servers that one request may meet; below 2: it is not sent again
	Budget   float64 // retries for each request of the last seconds
}

const (
	budgetWindow = 10 * time.Second
	budgetFloor  = 30 // retries in a window that are always allowed: 3 a second
)

// A budget bounds the retries of a pool by its requests. Requests are counted by the pool's turns, so a pool without
// retries pays nothing for it.
type budget struct {
	share float64

	mu      sync.Mutex
	began   time.Time
	turn    uint64  // at the beginning of the window
	rate    float64 // requests a second before it
	retries int
}

// take reports whether one more retry is allowed.
func (b *budget) take(now time.Time, turn uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	elapsed := now.Sub(b.began)
	if b.began.IsZero() {
		b.began, b.turn = now, turn
	} else if elapsed >= budgetWindow {
		b.rate = float64(turn-b.turn) / elapsed.Seconds()
		b.began, b.turn, b.retries = now, turn, 0
	}
	requests := b.rate*(budgetWindow-now.Sub(b.began)).Seconds() + float64(turn-b.turn)
	if float64(b.retries) >= max(budgetFloor, b.share*requests) {
		return false
	}
	b.retries++
	return true
}
