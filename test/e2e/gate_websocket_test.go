package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// A WebSocket through the whole gate: it lives as long as what it was let in for, and ends with a word.

const (
	textFrame, closeFrame      = 1, 8
	goingAway, policyViolation = 1001, 1008
	websocketHandshake         = "GET %s HTTP/1.1\r\nHost: gate.test\r\nOrigin: http://gate.test\r\nConnection: " +
		"Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)

// openEcho is a gate before an app that gives back what it is told.
func openEcho(t *testing.T, edits ...string) *gate {
	t.Helper()
	echo := websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }}
	app := httptest.NewServer(echo)
	t.Cleanup(app.Close)
	g := &gate{folder: t.TempDir(), env: []string{"ADMIN_TOKEN=admin-token-admin-token"}}
	g.configure(t, strings.NewReplacer(edits...).Replace(fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0"}]
admin: {listen: %q, token: "${env:ADMIN_TOKEN}"}
drain: {delay: 0s}
revocations: {file: revoked}
%s
routes:
  - {path: "/t/{tenant}/ws/", upgrade: true, require: {tenant_from: path.tenant, action: READ}, upstream: %q}
  - {path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: %q}
`, freeAddress(t), issuing, app.URL, app.URL)))
	g.serve(t)
	return g
}

type webSocket struct {
	net.Conn
	in *bufio.Reader
}

// openWebSocket shakes hands; a status other than 101 is what the gate said instead.
func (g *gate) openWebSocket(t *testing.T, path, token string) (*webSocket, int) {
	t.Helper()
	c := dial(t, g.at(t, "main"), nil)
	bearer := ""
	if token != "" {
		bearer = "Authorization: Bearer " + token + "\r\n"
	}
	if _, err := fmt.Fprintf(c, websocketHandshake, path, bearer); err != nil {
		t.Fatal(err)
	}
	w := &webSocket{c, bufio.NewReader(c)}
	answer, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w, answer.StatusCode
}

// say sends a text and wants it back.
func (w *webSocket) say(t *testing.T, text string) {
	t.Helper()
	frame := []byte{0x80 | textFrame, 0x80 | byte(len(text)), 1, 2, 3, 4} // a client masks (RFC 6455 section 5.3)
	for i := range len(text) {
		frame = append(frame, text[i]^byte(i%4+1))
	}
	if _, err := w.Write(frame); err != nil {
		t.Fatal(err)
	}
	if kind, said := w.frame(t); kind != textFrame || string(said) != text {
		t.Errorf("frame %d %q, want %q", kind, said, text)
	}
}

// frame reads a short frame.
func (w *webSocket) frame(t *testing.T) (kind byte, payload []byte) {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(w.in, head); err != nil {
		t.Fatal(err)
	}
	payload = make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(w.in, payload); err != nil {
		t.Fatal(err)
	}
	return head[0] & 0x0f, payload
}

// ends wants a close frame with a code, and nothing behind it.
func (w *webSocket) ends(t *testing.T, code uint16) {
	t.Helper()
	kind, payload := w.frame(t)
	if kind != closeFrame || len(payload) < 2 || uint16(payload[0])<<8|uint16(payload[1]) != code {
		t.Errorf("frame %d %q, want a close frame with %d", kind, payload, code)
	}
	if left, err := io.ReadAll(w.in); err != nil || len(left) > 0 {
		t.Errorf("%q and %v behind the close frame", left, err)
	}
}

func TestAWebSocketIsJudgedLikeARequest(t *testing.T) {
	t.Parallel()
	g := openEcho(t)
	token := g.token(t)
	for _, c := range []struct {
		name, path, token string
		status            int
	}{
		{"where upgrades are allowed", "/t/acme/ws/1", token, 101},
		{"where they are not", "/t/acme/page", token, 400},
		{"without a token", "/t/acme/ws/1", "", 401},
		{"another tenant's", "/t/globex/ws/1", token, 403},
		{"nowhere", "/ws", token, 404},
	} {
		w, status := g.openWebSocket(t, c.path, c.token)
		if status != c.status {
			t.Errorf("%s: %d, want %d", c.name, status, c.status)
		}
		if status == 101 {
			w.say(t, "hello")
			w.say(t, "hello again")
		}
	}
}

func TestAWebSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	g := openEcho(t)
	w, status := g.openWebSocket(t, "/t/acme/ws/1", g.token(t, "--ttl", "4s"))
	if status != 101 {
		t.Fatalf("%d, want 101", status)
	}
	w.say(t, "hello")
	w.ends(t, policyViolation)
}

func TestAWebSocketEndsWhenItsTokenIsRevoked(t *testing.T) {
	t.Parallel()
	g := openEcho(t)
	token, bystander := g.token(t), g.token(t)
	revoked, status := g.openWebSocket(t, "/t/acme/ws/1", token)
	other, otherStatus := g.openWebSocket(t, "/t/acme/ws/2", bystander)
	if status != 101 || otherStatus != 101 {
		t.Fatalf("%d and %d, want 101", status, otherStatus)
	}
	revoked.say(t, "hello")
	if err := os.WriteFile(filepath.Join(g.folder, "stolen.jwt"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, g.folder, g.env, "revoke", "--config", "config.yaml", "@stolen.jwt")
	revoked.ends(t, policyViolation)
	if _, status := g.openWebSocket(t, "/t/acme/ws/1", token); status != 401 {
		t.Errorf("with the revoked token again: %d, want 401", status)
	}
	other.say(t, "still here")
}

func TestAWebSocketEndsWithADrain(t *testing.T) {
	t.Parallel()
	g := openEcho(t)
	w, status := g.openWebSocket(t, "/t/acme/ws/1", g.token(t))
	if status != 101 {
		t.Fatalf("%d, want 101", status)
	}
	w.say(t, "hello")
	g.signal(t, syscall.SIGTERM)
	w.ends(t, goingAway)
	if code := g.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A drain has two parts. During its delay the gate serves on: WebSockets that are open go on, and new ones are let in,
// as clients that reconnect do not know of the drain. Then all of them end with 1001.
func TestWebSocketsGoOnThroughTheDelayOfADrain(t *testing.T) {
	t.Parallel()
	g := openEcho(t, "drain: {delay: 0s}", "drain: {delay: 2s, timeout: 10s}")
	token := g.token(t)
	before, status := g.openWebSocket(t, "/t/acme/ws/1", token)
	if status != 101 {
		t.Fatalf("%d, want 101", status)
	}
	before.say(t, "hello")
	g.signal(t, syscall.SIGTERM)
	g.until(t, g.stderr, `"msg":"draining"`)
	during, status := g.openWebSocket(t, "/t/acme/ws/2", token)
	if status != 101 {
		t.Fatalf("during the delay: %d, want 101", status)
	}
	for range 10 {
		before.say(t, "still here")
		during.say(t, "here, too")
		time.Sleep(50 * time.Millisecond)
	}
	before.ends(t, goingAway)
	during.ends(t, goingAway)
	if code := g.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// Streams do not end by themselves: that one is cut at the end of drain.timeout is no fault. That a request is, is one.
func TestTheExitCodeAfterADrainThatCuts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path string
		code int
	}{"a stream": {"/open/events", 0}, "a request": {"/open/wait", 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/open/events") {
					_ = http.NewResponseController(w).Flush()
				}
				close(arrived)
				<-r.Context().Done()
			}))
			t.Cleanup(app.Close)
			g := &gate{folder: t.TempDir()}
			g.configure(t, fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0"}]
admin: {listen: ""}
drain: {delay: 0s, timeout: 500ms}
routes: [{path: /open/, public: true, upstream: %q}]
`, app.URL))
			g.serve(t)
			client := dial(t, g.at(t, "main"), nil)
			fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: gate.test\r\n\r\n", c.path)
			<-arrived
			if c.code == 0 {
				if _, err := client.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			g.signal(t, syscall.SIGTERM)
			if code := g.exit(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}
