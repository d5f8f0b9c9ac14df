package telemetry

import (
	"mime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/request"
)

// exemplars are observations whose traces can be looked up, by the bucket that they count in.
type exemplars [mostBounds + 1]atomic.Pointer[exemplar]

// An exemplar is an observation of a request whose spans are sent to the collector.
type exemplar struct {
	trace [16]byte
	value time.Duration
	at    time.Time
}

// exemplarAge is how long an exemplar stays before the next observation in its bucket replaces it: a busy bucket costs
// one allocation in that time.
const exemplarAge = time.Second

// observeTraced counts d, and keeps the trace of the request where it has one.
func (h *histogram) observeTraced(bounds []time.Duration, d time.Duration, x *request.Exchange, at time.Time) {
	bucket := h.observe(bounds, d)
	if x.Trace == nil {
		return
	}
	trace, traced := x.Trace.Traced()
	if !traced {
		return
	}
	all := h.exemplars.Load()
	if all == nil {
		h.exemplars.CompareAndSwap(nil, new(exemplars))
		all = h.exemplars.Load()
	}
	if last := all[bucket].Load(); last == nil || at.Sub(last.at) >= exemplarAge {
		all[bucket].Store(&exemplar{trace, max(0, d), at})
	}
}

// exemplar returns the one of a bucket; nil is none.
func (h *histogram) exemplar(bucket int) *exemplar {
	if all := h.exemplars.Load(); all != nil {
		return all[bucket].Load()
	}
	return nil
}

// text is the part of a sample's line behind its value.
func (e *exemplar) text() string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteString(` # {trace_id="`)
	for _, c := range e.trace {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	b.WriteString(`"} ` + openNumber(e.value.Seconds()) + " ")
	b.WriteString(strconv.FormatFloat(float64(e.at.UnixMilli())/1000, 'f', -1, 64))
	return b.String()
}

// openNumber writes a number as OpenMetrics has it where it counts as text (quantiles and bounds of buckets): 1 is 1.0.
func openNumber(value float64) string {
	text := number(value)
	if strings.ContainsAny(text, ".eIN") {
		return text
	}
	return text + ".0"
}

// Content types of the two formats.
const (
	plainType = "text/plain; version=0.0.4; charset=utf-8"
	openType  = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// prefersOpen reports whether a scraper prefers OpenMetrics 1.0 to Prometheus' text format (RFC 9110 §12.5.1). One that
// does not name it gets the other.
func prefersOpen(fields []string) bool {
	open, plain := 0.0, 0.0
	for _, field := range fields {
		for element := range strings.SplitSeq(field, ",") {
			name, parameters, err := mime.ParseMediaType(element)
			if err != nil {
				continue
			}
			weight := 1.0
			if q, weighted := parameters["q"]; weighted {
				if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
					continue
				}
			}
			version := parameters["version"]
			switch {
			case name == "application/openmetrics-text" && (version == "" || version == "1.0.0"):
				open = max(open, weight)
			case name == "text/plain" && (version == "" || version == "0.0.4"):
				plain = max(plain, weight)
			}
		}
	}
	return open > 0 && open >= plain
}
