//go:build !unix

package buffers

// sockets reports that RawConn can be read by arrived.
const sockets = false

func (r *Reader) arrived(uintptr) bool { return true }
