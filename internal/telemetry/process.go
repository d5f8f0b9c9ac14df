package telemetry

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// What Go's runtime knows of itself, under the names that Prometheus' Go library has made common. Each is the sum of
// some of runtime/metrics.
var runtimeGauges = []struct{ name, help, of string }{
	{"go_gc_gogc_percent", "GOGC: by how much the heap grows between collections.", "/gc/gogc:percent"},
	{"go_gc_gomemlimit_bytes", "GOMEMLIMIT: the soft limit of memory.", "/gc/gomemlimit:bytes"},
	{"go_sched_gomaxprocs_threads", "GOMAXPROCS: threads that run Go code at a time.", "/sched/gomaxprocs:threads"},
	{"go_memstats_alloc_bytes", "Heap in use.", "/memory/classes/heap/objects:bytes"},
	{"go_memstats_sys_bytes", "Memory obtained from the system.", "/memory/classes/total:bytes"},
	{"go_memstats_heap_alloc_bytes", "Heap in use.", "/memory/classes/heap/objects:bytes"},
	{
		"go_memstats_heap_sys_bytes", "Heap obtained from the system.",
		"/memory/classes/heap/objects:bytes /memory/classes/heap/unused:bytes /memory/classes/heap/released:bytes " +
			"/memory/classes/heap/free:bytes",
	},
	{
		"go_memstats_heap_idle_bytes", "Heap that waits to be used.",
		"/memory/classes/heap/released:bytes /memory/classes/heap/free:bytes",
	},
	{
		"go_memstats_heap_inuse_bytes", "Heap in use, with what is left of its spans.",
		"/memory/classes/heap/objects:bytes /memory/classes/heap/unused:bytes",
	},
	{"go_memstats_heap_released_bytes", "Heap given back to the system.", "/memory/classes/heap/released:bytes"},
	{"go_memstats_heap_objects", "Objects on the heap.", "/gc/heap/objects:objects"},
	{"go_memstats_stack_inuse_bytes", "Stacks of goroutines.", "/memory/classes/heap/stacks:bytes"},
	{
		"go_memstats_stack_sys_bytes", "Stacks obtained from the system.",
		"/memory/classes/heap/stacks:bytes /memory/classes/os-stacks:bytes",
	},
	{"go_memstats_mspan_inuse_bytes", "Descriptions of spans.", "/memory/classes/metadata/mspan/inuse:bytes"},
	{
		"go_memstats_mspan_sys_bytes", "Descriptions of spans, obtained from the system.",
		"/memory/classes/metadata/mspan/inuse:bytes /memory/classes/metadata/mspan/free:bytes",
	},
	{"go_memstats_mcache_inuse_bytes", "Caches of the allocator.", "/memory/classes/metadata/mcache/inuse:bytes"},
	{
		"go_memstats_mcache_sys_bytes", "Caches of the allocator, obtained from the system.",
		"/memory/classes/metadata/mcache/inuse:bytes /memory/classes/metadata/mcache/free:bytes",
	},
	{"go_memstats_buck_hash_sys_bytes", "Tables of profiles.", "/memory/classes/profiling/buckets:bytes"},
	{"go_memstats_gc_sys_bytes", "What collections need.", "/memory/classes/metadata/other:bytes"},
	{"go_memstats_other_sys_bytes", "Other memory of the runtime.", "/memory/classes/other:bytes"},
	{"go_memstats_next_gc_bytes", "Heap at which the next collection ends.", "/gc/heap/goal:bytes"},
}

var runtimeCounters = []struct{ name, help, of string }{
	{"go_memstats_alloc_bytes_total", "Bytes that were ever allocated on the heap.", "/gc/heap/allocs:bytes"},
	{
		"go_memstats_mallocs_total", "Objects that were ever allocated.",
		"/gc/heap/allocs:objects /gc/heap/tiny/allocs:objects",
	},
	{"go_memstats_frees_total", "Objects that were freed.", "/gc/heap/frees:objects /gc/heap/tiny/allocs:objects"},
}

// collectRuntime tells of Go's runtime.
func collectRuntime(s *Scrape) {
	for _, m := range runtimeGauges {
		s.Gauge(m.name, m.help, sum(m.of))
	}
	for _, m := range runtimeCounters {
		s.Counter(m.name, m.help, sum(m.of))
	}
	s.Gauge("go_info", "Always 1; version is Go's.", 1, "version", runtime.Version())
	s.Gauge("go_goroutines", "Goroutines.", float64(runtime.NumGoroutine()))
	threads, _ := runtime.ThreadCreateProfile(nil)
	s.Gauge("go_threads", "Threads that were created.", float64(threads))
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	s.summary("go_gc_duration_seconds", "Pauses by collections.", stats.PauseQuantiles, stats.PauseTotal, stats.NumGC)
	s.Gauge("go_memstats_last_gc_time_seconds", "When the last collection ended.", float64(stats.LastGC.UnixNano())/1e9)
}

// sum adds some of runtime/metrics, all of which are whole numbers.
func sum(names string) (total float64) {
	for name := range strings.FieldsSeq(names) {
		sample := []metrics.Sample{{Name: name}}
		metrics.Read(sample)
		if sample[0].Value.Kind() == metrics.KindUint64 {
			total += float64(sample[0].Value.Uint64())
		}
	}
	return total
}

// collectProcess tells what the system knows of the process: on Linux, as proc(5) has it; elsewhere nothing.
func collectProcess(s *Scrape) {
	const ticks = 100 // a second; Linux tells programs so on every architecture
	if stat := processStat(); len(stat) > 21 {
		s.Counter("process_cpu_seconds_total", "CPU time, user and system.", (stat[11]+stat[12])/ticks)
		s.Gauge("process_virtual_memory_bytes", "Virtual memory.", stat[20])
		s.Gauge("process_resident_memory_bytes", "Resident memory.", stat[21]*float64(os.Getpagesize()))
		if boot, there := after("/proc/stat", "btime "); there {
			s.Gauge("process_start_time_seconds", "When the process began.", boot+stat[19]/ticks)
		}
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		s.Gauge("process_open_fds", "Open file descriptors.", float64(len(open)))
	}
	if most, there := after("/proc/self/limits", "Max open files "); there {
		s.Gauge("process_max_fds", "Most of them.", most)
	}
	if most, there := after("/proc/self/limits", "Max address space "); there {
		s.Gauge("process_virtual_memory_max_bytes", "Most of it.", most)
	}
	in, out, there := octets()
	if there {
		s.Counter("process_network_receive_bytes_total", "Bytes received in the process's network namespace.", in)
		s.Counter("process_network_transmit_bytes_total", "Bytes sent there.", out)
	}
}

// processStat are the numbers of /proc/self/stat behind the name, which may hold anything; the first is no number.
func processStat() (all []float64) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil
	}
	for field := range bytes.FieldsSeq(data[bytes.LastIndexByte(data, ')')+1:]) {
		n, _ := strconv.ParseFloat(string(field), 64)
		all = append(all, n)
	}
	return all
}

// after is the number behind a line's beginning, in a file of proc.
func after(file, begin string) (float64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		rest, is := strings.CutPrefix(line, begin)
		if !is {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return 0, false
		}
		if fields[0] == "unlimited" {
			return math.MaxUint64, true
		}
		n, err := strconv.ParseFloat(fields[0], 64)
		return n, err == nil
	}
	return 0, false
}

// octets reads what the network carried: a line of names and a line of values.
func octets() (in, out float64, there bool) {
	data, err := os.ReadFile("/proc/self/net/netstat")
	if err != nil {
		return 0, 0, false
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "IpExt:":
		case names == nil:
			names = fields
		default:
			for i, name := range names[:min(len(names), len(fields))] {
				n, err := strconv.ParseFloat(fields[i], 64)
				switch {
				case err != nil:
				case name == "InOctets":
					in, there = n, true
				case name == "OutOctets":
					out = n
				}
			}
			return in, out, there
		}
	}
	return 0, 0, false
}
