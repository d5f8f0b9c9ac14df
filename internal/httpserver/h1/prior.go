package h1

import (
	"bytes"
	"time"
)

// preface is how a client begins that knows that the server speaks HTTP/2 (RFC 9113 section 3.4): its first line. As a
// request it would have a method that there is not and a version that is refused.
var preface = []byte("PRI * HTTP/2.0\r\n")

// prior reports whether the connection begins with the preface. It reads on while that may be so.
func (c *Conn) prior() bool {
	for limited := false; ; limited = true {
		b := c.in.bytes()
		if len(b) >= len(preface) || !bytes.HasPrefix(preface, b) {
			return bytes.HasPrefix(b, preface)
		}
		if !limited && c.reading.In(c.server.Limits.HeaderTimeout) != nil {
			return false
		}
		if _, err := c.in.fill(c.receive); err != nil {
			return false // what came is read as a request, and so is the error
		}
	}
}

// handOver has Server.HTTP2 go on with the connection.
func (c *Conn) handOver() {
	early := bytes.Clone(c.in.bytes())
	c.in.drop(c.in.len())
	c.mu.Lock()
	c.raws = true // it is no longer this server's to close
	c.mu.Unlock()
	if c.socket.SetReadDeadline(time.Time{}) == nil {
		c.server.HTTP2(c.socket, early)
		return
	}
	_ = c.socket.Close() // it is gone already
}
