package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/jotgate/jotgate/internal/buffers"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A clientBody is the request's body on its way to the upstream. It counts, and remembers what went wrong on the
// client's side, which would otherwise look like a fault of the upstream. Its sender may still read it when the
// handler is done.
type clientBody struct {
	io.Reader
	left  int64 // below zero: unbounded
	limit int64
	over  atomic.Bool // read to its end

	ahead  []byte // read before it was asked for
	then   error  // what comes behind that
	buffer []byte // that holds it
	fault  atomic.Pointer[bodyFault]
}

type bodyFault struct {
	cause   error // as the server's reader gave it; nil when the limit was passed
	refused error
}

func newClientBody(b io.ReadCloser, limit int64) *clientBody {
	if limit <= 0 {
		return &clientBody{Reader: b, left: -1}
	}
	return &clientBody{Reader: b, left: limit, limit: limit}
}

// Close does nothing: the body is the server's to close, when it has ended a Read that is under way. Closed here, it
// would wait for that Read, and with it for the client: an upstream that has failed would not be answered for until the
// client sent more.
func (b *clientBody) Close() error { return nil }

// Whole reports whether reading the rest of the body waits for nothing.
func (b *clientBody) Whole() bool {
	if b.buffer != nil {
		return b.then != nil
	}
	known, is := b.Reader.(interface{ Whole() bool })
	return is && known.Whole()
}

// await returns when the first bytes of the body, or its end, are there: until then the request takes no place at its
// server, so that heads without bodies do not use them up. What goes wrong is told by Read.
func (b *clientBody) await() {
	b.buffer = buffers.Get(false)
	for len(b.ahead) == 0 && b.then == nil {
		n, err := b.read(b.buffer)
		b.ahead, b.then = b.buffer[:n], err
	}
}

func (b *clientBody) Read(p []byte) (int, error) {
	if b.buffer == nil {
		return b.read(p)
	}
	n := copy(p, b.ahead)
	if b.ahead = b.ahead[n:]; len(b.ahead) > 0 {
		return n, nil
	}
	err := b.then
	if err == nil {
		buffers.Put(b.buffer)
		b.buffer = nil
	}
	return n, err
}

func (b *clientBody) read(p []byte) (int, error) {
	if f := b.fault.Load(); f != nil {
		return 0, f.refused
	}
	n, err := b.Reader.Read(p)
	if b.limit > 0 {
		if b.left -= int64(n); b.left < 0 {
			return 0, b.fail(nil, tooLarge(b.limit))
		}
	}
	switch {
	case err == io.EOF:
		b.over.Store(true)
	case err != nil:
		err = b.fail(err, refusal.Because(bodyReason(err), "request body: %v", err))
	}
	return n, err
}

func (b *clientBody) fail(cause, refused error) error {
	b.fault.CompareAndSwap(nil, &bodyFault{cause, refused})
	return refused
}

func tooLarge(limit int64) error {
	return refusal.Because(refusal.BodyTooLarge, "request body: over %d bytes", limit)
}

func bodyReason(err error) refusal.Reason {
	var (
		known   *refusal.Error // from our own server, which reads strictly
		timeout net.Error
		op      *net.OpError
	)
	switch {
	case errors.As(err, &known):
		return known.Reason
	case errors.As(err, &timeout) && timeout.Timeout():
		return refusal.BodyTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, http.ErrBodyReadAfterClose), errors.As(err, &op):
		return refusal.ClientClosed
	}
	return refusal.BodyMalformed
}
