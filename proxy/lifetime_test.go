package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

const endingRoutes = `  - {path: /ends/, require: {tenant: acme, action: READ}, upstream: app, end_with_token: true}
  - {path: /stays/, require: {tenant: acme, action: READ}, upstream: app}
  - {path: /seen/, require: {tenant: acme, action: READ}, upstream: app, end_with_token: true, shadow: true}
  - {path: /maybe/, require: optional, upstream: app, end_with_token: true}
`

const eventHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

// events has the app begin an answer with one piece, and send another one and the end when it is told to.
func (h *house) events(begin string) (finish chan<- string) {
	more := make(chan string, 1)
	h.app.says(func(c net.Conn, _ *received) bool {
		_, _ = io.WriteString(c, begin)
		_, _ = io.WriteString(c, <-more)
		return false
	})
	return more
}

// listen asks for a stream, and returns what comes behind the head once the first piece is there.
func (h *house) listen(target, bearer, first string) *bufio.Reader {
	h.t.Helper()
	c, in := h.dial()
	_, _ = io.WriteString(c, head("GET", target, bearer))
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			h.t.Fatal(err)
		}
	}
	got := make([]byte, len(first))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != first {
		h.t.Fatalf("%q %v", got, err)
	}
	return in
}

// TestAnAnswerEndsWithItsToken: it breaks off, so that no client takes it for whole, and the app is told.
func TestAnAnswerEndsWithItsToken(t *testing.T) {
	t.Parallel()
	const chunk = "5\r\nevent\r\n"
	for _, c := range []struct {
		name, begin, first string
		end                func(*house)
		reason             refusal.Reason
	}{
		{
			"events, it expires", eventHead + chunk, chunk,
			func(h *house) { h.now.Add(3600_000) }, refusal.TokenExpired,
		},
		{
			"events, it is revoked", eventHead + chunk, chunk,
			func(h *house) { h.revoked.ids.Store("id-1", 1) }, refusal.TokenRevoked,
		},
		{
			"events, its tenant is marked", eventHead + chunk, chunk,
			func(h *house) { h.revoked.tenants.Store("acme", 1) }, refusal.TokenRevoked,
		},
		{
			"a download of known length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf ", "half ",
			func(h *house) { h.now.Add(3600_000) }, refusal.TokenExpired,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.load(settings + endingRoutes)
			finish := h.events(c.begin)
			defer close(finish)
			in := h.listen("/ends/x", h.mint(), c.first)
			c.end(h)
			if rest, err := io.ReadAll(in); len(rest) > 0 {
				t.Errorf("after its end: %q %v", rest, err)
			}
			if x := h.visit(); x.Reason != c.reason || x.Status() != 200 {
				t.Errorf("%d %s, want %s", x.Status(), x.Reason, c.reason)
			}
		})
	}
}

// TestAnswersThatStay: without the key, in shadow, and without a token.
func TestAnswersThatStay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target string
		bearer bool
		shadow refusal.Reason
	}{
		{"/stays/x", true, ""}, {"/seen/x", true, refusal.TokenExpired}, {"/maybe/x", false, ""},
	} {
		t.Run(c.target, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.load(settings + endingRoutes)
			checked := make(chan struct{}, 1)
			finish := h.events(eventHead + "1\r\na\r\n")
			bearer := ""
			if c.bearer {
				bearer = h.mint()
			}
			in := h.listen(c.target, bearer, "1\r\na\r\n")
			h.now.Add(3600_000)
			time.AfterFunc(2*recheck, func() { checked <- struct{}{} })
			<-checked
			finish <- "1\r\nb\r\n0\r\n\r\n"
			want := "1\r\nb\r\n0\r\n\r\n"
			got := make([]byte, len(want))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
				t.Errorf("%q %v, want %q", got, err, want)
			}
			if x := h.visit(); x.Reason != "" || x.Shadow != c.shadow {
				t.Errorf("%s, shadow %s, want %s", x.Reason, x.Shadow, c.shadow)
			}
		})
	}
}

// TestAnAnswerThatIsNotReadEndsToo: the writer waits for a client that reads nothing.
func TestAnAnswerThatIsNotReadEndsToo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(strings.Replace(settings, "stall_timeout: 2s", "stall_timeout: 1h", 1) + endingRoutes)
	full := make(chan struct{})
	h.app.says(func(c net.Conn, _ *received) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		block := make([]byte, 1<<20)
		for {
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := c.Write(block); err != nil {
				close(full) // every buffer on the way
				return false
			}
		}
	})
	c, in := h.dial()
	_, _ = io.WriteString(c, head("GET", "/ends/x", h.mint()))
	if a, err := http.ReadResponse(in, nil); err != nil || a.StatusCode != 200 {
		t.Fatalf("%+v %v", a, err)
	}
	<-full
	h.now.Add(3600_000)
	if x := h.visit(); x.Reason != refusal.TokenExpired {
		t.Errorf("%s", x.Reason)
	}
}

// TestEventsOfATicketEndWithItsToken, on a route without end_with_token.
func TestEventsOfATicketEndWithItsToken(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	finish := h.events(eventHead + "1\r\na\r\n")
	defer close(finish)
	_, d, _ := h.draw(`{"request": "GET /taken"}`, h.mint())
	in := h.listen(d.url, "", "1\r\na\r\n")
	h.now.Add(60_000) // the ticket is over by now, the token is not
	h.revoked.ids.Store("id-1", true)
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("%q", rest)
	}
	if reason := h.visit().Reason; reason != refusal.TokenRevoked {
		t.Errorf("%s", reason)
	}
}

// TestBordersOfMessages: however the bytes are cut.
func TestBordersOfMessages(t *testing.T) {
	t.Parallel()
	const all = "\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01z"
	borders := map[int]bool{0: true, 8: true, 13: true, len(all): true}
	for size := 1; size <= len(all); size++ {
		m := &messages{}
		for at := 0; at < len(all); {
			n := min(size, len(all)-at)
			m.advance([]byte(all[at : at+n]))
			if at += n; m.between() != borders[at] {
				t.Errorf("in pieces of %d: between is %t at %d", size, m.between(), at)
			}
		}
	}
}
