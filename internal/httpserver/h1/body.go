package h1

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/deadline"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A body is a request's. What is wrong with it is a [refusal.Error], which stays: malformed, broken off or too slow.
// It may be read beside the handler, and even when that has returned: such a read ends, and reads nothing more.
type body struct {
	turn     *turn
	left     int64
	chunked  bool
	chunks   chunks
	expected bool // the client waits for 100 (Continue)
	pace     httpserver.Pace

	mu     sync.Mutex // held by a read, while it waits too
	over   bool       // read to its end
	err    error      // what every further read says
	closed bool

	asking sync.Mutex // while a deadline is set; never longer
	asked  time.Time  // by the handler, for all reads
}

// Read implements io.Reader. The end comes with the last bytes.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	if b.expected {
		b.expected = false
		if err := b.turn.response.sayContinue(); err != nil {
			b.err = err
			return 0, err
		}
	}
	n, err := b.read(p)
	if err != nil {
		b.err = err
	}
	if b.over = b.over || err == io.EOF; b.over {
		b.turn.bodyOver()
	}
	return n, err
}

// Close implements io.Closer. What is left is the server's affair.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *body) read(p []byte) (int, error) {
	if b.chunked {
		return b.readChunked(p)
	}
	n, err := b.readSome(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		err = io.EOF
	}
	return n, err
}

// readSome takes early bytes first, then waits no longer than the body's pace allows.
func (b *body) readSome(p []byte) (int, error) {
	if in := &b.turn.conn.in; in.len() > 0 {
		return in.take(p), nil
	}
	return b.receive(func() (int, error) { return b.turn.conn.receive(p) })
}

func (b *body) readChunked(p []byte) (int, error) {
	in := &b.turn.conn.in
	for {
		n, used, fault := b.chunks.decode(p, in.bytes())
		in.drop(used)
		switch {
		case fault != nil && n > 0: // the next read says it
			b.err = fault
			return n, nil
		case fault != nil:
			return 0, fault
		case b.chunks.at == bodyDone:
			return n, io.EOF
		case n > 0:
			return n, nil
		}
		if err := b.more(p, &n); err != nil || n > 0 {
			return n, err
		}
	}
}

// more reads from the socket: data without a detour, framing into the connection's own memory.
func (b *body) more(p []byte, n *int) (err error) {
	c := b.turn.conn
	if b.chunks.at != chunkData {
		_, err = b.receive(func() (int, error) { return c.in.fill(c.receive) })
		return err
	}
	p = p[:min(int64(len(p)), b.chunks.left)]
	if *n, err = b.receive(func() (int, error) { return c.receive(p) }); *n > 0 {
		b.chunks.took(*n)
		return nil
	}
	return err
}

// receive calls read, which waits, with a deadline.
func (b *body) receive(read func() (int, error)) (int, error) {
	start := time.Now()
	credit, bounded := b.pace.Credit()
	var due time.Time
	if bounded {
		due = start.Add(credit)
	}
	if err := b.waitUntil(due, start); err != nil {
		return 0, err
	}
	n, err := read()
	if bounded {
		b.pace.Earn(n, time.Since(start))
	}
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, b.broke(err)
}

func (b *body) waitUntil(due, now time.Time) error {
	b.asking.Lock()
	defer b.asking.Unlock()
	if !b.asked.IsZero() && (due.IsZero() || b.asked.Before(due)) {
		due = b.asked
	}
	return b.turn.conn.reading.At(due, now)
}

// within gives it a stall time of its own.
func (b *body) within(stall time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pace = httpserver.PaceWithin(stall)
}

// by bounds all reads. One that waits holds mu, and hears of it at once: to wait for it would be to wait for the
// client. Taken back, it waits as it was told to, and the next one longer.
func (b *body) by(t time.Time) error {
	b.asking.Lock()
	defer b.asking.Unlock()
	b.asked = t
	if b.turn == nil || t.IsZero() {
		return nil
	}
	if b.mu.TryLock() {
		b.mu.Unlock()
		return nil
	}
	return b.turn.conn.reading.Sooner(t)
}

func (b *body) broke(err error) error {
	c := b.turn.conn
	switch {
	case c.dead.Load():
		return http.ErrBodyReadAfterClose
	case isTimeout(err):
		return &refusal.Error{Reason: refusal.BodyTimeout, Detail: "body came too slowly"}
	case errors.Is(err, io.EOF):
		c.leave()
		return &refusal.Error{Reason: refusal.BodyMalformed, Detail: "body ended before its end"}
	}
	c.leave()
	return err
}

// drainMost is how much of a body is read after its handler has returned, so that the connection can be kept.
const drainMost = 256 << 10

// drainable reports whether the rest of the body is known to be short: then the connection is kept. It does not wait
// for a read that is under way beside the handler: the answer would wait with it, for a client that may not send, and
// for ever if that read is about to send 100 (Continue), which waits for the writer of the answer.
func (b *body) drainable() bool {
	if b.turn == nil {
		return true
	}
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	switch {
	case b.over || b.expected || b.err != nil:
		return b.over
	case b.chunked:
		return b.chunks.endsIn(b.turn.conn.in.bytes())
	}
	return b.left <= drainMost
}

// drain reads what is left of the body, and reports whether it was read to its end.
func (b *body) drain() bool {
	if b.turn == nil {
		return true
	}
	b.mu.Lock()
	b.closed = false
	if b.turn.response.patient { // for its handler, not for us
		b.pace = httpserver.NewPace(b.turn.conn.server.Limits)
	}
	over, expected := b.over, b.expected
	b.mu.Unlock()
	if over || expected {
		return over
	}
	_, err := io.CopyN(io.Discard, b, drainMost+1)
	return err == io.EOF
}

// finish ends a read that is under way, if need be, lets no other begin, and reports whether the body was read to its
// end.
func (b *body) finish() (whole bool) {
	if b.turn == nil {
		return true
	}
	if c := b.turn.conn; !b.mu.TryLock() {
		c.dead.Store(true)
		_ = c.socket.SetReadDeadline(deadline.Past()) // a closed socket has woken it already
		b.mu.Lock()
		_ = c.reading.Revive()
	}
	defer b.mu.Unlock()
	b.closed = true
	return b.over
}
