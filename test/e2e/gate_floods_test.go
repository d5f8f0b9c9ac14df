package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Attackers that cost the gate much and themselves little. Each must be cut by a limit, clients that behave must not
// notice, and when it is over the gate must be as small as it was.

// floodConfig has limits so short that an attack is over in seconds.
const floodConfig = `version: 1
listeners:
  - {name: plain, address: "127.0.0.1:0"}
  - {name: tls, address: "127.0.0.1:0", tls: {certificates: [{cert: a.pem, key: a.key}]}}
admin: {listen: ""}
log: {access: false}
drain: {delay: 0s}
limits: {header_timeout: 2s, stall_timeout: 2s, idle_timeout: 5s, connections: %d}
upstreams:
  open: {servers: [%q], max_idle: 64}
  big: {servers: [%q], max_idle: 64}
routes:
  - {path: /open/, public: true, upstream: open}
  - {path: /big, public: true, upstream: big}
`

type flooded struct {
	*gate
	book       *ledger
	plain, tls string
	authority  *x509.CertPool
	descriptors
}

func openFlooded(t *testing.T, connections int) *flooded {
	t.Helper()
	big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 64<<10)
		for range 1024 { // more than the kernel takes off our hands
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	t.Cleanup(big.Close)
	f := &flooded{gate: &gate{folder: t.TempDir()}, book: openLedger(t)}
	f.authority = certificate(t, f.folder, "a", 1, "gate.test")
	f.configure(t, fmt.Sprintf(floodConfig, connections, f.book.url(), big.URL))
	f.serve(t)
	f.plain, f.tls = f.at(t, "plain"), f.at(t, "tls")
	f.descriptors = f.countDescriptors(t)
	return f
}

// during plays an attack while clients that behave ask on, both plain and in TLS; they must never notice.
func (f *flooded) during(t *testing.T, attack func()) {
	t.Helper()
	var turn atomic.Int64
	good := &load{path: "/open/", host: "gate.test", renew: 50, dial: func() (net.Conn, error) {
		if turn.Add(1)%2 == 0 {
			return dialTo(f.plain)()
		}
		return tls.Dial("tcp", f.tls, &tls.Config{RootCAs: f.authority, ServerName: "gate.test"})
	}}
	good.run(t, 100, attack)
	t.Logf("%d requests of clients that behave meanwhile", good.sent.Load())
}

// descriptors are the open files and sockets of a process.
type descriptors int

func (p *process) countDescriptors(t *testing.T) descriptors {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return descriptors(len(open))
}

// keptUpstreams is how many connections to apps may stay open, and what the runtime may have opened for itself.
const keptUpstreams = 64 + 8

// watch looks at the gate until what it sees is as it should be.
func (f *flooded) watch(t *testing.T, what string, asItShould func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !asItShould() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never seen; %d descriptors, %d at the start", what, f.countDescriptors(t), f.descriptors)
		}
		<-tick.C
	}
}

// spent is the processor time that a process has used, in the kernel's ticks.
func (p *process) spent(t *testing.T) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	user, errUser := strconv.Atoi(fields[12])
	system, errSystem := strconv.Atoi(fields[13])
	if err := errors.Join(errUser, errSystem); err != nil {
		t.Fatal(err)
	}
	return user + system
}

// calm waits until the attackers' sockets are gone from the gate and it has nothing left to do, and tells of goroutines
// that stay.
func (f *flooded) calm(t *testing.T) {
	t.Helper()
	f.watch(t, "the attackers are gone", func() bool { return f.countDescriptors(t) <= f.descriptors+keptUpstreams })
	before, quiet := -1, 0
	f.watch(t, "nothing left to do", func() bool {
		last := before
		if before = f.spent(t); before != last {
			quiet = 0
		}
		quiet++
		return quiet > 20 // on a busy machine it may have to wait for its turn
	})
	status, _, body := ask(t, "GET", "http://"+f.plain+"/open/after", "", "")
	if status != 200 {
		t.Errorf("afterwards: %d %s", status, body)
	}
	peak := f.memory(t, "VmHWM")
	// SIGQUIT makes the runtime write down every goroutine.
	f.signal(t, syscall.SIGQUIT)
	f.exit(t)
	n := strings.Count(f.stderr.String(), "\ngoroutine ")
	if n == 0 || n > 40+3*keptUpstreams {
		t.Errorf("%d goroutines are left", n)
	}
	t.Logf("at most %d MiB; %d goroutines in the end", peak>>20, n)
}

// memory is a line of /proc/PID/status, in bytes.
func (p *process) memory(t *testing.T, line string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in %s", line, status)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// within holds the most memory that the gate ever had to a bound; the race detector takes several times as much.
func (p *process) within(t *testing.T, mib int) {
	t.Helper()
	if raceDetected() {
		mib *= 10
	}
	if peak := p.memory(t, "VmHWM") >> 20; peak > mib {
		t.Errorf("the gate took %d MiB, want at most %d", peak, mib)
	}
}

// needs ends a test for which the system lacks a program: one that is skipped would prove nothing.
func needs(t *testing.T, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v: install it with `apt-get install %s`, or run scripts/deps as root", err, pkg)
	}
}

// tool runs a program of the system to its end.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestSlowAttackersAreCutAndOthersServed(t *testing.T) {
	t.Parallel()
	needs(t, "slowhttptest", "slowhttptest")
	for name, args := range map[string][]string{
		"slow heads":  {"-H", "-i", "1", "-t", "GET"},
		"slow bodies": {"-B", "-i", "1", "-t", "POST", "-s", "100000", "-x", "10"},
		"slow reads":  {"-X", "-n", "1", "-w", "256", "-y", "512", "-z", "16", "-k", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openFlooded(t, 10000)
			target := "/open/attack"
			if name == "slow reads" {
				target = "/big"
			}
			f.during(t, func() {
				var attack sync.WaitGroup
				over := make(chan struct{})
				attack.Go(func() {
					defer close(over)
					tool(t, "slowhttptest", append(args, "-c", "300", "-r", "300", "-l", "20", "-p", "20", "-u", "http://"+f.plain+
						target)...)
				})
				f.watch(t, "the attack", func() bool { return f.countDescriptors(t) > f.descriptors+200 })
				// What the kernel still holds for a slow reader costs the gate nothing, and keeps the tool busy.
				f.watch(t, "the end of the attack", func() bool {
					return f.countDescriptors(t) < f.descriptors+keptUpstreams+2*loadClients
				})
				if name == "slow reads" {
					select {
					case <-over:
						t.Error("the gate was rid of the attackers only when they gave up")
					default:
					}
				}
				attack.Wait()
			})
			f.within(t, 200)
			f.calm(t)
		})
	}
}

func TestHTTP2ToolsAreServed(t *testing.T) {
	t.Parallel()
	needs(t, "h2load", "nghttp2-client")
	needs(t, "curl", "curl")
	f := openFlooded(t, 10000)
	writeFile(t, f.folder+"/body", bytes.Repeat([]byte("x"), 10_000))
	for _, c := range []struct {
		id    string
		n     int
		flags []string
	}{
		{"h2load", 10_000, nil},
		{"h2load-posts", 2_000, []string{"-d", f.folder + "/body"}},
	} {
		told := tool(t, "h2load", append(c.flags, "-n", strconv.Itoa(c.n), "-c", "4", "-m", "100",
			"-H", ":authority: gate.test", "https://"+f.tls+"/open/"+c.id)...)
		if want := fmt.Sprintf("%d succeeded, 0 failed, 0 errored, 0 timeout", c.n); !strings.Contains(told, want) ||
			!strings.Contains(told, "Application protocol: h2\n") {
			t.Errorf("h2load: want %q over h2:\n%s", want, told)
		}
		if n := f.book.account()[c.id]; n != c.n {
			t.Errorf("the app got %s %d times, want %d", c.id, n, c.n)
		}
	}
	_, port, err := net.SplitHostPort(f.tls)
	if err != nil {
		t.Fatal(err)
	}
	for flag, version := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
		told := tool(t, "curl", "-sS", "--noproxy", "*", flag, "--cacert", f.folder+"/a.pem", "--resolve", "gate.test:"+port+
			":127.0.0.1",
			"-d", "hello", "-w", " %{http_version} %{http_code}", "https://gate.test:"+port+"/open/curl"+version)
		if want := "POST /open/curl" + version + " 5 " + version + " 200"; told != want {
			t.Errorf("curl %s: %q, want %q", flag, told, want)
		}
	}
	f.calm(t)
}

// An h2Client speaks HTTP/2 frame by frame.
type h2Client struct {
	*http2.Framer
	conn net.Conn
	gone chan error // why the gate ended the connection
	head []byte     // an encoded header block
}

func (f *flooded) dialH2(t *testing.T, path string) *h2Client {
	t.Helper()
	conn, err := tls.Dial("tcp", f.tls, &tls.Config{
		RootCAs: f.authority, ServerName: "gate.test",
		NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &h2Client{Framer: http2.NewFramer(conn, conn), conn: conn, gone: make(chan error, 1)}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "GET"},
		{":scheme", "https"},
		{":authority", "gate.test"},
		{":path", path},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	c.head = block.Bytes()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	go func() { c.gone <- c.listen() }()
	return c
}

// listen reads until the gate says goodbye, or closes.
func (c *h2Client) listen() error {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return err
		}
		if g, ok := frame.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
			return http2.ConnectionError(g.ErrCode)
		}
	}
}

// end waits for the gate to end the connection.
func (c *h2Client) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.gone:
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("the gate does not end the connection")
		}
		return err
	case <-time.After(patience):
		t.Fatal("the gate does not end the connection")
	}
	return nil
}

// CVE-2023-44487: streams that are reset as fast as they are opened.
func TestARapidResetIsBounded(t *testing.T) {
	t.Parallel()
	f := openFlooded(t, 10000)
	const streams = 20_000
	f.during(t, func() {
		var attackers sync.WaitGroup
		for range 4 {
			c := f.dialH2(t, "/open/reset")
			attackers.Go(func() {
				defer c.conn.Close()
				for id := uint32(1); id < 2*streams; id += 2 {
					if c.WriteHeaders(http2.HeadersFrameParam{
						StreamID: id, BlockFragment: c.head, EndStream: true,
						EndHeaders: true,
					}) != nil ||
						c.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
						return
					}
				}
			})
		}
		attackers.Wait()
	})
	f.within(t, 200)
	f.calm(t)
	t.Logf("%d of %d requests that were taken back came to the app's ledger", f.book.account()["reset"], 4*streams)
}

// CVE-2023-45288: a head that goes on in CONTINUATION frames for ever.
func TestAContinuationFloodIsCut(t *testing.T) {
	t.Parallel()
	f := openFlooded(t, 10000)
	const most = 64 << 20
	f.during(t, func() {
		c := f.dialH2(t, "/open/flood")
		if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.head, EndStream: true}); err != nil {
			t.Fatal(err)
		}
		// Fields that are not indexed, each as long as a frame.
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		if err := encoder.WriteField(hpack.HeaderField{
			Name: "x", Value: strings.Repeat("~", 8<<10),
			Sensitive: true,
		}); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for ; sent < most; sent += block.Len() {
			if c.WriteContinuation(1, false, block.Bytes()) != nil {
				break
			}
		}
		if err := c.end(t); sent >= most {
			t.Errorf("it took %d MiB before it ended the connection: %v", sent>>20, err)
		}
	})
	if n := f.book.started("flood"); n != 0 {
		t.Error("the app saw the request")
	}
	f.within(t, 200)
	f.calm(t)
}

func (f *flooded) idle(t *testing.T, n int) *connections {
	t.Helper()
	all := &connections{}
	t.Cleanup(all.close)
	for range n {
		c, err := net.DialTimeout("tcp", f.plain, patience)
		if err != nil {
			t.Fatalf("connection %d: %v", len(all.open), err)
		}
		all.add(c)
	}
	return all
}

// askOnce asks over a connection of its own.
func askOnce(address string) error {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET /open/once HTTP/1.1\r\nHost: gate.test\r\n\r\n"); err != nil {
		return err
	}
	got, err := readAnswers(c, 1)
	if err != nil || !slices.Equal(got, []int{200}) {
		return fmt.Errorf("answers %v, %v", got, err)
	}
	return nil
}

func TestTenThousandIdleConnectionsDoNoHarm(t *testing.T) {
	t.Parallel()
	const idle = 10_000
	moreFiles(t, idle+1000)
	f := openFlooded(t, idle+1000)
	before := f.memory(t, "VmRSS")
	var all *connections
	f.during(t, func() { all = f.idle(t, idle) })
	f.during(t, func() {}) // they are all there now
	each := (f.memory(t, "VmHWM") - before) / idle
	if t.Logf("%d KiB for each", each>>10); !raceDetected() && each > 40<<10 {
		t.Errorf("an idle connection costs %d bytes, want at most 40 KiB", each)
	}
	all.close()
	f.calm(t)
}

// At the cap, idle connections make room: a client that comes later is served, if not at its first try.
func TestIdleConnectionsAtTheCapMakeRoom(t *testing.T) {
	t.Parallel()
	const most = 200
	f := openFlooded(t, most)
	f.idle(t, most)
	deadline := time.Now().Add(patience)
	for served := 0; served < 20; {
		if err := askOnce(f.plain); err == nil {
			served++
		} else if time.Now().After(deadline) {
			t.Fatalf("%d served, then %v", served, err)
		}
	}
	f.calm(t)
}
