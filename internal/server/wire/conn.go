package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A Conn is the server's side of one HTTP/1.1 connection, as net/http is to see it. Reads come from one goroutine at a
// time, which is how net/http reads; everything else may be called at any time.
type Conn struct {
	deadlines
	limits *Limits

	phase phase
	head  head
	out   int64 // bytes that may be handed on: of the head, or of a counted body
	mock  string
	body  chunks
	pace  Pace
	err   error // what every further read answers

	early early // bytes that came and were not handed on

	refused  *refusal.Error
	last     bool // no further request
	bodyErr  atomic.Pointer[refusal.Error]
	leftover atomic.Bool // the client may be writing still: close gently
}

type phase uint8

const (
	between  phase = iota // a request is done, or none has begun
	inHead                // a head is arriving
	handing               // a checked head is being handed on
	refusing              // the mock in place of a refused head is
	counting              // a body with a Content-Length
	chunking              // a chunked body
	over                  // nothing more will be read
)

// mock is what net/http reads in place of a refused head.
const mock = "GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"

// New starts to watch over socket: a TCP connection, or a *tls.Conn above one. Limits must have been through
// WithDefaults; connections share them.
func New(socket net.Conn, limits *Limits) *Conn {
	c := &Conn{limits: limits}
	c.deadlines.init(socket)
	return c
}

// Of finds the Conn in what net/http holds: a *Conn, or a Secure one; nil for anything else.
func Of(c net.Conn) *Conn {
	switch c := c.(type) {
	case *Conn:
		return c
	case Secure:
		return c.Conn
	}
	return nil
}

// A Secure connection tells net/http about its TLS session, which becomes Request.TLS.
type Secure struct{ *Conn }

// ConnectionState is where net/http looks for the TLS session.
func (s Secure) ConnectionState() tls.ConnectionState {
	return s.socket.(*tls.Conn).ConnectionState()
}

// Refused tells why the request that is being served is none: its head was refused, and an answer is all it gets.
// The handler in front must ask before anything else.
func (c *Conn) Refused() *refusal.Error { return c.refused }

// BodyError tells what was wrong with the body of the request that is being served, as far as it was read: malformed,
// broken off, or too slow; nil when nothing was. net/http cancels the request's context at the same time, so ask here
// before taking a cancelled context for a client that went away.
func (c *Conn) BodyError() error {
	if err := c.bodyErr.Load(); err != nil {
		return err
	}
	return nil
}

// Last tells that no request will be read behind the one that is being served; its answer should say so.
func (c *Conn) Last() bool { return c.last }

// Answered says that the handler is done: what came behind its request may now be read as the next one.
func (c *Conn) Answered() {
	c.mu.Lock()
	c.busy = false
	c.wake.Broadcast()
	c.mu.Unlock()
}

// Raw gets out of the way of another protocol: from now on bytes pass as they come, first those that came early. Call
// it when the connection was hijacked (http.StateHijacked).
func (c *Conn) Raw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Store(true)
	c.retire = time.Time{}
	c.wake.Broadcast()
}

// Break ends the connection with a reset, and no TLS goodbye. An answer to HTTP/1.0 may be delimited by the end of the
// connection: one that broke off must not end like one that is whole.
func (c *Conn) Break() {
	under := c.socket
	if session, ok := under.(*tls.Conn); ok {
		under = session.NetConn()
	}
	if tcp, ok := under.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // a socket that is gone already ends as it does
	}
	_ = under.Close()
}

// Read implements net.Conn. It hands on at most to the end of a head or a body.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n, err := c.step(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// step does the next thing; nothing read and no error means: go on.
func (c *Conn) step(p []byte) (int, error) {
	if c.raw.Load() {
		return c.readRaw(p)
	}
	switch c.phase {
	case between:
		return 0, c.next(p)
	case inHead:
		return c.readHead(p)
	case handing:
		return c.hand(p)
	case refusing:
		n := copy(p, c.mock)
		if c.mock = c.mock[n:]; c.mock == "" {
			c.phase = between
		}
		return n, nil
	case counting:
		return c.count(p)
	case chunking:
		return c.chunk(p)
	}
	return 0, c.err
}

func (c *Conn) readRaw(p []byte) (int, error) {
	if c.phase == refusing {
		return 0, io.EOF
	}
	if c.early.len() > 0 {
		return c.early.take(p), nil
	}
	return c.read(p, time.Time{}, false)
}

// next waits until the request before is answered, and begins the next one.
func (c *Conn) next(p []byte) error {
	if wait, err := c.hold(p); wait || err != nil {
		return err
	}
	if c.last {
		if c.early.len() > 0 {
			c.leftover.Store(true)
		}
		c.phase, c.err = over, io.EOF
		return nil
	}
	c.head = head{}
	c.phase = inHead
	return nil
}

// hold keeps what comes before its time, while the handler is at work. It goes on reading only until there is
// something, so that a client that goes away is noticed and one that writes ahead is not read without bound.
func (c *Conn) hold(p []byte) (wait bool, err error) {
	if c.early.len() == 0 {
		c.mu.Lock()
		busy := c.busy
		c.mu.Unlock()
		if !busy {
			return false, nil
		}
		n, err := c.read(p, time.Time{}, false)
		c.early.add(p[:n])
		return true, unless(n > 0, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy && !c.raw.Load() && !c.closed && !c.aborted() {
		c.wake.Wait()
	}
	switch {
	case c.closed:
		return true, net.ErrClosed
	case c.raw.Load():
		return true, nil
	case c.busy:
		return true, os.ErrDeadlineExceeded
	}
	return false, nil
}

// unless is err, but for data that came with it: the socket will say it again.
func unless(data bool, err error) error {
	if data {
		return nil
	}
	return err
}

// readHead scans in place what a read into p brings when the head is whole at once, as most are.
func (c *Conn) readHead(p []byte) (int, error) {
	if c.early.len() == 0 {
		n, err := c.read(p, time.Time{}, true)
		if n == 0 {
			return 0, err
		}
		end, refused := c.head.scan(p[:n], c.limits)
		if refused == nil && end > 0 && c.head.skip == 0 {
			c.early.add(p[end:n])
			c.begin()
			c.body0()
			return end, nil
		}
		c.early.add(p[:n])
		return 0, c.scanned(end, refused)
	}
	if c.head.seen == 0 {
		if end, refused := c.head.scan(c.early.bytes(), c.limits); end > 0 || refused != nil {
			return 0, c.scanned(end, refused)
		}
	}
	return 0, c.moreHead()
}

// moreHead waits for more of a head that has begun.
func (c *Conn) moreHead() error {
	if c.head.since.IsZero() {
		c.head.since = time.Now()
	}
	var by time.Time
	if c.limits.HeaderTimeout > 0 {
		by = c.head.since.Add(c.limits.HeaderTimeout)
	}
	n, err := c.early.fill(func(p []byte) (int, error) { return c.read(p, by, false) })
	if n == 0 {
		return c.headFailed(err)
	}
	return c.scanned(c.head.scan(c.early.bytes(), c.limits))
}

func (c *Conn) headFailed(err error) error {
	if !isTimeout(err) {
		return err
	}
	c.mu.Lock()
	aborted := c.aborted()
	c.mu.Unlock()
	if aborted {
		return err
	}
	c.refuse(&refusal.Error{Reason: refusal.HeaderTimeout, Detail: "head did not arrive in time"})
	return nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (c *Conn) scanned(end int, refused *refusal.Error) error {
	switch {
	case refused != nil:
		c.refuse(refused)
	case end > 0:
		c.early.drop(c.head.skip)
		c.out = int64(end - c.head.skip)
		c.phase = handing
		c.begin()
	}
	return nil
}

func (c *Conn) refuse(why *refusal.Error) {
	c.begin()
	c.refused, c.mock, c.phase = why, mock, refusing
	c.last = true
	c.leftover.Store(true)
}

// begin marks the start of a request for the handler's side.
func (c *Conn) begin() {
	c.last = c.head.endsConnection()
	c.refused = nil
	c.bodyErr.Store(nil)
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
}

func (c *Conn) hand(p []byte) (int, error) {
	n := c.early.take(p[:min(int64(len(p)), c.out)])
	if c.out -= int64(n); c.out == 0 {
		c.body0()
	}
	return n, nil
}

// body0 goes on to the body, if there is one.
func (c *Conn) body0() {
	c.phase = between
	c.pace = NewPace(c.limits)
	switch {
	case c.head.chunked:
		c.phase, c.body = chunking, chunks{}
	case c.head.length > 0:
		c.phase, c.out = counting, c.head.length
	}
}

func (c *Conn) count(p []byte) (int, error) {
	n, err := c.readBody(p[:min(int64(len(p)), c.out)])
	if c.out -= int64(n); c.out == 0 {
		c.phase = between
	}
	return n, err
}

func (c *Conn) chunk(p []byte) (int, error) {
	n, err := c.readBody(p)
	if err != nil {
		return 0, err
	}
	good, fault := c.body.follow(p[:n])
	switch {
	case fault != nil:
		return good, unless(good > 0, c.bodyFailed(fault))
	case c.body.at == bodyDone:
		c.early.putBack(p[good:n])
		c.phase = between
	}
	return good, nil
}

// readBody takes early bytes first, then waits no longer than the body's pace allows.
func (c *Conn) readBody(p []byte) (int, error) {
	if c.early.len() > 0 {
		return c.early.take(p), nil
	}
	n, err := c.readPaced(p)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, c.bodyBroke(err)
}

func (c *Conn) readPaced(p []byte) (int, error) {
	credit, bounded := c.pace.Credit()
	if !bounded {
		return c.read(p, time.Time{}, false)
	}
	start := time.Now()
	n, err := c.read(p, start.Add(credit), false)
	c.pace.Earn(n, time.Since(start))
	return n, err
}

// bodyBroke remembers why, but for a read that net/http took back or that we closed.
func (c *Conn) bodyBroke(err error) error {
	switch {
	case isTimeout(err):
		return c.bodyFailed(&refusal.Error{Reason: refusal.BodyTimeout, Detail: "body came too slowly"})
	case errors.Is(err, io.EOF):
		c.bodyErr.Store(&refusal.Error{Reason: refusal.BodyMalformed, Detail: "body ended before its end"})
	}
	return err
}

func (c *Conn) bodyFailed(why *refusal.Error) error {
	c.bodyErr.Store(why)
	c.leftover.Store(true)
	c.phase, c.err = over, why
	return why
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.socket.Write(p) }

// CloseWrite says that no more will be written; net/http uses it so that an early answer is not lost in a reset.
func (c *Conn) CloseWrite() error {
	if w, ok := c.socket.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Bounds of what is read from a client after the last answer.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// Close implements net.Conn. A client that may still be writing is told that no more will come and is read for a
// moment: closing with unread bytes would make the kernel send a reset, which can destroy the last answer on its way
// (RFC 9112 section 9.6).
func (c *Conn) Close() error {
	c.mu.Lock()
	linger := !c.closed && !c.raw.Load() && (!c.gone || c.leftover.Load())
	c.closed = true
	c.wake.Broadcast()
	c.mu.Unlock()
	if linger {
		c.linger()
	}
	return c.socket.Close()
}

func (c *Conn) linger() {
	if c.CloseWrite() != nil || c.socket.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.socket, lingerBytes)
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.socket.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.socket.RemoteAddr() }
