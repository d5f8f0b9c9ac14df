package telemetry

import (
	"strconv"
	"time"
)

// A Word is a member of an audit line.
type Word struct{ Name, Value string }

// Issued writes the audit line of an issuance, or of its refusal, in the shape of Audit's other lines, and returns when
// it is written. Words that say nothing are left out, and so is a ttl of zero.
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
	_, _ = l.through.Write(b) // the failure of a log cannot be logged
	b.free(room)
}
