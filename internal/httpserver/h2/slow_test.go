package h2_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/refusal"
)

// slowLink forwards connections to a server, and no more than rate bytes a second from it, with buffers as small as the
// kernel has them.
func slowLink(t *testing.T, server string, rate int) (address string) {
	t.Helper()
	l := listen(t)
	var forwarding sync.WaitGroup
	t.Cleanup(forwarding.Wait)
	t.Cleanup(func() { _ = l.Close() })
	forwarding.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				t.Error(err)
				return
			}
			_ = up.(*net.TCPConn).SetReadBuffer(16 << 10)
			_ = client.(*net.TCPConn).SetWriteBuffer(16 << 10)
			end := func() { _, _ = client.Close(), up.Close() }
			forwarding.Go(func() {
				defer end()
				_, _ = io.Copy(up, client)
			})
			forwarding.Go(func() {
				defer end()
				pace(client, up, rate)
			})
		}
	})
	return l.Addr().String()
}

// pace copies at a rate.
func pace(to io.Writer, from io.Reader, rate int) {
	buffer := make([]byte, max(1, rate/100))
	for start, sent := time.Now(), 0; ; {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
		sent += n
		if ahead := time.Duration(sent)*time.Second/time.Duration(rate) - time.Since(start); ahead > 0 {
			<-time.After(ahead)
		}
	}
}

// gentle is Go's client over one connection, with windows of that size.
func gentle(t *testing.T, window int) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{
		MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: max(window, 4<<20),
		StrictMaxConcurrentRequests: true,
	}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A hundred downloads over one slow connection all arrive: a stream is not charged while the connection is the
// bottleneck. It is 100 times 200 KB at 150 KiB/s with a stall time of 30 s, forty times as fast. Each stream gets less
// than 64 KiB in the stall time.
func TestSlowLinkServesEveryDownload(t *testing.T) {
	t.Parallel()
	const streams, size, rate = 100, 200_000, 40 * 150 << 10
	for name, window := range map[string]int{"windows of 64 KiB": 64 << 10, "windows of 4 MiB": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ours(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
			s.WriteStall = 30 * time.Second / 40
			address := slowLink(t, serve(t, s), rate)
			client := gentle(t, window)
			var whole atomic.Int32
			var g sync.WaitGroup
			for range streams {
				g.Go(func() {
					a, err := client.Get("http://" + address)
					if err != nil {
						t.Error(err)
						return
					}
					defer a.Body.Close()
					if n, err := io.Copy(io.Discard, a.Body); n == size && err == nil {
						whole.Add(1)
					}
				})
			}
			g.Wait()
			if whole.Load() != streams {
				t.Errorf("%d of %d arrived", whole.Load(), streams)
			}
		})
	}
}

// A client that grants windows, but so little that a handler is held for long, is cut, whatever it does to look alive.
func TestDripOfWindowsIsCut(t *testing.T) {
	t.Parallel()
	for name, drip := range map[string]struct {
		stream, connection uint32
		every              time.Duration
	}{
		"the stream's": {1, 0, 30 * time.Millisecond},
		"the stream's, at the edge of being asked": {1, 0, 60 * time.Millisecond},
		"the connection's":                         {1 << 20, 1, 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := make(chan error, 1)
			s := ours(func(w http.ResponseWriter, _ *http.Request) {
				_, err := w.Write(make([]byte, 1<<20))
				failed <- err
			})
			s.WriteStall = 300 * time.Millisecond
			settings := []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}
			p := dial(t, serve(t, s), settings...)
			p.ask(1, true, get("/")...)
			p.until("1: HEADERS 200")
			if drip.connection > 0 { // then the stream's is open, and the connection's is used up
				p.must(p.WriteWindowUpdate(1, 1<<20))
			}
			reading := make(chan struct{})
			go func() { defer close(reading); p.rest() }()
			ticker := time.NewTicker(drip.every)
			defer ticker.Stop()
			for start := time.Now(); ; {
				select {
				case err := <-failed:
					if refusal.Of(err) != refusal.ClientClosed {
						t.Errorf("it failed with %v", err)
					}
					_ = p.conn.Close()
					<-reading
					return
				case <-ticker.C:
					_ = p.WriteWindowUpdate(1, 1)
					if drip.connection > 0 {
						_ = p.WriteWindowUpdate(0, 1)
					}
				}
				if time.Since(start) > patience {
					t.Fatal("it lives on")
				}
			}
		})
	}
}

// Uploads that no handler reads do not stop the others on their connection, and those are told no time-out.
func TestUnreadUploadsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	for _, unread := range []int{2, 40} {
		t.Run(fmt.Sprint(unread), func(t *testing.T) {
			t.Parallel()
			release, begun := make(chan struct{}), make(chan struct{}, unread)
			s := ours(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/unread" {
					begun <- struct{}{}
					<-release
				}
				drained(w, r)
			})
			s.Limits.BodyStall = 500 * time.Millisecond
			address := "http://" + serve(t, s)
			client, large := gentle(t, 1<<20), strings.Repeat(long, 3)
			post := func(path string, size int) string {
				a, err := client.Post(address+path, "", strings.NewReader(large[:size]))
				if err != nil {
					return err.Error()
				}
				defer a.Body.Close()
				text, _ := io.ReadAll(a.Body)
				return fmt.Sprint(a.StatusCode, " ", string(text))
			}
			var g sync.WaitGroup
			for range unread {
				g.Go(func() {
					if got := post("/unread", len(large)); got != fmt.Sprint("200 ", len(large)) {
						t.Errorf("an upload that waited: %s", got)
					}
				})
				<-begun
			}
			if got := post("/", 200_000); got != "200 200000" {
				t.Errorf("beside %d unread uploads: %s", unread, got)
			}
			close(release)
			g.Wait()
		})
	}
}

// When bodies hold as much memory as they may, connections wait for handlers; no client that has no window is told that
// it is slow, and all goes on when there is room.
func TestBodiesHoldABoundedMemory(t *testing.T) {
	t.Parallel()
	release, begun := make(chan struct{}), make(chan struct{}, 100)
	s := ours(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unread" {
			begun <- struct{}{}
			<-release
		}
		drained(w, r)
	})
	s.Limits.BodyStall, s.BodyMemory = 200*time.Millisecond, 1
	p := dial(t, serve(t, s))
	window, id := 1<<20, uint32(1)
	for ; window > 0; id += 2 { // until the connection's is used up
		p.ask(id, false, request("POST", "/unread")...)
		<-begun
		for n := min(window, 64<<10); n > 0; n -= 16 << 10 {
			p.must(p.WriteData(id, false, make([]byte, 16<<10)))
			window -= 16 << 10
		}
	}
	p.ask(id, false, request("POST", "/")...)
	for start := time.Now(); time.Since(start) < 2*s.Limits.BodyStall; {
		<-time.After(10 * time.Millisecond)
	}
	close(release)
	for other := uint32(1); other < id; other += 2 {
		p.must(p.WriteData(other, true, nil))
		p.until(fmt.Sprintf("%d: DATA %q", other, "65536"))
	}
	p.must(p.WriteData(id, true, make([]byte, 5)))
	p.until(fmt.Sprintf("%d: DATA %q", id, "5"))
}

// While a body waits for its turn on the connection, the progress of the others is its own: a client that sends one
// upload after the other is not told that the second is slow. One that sends nothing at all is.
func TestBodyWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	s := ours(drained)
	s.Limits.BodyStall, s.Limits.BodyRate = 400*time.Millisecond, 1000
	p := dial(t, serve(t, s))
	p.ask(1, false, request("POST", "/")...)
	p.ask(3, false, request("POST", "/")...)
	for start := time.Now(); time.Since(start) < 3*s.Limits.BodyStall; {
		p.must(p.WriteData(1, false, make([]byte, 1000)))
		<-time.After(10 * time.Millisecond)
	}
	p.must(p.WriteData(3, true, []byte("hello")))
	p.until(`3: DATA "5"`)
	p.until("1: HEADERS 400") // it stands still, and no other moves
	if !p.saw("3: HEADERS 200") {
		t.Errorf("%q", p.log)
	}
}

// A client that has not read all of a slow link's data is no client that grants no window: its stream is given up only
// once it is known to have everything.
func TestStalledStreamTellsWhy(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	s := ours(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, long)
		failed <- err
	})
	s.WriteStall = 100 * time.Millisecond
	p := dial(t, serve(t, s), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	p.ask(1, true, get("/")...)
	p.until("1: RST INTERNAL_ERROR")
	err := <-failed
	if refusal.Of(err) != refusal.ClientClosed || !strings.Contains(err.Error(), "granted no window") {
		t.Errorf("%v", err)
	}
}

// An answer that comes before the request's body was read does not stop the client from sending it: the stream is not
// reset while the client goes on, the connection does not stand still, and nothing is kept.
func TestEarlyAnswerLetsTheClientGoOn(t *testing.T) {
	t.Parallel()
	const size = 20_000_000
	answered := make(chan struct{})
	address := serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			w.WriteHeader(401)
			defer close(answered)
		}
	}))
	p := dial(t, address)
	p.ask(1, false, request("POST", "/", fmt.Sprint("content-length: ", size))...)
	<-answered
	window, connection := int64(64<<10), int64(1<<20)
	for sent := 0; sent < size; {
		n := min(16<<10, size-sent)
		for int64(n) > min(window, connection) {
			frame, more := p.next()
			if !more {
				t.Fatalf("the connection ended after %d bytes: %q", sent, p.log)
			}
			switch f := frame.(type) {
			case *http2.WindowUpdateFrame:
				if f.StreamID == 0 {
					connection += int64(f.Increment)
				} else {
					window += int64(f.Increment)
				}
			case *http2.RSTStreamFrame:
				t.Fatalf("reset after %d bytes", sent)
			}
		}
		p.must(p.WriteData(1, sent+n == size, make([]byte, n)))
		sent, window, connection = sent+n, window-int64(n), connection-int64(n)
	}
	p.answers(3)
	if !p.saw("1: HEADERS 401") || p.saw("1: RST NO_ERROR") {
		t.Errorf("%q", p.log)
	}
}

// A client that neither goes on nor ends its stream is reset without an error, and until then its stream counts.
func TestEarlyAnswerDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	s := ours(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	s.Streams = 2
	p := dial(t, serve(t, s))
	p.ask(1, false, request("POST", "/")...)
	p.ask(3, false, request("POST", "/")...)
	p.until("3: END")
	p.until("1: END")
	p.ask(5, true, get("/")...)
	p.until("5: RST REFUSED_STREAM")
	p.until("1: RST NO_ERROR")
	p.until("3: RST NO_ERROR")
	p.ask(7, true, get("/")...)
	p.until("7: HEADERS 401")
}

// GET without END_STREAM is one without a body if an empty frame ends it, or trailers do; with DATA it has one.
func TestRequestThatEndsLater(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, method string
		rest         func(*peer)
		want         string
	}{
		{"empty DATA", "GET", func(p *peer) { p.must(p.WriteData(1, true, nil)) }, "0 true 0"},
		{
			"two of them", "HEAD", func(p *peer) { p.must(p.WriteData(1, false, nil)); p.must(p.WriteData(1, true, nil)) },
			"0 true 0",
		},
		{"trailers", "OPTIONS", func(p *peer) { p.ask(1, true, "a: b") }, "0 true 0"},
		{"DATA", "DELETE", func(p *peer) { p.must(p.WriteData(1, true, []byte("hello"))) }, "-1 false 5"},
		{"DATA, later", "GET", func(p *peer) {
			<-time.After(50 * time.Millisecond)
			p.must(p.WriteData(1, true,
				[]byte("hello")))
		}, "-1 false 5"},
		{"nothing", "GET", func(*peer) {}, "body_timeout"},
		{"reset", "GET", func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeCancel)) }, "client_closed"},
		{"POST", "POST", func(p *peer) { p.must(p.WriteData(1, true, nil)) }, "-1 false 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			saw := make(chan string, 1)
			s := ours(func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				saw <- fmt.Sprint(r.ContentLength, r.Body == http.NoBody, n)
			})
			s.Refused = func(_ http.ResponseWriter, _ *http.Request, why *refusal.Error) { saw <- string(why.Reason) }
			s.Limits.BodyStall = 300 * time.Millisecond
			p := dial(t, serve(t, s))
			p.ask(1, false, request(row.method, "/")...)
			row.rest(p)
			if got := <-saw; got != row.want {
				t.Errorf("the handler saw %q, want %q", got, row.want)
			}
		})
	}
}

// SETTINGS of more than there are, or that say the same again and again, end the connection: each costs a client
// nothing.
func TestExcessiveSettings(t *testing.T) {
	t.Parallel()
	many := make([]http2.Setting, 101)
	for i := range many {
		many[i] = http2.Setting{ID: http2.SettingID(1000 + i)}
	}
	again := func(n int) []http2.Setting {
		all := make([]http2.Setting, n)
		for i := range all {
			all[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}
		}
		return all
	}
	for name, row := range map[string]struct {
		settings []http2.Setting
		refused  bool
	}{
		"a hundred": {many[:100], false}, "more than a hundred": {many, true}, "twice": {again(2), false},
		"three times": {again(3), true}, "thousands": {again(2000), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, serve(t, ours(nothing)))
			p.must(p.WriteSettings(row.settings...))
			if !row.refused {
				p.answers(1)
				return
			}
			if log := p.rest(); len(log) == 0 || log[len(log)-1] != "GOAWAY 0 ENHANCE_YOUR_CALM" {
				t.Errorf("%q", log)
			}
		})
	}
}

// A connection whose only streams are answered makes room for another, although its client still sends.
func TestLingeringConnectionIsEvicted(t *testing.T) {
	t.Parallel()
	p, c := connected(t, ours(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }))
	p.ask(1, false, request("POST", "/")...)
	p.until("1: END")
	for idle := false; !idle; runtime.Gosched() {
		_, idle = c.IdleSince()
	}
	c.Evict()
	log := p.rest()
	if !p.saw("1: RST NO_ERROR") || log[len(log)-1] != "GOAWAY 1 NO_ERROR" {
		t.Errorf("%q", log)
	}
}

// A thousand streams over ten connections are open at once, each in a conversation: what one side says arrives before
// the other goes on, and what the handlers get is what their own clients sent.
func TestThousandConversations(t *testing.T) {
	t.Parallel()
	const connections, streams, rounds = 10, 100, 5
	var open atomic.Int32
	all := make(chan struct{})
	address := serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		if open.Add(1) == connections*streams {
			close(all)
		}
		w.Header().Set("Trailer", "X-Sum")
		flush(w)
		<-all
		line, sum := make([]byte, 64), 0
		for {
			n, err := r.Body.Read(line)
			sum += n
			if n > 0 {
				_, _ = w.Write(line[:n])
				flush(w)
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("X-Sum", fmt.Sprint(sum))
	}))
	var g sync.WaitGroup
	for connection := range connections {
		client := gentle(t, 64<<10)
		for stream := range streams {
			g.Go(func() {
				from, to := io.Pipe()
				defer to.Close()
				a, err := client.Post("http://"+address, "", from)
				if err != nil {
					t.Error(err)
					return
				}
				defer a.Body.Close()
				sent := 0
				for round := range rounds {
					word := fmt.Sprintf("%d-%d-%d", connection, stream, round)
					if _, err := io.WriteString(to, word); err != nil {
						t.Error(err)
						return
					}
					sent += len(word)
					got := make([]byte, len(word))
					if _, err := io.ReadFull(a.Body, got); err != nil || string(got) != word {
						t.Errorf("%q for %q, %v", got, word, err)
						return
					}
				}
				_ = to.Close()
				if rest, err := io.ReadAll(a.Body); err != nil || len(rest) > 0 || a.Trailer.Get("X-Sum") != fmt.Sprint(sent) {
					t.Errorf("%q %v %v, %d sent", rest, err, a.Trailer, sent)
				}
			})
		}
	}
	g.Wait()
}

// A client that reads slowly holds a bounded part of an answer here, however fast its handler is, and a handler that
// reads slowly a bounded part of an upload.
func TestSlowReadersHoldLittle(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	release := make(chan struct{})
	s := ours(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			<-release
			drained(w, r)
			return
		}
		for range 4 << 10 {
			n, err := w.Write(make([]byte, 4<<10))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	})
	p := dial(t, serve(t, s), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10_000})
	p.ask(1, true, get("/")...)
	for got := 0; got < 10_000; {
		frame, more := p.next()
		if !more {
			t.Fatal(p.log)
		}
		if data, ok := frame.(*http2.DataFrame); ok {
			got += len(data.Data())
		}
	}
	p.must(p.WritePing(false, [8]byte([]byte("and then"))))
	p.until("PING and then")
	if n := written.Load(); n > 10_000+16<<10 {
		t.Errorf("the handler wrote %d bytes to a window of 10000", n)
	}
	p.ask(3, false, request("POST", "/")...)
	for range 4 {
		p.must(p.WriteData(3, false, make([]byte, 16<<10)))
	}
	p.must(p.WriteData(3, false, make([]byte, 1))) // behind the window
	p.until("3: RST FLOW_CONTROL_ERROR")
	close(release)
}
