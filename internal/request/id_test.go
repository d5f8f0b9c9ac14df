package request

import (
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// Ids are UUIDs of version 7, of the time at which they are made, sorted by it, and none comes twice, whichever
// goroutine asks.
func TestIDsAreUUIDsOfVersion7(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 10, 0, 0, 123_456_789, time.UTC)
	var all []string
	for i := range 100 {
		now := at.Add(time.Duration(i) * 300 * time.Nanosecond)
		text := newID(now)
		id, err := uuid.Parse(text)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || id.String() != text {
			t.Fatalf("%s: %v, version %d, variant %d", text, err, id.Version(), id.Variant())
		}
		if sec, ns := id.Time().UnixTime(); sec != now.Unix() || ns/1e6 != int64(now.Nanosecond())/1e6 {
			t.Errorf("%s is of %d.%09d, want %s", text, sec, ns, now)
		}
		all = append(all, text)
	}
	if !sort.StringsAreSorted(all) {
		t.Error("not sorted by time")
	}
	var mu sync.Mutex
	random := make(map[string]bool)
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			var mine []string
			for range 5000 {
				mine = append(mine, newID(at)[19:])
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range mine {
				if random[r] {
					t.Errorf("%s twice", r)
				}
				random[r] = true
			}
		})
	}
	work.Wait()
}

// An id is one allocation, and asks the system for one in 64.
func TestAllocationsOfAnID(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { _ = NewID() }); n > 1 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = NewID()
	}
}
