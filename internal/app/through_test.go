package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// A path is a whole gate between a client and an app that both allocate nothing: the server, the chain, the judging,
// the client of the upstream and the access line, on real sockets.
type path struct {
	*gate
	conn   net.Conn
	answer []byte // room
}

// quietApp answers every request without allocating.
func quietApp(t testing.TB, answer string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				out, room, have := []byte(answer), make([]byte, 64<<10), 0
				for {
					n, err := c.Read(room[have:])
					if err != nil {
						return
					}
					if have += n; !bytes.HasSuffix(room[:have], []byte("\r\n\r\n")) {
						continue
					}
					if have = 0; !writes(c, out) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func writes(c net.Conn, p []byte) bool {
	_, err := c.Write(p)
	return err == nil
}

const quietAnswer = "HTTP/1.1 200 OK\r\nServer: quiet\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" +
	"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

// newPath runs a gate with an access log before the quiet app.
func newPath(t testing.TB, edits ...string) *path {
	t.Helper()
	l := quietApp(t, quietAnswer)
	p := &path{answer: make([]byte, 16<<10)}
	p.gate = &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines)}
	text := strings.NewReplacer(append(edits, "$APP", "http://"+l.Addr().String())...).Replace(settings)
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := keyfile.Load(p.file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(io.Discard, c.Log.Level, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	if p.Gate, err = app.New(app.Options{Config: c, ConfigPath: p.file, Log: log}); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if p.conn, err = net.Dial("tcp", p.Addr("main").String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	return p
}

// head is a request of a known token with so many fields more than a plain client sends.
func (p *path) head(more int) []byte {
	var b bytes.Buffer
	b.WriteString("GET /t/acme/x HTTP/1.1\r\nHost: app.example\r\nUser-Agent: quiet\r\nAccept: */*\r\n")
	fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", p.token("acme"))
	for i := range more {
		fmt.Fprintf(&b, "X-Further-%d: value-of-field-%d\r\n", i, i)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// ask sends a request and reads its answer, which must be the app's.
func (p *path) ask(request []byte) {
	if _, err := p.conn.Write(request); err != nil {
		p.t.Fatal(err)
	}
	have := 0
	for {
		n, err := p.conn.Read(p.answer[have:])
		if err != nil {
			p.t.Fatal(err)
		}
		if have += n; bytes.HasSuffix(p.answer[:have], []byte("\r\n\r\nhello")) {
			break
		}
	}
	if !bytes.HasPrefix(p.answer[:have], []byte("HTTP/1.1 200 OK\r\n")) {
		p.t.Fatalf("got %q", p.answer[:have])
	}
}

// garbage is what so many requests leave behind, in bytes and allocations for each.
func (p *path) garbage(request []byte, many int) (size, count float64) {
	for range 200 { // the caches, the pools and the connections
		p.ask(request)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range many {
		p.ask(request)
	}
	runtime.ReadMemStats(&after)
	per := func(before, after uint64) float64 { return float64(after-before) / float64(many) }
	return per(before.TotalAlloc, after.TotalAlloc), per(before.Mallocs, after.Mallocs)
}

// What a judged request with a known token leaves behind, over the whole path: the text of its head and of the
// answer's, the response, which is never used again, and the request id. Further fields cost their text alone.
func TestAllocationsOfAJudgedRequest(t *testing.T) { // not parallel: it counts
	const many = 3000
	p := newPath(t)
	plain := p.head(0)
	size, count := p.garbage(plain, many)
	t.Logf("%d bytes of head: %.0f bytes in %.2f allocations", len(plain), size, count)
	if (size > 1100 || count > 7.5) && !raceEnabled {
		t.Error("1100 bytes in 7 allocations are allowed")
	}
	for _, more := range []int{10, 20, 40} {
		further := p.head(more)
		added := float64(len(further) - len(plain))
		grown, grownCount := p.garbage(further, many)
		t.Logf("%d fields more, %.0f bytes: %.0f bytes in %.2f allocations", more, added, grown, grownCount)
		if (grown-size > 1.25*added+128 || grownCount > count+0.5) && !raceEnabled { // sizes are rounded up
			t.Errorf("%d fields more cost more than their text", more)
		}
	}
}

// BenchmarkThrough is a cached token through real sockets, with the access line.
func BenchmarkThrough(b *testing.B) {
	for _, more := range []int{0, 30} {
		b.Run(fmt.Sprint("fields=", 4+more), func(b *testing.B) {
			p := newPath(b)
			request := p.head(more)
			p.ask(request)
			b.ReportAllocs()
			for b.Loop() {
				p.ask(request)
			}
		})
	}
}
