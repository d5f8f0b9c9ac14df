package listen_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/listen"
)

// start serves handler on the listeners, which get a free port each, and closes them with the test.
func start(t testing.TB, o listen.Options, handler http.Handler) *listen.Listeners {
	t.Helper()
	if len(o.Listeners) == 0 {
		o.Listeners = []listen.Listener{{Name: "main"}}
	}
	for i := range o.Listeners {
		if o.Listeners[i].Address == "" {
			o.Listeners[i].Address = "127.0.0.1:0"
		}
	}
	o.Log = zap.NewNop()
	ls, err := listen.Listen(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ls.Serve(handler) }()
	t.Cleanup(func() {
		if err := ls.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ls
}

func dial(t testing.TB, ls *listen.Listeners) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", ls.Addr("main").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// echo answers with method, target and body.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %d %q", r.Method, r.RequestURI, r.ContentLength, body)
}

func TestServeAndDrain(t *testing.T) {
	ls := start(t, listen.Options{}, http.HandlerFunc(echo))
	c := dial(t, ls)
	fmt.Fprint(c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /c "+
		"HTTP/1.1\nHost: x\r\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}

	if n := strings.Count(string(all), "HTTP/1.1 "); n != 3 {
		t.Errorf("%d answers", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := ls.Drain(ctx, listen.Drain{}); err != nil {
		t.Error(err)
	}
}

// TestMain looks for goroutines that were left behind. On a busy machine the last ones take a while to end.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(20 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
