package h2_test

//lint:file-ignore SA1019 net/http takes a listener in place of a pipe

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A script is a client that a few bytes describe: it opens streams, sends parts of bodies, moves windows, resets, stops
// to read and waits. Each is played against our server and against net/http's, over a pipe that holds nothing; what
// becomes of each stream must be the same: status, body, trailers, and whether it ended or was reset.

// scripted is the handler of both servers. The path says what it does.
func scripted(w http.ResponseWriter, r *http.Request) {
	pieces := func(total, piece int) {
		for n := 0; n < total; n += piece {
			if _, err := io.WriteString(w, long[n:min(n+piece, total)]); err != nil {
				return
			}
			flush(w)
		}
	}
	switch r.URL.Path {
	case "/echo":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "a/b")
		_, _ = w.Write(body)
	case "/early":
		w.WriteHeader(http.StatusUnauthorized)
	case "/large":
		w.Header().Set("Content-Type", "a/b")
		_, _ = io.WriteString(w, long)
	case "/pieces":
		w.Header().Set("Content-Type", "a/b")
		pieces(70_000, 7_001)
	case "/trailers":
		w.Header().Set("Content-Type", "a/b")
		w.Header().Set("Trailer", "X-Late")
		pieces(20_000, 9_000)
		w.Header().Set("X-Late", "late")
	case "/hints":
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	case "/abort":
		pieces(10_000, 10_000)
		panic(http.ErrAbortHandler)
	}
}

var scriptPaths = [...]string{"/echo", "/early", "/large", "/pieces", "/trailers", "/hints", "/abort", "/none"}

// An outcome is what became of a stream.
type outcome struct {
	status   string
	body     []byte
	trailers string
	end      string // "END", "RST CODE", or "" while it is open
}

func (o *outcome) String() string {
	return fmt.Sprintf("%s %d %08x %s%s", o.status, len(o.body), crc32.ChecksumIEEE(o.body), o.trailers, o.end)
}

// A player is the client of a script.
type player struct {
	t       testing.TB
	conn    net.Conn
	framer  *http2.Framer
	writing sync.Mutex
	encoder *hpack.Encoder
	block   bytes.Buffer

	mu       sync.Mutex
	changed  *sync.Cond
	held     bool
	streams  map[uint32]*outcome
	open     map[uint32]bool // our side of it
	reset    map[uint32]bool // by us
	window   map[uint32]int64
	initial  int64
	all      int64
	pongs    int
	gone     string
	lastOpen uint32
	path     map[uint32]string // the script's own
	sent     map[uint32]int
}

func newPlayer(t testing.TB, conn net.Conn) *player {
	p := &player{
		t: t, conn: conn, framer: http2.NewFramer(conn, conn), streams: map[uint32]*outcome{}, open: map[uint32]bool{},
		reset: map[uint32]bool{}, window: map[uint32]int64{}, path: map[uint32]string{}, sent: map[uint32]int{},
		initial: 65535, all: 65535,
	}
	p.changed = sync.NewCond(&p.mu)
	p.encoder = hpack.NewEncoder(&p.block)
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.writing.Lock() // until the preface is written: no answer may come before it
	return p
}

// send writes frames; an error means that the server is gone, which the reader notes.
func (p *player) send(frames func(*http2.Framer) error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = frames(p.framer)
}

// read follows what the server says until it is gone.
func (p *player) read() {
	for {
		p.mu.Lock()
		for p.held {
			p.changed.Wait()
		}
		p.mu.Unlock()
		frame, err := p.framer.ReadFrame()
		p.mu.Lock()
		if err != nil {
			if p.gone == "" {
				p.gone = "closed"
			}
			p.changed.Broadcast()
			p.mu.Unlock()
			return
		}
		answer := p.hear(frame)
		p.changed.Broadcast()
		p.mu.Unlock()
		if answer != nil {
			go p.send(answer) // the server may be waiting for us to read
		}
	}
}

func (p *player) hear(frame http2.Frame) (answer func(*http2.Framer) error) {
	id := frame.Header().StreamID
	o := p.streams[id]
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			p.initial = int64(v)
		}
		return func(w *http2.Framer) error { return w.WriteSettingsAck() }
	case *http2.PingFrame:
		if f.IsAck() {
			p.pongs++
			return nil
		}
		data := f.Data
		return func(w *http2.Framer) error { return w.WritePing(true, data) }
	case *http2.WindowUpdateFrame:
		if id == 0 {
			p.all += int64(f.Increment)
		} else {
			p.window[id] += int64(f.Increment)
		}
	case *http2.GoAwayFrame:
		p.gone = "GOAWAY " + f.ErrCode.String()
	case *http2.MetaHeadersFrame:
		switch status := f.PseudoValue("status"); {
		case status == "":
			for _, field := range f.Fields {
				o.trailers += field.Name + "=" + field.Value + " "
			}
		case strings.HasPrefix(status, "1"):
			o.status += status + " "
		default:
			o.status += status
		}
		if f.StreamEnded() {
			o.end = "END"
		}
	case *http2.DataFrame:
		o.body = append(o.body, f.Data()...)
		if f.StreamEnded() {
			o.end = "END"
		}
	case *http2.RSTStreamFrame:
		if o.end == "" { // behind the end it is only told that the rest of a body is not wanted
			o.end = "RST " + f.ErrCode.String()
		}
		p.open[id] = false
	}
	return nil
}

// until waits for something to be so; false: the server is gone.
func (p *player) until(so func() bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !so() && p.gone == "" {
		p.changed.Wait()
	}
	return p.gone == ""
}

func (p *player) hold(held bool) {
	p.mu.Lock()
	p.held = held
	p.changed.Broadcast()
	p.mu.Unlock()
}

// barrier waits until the server has seen what was sent.
func (p *player) barrier() {
	p.hold(false)
	p.mu.Lock()
	before := p.pongs
	p.mu.Unlock()
	p.send(func(w *http2.Framer) error { return w.WritePing(false, [8]byte{1}) })
	p.until(func() bool { return p.pongs > before })
}

// unread is how much is sent to handlers that do not read: less than either server's window, which would not open
// again.
const unread = 30_000

// data sends what the windows have room for, and waits for more. Meanwhile it takes whatever the server sends: one that
// waits for us before it reads on would never open a window.
func (p *player) data(id uint32, n int, ended bool) {
	if left := unread - p.sent[id]; p.path[id] != "/echo" && n > left {
		n = left
	}
	p.sent[id] += n
	for n > 0 || ended {
		p.mu.Lock()
		room := min(int64(n), p.all, p.initial+p.window[id], 16<<10)
		live := p.open[id] && p.gone == ""
		p.mu.Unlock()
		switch {
		case !live:
			return
		case n > 0 && room <= 0:
			p.hold(false)
			p.send(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, 100_000) })
			p.send(func(w *http2.Framer) error { return w.WriteWindowUpdate(id, 100_000) })
			if !p.until(func() bool { return !p.open[id] || min(p.all, p.initial+p.window[id]) > 0 }) {
				return
			}
			continue
		}
		p.mu.Lock()
		p.all -= room
		p.window[id] -= room
		last := ended && int64(n) == room
		if last {
			p.open[id] = false
		}
		p.mu.Unlock()
		p.send(func(w *http2.Framer) error { return w.WriteData(id, last, make([]byte, room)) })
		if n -= int(room); last {
			return
		}
	}
}

// play does what the bytes say, two of them at a time, and lets all streams come to their end.
func (p *player) play(script []byte) {
	if _, err := io.WriteString(p.conn, http2.ClientPreface); err == nil {
		_ = p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 30_000}) // as with send
	}
	p.writing.Unlock()
	p.barrier() // its windows are known
	for len(script) >= 2 && p.lastOpen < 60 {
		p.step(script[0], script[1])
		script = script[2:]
	}
	p.hold(false)
	p.send(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, 1<<30) })
	p.send(func(w *http2.Framer) error {
		return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	})
	for id := uint32(1); id <= p.lastOpen; id += 2 {
		p.data(id, 0, true)
	}
	p.until(func() bool {
		for id, o := range p.streams {
			if o.end == "" && !p.reset[id] {
				return false
			}
		}
		return true
	})
}

func (p *player) step(what, how byte) {
	id := uint32(1)
	if p.lastOpen > 0 {
		id = uint32(how)%((p.lastOpen+1)/2)*2 + 1
	}
	switch what % 12 {
	case 0, 1, 2, 3:
		p.request(what, how)
	case 4, 5:
		p.data(id, []int{0, 1, 100, 5_000, 16_384, 40_000, 70_000}[int(what/12)%7], false)
	case 6:
		p.data(id, int(how), true)
	case 7:
		p.send(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, 1+uint32(how)*500) })
	case 8:
		p.mu.Lock()
		known := p.streams[id] != nil
		p.mu.Unlock()
		if known {
			p.send(func(w *http2.Framer) error { return w.WriteWindowUpdate(id, 1+uint32(what)*100) })
		}
	case 9:
		p.send(func(w *http2.Framer) error {
			return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(how) * 400})
		})
	case 10:
		if how%4 == 0 {
			p.cancel(id)
		} else {
			p.barrier()
		}
	case 11:
		p.hold(how%2 == 0)
	}
}

// request opens a stream.
func (p *player) request(what, how byte) {
	path, method, ended := scriptPaths[how%8], "GET", what%2 == 0
	if !ended {
		method = "POST"
	}
	if what%12 == 2 {
		method = "HEAD"
		if path == "/abort" { // net/http's has ended the stream with the head
			path = "/none"
		}
	}
	p.mu.Lock()
	p.lastOpen = max(1, p.lastOpen+2)
	if p.lastOpen%2 == 0 {
		p.lastOpen--
	}
	id := p.lastOpen
	p.streams[id], p.open[id], p.path[id] = new(outcome), !ended, path
	p.mu.Unlock()
	p.send(func(w *http2.Framer) error {
		p.block.Reset()
		for _, f := range [][2]string{
			{":method", method},
			{":scheme", "http"},
			{":authority", "x"},
			{":path", path},
			{"a", strconv.Itoa(int(how))},
		} {
			_ = p.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer does not fail
		}
		return w.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: p.block.Bytes(), EndStream: ended,
			EndHeaders: true,
		})
	})
}

// cancel resets a stream; what became of it before is a matter of chance.
func (p *player) cancel(id uint32) {
	p.mu.Lock()
	o := p.streams[id]
	p.mu.Unlock()
	if o == nil {
		return
	}
	p.mu.Lock()
	p.open[id], p.reset[id] = false, true
	p.mu.Unlock()
	p.send(func(w *http2.Framer) error { return w.WriteRSTStream(id, http2.ErrCodeCancel) })
}

// perform plays a script against a server, and returns what became of each stream that we did not reset.
func perform(t testing.TB, script []byte, serve func(net.Conn)) map[uint32]string {
	t.Helper()
	client, server := net.Pipe()
	var g sync.WaitGroup
	g.Go(func() { serve(server) })
	p := newPlayer(t, client)
	g.Go(p.read)
	watchdog := time.AfterFunc(patience, func() {
		p.mu.Lock()
		p.gone = "stuck"
		p.changed.Broadcast()
		p.mu.Unlock()
		_ = client.Close()
	})
	p.play(script)
	watchdog.Stop()
	p.mu.Lock()
	got := map[uint32]string{}
	for id, o := range p.streams {
		if !p.reset[id] {
			got[id] = o.String()
		}
	}
	if p.gone != "" {
		got[0] = p.gone
	}
	p.mu.Unlock()
	_ = client.Close()
	g.Wait()
	return got
}

func byOurs(c net.Conn) {
	s := ours(scripted)
	s.Streams = 250
	s.NewConn(c).Serve()
}

func byNetHTTP(c net.Conn) {
	(&http2.Server{MaxConcurrentStreams: 250}).ServeConn(c, &http2.ServeConnOpts{
		Handler: http.HandlerFunc(scripted), BaseConfig: &http.Server{ErrorLog: log.New(io.Discard, "", 0)},
	})
}

// alikeScript plays a script against both servers.
func alikeScript(t testing.TB, script []byte) {
	t.Helper()
	want, got := perform(t, script, byNetHTTP), perform(t, script, byOurs)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("script %x, streams %v (-net/http +ours):\n%s", script, slices.Sorted(maps.Keys(want)), diff)
	}
}

func TestScriptsLikeNetHTTP(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		script := make([]byte, 2*(4+random.IntN(40)))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		alikeScript(t, script)
	}
}

// Whatever a well-behaved client does, it sees of our server what it sees of net/http's.
func FuzzScripts(f *testing.F) {
	f.Add([]byte{1, 0, 77, 0, 6, 9})
	f.Add([]byte{0, 2, 11, 0, 9, 0, 0, 3, 11, 1, 9, 255, 7, 200})
	f.Add([]byte{1, 1, 65, 0, 65, 0, 10, 1, 6, 0, 3, 6})
	f.Add([]byte("1\x00MMMMMMMMMMMMMMMM\x00\xff")) // an echo of much more than the windows have room for
	f.Fuzz(func(t *testing.T, script []byte) {
		alikeScript(t, script[:min(len(script), 120)])
	})
}
