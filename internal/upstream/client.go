package upstream

import (
	"context"
	"io"
	"net/http"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// A client sends requests to one server, by one version of HTTP. On an error the answer need not be closed. The
// request's body may be read until the error is returned or the answer is closed, and a read that waits then may last;
// the client does not rely on the body's Close to end it.
type client interface {
	do(ctx context.Context, q *h1.Request, a *Answer) error
	close() // idle connections; requests in flight end well
}

// An Answer is a server's answer. It holds a place at its server until it is closed.
type Answer struct {
	h1.Answer
	From string // the server's host and port

	server *server // nil: the answer holds no place
	share  *share
	bad    bool       // it counted as a failure
	again  bool       // another server was asked before
	stream *http2Body // nil: HTTP/1.1
}

// Next returns the next piece of the body; the trailers are there with io.EOF. The piece is valid until the next call,
// or until the answer is closed.
func (a *Answer) Next() (p []byte, err error) {
	if a.stream == nil {
		p, err = a.Answer.Next()
	} else if p, err = a.stream.next(); err == io.EOF {
		a.Trailer = a.stream.response.Trailer
	}
	if err != nil && err != io.EOF {
		a.broke(err)
	}
	return p, err
}

// Read reads the body, as Next does.
func (a *Answer) Read(p []byte) (n int, err error) {
	if a.stream == nil {
		n, err = a.Answer.Read(p)
	} else if n, err = a.stream.Read(p); err == io.EOF {
		a.Trailer = a.stream.response.Trailer
	}
	if err != nil && err != io.EOF {
		a.broke(err)
	}
	return n, err
}

// Bodiless reports whether the answer has no body.
func (a *Answer) Bodiless() bool {
	if a.stream == nil {
		return a.Answer.Bodiless()
	}
	return a.stream.response.Body == http.NoBody
}

// Waiting reports whether Read would wait for the server. HTTP/2 does not say, so it is assumed while anything is to
// come.
func (a *Answer) Waiting() bool {
	if a.stream != nil {
		return a.stream.left != 0
	}
	return a.Answer.Waiting()
}

// Interrupter returns what ends a Read that waits, from any goroutine, once the request's context has ended; nil where
// the context alone does. In HTTP/2 nothing looks at it while a request's body is read, which may be for long.
func (a *Answer) Interrupter() func() {
	if a.stream == nil {
		return nil
	}
	body := a.stream.ReadCloser
	return func() { _ = body.Close() }
}

// Close gives up what was not read. It may be called more than once.
func (a *Answer) Close() error {
	var err error
	if a.stream == nil {
		err = a.Answer.Close()
	} else {
		err = a.stream.Close()
		a.stream = nil
	}
	if s := a.server; s != nil {
		a.server = nil
		if !a.bad {
			s.pool.succeeded(s)
		}
		s.release(a.share)
	}
	return err
}

// Simple reports whether the answer is of HTTP/1.1, came at the first attempt, and is over: nothing of the request is
// held on to then, unless it had a body.
func (a *Answer) Simple() bool { return a.stream == nil && !a.again && a.Answer.Simple() }

// plainClient is our client of HTTP/1.1, with or without TLS.
type plainClient struct{ *h1.Client }

func (c plainClient) do(ctx context.Context, q *h1.Request, a *Answer) error {
	return c.Do(ctx, q, &a.Answer)
}
func (c plainClient) close() { c.Close() }
