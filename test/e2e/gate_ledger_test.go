package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What is written in the app's ledger is compared with what the clients sent and were answered: whatever happens to the
// gate meanwhile, nothing is lost and nothing is there twice.

// ledgerRequests is how many requests a ledger test sends at least: fewer where the race detector takes its time.
func ledgerRequests() int {
	if raceDetected() {
		return 20_000
	}
	return 100_000
}

// A load is some clients that each keep a connection and ask one thing after another, every third with a body.
type load struct {
	dial    func() (net.Conn, error)
	path    string // before the id
	host    string
	headers string // whole lines
	renew   int    // requests until a client opens a new connection of its own accord; 0: never
	stays   bool   // the gate has no reason to end a connection

	sent   atomic.Int64 // ids given out
	enough atomic.Bool
	least  int64

	mu     sync.Mutex
	faults []error
}

const loadClients = 8

// run asks until there were at least so many requests and `meanwhile` is over.
func (l *load) run(t *testing.T, least int, meanwhile func()) {
	t.Helper()
	l.least = int64(least)
	var clients sync.WaitGroup
	for range loadClients {
		clients.Go(l.client)
	}
	meanwhile()
	l.enough.Store(true)
	clients.Wait()
	for i, err := range l.faults {
		if t.Error(err); i == 20 {
			t.Fatalf("and %d more", len(l.faults)-i)
		}
	}
}

// client gives up at its first fault, so that there is a whole story to tell of it.
func (l *load) client() {
	var c *keptConn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for !l.enough.Load() || l.sent.Load() < l.least {
		if c == nil || c.over || l.renew > 0 && c.asked >= l.renew {
			if c != nil {
				c.Close()
			}
			raw, err := l.dial()
			if err != nil {
				l.fault(fmt.Errorf("connect: %w", err))
				return
			}
			c = &keptConn{Conn: raw, in: bufio.NewReader(raw)}
		}
		id := l.sent.Add(1)
		if err := c.ask(l, id); err != nil {
			l.fault(fmt.Errorf("request %d, number %d of its connection: %w", id, c.asked, err))
			return
		}
	}
}

func (l *load) fault(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, err)
}

func postsBody(id int64) bool { return id%3 == 0 }

func bodyOf(id int64) string {
	return strings.Repeat(fmt.Sprintf("request %d;", id), 1+int(id%7)*50)
}

type keptConn struct {
	net.Conn
	in    *bufio.Reader
	asked int
	over  bool // the gate has said so
}

func (c *keptConn) ask(l *load, id int64) error {
	c.asked++
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	method, target, body, framing := "GET", l.path+strconv.FormatInt(id, 10), "", ""
	if postsBody(id) {
		method, body = "POST", bodyOf(id)
		framing = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n%s", method, target, l.host, l.headers, framing,
		body); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("read the answer's body: %w", err)
	}
	if c.over = answer.Close; c.over && l.stays {
		return fmt.Errorf("%s %s: the answer ends the connection", method, target)
	}
	if want := fmt.Sprintf("%s %s %d", method, target, len(body)); answer.StatusCode != 200 || string(text) != want {
		return fmt.Errorf("%s %q, want 200 %q", answer.Status, text, want)
	}
	return nil
}

// settle compares the ledger with what was sent: ids 1 to the last, each once, each with its body.
func (l *load) settle(t *testing.T, book *ledger) {
	t.Helper()
	account, last := book.account(), l.sent.Load()
	faults := 0
	for id := int64(1); id <= last && faults < 20; id++ {
		name := strconv.FormatInt(id, 10)
		want := ""
		if postsBody(id) {
			want = bodyOf(id)
		}
		if n, begun := account[name], book.started(name); n != 1 || begun != 1 {
			faults++
			t.Errorf("request %s was begun %d times and came %d times, want once", name, begun, n)
		} else if book.body(name) != want {
			faults++
			t.Errorf("request %s came with another body", name)
		}
		delete(account, name)
	}
	if len(account) > 0 && faults == 0 {
		t.Errorf("requests that no one sent: %v", account)
	}
	for _, f := range book.ambiguities() {
		t.Errorf("the app read %s", f)
	}
	t.Logf("%d requests, each once", last)
}

// count waits until a process has written text n times.
func (p *process) count(t *testing.T, where *transcript, text string, n int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		written, more := where.read()
		if strings.Count(written, text) >= n {
			return
		}
		select {
		case <-more:
		case <-p.exited:
			t.Fatalf("the process ended with %d of %d %q", strings.Count(where.String(), text), n, text)
		case <-deadline:
			t.Fatalf("%d of %d %q", strings.Count(written, text), n, text)
		}
	}
}

func ledgerConfig(address, upstream string) string {
	return fmt.Sprintf(`version: 1
listeners: [{name: main, address: %q, reuse_port: true}]
admin: {listen: ""}
log: {access: false}
drain: {delay: 100ms, timeout: 20s}
%s
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: %q}]
`, address, issuing, upstream)
}

func dialTo(address string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.DialTimeout("tcp", address, patience) }
}

// An instance hands over to the next, twenty times, while clients that keep their connections go on asking.
func TestATakeoverLosesNoRequestAndDoublesNone(t *testing.T) {
	t.Parallel()
	book, address := openLedger(t), freeAddress(t)
	g := openGate(t, ledgerConfig(address, book.url()))
	clients := &load{dial: dialTo(address), path: "/t/acme/", host: "gate.test", headers: "Authorization: Bearer " +
		g.token(t) + "\r\n"}
	clients.run(t, ledgerRequests(), func() {
		for range 20 {
			old := g.process
			g.serve(t)
			old.signal(t, syscall.SIGTERM)
			if code := old.exit(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		}
	})
	clients.settle(t, book)
}

// Two hundred reloads, every other of a file with a fault, while clients go on asking.
func TestReloadsUnderLoadLoseNoRequestAndDoubleNone(t *testing.T) {
	t.Parallel()
	book, address := openLedger(t), freeAddress(t)
	good := ledgerConfig(address, book.url())
	g := openGate(t, good)
	token := g.token(t)
	clients := &load{dial: dialTo(address), path: "/t/acme/", host: "gate.test", headers: "Authorization: Bearer " +
		token + "\r\n", renew: 100, stays: true}
	inline := fmt.Sprintf("upstream: %q", book.url())
	const done, refused = "reloaded", "reload refused: the configuration in force stays" // the watch may see to it, too
	versions := []struct{ config, told string }{
		{strings.Replace(good, "READ]", "READ, WRITE]", 1), done},
		{good + "tenants: [acme]\n", refused}, // no such key
		{strings.Replace(good, inline, "upstream: app", 1) + fmt.Sprintf("upstreams: {app: {servers: [%q], max_idle: 2}}\n",
			book.url()), done},
		{good[:len(good)-10], refused}, // a file that is still being written
		{strings.Replace(good, "{path:", "{path: /x, public: true, "+inline+"}, {path:", 1), done},
		{good + "limits: {connections: 5}\n", refused}, // what only a restart can change
		{strings.Replace(good, "keys/main.pem, create: true", "keys/other.pem", 1), refused},
		{good, done},
	}
	clients.run(t, ledgerRequests(), func() {
		told := map[string]int{}
		for i := range 200 {
			v := versions[i%len(versions)]
			g.replace(t, v.config)
			told[v.told]++
			g.signal(t, syscall.SIGHUP)
			g.count(t, g.stderr, `"msg":"`+v.told+`","by":"operator"`, told[v.told])
		}
		if told[done] != 100 || told[refused] != 100 {
			t.Errorf("%v, want a hundred of each", told)
		}
	})
	clients.settle(t, book)
}

// replace puts another config in place of the file at once, as an editor that is careful does.
func (g *gate) replace(t *testing.T, config string) {
	t.Helper()
	next := filepath.Join(g.folder, "next.yaml")
	writeFile(t, next, []byte(config))
	if err := os.Rename(next, filepath.Join(g.folder, "config.yaml")); err != nil {
		t.Fatal(err)
	}
}

// A gate that drains without a successor still answers everything that it took.
func TestADrainUnderLoadAnswersWhatItTook(t *testing.T) {
	t.Parallel()
	book := openLedger(t)
	g := openGate(t, ledgerConfig("127.0.0.1:0", book.url()))
	address, bearer := g.at(t, "main"), "Authorization: Bearer "+g.token(t)+"\r\n"
	var answered atomic.Int64
	begun := make(chan struct{})
	var clients sync.WaitGroup
	for i := range loadClients {
		clients.Go(func() {
			l := &load{path: "/t/acme/", host: "gate.test", headers: bearer}
			c, err := dialTo(address)()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			kept := &keptConn{Conn: c, in: bufio.NewReader(c)}
			for n := int64(0); !kept.over; n++ {
				if err := kept.ask(l, int64(i)*1_000_000+n); err != nil {
					t.Errorf("before its last answer said so: %v", err)
					return
				}
				if answered.Add(1) == 1000 {
					close(begun)
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-begun:
	case <-ctx.Done():
		t.Fatal(errors.New("the clients do not get on"))
	}
	g.signal(t, syscall.SIGTERM)
	clients.Wait()
	if code := g.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	total := 0
	for id, n := range book.account() {
		if total += n; n != 1 {
			t.Errorf("request %s came %d times", id, n)
		}
	}
	if int64(total) != answered.Load() {
		t.Errorf("%d requests came, %d were answered", total, answered.Load())
	}
}
