package h1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/httpserver/h1"
	"github.com/jotgate/jotgate/internal/refusal"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// listen gives a free port until the test ends.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// ours is a server with that handler.
func ours(handler http.Handler) *h1.Server {
	limits := httpserver.DefaultLimits()
	return &h1.Server{
		Handler: handler, Limits: &limits, IdleTimeout: patience, Context: context.Background(), Log: zap.NewNop(),
		Last: func() bool { return false },
		Refused: func(w http.ResponseWriter, _ *http.Request, why *refusal.Error) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(why.Reason.Status())
		},
	}
}

// serve serves connections until the test ends, and waits for their end.
func serve(t testing.TB, s *h1.Server) (address string) {
	t.Helper()
	l := listen(t)
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(s.NewConn(c).Serve)
		}
	})
	return l.Addr().String()
}

// theirs serves with net/http.
func theirs(t testing.TB, handler http.Handler) (address string) {
	t.Helper()
	l := listen(t)
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// transcript is what a client sees: each answer but its Date, and how the connection ends.
func transcript(c io.Reader, methods ...string) (lines []string) {
	in := bufio.NewReader(c)
	for {
		if _, err := in.Peek(1); err != nil {
			return append(lines, "end: "+ending(err))
		}
		method := http.MethodGet
		if len(methods) > 0 {
			method = methods[0]
		}
		r, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return append(lines, "no answer: "+ending(err))
		}
		if r.StatusCode >= 200 && len(methods) > 0 {
			methods = methods[1:]
		}
		body, err := io.ReadAll(r.Body)
		// net/http tells HTTP/1.0 to clients that speak it; RFC 9110 section 2.5 wants the server's own version told.
		lines = append(lines, strings.TrimSpace(strings.Replace(r.Proto, "/1.0", "/1.1", 1)+" "+r.Status))
		r.Header.Del("Date")
		if r.Close {
			r.Header.Set("Connection", "close")
		}
		if len(r.TransferEncoding) > 0 {
			r.Header["Transfer-Encoding"] = r.TransferEncoding
		}
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			lines = append(lines, fmt.Sprintf("  %s: %q", name, r.Header[name]))
		}
		if len(body) > 200 {
			body = fmt.Appendf(nil, "%d bytes", len(body))
		}
		lines = append(lines, fmt.Sprintf("  body %q", body))
		if len(r.Trailer) > 0 {
			lines = append(lines, fmt.Sprintf("  trailer %v", r.Trailer))
		}
		if err != nil {
			return append(lines, "  body breaks off: "+ending(err))
		}
	}
}

func ending(err error) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "EOF"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	}
	return err.Error()
}

// probe asks whether the connection goes on. It ends it.
const probe = "GET /probe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func request11(method, fields, body string) string {
	return method + " /h HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body
}

func request10(fields string) string { return "GET /h HTTP/1.0\r\nHost: x\r\n" + fields + "\r\n" }

func write(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range parts {
			_, _ = io.WriteString(w, p)
		}
	}
}

// set answers with these fields, each "Name: value".
func set(status int, body string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

var long = strings.Repeat("0123456789abcdef", 4<<10)

const plain = "Content-Type: text/plain"

type alike struct {
	name    string
	handler http.HandlerFunc
	send    string   // before the probe
	methods []string // of the requests, where not GET
	differs string   // why the two are not alike; then the answer is
	ours    []string
}

var get = request11("GET", "", "")

var alikes = []alike{
	{name: "nothing", handler: write(), send: get},
	{name: "short", handler: write("hello"), send: get},
	{name: "short in pieces", handler: write("he", "", "llo"), send: get},
	{name: "2 KiB", handler: write(long[:2048]), send: get},
	{name: "2 KiB and one", handler: write(long[:2048], "x"), send: get},
	{name: "long", handler: write(long), send: get},
	{name: "long in pieces", handler: write(long[:4095], long[:4096], long[:4097], long[:3]), send: get},
	{name: "Content-Length", handler: set(200, "hello", "Content-Length: 5", plain), send: get},
	{name: "Content-Length too long", handler: set(200, "hello", "Content-Length: 6", plain), send: get},
	{name: "Content-Length too short", handler: set(200, "hello!", "Content-Length: 5", plain), send: get},
	{name: "Content-Length of nothing", handler: set(200, "", "Content-Length: 0"), send: get},
	{
		name: "Content-Length no number", handler: set(200, "hello", "Content-Length: five", plain), send: get,
		differs: "what is no length is left to the server, which counts",
		ours:    then(told(200, "hello", "Content-Length: 5", plain)),
	},
	{
		name: "Content-Length negative", handler: set(200, "hello", "Content-Length: -5", plain), send: get,
		differs: "what is no length is left to the server, which counts",
		ours:    then(told(200, "hello", "Content-Length: 5", plain)),
	},
	{
		name: "Content-Length without a type", handler: set(200, "hello", "Content-Length: 5"), send: get,
		differs: "a type is guessed only where the head waits for the body",
		ours:    then(told(200, "hello", "Content-Length: 5")),
	},
	{
		name: "one byte over what was told", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Content-Type", "a/b")
			_, _ = io.WriteString(w, "hello")
			if _, err := io.WriteString(w, "!"); !errors.Is(err, http.ErrContentLength) {
				panic(err)
			}
		}, send: get, differs: "what was refused was not written: the answer is whole",
		ours: then(told(200, "hello", "Content-Length: 5", "Content-Type: a/b")),
	},
	{name: "HEAD of nothing", handler: write(), send: request11("HEAD", "", ""), methods: []string{"HEAD"}},
	{name: "HEAD short", handler: write("hello"), send: request11("HEAD", "", ""), methods: []string{"HEAD"}},
	{name: "HEAD long", handler: write(long), send: request11("HEAD", "", ""), methods: []string{"HEAD"}},
	{
		name: "HEAD with a length", handler: set(200, "", "Content-Length: 77", plain), send: request11("HEAD", "", ""),
		methods: []string{"HEAD"},
	},
	{name: "HEAD flushed", handler: func(w http.ResponseWriter, _ *http.Request) {
		flush(w)
		_,
			_ = io.WriteString(w, "hello")
	}, send: request11("HEAD", "", ""), methods: []string{"HEAD"}},
	{
		name: "HEAD with trailers", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "A")
			_, _ = io.WriteString(w, "hello")
			w.Header().Set("A", "b")
		}, send: request11("HEAD", "", ""), methods: []string{"HEAD"},
		differs: "a type is guessed only where the head waits for the body", ours: then(told(200, "", "Trailer: A")),
	},
	{name: "204", handler: set(204, "", "X: y"), send: get},
	{name: "204 with a body", handler: set(204, "hello", "Content-Length: 5", "X: y"), send: get},
	{name: "304", handler: set(304, "", "Etag: y", plain, "Content-Length: 5"), send: get},
	{name: "304 with a body", handler: set(304, "hello", "Etag: y"), send: get},
	{name: "205", handler: set(205, ""), send: get},
	{name: "404", handler: http.NotFound, send: get},
	{
		name: "status without a name", handler: set(299, "x"), send: get,
		differs: "RFC 9112 section 4 lets the reason be empty", ours: then(told(299, "x", "Content-Length: 1", guessed)),
	},
	{
		name: "head twice", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(404) },
		send: get,
	},
	{name: "field after the head", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		w.Header().Set("Late", "x")
	}, send: get},
	{name: "103 and 102", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(102)
		w.WriteHeader(200)
	}, send: get},
	{
		name: "103 to HTTP/1.0", handler: func(w http.ResponseWriter,
			_ *http.Request,
		) {
			w.WriteHeader(103)
			w.WriteHeader(200)
		}, send: request10(""), differs: "HTTP/1.0 knows no informational answers (RFC 9110 section 15.2)",
		ours: ends(told(200, "", "Connection: close", "Content-Length: 0")),
	},
	{name: "flush first", handler: func(w http.ResponseWriter, _ *http.Request) { flush(w) }, send: get},
	{name: "flush first, then a body", handler: func(w http.ResponseWriter, _ *http.Request) {
		flush(w)
		_,
			_ = io.WriteString(w, "hello")
	}, send: get},
	{name: "flush between", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		flush(w)
		_, _ = io.WriteString(w, "world")
		flush(w)
	}, send: get},
	{name: "flush with a length", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Header().Set("Content-Type", "a/b")
		flush(w)
		_, _ = io.WriteString(w, "hello")
		flush(w)
		_, _ = io.WriteString(w, "world")
	}, send: get},
	{name: "explicit chunked", handler: set(200, "hello", "Transfer-Encoding: chunked", plain), send: get},
	{name: "explicit chunked without a body", handler: set(200, "", "Transfer-Encoding: chunked", plain), send: get},
	{
		name: "Content-Length beside explicit chunked", handler: set(200, "hello", "Transfer-Encoding: chunked",
			"Content-Length: 5", plain), send: get, differs: "the length is known: it frames the answer",
		ours: then(told(200, "hello", "Content-Length: 5", plain)),
	},
	{
		name: "Trailer", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "A, b")
			w.Header().Set("A", "not yet")
			_, _ = io.WriteString(w, "hello")
			w.Header().Set("A", "1")
			w.Header()["B"] = []string{"2", "3"}
			w.Header().Set("C", "4")
		}, send: get, differs: "a trailer is no field of the head; a type is guessed only where the head waits for the body",
		ours: then(append(told(200, "hello", "Transfer-Encoding: chunked"), "  trailer map[A:[1] B:[2 3]]")),
	},
	{
		name: "TrailerPrefix", handler: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello")
			flush(w)
			w.Header().Set(http.TrailerPrefix+"A", "1")
			w.Header().Set(http.TrailerPrefix+"Transfer-Encoding", "chunked")
		}, send: get, differs: "what frames a message is no trailer (RFC 9110 section 6.5.1)",
		ours: then(append(told(200, "hello", guessed, "Transfer-Encoding: chunked"), "  trailer map[A:[1]]")),
	},
	{name: "TrailerPrefix of a short answer", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}, send: get},
	{
		name: "trailers that are no tokens, and values that are lines",
		handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Trailer"] = []string{"A\r\nEvil: x", "Good"}
			_, _ = io.WriteString(w, "hello")
			flush(w)
			w.Header()["A\r\nEvil: x"] = []string{"1"}
			w.Header()[http.TrailerPrefix+"B\r\nEvil: y"] = []string{"2"}
			w.Header()[http.TrailerPrefix+"C D"] = []string{"3"}
			w.Header()["Good"] = []string{"4\r\nEvil: z"}
		}, send: get, differs: "a type is guessed only where the head waits for the body; Trailer names tokens alone",
		ours: then(append(told(200, "hello", "Transfer-Encoding: chunked"),
			"  trailer map[A  Evil: x:[] Good:[4  Evil: z]]")),
	},
	{name: "fields that are no tokens, and values that are lines", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["A\r\nEvil"] = []string{"1"}
		w.Header()["B C"] = []string{"2"}
		w.Header()[""] = []string{"3"}
		w.Header()["Good"] = []string{"4\r\nEvil: z", "5\n\n6", " 7 "}
		w.WriteHeader(200)
	}, send: get},
	{name: "200 fields", handler: func(w http.ResponseWriter, _ *http.Request) {
		for i := range 200 {
			w.Header().Set(fmt.Sprintf("X-%03d", i*7%200), "v")
		}
		w.WriteHeader(200)
	}, send: get},
	{name: "Date of the handler", handler: set(200, "", "Date: never"), send: get},
	{name: "no Date", handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }, send: get},
	{name: "no Content-Type", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "hello")
	}, send: get},
	{name: "Content-Encoding", handler: set(200, "hello", "Content-Encoding: gzip"), send: get},
	{name: "panic before the head", handler: func(http.ResponseWriter, *http.Request) { panic("!") }, send: get},
	{
		name:    "panic behind the head",
		handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic("!") }, send: get,
	},
	{name: "panic behind a body that is held", handler: func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = io.WriteString(w, "hello")
		panic("!")
	}, send: get},
	{name: "panic behind what was flushed", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		flush(w)
		panic(http.ErrAbortHandler)
	}, send: get},
	{name: "panic with a length", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Header().Set("Content-Type", "a/b")
		_, _ = io.WriteString(w, "hello")
		flush(w)
		panic(http.ErrAbortHandler)
	}, send: get},
	{
		name: "ErrAbortHandler", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		send: get,
	},
	{name: "hijack", handler: func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		line, _ := rw.ReadString('\n')
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(line), line)
		_ = rw.Flush()
		for line != "\r\n" && err == nil {
			line, err = rw.ReadString('\n')
		}
	}, send: get},
	{name: "Connection: close", handler: set(200, "hello", "Connection: close"), send: get},
	{
		name: "Connection: close among others", handler: set(200, "hello", "Connection: x, Close"), send: get,
		differs: "what the head says is done",
		ours:    ends(told(200, "hello", "Connection: close", "Content-Length: 5", guessed)),
	},
	{name: "Connection of another kind", handler: set(200, "hello", "Connection: x"), send: get},
	{name: "client closes", handler: write("hello"), send: request11("GET", "Connection: x, CLOSE\r\n", "")},
	{name: "HTTP/1.0", handler: write("hello"), send: request10("")},
	{name: "HTTP/1.0 long", handler: write(long), send: request10("")},
	{
		name: "HTTP/1.0 kept", handler: set(200, "hello", "Content-Length: 5", plain),
		send: request10("Connection: Keep-Alive\r\n"),
	},
	{name: "HTTP/1.0 kept, short", handler: write("hello"), send: request10("Connection: keep-alive\r\n")},
	{name: "HTTP/1.0 kept, long", handler: write(long), send: request10("Connection: keep-alive\r\n")},
	{name: "HTTP/1.0 kept, flushed", handler: func(w http.ResponseWriter, _ *http.Request) {
		flush(w)
		_,
			_ = io.WriteString(w, "hello")
	}, send: request10("Connection: keep-alive\r\n")},
	{name: "HTTP/1.0 kept, 304", handler: set(304, ""), send: request10("Connection: keep-alive\r\n")},
	{name: "HTTP/1.0 breaks off", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		flush(w)
		panic(http.ErrAbortHandler)
	}, send: request10(""), differs: "nothing but the end of the connection ends this answer: half of one must " +
		"not look whole", ours: append(told(200, "hello", "Connection: close", guessed), "  body breaks off: reset")},
	{name: "pipelined", handler: write("hello"), send: get + get + get},
	{name: "body unread", handler: write("hello"), send: request11("POST", "Content-Length: 5\r\n", "12345")},
	{name: "body read in part", handler: readSome(2), send: request11("POST", "Content-Length: 5\r\n", "12345")},
	{name: "body read", handler: readSome(9), send: request11("POST", "Content-Length: 5\r\n", "12345")},
	{name: "body closed unread", handler: func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		_, _ = fmt.Fprint(w, err)
	}, send: request11("POST", "Content-Length: 5\r\n", "12345")},
	{name: "body of nothing", handler: readSome(9), send: request11("POST", "Content-Length: 0\r\n", "")},
	{
		name: "body of nothing after Expect", handler: readSome(9),
		send: request11("POST", "Content-Length: 0\r\nExpect: 100-continue\r\n", ""),
	},
	{
		name: "Expect and read", handler: readSome(9),
		send: request11("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n", "12345"),
	},
	{name: "Expect, said and read", handler: func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(100)
		readSome(9)(w, r)
	}, send: request11("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n", "12345")},
	{
		name: "Expect and not read", handler: write("hello"),
		send: request11("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n", "12345"),
	},
	{
		name: "Expect, read after the head", handler: func(w http.ResponseWriter, r *http.Request) {
			flush(w)
			_, err := r.Body.Read(make([]byte, 1))
			_, _ = fmt.Fprint(w, err != nil)
		}, send: request11("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n", "12345"),
		differs: "the client was answered and is not asked for its body any more",
		ours:    ends(told(200, "true", "Connection: close", "Transfer-Encoding: chunked")),
	},
	{name: "chunked body unread", handler: write("hello"), send: request11("POST", "Transfer-Encoding: chunked\r\n",
		"5\r\n12345\r\n0\r\n\r\n")},
	{name: "chunked body read", handler: readSome(9), send: request11("POST", "Transfer-Encoding: chunked\r\n",
		"5\r\n12345\r\n0\r\n\r\n")},
	{
		name: "256 KiB left", handler: write("hello"), send: request11("POST", "Content-Length: 262144\r\n",
			strings.Repeat("x", 256<<10)), differs: "the limit is what is read, not one more",
		ours: then(told(200, "hello", "Content-Length: 5", guessed)),
	},
	{name: "256 KiB and one left", handler: write("hello"), send: request11("POST", "Content-Length: 262145\r\n",
		strings.Repeat("x", 256<<10+1))},
	{name: "one reads, one writes", handler: func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		got := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, r.Body)
			got <- n
		}()
		n := <-got
		_, _ = fmt.Fprint(w, n)
	}, send: request11("POST", "Content-Length: 5\r\n", "12345")},
	{
		name: "HEAD with a body", handler: readSome(9), send: request11("HEAD", "Content-Length: 5\r\n", "12345"),
		methods: []string{"HEAD"},
	},
	{
		name: "HEAD with a body unread", handler: write(long), send: request11("HEAD", "Content-Length: 5\r\n", "12345"),
		methods: []string{"HEAD"},
	},
	{name: "GET with a body", handler: readSome(2), send: request11("GET", "Content-Length: 5\r\n", "12345")},
	{
		name: "DELETE of an answer in pieces behind a body", handler: func(w http.ResponseWriter, r *http.Request) {
			for range 3 {
				_, _ = io.CopyN(w, r.Body, 2)
				flush(w)
			}
		}, send: request11("DELETE", "Content-Length: 5\r\n", "12345"), differs: "a body may be read behind the head",
		ours: then(told(200, "12345", guessed, "Transfer-Encoding: chunked")),
	},
	{
		name: "half a body", handler: readSome(400), send: request11("POST", "Content-Length: 400\r\n", "12345"),
		differs: "what is wrong with a body is told by our own errors, and the connection's end is told",
		ours: ends(told(200, fmt.Sprintf("%q body_malformed: body ended before its end 400", "12345"+probe),
			"Connection: close", "Content-Length: 112", guessed)),
	},
	{name: "OPTIONS *", handler: write("hello"), send: "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"},
}

const guessed = "Content-Type: text/plain; charset=utf-8"

// told is the transcript of one answer, with fields in order.
func told(status int, body string, fields ...string) []string {
	lines := []string{strings.TrimSpace(fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)))}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		lines = append(lines, fmt.Sprintf("  %s: [%q]", name, value))
	}
	return append(lines, fmt.Sprintf("  body %q", body))
}

func ends(lines []string) []string { return append(lines, "end: EOF") }

// then is a connection that goes on.
func then(lines []string) []string {
	return ends(append(lines, told(200, "goes on", "Connection: close", "Content-Length: 7", guessed)...))
}

func readSome(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := make([]byte, n)
		n, err := io.ReadFull(r.Body, p)
		_, _ = fmt.Fprintf(w, "%q %v %d", p[:n], err, r.ContentLength)
	}
}

// To a client, the server looks like net/http's, but for what is listed.
func TestAnswersLikeNetHTTP(t *testing.T) {
	t.Parallel()
	for _, row := range alikes {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.RequestURI == "/probe" {
					_, _ = io.WriteString(w, "goes on")
					return
				}
				row.handler(w, r)
			})
			see := func(address string) []string {
				c := dial(t, address)
				var sending sync.WaitGroup
				sending.Go(func() {
					_, _ = io.WriteString(c, row.send+probe)
					if row.name == "half a body" {
						_ = c.CloseWrite()
					}
				})
				defer sending.Wait()
				defer c.Close()
				return transcript(c, row.methods...)
			}
			want, got := see(theirs(t, handler)), see(serve(t, ours(handler)))
			if row.differs != "" {
				if cmp.Equal(want, got) {
					t.Errorf("no difference any more: %s", row.differs)
				}
				want = row.ours
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-net/http or as listed +ours):\n%s", diff)
			}
		})
	}
}
