package h2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type answerer interface {
	Answer(status int, length int64, fields iter.Seq2[string, string])
}

// Answer is an answer whose fields come as a sequence, and whose length is known or not.
func TestAnswer(t *testing.T) {
	t.Parallel()
	upstream := maps.All(map[string]string{"X-App": "a", "Content-Length": "999", "Connection": "close, X-App"})
	for _, row := range []struct {
		name    string
		method  string
		handler http.HandlerFunc
		want    []string
	}{
		{"counted", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Request-Id", "1")
			w.(answerer).Answer(200, 5, upstream)
			_, _ = io.WriteString(w, "hello")
			if _, err := io.WriteString(w, "!"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("over the length: %v", err)
			}
			w.(answerer).Answer(500, 0, upstream)
		}, answer(200, "hello", "Content-Length: 5", "X-App: a", "X-Request-Id: 1")},
		{"counted, long", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.(answerer).Answer(200, int64(len(long)), upstream)
			_, _ = io.Copy(w, strings.NewReader(long))
		}, answer(200, long, fmt.Sprint("Content-Length: ", len(long)), "X-App: a")},
		{"streamed", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.(answerer).Answer(200, -1, upstream)
			_, _ = io.WriteString(w, "hello")
		}, answer(200, "hello", "X-App: a")},
		{"its own Date", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.(answerer).Answer(200, 0, maps.All(map[string]string{"Date": "then"}))
		}, answer(200, "", "Content-Length: 0")},
		{
			"HEAD", "HEAD", func(w http.ResponseWriter, _ *http.Request) { w.(answerer).Answer(200, 5, upstream) },
			answer(200, "", "Content-Length: 5", "X-App: a"),
		},
		{
			"304", "GET", func(w http.ResponseWriter, _ *http.Request) { w.(answerer).Answer(304, 5, upstream) },
			answer(304, "", "X-App: a"),
		},
		{"broken off", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.(answerer).Answer(200, 5, upstream)
			_, _ = io.WriteString(w, "hell")
			w.(http.Flusher).Flush()
		}, append(answer(200, "hell", "Content-Length: 5", "X-App: a"),
			"  body breaks off: stream error: stream ID 1; INTERNAL_ERROR; received from peer")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := transcript(t, serve(t, ours(row.handler)), alike{method: row.method})
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A CONNECT is handed on as net/http does, for the chain to refuse (RFC 9113 section 8.5).
func TestConnectIsSeen(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "CONNECT" || r.RequestURI != "x:443" || r.Host != "x:443" || r.URL.Host != "x:443" ||
			r.URL.Path != "" {
			t.Errorf("%s %s %s %v", r.Method, r.RequestURI, r.Host, r.URL)
		}
		w.WriteHeader(405)
	})))
	p.ask(1, false, ":method: CONNECT", ":authority: x:443")
	p.until("1: HEADERS 405")
	p.until("1: RST NO_ERROR")
}

// When the handler has returned, nothing is written or read any more, whatever the handler's goroutines try.
func TestNothingAfterTheHandler(t *testing.T) {
	t.Parallel()
	type both struct {
		http.ResponseWriter
		*http.Request
	}
	kept := make(chan both, 1)
	p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols) // there is no such thing (section 8.6)
		w.WriteHeader(201)
		kept <- both{w, r}
	})))
	p.ask(1, false, request("POST", "/")...)
	p.until("1: RST NO_ERROR")
	if !p.saw("1: HEADERS 201") {
		t.Errorf("%q", p.log)
	}
	b := <-kept
	<-b.Context().Done()
	control := http.NewResponseController(b.ResponseWriter)
	for name, try := range map[string]func() error{
		"write":    func() error { _, err := io.WriteString(b.ResponseWriter, "late"); return err },
		"flush":    control.Flush,
		"read":     func() error { _, err := b.Body.Read(make([]byte, 1)); return err },
		"deadline": func() error { return control.SetWriteDeadline(never) },
	} {
		if try() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := control.EnableFullDuplex(); err != nil {
		t.Error(err)
	}
}

// A request's context is one in every respect.
func TestContextOfARequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	s := ours(func(_ http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if _, bounded := ctx.Deadline(); bounded || ctx.Value(key{}) != "value" || ctx.Err() != nil {
			t.Errorf("%v", ctx)
		}
		onEnd := ctx.(interface{ OnEnd(func()) func() bool }).OnEnd
		if stop := onEnd(func() { t.Error("ran although it was stopped") }); !stop() || stop() {
			t.Error("stopped other than once")
		}
		child, cancel := context.WithCancel(ctx)
		cancel()
		if child.Value(key{}) != "value" || child.Err() == nil {
			t.Errorf("%v", child)
		}
	})
	s.Context = context.WithValue(context.Background(), key{}, "value")
	p := dial(t, serve(t, s))
	p.answers(1)
}

// The second function is told of the end, too, and one that comes late at once.
func TestOnEndTwice(t *testing.T) {
	t.Parallel()
	began, told := make(chan struct{}), make(chan string, 3)
	p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
		onEnd := r.Context().(interface{ OnEnd(func()) func() bool }).OnEnd
		onEnd(func() { told <- "first" })
		onEnd(func() { told <- "second" })
		close(began)
		<-r.Context().Done()
		onEnd(func() { told <- "late" })
	})))
	p.ask(1, true, get("/")...)
	<-began
	p.must(p.WriteRSTStream(1, 0))
	for range 3 {
		<-told
	}
}
