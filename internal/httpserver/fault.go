package httpserver

import "github.com/jotgate/jotgate/internal/refusal"

// A Fault is what an HTTP/2 client is told by the reset of a stream or the end of its connection, and not by a
// response.
type Fault struct {
	Connection bool           // the connection ended; else a stream
	Reason     string         // the error code's name in lower case (RFC 9113 section 7), or "stalled"
	Refused    refusal.Reason // of the request; empty if a handler had it
	Detail     string         // the cause; never holds bytes of a request
	Remote     string         // address and port of the peer
	TLS        bool
}
