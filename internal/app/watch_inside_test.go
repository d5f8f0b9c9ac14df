package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
)

type said struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// TestWatchWithoutASystemThatTells: every watch of the machine is taken. It is said, and reloads work.
func TestWatchWithoutASystemThatTells(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	write := func(path string) {
		text := "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\"}\n" +
			"routes: [{path: /" + path + "/, public: true, upstream: \"http://127.0.0.1:1\"}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	c, err := keyfile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	out := new(said)
	log, err := telemetry.NewLog(out, "info", true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s, err := New(Options{Config: c, ConfigPath: file, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s.notifier = func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE }
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	eventually := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %s", what, out)
			}
		}
	}
	const warning = "not every file is watched; SIGHUP and `jotgate reload` still have the gate read them"
	eventually("no warning", func() bool { return strings.Contains(out.String(), warning) })
	eventually("readiness does not tell", func() bool { return len(s.Warnings()) == 1 })
	for _, path := range []string{"b", "c"} {
		write(path)
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	eventually("the watch has not heard of the reloads", func() bool { return len(s.reloaded) == 0 })
	if got := s.Config().Routes[0].Name; got != "/c/" {
		t.Errorf("in force: %s", got)
	}
	if n := strings.Count(out.String(), warning); n != 1 {
		t.Errorf("warned %d times: %s", n, out)
	}
}
