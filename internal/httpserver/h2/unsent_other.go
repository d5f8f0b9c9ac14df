//go:build !linux

package h2

import "net"

// limitUnsent does nothing here.
func limitUnsent(net.Conn) {}
