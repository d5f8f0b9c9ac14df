//go:build !unix

package h1

import "errors"

// RawConn cannot be read by firstBytes here, so it is not used.
const looks = false

func (c *Conn) firstBytes(uintptr) bool {
	c.awaited = errors.ErrUnsupported
	return true
}
