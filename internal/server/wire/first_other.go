//go:build !unix

package wire

import "errors"

// firstBytes is not used: RawConn cannot be read like this here.
func (c *Conn) firstBytes(uintptr) bool {
	c.awaited = errors.ErrUnsupported
	return true
}
