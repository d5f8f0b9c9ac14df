//go:build unix

package h1

import "syscall"

// alive tells that a connection at rest is as it was left: neither closed nor with bytes on it that nobody asked for, which
// would be taken for the answer to the next request. The socket does not block, so looking is one system call.
func (k *conn) alive() bool {
	if k.raw == nil {
		return false
	}
	k.clean = false
	return k.raw.Control(k.probe) == nil && k.clean
}

// look reads: a byte that is lost that way is on a connection that is given up.
func (k *conn) look(fd uintptr) {
	for {
		_, err := syscall.Read(int(fd), k.in[:1])
		if err != syscall.EINTR {
			k.clean = err == syscall.EAGAIN
			return
		}
	}
}
