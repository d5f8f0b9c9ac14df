//go:build unix

package revoke

import (
	"os"
	"syscall"
)

// lock takes hold of a journal's file, or fails at once if another process has it.
func lock(file *os.File) error { return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// unlock lets go of it. Closing alone does not unlock while a child that was forked in this moment still has the file,
// until it execs.
func unlock(file *os.File) error { return syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }
