package h2

import (
	"net"
	"syscall"
)

// unsentMost is how much the kernel takes of a connection before it can send it.
const unsentMost = 128 << 10

// limitUnsent keeps the kernel from taking megabytes that a slow link needs a minute for: what waits should wait here,
// where streams take turns, and where it is seen that a connection makes progress.
func limitUnsent(socket net.Conn) {
	const tcpNotSentLowat = 25 // of linux/tcp.h
	under := socket
	if session, ok := socket.(interface{ NetConn() net.Conn }); ok {
		under = session.NetConn()
	}
	c, ok := under.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // a socket that is no TCP socket has no such option
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentMost)
		})
	}
}
