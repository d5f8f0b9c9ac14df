package upstream

import (
	"bufio"
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const ejection = 5 * time.Second

func settings(servers ...string) Settings {
	s := Settings{
		Name: "app", Eject: Eject{Failures: 3, For: ejection}, Retry: Retry{Attempts: 2, Budget: 0.2},
		ConnectTimeout: 10 * time.Second, ResponseTimeout: 5 * time.Second, StallTimeout: 5 * time.Second, MaxConnections: 4,
		MaxIdle: 4,
	}
	for _, text := range servers {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		s.Servers = append(s.Servers, Server{URL: u})
	}
	return s
}

func open(t *testing.T, s Settings, clock func() time.Time) *Pool {
	t.Helper()
	p, release, err := NewPools(clock).Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return p
}

func ask(ctx context.Context, p *Pool, method, body string, header http.Header) (string, error) {
	q := &h1.Request{Method: method, Target: "/", Host: "x", Fields: h1.HeaderFields(header)}
	if body != "" {
		q.Body, q.Length = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	return send(ctx, p, q)
}

func send(ctx context.Context, p *Pool, q *h1.Request) (string, error) {
	a := Answer{Answer: h1.Answer{Fields: make([]h1.Field, 0, 8)}}
	if err := p.Do(ctx, Caller{}, q, &a); err != nil {
		return "", err
	}
	defer a.Close()
	if a.Bodiless() {
		return "", nil
	}
	text, err := io.ReadAll(&a)
	return string(text), err
}

func named(t *testing.T, name string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		io.WriteString(w, name+string(b))
	}))
	t.Cleanup(s.Close)
	return s
}

// closed is an address without a listener.
func closed(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestServersTakeTurns(t *testing.T) {
	t.Parallel()
	p := open(t, settings(named(t, "a").URL, named(t, "b").URL, named(t, "c").URL), time.Now)
	got := ""
	for range 6 {
		text, err := ask(t.Context(), p, "GET", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		got += text
	}
	if !strings.Contains("abcabcabc", got) {
		t.Errorf("the turns were %s", got)
	}
}

func TestAServerThatIsDownIsLeftOut(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	p := open(t, settings(closed(t), named(t, "b").URL), func() time.Time { return time.Unix(now.Load(), 0) })
	for range 4 {
		// A body is not lost on the server that is down.
		if text, err := ask(t.Context(), p, "POST", "body", nil); text != "bbody" {
			t.Fatalf("got %q %v", text, err)
		}
	}
	if p.members.Load().all[0].up(p.clock()) {
		t.Error("the server that is down is not left out")
	}
	now.Add(int64((ejection + slowStart) / time.Second))
	if !p.members.Load().all[0].up(p.clock()) {
		t.Error("it is left out for ever")
	}
	p = open(t, settings(closed(t)), time.Now)
	for range 2 {
		if _, err := ask(t.Context(), p, "GET", "", nil); refusal.Of(err) != refusal.UpstreamUnreachable {
			t.Errorf("the only server: %v", err)
		}
	}
}

func TestAFullQueueIsToldAtOnce(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	t.Cleanup(server.Close)
	s := settings(server.URL)
	s.MaxConnections, s.ConnectTimeout = 1, time.Minute
	p := open(t, s, time.Now)
	var all sync.WaitGroup
	var fine atomic.Int32
	get := func() {
		if _, err := ask(context.Background(), p, "GET", "", nil); err == nil {
			fine.Add(1)
		}
	}
	all.Go(get)
	<-entered
	waiting := p.members.Load().all[0]
	left, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		_, err := ask(left, p, "GET", "", nil)
		gone <- err
	}()
	for waiting.waiting.Load() != 1 {
		runtime.Gosched()
	}
	if _, err := ask(t.Context(), p, "GET", "", nil); refusal.Of(err) != refusal.UpstreamBusy {
		t.Errorf("over the queue: %v", err)
	}
	cancel()
	if err := <-gone; refusal.Of(err) != refusal.ClientClosed {
		t.Errorf("one who left the queue: %v", err)
	}
	all.Go(get)
	for waiting.waiting.Load() != 1 {
		runtime.Gosched()
	}
	close(leave)
	all.Wait()
	if fine.Load() != 2 {
		t.Errorf("%d of 2 were served", fine.Load())
	}
	impatient := s
	impatient.ConnectTimeout = time.Millisecond
	p = open(t, impatient, time.Now)
	p.members.Load().all[0].slots <- struct{}{}
	if _, err := ask(t.Context(), p, "GET", "", nil); refusal.Of(err) != refusal.UpstreamBusy {
		t.Errorf("one who waited too long: %v", err)
	}
}

// stale answers one request on each connection, and closes it when the second has come.
func stale(t *testing.T) (address string, requests *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	requests = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for i := range 2 {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					requests.Add(1)
					if i == 0 && r.Method == http.MethodHead {
						io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
					} else if i == 0 {
						io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), requests
}

func TestNothingIsSentTwiceThatMustNotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, body string
		header             http.Header
		requests           int32 // the second one is sent again, or not
	}{
		{"GET", "GET", "", nil, 3},
		{"HEAD", "HEAD", "", nil, 3},
		{"GET with a body", "GET", "x", nil, 2},
		{"POST", "POST", "", nil, 2},
		{"POST with a body", "POST", "x", nil, 2},
		{"POST with a key", "POST", "", http.Header{"Idempotency-Key": {"1"}}, 2},
		{"POST with an old key", "POST", "", http.Header{"X-Idempotency-Key": {"1"}}, 2},
		{"DELETE", "DELETE", "", nil, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, requests := stale(t)
			p := open(t, settings(address), time.Now)
			for i := range 2 {
				_, err := ask(t.Context(), p, c.method, c.body, c.header.Clone())
				if again := c.requests == 3; i == 1 && (err == nil) != again {
					t.Errorf("the second request: %v", err)
				} else if i == 1 && err != nil && refusal.Of(err) != refusal.UpstreamBroken {
					t.Errorf("the reason is %s", refusal.Of(err))
				}
			}
			if got := requests.Load(); got != c.requests {
				t.Errorf("the server counted %d requests, want %d", got, c.requests)
			}
		})
	}
}

func TestAStalledAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	for kind, wanted := range map[string]bool{"text/plain": true, "text/event-stream; charset=utf-8": false} {
		quiet := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, "begin")
			w.(http.Flusher).Flush()
			select {
			case <-quiet:
			case <-r.Context().Done():
			}
			io.WriteString(w, "end")
		}))
		s := settings(server.URL)
		s.StallTimeout = 50 * time.Millisecond
		p := open(t, s, time.Now)
		if !wanted { // long after the stall, by the pool's own measure
			time.AfterFunc(4*s.StallTimeout, func() { close(quiet) })
		}
		text, err := ask(t.Context(), p, "GET", "", nil)
		if Stalled(err) != wanted || (text == "beginend") == wanted {
			t.Errorf("%s: got %q %v", kind, text, err)
		}
		server.Close()
	}
}

func TestAServerThatDoesNotReadIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // what it accepted for the kernel is never read
	s := settings("http://" + l.Addr().String())
	s.StallTimeout = 50 * time.Millisecond
	p := open(t, s, time.Now)
	if _, err := ask(t.Context(), p, "POST", strings.Repeat("x", 32<<20),
		nil); refusal.Of(err) != refusal.UpstreamTimeout {
		t.Errorf("got %v", err)
	}
}

func TestPoolsAreSharedWhileTheirSettingsAre(t *testing.T) {
	t.Parallel()
	pools := NewPools(time.Now)
	a, releaseA, _ := pools.Open(settings("http://a"))
	b, releaseB, _ := pools.Open(settings("http://a"))
	c, releaseC, _ := pools.Open(settings("http://c"))
	if a != b || a == c {
		t.Error("pools are not shared by their settings")
	}
	releaseA()
	releaseA()
	if again, release, _ := pools.Open(settings("http://a")); again != b {
		t.Error("a pool in use was dropped")
	} else {
		release()
	}
	releaseB()
	releaseC()
	if len(pools.open) != 0 {
		t.Errorf("%d pools are left", len(pools.open))
	}
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request,
	) {
		io.WriteString(w, "tls")
	}))
	t.Cleanup(server.Close)
	if _, err := ask(t.Context(), open(t, settings(server.URL), time.Now), "GET", "",
		nil); refusal.Of(err) != refusal.UpstreamUnreachable {
		t.Errorf("an unknown authority: %v", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	s := settings(server.URL)
	s.TLS.CAFile = file
	if _, _, err := NewPools(time.Now).Open(s); err == nil {
		t.Error("a missing file was taken")
	}
	if err := os.WriteFile(file, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewPools(time.Now).Open(s); err == nil || !strings.Contains(err.Error(), "no PEM certificate") {
		t.Errorf("a file without a certificate: %v", err)
	}
	if err := os.WriteFile(file, certificate(server), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := ask(t.Context(), open(t, s, time.Now), "GET", "", nil); text != "tls" {
		t.Errorf("got %q %v", text, err)
	}
}

func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}
