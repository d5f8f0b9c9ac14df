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

// A disk keeps what it is given, and counts the writes.
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
	return strings.Contains(d.kept.String(), line)
}

// An audit line is written when Issued returns, and lines of concurrent callers are neither lost nor torn.
func TestAuditLinesAreWrittenThrough(t *testing.T) {
	t.Parallel()
	const writers, each = 16, 50
	d := new(disk)
	log, err := NewLog(d, "error", false)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				log.Issued("code_issue", []Word{{"jti", id}, {"subject", strings.Repeat("x", (w*i)%2000)}}, 0)
				if !d.has(`"jti":"` + id + `"`) {
					t.Errorf("%s is not written yet", id)
				}
			}
		})
	}
	all.Wait()
	seen := map[string]int{}
	for text := range strings.Lines(d.kept.String()) {
		var line struct {
			JTI string `json:"jti"`
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in %.80s", err, text)
		}
		seen[line.JTI]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d lines of %d", len(seen), writers*each)
	}
}

// A log that cannot be written costs no request.
func TestAuditOfAFullDiskDoesNotFail(t *testing.T) {
	t.Parallel()
	d := &disk{broken: errors.New("disk full")}
	log, err := NewLog(d, "error", false)
	if err != nil {
		t.Fatal(err)
	}
	log.Issued("code_issue", []Word{{"jti", "1"}}, 0)
	if d.writes != 1 {
		t.Errorf("%d writes", d.writes)
	}
}
