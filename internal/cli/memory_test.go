package cli

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
	"time"
)

func TestTheMemoryLimitOfAControlGroup(t *testing.T) {
	t.Parallel()
	type files map[string]string
	const own, v2, v1 = "proc/self/cgroup", "sys/fs/cgroup/", "sys/fs/cgroup/memory/"
	for name, c := range map[string]struct {
		files files
		want  int64
	}{
		"no control groups": {files{}, 0},
		"version 2":         {files{own: "0::/\n", v2 + "memory.max": "268435456\n"}, 268435456},
		"version 2, none":   {files{own: "0::/\n", v2 + "memory.max": "max\n"}, 0},
		"version 2, a path": {files{
			own: "0::/a/b\n", v2 + "a/b/memory.max": "1000\n",
			v2 + "a/memory.max": "max\n",
		}, 1000},
		"version 2, a tighter ancestor": {files{
			own: "0::/a/b\n", v2 + "a/b/memory.max": "1000\n",
			v2 + "a/memory.max": "900\n",
		}, 900},
		"version 2, a path not there": {files{own: "0::/../host/path\n", v2 + "memory.max": "700\n"}, 700},
		"version 1": {
			files{own: "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n", v1 + "docker/1/memory.limit_in_bytes": "5000\n"}, 5000,
		},
		"version 1, inside of a container": {
			files{own: "4:hugetlb,memory:/docker/1\n", v1 + "memory.limit_in_bytes": "6000\n"}, 6000,
		},
		"version 1, none": {files{own: "4:memory:/\n", v1 + "memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"both": {
			files{own: "4:memory:/\n0::/\n", v1 + "memory.limit_in_bytes": "10\n", v2 + "memory.max": "9\n"},
			9,
		},
		"not a number": {files{own: "0::/\nx\n", v2 + "memory.max": "-5\n"}, 0},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := cgroupLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// GOMEMLIMIT is the operator's word; without it the control group decides.
func TestTheMemoryLimitInForce(t *testing.T) {
	t.Cleanup(func() {
		debug.SetMemoryLimit(math.MaxInt64)
		debug.SetGCPercent(100)
	})
	root := fstest.MapFS{
		"proc/self/cgroup": {Data: []byte("0::/\n")}, "sys/fs/cgroup/memory.max": {Data: []byte("10000000000\n")},
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	if tuneMemory(root); debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Errorf("with GOMEMLIMIT: the limit was changed to %d", debug.SetMemoryLimit(-1))
	}
	t.Setenv("GOMEMLIMIT", "")
	if tuneMemory(root); debug.SetMemoryLimit(-1) != 9_000_000_000 {
		t.Errorf("limit %d, want 9000000000", debug.SetMemoryLimit(-1))
	}
}

// A small heap grows to five times its size, a large one by half; between the two by so many bytes.
func TestHowMuchTheHeapGrows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 400},
		{4 << 20, 400},
		{16 << 20, 400},
		{32 << 20, 200},
		{64 << 20, 100},
		{128 << 20, 50},
		{1 << 30, 50},
		{math.MaxUint64, 50},
	} {
		if got := growthFor(c.live); got != c.want {
			t.Errorf("%d bytes alive: %d %%, want %d", c.live, got, c.want)
		}
	}
}

// What is alive decides by itself.
func TestTheHeapIsFollowed(t *testing.T) {
	t.Cleanup(func() { debug.SetGCPercent(100) })
	followHeap()
	until := func(what string, holds func(percent int) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			runtime.GC()
			percent := debug.SetGCPercent(100)
			debug.SetGCPercent(percent)
			if holds(percent) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d %%", what, percent)
			}
		}
	}
	until("nothing much alive", func(percent int) bool { return percent > 200 })
	held := make([]byte, 256<<20)
	until("256 MiB alive", func(percent int) bool { return percent == growthLeast })
	runtime.KeepAlive(held)
	until("nothing much alive again", func(percent int) bool { return percent > 200 })
}
