//go:build unix

package buffers

import (
	"io"
	"os"
	"syscall"
)

// sockets reports that RawConn can be read by arrived.
const sockets = true

// arrived takes memory when there is something to read; false: there is nothing, and it is called again then.
func (r *Reader) arrived(fd uintptr) bool {
	b := Get(r.large)
	for {
		n, err := syscall.Read(int(fd), b)
		switch {
		case err == syscall.EINTR:
			continue
		case n > 0:
			r.buffer, r.n, r.err = b, n, nil
			return true
		case err == nil:
			r.err = io.EOF
		case err != syscall.EAGAIN:
			r.err = os.NewSyscallError("read", err)
		}
		r.n = 0
		Put(b)
		return err != syscall.EAGAIN
	}
}
