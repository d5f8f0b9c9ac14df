//go:build !linux

package listen

import (
	"errors"
	"syscall"
)

func reusePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("a second instance can take over a listener on Linux only")
}

func dropNew(syscall.Conn) error { return nil }

func queued(syscall.Conn) bool { return false }
