// Package h1 is a client of HTTP/1.1 (RFC 9112) for one server, over kept connections that cost no goroutine.
//
// One goroutine writes the request and reads the answer, so an idle connection is only a socket in a list. A request
// with a body has a second goroutine, so that an answer which comes early is read while the body is still being sent. A
// request that is canceled is woken by a deadline in the past.
//
// [Client.Do] is the story of a request:
//
//	take    an idle connection that is still usable, or a new one     (pool.go, alive_unix.go)
//	write   the request's head                                        (request.go)
//	send    its body, if it has one                                   (send.go)
//	read    heads until one is final, strictly                        (head.go)
//	answer  its body, framed by length, by chunks or by the close     (answer.go, chunk.go)
//	switch  or the stream that the connection became (101)            (stream.go)
//	keep    the connection goes back if the exchange is complete      (pool.go)
//
// The parser is strict: no bare LF, no folded lines, one Content-Length, none beside Transfer-Encoding, no coding but
// chunked. An answer that ends before its framing says so is io.ErrUnexpectedEOF, never io.EOF.
//
// CONNECT is not supported. The caller bounds the connections in use: each request in flight has one, and a new one is
// only made when none is idle.
package h1

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Settings describe the server and its time-outs. A duration of zero means no limit, except for IdleTimeout.
type Settings struct {
	Address string // host:port
	// Dial opens a connection. It may return a *tls.Conn, after its handshake. nil dials Address by TCP.
	Dial            func(context.Context) (net.Conn, error)
	ConnectTimeout  time.Duration // for a connection
	ResponseTimeout time.Duration // from the end of the request to the end of the answer's head
	StallTimeout    time.Duration // without any progress of a body, either way; event streams may be silent
	IdleTimeout     time.Duration // how long an idle connection is kept; 0: 90 s
	MaxIdle         int           // idle connections; 0: none is kept
	// Unasked is called when a server sent bytes that belong to no request. nil: it is not.
	Unasked func()
}

// A Client sends requests to one server. It is safe for concurrent use.
type Client struct {
	settings Settings
	distrust atomic.Int64 // Unix nanoseconds until which no connection is kept

	mu     sync.Mutex
	idle   []*conn // the one used last is at the end, and taken first
	closed bool
	sweep  *time.Timer // runs while a connection is idle; nil before
	armed  bool
}

const (
	defaultIdle = 90 * time.Second
	tcpProbes   = 30 * time.Second
)

// New returns a client. It connects when it is first used.
func New(s Settings) *Client {
	if s.IdleTimeout <= 0 {
		s.IdleTimeout = defaultIdle
	}
	if s.Dial == nil {
		dialer := net.Dialer{Timeout: s.ConnectTimeout, KeepAlive: tcpProbes}
		s.Dial = func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", s.Address) }
	}
	return &Client{settings: s}
}

// Do sends q and reads the head of its answer into a, which must be closed after that. On an error a need not be
// closed, and q's body is closed, or will be as soon as a read of it that is under way returns; but for a [DialError],
// which leaves it as it was, so that another server can be asked.
//
// A request is retried in one case alone (RFC 9110 §9.2.2, RFC 9112 §9.3.1): it is [Request.Repeatable] and a kept
// connection ended without a byte of an answer. The second try has a connection of its own.
func (c *Client) Do(ctx context.Context, q *Request, a *Answer) error {
	a.heard, a.again = false, false
	if ctx.Err() != nil {
		q.closeBody()
		return context.Cause(ctx)
	}
	k, kept, err := c.take(ctx)
	if err != nil {
		return err
	}
	err = a.ask(ctx, c, k, q)
	if err == nil || !kept || !Lost(err) || !q.Repeatable() {
		return err
	}
	a.again = true
	if k, err = c.dial(ctx); err != nil {
		return err
	}
	return a.ask(ctx, c, k, q)
}
