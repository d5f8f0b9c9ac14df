package h1

import "bytes"

// What look sees on an idle connection.
const (
	quiet   = iota // as it was left
	ended          // closed, or about to be
	unasked        // bytes that belong to no request
)

// benign reports whether bytes behind an answer are no answer of their own: empty lines, which old servers send behind
// a body, and the 408 with which some say that they close an idle connection.
func benign(b []byte) bool {
	b = bytes.TrimLeft(b, "\r\n")
	return len(b) == 0 || bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) || bytes.HasPrefix(b, []byte("HTTP/1.0 408 "))
}
