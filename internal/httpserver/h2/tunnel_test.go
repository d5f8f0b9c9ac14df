package h2_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// websocket are the fields of an extended CONNECT (RFC 8441 section 5).
func websocket(fields ...string) []string {
	return append([]string{
		":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: x", ":path: /chat",
		"sec-websocket-version: 13",
	}, fields...)
}

// takeOver answers 101 as a forwarder does that took the connection over.
func takeOver(t *testing.T, w http.ResponseWriter, head string) net.Conn {
	t.Helper()
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return nil
	}
	if buffered.Reader.Buffered() != 0 || c.SetDeadline(time.Time{}) != nil {
		t.Error("it begins with something")
	}
	for _, part := range []string{head[:5], head[5:]} {
		if _, err := io.WriteString(c, part); err != nil {
			t.Error(err)
		}
	}
	return c
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\nX-App:  a\r\n\r\n"

// A WebSocket over HTTP/2 is to its handler the request of HTTP/1.1, and the connection that it takes over; both
// directions flow, each write at once, and each can end alone.
func TestWebSocketOverHTTP2(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/probe" {
			return
		}
		if r.Method != "GET" || r.RequestURI != "/chat" || r.Host != "x" || r.Header.Get("Upgrade") != "websocket" ||
			r.Header.Get("Connection") != "Upgrade" || len(r.Header.Get("Sec-Websocket-Key")) != 24 || r.ContentLength != 0 {
			t.Errorf("%s %s %s %v", r.Method, r.RequestURI, r.Host, r.Header)
		}
		c := takeOver(t, w, switching+"hello")
		defer c.Close()
		for buffer := make([]byte, 100); ; {
			n, err := c.Read(buffer)
			if _, werr := c.Write([]byte(strings.ToUpper(string(buffer[:n])))); werr != nil {
				t.Error(werr)
			}
			if err != nil {
				if err != io.EOF {
					t.Error(err)
				}
				break
			}
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
	})))
	p.ask(1, false, websocket("sec-websocket-protocol: chat")...)
	for !p.saw(`1: DATA "hello"`) {
		frame, more := p.next()
		if !more {
			t.Fatal(p.log)
		}
		if head, ok := frame.(*http2.MetaHeadersFrame); ok {
			got := map[string]string{}
			for _, f := range head.Fields {
				got[f.Name] = f.Value
			}
			delete(got, "date")
			if want := map[string]string{
				":status": "200", "sec-websocket-protocol": "chat",
				"x-app": "a",
			}; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("head %v, want %v", got, want)
			}
		}
	}
	for _, word := range []string{"one", "two"} {
		p.must(p.WriteData(1, false, []byte(word)))
		p.until(fmt.Sprintf("1: DATA %q", strings.ToUpper(word)))
	}
	p.must(p.WriteData(1, true, nil))
	p.until("1: END")
	p.answers(3)
}

// What does not take the connection over is no tunnel: an answer of 2xx would be one to the client. Other answers pass.
func TestWebSocketThatIsNotSwitched(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{200: 502, 204: 502, 401: 401, 403: 403, 503: 503} {
		p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/probe" {
				w.WriteHeader(status)
			}
		})))
		p.ask(1, false, websocket()...)
		p.until(fmt.Sprintf("1: HEADERS %d", want))
		p.until("1: RST NO_ERROR")
		p.answers(3)
	}
	p := dial(t, serve(t, ours(nothing)))
	p.ask(1, false, append([]string{":method: CONNECT", ":protocol: connect-udp"}, request("CONNECT", "/")[1:]...)...)
	p.until("1: HEADERS 400")
	p.answers(3)
}

// A tunnel ends with its client, and with its handler, whatever waits.
func TestWebSocketEnds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		wait func(net.Conn) error
		end  func(*peer)
	}{
		"reset while it reads": {
			func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
			func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeCancel)) },
		},
		"reset while it writes": {
			func(c net.Conn) error { _, err := io.WriteString(c, long); return err },
			func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeCancel)) },
		},
		"client gone": {
			func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
			func(p *peer) { _ = p.conn.Close() },
		},
		"closed while it reads": {func(c net.Conn) error {
			time.AfterFunc(10*time.Millisecond, func() { _ = c.Close() })
			_, err := c.Read(make([]byte, 1))
			return err
		}, func(*peer) {}},
		"closed while it writes": {func(c net.Conn) error {
			time.AfterFunc(10*time.Millisecond, func() { _ = c.Close() })
			_, err := io.WriteString(c, long)
			return err
		}, func(*peer) {}},
		"deadline": {func(c net.Conn) error {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			return err
		}, func(*peer) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, ended := make(chan struct{}), make(chan error, 1)
			s := ours(func(w http.ResponseWriter, _ *http.Request) {
				c := takeOver(t, w, switching)
				defer c.Close()
				close(begun)
				ended <- row.wait(c)
			})
			s.Limits.BodyStall = 50 * time.Millisecond // a tunnel may be silent for longer
			p := dial(t, serve(t, s))
			p.ask(1, false, websocket()...)
			<-begun
			<-time.After(100 * time.Millisecond)
			row.end(p)
			if err := <-ended; err == nil {
				t.Error("no error")
			}
		})
	}
}

// Nothing follows END_STREAM: a client may end the connection for it, and all its streams with it.
func TestNothingFollowsTheEndOfATunnel(t *testing.T) {
	t.Parallel()
	after := make(chan error, 1)
	p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/probe" {
			return
		}
		c := takeOver(t, w, switching+"hello")
		defer c.Close()
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		_, err := io.WriteString(c, "\x88\x02\x03\xf0")
		after <- err
	})))
	p.ask(1, false, websocket()...)
	if err := <-after; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	p.answers(3)
}

// Only an extended CONNECT that was not answered can be taken over, once.
func TestHijackIsForTunnels(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Error(err)
		}
	})))
	p.answers(1)
	p = dial(t, serve(t, ours(func(w http.ResponseWriter, _ *http.Request) {
		defer takeOver(t, w, switching).Close()
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrHijacked) {
			t.Error(err)
		}
	})))
	p.ask(1, false, websocket()...)
	p.until("1: END")
}
