//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd

package cli

import "os"

func isTerminal(*os.File) bool { return false }
