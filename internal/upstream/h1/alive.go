package h1

import (
	"bytes"
	"errors"
	"os"
	"time"

	"github.com/jotgate/jotgate/internal/deadline"
)

// What look sees on an idle connection.
const (
	quiet   = iota // as it was left
	ended          // closed, or about to be
	unasked        // bytes that belong to no request
)

// benign reports whether bytes behind an answer are no answer of their own: empty lines, which old servers send behind
// a body, and the 408 with which some say that they close an idle connection.
func benign(b []byte) bool {
	b = bytes.TrimLeft(b, "\r\n")
	return len(b) == 0 || bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) || bytes.HasPrefix(b, []byte("HTTP/1.0 408 "))
}

// lookInside reads a TLS connection on which bytes wait: a session ticket or a key update is no data.
func (k *conn) lookInside(by time.Time) int {
	if k.SetReadDeadline(by) != nil {
		return ended
	}
	n, err := k.Conn.Read(k.sight[:])
	switch {
	case n > 0 && !benign(k.sight[:n]):
		return unasked
	case n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && k.reading.Revive() == nil:
		return quiet
	}
	return ended
}

// left reports what TLS has taken from the socket and not handed out: it reads ahead, and a look at the socket does not
// see that. It does not wait. What comes later is in the socket.
func (k *conn) left() int {
	if !k.secure {
		return quiet
	}
	return k.lookInside(deadline.Past())
}
