package proxy

import (
	"bufio"
	"iter"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/jotgate/jotgate/internal/request"
)

// quiet is an app that allocates nothing for a request.
func quiet(t *testing.T, answer string) net.Listener {
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
				in, out := bufio.NewReader(c), []byte(answer)
				for {
					line, err := in.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) > 2 {
						continue
					}
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { l.Close() })
	return l
}

// A sink is a client that takes an answer and forgets it.
type sink struct {
	header http.Header
	status int
	bytes  int
	app    string                        // X-App
	take   func(name, value string) bool // field, made once
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(status int) {
	s.status = status
}

// Answer is how our own server takes a head.
func (s *sink) Answer(status int, _ int64, fields iter.Seq2[string, string]) {
	s.status = status
	fields(s.take)
}

func (s *sink) field(name, value string) bool {
	if name == "X-App" {
		s.app = value
	}
	return true
}

func (s *sink) Write(p []byte) (int, error) {
	s.bytes += len(p)
	return len(p), nil
}

// What a request with a known token costs between the server and the upstream's socket.
func TestForwardingAllocatesLittle(t *testing.T) { // not parallel: it counts
	if raceEnabled {
		t.Log("the race detector allocates itself: only the answer is looked at")
	}
	h := newHouse(t)
	before := h.app.listener // which keeps its port until the other has one
	h.app.listener = quiet(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-App: 1\r\nContent-Length: 5\r\n\r\nhello")
	before.Close()
	h.load(settings)
	t.Cleanup(h.gate.Close) // or the app would wait for what rests
	s := newStand(h, "/t/acme/x", h.mint())
	s.p.r = s.p.r.WithContext(t.Context())
	to := &sink{header: http.Header{}}
	to.take = to.field
	x := s.p.x
	once := func() {
		target, host := x.Target, x.Host
		clear(to.header)
		x.Begin(to, h.clock())
		x.ID, x.Scheme, x.Target, x.Host = "0190-id", "http", target, host
		h.gate.ServeHTTP(x, s.p.r)
	}
	once()
	if to.status != 200 || to.bytes != 5 || to.app != "1" || to.header.Get(request.RequestIDHeader) != "0190-id" {
		t.Fatalf("got %+v", to)
	}
	const most = 8
	if n := testing.AllocsPerRun(300, once); n > most && !raceEnabled {
		t.Errorf("%v allocations, %v are allowed", n, most)
	} else {
		t.Logf("%v allocations", n)
	}
}
