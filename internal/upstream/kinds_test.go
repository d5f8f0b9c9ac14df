package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are the ways to reach a server.
var kinds = []string{"http", "h2c", "https", "https+h2", "unix", "unix+h2c"}

// served starts a net/http server of a kind, and returns the settings of an upstream that has it alone.
func served(t *testing.T, kind string, handler http.Handler) Settings {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	network, address := "tcp", "127.0.0.1:0"
	if strings.HasPrefix(kind, "unix") {
		network, address = "unix", filepath.Join(t.TempDir(), "app.sock")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s.Listener.Close()
	s.Listener = l
	t.Cleanup(s.Close)
	var bounds Settings
	switch kind {
	case "http":
		s.Start()
		bounds = settings("http://" + l.Addr().String())
	case "h2c", "unix+h2c":
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Config.Protocols.SetHTTP1(false)
		s.Start()
		bounds = settings("h2c://" + l.Addr().String())
		if kind == "unix+h2c" {
			bounds = settings("unix+h2c:" + address)
		}
	case "https", "https+h2":
		s.Config.Protocols.SetHTTP2(kind == "https+h2")
		s.EnableHTTP2 = kind == "https+h2"
		s.StartTLS()
		bounds = settings("https://" + l.Addr().String())
		bounds.TLS.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(bounds.TLS.CAFile, certificate(s), 0o600); err != nil {
			t.Fatal(err)
		}
	case "unix":
		s.Start()
		bounds = settings("unix:" + address)
	}
	return bounds
}

func eachKind(t *testing.T, run func(t *testing.T, kind string)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			run(t, kind)
		})
	}
}

func secondVersion(kind string) bool {
	return strings.HasSuffix(kind, "h2") || strings.HasSuffix(kind, "h2c")
}

func TestEveryKindOfServerIsAsked(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		bounds := served(t, kind, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Seen", fmt.Sprint(r.ProtoMajor, " ", r.Method, " ", r.RequestURI, " ", r.Host, " ",
				r.Header.Get("X-A"), " ",
				r.Header["User-Agent"], r.Header["Accept-Encoding"], r.Header["Connection"], " ", r.ContentLength))
			w.Header().Set("Trailer", "X-One")
			w.Write(body)
			w.(http.Flusher).Flush()
			w.Header().Set("X-One", "1")
			w.Header().Set(http.TrailerPrefix+"X-Two", "2")
		}))
		p := open(t, bounds, time.Now)
		version := "1"
		if secondVersion(kind) {
			version = "2"
		}
		for _, c := range []struct {
			method, target, body string
			length               int64
			want                 string
		}{
			{"GET", "/a%2Fb?x=%zz&y", "", 0, version + " GET /a%2Fb?x=%zz&y app.example v [] [] [] 0"},
			{"GET", "//evil/x?", "", 0, version + " GET //evil/x? app.example v [] [] [] 0"},
			{"POST", "/", "hello", 5, version + " POST / app.example v [] [] [] 5"},
			{"PUT", "/", "hello", -1, version + " PUT / app.example v [] [] [] -1"},
			{"DELETE", "/x;y", "", 0, version + " DELETE /x;y app.example v [] [] [] 0"},
		} {
			q := &h1.Request{Method: c.method, Target: c.target, Host: "app.example", Fields: h1.HeaderFields{"X-A": {"v"}}}
			if c.body != "" {
				q.Body, q.Length = io.NopCloser(strings.NewReader(c.body)), c.length
			}
			a := Answer{Answer: h1.Answer{Fields: make([]h1.Field, 0, 8)}}
			if err := p.Do(t.Context(), Caller{}, q, &a); err != nil {
				t.Fatal(c.method, err)
			}
			text, err := io.ReadAll(&a)
			seen := ""
			for _, f := range a.Fields {
				if f.Name == "X-Seen" {
					seen = f.Value
				}
			}
			if string(text) != c.body || err != nil || seen != c.want || a.Status != 200 {
				t.Errorf("%s %s: %d %q %v, the server saw %q", c.method, c.target, a.Status, text, err, seen)
			}
			if a.Trailer.Get("X-One") != "1" || a.Trailer.Get("X-Two") != "2" {
				t.Errorf("%s: trailers %v", c.method, a.Trailer)
			}
			a.Close()
			a.Close()
		}
		if n := len(p.members.Load().all[0].slots); n != 0 {
			t.Errorf("%d places are still taken", n)
		}
	})
}

func TestHintsOfEveryKind(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		p := open(t, served(t, kind, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count := 1
			if r.URL.Path == "/storm" {
				count = 1000
			}
			w.Header().Set("Link", "</a>")
			for range count {
				w.WriteHeader(http.StatusEarlyHints)
			}
			w.WriteHeader(204)
		})), time.Now)
		var seen []string
		q := &h1.Request{Method: "GET", Target: "/", Host: "x", Hint: func(status int, h http.Header) error {
			seen = append(seen, fmt.Sprint(status, h["Link"]))
			return nil
		}}
		if _, err := send(t.Context(), p, q); err != nil || fmt.Sprint(seen) != "[103 [</a>]]" {
			t.Errorf("got %v %v", seen, err)
		}
		q.Target = "/storm"
		if _, err := send(t.Context(), p, q); refusal.Of(err) != refusal.UpstreamBroken {
			t.Errorf("a storm: %v", err)
		}
	})
}

// A server that fails while the client is slow to send its body is told at once.
func TestASlowBodyHoldsNoErrorUp(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		p := open(t, served(t, kind, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				c.Close()
				return
			}
			panic(http.ErrAbortHandler) // HTTP/2; of HTTP/1.1, net/http reads the body first
		})), time.Now)
		body, stop := io.Pipe()
		defer stop.Close()
		q := &h1.Request{Method: "POST", Target: "/", Host: "x", Body: body, Length: 100}
		if _, err := send(t.Context(), p, q); refusal.Of(err) != refusal.UpstreamBroken {
			t.Errorf("got %v", err)
		}
	})
}

func TestLimitsOfEveryKind(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		over := make(chan struct{})
		bounds := served(t, kind, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/head":
				<-over
			case "/body":
				io.WriteString(w, "begin")
				w.(http.Flusher).Flush()
				<-over
			}
		}))
		t.Cleanup(func() { close(over) }) // before the server's own
		bounds.ResponseTimeout, bounds.StallTimeout = 100*time.Millisecond, 100*time.Millisecond
		p := open(t, bounds, time.Now)
		if _, err := send(t.Context(), p,
			&h1.Request{Method: "GET", Target: "/head", Host: "x"}); refusal.Of(err) != refusal.UpstreamTimeout {
			t.Errorf("no head: %v", err)
		}
		if text, err := send(t.Context(), p, &h1.Request{Method: "GET", Target: "/body", Host: "x"}); text != "begin" ||
			!Stalled(err) {
			t.Errorf("a body that stalls: %q %v", text, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := send(ctx, p, &h1.Request{
			Method: "GET", Target: "/head",
			Host: "x",
		}); refusal.Of(err) != refusal.ClientClosed {
			t.Errorf("a client that left: %v", err)
		}
	})
}

// Upgrades go by HTTP/1.1, also where the server prefers HTTP/2.
func TestUpgradesOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http", "https", "https+h2", "unix"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := open(t, served(t, kind, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "echo" {
					return
				}
				c, in, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
				io.Copy(c, in)
			})), time.Now)
			if _, err := ask(t.Context(), p, "GET", "", nil); err != nil { // so that the server's choice is known
				t.Fatal(err)
			}
			a := Answer{Answer: h1.Answer{Fields: make([]h1.Field, 0, 8)}}
			if err := p.Do(t.Context(), Caller{}, &h1.Request{Method: "GET", Target: "/", Host: "x", Upgrade: "echo"},
				&a); err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			s := a.Stream()
			if s == nil || a.Status != 101 {
				t.Fatal("no stream", a.Status)
			}
			defer s.Close()
			io.WriteString(s, "hello")
			if err := s.CloseWrite(); err != nil {
				t.Error(err)
			}
			if text, err := io.ReadAll(s); string(text) != "hihello" || err != nil {
				t.Errorf("got %q %v", text, err)
			}
		})
	}
}

// A TLS server may begin, or cease, to offer HTTP/2 while the gate runs. A POST is not lost by that.
func TestAServersChoiceIsFollowed(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request,
	) {
		io.WriteString(w, r.Proto)
	}))
	var second atomic.Bool
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{}
	s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if c := s.TLS.Clone(); !second.Load() {
			c.NextProtos, c.GetConfigForClient = []string{alpnHTTP1}, nil
			return c, nil
		}
		return nil, nil
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	bounds := settings(s.URL)
	bounds.TLS.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bounds.TLS.CAFile, certificate(s), 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, bounds, time.Now)
	for i := range 6 {
		second.Store(i%2 == 0)
		s.CloseClientConnections()
		p.members.Load().all[0].client.close() // idle connections, so that the next request shakes hands
		for range 2 {
			text, err := ask(t.Context(), p, "POST", "x", nil)
			if want := map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[second.Load()]; text != want || err != nil {
				t.Errorf("got %q %v, want %s", text, err, want)
			}
		}
	}
}

// No request that a server may have received goes out again, whatever the server does to its connection.
func TestNothingIsSentTwiceOverTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, body string
		requests     int32
	}{{"GET", "", 3}, {"HEAD", "", 3}, {"POST", "", 2}, {"POST", "x", 2}, {"GET", "x", 2}, {"DELETE", "", 2}} {
		t.Run(c.method+c.body, func(t *testing.T) {
			t.Parallel()
			address, requests := stale(t)
			front, file := terminate(t, strings.TrimPrefix(address, "http://"))
			bounds := settings("https://" + front)
			bounds.TLS.CAFile = file
			p := open(t, bounds, time.Now)
			for i := range 2 {
				_, err := ask(t.Context(), p, c.method, c.body, nil)
				if again := c.requests == 3; i == 1 && (err == nil) != again {
					t.Errorf("the second request: %v", err)
				}
			}
			if got := requests.Load(); got != c.requests {
				t.Errorf("the server counted %d requests, want %d", got, c.requests)
			}
		})
	}
}

// terminate puts TLS in front of a plain server.
func terminate(t *testing.T, address string) (front, caFile string) {
	t.Helper()
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, certificate(pair), 0o600); err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: pair.TLS.Certificates}
	pair.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				to, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer to.Close()
				go func() {
					io.Copy(to, c)
					to.(*net.TCPConn).CloseWrite()
				}()
				io.Copy(c, to)
			}()
		}
	}()
	return l.Addr().String(), caFile
}
