//go:build unix

package h1

import (
	"syscall"
	"time"
)

// look reports how an idle connection is. Looking at a quiet one is one system call: the socket does not block.
func (k *conn) look() int {
	if k.raw == nil || k.raw.Control(k.probe) != nil {
		return ended
	}
	switch {
	case k.seen < 0:
		return quiet
	case k.seen == 0:
		return ended
	case k.secure:
		return k.lookInside(time.Now().Add(time.Millisecond))
	case benign(k.sight[:k.seen]):
		return ended
	}
	return unasked
}

// peek leaves in k.seen how many bytes wait, or -1 for none; 0 means that the server closed. A plain connection on
// which bytes wait is closed in any case, so they may be read; those of a TLS connection are records.
func (k *conn) peek(fd uintptr) {
	for {
		var err error
		if k.secure {
			k.seen, _, err = syscall.Recvfrom(int(fd), k.sight[:1], syscall.MSG_PEEK)
		} else {
			k.seen, err = syscall.Read(int(fd), k.sight[:])
		}
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			k.seen = -1
		case err != nil:
			k.seen = 0
		}
		return
	}
}
