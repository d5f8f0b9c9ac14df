package h1

import (
	"math"
	"net/http"
	"time"
)

// A Stream is a connection that left HTTP with 101 (RFC 9110 §7.8). One goroutine may read while another one writes;
// Close wakes both. It outlives the context of its request.
type Stream struct {
	conn  *conn
	stall time.Duration
}

// Stream takes over the connection of an answer with status 101. It returns nil for any other answer. The answer is
// over then.
func (a *Answer) Stream() *Stream {
	if a.framing != switched || a.conn == nil {
		return nil
	}
	a.mu.Lock()
	k := a.conn
	a.conn, a.over = nil, errClosed
	a.mu.Unlock()
	if a.release != nil {
		a.release() // a request that was canceled in this moment leaves a connection whose reads fail
	}
	return &Stream{conn: k, stall: a.stall}
}

// Read waits for as long as the server is silent.
func (s *Stream) Read(p []byte) (int, error) {
	piece, err := s.next(len(p))
	return copy(p, piece), err
}

// Next returns what the server says next. It is valid until the next call. While Next waits it holds no memory, except
// above TLS.
func (s *Stream) Next() ([]byte, error) { return s.next(math.MaxInt) }

func (s *Stream) next(most int) ([]byte, error) {
	if s.conn.buffered() == 0 {
		if err := s.conn.reading.In(0); err != nil {
			return nil, err
		}
	}
	return s.conn.take(most)
}

// Write fails when the server takes nothing for the stall time-out.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.conn.send(p, s.stall); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite ends the direction to the server.
func (s *Stream) CloseWrite() error {
	if half, ok := s.conn.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// Close closes the connection.
func (s *Stream) Close() error { return s.conn.Close() }
