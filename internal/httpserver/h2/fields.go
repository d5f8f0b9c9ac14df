package h2

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/grammar"
)

// A fieldList is memory for a head.
type fieldList struct{ all []hpack.HeaderField }

var fieldLists = sync.Pool{New: func() any { return &fieldList{make([]hpack.HeaderField, 0, 24)} }}

func (l *fieldList) free() {
	if l != nil && cap(l.all) <= 256 {
		clear(l.all)
		l.all = l.all[:0]
		fieldLists.Put(l)
	}
}

func (l *fieldList) status(status int) {
	text := ""
	switch status {
	case http.StatusOK:
		text = "200"
	case http.StatusNotModified:
		text = "304"
	default:
		text = strconv.Itoa(status)
	}
	l.all = append(l.all, hpack.HeaderField{Name: ":status", Value: text})
}

func (l *fieldList) addLength(n int64) { l.add("Content-Length", strconv.FormatInt(n, 10)) }

// addAll adds a map's fields, sorted, so that an answer looks the same each time.
func (l *fieldList) addAll(h http.Header, leavesOut func(string) bool) {
	from := len(l.all)
	for name, values := range h {
		if leavesOut(name) || !grammar.IsToken(name) {
			continue
		}
		for _, value := range values {
			l.add(name, value)
		}
	}
	slices.SortStableFunc(l.all[from:], func(a, b hpack.HeaderField) int { return strings.Compare(a.Name, b.Name) })
}

// add adds one field. A value that could not stand in HTTP/1.1 must not get there by way of HTTP/2.
func (l *fieldList) add(name, value string) {
	l.all = append(l.all, hpack.HeaderField{Name: lowerName(name), Value: clean(value), Sensitive: differsEachTime(name)})
}

func clean(value string) string {
	if validValue(value) {
		return value
	}
	b := []byte(value)
	for i, c := range b {
		if !grammar.IsFieldByte(c) {
			b[i] = ' '
		}
	}
	return grammar.Trim(string(b))
}

// differsEachTime are fields whose values are seldom said twice. In the table (RFC 7541 section 2.3.2) they would only
// push out others; and what is secret has no place there (section 7.1.3).
func differsEachTime(name string) bool {
	switch name {
	case "Content-Length", "Content-Range", "Etag", "Last-Modified", "Location", "Set-Cookie", "Traceparent",
		"X-Request-Id":
		return true
	}
	return false
}
