package h2_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/httpserver/h2"
	"github.com/jotgate/jotgate/internal/refusal"
)

var never time.Time

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// TestMain looks for goroutines that were left behind. On a busy machine the last ones take a while to end.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(20 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// ours is a server with that handler.
func ours(handler http.HandlerFunc) *h2.Server {
	limits := httpserver.DefaultLimits()
	return &h2.Server{
		Handler: handler, Limits: &limits, IdleTimeout: patience, WriteStall: patience, Streams: 100,
		Context: context.Background(), Log: zap.NewNop(), Last: func() bool { return false },
		Refused: func(w http.ResponseWriter, _ *http.Request, why *refusal.Error) {
			w.Header().Set("Reason", string(why.Reason))
			w.WriteHeader(why.Reason.Status())
		},
	}
}

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

// serve serves connections until the test ends, and waits for their end.
func serve(t testing.TB, s *h2.Server) (address string) {
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

// A peer speaks to a server frame by frame.
type peer struct {
	*http2.Framer
	t       testing.TB
	conn    *net.TCPConn
	encoder *hpack.Encoder
	block   bytes.Buffer
	log     []string // what was seen: "1: HEADERS 200", "1: DATA hello", "1: END", "1: RST CANCEL", "GOAWAY 3 NO_ERROR"
}

// dial opens a connection and says hello.
func dial(t testing.TB, address string, settings ...http2.Setting) *peer {
	t.Helper()
	p := open(t, address)
	if _, err := io.WriteString(p.conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	p.must(p.WriteSettings(settings...))
	return p
}

// open opens a connection and says nothing.
func open(t testing.TB, address string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &peer{Framer: http2.NewFramer(c, c), t: t, conn: c.(*net.TCPConn)}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.encoder = hpack.NewEncoder(&p.block)
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// encode makes a header block of fields, each "name: value".
func (p *peer) encode(fields ...string) []byte {
	p.block.Reset()
	for _, f := range fields {
		name, value, _ := strings.Cut(f[1:], ": ")
		_ = p.encoder.WriteField(hpack.HeaderField{Name: f[:1] + name, Value: value}) // a buffer does not fail
	}
	return p.block.Bytes()
}

// get are the pseudo-fields of a request.
func get(path string) []string { return request("GET", path) }

func request(method, path string, fields ...string) []string {
	return append([]string{":method: " + method, ":scheme: https", ":authority: x", ":path: " + path}, fields...)
}

// ask opens a stream, in as many frames as it takes.
func (p *peer) ask(id uint32, ended bool, fields ...string) {
	p.t.Helper()
	block := p.encode(fields...)
	first := block[:min(len(block), 16<<10)]
	block = block[len(first):]
	p.must(p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: first, EndStream: ended,
		EndHeaders: len(block) == 0,
	}))
	for len(block) > 0 {
		part := block[:min(len(block), 16<<10)]
		block = block[len(part):]
		p.must(p.WriteContinuation(id, len(block) == 0, part))
	}
}

// next reads a frame and notes what it says; false: the connection is over.
func (p *peer) next() (http2.Frame, bool) {
	frame, err := p.ReadFrame()
	if err != nil {
		return nil, false
	}
	note := func(format string, args ...any) { p.log = append(p.log, fmt.Sprintf(format, args...)) }
	id := frame.Header().StreamID
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		if status := f.PseudoValue("status"); status != "" {
			note("%d: HEADERS %s", id, status)
		} else {
			note("%d: TRAILERS", id)
		}
		if f.StreamEnded() {
			note("%d: END", id)
		}
	case *http2.DataFrame:
		if data := f.Data(); len(data) > 0 {
			note("%d: DATA %.20q", id, data)
		}
		if f.StreamEnded() {
			note("%d: END", id)
		}
	case *http2.RSTStreamFrame:
		note("%d: RST %v", id, f.ErrCode)
	case *http2.PingFrame:
		note("PING %s", f.Data)
		if !f.IsAck() && string(f.Data[:]) != "lastcall" { // as every client must; the last one is the tests' own affair
			ack := append([]byte{0, 0, 8, byte(http2.FramePing), byte(http2.FlagPingAck), 0, 0, 0, 0}, f.Data[:]...)
			// beside the framer, whose frames are another goroutine's; an end is seen with the next frame
			_, _ = p.conn.Write(ack)
		}
	case *http2.GoAwayFrame:
		note("GOAWAY %d %v", f.LastStreamID, f.ErrCode)
	}
	return frame, true
}

// until reads frames until one is that which the test waits for.
func (p *peer) until(wanted string) {
	p.t.Helper()
	for !p.saw(wanted) {
		if _, more := p.next(); !more {
			p.t.Fatalf("the connection ended before %q: %q", wanted, p.log)
		}
	}
}

func (p *peer) saw(what string) bool {
	for _, line := range p.log {
		if line == what {
			return true
		}
	}
	return false
}

// rest reads until the connection is over.
func (p *peer) rest() []string {
	for {
		if _, more := p.next(); !more {
			return p.log
		}
	}
}

// answers tells that the connection goes on.
func (p *peer) answers(id uint32) {
	p.t.Helper()
	p.ask(id, true, get("/probe")...)
	p.until(fmt.Sprintf("%d: HEADERS 200", id))
	p.until(fmt.Sprintf("%d: END", id))
}

func nothing(http.ResponseWriter, *http.Request) {}

// drained reads the body, and answers with what came of it.
func drained(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		w.Header().Set("Reason", string(refusal.Of(err)))
		w.WriteHeader(400)
		return
	}
	_, _ = fmt.Fprint(w, n)
}
