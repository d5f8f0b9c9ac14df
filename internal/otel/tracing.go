// Package traces tells an OpenTelemetry collector how requests went.
//
// A request that is traced has a span of its own (kind SERVER), one for the judging, and one for the question to the
// upstream (kind CLIENT), with attributes by OpenTelemetry's semantic conventions for HTTP. The trace context of W3C
// Trace Context (traceparent, tracestate) is taken from the client, as far as the configuration allows, and given to
// the upstream with our own span in it, for requests that are not traced too, so that what stands behind us knows.
//
// Spans go to the collector by OTLP over HTTP, in batches, from a queue that is bounded: when the collector is slow or
// gone, spans are lost and counted, and no request waits. The messages are the protocol's own
// (go.opentelemetry.io/proto/otlp); of the SDK, which would take a mebibyte of memory for three spans that are always
// the same, nothing is needed, and of the official exporter, which brings gRPC, neither.
//
// No span has a credential: no header but the user agent, no query, and the path as the access log has it.
package otel

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Whose trace context is taken up.
const (
	ParentAny     = "any"
	ParentTrusted = "trusted" // that of trusted proxies
	ParentNone    = "none"
)

// The fields of W3C Trace Context, as net/http spells them.
const (
	Parent = "Traceparent"
	State  = "Tracestate"
)

// A Tracer begins the traces of a process. A nil one traces nothing.
type Tracer struct {
	ratio  float64
	parent string
	clock  func() time.Time
	export *exporter
}

// A Request is one request's part of a trace. A nil one is not traced; every method may be called on it.
type Request struct {
	tracer *Tracer
	parent trace.SpanContext // the client's; the zero one if there is none, or it does not count
	trace  trace.TraceID
	server trace.SpanID
	client trace.SpanID // of the question to the upstream
	judge  trace.SpanID
	state  string // tracestate, as it came
	traced bool   // spans are sent; else only the context goes on

	begun, ended     time.Time
	judging, judged  time.Time
	asking, answered time.Time
	upstream         int // the status of the upstream's answer; 0: none
	answer           Answer
}

// Begin takes up the trace of a request by its header fields, or begins one.
func (t *Tracer) Begin(h http.Header, trusted bool, at time.Time) *Request {
	if t == nil {
		return nil
	}
	q := requests.Get().(*Request)
	q.tracer, q.begun = t, at
	if t.parent == ParentAny || t.parent == ParentTrusted && trusted {
		q.take(h)
	}
	if q.parent.IsValid() {
		q.trace = q.parent.TraceID()
	} else {
		binary.BigEndian.PutUint64(q.trace[:8], rand.Uint64())
		binary.BigEndian.PutUint64(q.trace[8:], rand.Uint64()|1) // all zeros is no id
	}
	q.server = newSpanID()
	if q.parent.IsValid() && trusted {
		q.traced = q.parent.IsSampled()
	} else {
		q.traced = rand.Float64() < t.ratio // what a stranger asks for does not count: it would cost us
	}
	return q
}

var requests = sync.Pool{New: func() any { return new(Request) }}

// free gives the request's memory to the next one.
func (q *Request) free() {
	*q = Request{}
	requests.Put(q)
}

// take reads the parent. Two of them count as none: either could be the one that counts.
func (q *Request) take(h http.Header) {
	if len(h[Parent]) != 1 {
		return
	}
	q.parent = parentOf(h[Parent][0])
	if state := strings.Join(h[State], ","); state != "" && q.parent.IsValid() && len(state) <= longestState {
		if _, err := trace.ParseTraceState(state); err == nil {
			q.state = state
		}
	}
}

// parentOf reads a traceparent (W3C Trace Context §3.2); the zero context is none. A version of the future may say more
// behind what this one says.
func parentOf(text string) trace.SpanContext {
	const whole = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	var b [1 + 16 + 8 + 1]byte
	if len(text) < whole || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
		!hexOf(b[:1], text[:2]) || !hexOf(b[1:17], text[3:35]) || !hexOf(b[17:25], text[36:52]) ||
		!hexOf(b[25:], text[53:whole]) {
		return trace.SpanContext{}
	}
	later := text[whole:]
	if b[0] == 0xff || b[0] == 0 && (later != "" || b[25] > 3) || later != "" && later[0] != '-' {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(b[1:17]), SpanID: trace.SpanID(b[17:25]), Remote: true,
		TraceFlags: trace.TraceFlags(b[25]) & (trace.FlagsSampled | trace.FlagsRandom),
	})
}

// hexOf reads lower-case digits.
func hexOf(to []byte, text string) bool {
	for i := range len(text) {
		c := text[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return false
		}
		to[i/2] = to[i/2]<<4 | c
	}
	return true
}

// longestState is what W3C Trace Context §3.3.1.5 asks to be passed on at least.
const longestState = 512

func newSpanID() (id trace.SpanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1)
	return id
}

// ID is the trace's id for logs, 32 hex digits; "" for a request that has none.
func (q *Request) ID() string {
	if q == nil {
		return ""
	}
	return q.trace.String()
}

// Traced returns the trace's id where spans of the request are sent, and reports whether they are.
func (q *Request) Traced() (id [16]byte, traced bool) {
	if q == nil || !q.traced {
		return id, false
	}
	return q.trace, true
}

// Judging and Judged are the beginning and the end of the verdict.
func (q *Request) Judging() {
	if q != nil && q.traced {
		q.judging = q.tracer.clock()
	}
}

// Judged ends what Judging began.
func (q *Request) Judged() {
	if q != nil && q.traced {
		q.judged, q.judge = q.tracer.clock(), newSpanID()
	}
}

// Asking and Answered are the beginning of the question to the upstream, and the head of its answer.
func (q *Request) Asking() {
	if q == nil {
		return
	}
	if q.client = newSpanID(); q.traced {
		q.asking = q.tracer.clock()
	}
}

// Answered ends what Asking began; status is 0 where no answer came.
func (q *Request) Answered(status int) {
	if q != nil && q.traced {
		q.answered, q.upstream = q.tracer.clock(), status
	}
}

// Outgoing are the values of traceparent and tracestate for the upstream; "" for a field that is not sent.
func (q *Request) Outgoing() (traceparent, tracestate string) {
	if q == nil {
		return "", ""
	}
	span, flags := q.client, "01"
	if !q.traced {
		flags = "00"
	}
	var text [55]byte
	b := append(text[:0], "00-"...)
	b = hex.AppendEncode(b, q.trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, span[:])
	b = append(b, '-')
	return string(append(b, flags...)), q.state
}

// An Answer is what is known of a request when it is over.
type Answer struct {
	Method, Route, Path, Scheme, Host, Client, UserAgent string
	Protocol                                             int // the major version of HTTP

	RequestID      string
	Status         int    // 0: none was sent
	Reason, Shadow string // why it was refused, or would have been
	Upstream       string // host:port that was asked
}

// End hands the spans over, if there are any. The request must not be used any more.
func (q *Request) End(a Answer) {
	switch {
	case q == nil:
		return
	case !q.traced:
		q.free()
		return
	}
	q.ended, q.answer = q.tracer.clock(), a
	q.tracer.export.take(q)
}
