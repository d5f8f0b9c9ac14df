package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// scripted is an upstream on a raw socket that gives the same answer to each request.
type scripted struct {
	net.Listener
	answer atomic.Pointer[string]
}

func newScripted(t testing.TB) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{Listener: l}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, *s.answer.Load())
				}
			})
		}
	})
	return s
}

// An upstream's answer is the same to clients of HTTP/1.1 and of HTTP/2: the one takes its fields as they come, the
// other from a map. A date is there in any case; the request id is ours; nothing is there twice that was there once.
func TestAnswersInBothProtocols(t *testing.T) {
	t.Parallel()
	up := newScripted(t)
	pair := listentest.WritePair(t, "127.0.0.1")
	g := startGate(t, "$APP", "http://"+up.Addr().String(),
		"listen: 127.0.0.1:0\n", fmt.Sprintf("listeners:\n  - {name: main, address: \"127.0.0.1:0\"}\n  - {name: tls, "+
			"address: \"127.0.0.1:0\", tls: {certificates: [{cert: %q, key: %q}]}}\n", pair.Cert, pair.Key))
	many := ""
	for i := range 300 {
		many += fmt.Sprintf("X-Field-%03d: %d\r\n", i*7%300, i)
	}
	one, two := listentest.Client(t, false), listentest.Client(t, true)
	for _, row := range []struct {
		name, method, answer string
		want                 []string // status, fields by name, body; nil: compared alone
	}{
		{
			"fields several times", "GET", "HTTP/1.1 200 OK\r\nB: 1\r\nSet-Cookie: a\r\nB: 2\r\nSet-Cookie: b\r\nDate: d\r\n" +
				"Content-Length: 2\r\n\r\nok",
			[]string{"200", `B: ["1" "2"]`, `Content-Length: ["2"]`, `Date: ["d"]`, `Set-Cookie: ["a" "b"]`, "ok"},
		},
		{
			"fields that Connection lists", "GET",
			"HTTP/1.1 200 OK\r\nA: 1\r\nConnection: a, Date, x-request-id\r\nconnection: B\r\nB: 2\r\nb: 3\r\nC: 4\r\n" +
				"Date: d\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
			[]string{"200", `C: ["4"]`, `Content-Length: ["0"]`, `Date: (ours)`, ""},
		},
		{
			"a length that Connection lists", "GET",
			"HTTP/1.1 200 OK\r\nConnection: content-length, content-type\r\nContent-Type: a/b\r\nDate: d\r\n" +
				"Content-Length: 2\r\n\r\nok",
			[]string{"200", `Content-Length: ["2"]`, `Date: ["d"]`, "ok"},
		},
		{
			"a request id", "GET", "HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nx-request-id: again\r\nDate: d\r\n" +
				"Content-Length: 2\r\n\r\nok",
			[]string{"200", `Content-Length: ["2"]`, `Date: ["d"]`, "ok"},
		},
		{
			"no Date", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			[]string{"200", `Content-Length: ["2"]`, `Date: (ours)`, "ok"},
		},
		{
			"an empty Date", "GET", "HTTP/1.1 200 OK\r\nDate:\r\nContent-Length: 2\r\n\r\nok",
			[]string{"200", `Content-Length: ["2"]`, `Date: [""]`, "ok"},
		},
		{
			"HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 77\r\n\r\n",
			[]string{"200", `Content-Length: ["77"]`, `Date: ["d"]`, ""},
		},
		{"HEAD without a length", "HEAD", "HTTP/1.1 200 OK\r\nDate: d\r\n\r\n", []string{"200", `Date: ["d"]`, ""}},
		{"HEAD of chunks", "HEAD", "HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n", nil},
		{
			"HEAD, 404", "HEAD", "HTTP/1.1 404 Not Found\r\nDate: d\r\nContent-Length: 9\r\nContent-Type: a/b\r\n\r\n",
			[]string{"404", `Content-Length: ["9"]`, `Content-Type: ["a/b"]`, `Date: ["d"]`, ""},
		},
		{
			"304 with fields", "GET", "HTTP/1.1 304 Not Modified\r\nDate: d\r\nEtag: e\r\nCache-Control: x\r\nVary: a\r\n" +
				"Vary: b\r\n\r\n",
			[]string{"304", `Cache-Control: ["x"]`, `Date: ["d"]`, `Etag: ["e"]`, `Vary: ["a" "b"]`, ""},
		},
		{
			"304 with fields of a body", "GET",
			"HTTP/1.1 304 Not Modified\r\nDate: d\r\nContent-Length: 5\r\nContent-Type: a/b\r\nEtag: e\r\n\r\n",
			[]string{"304", `Date: ["d"]`, `Etag: ["e"]`, ""},
		},
		{"204", "GET", "HTTP/1.1 204 No Content\r\nDate: d\r\nA: b\r\n\r\n", []string{"204", `A: ["b"]`, `Date: ["d"]`, ""}},
		{
			"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nDate: d\r\nContent-Length: 5\r\n\r\n",
			[]string{"204", `Date: ["d"]`, ""},
		},
		{
			"205", "GET", "HTTP/1.1 205 Reset Content\r\nDate: d\r\nContent-Length: 0\r\n\r\n",
			[]string{"205", `Content-Length: ["0"]`, `Date: ["d"]`, ""},
		},
		{
			"a status of its own", "GET", "HTTP/1.1 777 Lucky\r\nDate: d\r\nContent-Length: 2\r\n\r\nok",
			[]string{"777", `Content-Length: ["2"]`, `Date: ["d"]`, "ok"},
		},
		{"until the end, short", "GET", "HTTP/1.0 200 OK\r\nDate: d\r\n\r\nok", []string{"200", `Date: ["d"]`, "ok"}},
		{"until the end, nothing", "GET", "HTTP/1.0 200 OK\r\nDate: d\r\n\r\n", []string{"200", `Date: ["d"]`, ""}},
		{
			"chunks of HTML without a type", "GET",
			"HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n0\r\n\r\n",
			[]string{"200", `Date: ["d"]`, "<html>"},
		},
		{
			"a length of HTML without a type", "GET", "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 6\r\n\r\n<html>",
			[]string{"200", `Content-Length: ["6"]`, `Date: ["d"]`, "<html>"},
		},
		{
			"trailers", "GET", "HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\nTrailer: A, B\r\n\r\n2\r\nok\r\n" +
				"0\r\nA: 1\r\nB: 2\r\n\r\n",
			[]string{"200", `Date: ["d"]`, "ok", `A= ["1"]`, `B= ["2"]`},
		},
		{
			"trailers that were not announced", "GET",
			"HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: 1\r\nSet-Cookie: 2\r\n\r\n",
			[]string{"200", `Date: ["d"]`, "ok", `A= ["1"]`},
		},
		{"300 fields", "GET", "HTTP/1.1 200 OK\r\n" + many + "Date: d\r\nContent-Length: 2\r\n\r\nok", nil},
		{
			"values of other characters", "GET",
			"HTTP/1.1 200 OK\r\nA: \t\xc3\xa4 \x80 b\t\r\nB:\r\nDate: d\r\nContent-Length: 2\r\n\r\nok",
			[]string{"200", `A: ["ä \x80 b"]`, `B: [""]`, `Content-Length: ["2"]`, `Date: ["d"]`, "ok"},
		},
		{"a name that is no token", "GET", "HTTP/1.1 200 OK\r\nA b: c\r\nContent-Length: 2\r\n\r\nok", nil},
		{"a value that ends its line", "GET", "HTTP/1.1 200 OK\r\nA: b\rC: d\r\nContent-Length: 2\r\n\r\nok", nil},
		{"a NUL", "GET", "HTTP/1.1 200 OK\r\nA: b\x00\r\nContent-Length: 2\r\n\r\nok", nil},
		{
			"a switch that was not requested", "GET",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", nil,
		},
	} {
		up.answer.Store(&row.answer)
		over := func(c *http.Client, address string) []string {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), row.method, address+"/open/x", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", "identity")
			answer, err := c.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			return seen(t, row.answer, answer, string(body))
		}
		plain, h1, h2 := over(one, g.url("")), over(one, "https://"+g.Addr("tls").String()),
			over(two, "https://"+g.Addr("tls").String())
		if diff := cmp.Diff(plain, h1) + cmp.Diff(plain, h2); diff != "" {
			t.Errorf("%s (-plain HTTP/1.1 +above TLS, or HTTP/2):\n%s", row.name, diff)
		}
		if row.want == nil {
			continue
		}
		if diff := cmp.Diff(row.want, plain); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
}

// seen is what a client saw, without what differs each time.
func seen(t *testing.T, said string, r *http.Response, body string) []string {
	t.Helper()
	h := r.Header
	if id := h["X-Request-Id"]; len(id) != 1 || len(id[0]) != 36 {
		t.Errorf("request id %q", id)
	} else {
		body = strings.ReplaceAll(body, id[0], "(id)")
	}
	delete(h, "X-Request-Id")
	if !strings.Contains(strings.ToLower(said), "content-length") {
		delete(h, "Content-Length") // HTTP/2's server tells one if the whole body is there before the head is out
	}
	lines := []string{fmt.Sprint(r.StatusCode)}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if date := h[name]; name == "Date" && len(date) == 1 && strings.HasSuffix(date[0], " GMT") &&
			!strings.Contains(said, date[0]) {
			lines = append(lines, "Date: (ours)")
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %q", name, h[name]))
	}
	lines = append(lines, body)
	for _, name := range slices.Sorted(maps.Keys(r.Trailer)) {
		lines = append(lines, fmt.Sprintf("%s= %q", name, r.Trailer[name]))
	}
	return lines
}

// Through the whole gate, to clients of both protocols: each event of a stream comes when the app sends it, an answer
// comes before the body was sent, and the app hears when the client goes.
func TestStreamsThroughTheGate(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	next, gone := make(chan string), make(chan error, 1)
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if _, err := http.ReadRequest(in); err != nil { // the head alone
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				for event := range next {
					if event == "" {
						break
					}
					_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(event), event)
				}
				_, err := io.Copy(io.Discard, in)
				gone <- err
			})
		}
	})
	pair := listentest.WritePair(t, "127.0.0.1")
	g := startGate(t, "$APP", "http://"+l.Addr().String(),
		"listen: 127.0.0.1:0\n", fmt.Sprintf("listeners:\n  - {name: main, address: \"127.0.0.1:0\"}\n  - {name: tls, "+
			"address: \"127.0.0.1:0\", tls: {certificates: [{cert: %q, key: %q}]}}\n", pair.Cert, pair.Key))
	for _, row := range []struct {
		client  *http.Client
		address string
	}{
		{listentest.Client(t, false), g.url("")},
		{listentest.Client(t, false), "https://" + g.Addr("tls").String()},
		{listentest.Client(t, true), "https://" + g.Addr("tls").String()},
	} {
		for _, method := range []string{"GET", "POST"} {
			ctx, leave := context.WithCancel(t.Context())
			var sent io.Reader
			body, more := io.Pipe()
			if method == "POST" { // which begins, and never ends
				sent = body
				go func() { _, _ = io.WriteString(more, "begun") }()
			}
			r, err := http.NewRequestWithContext(ctx, method, row.address+"/open/x", sent)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := row.client.Do(r)
			if err != nil {
				t.Fatalf("%s %s: %v", method, row.address, err)
			}
			in := bufio.NewReader(answer.Body)
			for i := range 5 {
				want := fmt.Sprintf("data: %d\n", i)
				next <- want
				if got, err := in.ReadString('\n'); got != want || err != nil {
					t.Fatalf("%s %s: got %q, %v", method, row.address, got, err)
				}
			}
			next <- ""
			leave()
			_ = more.Close()
			_ = answer.Body.Close()
			select {
			case <-gone:
			case <-time.After(60 * time.Second):
				t.Fatalf("%s %s: the app did not hear of the end", method, row.address)
			}
		}
	}
}
