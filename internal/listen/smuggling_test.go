package listen_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A ledger is a handler that writes down what reached it, as net/http read it.
type ledger struct {
	mu    sync.Mutex
	lines []string
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	line := fmt.Sprintf("%s %s %q", r.Method, r.RequestURI, body)
	if err != nil {
		line += " broken: " + string(refusal.Of(err))
		w.WriteHeader(http.StatusBadRequest)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *ledger) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

const get = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// final asks the server to close, so that a client that waits for the end sees it.
const final = "GET /final HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

var smuggling = []struct {
	name   string
	send   string
	status []int    // of the answers; the last one must close the connection
	served []string // what the handler saw
}{
	{"plain", final, []int{200}, []string{`GET /final ""`}},
	{
		"pipelined", get + get + final,
		[]int{200, 200, 200},
		[]string{`GET /smuggled ""`, `GET /smuggled ""`, `GET /final ""`},
	},
	{"one empty line before", "\r\n" + final, []int{200}, []string{`GET /final ""`}},
	{
		"empty line behind a body", post("Content-Length: 2", "hi") + "\r\n" + final,
		[]int{200, 200},
		[]string{`POST /p "hi"`, `GET /final ""`},
	},
	{"two empty lines before", "\r\n\r\n" + final, []int{400}, nil},
	{"HTTP/1.0", "GET /old HTTP/1.0\r\nHost: x\r\n\r\n" + get, []int{200}, []string{`GET /old ""`}},

	{
		"Content-Length beside Transfer-Encoding", post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+get),
		[]int{400},
		nil,
	},
	{
		"Transfer-Encoding beside Content-Length", post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"+get),
		[]int{400},
		nil,
	},
	{"two Content-Length, equal", post("Content-Length: 2\r\nContent-Length: 2", "hi"+get), []int{400}, nil},
	{"two Content-Length, different", post("Content-Length: 2\r\nContent-Length: 40", "hi"+get), []int{400}, nil},
	{"Content-Length list", post("Content-Length: 2, 2", "hi"+get), []int{400}, nil},
	{"Content-Length with sign", post("Content-Length: +2", "hi"+get), []int{400}, nil},
	{"Content-Length negative", post("Content-Length: -2", "hi"+get), []int{400}, nil},
	{"Content-Length hexadecimal", post("Content-Length: 0x2", "hi"+get), []int{400}, nil},
	{"Content-Length with underscore", post("Content-Length: 1_0", "hi"+get), []int{400}, nil},
	{"Content-Length empty", post("Content-Length:", "hi"+get), []int{400}, nil},
	{"Content-Length overflow", post("Content-Length: 18446744073709551618", "hi"+get), []int{400}, nil},
	{
		"Content-Length before a tab", post("Content-Length: 2\t", "hi") + final,
		[]int{200, 200},
		[]string{`POST /p "hi"`, `GET /final ""`},
	},

	{
		"chunked", post("Transfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n") + final,
		[]int{200, 200},
		[]string{`POST /p "hi"`, `GET /final ""`},
	},
	{
		"chunked in capitals, with a trailer", post("transfer-encoding: CHUNKED", "02\r\nhi\r\n000\r\nA: b\r\n\r\n") + final,
		[]int{200, 200},
		[]string{`POST /p "hi"`, `GET /final ""`},
	},
	{"TE.TE identity", post("Transfer-Encoding: identity", "hi"+get), []int{400}, nil},
	{"TE.TE list", post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE chunked twice in a list", post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"+get), []int{400}, nil},
	{
		"TE.TE two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+get),
		[]int{400},
		nil,
	},
	{
		"TE.TE two lines, one unknown", post("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+get),
		[]int{400},
		nil,
	},
	{"TE.TE quoted", post(`Transfer-Encoding: "chunked"`, "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE with parameter", post("Transfer-Encoding: chunked;q=1", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE xchunked", post("Transfer-Encoding: xchunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE space before the colon", post("Transfer-Encoding : chunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE folded", post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE vertical tab", post("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE behind a bare LF", post("X: y\nTransfer-Encoding: chunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE behind a bare CR", post("X: y\rTransfer-Encoding: chunked", "0\r\n\r\n"+get), []int{400}, nil},
	{"TE.TE empty", post("Transfer-Encoding:", "0\r\n\r\n"+get), []int{400}, nil},
	{
		"TE in HTTP/1.0", "POST /p HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get,
		[]int{400},
		nil,
	},

	{
		"chunk extension", post("Transfer-Encoding: chunked", "2;a=b\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk extension behind a space", post("Transfer-Encoding: chunked", "2 ;a\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk extension with a bare LF", post("Transfer-Encoding: chunked", "2;\nxx\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk size with bare LF", post("Transfer-Encoding: chunked", "2\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk size with 0x", post("Transfer-Encoding: chunked", "0x2\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk size with sign", post("Transfer-Encoding: chunked", "+2\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk size empty", post("Transfer-Encoding: chunked", "\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk size overflow", post("Transfer-Encoding: chunked", "ffffffffffffffff\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk size of 17 digits", post("Transfer-Encoding: chunked", "00000000000000002\r\nhi\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"chunk longer than its size", post("Transfer-Encoding: chunked", "2\r\nhi!\r\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "hi" broken: body_malformed`},
	},
	{
		"chunk data before a bare LF", post("Transfer-Encoding: chunked", "2\r\nhi\n0\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "hi" broken: body_malformed`},
	},
	{
		"second chunk bad", post("Transfer-Encoding: chunked", "2\r\nhi\r\nzz\r\n"+get),
		[]int{400},
		[]string{`POST /p "hi" broken: body_malformed`},
	},
	{
		"trailer with bare LF", post("Transfer-Encoding: chunked", "0\r\nA: b\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"trailer folded", post("Transfer-Encoding: chunked", "0\r\nA: b\r\n c\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"trailers over the limit", post("Transfer-Encoding: chunked", "0\r\nA: "+strings.Repeat("b", 3000)+"\r\n\r\n"+get),
		[]int{400},
		[]string{`POST /p "" broken: body_malformed`},
	},
	{
		"Trailer names a framing field", post("Transfer-Encoding: chunked\r\nTrailer: A, Content-Length", "0\r\n\r\n"+get),
		[]int{400},
		nil,
	},

	{"bare LF throughout", "GET / HTTP/1.1\nHost: x\n\n" + get, []int{400}, nil},
	{"bare LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\n" + get, []int{400}, nil},
	{"bare CR throughout", "GET / HTTP/1.1\rHost: x\r\r" + get, []int{400}, nil},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n" + get, []int{400}, nil},
	{"obs-fold", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n" + get, []int{400}, nil},
	{"obs-fold with tab", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n" + get, []int{400}, nil},
	{"whitespace before the first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n" + get, []int{400}, nil},
	{"whitespace before the method", " GET / HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"space before a colon", "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n" + get, []int{400}, nil},
	{"field name empty", "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n" + get, []int{400}, nil},
	{"field name not a token", "GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n" + get, []int{400}, nil},
	{"field without colon", "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n" + get, []int{400}, nil},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n" + get, []int{400}, nil},
	{"DEL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n" + get, []int{400}, nil},

	{"no version", "GET /\r\n\r\n" + get, []int{400}, nil},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"tab instead of space", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"method not a token", "G@T / HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"version in lower case", "GET / http/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n" + get, []int{505}, nil},
	{"HTTP/3.0", "GET / HTTP/3.0\r\nHost: x\r\n\r\n" + get, []int{505}, nil},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{505}, nil},
	{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []int{400}, nil},
	{"absolute-form", "GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"target without slash", "GET a HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"asterisk for GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{
		"asterisk for OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + final,
		[]int{200, 200},
		[]string{`OPTIONS * ""`, `GET /final ""`},
	},
	{"broken escape", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{
		"broken escape in the query", "GET /?%zz HTTP/1.1\r\nHost: x\r\n\r\n" + final,
		[]int{200, 200},
		[]string{`GET /?%zz ""`, `GET /final ""`},
	},
	{"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + get, []int{200}, []string{`CONNECT x:443 ""`}},
	// whose path it is says 405
	{"CONNECT to a path", "CONNECT /x HTTP/1.1\r\nHost: x\r\n\r\n" + get, []int{200}, []string{`CONNECT /x ""`}},

	{"no Host", "GET / HTTP/1.1\r\n\r\n" + get, []int{400}, nil},
	{"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n" + get, []int{200}, []string{`GET / ""`}},
	{"empty Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost:\r\n\r\n" + get, []int{400}, nil},
	{"two Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n" + get, []int{400}, nil},
	{"two Host", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n" + get, []int{400}, nil},
	{"Host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n" + get, []int{400}, nil},
	{"Host with user", "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n" + get, []int{400}, nil},
	{"Host with path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n" + get, []int{400}, nil},
	{"Host list", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n" + get, []int{400}, nil},
	{"Host with bad port", "GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n" + get, []int{400}, nil},
	{"Host not ASCII", "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n" + get, []int{400}, nil},
	{
		"Host an IPv6 address", "GET /6 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n" + final,
		[]int{200, 200},
		[]string{`GET /6 ""`, `GET /final ""`},
	},

	{
		"bad request behind a good one", get + "GET / HTTP/1.1\nHost: x\n\n" + get,
		[]int{200, 400},
		[]string{`GET /smuggled ""`},
	},
}

func post(fields, body string) string {
	return "POST /p HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n\r\n" + body
}

var requestID = regexp.MustCompile(`"request_id":"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"`)

func TestSmuggling(t *testing.T) {
	t.Parallel()
	for _, row := range smuggling {
		for _, cut := range []int{1 << 20, 1, 9} {
			t.Run(fmt.Sprintf("%s/%d", row.name, cut), func(t *testing.T) {
				t.Parallel()
				var seen ledger
				c := dial(t, start(t, listen.Options{}, &seen))
				_ = c.SetNoDelay(true)
				for send := row.send; send != ""; {
					n := min(cut, len(send))
					if _, err := io.WriteString(c, send[:n]); err != nil {
						break // the server has heard enough
					}
					send = send[n:]
				}
				if diff := cmp.Diff(row.status, answers(t, c)); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(row.served, seen.all()); diff != "" {
					t.Errorf("served (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// answers reads until the server closes. The last answer must say that it does, and a refusal must be a problem
// document.
func answers(t *testing.T, c net.Conn) (statuses []int) {
	t.Helper()
	in := bufio.NewReader(c)
	for {
		if _, err := in.Peek(1); err == io.EOF {
			return statuses
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("after %v: %v", statuses, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, r.StatusCode)
		if r.StatusCode != 200 && len(body) > 0 {
			isProblem(t, r, string(body))
		}
	}
}

func isProblem(t *testing.T, r *http.Response, body string) {
	t.Helper()
	id := requestID.FindStringSubmatch(body)
	if id == nil || id[1] != r.Header.Get("X-Request-Id") {
		t.Errorf("no request id, or another in the header: %s %v", body, r.Header)
		return
	}
	want := fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"request_id":%q}`, http.StatusText(r.StatusCode),
		r.StatusCode, id[1])
	if strings.TrimSpace(body) != want || r.Header.Get("Content-Type") != "application/problem+json" || !r.Close {
		t.Errorf("not a problem document that closes: %v %s", r.Header, body)
	}
}

// The limits hold to the byte.
func TestHeadLimits(t *testing.T) {
	t.Parallel()
	head := func(uri, size int) string {
		s := "GET /" + strings.Repeat("u", uri-1) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: "
		return s + strings.Repeat("a", size-len(s)-4) + "\r\n\r\n"
	}
	fields := func(n int) string {
		s := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		for i := range n - 2 {
			s += "A" + strconv.Itoa(i) + ": b\r\n"
		}
		return s + "\r\n"
	}
	for _, row := range []struct {
		name, send string
		status     int
	}{
		{"head at 32 KiB", head(10, 32<<10), 200},
		{"head one over", head(10, 32<<10+1), 431},
		{"head without end", head(10, 40<<10)[:36<<10], 431},
		{"head at 32 KiB behind an empty line", "\r\n" + head(10, 32<<10), 200},
		{"target at 16 KiB", head(16<<10, 20<<10), 200},
		{"target one over", head(16<<10+1, 20<<10), 414},
		{"target without end", head(30<<10, 31<<10)[:20<<10], 414},
		{"200 fields", fields(200), 200},
		{"201 fields", fields(201), 431},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, start(t, listen.Options{}, new(ledger)))
			if _, err := io.WriteString(c, row.send); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]int{row.status}, answers(t, c)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
