// Package h1 speaks HTTP/1.1 (RFC 9112) with clients.
//
// net/http's server is laxer than a gate may be: it takes a bare LF for the end of a line, joins folded lines, accepts
// the same Content-Length twice and lets Content-Length stand beside Transfer-Encoding, and none of this is visible to
// a handler. Two readers who disagree about where a request ends are what request smuggling lives on. And half of what a
// request costs there is spent on what a gate does not need. So a Server stands in its place. To handlers it speaks
// net/http's words: http.Request, http.ResponseWriter, http.Flusher, http.Hijacker, http.ErrAbortHandler.
//
// Conn.Serve is the story of a connection:
//
//	begin    wait for the first byte; nothing is held meanwhile but the socket      (conn.go, first_unix.go, early.go)
//	head     read it whole, by the grammar and within the limits                    (head.go)
//	request  make an http.Request of it                                             (request.go)
//	serve    call the handler, which reads the body and writes the answer           (serve.go, body.go, chunk.go, response.go)
//	watch    cancel the request's context if the client goes away meanwhile         (lifetime.go)
//	finish   the answer's end; the next request, or the connection's end            (serve.go)
//
// # What is refused
//
// A head that is not RFC 9112 to the letter, and more than that: anything but exactly one Host, one Content-Length, or
// one `Transfer-Encoding: chunked`; a version other than HTTP/1.1 and HTTP/1.0 (505); absolute-form targets; a head, a
// target or a number of fields over the limit (431, 414, 431), exact to the byte. One empty line before a request line
// is ignored (RFC 9112 section 2.2), a second one is refused. A head that does not come in time is answered 408, an
// expectation other than 100-continue 417. The connection is closed after each of these answers.
//
// # Bodies
//
// Content-Length is counted, chunks are read byte by byte: no extensions, exact line ends, bounded trailers, which are
// dropped. What is wrong in a body is the handler's read error and stays so; after it, and after every request that had a
// Transfer-Encoding, the connection serves no further request.
package h1
