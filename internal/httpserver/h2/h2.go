// Package h2 speaks HTTP/2 (RFC 9113) with clients, above TLS.
//
// net/http's server has a goroutine that serves a connection's streams, one that reads its frames and one for each
// frame that is written, and they tell each other everything through channels: half of what a short request costs. So a
// Server stands in its place, as package h1's does for HTTP/1.1. To handlers it speaks net/http's words: http.Request,
// http.ResponseWriter, http.Flusher, http.ResponseController, http.ErrAbortHandler, http.TrailerPrefix.
//
// Conn.Serve is the story of a connection:
//
//	read     one goroutine reads frames and does what they say at once              (conn.go, read.go, control.go)
//	head     decode a header block, by the grammar and within the limits            (head.go, names.go)
//	request  make an http.Request of it                                             (request.go)
//	serve    call the handler on a goroutine that served another before             (stream.go, recent.go)
//	body     DATA waits in the stream's memory, and is credited when it is read     (data.go, body.go, flow.go)
//	answer   held together, so that a short one is one HEADERS and one DATA         (response.go, fields.go)
//	write    who has something to say appends it, and one writes for all            (write.go)
//
// One mutex guards a connection, its streams and what is to be written. It is never held while somebody waits.
//
// # What is refused
//
// Malformed requests (section 8.1.1) are reset with PROTOCOL_ERROR: fields of a connection, names in upper case,
// control bytes or outer white space in values, pseudo-fields that are unknown, late, missing or there twice, a
// Content-Length that is not the length of the DATA. What HTTP/1.1 would answer is answered: 431 for a header section
// over the limit, 414 for a target, 400 for a host, 417 for an expectation. The connection goes on after each of them.
//
// # What is bounded
//
// Handlers at once: a stream counts until its handler has returned, whichever side reset it. Resets before an answer,
// and frames that bring nothing, end the connection when there are many more of them than of the others
// (ENHANCE_YOUR_CALM). A header block has a most length, a number of frames, and a time; what waits to be written has a
// bound, and so has what waits to be read.
package h2

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/httpserver"
)

// A Server answers the requests of connections.
type Server struct {
	Handler     http.Handler
	Limits      *httpserver.Limits // must have been through WithDefaults
	IdleTimeout time.Duration      // without a stream; not above zero: for ever
	// how long a client may leave 64 KiB of an answer without a window; not above zero: for ever
	WriteStall time.Duration
	Streams    uint32 // at once on one connection
	// what unread bodies of all connections may hold before these wait for handlers; zero: 256 MiB
	BodyMemory int64
	Context    context.Context    // what requests' contexts come from
	Log        *zap.Logger        // told of panics
	Last       func() bool        // reports whether answers are the last of their connections from now on
	Refused    httpserver.Refuser // answers in place of Handler
	// is told of each stream that was reset and each connection that ended for what its client did; may be nil
	Faulted func(httpserver.Fault)

	clock httpserver.Clock
	held  atomic.Int64 // bytes in the bodies of all connections
}

// full reports whether bodies hold as much memory as they may.
func (s *Server) full() bool {
	most := s.BodyMemory
	if most == 0 {
		most = 256 << 20
	}
	return s.held.Load() > most
}
