package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// An answer may be whole before the request's body is: a 401 to an upload. Some clients do not look at the answer until
// they have sent all, and stop with an error when the stream is reset under them. So the stream lingers: what the
// client sends is discarded, and credited, until the client ends the stream. That is bounded by time and by rate, as
// package h1's: a client that pauses, or sends more slowly than lingerRate for long, is reset without an error (RFC
// 9113 section 8.1).
const (
	lingerPause = 5 * time.Second // the client may be sending; also the credit that lingerRate earns
	lingerRate  = 16 << 10        // bytes a second
	lingerMost  = 5 * time.Minute
	lingerDrain = 5 * time.Second // at most, once the connection is told to retire
	lingerLook  = time.Second     // how often streams are looked at
)

// patience is how much longer a stream lingers.
type patience struct {
	credit time.Duration
	until  time.Time
}

// linger lets the client go on sending, and reports whether it does. A client that waits to be asked for its body is
// not reset either: curl takes that for an error, even behind a whole answer. Conn.mu is held.
func (st *stream) linger() bool {
	c := st.conn
	if st.tunnel != nil || c.closed {
		return false
	}
	st.patience = patience{lingerPause, time.Now().Add(lingerMost)}
	if c.going != staying {
		st.until = time.Now().Add(lingerDrain)
	}
	st.lingers = true
	st.r = nil
	c.linger++
	if c.linger == 1 {
		if c.lapse == nil {
			c.lapse = time.AfterFunc(lingerLook, c.lapsed)
		} else {
			c.lapse.Reset(lingerLook)
		}
	}
	st.credit(int(st.recvSize - st.recvWindow - st.recvRead)) // what was held, and is about to be discarded
	return true
}

// discard credits what came and is not wanted. Conn.mu is held.
func (st *stream) discard(n int) {
	st.patience.credit += time.Duration(n) * time.Second / lingerRate
	st.patience.credit = min(st.patience.credit, lingerPause)
	st.credit(n)
}

// lapsed resets the streams that have lingered for too long.
func (c *Conn) lapsed() {
	c.mu.Lock()
	now := time.Now()
	for _, st := range c.streams {
		if !st.lingers {
			continue
		}
		if st.patience.credit -= lingerLook; st.patience.credit <= 0 || now.After(st.until) {
			st.cut(http2.ErrCodeNo)
			st.leave(errAnswerOver)
		}
	}
	if c.linger > 0 && !c.closed {
		c.lapse.Reset(lingerLook)
	}
	c.mu.Unlock()
	c.kick()
}

// endLingering resets the streams that linger. Conn.mu is held.
func (c *Conn) endLingering() {
	for _, st := range c.streams {
		if st.lingers {
			st.cut(http2.ErrCodeNo)
			st.leave(errAnswerOver)
		}
	}
}

// hurryLingerers gives streams that linger a short time to end. Conn.mu is held.
func (c *Conn) hurryLingerers() {
	until := time.Now().Add(lingerDrain)
	for _, st := range c.streams {
		if st.lingers && st.until.After(until) {
			st.until = until
		}
	}
}
