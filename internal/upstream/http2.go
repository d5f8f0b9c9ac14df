package upstream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jotgate/jotgate/internal/buffers"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const (
	// hintLimit bounds the informational answers (1xx) to one request; a storm of them must not hold a request forever.
	hintLimit = 16
	headLimit = 1 << 20 // bytes of an answer's head

	pingAfter   = 30 * time.Second // of silence on an HTTP/2 connection
	pingTimeout = 15 * time.Second
)

var (
	errStalled    = errors.New("the answer's body stalled")
	errHints      = errors.New("too many informational answers (1xx)")
	errSwitch     = errors.New("the server switched protocols, which HTTP/2 cannot")
	errSentBefore = errors.New("the server gave the request up when it had been sent")
)

// http2Client speaks HTTP/2 (RFC 9113) by net/http: plain with prior knowledge, or with TLS, when dial negotiates it.
type http2Client struct {
	transport *http.Transport
	scheme    string
	address   string
	stall     time.Duration

	once    sync.Once
	patient atomic.Pointer[http.Transport] // for requests with a time-out of their own; see headWait
}

func newHTTP2Client(s *Settings, address string, secure bool,
	dial func(context.Context) (net.Conn, error),
) *http2Client {
	c := &http2Client{scheme: "http", address: address, stall: s.StallTimeout}
	t := &http.Transport{
		Proxy:                  nil,  // HTTP_PROXY in the environment is for clients, and could be a request's (httpoxy)
		DisableCompression:     true, // the client's Accept-Encoding is the client's
		MaxIdleConnsPerHost:    s.MaxIdle,
		IdleConnTimeout:        idleExpiry,
		ResponseHeaderTimeout:  s.ResponseTimeout,
		MaxResponseHeaderBytes: headLimit,
		Protocols:              new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout,
			WriteByteTimeout: s.StallTimeout,
		},
	}
	to := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, &h1.DialError{Err: err}
		}
		return conn, nil
	}
	if secure {
		c.scheme, t.DialTLSContext = "https", to
		t.Protocols.SetHTTP2(true)
	} else {
		t.DialContext = to
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	c.transport = t
	return c
}

func (c *http2Client) close() {
	c.transport.CloseIdleConnections()
	if t := c.patient.Load(); t != nil {
		t.CloseIdleConnections()
	}
}

// waiting is the transport of requests that bring a time-out for the answer's head.
func (c *http2Client) waiting() *http.Transport {
	c.once.Do(func() {
		t := c.transport.Clone()
		t.ResponseHeaderTimeout = 0
		c.patient.Store(t)
	})
	return c.patient.Load()
}

// A headWait ends a request whose answer's head does not come in time, counted from the end of the request.
type headWait struct {
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (w *headWait) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.timer != nil {
		return
	}
	w.timer = time.AfterFunc(w.limit, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over {
			w.cancel(h1.ErrHeadTimeout)
		}
	})
}

// end is called when the head is there, or no longer waited for.
func (w *headWait) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over = true; w.timer != nil {
		w.timer.Stop()
	}
}

func (c *http2Client) do(ctx context.Context, q *h1.Request, a *Answer) error {
	ctx, cancel := context.WithCancelCause(ctx) // the answer's body needs it; it ends with the request's
	trace, sent := sentOnce(q, cancel)
	var informed *hints
	if q.Hint != nil {
		informed = &hints{pass: q.Hint}
		trace.Got1xxResponse = informed.got
	}
	ctx = httptrace.WithClientTrace(ctx, trace)
	transport, stall := c.transport, cmp.Or(q.StallTimeout, c.stall)
	var wait *headWait
	if q.ResponseTimeout > 0 {
		transport, wait = c.waiting(), &headWait{limit: q.ResponseTimeout, cancel: cancel}
		defer wait.end()
	}
	r, err := c.request(ctx, q)
	if err != nil {
		cancel(err)
		return err
	}
	if wait != nil {
		switch body := r.Body.(type) {
		case *detachedBody:
			body.sent = wait.start
		case *wholeBody:
			body.sent = wait.start
		default:
			wait.start()
		}
	}
	response, err := transport.RoundTrip(r)
	informed.end()
	if err != nil {
		switch cause := context.Cause(ctx); cause {
		case h1.ErrHeadTimeout, errSentBefore:
			return cause
		}
		var dial *h1.DialError
		if errors.As(err, &dial) && sent.Load() > 0 && !q.Repeatable() {
			err = errSentBefore // on a connection that ended before this one was tried
		}
		cancel(err)
		return err
	}
	a.Status, a.StatusLine, a.Minor, a.Length, a.Closing = response.StatusCode, response.Status, 1, response.ContentLength,
		false
	a.Fields = a.Fields[:0]
	for name, values := range response.Header {
		for _, v := range values {
			a.Fields = append(a.Fields, h1.Field{Name: name, Value: v})
		}
	}
	a.Trailer = response.Trailer
	a.stream = newHTTP2Body(response, stall)
	return nil
}

// sentOnce ends a request that net/http would send again: it does so with any that has no body, whatever its method,
// when the server resets it or goes away. One that may be repeated is sent twice at most. sent counts.
func sentOnce(q *h1.Request, cancel context.CancelCauseFunc) (trace *httptrace.ClientTrace, sent *atomic.Int32) {
	sent = new(atomic.Int32)
	return &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Add(1) },
		GotConn: func(httptrace.GotConnInfo) {
			if n := sent.Load(); n > 1 || n == 1 && !q.Repeatable() {
				cancel(errSentBefore)
			}
		},
	}, sent
}

// request is q in net/http's words.
func (c *http2Client) request(ctx context.Context, q *h1.Request) (*http.Request, error) {
	header, err := q.Header()
	if err != nil {
		return nil, err
	}
	if header["User-Agent"] == nil {
		header["User-Agent"] = []string{""} // or net/http would add its own
	}
	r := &http.Request{
		Method: q.Method, URL: c.target(q.Target), Host: q.Host, Header: header,
		Proto: "HTTP/2.0", ProtoMajor: 2,
	}
	if q.Body != nil {
		r.ContentLength = q.Length
		if known, is := q.Body.(interface{ Whole() bool }); is && known.Whole() {
			r.Body = &wholeBody{from: q.Body}
		} else {
			r.Body = newDetachedBody(q.Body)
		}
	}
	return r.WithContext(ctx), nil
}

// target has the request's own, byte for byte. Opaque is written as it is, but for a leading "//", which would be taken
// for an authority; such a path consists of bytes that stay as they are in RawPath.
func (c *http2Client) target(raw string) *url.URL {
	u := &url.URL{Scheme: c.scheme, Host: c.address}
	path, query, has := strings.Cut(raw, "?")
	u.Opaque, u.RawQuery, u.ForceQuery = path, query, has
	if strings.HasPrefix(path, "//") {
		u.Opaque, u.RawPath = "", path
		u.Path, _ = url.PathUnescape(path) // its escapes were read before
	}
	return u
}

// hints passes informational answers on, and bounds them, which the transport leaves to its owner. They come on the
// goroutine that reads for every request of the connection, which must not wait for one client; so another passes them
// on. 100 (Continue) is not passed on, as our own server says it to the client when the body is read.
type hints struct {
	pass func(int, http.Header) error

	mu    sync.Mutex
	count int
	over  bool
	queue chan func()   // has room for hintLimit; nil: there was none
	done  chan struct{} // closed when all were passed on
}

func (h *hints) got(code int, header textproto.MIMEHeader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count++; h.count > hintLimit {
		return errHints
	}
	switch {
	case code == http.StatusSwitchingProtocols: // RFC 9113 §8.6
		return errSwitch
	case h.over || code == http.StatusContinue:
		return nil
	}
	if h.queue == nil {
		h.queue, h.done = make(chan func(), hintLimit), make(chan struct{})
		go func() {
			defer close(h.done)
			for pass := range h.queue {
				pass()
			}
		}()
	}
	h.queue <- func() { _ = h.pass(code, http.Header(header)) } // a client that is gone is noticed with the answer
	return nil
}

func (h *hints) end() {
	if h == nil {
		return
	}
	h.mu.Lock()
	h.over = true
	done := h.done
	if done != nil {
		close(h.queue)
	}
	h.mu.Unlock()
	if done != nil {
		<-done
	}
}

// An http2Body is an answer's body, whose progress is watched.
type http2Body struct {
	io.ReadCloser
	response *http.Response
	left     int64 // of the announced length; below zero: unknown
	stall    time.Duration
	timer    *time.Timer // nil: it may be silent
	stalled  atomic.Bool

	room []byte // of the last piece
	full bool   // the last read filled it
}

func newHTTP2Body(r *http.Response, stall time.Duration) *http2Body {
	b := &http2Body{ReadCloser: r.Body, response: r, left: r.ContentLength}
	if stall > 0 && r.Body != http.NoBody && !maySilent(r.Header.Get("Content-Type")) {
		b.stall = stall
		b.timer = time.AfterFunc(b.stall, b.giveUp)
		b.timer.Stop() // it runs while Read waits
	}
	return b
}

// maySilent reports whether an answer of this type may be silent for any time: an event stream (WHATWG HTML §9.2), and
// gRPC, whose streams have deadlines of their own.
func maySilent(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "text/event-stream" || grpcType(kind))
}

func grpcType(kind string) bool {
	return kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+")
}

// next waits with a small buffer, unless the last read filled it.
func (b *http2Body) next() ([]byte, error) {
	b.room = buffers.Fit(b.room, b.full)
	n, err := b.Read(b.room)
	b.full = n >= buffers.Small
	return b.room[:n], err
}

func (b *http2Body) Read(p []byte) (int, error) {
	if b.timer != nil {
		b.timer.Reset(b.stall)
		defer b.timer.Stop() // the client's own pace, between two reads, is bounded by the server side
	}
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err != nil && err != io.EOF && b.stalled.Load() {
		err = errStalled
	}
	return n, err
}

func (b *http2Body) giveUp() {
	b.stalled.Store(true)
	b.ReadCloser.Close()
}

func (b *http2Body) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	buffers.Put(b.room)
	b.room = nil
	return b.ReadCloser.Close()
}

// A wholeBody has come whole: reading it waits for nothing. It is its owner's to close.
type wholeBody struct {
	from io.Reader
	sent func() // called when all was read; nil: nothing is
}

// Read implements io.Reader.
func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err != nil && b.sent != nil {
		b.sent()
	}
	return n, err
}

// Close implements io.Closer.
func (b *wholeBody) Close() error { return nil }

// A detachedBody is a request's body whose Close ends a Read that waits. The transport returns an error only when its
// last Read has returned, and a client that is slow to send must not hold it up. One goroutine reads ahead by one
// piece.
type detachedBody struct {
	from   io.Reader
	start  sync.Once
	stop   sync.Once
	closed chan struct{}
	more   chan struct{}
	pieces chan piece
	left   []byte
	err    error
	sent   func() // called when all was read; nil: nothing is
}

type piece struct {
	data []byte
	err  error
}

const pieceSize = 32 << 10

var errBodyClosed = errors.New("the request's body was closed")

func newDetachedBody(from io.Reader) *detachedBody {
	return &detachedBody{from: from, closed: make(chan struct{}), more: make(chan struct{}), pieces: make(chan piece)}
}

func (b *detachedBody) Read(p []byte) (int, error) {
	if len(b.left) == 0 && b.err == nil {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.left)
	if b.left = b.left[n:]; len(b.left) > 0 {
		return n, nil
	}
	return n, b.err
}

// next waits for the next piece. The piece before it has been copied.
func (b *detachedBody) next() error {
	b.start.Do(func() { go b.pump() })
	select {
	case b.more <- struct{}{}:
	case <-b.closed:
		return errBodyClosed
	}
	select {
	case got := <-b.pieces:
		b.left, b.err = got.data, got.err
		return nil
	case <-b.closed:
		return errBodyClosed
	}
}

func (b *detachedBody) pump() {
	buffer, full := make([]byte, buffers.Small), false
	for {
		select {
		case <-b.more:
		case <-b.closed:
			return
		}
		if full && len(buffer) < pieceSize {
			buffer = make([]byte, pieceSize)
		}
		n, err := b.from.Read(buffer)
		full = n == len(buffer)
		select {
		case b.pieces <- piece{buffer[:n], err}:
		case <-b.closed:
			return
		}
		if err != nil {
			if b.sent != nil {
				b.sent()
			}
			return
		}
	}
}

// Close ends a Read that waits. What it reads from is its owner's to close.
func (b *detachedBody) Close() error {
	b.stop.Do(func() { close(b.closed) })
	return nil
}

var http2Losses = []string{
	"http2: client connection lost", "http2: client conn could not be established",
	"http2: client conn not usable", "http2: client connection force closed",
	"graceful shutdown GOAWAY", "http2: server sent GOAWAY and closed the connection", "use of closed network connection",
}

// isHTTP2Loss knows the errors of an HTTP/2 connection that ended, which net/http gives no type.
func isHTTP2Loss(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) {
		return true
	}
	text := err.Error()
	return slices.ContainsFunc(http2Losses, func(s string) bool { return strings.Contains(text, s) })
}
