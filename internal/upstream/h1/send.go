package h1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/buffers"
)

const (
	// Room in front of a chunk for its size, and behind it for its end, the last chunk and the end of that.
	chunkFront = len("ffffffff\r\n")
	chunkBack  = len("\r\n0\r\n\r\n")
	// lastWrite is how long the end of an answer waits for a sender that is in its last write: the server has read that
	// write before it answered, most likely, and we have only not been told.
	lastWrite = 50 * time.Millisecond
)

// A sender writes a request's body while the answer is awaited. It outlives an answer that came early until the body's
// present Read returns, and touches nothing then but its own connection, which nothing else uses.
type sender struct {
	conn    *conn
	body    io.ReadCloser
	left    int64 // below zero: unknown
	trailer http.Header
	head    time.Duration // for the answer's head, when the body is out
	stall   time.Duration

	failed atomic.Pointer[error] // the body's own failure, or the server's to take it
	ending atomic.Bool           // the last write has begun
	whole  bool                  // every byte was written; valid when done is closed
	done   chan struct{}

	mu    sync.Mutex
	heard bool // the answer's head is there
}

func (c *Client) newSender(k *conn, q *Request, head, stall time.Duration) *sender {
	return &sender{
		conn: k, body: q.Body, left: max(q.Length, -1), trailer: q.Trailer, head: head, stall: stall,
		done: make(chan struct{}),
	}
}

func (s *sender) run() {
	err := s.copy()
	if s.whole = err == nil; err != nil {
		s.fail(err)
	}
	s.await()
	close(s.done)
	s.body.Close()
}

// fail ends the request, unless it was the server that did not want the rest: its answer may be there, or on its way.
func (s *sender) fail(err error) {
	var w *writeError
	if errors.As(err, &w) && !errors.Is(err, errSendTimeout) {
		return
	}
	s.failed.Store(&err)
	s.conn.abort()
}

// await starts the clock for the answer's head, now that the request is out.
func (s *sender) await() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.heard {
		_ = s.conn.reading.In(s.head) // a closed socket says so to the reader as well
	}
}

// answered stops the clock for the head.
func (s *sender) answered() {
	s.mu.Lock()
	s.heard = true
	s.mu.Unlock()
}

// over reports whether the whole body went out.
func (s *sender) over() bool {
	select {
	case <-s.done:
		return s.whole
	default:
	}
	if !s.ending.Load() {
		return false
	}
	timer := time.NewTimer(lastWrite)
	defer timer.Stop()
	select {
	case <-s.done:
		return s.whole
	case <-timer.C:
		return false
	}
}

// A writeError is the connection's, not the body's.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

func (s *sender) write(p []byte) error {
	if err := s.conn.send(p, s.stall); err != nil {
		return &writeError{err}
	}
	return nil
}

// copy waits for the body with a small buffer, unless the last read filled it.
func (s *sender) copy() error {
	if s.left < 0 {
		return s.copyChunks()
	}
	return s.copyLength()
}

func (s *sender) copyLength() error {
	var buffer []byte
	defer func() { buffers.Put(buffer) }()
	for n := 0; ; {
		buffer = buffers.Fit(buffer, n >= buffers.Small)
		var err error
		n, err = s.body.Read(buffer)
		if s.left -= int64(n); s.left < 0 {
			return errLongBody
		}
		if n > 0 {
			if s.left == 0 {
				s.ending.Store(true)
			}
			if err := s.write(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && s.left > 0:
			return errShortBody
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// copyChunks writes each piece as a chunk, at once (RFC 9112 §7.1).
func (s *sender) copyChunks() error {
	var buffer []byte
	defer func() { buffers.Put(buffer) }()
	for n := 0; ; {
		buffer = buffers.Fit(buffer, n >= buffers.Small-chunkFront-chunkBack)
		var err error
		n, err = s.body.Read(buffer[chunkFront : len(buffer)-chunkBack])
		if err != nil && err != io.EOF {
			return err
		}
		out := frameChunk(buffer, n)
		if err == io.EOF {
			if out, err = s.lastChunk(out); err != nil {
				return err
			}
			s.ending.Store(true)
			return s.write(out)
		}
		if n > 0 {
			if err := s.write(out); err != nil {
				return err
			}
		}
	}
}

// frameChunk puts size and end round the n bytes that stand in buffer behind its room for the size.
func frameChunk(buffer []byte, n int) []byte {
	if n == 0 {
		return buffer[:0]
	}
	var room [chunkFront]byte
	size := append(strconv.AppendInt(room[:0], int64(n), 16), "\r\n"...)
	start := chunkFront - len(size)
	copy(buffer[start:], size)
	return append(buffer[start:chunkFront+n], "\r\n"...)
}

func (s *sender) lastChunk(out []byte) ([]byte, error) {
	out = append(out, "0\r\n"...)
	h := Head{bytes: out}
	HeaderFields(s.trailer).WriteFields(&h)
	return append(h.bytes, "\r\n"...), h.err
}
