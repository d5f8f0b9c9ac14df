package h1

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// The two clients ask the same server for 1 KB, on 64 connections. Server and client share the process, so the
// difference between the two is what counts, not the figures; allocations are the clients', as the server makes none.
func BenchmarkGet(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" +
		"Content-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	s := serve(b, func(p *peer) {
		for {
			for { // a head, without keeping it
				line, err := p.in.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := p.Write(answer); err != nil {
				return
			}
		}
	})
	bounds := settings(s)
	bounds.MaxIdle = 64
	b.Run("transport", func(b *testing.B) { benchmark(b, transport(b, bounds), s) })
	b.Run("ours", func(b *testing.B) { benchmark(b, client(b, bounds), s) })
	b.Run("ours, without net/http's types", func(b *testing.B) { benchmarkDo(b, client(b, bounds), s) })
}

func benchmark(b *testing.B, c http.RoundTripper, s *server) {
	share(b, func(next func() bool) {
		r := request(b, "GET", "http://"+s.address()+"/some/path", nil)
		r.Header["Accept"], r.Header["User-Agent"] = []string{"*/*"}, []string{"bench"}
		r = r.WithContext(b.Context())
		for next() {
			answer, err := c.RoundTrip(r)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	})
}

func benchmarkDo(b *testing.B, c *Client, s *server) {
	share(b, func(next func() bool) {
		q := &Request{
			Method: "GET", Target: "/some/path", Host: s.address(),
			Fields: HeaderFields{"Accept": {"*/*"}, "User-Agent": {"bench"}},
		}
		a := &Answer{Header: http.Header{}}
		room := make([]byte, 32<<10)
		for next() {
			clear(a.Header)
			if err := c.Do(b.Context(), q, a); err != nil {
				b.Error(err)
				return
			}
			for {
				if _, err := a.Read(room); err != nil {
					break
				}
			}
			a.Close()
		}
	})
}

// share has 64 goroutines share out the iterations.
func share(b *testing.B, work func(next func() bool)) {
	b.ReportAllocs()
	var mu sync.Mutex
	left := b.N
	next := func() bool {
		mu.Lock()
		defer mu.Unlock()
		left--
		return left >= 0
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { work(next) })
	}
	all.Wait()
}

// What a round trip allocates is what its caller is handed, and what cancelling costs.
func TestAllocations(t *testing.T) { // not parallel: it counts
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-App: 1\r\nContent-Length: 5\r\n\r\nhello")
	s := serve(t, func(p *peer) {
		for {
			for {
				line, err := p.in.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := p.Write(answer); err != nil {
				return
			}
		}
	})
	c := client(t, settings(s))
	r := request(t, "GET", "http://"+s.address()+"/some/path", nil).WithContext(t.Context())
	room := make([]byte, 100)
	check := func(name string, limit float64, round func()) {
		if n := testing.AllocsPerRun(200, round); n > limit {
			t.Errorf("%s: %.0f allocations, at most %.0f", name, n, limit)
		}
	}
	check("RoundTrip", 10, func() {
		answer, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = answer.Body.Read(room)
		}
	})
	q, a := &Request{Method: "GET", Target: "/", Host: "h", Fields: HeaderFields(r.Header)}, &Answer{Header: http.Header{}}
	check("Do", 5, func() {
		clear(a.Header)
		err := c.Do(t.Context(), q, a)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = a.Read(room)
		}
	})
}
