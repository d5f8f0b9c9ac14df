package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A frontApp is an app behind a front. It keeps what it was sent, to the letter.
type frontApp struct {
	address string
	mu      sync.Mutex
	seen    []frontRequest
}

type frontRequest struct {
	line   string // method and target
	fields http.Header
}

func newFrontApp(t *testing.T) *frontApp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &frontApp{address: l.Addr().String()}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { a.serve(c) })
		}
	})
	return a
}

// serve answers each request 200, and ends the connection, so that no front keeps one open.
func (a *frontApp) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	method, rest, _ := strings.Cut(line, " ")
	target, _, _ := strings.Cut(rest, " ")
	r := frontRequest{line: method + " " + target, fields: http.Header{}}
	for {
		field, err := in.ReadString('\n')
		field = strings.TrimRight(field, "\r\n")
		if err != nil || field == "" {
			break
		}
		name, value, _ := strings.Cut(field, ":")
		r.fields.Add(name, strings.TrimSpace(value))
	}
	a.mu.Lock()
	a.seen = append(a.seen, r)
	a.mu.Unlock()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// take returns what came since the last take.
func (a *frontApp) take() []frontRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// A frontHouse is a front with the gate beside it and the app behind it.
type frontHouse struct {
	gate  *process
	token string
	front string // address
	app   *frontApp
}

// openFront starts examples/fronts' gate, and the front with the files of its folder there, on free ports.
func openFront(t *testing.T, name, program string, files []string, args ...string) *frontHouse {
	t.Helper()
	needs(t, program, program)
	h := &frontHouse{front: freeAddress(t), app: newFrontApp(t)}
	folder := t.TempDir()
	for _, sub := range []string{"run", "keys"} {
		if err := os.Mkdir(filepath.Join(folder, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ports := strings.NewReplacer("127.0.0.1:4180", freeAddress(t), "127.0.0.1:8080", freeAddress(t),
		"127.0.0.1:8000", h.front, "http://:8000", "http://:"+h.front[strings.LastIndexByte(h.front, ':')+1:], "127.0.0.1:3000", h.app.address)
	config := ports.Replace(readFile(t, "examples/fronts/config.yaml")) + "admin: {listen: \"\"}\n"
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte(config))
	for _, file := range files {
		text := ports.Replace(readFile(t, filepath.Join("examples/fronts", name, file)))
		if program == "nginx" && os.Getuid() == 0 { // its workers are nobody then, and the folder is not theirs
			text = "user root root;\n" + text
		}
		writeFile(t, filepath.Join(folder, file), []byte(text))
	}
	h.gate = start(t, folder, nil, "serve", "--config", "config.yaml")
	h.gate.until(t, h.gate.stderr, `"listener":"decision"`)
	h.token = strings.TrimSpace(run(t, folder, nil, "mint", "--config", "config.yaml", "--client", "web", "--role", "reader",
		"--tenant", "acme", "--sub", "alice"))

	log, err := os.Create(filepath.Join(folder, "front.log"))
	if err != nil {
		t.Fatal(err)
	}
	front := exec.Command(program, args...)
	front.Dir, front.Stdout, front.Stderr = folder, log, log
	front.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = front.Process.Signal(os.Interrupt)
		_ = front.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, readFile(t, log.Name()))
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", h.front)
		if err == nil {
			_ = c.Close()
			return h
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen: %v", name, err)
		}
	}
}

// ask sends a request as it is written, and returns the status.
func (h *frontHouse) ask(t *testing.T, method, target string, fields ...string) (int, http.Header) {
	t.Helper()
	c, err := net.Dial("tcp", h.front)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n", method, target)
	if method == "POST" {
		fmt.Fprint(c, "Content-Length: 0\r\n")
	}
	for _, field := range fields {
		fmt.Fprint(c, field, "\r\n")
	}
	fmt.Fprint(c, "\r\n")
	a, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	_ = a.Body.Close()
	return a.StatusCode, a.Header
}

// play sends what every front must judge as a listener of ours would.
func (h *frontHouse) play(t *testing.T) {
	t.Helper()
	bearer := "Authorization: Bearer " + h.token
	for _, c := range []struct {
		name, method, target string
		fields               []string
		want                 int
	}{
		{"allowed", "GET", "/t/acme/orders?x=1&y=%2F", []string{bearer}, 200},
		{"wrong tenant", "GET", "/t/globex/orders", []string{bearer}, 403},
		{"no token", "GET", "/t/acme/orders", nil, 401},
		{"a token that is none", "GET", "/t/acme/orders", []string{"Authorization: Bearer a.b.c"}, 401},
		{"POST with a READ token", "POST", "/t/acme/orders", []string{bearer}, 403},
		{"POST that says it is a GET", "POST", "/t/acme/orders",
			[]string{bearer, "X-Original-Method: GET", "X-Forwarded-Method: GET", "X-HTTP-Method-Override: GET"}, 403},
		{"GET that says it is for another tenant's page", "GET", "/t/globex/orders",
			[]string{bearer, "X-Original-URI: /t/acme/orders", "X-Original-URL: http://app.test/t/acme/orders",
				"X-Forwarded-Uri: /t/acme/orders"}, 403},
		{"a spoofed identity", "GET", "/t/acme/orders", []string{bearer, "X-Jotgate-Tenant: globex", "X-Jotgate-Subject: root",
			"x-jotgate-actions: ADMIN"}, 200},
		{"a spoofed identity on a public route", "GET", "/assets/a", []string{"X-Jotgate-Subject: root"}, 200},
		{"encoded slash", "GET", "/t/globex%2f..%2facme/orders", []string{bearer}, 400},
		{"double slash", "GET", "//t/acme/orders", []string{bearer}, 400},
		{"dot segments", "GET", "/t/acme/../globex/orders", []string{bearer}, 400},
		{"encoded dot segments", "GET", "/t/acme/%2e%2e/globex/orders", []string{bearer}, 400},
		{"semicolon", "GET", "/t/globex;/../acme/orders", []string{bearer}, 400},
		{"query tenant", "GET", "/search?tenant=acme", []string{bearer}, 200},
		{"query tenant of another", "GET", "/search?tenant=globex", []string{bearer}, 403},
		{"query tenant twice", "GET", "/search?tenant=acme&tenant=globex", []string{bearer}, 400},
		{"no route", "GET", "/elsewhere", []string{bearer}, 404},
		{"a method that no route has", "DELETE", "/t/acme/orders", []string{bearer}, 405},
		{"WebSocket", "GET", "/live/a", []string{bearer, "Upgrade: websocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}, 200},
		{"WebSocket without a token", "GET", "/live/a", []string{"Upgrade: websocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}, 401},
		{"WebSocket where none is allowed", "GET", "/t/acme/orders", []string{bearer, "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}, 400},
		{"gRPC without a token", "POST", "/t/acme/orders", []string{"Content-Type: application/grpc"}, 401},
		{"public", "GET", "/assets/a.css", nil, 200},
	} {
		h.app.take()
		status, head := h.ask(t, c.method, c.target, c.fields...)
		seen := h.app.take()
		if status != c.want && !(c.want == 400 && status == 403) {
			t.Errorf("%s: %d, want %d", c.name, status, c.want)
		}
		if status == 401 && !strings.HasPrefix(head.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: no challenge: %v", c.name, head)
		}
		if c.want != 200 {
			if len(seen) != 0 {
				t.Errorf("%s: it reached the app: %v", c.name, seen)
			}
			continue
		}
		if len(seen) != 1 || seen[0].line != c.method+" "+c.target {
			t.Errorf("%s: the app saw %v, what was judged is %s %s", c.name, seen, c.method, c.target)
			continue
		}
		fields := seen[0].fields
		if got := fields.Values("Authorization"); len(got) != 0 {
			t.Errorf("%s: the bearer reached the app", c.name)
		}
		subject, tenant, actions := "alice", "", ""
		switch {
		case strings.HasPrefix(c.target, "/assets/"):
			subject = ""
		case !strings.HasPrefix(c.target, "/live/"):
			tenant, actions = "acme", "READ"
		}
		for name, want := range map[string]string{"Subject": subject, "Tenant": tenant, "Actions": actions} {
			if got := strings.Join(fields.Values("X-Jotgate-"+name), "|"); got != want {
				t.Errorf("%s: the app was told %s %q, want %q", c.name, name, got, want)
			}
		}
	}
}

func TestNginxAsks(t *testing.T) {
	t.Parallel()
	h := openFront(t, "nginx", "nginx", []string{"nginx.conf"}, "-p", ".", "-c", "nginx.conf", "-e", "stderr")
	h.play(t)
	// The true status of a refusal reaches the client.
	for target, want := range map[string]int{"/elsewhere": 404, "/t/acme/../globex/orders": 400, "/t/globex/orders": 403} {
		if status, head := h.ask(t, "GET", target, "Authorization: Bearer "+h.token); status != want || head.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %v, want %d and a request id", target, status, head, want)
		}
	}
	h.ownEndpoints(t)
}

func TestCaddyAsks(t *testing.T) {
	t.Parallel()
	h := openFront(t, "caddy", "caddy", []string{"Caddyfile"}, "run", "--config", "Caddyfile", "--adapter", "caddyfile")
	h.play(t)
	h.ownEndpoints(t)
}

func TestHAProxyAsks(t *testing.T) {
	t.Parallel()
	h := openFront(t, "haproxy", "haproxy", []string{"haproxy.cfg", "jotgate.lua"}, "-W", "-db", "-f", "haproxy.cfg")
	h.play(t)
	h.ownEndpoints(t)
}

// ownEndpoints sees that the front sends the token side's requests to the gate itself.
func (h *frontHouse) ownEndpoints(t *testing.T) {
	t.Helper()
	if status, _ := h.ask(t, "GET", "/.well-known/jwks.json"); status != 200 {
		t.Errorf("the key set through the front: %d", status)
	}
}

func TestTheFrontsExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "nginx")
	const example = "examples/fronts/"
	folder, listen, front, decision, upstream := t.TempDir(), freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	if err := os.Mkdir(filepath.Join(folder, "nginx"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.yaml", "nginx/nginx.conf"} {
		text := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:8000", front, "127.0.0.1:4180", decision,
			"127.0.0.1:3000", upstream).Replace(readFile(t, example+name))
		if name == "config.yaml" {
			text += "admin: {listen: \"\"}\n" // others may have its default address
		} else if os.Getuid() == 0 {
			text = "user root root;\n" + text
		}
		writeFile(t, filepath.Join(folder, name), []byte(text))
	}
	source, err := filepath.Abs(example)
	if err != nil {
		t.Fatal(err)
	}
	out := play(t, folder, []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin"},
		replaceAll(t, example+"README.md", shellBlocks(t, example+"README.md"),
			change{"go build -o run/ ../.. ../sidecar/app\n", fmt.Sprintf("go build -C %q -o %q ../.. ../sidecar/app\n", source,
				filepath.Join(folder, "run")+"/")},
			change{"run/app &", "run/app -listen " + upstream + " &"},
			change{"127.0.0.1:8000", front},
			change{"kill %3 %2 %1\n", "kill %3 %2 %1\nwait\n"},
		))
	if !strings.Contains(out, "orders of acme, for alice, who may READ\n") {
		t.Errorf("the app was not told who is asking:\n%s", out)
	}
}

// Whatever happens to the gate, a front that cannot ask lets nothing through.
func TestFrontsFailClosed(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *frontHouse{
		"nginx": func(t *testing.T) *frontHouse {
			return openFront(t, "nginx", "nginx", []string{"nginx.conf"}, "-p", ".", "-c", "nginx.conf", "-e", "stderr")
		},
		"caddy": func(t *testing.T) *frontHouse {
			return openFront(t, "caddy", "caddy", []string{"Caddyfile"}, "run", "--config", "Caddyfile", "--adapter", "caddyfile")
		},
		"haproxy": func(t *testing.T) *frontHouse {
			return openFront(t, "haproxy", "haproxy", []string{"haproxy.cfg", "jotgate.lua"}, "-W", "-db", "-f", "haproxy.cfg")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			_ = h.gate.Process.Kill()
			<-h.gate.exited
			h.app.take()
			status, _ := h.ask(t, "GET", "/t/acme/orders", "Authorization: Bearer "+h.token)
			if seen := h.app.take(); status < 500 || len(seen) != 0 {
				t.Errorf("without an answer: %d, the app saw %v", status, seen)
			}
		})
	}
}
