package h1

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A turn is one request and its answer.
type turn struct {
	conn     *Conn
	method   string // as the request had it; handlers may change theirs
	lifetime httpserver.Lifetime
	response response
	watch    watch
	body     body
	url      url.URL
}

// request reads a head that scan has accepted. What it makes of it is what net/http would, but for the trailers, which are not
// told, and a Cache-Control that it makes up for HTTP/1.0.
func (t *turn) request(head string) (*http.Request, error) {
	c := t.conn
	r := (&http.Request{}).WithContext(&t.lifetime)
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
	r.Header = make(http.Header, h.fields)
	values := make([]string, 0, h.fields)
	for len(lines) > len("\r\n") {
		end := strings.IndexByte(lines, '\r')
		line := lines[:end]
		lines = lines[end+2:]
		colon := strings.IndexByte(line, ':')
		name, value := textproto.CanonicalMIMEHeaderKey(line[:colon]), trimmed(line[colon+1:])
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

// chunkedEncoding is shared; nobody changes what a request says.
var chunkedEncoding = []string{"chunked"}

func trimmed(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// parseTarget fills in the URL.
func (t *turn) parseTarget(r *http.Request) (err error) {
	r.URL = &t.url
	if r.Method == http.MethodConnect && r.RequestURI[0] != '/' {
		t.url.Host, r.Host = r.RequestURI, r.RequestURI // RFC 9112 section 3.2.3: the Host field says no more than that
		return nil
	}
	r.URL, err = ParseTarget(&t.url, r.RequestURI)
	return err
}

// ParseTarget is url.ParseRequestURI, and needs no parser for targets of unreserved characters, as most are. What it gives may be
// room, which must be a zero URL.
func ParseTarget(room *url.URL, target string) (*url.URL, error) {
	path, query, there := strings.Cut(target, "?")
	if !unreserved(path) {
		return url.ParseRequestURI(target)
	}
	room.Path, room.RawQuery, room.ForceQuery = path, query, there && query == ""
	return room, nil
}

func unreserved(path string) bool {
	for i := range len(path) {
		c := path[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '/' || c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return true
}

// closes tells whether the client wants the connection to end (RFC 9112 section 9.3).
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
	t.body = body{turn: t, left: h.length, chunked: h.chunked, pace: NewPace(t.conn.server.Limits)}
	t.body.expected = r.ProtoMinor > 0 && continues(r.Header["Expect"])
	r.Body = &t.body
}

// continues knows the one expectation there is (RFC 9110 section 10.1.1).
func continues(expect []string) bool {
	return len(expect) == 1 && strings.EqualFold(expect[0], "100-continue")
}
