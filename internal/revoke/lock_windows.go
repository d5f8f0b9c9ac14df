package revoke

import (
	"os"

	"golang.org/x/sys/windows"
)

// The lock is on a byte far behind every journal's end, since Windows keeps others from reading what is locked.
const lockedAt = 1 << 30 // times 4 GiB

// lock takes hold of a journal's file, or fails at once if another process has it.
func lock(file *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(file.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: lockedAt})
}

// unlock lets go of it.
func unlock(file *os.File) error {
	return windows.UnlockFileEx(windows.Handle(file.Fd()), 0, 1, 0, &windows.Overlapped{OffsetHigh: lockedAt})
}
