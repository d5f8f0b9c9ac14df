package h1

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jotgate/jotgate/internal/buffers"
	"github.com/jotgate/jotgate/internal/deadline"
)

const recordSize = 16 << 10 // of TLS

// A conn is one connection. One goroutine at a time asks on it; a sender may write the request's body beside that.
type conn struct {
	net.Conn
	raw    syscall.RawConn
	secure bool // TLS

	source     buffers.Reader
	in         []byte // in[start:end] was read and is not yet used; nil: nothing was
	start, end int
	much       bool // a body is read
	head       Head // that is written

	reading, writing deadline.Deadline
	dead             atomic.Bool // given up

	wake  func()        // abort, made once
	probe func(uintptr) // peek, made once
	seen  int           // what peek saw
	sight [64]byte      // the beginning of it
	since time.Time     // idle
	until time.Time     // it may be used again, as the server says; zero: it says nothing
}

func newConn(c net.Conn) (*conn, error) {
	k := &conn{Conn: c}
	k.source.Init(c)
	k.reading.Init(c.SetReadDeadline, &k.dead)
	k.writing.Init(c.SetWriteDeadline, &k.dead)
	k.wake, k.probe = k.abort, k.peek
	if t, ok := c.(*tls.Conn); ok {
		k.secure, c = true, t.NetConn()
	}
	if s, ok := c.(syscall.Conn); ok {
		var err error
		if k.raw, err = s.SyscallConn(); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// abort ends whatever waits on the connection, which is of no further use.
func (k *conn) abort() {
	k.dead.Store(true)
	_ = k.SetDeadline(deadline.Past())
}

// buffered is what was read and not used.
func (k *conn) buffered() int { return k.end - k.start }

// send writes all of p, each part of it in the time that a stall may take.
func (k *conn) send(p []byte, stall time.Duration) error {
	if k.secure {
		return k.sendRecords(p, stall)
	}
	for {
		if err := k.writing.In(stall); err != nil {
			return err
		}
		n, err := k.Conn.Write(p)
		if p = p[n:]; err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if n == 0 && !k.writing.Early() {
			return errSendTimeout
		}
	}
}

// sendRecords tells the socket each deadline exactly, since a TLS connection is of no use after a write that timed out.
func (k *conn) sendRecords(p []byte, stall time.Duration) error {
	for len(p) > 0 {
		var due time.Time
		if stall > 0 {
			due = time.Now().Add(stall)
		}
		if err := k.SetWriteDeadline(due); err != nil {
			return err
		}
		if k.dead.Load() { // the past may have been overwritten just now
			_ = k.SetWriteDeadline(deadline.Past())
		}
		n, err := k.Conn.Write(p[:min(len(p), recordSize)])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errSendTimeout
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// more reads what the server sends next behind what is buffered, and makes room up to limit. While nothing is buffered
// it waits without memory.
func (k *conn) more(limit int) error {
	if k.buffered() == 0 {
		k.drop()
		return k.fill()
	}
	if k.start > 0 {
		copy(k.in, k.in[k.start:k.end])
		k.start, k.end = 0, k.end-k.start
	}
	if k.end == len(k.in) {
		if k.end >= limit {
			return errHeadSize
		}
		grown := make([]byte, min(2*len(k.in), max(limit, buffers.Small)))
		copy(grown, k.in)
		buffers.Put(k.in)
		k.in = grown
	}
	for {
		n, err := k.Conn.Read(k.in[k.end:])
		k.end += n
		switch {
		case n > 0:
			return nil
		case err == nil:
			return io.ErrNoProgress
		case !errors.Is(err, os.ErrDeadlineExceeded) || !k.reading.Early():
			return err
		}
	}
}

// fill reads for as long as the deadline allows.
func (k *conn) fill() (err error) {
	for {
		k.in, k.end, err = k.source.Read(k.much)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !k.reading.Early() {
			return err
		}
	}
}

// take reads what is buffered, most bytes of it at most, or else from the socket. It is valid until the connection is
// read again.
func (k *conn) take(most int) ([]byte, error) {
	if k.buffered() == 0 {
		k.much = true
		if err := k.more(0); err != nil {
			return nil, err
		}
	}
	p := k.in[k.start : k.start+min(k.buffered(), most)]
	k.start += len(p)
	return p, nil
}

// drop gives the memory back.
func (k *conn) drop() { buffers.Put(k.yield()) }

// yield returns the memory, which is no longer the connection's.
func (k *conn) yield() []byte {
	b := k.in
	k.in, k.start, k.end = nil, 0, 0
	return b
}

// rest makes the connection ready to be kept.
func (k *conn) rest(now time.Time) {
	k.since, k.much = now, false
	k.drop()
}
