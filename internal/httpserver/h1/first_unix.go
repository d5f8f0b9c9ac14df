//go:build unix

package h1

import (
	"io"
	"os"
	"syscall"
)

// looks reports whether RawConn can be read by firstBytes.
const looks = true

// firstBytes takes room only when there is something to read, so that a connection at rest holds no buffer.
func (c *Conn) firstBytes(fd uintptr) bool {
	for {
		n, err := c.in.fill(func(p []byte) (int, error) { return syscall.Read(int(fd), p) })
		switch {
		case n > 0:
			c.awaited = nil
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return false
		case err == nil:
			c.awaited = io.EOF
		default:
			c.awaited = os.NewSyscallError("read", err)
		}
		return true
	}
}
