package h1

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jotgate/jotgate/internal/deadline"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A Conn is the server's side of one HTTP/1.1 connection. One goroutine serves it. The body of a request may be read by
// another, and while its answer is awaited a third may watch whether the client goes away; never two of them at once.
type Conn struct {
	server *Server
	socket net.Conn
	raw    syscall.RawConn // nil above TLS, and where it cannot be read
	remote string
	tls    *tls.ConnectionState

	in      early // bytes that came and were not used
	head    head
	reading deadline.Deadline
	dead    atomic.Bool // reads were given up

	await   func(fd uintptr) bool // firstBytes, made once
	awaited error                 // what firstBytes saw
	first   [1]byte               // of a TLS connection's next request

	mu      sync.Mutex
	since   time.Time // when it began to wait for a head
	idle    bool      // it waits for the first byte of a head
	retire  time.Time // when it is to go if it waits then; zero: never
	closed  bool
	aborted bool        // contexts are to end: see Abort
	raws    bool        // another protocol's now
	gone    bool        // the client closed, or nothing came in time
	lingers lingering   // how it is closed, though the client may be gone
	closing bool        // it lingers
	watcher *time.Timer // starts to watch for the client's end; made when first needed
	current *turn       // the request that is with its handler
}

// NewConn prepares to serve a socket: a TCP connection, or a *tls.Conn above one whose handshake is done.
func (s *Server) NewConn(socket net.Conn) *Conn {
	c := &Conn{server: s, socket: socket, remote: socket.RemoteAddr().String()}
	c.reading.Init(socket.SetReadDeadline, &c.dead)
	switch k := socket.(type) {
	case *tls.Conn:
		state := k.ConnectionState()
		c.tls = &state
	case syscall.Conn:
		if raw, err := k.SyscallConn(); looks && err == nil {
			c.raw, c.await = raw, c.firstBytes
		}
	}
	return c
}

// Serve answers requests until the connection ends, and closes it.
func (c *Conn) Serve() {
	defer c.end()
	if c.server.HTTP2 != nil {
		if !c.begin() {
			return
		}
		if c.prior() {
			c.handOver()
			return
		}
	}
	for c.begin() {
		if !c.turn() {
			return
		}
	}
}

// begin waits for a request's first byte; false: none will come.
func (c *Conn) begin() bool {
	c.head = head{}
	if c.in.len() > 0 {
		return true
	}
	now := time.Now()
	var until time.Time
	if limit := c.server.IdleTimeout; limit > 0 {
		until = now.Add(limit)
	}
	c.mu.Lock()
	c.since, c.idle = now, true
	if !c.retire.IsZero() && (until.IsZero() || c.retire.Before(until)) {
		until = c.retire
	}
	err := c.reading.At(until, now)
	c.mu.Unlock()
	if err == nil {
		runtime.Gosched() // by the time that those who wait for us are served, the next request may be there: no vain look
		err = c.waitForFirst()
	}
	c.mu.Lock()
	c.idle, c.gone = false, err != nil
	c.mu.Unlock()
	return err == nil
}

// waitForFirst reads the first bytes of a head.
func (c *Conn) waitForFirst() error {
	for {
		err := c.readFirst()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.reading.Early() {
			return err
		}
	}
}

// readFirst takes no memory before there is something to read. A TLS connection has a record's bytes in any case, so
// that its first byte is asked for alone; the others are there when it is.
func (c *Conn) readFirst() error {
	switch {
	case c.tls != nil:
		n, err := c.socket.Read(c.first[:])
		if n == 0 {
			return err
		}
		_, err = c.in.fill(func(p []byte) (int, error) { return copy(p, c.first[:]), nil })
		return err
	case c.raw == nil:
		_, err := c.in.fill(c.socket.Read)
		return err
	}
	if err := c.raw.Read(c.await); err != nil {
		return err
	}
	return c.awaited
}

// receive reads the socket for as long as the deadline allows.
func (c *Conn) receive(p []byte) (int, error) {
	for {
		n, err := c.socket.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.reading.Early() {
			return n, err
		}
	}
}

// readHead reads on until the head is whole; a fault is answered to the client, an error is not.
func (c *Conn) readHead() (end int, fault *refusal.Error, err error) {
	limited := false
	for {
		if end, fault = c.head.scan(c.in.bytes(), c.server.Limits); end > 0 || fault != nil {
			return end, fault, nil
		}
		if !limited {
			if err := c.reading.In(c.server.Limits.HeaderTimeout); err != nil {
				return 0, nil, err
			}
			limited = true
		}
		if _, err := c.in.fill(c.receive); err != nil {
			if isTimeout(err) {
				return 0, &refusal.Error{Reason: refusal.HeaderTimeout, Detail: "head did not arrive in time"}, nil
			}
			c.leave()
			return 0, nil, err
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// leave notes that the client did.
func (c *Conn) leave() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
}

// Retire closes the connection at that time if it then waits for a request that has not begun, or as soon as it does.
// A request that comes before is served. A connection that is closing gets a little longer.
func (c *Conn) Retire(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.retireAt(at)
		return
	}
	now := time.Now()
	c.retire = later(at, now.Add(lingerDrain))
	_ = c.reading.Sooner(now.Add(lingerBrief)) // a socket that cannot take a deadline is closed already
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// retireAt sets when the connection is closed; c.mu is held.
func (c *Conn) retireAt(at time.Time) {
	c.retire = at
	if c.idle {
		_ = c.reading.Sooner(at) // a socket that cannot take a deadline is closed already
	}
}

// Evict closes the connection if it waits for a request that has not begun, or is closing.
func (c *Conn) Evict() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retireAt(time.Now())
}

// Abort ends the context of the request that is with its handler. The code that closes the socket under the connection
// must call it: while there is something left to read of a body, or of the next request, the socket is not watched for
// whether it is still open.
func (c *Conn) Abort() {
	c.mu.Lock()
	c.aborted = true
	t := c.current
	c.mu.Unlock()
	if t != nil {
		t.lifetime.End()
	}
}

// IdleSince returns since when the connection has been waiting for the first byte of a request, or has been closing;
// false while it does neither, and once it was told to retire.
func (c *Conn) IdleSince() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.idle && c.retire.IsZero()
}

// end closes the connection, gently where the client may be there (see closeGently).
func (c *Conn) end() {
	c.mu.Lock()
	hijacked, how := c.raws, c.lingers
	if c.closed {
		how = lingerNot
	} else if !c.gone {
		how = max(how, lingerShort)
	}
	c.closed = true
	if !c.retire.IsZero() { // it served its last request; what it may still need is not what it was told before
		c.retire = later(c.retire, time.Now().Add(lingerDrain))
	}
	c.mu.Unlock()
	if hijacked {
		return
	}
	c.in.drop(c.in.len())
	if how != lingerNot {
		c.closeGently(how)
	}
	_ = c.socket.Close()
}

// reset ends the connection with a reset, and no TLS goodbye. An answer may be delimited by the end of the connection:
// one that broke off must not end like one that is whole.
func (c *Conn) reset() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	under := c.socket
	if session, ok := under.(*tls.Conn); ok {
		under = session.NetConn()
	}
	if tcp, ok := under.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // a socket that is gone already ends as it does
	}
	_ = under.Close()
}
