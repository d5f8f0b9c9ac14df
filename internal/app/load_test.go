package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A slowApp answers in the way that the path names, and holds on until it is released.
func slowApp(t *testing.T) (url string, release func()) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/open/events"):
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
		case strings.HasPrefix(r.URL.Path, "/open/socket"):
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\nhello\n")
			<-ctx.Done()
			return
		case strings.HasPrefix(r.URL.Path, "/open/download"):
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "hell")
			w.(http.Flusher).Flush()
			defer fmt.Fprint(w, "o")
		case strings.HasPrefix(r.URL.Path, "/open/quick"):
			fmt.Fprint(w, "quick")
			return
		}
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(app.Close)
	t.Cleanup(end)
	return app.URL, end
}

// begin sends a request on a connection of its own and reads the beginning of its answer's body.
func (g *gate) begin(head string) (*http.Response, string) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, head+"Host: a\r\n\r\n"); err != nil {
		g.t.Fatal(err)
	}
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if answer.StatusCode == 101 {
		answer.Body = io.NopCloser(in)
	}
	line := make([]byte, 4)
	n, _ := io.ReadFull(answer.Body, line)
	if answer.StatusCode == 101 {
		go func() { // the app closes first
			_, _ = io.Copy(io.Discard, in)
			_ = c.Close()
		}()
	}
	return answer, string(line[:n])
}

// waits is a request whose answer does not come.
func (g *gate) waits(path string) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
}

// until waits for a sample of the metrics.
func (g *gate) until(sample string) {
	g.t.Helper()
	var text string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		answer, err := http.Get("http://" + g.AdminAddr().String() + "/metrics")
		if err != nil {
			g.t.Fatal(err)
		}
		all, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			g.t.Fatal(err)
		}
		if text = string(all); strings.Contains(text, "\n"+sample+"\n") {
			return
		}
	}
	at := max(0, strings.Index(text, strings.Fields(sample)[0]+" "))
	g.t.Fatalf("no sample %s, but %.80s", sample, text[at:])
}

const events, socket = "GET /open/events HTTP/1.1\r\n",
	"GET /open/socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: chat\r\n"

func TestRequestsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	app, release := slowApp(t)
	g := startGate(t, "$APP", app, "watch: false\n", "watch: false\nlimits: {in_flight: 3}\n")
	g.until("jotgate_requests_in_flight 0")
	g.waits("/open/1")
	g.waits("/open/2")
	if answer, text := g.begin("GET /open/download HTTP/1.1\r\n"); answer.StatusCode != 200 || text != "hell" {
		t.Fatal(answer, text)
	}
	g.until("jotgate_requests_in_flight 3")
	answer, _ := g.begin("GET /open/quick HTTP/1.1\r\n")
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" ||
		answer.Header.Get("Content-Type") != "application/problem+json" || answer.Close {
		t.Errorf("over the limit: %v", answer)
	}
	if answer, _ := g.begin("GET /.well-known/jwks.json HTTP/1.1\r\n"); answer.StatusCode != 503 {
		t.Errorf("an endpoint of ours, over the limit: %d, want 503", answer.StatusCode)
	}
	g.eventually(`"reason":"in_flight_full"`)
	release()
	g.until("jotgate_requests_in_flight 0")
	if answer, text := g.begin("GET /open/quick HTTP/1.1\r\n"); answer.StatusCode != 200 || text != "quic" {
		t.Errorf("afterwards: %v %q", answer, text)
	}
}

// Streams do not use up the room of ordinary requests.
func TestStreamsAreNoRequestsInFlight(t *testing.T) {
	t.Parallel()
	app, release := slowApp(t)
	g := startGate(t, "$APP", app, "watch: false\n", "watch: false\nlimits: {in_flight: 1}\n",
		"path: /open/,", "path: /open/, upgrade: true,")
	for range 3 {
		if answer, text := g.begin(events); answer.StatusCode != 200 || text != "data" {
			t.Fatal(answer, text)
		}
		if answer, text := g.begin(socket); answer.StatusCode != 101 || text != "hell" {
			t.Fatal(answer, text)
		}
	}
	g.until("jotgate_streams_open 6")
	g.until("jotgate_requests_in_flight 0")
	if answer, _ := g.begin("GET /open/quick HTTP/1.1\r\n"); answer.StatusCode != 200 {
		t.Errorf("beside streams: %d, want 200", answer.StatusCode)
	}
	release()
	g.until("jotgate_streams_open 0")
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	app, release := slowApp(t)
	g := startGate(t, "$APP", app, "watch: false\n", "watch: false\nlimits: {streams: 1, in_flight: 2}\n",
		"path: /open/,", "path: /open/, upgrade: true,")
	if answer, _ := g.begin(socket); answer.StatusCode != 101 {
		t.Fatal(answer)
	}
	if answer, _ := g.begin(socket); answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("a second upgrade: %v, want 503", answer)
	}
	g.eventually(`"reason":"streams_full"`)
	// An app has answered before it is known that its answer is a stream: it is served, as a request in flight.
	for range 2 {
		if answer, text := g.begin(events); answer.StatusCode != 200 || text != "data" {
			t.Fatal(answer, text)
		}
	}
	g.until("jotgate_streams_open 1")
	g.until("jotgate_requests_in_flight 2")
	if answer, _ := g.begin(events); answer.StatusCode != 503 {
		t.Errorf("over both limits: %d, want 503", answer.StatusCode)
	}
	release()
	g.until("jotgate_streams_open 0")
	g.until("jotgate_requests_in_flight 0")
}

// A panic, an abort and a client that goes leave their place.
func TestEveryRequestLeavesItsPlace(t *testing.T) {
	t.Parallel()
	app, _ := slowApp(t)
	g := startGate(t, "$APP", app)
	for range 5 {
		c, err := net.Dial("tcp", g.Addr("main").String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, events+"Host: a\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	g.until("jotgate_streams_open 0")
	g.until("jotgate_requests_in_flight 0")
}
