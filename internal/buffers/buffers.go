// Package buffers lends memory for what connections read. A connection that waits holds none: its socket is waited for
// first, and memory is taken when there is something to read.
//
// Above TLS that cannot be seen from outside, since a record may be there already. Such a connection waits with a small
// buffer, unless the last read filled it.
package buffers

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Sizes of buffers.
const (
	Small = 4 << 10  // a head, a message
	Large = 32 << 10 // bodies on their way
)

var (
	small = sync.Pool{New: func() any { return new([Small]byte) }}
	large = sync.Pool{New: func() any { return new([Large]byte) }}
)

// Get returns a buffer of size Large if it is wanted, else Small.
func Get(wantLarge bool) []byte {
	if wantLarge {
		return large.Get().(*[Large]byte)[:]
	}
	return small.Get().(*[Small]byte)[:]
}

// Put takes a buffer back, which nothing may use from then on. Memory of other sizes is left to the collector.
func Put(b []byte) {
	switch cap(b) {
	case Small:
		small.Put((*[Small]byte)(b[:Small]))
	case Large:
		large.Put((*[Large]byte)(b[:Large]))
	}
}

// Fit returns b, or a buffer that suits what the last read made of b: a large one if it was full, else a small one.
func Fit(b []byte, full bool) []byte {
	if b != nil && full == (cap(b) == Large) {
		return b
	}
	Put(b)
	return Get(full)
}

// A Reader reads a socket. One goroutine uses it at a time.
type Reader struct {
	socket net.Conn
	raw    syscall.RawConn // nil above TLS, and where it cannot be read
	await  func(fd uintptr) bool

	large  bool
	full   bool // the last read filled its buffer
	buffer []byte
	n      int
	err    error
}

// Init must be called before anything else.
func (r *Reader) Init(socket net.Conn) {
	r.socket = socket
	if s, ok := socket.(syscall.Conn); ok && sockets {
		if raw, err := s.SyscallConn(); err == nil {
			r.raw, r.await = raw, r.arrived
		}
	}
}

// Read waits, for as long as the socket's deadline allows, and returns the bytes that came at the beginning of a buffer
// that is the caller's to Put. There is none with an error, nor at the end, which is io.EOF. Large is the size of the
// buffer where much is to come.
func (r *Reader) Read(wantLarge bool) (buffer []byte, n int, err error) {
	r.large = wantLarge
	if r.raw == nil {
		return r.readHolding()
	}
	if err := r.raw.Read(r.await); err != nil {
		return nil, 0, err
	}
	buffer, r.buffer = r.buffer, nil
	return buffer, r.n, r.err
}

// readHolding waits with a buffer at hand.
func (r *Reader) readHolding() ([]byte, int, error) {
	b := Get(r.large && r.full)
	n, err := r.socket.Read(b)
	if r.full = n >= Small; n > 0 {
		return b, n, nil // the next read says what came with it
	}
	Put(b)
	if err == nil {
		err = io.ErrNoProgress
	}
	return nil, 0, err
}

// Copy copies until the source ends or one of the two fails. It waits with a small buffer, unless the last read filled
// it; with none if the source has a method Next.
func Copy(to io.Writer, from io.Reader) error {
	next := holding(from)
	if s, ok := from.(interface{ Next() ([]byte, error) }); ok {
		next = s.Next
	}
	for {
		p, err := next()
		if len(p) > 0 {
			if _, err := to.Write(p); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func holding(from io.Reader) func() ([]byte, error) {
	var b []byte
	full := false
	return func() ([]byte, error) {
		b = Fit(b, full)
		n, err := from.Read(b)
		if full = n >= Small; err != nil && n == 0 {
			Put(b)
			b = nil
			return nil, err
		}
		return b[:n], err
	}
}
