package e2e_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
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
	gate   *process
	token  string
	front  string // address
	app    *frontApp
	folder string // where the gate and the front run
	proxy  *os.Process
}

// openFront starts examples/fronts' gate, and the front with the files of its folder there, on free ports.
func openFront(t *testing.T, name, program string, files []string, args ...string) *frontHouse {
	t.Helper()
	return openFrontWith(t, strings.NewReplacer(), name, program, files, args...)
}

// openFrontWith does the same with a gate whose config was edited.
func openFrontWith(
	t *testing.T, edit *strings.Replacer, name, program string, files []string, args ...string,
) *frontHouse {
	t.Helper()
	needs(t, program, program)
	h, ports := gateBesideFront(t, edit)
	folder := h.folder
	for _, file := range files {
		text := ports.Replace(readFile(t, filepath.Join("examples/fronts", name, file)))
		if program == "nginx" && os.Getuid() == 0 { // its workers run as the user nobody then, and the folder is not theirs
			text = "user root root;\n" + text
		}
		writeFile(t, filepath.Join(folder, file), []byte(text))
	}
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
	h.proxy = front.Process
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

// gateBesideFront starts examples/fronts' gate, whose config was edited, for a front and an app on free ports. It also
// returns what puts these ports into the front's own files.
func gateBesideFront(t *testing.T, edit *strings.Replacer) (*frontHouse, *strings.Replacer) {
	t.Helper()
	h := &frontHouse{front: freeAddress(t), app: newFrontApp(t)}
	folder := t.TempDir()
	h.folder = folder
	for _, sub := range []string{"run", "keys"} {
		if err := os.Mkdir(filepath.Join(folder, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ports := strings.NewReplacer("127.0.0.1:4180", freeAddress(t), "127.0.0.1:8080", freeAddress(t),
		"127.0.0.1:8000", h.front, "http://:8000", "http://:"+h.front[strings.LastIndexByte(h.front, ':')+1:],
		"127.0.0.1:3000", h.app.address)
	config := edit.Replace(ports.Replace(readFile(t, "examples/fronts/config.yaml"))) + "admin: {listen: \"\"}\n"
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte(config))
	h.gate = start(t, folder, nil, "serve", "--config", "config.yaml")
	h.gate.until(t, h.gate.stderr, `"listener":"decision"`)
	h.token = strings.TrimSpace(run(t, folder, nil, "mint", "--config", "config.yaml", "--client", "web", "--role",
		"reader",
		"--tenant", "acme", "--sub", "alice"))
	return h, ports
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
		{
			"POST that says it is a GET", "POST", "/t/acme/orders",
			[]string{bearer, "X-Original-Method: GET", "X-Forwarded-Method: GET", "X-HTTP-Method-Override: GET"},
			403,
		},
		{
			"GET that says it is for another tenant's page", "GET", "/t/globex/orders",
			[]string{
				bearer, "X-Original-URI: /t/acme/orders", "X-Original-URL: http://app.test/t/acme/orders",
				"X-Forwarded-Uri: /t/acme/orders",
			},
			403,
		},
		{
			"a spoofed identity", "GET", "/t/acme/orders",
			[]string{
				bearer, "X-Jotgate-Tenant: globex", "X-Jotgate-Subject: root",
				"x-jotgate-actions: ADMIN",
			},
			200,
		},
		{
			"identity fields that Connection lists", "GET", "/t/acme/orders",
			[]string{bearer, "Connection: X-Jotgate-Tenant, x-jotgate-subject", "X-Jotgate-Subject: root"},
			200,
		},
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
		{"WebSocket", "GET", "/live/a", []string{
			bearer, "Upgrade: websocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		}, 200},
		{"WebSocket without a token", "GET", "/live/a", []string{
			"Upgrade: websocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		}, 401},
		{"WebSocket where none is allowed", "GET", "/t/acme/orders", []string{
			bearer, "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		}, 400},
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
		if status, head := h.ask(t, "GET", target, "Authorization: Bearer "+h.token); status != want ||
			head.Get("X-Request-Id") == "" {
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

// buildMessages builds the program that speaks for Envoy. It is a module of its own: nothing of it is in the product.
func buildMessages(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "messages")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "test/fronts/messages"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func TestTheFrontsConfigsAreWellFormed(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command(buildMessages(t), "decode", "examples/fronts").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	type server struct{ URL string }
	type balancer struct {
		LoadBalancer struct{ Servers []server } `yaml:"loadBalancer"`
	}
	var traefik struct {
		HTTP struct {
			Middlewares map[string]struct {
				ForwardAuth struct {
					Address             string
					TrustForwardHeader  *bool    `yaml:"trustForwardHeader"`
					AuthResponseHeaders []string `yaml:"authResponseHeaders"`
				} `yaml:"forwardAuth"`
			}
			Routers map[string]struct {
				Rule        string
				EntryPoints []string `yaml:"entryPoints"`
				Middlewares []string
				Service     string
				Priority    int
			}
			Services map[string]balancer
		}
	}
	d := yaml.NewDecoder(strings.NewReader(readFile(t, "examples/fronts/traefik/dynamic.yaml")))
	d.KnownFields(true)
	if err := d.Decode(&traefik); err != nil {
		t.Fatal(err)
	}
	forward := traefik.HTTP.Middlewares["jotgate"].ForwardAuth
	if forward.TrustForwardHeader == nil || *forward.TrustForwardHeader || len(forward.AuthResponseHeaders) != 11 {
		t.Errorf("%+v", forward)
	}
}

// An envoyAnswer is a CheckResponse, as far as the test looks at it.
type envoyAnswer struct {
	Error  string
	Status struct{ Code int }
	Denied struct {
		Status  struct{ Code string }
		Headers []envoyHeader
		Body    string
	} `json:"deniedResponse"`
	OK struct {
		Headers  []envoyHeader
		Remove   []string      `json:"headersToRemove"`
		Response []envoyHeader `json:"responseHeadersToAdd"`
	} `json:"okResponse"`
	Metadata map[string]string `json:"dynamicMetadata"`
}

type envoyHeader struct {
	Header struct{ Key, Value string }
	Action string `json:"appendAction"`
}

// Envoy asks over gRPC, with its own messages and the attributes that it documents.
func TestEnvoyAsks(t *testing.T) {
	t.Parallel()
	folder, decision := t.TempDir(), freeAddress(t)
	if err := os.Mkdir(filepath.Join(folder, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte(strings.NewReplacer("127.0.0.1:4180", decision,
		"127.0.0.1:8080", freeAddress(t)).Replace(readFile(t, "examples/fronts/config.yaml"))+"admin: {listen: \"\"}\ncors: {origins: [\"https://page.test\"]}\n"))
	gate := start(t, folder, nil, "serve", "--config", "config.yaml")
	gate.until(t, gate.stderr, `"listener":"decision"`)
	short := strings.TrimSpace(run(t, folder, nil, "mint", "--config", "config.yaml", "--client", "web", "--role",
		"reader",
		"--tenant", "acme", "--sub", "alice", "--ttl", "1s"))
	minted := time.Now()
	token := strings.TrimSpace(run(t, folder, nil, "mint", "--config", "config.yaml", "--client", "web", "--role",
		"reader",
		"--tenant", "acme", "--sub", "alice"))

	type row struct {
		name, method, path string
		headers            map[string]string
		more               string // members of the HTTP request
		want               int    // 0: allowed
	}
	bearer := map[string]string{"authorization": "Bearer " + token, "x-jotgate-client": "root", ":path": "/assets/"}
	rows := []row{
		{"allowed", "GET", "/t/acme/orders?x=1", bearer, "", 0},
		{"public", "GET", "/assets/a", map[string]string{"x-jotgate-subject": "root"}, "", 0},
		{"wrong tenant", "GET", "/t/globex/orders", bearer, "", 403},
		{"no token", "GET", "/t/acme/orders", nil, "", 401},
		{"expired", "GET", "/t/acme/orders", map[string]string{"authorization": "Bearer " + short}, "", 401},
		{"preflight", "OPTIONS", "/t/acme/orders", map[string]string{
			"origin": "https://page.test", "access-control-request-method": "GET",
		}, "", 403},
		{"WebSocket", "GET", "/live/a", map[string]string{
			"authorization": "Bearer " + token, "sec-websocket-key": "AAAA", "sec-websocket-version": "13",
		}, "", 0},
		{"WebSocket without a token", "GET", "/live/a", map[string]string{"sec-websocket-key": "AAAA"}, "", 401},
		{"POST with a READ token", "POST", "/t/acme/orders", bearer, "", 403},
		{
			"two tokens, as Envoy joins them", "GET", "/t/acme/orders",
			map[string]string{"authorization": "Bearer " + token + ",Bearer " + token},
			"", 401,
		},
		{"encoded slash", "GET", "/t/globex%2f..%2facme/orders", bearer, "", 400},
		{"double slash", "GET", "//t/acme/orders", bearer, "", 400},
		{"query tenant", "GET", "/search?tenant=acme", bearer, "", 0},
		{"query tenant twice", "GET", "/search?tenant=acme&tenant=globex", bearer, "", 400},
		{"query apart", "GET", "/search", bearer, `"query": "tenant=acme"`, 400},
		{"no path", "GET", "", bearer, "", 400},
		{"no route", "GET", "/elsewhere", bearer, "", 404},
		{"gRPC without a token", "POST", "/t/acme/orders", map[string]string{"content-type": "application/grpc"}, "", 401},
		{"WebSocket that is not allowed", "GET", "/t/acme/x", map[string]string{
			"authorization":     "Bearer " + token,
			"sec-websocket-key": "AAAA",
		}, "", 400},
		{"raw headers", "GET", "/t/acme/x", nil, `"headerMap": {"headers": [{"key": "authorization", "rawValue": "` +
			base64.StdEncoding.EncodeToString([]byte("Bearer "+token)) + `"}]}`, 0},
		{"two raw tokens", "GET", "/t/acme/x", nil, `"headerMap": {"headers": [{"key": "authorization", "value": "Bearer ` +
			token + `"}, {"key": "authorization", "value": "Bearer ` + token + `"}]}`, 400},
	}
	var questions strings.Builder
	for _, r := range rows {
		headers, err := json.Marshal(r.headers)
		if err != nil {
			t.Fatal(err)
		}
		http := fmt.Sprintf(`"id": "1", "method": %q, "path": %q, "host": "app.test", "scheme": "https", `+
			`"protocol": "HTTP/2"`,
			r.method, r.path)
		if r.headers != nil {
			http += `, "headers": ` + string(headers)
		}
		if r.more != "" {
			http += ", " + r.more
		}
		fmt.Fprintf(&questions, `{"source": {"address": {"socketAddress": {"address": "192.0.2.7", "portValue": 4711}}}, `+
			`"request": {"http": {%s}}}`+"\n", http)
	}
	ask := exec.Command(buildMessages(t), "ask", decision)
	time.Sleep(time.Until(minted.Add(2 * time.Second))) // a lifetime, which nothing tells the end of
	ask.Stdin, ask.Stderr = strings.NewReader(questions.String()), os.Stderr
	out, err := ask.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(rows) {
		t.Fatalf("%d answers to %d questions:\n%s", len(lines), len(rows), out)
	}
	for i, r := range rows {
		var a envoyAnswer
		if err := json.Unmarshal([]byte(lines[i]), &a); err != nil {
			t.Fatal(err)
		}
		switch denied := a.Denied.Status.Code; {
		case a.Error != "":
			t.Errorf("%s: %s", r.name, a.Error)
		case r.want == 0 && (a.Status.Code != 0 || denied != ""), r.want != 0 &&
			(a.Status.Code == 0 || denied != envoyCodes[r.want]):
			t.Errorf("%s: status %d, denied %q, want %d: %s", r.name, a.Status.Code, denied, r.want, lines[i])
		case r.method == "OPTIONS":
			if !slices.ContainsFunc(a.Denied.Headers, func(h envoyHeader) bool {
				return strings.EqualFold(h.Header.Key, "Access-Control-Allow-Origin") && h.Header.Value == "https://page.test"
			}) {
				t.Errorf("%s: no CORS fields: %s", r.name, lines[i])
			}
		case r.want != 0 && !strings.Contains(a.Denied.Body, "request_id"):
			t.Errorf("%s: no problem document: %s", r.name, lines[i])
		}
		if r.want != 0 {
			continue
		}
		set := map[string]string{}
		for _, h := range a.OK.Headers {
			set[h.Header.Key] = h.Header.Value
			if h.Action != "OVERWRITE_IF_EXISTS_OR_ADD" {
				t.Errorf("%s: %s does not overwrite the client's", r.name, h.Header.Key)
			}
		}
		for _, name := range []string{"subject", "issuer", "client", "tenant", "actions", "token-id"} {
			name = "x-jotgate-" + name
			if _, is := set[name]; is == slices.Contains(a.OK.Remove, name) {
				t.Errorf("%s: %s is neither set nor removed, or both", r.name, name)
			}
		}
		if strings.HasPrefix(r.path, "/t/") {
			if set["x-jotgate-subject"] != "alice" || set["x-jotgate-tenant"] != "acme" ||
				a.Metadata["x-jotgate-subject"] != "alice" ||
				!slices.Contains(a.OK.Remove, "authorization") {
				t.Errorf("%s: %s", r.name, lines[i])
			}
		}
	}
	gate.until(t, gate.stderr, `"client":"192.0.2.7"`)
}

var envoyCodes = map[int]string{400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}

func TestTheFrontsExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "nginx")
	const example = "examples/fronts/"
	folder, listen, front, decision, upstream := t.TempDir(), freeAddress(t), freeAddress(t), freeAddress(t),
		freeAddress(t)
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
			return openFront(t, "caddy", "caddy", []string{"Caddyfile"}, "run", "--config", "Caddyfile", "--adapter",
				"caddyfile")
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
