package h1

import (
	"bufio"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/buffers"
	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
)

// A response writes an answer (RFC 9112 section 4). It keeps net/http's contract for an http.ResponseWriter, and its
// choices: a body of unknown length is counted if it is short, and sent in chunks if it is not.
//
// One goroutine writes it. The body's reader alone may say 100 (Continue) beside that.
type response struct {
	turn   *turn
	header http.Header

	mu      sync.Mutex // while 100 (Continue) may be said
	status  int        // 0: the head is not written
	length  int64      // as Content-Length says; below zero: it does not
	sent    int64      // bytes of the body
	framed  framing
	closes  bool // the connection ends with this answer
	failed  error
	dated   bool // the head has a Date
	hidden  bool // the body is not sent: HEAD
	asked   bool // for the body: 100 (Continue) was said
	hurry   bool // a write deadline was set, which must not outlive the answer
	patient bool // … a stall time

	more     iter.Seq2[string, string] // fields beside header
	out      *buffer                   // what is to be written next; holds the head from WriteHeader on
	held     *buffer                   // a body that may turn out short; the head's framing waits for it
	trailers []string
	hijacked bool
	over     bool // the handler has returned
	released bool // see Release
}

type framing uint8

const (
	undecided framing = iota
	bodiless
	counted
	chunkwise
	untilClose
)

// A buffer is memory for the parts of an answer.
type buffer struct{ b []byte }

const (
	bufferSize = 4 << 10
	holdMost   = 2 << 10 // a body up to this length is counted
)

var bufferPool = sync.Pool{New: func() any { return &buffer{make([]byte, 0, bufferSize)} }}

func newBuffer() *buffer { return bufferPool.Get().(*buffer) }

func (b *buffer) free() {
	if b != nil && cap(b.b) <= 4*bufferSize {
		b.b = b.b[:0]
		bufferPool.Put(b)
	}
}

var errAnswerOver = errors.New("h1: written after the handler returned")

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header) // the answer is over, and the map another one's
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter. A status below 100 or over 999 is a mistake of ours, and panics.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("h1: status %d", status))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over, w.hijacked, w.status != 0:
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
	default:
		w.begin(status)
	}
}

// Answer is WriteHeader with fields beside Header's and a length, below zero if it is unknown. A status that has no
// body gets none, whatever the length.
func (w *response) Answer(status int, length int64, fields iter.Seq2[string, string]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.hijacked || w.status != 0 {
		return
	}
	w.more = fields
	if w.framed = counted; length < 0 {
		w.framed = w.streaming()
	}
	w.length = length
	w.begin(status)
	w.more = nil
}

// inform writes an informational head at once. HTTP/1.0 knows none.
func (w *response) inform(status int) {
	if w.turn.conn.head.version == '0' {
		return
	}
	b := newBuffer()
	b.b = appendStatus(b.b, status)
	b.b = appendFields(b.b, w.header, func(name string) bool {
		return name == "Content-Length" ||
			name == "Transfer-Encoding"
	})
	b.b = append(b.b, "\r\n"...)
	w.write(b.b)
	b.free()
	w.asked = w.asked || status == http.StatusContinue
}

// sayContinue answers an expectation, if it is not too late.
func (w *response) sayContinue() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status != 0 || w.over {
		return http.ErrBodyReadAfterClose // the client does not send a body any more
	}
	if w.asked {
		return nil
	}
	w.asked = true
	_, err := w.turn.conn.socket.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	return err
}

// begin puts the head together, but for what depends on the body's length.
func (w *response) begin(status int) {
	t := w.turn
	c, method := t.conn, t.method
	w.status = status
	w.hidden = method == http.MethodHead
	if c.server.Last() || len(w.header["Connection"]) > 0 &&
		httpguts.HeaderValuesContainsToken(w.header["Connection"], "close") {
		w.closes = true
	}
	w.closes = w.closes || !t.body.drainable()
	w.decide()
	w.out = newBuffer()
	b := appendStatus(w.out.b, status)
	b = appendFields(b, w.header, w.leavesOut)
	w.out.b = b
	if _, w.dated = w.header["Date"]; w.more != nil {
		w.more(w.add)
	}
	if !w.dated {
		w.out.b = appendField(w.out.b, "Date", c.server.clock.Date())
	}
	switch w.framed {
	case undecided:
		w.held = newBuffer()
	case counted:
		w.out.b = appendLength(w.out.b, w.length)
		w.endHead()
	default:
		w.endHead()
	}
}

// add writes one of the fields beside Header's.
func (w *response) add(name, value string) bool {
	if w.dated = w.dated || name == "Date"; !w.leavesOut(name) {
		w.out.b = appendField(w.out.b, name, value)
	}
	return true
}

// decide chooses the framing (RFC 9112 section 6).
func (w *response) decide() {
	w.trailers = httpserver.AppendTrailers(w.trailers, w.header["Trailer"])
	if w.more != nil {
		if !httpserver.AllowsBody(w.status) {
			w.framed = bodiless
		}
		return
	}
	w.length = -1
	if values := w.header["Content-Length"]; len(values) > 0 {
		if n, err := strconv.ParseUint(values[0], 10, 62); err == nil && len(values) == 1 {
			w.length = int64(n)
		}
	}
	switch {
	case !httpserver.AllowsBody(w.status):
		w.framed = bodiless
	case w.length >= 0:
		w.framed = counted
	case len(w.header["Transfer-Encoding"]) > 0 || len(w.trailers) > 0:
		w.framed = w.streaming()
	default:
		w.framed = undecided
	}
}

func (w *response) streaming() framing {
	if w.turn.conn.head.version == '0' {
		return untilClose
	}
	return chunkwise
}

// leavesOut are the fields that are ours to say, those that are trailers, and those of a body that there is not.
func (w *response) leavesOut(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding":
		return true
	case "Connection":
		return w.closes || w.turn.conn.head.version == '0'
	case "Content-Type":
		return w.status == http.StatusNotModified
	}
	return strings.HasPrefix(name, http.TrailerPrefix) || w.isTrailer(name)
}

func (w *response) isTrailer(name string) bool {
	for _, t := range w.trailers {
		if t == name {
			return true
		}
	}
	return false
}

// endHead says how the body is framed, where that is not its length, and what becomes of the connection.
func (w *response) endHead() {
	b := w.out.b
	old := w.turn.conn.head.version == '0'
	switch w.framed {
	case chunkwise:
		if !w.hidden {
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
	case untilClose:
		w.closes = w.closes || !w.hidden
	}
	switch {
	case w.closes:
		b = append(b, "Connection: close\r\n"...)
	case old:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	w.out.b = append(b, "\r\n"...)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.over:
		return 0, errAnswerOver
	case w.hijacked:
		return 0, http.ErrHijacked
	case w.failed != nil:
		return 0, w.failed
	case len(p) == 0:
		return 0, nil
	case !httpserver.AllowsBody(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.sent+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.sent += int64(len(p))
	if w.framed == undecided {
		if len(w.held.b)+len(p) <= holdMost {
			w.held.b = append(w.held.b, p...)
			return len(p), nil
		}
		w.stream(p)
	}
	if w.hidden {
		return len(p), nil
	}
	if w.framed == chunkwise {
		w.chunk(p)
	} else {
		w.put(p)
	}
	return len(p), w.failed
}

// stream gives up on counting; next is what comes behind what is held, if that is known.
func (w *response) stream(next []byte) {
	first := w.held.b
	if len(first) == 0 {
		first = next
	}
	w.sniff(first)
	w.framed = w.streaming()
	w.endHead()
	if first = w.held.b; !w.hidden && len(first) > 0 {
		if w.framed == chunkwise {
			w.chunk(first)
		} else {
			w.put(first)
		}
	}
	w.held.free()
	w.held = nil
}

// sniff guesses a type where the handler said none.
func (w *response) sniff(first []byte) {
	if _, typed := w.header["Content-Type"]; !typed && len(first) > 0 && len(w.header["Content-Encoding"]) == 0 {
		w.out.b = append(append(append(w.out.b, "Content-Type: "...), http.DetectContentType(first)...), "\r\n"...)
	}
}

func (w *response) chunk(p []byte) {
	w.room()
	w.out.b = append(strconv.AppendUint(w.out.b, uint64(len(p)), 16), "\r\n"...)
	w.put(p)
	w.out.b = append(w.out.b, "\r\n"...)
}

// put writes p behind what waits; what is long is not copied.
func (w *response) put(p []byte) {
	w.room()
	if len(w.out.b)+len(p) <= bufferSize {
		w.out.b = append(w.out.b, p...)
		return
	}
	w.flush()
	if len(p) < bufferSize {
		w.out.b = append(w.out.b, p...)
		return
	}
	w.write(p)
}

// room makes the buffer that FlushError gave back.
func (w *response) room() {
	if w.out == nil {
		w.out = newBuffer()
	}
}

func (w *response) flush() {
	if w.out != nil && len(w.out.b) > 0 {
		w.write(w.out.b)
		w.out.b = w.out.b[:0]
	}
}

func (w *response) write(p []byte) {
	if w.failed != nil {
		return
	}
	if _, err := w.turn.conn.socket.Write(p); err != nil {
		w.failed = err
	}
}

// FlushError implements what http.ResponseController looks for.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.over || w.hijacked {
		return errAnswerOver
	}
	if w.framed == undecided {
		w.stream(nil)
	}
	w.flush()
	w.out.free() // what is flushed may be the last for a long time
	w.out = nil
	return w.failed
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// SetReadDeadline bounds every read of the request's body, one that is under way too.
func (w *response) SetReadDeadline(t time.Time) error {
	if w.over {
		return errAnswerOver
	}
	return w.turn.body.by(t)
}

// SetWriteDeadline bounds every write of this answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return errAnswerOver
	}
	w.hurry = true
	return w.turn.conn.socket.SetWriteDeadline(t)
}

// SetStall has httpserver.SetStall find it. A socket that has no time for writes keeps none.
func (w *response) SetStall(stall time.Duration) {
	w.turn.body.within(stall)
	w.patient = true
	if s := stallingOf(w.turn.conn.socket); s != nil {
		s.SetWriteStall(stall)
	}
}

// A stalling socket ends writes that its client does not accept in time; zero restores its own time.
type stalling interface{ SetWriteStall(stall time.Duration) }

// stallingOf finds it below TLS, too; nil if there is none.
func stallingOf(c net.Conn) stalling {
	if secure, is := c.(interface{ NetConn() net.Conn }); is {
		c = secure.NetConn()
	}
	s, _ := c.(stalling)
	return s
}

// unhurried takes a write deadline back, and a stall time: the next answer on the connection, or the code that hijacked
// it, did not ask for it.
func (w *response) unhurried() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.patient {
		if s := stallingOf(w.turn.conn.socket); s != nil {
			s.SetWriteStall(0)
		}
	}
	if w.hurry {
		_ = w.turn.conn.socket.SetWriteDeadline(time.Time{}) // a socket that is gone will say so when it is written
	}
}

// EnableFullDuplex does nothing: a body may be read while its answer is written.
func (w *response) EnableFullDuplex() error { return nil }

// finish ends the answer and reports whether it is whole.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.framed == undecided && w.hidden && len(w.held.b) == 0:
		w.endHead() // its length is not known
	case w.framed == undecided:
		w.sniff(w.held.b)
		w.out.b = appendLength(w.out.b, int64(len(w.held.b)))
		w.endHead()
		if !w.hidden {
			w.out.b = append(w.out.b, w.held.b...)
		}
	case w.framed == chunkwise && !w.hidden:
		w.room()
		w.out.b = append(w.out.b, "0\r\n"...)
		w.writeTrailers()
		w.out.b = append(w.out.b, "\r\n"...)
	}
	w.flush()
	w.over = true
	return w.failed == nil && (w.framed != counted || w.hidden || w.sent == w.length)
}

func (w *response) writeTrailers() {
	httpserver.Trailers(w.header, w.trailers, func(name, value string) {
		w.out.b = appendField(w.out.b, name, value)
	})
}

func (w *response) free() {
	w.out.free()
	w.held.free()
	w.out, w.held, w.over = nil, nil, true
}

// Hijack implements http.Hijacker. What the client sent ahead is read first.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.over, w.status != 0:
		return nil, nil, errors.New("h1: hijacked after an answer")
	}
	c := w.turn.conn
	c.unwatch(w.turn)
	w.turn.body.finish()
	if err := c.socket.SetReadDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	w.unhurried()
	w.hijacked = true
	c.mu.Lock()
	c.raws = true
	c.mu.Unlock()
	taken := &rawConn{Conn: c.socket, in: c.in}
	taken.source.Init(c.socket)
	c.in = early{}
	// What came early is in the connection itself, so these need next to no memory.
	return taken, bufio.NewReadWriter(bufio.NewReaderSize(taken, 16), bufio.NewWriterSize(taken, 16)), nil
}

// A rawConn is a connection that stopped speaking HTTP.
type rawConn struct {
	net.Conn
	in     early
	source buffers.Reader
	piece  []byte // what Next returned
}

// Read implements net.Conn.
func (c *rawConn) Read(p []byte) (int, error) {
	if c.in.len() > 0 {
		return c.in.take(p), nil
	}
	return c.Conn.Read(p)
}

// Next returns what the client says next. It is valid until the next call. While Next waits it holds no memory, except
// above TLS.
func (c *rawConn) Next() ([]byte, error) {
	buffers.Put(c.piece)
	c.piece = nil
	if c.in.len() > 0 {
		c.piece = buffers.Get(false)
		return c.piece[:c.in.take(c.piece)], nil
	}
	p, n, err := c.source.Read(true)
	c.piece = p
	return p[:n], err
}

// CloseWrite says that no more will be written.
func (c *rawConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

func appendStatus(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	return append(b, "\r\n"...)
}

func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// appendFields writes a map's fields, sorted, so that an answer looks the same each time.
func appendFields(b []byte, h http.Header, leavesOut func(string) bool) []byte {
	var room [24]string
	names := room[:0]
	for name := range h {
		at := len(names)
		names = append(names, name)
		if len(h) > len(room) {
			continue // an app may send thousands
		}
		for ; at > 0 && names[at-1] > name; at-- {
			names[at] = names[at-1]
		}
		names[at] = name
	}
	if len(h) > len(room) {
		slices.Sort(names)
	}
	for _, name := range names {
		if leavesOut(name) || !grammar.IsToken(name) {
			continue
		}
		for _, value := range h[name] {
			b = appendField(b, name, value)
		}
	}
	return b
}

// appendField writes one field. A value cannot end its line.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	value = grammar.Trim(value)
	from := len(b)
	b = append(b, value...)
	for i := from; i < len(b); i++ {
		if !grammar.IsFieldByte(b[i]) {
			b[i] = ' '
		}
	}
	return append(b, "\r\n"...)
}
