package h2std

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// ServeHTTP implements http.Handler, for the server of net/http.
func (c *Conn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.begin() {
		panic(http.ErrAbortHandler)
	}
	defer c.end()
	s := c.server
	if s.Last() {
		c.Retire(time.Time{})
	}
	out := &response{ResponseWriter: w, control: http.NewResponseController(w), stall: s.WriteStall}
	fault := s.vet(r)
	if fault == nil {
		fault = s.body(out, r)
	}
	if fault != nil {
		*r = *refused(r)
	}
	if !httpserver.Call(s.Handler, s.Refused, s.Log, out, r, fault) {
		panic(http.ErrAbortHandler) // the stream alone ends
	}
}

// vet holds a request to what net/http's server does not look at.
func (s *Server) vet(r *http.Request) *refusal.Error {
	size, fields := len(r.Method)+len(r.RequestURI)+len(r.Host), 0
	for name, values := range r.Header {
		fields += len(values)
		for _, value := range values {
			size += len(name) + len(value) + 4 // as HTTP/1.1 would write it
			if !grammar.IsFieldValue(value) || value != grammar.Trim(value) {
				return &refusal.Error{Reason: refusal.RequestMalformed, Detail: "malformed field value"}
			}
		}
	}
	switch {
	case size > s.Limits.HeaderBytes || fields > s.Limits.Fields:
		return &refusal.Error{Reason: refusal.HeaderTooLarge, Detail: "header section over the limit"}
	case len(r.RequestURI) > s.Limits.URIBytes:
		return &refusal.Error{Reason: refusal.URITooLong, Detail: "request target over the limit"}
	case !grammar.ValidHost(r.Host) || len(r.Header["Host"]) > 0:
		return &refusal.Error{Reason: refusal.HostMalformed, Detail: ":authority and Host are not one host name"}
	case r.Method == http.MethodConnect:
	case !strings.HasPrefix(r.RequestURI, "/") && (r.RequestURI != "*" || r.Method != http.MethodOptions):
		return &refusal.Error{Reason: refusal.RequestMalformed, Detail: "request target does not start with a slash"}
	}
	return nil
}

// refused is a request in place of one that cannot be believed.
func refused(r *http.Request) *http.Request {
	bare := (&http.Request{
		Method: http.MethodGet, RequestURI: "/", URL: &url.URL{Path: "/"}, Proto: r.Proto, ProtoMajor: r.ProtoMajor,
		ProtoMinor: r.ProtoMinor,
		Header:     httpserver.RefusedHeader(r.Header["Origin"]), Body: http.NoBody, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
	}).WithContext(r.Context())
	return bare
}

// body puts the clock of the server's limits on a request's body. Where methods hardly ever have one, it finds out
// whether there is (see package h2).
func (s *Server) body(w *response, r *http.Request) *refusal.Error {
	if r.Body == http.NoBody || r.Body == nil {
		return nil
	}
	b := &body{from: r.Body, control: w.control, pace: httpserver.NewPace(s.Limits), asked: &w.read}
	r.Body, w.body = b, b
	if r.ContentLength >= 0 || len(r.Header["Expect"]) > 0 {
		return nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
	default:
		return nil
	}
	var first [1]byte
	n, err := b.Read(first[:])
	var fault *refusal.Error
	switch {
	case n == 0 && err == io.EOF && len(r.Trailer) == 0:
		r.Body, r.ContentLength = http.NoBody, 0
	case n == 0 && errors.As(err, &fault):
		return fault
	default:
		b.ahead.Write(first[:n])
	}
	return nil
}

// A body is a request's. What is wrong with it is a [refusal.Error].
type body struct {
	from    io.ReadCloser
	control *http.ResponseController
	ahead   bytes.Buffer // was read to find out whether there is a body
	pace    httpserver.Pace
	asked   *deadline
}

// A deadline is a handler's own, for all reads.
type deadline struct {
	mu sync.Mutex
	at time.Time
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	d.at = t
	d.mu.Unlock()
}

// before returns the earlier of two times; the zero time never comes.
func (d *deadline) before(t time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.IsZero() || !d.at.IsZero() && d.at.Before(t) {
		return d.at
	}
	return t
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.ahead.Len() > 0 {
		return b.ahead.Read(p)
	}
	start := time.Now()
	credit, bounded := b.pace.Credit()
	var due time.Time
	if bounded {
		due = start.Add(credit)
	}
	_ = b.control.SetReadDeadline(b.asked.before(due)) // a stream that is over says so when it is read
	n, err := b.from.Read(p)
	b.pace.Earn(n, time.Since(start))
	switch {
	case err == nil || err == io.EOF || errors.Is(err, http.ErrBodyReadAfterClose):
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &refusal.Error{Reason: refusal.BodyTimeout, Detail: "body came too slowly"}
	case strings.Contains(err.Error(), "declared a Content-Length"), errors.Is(err, io.ErrUnexpectedEOF):
		return n, &refusal.Error{Reason: refusal.BodyMalformed, Detail: "DATA and Content-Length differ"}
	}
	return n, &refusal.Error{Reason: refusal.ClientClosed, Detail: "the client reset the stream, or went away"}
}

// Close implements io.Closer.
func (b *body) Close() error { return b.from.Close() }

// A response is net/http's, with a time for each write.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	body    *body    // nil: none
	asked   bool     // the handler set a deadline of its own
	read    deadline // … for reads
}

// WriteHeader implements http.ResponseWriter. A handler's `Connection: close` is for HTTP/1.1.
func (w *response) WriteHeader(status int) {
	w.Header().Del("Connection")
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (n int, err error) {
	w.Header().Del("Connection")
	for {
		piece := p[:min(len(p), stallPiece)]
		w.hurry()
		m, err := w.ResponseWriter.Write(piece)
		n += m
		if p = p[len(piece):]; err != nil || len(p) == 0 {
			return n, w.explain(err)
		}
	}
}

// stallPiece is how much of an answer one WriteStall is for.
const stallPiece = 64 << 10

func (w *response) hurry() {
	if w.stall > 0 && !w.asked {
		_ = w.control.SetWriteDeadline(time.Now().Add(w.stall)) // a stream that is over says so when it is written
	}
}

func (w *response) explain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Join(err, &refusal.Error{
			Reason: refusal.ClientClosed,
			Detail: "the client did not accept the answer in time",
		})
	}
	return err
}

// FlushError implements what http.ResponseController looks for.
func (w *response) FlushError() error {
	w.hurry()
	return w.explain(w.control.Flush())
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// SetReadDeadline bounds reads of the request's body.
func (w *response) SetReadDeadline(t time.Time) error {
	w.read.set(t)
	return w.control.SetReadDeadline(t)
}

// SetStall has httpserver.SetStall find it. Below it net/http's own bound for a whole connection stays.
func (w *response) SetStall(stall time.Duration) {
	w.stall = stall
	if w.body != nil {
		w.body.pace = httpserver.PaceWithin(stall)
	}
}

// SetWriteDeadline bounds writes of this answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.asked = !t.IsZero()
	return w.control.SetWriteDeadline(t)
}

// EnableFullDuplex does nothing: a body may be read while its answer is written.
func (w *response) EnableFullDuplex() error { return nil }
