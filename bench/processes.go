//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// processes starts everything else and ends it again, whatever happens: each is the leader of a process group of its
// own, and is told to end should this process die first.
type processes struct {
	jobs chan job
	mu   sync.Mutex
	all  []*process // that were not ended yet
}

type job struct {
	cmd  *exec.Cmd
	core int
	done chan error
}

// A process is a program that runs until it is ended.
type process struct {
	name    string
	cmd     *exec.Cmd
	logPath string
	log     *os.File
	begun   time.Time // just before it was started
	exited  chan struct{}
}

func newProcesses() *processes {
	ps := &processes{jobs: make(chan job)}
	go ps.spawn()
	return ps
}

// spawn starts processes from one thread that it never leaves. A child inherits the core of the thread that forks it,
// and so has it before its first instruction, which is when a Go program counts its cores; and a child's parent-death
// signal is about that thread.
func (ps *processes) spawn() {
	runtime.LockOSThread()
	for j := range ps.jobs {
		err := setAffinity(0, j.core)
		if err == nil {
			err = j.cmd.Start()
		}
		j.done <- err
	}
}

// launch starts cmd on a core.
func (ps *processes) launch(cmd *exec.Cmd, core int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	done := make(chan error)
	ps.jobs <- job{cmd, core, done}
	if err := <-done; err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return nil
}

// start starts a server, whose output goes to a file.
func (ps *processes) start(name string, core int, logPath string, argv ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{
		name: name, cmd: exec.Command(argv[0], argv[1:]...), logPath: logPath, log: log,
		exited: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.begun = time.Now()
	if err := ps.launch(p.cmd, core); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	ps.all = append(ps.all, p)
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the log has it
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// alive says what a process that is gone wrote last.
func (p *process) alive() error {
	select {
	case <-p.exited:
		text, _ := os.ReadFile(p.logPath)
		return fmt.Errorf("%s has ended: %s: %.2000s", p.name, p.cmd.ProcessState, text)
	default:
		return nil
	}
}

// end asks, then insists. What a master leaves behind, its group has.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.exited
	_ = p.log.Close()
}

// mark is a place to go back to with endSince.
func (ps *processes) mark() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.all)
}

// endSince ends what was started after the mark, the latest first.
func (ps *processes) endSince(mark int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range slices.Backward(ps.all[mark:]) {
		p.end()
	}
	ps.all = ps.all[:mark]
}

// stop ends one process.
func (ps *processes) stop(p *process) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.end()
	ps.all = slices.DeleteFunc(ps.all, func(q *process) bool { return q == p })
}

func (ps *processes) endAll() {
	ps.endSince(0)
	close(ps.jobs)
}

// running lists what runs now.
func (ps *processes) running() []*process {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Clone(ps.all)
}

// tool runs a program to its end and gives what it printed. If after is not zero, the program is interrupted then,
// which it takes for the end of its work.
func (ps *processes) tool(ctx context.Context, core int, after time.Duration, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	reader, writer, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer reader.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	err = ps.launch(cmd, core)
	_ = writer.Close() // the child has its own
	if err != nil {
		return "", err
	}
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		interruptAfter(ctx, cmd.Process, after, over)
	}()
	out, readErr := io.ReadAll(reader)
	err = cmd.Wait()
	close(over)
	<-watched
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err = errors.Join(readErr, err); err != nil {
		return "", fmt.Errorf("%s: %w: %.2000s", argv[0], err, out)
	}
	return string(out), nil
}

func interruptAfter(ctx context.Context, p *os.Process, after time.Duration, over <-chan struct{}) {
	var alarm <-chan time.Time
	if after > 0 {
		timer := time.NewTimer(after)
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-over:
	case <-ctx.Done():
		_ = p.Kill()
	case <-alarm:
		_ = p.Signal(syscall.SIGINT)
	}
}
