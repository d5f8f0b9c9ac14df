package h2

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A body is a request's. What is wrong with it is a [refusal.Error], which stays: malformed, broken off or too slow. It
// may be read beside the handler; when that has returned, nothing more is read. Conn.mu guards it.
type body struct {
	stream   *stream
	left     int64 // as Content-Length says; below zero: it does not
	pieces   []*piece
	size     int   // bytes in pieces
	err      error // what is read behind them: io.EOF, or what went wrong; nil: more may come
	closed   bool
	expected bool // the client waits for 100 (Continue)
	pace     httpserver.Pace
	asked    time.Time   // by the handler, for all reads
	trailer  http.Header // names that were announced, and at the end their values
	trailing []field
}

// A piece is memory that DATA waits in.
type piece struct {
	bytes [pieceSize]byte
	r, w  int
}

const pieceSize = 4 << 10

var piecePool = sync.Pool{New: func() any { return new(piece) }}

func (b *body) begin(st *stream, length int64) {
	b.stream, b.left = st, length
	if st.heard {
		b.err = io.EOF
		return
	}
	b.pace = httpserver.NewPace(st.conn.server.Limits)
}

// announce makes place for trailers that the request says will come.
func (b *body) announce(names string) {
	for name := range strings.SplitSeq(names, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if !httpguts.ValidTrailerHeader(name) || len(b.trailer) == b.stream.conn.server.Limits.Fields {
			continue
		}
		if b.trailer == nil {
			b.trailer = http.Header{}
		}
		b.trailer[name] = nil
	}
}

// hear notes the end of the body. Conn.mu is held.
func (st *stream) hear() {
	st.heard = true
	st.body.breakOff(io.EOF)
	if st.lingers {
		st.leave(errAnswerOver)
	}
}

// breakOff says what is read when all that came has been. Conn.mu is held.
func (b *body) breakOff(err error) {
	if b.err == nil {
		b.err = err
	}
	b.stream.readable.ring()
}

// append keeps p until it is read; what will not be read is dropped. Conn.mu is held.
func (b *body) append(p []byte) {
	if b.closed || b.err != nil {
		b.stream.conn.restore(len(p))
		if b.stream.lingers {
			b.stream.discard(len(p))
		}
		return
	}
	b.size += len(p)
	b.stream.conn.server.held.Add(int64(len(p)))
	for len(p) > 0 {
		if last := len(b.pieces) - 1; last < 0 || b.pieces[last].w == pieceSize {
			b.pieces = append(b.pieces, piecePool.Get().(*piece))
		}
		last := b.pieces[len(b.pieces)-1]
		n := copy(last.bytes[last.w:], p)
		last.w += n
		p = p[n:]
	}
	b.stream.readable.ring()
}

// take reads what has come. Conn.mu is held.
func (b *body) take(p []byte) (n int) {
	for n < len(p) && b.size > 0 {
		first := b.pieces[0]
		m := copy(p[n:], first.bytes[first.r:first.w])
		first.r += m
		n += m
		b.size -= m
		if first.r == first.w {
			b.drop()
		}
	}
	return n
}

// drop gives the first piece back.
func (b *body) drop() {
	first := b.pieces[0]
	first.r, first.w = 0, 0
	piecePool.Put(first)
	b.pieces[0] = nil
	if b.pieces = b.pieces[1:]; len(b.pieces) == 0 {
		b.pieces = nil
	}
}

// discard forgets what was not read, and tells how much it was. Conn.mu is held.
func (b *body) discard() (n int) {
	b.closed = true
	n, b.size = b.size, 0
	for len(b.pieces) > 0 {
		b.drop()
	}
	return n
}

// Read implements io.Reader. The end comes with the last bytes.
func (b *body) Read(p []byte) (int, error) {
	c := b.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case len(p) == 0:
		return 0, nil
	}
	if b.expected && b.err == nil && b.size == 0 {
		b.stream.response.sayContinue()
	}
	b.expected = false
	waited, err := b.wait()
	if err != nil {
		return 0, err
	}
	n := b.take(p)
	b.pace.Earn(n, waited)
	if n > 0 {
		before := c.pending()
		c.release(n)
		if b.stream.credit(n); c.pending() > before {
			c.flush()
		}
	}
	if b.size > 0 || b.err == nil {
		return n, nil
	}
	if b.err == io.EOF {
		b.trail()
	}
	if n > 0 && b.err != io.EOF {
		return n, nil // the next read says it
	}
	return n, b.err
}

// wait returns when there is something to read, or an end, and how much of the time is the client's. While the body
// waits for its turn on the connection, the progress of the connection's other bodies is its own; and none is expected
// of a client that the connection has no window for. Conn.mu is held.
func (b *body) wait() (charged time.Duration, err error) {
	c := b.stream.conn
	for b.size == 0 && b.err == nil && !b.closed {
		start, received, open := time.Now(), c.received, c.recvWindow > 0
		credit, bounded := b.pace.Credit()
		var slow time.Time
		if bounded && open {
			slow = start.Add(credit - charged)
		}
		inTime := b.stream.readable.wait(&c.mu, earlier(slow, b.asked))
		took := time.Since(start)
		if !open {
			took = 0
		}
		charged += took
		if inTime || b.size > 0 || b.err != nil {
			continue
		}
		if others := c.received - received; others > 0 && !passed(b.asked) {
			b.pace.Earn(int(others), charged)
			charged = 0
			continue
		}
		if passed(earlier(slow, b.asked)) { // it may have been moved
			b.err = &refusal.Error{Reason: refusal.BodyTimeout, Detail: "body came too slowly"}
		}
	}
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return charged, nil
}

// trail puts the values to the names that were announced.
func (b *body) trail() {
	for _, f := range b.trailing {
		b.trailer[f.name] = append(b.trailer[f.name], f.value)
	}
	b.trailing = nil
}

// Whole reports whether all of the body has come: reading it waits for nothing.
func (b *body) Whole() bool {
	c := b.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.err == io.EOF && !b.closed && !b.expected
}

// Close implements io.Closer. What is left is dropped as it comes.
func (b *body) Close() error {
	c := b.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(b.discard())
	b.stream.readable.ring()
	c.flush()
	return nil
}

// by bounds all reads, one that waits too. The zero time takes every bound away, that on the pace too: the body may be
// silent.
func (b *body) by(t time.Time) error {
	c := b.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	b.asked = t
	if t.IsZero() {
		b.pace = httpserver.Pace{}
	}
	b.stream.readable.ring()
	return nil
}
