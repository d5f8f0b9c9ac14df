package h1_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A released is a handler that lets go of its requests.
func released(answer func(w http.ResponseWriter, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r)
		w.(interface{ Release() }).Release()
	})
}

// Requests that are served in the memory of others have nothing of them: neither fields, nor the URL, nor the answer's
// fields, nor the state of the context. All kinds of requests take turns on many connections.
func TestReusedMemoryHoldsNothing(t *testing.T) {
	t.Parallel()
	server := serve(t, ours(released(func(w http.ResponseWriter, r *http.Request) {
		var own []string
		for name, values := range r.Header {
			own = append(own, fmt.Sprint(len(name), values))
		}
		want := r.URL.Query().Get("fields")
		if err := r.Context().Err(); err != nil || fmt.Sprint(len(own)) != want || len(w.Header()) != 0 ||
			r.Pattern != "" || r.PathValue("x") != "" || r.Form != nil || r.MultipartForm != nil || r.Trailer != nil {
			t.Errorf("%s: %v, context %v, answer %v, %+v", want, own, err, w.Header(), r)
		}
		r.Pattern = "stale" // what handlers may leave
		r.SetPathValue("x", "stale")
		r.Form, r.Trailer = map[string][]string{"a": {"stale"}}, http.Header{"Stale": {"x"}}
		r.Header.Set("Stale", "x")
		w.Header().Set("X-Url", r.URL.String())
		switch mark := r.URL.Query().Get("kind"); mark {
		case "wait":
			_ = r.Context().Done()
		case "child":
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			_ = ctx.Err()
		case "many":
			for i := range 20 {
				w.Header().Set(fmt.Sprintf("X-Many-%d", i), "x")
			}
		}
		_, _ = io.Copy(w, r.Body)
	})))
	var work sync.WaitGroup
	for client := range 8 {
		work.Go(func() {
			c := dial(t, server)
			in := bufio.NewReader(c)
			for i := range 200 {
				kind := []string{"plain", "wait", "child", "many", "body"}[(client+i)%5]
				fields := []int{0, 3, 40, 1, 60, 9}[(client*7+i)%6]
				target := fmt.Sprintf("/%d/%d?kind=%s&fields=%d", client, i, kind, fields)
				method, body := "GET", ""
				if kind == "body" {
					method, body = "POST", strings.Repeat("b", i)
					target = fmt.Sprintf("/%d/%d?kind=%s&fields=%d", client, i, kind, fields+1)
				}
				var b strings.Builder
				fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: a\r\n", method, target)
				if kind == "body" {
					fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
				}
				for n := range fields {
					fmt.Fprintf(&b, "X-%d-%d-%d: %d\r\n", client, i, n, n)
				}
				send(t, c, b.String()+"\r\n"+body)
				a, got := answer(t, in)
				if a.Header.Get("X-Url") != target || got != body || (len(a.Header["X-Many-3"]) > 0) != (kind == "many") {
					t.Errorf("%s: %v %q", target, a.Header, got)
					return
				}
			}
		})
	}
	work.Wait()
}

// A handler that breaks its word cannot write into the next answer, nor set a field or a deadline of it.
func TestWriteBehindARelease(t *testing.T) {
	t.Parallel()
	var before http.ResponseWriter
	c := dial(t, serve(t, ours(released(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/probe" {
			before = w
			return
		}
		before.Header().Set("X-Stray", "x")
		before.WriteHeader(500)
		if _, err := io.WriteString(before, "stray"); err == nil {
			t.Error("written")
		}
		flush(before)
		control := http.NewResponseController(before)
		if _, _, err := control.Hijack(); err == nil {
			t.Error("taken over")
		}
		if control.SetReadDeadline(time.Unix(1, 0)) == nil || control.SetWriteDeadline(time.Unix(1, 0)) == nil {
			t.Error("deadline set")
		}
		_, _ = io.WriteString(w, "mine")
	}))))
	send(t, c, get+probe)
	in := bufio.NewReader(c)
	answer(t, in)
	if a, body := answer(t, in); body != "mine" || a.Header.Get("X-Stray") != "" {
		t.Errorf("got %v %q", a.Header, body)
	}
}

// Abort may come at any moment, and ends the request of its own connection alone.
func TestAbortEndsNoOtherRequest(t *testing.T) {
	t.Parallel()
	s := ours(released(func(w http.ResponseWriter, r *http.Request) {
		for range 20 {
			if r.URL.Path == "/kept" && r.Context().Err() != nil {
				t.Error("another connection's end")
			}
		}
		_, _ = io.WriteString(w, "x")
	}))
	kept := dial(t, serve(t, s))
	in := bufio.NewReader(kept)
	for range 300 {
		here, there := net.Pipe()
		c := s.NewConn(there)
		var work sync.WaitGroup
		work.Go(c.Serve)
		work.Go(func() {
			if _, err := io.WriteString(here, get); err == nil {
				_, _ = io.ReadAll(here)
			}
		})
		work.Go(func() {
			c.Abort()
			_ = here.Close()
		})
		send(t, kept, "GET /kept HTTP/1.1\r\nHost: a\r\n\r\n")
		answer(t, in)
		work.Wait()
	}
}
