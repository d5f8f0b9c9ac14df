package h1

import (
	"time"

	"github.com/jotgate/jotgate/internal/deadline"
)

// watchAfter is how long a request may take before somebody looks whether its client is still there.
const watchAfter = 20 * time.Millisecond

// Asked has the client's end looked for.
func (t *turn) Asked() { t.conn.watchSoon(t) }

// A watch reads on while a handler is at work. The request's context ends when the client goes away, at Abort, and when
// the handler has returned.
//
// Most handlers are done before a client could go away, so the socket is not watched at first. When somebody
// asks for the end, and the handler is still at work a moment later, a goroutine reads on. What it finds is the end, or
// the beginning of the next request, which waits its turn; then it looks no further, so that a client that writes ahead
// is not read without bound.
type watch struct {
	wanted  bool          // somebody asked
	due     bool          // … a moment ago
	busy    bool          // the body may still be read
	over    bool          // the handler has returned
	reading chan struct{} // closed when the watch has ended; nil: it has not begun
}

// watchSoon has the client's end looked for if t takes longer.
func (c *Conn) watchSoon(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &t.watch
	if w.wanted || w.over {
		return
	}
	w.wanted = true
	if c.watcher == nil {
		c.watcher = time.AfterFunc(watchAfter, c.watchNow)
	} else {
		c.watcher.Reset(watchAfter)
	}
}

// watchNow begins to watch over the request that is with its handler, as soon as its body was read.
func (c *Conn) watchNow() {
	c.mu.Lock()
	t := c.current
	if t == nil || !t.watch.wanted {
		c.mu.Unlock()
		return
	}
	t.watch.due = true
	begun := t.watch.begin()
	c.mu.Unlock()
	if begun {
		c.look(t)
	}
}

// begin marks the begin of a watch; Conn.mu is held.
func (w *watch) begin() bool {
	if !w.due || w.busy || w.over || w.reading != nil {
		return false
	}
	w.reading = make(chan struct{})
	return true
}

// bodyOver lets the watch begin.
func (t *turn) bodyOver() {
	c := t.conn
	c.mu.Lock()
	t.watch.busy = false
	begun := t.watch.begin()
	c.mu.Unlock()
	if begun {
		go c.look(t)
	}
}

// look waits for the client's next byte, or its end.
func (c *Conn) look(t *turn) {
	defer close(t.watch.reading)
	if c.in.len() > 0 {
		return // the next request has begun to come
	}
	err := c.reading.At(time.Time{}, time.Time{})
	if err == nil {
		err = c.waitForFirst()
	}
	if err == nil || c.dead.Load() || isTimeout(err) { // a deadline that was meant for a read of the body is no end
		return
	}
	c.leave()
	t.lifetime.End()
}

// unwatch ends the watch; nothing reads the socket then.
func (c *Conn) unwatch(t *turn) {
	c.mu.Lock()
	w := &t.watch
	before := w.over
	w.over = true
	if w.wanted {
		c.watcher.Stop()
	}
	c.mu.Unlock()
	if before { // and since then the socket may be somebody else's: who hijacked it
		return
	}
	if w.reading == nil {
		return
	}
	c.dead.Store(true)
	_ = c.socket.SetReadDeadline(deadline.Past()) // a closed socket has woken it already
	<-w.reading
	_ = c.reading.Revive()
}
