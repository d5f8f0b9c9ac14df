package listen_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/listen/listentest"
	"github.com/jotgate/jotgate/internal/refusal"
)

// secure are listener options with one certificate for every name that tests use.
func secure(t testing.TB, limits listen.Limits) (listen.Options, *listen.Certificates) {
	t.Helper()
	certs, err := listen.LoadCertificates([]listen.KeyPair{listentest.WritePair(t, "main.example", "127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	return listen.Options{Limits: limits, Listeners: []listen.Listener{{Name: "main", TLS: certs}}}, certs
}

// bothH2 runs a test with each server of HTTP/2.
func bothH2(t *testing.T, test func(*testing.T, listen.HTTP2)) {
	t.Helper()
	for name, server := range map[string]listen.HTTP2{"own": listen.HTTP2Own, "standard": listen.HTTP2Standard} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server)
		})
	}
}

func fetch(t testing.TB, c *http.Client, method, url string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestTLSSpeaksBothProtocols(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		o, _ := secure(t, listen.Limits{HTTP2: server})
		ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %v %v %s %v", r.Proto, r.RequestURI, r.TLS != nil &&
				r.TLS.HandshakeComplete, r.TLS.NegotiatedProtocol, body, err)
		}))
		for h2, want := range map[bool]string{
			false: "HTTP/1.1 /a%20b true  hi <nil>",
			true:  "HTTP/2.0 /a%20b true h2 hi <nil>",
		} {
			if _, got := fetch(t, listentest.Client(t, h2), "POST", "https://"+ls.Addr("main").String()+"/a%20b",
				strings.NewReader("hi")); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestSmugglingAboveTLS(t *testing.T) {
	t.Parallel()
	var seen ledger
	o, _ := secure(t, listen.Limits{})
	raw := dial(t, start(t, o, &seen))
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	fmt.Fprint(c, get+post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+get))
	if got := answers(t, c); len(got) != 2 || got[1] != 400 || len(seen.all()) != 1 {
		t.Errorf("%v %v", got, seen.all())
	}
}

func TestHandshakeInTime(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{TLSTimeout: 50 * time.Millisecond})
	ls := start(t, o, new(ledger))
	for _, begin := range []string{"", "\x16\x03\x01", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c := dial(t, ls)
		fmt.Fprint(c, begin)
		if n, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && n > 64 {
			t.Errorf("%q: %d bytes, %v", begin, n, err)
		}
	}
}

func TestH2Limits(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		o, _ := secure(t, listen.Limits{HTTP2: server})
		ls := start(t, o, new(ledger))
		base := "https://" + ls.Addr("main").String()
		for _, row := range []struct {
			name   string
			change func(*http.Request)
			status int
		}{
			{"plain", func(*http.Request) {}, 200},
			{"target at the limit", func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("u", 16<<10-1) }, 200},
			{"target over", func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("u", 16<<10) }, 414},
			{"fields over", func(r *http.Request) {
				for i := range 201 {
					r.Header.Add("A", fmt.Sprint(i))
				}
			}, 431},
			{"header list over", func(r *http.Request) {
				for range 33 {
					r.Header.Add("A", strings.Repeat("a", 1<<10))
				}
			}, 431},
			{"one field over", func(r *http.Request) { r.Header.Add("A", strings.Repeat("a", 33<<10)) }, 431},
			{"authority is no host", func(r *http.Request) { r.Host = "a_b~c" }, 400},
		} {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				r, err := http.NewRequest("GET", base, nil)
				if err != nil {
					t.Fatal(err)
				}
				row.change(r)
				answer, err := listentest.Client(t, true).Do(r)
				if err != nil {
					if row.name == "one field over" && server == listen.HTTP2Standard {
						return // it ends the connection
					}
					if row.status == 431 && strings.Contains(err.Error(), "advertised limit") {
						return // the client had read our SETTINGS already
					}
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if answer.StatusCode != row.status || answer.ProtoMajor != 2 {
					t.Errorf("%d, want %d", answer.StatusCode, row.status)
				}
			})
		}
	})
}

func TestH2SlowBody(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		limits := short()
		limits.BodyRate, limits.HTTP2 = 1<<20, server
		o, _ := secure(t, limits)
		reason := make(chan refusal.Reason, 1)
		ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			reason <- refusal.Of(err)
			w.WriteHeader(refusal.Of(err).Status())
		}))
		body, feeding := io.Pipe()
		go func() {
			for {
				if _, err := feeding.Write([]byte("a")); err != nil {
					return
				}
				<-time.After(10 * time.Millisecond)
			}
		}()
		status, _ := fetch(t, listentest.Client(t, true), "POST", "https://"+ls.Addr("main").String(), body)
		_ = body.Close()
		if got := <-reason; status != 408 || got != refusal.BodyTimeout {
			t.Errorf("%d %s", status, got)
		}
	})
}

// A stream whose client opens no window is reset; others on the connection live on.
func TestH2SlowReadOfOneStream(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		limits := short()
		limits.HTTP2 = server
		o, _ := secure(t, limits)
		failed := make(chan error, 1)
		ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/small" {
				return
			}
			piece := make([]byte, 64<<10)
			for {
				if _, err := w.Write(piece); err != nil {
					failed <- err
					return
				}
			}
		}))
		c, base := listentest.Client(t, true), "https://"+ls.Addr("main").String()
		stuck, err := c.Get(base)
		if err != nil {
			t.Fatal(err)
		}
		defer stuck.Body.Close()
		<-failed
		if status, _ := fetch(t, c, "GET", base+"/small", nil); status != 200 {
			t.Errorf("the other stream: %d", status)
		}
	})
}

// Over the cap, a connection that has no stream makes room, as an idle HTTP/1.1 connection does.
func TestH2ConnectionCapEvictsIdle(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		const most = 8
		o, _ := secure(t, listen.Limits{Connections: most, EvictIdleAfter: time.Nanosecond, HTTP2: server})
		ls := start(t, o, new(ledger))
		base := "https://" + ls.Addr("main").String()
		for range 3 * most {
			if status, _ := fetch(t, listentest.Client(t, true), "GET", base, nil); status != 200 { // left open, idle
				t.Errorf("status %d", status)
			}
		}
		for end := time.Now().Add(10 * time.Second); ls.Open() > 2*most && time.Now().Before(end); {
			<-time.After(10 * time.Millisecond) // net/http's server waits for a second
		}
		if ls.Open() > 2*most || ls.TurnedAway() > 0 {
			t.Errorf("%d open, %d turned away", ls.Open(), ls.TurnedAway())
		}
	})
}

// A client that begins a request when it is asked to go does not stay over the cap.
func TestH2EvictedClientsCannotStay(t *testing.T) {
	t.Parallel()
	const most = 8
	o, _ := secure(t, listen.Limits{Connections: most, EvictIdleAfter: time.Nanosecond})
	ls := start(t, o, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_,
			_ = io.Copy(io.Discard, r.Body)
	}))
	for range 5 * most {
		f, c := frames(t, ls)
		told := make(chan struct{})
		go func() {
			defer close(told)
			for asked := false; ; {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if _, ok := frame.(*http2.GoAwayFrame); ok && !asked {
					asked = true
					// it may be too late
					_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock("/"), EndHeaders: true})
				}
			}
		}()
		t.Cleanup(func() { _ = c.Close(); <-told })
	}
	for end := time.Now().Add(10 * time.Second); ls.Open() > most && time.Now().Before(end); {
		<-time.After(10 * time.Millisecond) // those that were evicted linger for half a second
	}
	if n := ls.Open(); n > most {
		t.Errorf("%d open, the cap is %d", n, most)
	}
}

// Connections that break while they are written, at the cap, where each newcomer asks the others whether they are idle:
// no side waits for the other for ever.
func TestH2BrokenConnectionsAtTheCap(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{Connections: 4, EvictIdleAfter: time.Nanosecond})
	ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 100<<10))
	}))
	address := ls.Addr("main").String()
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for i := range 60 {
				breakOff(address, time.Duration(i%5)*500*time.Microsecond)
			}
		})
	}
	over := make(chan struct{})
	go func() { defer close(over); clients.Wait(); ls.Open() }()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatal("the listeners are stuck")
	}
}

// breakOff asks for much and resets the connection a moment later.
func breakOff(address string, later time.Duration) {
	raw, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if c.HandshakeContext(context.Background()) != nil {
		return
	}
	fmt.Fprint(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = f.WriteWindowUpdate(0, 1<<30)
	for id := uint32(1); id < 16; id += 2 {
		_ = f.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: headerBlock("/"), EndStream: true,
			EndHeaders: true,
		})
	}
	<-time.After(later)
	_ = raw.(*net.TCPConn).SetLinger(0)
}

// A drain does not wait for the rest of a head.
func TestH2DrainDoesNotWaitForHalfAHead(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{Limits: httpserver.Limits{HeaderTimeout: time.Hour}})
	ls := start(t, o, new(ledger))
	f, _ := frames(t, ls)
	if err := f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: headerBlock("/"),
		EndStream: true,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := ls.Drain(ctx, listen.Drain{}); err != nil {
		t.Error(err)
	}
}

// A second instance takes the listener over again and again, under load over HTTP/2: each POST is answered once and
// served once. What was on its way when GOAWAY came is among them.
func TestH2TakeoverLosesNothing(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		const takeovers, workers = 5, 6
		certs, err := listen.LoadCertificates([]listen.KeyPair{listentest.WritePair(t, "127.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		var served sync.Map // id -> *atomic.Int32
		count := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			n, _ := served.LoadOrStore(string(body), new(atomic.Int32))
			n.(*atomic.Int32).Add(1)
		})
		open := func(address string) *listen.Listeners {
			return start(t, listen.Options{
				Limits:    listen.Limits{HTTP2: server},
				Listeners: []listen.Listener{{Name: "main", Address: address, ReusePort: true, TLS: certs}},
			}, count)
		}
		now := open("127.0.0.1:0")
		address := now.Addr("main").String()
		c := listentest.Client(t, true)
		var stop atomic.Bool
		var asked atomic.Int32
		var g sync.WaitGroup
		for worker := range workers {
			g.Go(func() {
				for i := 0; !stop.Load(); i++ {
					a, err := c.Post("https://"+address, "text/plain", strings.NewReader(fmt.Sprint(worker, " ", i)))
					if errors.Is(err, syscall.ECONNRESET) {
						i-- // before it was open: nothing was sent
						continue
					}
					if err != nil || a.StatusCode != 200 {
						t.Errorf("POST %d %d: %v", worker, i, err)
						stop.Store(true)
						return
					}
					_ = a.Body.Close()
					asked.Add(1)
				}
			})
		}
		for i := range takeovers {
			for asked.Load() < int32(200*(i+1)) && !stop.Load() {
				<-time.After(time.Millisecond)
			}
			next := open(address)
			drain(t, now, listen.Drain{})
			now = next
		}
		stop.Store(true)
		g.Wait()
		total := int32(0)
		served.Range(func(id, n any) bool {
			if n := n.(*atomic.Int32).Load(); n != 1 {
				t.Errorf("%s served %d times", id, n)
			}
			total++
			return true
		})
		if total != asked.Load() {
			t.Errorf("%d asked, %d served", asked.Load(), total)
		}
	})
}

// frames opens an HTTP/2 connection and speaks frame by frame.
func frames(t *testing.T, ls *listen.Listeners) (*http2.Framer, net.Conn) {
	t.Helper()
	c := tls.Client(dial(t, ls), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := c.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f, c
}

func headerBlock(path string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}} {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer does not fail
	}
	return b.Bytes()
}

// HTTP/2 is not spoken over suites of TLS 1.2 that it prohibits (RFC 9113 section 9.2.2).
func TestH2InadequateSecurity(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{})
	ls := start(t, o, new(ledger))
	for suite, want := range map[uint16]http2.ErrCode{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          http2.ErrCodeInadequateSecurity,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       http2.ErrCodeNo,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: http2.ErrCodeNo,
	} {
		c := tls.Client(dial(t, ls), &tls.Config{
			InsecureSkipVerify: true, NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite},
		})
		fmt.Fprint(c, http2.ClientPreface)
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings() // the server may have closed
		_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		if code := untilClosed(f); code != want {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), code)
		}
	}
}

// A client that asks and never reads what it is answered is cut, and nothing piles up for it.
func TestH2PingsWhoseAnswersAreNotRead(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, short())
	ls := start(t, o, new(ledger))
	f, _ := frames(t, ls)
	for i := 0; f.WritePing(false, [8]byte{}) == nil; i++ {
		if i > 10_000_000 {
			t.Fatal("taken without end")
		}
	}
	if status, _ := fetch(t, listentest.Client(t, true), "GET", "https://"+ls.Addr("main").String(), nil); status != 200 {
		t.Errorf("a good client: %d", status)
	}
}

// untilClosed reads frames until the server closes, and tells the code of its GOAWAY.
func untilClosed(f *http2.Framer) (code http2.ErrCode) {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return code
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok {
			code = away.ErrCode
		}
	}
}

func TestH2RapidReset(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		const streams = 20
		o, _ := secure(t, listen.Limits{H2Streams: streams, HTTP2: server})
		var running, most atomic.Int32
		release := make(chan struct{})
		ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/good" {
				return
			}
			now := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			<-release
		}))
		f, c := frames(t, ls)
		go func() {
			defer close(release)
			block := headerBlock("/")
			for id := uint32(1); id < 100_000; id += 2 {
				if f.WriteHeaders(http2.HeadersFrameParam{
					StreamID: id, BlockFragment: block, EndStream: true,
					EndHeaders: true,
				}) != nil ||
					f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}()
		code := untilClosed(f)
		_ = c.Close()
		<-release
		if most.Load() > streams || code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("%d handlers at once, closed with %v", most.Load(), code)
		}
		if status, _ := fetch(t, listentest.Client(t, true), "GET", "https://"+ls.Addr("main").String()+"/good",
			nil); status != 200 {
			t.Errorf("a good client: %d", status)
		}
	})
}

func TestH2ContinuationFlood(t *testing.T) {
	t.Parallel()
	var seen ledger
	o, _ := secure(t, listen.Limits{})
	f, c := frames(t, start(t, o, &seen))
	sent := make(chan int, 1)
	go func() {
		total := 0
		defer func() { sent <- total }()
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock("/"), EndStream: true}) != nil {
			return
		}
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := range 1 << 20 {
			b.Reset()
			// as above
			_ = e.WriteField(hpack.HeaderField{Name: fmt.Sprint("a", i), Value: strings.Repeat("a", 4<<10), Sensitive: true})
			if f.WriteContinuation(1, false, b.Bytes()) != nil {
				return
			}
			total += b.Len()
		}
	}()
	untilClosed(f)
	_ = c.Close()
	if total := <-sent; total > 64<<20 || seen.all() != nil {
		t.Errorf("%d bytes taken, %v served", total, seen.all())
	}
}
