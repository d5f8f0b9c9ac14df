//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// A coreSet is the kernel's cpu_set_t, 1,024 cores.
type coreSet [16]uint64

// setAffinity keeps a thread on one core; 0 is the calling one.
func setAffinity(thread, core int) error {
	var set coreSet
	if core < 0 || core >= 64*len(set) {
		return fmt.Errorf("there is no core %d", core)
	}
	set[core/64] = 1 << (core % 64)
	_, _, e := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(thread), unsafe.Sizeof(set),
		uintptr(unsafe.Pointer(&set)))
	if e != 0 {
		return fmt.Errorf("keep a process on core %d: %w", core, e)
	}
	return nil
}

// usableCores lists the cores that this process may use.
func usableCores() ([]int, error) {
	var set coreSet
	_, _, e := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if e != 0 {
		return nil, fmt.Errorf("ask for the usable cores: %w", e)
	}
	var cores []int
	for i := range 64 * len(set) {
		if set[i/64]&(1<<(i%64)) != 0 {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

// pin chooses the two cores, and keeps this process on the load's.
func (b *bench) pin() error {
	cores, err := usableCores()
	if err != nil {
		return err
	}
	if len(cores) < 2 {
		return errors.New("two cores are needed, one for the contestant and one for the load; there is one")
	}
	if b.loadCPU < 0 {
		b.loadCPU = cores[0]
	}
	if b.gateCPU < 0 {
		b.gateCPU = cores[1]
	}
	if b.loadCPU == b.gateCPU {
		return fmt.Errorf("%w: -gate-cpu and -load-cpu are the same core", errUsage)
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			return err
		}
		if err := setAffinity(id, b.loadCPU); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// tick is the unit of times in /proc; the kernel has shown it as 100 a second for ever (USER_HZ).
const tick = time.Second / 100

// cpuClock reads the kernel's own clock of a process: user and system time of all its threads, those that ended too, in
// nanoseconds. /proc/PID/stat has the same sum in hundredths.
func cpuClock(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED: see clock_getcpuclockid(3)
	clock := int32(^pid<<3 | scheduled)
	var t syscall.Timespec
	_, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0)
	if e != 0 {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, e)
	}
	return time.Duration(t.Nano()), nil
}

// procStat is what of /proc/PID/stat is of use here.
type procStat struct {
	group         int
	endedChildren time.Duration // the user and system time of children that have ended and were waited for
}

func readStat(text string) (procStat, error) {
	end := strings.LastIndexByte(text, ')') // a program's name may have brackets and blanks
	if end < 0 {
		return procStat{}, fmt.Errorf("no program's name in %.100q", text)
	}
	f := strings.Fields(text[end+1:]) // f[0] is field 3, the state
	if len(f) < 15 {
		return procStat{}, fmt.Errorf("only %d fields in %.100q", len(f), text)
	}
	group, err := strconv.Atoi(f[2])
	user, err1 := strconv.ParseInt(f[13], 10, 64)
	system, err2 := strconv.ParseInt(f[14], 10, 64)
	return procStat{group, time.Duration(user+system) * tick}, errors.Join(err, err1, err2)
}

// groupMembers lists the processes of a group, with their stat.
func groupMembers(group int) (map[int]procStat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	members := map[int]procStat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		s, err := readStat(string(text))
		if err != nil {
			return nil, err
		}
		if s.group == group {
			members[pid] = s
		}
	}
	return members, nil
}

// cpuOf is the CPU time of a process that we started, with all its children.
func cpuOf(p *process) (time.Duration, error) {
	members, err := groupMembers(p.pid())
	if err != nil {
		return 0, err
	}
	if len(members) == 0 {
		return 0, errors.Join(fmt.Errorf("%s: no process left", p.name), p.alive())
	}
	var sum time.Duration
	for pid, s := range members {
		used, err := cpuClock(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		sum += used + s.endedChildren
	}
	return sum, nil
}

// residentOf is the resident memory of a process with all its children, in bytes.
func residentOf(p *process) (int64, error) {
	members, err := groupMembers(p.pid())
	if err != nil {
		return 0, err
	}
	var sum int64
	for pid := range members {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, err
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
			return 0, fmt.Errorf("/proc/%d/statm: %w", pid, err)
		}
		sum += resident * int64(os.Getpagesize())
	}
	if sum == 0 {
		return 0, errors.Join(fmt.Errorf("%s: no process left", p.name), p.alive())
	}
	return sum, nil
}

// A meter tells how much of the two cores' time went to others.
type meter struct {
	cores   []int
	running *processes
	// interrupts says that the kernel keeps the time of interrupts apart and charges no process with it. Then ours, which
	// is most of it with loopback traffic, must not be taken for someone else's.
	interrupts bool
}

func newMeter(gate, load int, running *processes) *meter {
	return &meter{cores: []int{gate, load}, running: running, interrupts: interruptsApart()}
}

// interruptsApart reads CONFIG_IRQ_TIME_ACCOUNTING; a kernel that does not tell is taken for one without.
func interruptsApart() bool {
	const on = "CONFIG_IRQ_TIME_ACCOUNTING=y"
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			text, _ := io.ReadAll(z)
			return bytes.Contains(text, []byte(on))
		}
	}
	text, _ := os.ReadFile("/boot/config-" + kernel())
	return bytes.Contains(text, []byte(on))
}

// A reading is the state of all clocks at one moment.
type reading struct {
	at   time.Time
	busy time.Duration // of the two cores
	own  time.Duration // of all that we run, load included
}

func (m *meter) read() (reading, error) {
	own, err := m.own()
	if err != nil {
		return reading{}, err
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return reading{}, err
	}
	busy, err := busyTime(string(text), m.cores, m.interrupts)
	return reading{time.Now(), busy, own}, err
}

func (m *meter) own() (time.Duration, error) {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			return 0, fmt.Errorf("getrusage: %w", err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for _, p := range m.running.running() {
		used, err := cpuOf(p)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// foreign is the share of the two cores' time between two readings that someone else had. Steal counts: it is another
// machine's. The kernel samples by ticks, so a turn of a second is known to about one part in fifty.
func (m *meter) foreign(from, to reading) float64 {
	wall := to.at.Sub(from.at) * time.Duration(len(m.cores))
	if wall <= 0 {
		return 0
	}
	return max(0, float64((to.busy-from.busy)-(to.own-from.own))/float64(wall))
}

// busyTime adds up what /proc/stat says of some cores, without idle time.
func busyTime(stat string, cores []int, interruptsApart bool) (time.Duration, error) {
	found := 0
	var sum int64
	for lines := bufio.NewScanner(strings.NewReader(stat)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		for _, core := range cores {
			if len(f) < 9 || f[0] != "cpu"+strconv.Itoa(core) {
				continue
			}
			found++
			for i, text := range f[1:9] { // user nice system idle iowait irq softirq steal; guest is in user
				idle, interrupt := i == 3 || i == 4, i == 5 || i == 6
				if idle || interrupt && interruptsApart {
					continue
				}
				n, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return 0, fmt.Errorf("/proc/stat: %w", err)
				}
				sum += n
			}
		}
	}
	if found != len(cores) {
		return 0, fmt.Errorf("/proc/stat has %d of the cores %v", found, cores)
	}
	return time.Duration(sum) * tick, nil
}
