package h2

import (
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/grammar"
)

// A head is a header block on its way through the decoder: a request's, or its trailers. The memory for its fields
// serves one after the other.
type head struct {
	fields []field
	pseudo [pseudos]string
	has    [pseudos]bool
	length int64 // as Content-Length says; below zero: it does not

	size     int // as HTTP/1.1 would write it
	count    int // fields, all of Cookie's together as one
	cookies  int // Cookie fields
	hosts    int // Host fields
	lengths  int // Content-Length fields
	trailers bool
	regular  bool // pseudo-fields are over
	bad      bool // malformed (RFC 9113 section 8.1.1)
	large    bool // over the limit: the rest is decoded, for the sake of the table, and forgotten
}

// A field has its canonical name.
type field struct{ name, value string }

// The pseudo-fields that a request can have (RFC 9113 section 8.3.1).
const (
	method = iota
	scheme
	authority
	path
	protocol // RFC 8441 section 4
	pseudos
)

// clear forgets what was decoded: a connection at rest holds no credentials.
func (h *head) clear() {
	clear(h.fields)
	*h = head{fields: h.fields[:0]}
	if cap(h.fields) > 64 {
		h.fields = nil
	}
}

// blockMost is the most that a header block may have on the wire. What is over the limit as a list, but not over this,
// is answered: the decoder has to take it in so that the connection can go on.
func (c *Conn) blockMost() int { return 2*c.server.Limits.HeaderBytes + frameSize }

// continuationsMost is how many frames a header block may have, however small.
const continuationsMost = 128

// decode reads a header block to its end (section 4.3).
func (c *Conn) decode(f *http2.HeadersFrame, trailers bool) error {
	h := &c.head
	*h = head{fields: h.fields[:0], length: -1, trailers: trailers}
	c.decoder.SetEmitEnabled(true)
	fragment, more := f.HeaderBlockFragment(), !f.HeadersEnded()
	for size, frames := len(fragment), 0; ; frames++ {
		if size > c.blockMost() || frames > continuationsMost {
			return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
		}
		if _, err := c.decoder.Write(fragment); err != nil {
			return http2.ConnectionError(http2.ErrCodeCompression)
		}
		if !more {
			break
		}
		next, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		k := next.(*http2.ContinuationFrame) // the framer takes no other here
		fragment, more = k.HeaderBlockFragment(), !k.HeadersEnded()
		size += len(fragment)
	}
	if c.decoder.Close() != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	c.traffic.useful += int64(h.size)
	return nil
}

// field takes one field from the decoder.
func (c *Conn) field(f hpack.HeaderField) {
	h, limits := &c.head, c.server.Limits
	const colonSpaceCRLF = 4
	if h.size += len(f.Name) + len(f.Value) + colonSpaceCRLF; h.size > limits.HeaderBytes || h.count > limits.Fields {
		h.large = true
	} else {
		h.take(f.Name, f.Value)
	}
	if h.large || h.bad {
		c.decoder.SetEmitEnabled(false)
	}
}

func (h *head) take(name, value string) {
	if !validValue(value) {
		h.bad = true
		return
	}
	if strings.HasPrefix(name, ":") {
		h.bad = !h.takePseudo(name, value)
		return
	}
	h.regular = true
	canonical := canonicalName(name)
	if canonical == "" {
		h.bad = true
		return
	}
	switch canonical {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade": // section 8.2.2
		h.bad = true
	case "Te":
		h.bad = value != "trailers"
	case "Content-Length":
		if h.lengths++; !h.trailers {
			h.bad = !h.takeLength(value)
		}
	case "Cookie":
		if h.cookies++; h.cookies > 1 {
			h.count--
		}
	case "Host":
		h.hosts++
	}
	h.count++
	h.fields = append(h.fields, field{canonical, value})
}

func (h *head) takePseudo(name, value string) bool {
	if h.regular || h.trailers {
		return false
	}
	var which int
	switch name {
	case ":method":
		which = method
	case ":scheme":
		which = scheme
	case ":authority":
		which = authority
	case ":path":
		which = path
	case ":protocol":
		which = protocol
	default:
		return false
	}
	if h.has[which] {
		return false
	}
	h.has[which], h.pseudo[which] = true, value
	return true
}

func (h *head) takeLength(value string) bool {
	n, err := strconv.ParseUint(value, 10, 63)
	h.length = int64(n)
	return err == nil && h.lengths == 1
}

// wellFormed holds a request's whole head to section 8.3.1.
func (h *head) wellFormed(ended bool) bool {
	if h.bad || !grammar.IsToken(h.pseudo[method]) || ended && h.length > 0 {
		return false
	}
	switch connect := h.pseudo[method] == "CONNECT"; {
	case h.has[protocol]: // RFC 8441 section 4
		if !connect || ended || h.length >= 0 || !grammar.IsToken(h.pseudo[protocol]) || h.pseudo[authority] == "" {
			return false
		}
	case connect: // section 8.5
		return !h.has[scheme] && !h.has[path] && h.pseudo[authority] != ""
	}
	switch h.pseudo[scheme] {
	case "https", "http":
	default:
		return false
	}
	target := h.pseudo[path]
	return strings.HasPrefix(target, "/") || target == "*" && h.pseudo[method] == "OPTIONS"
}

// validValue reports whether section 8.2.1 allows a value.
func validValue(v string) bool {
	if v == "" {
		return true
	}
	outer := func(c byte) bool { return c == ' ' || c == '\t' }
	return !outer(v[0]) && !outer(v[len(v)-1]) && grammar.IsFieldValue(v)
}
