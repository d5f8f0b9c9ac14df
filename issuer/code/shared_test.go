package code_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/redistest"
)

// A sharedStore is one real server, and each replica's connection to it.
type sharedStore struct {
	t       *testing.T
	server  *redistest.Server
	replica [2]*redisstore.Store
	over    map[string]bool // the epochs that the store has forgotten
}

// connect is what a replica does when it starts.
func (s *sharedStore) connect(t *rapid.T, i int) *redisstore.Store {
	s.close(i)
	store, err := redisstore.Open(s.t.Context(), &config.Redis{
		Network: "tcp", Address: s.server.Addr(), Pool: 4, DialTimeout: time.Minute, Timeout: time.Minute,
		Prefix: "jotgate", Skew: 5 * time.Second,
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.replica[i] = store
	return store
}

func (s *sharedStore) close(i int) {
	if s.replica[i] != nil {
		_ = s.replica[i].Close()
		s.replica[i] = nil
	}
}

// forget is one of the ways in which a store forgets; each replica hears of it within a second, here at once, or when
// it next asks.
func (s *sharedStore) forget(t *rapid.T) {
	for _, r := range s.replica {
		s.over[r.State().Epoch] = true
	}
	switch rapid.SampledFrom([]string{"flush", "flush", "flush", "flush", "crash", "old dump"}).Draw(t, "way") {
	case "flush":
		s.server.Do("FLUSHALL")
	case "crash":
		_ = os.Remove(filepath.Join(s.server.Dir(), "dump.rdb")) // there may be none
		s.server.Restart()
	case "old dump":
		s.server.Restart()
	}
	for _, r := range s.replica {
		if rapid.Bool().Draw(t, "heard") {
			r.Look(s.t.Context())
		}
	}
}

// The same property holds of replicas that share a store, whatever the store forgets; and what one replica has sealed,
// the other must accept.
func TestPropertyOnceShared(t *testing.T) {
	t.Parallel()
	store := &sharedStore{t: t, server: redistest.Start(t), over: map[string]bool{}}
	t.Cleanup(func() { store.close(0); store.close(1) })
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, shared: store, now: time.Now().UnixMilli(), secret: []byte(strings.Repeat("s", 32))}
		w.play(map[string]func(){
			"forget": func() { store.forget(t) },
			"dump":   func() { store.server.Do("SAVE") },
		})
	})
}
