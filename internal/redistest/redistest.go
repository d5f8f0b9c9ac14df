// Package redistest starts real Redis servers for tests, on ports of loopback that the system chooses, and makes them
// fail: killed, stopped, restarted on the same port with what they kept, promoted.
//
// A machine without redis-server fails the tests: scripts/deps installs it.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is for a busy machine.
const patience = 60 * time.Second

// A Server is a process that runs redis-server, or waits to be started again.
type Server struct {
	t    testing.TB
	dir  string
	port int
	args []string

	sentinel bool

	mu      sync.Mutex
	process *exec.Cmd
	done    chan struct{}
}

// Start starts a server with these further arguments, as on its command line. It keeps nothing unless they say so, and
// ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), args: args}
	for try := 0; ; try++ { // between choosing a port and taking it, somebody else may
		s.port = free(t)
		if err := s.start(); err == nil {
			break
		} else if try == 5 {
			t.Fatalf("redistest: %v", err)
		}
	}
	t.Cleanup(s.Kill)
	return s
}

// StartSentinel starts a Sentinel by its configuration file, which says `port`.
func StartSentinel(t testing.TB, file string) *Server {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: t.TempDir(), args: []string{file}, sentinel: true}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "port %d", &s.port); err == nil {
			break
		}
	}
	if err := s.start(); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(s.Kill)
	return s
}

func free(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) start() error {
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--daemonize", "no", "--logfile", filepath.Join(s.dir, "log"), "--repl-diskless-sync-delay", "0",
	}, s.args...)
	if s.sentinel {
		args = append(s.args, "--sentinel", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"))
	}
	c := exec.Command("redis-server", args...)
	if err := c.Start(); err != nil {
		return fmt.Errorf("redis-server (scripts/deps installs it): %w", err)
	}
	done := make(chan struct{})
	go func() { _ = c.Wait(); close(done) }()
	s.mu.Lock()
	s.process, s.done = c, done
	s.mu.Unlock()
	return s.await(done)
}

// await waits until the server listens. Whether it answers, and to whom, is for the test.
func (s *Server) await(done chan struct{}) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.Addr()); err == nil {
			return c.Close()
		}
		select {
		case <-done:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("redis-server ended: %s", log)
		default:
		}
	}
	return errors.New("redis-server does not listen")
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is how a configuration names the server.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// Port is the server's own.
func (s *Server) Port() int { return s.port }

// Dir is where the server keeps what it keeps.
func (s *Server) Dir() string { return s.dir }

// Client is a connection of the test's own, which ends with it.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Do runs a command, which must succeed.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, ReadTimeout: patience})
	defer func() { _ = c.Close() }()
	answer, err := c.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("redistest: %v: %v", args, err)
	}
	return answer
}

// Kill ends the server as a crash does. It may be called more than once.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Shutdown ends the server as its operator does: it writes what its configuration says to write.
func (s *Server) Shutdown() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	s.mu.Lock()
	process, done := s.process, s.done
	s.process = nil
	s.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Process.Signal(syscall.SIGCONT) // a stopped process hears of nothing but a kill
	_ = process.Process.Signal(signal)          // it may have ended by itself
	<-done
}

// Restart starts the server anew, on the same port and in the same folder.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// RestartWith starts the server anew with other further arguments.
func (s *Server) RestartWith(args ...string) {
	s.t.Helper()
	s.Kill()
	s.args = args
	s.Restart()
}

// Stop makes the server hang, as SIGSTOP does: connections stay open, and nothing is answered until Continue.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Continue ends a Stop.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatal("redistest: the server is not running")
	}
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
