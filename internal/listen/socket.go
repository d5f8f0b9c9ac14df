package listen

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A socket is an accepted connection. It is counted against the cap, and a write that its client does not accept in
// time ends it.
type socket struct {
	net.Conn // embedded as the interface: ReadFrom of a TCP connection would bypass the deadlines
	raw      rawConn
	peer     net.Addr // instead of that of the connection; nil: the same
	all      *Listeners
	server   atomic.Pointer[connection] // nil during a handshake
	gone     sync.Once
	stall    stall
}

// A connection is the server side of HTTP on a socket, of package h1 or h2.
type connection interface {
	Serve()
	Retire(at time.Time)
	Evict()
	Abort()
	IdleSince() (time.Time, bool)
}

func newSocket(c rawConn, ls *Listeners) *socket {
	s := &socket{Conn: c, raw: c, all: ls, stall: stall{limit: ls.limits.WriteStall}}
	if _, tcp := c.RemoteAddr().(*net.TCPAddr); !tcp {
		s.peer = nameless(UnixPeer)
	}
	return s
}

// RemoteAddr returns the address of the peer: the one that a PROXY header announced, [UnixPeer] or [UnknownPeer].
func (s *socket) RemoteAddr() net.Addr {
	if s.peer != nil {
		return s.peer
	}
	return s.Conn.RemoteAddr()
}

// serve answers requests until the connection ends.
func (s *socket) serve(c connection) {
	s.server.Store(&c)
	if at := s.all.retireAt.Load(); at != nil { // draining began before it was registered
		c.Retire(*at)
	}
	c.Serve()
}

// connection returns the HTTP connection on the socket; nil during a handshake.
func (s *socket) connection() connection {
	if c := s.server.Load(); c != nil {
		return *c
	}
	return nil
}

// SyscallConn implements syscall.Conn, so that an idle connection waits without a buffer.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return s.raw.SyscallConn() }

// Close implements net.Conn.
func (s *socket) Close() error {
	err := s.raw.Close()
	s.gone.Do(func() { s.all.leave(s) })
	return err
}

// SetLinger sets SO_LINGER; zero makes Close send a reset.
func (s *socket) SetLinger(seconds int) error {
	if tcp, is := s.raw.(*net.TCPConn); is {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// writePiece is how much one write deadline covers, so that a slow client that makes progress is not cut.
const writePiece = 64 << 10

// Write implements net.Conn.
func (s *socket) Write(p []byte) (n int, err error) {
	for {
		if err := s.stall.arm(s.raw); err != nil {
			return n, err
		}
		m, err := s.raw.Write(p[:min(len(p), writePiece)])
		n += m
		if p = p[m:]; err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// CloseWrite sends a FIN.
func (s *socket) CloseWrite() error { return s.raw.CloseWrite() }

// SetWriteDeadline implements net.Conn. A deadline set here replaces the stall deadline until it is set to zero.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.stall.mu.Lock()
	defer s.stall.mu.Unlock()
	s.stall.asked, s.stall.armed = !t.IsZero(), time.Time{}
	return s.raw.SetWriteDeadline(t)
}

// SetWriteStall bounds the time without progress of what is written from now on; zero restores the limit.
func (s *socket) SetWriteStall(limit time.Duration) {
	if limit == 0 {
		limit = s.all.limits.WriteStall
	}
	s.stall.mu.Lock()
	defer s.stall.mu.Unlock()
	s.stall.limit, s.stall.armed = limit, time.Time{}
}

// SetDeadline implements net.Conn.
func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// A stall is the write deadline that moves on with progress. It is set again only once a fifth of it is used: setting a
// deadline costs as much as a small write.
type stall struct {
	limit time.Duration
	mu    sync.Mutex
	asked bool      // SetWriteDeadline was called
	armed time.Time // the deadline that was set
}

func (d *stall) arm(c net.Conn) error {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limit < 0 || d.asked || d.armed.Sub(now) > d.limit {
		return nil
	}
	d.armed = now.Add(d.limit + d.limit/4)
	return c.SetWriteDeadline(d.armed)
}
