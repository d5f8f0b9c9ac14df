package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestWhenMemoryIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what                        string
		recent, live, objects, free uint64
		want                        bool
	}{
		{"garbage, and quiet", 0, 8 << 20, 40 << 20, 0, true},
		{"free memory, and quiet", restQuiet, 8 << 20, 8 << 20, restWorth, true},
		{"nothing was collected yet", 0, 0, restWorth, 0, true},
		{"at work", restQuiet + 1, 8 << 20, 40 << 20, 40 << 20, false},
		{"too little", 0, 8 << 20, 9 << 20, 2 << 20, false},
		{"too little of much", 0, 800 << 20, 899 << 20, 0, false},
		{"enough of much", 0, 800 << 20, 900 << 20, 0, true},
		{"less than was alive", 0, 8 << 20, 4 << 20, 0, false},
	} {
		if got := worthGivingBack(c.recent, c.live, c.objects, c.free); got != c.want {
			t.Errorf("%s: %t, want %t", c.what, got, c.want)
		}
	}
}

// A burst's memory goes back to the system as soon as nothing happens. Not in parallel: other tests would be at work.
func TestMemoryIsGivenBackAtRest(t *testing.T) {
	inUse := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64() + s[1].Value.Uint64()
	}
	const burst = 64 << 20
	debug.FreeOSMemory() // what other tests have left
	before := inUse()
	held := make([][]byte, burst>>20)
	for i := range held {
		held[i] = make([]byte, 1<<20)
	}
	most := inUse()
	runtime.KeepAlive(held)
	r := newRest()
	if r.look() {
		t.Fatal("memory was given back in the midst of a burst")
	}
	for deadline := time.Now().Add(time.Minute); !r.look(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is never quiet")
		}
	}
	if after := inUse(); most < before+burst/2 || after > most-burst/2 {
		t.Errorf("%d bytes before, %d in the burst, %d at rest", before, most, after)
	}
}
