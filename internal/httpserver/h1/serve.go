package h1

import (
	"context"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A Server answers the requests of connections.
type Server struct {
	Handler     http.Handler
	Limits      *httpserver.Limits // must have been through WithDefaults
	IdleTimeout time.Duration      // between requests; not above zero: for ever
	Context     context.Context    // what requests' contexts come from
	Log         *zap.Logger        // told of panics
	Last        func() bool        // reports whether answers are the last of their connections from now on
	Refused     httpserver.Refuser // answers in place of Handler
	// serves a connection that begins with the preface of HTTP/2; nil: it is refused
	HTTP2 func(socket net.Conn, early []byte)

	clock httpserver.Clock
}

// turn reads one request and answers it; false: the connection is over.
func (c *Conn) turn() (more bool) {
	end, fault, err := c.readHead()
	if err != nil {
		return false
	}
	t := c.newTurn()
	var r *http.Request
	var origins []string
	if fault != nil {
		origins = c.head.origins(c.in.bytes())
	} else if r, fault = t.take(end); fault != nil {
		origins = t.room.header["Origin"]
	}
	if fault != nil {
		if fault.Reason != refusal.HeaderTimeout {
			c.linger(lingerRefused)
		}
		c.in.drop(c.in.len())
		r = t.refused(origins)
		t.response.closes = true
	}
	t.method = r.Method
	t.response.closes = t.response.closes || r.Close || c.head.endsConnection()
	t.watch.busy = r.Body != http.NoBody
	c.mu.Lock()
	c.current = t
	aborted := c.aborted
	c.mu.Unlock()
	if aborted {
		t.lifetime.End()
	}
	s := c.server
	whole := httpserver.Call(s.Handler, s.Refused, s.Log, t.response, r, fault)
	return t.finish(whole)
}

// take makes the request of the head that was read.
func (t *turn) take(end int) (*http.Request, *refusal.Error) {
	c := t.conn
	head := string(c.in.bytes()[c.head.skip:end])
	c.in.drop(end)
	r, err := t.request(head)
	if err != nil {
		return nil, &refusal.Error{Reason: refusal.Of(err), Detail: err.Error()}
	}
	return r, nil
}

// refused is a request in place of one that cannot be believed.
func (t *turn) refused(origins []string) *http.Request {
	c := t.conn
	c.head = head{version: '1'}
	r := (&http.Request{
		Method: http.MethodGet, URL: &t.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: httpserver.RefusedHeader(origins), Body: http.NoBody, RequestURI: "/", RemoteAddr: c.remote, TLS: c.tls,
		Close: true,
	}).WithContext(&t.lifetime)
	t.url.Path = "/"
	return r
}

// finish ends the answer, and reads what is left of a short body; false: the connection is over.
func (t *turn) finish(whole bool) bool {
	c, w := t.conn, t.response
	c.unwatch(t)
	if w.hijacked {
		t.lifetime.End()
		return false
	}
	switch {
	case whole:
		whole = w.finish()
	case w.status != 0 && w.framed != undecided: // else the head is not whole, and should not look as if it were
		w.flush()
	}
	if !whole && w.framed == untilClose {
		c.reset()
	}
	w.unhurried()
	whole = whole && (w.closes || t.body.drain())
	if !t.body.finish() && refusal.Of(t.body.err) != refusal.BodyTimeout {
		c.linger(lingerSending)
	}
	w.free()
	t.lifetime.End()
	c.mu.Lock()
	c.current = nil
	aborted := c.aborted // the caller of Abort may be about to end this lifetime
	c.mu.Unlock()
	if whole && !aborted {
		t.reuse()
	}
	return whole && !w.closes
}
