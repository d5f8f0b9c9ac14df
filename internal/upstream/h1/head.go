package h1

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/grammar"
)

const (
	headLimit  = 1 << 20 // bytes of one head
	fieldLimit = 512     // fields of one head
	// hintLimit bounds the informational answers (1xx) to one request; a storm of them must not hold a request for ever.
	hintLimit = 16
)

// readHead gives the next head as it came, with the empty line at its end, and how many lines it has. It is valid until
// the connection is read again. What cannot be a head is refused at the first line that shows it.
func (k *conn) readHead() (head []byte, lines int, err error) {
	scanned, line := 0, 0 // from k.start
	for {
		unread := k.in[k.start:k.end]
		for {
			i := bytes.IndexByte(unread[scanned:], '\n')
			if i < 0 {
				scanned = len(unread)
				break
			}
			end := scanned + i
			switch {
			case end == line || unread[end-1] != '\r':
				return nil, 0, malformed("a line ends without CR")
			case lines == 0:
				if err := checkVersion(unread[:end-1]); err != nil {
					return nil, 0, err
				}
			case lines > fieldLimit:
				if end-1 > line {
					return nil, 0, errFieldMany
				}
			}
			if end-1 == line {
				if end+1 > headLimit {
					return nil, 0, errHeadSize
				}
				k.start += end + 1
				return unread[:end+1], lines, nil
			}
			scanned, line = end+1, end+1
			lines++
		}
		if err := k.more(headLimit); err != nil {
			return nil, 0, err
		}
	}
}

func checkVersion(line []byte) error {
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' ||
		line[8] != ' ' {
		return malformed("status line %.40q", line)
	}
	return nil
}

// parse reads one head, of so many lines, into a.
func (a *Answer) parse(head string, lines int) error {
	end := strings.IndexByte(head, '\r')
	if err := a.parseStatus(head[:end]); err != nil {
		return err
	}
	if head[end+1] != '\n' {
		return malformed("a CR inside the status line")
	}
	rest := head[end+2 : len(head)-2] // without the empty line
	if a.Fields != nil && (a.Status >= http.StatusOK || a.Status == http.StatusSwitchingProtocols) {
		return eachField(rest, a.list)
	}
	return parseFields(rest, lines-1, a.Header, a.note)
}

// list keeps a field as it came.
func (a *Answer) list(name, value string) error {
	if name != "Transfer-Encoding" {
		a.Fields = append(a.Fields, Field{name, value})
	}
	return a.note(name, value)
}

// parseStatus reads a status line (RFC 9112 §4). The space before an empty reason may be missing, as it often is.
func (a *Answer) parseStatus(line string) error {
	if len(line) < len("HTTP/1.1 200") {
		return malformed("status line %.40q", line)
	}
	code := 0
	for i := 9; i < 12; i++ {
		if line[i] < '0' || line[i] > '9' {
			return malformed("status line %.40q", line)
		}
		code = code*10 + int(line[i]-'0')
	}
	if code < 100 || len(line) > 12 && line[12] != ' ' || !grammar.IsFieldValue(line) {
		return malformed("status line %.40q", line)
	}
	a.Minor, a.Status, a.StatusLine = int(line[7]-'0'), code, line[9:]
	return nil
}

// parseFields reads field lines, each with its CRLF, into h, which keeps parts of s. note sees each of them.
func parseFields(s string, count int, h http.Header, note func(name, value string) error) error {
	values := make([]string, 0, count)
	return eachField(s, func(name, value string) error {
		if err := note(name, value); err != nil {
			return err
		}
		if before, there := h[name]; there {
			h[name] = append(before, value)
			return nil
		}
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
		return nil
	})
}

// eachField reads field lines, each with its CRLF.
func eachField(s string, take func(name, value string) error) error {
	for s != "" {
		end := strings.IndexByte(s, '\r')
		if end < 0 || end+1 == len(s) || s[end+1] != '\n' {
			return malformed("a CR inside a line")
		}
		name, value, err := parseField(s[:end])
		if err != nil {
			return err
		}
		if err := take(name, value); err != nil {
			return err
		}
		s = s[end+2:]
	}
	return nil
}

// parseField reads one line (RFC 9112 §5). A line that goes on with white space (obs-fold) has no name, so it is
// refused.
func parseField(line string) (name, value string, err error) {
	colon := 0
	for colon < len(line) && grammar.IsTokenByte(line[colon]) {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return "", "", malformed("field line %.40q", line)
	}
	value = grammar.Trim(line[colon+1:])
	if !grammar.IsFieldValue(value) {
		return "", "", malformed("field %.40s: its value has control characters", line[:colon])
	}
	return canonical(line[:colon]), value, nil
}

// note looks at the fields that frame the answer, as they pass (RFC 9112 §6). It says no to all that two readers could
// read in two ways.
func (a *Answer) note(name, value string) error {
	switch name {
	case "Content-Length":
		if a.lengths++; a.lengths > 1 {
			return malformed("more than one Content-Length")
		}
		n, err := parseLength(value)
		if err != nil {
			return err
		}
		a.Length = n
	case "Transfer-Encoding":
		if a.Chunked || !strings.EqualFold(value, "chunked") {
			return malformed("transfer coding %.40q: only chunked is read", value)
		}
		a.Chunked = true
	case "Connection":
		if listed(value, "close") {
			a.Closing = true
		}
	case "Keep-Alive":
		if d, said := keepAlive(value); said {
			a.keepFor, a.Closing = d, a.Closing || d == 0
		}
	case "Content-Type":
		a.eventStream = isEventStream(value)
	}
	return nil
}

// keepAlive is how long the server says that it keeps the connection at rest ("timeout=5, max=100", RFC 2068
// section 19.7.1.1). A request that is sent as it ends may be lost, and most must not be sent again, so the last
// second, or half of a shorter time, is left out.
func keepAlive(value string) (d time.Duration, said bool) {
	for part := range strings.SplitSeq(value, ",") {
		name, text, _ := strings.Cut(grammar.Trim(part), "=")
		if !strings.EqualFold(grammar.Trim(name), "timeout") {
			continue
		}
		seconds, err := strconv.ParseUint(grammar.Trim(text), 10, 16)
		if err != nil {
			return 0, false
		}
		d = time.Duration(seconds) * time.Second
		return d - min(time.Second, d/2), true
	}
	return 0, false
}

// isEventStream knows the answers that may be silent for as long as they like (WHATWG HTML §9.2).
func isEventStream(kind string) bool {
	kind, _, _ = strings.Cut(kind, ";")
	return strings.EqualFold(grammar.Trim(kind), "text/event-stream")
}

// parseLength reads digits alone: no sign, no list, nothing that wraps round.
func parseLength(s string) (int64, error) {
	const most = 1 << 62
	if s == "" {
		return 0, malformed("Content-Length is empty")
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > most/10 {
			return 0, malformed("Content-Length %.40q", s)
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}

// framing says where the body of an answer ends (RFC 9112 §6.3).
type framing int

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
	switched // the connection left HTTP
)

// frame decides how the body is read, once the head of the answer is there.
func (a *Answer) frame(method string) error {
	if a.Chunked {
		if a.lengths > 0 {
			return malformed("Content-Length beside Transfer-Encoding")
		}
		if a.Minor == 0 {
			return malformed("Transfer-Encoding in HTTP/1.0")
		}
		delete(a.Header, "Transfer-Encoding")
	}
	if a.Minor == 0 {
		a.Closing = true
	}
	bodiless := a.Status == http.StatusNoContent || a.Status == http.StatusNotModified
	switch {
	case method == http.MethodHead:
		a.framing = noBody // and Length is that of the body that a GET would get
	case bodiless:
		a.framing, a.Length = noBody, 0
	case a.Chunked:
		a.framing = byChunks
	case a.lengths == 0:
		a.framing, a.Closing = byClose, true
	case a.Length == 0:
		a.framing = noBody
	default:
		a.framing, a.left = byLength, a.Length
	}
	return a.announce()
}

// announce takes the names of trailers out of the head (RFC 9110 §6.6.2), where they belong to a framing that has them.
func (a *Answer) announce() error {
	if !a.Chunked {
		return nil
	}
	names := a.Header["Trailer"]
	delete(a.Header, "Trailer")
	a.Fields = slices.DeleteFunc(a.Fields, func(f Field) bool {
		if f.Name == "Trailer" {
			names = append(names, f.Value)
		}
		return f.Name == "Trailer"
	})
	for _, list := range names {
		for item := range strings.SplitSeq(list, ",") {
			if item = grammar.Trim(item); item == "" {
				continue
			}
			if !validTrailer(item) {
				return malformed("trailer %.40q: cannot be one", item)
			}
			if a.Trailer == nil {
				a.Trailer = make(http.Header)
			}
			a.Trailer[canonical(item)] = nil
		}
	}
	return nil
}

// receiveHead reads heads until one is an answer's.
func (a *Answer) receiveHead(k *conn, q *Request) error {
	target, whole := a.Header, false
	defer func() {
		if !whole { // a second try must not find the fields of a hint, nor those of half an answer
			a.Header, a.Fields = target, a.Fields[:0]
		}
	}()
	for hints := 0; ; hints++ {
		head, lines, err := k.readHead()
		if err != nil {
			return err
		}
		a.Minor, a.Length, a.Chunked, a.Closing, a.lengths, a.eventStream = 0, -1, false, q.Close, 0, false
		a.keepFor = 0
		hint := len(head) > 9 && head[9] == '1'
		if a.Header = target; hint || target == nil && a.Fields == nil {
			a.Header = make(http.Header, lines-1)
		}
		if err := a.parse(string(head), lines); err != nil {
			return err
		}
		a.heard = true
		switch {
		case a.Status >= 200:
			whole = true
			return a.frame(q.Method)
		case a.Status == http.StatusSwitchingProtocols:
			if q.Upgrade == "" {
				return errUpgrade
			}
			whole, a.framing, a.Closing = true, switched, true
			return nil
		case hints >= hintLimit:
			return errHints
		case q.Hint != nil:
			if err := q.Hint(a.Status, a.Header); err != nil {
				return fmt.Errorf("informational answer %d: %w", a.Status, err)
			}
		}
	}
}

// early is what an answer's end means before its head was whole.
func early(err error) error {
	if err == io.EOF {
		return fmt.Errorf("the connection ended before the answer's head did: %w", io.ErrUnexpectedEOF)
	}
	return err
}
