package wire

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// deadlines decides when a read gives up. net/http sets one deadline many times per request, mostly without reading
// in between; the connection sets others: for a head in progress, for a body that stands still, for an idle
// connection that is to go. The earliest counts, and the socket hears of it only when a read is about to wait.
//
// It also holds what Read and the handler's side tell each other, under the same lock.
type deadlines struct {
	mu   sync.Mutex
	wake *sync.Cond // busy, raw, closed or asked changed

	socket  net.Conn
	asked   time.Time // by net/http
	own     time.Time // by the reader: head or body
	retire  time.Time // for a connection that waits for a head
	applied time.Time

	reading bool // a read of the socket is under way
	idle    bool // … and waits for the first byte of a head
	busy    bool // a request is with its handler
	closed  bool
	gone    bool        // the client closed, or nothing came in time: no need for a gentle end
	since   time.Time   // when it became idle
	raw     atomic.Bool // hijacked
}

func (d *deadlines) init(socket net.Conn) {
	d.socket = socket
	d.wake = sync.NewCond(&d.mu)
}

// ask sets net/http's deadline. A time in the past wakes a read at once; that is how net/http takes back a read that
// waits in the background.
func (d *deadlines) ask(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = t
	if d.aborted() {
		d.wake.Broadcast()
	}
	if d.reading {
		return d.apply()
	}
	return nil
}

// aborted tells that net/http took a read back, as opposed to a deadline that passed.
func (d *deadlines) aborted() bool { return !d.asked.IsZero() && d.asked.Unix() <= 1 }

func (d *deadlines) apply() error {
	t := earlier(d.asked, d.own)
	if d.idle && !d.busy {
		t = earlier(t, d.retire)
	}
	if t.Equal(d.applied) {
		return nil
	}
	d.applied = t
	return d.socket.SetReadDeadline(t)
}

// earlier treats the zero time as never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// read reads the socket. An own deadline of zero means none; idle, that the first byte of a head is awaited.
func (d *deadlines) read(p []byte, own time.Time, idle bool) (int, error) {
	d.mu.Lock()
	if idle && !d.idle {
		d.since = time.Now()
	}
	d.own, d.idle, d.reading = own, idle, true
	err := d.apply()
	d.mu.Unlock()
	n := 0
	if err == nil {
		n, err = d.socket.Read(p)
	}
	d.mu.Lock()
	d.reading = false
	d.idle = d.idle && n == 0
	d.gone = err != nil && !d.aborted()
	d.mu.Unlock()
	return n, err
}

// Retire closes the connection at that time if it then waits for a request that has not begun, or as soon as it does.
// A request that comes before is served.
func (c *Conn) Retire(at time.Time) {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retire = at
	if d.reading {
		_ = d.apply() // a socket that cannot take a deadline is closed already
	}
}

// IdleSince tells since when the connection has been waiting for a request's first byte; false while it is not, and
// when it has been told to go.
func (c *Conn) IdleSince() (time.Time, bool) {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.since, d.reading && d.idle && !d.busy && d.retire.IsZero()
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.ask(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.socket.SetWriteDeadline(t) }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.ask(t); err != nil {
		return err
	}
	return c.socket.SetWriteDeadline(t)
}
