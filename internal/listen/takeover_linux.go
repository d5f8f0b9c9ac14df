package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// A second instance takes a listener over by binding the same address (SO_REUSEPORT) while the first drains. The risk
// is the end of the first: the kernel resets each connection in the backlog of a listening socket when it is closed, a
// connection may enter the backlog at any moment, and the kernel cannot be asked to stop that (net.ipv4.tcp_migrate_req
// would keep them, but is off by default). So a socket filter first drops each SYN that comes to the old socket; the
// client sends it again a second later, and by then only the new socket is there. TCP handshakes that are under way get
// the time to end, the backlog is emptied, and it is empty when the socket is closed.

func reusePort(_, _ string, c syscall.RawConn) error {
	return withSocket(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
}

// dropNew stops new connections. The filter reads the TCP header and drops a SYN without ACK. An established connection
// never receives one, so it does no harm that accepted sockets inherit the filter.
func dropNew(l syscall.Conn) error {
	const flags, syn, synAck, drop, keep = 13, 0x02, 0x12, 0, 1 << 18
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
		{Code: unix.BPF_RET | unix.BPF_K, K: keep},
	}
	c, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return withSocket(c, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// queued reports whether a connection waits to be accepted. An expired deadline alone does not: Accept then fails
// without having looked.
func queued(l syscall.Conn) bool {
	c, err := l.SyscallConn()
	if err != nil {
		return false
	}
	waiting := false
	err = withSocket(c, func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		waiting = n > 0
		return err
	})
	return err == nil && waiting
}

func withSocket(c syscall.RawConn, do func(fd int) error) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = do(int(fd)) }); e != nil {
		return e
	}
	return err
}
