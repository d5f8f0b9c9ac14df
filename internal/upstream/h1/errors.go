package h1

import (
	"errors"
	"fmt"
)

// ErrStalled means that an answer's body made no progress in time.
var ErrStalled error = &timeoutError{"the answer's body stalled"}

var (
	errHeadTimeout = &timeoutError{"no answer in time"}
	// ErrHeadTimeout says that the head of an answer did not come in time.
	ErrHeadTimeout error = errHeadTimeout
	errSendTimeout       = &timeoutError{"the request was not taken in time"}

	errClosed    = errors.New("read of an answer's body after its close")
	errUpgrade   = errors.New("the server switched protocols without being asked")
	errHints     = errors.New("too many informational answers (1xx)")
	errHeadSize  = errors.New("the answer's head is too large")
	errFieldMany = errors.New("the answer has too many fields")
	errShortBody = errors.New("the request's body is shorter than its Content-Length")
	errLongBody  = errors.New("the request's body is longer than its Content-Length")
)

// A DialError means that no connection was made: nothing was sent.
type DialError struct{ Err error }

func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap gives the dialer's own error.
func (e *DialError) Unwrap() error { return e.Err }

// A timeoutError is a net.Error, as those of sockets are.
type timeoutError struct{ what string }

func (e *timeoutError) Error() string { return e.what }

// Timeout is true.
func (*timeoutError) Timeout() bool { return true }

// Temporary is false: asking again is the caller's decision.
func (*timeoutError) Temporary() bool { return false }

// A lostError is of a connection that ended before the first byte of an answer.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// Lost reports whether a connection ended before the first byte of an answer. The server may have acted on the request.
func Lost(err error) bool {
	var l *lostError
	return errors.As(err, &l)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("malformed answer: "+format, args...)
}
