package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds what must happen at some time; nothing is measured against it.
const patience = 60 * time.Second

// testedVersion is the release that the binary takes itself for.
const testedVersion = "v0.0.0-tested"

// binary is what TestMain built; the tests of this package play with it from outside.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if err := os.Chdir("../.."); err != nil { // the stories are told from the top of the repository
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		folder, err := os.MkdirTemp("", "jotgate-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		binary = filepath.Join(folder, "jotgate")
		args := []string{"build", "-o", binary, "-ldflags", "-X main.version=" + testedVersion}
		if raceDetected() {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// raceDetected reports whether these tests run with the race detector; then the binary does so too.
func raceDetected() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// A process is the binary at work.
type process struct {
	*exec.Cmd
	stdout, stderr *transcript
	exited         chan struct{}
}

// start runs the binary in a folder until the test is over, at the latest.
func start(t *testing.T, folder string, env []string, args ...string) *process {
	t.Helper()
	p := &process{
		Cmd: exec.Command(binary, args...), stdout: newTranscript(), stderr: newTranscript(),
		exited: make(chan struct{}),
	}
	p.Dir, p.Env = folder, append(os.Environ(), env...)
	p.Stdout, p.Stderr = p.stdout, p.stderr
	p.begin(t)
	return p
}

// begin starts the process, until the test is over.
func (p *process) begin(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it may be gone already
		<-p.exited
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", p.stdout, p.stderr)
		}
	})
}

// exit waits for the process to end and returns its exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// until waits for text in a transcript of a process that goes on, and returns what was written up to its line's end.
func (p *process) until(t *testing.T, where *transcript, text string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		written, more := where.read()
		if i := strings.Index(written, text); i >= 0 {
			if end := strings.IndexByte(written[i:], '\n'); end >= 0 {
				return written[:i+end+1]
			}
		}
		select {
		case <-more:
		case <-p.exited:
			if written, _ := where.read(); !strings.Contains(written, text) {
				t.Fatalf("the process ended without %q", text)
			}
		case <-deadline:
			t.Fatalf("no %q", text)
		}
	}
}

// A transcript is what a process wrote, and tells when there is more.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.more)
	t.more = make(chan struct{})
	return t.text.Write(p)
}

func (t *transcript) read() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String(), t.more
}

func (t *transcript) String() string {
	text, _ := t.read()
	return text
}

// run plays one command to its end and returns its standard output.
func run(t *testing.T, folder string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("jotgate %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var portsGiven atomic.Int32

// freeAddress is a loopback address that no one listens on, and that no one else is given: the kernel would hand out a
// port again, to a connection too, as soon as it is let go. Its own choices lie above these.
func freeAddress(t *testing.T) string {
	t.Helper()
	const first, many = 20000, 6000
	for range many {
		port := first + (os.Getpid()*101+int(portsGiven.Add(1)))%many
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// ask sends one request over a connection of its own, and reads the whole answer.
func ask(t *testing.T, method, url, bearer, body string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}
