package upstream

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled tells that an answer's body made no progress in time.
var errStalled = errors.New("the answer's body stalled")

// A conn gives each write a deadline, so that a server that stops reading a request's body does not hold it for ever:
// the transport's own clock starts only when the request is out. Reads are not bounded here, since a kept connection waits
// in one; the answer's body has a clock of its own.
type conn struct {
	net.Conn
	stall    time.Duration
	deadline time.Time // of the last write; one goroutine writes at a time
}

func (c *conn) Write(p []byte) (int, error) {
	// Renewed only when half of it is gone: a system call less for most writes, and never under half the time.
	if now := time.Now(); c.deadline.Sub(now) < c.stall/2 {
		c.deadline = now.Add(c.stall)
		if err := c.Conn.SetWriteDeadline(c.deadline); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// CloseWrite lets an upgraded stream end one way at a time.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// answerBody frees the server's slot when the answer is over, and watches its progress. An event stream may be silent
// for as long as it likes (WHATWG HTML §9.2), and so may an upgraded one.
func answerBody(s *server, r *http.Response, stall time.Duration) io.ReadCloser {
	free := sync.OnceFunc(s.release)
	if both, ok := r.Body.(io.ReadWriteCloser); ok && r.StatusCode == http.StatusSwitchingProtocols {
		return &stream{ReadWriteCloser: both, free: free}
	}
	b := &body{ReadCloser: r.Body, free: free}
	if stall > 0 && r.Body != http.NoBody && !eventStream(r.Header) {
		b.stall = stall
		b.timer = time.AfterFunc(b.stall, b.giveUp)
	}
	return b
}

func eventStream(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == "text/event-stream"
}

// A body is an answer's.
type body struct {
	io.ReadCloser
	free    func()
	stall   time.Duration
	timer   *time.Timer // nil: it may take its time
	stalled atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.timer != nil {
		b.timer.Reset(b.stall)
		defer b.timer.Stop() // the client's own pace, between two reads, is the server side's to bound
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.stalled.Load() {
		err = errStalled
	}
	return n, err
}

func (b *body) giveUp() {
	b.stalled.Store(true)
	b.ReadCloser.Close()
}

func (b *body) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.ReadCloser.Close()
	b.free()
	return err
}

// A stream is what an upgraded connection (RFC 9110 §7.8) has become.
type stream struct {
	io.ReadWriteCloser
	free func()
}

func (s *stream) Close() error {
	err := s.ReadWriteCloser.Close()
	s.free()
	return err
}

// CloseWrite ends our direction alone, where the connection can do that.
func (s *stream) CloseWrite() error {
	if half, ok := s.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
