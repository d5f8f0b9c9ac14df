package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// inUse is the heap's live memory. What lies unused in pools goes with the second collection.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client that asks and asks and reads nothing costs a bounded memory, whatever its answers are made of: heads alone,
// hints, trailers, resets. Its streams count until what they say has room.
func TestUnreadAnswers(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 128)
	for name, handler := range map[string]http.HandlerFunc{
		"heads": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", large)
			w.WriteHeader(http.StatusNotModified)
		},
		"hints": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", large)
			for range 16 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		},
		"trailers": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(http.TrailerPrefix+"X-Late", large) },
		"short bodies": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, large)
		},
		"resets": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Int64
			s := ours(func(w http.ResponseWriter, r *http.Request) {
				defer served.Add(1)
				handler(w, r)
			})
			p := dial(t, serve(t, s), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			p.must(p.conn.SetReadBuffer(4 << 10))
			p.must(p.WriteWindowUpdate(0, 1<<30))
			p.must(p.conn.SetDeadline(time.Now().Add(2 * time.Second))) // as long as it can go on asking
			before := inUse()
			block := bytes.Clone(p.encode(get("/")...))
			id := uint32(1)
			for ; id < 200_000; id += 2 {
				if p.WriteHeaders(http2.HeadersFrameParam{
					StreamID: id, BlockFragment: block, EndStream: true,
					EndHeaders: true,
				}) != nil {
					break
				}
				for i := 0; int64(id/2)-served.Load() > 50 && i < 500; i++ { // never more than may be open
					runtime.Gosched()
				}
			}
			// 100 streams, a head and a hint of 2 KiB each, and what may wait, twice
			if grown := inUse() - before; grown > 2<<20 {
				t.Errorf("%d requests, %d served, %d KiB", id/2, served.Load(), grown>>10)
			}
		})
	}
}

// A cookie may come in pieces, and each piece costs a byte on the wire: it must not cost a place in a map.
func TestCookieCrumbs(t *testing.T) {
	const streams = 90
	var begun atomic.Int64
	release := make(chan struct{})
	s := ours(func(_ http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		<-release
	})
	p := dial(t, serve(t, s))
	// an empty cookie of the static table
	block := append(bytes.Clone(p.encode(get("/")...)), bytes.Repeat([]byte{0xa0}, 3200)...)
	before := inUse()
	for i := range uint32(streams) {
		p.must(p.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 2*i + 1, BlockFragment: block, EndStream: true,
			EndHeaders: true,
		}))
	}
	for begun.Load() < streams {
		runtime.Gosched()
	}
	grown := (inUse() - before) / streams
	close(release)
	if grown > 40<<10 { // the cookie itself has 6 KiB, a handler's stack and its writers some more
		t.Errorf("%d bytes for each request", grown)
	}
}

// Whatever a client does to have its streams reset, by itself or by us, it cannot do without end.
func TestStreamsThatAreMadeToBeReset(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*peer, uint32) error{
		"RST_STREAM":         func(p *peer, id uint32) error { return p.WriteRSTStream(id, http2.ErrCodeCancel) },
		"no increment":       func(p *peer, id uint32) error { return p.WriteWindowUpdate(id, 0) },
		"too large a window": func(p *peer, id uint32) error { return p.WriteWindowUpdate(id, 1<<31-1) },
		"DATA after its end": func(p *peer, id uint32) error { return p.WriteData(id, false, []byte("x")) },
		"HEADERS after its end": func(p *peer, id uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: []byte{0, 1, 'a', 1, 'b'},
				EndStream: true, EndHeaders: true,
			})
		},
		"its own parent": func(p *peer, id uint32) error { return p.WritePriority(id, http2.PriorityParam{StreamDep: id}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var begun atomic.Int64
			p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
				begun.Add(1)
				<-r.Context().Done()
			})))
			done := make(chan uint32)
			go func() {
				block := bytes.Clone(p.encode(get("/")...))
				id := uint32(1)
				for ; id < 40_000; id += 2 {
					if p.WriteHeaders(http2.HeadersFrameParam{
						StreamID: id, BlockFragment: block, EndStream: true,
						EndHeaders: true,
					}) != nil || spoil(p, id) != nil {
						break
					}
				}
				_ = p.conn.CloseWrite()
				done <- id / 2
			}()
			log := p.rest()
			if asked := <-done; len(log) == 0 || !strings.HasSuffix(log[len(log)-1], "ENHANCE_YOUR_CALM") ||
				begun.Load() > 1200 {
				t.Errorf("%d streams, %d begun, the end is %q", asked, begun.Load(), log[max(0, len(log)-1):])
			}
		})
	}
}

// A stream that never began is nothing that could be reset (RFC 9113 section 5.1).
func TestFaultsOfStreamsThatNeverBegan(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*peer) error{
		"no increment":   func(p *peer) error { return p.WriteWindowUpdate(3, 0) },
		"its own parent": func(p *peer) error { return p.WritePriority(3, http2.PriorityParam{StreamDep: 3}) },
		"even":           func(p *peer) error { return p.WriteWindowUpdate(2, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, serve(t, ours(nothing)))
			p.answers(1)
			p.must(fault(p))
			if log := p.rest(); log[len(log)-1] != "GOAWAY 1 PROTOCOL_ERROR" {
				t.Errorf("%q", log)
			}
		})
	}
}

// The time that a client has for 64 KiB of an answer does not begin anew with each small write of its handler.
func TestStallsOfSmallWritesAddUp(t *testing.T) {
	t.Parallel()
	failed := make(chan int, 1)
	s := ours(func(w http.ResponseWriter, _ *http.Request) {
		for n := 0; ; n++ {
			if _, err := w.Write(make([]byte, 5<<10)); err != nil {
				failed <- n
				return
			}
		}
	})
	s.WriteStall = 200 * time.Millisecond
	p := dial(t, serve(t, s), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	p.ask(1, true, get("/")...)
	p.until("1: HEADERS 200")
	drip := time.NewTicker(50 * time.Millisecond)
	defer drip.Stop()
	for range 100 {
		select {
		case n := <-failed:
			p.until("1: RST INTERNAL_ERROR")
			if n > 8 {
				t.Errorf("%d writes before it failed", n)
			}
			return
		case <-drip.C:
			_ = p.WriteWindowUpdate(1, 5<<10) // a write at a time: 100 KiB/s
		}
	}
	t.Error("the stream lives on")
	_ = p.conn.Close()
	<-failed
}

// An eviction is for a connection that has no request and has said all; its client is told which were served.
func TestEvict(t *testing.T) {
	t.Parallel()
	l, release := listen(t), make(chan struct{})
	s := ours(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
	})
	p := open(t, l.Addr().String())
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := s.NewConn(accepted)
	done := make(chan struct{})
	go func() { defer close(done); c.Serve() }()
	fmt.Fprint(p.conn, http2.ClientPreface)
	p.must(p.WriteSettings())
	p.ask(1, true, get("/wait")...)
	p.must(p.WritePing(false, [8]byte([]byte("has come")))) // once it is answered, the request has
	p.until("PING has come")
	c.Evict()
	close(release)
	p.until("1: END")
	for idle := false; !idle; runtime.Gosched() {
		_, idle = c.IdleSince()
	}
	c.Evict()
	p.ask(3, true, get("/late")...)
	if log := p.rest(); log[len(log)-1] != "GOAWAY 1 NO_ERROR" {
		t.Errorf("%q", log)
	}
	<-done
}

// Workers that were needed once end, though a stream lives on: their stacks are most of a connection's memory.
func TestWorkersEndBesideAStream(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 100)
	p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		if r.URL.Path == "/stays" {
			<-r.Context().Done()
			return
		}
		<-release
	})))
	before := runtime.NumGoroutine()
	p.ask(1, true, get("/stays")...)
	for id := uint32(3); id < 200; id += 2 {
		p.ask(id, true, get("/")...)
	}
	for range 100 {
		<-begun
	}
	close(release)
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before+5; {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines more", runtime.NumGoroutine()-before)
		}
		<-time.After(10 * time.Millisecond)
	}
	p.answers(201)
}
