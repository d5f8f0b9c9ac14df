// Package wire reads the heads of HTTP/1.1 requests strictly before net/http sees them.
//
// net/http's server is laxer than a gate may be: it takes a bare LF for the end of a line, joins folded lines, accepts
// the same Content-Length twice and lets Content-Length stand beside Transfer-Encoding, and none of this is visible to
// a handler. Two readers who disagree about where a request ends are what request smuggling lives on. So a Conn stands
// between the socket (or the TLS session) and net/http. It follows the framing of RFC 9112 itself, hands on nothing of
// a head before the whole of it was found well-formed, hands on exactly the bytes that came, and never lets a byte
// behind an unclear end of a request be read as another request.
//
// # What is refused
//
// A head that is not RFC 9112 to the letter, and more than that: anything but exactly one Host, one Content-Length, or
// one `Transfer-Encoding: chunked`; a version other than HTTP/1.1 and HTTP/1.0 (505); absolute-form targets; a head, a
// target or a number of fields over the limit (431, 414, 431), exact to the byte. One empty line before a request line
// is ignored (RFC 9112 section 2.2), a second one is refused. A head that does not come in time is answered 408.
//
// A refused head is replaced by a harmless well-formed one, and Refused tells the handler in front why. So the answer
// takes its turn behind the answers to requests that came before on the same connection, and net/http closes after it.
//
// # Bodies
//
// Content-Length is counted, chunks are followed byte by byte: no extensions, exact line ends, bounded trailers. What
// is wrong in a body surfaces as the handler's body read error and stays there as BodyError; after it, and after every
// request that had a Transfer-Encoding, the connection serves no further request.
//
// # Between requests
//
// While a handler is at work, what the client sends ahead stays here, unread by net/http: it is the next head once
// Answered was called, or the first bytes of the other protocol once the connection was hijacked and Raw was called.
package wire

import (
	"context"
	"time"
)

// Limits bound what one connection may ask for. Zero sizes and times take the defaults of Default.
type Limits struct {
	HeaderBytes   int           // the whole head, from the method to the empty line
	URIBytes      int           // the request target
	Fields        int           // header fields
	HeaderTimeout time.Duration // from a head's first byte to its last; negative: for ever
	BodyStall     time.Duration // how long a body may stand still; negative: for ever
	BodyRate      int           // bytes a second that a body must reach in the long run; negative: any
}

// Default is what a connection gets when its limits are not set.
//
// A body earns waiting time with each byte (1/BodyRate s) up to BodyStall, and spends it only while the reader waits
// for the client. 128 B/s is a tenth of the slowest modem; whoever is slower holds a connection, not a conversation.
func Default() Limits {
	return Limits{
		HeaderBytes: 32 << 10, URIBytes: 16 << 10, Fields: 200,
		HeaderTimeout: 10 * time.Second, BodyStall: 30 * time.Second, BodyRate: 128,
	}
}

// WithDefaults fills what is zero.
func (l Limits) WithDefaults() Limits {
	d := Default()
	fill(&l.HeaderBytes, d.HeaderBytes)
	fill(&l.URIBytes, d.URIBytes)
	fill(&l.Fields, d.Fields)
	fill(&l.HeaderTimeout, d.HeaderTimeout)
	fill(&l.BodyStall, d.BodyStall)
	fill(&l.BodyRate, d.BodyRate)
	return l
}

func fill[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

type contextKey struct{}

// Context returns ctx with c in it, for http.Server.ConnContext.
func (c *Conn) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext is the connection that a request came on; nil for HTTP/2.
func FromContext(ctx context.Context) *Conn {
	c, _ := ctx.Value(contextKey{}).(*Conn)
	return c
}
