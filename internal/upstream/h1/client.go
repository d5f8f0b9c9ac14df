// Package http1 speaks HTTP/1.1 (RFC 9112) with one plain-HTTP server, over kept connections that cost no goroutine.
//
// The goroutine that asks is the one that writes the request and reads the answer, so a connection at rest is a socket in a
// list. Only a request with a body has a goroutine besides, so that an answer which comes early is read while the body still
// goes out. A request that is given up is woken by a deadline in the past.
//
// [Client.Do] is the story of a request:
//
//	take    a kept connection that is still good, or a new one        (pool.go, alive_unix.go)
//	write   the request's head                                        (request.go)
//	send    its body, if it has one                                   (send.go)
//	read    heads until one is an answer, strictly                    (head.go)
//	answer  its body, framed by length, by chunks or by the close     (answer.go, chunk.go)
//	rest    the connection goes back if nothing is left to say on it  (pool.go)
//
// [Client.RoundTrip] is the same for whoever speaks net/http's words.
//
// What it reads it reads by the grammar: no bare LF, no folded lines, one Content-Length, none beside Transfer-Encoding, no
// coding but chunked. An answer that ends before its framing says so is io.ErrUnexpectedEOF, never an end.
//
// Not spoken here: TLS, CONNECT, and Upgrade (RFC 9110 §7.8). The bound on connections in use is the caller's: there is one
// for each request under way, and a new one is only made when none is at rest.
package h1

import (
	"context"
	"net"
	"sync"
	"time"
)

// Settings say which server, and for how long to wait for it. Times of zero mean no limit, but for IdleTimeout.
type Settings struct {
	Address         string        // host:port
	ConnectTimeout  time.Duration // for a connection
	ResponseTimeout time.Duration // from the end of the request to the end of the answer's head
	StallTimeout    time.Duration // without any progress of a body, either way; event streams may be silent
	IdleTimeout     time.Duration // how long a connection is kept at rest; 0: 90 s
	MaxIdle         int           // connections at rest; 0: none is kept
}

// A Client asks one server. It is safe for concurrent use.
type Client struct {
	settings Settings
	dialer   net.Dialer
	buffers  sync.Pool // of *[sendBuffer]byte

	mu     sync.Mutex
	idle   []*conn // the one used last is at the end, and taken first
	closed bool
	sweep  *time.Timer // runs while something is idle; nil before
	armed  bool
}

const (
	defaultIdle = 90 * time.Second
	tcpProbes   = 30 * time.Second
)

// New makes a client; nothing is connected yet.
func New(s Settings) *Client {
	if s.IdleTimeout <= 0 {
		s.IdleTimeout = defaultIdle
	}
	return &Client{settings: s, dialer: net.Dialer{Timeout: s.ConnectTimeout, KeepAlive: tcpProbes}}
}

// Do sends q and reads the head of its answer into a, which must be closed after that. On an error a need not be closed, and
// q's body is closed, or will be as soon as a read of it that is under way returns; but for a [DialError], which leaves it as
// it was, so that another server can be asked.
//
// A request is sent twice in one case alone (RFC 9110 §9.2.2, RFC 9112 §9.3.1): it has a safe method and no body, and met a
// kept connection that ended without a byte of an answer.
func (c *Client) Do(ctx context.Context, q *Request, a *Answer) error {
	a.heard = false
	if ctx.Err() != nil {
		q.closeBody()
		return context.Cause(ctx)
	}
	k, kept, err := c.take(ctx)
	if err != nil {
		return err
	}
	err = a.ask(ctx, c, k, q)
	if err == nil || !kept || !lost(err) || !q.repeatable() {
		return err
	}
	if k, err = c.dial(ctx); err != nil {
		return err
	}
	return a.ask(ctx, c, k, q)
}
