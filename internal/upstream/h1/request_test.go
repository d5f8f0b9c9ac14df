package h1

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pieces is a body that comes in pieces, without a known length.
type pieces struct{ left []string }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[0])
	p.left = p.left[1:]
	return n, nil
}

// TestRequestsAreWrittenAlike compares what arrives from both clients, but for the order of fields.
func TestRequestsAreWrittenAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*http.Request)
	}{
		{name: "a GET", change: func(r *http.Request) {}},
		{name: "fields", change: func(r *http.Request) {
			r.Header = http.Header{"User-Agent": {"x"}, "X-A": {"1", "2"}, "x-lower": {"3"}, "Accept": {""}, "Te": {"trailers"}}
		}},
		{name: "a host of its own", change: func(r *http.Request) { r.Host = "app.example:81" }},
		{name: "a raw target", change: func(r *http.Request) {
			r.URL = &url.URL{Scheme: "http", Host: r.URL.Host, Opaque: "/a%2fb;c/../%7E?x=1;y"}
		}},
		{name: "two slashes", change: func(r *http.Request) {
			r.URL = &url.URL{Scheme: "http", Host: r.URL.Host, Path: "//a/b", RawPath: "//a%2Fb", RawQuery: "q"}
		}},
		{name: "an empty query", change: func(r *http.Request) { r.URL.ForceQuery = true }},
		{name: "a POST without a body", change: func(r *http.Request) { r.Method = "POST" }},
		{name: "a PUT with NoBody", change: func(r *http.Request) { r.Method, r.Body = "PUT", http.NoBody }},
		{name: "a DELETE without a body", change: func(r *http.Request) { r.Method = "DELETE" }},
		{name: "a length", change: func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "POST", 6, io.NopCloser(&pieces{[]string{"abc", "def"}})
		}},
		{name: "a GET with a length", change: func(r *http.Request) {
			r.ContentLength, r.Body = 3,
				io.NopCloser(&pieces{[]string{"abc"}})
		}},
		{name: "chunks", change: func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "POST", -1, io.NopCloser(&pieces{[]string{"abc", "defghijklmnopqrstuvw"}})
		}},
		{name: "chunks of nothing", change: func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "POST", -1,
				io.NopCloser(&pieces{})
		}},
		{name: "trailers", change: func(r *http.Request) {
			r.Method, r.ContentLength, r.Trailer = "POST", -1, http.Header{"X-T": {"1"}}
			r.Body = io.NopCloser(&pieces{[]string{"abc"}})
		}},
		{name: "close", change: func(r *http.Request) { r.Close = true }},
		{name: "framing that a map claims", change: func(r *http.Request) {
			r.Header = http.Header{
				"User-Agent": {""}, "Content-Length": {"9"}, "Transfer-Encoding": {"x"}, "Host": {"evil"},
				"Trailer": {"X"},
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			send := func(open func(Settings) http.RoundTripper) (lines []string, body string) {
				arrived := make(chan [2]string, 1)
				s := serve(t, func(p *peer) {
					head, data := p.request()
					arrived <- [2]string{head, data}
					p.say(okay)
				})
				r := request(t, "GET", "http://"+s.address()+"/", nil)
				r.Header["User-Agent"] = []string{""}
				c.change(r)
				if _, _, err := read(open(settings(s)).RoundTrip(r)); err != nil {
					t.Fatal(err)
				}
				got := <-arrived
				lines = strings.Split(strings.ReplaceAll(got[0], s.address(), "SERVER"), "\r\n")
				slices.Sort(lines[1:])
				return lines, got[1]
			}
			theirs, theirBody := send(func(s Settings) http.RoundTripper { return transport(t, s) })
			ours, ourBody := send(func(s Settings) http.RoundTripper { return client(t, s) })
			if d := cmp.Diff(theirs, ours); d != "" || theirBody != ourBody {
				t.Errorf("http.Transport (-), ours (+):\n%s\n%q\n%q", d, theirBody, ourBody)
			}
		})
	}
}

func TestWhatCannotBeWrittenIsNotSent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{
			"CR and LF in a value", func(r *http.Request) { r.Header["X"] = []string{"a\r\nY: b"} },
			"request field X: its value has control characters",
		},
		{
			"NUL in a value", func(r *http.Request) { r.Header["X"] = []string{"\x00"} },
			"request field X: its value has control characters",
		},
		{
			"a space in a name", func(r *http.Request) { r.Header["X Y"] = []string{"a"} },
			`request field "X Y": not a field's name`,
		},
		{"no name", func(r *http.Request) { r.Header[""] = []string{"a"} }, `request field "": not a field's name`},
		{"a space in the method", func(r *http.Request) { r.Method = "GET /x" }, `request method "GET /x": not a token`},
		{"CONNECT", func(r *http.Request) { r.Method = "CONNECT" }, "request method CONNECT: not spoken here"},
		{
			"a space in the target", func(r *http.Request) { r.URL.Opaque = "/a HTTP/1.1" },
			"request target: empty, or with white space or control characters",
		},
		{
			"CR and LF in the target", func(r *http.Request) { r.URL.Opaque = "/a\r\nX:" },
			"request target: empty, or with white space or control characters",
		},
		{"CR in the host", func(r *http.Request) { r.Host = "a\rb" }, `request host "a\rb": not a host`},
		{"a trailer that frames", func(r *http.Request) {
			r.Body, r.ContentLength, r.Trailer = io.NopCloser(&pieces{}), -1, http.Header{"Content-Length": nil}
		}, `request trailer "Content-Length": cannot be one`},
	} {
		s := serve(t, answering(okay))
		r := request(t, "GET", "http://"+s.address()+"/", nil)
		body := &closing{Reader: strings.NewReader("")}
		r.Body, r.ContentLength = body, -1
		c.change(r)
		if _, err := client(t, settings(s)).RoundTrip(r); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
		if r.Body == body && !body.closed {
			t.Errorf("%s: the body is not closed", c.name)
		}
		if n := len(s.seen()); n > 0 {
			t.Errorf("%s: sent", c.name)
		}
	}
}

func TestExpectIsAnsweredBeforeUs(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.request()
		p.say(okay)
	})
	r := request(t, "POST", "http://"+s.address()+"/", strings.NewReader("x"))
	r.Header["Expect"] = []string{"100-continue"}
	if status, _, err := read(client(t, settings(s)).RoundTrip(r)); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	if head := s.seen()[0]; strings.Contains(head, "Expect") {
		t.Errorf("sent %q", head)
	}
}

var errBody = errors.New("the body broke off")

// breaking is a body that fails behind its first piece.
type breaking struct{ begun bool }

func (b *breaking) Read(p []byte) (int, error) {
	if b.begun {
		return 0, errBody
	}
	b.begun = true
	return copy(p, "abc"), nil
}

func TestBodiesThatBreakOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		body   io.Reader
		length int64
		want   error
	}{
		{"a failure, with a length", &breaking{}, 10, errBody},
		{"a failure, in chunks", &breaking{}, -1, errBody},
		{"short", strings.NewReader("abc"), 10, errShortBody},
		{"long", strings.NewReader("abcdef"), 3, errLongBody},
		{"long, in pieces", &pieces{[]string{"abc", "def"}}, 3, errLongBody},
	} {
		arrived := make(chan string, 1)
		s := serve(t, func(p *peer) {
			p.head()
			data, _ := io.ReadAll(p.in)
			arrived <- string(data)
		})
		r := request(t, "POST", "http://"+s.address()+"/", io.NopCloser(c.body))
		r.ContentLength = c.length
		if _, err := client(t, settings(s)).RoundTrip(r); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		// Half a body must not look whole to the server.
		if got := <-arrived; strings.Contains(got, "0\r\n\r\n") || len(got) == int(c.length) && c.want != errLongBody {
			t.Errorf("%s: the server got %q", c.name, got)
		}
	}
}

// The answer's head comes while the request's body goes on, and both bodies stream.
func TestBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.head()
		p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			size, err := p.in.ReadString('\n')
			if err != nil {
				return
			}
			data, err := p.in.ReadString('\n')
			if err != nil || !p.say(size, data) || size == "0\r\n" {
				answering(okay)(p)
				return
			}
		}
	})
	c := client(t, settings(s))
	out, in := io.Pipe()
	answer, err := c.RoundTrip(request(t, "POST", "http://"+s.address()+"/", out))
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"a", "bc", "def"} {
		io.WriteString(in, piece)
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != piece {
			t.Fatalf("got %q %v, want %q", got, err, piece)
		}
	}
	in.Close()
	if rest, err := io.ReadAll(answer.Body); len(rest) > 0 || err != nil {
		t.Errorf("then %q %v", rest, err)
	}
	if _, body, err := get(c, s); body != "ok" || err != nil || s.connections() != 1 {
		t.Errorf("then %q %v on connection %d", body, err, s.connections())
	}
}

// An answer that does not wait for the body ends its connection: what is left of the body must not be the next request.
func TestAnEarlyAnswerEndsItsConnection(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.head()
		p.say(okay)
		p.hang()
	})
	c := client(t, settings(s))
	out, in := io.Pipe()
	answer, err := c.RoundTrip(request(t, "POST", "http://"+s.address()+"/", out))
	if status, body, err := read(answer, err); status != 200 || body != "ok" || err != nil {
		t.Fatal(status, body, err)
	}
	if _, _, err := get(c, s); err != nil {
		t.Error(err)
	}
	if n := s.connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	in.Close() // lets the sender go
}
