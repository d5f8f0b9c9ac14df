package h2

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/deadline"
)

// A Conn is the server's side of one HTTP/2 connection.
type Conn struct {
	server *Server
	socket net.Conn
	remote string
	tls    *tls.ConnectionState

	// The reader's own.
	early   []byte // came before the connection was known to be HTTP/2
	in      intake
	framer  *http2.Framer
	decoder *hpack.Decoder
	head    head
	traffic traffic
	reading deadline.Deadline
	dead    atomic.Bool // stays false; deadlines want to know

	mu      sync.Mutex
	streams map[uint32]*stream // that can still hear or say something
	running int                // streams whose handlers have not returned
	linger  int                // streams that are answered, and whose clients still send
	cut     recent             // which of them were reset while the client was speaking
	hasty   int                // streams that were reset before they were answered, less those that were answered
	since   time.Time          // when the last handler returned
	headDue time.Time          // when the header block that is coming must have come; zero: none is
	going   farewell
	closed  bool // no handler begins any more
	workers sync.WaitGroup
	resting []idleWorker // workers that wait for a stream, the longest waiting first
	sweeps  uint32       // how often the timer has looked for workers to end
	sweep   *time.Timer  // ends those that were not needed for a while
	swept   bool         // it is set
	lapse   *time.Timer  // ends streams that linger for too long
	adieu   *time.Timer  // sends the second GOAWAY if the client does not answer the first

	sendWindow    int64  // what the client accepts, over all streams
	initialWindow int64  // … on a new one
	mostGranted   int64  // the most that a stream's window was above initialWindow
	recvWindow    int64  // what we accept
	recvRead      int64  // what was accepted of that, and not yet credited
	withheld      int64  // what is credited when it has been read, as the server's memory is full
	received      int64  // bytes of request bodies
	grown         int64  // by how much streams' windows have grown
	written       int64  // bytes of response bodies
	probed        uint64 // PINGs sent to find out what has reached the client
	answered      uint64 // … and answered
	probedAt      time.Time
	roundTrip     time.Duration // of the last of them

	encoder  *hpack.Encoder
	block    bytes.Buffer // a header block on its way out
	out      *buffer      // frames to be written; nil: none
	control  int          // how many of them answer the client's own frames
	flushing bool         // somebody is writing
	flushed  sync.Cond    // … and has finished
	failed   error        // of the socket
	blocked  []*stream    // wait for room or for a window, each once
}

// A farewell is how much of a connection's end the client was told (RFC 9113 section 6.8).
type farewell uint8

const (
	staying farewell = iota
	warned           // to open no more streams; those on their way are served
	told             // which stream is the last
)

// Sizes, by which the memory of a connection is bounded.
const (
	readSize     = 2 << 10
	windowSize   = 1 << 20   // of the connection
	streamWindow = 64 << 10  // of a new stream: what its body may hold before the handler reads it
	streamMost   = 512 << 10 // … of one whose handler reads
	growMost     = 1 << 20   // by how much the streams' windows may grow, together
	frameSize    = 16 << 10  // the least that every peer takes, and the most that we take
	pendingMost  = 64 << 10  // what may wait to be written before bodies have to
	controlMost  = 1000      // frames that answer the client's, before it must have read some of them
	tableSize    = 4 << 10   // HPACK's, both ways
)

// NewConn prepares to serve a socket: a *tls.Conn whose handshake is done, or, in tests, another.
func (s *Server) NewConn(socket net.Conn) *Conn {
	c := &Conn{
		server: s, socket: socket, remote: socket.RemoteAddr().String(), streams: map[uint32]*stream{}, since: time.Now(),
		sendWindow: 65535, initialWindow: 65535, recvWindow: windowSize,
	}
	limitUnsent(socket)
	if session, ok := socket.(*tls.Conn); ok {
		state := session.ConnectionState()
		c.tls = &state
	}
	c.flushed.L = &c.mu
	c.reading.Init(socket.SetReadDeadline, &c.dead)
	c.in.from, c.in.lean = source{c}, c.tls != nil
	c.framer = http2.NewFramer(nil, &c.in)
	c.framer.SetMaxReadFrameSize(frameSize)
	c.decoder = hpack.NewDecoder(tableSize, c.field)
	c.decoder.SetMaxStringLength(2 * c.blockMost()) // as long as a block can be, with Huffman's code: it is never met
	c.encoder = hpack.NewEncoder(&c.block)
	c.appendSettings() // the first frame, whatever is said next
	return c
}

// NewPriorConn is NewConn for a plain socket whose client began with the preface (RFC 9113 section 3.3), which early
// holds as far as it was read.
func (s *Server) NewPriorConn(socket net.Conn, early []byte) *Conn {
	c := s.NewConn(socket)
	c.early = early
	return c
}

// Serve answers requests until the connection ends, and closes it. It returns when all handlers have.
func (c *Conn) Serve() {
	c.end(c.read())
}

// source is the socket as the reader sees it: what the reader has to say goes out before it waits.
type source struct{ *Conn }

func (c source) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	c.kick()
	for {
		n, err := c.socket.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.reading.Early() {
			return n, err
		}
	}
}

// await tells the socket until when it may be waited for. c.mu is held.
func (c *Conn) await(now time.Time) {
	due := c.headDue
	switch limit := c.server.IdleTimeout; {
	case c.active() > 0:
	case c.going == told: // a head that is coming is no stream's that would be served
		due = deadline.Past()
	case due.IsZero() && limit > 0:
		due = c.since.Add(limit)
	}
	_ = c.reading.At(due, now) // a socket that cannot take a deadline is closed already
}

// Retire asks the client to open no more streams, and ends the connection when there are none. Requests that are on
// their way are served, so nothing need be waited for as HTTP/1.1 must.
func (c *Conn) Retire(time.Time) {
	c.mu.Lock()
	c.goAway()
	c.mu.Unlock()
	c.kick()
}

// Evict ends the connection if there is no request. Its client can ask again elsewhere: it is told which streams were
// served (section 6.8).
func (c *Conn) Evict() {
	c.mu.Lock()
	if c.idle() {
		c.endLingering()
		_ = c.socket.SetWriteDeadline(time.Now().Add(lingerTime)) // a client that does not read is not waited for
		c.nameLast()
	}
	c.mu.Unlock()
	c.kick()
}

// Abort ends the contexts of all requests. The code that closes the socket under the connection calls it, so that
// handlers do not have to wait until the reader finds out.
func (c *Conn) Abort() { c.abandon(errGone) }

// IdleSince tells since when there has been no request; false while there is one, and when the client was asked to go.
func (c *Conn) IdleSince() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.idle()
}

// idle reports whether there is no request, and all was written. One that is answered is none, although its client
// still sends. c.mu is held.
func (c *Conn) idle() bool {
	return c.running == 0 && c.going == staying && !c.closed && !c.flushing && c.out == nil
}

// active counts the streams that the client may take for open. c.mu is held.
func (c *Conn) active() int { return c.running + c.linger }

// lastCall is how long a client may take to answer the first GOAWAY: to read it, and for what it sent before to arrive.
const lastCall = time.Second

// lastPing is how a client's answer is known.
var lastPing = [8]byte{'l', 'a', 's', 't', 'c', 'a', 'l', 'l'}

// goAway begins the end. What the client sends before it has read this is served: the PING's answer tells when that is
// so (RFC 9113 section 6.8). c.mu is held.
func (c *Conn) goAway() {
	if c.going != staying || c.closed {
		return
	}
	c.going = warned
	c.hurryLingerers()
	c.appendGoAway(1<<31-1, http2.ErrCodeNo)
	c.appendPing(false, lastPing)
	c.adieu = time.AfterFunc(lastCall, func() {
		c.mu.Lock()
		c.nameLast()
		c.mu.Unlock()
		c.kick()
	})
}

// nameLast says which stream is the last; when it is over, so is the connection. c.mu is held.
func (c *Conn) nameLast() {
	if c.going == told || c.closed {
		return
	}
	c.going = told
	c.appendGoAway(c.cut.newest, http2.ErrCodeNo)
	c.await(time.Now())
}

// Bounds of what is read from a client after the last frame, as package h1's.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// end closes the connection. A client that broke the rules is told which (RFC 9113 section 5.4.1).
func (c *Conn) end(why error) {
	c.abandon(errGone)
	c.mu.Lock()
	for _, timer := range []*time.Timer{c.sweep, c.lapse, c.adieu} {
		if timer != nil {
			timer.Stop()
		}
	}
	for _, idle := range c.resting {
		close(idle.next)
	}
	c.resting = nil
	gently := c.farewell(why)
	c.mu.Unlock()
	if fault := http2.ConnectionError(0); errors.As(why, &fault) {
		c.tell(true, http2.ErrCode(fault), false, why)
	}
	if gently {
		c.sayGoodbye()
	}
	_ = c.socket.Close()
	c.workers.Wait()
}

// farewell writes the last frames, and reports whether the client may be writing still. c.mu is held.
func (c *Conn) farewell(why error) (gently bool) {
	var fault http2.ConnectionError
	switch {
	case errors.As(why, &fault):
		c.appendGoAway(c.cut.newest, http2.ErrCode(fault))
	case errors.Is(why, errSilent) && c.going != told:
		c.appendGoAway(c.cut.newest, http2.ErrCodeNo)
	case !errors.Is(why, errSilent):
		return false // no reader
	}
	c.flush()
	for c.flushing {
		c.flushed.Wait()
	}
	return c.failed == nil
}

// sayGoodbye tells that no more will come and reads for a moment: closing with unread bytes would make the kernel send
// a reset, which can destroy the last frames on their way.
func (c *Conn) sayGoodbye() {
	w, ok := c.socket.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil || c.socket.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.socket, lingerBytes)
}

// abandon ends all streams where they are.
func (c *Conn) abandon(why error) {
	c.mu.Lock()
	c.closed = true
	left := make([]*stream, 0, len(c.streams))
	for _, st := range c.streams {
		st.leave(why)
		left = append(left, st)
	}
	c.mu.Unlock()
	for _, st := range left {
		st.lifetime.End()
	}
}

var (
	errGone   = errors.New("h2: the connection is gone")
	errSilent = errors.New("h2: nothing more is expected")
)
