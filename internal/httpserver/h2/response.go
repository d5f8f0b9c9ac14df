package h2

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A response writes an answer (RFC 9113 section 8.3.2). It keeps net/http's contract for an http.ResponseWriter, and
// its choices: an untold length of a body is told if it is short. The head waits for the body's beginning,
// or for a flush, so that a short answer is appended whole.
//
// One goroutine writes it. The body's reader alone may say 100 (Continue) beside that.
type response struct {
	stream *stream
	header http.Header

	status   int // 0: there is no head
	length   int64
	wrote    int64 // bytes of the body
	framed   framing
	hidden   bool // the body is not sent: HEAD, or a status that has none
	failed   error
	fields   *fieldList // the head until it is sent
	held     *buffer    // the body's beginning, or what there is of it since the last frame
	trailers []string   // names that were announced
	last     *fieldList // the trailers
	ended    bool       // the end was sent before that: half of a tunnel
	over     bool       // the handler has returned

	typed   bool // the body's type is said, or is none of ours to guess
	stall   stall
	sent    bool      // the head was; Conn.mu guards these
	invited bool      // 100 (Continue) was said
	asked   time.Time // by when the handler wants all written
}

type framing uint8

const (
	undecided framing = iota // the body may turn out short
	counted
	streamed
)

const holdMost = 2 << 10 // a body up to this length is counted

var (
	errAnswerOver = errors.New("h2: written after the handler returned")
	errReset      = errors.New("h2: the stream was reset")
)

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. A status below 100 or over 999 is a mistake of ours, and panics.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("h2: status %d", status))
	}
	switch {
	case w.over, w.status != 0, status == http.StatusSwitchingProtocols: // section 8.6
	case status < 200:
		w.inform(status)
	default:
		w.begin(status, nil)
	}
}

// Answer is WriteHeader with fields beside Header's and a length, below zero if it is unknown. A status that has no
// body gets none, whatever the length.
func (w *response) Answer(status int, length int64, fields iter.Seq2[string, string]) {
	if w.over || w.status != 0 {
		return
	}
	if w.framed = counted; length < 0 {
		w.framed = streamed
	}
	w.length = length
	w.begin(status, fields)
}

// inform sends an informational head at once.
func (w *response) inform(status int) {
	list := fieldLists.Get().(*fieldList)
	defer list.free()
	list.status(status)
	list.addAll(w.header, func(name string) bool { return connectionSpecific(name) || name == "Content-Length" })
	c := w.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.room() == nil {
		w.invited = w.invited || status == http.StatusContinue
		c.appendHeaders(w.stream, list.all, false)
		c.flush()
	}
}

// sayContinue answers an expectation, if it is not too late. Conn.mu is held.
func (w *response) sayContinue() {
	if c := w.stream.conn; !w.sent && !w.invited && w.stream.gone == nil {
		w.invited = true
		c.appendHeaders(w.stream, []hpack.HeaderField{{Name: ":status", Value: "100"}}, false)
		c.flush()
	}
}

// begin puts the head together, but for what depends on the body.
func (w *response) begin(status int, more iter.Seq2[string, string]) {
	st := w.stream
	w.status = status
	w.trailers = httpserver.AppendTrailers(w.trailers, w.header["Trailer"])
	if w.fields == nil {
		w.fields = fieldLists.Get().(*fieldList)
	}
	if more == nil {
		w.decide()
		_, w.typed = w.header["Content-Type"]
		w.typed = w.typed || len(w.header["Content-Encoding"]) > 0
	} else {
		w.typed = true
	}
	w.hidden = st.method == http.MethodHead || !httpserver.AllowsBody(status)
	if t := st.tunnel; t != nil && !t.open && status < 300 { // to the client that would be a tunnel (RFC 8441 section 5)
		w.status, w.hidden = http.StatusBadGateway, true
	}
	list := w.fields
	list.status(w.status)
	list.addAll(w.header, w.leavesOut)
	_, dated := w.header["Date"]
	if more != nil {
		for name, value := range more {
			if dated = dated || name == "Date"; !w.leavesOut(name) {
				list.add(name, value)
			}
		}
	}
	if !dated {
		list.add("Date", st.conn.server.clock.Date())
	}
	if w.framed == counted && httpserver.AllowsBody(status) && st.tunnel == nil {
		list.addLength(w.length)
	}
	if st.conn.server.Last() {
		st.conn.Retire(time.Time{})
	}
}

// decide finds out what the handler said of the body's length.
func (w *response) decide() {
	w.length = -1
	if values := w.header["Content-Length"]; len(values) == 1 {
		if n, err := strconv.ParseUint(values[0], 10, 62); err == nil {
			w.length = int64(n)
		}
	}
	switch {
	case w.length >= 0:
		w.framed = counted
	case len(w.trailers) > 0:
		w.framed = streamed
	}
}

// leavesOut are the fields that are ours to say, those of a connection, those that are trailers, and those of a body
// that there is not.
func (w *response) leavesOut(name string) bool {
	switch name {
	case "Content-Length":
		return true
	case "Content-Type":
		return w.status == http.StatusNotModified
	}
	return connectionSpecific(name) || strings.HasPrefix(name, http.TrailerPrefix) || slices.Contains(w.trailers, name)
}

// connectionSpecific are the fields that HTTP/2 does not have (section 8.2.2).
func connectionSpecific(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.over:
		return 0, errAnswerOver
	case w.failed != nil:
		return 0, w.failed
	case len(p) == 0:
		return 0, nil
	case !httpserver.AllowsBody(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.framed == counted && w.wrote+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.wrote += int64(len(p))
	if w.framed == undecided && w.wrote > holdMost {
		w.uncounted(p)
	}
	if w.hidden && w.framed != undecided {
		return len(p), nil
	}
	if w.held == nil {
		w.held = newBuffer()
	}
	if len(w.held.b)+len(p) <= bufferSize {
		w.held.b = append(w.held.b, p...)
		return len(p), nil
	}
	return len(p), w.push(p)
}

// uncounted gives up on the length; next is what comes behind what is held, if that is known.
func (w *response) uncounted(next []byte) {
	w.framed = streamed
	if !w.hidden {
		return
	}
	if w.held != nil && len(w.held.b) > 0 {
		next = w.held.b
	}
	w.hide(next)
}

// sniff guesses a type where the handler said none.
func (w *response) sniff(first []byte) {
	if !w.typed && len(first) > 0 {
		w.typed = true
		w.fields.add("Content-Type", http.DetectContentType(first))
	}
}

// push sends what is held, and p behind it.
func (w *response) push(p []byte) error {
	c := w.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.send(p, false); w.failed == nil && (len(p) == 0 || w.framed != counted || w.wrote < w.length) {
		c.flush() // else it is all, and goes out with the end
	}
	return w.failed
}

// send appends the head, if need be, what is held, and p. Conn.mu is held.
func (w *response) send(p []byte, last bool) {
	st := w.stream
	var held []byte
	if w.held != nil {
		held = w.held.b
		w.held.b = held[:0]
	}
	if err := w.broken(); err != nil {
		w.fail(err)
		return
	}
	if !w.sent {
		if err := w.room(); err != nil {
			w.fail(err)
			return
		}
	}
	if bare := len(held)+len(p) == 0; !w.sent {
		if w.sent = true; len(held) > 0 {
			w.sniff(held)
		} else {
			w.sniff(p)
		}
		st.conn.appendHeaders(st, w.fields.all, last && bare)
		if bare {
			return
		}
	} else if bare && !last {
		return
	}
	if len(held) > 0 {
		w.data(held, last && len(p) == 0)
	}
	if w.failed == nil && (len(p) > 0 || len(held) == 0) {
		w.data(p, last)
	}
}

func (w *response) fail(err error) {
	if w.failed == nil {
		w.failed = err
	}
}

// stallPiece is how much of a body Server.WriteStall is for; a socket's writes are timed alike.
const stallPiece = 64 << 10

// data appends a part of the body, as the client's windows and the room allow. Conn.mu is held, but not while it waits.
func (w *response) data(p []byte, last bool) {
	st, c := w.stream, w.stream.conn
	for {
		n := c.allowance(st, len(p))
		if n > 0 || len(p) == 0 {
			c.appendData(st, p[:n], last && n == len(p))
			w.stall.sent(n)
			if p = p[n:]; len(p) == 0 {
				return
			}
			continue
		}
		if err := w.wait(); err != nil {
			w.fail(err)
			return
		}
	}
}

// room waits until a head may be appended: what waits to be written is bounded, and until then the stream counts, so
// that a client that does not read cannot open another. Conn.mu is held, but not while it waits.
func (w *response) room() error {
	for w.stream.conn.pending() >= pendingMost {
		if err := w.wait(); err != nil {
			return err
		}
	}
	return w.broken()
}

// A client must grant a window for stallPiece within WriteStall. A stream is charged for time in which its own window
// is empty although all that was sent has reached the client. Where a slow link delivers many streams, it may take
// minutes until one's data arrives; so once a stream has waited for a fraction of WriteStall, a PING finds out. While a
// stream waits for its turn on the connection, or for that PING's answer, it is charged only if the connection as a
// whole sends less than stallPiece within WriteStall.
type stall struct {
	limit   time.Duration // in place of WriteStall, if it is not zero
	piece   int           // bytes of the body since the client last had the whole time for some
	waited  time.Duration // how much of it is used up
	unsure  time.Duration // the same, where it is not known whether the client has all that was sent
	turn    time.Duration // waited for the connection …
	written int64         // … since it had written so much
}

// unsureShare of WriteStall passes before it is found out whether the client has all that was sent.
const unsureShare = 4

// sent books n bytes.
func (s *stall) sent(n int) {
	if s.piece += n; s.piece >= stallPiece {
		s.piece, s.waited, s.unsure = 0, 0, 0
	}
}

// wait lets the client and the writer go on until something may have changed, and no longer than the client has time.
func (w *response) wait() error {
	st, c := w.stream, w.stream.conn
	if c.out != nil && !c.flushing {
		c.flush()
		return w.broken()
	}
	if c.written-w.stall.written >= stallPiece {
		w.stall.turn, w.stall.written = 0, c.written
	}
	limit := cmp.Or(w.stall.limit, c.server.WriteStall)
	used, most := w.charge(limit)
	start := time.Now()
	var due time.Time
	if limit > 0 {
		due = start.Add(most - *used)
	}
	c.park(st)
	inTime := st.writable.wait(&c.mu, earlier(due, w.asked))
	*used += time.Since(start)
	switch {
	case w.broken() != nil || inTime:
	case passed(w.asked):
		w.giveUp("the answer was not accepted by its deadline")
	case !passed(due): // it was moved
	case used == &w.stall.unsure:
		if c.probed == c.answered { // else one is on its way
			c.appendProbe()
			c.flush()
		}
	case used == &w.stall.turn && c.written-w.stall.written >= stallPiece:
	case used == &w.stall.turn:
		w.giveUp("the connection stood still")
	default:
		w.giveUp("the client granted no window")
	}
	return w.broken()
}

// charge returns the account that the time from now on is booked to, and its limit.
func (w *response) charge(limit time.Duration) (used *time.Duration, most time.Duration) {
	st, c, s := w.stream, w.stream.conn, &w.stall
	switch {
	case st.window() > 0 || c.pending() >= pendingMost:
		return &s.turn, limit
	case c.answered > st.unproved:
		if s.unsure > 0 { // a fast answer shows that the wait before was the client's, too
			rtt := c.roundTrip
			s.waited += max(0, min(s.unsure, limit/unsureShare)-unsureShare*rtt)
			s.unsure = 0
		}
		return &s.waited, limit
	case s.unsure < limit/unsureShare:
		return &s.unsure, limit / unsureShare
	case c.probed == c.answered:
		return &s.unsure, limit / unsureShare // at once
	}
	return &s.turn, limit
}

// giveUp resets the stream: its client does not take the answer. Conn.mu is held.
func (w *response) giveUp(why string) {
	st := w.stream
	st.cut(http2.ErrCodeInternal)
	st.leave(&stalled{why})
	st.conn.flush()
	if t := st.tunnel; t != nil && t.shut {
		return
	}
	st.conn.mu.Unlock()
	st.conn.tellStall(why)
	st.conn.mu.Lock()
}

// stalled is why a stream was reset whose client did not accept the answer in time. It is a passed deadline, too.
type stalled struct{ why string }

func (s *stalled) Error() string { return "h2: " + s.why }

// Unwrap implements what errors.Is and errors.As look for.
func (s *stalled) Unwrap() []error {
	return []error{os.ErrDeadlineExceeded, &refusal.Error{Reason: refusal.ClientClosed, Detail: s.why}}
}

// broken tells why the answer cannot be written any more.
func (w *response) broken() error {
	if err := w.stream.conn.failed; err != nil {
		return err
	}
	return w.stream.gone
}

// FlushError implements what http.ResponseController looks for.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.over:
		return errAnswerOver
	case w.failed != nil:
		return w.failed
	case w.framed == undecided:
		w.uncounted(nil)
	}
	err := w.push(nil)
	w.unburden()
	return err
}

// unburden gives back what was sent: a stream that was flushed may say no more for long.
func (w *response) unburden() {
	w.held.free()
	w.held = nil
	w.stream.conn.mu.Lock()
	defer w.stream.conn.mu.Unlock()
	if w.sent {
		w.fields.free()
		w.fields = nil
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// SetReadDeadline bounds every read of the request's body, one that is under way too.
func (w *response) SetReadDeadline(t time.Time) error { return w.stream.body.by(t) }

// SetStall has httpserver.SetStall find it.
func (w *response) SetStall(stall time.Duration) {
	c := w.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	w.stream.body.pace, w.stall.limit = httpserver.PaceWithin(stall), stall
}

// SetWriteDeadline bounds every write of this answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	c := w.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.over {
		return errAnswerOver
	}
	w.asked = t
	w.stream.writable.ring()
	return nil
}

// EnableFullDuplex does nothing: a body may be read while its answer is written.
func (w *response) EnableFullDuplex() error { return nil }

// complete says what is still to be said, and reports whether the answer will be whole then.
func (w *response) complete() bool {
	if w.status == 0 {
		w.begin(http.StatusOK, nil)
	}
	if w.framed == undecided {
		w.count()
	}
	w.trail()
	return w.failed == nil && (w.framed != counted || w.hidden || w.wrote == w.length)
}

// finish sends it, and reports whether it was. Conn.mu is held.
func (w *response) finish() bool {
	if w.ended {
		return w.failed == nil
	}
	if w.send(nil, w.last == nil); w.failed == nil && w.last != nil {
		w.stream.conn.appendHeaders(w.stream, w.last.all, true)
	}
	return w.failed == nil
}

// count tells the length of a body that turned out short.
func (w *response) count() {
	length := w.wrote
	if httpserver.AllowsBody(w.status) && (length > 0 || w.stream.method != http.MethodHead) {
		w.fields.addLength(length)
	}
	if w.hidden && w.held != nil {
		w.hide(w.held.b)
	}
}

// hide drops the beginning of a body that is not sent; its type is.
func (w *response) hide(first []byte) {
	w.sniff(first)
	if w.held != nil {
		w.held.b = w.held.b[:0]
	}
}

// trail puts the trailers together, if there are any.
func (w *response) trail() {
	if w.hidden {
		return
	}
	list := fieldLists.Get().(*fieldList)
	httpserver.Trailers(w.header, w.trailers, list.add)
	if len(list.all) > 0 {
		w.last = list
	} else {
		list.free()
	}
}

func (w *response) free() {
	w.fields.free()
	w.last.free()
	w.held.free()
	w.fields, w.last, w.held = nil, nil, nil
}
