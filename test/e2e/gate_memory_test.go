package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What each connection costs is what the gate's own metrics say after a collection: live heap and stacks, divided by
// the number of connections. The bounds are some way above what is measured, below what a forgotten buffer would take.

const (
	memoryToken       = "memory-test-memory-test-memory"
	memoryConnections = 500
)

func TestMemoryOfEachConnection(t *testing.T) {
	if raceDetected() {
		t.Log("the race detector has its own memory beside all others: only that everything is served is tested")
	}
	app := newSilentApp(t)
	g := &gate{folder: t.TempDir()}
	authority := certificate(t, g.folder, "tls", 1, "gate.test")
	admin := freeAddress(t)
	g.configure(t, fmt.Sprintf(`version: 1
listeners:
  - {name: plain, address: "127.0.0.1:0"}
  - {name: tls, address: "127.0.0.1:0", tls: {certificates: [{cert: tls.pem, key: tls.key}]}}
admin: {listen: %q, token: %s, pprof: true}
limits: {idle_timeout: 1h}
log: {access: false}
upstreams: {app: {servers: ["http://%s"]}}
routes: [{path: /, public: true, upgrade: true, upstream: app}]
`, admin, memoryToken, app))
	g.serve(t)
	plain, secure := g.at(t, "plain"), g.at(t, "tls")
	for _, c := range []struct {
		name string
		open func(t *testing.T) net.Conn
		most int
	}{
		{"idle, plain", func(t *testing.T) net.Conn { return oneAnswer(t, dial(t, plain, nil)) }, 8 << 10},
		{"idle, TLS", func(t *testing.T) net.Conn { return oneAnswer(t, dial(t, secure, authority)) }, 20 << 10},
		{"idle, HTTP/2", func(t *testing.T) net.Conn { return oneStream(t, secure, authority, "/answer", true) }, 24 << 10},
		{"event stream, HTTP/1.1", func(t *testing.T) net.Conn { return oneEvent(t, dial(t, plain, nil)) }, 28 << 10},
		{"event stream, TLS", func(t *testing.T) net.Conn { return oneEvent(t, dial(t, secure, authority)) }, 36 << 10},
		{
			"event stream, HTTP/2", func(t *testing.T) net.Conn {
				return oneStream(t, secure, authority, "/events", false)
			}, 40 << 10,
		},
		{"WebSocket", func(t *testing.T) net.Conn { return oneUpgrade(t, dial(t, plain, nil)) }, 34 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.open(t).Close() // what the first one makes, stays
			before := liveMemory(t, admin)
			for range memoryConnections {
				c.open(t)
			}
			each := (liveMemory(t, admin) - before) / memoryConnections
			if t.Logf("%d bytes each", each); !raceDetected() && each > c.most {
				t.Errorf("%d bytes for each connection, want at most %d", each, c.most)
			}
		})
	}
}

// liveMemory is the gate's live heap and its stacks. Some collections make the stacks shrink to what is used.
func liveMemory(t *testing.T, admin string) int {
	t.Helper()
	least, metric := 0, regexp.MustCompile(`(?m)^go_memstats_(?:heap_alloc|stack_inuse)_bytes (\S+)$`)
	for range 6 {
		status, _, _ := ask(t, "GET", "http://"+admin+"/debug/pprof/heap?gc=1", memoryToken, "")
		if status != http.StatusOK {
			t.Fatalf("pprof: status %d", status)
		}
		_, _, text := ask(t, "GET", "http://"+admin+"/metrics", memoryToken, "")
		found := metric.FindAllStringSubmatch(text, -1)
		if len(found) != 2 {
			t.Fatalf("metrics: %q", found)
		}
		sum := 0
		for _, m := range found {
			n, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += int(n)
		}
		if least == 0 || sum < least {
			least = sum
		}
		time.Sleep(50 * time.Millisecond)
	}
	return least
}

// newSilentApp answers, or begins a stream with one event and says no more. It keeps no memory of its connections but
// their sockets.
func newSilentApp(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := &connections{}
	t.Cleanup(func() { l.Close(); all.close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.add(c)
			go playSilentApp(c)
		}
	}()
	return l.Addr().String()
}

func playSilentApp(c net.Conn) {
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		switch {
		case r.URL.Path == "/events":
			answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
				"9\r\ndata: 1\n\n\r\n"
		case r.Header.Get("Upgrade") != "":
			answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" +
				"\x81\x02hi"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func oneAnswer(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	return whenSaid(t, c, "GET /answer HTTP/1.1\r\nHost: gate.test\r\n\r\n", "\r\n\r\nok")
}

func oneEvent(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	return whenSaid(t, c, "GET /events HTTP/1.1\r\nHost: gate.test\r\n\r\n", "data: 1\n\n")
}

func oneUpgrade(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	return whenSaid(t, c, fmt.Sprintf(websocketHandshake, "/socket", ""), "\x81\x02hi")
}

// whenSaid sends a request and reads until it was answered so. The connection stays open.
func whenSaid(t *testing.T, c net.Conn, request, answer string) net.Conn {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for room := make([]byte, 4096); !bytes.Contains(got, []byte(answer)); {
		n, err := c.Read(room)
		if got = append(got, room[:n]...); err != nil {
			t.Fatalf("%v after %q", err, got)
		}
	}
	return c
}

// oneStream asks over an HTTP/2 connection and reads until DATA came, or the end of the stream.
func oneStream(t *testing.T, address string, authority *x509.CertPool, path string, toItsEnd bool) net.Conn {
	t.Helper()
	raw := dial(t, address, nil)
	c := tls.Client(raw, &tls.Config{RootCAs: authority, ServerName: "gate.test", NextProtos: []string{"h2"}})
	framer := http2.NewFramer(c, c)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "gate.test"}, {":path", path},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
	}); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		data, ok := f.(*http2.DataFrame)
		if ok && (data.StreamEnded() || !toItsEnd && strings.HasPrefix(string(data.Data()), "data: 1")) {
			return c
		}
	}
}

// traffic asks n times on 64 kept connections, and wants 200 each time.
func traffic(t *testing.T, address, path, bearer string, n int) {
	t.Helper()
	request := "GET " + path + " HTTP/1.1\r\nHost: gate.test\r\n"
	if bearer != "" {
		request += "Authorization: Bearer " + bearer + "\r\n"
	}
	request += "\r\n"
	const at = 64
	var asking sync.WaitGroup
	failed := make(chan error, at)
	for range at {
		c := dial(t, address, nil)
		asking.Go(func() { failed <- askOften(c, request, n/at) })
	}
	asking.Wait()
	for range at {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

func askOften(c net.Conn, request string, n int) error {
	defer c.Close()
	in := bufio.NewReader(c)
	for range n {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", answer.StatusCode)
		}
	}
	return nil
}

// Four thousand open streams, and traffic beside them.
func TestOpenStreamsUnderTraffic(t *testing.T) {
	moreFiles(t, 10_000)
	g := openGate(t, fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0"}]
admin: {listen: ""}
log: {access: false}
upstreams: {app: {servers: ["http://%s"], max_connections: 8000}}
routes: [{path: /, public: true, upstream: app}]
`, newSilentApp(t)))
	address := g.at(t, "main")
	for range 4000 {
		oneEvent(t, dial(t, address, nil))
	}
	traffic(t, address, "/answer", "", 20_000)
	if g.within(t, 250); !t.Failed() {
		t.Logf("at most %d MiB", g.memory(t, "VmHWM")>>20)
	}
}

// moreFiles lets this process have so many open files.
func moreFiles(t *testing.T, n uint64) {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Max < n {
		t.Fatalf("this system lets a process have %d open files, this test needs %d: raise it with `ulimit -Hn`", files.Max,
			n)
	}
	files.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
}

// The sidecar of the example in a container of 128 MiB, under as much load as there is. Where a control group can be
// made, the kernel holds it to that; elsewhere the limit is told to the gate alone. What it takes is measured in any
// case.
func TestASidecarInASmallContainer(t *testing.T) {
	if raceDetected() {
		t.Log("the race detector takes several times as much: only that everything is served is tested")
	}
	const limit = 128 << 20
	s := &sidecar{
		folder: t.TempDir(), address: freeAddress(t),
		app: &app{entered: make(chan struct{}, 8), leave: make(chan struct{})},
	}
	upstream := httptest.NewServer(s.app)
	t.Cleanup(upstream.Close)
	s.url = "http://" + s.address
	s.env = []string{"WEB_SECRET=" + strings.TrimSpace(run(t, s.folder, nil, "keygen", "--secret"))}
	s.write(t, sidecarConfig(t, s.address, upstream.URL))
	group := ""
	if !raceDetected() {
		group = memoryGroup(t, limit)
	}
	env := s.env
	enter := `exec "$0" serve --config config.yaml`
	if group == "" {
		t.Log("no control group can be made here: the limit is GOMEMLIMIT's")
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", limit*9/10))
	} else {
		enter = "echo $$ > " + group + "/cgroup.procs && " + enter
	}
	s.process = &process{
		Cmd: exec.Command("sh", "-c", enter, binary), stdout: newTranscript(), stderr: newTranscript(),
		exited: make(chan struct{}),
	}
	s.Dir, s.Env, s.Stdout, s.Stderr = s.folder, append(os.Environ(), env...), s.stdout, s.stderr
	s.begin(t)
	s.until(t, s.stderr, `"msg":"listening"`)
	if group != "" {
		s.until(t, s.stderr, `"msg":"memory limit from the control group"`)
	}
	token := s.token(t)
	for range 500 {
		oneHalf(t, dial(t, s.address, nil))
	}
	traffic(t, s.address, "/t/acme/orders", token, 40_000)
	if status, _, body := ask(t, "GET", s.url+"/t/acme/orders", token, ""); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, body)
	}
	if s.within(t, limit>>20); !t.Failed() {
		t.Logf("at most %d MiB", s.memory(t, "VmHWM")>>20)
	}
}

// oneHalf begins a request whose end does not come.
func oneHalf(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /t/acme/orders HTTP/1.1\r\nHost: gate.test\r\n"); err != nil {
		t.Fatal(err)
	}
}

// memoryGroup makes a control group, of either version, with a limit of so many bytes of memory and no swap beyond it;
// "" where that is not allowed.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	for _, version := range []struct{ mount, file string }{
		{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
	} {
		if _, err := os.Stat(version.mount + "/cgroup.procs"); err != nil {
			continue
		}
		folder := fmt.Sprintf("%s/jotgate-test-%d", version.mount, os.Getpid())
		if os.Mkdir(folder, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(folder) }) // it is empty when the process has ended
		if os.WriteFile(folder+"/"+version.file, []byte(strconv.Itoa(limit)), 0o600) == nil {
			return folder
		}
	}
	return ""
}
