//go:build !linux

package listen

import (
	"errors"
	"net"
	"syscall"
)

func reusePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("a second instance can take over a listener on Linux only")
}

func dropNew(*net.TCPListener) error { return nil }

func queued(*net.TCPListener) bool { return false }
