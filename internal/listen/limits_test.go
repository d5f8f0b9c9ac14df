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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/refusal"
)

// short are limits that a test can wait for.
func short() listen.Limits {
	const brief = 100 * time.Millisecond
	return listen.Limits{Limits: httpserver.Limits{HeaderTimeout: brief, BodyStall: brief}, WriteStall: brief}
}

// drip writes one byte at a time until the server has closed, so that some byte always has just come.
func drip(c net.Conn, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write([]byte("a")); err != nil {
			return
		}
	}
}

func TestSlowHead(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{"first request": "", "second request": get} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, start(t, listen.Options{Limits: short()}, new(ledger)))
			want := []int{408}
			if before != "" {
				want = []int{200, 408}
			}
			if _, err := io.WriteString(c, before+"GET / HTTP/1.1\r\nA: "); err != nil {
				t.Fatal(err)
			}
			go drip(c, 10*time.Millisecond)
			if diff := cmp.Diff(want, answers(t, c)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSilentConnectionIsClosed(t *testing.T) {
	t.Parallel()
	limits := short()
	limits.IdleTimeout = 50 * time.Millisecond
	c := dial(t, start(t, listen.Options{Limits: limits}, new(ledger)))
	if got := answers(t, c); got != nil {
		t.Errorf("answers %v to nothing", got)
	}
	c = dial(t, start(t, listen.Options{Limits: limits}, new(ledger)))
	fmt.Fprint(c, get)
	if diff := cmp.Diff([]int{200}, answers(t, c)); diff != "" {
		t.Error(diff)
	}
}

// A slow head behind a request that is being served must not hurt that request.
func TestSlowHeadBehindARequest(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	ls := start(t, listen.Options{Limits: short()}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
			t.Error("cancelled")
		}
	}))
	c := dial(t, ls)
	fmt.Fprint(c, get+"GET / HTT")
	time.AfterFunc(300*time.Millisecond, func() { close(release) }) // three header timeouts
	if diff := cmp.Diff([]int{200, 408}, answers(t, c)); diff != "" {
		t.Error(diff)
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"counted": "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
		"chunked": "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\n",
	} {
		for name2, every := range map[string]time.Duration{"trickles": 10 * time.Millisecond, "stands still": 0} {
			t.Run(name+" "+name2, func(t *testing.T) {
				t.Parallel()
				reason := make(chan refusal.Reason, 1)
				limits := short()
				limits.BodyRate = 1 << 20
				c := dial(t, start(t, listen.Options{Limits: limits},
					http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						_, err := io.Copy(io.Discard, r.Body)
						reason <- refusal.Of(err)
						w.WriteHeader(refusal.Of(err).Status())
					})))
				if _, err := io.WriteString(c, head+"abc"); err != nil {
					t.Fatal(err)
				}
				if every > 0 {
					go drip(c, every)
				}
				if diff := cmp.Diff([]int{408}, answers(t, c)); diff != "" {
					t.Error(diff)
				}
				if got := <-reason; got != refusal.BodyTimeout {
					t.Errorf("reason %s", got)
				}
				_ = c.Close()
			})
		}
	}
}

// Time in which the handler does not read is not held against the client.
func TestSlowHandlerDoesNotCutItsBody(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, listen.Options{Limits: short()}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(r.Body, first); err != nil {
			t.Error(err)
		}
		<-time.After(300 * time.Millisecond) // three times what a body may stand still
		if n, err := io.Copy(io.Discard, r.Body); n != 1<<20-1 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})))
	go fmt.Fprint(c, post("Connection: close\r\nContent-Length: 1048576", strings.Repeat("a", 1<<20)))
	if diff := cmp.Diff([]int{200}, answers(t, c)); diff != "" {
		t.Error(diff)
	}
}

// A client that asks for much and reads nothing loses its connection, and the handler learns it.
func TestSlowRead(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	c := dial(t, start(t, listen.Options{Limits: short()}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 1<<20)
		for {
			if _, err := w.Write(piece); err != nil {
				failed <- err
				return
			}
		}
	})))
	fmt.Fprint(c, get)
	if err := <-failed; err == nil {
		t.Error("written without end")
	}
}

// A client that reads slowly, but reads, is not cut.
func TestUnhurriedRead(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	limits := listen.Limits{WriteStall: 500 * time.Millisecond} // the whole takes 1.3 s
	c := dial(t, start(t, listen.Options{Limits: limits}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Error(err)
		}
	})))
	fmt.Fprint(c, final)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	piece, total := make([]byte, 256<<10), 0
	for err == nil {
		<-time.After(40 * time.Millisecond)
		var n int
		n, err = io.ReadFull(r.Body, piece)
		total += n
	}
	if total != size {
		t.Errorf("%d of %d bytes: %v", total, size, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Over the cap a connection that has long been idle makes room; when none has, the new one is closed at once.
func TestConnectionCap(t *testing.T) {
	t.Parallel()
	const most = 8
	limits := listen.Limits{Connections: most, EvictIdleAfter: time.Hour}
	ls := start(t, listen.Options{Limits: limits}, new(ledger))
	var idle []*net.TCPConn
	for range most {
		c := dial(t, ls)
		ask(t, c)
		idle = append(idle, c)
	}
	if over, err := net.Dial("tcp", ls.Addr("main").String()); err == nil { // or it is reset as early as that
		_ = over.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := over.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("a connection over the cap was kept: %v", err)
		}
		_ = over.Close()
	}
	if ls.Open() != most || ls.TurnedAway() != 1 {
		t.Errorf("%d open, %d turned away", ls.Open(), ls.TurnedAway())
	}
	for _, c := range idle {
		ask(t, c) // none was hurt
	}
}

func TestConnectionCapEvictsIdle(t *testing.T) {
	t.Parallel()
	const most = 8
	ls := start(t, listen.Options{Limits: listen.Limits{Connections: most, EvictIdleAfter: time.Nanosecond}}, new(ledger))
	for range 10 * most {
		ask(t, dial(t, ls)) // left open, idle
	}
	if ls.Open() > most+1 || ls.TurnedAway() > 0 {
		t.Errorf("%d open, %d turned away", ls.Open(), ls.TurnedAway())
	}
}

// ask sends one request and reads its answer.
func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, get); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	var seen ledger
	c := dial(t, start(t, listen.Options{}, &seen))
	in := bufio.NewReader(c)
	fmt.Fprint(c, post("Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2", ""))
	for _, status := range []int{100, 200} {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != status {
			t.Errorf("status %d, want %d", r.StatusCode, status)
		}
		if status == 100 {
			fmt.Fprint(c, "hi")
		}
	}
	if diff := cmp.Diff([]string{`POST /p "hi"`}, seen.all()); diff != "" {
		t.Error(diff)
	}
}

// Bytes that come before the 101 wait, and pass as they are after it, however they look.
func TestUpgradeGetsTheBytesThatCameEarly(t *testing.T) {
	t.Parallel()
	const early, late = "GET / HTTP/1.1\nnot a request\x00", "\n\r and more"
	ls := start(t, listen.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(c, io.LimitReader(buffered, int64(len(early+late))))
	}))
	c := dial(t, ls)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"+early)
	in := bufio.NewReader(c)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 101 {
		t.Fatal(r, err)
	}
	fmt.Fprint(c, late)
	got, err := io.ReadAll(in)
	if string(got) != early+late || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

// What came early is the next request if nothing was switched.
func TestUpgradeThatIsNotMade(t *testing.T) {
	t.Parallel()
	var seen ledger
	c := dial(t, start(t, listen.Options{}, &seen))
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"+final)
	if diff := cmp.Diff([]int{200, 200}, answers(t, c)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{`GET /ws ""`, `GET /final ""`}, seen.all()); diff != "" {
		t.Error(diff)
	}
}

// A client that goes away is noticed while its request is served.
func TestClientGone(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	c := dial(t, start(t, listen.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})))
	fmt.Fprint(c, get)
	<-began
	_ = c.Close()
	<-ended
}

func TestRedirectToHTTPS(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, host, target, location string
		port                         int
	}{
		{"plain", "a.example", "/x?y=%20;z", "https://a.example/x?y=%20;z", 0},
		{"port goes", "a.example:8080", "/", "https://a.example/", 443},
		{"port is set", "a.example:8080", "//evil/..", "https://a.example:8443//evil/..", 8443},
		{"IPv6", "[::1]:80", "/", "https://[::1]/", 0},
		{"IPv6 without port", "[::1]", "/", "https://[::1]:8443/", 8443},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var seen ledger
			ls := start(t, listen.Options{Listeners: []listen.Listener{{
				Name: "main", RedirectHTTPS: true,
				HTTPSPort: row.port,
			}}}, &seen)
			c := dial(t, ls)
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", row.target, row.host)
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != 308 || r.Header.Get("Location") != row.location ||
				r.Header.Get("X-Request-Id") == "" || seen.all() != nil {
				t.Errorf("%d %v %v", r.StatusCode, r.Header, seen.all())
			}
		})
	}
	t.Run("no host", func(t *testing.T) {
		t.Parallel()
		c := dial(t, start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", RedirectHTTPS: true}}}, nil))
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		if diff := cmp.Diff([]int{400}, answers(t, c)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("bad host", func(t *testing.T) {
		t.Parallel()
		c := dial(t, start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", RedirectHTTPS: true}}}, nil))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.example/evil\r\n\r\n")
		if diff := cmp.Diff([]int{400}, answers(t, c)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestListenFaults(t *testing.T) {
	t.Parallel()
	ls := start(t, listen.Options{}, new(ledger))
	_, err := listen.Listen(context.Background(),
		listen.Options{Listeners: []listen.Listener{{Name: "two", Address: ls.Addr("main").String()}}})
	if err == nil || !strings.HasPrefix(err.Error(), `listener "two": listen tcp `) {
		t.Errorf("%v", err)
	}
}
