package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/refusal"
)

var upgradeLines = []string{
	"Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// A script is the upstream's side of a stream: what it sends after 101, and everything that it gets then.
func (h *house) script(after string) (got <-chan string) {
	all := make(chan string, 1)
	h.app.says(func(c net.Conn, r *received) bool {
		io.WriteString(c, switching+after)
		b, _ := io.ReadAll(r.in)
		all <- string(b)
		return false
	})
	return all
}

// open101 asks for the stream and reads the head of the answer.
func (h *house) open101(target, bearer string) (net.Conn, *bufio.Reader) {
	h.t.Helper()
	c, in := h.dial()
	io.WriteString(c, head("GET", target, bearer, upgradeLines...))
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != 101 {
		h.t.Fatalf("got %+v %v", r, err)
	}
	want := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"},
		"Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, "X-Request-Id": {"0190-id"},
	}
	if d := cmp.Diff(want, r.Header); d != "" {
		h.t.Error(d)
	}
	return c, in
}

func TestAStreamPassesBothWays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct{ target, bearer string }{{"/ws", h.mint()}, {"/ws-public", ""}} {
		upstream := h.script("\x81\x02hi")
		client, in := h.open101(c.target, c.bearer)
		b := make([]byte, 4)
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "\x81\x02hi" {
			t.Errorf("%s: got %q %v", c.target, b, err)
		}
		io.WriteString(client, "\x81\x82\x00\x00\x00\x00yo")
		client.(*net.TCPConn).CloseWrite()
		if got := <-upstream; got != "\x81\x82\x00\x00\x00\x00yo" {
			t.Errorf("%s: the upstream got %q", c.target, got)
		}
		if h.visit().Status() != 101 {
			t.Errorf("%s: the log has status %d", c.target, h.visit().Status())
		}
	}
}

// What a client sends before the upstream has agreed must not be bytes of the request that the upstream reads.
func TestNoBytesBefore101(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	arrived, agreed, buffered := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	all := make(chan string, 1)
	h.app.says(func(c net.Conn, r *received) bool {
		close(arrived)
		<-agreed
		buffered <- r.in.Buffered()
		io.WriteString(c, switching)
		b, _ := io.ReadAll(r.in)
		all <- string(b)
		return false
	})
	c, in := h.dial()
	io.WriteString(c, head("GET", "/ws", h.mint(), upgradeLines...)+"early bytes")
	<-arrived
	close(agreed)
	if n := <-buffered; n != 0 {
		t.Errorf("%d bytes reached the upstream before 101", n)
	}
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 101 {
		t.Fatalf("got %v %v", r, err)
	}
	c.(*net.TCPConn).CloseWrite()
	if got := <-all; got != "early bytes" {
		t.Errorf("after 101 the upstream got %q", got)
	}
}

func TestEarlyBytesOfARefusedUpgradeAreNoBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(readAndSay("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"))
	c, in := h.dial()
	io.WriteString(c, head("GET", "/ws", h.mint(), upgradeLines...)+head("GET", "/me", ""))
	if got := h.read(in, "GET"); got.status != 200 || got.body != "no" {
		t.Errorf("got %+v", got)
	}
	if got := h.read(in, "GET"); got.status != 401 || len(h.app.seen()) != 1 {
		t.Errorf("what came behind it was not judged as a request: %+v", got)
	}
}

func TestUpgradesThatAreRefusedOrStripped(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for _, c := range []struct {
		name, method, target string
		lines                []string
		body                 string
		want                 verdict
	}{
		{
			"websocket where no route allows it", "GET", "/me", upgradeLines, "",
			verdict{400, refusal.UpgradeNotAllowed, "", 0},
		},
		{
			"websocket among others", "GET", "/me",
			[]string{"Connection: upgrade", "Upgrade: h2c, websocket"},
			"",
			verdict{400, refusal.UpgradeNotAllowed, "", 0},
		},
		{
			"websocket without Connection is no upgrade", "GET", "/me",
			[]string{"Upgrade: websocket"},
			"",
			verdict{200, "", "", 1},
		},
		{"h2c", "GET", "/me", []string{"Connection: Upgrade", "Upgrade: h2c"}, "", verdict{200, "", "", 1}},
		{
			"h2c where upgrades are allowed", "GET", "/ws",
			[]string{"Connection: Upgrade", "Upgrade: h2c"},
			"",
			verdict{200, "", "", 1},
		},
		{
			"h2c beside websocket", "GET", "/ws",
			[]string{"Connection: Upgrade", "Upgrade: websocket, h2c"},
			"",
			verdict{200, "", "", 1},
		},
		{"TLS inside", "GET", "/ws", []string{"Connection: Upgrade", "Upgrade: TLS/1.3"}, "", verdict{200, "", "", 1}},
		{
			"two protocols", "GET", "/ws",
			[]string{"Connection: Upgrade", "Upgrade: websocket, chat"},
			"",
			verdict{400, refusal.UpgradeNotAllowed, "", 0},
		},
		{
			"no protocol's name", "GET", "/ws",
			[]string{"Connection: Upgrade", "Upgrade: web socket"},
			"",
			verdict{400, refusal.UpgradeNotAllowed, "", 0},
		},
		{
			"a body", "POST", "/ws",
			[]string{"Connection: Upgrade", "Upgrade: chat", "Content-Length: 2"},
			"hi",
			verdict{400, refusal.UpgradeNotAllowed, "", 0},
		},
		{
			"websocket by POST", "POST", "/ws", append([]string{"Content-Length: 0"}, upgradeLines...), "",
			verdict{400, refusal.UpgradeNotAllowed, "", 0},
		},
		{
			"without a good token", "GET", "/ws", append([]string{"Authorization: Bearer x"}, upgradeLines...), "",
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
	} {
		if got := h.verdict(head(c.method, c.target, bearer, c.lines...) + c.body); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	good := string(closeFrame(policyViolation, "the token is no longer good"))
	for _, c := range []struct {
		name, sent string // by the upstream
		end        func(*house)
		want       string // what the client gets, to the end
		reason     refusal.Reason
	}{
		{"expired", "\x81\x02hi", func(h *house) { h.now.Add(3600_001) }, "\x81\x02hi" + good, refusal.TokenExpired},
		{
			"revoked", "\x81\x02hi", func(h *house) { h.revoked.ids.Store("id-1", 1) }, "\x81\x02hi" + good,
			refusal.TokenRevoked,
		},
		{"its tenant is marked", "", func(h *house) { h.revoked.tenants.Store("acme", 1) }, good, refusal.TokenRevoked},
		{"drain", "\x81\x02hi", func(h *house) { h.drain() }, "\x81\x02hi" +
			string(closeFrame(goingAway, "the server is going away")), ""},
		{"inside a frame", "\x81\x05hi", func(h *house) { h.drain() }, "\x81\x05hi", ""},
		{"after a close frame", "\x88\x00", func(h *house) { h.drain() }, "\x88\x00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			upstream := h.script(c.sent)
			_, in := h.open101("/ws", h.mint())
			first := make([]byte, len(c.sent))
			if _, err := io.ReadFull(in, first); err != nil {
				t.Fatal(err)
			}
			c.end(h)
			rest, err := io.ReadAll(in)
			if got := string(first) + string(rest); got != c.want || err != nil {
				t.Errorf("got %q %v, want %q", got, err, c.want)
			}
			<-upstream // its connection is closed, too
			if reason := h.visit().Reason; reason != c.reason {
				t.Errorf("reason %s, want %s", reason, c.reason)
			}
		})
	}
}

func TestAPublicStreamOutlivesTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := &forwarding{inbound: &inbound{}, gate: h.gate}
	h.now.Add(1e12)
	if err := f.gate.stillGood(f.entry, f.tenant); err != nil {
		t.Error(err)
	}
}

// A frame that is cut short by the end of the stream is finished before ours follows.
func TestOurFrameFollowsAWholeOne(t *testing.T) {
	t.Parallel()
	client, far := net.Pipe()
	all := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(far)
		all <- b
	}()
	w := &frameWriter{to: client, framed: true}
	io.WriteString(w, "\x81\x05he")
	cut := make(chan struct{})
	go func() {
		w.cut(closeFrame(goingAway, ""))
		client.Close()
		close(cut)
	}()
	for {
		w.mu.Lock()
		waiting := w.last != nil
		w.mu.Unlock()
		if waiting {
			break
		}
	}
	if n, err := io.WriteString(w, "llo\x81\x01x"); n != 3 || err == nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	<-cut
	if got := <-all; string(got) != "\x81\x05hello\x88\x02\x03\xe9" {
		t.Errorf("got %q", got)
	}
}

// A halfConn ends in one direction.
type halfConn struct {
	net.Conn
	ended bool
}

func (c *halfConn) CloseWrite() error {
	c.ended = true
	return nil
}

// Behind the end of what the app sends there is no place for a frame of ours, and one that waits for a place waits no
// longer.
func TestNoFrameFollowsTheEnd(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	client := &halfConn{Conn: near}
	w := &frameWriter{to: client, framed: true}
	_, _ = io.WriteString(w, "\x81\x05he")
	cut := make(chan struct{})
	go func() {
		w.cut(closeFrame(goingAway, ""))
		close(cut)
	}()
	for waiting := false; !waiting; {
		w.mu.Lock()
		waiting = w.last != nil
		w.mu.Unlock()
	}
	if !w.finish() || !client.ended {
		t.Error("the client was not told")
	}
	<-cut
	if w.cut(closeFrame(goingAway, "")); !w.done {
		t.Error("it goes on")
	}
	if n, err := io.WriteString(w, "llo"); n != 0 || err == nil {
		t.Errorf("wrote %d, %v", n, err)
	}
}

// FuzzFrames: however the bytes are cut, the follower finds the same borders as a reader of whole frames.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x02hi\x88\x00"))
	f.Add([]byte("\x82\x7e\x00\x03abc\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01a\x81\x81mask!"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var whole, bytewise frames
		n := 0
		for n < len(data) {
			n += whole.advance(data[n:], true)
			if whole.between() != (border(data) == n) && whole.between() {
				t.Fatalf("stopped at %d, a border is at %d", n, border(data))
			}
			if whole.between() {
				data, n = data[n:], 0
			}
		}
		r := iotest.OneByteReader(bytes.NewReader(data))
		b := make([]byte, 1)
		for {
			k, err := r.Read(b)
			if err != nil {
				break
			}
			bytewise.advance(b[:k], false)
		}
		if bytewise.between() != whole.between() || bytewise.payload != whole.payload {
			t.Fatalf("byte by byte %+v, at once %+v", bytewise, whole)
		}
	})
}

// border is where the first frame of data ends; beyond it if the frame is not whole.
func border(data []byte) int {
	if len(data) < 2 {
		return len(data) + 1
	}
	n, length := 2, uint64(data[1]&0x7f)
	switch {
	case length == 126 && len(data) >= 4:
		n, length = 4, uint64(binary.BigEndian.Uint16(data[2:]))
	case length == 127 && len(data) >= 10:
		n, length = 10, binary.BigEndian.Uint64(data[2:])
	case length >= 126:
		return len(data) + 1
	}
	if data[1]&0x80 != 0 {
		n += 4
	}
	if length > uint64(len(data)) {
		return len(data) + 1
	}
	return n + int(length)
}
