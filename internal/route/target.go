package route

import (
	"strings"
	"unicode/utf8"

	"github.com/jotgate/jotgate/internal/refusal"
)

// MaxSegments bounds the segments of a path, and with them the depth of a search: no honest path comes near it, and
// 16 KiB of slashes would be 16,384.
const MaxSegments = 256

// inlineSegments is how many segments a Target holds without a slice of its own.
const inlineSegments = 16

// A Target is a request target in origin form (RFC 9112 §3.2.1): the raw bytes that are sent on, and the once-decoded
// segments that are judged. The zero Target is the one of no request: no table matches it.
type Target struct {
	Path     string // raw, as it came; starts with "/"
	Query    string // raw, without the "?"
	HasQuery bool   // there was a "?", if with nothing behind it
	Oddities Oddity // what a route must allow to take this path

	firstOdd int // index of the first segment with an oddity; meaningless when there is none
	count    int
	inline   [inlineSegments]segment
	more     []segment
}

// segment is what stands between two slashes, decoded once.
type segment struct {
	text string
	odd  Oddity
}

// Segments counts the segments: "/" has one, which is empty, as the last of "/a/" is.
func (t *Target) Segments() int { return t.count }

// Segment is the i-th segment, decoded once.
func (t *Target) Segment(i int) string { return t.at(i).text }

func (t *Target) at(i int) *segment {
	if i < inlineSegments {
		return &t.inline[i]
	}
	return &t.more[i-inlineSegments]
}

// reset keeps the room of a pooled Target, and nothing of the request that it held.
func (t *Target) reset() {
	more := t.more
	clear(more)
	*t = Target{more: more[:0]}
}

// Parse fills t from a request line's target. What is no origin form is refused with refusal.RequestMalformed: other
// forms (absolute-form too, a deliberate deviation from RFC 9112 §3.2.2, since its authority would rival Host), and
// bytes that RFC 3986 gives a path no room for. What two readers could take differently is refused with
// refusal.PathAmbiguous, or recorded in t.Oddities where a route may allow it. After an error t is empty.
//
// The query is not judged, but for bytes that no reader should have to see: controls, spaces, non-ASCII and "#". The
// rest of visible ASCII goes on although RFC 3986 §3.4 is narrower, because browsers send [ ] { } | ^ as they are.
//
// A path of at most 16 segments without escapes costs no allocation. A Target can be used again; the strings that it
// gave out stay good.
func (t *Target) Parse(requestURI string) error {
	t.reset()
	if err := t.parse(requestURI); err != nil {
		t.reset()
		return err
	}
	return nil
}

func (t *Target) parse(uri string) error {
	if uri == "" || uri[0] != '/' {
		return refusal.Because(refusal.RequestMalformed, "request target: not in origin form, which starts with a slash")
	}
	end, start, escaped, semicolon := len(uri), 1, false, false
scan:
	for i := 1; i < len(uri); i++ {
		switch classes[uri[i]] {
		case plain:
		case slash:
			if err := t.add(uri[start:i], escaped, semicolon, false); err != nil {
				return err
			}
			start, escaped, semicolon = i+1, false, false
		case percent:
			escaped = true
		case parameter:
			semicolon = true
		case query:
			end = i
			break scan
		case misread:
			return refusal.Because(refusal.PathAmbiguous, "path: raw %q at byte %d", uri[i], i)
		default:
			return refusal.Because(refusal.RequestMalformed, "path: byte 0x%02x at byte %d: RFC 3986 has it escaped", uri[i], i)
		}
	}
	if err := t.add(uri[start:end], escaped, semicolon, true); err != nil {
		return err
	}
	t.Path = uri[:end]
	return t.takeQuery(uri[end:])
}

// takeQuery keeps what follows the path, "?" first.
func (t *Target) takeQuery(rest string) error {
	if rest == "" {
		return nil
	}
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '#':
			return refusal.Because(refusal.PathAmbiguous, "query: raw '#' at byte %d", len(t.Path)+i)
		case c <= ' ' || c >= 0x7f:
			return refusal.Because(refusal.RequestMalformed, "query: byte 0x%02x at byte %d; RFC 3986 has it escaped", c,
				len(t.Path)+i)
		}
	}
	t.Query, t.HasQuery = rest[1:], true
	return nil
}

// add judges one raw segment and keeps it decoded.
func (t *Target) add(raw string, escaped, semicolon, last bool) error {
	if t.count == MaxSegments {
		return refusal.Because(refusal.URITooLong, "path: more than %d segments", MaxSegments)
	}
	s := segment{text: raw}
	if escaped {
		var err error
		if s, err = decode(raw); err != nil {
			return refusal.Because(refusal.PathAmbiguous, "path: segment %d: %v", t.count+1, err)
		}
	}
	if semicolon {
		s.odd |= Semicolon
	}
	if raw == "" && !last {
		s.odd |= DoubleSlash
	}
	if isDots(s.text) || s.odd != 0 && hidesWorse(s.text) {
		return refusal.Because(refusal.PathAmbiguous,
			"path: segment %d is, or hides, what no reader should meet, such as a dot segment", t.count+1)
	}
	if s.odd&DoubleEncoding != 0 && !utf8.ValidString(decodeFully(s.text)) {
		s.odd |= NotUTF8
	}
	t.keep(s)
	return nil
}

// keep appends s; the caller has checked that there is room.
func (t *Target) keep(s segment) {
	if s.odd != 0 {
		if t.Oddities == 0 {
			t.firstOdd = t.count
		}
		t.Oddities |= s.odd
	}
	if t.count < inlineSegments {
		t.inline[t.count] = s
	} else {
		t.more = append(t.more, s)
	}
	t.count++
}

// odd reports whether readers could disagree about what the i-th segment holds: it is odd itself, or stands behind one
// that is, so that another reader counts it elsewhere.
func (t *Target) odd(i int) bool { return t.Oddities != 0 && i >= t.firstOdd }

// A class is what a raw byte of a path means.
type class uint8

const (
	_ class = iota // outside of RFC 3986's pchar
	// in pchar, and [ ] | ^ { }, which browsers send as they are and every reader takes for themselves
	plain
	slash
	percent
	parameter // ";"
	query     // "?"
	misread   // "#" and "\", which some readers take for a path's end and for a slash
)

var classes = classify()

func classify() (c [256]class) {
	for b := range 256 {
		if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
			b < 0x80 && strings.IndexByte("-._~!$&'()*+,=:@[]|^{}", byte(b)) >= 0 {
			c[b] = plain
		}
	}
	c['/'], c['%'], c[';'], c['?'], c['#'], c['\\'] = slash, percent, parameter, query, misread, misread
	return c
}
