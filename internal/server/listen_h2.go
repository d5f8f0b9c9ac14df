package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/server/wire"
)

// frontH2 holds HTTP/2 requests to the limits of HTTP/1.1. The framing is net/http's, and so are the bounds on header
// lists (MaxHeaderBytes), CONTINUATION frames and streams that are reset as fast as they are opened. The socket cuts a
// connection whose writes stall; here a single stream is, while the connection lives on.
type frontH2 struct {
	all  *Listeners
	next http.Handler
}

func (f *frontH2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.all.draining.Load() {
		w.Header().Set("Connection", "close") // net/http says GOAWAY instead
	}
	if why := f.refused(r); why != nil {
		f.all.refuse(w, r, why)
		return
	}
	control := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		body := newPacedBody(r.Body, control, &f.all.limits.Limits)
		defer body.finish()
		r.Body = body
	}
	f.next.ServeHTTP(&unstalled{ResponseWriter: w, control: control, limit: f.all.limits.WriteStall}, r)
}

func (f *frontH2) refused(r *http.Request) *refusal.Error {
	l := &f.all.limits
	if len(r.RequestURI) > l.URIBytes {
		return &refusal.Error{Reason: refusal.URITooLong, Detail: "request target over the limit"}
	}
	if !wire.ValidHost(r.Host) {
		return &refusal.Error{Reason: refusal.HostMalformed, Detail: ":authority is not a host name"}
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > l.Fields {
		return &refusal.Error{Reason: refusal.HeaderTooLarge, Detail: "more header fields than the limit"}
	}
	return nil
}

// unstalled resets the stream when its client does not open the flow-control window in time.
type unstalled struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	armed   time.Time
}

func (u *unstalled) arm() {
	now := time.Now()
	if u.limit > 0 && u.armed.Sub(now) < u.limit {
		u.armed = now.Add(u.limit + u.limit/4)
		_ = u.control.SetWriteDeadline(u.armed) // HTTP/2 streams can
	}
}

func (u *unstalled) Write(p []byte) (int, error) {
	u.arm()
	return u.ResponseWriter.Write(p)
}

// FlushError implements what http.ResponseController looks for.
func (u *unstalled) FlushError() error {
	u.arm()
	return u.control.Flush()
}

// Flush implements http.Flusher.
func (u *unstalled) Flush() { _ = u.FlushError() }

// Unwrap lets http.ResponseController reach the server's own writer.
func (u *unstalled) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// pacedBody gives up on a body that comes too slowly, by the same rule as for HTTP/1.1. Only the time that a read
// waits counts. A stream's read deadline would run on between reads, so a timer sets it when it is due.
type pacedBody struct {
	io.ReadCloser
	pace  wire.Pace
	timer *time.Timer

	mu   sync.Mutex
	over bool // the handler has returned: its stream must not be touched
}

func newPacedBody(body io.ReadCloser, control *http.ResponseController, l *wire.Limits) *pacedBody {
	b := &pacedBody{ReadCloser: body, pace: wire.NewPace(l)}
	b.timer = time.AfterFunc(time.Hour, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.over {
			_ = control.SetReadDeadline(time.Now()) // HTTP/2 streams can
		}
	})
	b.timer.Stop()
	return b
}

func (b *pacedBody) Read(p []byte) (int, error) {
	credit, bounded := b.pace.Credit()
	if !bounded {
		return b.ReadCloser.Read(p)
	}
	start := time.Now()
	b.timer.Reset(credit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.pace.Earn(n, time.Since(start))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = refusal.Because(refusal.BodyTimeout, "body came too slowly")
	}
	return n, err
}

func (b *pacedBody) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.timer.Stop()
}
