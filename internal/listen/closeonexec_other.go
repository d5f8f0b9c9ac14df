//go:build !unix

package listen

func closeOnExec(int) {}
