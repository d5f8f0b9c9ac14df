package e2e_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/redistest"
)

// A store is a real redis-server, which the test may end, stop, empty and deceive.
type store struct{ *redistest.Server }

// newStore starts a store that keeps nothing on its disk.
func newStore(t *testing.T) *store {
	t.Helper()
	return &store{redistest.Start(t)}
}

// appends are the arguments of a store that writes down what it is told, some of it late.
func appends() []string { return []string{"--appendonly", "yes", "--appendfsync", "everysec"} }

// ask is a command whose failure is an answer.
func (s *store) ask(t *testing.T, words ...any) (string, error) {
	t.Helper()
	answer, err := s.Client().Do(t.Context(), words...).Result()
	return fmt.Sprint(answer), err
}

// info is one field of INFO.
func (s *store) info(t *testing.T, field string) string {
	t.Helper()
	text, _ := s.Do("INFO", "everything").(string)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("INFO has no %s", field)
	return ""
}

// dump has the store write all that it has, and returns the file's content.
func (s *store) dump(t *testing.T) []byte {
	t.Helper()
	poll(t, "the dump is written", func() bool { // not while a copy is made for a replica
		_, err := s.ask(t, "SAVE")
		return err == nil
	})
	content, err := os.ReadFile(filepath.Join(s.Dir(), "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// restore ends the store and starts it with a dump.
func (s *store) restore(t *testing.T, dump []byte) {
	t.Helper()
	s.forget(t)
	writeFile(t, filepath.Join(s.Dir(), "dump.rdb"), dump)
	s.RestartWith()
}

// forget ends the store and removes what it has on its disk.
func (s *store) forget(t *testing.T) {
	t.Helper()
	s.Kill()
	for _, name := range []string{"dump.rdb", "appendonlydir"} {
		if err := os.RemoveAll(filepath.Join(s.Dir(), name)); err != nil {
			t.Fatal(err)
		}
	}
}

// copies makes s a copy of another store as it is now, and then independent of it.
func (s *store) copies(t *testing.T, of *store) {
	t.Helper()
	host, port, err := net.SplitHostPort(of.Addr())
	if err != nil {
		t.Fatal(err)
	}
	s.Do("REPLICAOF", host, port)
	poll(t, "the copy is complete", func() bool {
		return s.info(t, "master_link_status") == "up" && s.info(t, "master_sync_in_progress") == "0"
	})
	s.Do("REPLICAOF", "NO", "ONE")
}

// evicts has the store, for a moment, drop whatever has an end, as marks have, and nothing else. Then it looks as it
// did.
func (s *store) evicts(t *testing.T) {
	t.Helper()
	s.Do("CONFIG", "SET", "maxmemory-policy", "volatile-random")
	s.Do("CONFIG", "SET", "maxmemory", "1")
	if _, err := s.ask(t, "SET", "anything", "1"); err == nil {
		t.Error("the store had room")
	}
	s.Do("CONFIG", "SET", "maxmemory", "0")
	s.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	if s.info(t, "evicted_keys") == "0" {
		t.Error("the store has dropped nothing")
	}
}

// poll asks until it is so.
func poll(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
