// Package h2std serves HTTP/2 with the server of net/http, where package h2's is not wanted (`limits.http2: standard`):
// it looks the same to listeners and to handlers, and holds requests to the same limits and rules as far as that server
// lets it.
//
// What differs: an answer that comes before the request's body was read resets the stream at once; a header section
// over the limit by much is answered 431 in plain text; what is reset leaves no line and no metric; there is no
// WebSocket over HTTP/2; a client that grants little of a window at a time is given the whole of WriteStall with each
// write.
package h2std

//lint:file-ignore SA1019 net/http closes idle connections in its Shutdown; what it is made of sends GOAWAY

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	// nolint:staticcheck // net/http closes idle connections in its Shutdown; this one sends GOAWAY
	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/httpserver"
)

// A Server answers the requests of connections. Its fields are those of package h2's.
type Server struct {
	Handler     http.Handler
	Limits      *httpserver.Limits
	IdleTimeout time.Duration
	WriteStall  time.Duration
	Streams     uint32
	Context     context.Context
	Log         *zap.Logger
	Last        func() bool
	Refused     httpserver.Refuser
}

// A Conn is the server's side of one connection. It has a server of net/http to itself, which can be told to go alone.
type Conn struct {
	server *Server
	base   *http.Server
	http2  *http2.Server
	ctx    context.Context // of requests
	cancel context.CancelFunc
	socket net.Conn
	early  []byte // came before the connection was known to be HTTP/2

	retire sync.Once

	mu       sync.Mutex
	since    time.Time
	idle     bool
	going    bool
	over     bool // no handler begins any more
	handlers int  // that have not returned
	returned sync.Cond
}

// begin lets a handler begin, unless the connection is over: the server of net/http starts them in goroutines of which
// it keeps no count.
func (c *Conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.handlers++
	return true
}

func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handlers--; c.handlers == 0 {
		c.returned.Broadcast()
	}
}

// wait returns when all handlers have.
func (c *Conn) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.over = true; c.handlers > 0; {
		c.returned.Wait()
	}
}

// Sizes of what a connection's bodies may hold, as package h2 has them.
const (
	streamWindow = 64 << 10
	windowSize   = 1 << 20
	frameSize    = 16 << 10
)

// NewConn prepares to serve a socket: a *tls.Conn whose handshake is done.
func (s *Server) NewConn(socket net.Conn) *Conn {
	c := &Conn{server: s, socket: socket, since: time.Now(), idle: true}
	c.returned.L = &c.mu
	c.ctx, c.cancel = context.WithCancel(s.Context)
	c.base = &http.Server{
		Handler: c, ErrorLog: log.New(io.Discard, "", 0), ConnState: c.state, DisableGeneralOptionsHandler: true,
		MaxHeaderBytes: s.Limits.HeaderBytes, IdleTimeout: max(0, s.IdleTimeout),
	}
	c.http2 = &http2.Server{
		MaxConcurrentStreams: s.Streams, MaxReadFrameSize: frameSize, IdleTimeout: max(0, s.IdleTimeout),
		MaxUploadBufferPerStream: streamWindow, MaxUploadBufferPerConnection: windowSize,
		WriteByteTimeout: max(0, s.WriteStall),
	}
	return c
}

// NewPriorConn is NewConn for a plain socket whose client began with the preface, which early holds as far as it was
// read.
func (s *Server) NewPriorConn(socket net.Conn, early []byte) *Conn {
	c := s.NewConn(socket)
	c.early = early
	return c
}

// prefixed is a connection of which something was read already.
type prefixed struct {
	net.Conn
	early []byte
}

// Read implements net.Conn.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.early) > 0 {
		n := copy(b, p.early)
		p.early = p.early[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// Serve answers requests until the connection ends, and closes it. It returns when all handlers have.
func (c *Conn) Serve() {
	socket := c.socket
	if len(c.early) > 0 {
		socket = &prefixed{Conn: c.socket, early: c.early}
	}
	if err := http2.ConfigureServer(c.base, c.http2); err == nil { // it has a place in its shutdown then
		c.http2.ServeConn(socket, &http2.ServeConnOpts{Context: c.ctx, BaseConfig: c.base, Handler: c})
	}
	c.cancel()
	_ = c.socket.Close()
	c.wait()
}

// state follows what net/http tells of the connection.
func (c *Conn) state(_ net.Conn, now http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now {
	case http.StateIdle:
		c.idle, c.since = true, time.Now()
	case http.StateActive:
		c.idle = false
	}
}

// Retire asks the client to open no more streams, and ends the connection when there are none.
func (c *Conn) Retire(time.Time) {
	c.mu.Lock()
	c.going = true
	c.mu.Unlock()
	c.retire.Do(func() {
		// it has nothing to wait for: the connection is not its own
		_ = c.base.Shutdown(context.WithoutCancel(c.server.Context))
	})
}

// Evict ends the connection if there is no request.
func (c *Conn) Evict() {
	if _, idle := c.IdleSince(); idle {
		c.Retire(time.Time{})
	}
}

// Abort ends the contexts of all requests.
func (c *Conn) Abort() { c.cancel() }

// IdleSince returns since when there has been no request; false while there is one, and once the client was asked to
// go.
func (c *Conn) IdleSince() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.idle && !c.going
}
