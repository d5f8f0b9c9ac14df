package h1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/grammar"
)

// A Request is what is asked. What is in it goes out as it stands, or not at all.
type Request struct {
	Method string
	Target string // as it stands in the request line
	Host   string
	Fields Fields        // nil: none
	Body   io.ReadCloser // nil: none
	Length int64         // of Body; below zero: unknown, sent in chunks
	// Trailer is announced by its names, and sent behind a body of unknown length with the values that it has by then.
	Trailer http.Header
	// Upgrade is the protocol that the server is asked to switch to (RFC 9110 §7.8); "" for none. After a 101 the answer's
	// [Answer.Stream] is what the connection has become.
	Upgrade string
	// ResponseTimeout and StallTimeout are this request's own; 0: those of the client's settings.
	ResponseTimeout, StallTimeout time.Duration
	// Close has the server close the connection after the answer.
	Close bool
	// Hint gets informational answers (1xx), with fields of its own; its error ends the request. nil: they are dropped.
	Hint func(status int, h http.Header) error
}

// Fields write themselves into a request's head.
type Fields interface{ WriteFields(*Head) }

// HeaderFields are those of a map.
type HeaderFields http.Header

// WriteFields writes each value as a field.
func (h HeaderFields) WriteFields(to *Head) {
	for name, values := range h {
		for _, v := range values {
			to.Field(name, v)
		}
	}
}

// A Head is a request's head as it is written.
type Head struct {
	bytes  []byte
	fields http.Header // takes the fields instead, where it is not nil
	err    error
}

// Header returns the fields of a request that HTTP/2 sends, checked by the same rules as those of HTTP/1.1.
func (q *Request) Header() (http.Header, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	h := Head{fields: make(http.Header)}
	if q.Fields != nil {
		q.Fields.WriteFields(&h)
	}
	return h.fields, h.err
}

// Field adds one field. Fields that frame the message or are about this connection are written by the client itself and
// left out here, in any letter case; so is Expect, since a client's was answered where its body is read, and a
// User-Agent without a value, by which net/http's callers say that they have none.
func (h *Head) Field(name, value string) {
	switch {
	case h.err != nil:
	case reserved(name), value == "" && strings.EqualFold(name, "User-Agent"):
	case !grammar.IsToken(name):
		h.err = fmt.Errorf("request field %.40q: not a field's name", name)
	case !grammar.IsFieldValue(value):
		h.err = fmt.Errorf("request field %s: its value has control characters", name)
	case h.fields != nil:
		name = canonical(name)
		h.fields[name] = append(h.fields[name], value)
	default:
		h.field(name, value)
	}
}

func (h *Head) field(name, value string) {
	h.bytes = append(h.bytes, name...)
	h.bytes = append(h.bytes, ": "...)
	h.bytes = append(h.bytes, value...)
	h.bytes = append(h.bytes, "\r\n"...)
}

// reserved looks at the length first, as most names are none of these.
func reserved(name string) bool {
	switch len(name) {
	case 4:
		return strings.EqualFold(name, "Host")
	case 6:
		return strings.EqualFold(name, "Expect")
	case 7:
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// appendHead writes the whole head of q behind to; h is room for it.
func (q *Request) appendHead(h *Head, to []byte) ([]byte, error) {
	if err := q.check(); err != nil {
		return to, err
	}
	*h = Head{bytes: to}
	h.bytes = append(h.bytes, q.Method...)
	h.bytes = append(h.bytes, ' ')
	h.bytes = append(h.bytes, q.Target...)
	h.bytes = append(h.bytes, " HTTP/1.1\r\n"...)
	h.field("Host", q.Host)
	q.frame(h)
	switch {
	case q.Upgrade != "":
		h.field("Connection", "Upgrade")
		h.field("Upgrade", q.Upgrade)
	case q.Close:
		h.field("Connection", "close")
	}
	if q.Fields != nil {
		q.Fields.WriteFields(h)
	}
	h.bytes = append(h.bytes, "\r\n"...)
	return h.bytes, h.err
}

func (q *Request) check() error {
	switch {
	case !grammar.IsToken(q.Method):
		return fmt.Errorf("request method %.40q: not a token", q.Method)
	case q.Method == http.MethodConnect:
		return errors.New("request method CONNECT: not spoken here")
	case q.Target == "" || strings.ContainsFunc(q.Target, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return errors.New("request target: empty, or with white space or control characters")
	case q.Host == "" || !httpguts.ValidHostHeader(q.Host):
		return fmt.Errorf("request host %.40q: not a host", q.Host)
	case !grammar.IsFieldValue(q.Upgrade):
		return fmt.Errorf("request upgrade %.40q: has control characters", q.Upgrade)
	}
	return nil
}

// frame says where the body ends (RFC 9112 §6.3). A method that usually has one says so when there is none.
func (q *Request) frame(h *Head) {
	switch {
	case q.Body == nil:
		if q.Method == http.MethodPost || q.Method == http.MethodPut || q.Method == http.MethodPatch {
			h.field("Content-Length", "0")
		}
	case q.Length >= 0:
		h.bytes = append(h.bytes, "Content-Length: "...)
		h.bytes = strconv.AppendInt(h.bytes, q.Length, 10)
		h.bytes = append(h.bytes, "\r\n"...)
	default:
		h.field("Transfer-Encoding", "chunked")
		for name := range q.Trailer {
			if !validTrailer(name) {
				h.err = fmt.Errorf("request trailer %.40q: cannot be one", name)
				return
			}
			h.field("Trailer", name)
		}
	}
}

// Repeatable reports whether the request may be sent again although a server may have received it: its method is safe
// (RFC 9110 §9.2.1) and it has no body. PUT and DELETE are idempotent by their definition alone, and apps do not keep
// to it.
func (q *Request) Repeatable() bool {
	if q.Body != nil {
		return false
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

func (q *Request) closeBody() {
	if q.Body != nil {
		q.Body.Close()
	}
}
