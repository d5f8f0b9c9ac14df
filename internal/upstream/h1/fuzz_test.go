package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// wire is a connection on which everything was said before, given out as the reader below it does.
type wire struct {
	net.Conn // nil: nothing else is asked of it
	in       io.Reader
}

func (w *wire) Read(p []byte) (int, error)       { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error)      { return len(p), nil }
func (w *wire) Close() error                     { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// parseAll reads one answer out of raw.
func parseAll(method string, raw io.Reader) (a *Answer, hints int, body []byte, err error) {
	k, err := newConn(&wire{in: raw})
	if err != nil {
		return nil, 0, nil, err
	}
	a = new(Answer)
	q := &Request{Method: method, Target: "/", Host: "h", Hint: func(int, http.Header) error {
		hints++
		return nil
	}}
	if err := a.ask(context.Background(), New(Settings{}), k, q); err != nil {
		return nil, hints, nil, err
	}
	body, err = io.ReadAll(a)
	return a, hints, body, err
}

// FuzzAnswer: what we take, net/http's parser takes, and reads alike; and where the pieces end that the bytes come in
// does not matter.
func FuzzAnswer(f *testing.F) {
	for _, b := range []string{
		okay, ok + te + end + "5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", ok + end + hi, "HTTP/1.0 404 Not Found\r\n" + end + hi,
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okay, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 x\r\n" +
			cl5 + end,
		ok + "X: a\r\n b\r\n" + cl5 + end + hi, ok + cl5 + te + end + hi, ok + "Trailer: X-T\r\n" + te + end +
			"0\r\nX-T: 1\r\n\r\n",
		ok + "Pragma: no-cache\r\nConnection: close\r\n" + cl5 + end + hi, "HTTP/1.1 200\r\nx-a:\t1 \r\nX-A: 2\r\n" + cl5 +
			end + hi,
	} {
		f.Add("GET", []byte(b))
		f.Add("HEAD", []byte(b))
	}
	f.Fuzz(func(t *testing.T, method string, raw []byte) {
		if method != http.MethodHead {
			method = http.MethodGet
		}
		a, hints, body, err := parseAll(method, bytes.NewReader(raw))
		b, _, again, errAgain := parseAll(method, iotest.OneByteReader(bytes.NewReader(raw)))
		if (err == nil) != (errAgain == nil) || !bytes.Equal(body, again) || (a == nil) != (b == nil) {
			t.Fatalf("in one piece %q %v, byte by byte %q %v", body, err, again, errAgain)
		}
		if a == nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(raw))
		r, theirErr := http.ReadResponse(in, &http.Request{Method: method})
		for range hints {
			if theirErr != nil {
				break
			}
			// ReadResponse takes a hint for an answer without a body, and leaves what follows.
			r, theirErr = http.ReadResponse(in, &http.Request{Method: method})
		}
		if theirErr != nil {
			t.Fatalf("we take it, net/http says %v", theirErr)
		}
		compare(t, a, r)
		theirs, theirErr := io.ReadAll(r.Body)
		if !bytes.Equal(body, theirs) && err == nil || !bytes.HasPrefix(theirs, body) {
			t.Fatalf("body %q %v, net/http %q %v", body, err, theirs, theirErr)
		}
		if err == nil && theirErr != nil {
			t.Fatalf("a whole body, net/http says %v", theirErr)
		}
		if err == nil && !sameFields(a.Trailer, r.Trailer) {
			t.Fatalf("trailers %v, net/http %v", a.Trailer, r.Trailer)
		}
	})
}

func compare(t *testing.T, a *Answer, r *http.Response) {
	t.Helper()
	want := r.Header
	if _, there := a.Header["Cache-Control"]; !there && a.Header.Get("Pragma") == "no-cache" {
		delete(want, "Cache-Control") // net/http's own
	}
	if a.Closing { // and it hides Connection: close
		delete(want, "Connection")
		a.Header = maps.Clone(a.Header)
		delete(a.Header, "Connection")
	}
	if a.Status != r.StatusCode || strings.TrimLeft(a.StatusLine, " ") != r.Status || a.Minor != r.ProtoMinor ||
		a.Length != r.ContentLength {
		t.Fatalf("%d %q 1.%d length %d, net/http %d %q %s length %d", a.Status, a.StatusLine, a.Minor, a.Length, r.StatusCode,
			r.Status, r.Proto, r.ContentLength)
	}
	if !sameFields(a.Header, want) {
		t.Fatalf("fields %q, net/http %q", a.Header, want)
	}
}

func sameFields(a, b http.Header) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }
