package telemetry

import (
	"errors"
	"io"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// A Word is a member of an audit line.
type Word struct{ Name, Value string }

// Issued writes the audit line of an issuance, or of its refusal, in the shape of Audit's other lines, and returns when it is
// written. Words that say nothing are left out, and so is a ttl of zero.
func (l *Log) Issued(event string, words []Word, ttl time.Duration) {
	if l.through == nil {
		return
	}
	room := lines.Get().(*line)
	b := begin((*room)[:0], time.Now(), "audit", event)
	for _, w := range words {
		b = b.some(w.Name, w.Value)
	}
	if ttl != 0 {
		b = strconv.AppendFloat(b.key("ttl"), float64(ttl.Microseconds())/1000, 'f', -1, 64) // below zero: born expired
	}
	b = append(b, "}\n"...)
	_, _ = l.through.Write(b) // a log that cannot be written has nobody to tell
	b.free(room)
}

// A joint writes through: when Write returns, its line is written. Lines that come while others are about to be written go out
// with them, in one write: a write for each is a twentieth of what a minted token costs.
type joint struct {
	to io.Writer

	writing sync.Mutex // one write at a time
	mu      sync.Mutex
	next    *gathering // what others may join; nil: nothing
}

// A gathering is what goes out in one write.
type gathering struct {
	lines   []byte
	written chan struct{} // closed when err says what became of it
	err     error
}

var errBroken = errors.New("writing the audit line broke off")

// gatherMost bounds one write: a line more begins the next.
const gatherMost = 64 << 10

// Write implements io.Writer.
func (j *joint) Write(p []byte) (int, error) {
	j.mu.Lock()
	g := j.next
	if g != nil && len(g.lines)+len(p) <= gatherMost {
		g.lines = append(g.lines, p...)
		j.mu.Unlock()
		<-g.written
		return len(p), g.err
	}
	g = &gathering{lines: append(make([]byte, 0, 2*len(p)), p...), written: make(chan struct{})}
	j.next = g
	j.mu.Unlock()
	runtime.Gosched() // whoever is about to join may
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	if j.next == g {
		j.next = nil
	}
	j.mu.Unlock()
	defer close(g.written)
	g.err = errBroken
	_, g.err = j.to.Write(g.lines)
	return len(p), g.err
}

// Sync implements zapcore.WriteSyncer: there is nothing to wait for.
func (j *joint) Sync() error { return nil }
