//go:build !linux

package sdnotify

func monotonic() (int64, bool) { return 0, false }
