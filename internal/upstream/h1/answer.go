package h1

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/buffers"
)

// An Answer is what came back: its head in the fields, its body by Read. The zero value is ready, but for Header.
type Answer struct {
	Status     int
	StatusLine string // what follows the version: "200 OK"
	Minor      int    // of the version HTTP/1.x
	// Header is filled in, by canonical names, and may be set before: what it holds then stays. A new one is made for nil.
	// After an error it may hold a part of what came. Transfer-Encoding is not in it, nor is Trailer where there are
	// chunks; all else is as it came.
	Header http.Header
	// Fields takes the place of Header where it is not nil: the fields by their canonical names, as they came, behind its
	// end.
	Fields  []Field
	Trailer http.Header // whole when Read has said io.EOF; until then the announced names
	Length  int64       // of the body, or for HEAD what Content-Length says; below zero: unknown
	Chunked bool
	Closing bool // the connection ends with this answer

	heard       bool // an answer has come, if only an informational one: the request is not sent again
	again       bool // a connection was lost before
	lengths     int  // how many Content-Length fields came
	eventStream bool
	keepFor     time.Duration // the connection at rest, as the server says; 0: it says nothing

	ctx     context.Context
	client  *Client
	head    time.Duration // time-outs of this request
	stall   time.Duration
	conn    *conn // nil: the answer is over
	sender  *sender
	release func() bool // from the context
	framing framing
	left    int64  // bytes of the body, or of the present chunk
	within  bool   // a chunk came before
	ahead   error  // read before its data was asked for
	over    error  // what Read says from then on
	last    []byte // memory of the last piece, which is no longer the connection's

	state atomic.Int32
	mu    sync.Mutex // while the connection is let go, so that a late Close does not meet its next user
}

// A Field is one line of a head.
type Field struct{ Name, Value string }

const (
	stateIdle int32 = iota
	stateReading
	stateClosed
)

// ask sends q on k and reads until an answer's head is there. On an error the connection is closed.
func (a *Answer) ask(ctx context.Context, c *Client, k *conn, q *Request) error {
	a.ctx, a.client, a.conn, a.sender, a.release, a.over, a.within, a.ahead, a.left = ctx, c, k, nil, nil, nil, false, nil,
		0
	a.state.Store(stateIdle)
	a.head, a.stall = cmp.Or(q.ResponseTimeout, c.settings.ResponseTimeout),
		cmp.Or(q.StallTimeout, c.settings.StallTimeout)
	a.Forget()
	out, err := q.appendHead(&k.head, buffers.Get(false)[:0])
	if k.head = (Head{}); err != nil {
		q.closeBody()
		a.finish(false)
		return err
	}
	a.release = afterEnd(ctx, k.wake)
	if err := a.exchange(q, out); err != nil {
		err = a.explain(err)
		a.finish(false)
		return err
	}
	if a.lookAhead(); a.framing == noBody {
		a.over = io.EOF
		a.finish(true)
	}
	return nil
}

// afterEnd is context.AfterFunc, by the shorter way that our own server's contexts have; nil for one that never ends.
func afterEnd(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface{ OnEnd(func()) func() bool }); ok {
		return c.OnEnd(f)
	}
	if ctx.Done() == nil {
		return nil
	}
	return context.AfterFunc(ctx, f)
}

// exchange writes the request and reads the answer's head.
func (a *Answer) exchange(q *Request, head []byte) error {
	k := a.conn
	written := k.send(head, a.stall)
	buffers.Put(head)
	if written != nil {
		q.closeBody()
		// A server that answers before it has read the whole head, and closes, may have been heard by then.
		if err := a.hear(q); err != nil {
			return a.lostBefore(written)
		}
		a.Closing = true
		return nil
	}
	if q.Body == nil {
		return a.hear(q)
	}
	// While the body is sent there is no limit for the answer. A kept connection still has the one of its last request.
	if err := k.reading.In(0); err != nil {
		q.closeBody()
		return err
	}
	a.sender = a.client.newSender(k, q, a.head, a.stall)
	go a.sender.run()
	err := a.receiveHead(k, q)
	a.sender.answered()
	return early(err)
}

// hear waits for an answer when nothing more is sent.
func (a *Answer) hear(q *Request) error {
	k := a.conn
	if err := k.reading.In(a.head); err != nil {
		return err
	}
	runtime.Gosched() // the answer takes a while: others run meanwhile, and a look in vain is spared
	if err := a.receiveHead(k, q); err != nil {
		return a.lostBefore(early(err))
	}
	return nil
}

// lostBefore marks an error as one before the first byte of an answer, where it is that.
func (a *Answer) lostBefore(err error) error {
	if k := a.conn; k.end > 0 || a.heard || a.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, errSendTimeout) {
		return err
	}
	return &lostError{err}
}

// explain finds the reason of an error before the head of the answer: who gave up decides, not how the socket says it.
func (a *Answer) explain(err error) error {
	if e := a.cause(); e != nil {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errHeadTimeout
	}
	return err
}

// cause is the reason that lies with the caller, if one does: it gave up, or its body broke off.
func (a *Answer) cause() error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	if a.sender != nil {
		if failed := a.sender.failed.Load(); failed != nil {
			return *failed
		}
	}
	return nil
}

// Bodiless reports whether no body comes with this answer.
func (a *Answer) Bodiless() bool { return a.framing == noBody }

// Simple reports whether the answer came on the first connection that was asked, and is over.
func (a *Answer) Simple() bool { return !a.again && a.conn == nil && a.framing != switched }

// Waiting reports whether Read would have to wait for the server.
func (a *Answer) Waiting() bool {
	if a.conn == nil || a.ahead != nil {
		return false
	}
	return a.conn.buffered() == 0 || a.framing == byChunks && a.left == 0
}

// Read reads the body. io.EOF says that it is whole; the connection is of use again then.
func (a *Answer) Read(p []byte) (int, error) {
	piece, err := a.next(len(p))
	n := copy(p, piece)
	a.Forget()
	return n, err
}

// Next returns the next piece of the body. It is valid until the next call of Next, Read or Forget. While Next
// waits it holds no memory, except above TLS. io.EOF, which may come with the last piece, says that the body is whole;
// the connection is of use again then.
func (a *Answer) Next() ([]byte, error) { return a.next(math.MaxInt) }

func (a *Answer) next(most int) ([]byte, error) {
	if !a.state.CompareAndSwap(stateIdle, stateReading) {
		return nil, errClosed
	}
	a.Forget()
	p, err := a.piece(most)
	if err != nil && a.over == nil {
		if k := a.conn; len(p) > 0 && k.buffered() == 0 {
			a.last = k.yield() // the connection goes on without p
		}
		a.end(err)
		err = a.over
	}
	if !a.state.CompareAndSwap(stateReading, stateIdle) && a.over == nil { // closed meanwhile
		a.over = errClosed
		a.finish(false)
	}
	return p, err
}

// Forget gives back the memory of the last piece. It is for the goroutine that reads: another one may close the answer
// while the piece is in use.
func (a *Answer) Forget() {
	buffers.Put(a.last)
	a.last = nil
}

// piece returns most bytes of the body at most.
func (a *Answer) piece(most int) (p []byte, err error) {
	switch {
	case a.over != nil:
		return nil, a.over
	case most == 0:
		return nil, nil
	}
	k := a.conn
	if k.buffered() == 0 || a.framing == byChunks {
		if err := k.reading.In(a.patience()); err != nil {
			return nil, err
		}
	}
	switch a.framing {
	case byChunks:
		return a.pieceOfChunk(most)
	case byLength:
		if p, err = a.some(most); err == nil && a.left == 0 {
			err = io.EOF
		}
		return p, err
	}
	return k.take(most)
}

func (a *Answer) patience() time.Duration {
	if a.eventStream {
		return 0
	}
	return a.stall
}

// some returns some of the bytes that are left; an end before them is none.
func (a *Answer) some(most int) ([]byte, error) {
	p, err := a.conn.take(int(min(int64(most), a.left)))
	a.left -= int64(len(p))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return p, err
}

// end is what follows the last byte of the body, or its breaking off.
func (a *Answer) end(err error) {
	if err == io.EOF {
		a.over = io.EOF
		a.finish(true)
		return
	}
	cause := a.cause()
	switch {
	case cause != nil:
		err = cause
	case a.state.Load() == stateClosed:
		err = errClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrStalled
	}
	a.over = err
	a.finish(false)
}

// Close gives up what was not read, and the connection with it. It may be called while Read waits, and more than once.
func (a *Answer) Close() error {
	switch a.state.Swap(stateClosed) {
	case stateIdle:
		if a.conn != nil {
			a.over = errClosed
			a.finish(false)
		}
	case stateReading: // which finishes, once it is woken
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.conn != nil {
			a.conn.abort()
		}
	}
	return nil
}

// finish lets go of the connection: for the next request, if both sides have said all they had to say.
func (a *Answer) finish(whole bool) {
	a.mu.Lock()
	k := a.conn
	a.conn = nil
	// Close has woken, or is about to: it finds no connection then.
	whole = whole && a.state.Load() != stateClosed
	a.mu.Unlock()
	if a.release != nil && !a.release() { // the request was given up at this moment, and the connection is being told
		whole = false
	}
	if whole && k.buffered() > 0 && !benign(k.in[k.start:k.end]) {
		a.client.unasked()
	}
	if whole && !a.Closing && k.buffered() == 0 && (a.sender == nil || a.sender.over()) && !k.dead.Load() {
		switch k.left() {
		case quiet:
			a.client.keep(k, a.keepFor)
			return
		case unasked:
			a.client.unasked()
		}
	}
	k.Close()
}
