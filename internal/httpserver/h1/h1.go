// Package h1 is an HTTP/1.1 server (RFC 9112).
//
// net/http's server is laxer than a gate may be: it takes a bare LF as the end of a line, joins folded lines, accepts
// the same Content-Length twice and Content-Length beside Transfer-Encoding, and none of this is visible to a handler.
// Two readers who disagree about where a request ends are what request smuggling is made of. And half of what a request
// costs there is spent on what a gate does not need. So this package has a server of its own. Handlers see the types of
// net/http: http.Request, http.ResponseWriter, http.Flusher, http.Hijacker, http.ErrAbortHandler.
//
// Conn.Serve serves a connection:
//
//	begin    wait for the first byte; an idle connection holds no buffer         (conn.go, first_unix.go, early.go)
//	head     read it whole, by the grammar and within the limits                 (head.go)
//	request  make an http.Request of it                                          (request.go)
//	serve call the handler, which reads the body and writes the answer (serve.go, body.go, chunk.go, response.go)
//	watch    cancel the context of the request if the client disconnects         (lifetime.go)
//	finish   end the answer; go on with the next request, or close               (serve.go)
//	linger   close without destroying an answer that is on its way               (linger.go)
//
// # What is refused
//
// A head that is not RFC 9112 to the letter, and more than that: anything but exactly one Host (HTTP/1.0 may have
// none), one Content-Length, or one `Transfer-Encoding: chunked`; a version other than HTTP/1.1 and HTTP/1.0 (505);
// absolute-form targets; a head, a target or a number of fields over the limit (431, 414, 431), exact to the byte. One
// empty line before a request line is ignored (RFC 9112 section 2.2), a second one is refused. A head that does not
// arrive in time is answered 408, an expectation other than 100-continue 417. The connection is closed after each of
// these answers.
//
// # Bodies
//
// A body with Content-Length is counted; a chunked one is read byte by byte: no extensions, exact line ends, bounded
// trailers, which are dropped. A fault in a body is the error of the handler's read, and of each further one; the
// connection is closed after it. A connection is kept behind a body that was read to its end, whatever its framing.
//
// An answer may come before the body was read. If the rest of the body is short it is read, and the connection is kept.
// If not, the answer says `Connection: close`, and the rest is read within bounds of time and rate, so that the answer
// reaches a client that is still sending.
package h1
