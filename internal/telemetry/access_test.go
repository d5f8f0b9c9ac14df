package telemetry

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Whatever stands in a line, a JSON parser reads it back, and the line is one line.
func TestAccessLineIsJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		value := string(rapid.SliceOf(rapid.Byte()).Draw(r, "value"))
		us := rapid.Int64Range(0, 1<<40).Draw(r, "microseconds")
		b := begin(nil, time.Unix(1, 5), "access", "request").text("v", value).milliseconds("ms",
			time.Duration(us)*time.Microsecond)
		b = append(b, '}')
		var got struct {
			V  string
			MS json.Number
		}
		if err := json.Unmarshal(b, &got); err != nil {
			r.Fatalf("%v: %s", err, b)
		}
		if want := strings.ToValidUTF8(value, "\uFFFD"); utf8.ValidString(value) && got.V != want {
			r.Fatalf("%q was written as %s", value, b)
		}
		if want, _ := json.Marshal(float64(us) / 1000); us < 1<<30 && string(want) != got.MS.String() {
			r.Fatalf("%d µs was written as %s", us, got.MS)
		}
		if strings.ContainsAny(string(b), "\n\r") {
			r.Fatalf("more than one line: %q", b)
		}
	})
}

func BenchmarkAccessLine(b *testing.B) {
	b.ReportAllocs()
	room, now := make(line, 0, 1<<10), time.Now()
	for b.Loop() {
		l := begin(room, now, "access", "request")
		for range 12 {
			l = l.text("request_id", "0190f7c6-6f0b-7c3e-9b0a-1a2b3c4d5e6f")
		}
	}
}
