package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// What passes through the gate for long: bodies of gigabytes, watches that are silent, uploads that drip.

// hopApp is an app over HTTP/1.1 and over HTTP/2 without TLS.
func hopApp(t *testing.T, handler http.HandlerFunc) (plain, h2c string) {
	t.Helper()
	for _, address := range []*string{&plain, &h2c} {
		app := httptest.NewUnstartedServer(handler)
		app.Config.Protocols = new(http.Protocols)
		app.Config.Protocols.SetHTTP1(address == &plain)
		app.Config.Protocols.SetUnencryptedHTTP2(address == &h2c)
		app.Start()
		t.Cleanup(app.Close)
		*address = app.Listener.Addr().String()
	}
	return plain, h2c
}

// hopClient speaks HTTP/1.1, or HTTP/2 without TLS.
func hopClient(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetUnencryptedHTTP2(h2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// pattern is an endless text that is known at each place.
type pattern struct {
	text []byte
	at   int
}

func (p *pattern) Read(to []byte) (int, error) {
	n := copy(to, p.text[p.at:])
	p.at = (p.at + n) % len(p.text)
	return n, nil
}

func (p *pattern) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), len(p.text)-p.at)
		if !bytes.Equal(rest[:n], p.text[p.at:p.at+n]) {
			return 0, errors.New("other bytes than were sent")
		}
		rest, p.at = rest[n:], (p.at+n)%len(p.text)
	}
	return len(b), nil
}

// TestGigabytesBothWaysTakeConstantMemory: three gigabytes go through the gate and come back at the same time, byte for
// byte, and the gate takes no more memory than for a small body. HTTP/2, which costs more time, has a tenth.
func TestGigabytesBothWaysTakeConstantMemory(t *testing.T) {
	t.Parallel()
	plain, h2c := hopApp(t, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r.Body}, make([]byte, 256<<10)) // seen by the client
	})
	g := openGate(t, fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0", h2c: true}]
admin: {listen: ""}
limits: {body_bytes: 4GiB, stall_timeout: 5m}
upstreams:
  plain: {servers: ["http://%s"], response_timeout: 5m}
  h2c: {servers: ["h2c://%s"], response_timeout: 5m}
routes:
  - {path: /http, public: true, upstream: plain}
  - {path: /h2c, public: true, upstream: h2c}
`, plain, h2c))
	text := make([]byte, 1<<20-3) // no multiple of any buffer
	_, _ = rand.Read(text)        // does not fail
	echo := func(path string, h2 bool, size int64) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.at(t, "main")+path,
			io.LimitReader(&pattern{text: text}, size))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = size
		answer, err := hopClient(t, h2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		n, err := io.CopyBuffer(&pattern{text: text}, struct{ io.Reader }{answer.Body}, make([]byte, 256<<10))
		if answer.StatusCode != http.StatusOK || n != size || err != nil {
			t.Fatalf("%s: %d, %d of %d bytes, %v", path, answer.StatusCode, n, size, err)
		}
	}
	size := int64(3 << 30)
	if raceDetected() {
		size /= 10
	}
	echo("/http", false, 16<<20)
	echo("/h2c", true, 16<<20)
	before := g.memory(t, "VmHWM")
	echo("/http", false, size)
	echo("/h2c", true, size/10)
	most := 16 << 20
	if raceDetected() {
		most *= 10
	}
	after := g.memory(t, "VmHWM")
	t.Logf("at most %d MiB, before %d MiB", after>>20, before>>20)
	if after > before+most {
		t.Errorf("the gate took %d MiB more", (after-before)>>20)
	}
}

// silence is longer than any time-out that is usual for watches and load balancers.
const silence = 2 * time.Minute

// TestSilentWatchesAndDrippingUploadsLiveAsTheirRouteSays: a watch in NDJSON that says nothing for two minutes, and an
// upload of one byte each second for as long, pass where the route's stall_timeout allows it, over HTTP/1.1 and HTTP/2,
// and are cut elsewhere. Event streams, gRPC streams and WebSockets may be silent on every route.
func TestSilentWatchesAndDrippingUploadsLiveAsTheirRouteSays(t *testing.T) {
	t.Parallel()
	plain, h2c := hopApp(t, func(w http.ResponseWriter, r *http.Request) {
		switch last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; last {
		case "upload":
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprintf(w, "%d bytes", n)
		case "socket":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			select {
			case <-time.After(silence):
			case <-t.Context().Done():
			}
			_, _ = io.WriteString(c, "still there")
		default:
			w.Header().Set("Content-Type", strings.Replace(last, ".", "/", 1))
			_, _ = io.WriteString(w, "{}\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(silence):
				_, _ = io.WriteString(w, "{\"late\":1}\n")
			case <-r.Context().Done():
			}
		}
	})
	g := openGate(t, fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0", h2c: true}]
admin: {listen: ""}
limits: {stall_timeout: 500ms}
upstreams:
  plain: {servers: ["http://%s"]}
  h2c: {servers: ["h2c://%s"]}
routes:
  - {path: /http/, public: true, upgrade: true, upstream: plain}
  - {path: /h2c/, public: true, upstream: h2c}
  - {path: /http/slow/, public: true, upstream: plain, stall_timeout: 10m, timeout: 10m}
  - {path: /h2c/slow/, public: true, upstream: h2c, stall_timeout: 10m, timeout: 10m}
`, plain, h2c))
	address := g.at(t, "main")
	ctx, cancel := context.WithTimeout(t.Context(), 2*silence)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	ask := func(h2 bool, path string, body io.ReadCloser, want string) {
		client := hopClient(t, h2)
		all.Go(func() {
			defer body.Close()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, body)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Te", "trailers")
			got := "no answer"
			if answer, err := client.Do(r); err == nil {
				text, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				got = fmt.Sprintf("%d %s", answer.StatusCode, text)
				if err != nil {
					got = fmt.Sprintf("%d %scut", answer.StatusCode, text)
				} else if answer.StatusCode >= 400 {
					got = fmt.Sprint(answer.StatusCode)
				}
			}
			if got != want {
				t.Errorf("HTTP/2 %v, %s: %q, want %q", h2, path, got, want)
			}
		})
	}
	drip := func() io.ReadCloser {
		out, in := io.Pipe()
		all.Go(func() {
			defer in.Close()
			for range int(silence / time.Second) {
				if _, err := in.Write([]byte{'x'}); err != nil {
					return
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return
				}
			}
		})
		return out
	}
	whole, begun := "200 {}\n{\"late\":1}\n", "200 {}\ncut"
	for _, h2 := range []bool{false, true} {
		for _, hop := range []string{"/http/", "/h2c/"} {
			ask(h2, hop+"slow/application.x-ndjson", http.NoBody, whole)
			ask(h2, hop+"application.x-ndjson", http.NoBody, begun)
			ask(h2, hop+"text.event-stream", http.NoBody, whole)
			ask(h2, hop+"slow/upload", drip(), fmt.Sprintf("200 %d bytes", silence/time.Second))
			ask(h2, hop+"upload", drip(), "408")
		}
	}
	ask(true, "/h2c/application.grpc", http.NoBody, whole)
	all.Go(func() {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * silence))
		_, _ = io.WriteString(c, "GET /http/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		in := bufio.NewReader(c)
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("WebSocket: %v %v", answer, err)
			return
		}
		if text, err := io.ReadAll(in); string(text) != "still there" || err != nil {
			t.Errorf("WebSocket: %q %v", text, err)
		}
	})
}
