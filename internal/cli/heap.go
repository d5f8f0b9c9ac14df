package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much the heap grows between two collections, above what is alive. A gate at work has a few megabytes alive, and
// by Go's own default would collect some fifty times a second: with four times as much there is a handful of
// collections, for some ten megabytes more. With thousands of open streams four times as much would be hundreds of
// megabytes, so from there on the growth is bounded, until so much is alive that collections would follow too closely.
const (
	growthMost  = 400      // percent, of a small heap
	growthLeast = 50       // percent, of a large one
	growthBytes = 64 << 20 // between the two
)

// growthFor returns the percentage for a heap, with stacks and globals, of so many live bytes (GOGC).
func growthFor(live uint64) int {
	return int(min(growthMost, max(growthLeast, 100*growthBytes/max(live, 1))))
}

// growth follows the live heap: what each collection finds alive decides when the next one comes.
type growth struct {
	percent int
	samples []metrics.Sample
}

// followHeap sets the percentage now, and after each collection for as long as the process lives.
func followHeap() {
	g := &growth{samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}}
	g.follow()
}

// follow runs as the finalizer of an object that each collection finds dead, and makes the next one.
func (g *growth) follow() {
	metrics.Read(g.samples)
	live := uint64(0)
	for _, s := range g.samples {
		if s.Value.Kind() == metrics.KindUint64 {
			live += s.Value.Uint64()
		}
	}
	// Each change stops the world for a moment: small ones are not worth it.
	if next := growthFor(live); 10*abs(next-g.percent) > g.percent {
		debug.SetGCPercent(next)
		g.percent = next
	}
	runtime.SetFinalizer(&collected{growth: g}, func(c *collected) { c.growth.follow() })
}

// collected is not of the kind of object that shares its memory with others, which would keep it alive.
type collected struct{ growth *growth }

func abs(n int) int { return max(n, -n) }
