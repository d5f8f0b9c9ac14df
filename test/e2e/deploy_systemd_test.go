package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const units = "deploy/systemd/"

// The units are what systemd itself takes for correct, and the service is confined.
func TestTheSystemdUnitsAreVerifiedAndConfined(t *testing.T) {
	t.Parallel()
	needs(t, "systemd-analyze", "systemd")
	root := t.TempDir()
	place := filepath.Join(root, "usr/lib/systemd/system")
	for _, folder := range []string{place, filepath.Join(root, "usr/bin"), filepath.Join(root, "etc")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What the unit names must exist; systemd-analyze starts none of it.
	for _, name := range []string{"usr/bin/jotgate", "usr/bin/kill"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(root, "usr/bin/jotgate")
	var files []string
	for _, name := range []string{"jotgate.service", "jotgate.socket"} {
		text := strings.ReplaceAll(readFile(t, units+name), "/usr/bin/jotgate", binary)
		file := filepath.Join(place, name)
		writeFile(t, file, []byte(text))
		files = append(files, file)
	}
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=no", "--recursive-errors=no"}, files...)...)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "jotgate.") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", files[0]).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze says no level:\n%s", out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level >= 2 {
		t.Errorf("the service is exposed by %s, want less than 2.0\n%s", m[1], out)
	}
}

// A service manager hears of each state of the gate.
func TestTheServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	socket := filepath.Join(folder, "notify")
	heard, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	next := func(want string) {
		t.Helper()
		if err := heard.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		for {
			n, err := heard.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			// The watchdog's signs of life come in between.
			if state := string(b[:n]); strings.Contains(state, want) {
				return
			} else if state != "WATCHDOG=1" {
				t.Fatalf("told %q, want %s", state, want)
			}
		}
	}
	config := "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: \"\"}\ndrain: {delay: 0s}\nroutes: [{path: /, " +
		"public: true, " +
		"upstream: \"http://127.0.0.1:9\"}]\n"
	file := filepath.Join(folder, "config.yaml")
	writeFile(t, file, []byte(config+"watch: false\n"))
	gate := start(t, folder, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=100000"}, "serve", "--config", file)
	next("READY=1\nSTATUS=serving")
	next("WATCHDOG=1")
	gate.signal(t, syscall.SIGHUP)
	next("RELOADING=1\nMONOTONIC_USEC=")
	next("READY=1\nSTATUS=serving")
	writeFile(t, file, []byte("version: 2\n"))
	gate.signal(t, syscall.SIGHUP)
	next("RELOADING=1\nMONOTONIC_USEC=")
	next("READY=1\nSTATUS=serving; the latest reload was refused, see the log")
	gate.signal(t, syscall.SIGTERM)
	next("STOPPING=1")
	if code := gate.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// The socket that systemd holds outlives the gate: a connection that comes between two of them is answered by the
// second.
func TestASocketOfSystemdOutlivesTheGate(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	passed, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	folder := t.TempDir()
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte("version: 1\nlisten: systemd:main\nadmin: {listen: \"\"}\n"+
		"drain: {delay: 0s}\nroutes: [{path: /a, public: true, upstream: \"http://127.0.0.1:9\"}]\n"))
	serve := func() *process {
		// The process that systemd starts knows its own id from LISTEN_PID.
		p := &process{
			Cmd:    exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config config.yaml`, binary),
			stdout: newTranscript(), stderr: newTranscript(), exited: make(chan struct{}),
		}
		p.Dir, p.ExtraFiles = folder, []*os.File{passed}
		p.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=main")
		p.Stdout, p.Stderr = p.stdout, p.stderr
		p.begin(t)
		p.until(t, p.stderr, `"msg":"listening"`)
		return p
	}
	first := serve()
	url := "http://" + l.Addr().String()
	if status, _, _ := ask(t, "GET", url+"/nowhere", "", ""); status != 404 {
		t.Errorf("status %d, want 404", status)
	}
	first.signal(t, syscall.SIGTERM)
	if code := first.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	waiting, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err := waiting.Write([]byte("GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	second := serve()
	if err := waiting.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 12)
	if _, err := waiting.Read(b); err != nil || string(b) != "HTTP/1.1 404" {
		t.Errorf("the connection that waited got %q (%v)", b, err)
	}
	second.signal(t, syscall.SIGTERM)
	second.exit(t)

	// Without a socket, or with another one, the start says what to do.
	for _, c := range []struct{ env, want string }{
		{"LISTEN_FDS=", "systemd passed no socket; start the .socket unit, or set host:port"},
		{"LISTEN_PID=1", "systemd passed no socket"},
	} {
		alone := start(t, folder, []string{c.env}, "serve", "--config", "config.yaml")
		if code := alone.exit(t); code != 1 || !strings.Contains(alone.stderr.String(), c.want) {
			t.Errorf("%s: exit code %d, %s; want %q", c.env, code, alone.stderr, c.want)
		}
	}
}
