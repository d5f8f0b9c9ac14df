package h1

import (
	"bytes"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A head is what is known so far of a request head that may still be arriving. All offsets count from the first byte
// that was scanned. Whatever the pieces are in which the bytes come, the outcome is the same: each fault has a place
// in the stream, and the first one counts.
type head struct {
	skip  int // 2 after an ignored empty line
	line  int // where the line that is being read starts
	seen  int // up to here the bytes are known to be allowed ones
	lines int // lines done

	fields  int
	hosts   int
	length  int64 // of the body; meaningful with hasLength
	version byte  // the minor one: '0' or '1'

	hasLength, chunked, connect bool
}

// scan looks at all of a head's bytes that are there. It returns the end of the head, or 0 while it is incomplete.
func (h *head) scan(b []byte, l *httpserver.Limits) (int, *refusal.Error) {
	for {
		end, complete := len(b), false
		if i := bytes.IndexByte(b[h.seen:], '\n'); i >= 0 {
			end, complete = h.seen+i, true
		}
		if err := h.look(b, end, complete, l); err != nil || !complete {
			return 0, err
		}
		line := b[h.line : end-1]
		h.line, h.seen = end+1, end+1
		switch {
		case len(line) > 0:
			if err := h.take(line, l); err != nil {
				return 0, err
			}
			h.lines++
		case h.lines > 0:
			return end + 1, h.finish()
		case h.skip > 0:
			return 0, malformed("more than one empty line before the request line")
		default:
			h.skip = 2
		}
	}
}

// look checks the bytes of the current line up to end, and the limits, in the order of the stream.
func (h *head) look(b []byte, end int, complete bool, l *httpserver.Limits) *refusal.Error {
	stop, over := end, (*refusal.Error)(nil)
	if end+1-h.skip > l.HeaderBytes && (complete || end-h.skip > l.HeaderBytes) {
		stop, over = h.skip+l.HeaderBytes, &refusal.Error{Reason: refusal.HeaderTooLarge, Detail: "head over the limit"}
	}
	if h.lines == 0 {
		if t := targetOver(b[h.line:end], l.URIBytes); t >= 0 && h.line+t <= stop {
			stop, over = h.line+t, &refusal.Error{Reason: refusal.URITooLong, Detail: "request target over the limit"}
		}
	}
	if err := h.allowed(b, stop, complete && over == nil); err != nil {
		return err
	}
	return over
}

// targetOver is the offset behind the first byte of the target that is one too many, or -1.
func targetOver(line []byte, limit int) int {
	space := bytes.IndexByte(line, ' ')
	if space < 0 || len(line)-space-1 <= limit {
		return -1
	}
	if bytes.IndexByte(line[space+1:space+limit+2], ' ') >= 0 {
		return -1
	}
	return space + limit + 2
}

// allowed refuses control bytes and every CR and LF that is not part of a CRLF. The last byte before stop may be a CR
// whose LF is yet to come; it is looked at again.
func (h *head) allowed(b []byte, stop int, complete bool) *refusal.Error {
	for i := grammar.PlainUntil(grammar.String(b[:stop]), h.seen); i < stop; i++ {
		switch c := b[i]; {
		case c == '\r' && i == stop-1:
			if !complete {
				h.seen = i
			}
			return nil
		case c == '\r':
			return malformed("bare CR")
		case c == '\t' && h.lines > 0, !grammar.IsControl(c):
		default:
			return malformed("control byte 0x%02x", c)
		}
	}
	if complete {
		return malformed("bare LF")
	}
	h.seen = max(h.seen, stop)
	return nil
}

// take reads a complete line without its CRLF.
func (h *head) take(line []byte, l *httpserver.Limits) *refusal.Error {
	if h.lines == 0 {
		return h.requestLine(line)
	}
	if h.fields++; h.fields > l.Fields {
		return &refusal.Error{Reason: refusal.HeaderTooLarge, Detail: "more header fields than the limit"}
	}
	return h.field(line)
}

// requestLine is `method SP request-target SP HTTP-version` (RFC 9112 section 3) with single spaces.
func (h *head) requestLine(line []byte) *refusal.Error {
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first <= 0 || last <= first+1 || !grammar.IsToken(line[:first]) {
		return malformed("request line is not method, target and version")
	}
	if bytes.IndexByte(line[first+1:last], ' ') >= 0 {
		return malformed("request target holds a space")
	}
	method, target, version := line[:first], line[first+1:last], line[last+1:]
	if len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || version[6] != '.' ||
		!grammar.IsDigit(version[5]) || !grammar.IsDigit(version[7]) {
		return malformed("request line does not end in an HTTP version")
	}
	if version[5] != '1' || version[7] > '1' {
		return &refusal.Error{Reason: refusal.VersionUnsupported, Detail: "version is neither HTTP/1.1 nor HTTP/1.0"}
	}
	h.version = version[7]
	h.connect = string(method) == "CONNECT"
	return checkTarget(target, h.connect, string(method) == "OPTIONS")
}

// checkTarget takes origin-form, `*` for OPTIONS and an authority for CONNECT (RFC 9112 section 3.2). An absolute-form
// target is refused: it would bring a second host. Percent signs in the path must escape something, as net/http would
// otherwise refuse the request itself, in its own words.
func checkTarget(target []byte, connect, options bool) *refusal.Error {
	switch {
	case connect && target[0] != '/': // with a path it is no CONNECT of RFC 9110 §9.3.6, and answered 405 like one
		if !grammar.ValidHost(grammar.String(target)) {
			return malformed("CONNECT without an authority")
		}
	case len(target) == 1 && target[0] == '*' && options:
	case target[0] == '/':
		return checkEscapes(target)
	case bytes.Contains(target, []byte("://")):
		return &refusal.Error{Reason: refusal.PathAmbiguous, Detail: "absolute-form target"}
	default:
		return malformed("request target does not start with a slash")
	}
	return nil
}

func checkEscapes(target []byte) *refusal.Error {
	if q := bytes.IndexByte(target, '?'); q >= 0 {
		target = target[:q]
	}
	for {
		i := bytes.IndexByte(target, '%')
		if i < 0 {
			return nil
		}
		if len(target) < i+3 || !grammar.IsHex(target[i+1]) || !grammar.IsHex(target[i+2]) {
			return malformed("percent sign without two hex digits in the path")
		}
		target = target[i+3:]
	}
}

// field is `field-name ":" OWS field-value OWS` (RFC 9112 section 5).
func (h *head) field(line []byte) *refusal.Error {
	colon := bytes.IndexByte(line, ':')
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return malformed("folded line, or whitespace before the first field")
	case colon < 0:
		return malformed("header line without a colon")
	case !grammar.IsToken(line[:colon]):
		return malformed("field name is empty or not a token")
	}
	value := grammar.Trim(line[colon+1:])
	switch name := line[:colon]; len(name) {
	case len("host"):
		if grammar.EqualFold(name, "host") {
			return h.host(value)
		}
	case len("trailer"):
		if grammar.EqualFold(name, "trailer") {
			return checkTrailer(value)
		}
	case len("content-length"):
		if grammar.EqualFold(name, "content-length") {
			return h.contentLength(value)
		}
	case len("transfer-encoding"):
		if grammar.EqualFold(name, "transfer-encoding") {
			return h.transferEncoding(value)
		}
	}
	return nil
}

// origins are the values of the Origin fields in the lines that were read, which a fault follows. They are copies.
func (h *head) origins(b []byte) (all []string) {
	for line := range bytes.SplitSeq(b[h.skip:h.line], []byte("\r\n")) {
		if name, value, _ := bytes.Cut(line, []byte(":")); grammar.EqualFold(name, "origin") {
			all = append(all, string(grammar.Trim(value)))
		}
	}
	return all
}

func (h *head) host(value []byte) *refusal.Error {
	if h.hosts++; h.hosts > 1 {
		return &refusal.Error{Reason: refusal.HostMalformed, Detail: "more than one Host"}
	}
	if !grammar.ValidHost(grammar.String(value)) {
		return &refusal.Error{Reason: refusal.HostMalformed, Detail: "Host is not a host name"}
	}
	return nil
}

// contentLength is 1*DIGIT, once: RFC 9110 section 8.6 lets a recipient take equal copies or lists, or refuse them.
func (h *head) contentLength(value []byte) *refusal.Error {
	if h.hasLength {
		return malformed("more than one Content-Length")
	}
	if len(value) == 0 || len(value) > 18 {
		return malformed("Content-Length is empty or too long")
	}
	h.hasLength, h.length = true, 0
	for _, c := range value {
		if !grammar.IsDigit(c) {
			return malformed("Content-Length is not a number")
		}
		h.length = h.length*10 + int64(c-'0')
	}
	return nil
}

func (h *head) transferEncoding(value []byte) *refusal.Error {
	if h.chunked || !grammar.EqualFold(value, "chunked") {
		return malformed("Transfer-Encoding is not exactly one `chunked`")
	}
	h.chunked = true
	return nil
}

// checkTrailer refuses announced trailers that would be framing; net/http would, too, but as plain text.
func checkTrailer(value []byte) *refusal.Error {
	for len(value) > 0 {
		name, rest, _ := bytes.Cut(value, []byte(","))
		name, value = grammar.Trim(name), rest
		if grammar.EqualFold(name, "content-length") || grammar.EqualFold(name, "transfer-encoding") ||
			grammar.EqualFold(name, "trailer") {
			return malformed("Trailer names a framing field")
		}
	}
	return nil
}

func (h *head) finish() *refusal.Error {
	switch {
	case h.hosts == 0 && h.version != '0': // RFC 1945 has no Host; HAProxy's health check is such a request
		return &refusal.Error{Reason: refusal.HostMalformed, Detail: "no Host"}
	case h.chunked && h.hasLength:
		return malformed("Content-Length beside Transfer-Encoding")
	case h.chunked && h.version == '0':
		return malformed("Transfer-Encoding in HTTP/1.0")
	}
	return nil
}

// endsConnection reports whether no request may follow this one on its connection.
func (h *head) endsConnection() bool { return h.connect }

func malformed(format string, args ...any) *refusal.Error {
	return refusal.Because(refusal.RequestMalformed, format, args...).(*refusal.Error)
}
