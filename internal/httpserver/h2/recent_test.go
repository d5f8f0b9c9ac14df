package h2

import (
	"testing"

	"pgregory.net/rapid"
)

// Of the latest streams, recent knows exactly those that were added, however their numbers jump.
func TestRecent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var seen recent
		cut := map[uint32]bool{}
		id := uint32(0)
		for range rapid.IntRange(1, 60).Draw(r, "streams") {
			id += uint32(2*rapid.IntRange(0, 700).Draw(r, "jump") + 1)
			id |= 1
			seen.begin(id)
			if rapid.Bool().Draw(r, "cut") {
				seen.add(id)
				cut[id] = true
			}
			for old := id; int64(old) > 0 && id-old < 2*recentMost; old -= 2 {
				if seen.has(old) != cut[old] {
					r.Fatalf("newest %d: %d is %v", id, old, seen.has(old))
				}
				if old == 1 {
					break
				}
			}
			if seen.has(id+2) || id > 2*recentMost && seen.has(id-2*recentMost) {
				r.Fatal("knows what it cannot")
			}
		}
	})
}
