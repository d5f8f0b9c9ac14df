package proxy

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The short look at a name lets none pass that the whole look would stop: in any spelling of any name that is stopped,
// and of names that are like one.
func TestTheShortLookStopsWhatTheWholeOneDoes(t *testing.T) {
	t.Parallel()
	f := newHouse(t).gate.fields
	var known []string
	for _, set := range []*names{f.removed, f.untold} {
		for name := range set.folded {
			known = append(known, name)
		}
	}
	known = append(known, "x-forwarded-x", "x-forwarded", "x-forwardedx", "x-jotgate-x", "x-jotgate", "accept", "a", "")
	slices.Sort(known)
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.SampledFrom(known).Draw(t, "name"))
		for i, c := range b {
			if rapid.Bool().Draw(t, "capital") {
				b[i] = strings.ToUpper(string(c))[0]
			}
			if c == '-' {
				b[i] = rapid.SampledFrom([]byte("-_.!~#$&'*+^`|%")).Draw(t, "mark")
			}
		}
		if len(b) > 0 && rapid.IntRange(0, 3).Draw(t, "change") == 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		name, folded := string(b), fold(nil, string(b))
		for _, trusted := range []bool{false, true} {
			want := !f.ours(folded) && (trusted || !f.untold.has(folded))
			if got := f.passes(name, nil, trusted); got != want {
				t.Fatalf("%q, trusted %v: passes %v", name, trusted, got)
			}
		}
	})
}

// BenchmarkFields is what the verdict on a client's field costs, by the short look and by the whole one.
func BenchmarkFields(b *testing.B) {
	f := newHouse(b).gate.fields
	usual := []string{
		"Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Cookie", "Origin", "Referer", "Sec-Fetch-Mode",
		"Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Dnt", "Priority",
		"If-None-Match", "X-Requested-With", "X-Further-1", "X-Further-2", "X-Further-3", "X-Csrf-Token", "X-Amzn-Trace-Id", "Cache-Control", "Pragma",
	}
	var room [maxFold]byte
	whole := func(name string) bool {
		folded := fold(room[:0], name)
		return !f.ours(folded) && !f.untold.has(folded)
	}
	for kind, passes := range map[string]func(name string) bool{
		"short": func(name string) bool { return f.passes(name, room[:0], false) }, "whole": whole,
	} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				for _, name := range usual {
					if !passes(name) {
						b.Fatal(name)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(usual)), "ns/field")
		})
	}
}
