package h2

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
)

// A WebSocket over HTTP/2 is an extended CONNECT (RFC 8441). To a handler it is the request that HTTP/1.1 would have: a
// GET with Upgrade, whose connection it takes over (http.Hijacker) when it has an answer of 101. What it writes then is
// translated: the head of that answer becomes HEADERS of 200, and the rest DATA.

// upgrade makes the request of HTTP/1.1.
func (st *stream) upgrade(r *http.Request) {
	st.tunnel = &tunnel{stream: st}
	r.Method, st.method = http.MethodGet, http.MethodGet
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	r.Header["Sec-Websocket-Key"] = []string{base64.StdEncoding.EncodeToString(nonce[:])}
	r.Body, r.ContentLength = http.NoBody, 0
}

// A tunnel is the connection that a handler takes over. Conn.mu guards its flags.
type tunnel struct {
	stream *stream
	open   bool   // the handler took it over
	shut   bool   // … and closed it
	head   []byte // of the answer, until it is whole
	said   bool   // it was sent
}

// mostHead is how long the head of the answer may be.
const mostHead = 64 << 10

// Hijack implements http.Hijacker, for an extended CONNECT that is not answered yet.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	t := w.stream.tunnel
	switch {
	case t == nil:
		return nil, nil, http.ErrNotSupported
	case t.open:
		return nil, nil, http.ErrHijacked
	case w.over, w.status != 0:
		return nil, nil, errors.New("h2: hijacked after an answer")
	}
	c := w.stream.conn
	c.mu.Lock()
	t.open = true
	w.stream.body.pace, w.stall.limit = httpserver.Pace{}, 0 // a WebSocket may be silent
	c.mu.Unlock()
	return t, bufio.NewReadWriter(bufio.NewReader(t), bufio.NewWriter(t)), nil
}

// Read implements net.Conn.
func (t *tunnel) Read(p []byte) (int, error) { return t.stream.body.Read(p) }

// Write implements net.Conn. Each write is sent at once.
func (t *tunnel) Write(p []byte) (int, error) {
	w := &t.stream.response
	if t.finished() {
		return 0, net.ErrClosed
	}
	rest := p
	if !t.said {
		end := 0
		if len(t.head)+len(p) > mostHead {
			return 0, errors.New("h2: the head of the answer is too long")
		}
		t.head = append(t.head, p...)
		if end = bytes.Index(t.head, []byte("\r\n\r\n")); end < 0 {
			return len(p), nil
		}
		rest = t.head[end+4:]
		if err := t.answer(string(t.head[:end])); err != nil {
			return 0, err
		}
		t.said, t.head = true, nil
	}
	if _, err := w.Write(rest); err != nil {
		return 0, err
	}
	if err := w.FlushError(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// answer sends the head.
func (t *tunnel) answer(head string) error {
	status, fields, _ := strings.Cut(head, "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.1 101") {
		return errors.New("h2: a tunnel's answer is not 101")
	}
	w := &t.stream.response
	clear(w.header)
	for line := range strings.SplitSeq(fields, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(name)
		if name == "Sec-Websocket-Accept" { // RFC 8441 section 5 has none
			continue
		}
		w.header[name] = append(w.header[name], grammar.Trim(value))
	}
	w.header["Content-Type"] = nil // none is guessed
	w.framed = streamed
	w.begin(http.StatusOK, nil)
	return nil
}

// finished reports whether the stream has ended in this direction.
func (t *tunnel) finished() bool {
	c := t.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.stream.response.ended
}

// CloseWrite ends the stream in one direction.
func (t *tunnel) CloseWrite() error {
	w, c := &t.stream.response, t.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.said || w.ended || w.over {
		return net.ErrClosed
	}
	w.send(nil, true)
	w.ended = true
	c.flush()
	return w.failed
}

// Close implements net.Conn: reads and writes that wait end.
func (t *tunnel) Close() error {
	c := t.stream.conn
	c.mu.Lock()
	t.shut = true
	c.mu.Unlock()
	_ = t.stream.response.SetWriteDeadline(time.Now()) // one that waits; an error means that none does
	return t.stream.body.Close()
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return t.stream.conn.socket.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return t.stream.conn.socket.RemoteAddr() }

// SetDeadline implements net.Conn.
func (t *tunnel) SetDeadline(at time.Time) error {
	return errors.Join(t.SetReadDeadline(at), t.SetWriteDeadline(at))
}

// SetReadDeadline implements net.Conn.
func (t *tunnel) SetReadDeadline(at time.Time) error { return t.stream.body.by(at) }

// SetWriteDeadline implements net.Conn.
func (t *tunnel) SetWriteDeadline(at time.Time) error { return t.stream.response.SetWriteDeadline(at) }
