package sdnotify

import "golang.org/x/sys/unix"

// monotonic is CLOCK_MONOTONIC in microseconds.
func monotonic() (int64, bool) {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0, false
	}
	return t.Nano() / 1000, true
}
