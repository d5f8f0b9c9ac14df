package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/httpserver/h1"
	"github.com/jotgate/jotgate/internal/refusal"
)

// pieces is a client that sends a stream in pieces of one size and then closes its side.
type pieces struct {
	net.Conn
	stream []byte
	size   int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.stream[:min(p.size, len(p.stream))])
	p.stream = p.stream[n:]
	return n, nil
}

func (*pieces) Write(b []byte) (int, error)     { return len(b), nil }
func (*pieces) SetReadDeadline(time.Time) error { return nil }
func (*pieces) RemoteAddr() net.Addr            { return &net.TCPAddr{} }
func (*pieces) Close() error                    { return nil }

// request is what a server makes of one request.
type request struct {
	Line    string // method, target, version
	Host    string
	Length  int64
	Chunked bool
	Fields  string
	Body    string
	BodyErr bool
	Refused refusal.Reason
}

func read(r *http.Request) request {
	body, err := io.ReadAll(r.Body)
	return request{
		Line: r.Method + " " + r.RequestURI + " " + r.Proto, Host: r.Host, Length: r.ContentLength,
		Chunked: len(r.TransferEncoding) > 0, Fields: fmt.Sprint(r.Header), Body: string(body), BodyErr: err != nil,
	}
}

// served is what a handler gets of a stream.
func served(t failer, stream []byte, size int, l *httpserver.Limits) []request {
	var got []request
	s := &h1.Server{
		Limits: l, Context: context.Background(), Log: zap.NewNop(), Last: func() bool { return false },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = append(got, read(r)) }),
		Refused: func(w http.ResponseWriter, _ *http.Request, why *refusal.Error) {
			got = append(got, request{Refused: why.Reason})
			w.WriteHeader(why.Reason.Status())
		},
	}
	s.NewConn(&pieces{stream: stream, size: size}).Serve()
	return got
}

// unwatched is what net/http reads by itself, as many requests at most.
func unwatched(stream []byte, most int) []request {
	in := bufio.NewReader(bytes.NewReader(stream))
	var got []request
	for len(got) < most {
		if b, _ := in.Peek(2); string(b) == "\r\n" {
			_, _ = in.Discard(2) // RFC 9112 section 2.2; net/http does so behind a POST
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			return got
		}
		got = append(got, read(r))
	}
	return got
}

var fuzzLimits = httpserver.Limits{HeaderBytes: 256, URIBytes: 64, Fields: 6}.WithDefaults()

// Whatever a handler gets, net/http reads in the raw stream, too: same lines, same fields, same framing, same bodies.
// And how the stream is cut into pieces changes nothing.
func FuzzConn(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
		"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.0\r\nHost: x:80\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n" +
			"Host: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
		"GET /" + strings.Repeat("a", 70) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 256) + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:1\r\nTrailer: a, Content-Length\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) { readsAlike(t, stream, int(size)+1) })
}

// The same property on streams that are put together from what requests and attacks are made of.
func TestConnReadsLikeNetHTTP(t *testing.T) {
	t.Parallel()
	fragments := []string{
		"GET / HTTP/1.1\r\n", "POST /a?b=%zz HTTP/1.1\r\n", "HEAD /x HTTP/1.0\r\n", "CONNECT x:1 HTTP/1.1\r\n", "Host: x\r\n",
		"hOST:x:1 \t\r\n",
		"Content-Length: 3\r\n", "content-length:0\r\n", "Content-Length: +3\r\n", "Transfer-Encoding: chunked\r\n",
		"transfer-encoding:\tCHUNKED \r\n",
		"Transfer-Encoding: x, chunked\r\n", "Trailer: a\r\n", "Expect: 100-continue\r\n", "A: b\r\n", " folded\r\n",
		"A : b\r\n", "A: \x00\r\n", "\xc3: b\r\n", "A: \xc3\r\n",
		"\r\n", "\n", "\r", "abc", "0\r\n", "3\r\nabc\r\n", "003\r\nabc\r\n", "3;x\r\nabc\r\n", "ffffffffffffffff\r\n",
		"0\r\n\r\n", "0\r\nA: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"A: " + strings.Repeat("a", 300) + "\r\n", "GET /" + strings.Repeat("u", 70),
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	}
	rapid.Check(t, func(r *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom(fragments), 1, 12).Draw(r, "parts")
		readsAlike(r, []byte(strings.Join(parts, "")), rapid.IntRange(2, 40).Draw(r, "size"))
	})
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func readsAlike(t failer, stream []byte, size int) {
	t.Helper()
	whole := served(t, stream, len(stream)+1, &fuzzLimits)
	for _, n := range []int{1, size} {
		if diff := cmp.Diff(whole, served(t, stream, n, &fuzzLimits)); diff != "" {
			t.Fatalf("pieces of %d bytes (-whole +pieces):\n%s", n, diff)
		}
	}
	for i, r := range whole {
		if (r.Refused != "" || r.BodyErr) && i != len(whole)-1 {
			t.Fatalf("request behind an end: %+v", whole)
		}
	}
	// An end that the client asks for is an end; net/http's parser leaves that to its server.
	passed := slices.DeleteFunc(slices.Clone(whole), func(r request) bool { return r.Refused != "" || r.BodyErr })
	if diff := cmp.Diff(passed, unwatched(stream, len(passed))); diff != "" && len(passed) > 0 {
		t.Fatalf("net/http alone reads otherwise (-passed +alone):\n%s", diff)
	}
}

// ValidHost accepts nothing that net/http or a URL reader would split otherwise.
func FuzzValidHost(f *testing.F) {
	for _, s := range []string{"a", "a.b:80", "[::1]:8", "a..b", "a:", "a:0", "[::1%25x]", "a@b", "a/b", "1.2.3.4:65536"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !grammar.ValidHost(host) {
			return
		}
		r, err := http.NewRequest(http.MethodGet, "http://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL.Host != host || r.URL.User != nil || r.URL.Path != "/" {
			t.Fatalf("%q reads as %+v", host, r.URL)
		}
	})
}
