package listen_test

import (
	"bufio"
	"context"
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

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/listen/listentest"
)

func drain(t *testing.T, ls *listen.Listeners, d listen.Drain) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := ls.Drain(ctx, d); err != nil {
		t.Error(err)
	}
	if n := ls.Open(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// An idle connection is kept for its grace: a request that comes then is served and told to be the last.
func TestDrainServesLateRequests(t *testing.T) {
	t.Parallel()
	ls := start(t, listen.Options{}, new(ledger))
	early, never := dial(t, ls), dial(t, ls)
	ask(t, early)
	ask(t, never)
	done := make(chan struct{})
	go func() {
		defer close(done)
		drain(t, ls, listen.Drain{Delay: 200 * time.Millisecond, IdleGrace: 300 * time.Millisecond})
	}()
	for !ls.Draining() {
		<-time.After(time.Millisecond)
	}
	fresh := dial(t, ls) // still accepted
	for name, c := range map[string]net.Conn{"fresh": fresh, "idle": early} {
		fmt.Fprint(c, get)
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || r.StatusCode != 200 || !r.Close {
			t.Errorf("%s: %v %v", name, r, err)
		}
	}
	<-done
	if n, err := never.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("idle connection: %d %v", n, err)
	}
	if _, err := net.Dial("tcp", ls.Addr("main").String()); err == nil {
		t.Error("still listening")
	}
}

func TestDrainWaitsForRequests(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{})
	o.Listeners = append(o.Listeners, listen.Listener{Name: "plain"})
	began, release := make(chan struct{}, 3), make(chan struct{})
	ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-release
		fmt.Fprint(w, "whole")
	}))
	var g sync.WaitGroup
	for _, row := range []struct {
		url string
		h2  bool
	}{
		{"http://" + ls.Addr("plain").String(), false},
		{"https://" + ls.Addr("main").String(), false},
		{"https://" + ls.Addr("main").String(), true},
	} {
		c := listentest.Client(t, row.h2)
		g.Go(func() {
			r, err := c.Get(row.url)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if body, err := io.ReadAll(r.Body); string(body) != "whole" || err != nil {
				t.Errorf("%q %v", body, err)
			}
		})
	}
	for range 3 {
		<-began
	}
	g.Go(func() { drain(t, ls, listen.Drain{}) })
	<-ls.Stopped().Done() // no more connections are accepted
	close(release)
	g.Wait()
}

// An upgraded stream is told of the end by Stopped.
func TestDrainTellsStreams(t *testing.T) {
	t.Parallel()
	var ls *listen.Listeners
	ls = start(t, listen.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		<-ls.Stopped().Done()
		fmt.Fprint(c, "goodbye")
	}))
	c := dial(t, ls)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	in := bufio.NewReader(c)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 101 {
		t.Fatal(r, err)
	}
	drain(t, ls, listen.Drain{})
	if rest, err := io.ReadAll(in); string(rest) != "goodbye" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

// When the time is over, what is left is closed at once, and the error tells.
func TestDrainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	ls := start(t, listen.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	c := dial(t, ls)
	fmt.Fprint(c, get)
	<-began
	ctx, cancel := context.WithCancelCause(context.Background())
	second := errors.New("second signal")
	cancel(second)
	if err := ls.Drain(ctx, listen.Drain{Delay: time.Hour, IdleGrace: time.Hour}); !errors.Is(err, second) {
		t.Errorf("%v", err)
	}
	if _, err := io.ReadAll(c); ls.Open() != 0 || isTimeout(err) {
		t.Errorf("%d left, %v", ls.Open(), err)
	}
}

// A second instance takes the listener over again and again, under load: each request, POSTs among them, is answered
// once and served once. A client may find its idle connection closed, but only before it sends.
func TestTakeoverLosesNothing(t *testing.T) {
	t.Parallel()
	const takeovers, workers = 10, 8
	var served sync.Map // id -> *atomic.Int32
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		n, _ := served.LoadOrStore(r.URL.Path+string(body), new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
	})
	open := func(address string) *listen.Listeners {
		return start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", Address: address, ReusePort: true}}},
			count)
	}
	now := open("127.0.0.1:0")
	address := now.Addr("main").String()
	var stop atomic.Bool
	var asked atomic.Int32
	var g sync.WaitGroup
	for worker := range workers {
		g.Go(func() {
			k := keepAlive{t: t, address: address}
			defer k.close()
			for i := 0; !stop.Load(); i++ {
				k.post(fmt.Sprintf("/%d/", worker), fmt.Sprint(i))
				asked.Add(1)
			}
		})
	}
	for i := range takeovers {
		for asked.Load() < int32(500*(i+1)) {
			<-time.After(time.Millisecond)
		}
		next := open(address)
		drain(t, now, listen.Drain{IdleGrace: 2 * time.Second})
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
}

// keepAlive is a client that keeps its connection as long as it may, and never sends anything twice.
type keepAlive struct {
	t       *testing.T
	address string
	c       net.Conn
	in      *bufio.Reader
}

func (k *keepAlive) post(path, body string) {
	for k.c == nil {
		c, err := net.Dial("tcp", k.address)
		if errors.Is(err, syscall.ECONNRESET) {
			continue // reset before it was open: nothing was sent
		}
		if err != nil {
			k.t.Error(err)
			return
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		k.c, k.in = c, bufio.NewReader(c)
	}
	fmt.Fprintf(k.c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	r, err := http.ReadResponse(k.in, nil)
	if err != nil || r.StatusCode != 200 {
		k.t.Errorf("POST %s%s: %v", path, body, err)
		k.close()
		return
	}
	_, _ = io.Copy(io.Discard, r.Body) // an answer without a body
	if r.Close {
		k.close()
	}
}

func (k *keepAlive) close() {
	if k.c != nil {
		_ = k.c.Close()
		k.c = nil
	}
}

// Closing listeners that were never served, twice, is no fault.
func TestCloseUnserved(t *testing.T) {
	t.Parallel()
	ls, err := listen.Listen(context.Background(),
		listen.Options{Listeners: []listen.Listener{{Name: "main", Address: "127.0.0.1:0"}}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ls.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := ls.Serve(http.NotFoundHandler()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ls.Addr("main").String()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

// Closed, the listeners end the contexts of requests that are with their handlers, whatever was read of their bodies,
// and leave no socket behind.
func TestCloseEndsContexts(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"without a body":          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"with a body":             "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
		"with half a body":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhi",
		"with another behind it":  "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"that was taken over":     "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n",
		"that waits for Continue": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, ended := make(chan struct{}), make(chan error, 1)
			ls := start(t, listen.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hijack" {
					if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
						t.Error(err)
					}
				}
				close(begun)
				<-r.Context().Done()
				ended <- r.Context().Err()
			}))
			c := dial(t, ls)
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			<-begun
			if err := ls.Close(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Error("its context did not end")
			}
			if n := ls.Open(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
		})
	}
}
