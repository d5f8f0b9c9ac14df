package listen_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/listen"
)

// peers answers with the address of the peer.
func peers(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) }

func unixOptions(path string) listen.Options {
	return listen.Options{
		Listeners: []listen.Listener{{Name: "main", Address: "unix:" + path, Mode: 0o660}},
		Log:       zap.NewNop(),
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gate.sock")
	ls := start(t, unixOptions(path), http.HandlerFunc(peers))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v, want a socket of mode 0660", info.Mode(), err)
	}
	for range 3 {
		out := program(t, "", "curl", "-sS", "--unix-socket", path, "http://gate.test/", "http://gate.test/")
		if strings.Join(out, " ") != "unix unix" {
			t.Errorf("the peer is %q, want unix", out)
		}
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
	if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != 200 || !r.Close {
		t.Errorf("an early answer: %v %v", r, err)
	}
	if _, err := listen.Listen(context.Background(), unixOptions(path)); err == nil ||
		!strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a path in use: %v", err)
	}
	drain(t, ls, listen.Drain{})
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// What a process that was killed left is replaced; what is no socket is not; what another process has put there stays.
func TestUnixSocketPaths(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "gate.sock")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close()
	ls := start(t, unixOptions(path), http.HandlerFunc(peers))
	if out := program(t, "", "curl", "-sS", "--unix-socket", path, "http://gate.test/"); out[0] != "unix" {
		t.Errorf("on the path of a dead process: %q", out)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	drain(t, ls, listen.Drain{})
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the socket of the next process was removed: %v", err)
	} else {
		_ = c.Close()
	}
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Listen(context.Background(), unixOptions(file)); err == nil ||
		!strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if _, err := listen.Listen(context.Background(),
		unixOptions(filepath.Join(folder, strings.Repeat("x", 120)))); err == nil {
		t.Error("a path longer than the system takes: no error")
	}
}

func TestUnixSocketAboveTheCap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gate.sock")
	o := unixOptions(path)
	o.Limits.Connections = 1
	ls := start(t, o, http.HandlerFunc(peers))
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for ls.Open() == 0 {
		time.Sleep(time.Millisecond)
	}
	second, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = second.SetDeadline(time.Now().Add(20 * time.Second))
	if n, err := second.Read(make([]byte, 1)); n != 0 || err == nil || ls.TurnedAway() != 1 {
		t.Errorf("%d %v, turned away %d", n, err, ls.TurnedAway())
	}
}

func loopback(p listen.Peer) bool { return p.Addr.IsLoopback() }

// The header is the first thing on the connection, in front of TLS too; its address is the peer.
func TestPROXYProtocol(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{})
	o.Listeners[0].Proxies = loopback
	o.Listeners = append(o.Listeners, listen.Listener{Name: "plain", Proxies: loopback})
	ls := start(t, o, http.HandlerFunc(peers))
	plain, secured := ls.Addr("plain").String(), ls.Addr("main").String()
	for name, args := range map[string][]string{
		"plain": {"http://" + plain}, "TLS, HTTP/1.1": {"-k", "--http1.1", "https://" + secured},
		"TLS, HTTP/2": {"-k", "--http2", "https://" + secured},
	} {
		if out := program(t, "", "curl",
			append([]string{"-sS", "--haproxy-protocol"}, args...)...); !strings.HasPrefix(out[0], "127.0.0.1:") {
			t.Errorf("curl, %s: the peer is %q", name, out)
		}
	}
	for name, to := range map[string]string{"plain": plain, "TLS": secured} {
		var c net.Conn
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\r\n")
		if name == "TLS" {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		}
		for range 2 { // the address stays that of the connection
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := io.ReadAll(answer.Body); string(text) != "192.0.2.7:56324\n" {
				t.Errorf("%s: the peer is %q", name, text)
			}
		}
		_ = c.Close()
	}
	for name, send := range map[string]string{
		"no header": get, "half a header": "PROXY TCP4 10.0.0.1", "a header of a stranger's kind": "PROXY SCTP 1 2 3 4\r\n" +
			get,
	} {
		c, err := net.Dial("tcp", ls.Addr("plain").String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, send)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if all, _ := io.ReadAll(c); len(all) > 0 {
			t.Errorf("%s: answered %q, want the connection closed", name, all)
		}
		_ = c.Close()
	}
}

// A peer outside of the list is closed, whatever it sends.
func TestPROXYProtocolOfAStranger(t *testing.T) {
	t.Parallel()
	for name, trusts := range map[string]func(listen.Peer) bool{
		"an address": func(p listen.Peer) bool { return p.Addr == netip.MustParseAddr("192.0.2.1") },
		"unix":       func(p listen.Peer) bool { return p.Unix },
	} {
		ls := start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", Proxies: trusts}}}, http.HandlerFunc(peers))
		c, err := net.Dial("tcp", ls.Addr("main").String())
		if err != nil {
			continue // it was closed already
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"+get)
		if all, _ := io.ReadAll(c); len(all) > 0 {
			t.Errorf("%s: answered %q, want the connection closed", name, all)
		}
	}
}

// A Unix peer may send the header where it is trusted by its name.
func TestPROXYProtocolOnAUnixSocket(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "gate.sock")
		o := unixOptions(path)
		o.Listeners[0].Proxies = func(p listen.Peer) bool { return p.Unix && trusted }
		start(t, o, http.HandlerFunc(peers))
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "PROXY TCP4 192.0.2.7 192.0.2.2 1 2\r\n"+final)
		all, _ := io.ReadAll(c)
		if strings.Contains(string(all), "192.0.2.7:1") != trusted {
			t.Errorf("trusted %v: answered %q", trusted, all)
		}
	}
}

// A client that connects and says nothing is not waited for.
func TestPROXYHeaderInTime(t *testing.T) {
	t.Parallel()
	ls := start(t, listen.Options{
		Limits:    listen.Limits{TLSTimeout: 100 * time.Millisecond},
		Listeners: []listen.Listener{{Name: "main", Proxies: loopback}},
	}, http.HandlerFunc(peers))
	c := dial(t, ls)
	fmt.Fprint(c, "PROXY TCP4 ")
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("%d %v", n, err)
	}
}

// HAProxy as the load balancer in front. Its health checks send LOCAL (version 2) or UNKNOWN (version 1).
func TestPROXYProtocolOfHAProxy(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]string{
		"version 1": "send-proxy", "version 2": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
	} {
		folder := t.TempDir()
		ls := start(t, listen.Options{Listeners: []listen.Listener{{Name: "main", Proxies: loopback}}},
			http.HandlerFunc(peers))
		socket, config := filepath.Join(folder, "front.sock"), filepath.Join(folder, "haproxy.cfg")
		if err := os.WriteFile(config, fmt.Appendf(nil, `defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen front
  bind unix@%s accept-proxy
  unique-id-format %%ci
  server gate %s %s
`, socket, ls.Addr("main"), option), 0o600); err != nil {
			t.Fatal(err)
		}
		haproxy := exec.Command("haproxy", "-db", "-f", config)
		haproxy.Stderr = os.Stderr
		if err := haproxy.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = haproxy.Process.Signal(syscall.SIGTERM)
			_ = haproxy.Wait()
		})
		var c net.Conn
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			var err error
			if c, err = net.Dial("unix", socket); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "PROXY TCP6 2001:db8::7 2001:db8::8 56324 443\r\n"+final)
		if all, _ := io.ReadAll(c); !strings.Contains(string(all), "[2001:db8::7]:56324") {
			t.Errorf("%s: answered %q", name, all)
		}
	}
}
