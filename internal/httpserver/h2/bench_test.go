package h2_test

import (
	"bytes"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var usual = []string{
	":method: GET", ":scheme: https", ":authority: app.example.com", ":path: /tenants/acme/tickets/7?page=2",
	"user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "accept: application/json",
	"accept-encoding: gzip, deflate, br",
	"authorization: Bearer " +
		"eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2dhdGUuZXhhbXBsZS5jb20iLCJhdWQiOiJodHRwczovL2FwaS5leGFtcGxlLmNvbSIsInN1YiI6InVzZXItNyIsImV4cCI6MTcwMDAwMDAwMH0." +
		"c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtc2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU",
	"x-request-id: 0190f7c6-6f0b-7c3e-9b0a-1a2b3c4d5e6f",
}

// again is a client that sends the same request so many times, eight at once, and waits for the answers: it has the
// frames of a round ready, and counts those with END_STREAM in what it is sent.
type again struct {
	script
	mu     sync.Mutex
	wakes  sync.Cond
	left   int
	ready  int // answers that came
	wanted int
	id     uint32
	block  []byte
	framer *http2.Framer
	out    bytes.Buffer
}

const together = 8

func newAgain(rounds int) *again {
	a := &again{left: rounds, id: 1}
	a.wakes.L = &a.mu
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range usual {
		name, value, _ := bytes.Cut([]byte(f[1:]), []byte(": "))
		// the same bytes mean the same each time
		_ = e.WriteField(hpack.HeaderField{Name: f[:1] + string(name), Value: string(value), Sensitive: true})
	}
	a.block = block.Bytes()
	a.framer = http2.NewFramer(&a.out, nil)
	a.out.WriteString(http2.ClientPreface)
	_ = a.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = a.framer.WriteWindowUpdate(0, 1<<30)
	return a
}

func (a *again) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out.Len() > 0 {
		return a.out.Read(p)
	}
	for a.ready < a.wanted {
		a.wakes.Wait()
	}
	if a.left--; a.left < 0 {
		return 0, net.ErrClosed
	}
	for range together {
		_ = a.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: a.id, BlockFragment: a.block, EndStream: true,
			EndHeaders: true,
		})
		a.id += 2
	}
	a.wanted += together
	return a.out.Read(p)
}

func (a *again) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for rest := p; len(rest) >= 9; { // frames are written whole
		length := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		if rest[3] < 2 && rest[4]&1 != 0 {
			a.ready++
		}
		rest = rest[9+length:]
	}
	a.wakes.Signal()
	return len(p), nil
}

// rounds has so many times eight requests read and answered.
func rounds(n int) {
	body := make([]byte, 1024)
	length := []string{"1024"}
	s := ours(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = length
		_, _ = w.Write(body)
	})
	s.NewConn(newAgain(n)).Serve()
}

// A request costs: what it and its answer are made of, two maps and their content, and the eight strings here that the
// connection's table does not have.
func TestAllocationsOfARequest(t *testing.T) {
	const many = 200
	// under it, pools forget
	if n := testing.AllocsPerRun(5, func() { rounds(many) }) / many / together; n > 20.3 && !raceEnabled {
		t.Errorf("%v allocations per request", n)
	}
}

// What reading a request and writing an answer cost beside the kernel and TLS.
func BenchmarkConn(b *testing.B) {
	b.ReportAllocs()
	rounds(b.N/together + 1)
}

// A connection at rest holds its buffers and tables, and no stacks of workers.
func TestMemoryOfAConnectionAtRest(t *testing.T) {
	const many = 200
	address := serve(t, ours(nothing))
	use := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before, goroutines := use(), runtime.NumGoroutine()
	idle := make([]*net.TCPConn, many)
	for i := range idle {
		p := dial(t, address)
		p.ask(1, true, usual...)
		p.until("1: END")
		idle[i] = p.conn
		p.Framer = nil
	}
	limit, end := uint64(24<<10), time.Now().Add(patience) // with the client's half, and a serving goroutine's stack
	var each uint64
	for each = limit; each >= limit && time.Now().Before(end); {
		<-time.After(100 * time.Millisecond)
		each = (use() - before) / many
	}
	if each >= limit && !raceEnabled {
		t.Errorf("%d bytes each", each)
	}
	for runtime.NumGoroutine() > goroutines+many && time.Now().Before(end) { // its reader
		<-time.After(100 * time.Millisecond)
	}
	if n := runtime.NumGoroutine() - goroutines; n > many {
		t.Errorf("%d goroutines", n)
	}
	runtime.KeepAlive(idle)
}
