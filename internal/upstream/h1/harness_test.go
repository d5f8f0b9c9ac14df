package h1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A server is an upstream on a raw socket. It keeps a ledger of the heads that it was sent.
type server struct {
	listener net.Listener
	speak    func(*peer)

	mu      sync.Mutex
	ledger  []string
	open    map[net.Conn]bool
	dialled int
	serving sync.WaitGroup
	over    context.Context
	stop    func()
}

// A peer is one connection to the server.
type peer struct {
	net.Conn
	in     *bufio.Reader
	server *server
	number int // of the connection, from 1
}

func serve(t testing.TB, speak func(*peer)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: l, speak: speak, open: map[net.Conn]bool{}}
	s.over, s.stop = context.WithCancel(context.Background())
	s.serving.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[c] = true
		s.dialled++
		p := &peer{Conn: c, in: bufio.NewReader(c), server: s, number: s.dialled}
		s.mu.Unlock()
		s.serving.Go(func() {
			s.speak(p)
			c.Close()
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
		})
	}
}

// pause waits until the server stops, without reading.
func (s *server) pause() { <-s.over.Done() }

func (s *server) close() {
	s.stop()
	s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *server) address() string { return s.listener.Addr().String() }

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialled
}

func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ledger...)
}

// head reads one request's head, as it came, and enters it in the ledger; "" when there is none.
func (p *peer) head() string {
	var head strings.Builder
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return ""
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	p.server.mu.Lock()
	p.server.ledger = append(p.server.ledger, head.String())
	p.server.mu.Unlock()
	return head.String()
}

// request reads a whole request.
func (p *peer) request() (head, body string) {
	if head = p.head(); head == "" {
		return "", ""
	}
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), p.in)))
	if err != nil {
		return "", ""
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return "", ""
	}
	return head, string(data)
}

// say writes the parts; an error is the client's going away.
func (p *peer) say(parts ...string) bool {
	for _, s := range parts {
		if _, err := io.WriteString(p, s); err != nil {
			return false
		}
	}
	return true
}

// hang waits until the client gives up.
func (p *peer) hang() { _, _ = io.Copy(io.Discard, p.in) }

func (p *peer) reset() { _ = p.Conn.(*net.TCPConn).SetLinger(0) }

// answering says the same to each request, and keeps the connection.
func answering(raw string) func(*peer) {
	return func(p *peer) {
		for p.head() != "" && p.say(raw) {
		}
	}
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func settings(s *server) Settings {
	return Settings{
		Address: s.address(), ConnectTimeout: 5 * time.Second, ResponseTimeout: 5 * time.Second,
		StallTimeout: 5 * time.Second, MaxIdle: 8,
	}
}

func client(t testing.TB, s Settings) *Client {
	t.Helper()
	c := New(s)
	t.Cleanup(c.Close)
	return c
}

// transport is net/http's client with the same bounds.
func transport(t testing.TB, s Settings) *http.Transport {
	t.Helper()
	x := &http.Transport{
		DialContext:        (&net.Dialer{Timeout: s.ConnectTimeout}).DialContext,
		DisableCompression: true, MaxIdleConnsPerHost: s.MaxIdle, ResponseHeaderTimeout: s.ResponseTimeout,
		MaxResponseHeaderBytes: headLimit,
	}
	t.Cleanup(x.CloseIdleConnections)
	return x
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get asks for / and reads all of the answer.
func get(c http.RoundTripper, s *server) (status int, body string, err error) {
	r, err := http.NewRequest("GET", "http://"+s.address()+"/", nil)
	if err != nil {
		return 0, "", err
	}
	return read(c.RoundTrip(r))
}

func read(answer *http.Response, err error) (int, string, error) {
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(data), err
}

// hinted has informational answers collected.
func hinted(ctx context.Context, hints *[]string) context.Context {
	return httptrace.WithClientTrace(ctx,
		&httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if len(*hints) == hintLimit {
				return errHints
			}
			*hints = append(*hints, fmt.Sprint(code, " ", h))
			return nil
		}})
}
