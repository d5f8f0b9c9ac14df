package h2_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// theirs serves with net/http.
func theirs(t testing.TB, handler http.HandlerFunc) (address string) {
	t.Helper()
	l := listen(t)
	s := &http.Server{
		Handler: handler, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols),
		DisableGeneralOptionsHandler: true,
	}
	s.Protocols.SetUnencryptedHTTP2(true)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

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

var long = strings.Repeat("0123456789abcdef", 16<<10)

const plain = "Content-Type: text/plain"

// see answers with what a handler sees of a request.
func see(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%s %s %s|%s|%s %s|%s|%d|%v|%d %v|%v", r.Method, r.RequestURI, r.Proto, r.Host, r.URL.Path,
		r.URL.RawQuery, r.URL.Host,
		r.ContentLength, r.Header, len(body), err, r.Trailer)
}

type alike struct {
	name    string
	handler http.HandlerFunc
	method  string
	path    string
	body    io.Reader
	change  func(*http.Request)
	differs string // why the two are not alike; then the answer is
	ours    []string
}

var alikes = []alike{
	{name: "nothing", handler: nothing},
	{name: "short", handler: write("hello")},
	{name: "short in pieces", handler: write("he", "", "llo")},
	{name: "2 KiB", handler: write(long[:2048])},
	{
		name: "2 KiB and one", handler: write(long[:2048], "x"), differs: "a length is counted up to 2 KiB, as for HTTP/1.1",
		ours: answer(200, long[:2048]+"x", guessed),
	},
	{name: "long", handler: write(long)},
	{name: "long in pieces", handler: write(long[:4095], long[:4096], long[:4097], long[:3])},
	{name: "Content-Length", handler: set(200, "hello", "Content-Length: 5", plain)},
	{name: "Content-Length of a long one", handler: set(200, long, fmt.Sprint("Content-Length: ", len(long)), plain)},
	{
		name: "Content-Length too long", handler: set(200, "hello", "Content-Length: 6", plain),
		differs: "an answer that is not whole is reset",
		ours:    []string{"no answer: stream error: stream ID 1; INTERNAL_ERROR; received from peer"},
	},
	{
		name: "Content-Length too short", handler: set(200, "hello!", "Content-Length: 5", plain),
		differs: "an answer that is not whole is reset",
		ours:    []string{"no answer: stream error: stream ID 1; INTERNAL_ERROR; received from peer"},
	},
	{name: "Content-Length of nothing", handler: set(200, "", "Content-Length: 0")},
	{name: "Content-Length no number", handler: set(200, "hello", "Content-Length: five", plain)},
	{name: "Content-Length without a type", handler: set(200, "hello", "Content-Length: 5")},
	{
		name: "one byte over what was told", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Content-Type", "a/b")
			_, _ = io.WriteString(w, "hello")
			if n, err := io.WriteString(w, "!"); n != 0 || err == nil {
				panic(err)
			}
		}, differs: "what was refused was not written: the answer is whole",
		ours: answer(200, "hello", "Content-Length: 5", "Content-Type: a/b"),
	},
	{name: "HEAD of nothing", handler: nothing, method: "HEAD"},
	{name: "HEAD short", handler: write("hello"), method: "HEAD"},
	{name: "HEAD long", handler: write(long), method: "HEAD"},
	{name: "HEAD with a length", handler: set(200, "", "Content-Length: 77", plain), method: "HEAD"},
	{name: "HEAD flushed", handler: func(w http.ResponseWriter, _ *http.Request) {
		flush(w)
		_,
			_ = io.WriteString(w, "hello")
	}, method: "HEAD"},
	{name: "204", handler: set(204, "", "X: y")},
	{
		name: "204 with a body", handler: set(204, "hello", "Content-Length: 5", "X: y"),
		differs: "what has no body has no length (RFC 9110 section 8.6)", ours: answer(204, "", "X: y"),
	},
	{name: "304", handler: set(304, "", "Etag: y")},
	{
		name: "304 with what a body has", handler: set(304, "", "Etag: y", plain, "Content-Length: 5"),
		differs: "fields of the body that is not sent would have clients wait for it", ours: answer(304, "", "Etag: y"),
	},
	{name: "205", handler: set(205, "")},
	{name: "404", handler: http.NotFound},
	{name: "status without a name", handler: set(299, "x")},
	{name: "head twice", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(404) }},
	{
		name:    "field after the head",
		handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.Header().Set("Late", "x") },
	},
	{
		name: "fields of a connection", handler: set(200, "hello", plain, "Keep-Alive: 5", "Transfer-Encoding: chunked",
			"Upgrade: x", "Proxy-Connection: x", "Content-Length: 5"),
		differs: "what HTTP/2 does not have is left out, and no length is told twice",
		ours:    answer(200, "hello", "Content-Length: 5", plain),
	},
	{name: "several values", handler: set(200, "", "A: 1", "A: 2", "Set-Cookie: a=b", "Set-Cookie: c=d")},
	{name: "no type", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "<html>")
	}},
	{name: "type that is guessed", handler: write("<html>")},
	{name: "no Date", handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }},
	{
		name: "line end in a value", handler: set(200, "", "A: b\r\nC: d"), differs: "net/http leaves the field out",
		ours: answer(200, "", "A: b  C: d", "Content-Length: 0"),
	},
	{name: "name that is none", handler: set(200, "", "A B: c", "Ok: d")},
	{name: "103 and 102", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(102)
		w.WriteHeader(200)
	}},
	{name: "flush first", handler: func(w http.ResponseWriter, _ *http.Request) { flush(w) }},
	{name: "flush first, then a body", handler: func(w http.ResponseWriter, _ *http.Request) {
		flush(w)
		_,
			_ = io.WriteString(w, "hello")
	}},
	{name: "flush between", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		flush(w)
		_, _ = io.WriteString(w, "world")
		flush(w)
	}},
	{
		name: "trailers", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "A, B")
			w.Header().Set("A", "early")
			_, _ = io.WriteString(w, "hello")
			w.Header().Set("A", "1")
			w.Header().Set(http.TrailerPrefix+"C", "3")
		}, differs: "a trailer is no field of the head, and a body that trailers follow has no length",
		ours: append(answer(200, "hello", guessed), `  trailer A: ["1"]`, `  trailer C: ["3"]`),
	},
	{name: "trailers that were not announced", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		flush(w)
		w.Header().Set(http.TrailerPrefix+"C", "3")
	}},
	{name: "trailers that are none", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Content-Length, Transfer-Encoding, Trailer, A b")
		_, _ = io.WriteString(w, "hello")
		flush(w)
	}},
	{name: "trailers without a body", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "A")
		w.WriteHeader(200)
		w.Header().Set("A", "1")
	}, differs: "a body that trailers follow has no length", ours: append(answer(200, ""), `  trailer A: ["1"]`)},
	{name: "panic", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{name: "panic behind a body", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		flush(w)
		panic(http.ErrAbortHandler)
	}},

	{name: "GET is seen", handler: see, path: "/a%20b/c?d=e&f;g"},
	{name: "escaped slash is seen", handler: see, path: "/a%2fb"},
	{
		name: "HEAD is seen", handler: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Method", r.Method) },
		method: "HEAD",
	},
	{name: "query of nothing is seen", handler: see, path: "/a?"},
	{name: "OPTIONS * is seen", handler: see, method: "OPTIONS", change: func(r *http.Request) { r.URL.Opaque = "*" }},
	{name: "fields are seen", handler: see, change: func(r *http.Request) {
		r.Header = http.Header{
			"A": {"1", "2"}, "X-Y": {"z"}, "Accept": {"a/b"}, "Te": {"trailers"}, "Expect": {},
			"Cookie": {"a=b; c=d; e=f"},
		}
	}},
	{name: "another host is seen", handler: see, change: func(r *http.Request) { r.Host = "y:80" }},
	{name: "body is seen", handler: see, method: "POST", body: strings.NewReader("hello")},
	{
		name: "long body is seen", handler: see, method: "PUT",
		body: strings.NewReader(long + long + long + long + long + long),
	},
	{
		name: "body without a length is seen", handler: see, method: "POST",
		body: io.MultiReader(strings.NewReader("hello")),
	},
	{
		name: "trailers are seen", handler: see, method: "POST", body: io.MultiReader(strings.NewReader("hello")),
		change: func(r *http.Request) {
			r.Trailer = http.Header{"A": {"1"}, "B": {"2", "3"}}
		},
	},
	{name: "unread body", handler: write("early"), method: "POST", body: strings.NewReader("hello")},
	{name: "unawaited body", handler: func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		_,
			_ = io.WriteString(w, "early")
	}, method: "POST", body: strings.NewReader(long)},
	{name: "body read behind its close", handler: func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		_, _ = fmt.Fprint(w, err != nil)
	}, method: "POST", body: strings.NewReader("hello")},
	{name: "answer beside the body", handler: func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.CopyN(w, r.Body, 2)
			flush(w)
		}
	}, method: "POST", body: strings.NewReader("12345")},
}

const guessed = "Content-Type: text/plain; charset=utf-8"

// answer is the transcript of an answer, with fields in order.
func answer(status int, body string, fields ...string) []string {
	lines := []string{fmt.Sprint(status)}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		lines = append(lines, fmt.Sprintf("  %s: [%q]", name, value))
	}
	return append(lines, fmt.Sprintf("  body %q", abridged([]byte(body))))
}

func abridged(body []byte) []byte {
	if len(body) > 2000 {
		return fmt.Appendf(nil, "%d bytes", len(body))
	}
	return body
}

// transcript is what a client sees.
func transcript(t *testing.T, address string, row alike) (lines []string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	if s, ok := row.body.(*strings.Reader); ok {
		row.body = strings.NewReader(row.all(s))
	}
	r, err := http.NewRequest(row.method, "http://"+address+row.path, row.body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Host = "x"; row.change != nil {
		row.change(r)
	}
	r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			lines = append(lines, fmt.Sprint(status, " ", h))
			return nil
		},
	}))
	a, err := transport.RoundTrip(r)
	if err != nil {
		return append(lines, "no answer: "+err.Error())
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	lines = append(lines, fmt.Sprint(a.StatusCode))
	a.Header.Del("Date")
	lines = append(lines, section("  ", a.Header)...)
	lines = append(lines, fmt.Sprintf("  body %q", abridged(body)))
	lines = append(lines, section("  trailer ", a.Trailer)...)
	if err != nil {
		lines = append(lines, "  body breaks off: "+err.Error())
	}
	return lines
}

func section(before string, h http.Header) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if len(h[name]) > 0 {
			lines = append(lines, fmt.Sprintf("%s%s: %q", before, name, h[name]))
		}
	}
	return lines
}

func (row alike) all(s *strings.Reader) string {
	b := make([]byte, s.Size())
	if _, err := s.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		panic(err)
	}
	return string(b)
}

// To a client and to a handler, the server looks like net/http's, but for what is listed.
func TestAnswersLikeNetHTTP(t *testing.T) {
	t.Parallel()
	for _, row := range alikes {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			again := func() alike { // a body of several readers is read once
				copied := row
				if _, multi := row.body.(*strings.Reader); !multi && row.body != nil {
					copied.body = io.MultiReader(strings.NewReader("hello"))
				}
				return copied
			}
			want, got := transcript(t, theirs(t, row.handler), again()), transcript(t, serve(t, ours(row.handler)), again())
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
