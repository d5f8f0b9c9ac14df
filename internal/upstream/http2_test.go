package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// scripted is a server of HTTP/2 without TLS that answers each head by a script, and counts them.
func scripted(t *testing.T, answer func(f *http2.Framer, id uint32)) (address string, heads *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads = new(atomic.Int32)
	var serving sync.WaitGroup
	over := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); close(over); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				serving.Go(func() { <-over; _ = c.Close() })
				if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				f := http2.NewFramer(c, c)
				if f.WriteSettings() != nil {
					return
				}
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					if h, is := frame.(*http2.HeadersFrame); is {
						heads.Add(1)
						answer(f, h.StreamID)
					}
				}
			})
		}
	})
	return "h2c://" + l.Addr().String(), heads
}

// writeHead writes a head of one status.
func writeHead(f *http2.Framer, id uint32, status string, end bool) {
	var block strings.Builder
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	_ = f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: end,
	})
}

// A server that resets what it was sent may have acted on it: a POST is not sent again, whatever the reset says, and
// what may be repeated is sent twice at most.
func TestAResetRequestIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeInternal, http2.ErrCodeRefusedStream} {
		for method, most := range map[string]int32{"POST": 1, "DELETE": 1, "GET": 2} {
			t.Run(method+" "+code.String(), func(t *testing.T) {
				t.Parallel()
				address, heads := scripted(t, func(f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, code) })
				s := settings(address)
				s.Retry = Retry{}
				_, err := ask(t.Context(), open(t, s, time.Now), method, "", nil)
				if refusal.Of(err) != refusal.UpstreamBroken {
					t.Errorf("%v", err)
				}
				if n := heads.Load(); n > most {
					t.Errorf("it was sent %d times, at most %d", n, most)
				}
			})
		}
	}
}

// A server that gives a request up, goes away and takes no more connections has seen the request all the same: no other
// server gets it.
func TestAPOSTThatWasSentIsNotOneThatFoundNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = l.Close()
		_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Errorf("before the request came: %v", err)
				return
			}
			if _, is := frame.(*http2.HeadersFrame); is {
				_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
				_ = f.WriteRSTStream(frame.Header().StreamID, http2.ErrCodeRefusedStream)
				return
			}
		}
	}()
	c := newHTTP2Client(&Settings{}, l.Addr().String(), false, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	})
	q := &h1.Request{Method: "POST", Target: "/", Host: "app.example"}
	err = c.do(t.Context(), q, new(Answer))
	<-seen
	var dial *h1.DialError
	if err == nil || errors.As(err, &dial) {
		t.Errorf("got %v, which has another server asked", err)
	}
}

// A holder is a body that has come whole.
type holder struct{ io.Reader }

func (holder) Close() error { return nil }
func (holder) Whole() bool  { return true }

// The time for an answer begins when the request is sent, not when its connection is asked for.
func TestTheTimeForAnAnswerBeginsBehindAWholeBody(t *testing.T) {
	t.Parallel()
	address, _ := scripted(t, func(f *http2.Framer, id uint32) { writeHead(f, id, "200", true) })
	const limit = time.Second
	c := newHTTP2Client(&Settings{}, strings.TrimPrefix(address, "h2c://"), false,
		func(ctx context.Context) (net.Conn, error) {
			<-time.After(limit + limit/2)
			return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(address, "h2c://"))
		})
	q := &h1.Request{
		Method: "POST", Target: "/", Host: "app.example", Body: holder{strings.NewReader("hello")}, Length: 5,
		ResponseTimeout: limit,
	}
	a := new(Answer)
	if err := c.do(t.Context(), q, a); err != nil || a.Status != 200 {
		t.Errorf("status %d, %v", a.Status, err)
	}
}

// 101 is no answer in HTTP/2 (RFC 9113 §8.6), so it passes to no client.
func TestHTTP2SwitchesNoProtocols(t *testing.T) {
	t.Parallel()
	address, _ := scripted(t, func(f *http2.Framer, id uint32) {
		writeHead(f, id, "101", false)
		writeHead(f, id, "200", true)
	})
	passed := 0
	q := &h1.Request{
		Method: "GET", Target: "/", Host: "x", Hint: func(int, http.Header) error { passed++; return nil },
	}
	if _, err := send(t.Context(), open(t, settings(address), time.Now), q); err == nil || passed != 0 {
		t.Errorf("%v, %d passed", err, passed)
	}
}

// A client that does not take an early hint holds up its own answer alone, not the connection that others share.
func TestAHintThatIsNotTakenHoldsNoOneElseUp(t *testing.T) {
	t.Parallel()
	address, _ := scripted(t, func(f *http2.Framer, id uint32) {
		writeHead(f, id, "103", false)
		writeHead(f, id, "200", true)
	})
	p := open(t, settings(address), time.Now)
	taken, began := make(chan struct{}), make(chan struct{})
	slow := make(chan error, 1)
	go func() {
		q := &h1.Request{Method: "GET", Target: "/", Host: "x"}
		q.Hint = func(int, http.Header) error {
			close(began)
			<-taken
			return nil
		}
		_, err := send(t.Context(), p, q)
		slow <- err
	}()
	<-began
	if _, err := ask(t.Context(), p, "GET", "", nil); err != nil {
		t.Errorf("another request: %v", err)
	}
	close(taken)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}
