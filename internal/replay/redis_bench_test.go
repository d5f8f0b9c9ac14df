package replay_test

import (
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/internal/replay"
)

// How much dearer is an acceptance that all replicas agree on than one of this process alone? Both in one run, 32 at a
// time; includes making a random nonce.
func BenchmarkStores(b *testing.B) {
	server := redistest.Start(b)
	shared := replay.NewRedis(open(b, settings(server)), []string{"a"})
	alone, err := replay.NewMemory(replay.Options{Clients: []string{"a"}, Capacity: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	expiry := time.Now().Add(9 * time.Minute).UnixMilli()
	round := func(consume func(u replay.Use) error, n int64) time.Duration {
		var left atomic.Int64
		left.Store(n)
		done := make(chan error)
		at := time.Now()
		const presenters = 32
		for range presenters {
			go func() {
				for left.Add(-1) >= 0 {
					u := replay.Use{Client: "a", Expiry: expiry, Epoch: shared.Epoch()}
					rand.Read(u.Nonce[:])
					if err := consume(u); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range presenters {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(at)
	}
	var inStore, inMemory time.Duration
	var used int64
	const each = 2000
	for b.Loop() {
		inStore += round(func(u replay.Use) error { return shared.Consume(b.Context(), u) }, each)
		inMemory += round(func(u replay.Use) error { return alone.Consume(b.Context(), u) }, each)
		used += each
	}
	b.ReportMetric(float64(used)/inStore.Seconds(), "shared/s")
	b.ReportMetric(float64(used)/inMemory.Seconds(), "alone/s")
	b.ReportMetric(float64(inStore)/float64(inMemory), "ratio")
}
