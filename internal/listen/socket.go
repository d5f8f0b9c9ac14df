package listen

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A socket is an accepted connection: it is counted, and a write that its client does not take in time ends it.
type socket struct {
	net.Conn // only this much of tcp: its ReadFrom would go around the deadlines
	tcp      *net.TCPConn
	all      *Listeners
	spoken   atomic.Pointer[connection] // nil during a handshake
	gone     sync.Once
	stall    stall
}

// A connection speaks HTTP on a socket: package wire's HTTP/1.1, or package h2's HTTP/2.
type connection interface {
	Serve()
	Retire(at time.Time)
	Evict()
	Abort()
	IdleSince() (time.Time, bool)
}

func newSocket(c *net.TCPConn, ls *Listeners) *socket {
	return &socket{Conn: c, tcp: c, all: ls, stall: stall{limit: ls.limits.WriteStall}}
}

// serve has requests answered until the connection ends.
func (s *socket) serve(c connection) {
	s.spoken.Store(&c)
	if at := s.all.retireAt.Load(); at != nil { // it came too late to be told
		c.Retire(*at)
	}
	c.Serve()
}

// connection is what is spoken; nil during a handshake.
func (s *socket) connection() connection {
	if c := s.spoken.Load(); c != nil {
		return *c
	}
	return nil
}

// SyscallConn lets a connection at rest be waited for without a buffer.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return s.tcp.SyscallConn() }

// Close implements net.Conn.
func (s *socket) Close() error {
	err := s.tcp.Close()
	s.gone.Do(func() { s.all.leave(s) })
	return err
}

// SetLinger is the socket's own: zero makes its close a reset.
func (s *socket) SetLinger(seconds int) error { return s.tcp.SetLinger(seconds) }

// writePiece is the most that one deadline covers, so that whoever reads slowly but reads is not cut.
const writePiece = 64 << 10

// Write implements net.Conn.
func (s *socket) Write(p []byte) (n int, err error) {
	for {
		if err := s.stall.arm(s.tcp); err != nil {
			return n, err
		}
		m, err := s.tcp.Write(p[:min(len(p), writePiece)])
		n += m
		if p = p[m:]; err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// CloseWrite sends a FIN.
func (s *socket) CloseWrite() error { return s.tcp.CloseWrite() }

// SetWriteDeadline implements net.Conn. A deadline that somebody asked for stands until it is taken back.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.stall.mu.Lock()
	defer s.stall.mu.Unlock()
	s.stall.asked, s.stall.armed = !t.IsZero(), time.Time{}
	return s.tcp.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// stall is the write deadline that moves. It is set anew only when a quarter of it is used up: arming costs as much
// as a small write's bookkeeping.
type stall struct {
	limit time.Duration
	mu    sync.Mutex
	asked bool
	armed time.Time
}

func (d *stall) arm(c *net.TCPConn) error {
	if d.limit < 0 {
		return nil
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked || d.armed.Sub(now) > d.limit {
		return nil
	}
	d.armed = now.Add(d.limit + d.limit/4)
	return c.SetWriteDeadline(d.armed)
}

// enter counts s in. At the cap, a connection that has long been idle makes room.
func (ls *Listeners) enter(s *socket) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.stopped || len(ls.open) >= ls.limits.Connections && !ls.evict() {
		return false
	}
	ls.open[s] = struct{}{}
	return true
}

func (ls *Listeners) leave(s *socket) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.open, s)
	ls.emptied()
}

func (ls *Listeners) emptied() {
	if !ls.stopped || len(ls.open) > 0 {
		return
	}
	select {
	case <-ls.empty:
	default:
		close(ls.empty)
	}
}

// evictLook is how many connections are looked at for one that can go. Map order makes it a sample.
const evictLook = 64

// evict closes the connection that has been idle for longest among a few, and tells whether there was one. The one
// that comes is let in at once, so the cap may be passed by as many as are on their way out.
func (ls *Listeners) evict() bool {
	var oldest connection
	since, look := time.Now().Add(-ls.limits.EvictIdleAfter), 0
	for s := range ls.open {
		if c := s.connection(); c != nil {
			if t, idle := c.IdleSince(); idle && t.Before(since) {
				oldest, since = c, t
			}
		}
		if look++; look == evictLook {
			break
		}
	}
	if oldest == nil {
		return false
	}
	oldest.Evict()
	return true
}
