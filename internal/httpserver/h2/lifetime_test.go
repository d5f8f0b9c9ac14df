package h2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/httpserver/h2"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A request's context ends when its client resets it or goes away, and so do reads and writes that wait.
func TestContextEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*peer){
		"reset":             func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeCancel)) },
		"closed":            func(p *peer) { _ = p.conn.Close() },
		"fault":             func(p *peer) { p.must(p.WriteData(0, true, nil)) },
		"fault of a stream": func(p *peer) { p.must(p.WriteWindowUpdate(1, 0)) },
	} {
		for waits, wait := range map[string]func(http.ResponseWriter, *http.Request) error{
			"for its end": func(_ http.ResponseWriter, r *http.Request) error {
				<-r.Context().Done()
				return r.Context().Err()
			},
			"OnEnd": func(_ http.ResponseWriter, r *http.Request) error {
				ended := make(chan struct{})
				r.Context().(interface{ OnEnd(func()) func() bool }).OnEnd(func() { close(ended) })
				<-ended
				return r.Context().Err()
			},
			"for the body": func(_ http.ResponseWriter, r *http.Request) error {
				_, err := io.Copy(io.Discard, r.Body)
				if refusal.Of(err) != refusal.ClientClosed {
					t.Errorf("%s: %v", name, err)
				}
				return err
			},
			"for a window": func(w http.ResponseWriter, _ *http.Request) error {
				_, err := io.WriteString(w, long)
				return err
			},
		} {
			t.Run(name+", waits "+waits, func(t *testing.T) {
				t.Parallel()
				began, ended := make(chan struct{}), make(chan error, 1)
				p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
					close(began)
					ended <- wait(w, r)
				})))
				p.ask(1, false, request("POST", "/")...)
				<-began
				leave(p)
				if err := <-ended; err == nil {
					t.Error("it ended without an error")
				}
			})
		}
	}
}

// Abort ends contexts although the client is silent.
func TestAbortEndsContexts(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	began := make(chan struct{})
	s := ours(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	p, c := connected(t, s)
	p.ask(1, false, request("POST", "/")...)
	<-began
	c.Abort()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// connected is one connection, and the server's side of it.
func connected(t *testing.T, s *h2.Server) (*peer, *h2.Conn) {
	t.Helper()
	l := listen(t)
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	p := open(t, l.Addr().String())
	t.Cleanup(func() { _ = p.conn.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := s.NewConn(accepted)
	serving.Go(c.Serve)
	_, err = io.WriteString(p.conn, http2.ClientPreface)
	p.must(err)
	p.must(p.WriteSettings())
	return p, c
}

// A panic costs its stream alone, and is told once.
func TestPanicCostsItsStream(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.ErrorLevel)
	s := ours(func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic("mistake")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	})
	s.Log = zap.New(core)
	p := dial(t, serve(t, s))
	p.ask(1, true, get("/panic")...)
	p.until("1: RST INTERNAL_ERROR")
	p.ask(3, true, get("/abort")...)
	p.until("3: RST INTERNAL_ERROR")
	p.answers(5)
	if logs.Len() != 1 {
		t.Errorf("%d lines", logs.Len())
	}
}

// A stream over the limit is refused, and the others are not: it counts until its handler has returned, whichever side
// reset it.
func TestStreamsOverTheLimit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := ours(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/probe" {
			<-release
		}
	})
	s.Streams = 2
	p := dial(t, serve(t, s))
	p.ask(1, true, get("/")...)
	p.ask(3, false, request("POST", "/")...)
	p.must(p.WriteRSTStream(3, http2.ErrCodeCancel)) // its handler goes on
	p.ask(5, false, request("POST", "/")...)
	p.until("5: RST REFUSED_STREAM")
	p.must(p.WriteData(5, false, make([]byte, 5))) // on its way already
	p.ask(5, true, "a: b")
	close(release)
	p.until("1: END")
	p.answers(7)
	p.answers(9)
}

// What the client had sent before it could know that its stream was reset is no fault, trailers included.
func TestEarlyAnswerLeavesTheConnection(t *testing.T) {
	t.Parallel()
	const last = 179
	p := dial(t, serve(t, ours(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })))
	for id := uint32(1); id <= last; id += 2 {
		p.ask(id, false, request("POST", "/")...)
	}
	for id := uint32(1); id <= last; id += 2 {
		p.until(fmt.Sprintf("%d: RST NO_ERROR", id))
		p.must(p.WriteData(id, false, make([]byte, 1000)))
		p.ask(id, true, "a: b")
	}
	p.ask(last+2, true, get("/")...)
	p.until(fmt.Sprintf("%d: END", last+2))
	for _, line := range p.log {
		if strings.Contains(line, "RST") && !strings.HasSuffix(line, "NO_ERROR") {
			t.Fatal(line)
		}
	}
}

// The client is told to go before it is left (RFC 9113 section 6.8): what it sends until it knows is served.
func TestRetireLosesNothing(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p, c := connected(t, ours(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}))
	p.ask(1, true, get("/slow")...)
	p.answers(3)
	c.Retire(time.Time{})
	p.until("GOAWAY 2147483647 NO_ERROR")
	p.answers(5) // sent before that was read, for all the server knows
	p.until("PING lastcall")
	p.must(p.WritePing(true, [8]byte([]byte("lastcall"))))
	p.until("GOAWAY 5 NO_ERROR")
	p.ask(7, true, get("/")...) // against the rules
	close(release)
	log := p.rest()
	if !p.saw("1: END") || p.saw("7: HEADERS 200") {
		t.Errorf("%q", log)
	}
}

// A client that answers no PING is left all the same, and so is one that said goodbye itself.
func TestRetireWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	p, c := connected(t, ours(nothing))
	p.answers(1)
	if _, idle := c.IdleSince(); !idle {
		t.Error("not idle")
	}
	c.Retire(time.Time{})
	if _, idle := c.IdleSince(); idle {
		t.Error("idle, although it was told to go")
	}
	p.rest()
	if !p.saw("GOAWAY 1 NO_ERROR") {
		t.Errorf("%q", p.log)
	}
	p = dial(t, serve(t, ours(nothing)))
	p.answers(1)
	p.must(p.WriteGoAway(0, http2.ErrCodeNo, nil))
	if log := p.rest(); !p.saw("GOAWAY 1 NO_ERROR") {
		t.Errorf("%q", log)
	}
}

// The last answers say so.
func TestLastAnswers(t *testing.T) {
	t.Parallel()
	last := ours(nothing)
	last.Last = func() bool { return true }
	p := dial(t, serve(t, last))
	p.answers(1)
	p.until("GOAWAY 2147483647 NO_ERROR")
}

// A handler's `Connection: close` is for HTTP/1.1, where the rest of a body would have to be read: a stream ends alone,
// and its connection goes on.
func TestConnectionCloseEndsNoConnection(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(set(408, "", "Connection: close"))))
	for id := uint32(1); id < 20; id += 2 {
		p.ask(id, true, get("/")...)
		p.until(fmt.Sprintf("%d: HEADERS 408", id))
		p.until(fmt.Sprintf("%d: END", id))
	}
	for _, line := range p.log {
		if strings.HasPrefix(line, "GOAWAY") {
			t.Fatal(line)
		}
	}
}

// A connection without streams ends after its time, with a goodbye; PINGs do not keep it.
func TestIdleConnectionEnds(t *testing.T) {
	t.Parallel()
	s := ours(nothing)
	s.IdleTimeout = 50 * time.Millisecond
	p := dial(t, serve(t, s))
	p.answers(1)
	var pinging sync.WaitGroup
	pinging.Go(func() {
		for p.WritePing(false, [8]byte{}) == nil {
			<-time.After(10 * time.Millisecond)
		}
	})
	if log := p.rest(); log[len(log)-1] != "GOAWAY 1 NO_ERROR" {
		t.Errorf("%q", log)
	}
	_ = p.conn.Close()
	pinging.Wait()
}

// A stream whose client opens no window is reset in time; the others on the connection live on.
func TestStuckStreamIsReset(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	s := ours(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			_, err := io.WriteString(w, long)
			failed <- err
		}
	})
	s.WriteStall = 50 * time.Millisecond
	p := dial(t, serve(t, s), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	p.ask(1, true, get("/")...)
	p.until("1: RST INTERNAL_ERROR")
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	p.answers(3)
}

// A client that opens its window little by little gets everything.
func TestWindowsLittleByLittle(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(write(long))), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.ask(1, true, get("/")...)
	p.until("1: HEADERS 200")
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
	got := 0
	for !p.saw("1: END") {
		frame, more := p.next()
		if !more {
			t.Fatalf("%d bytes of %d", got, len(long))
		}
		if data, ok := frame.(*http2.DataFrame); ok && len(data.Data()) > 0 {
			n := len(data.Data())
			got += n
			p.must(p.WriteWindowUpdate(1, uint32(n)))
			p.must(p.WriteWindowUpdate(0, uint32(n)))
		}
	}
	if got != len(long) {
		t.Errorf("%d bytes of %d", got, len(long))
	}
}

// Deadlines that a handler sets hold for what waits already, and can be taken back.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]func(http.ResponseWriter, *http.Request) error{
		"read": func(w http.ResponseWriter, r *http.Request) error {
			time.AfterFunc(20*time.Millisecond, func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) })
			_, err := r.Body.Read(make([]byte, 1))
			if refusal.Of(err) != refusal.BodyTimeout {
				t.Errorf("read: %v", err)
			}
			return err
		},
		"write": func(w http.ResponseWriter, _ *http.Request) error {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := io.WriteString(w, long)
			return err
		},
		"pace": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := io.Copy(io.Discard, r.Body)
			return err
		},
		"taken back, then pace": func(w http.ResponseWriter, r *http.Request) error {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
			_, err := io.Copy(io.Discard, r.Body)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			s := ours(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					ended <- handler(w, r)
				}
			})
			s.Limits.BodyStall = 50 * time.Millisecond
			p := dial(t, serve(t, s))
			p.ask(1, false, request("POST", "/")...)
			if err := <-ended; err == nil {
				t.Error("no error")
			}
			p.answers(3)
		})
	}
}

// 100 (Continue) is sent with the handler's first read of the body, and not when the body is there already.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		early   bool
		want    string
	}{
		{"read", drained, false, "1: HEADERS 100"},
		{"not read", nothing, false, "1: HEADERS 200"},
		{"answered first", func(w http.ResponseWriter, r *http.Request) { flush(w); drained(w, r) }, false, "1: HEADERS 200"},
		{"there already", drained, true, "1: HEADERS 200"},
		{
			"said by the handler", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(100); drained(w, r) }, false,
			"1: HEADERS 100",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			came := make(chan struct{})
			p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) { <-came; row.handler(w, r) })))
			p.ask(1, false, request("POST", "/", "expect: 100-continue")...)
			if row.early {
				p.must(p.WriteData(1, true, []byte("hello")))
				p.must(p.WritePing(false, [8]byte{})) // its answer tells that the body has come
				p.until("PING \x00\x00\x00\x00\x00\x00\x00\x00")
			}
			close(came)
			p.until(row.want)
			if !row.early {
				p.must(p.WriteData(1, true, []byte("hello")))
			}
			p.until("1: END")
			if n := strings.Count(strings.Join(p.log, "|"), "HEADERS 100"); n > 1 || n == 1 && row.want != "1: HEADERS 100" {
				t.Errorf("%q", p.log)
			}
		})
	}
}

// The client's table may be of any size (RFC 7541 section 4.2), also between answers.
func TestHeaderTableSizes(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(set(200, "", "A: b", "C: d", "Cache-Control: no-store"))))
	for i, size := range []uint32{4096, 0, 64, 1 << 20, 100, 4096} {
		p.must(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		p.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(size)
		p.answers(uint32(2*i + 1))
	}
}

// Header lists longer than a frame go on in CONTINUATION frames.
func TestLongAnswerHead(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(set(200, "hello", "A: "+strings.Repeat("\\", 40<<10)))))
	p.answers(1)
	p.answers(3)
}

// Many answers that one connection asks for at once come whole, whichever goroutine writes them.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	address := serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(transport.CloseIdleConnections)
	var g sync.WaitGroup
	for worker := range 16 {
		g.Go(func() {
			for i := range 20 {
				body := strings.Repeat(fmt.Sprintf("%d-%d ", worker, i), 1+i*i*50)
				r, err := http.NewRequest("POST", "http://"+address, strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				a, err := transport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(a.Body); string(got) != body || err != nil {
					t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
				}
				_ = a.Body.Close()
			}
		})
	}
	g.Wait()
}

// What is secret, or seldom the same twice, is never put into the table (RFC 7541 section 7.1.3).
func TestCookiesAreNotIndexed(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(set(200, "", "Set-Cookie: session=secret", "A: b"))))
	p.ask(1, true, get("/")...)
	for {
		frame, more := p.next()
		if head, ok := frame.(*http2.MetaHeadersFrame); ok {
			for _, f := range head.Fields {
				if secret := f.Name == "set-cookie"; f.Sensitive != secret && f.Name != "content-length" {
					t.Errorf("%s: never indexed: %v", f.Name, f.Sensitive)
				}
			}
			return
		}
		if !more {
			t.Fatal(p.log)
		}
	}
}
