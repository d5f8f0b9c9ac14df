package h2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A stream is one request and its answer (RFC 9113 section 5.1). It is open from its HEADERS until its handler has
// returned, or longer than that if its client has reset it: then its answer is dropped, but it counts. Conn.mu guards
// what is not the handler's.
type stream struct {
	conn     *Conn
	id       uint32
	method   string // as the request had it; handlers may change theirs
	lifetime httpserver.Lifetime
	response response
	body     body
	url      url.URL
	r        *http.Request
	fault    *refusal.Error // why it is refused

	heard   bool    // END_STREAM came
	gone    error   // why nothing more can be heard or said
	tunnel  *tunnel // of an extended CONNECT; nil for other requests
	lingers bool    // it is answered, and the client still sends
	patience

	granted  int64  // what the client accepts beyond Conn.initialWindow, less what was sent
	unproved uint64 // Conn.probed when something was last sent: a later probe shows that it has arrived
	blocked  bool   // it is in Conn.blocked

	recvWindow int64
	recvRead   int64 // what was read of that, and not yet credited
	recvSize   int64 // of the whole window
	readSince  int64 // what was read since it has grown

	readable bell
	writable bell
}

// headers begins a stream, or ends its body with trailers.
func (c *Conn) headers(f *http2.HeadersFrame) error {
	id, ended := f.StreamID, f.StreamEnded()
	itself := f.HasPriority() && f.Priority.StreamDep == id
	defer c.head.clear()
	c.mu.Lock()
	st := c.streams[id]
	c.mu.Unlock()
	if err := c.decode(f, st != nil); err != nil {
		return err
	}
	if st != nil {
		return c.trailers(st, ended)
	}
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	switch {
	case id%2 == 0:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case cut.has(id): // trailers that were on their way (section 5.1)
		return nil
	case id <= cut.newest && !cut.knows(id): // so may these have been, for all that is remembered
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeStreamClosed}
	case id <= cut.newest:
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	}
	return c.open(id, ended, itself)
}

// open makes a stream of the head that was decoded.
func (c *Conn) open(id uint32, ended, itself bool) error {
	c.mu.Lock()
	if c.going == told { // the client knows that it is not served (section 6.8)
		c.mu.Unlock()
		return nil
	}
	if err := c.tooMany(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.cut.begin(id)
	full := c.active() >= int(c.server.Streams)
	c.mu.Unlock()
	h := &c.head
	switch {
	case itself:
		return refuse(id, http2.ErrCodeProtocol, "a stream that depends on itself")
	case h.bad, !h.large && !h.wellFormed(ended):
		return refuse(id, http2.ErrCodeProtocol, "malformed request head")
	case full:
		return refuse(id, http2.ErrCodeRefusedStream, "more concurrent streams than the limit")
	}
	st := &stream{
		conn: c, id: id, method: h.pseudo[method], heard: ended, recvWindow: streamWindow,
		recvSize: streamWindow,
	}
	st.lifetime.Base = c.server.Context
	st.response.stream = st
	st.body.begin(st, h.length)
	st.r, st.fault = st.request(h)
	st.response.header = make(http.Header)
	st.body.expected = httpserver.ExpectsContinue(st.r.Header["Expect"])
	return c.start(st)
}

// start hands the stream to a worker.
func (c *Conn) start(st *stream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errGone
	}
	c.streams[st.id] = st
	if c.running++; c.active() == 1 {
		c.await(time.Time{})
	}
	if last := len(c.resting) - 1; last >= 0 {
		idle := c.resting[last]
		c.resting[last] = idleWorker{}
		c.resting = c.resting[:last]
		idle.next <- st // has room
		return nil
	}
	c.workers.Add(1)
	go c.work(st)
	return nil
}

// work serves one stream after the other: a stack that has grown for one is of use to the next.
func (c *Conn) work(st *stream) {
	defer c.workers.Done()
	next := make(chan *stream, 1)
	for st != nil {
		st.finish(st.serve())
		if !c.rest(next) {
			return
		}
		st = <-next
	}
}

// An idleWorker waits for a stream.
type idleWorker struct {
	next  chan *stream
	since uint32 // Conn.sweeps when it began to wait
}

// restTime is how long a worker waits for a stream, and up to twice that; their stacks are most of a connection's
// memory.
const restTime = time.Second

// rest has a worker wait for the next stream.
func (c *Conn) rest(worker chan *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.resting = append(c.resting, idleWorker{worker, c.sweeps})
	switch {
	case c.swept:
	case c.sweep == nil:
		c.swept, c.sweep = true, time.AfterFunc(restTime, c.dismiss)
	default:
		c.swept = true
		c.sweep.Reset(restTime)
	}
	return true
}

// dismiss ends the workers that have waited for longer than a sweep. The most recent ones are reused first, so these
// were not needed.
func (c *Conn) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swept = false
	if c.closed {
		return
	}
	n := 0
	for n < len(c.resting) && c.resting[n].since != c.sweeps {
		close(c.resting[n].next)
		n++
	}
	c.sweeps++
	c.resting = slices.Delete(c.resting, 0, n)
	if len(c.resting) == 0 {
		c.resting = nil
		return
	}
	c.swept = true
	c.sweep.Reset(restTime)
}

// serve calls the handler.
func (st *stream) serve() (whole bool) {
	s := st.conn.server
	if st.fault == nil && st.unsettled() {
		st.fault = st.settle()
	}
	return httpserver.Call(s.Handler, s.Refused, s.Log, &st.response, st.r, st.fault)
}

// unsettled reports whether it is to be found out if the request has a body. HTTP/2 leaves that open until the stream's
// end, and some clients end it with an empty DATA frame. Methods that hardly ever have a body are held until it is
// known: otherwise an HTTP/1.1 upstream would be sent an empty chunked body, which some servers refuse.
func (st *stream) unsettled() bool {
	if st.r.ContentLength >= 0 || st.body.expected || st.tunnel != nil {
		return false
	}
	switch st.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
		return true
	}
	return false
}

// settle waits for the body's first byte, or its end.
func (st *stream) settle() *refusal.Error {
	b, c := &st.body, st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = b.wait() // what is wrong is in b.err
	var fault *refusal.Error
	switch {
	case b.size > 0:
	case errors.As(b.err, &fault):
		return fault
	case b.err == io.EOF && len(b.trailing) == 0:
		st.r.Body, st.r.ContentLength = http.NoBody, 0
	}
	return nil
}

// finish ends the answer, and the stream with it: in one go, so that a client that has seen the end may open another.
func (st *stream) finish(whole bool) {
	c, w := st.conn, &st.response
	whole = whole && w.complete()
	c.mu.Lock()
	whole = whole && w.finish()
	switch {
	case st.gone != nil:
	case !whole:
		st.cut(http2.ErrCodeInternal)
	case !st.heard && !st.linger(): // the rest of the body is not wanted (section 8.1)
		st.cut(http2.ErrCodeNo)
	}
	if whole {
		c.hasty = max(0, c.hasty-1)
	}
	w.over = true
	if !st.lingers {
		st.leave(errAnswerOver)
	}
	c.release(st.body.discard())
	if c.running--; c.running == 0 {
		c.rested()
	}
	c.flush()
	c.mu.Unlock()
	w.free()
	st.lifetime.End()
}

// rested notes that there is no request any more. c.mu is held.
func (c *Conn) rested() {
	c.since = time.Now()
	c.await(c.since)
}

// cut resets the stream. Conn.mu is held.
func (st *stream) cut(code http2.ErrCode) {
	st.conn.appendReset(st.id, code)
	if !st.heard {
		st.conn.cut.add(st.id)
	}
}

// errLeft is what is read of a body whose client gave up on it.
var errLeft = &refusal.Error{Reason: refusal.ClientClosed, Detail: "the client reset the stream, or went away"}

// leave takes the stream out of the connection. Conn.mu is held.
func (st *stream) leave(why error) {
	if c := st.conn; st.gone == nil {
		st.gone = why
		delete(c.streams, st.id)
		c.grown -= st.recvSize - streamWindow
		if st.lingers {
			st.lingers = false
			if c.linger--; c.active() == 0 {
				c.rested()
			}
		}
	}
	st.body.breakOff(errLeft)
	st.writable.ring()
}

// stream finds an open one; nil for one that is over. One that never began is a fault of the connection (section 5.1).
// c.mu is held.
func (c *Conn) stream(id uint32) (*stream, error) {
	if st := c.streams[id]; st != nil {
		return st, nil
	}
	if (id%2 == 0 || id > c.cut.newest) && c.going != told {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil, nil
}

// rstStream ends a stream as the client wishes. Its handler hears of it.
func (c *Conn) rstStream(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	st, err := c.stream(f.StreamID)
	answered := true
	if st != nil {
		answered = st.response.sent
		st.leave(errReset)
	}
	c.mu.Unlock()
	if st != nil {
		st.lifetime.End()
	}
	if err == nil && !answered {
		err = c.hurried()
	}
	return err
}

// hastyMost is how many more streams a client may open for nothing than it lets be answered: those that it resets
// before they are, those over the limit, and those that break the rules.
const hastyMost = 1000

// hurried counts such a stream.
func (c *Conn) hurried() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hasty++; c.hasty > hastyMost {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// reset ends a stream that broke the rules (section 5.4.2).
func (c *Conn) reset(fault http2.StreamError) error {
	id, code := fault.StreamID, fault.Code
	c.mu.Lock()
	if id%2 == 0 || id > c.cut.newest { // it never began, and cannot be reset (section 5.1)
		c.mu.Unlock()
		return fmt.Errorf("%w: %w", fault, http2.ConnectionError(code))
	}
	c.appendReset(id, code)
	c.cut.add(id)
	err := c.tooMany()
	st := c.streams[id]
	if st != nil {
		st.leave(errReset)
	}
	c.mu.Unlock()
	if st != nil {
		st.lifetime.End()
	}
	c.tell(false, code, st != nil, fault)
	if err == nil && (st != nil || code != http2.ErrCodeStreamClosed) { // else it may have been on its way
		err = c.hurried()
	}
	return err
}
