package h1_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jotgate/jotgate/internal/httpserver/h1"
)

// answer reads the next answer and its body.
func answer(t testing.TB, in *bufio.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func send(t testing.TB, c io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// within fails the test when something does not come.
func within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
	}
	return v
}

// serveTLS serves above TLS, which is how the first bytes are waited for without the socket's own descriptor.
func serveTLS(t testing.TB, s *h1.Server) (address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12,
	}
	l := listen(t)
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				session := tls.Server(c, config)
				if session.Handshake() != nil {
					_ = c.Close()
					return
				}
				s.NewConn(session).Serve()
			})
		}
	})
	return l.Addr().String()
}

// dialTLS offers HTTP/1.1 alone.
func dialTLS(t testing.TB, under net.Conn) *tls.Conn {
	t.Helper()
	c := tls.Client(under, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Fatalf("negotiated %q", p)
	}
	return c
}

// both runs a test plain and above TLS.
func both(t *testing.T, s func() *h1.Server, test func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		address := serve(t, s())
		test(t, func() net.Conn { return dial(t, address) })
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		address := serveTLS(t, s())
		test(t, func() net.Conn { return dialTLS(t, dial(t, address)) })
	})
}

// An answer does not wait for a goroutine that reads the body, and with it for the client.
func TestAnswerBesideARead(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{
		"Content-Length: 5\r\n", "Content-Length: 1000000\r\n",
		"Transfer-Encoding: chunked\r\n",
	} {
		t.Run(fields, func(t *testing.T) {
			t.Parallel()
			read := make(chan error, 1)
			c := dial(t, serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				one := make([]byte, 1)
				if fields[0] == 'C' { // so that the goroutine is known to be at work when it waits
					_, _ = io.ReadFull(r.Body, one)
				}
				begun := make(chan struct{})
				go func() {
					close(begun)
					_, err := io.ReadAll(r.Body)
					read <- err
				}()
				<-begun
				_, _ = io.WriteString(w, "hello")
				flush(w)
			}))))
			send(t, c, request11("POST", fields, "1"))
			if _, body := answer(t, bufio.NewReader(c)); body != "hello" {
				t.Errorf("got %q", body)
			}
			if err := within(t, "the read's end", read); err == nil {
				t.Error("half a body read as a whole one")
			}
		})
	}
}

// The one who reads says 100 (Continue) while the other writes the head: neither waits for the other.
func TestContinueBesideAnAnswer(t *testing.T) {
	t.Parallel()
	address := serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = r.Body.Read(make([]byte, 9)) })
		_, _ = io.WriteString(w, "hello")
		flush(w)
		reading.Wait()
	})))
	for range 500 {
		c := dial(t, address)
		send(t, c, request11("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n", "12345"))
		in := bufio.NewReader(c)
		r, body := answer(t, in)
		if r.StatusCode == http.StatusContinue {
			r, body = answer(t, in)
		}
		if r.StatusCode != 200 || body != "hello" {
			t.Fatalf("got %v %q", r, body)
		}
		_ = c.Close()
	}
}

// A deadline for the body ends a read that has begun to wait without one, and is gone with its request.
func TestReadDeadlineWakesAReader(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	s := ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == "/probe" {
			return
		}
		go func() {
			_, err := io.ReadAll(r.Body)
			read <- err
		}()
		control := http.NewResponseController(w)
		time.Sleep(20 * time.Millisecond) // it most likely waits by then; if it does not, it will not begin to
		for {
			if err := control.SetReadDeadline(time.Now()); err != nil {
				t.Error(err)
			}
			select {
			case err := <-read:
				if err == nil {
					t.Error("half a body read as a whole one")
				}
				return
			case <-time.After(time.Millisecond):
				_ = control.SetReadDeadline(time.Time{})
			}
		}
	}))
	s.Limits.BodyStall = -1
	c := dial(t, serve(t, s))
	send(t, c, request11("POST", "Content-Length: 5\r\n", "1"))
	if r, _ := answer(t, bufio.NewReader(c)); !r.Close && r.StatusCode != 200 {
		t.Errorf("got %v", r)
	}
}

// A deadline for writing is its answer's alone.
func TestWriteDeadlineEndsWithItsAnswer(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
		if r.RequestURI == "/probe" {
			return
		}
		if err := errors.Join(control.Flush(), control.SetWriteDeadline(time.Unix(1, 0))); err != nil {
			t.Error(err)
		}
	}))))
	in := bufio.NewReader(c)
	send(t, c, get)
	answer(t, in)
	send(t, c, probe)
	if _, body := answer(t, in); body != "hello" {
		t.Errorf("got %q", body)
	}
}

// An answer that the end of the connection delimits, and that could not be written to its end, does not end like a
// whole one, also when its handler did not notice.
func TestBrokenAnswerUntilTheEnd(t *testing.T) {
	t.Parallel()
	server := func() *h1.Server {
		return ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "hello")
			flush(w)
			if r.Header.Get("Abort") != "" {
				panic(http.ErrAbortHandler)
			}
			_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
			_, _ = io.WriteString(w, long)
		}))
	}
	both(t, server, func(t *testing.T, dial func() net.Conn) {
		for _, fields := range []string{"", "Abort: 1\r\n"} {
			c := dial()
			send(t, c, request10(fields))
			if all, err := io.ReadAll(c); err == nil { // EOF without a reset, or with close_notify
				t.Errorf("got %q", all)
			}
		}
	})
}

// Whenever the client goes, its handler hears of it and the connection ends; serve waits for that.
func TestClientGoesAtEveryMoment(t *testing.T) {
	t.Parallel()
	server := func() *h1.Server {
		return ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				return
			}
			if r.RequestURI != "/probe" {
				_, _ = io.WriteString(w, "hello")
				flush(w)
			}
			<-r.Context().Done()
			if !errors.Is(r.Context().Err(), context.Canceled) {
				t.Error(r.Context().Err())
			}
		}))
	}
	both(t, server, func(t *testing.T, dial func() net.Conn) {
		for _, whole := range []string{
			request11("POST", "Content-Length: 5\r\n", "12345"), request11("POST", "Transfer-Encoding: chunked\r\n",
				"3\r\nabc\r\n0\r\n\r\n"),
			get, probe, request11("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n", "12345"),
		} {
			for n := len(whole); n > 0; n -= 1 + n/9 {
				c := dial()
				send(t, c, whole[:n])
				if n == len(whole) && !strings.Contains(whole, "/probe") {
					_, _ = c.Read(make([]byte, 1)) // it is with its handler
				}
				_ = c.Close()
			}
		}
	})
}

// A watch that began lets the connection go on: with the next request, which may come in the midst of it, or in pieces.
func TestRequestsBehindAWatch(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	server := func() *h1.Server {
		return ours(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			served.Add(1)
			if r.RequestURI == "/wait" {
				select {
				case <-r.Context().Done():
					t.Error("the client was taken for gone")
				case <-time.After(30 * time.Millisecond): // a moment longer than it takes until somebody looks
				}
			} else if r.Context().Done(); r.Context().Err() != nil {
				t.Error("over before it began")
			}
		}))
	}
	const wait, next = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
	both(t, server, func(t *testing.T, dial func() net.Conn) {
		c := dial()
		in := bufio.NewReader(c)
		for i := range 8 {
			send(t, c, wait)
			cut := i * len(next) / 8
			send(t, c, next[:cut])
			answer(t, in)
			send(t, c, next[cut:]+next)
			answer(t, in)
			answer(t, in)
		}
	})
}

// Handlers that end just when the timer does, with the next request behind them: no client is taken for gone, and
// nothing is lost.
func TestWatchAtTheTurn(t *testing.T) {
	t.Parallel()
	server := func() *h1.Server {
		return ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gone := r.Context().Done()
			n, _ := strconv.Atoi(r.URL.RawQuery)
			select {
			case <-gone:
				t.Error("the client was taken for gone")
			case <-time.After(19*time.Millisecond + time.Duration(n)*50*time.Microsecond):
			}
			_, _ = io.WriteString(w, r.RequestURI)
		}))
	}
	both(t, server, func(t *testing.T, dial func() net.Conn) {
		var clients sync.WaitGroup
		for i := range 20 {
			c := dial()
			clients.Go(func() {
				in := bufio.NewReader(c)
				for n := range 40 {
					target := fmt.Sprintf("/%d?%d", i, n)
					if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", target, n%2,
						"1"[:n%2]); err != nil {
						t.Error(err)
						return
					}
					r, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if body, err := io.ReadAll(r.Body); string(body) != target || err != nil {
						t.Errorf("got %q, %v", body, err)
						return
					}
				}
			})
		}
		clients.Wait()
	})
}

// A TLS record of which half was there when a read was given up is read on.
func TestHalfATLSRecordBehindAWatch(t *testing.T) {
	t.Parallel()
	address := serveTLS(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			t.Error("the client was taken for gone")
		case <-time.After(50 * time.Millisecond):
		}
		_, _ = io.WriteString(w, r.RequestURI)
	})))
	under := &halves{TCPConn: dial(t, address)}
	c := dialTLS(t, under)
	in := bufio.NewReader(c)
	for i := range 5 {
		send(t, c, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
		under.halve()
		send(t, c, fmt.Sprintf("GET /again/%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
		if _, body := answer(t, in); body != fmt.Sprint("/", i) {
			t.Fatalf("got %q", body)
		}
		under.rest(t)
		if _, body := answer(t, in); body != fmt.Sprint("/again/", i) {
			t.Fatalf("got %q", body)
		}
	}
}

// halves keeps back half of what is written next, when told to.
type halves struct {
	*net.TCPConn
	now  bool
	kept []byte
}

func (h *halves) halve() { h.now = true }

func (h *halves) Write(p []byte) (int, error) {
	if !h.now {
		return h.TCPConn.Write(p)
	}
	h.now, h.kept = false, append([]byte(nil), p[len(p)/2:]...)
	_, err := h.TCPConn.Write(p[:len(p)/2])
	return len(p), err
}

func (h *halves) rest(t testing.TB) {
	t.Helper()
	send(t, h.TCPConn, string(h.kept))
	h.kept = nil
}

// A connection may be taken over while somebody looks whether its client is there: nothing of what comes is lost.
func TestHijackBehindAWatch(t *testing.T) {
	t.Parallel()
	server := func() *h1.Server {
		return ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				t.Error("the client was taken for gone")
			case <-time.After(30 * time.Millisecond):
			}
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(time.Unix(1, 0)) // HTTP's, and over with it
			c, _, err := control.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.CopyN(c, c, 1000)
		}))
	}
	both(t, server, func(t *testing.T, dial func() net.Conn) {
		for _, early := range []int{0, 1, 500} {
			c := dial()
			send(t, c, get+long[:early])
			go func() { _, _ = io.WriteString(c, long[early:1000]) }()
			if all, err := io.ReadAll(c); string(all) != long[:1000] || err != nil {
				t.Errorf("%d bytes, %v", len(all), err)
			}
		}
	})
}

// Told to go at any moment, as a drain and a close tell it, a connection ends; what was answered was answered whole.
func TestRetireAtEveryMoment(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for i := range 150 {
		var draining atomic.Bool
		s := ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.Context().Done()
			_, _ = io.Copy(w, r.Body)
		}))
		s.Last = draining.Load
		c := dial(t, l.Addr().String())
		socket, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn := s.NewConn(socket)
		var serving sync.WaitGroup
		serving.Go(conn.Serve)
		serving.Go(func() {
			time.Sleep(time.Duration(i%15) * 20 * time.Microsecond) // any moment
			draining.Store(true)
			conn.Retire(time.Now())
			conn.IdleSince()
			if i%3 == 0 {
				_ = socket.Close()
			}
		})
		serving.Go(func() {
			for i%2 == 0 || i%5 > 0 {
				if _, err := io.WriteString(c, request11("POST", "Content-Length: 5\r\n", "12345")); err != nil {
					return
				}
			}
		})
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if body, err := io.ReadAll(r.Body); r.StatusCode != 200 || err == nil && string(body) != "12345" {
				t.Fatalf("got %v %q", r, body)
			}
		}
		_ = c.Close()
		serving.Wait()
	}
}

// A goroutine that reads the body when the handler has returned is woken, and takes nothing of what comes behind.
func TestReadBehindTheHandler(t *testing.T) {
	t.Parallel()
	var reading sync.WaitGroup
	var next atomic.Int64
	address := serve(t, ours(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.RequestURI == "/probe" {
			next.Add(1)
			return
		}
		reading.Go(func() {
			for {
				if _, err := r.Body.Read(make([]byte, 1)); err != nil {
					return
				}
			}
		})
	})))
	for range 50 {
		c := dial(t, address)
		send(t, c, request11("POST", "Content-Length: 200\r\n", strings.Repeat("x", 200))+probe)
		in := bufio.NewReader(c)
		if r, _ := answer(t, in); !r.Close {
			answer(t, in)
		} else {
			next.Add(1)
		}
		_ = c.Close()
	}
	reading.Wait()
	if next.Load() != 50 {
		t.Errorf("%d of 50 went on", next.Load())
	}
}

// What a handler that has returned goes on to write is written nowhere.
func TestWriteBehindTheHandler(t *testing.T) {
	t.Parallel()
	kept := make(chan http.ResponseWriter, 1)
	c := dial(t, serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/probe" {
			kept <- w
			return
		}
		before := <-kept
		before.WriteHeader(500)
		if _, err := io.WriteString(before, "stray"); err == nil {
			t.Error("written")
		}
		flush(before)
		if _, _, err := http.NewResponseController(before).Hijack(); err == nil {
			t.Error("taken over")
		}
		_, _ = io.WriteString(w, "mine")
	}))))
	send(t, c, get+probe)
	in := bufio.NewReader(c)
	answer(t, in)
	if _, body := answer(t, in); body != "mine" {
		t.Errorf("got %q", body)
	}
}

// A client that has said it will send no more is answered all the same, plain and above TLS.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	server := func() *h1.Server { return ours(write("hello")) }
	both(t, server, func(t *testing.T, dial func() net.Conn) {
		c := dial()
		send(t, c, get+get)
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		answer(t, in)
		answer(t, in)
		if _, err := in.ReadByte(); err != io.EOF { // above TLS that is close_notify
			t.Errorf("end: %v", err)
		}
	})
}

// TestMain looks for goroutines that were left behind.
func TestMain(m *testing.M) { os.Exit(leaves(m)) }

func leaves(m *testing.M) int {
	code := m.Run()
	for end := time.Now().Add(patience); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
