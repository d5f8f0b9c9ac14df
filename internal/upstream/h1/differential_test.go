package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An outcome is all that the caller of a client sees of one answer.
type outcome struct {
	Fault   string // before the head: "", "broken", "timeout", "unreachable"
	Status  int
	Line    string
	Version string
	Header  http.Header
	Length  int64
	Coding  []string
	Body    string
	End     string // of the body: "", "cut"
	Trailer http.Header
	Hints   []string
}

// A behaviour is what a server does with one request.
type behaviour struct {
	name   string
	method string // GET if empty
	body   string // of the request
	speak  func(*peer)
	// closing is the Connection field that http.Transport hides when it says close; we leave it to who strips such fields,
	// since it may name others besides.
	closing string
	// stricter is why our client refuses what http.Transport lets pass; "" where both must say the same.
	stricter string
	// differs is why our answer is another one, and same makes theirs of ours.
	differs string
	same    func(*outcome)
}

// says sends raw bytes in one piece, so that none of them come when the client has gone on, and goes on as a server
// that keeps its connections.
func says(parts ...string) func(*peer) {
	return func(p *peer) {
		if p.say(strings.Join(parts, "")) {
			answering(next)(p)
		}
	}
}

// ends sends raw bytes and closes.
func ends(parts ...string) func(*peer) { return func(p *peer) { p.say(parts...) } }

// resets sends raw bytes and breaks the connection off.
func resets(parts ...string) func(*peer) {
	return func(p *peer) {
		p.say(parts...)
		p.reset()
	}
}

func hangs(parts ...string) func(*peer) {
	return func(p *peer) {
		if p.say(parts...) {
			p.hang()
		}
	}
}

const (
	next = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"
	ok   = "HTTP/1.1 200 OK\r\n"
	cl5  = "Content-Length: 5\r\n"
	te   = "Transfer-Encoding: chunked\r\n"
	end  = "\r\n"
	hi   = "hello"
)

var behaviours = []behaviour{
	// Good ones.
	{name: "a length", speak: says(ok, cl5, end, hi)},
	{name: "a length of nothing", speak: says(ok, "Content-Length: 0\r\n", end)},
	{name: "a length with zeros in front", speak: says(ok, "Content-Length: 0005\r\n", end, hi)},
	{name: "byte by byte", speak: func(p *peer) {
		for _, c := range []byte(ok + cl5 + end + hi) {
			p.say(string(c))
		}
		answering(next)(p)
	}},
	{name: "until the close", speak: ends(ok, end, hi)},
	{name: "until the close, nothing", speak: ends(ok, end)},
	{name: "a large body", speak: says(ok, "Content-Length: 1000000\r\n", end, strings.Repeat("0123456789", 100_000))},
	{
		name:  "a large body in chunks",
		speak: says(ok, te, end, strings.Repeat("2710\r\n"+strings.Repeat("0123456789", 1000)+"\r\n", 50), "0\r\n\r\n"),
	},
	{name: "chunks", speak: says(ok, te, end, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")},
	{name: "chunks, coding in capitals", speak: says(ok, "transfer-encoding: CHUNKED\r\n", end,
		"5\r\nhello\r\n0\r\n\r\n")},
	{name: "chunks byte by byte", speak: func(p *peer) {
		for _, c := range []byte(ok + te + end + "5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX-T: 1\r\n\r\n") {
			p.say(string(c))
		}
		answering(next)(p)
	}},
	{
		name:  "chunk sizes in capitals with zeros",
		speak: says(ok, te, end, "000A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n"),
	},
	{name: "chunk extensions", speak: says(ok, te, end, "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n")},
	{name: "trailers, announced", speak: says(ok, te, "Trailer: X-One, X-Two\r\n", end,
		"5\r\nhello\r\n0\r\nX-One: 1\r\nx-two: 2\r\n\r\n")},
	{name: "trailers, not announced", speak: says(ok, te, end, "5\r\nhello\r\n0\r\nX-One: 1\r\nX-One: 2\r\n\r\n")},
	{name: "trailers, announced and missing", speak: says(ok, te, "Trailer: X-One\r\n", end, "5\r\nhello\r\n0\r\n\r\n")},
	{name: "trailers announced without chunks", speak: says(ok, cl5, "Trailer: X-One\r\n", end, hi)},
	{
		name: "fields: twice, empty, padded, in any case, with bytes over 0x7f",
		speak: says(ok, "X-A: 1\r\nx-a: 2\r\nX-Empty:\r\nX-Pad: \t a b \t \r\nx_under: 1\r\nX-High: caf\xc3\xa9 \xff\r\n",
			cl5, end, hi),
	},
	{name: "two cookies", speak: says(ok, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n", cl5, end, hi)},
	{name: "no space before the value", speak: says(ok, "X:1\r\nContent-Length:5\r\n", end, hi)},
	{name: "a status without reason", speak: says("HTTP/1.1 200\r\n", cl5, end, hi)},
	{name: "a status with an empty reason", speak: says("HTTP/1.1 200 \r\n", cl5, end, hi)},
	{name: "a status with bytes over 0x7f in its reason", speak: says("HTTP/1.1 200 Tr\xc3\xa8s bien\r\n", cl5, end, hi)},
	{name: "an unregistered status", speak: says("HTTP/1.1 799 Odd\r\n", cl5, end, hi)},
	{name: "HTTP/1.0 with a length", speak: ends("HTTP/1.0 200 OK\r\n", cl5, end, hi)},
	{name: "HTTP/1.0 until the close", speak: ends("HTTP/1.0 200 OK\r\n", end, hi)},
	{name: "HTTP/1.0 kept alive", speak: says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", cl5, end, hi)},
	{closing: "close", name: "Connection: close", speak: ends(ok, "Connection: close\r\n", cl5, end, hi)},
	{
		closing: "x, Close", name: "Connection: close, and it stays open",
		speak: says(ok, "Connection: x, Close\r\n", cl5, end, hi),
	},
	{name: "HEAD with a length", method: "HEAD", speak: says(ok, cl5, end)},
	{name: "HEAD with chunks announced", method: "HEAD", speak: says(ok, te, end)},
	{name: "HEAD with nothing", method: "HEAD", speak: says(ok, end)},
	{name: "HEAD with a body that must not be", method: "HEAD", speak: says(ok, cl5, end, hi)},
	{name: "HEAD until the close", method: "HEAD", speak: ends(ok, end)},
	{name: "204", speak: says("HTTP/1.1 204 No Content\r\n", end)},
	{name: "204 with a body that must not be", speak: says("HTTP/1.1 204 No Content\r\n", cl5, end, hi)},
	{name: "204 with chunks that must not be", speak: says("HTTP/1.1 204 No Content\r\n", te, end,
		"5\r\nhello\r\n0\r\n\r\n")},
	{name: "304", speak: says("HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n", end)},
	{name: "304 with a length", speak: says("HTTP/1.1 304 Not Modified\r\n", cl5, end)},
	{name: "304 with a body that must not be", speak: says("HTTP/1.1 304 Not Modified\r\n", cl5, end, hi)},
	{name: "205 with a body", speak: says("HTTP/1.1 205 Reset Content\r\n", cl5, end, hi)},
	{name: "a hint", speak: says("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok, cl5, end, hi)},
	{name: "hints of every kind", speak: says("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n",
		"HTTP/1.1 199 x\r\nA: b\r\n\r\n", ok, cl5, end, hi)},
	{name: "a hint with a length that means nothing", speak: says("HTTP/1.1 103 Early Hints\r\n", cl5, end, ok, cl5, end,
		hi)},
	{name: "as many hints as are allowed", speak: says(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", hintLimit), ok,
		cl5, end, hi)},
	{name: "a POST", method: "POST", body: "ping", speak: func(p *peer) {
		io.CopyN(io.Discard, p.in, 4)
		says(ok, cl5, end, hi)(p)
	}},
	{name: "a POST without a body", method: "POST", speak: says(ok, cl5, end, hi)},
	{
		closing: "close", name: "an answer before the request's body is read", method: "POST",
		body: strings.Repeat("x", 10<<20), speak: func(p *peer) {
			p.say("HTTP/1.1 413 Too Large\r\nConnection: close\r\n", cl5, end, hi)
			p.hang()
		},
	},
	{name: "bytes behind the answer", speak: says(ok, cl5, end, hi, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")},
	{name: "bytes behind the last chunk", speak: says(ok, te, end, "5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")},
	{name: "a head just under the limit", speak: says(ok, cl5, strings.Repeat("X: "+strings.Repeat("a", 4000)+"\r\n", 250),
		end, hi)},

	// Broken ones.
	{name: "closed before the head", method: "POST", speak: ends()},
	{name: "reset before the head", method: "POST", speak: resets()},
	{name: "closed inside the status line", speak: ends("HTTP/1.1 20")},
	{name: "closed inside the head", speak: ends(ok, "X: 1\r\nY")},
	{name: "reset inside the head", speak: resets(ok, "X: ")},
	{name: "closed after a hint", speak: ends("HTTP/1.1 103 Early Hints\r\n\r\n")},
	{name: "hang before the head", speak: hangs()},
	{name: "hang inside the head", speak: hangs(ok, "X: ")},
	{name: "hang after a hint", speak: hangs("HTTP/1.1 103 Early Hints\r\n\r\n")},
	{name: "a short body", speak: ends(ok, cl5, end, "hel")},
	{name: "no body where one is announced", speak: ends(ok, cl5, end)},
	{name: "no chunk where chunks are announced", speak: ends(ok, te, end)},
	{name: "chunks without an end", speak: ends(ok, te, end, "5\r\nhello\r\n")},
	{name: "chunks that end inside one", speak: ends(ok, te, end, "5\r\nhel")},
	{name: "chunks that end inside a size", speak: ends(ok, te, end, "5\r\nhello\r\n1")},
	{name: "chunks that end inside the last one", speak: ends(ok, te, end, "5\r\nhello\r\n0\r\n")},
	{name: "chunks that end inside a trailer", speak: ends(ok, te, end, "5\r\nhello\r\n0\r\nX-T: 1\r\n")},
	{name: "a bad chunk size", speak: says(ok, te, end, "5\r\nhello\r\nzz\r\n")},
	{name: "a negative chunk size", speak: says(ok, te, end, "-5\r\nhello\r\n0\r\n\r\n")},
	{name: "an empty chunk size", speak: says(ok, te, end, "\r\nhello\r\n0\r\n\r\n")},
	{name: "a chunk size with 0x", speak: says(ok, te, end, "0x5\r\nhello\r\n0\r\n\r\n")},
	{name: "a chunk size that wraps round", speak: says(ok, te, end, "10000000000000005\r\nhello\r\n0\r\n\r\n")},
	{name: "a chunk longer than its size", speak: says(ok, te, end, "4\r\nhello\r\n0\r\n\r\n")},
	{name: "a chunk's end without CR", speak: says(ok, te, end, "5\r\nhello\n0\r\n\r\n")},
	{name: "a trailer without a name", speak: says(ok, te, end, "0\r\n: 1\r\n\r\n")},
	{
		name:  "a trailer without end",
		speak: says(ok, te, end, "0\r\n", strings.Repeat("X: "+strings.Repeat("a", 60)+"\r\n", 200)),
	},
	{name: "trailers that frame, announced", speak: says(ok, te, "Trailer: Content-Length\r\n", end,
		"5\r\nhello\r\n0\r\n\r\n")},
	{name: "no HTTP", speak: says("SSH-2.0-OpenSSH_9.2\r\n")},
	{name: "an empty line first", speak: says("\r\n", ok, cl5, end, hi)},
	{name: "no status", speak: says("HTTP/1.1\r\n", cl5, end, hi)},
	{name: "a status of two digits", speak: says("HTTP/1.1 20 OK\r\n", cl5, end, hi)},
	{name: "a status of four digits", speak: says("HTTP/1.1 2000 OK\r\n", cl5, end, hi)},
	{name: "no name", speak: says(ok, ": 1\r\n", cl5, end, hi)},
	{name: "no colon", speak: says(ok, "X\r\n", cl5, end, hi)},
	{name: "a field folded first", speak: says(ok, " X: 1\r\n", cl5, end, hi)},
	{name: "NUL in a value", speak: says(ok, "X: a\x00b\r\n", cl5, end, hi)},
	{name: "NUL in a name", speak: says(ok, "X\x00: 1\r\n", cl5, end, hi)},
	{name: "a control character in a value", speak: says(ok, "X: a\x01b\r\n", cl5, end, hi)},
	{name: "DEL in a value", speak: says(ok, "X: a\x7fb\r\n", cl5, end, hi)},
	{
		name: "Content-Length with a space before the colon", speak: ends(ok, "Content-Length : 5\r\n", end, hi),
		stricter: "RFC 9112 §5.1: refused or removed; a length that one reader sees and another does not",
	},
	{name: "two lengths", speak: says(ok, "Content-Length: 5\r\nContent-Length: 6\r\n", end, hi)},
	{name: "a negative length", speak: says(ok, "Content-Length: -5\r\n", end, hi)},
	{name: "a length with a sign", speak: says(ok, "Content-Length: +5\r\n", end, hi)},
	{name: "a list of lengths", speak: says(ok, "Content-Length: 5, 5\r\n", end, hi)},
	{name: "a length in hexadecimal", speak: says(ok, "Content-Length: 0x5\r\n", end, hi)},
	{name: "a length that wraps round", speak: says(ok, "Content-Length: 18446744073709551621\r\n", end, hi)},
	{name: "an unknown transfer coding", speak: says(ok, "Transfer-Encoding: gzip\r\n", end, hi)},
	{name: "a list of transfer codings", speak: says(ok, "Transfer-Encoding: gzip, chunked\r\n", end, "0\r\n\r\n")},
	{name: "two transfer codings", speak: says(ok, te, te, end, "5\r\nhello\r\n0\r\n\r\n")},
	{name: "a storm of hints", speak: says(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1000), ok,
		end)},
	{name: "100 MB of fields", speak: func(p *peer) {
		p.say(ok)
		line := "X: " + strings.Repeat("a", 997) + "\r\n"
		for range 100 {
			if !p.say(strings.Repeat(line, 1000)) {
				return
			}
		}
	}},
	{name: "one field without end", speak: func(p *peer) {
		p.say(ok, "X: ")
		for range 100 {
			if !p.say(strings.Repeat("a", 1<<20)) {
				return
			}
		}
	}},
	{name: "a status line without end", speak: func(p *peer) {
		for p.say(strings.Repeat("a", 1<<20)) {
		}
	}},
	{name: "zeros", speak: func(p *peer) { p.say(strings.Repeat("\x00", 64<<10)) }},

	// Those that we do not take.
	{
		name: "bare LF", speak: says("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
		stricter: "RFC 9112 §2.2 allows it; a reader in front of us might see other lines",
	},
	{name: "bare LF after a field", speak: says(ok, "X: 1\n", cl5, end, hi), stricter: "as above"},
	{name: "bare LF at the head's end", speak: says(ok, cl5, "\n", hi), stricter: "as above"},
	{name: "bare LF after a chunk's size", speak: says(ok, te, end, "5\nhello\r\n0\r\n\r\n")},
	{
		name: "a folded field", speak: says(ok, "X: a\r\n b\r\n", cl5, end, hi),
		stricter: "RFC 9112 §5.2: obs-fold is not sent, and read in two ways",
	},
	{
		name: "the same length twice", speak: says(ok, cl5, cl5, end, hi),
		stricter: "RFC 9112 §6.3 lets it be refused; no server has a reason to send it",
	},
	{name: "an empty length", speak: ends(ok, "Content-Length:\r\n", end, hi)},
	{
		name: "a length beside chunks", speak: says(ok, cl5, te, end, "5\r\nhello\r\n0\r\n\r\n"),
		stricter: "RFC 9112 §6.1: response splitting",
	},
	{
		name: "chunks in HTTP/1.0", speak: ends("HTTP/1.0 200 OK\r\n", te, end, "5\r\nhello\r\n0\r\n\r\n"),
		stricter: "RFC 9112 §6.1: the framing is faulty",
	},
	{
		name: "a space before the colon", speak: says(ok, "X : 1\r\n", cl5, end, hi),
		stricter: "RFC 9112 §5.1: refused or removed, and a name with a space in it is no name",
	},
	{
		name: "a status with a sign", speak: says("HTTP/1.1 +20 OK\r\n", cl5, end, hi),
		stricter: "RFC 9112 §4: three digits",
	},
	{name: "HTTP/1.2", speak: says("HTTP/1.2 200 OK\r\n", cl5, end, hi), stricter: "no such version"},
	{
		name: "HTTP/2.0 in words", speak: says("HTTP/2.0 200 OK\r\n", cl5, end, hi),
		stricter: "no such version in this syntax",
	},
	{
		name: "a status under 100", speak: says("HTTP/1.1 099 Odd\r\n", cl5, end, hi),
		stricter: "RFC 9110 §15: 100 to 599; under 100 net/http's server panics",
	},
	{
		name: "two spaces before the status", speak: says("HTTP/1.1  200 OK\r\n", cl5, end, hi),
		stricter: "RFC 9112 §4: one space",
	},
	{
		name: "a control character in the reason", speak: says("HTTP/1.1 200 O\x01K\r\n", cl5, end, hi),
		stricter: "RFC 9112 §4: visible characters",
	},
	{name: "a bare CR in the reason", speak: says("HTTP/1.1 200 O\rK\r\n", cl5, end, hi), stricter: "RFC 9112 §2.2"},
	{name: "a bare CR in a value", speak: says(ok, "X: a\rb\r\n", cl5, end, hi)},
	{
		name: "white space after a chunk's size", speak: says(ok, te, end, "5 \r\nhello\r\n0\r\n\r\n"),
		stricter: "RFC 9112 §7.1 has none there",
	},
	{name: "a chunk extension of 3000 bytes", speak: says(ok, te, end, "5;", strings.Repeat("a", 3000),
		"\r\nhello\r\n0\r\n\r\n"), stricter: "RFC 9112 §7.1.1: bound them"},
	{
		name:  "a trailer that frames, not announced",
		speak: says(ok, te, end, "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"), stricter: "RFC 9110 §6.5.1",
	},
	{name: "a folded trailer", speak: says(ok, te, end, "0\r\nX: a\r\n b\r\n\r\n"), stricter: "RFC 9112 §5.2"},
	{
		name: "600 fields", speak: says(ok, cl5, strings.Repeat("X: 1\r\n", 600), end, hi),
		stricter: fmt.Sprint("fields cost more than their bytes: ", fieldLimit, " at most"),
	},
	{
		name:     "an unasked switch of protocols",
		speak:    ends("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
		stricter: "it was not requested",
	},

	// And those that we let be.
	{
		name: "Pragma: no-cache", speak: says(ok, "Pragma: no-cache\r\n", cl5, end, hi),
		differs: "net/http adds a Cache-Control that the server did not send",
		same:    func(o *outcome) { o.Header["Cache-Control"] = []string{"no-cache"} },
	},
}

// TestBothClientsSeeTheSame runs every behaviour through http.Transport and through our client, and then a plain GET
// through ours, which must get its own answer.
func TestBothClientsSeeTheSame(t *testing.T) {
	t.Parallel()
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			theirs := b.run(t, func(s Settings) http.RoundTripper { return transport(t, s) })
			ours := b.run(t, func(s Settings) http.RoundTripper { return client(t, s) })
			if b.stricter != "" {
				if ours.Fault != "broken" && ours.End != "cut" {
					t.Errorf("let pass: %+v (%s)", ours, b.stricter)
				}
				if theirs.Fault != "" || theirs.End != "" {
					t.Errorf("http.Transport refuses it, too: %+v", theirs)
				}
				return
			}
			if b.closing != "" {
				theirs.Header.Set("Connection", b.closing)
			}
			if b.same != nil {
				if cmp.Equal(theirs, ours) {
					t.Errorf("they do not differ: %s", b.differs)
				}
				b.same(&ours)
			}
			if d := cmp.Diff(theirs, ours); d != "" {
				t.Errorf("http.Transport (-), ours (+):\n%s", d)
			}
		})
	}
}

func (b *behaviour) run(t *testing.T, make func(Settings) http.RoundTripper) outcome {
	t.Helper()
	s := serve(t, func(p *peer) {
		if p.number > 1 {
			answering(next)(p)
		} else if p.head() != "" {
			b.speak(p)
		}
	})
	bounds := settings(s)
	if strings.HasPrefix(b.name, "hang") {
		bounds.ResponseTimeout = 100 * time.Millisecond
	}
	c := make(bounds)
	o := b.ask(t, c, s)
	if first := len(s.seen()); first != 1 {
		t.Errorf("the request was sent %d times", first)
	}
	if _, is := c.(*Client); !is {
		return o // http.Transport sometimes takes what is left on a connection for the next answer
	}
	if status, body, err := get(c, s); status != 200 || body != "next" || err != nil {
		t.Errorf("the next request got %d %q %v", status, body, err)
	}
	return o
}

func (b *behaviour) ask(t *testing.T, c http.RoundTripper, s *server) (o outcome) {
	t.Helper()
	var body io.Reader
	if b.body != "" {
		body = strings.NewReader(b.body)
	}
	method := b.method
	if method == "" {
		method = "GET"
	}
	r := request(t, method, "http://"+s.address()+"/", body)
	r = r.WithContext(hinted(t.Context(), &o.Hints))
	answer, err := c.RoundTrip(r)
	if err != nil {
		o.Fault = faultOf(err)
		return o
	}
	defer answer.Body.Close()
	o.Status, o.Line, o.Version, o.Header = answer.StatusCode, answer.Status, answer.Proto, answer.Header
	o.Length, o.Coding = answer.ContentLength, answer.TransferEncoding
	data, err := io.ReadAll(answer.Body)
	if o.Body = string(data); err != nil {
		o.End = "cut"
	}
	o.Trailer = answer.Trailer
	return o
}

func faultOf(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "timeout"
	}
	return "broken"
}
