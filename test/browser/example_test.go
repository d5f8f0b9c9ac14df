package browser_test

import (
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const example = "../../examples/browser"

// TestExample plays examples/browser, with the snippet of docs/browsers.md, and pages of other origins that have the
// browser send its cookie.
func TestExample(t *testing.T) {
	t.Parallel()
	page, app, here := freeAddress(t), freeAddress(t), freeAddress(t)
	settings := strings.NewReplacer(
		"127.0.0.1:8080", here, "localhost:8080", "localhost:"+portOf(here), "localhost:5173", "localhost:"+portOf(page),
		"127.0.0.1:3000", app, "${env:BACKEND_SECRET}", clientSecret,
	).Replace(read(t, filepath.Join(example, "config.yaml")))
	program := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("go", "build", "-o", program, example+"/app").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	c := exec.Command(program, "-page", page, "-listen", app, "-gate", "http://localhost:"+portOf(here))
	c.Env, c.Stderr = append(os.Environ(), "BACKEND_SECRET="+clientSecret), t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	})
	start(t, t.TempDir(), settings+"admin: {listen: \"\"}\n")
	answers(t, page)
	answers(t, app)
	_, snippet, _ := strings.Cut(read(t, "../../docs/browsers.md"), "```js\n")
	snippet, _, found := strings.Cut(snippet, "```")
	if !found {
		t.Fatal("docs/browsers.md has no JavaScript")
	}
	neighbor := httptest.NewServer(emptyPage)
	t.Cleanup(neighbor.Close)
	play(t, "example.mjs", map[string]string{
		"page": "http://localhost:" + portOf(page), "evil": "http://127.0.0.1:" + portOf(page),
		"neighbor": "http://localhost:" + portOf(neighbor.URL), "gate": "http://localhost:" + portOf(here),
		"snippet": snippet,
	},
		"code redeemed across origins", "preflight, good call, 401 and 403", "DPoP across origins",
		"WebSocket by protocol", "WebSocket by ticket", "EventSource by ticket, and each reconnect by a new one",
		"download by ticket", "the snippet of the documentation", "a person signs in, or sees a page",
		"cookie of the same site", "a lax cookie stays at home", "a form of another site with the cookie",
		"form, fetch and WebSocket of another origin of the site", "image and script of another origin of the site")
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// freeAddress is one of this machine's that is free just now: origins have ports, so they are known before.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers waits until a program listens.
func answers(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
