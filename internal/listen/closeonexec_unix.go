//go:build unix

package listen

import "syscall"

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
