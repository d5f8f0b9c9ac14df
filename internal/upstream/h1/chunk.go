package h1

import (
	"bytes"
	"io"
	"net/http"

	"github.com/jotgate/jotgate/internal/buffers"
	"github.com/jotgate/jotgate/internal/grammar"
)

const (
	// chunkLineLimit bounds a chunk's size and extensions. Extensions mean nothing here and are passed over, as RFC 9112
	// §7.1.1 asks.
	chunkLineLimit = 256
	trailerLimit   = 4 << 10
)

// pieceOfChunk returns some of what is left of the present chunk, or of the next one. The end comes with the last data
// where it is there already.
func (a *Answer) pieceOfChunk(most int) ([]byte, error) {
	if a.ahead != nil {
		return nil, a.ahead
	}
	if a.left == 0 {
		a.conn.much = true
		if err := a.nextChunk(); err != nil {
			return nil, err
		}
	}
	p, err := a.some(most)
	if err != nil {
		return nil, err
	}
	if a.lookAhead(); a.ahead == io.EOF {
		return p, io.EOF
	}
	return p, nil
}

// lookAhead reads the line before the next data, if that can be done without waiting.
func (a *Answer) lookAhead() {
	if a.framing == byChunks && a.left == 0 && a.ahead == nil && a.lineIsThere() {
		a.ahead = a.nextChunk()
	}
}

// lineIsThere reports whether nextChunk would not wait.
func (a *Answer) lineIsThere() bool {
	there := a.conn.in[a.conn.start:a.conn.end]
	if a.within {
		if len(there) < 2 {
			return false
		}
		if there[0] != '\r' || there[1] != '\n' {
			return true // nextChunk says no
		}
		there = there[2:]
	}
	line, rest, whole := bytes.Cut(there, []byte("\r\n"))
	if !whole {
		return false
	}
	size, err := parseChunkSize(line)
	return err != nil || size > 0 || bytes.HasPrefix(rest, []byte("\r\n"))
}

// nextChunk begins the next chunk; io.EOF says that there is none, and that the trailers are read.
func (a *Answer) nextChunk() error {
	size, err := a.conn.nextChunk(a.within)
	if err != nil {
		return err
	}
	a.within = true
	if size == 0 {
		return a.readTrailer()
	}
	a.left = size
	return nil
}

// nextChunk reads the line before a chunk's data, and what ends the data before it.
func (k *conn) nextChunk(within bool) (int64, error) {
	if within {
		end, err := k.line(2)
		if err != nil {
			return 0, err
		}
		if len(end) > 0 {
			return 0, malformed("a chunk is longer than its size")
		}
	}
	line, err := k.line(chunkLineLimit)
	if err != nil {
		return 0, err
	}
	return parseChunkSize(line)
}

// line reads one line without its CRLF, of so many bytes at most with it. It is valid until the connection is read
// again.
func (k *conn) line(limit int) ([]byte, error) {
	for scanned := 0; ; {
		unread := k.in[k.start:k.end]
		if len(unread) > limit {
			unread = unread[:limit]
		}
		if i := bytes.IndexByte(unread[scanned:], '\n'); i >= 0 {
			i += scanned
			if i == 0 || unread[i-1] != '\r' {
				return nil, malformed("a line ends without CR")
			}
			k.start += i + 1
			return unread[:i-1], nil
		}
		if scanned = len(unread); scanned == limit {
			return nil, malformed("a line between chunks is over %d bytes", limit)
		}
		if err := k.more(buffers.Small); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// parseChunkSize reads a size in hexadecimal digits; what may follow it is an extension after a semicolon.
func parseChunkSize(line []byte) (int64, error) {
	size, extension, _ := bytes.Cut(line, []byte{';'})
	if len(size) == 0 || len(size) > 15 || !grammar.IsFieldValue(string(extension)) {
		return 0, malformed("chunk size %.40q", line)
	}
	var n int64
	for _, c := range size {
		if !grammar.IsHex(c) {
			return 0, malformed("chunk size %.40q", line)
		}
		n = n<<4 | int64(grammar.Unhex(c))
	}
	return n, nil
}

// readTrailer reads the fields behind the last chunk (RFC 9112 §7.1.2). It returns io.EOF when the answer is whole.
func (a *Answer) readTrailer() error {
	var section []byte
	lines := 0
	for {
		line, err := a.conn.line(trailerLimit - len(section))
		if err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		section = append(append(section, line...), "\r\n"...)
		lines++
	}
	if lines == 0 {
		return io.EOF
	}
	if a.Trailer == nil {
		a.Trailer = make(http.Header, lines)
	}
	if err := parseFields(string(section), lines, a.Trailer, noteTrailer); err != nil {
		return err
	}
	return io.EOF
}

func noteTrailer(name, _ string) error {
	if !validTrailer(name) {
		return malformed("trailer %.40q: cannot be one", name)
	}
	return nil
}
