package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// TestAuditLinesHaveOneShape compares a line that is put together here with one of the logger's.
func TestAuditLinesHaveOneShape(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Hour, 1500 * time.Microsecond, -90 * time.Second} {
		var out bytes.Buffer
		log, err := NewLog(&out, "error", false)
		if err != nil {
			t.Fatal(err)
		}
		log.Issued("code_issue", []Word{{"outcome", "granted"}, {"role", ""}, {"subject", "al\"ice\n\\ \x00 ü \xff"}}, ttl)
		fields := []zap.Field{zap.String("outcome", "granted"), zap.String("subject", "al\"ice\n\\ \x00 ü \xff")}
		if ttl != 0 {
			fields = append(fields, zap.Duration("ttl", ttl))
		}
		log.Audit.Info("code_issue", fields...)
		var lines [2]map[string]any
		for i, text := range strings.SplitN(strings.TrimSpace(out.String()), "\n", 2) {
			if err := json.Unmarshal([]byte(text), &lines[i]); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if _, err := time.Parse(time.RFC3339Nano, lines[i]["ts"].(string)); err != nil {
				t.Error(err)
			}
			delete(lines[i], "ts")
		}
		if diff := cmp.Diff(lines[1], lines[0]); diff != "" {
			t.Errorf("ttl %v: (-logger +ours)\n%s", ttl, diff)
		}
	}
}

// A disk keeps what it was given, and counts how often.
type disk struct {
	mu     sync.Mutex
	kept   bytes.Buffer
	writes int
	broken error
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.broken != nil {
		return 0, d.broken
	}
	return d.kept.Write(p)
}

func (d *disk) has(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains("\n"+d.kept.String(), "\n"+line)
}

// A line is written when Write returns, whoever else writes at that time; none is lost, doubled or torn.
func TestJointWritesThrough(t *testing.T) {
	t.Parallel()
	const writers, each = 32, 50
	d := new(disk)
	j := &joint{to: d}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				line := fmt.Sprintf("%d-%d %s\n", w, i, strings.Repeat("x", (w*i)%2000))
				if n, err := j.Write([]byte(line)); n != len(line) || err != nil {
					t.Errorf("%d, %v", n, err)
				}
				if !d.has(line) {
					t.Errorf("%.20s is not written yet", line)
				}
			}
		})
	}
	all.Wait()
	seen := map[string]int{}
	for line := range strings.Lines(d.kept.String()) {
		name, rest, _ := strings.Cut(line, " ")
		if seen[name]++; strings.Trim(rest, "x\n") != "" {
			t.Errorf("torn: %.40q", line)
		}
	}
	for w := range writers {
		for i := range each {
			if seen[fmt.Sprintf("%d-%d", w, i)] != 1 {
				t.Fatalf("%d-%d is there %d times", w, i, seen[fmt.Sprintf("%d-%d", w, i)])
			}
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d lines", len(seen))
	}
	if d.writes >= writers*each {
		t.Logf("no two lines went out together")
	}
}

// Whose line was gathered by somebody whose write panics hears that it is not written.
func TestJointWhoseWriterPanics(t *testing.T) {
	t.Parallel()
	j := &joint{to: panicking{}}
	j.writing.Lock()
	heard := make(chan error, 4)
	for range cap(heard) {
		go func() {
			defer func() {
				if recover() != nil {
					heard <- errBroken
				}
			}()
			_, err := j.Write([]byte("line\n"))
			heard <- err
		}()
	}
	for gathered := 0; gathered < cap(heard)*len("line\n"); {
		j.mu.Lock()
		if j.next != nil {
			gathered = len(j.next.lines)
		}
		j.mu.Unlock()
	}
	j.writing.Unlock()
	for range cap(heard) {
		if err := <-heard; !errors.Is(err, errBroken) {
			t.Errorf("heard %v", err)
		}
	}
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("disk") }

// Lines that come while a write is under way go out in the next one, together, and each hears what became of it.
func TestJointGathers(t *testing.T) {
	t.Parallel()
	d := &disk{broken: errors.New("disk full")}
	j := &joint{to: d}
	j.writing.Lock() // a write is under way
	heard := make(chan error, 8)
	for range cap(heard) {
		go func() { _, err := j.Write([]byte("line\n")); heard <- err }()
	}
	for gathered := 0; gathered < cap(heard)*len("line\n"); {
		j.mu.Lock()
		if j.next != nil {
			gathered = len(j.next.lines)
		}
		j.mu.Unlock()
	}
	j.writing.Unlock()
	for range cap(heard) {
		if err := <-heard; !errors.Is(err, d.broken) {
			t.Errorf("heard %v", err)
		}
	}
	if d.writes != 1 {
		t.Errorf("%d writes", d.writes)
	}
	if d.broken = nil; j.next != nil {
		t.Error("something is left")
	}
	big := bytes.Repeat([]byte("y"), gatherMost)
	if n, err := j.Write(big); n != len(big) || err != nil {
		t.Errorf("a line as long as a write may be: %d, %v", n, err)
	}
}
