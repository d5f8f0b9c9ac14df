package h1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/jotgate/jotgate/internal/refusal"
)

// However much of a body a handler reads before it answers, and whatever the body says: it is never taken for a
// request.
func TestABodyIsNoRequest(t *testing.T) {
	t.Parallel()
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	fill := func(n int) string { return strings.Repeat(smuggled, n/len(smuggled)+1)[:n] }
	chunked := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, fill(n)) }
	var seen atomic.Int64
	address := serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/smuggled":
			seen.Add(1)
			return
		case "/h":
		default:
			return
		}
		read, _ := strconv.ParseInt(r.Header.Get("Read"), 10, 64)
		n, _ := io.CopyN(io.Discard, r.Body, read)
		if n%2 == 0 {
			flush(w)
		}
		if n%3 == 0 {
			_ = r.Body.Close()
		}
		if r.Header.Get("Abort") != "" {
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprint(w, n)
	})))
	var clients errgroup.Group
	clients.SetLimit(16)
	for _, size := range []int{1, len(smuggled), 5000, 256 << 10, 256<<10 + 1, 300 << 10} {
		for _, fields := range []string{
			fmt.Sprintf("Content-Length: %d\r\n", size), "Transfer-Encoding: chunked\r\n",
			fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n", size),
			fmt.Sprintf("Content-Length: %d\r\nAbort: 1\r\n", size),
			fmt.Sprintf("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n", size),
		} {
			for _, n := range []int{0, 1, size - 1, size, size + 1} {
				body := fill(size)
				if strings.HasPrefix(fields, "T") {
					body = chunked(size)
				}
				clients.Go(func() error {
					c := dial(t, address)
					var sending sync.WaitGroup
					sending.Go(func() {
						_, _ = io.WriteString(c, request11("POST", fields+fmt.Sprintf("Read: %d\r\n", n), body)+
							probe)
					})
					_, _ = io.Copy(io.Discard, c) // until it ends, how ever
					_ = c.Close()
					sending.Wait()
					if seen.Load() > 0 {
						return fmt.Errorf("%q, about %d of %d read: a body was taken for a request", fields, n, size)
					}
					return nil
				})
			}
		}
	}
	if err := clients.Wait(); err != nil {
		t.Error(err)
	}
}

// Sizes of chunks and bodies at the limits of what can be counted.
func TestSizesAtTheirLimits(t *testing.T) {
	t.Parallel()
	address := serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := make([]byte, 3)
		_, err := io.ReadFull(r.Body, p)
		_, _ = fmt.Fprintf(w, "%d %q %s", r.ContentLength, p, refusal.Of(err))
	})))
	for _, row := range []struct{ name, send, body string }{
		{
			"length of 18 digits", request11("POST", "Content-Length: 999999999999999999\r\n", "abc"),
			`999999999999999999 "abc" `,
		},
		{"length of 19 digits", request11("POST", "Content-Length: 1000000000000000000\r\n", "abc"), "400"},
		{"length beyond int63", request11("POST", "Content-Length: 9223372036854775808\r\n", "abc"), "400"},
		{"length of zeros", request11("POST", "Content-Length: 000000000000000003\r\n", "abc"), `3 "abc" `},
		{"length of too many zeros", request11("POST", "Content-Length: 0000000000000000003\r\n", "abc"), "400"},
		{"chunk below 2^62", request11("POST", "Transfer-Encoding: chunked\r\n", "3fffffffffffffff\r\nabc"), `-1 "abc" `},
		{
			"chunk of 2^62", request11("POST", "Transfer-Encoding: chunked\r\n", "4000000000000000\r\nabc"),
			`-1 "\x00\x00\x00" body_malformed`,
		},
		{
			"chunk of 2^64", request11("POST", "Transfer-Encoding: chunked\r\n", "10000000000000000\r\nabc"),
			`-1 "\x00\x00\x00" body_malformed`,
		},
		{
			"chunk of 16 digits", request11("POST", "Transfer-Encoding: chunked\r\n", "0000000000000003\r\nabc\r\n"),
			`-1 "abc" `,
		},
		{
			"chunk of 17 digits", request11("POST", "Transfer-Encoding: chunked\r\n", "00000000000000003\r\nabc\r\n"),
			`-1 "\x00\x00\x00" body_malformed`,
		},
		{
			"chunks of a byte", request11("POST", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n"),
			`-1 "abc" `,
		},
		{
			"nothing in chunks", request11("POST", "Transfer-Encoding: chunked\r\n", "00\r\n\r\n"),
			`-1 "\x00\x00\x00" internal_error`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, address)
			send(t, c, row.send)
			_ = c.CloseWrite()
			r, body := answer(t, bufio.NewReader(c))
			if r.StatusCode != 200 {
				body = fmt.Sprint(r.StatusCode)
			}
			if body != row.body {
				t.Errorf("got %s, want %s", body, row.body)
			}
		})
	}
}

// The URL of a request is the one that net/http reads in the same target.
func TestTargetsLikeNetHTTP(t *testing.T) {
	t.Parallel()
	type read struct {
		URL  *url.URL
		Text string
	}
	seen := make(chan read, 1)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- read{r.URL, r.URL.String() + " " +
			r.RequestURI}
	})
	mine, other := serve(t, ours(handler)), theirs(t, handler)
	for _, target := range []string{
		"/", "//", "//x", "//x/y", "///x", "/?", "/??", "/?a=b&c", "/a%2Fb", "/a%20b?c%zz", "/a;b?c;d", "/a:b", "/:", "/@x",
		"/\xc3\xa4", "/a|b", "/a%41", "/~a-._",
		"/[x]", "/a+b", "/a#b", "/a?b#c", "/%E4", "/a=b&c", "/*", "/a\"b", "/..", "/./a", "/a//b", "/http://x/",
		"/?http://x/",
	} {
		got := map[string]read{}
		for _, address := range []string{mine, other} {
			c := dial(t, address)
			send(t, c, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			all, _ := io.ReadAll(c)
			if strings.HasPrefix(string(all), "HTTP/1.1 200") {
				got[address] = within(t, target, seen)
			}
			_ = c.Close()
		}
		if diff := cmp.Diff(got[other], got[mine]); diff != "" {
			t.Errorf("%s (-net/http +ours):\n%s", target, diff)
		}
	}
}

// Ten thousand requests in one go are answered in turn, one by one.
func TestHugePipeline(t *testing.T) {
	t.Parallel()
	const many = 10000
	c := dial(t, serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_,
			_ = io.WriteString(w, r.RequestURI)
	}))))
	var all bytes.Buffer
	for i := range many {
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345", i)
	}
	go func() { _, _ = all.WriteTo(c) }()
	in := bufio.NewReader(c)
	for i := range many {
		if _, body := answer(t, in); body != fmt.Sprint("/", i) {
			t.Fatalf("got %q in turn %d", body, i)
		}
	}
}

// A connection at rest holds no buffer, also when it has just been at work; a body goes through in constant memory.
func TestMemory(t *testing.T) { // not parallel: it measures
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools give up what they hold in the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	address := serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	})))
	t.Run("rest", func(t *testing.T) {
		const many = 150
		clients := make([]net.Conn, many)
		before := heap()
		for i := range clients {
			clients[i] = dial(t, address)
			send(t, clients[i], request11("POST", "Content-Length: 2000\r\n", long[:2000]))
			one := make([]byte, 1)
			for end := 0; end < 2000; { // without a buffer of ours
				if _, err := clients[i].Read(one); err != nil {
					t.Fatal(err)
				}
				if end++; one[0] == '\n' {
					end = 0
				}
			}
		}
		var each int64
		for end := time.Now().Add(patience); time.Now().Before(end); { // the last one may be about to rest
			if each = (heap() - before) / many; each < 3<<10 {
				return
			}
		}
		t.Errorf("%d bytes for each", each)
	})
	t.Run("body", func(t *testing.T) {
		size := 1 << 30
		if raceEnabled { // which takes twenty seconds for as much
			size = 1 << 27
		}
		before := heap()
		c := dial(t, address)
		_ = c.SetDeadline(time.Time{})
		piece := make([]byte, 1<<20)
		go func() {
			_, _ = io.WriteString(c, request11("POST", fmt.Sprintf("Content-Length: %d\r\n", size), ""))
			for range size / len(piece) {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got, most int64
		buffer := make([]byte, 1<<20)
		for err == nil {
			var n int
			n, err = r.Body.Read(buffer)
			if got>>25 != (got+int64(n))>>25 {
				most = max(most, heap()-before)
			}
			got += int64(n)
		}
		if got != int64(size) || err != io.EOF || most > 8<<20 {
			t.Errorf("%d bytes, %v; %d bytes held", got, err, most)
		}
	})
}

// What is flushed reaches the client while the handler waits: an event stream, and a long poll's head; plain and in
// HTTP/1.0.
func TestFlushesReachTheClient(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"HTTP/1.1": get, "HTTP/1.0": request10("")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan struct{})
			address := serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				flush(w)
				for i := range 100 {
					select {
					case <-got:
					case <-r.Context().Done():
						return
					}
					_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
					flush(w)
				}
			})))
			c := dial(t, address)
			send(t, c, head)
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || r.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatal(r, err)
			}
			in := bufio.NewReader(r.Body)
			for i := range 100 {
				got <- struct{}{}
				line, err := in.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
					t.Fatalf("got %q, %v", line, err)
				}
				if _, err := in.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// An answer's fields come in the same order each time, how ever many they are; values and names stay on their lines.
func TestFieldsInOrder(t *testing.T) {
	t.Parallel()
	for _, many := range []int{3, 24, 25, 200, 20000} {
		address := serve(t, ours(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			w.Header()["X\r\nEvil"] = []string{"x"}
			for i := range many {
				w.Header()[fmt.Sprintf("X-%05d", i)] = []string{fmt.Sprintf("%d\r\nEvil: x\x00\x7f", i), "b"}
			}
			w.WriteHeader(http.StatusNoContent)
		})))
		var want strings.Builder
		want.WriteString("HTTP/1.1 204 No Content\r\n")
		for i := range many {
			fmt.Fprintf(&want, "X-%05d: %d  Evil: x  \r\nX-%05d: b\r\n", i, i, i)
		}
		want.WriteString("Connection: close\r\n\r\n")
		c := dial(t, address)
		send(t, c, probe)
		all, err := io.ReadAll(c)
		if err != nil || string(all) != want.String() {
			t.Errorf("%d fields: got %.400q, %v", many, all, err)
		}
	}
}
