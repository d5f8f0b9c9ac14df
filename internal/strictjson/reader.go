// Package strictjson reads JSON (RFC 8259) the way a gate must: there is one reading of every document, or none.
//
// encoding/json folds the case of member names, lets the last of two equal members win and mends bad UTF-8, so that two
// readers of one token, or of one request body, may see different things. Here member names are exact, and refused are
// duplicate members (compared after unescaping, RFC 8259 §4 and RFC 7519 §4), invalid UTF-8, lone surrogates, data
// after the value and nesting over MaxDepth. Nothing is decoded by reflection: the caller walks the document and says
// what each value must be.
//
//	r := strictjson.New(body)
//	err := r.Object(func(name string) (err error) {
//		switch name {
//		case "subject":
//			subject, err = r.String()
//		case "expires_in":
//			seconds, err = r.Int64()
//		default:
//			err = r.Unknown(name)
//		}
//		return err
//	})
//	if err == nil {
//		err = r.End()
//	}
//
// The first fault stays: every later call returns it too, so one that was overlooked still fails at End. How long a
// document may be is for the caller to bound before.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth bounds how deep objects and arrays may nest.
const MaxDepth = 32

// A Reader walks one document. The strings that it returns may share memory with the document.
type Reader struct {
	doc   string
	pos   int
	err   error
	path  []step   // where the reader is, one step for each open object or array
	names []string // of the open objects, innermost last
	room  struct { // for most documents
		path  [4]step
		names [12]string
	}
}

// step is a member's name, or an element's index where the index is not negative.
type step struct {
	name  string
	index int
}

// New reads data, which is copied once.
func New(data []byte) *Reader { return NewString(string(data)) }

// NewString reads doc.
func NewString(doc string) *Reader {
	r := &Reader{doc: doc}
	r.path, r.names = r.room.path[:0], r.room.names[:0]
	if !utf8.ValidString(doc) {
		r.fail(invalidUTF8(doc), "not UTF-8")
	}
	return r
}

func invalidUTF8(s string) int {
	for i, c := range s {
		if c == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return len(s)
}

// TrimBOM removes a byte order mark, which some writers of files put before a text (RFC 8259 §8.1). It is for documents
// that are fetched or read from files: a token or a request body never has one.
func TrimBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) }

// Document reads data as one object, whole: member is called for each member as by Object, and nothing may follow.
func Document(data []byte, member func(r *Reader, name string) error) error {
	r := New(data)
	if err := r.Object(func(name string) error { return member(r, name) }); err != nil {
		return err
	}
	return r.End()
}

// Object reads an object. For each member it calls member, which must read the value, by Skip if by nothing else.
// An error that member returns ends the reading and comes back as an *Error that wraps it.
func (r *Reader) Object(member func(name string) error) error {
	if err := r.open(KindObject); err != nil {
		return err
	}
	seen := seenNames{r: r, base: len(r.names)}
	for first := true; r.more('}', first); first = false {
		name, ok := r.name(&seen)
		if !ok {
			break
		}
		r.path[len(r.path)-1] = step{name: name, index: -1}
		if !r.one(func() error { return member(name) }) {
			break
		}
	}
	r.names = r.names[:seen.base]
	return r.closed()
}

// Array reads an array. For each element it calls element, which must read it.
func (r *Reader) Array(element func() error) error {
	if err := r.open(KindArray); err != nil {
		return err
	}
	for i := 0; r.more(']', i == 0); i++ {
		r.path[len(r.path)-1] = step{index: i}
		if !r.one(element) {
			break
		}
	}
	return r.closed()
}

// open enters an object or an array.
func (r *Reader) open(want Kind) error {
	if err := r.want(want); err != nil {
		return err
	}
	if len(r.path) == MaxDepth {
		return r.fail(r.pos, "nested deeper than "+strconv.Itoa(MaxDepth))
	}
	r.pos++
	r.path = append(r.path, step{index: -1})
	return nil
}

// closed leaves what open entered; a fault keeps the path as it was.
func (r *Reader) closed() error {
	if r.err == nil {
		r.path = r.path[:len(r.path)-1]
	}
	return r.err
}

// more reports whether another member or element follows; it reads the comma before it, or the closing bracket.
func (r *Reader) more(closing byte, first bool) bool {
	if r.err != nil {
		return false
	}
	r.space()
	switch {
	case r.pos < len(r.doc) && r.doc[r.pos] == closing:
		r.pos++
		return false
	case first:
		return true
	case r.pos < len(r.doc) && r.doc[r.pos] == ',':
		r.pos++
		r.space()
		return true
	}
	r.unexpected("a comma or " + strconv.QuoteRune(rune(closing)))
	return false
}

// name reads a member's name and the colon after it.
func (r *Reader) name(seen *seenNames) (string, bool) {
	r.path[len(r.path)-1] = step{index: -1}
	start := r.pos
	if start >= len(r.doc) || r.doc[start] != '"' {
		r.unexpected("a member's name in quotes")
		return "", false
	}
	name, ok := r.text()
	if !ok {
		return "", false
	}
	if !seen.add(name) {
		r.path[len(r.path)-1].name = name
		r.fail(start, "the member is there twice")
		return "", false
	}
	r.space()
	if r.pos >= len(r.doc) || r.doc[r.pos] != ':' {
		r.unexpected("a colon")
		return "", false
	}
	r.pos++
	return name, true
}

// one lets read read one value, and sees to it that it did.
func (r *Reader) one(read func() error) bool {
	r.space()
	start := r.pos
	if err := read(); err != nil {
		r.wrap(start, err)
		return false
	}
	if r.err == nil && r.pos == start {
		r.wrap(start, errors.New("the value was not read"))
	}
	return r.err == nil
}

// manyNames is from how many members on a map finds duplicates faster than a walk along the names does. It also keeps
// a document of thousands of members from costing the square of them.
const manyNames = 24

type seenNames struct {
	r     *Reader
	base  int
	index map[string]struct{}
}

func (s *seenNames) add(name string) bool {
	r := s.r
	if s.index == nil {
		for _, n := range r.names[s.base:] {
			if n == name {
				return false
			}
		}
		r.names = append(r.names, name)
		if len(r.names)-s.base >= manyNames {
			s.index = make(map[string]struct{}, 2*manyNames)
			for _, n := range r.names[s.base:] {
				s.index[n] = struct{}{}
			}
		}
		return true
	}
	if _, twice := s.index[name]; twice {
		return false
	}
	s.index[name] = struct{}{}
	return true
}

// End makes sure that nothing follows but white space.
func (r *Reader) End() error {
	if r.err != nil {
		return r.err
	}
	r.space()
	if r.pos < len(r.doc) {
		return r.fail(r.pos, "data after the end of the value")
	}
	return nil
}

// An Error says what is wrong with a document and where.
type Error struct {
	Offset int    // in bytes from the start
	Path   string // such as tenantPermissions[0].tenant; "" for the document itself
	Syntax bool   // the document is no strict JSON; otherwise it says something else than the caller wants
	Err    error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("byte %d: %s: %v", e.Offset, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Unknown is the error for a member that the caller does not know.
func (r *Reader) Unknown(name string) error {
	return r.Fault("there is no member %s here", plain(name))
}

// Fault is an error about the value that the reader stands at, or has just read.
func (r *Reader) Fault(format string, args ...any) error {
	return r.wrap(r.pos, fmt.Errorf(format, args...))
}

// fail is for what no caller could read.
func (r *Reader) fail(at int, what string) error {
	if r.err == nil {
		r.err = &Error{Offset: at, Path: r.where(), Syntax: true, Err: errors.New(what)}
	}
	return r.err
}

// wrap is for what this caller does not want.
func (r *Reader) wrap(at int, err error) error {
	if r.err == nil {
		r.err = &Error{Offset: at, Path: r.where(), Err: err}
	}
	return r.err
}

func (r *Reader) unexpected(want string) error {
	if r.pos >= len(r.doc) {
		return r.fail(r.pos, "want "+want+", but the document ends here")
	}
	return r.fail(r.pos, "want "+want)
}

// longName is from how many bytes on a member's name is shortened in an error.
const longName = 64

// where spells the path to the present value.
func (r *Reader) where() string {
	var b strings.Builder
	for _, s := range r.path {
		switch {
		case s.index >= 0:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case s.name != "":
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(plain(s.name))
		}
	}
	return b.String()
}

// plain makes a member's name fit for a log line.
func plain(name string) string {
	if len(name) > longName {
		name = strings.ToValidUTF8(name[:longName], "") + "…"
	}
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}
