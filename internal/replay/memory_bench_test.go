package replay_test

import (
	"fmt"
	"runtime"
	"testing"
)

// What a used code costs while it is remembered: live heap, after a collection, per entry of a full set.
func BenchmarkMemoryPerEntry(b *testing.B) {
	for _, fill := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(fill), func(b *testing.B) {
			var bytes float64
			for b.Loop() {
				before := heap()
				g, _ := full(b, fill)
				bytes = float64(heap()-before) / float64(fill)
				runtime.KeepAlive(g)
			}
			b.ReportMetric(bytes, "B/entry")
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
