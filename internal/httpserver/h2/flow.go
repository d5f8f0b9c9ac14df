package h2

import (
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// traffic is what the client sends, in bytes. Frames that bring nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty
// DATA, RST_STREAM) are cheap to send and not to take. Some are of use beside requests, bodies and answers; many more
// of them are a flood.
type traffic struct {
	vain   int64 // frames that bring nothing, and the heads of the others
	useful int64 // fields and bodies, both ways
}

const (
	vainFree  = 1 << 20 // without anything useful: sixty thousand PINGs
	vainTimes = 8       // as much again for each useful byte
)

// calm ends a connection that is flooded.
func (c *Conn) calm() error {
	if c.traffic.vain < vainFree { // most never get here
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.traffic.vain > vainFree+vainTimes*(c.traffic.useful+c.written) {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// windowMost is the most that a window can be (RFC 9113 section 6.9.1).
const windowMost = 1<<31 - 1

// windowUpdate lets answers go on.
func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.sendWindow += int64(f.Increment); c.sendWindow > windowMost {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.unblock()
		return nil
	}
	st, err := c.stream(f.StreamID)
	if st == nil {
		return err
	}
	st.granted += int64(f.Increment)
	if st.window() > windowMost {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	c.mostGranted = max(c.mostGranted, st.granted)
	st.writable.ring()
	return nil
}

// window is what the client accepts on the stream; it may be below zero (section 6.9.2). Conn.mu is held.
func (st *stream) window() int64 { return st.conn.initialWindow + st.granted }

// allowance is how much of n bytes of a body may be written now. c.mu is held.
func (c *Conn) allowance(st *stream, n int) int {
	if c.pending() >= pendingMost {
		return 0
	}
	return max(0, min(n, frameSize, int(c.sendWindow), int(st.window())))
}

// spend books what was written. c.mu is held.
func (c *Conn) spend(st *stream, n int) {
	c.sendWindow -= int64(n)
	st.granted -= int64(n)
	st.unproved = c.probed
	c.written += int64(n)
}

// park has the stream woken by unblock. c.mu is held.
func (c *Conn) park(st *stream) {
	if !st.blocked {
		st.blocked = true
		c.blocked = append(c.blocked, st)
	}
}

// unblock wakes those that wait for what streams share. c.mu is held.
func (c *Conn) unblock() {
	for i, st := range c.blocked {
		st.blocked = false
		st.writable.ring()
		c.blocked[i] = nil
	}
	c.blocked = c.blocked[:0]
}

// A stream whose body is not read must not stop the others of its connection, so the connection's window is credited as
// data arrives, and what is held is bounded by the streams' own windows. When the bodies of all connections hold more
// than Server.BodyMemory, the connection's window is credited as bodies are read.

// accept credits the connection's window for what has arrived. c.mu is held.
func (c *Conn) accept(n int) {
	if c.server.full() {
		c.withheld += int64(n)
		return
	}
	c.credit(n)
}

// release credits what was withheld, as n bytes have left our memory. c.mu is held.
func (c *Conn) release(n int) {
	c.server.held.Add(-int64(n))
	c.restore(n)
}

// restore credits what was withheld of n bytes that hold no memory. c.mu is held.
func (c *Conn) restore(n int) {
	n = int(min(int64(n), c.withheld))
	c.withheld -= int64(n)
	c.credit(n)
}

// credit gives the connection's window back n bytes, in pieces that are worth a frame. c.mu is held.
func (c *Conn) credit(n int) {
	if c.recvRead += int64(n); c.recvRead >= windowSize/4 && !c.closed {
		c.appendWindowUpdate(0, c.recvRead)
		c.recvWindow += c.recvRead
		c.recvRead = 0
	}
}

// credit gives the stream's window back what its handler has read. Conn.mu is held.
func (st *stream) credit(n int) {
	if st.heard || st.gone != nil {
		return
	}
	st.grow(n)
	if st.recvRead += int64(n); st.recvRead >= st.recvSize/4 {
		st.conn.appendWindowUpdate(st.id, st.recvRead)
		st.recvWindow += st.recvRead
		st.recvRead = 0
	}
}

// grow doubles the stream's window each time that so much was read, so that a fast client need not wait for a handler
// that is as fast. Conn.mu is held.
func (st *stream) grow(n int) {
	more := st.recvSize
	if st.readSince += int64(n); st.readSince < more || more >= streamMost || st.conn.grown+more > growMost {
		return
	}
	st.readSince = 0
	st.conn.grown += more
	st.recvSize += more
	st.recvRead += more
}

// earlier is the first of two times; the zero time never comes.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func passed(due time.Time) bool { return !due.IsZero() && !time.Now().Before(due) }

// A bell wakes the one that waits for a change. It holds nothing until somebody waits.
type bell struct{ rings chan struct{} }

func (b *bell) ring() {
	if b.rings != nil {
		select {
		case b.rings <- struct{}{}:
		default:
		}
	}
}

// wait lets go of mu until the bell rings, or the time has come: false. The zero time never comes.
func (b *bell) wait(mu *sync.Mutex, due time.Time) bool {
	if b.rings == nil {
		b.rings = make(chan struct{}, 1)
	}
	var over <-chan time.Time
	if !due.IsZero() {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		over = timer.C
	}
	mu.Unlock()
	defer mu.Lock()
	select {
	case <-b.rings:
		return true
	case <-over:
		return false
	}
}
