package h1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAKeptConnectionThatTheServerClosedIsNotUsed(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 1)
	s := serve(t, func(p *peer) {
		p.request()
		p.say(okay)
		if p.number == 1 {
			p.Close()
			closed <- struct{}{}
			return
		}
		p.hang()
	})
	c := client(t, settings(s))
	if _, _, err := get(c, s); err != nil {
		t.Fatal(err)
	}
	<-closed
	// A POST is not sent twice, so it must not be sent on the dead connection at all.
	status, _, err := read(c.RoundTrip(request(t, "POST", "http://"+s.address()+"/", strings.NewReader("x"))))
	if status != 200 || err != nil {
		t.Errorf("got %d %v", status, err)
	}
	if n := len(s.seen()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestBytesOnAKeptConnectionAreNoAnswer(t *testing.T) {
	t.Parallel()
	said, tell := make(chan struct{}), make(chan struct{})
	s := serve(t, func(p *peer) {
		p.head()
		p.say(okay)
		if p.number > 1 {
			return
		}
		<-tell
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
		close(said)
		p.hang()
	})
	c := client(t, settings(s))
	get(c, s)
	close(tell)
	<-said
	if _, body, err := get(c, s); body != "ok" || err != nil {
		t.Errorf("got %q %v", body, err)
	}
}

// TestHintIsAnAnswer: a kept connection that ends behind a 1xx was heard on, so the request is not sent again, and what
// the hint said is no part of any answer.
func TestHintIsAnAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.head()
		p.say(okay)
		p.head()
		p.say("HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n")
		p.Close()
	})
	c := client(t, settings(s))
	if _, _, err := get(c, s); err != nil {
		t.Fatal(err)
	}
	answer := Answer{Header: http.Header{}}
	q := &Request{Method: "GET", Target: "/", Host: s.address(), Fields: HeaderFields{}}
	if err := c.Do(t.Context(), q, &answer); err == nil || len(answer.Header) != 0 {
		t.Errorf("got %v, fields %v", err, answer.Header)
	}
	if n := len(s.seen()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// killer keeps the first answer's connection and closes it when it has read the next head: the race that a client
// loses.
func killer(p *peer) {
	if p.number > 1 {
		answering(okay)(p)
		return
	}
	p.head()
	p.say(okay)
	p.head()
}

func TestARequestThatLosesTheRaceIsSentOnceMoreIfThatIsSafe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method string
		body   string
		sent   int // on both connections, after the first request
	}{
		{"GET", "", 2},
		{"HEAD", "", 2},
		{"OPTIONS", "", 2},
		{"POST", "", 1},
		{"PUT", "", 1},
		{"DELETE", "", 1},
		{"PATCH", "", 1},
		{"REPORT", "", 1},
		{"GET", "x", 1},
		{"POST", "x", 1},
	} {
		t.Run(c.method+" "+c.body, func(t *testing.T) {
			t.Parallel()
			s := serve(t, killer)
			x := client(t, settings(s))
			get(x, s)
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			status, _, err := read(x.RoundTrip(request(t, c.method, "http://"+s.address()+"/", body)))
			if n := len(s.seen()) - 1; n != c.sent {
				t.Errorf("sent %d times, want %d", n, c.sent)
			}
			if good := status == 200 && err == nil; good != (c.sent == 2) {
				t.Errorf("got %d %v", status, err)
			}
		})
	}
}

func TestARequestIsSentTwiceAtMost(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		if p.head() != "" && p.number == 1 {
			p.say(okay)
			p.head()
		}
	})
	c := client(t, settings(s))
	get(c, s)
	if _, _, err := get(c, s); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if n := len(s.seen()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestAnAnswerThatBeganIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.head()
		p.say(okay)
		p.head()
		p.say("H")
	})
	c := client(t, settings(s))
	get(c, s)
	if _, _, err := get(c, s); err == nil || faultOf(err) != "broken" {
		t.Errorf("got %v", err)
	}
	if n := len(s.seen()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestNoListener(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(okay))
	c := client(t, settings(s))
	s.close()
	body := &closing{Reader: strings.NewReader("x")}
	_, err := c.RoundTrip(request(t, "POST", "http://"+s.address()+"/", body))
	var d *DialError
	if !errors.As(err, &d) {
		t.Errorf("got %v", err)
	}
	if !body.closed {
		t.Error("the body is not closed")
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestRestingConnectionsAreBoundedAndTheLastOneIsTakenFirst(t *testing.T) {
	t.Parallel()
	var gate sync.WaitGroup
	gate.Add(4)
	s := serve(t, func(p *peer) {
		if p.head() == "" {
			return
		}
		gate.Done()
		gate.Wait() // four at once
		p.say(okay)
		for p.head() != "" {
			p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", p.number))
		}
	})
	bounds := settings(s)
	bounds.MaxIdle = 2
	c := client(t, bounds)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { get(c, s) })
	}
	all.Wait()
	c.mu.Lock()
	resting := len(c.idle)
	c.mu.Unlock()
	if resting != 2 {
		t.Errorf("%d connections at rest, want 2", resting)
	}
	_, first, _ := get(c, s)
	for range 5 {
		if _, again, _ := get(c, s); again != first {
			t.Errorf("connection %s, then %s", first, again)
		}
	}
}

func TestRestingConnectionsGrowOld(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := serve(t, func(p *peer) {
		answering(okay)(p)
		close(gone)
	})
	bounds := settings(s)
	bounds.IdleTimeout = 20 * time.Millisecond
	c := client(t, bounds)
	get(c, s)
	<-gone
}

func TestACloseOfTheServersIsSeenAtRest(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.head()
		p.say(okay)
	})
	c := client(t, settings(s))
	get(c, s)
	s.close() // returns when the server's side is closed
	c.clean()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) > 0 {
		t.Error("still kept")
	}
}

func TestAClosedClientKeepsNothing(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := serve(t, func(p *peer) {
		answering(okay)(p)
		gone <- struct{}{}
	})
	c := client(t, settings(s))
	get(c, s)
	answer, err := c.RoundTrip(request(t, "GET", "http://"+s.address()+"/", nil))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if status, body, err := read(answer, nil); status != 200 || body != "ok" || err != nil {
		t.Errorf("under way: %d %q %v", status, body, err)
	}
	<-gone
	if status, _, err := get(c, s); status != 200 || err != nil {
		t.Errorf("after: %d %v", status, err)
	}
	<-gone
}

func TestAnAnswerNotReadToItsEndEndsItsConnection(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
	} {
		s := serve(t, answering(raw))
		c := client(t, settings(s))
		for range 2 {
			answer, err := c.RoundTrip(request(t, "GET", "http://"+s.address()+"/", nil))
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(answer.Body, make([]byte, 5))
			answer.Body.Close()
			if _, err := answer.Body.Read(make([]byte, 5)); err == nil || err == io.EOF {
				t.Errorf("read after close: %v", err)
			}
		}
		if n := s.connections(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		body  io.Reader
		speak func(*peer)
	}{
		{"before the head", nil, func(p *peer) {}},
		{"inside the head", nil, func(p *peer) { p.say("HTTP/1.1 200 OK\r\nX") }},
		{"inside the body", nil, func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") }},
		{"between chunks", nil, func(p *peer) { p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n") }},
		{"while the body is sent", &endless{}, func(p *peer) {}},
		{"while both bodies go", &endless{}, func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan struct{})
			ctx, cancel := context.WithCancelCause(t.Context())
			s := serve(t, func(p *peer) {
				p.head()
				c.speak(p)
				cancel(errors.New("the client left"))
				p.hang()
				close(gone)
			})
			x := client(t, settings(s))
			_, _, err := read(x.RoundTrip(request(t, "POST", "http://"+s.address()+"/", c.body).WithContext(ctx)))
			if err == nil || err.Error() != "the client left" {
				t.Errorf("got %v", err)
			}
			<-gone // the connection ended, too
		})
	}
}

// endless is a body without end.
type endless struct{}

func (*endless) Read(p []byte) (int, error) { return len(p), nil }

func TestACancelledContextAsksNoServer(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(okay))
	c := client(t, settings(s))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.RoundTrip(request(t, "GET", "http://"+s.address()+"/", nil).WithContext(ctx)); !errors.Is(err,
		context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(s.seen()) > 0 {
		t.Error("asked")
	}
}

func TestClosingWhileAReadWaits(t *testing.T) {
	t.Parallel()
	s := serve(t, func(p *peer) {
		p.head()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		p.hang()
	})
	c := client(t, settings(s))
	answer, err := c.RoundTrip(request(t, "GET", "http://"+s.address()+"/", nil))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(answer.Body, make([]byte, 3))
	reading := make(chan error)
	go func() {
		_, err := answer.Body.Read(make([]byte, 1))
		reading <- err
	}()
	answer.Body.Close()
	if err := <-reading; err == nil || err == io.EOF {
		t.Errorf("got %v", err)
	}
}

func TestStalls(t *testing.T) {
	t.Parallel()
	stall := func(s *Settings) { s.StallTimeout = 50 * time.Millisecond }
	for _, c := range []struct {
		name  string
		body  io.Reader
		bound func(*Settings)
		speak func(*peer)
		want  error
	}{
		{"the answer's body", nil, stall, hangs("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), ErrStalled},
		{"a chunk", nil, stall, hangs("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), ErrStalled},
		{
			"a chunk's size", nil, stall, hangs("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
			ErrStalled,
		},
		{"a body until the close", nil, stall, hangs("HTTP/1.1 200 OK\r\n\r\nabc"), ErrStalled},
		{"the request's body", &endless{}, stall, func(p *peer) { p.server.pause() }, errSendTimeout},
		{
			"the head", nil, func(s *Settings) { s.ResponseTimeout = 50 * time.Millisecond }, hangs("HTTP/1.1 200 OK\r\n"),
			errHeadTimeout,
		},
		{
			"the head behind hints", nil, func(s *Settings) { s.ResponseTimeout = 50 * time.Millisecond },
			hangs("HTTP/1.1 103 x\r\n\r\n"), errHeadTimeout,
		},
		{
			"the head behind a body", strings.NewReader("x"), func(s *Settings) { s.ResponseTimeout = 50 * time.Millisecond },
			hangs(), errHeadTimeout,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(p *peer) {
				p.head()
				c.speak(p)
			})
			defer s.stop()
			bounds := settings(s)
			c.bound(&bounds)
			_, _, err := read(client(t, bounds).RoundTrip(request(t, "POST", "http://"+s.address()+"/", c.body)))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// A socket is told its deadline late, so it wakes for an old one; what is due is what counts.
func TestAnOldDeadlineEndsNothing(t *testing.T) {
	t.Parallel()
	const pause = 60 * time.Millisecond
	s := serve(t, func(p *peer) {
		for p.head() != "" {
			p.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
			<-time.After(3 * pause) // longer than the bounds: an event stream may be silent
			p.say("1\r\nb\r\n0\r\n\r\n")
		}
	})
	bounds := settings(s)
	bounds.StallTimeout, bounds.ResponseTimeout = pause, 10*pause
	c := client(t, bounds)
	for range 3 {
		if _, body, err := get(c, s); body != "ab" || err != nil {
			t.Errorf("got %q %v", body, err)
		}
	}
}

// TestManyAtOnce mixes good, slow, broken and cancelled requests; each gets its own answer or an error, no POST comes
// twice, and nothing stays open.
func TestManyAtOnce(t *testing.T) {
	before := descriptors(t)
	s := serve(t, func(p *peer) {
		for {
			head, body := p.request()
			if head == "" {
				return
			}
			id := strings.Fields(head)[1]
			switch rand.N(10) {
			case 0:
				return
			case 1:
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", id)
				return
			case 2:
				p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(id+body), id+body),
					"0\r\n\r\n")
			case 3:
				p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id+body), id+body))
				return // without a word
			default:
				p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id+body), id+body))
			}
		}
	})
	c := client(t, settings(s))
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := range 100 {
				askOne(t, c, s, worker*1000+i)
			}
		})
	}
	all.Wait()
	times := map[string]int{}
	for _, head := range s.seen() {
		line, _, _ := strings.Cut(head, "\r\n")
		if times[line]++; times[line] > 1 && strings.HasPrefix(line, "POST") {
			t.Errorf("%s came %d times", line, times[line])
		}
	}
	c.Close()
	s.close()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func askOne(t *testing.T, c *Client, s *server, number int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	id, method, sent := fmt.Sprintf("/%d", number), "GET", ""
	var body io.Reader
	if number%3 == 0 {
		method, sent = "POST", strings.Repeat("x", number%5000)
		body = struct{ io.Reader }{strings.NewReader(sent)}
	}
	r := request(t, method, "http://"+s.address()+id, body).WithContext(ctx)
	if number%4 == 0 {
		go cancel()
	}
	status, got, err := read(c.RoundTrip(r))
	if err == nil && (status != 200 || got != id+sent) {
		t.Errorf("%s %s got %d %q", method, id, status, got)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil { // not Linux: nothing to count
		return 0
	}
	return len(entries)
}

func TestSixtyFourConnectionsHaveNoGoroutines(t *testing.T) {
	// Not parallel: it counts.
	var gate sync.WaitGroup
	gate.Add(64)
	s := serve(t, func(p *peer) {
		p.head()
		gate.Done()
		gate.Wait()
		p.say(okay)
		p.hang()
	})
	bounds := settings(s)
	bounds.MaxIdle = 64
	c := client(t, bounds)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { get(c, s) })
	}
	all.Wait()
	var stacks strings.Builder
	pprof.Lookup("goroutine").WriteTo(&stacks, 2)
	for _, of := range []string{"(*Client)", "(*conn)", "(*sender)"} {
		if strings.Contains(stacks.String(), "http1."+of) {
			t.Errorf("a goroutine of %s at rest:\n%s", of, stacks.String())
		}
	}
	if n := len(c.idle); n != 64 {
		t.Errorf("%d connections at rest", n)
	}
}

var (
	_ net.Error         = errHeadTimeout
	_ http.RoundTripper = (*Client)(nil)
)

// A TLS connection at rest may carry a session ticket, a close, or unasked bytes.
func TestATLSConnectionAtRest(t *testing.T) {
	t.Parallel()
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	defer pair.Close()
	for _, c := range []struct {
		name, behind string
		version      uint16
		end          bool
		want         int
	}{
		{"nothing but tickets", "", tls.VersionTLS13, false, quiet},
		{"nothing", "", tls.VersionTLS12, false, quiet},
		{"another answer", okay, tls.VersionTLS13, false, unasked},
		{"another answer, over TLS 1.2", okay, tls.VersionTLS12, false, unasked},
		{"an empty line", "\r\n", tls.VersionTLS13, false, ended},
		{"a close", "", tls.VersionTLS13, true, ended},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			more := make(chan struct{})
			s := serve(t, func(p *peer) {
				inner := tls.Server(p.Conn, &tls.Config{Certificates: pair.TLS.Certificates, MaxVersion: c.version})
				if _, err := http.ReadRequest(bufio.NewReader(inner)); err != nil {
					return
				}
				io.WriteString(inner, okay)
				<-more
				io.WriteString(inner, c.behind)
				if c.end {
					inner.CloseWrite()
				}
				p.server.pause()
			})
			defer s.stop()
			bounds := settings(s)
			bounds.Dial = func(ctx context.Context) (net.Conn, error) {
				return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", s.address())
			}
			x := client(t, bounds)
			if _, body, err := get(x, s); body != "ok" || err != nil {
				t.Fatal(body, err)
			}
			k := x.idle[0]
			for range 3 {
				if seen := k.look(); seen != quiet {
					t.Fatalf("at rest: saw %d", seen)
				}
			}
			close(more)
			seen := k.look()
			for start := time.Now(); seen == quiet && c.want != quiet && time.Since(start) < 10*time.Second; seen = k.look() {
				time.Sleep(time.Millisecond)
			}
			if seen != c.want {
				t.Errorf("saw %d, want %d", seen, c.want)
			}
		})
	}
}

// heldBack gathers what is written, so that it goes out in one segment.
type heldBack struct {
	net.Conn
	hold bool
	kept []byte
}

func (h *heldBack) Write(p []byte) (int, error) {
	if h.hold {
		h.kept = append(h.kept, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// TestUnaskedRecordsThatTLSHasTaken: a second answer in the segment of the first one is with TLS already, where a look
// at the socket does not see it. So is the rest of a long record.
func TestUnaskedRecordsThatTLSHasTaken(t *testing.T) {
	t.Parallel()
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	defer pair.Close()
	const head = "HTTP/1.1 200 OK\r\nContent-Length: "
	filled := head + "4050\r\n\r\n"
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, records := range map[string][]string{
			"nothing":                {okay},
			"another answer":         {okay, strings.ReplaceAll(okay, "ok", "no")},
			"the rest of the record": {filled + strings.Repeat("x", 4050) + okay},
		} {
			t.Run(fmt.Sprintf("%s, %x", name, version), func(t *testing.T) {
				t.Parallel()
				s := serve(t, func(p *peer) {
					wire := &heldBack{Conn: p.Conn}
					inner := tls.Server(wire, &tls.Config{Certificates: pair.TLS.Certificates, MaxVersion: version})
					in := bufio.NewReader(inner)
					for {
						if _, err := http.ReadRequest(in); err != nil {
							return
						}
						wire.hold = true
						for _, record := range records {
							io.WriteString(inner, record)
						}
						wire.hold = false
						wire.Write(wire.kept)
						wire.kept = nil
					}
				})
				defer s.stop()
				bounds := settings(s)
				bounds.Dial = func(ctx context.Context) (net.Conn, error) {
					return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", s.address())
				}
				x := client(t, bounds)
				for range 3 {
					if _, body, err := get(x, s); body != "ok" && len(body) != 4050 || err != nil {
						t.Fatal(body, err)
					}
					if kept, want := len(x.idle), len(records) == 1 && records[0] == okay; (kept == 1) != want {
						t.Fatalf("%d connections are kept", kept)
					}
				}
			})
		}
	}
}

// A request's body may take its time on a connection that has served before, whatever limit its last request left
// there.
func TestASlowBodyOnAKeptConnection(t *testing.T) {
	t.Parallel()
	const limit = 400 * time.Millisecond
	for _, c := range []struct {
		name   string
		first  string // the answer that the connection served before
		bound  func(*Settings)
		idle   time.Duration
		pieces int
		pause  time.Duration // before each piece
		chunks bool
	}{
		{"trickles past response_timeout", okay, func(s *Settings) { s.ResponseTimeout = limit }, 0, 4, limit / 2, false},
		{
			"begins after it", okay, func(s *Settings) { s.ResponseTimeout = limit }, 2 * limit, 1, 20 * time.Millisecond,
			false,
		},
		{"trickles in chunks", okay, func(s *Settings) { s.ResponseTimeout = limit }, 0, 4, limit / 2, true},
		{"trickles past stall_timeout", okay, func(s *Settings) { s.StallTimeout = limit }, 0, 4, limit / 2, false},
		{
			"behind chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
			func(s *Settings) { s.StallTimeout = limit }, limit, 3, limit / 2, true,
		},
		{
			"a single long pause", okay, func(s *Settings) { s.ResponseTimeout, s.StallTimeout = limit, limit }, 0, 1, 2 * limit,
			false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(p *peer) {
				for first := true; ; first = false {
					head, _ := p.request()
					if head == "" {
						return
					}
					if first {
						p.say(c.first)
					} else {
						p.say(okay)
					}
				}
			})
			bounds := settings(s)
			c.bound(&bounds)
			x := client(t, bounds)
			if _, _, err := get(x, s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.idle)
			body, to := io.Pipe()
			go func() {
				for range c.pieces {
					time.Sleep(c.pause)
					io.WriteString(to, "piece")
				}
				to.Close()
			}()
			r := request(t, "POST", "http://"+s.address()+"/", body)
			if r.ContentLength = int64(5 * c.pieces); c.chunks {
				r.ContentLength = -1
			}
			status, text, err := read(x.RoundTrip(r))
			if status != 200 || text != "ok" || err != nil {
				t.Errorf("got %d %q %v", status, text, err)
			}
			if n := s.connections(); n != 1 {
				t.Errorf("%d connections: the case needs one", n)
			}
		})
	}
}

// After bytes that belong to no request nothing is kept for a while: the next such bytes could come a moment too late
// to be seen.
func TestUnaskedBytesEndKeptConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, answer, behind string // behind is sent while the connection is at rest
		told                 bool
	}{
		{"another answer", okay, okay, true},
		{"a body longer than its length", okay + "more", "", true},
		{"another answer at once", okay + okay, "", true},
		{"an empty line", okay, "\r\n", false},
		{"an empty line at once", okay + "\r\n", "", false},
		{"a 408 before a close", okay, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", false},
		{"a 408 of HTTP/1.0", okay, "HTTP/1.0 408 Request Time-out\r\n\r\n<html>", false},
		{"a body behind a 204", "HTTP/1.1 204 No Content\r\n\r\nbody", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(p *peer) {
				for p.head() != "" {
					if p.number > 1 {
						p.say(okay)
						continue
					}
					p.say(c.answer)
					if c.behind != "" {
						p.say(c.behind)
					}
				}
			})
			told := 0
			bounds := settings(s)
			bounds.Unasked = func() { told++ }
			x := client(t, bounds)
			get(x, s)
			for start := time.Now(); time.Since(start) < 10*time.Second; { // until the bytes have come
				x.mu.Lock()
				idle := slices.Clone(x.idle)
				x.mu.Unlock()
				if len(idle) == 0 {
					break
				}
				x.clean()
			}
			for range 3 {
				get(x, s)
			}
			if (told > 0) != c.told {
				t.Errorf("told %d times", told)
			}
			if n := s.connections(); (n == 4) != c.told {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestTheServersKeepAlive: a server says how long it keeps a connection at rest, and no request is sent at its end.
func TestTheServersKeepAlive(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]struct {
		d    time.Duration
		said bool
	}{
		"timeout=5":            {4 * time.Second, true},
		"Timeout = 5, max=100": {4 * time.Second, true},
		"max=100,timeout=1":    {500 * time.Millisecond, true},
		"timeout=0":            {0, true},
		"timeout=65535":        {65534 * time.Second, true},
		"timeout=65536":        {},
		"timeout=-1":           {},
		"timeout":              {},
		"":                     {},
		"max=5":                {},
	} {
		if d, said := keepAlive(value); d != want.d || said != want.said {
			t.Errorf("%q: %v %v, want %v", value, d, said, want)
		}
	}
}
