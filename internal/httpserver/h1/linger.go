package h1

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// A connection that is closed while the client still sends makes the kernel send a reset, which can destroy an answer
// that the client has not read yet: an early one, such as a 401 to an upload. So the connection is closed in two steps
// (RFC 9112 section 9.6): what the client sends is read and discarded until it closes, too.
//
// Lingering is bounded by time and by rate, not by size: a client may be sending gigabytes on a fast link. A client
// that pauses, or that sends more slowly than lingerRate for long, is cut.
const (
	lingerBrief = 500 * time.Millisecond // the request was read to its end, or its client is too slow anyway
	lingerPause = 5 * time.Second        // the client may be sending; also the credit that lingerRate earns
	lingerRate  = 16 << 10               // bytes a second
	lingerMost  = 5 * time.Minute
	lingerDrain = 5 * time.Second // at most, once the connection is told to retire; it may pause for lingerBrief then

	// While a client sends a body, the close_notify of TLS and the FIN wait for a pause of this length, which is longer
	// than most round trips. Node fails a request that is still being written when it sees either of them.
	lingerQuiet = 300 * time.Millisecond
)

// lingering is how a connection is closed.
type lingering uint8

const (
	lingerNot     lingering = iota // the client is gone
	lingerShort                    // nothing is expected from the client
	lingerRefused                  // the head was refused; it is not known what follows
	lingerSending                  // the client may be sending a body
)

// linger notes that the client may be sending when the connection is closed.
func (c *Conn) linger(l lingering) {
	c.mu.Lock()
	c.lingers = max(c.lingers, l)
	c.mu.Unlock()
}

// A half is a connection that can be closed for writing alone.
type half interface {
	net.Conn
	CloseWrite() error
}

// closeGently closes the connection for writing, and reads until the client closes it.
func (c *Conn) closeGently(l lingering) {
	session, secure := c.socket.(*tls.Conn)
	socket, ok := c.socket.(half)
	if secure {
		socket, ok = session.NetConn().(half) // what comes is discarded: there is no need to decrypt it
	}
	if !ok {
		return
	}
	closeWrite := socket.CloseWrite
	if secure {
		closeWrite = func() error { return errors.Join(session.CloseWrite(), socket.CloseWrite()) }
	}
	c.mu.Lock()
	c.idle, c.since, c.closing = true, time.Now(), true // it may be evicted
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.idle = false
		c.mu.Unlock()
	}()
	d := discarding{conn: c, socket: socket, credit: lingerBrief, until: c.since.Add(lingerMost)}
	if l != lingerShort {
		d.credit = lingerPause
	}
	if l == lingerSending && d.discard(lingerQuiet) {
		return
	}
	if closeWrite() == nil {
		d.discard(lingerPause)
	}
}

// A discarding reads and drops what is left of a body.
type discarding struct {
	conn   *Conn
	socket net.Conn
	credit time.Duration // how long the client may still pause
	until  time.Time
}

var discardBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// discard reads until the client pauses, and reports whether it need not be called again: because the client closed the
// connection, or is out of credit.
func (d *discarding) discard(pause time.Duration) (over bool) {
	buffer := discardBuffers.Get().(*[]byte)
	defer discardBuffers.Put(buffer)
	for {
		start := time.Now()
		if d.conn.lingerFor(min(pause, d.credit, d.until.Sub(start)), start) != nil {
			return true
		}
		n, err := d.read(*buffer)
		d.credit += time.Duration(n)*time.Second/lingerRate - time.Since(start)
		d.credit = min(d.credit, lingerPause)
		if n == 0 && err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded) || d.credit <= 0 || d.conn.evicted()
		}
	}
}

func (d *discarding) read(p []byte) (int, error) {
	for {
		n, err := d.socket.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !d.conn.reading.Early() {
			return n, err
		}
	}
}

// lingerFor sets the deadline of the next read.
func (c *Conn) lingerFor(wait time.Duration, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.retire.IsZero() {
		wait = min(wait, lingerBrief, c.retire.Sub(now))
	}
	if wait <= 0 {
		return os.ErrDeadlineExceeded
	}
	return c.reading.At(now.Add(wait), now)
}

// evicted reports whether the connection was told to retire.
func (c *Conn) evicted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.retire.IsZero() && !c.retire.After(time.Now())
}
