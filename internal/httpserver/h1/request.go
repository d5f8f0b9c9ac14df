package h1

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A turn is one request and its answer. It may serve another request later: see reuse.go.
type turn struct {
	conn     *Conn
	method   string // as the request had it; handlers may change theirs
	lifetime httpserver.Lifetime
	response *response
	watch    watch
	body     body
	url      url.URL
	room     room
}

// request reads a head that scan has accepted. What it makes of it is what net/http would, but for the trailers, which
// are not told, and a Cache-Control that it makes up for HTTP/1.0.
func (t *turn) request(head string) (*http.Request, error) {
	c := t.conn
	r := t.blankRequest()
	line, rest, _ := strings.Cut(head, "\r\n")
	r.Method, line, _ = strings.Cut(line, " ")
	r.RequestURI, r.Proto = line[:len(line)-len(" HTTP/1.1")], line[len(line)-len("HTTP/1.1"):]
	r.ProtoMajor, r.ProtoMinor = 1, int(c.head.version-'0')
	r.RemoteAddr, r.TLS = c.remote, c.tls
	t.fields(r, rest)
	if err := t.parseTarget(r); err != nil {
		return nil, refusal.Because(refusal.RequestMalformed, "request target: %v", err)
	}
	r.Close = t.closes(r)
	t.frame(r)
	return r, nil
}

// fields makes a map of the field lines.
func (t *turn) fields(r *http.Request, lines string) {
	h := &t.conn.head
	values := t.roomFor(h.fields)
	r.Header = t.room.header
	for len(lines) > len("\r\n") {
		end := strings.IndexByte(lines, '\r')
		line := lines[:end]
		lines = lines[end+2:]
		colon := strings.IndexByte(line, ':')
		name, value := textproto.CanonicalMIMEHeaderKey(line[:colon]), grammar.Trim(line[colon+1:])
		switch name {
		case "Host":
			r.Host = value
			continue
		case "Transfer-Encoding":
			r.TransferEncoding = chunkedEncoding
			continue
		case "Trailer":
			if h.chunked {
				continue
			}
		}
		if before, there := r.Header[name]; there {
			r.Header[name] = append(before, value)
			continue
		}
		values = append(values, value)
		r.Header[name] = values[len(values)-1 : len(values) : len(values)]
	}
}

// chunkedEncoding is shared; a request's fields are never changed in place.
var chunkedEncoding = []string{"chunked"}

// parseTarget fills in the URL.
func (t *turn) parseTarget(r *http.Request) (err error) {
	r.URL = &t.url
	if r.Method == http.MethodConnect && r.RequestURI[0] != '/' {
		t.url.Host, r.Host = r.RequestURI, r.RequestURI // RFC 9112 section 3.2.3: the Host field says no more than that
		return nil
	}
	r.URL, err = httpserver.ParseTarget(&t.url, r.RequestURI)
	return err
}

// closes reports whether the client wants the connection to end (RFC 9112 section 9.3).
func (t *turn) closes(r *http.Request) bool {
	connection := r.Header["Connection"]
	if len(connection) == 0 {
		return r.ProtoMinor == 0
	}
	if httpguts.HeaderValuesContainsToken(connection, "close") {
		return true
	}
	return r.ProtoMinor == 0 && !httpguts.HeaderValuesContainsToken(connection, "keep-alive")
}

// frame says where the request's body is.
func (t *turn) frame(r *http.Request) {
	h := &t.conn.head
	r.Body, r.ContentLength = http.NoBody, h.length
	switch {
	case h.chunked:
		r.ContentLength = -1
	case h.length == 0:
		return
	}
	t.body = body{turn: t, left: h.length, chunked: h.chunked, pace: httpserver.NewPace(t.conn.server.Limits)}
	t.body.expected = r.ProtoMinor > 0 && httpserver.ExpectsContinue(r.Header["Expect"])
	r.Body = &t.body
}
