package cli

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// After a burst (a start, a reload, many handshakes) the heap is as large as the burst made it. Go would keep that
// memory for the next one, and collects what is garbage after two minutes. A gate that has become quiet gives it back:
// the next burst pays a page fault for each page that it needs again.
const (
	restEvery = 2 * time.Second
	restQuiet = 256 << 10 // most bytes allocated since the last look: less than a request or two in each second
	restWorth = 4 << 20   // least bytes to give back
	restShare = 8         // … and the least share of what is alive, which has to be looked through for it
)

// A rest looks again and again whether the process is quiet.
type rest struct {
	allocated uint64 // since the process began, at the last look
	samples   []metrics.Sample
}

func newRest() *rest {
	return &rest{samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"}, // as the last collection found it
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, // and not with the system
	}}
}

// giveBackAtRest works until ctx ends. Where the operator has set GOGC, memory is left to Go.
func giveBackAtRest(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	r, ticker := newRest(), time.NewTicker(restEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.look()
		}
	}
}

// look gives memory back if that is worth it, and reports whether it did.
func (r *rest) look() bool {
	metrics.Read(r.samples)
	var n [4]uint64
	for i, s := range r.samples {
		if s.Value.Kind() == metrics.KindUint64 {
			n[i] = s.Value.Uint64()
		}
	}
	recent := n[0] - r.allocated
	if r.allocated = n[0]; !worthGivingBack(recent, n[1], n[2], n[3]) {
		return false
	}
	runtime.GC() // pools let go of what is unused at the second collection, which is the next line's
	debug.FreeOSMemory()
	return true
}

// worthGivingBack judges by what was allocated since the last look, what was alive at the last collection, what there
// is of objects, dead ones too, and what is free.
func worthGivingBack(recent, live, objects, free uint64) bool {
	return recent <= restQuiet && objects+free >= live+max(restWorth, live/restShare)
}
