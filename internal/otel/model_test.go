package otel

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// A model makes the spans of a request.
type model struct{ *Request }

// spans is what is sent of a request in the messages of the protocol's own package: the model of appendSpans.
func (q model) spans() []*otlp.Span {
	all := []*otlp.Span{q.serverSpan()}
	if !q.judged.IsZero() {
		all = append(all, q.judgeSpan())
	}
	if !q.answered.IsZero() {
		all = append(all, q.clientSpan())
	}
	return all
}

func (q model) serverSpan() *otlp.Span {
	a := &q.answer
	name := method(a.Method)
	if a.Route != "" {
		name += " " + a.Route
	}
	s := q.span(name, otlp.Span_SPAN_KIND_SERVER, q.begun, q.ended)
	s.SpanId = q.server[:]
	if q.parent.IsValid() {
		id := q.parent.SpanID()
		s.ParentSpanId = id[:]
		s.Flags |= parentIsRemote
	}
	s.TraceState = q.state
	s.Attributes = texts(
		"http.request.method", method(a.Method), "http.route", a.Route, "url.scheme", a.Scheme, "url.path", a.Path,
		"server.address", a.Host,
		"client.address", a.Client, "user_agent.original", a.UserAgent, "network.protocol.name", "http",
		"network.protocol.version", version(a.Protocol),
		"jotgate.request_id", a.RequestID, "jotgate.reason", a.Reason, "jotgate.shadow_reason", a.Shadow,
	)
	q.outcome(s, a.Status, 500, a.Reason)
	return s
}

func (q model) judgeSpan() *otlp.Span {
	s := q.child("judge", otlp.Span_SPAN_KIND_INTERNAL, q.judging, q.judged)
	s.SpanId = q.judge[:]
	reason := q.answer.Reason
	if !q.asking.IsZero() {
		reason = "" // it is the upstream's
	}
	s.Attributes = texts("jotgate.reason", reason, "jotgate.shadow_reason", q.answer.Shadow)
	return s
}

func (q model) clientSpan() *otlp.Span {
	a := &q.answer
	s := q.child(method(a.Method), otlp.Span_SPAN_KIND_CLIENT, q.asking, q.answered)
	s.SpanId = q.client[:]
	s.Attributes = texts("http.request.method", method(a.Method))
	host, port, err := net.SplitHostPort(a.Upstream)
	if err != nil {
		host = a.Upstream
	}
	s.Attributes = append(s.Attributes, texts("server.address", host)...)
	if n, err := strconv.Atoi(port); err == nil {
		s.Attributes = append(s.Attributes, number("server.port", n))
	}
	reason := ""
	if q.upstream == 0 {
		reason = a.Reason
	}
	q.outcome(s, q.upstream, 400, reason)
	return s
}

// outcome says how a span ended: an error from a status on, or where there is none.
func (q model) outcome(s *otlp.Span, status, bad int, reason string) {
	if status > 0 {
		s.Attributes = append(s.Attributes, number("http.response.status_code", status))
	}
	if status > 0 && status < bad {
		return
	}
	if reason == "" && status > 0 {
		reason = strconv.Itoa(status)
	}
	if reason == "" {
		reason = "_OTHER"
	}
	s.Attributes = append(s.Attributes, texts("error.type", reason)...)
	s.Status = &otlp.Status{Code: otlp.Status_STATUS_CODE_ERROR}
}

func (q model) child(name string, kind otlp.Span_SpanKind, from, to time.Time) *otlp.Span {
	s := q.span(name, kind, from, to)
	s.ParentSpanId = q.server[:]
	return s
}

func (q model) span(name string, kind otlp.Span_SpanKind, from, to time.Time) *otlp.Span {
	return &otlp.Span{
		TraceId: q.trace[:], Name: name, Kind: kind, StartTimeUnixNano: uint64(from.UnixNano()),
		EndTimeUnixNano: uint64(max(to.UnixNano(), from.UnixNano())),
		Flags:           sampled | parentIsKnown,
	}
}

// texts makes attributes of names and values; an empty value makes none.
func texts(pairs ...string) (all []*common.KeyValue) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, &common.KeyValue{
				Key:   pairs[i],
				Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: pairs[i+1]}},
			})
		}
	}
	return all
}

func number(name string, n int) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: int64(n)}}}
}

// What is written is what the protocol's own package would read and write, for requests of every kind.
func TestSpansAreThoseOfTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "a", "GET", "TRACK", "/t/{tenant}/", strings.Repeat("long", 100), "grüße"})
		at := func(label string) time.Time {
			if rapid.IntRange(0, 2).Draw(t, label) == 0 {
				return time.Time{}
			}
			return time.Unix(1_700_000_000, int64(rapid.IntRange(0, 1<<30).Draw(t, label+" ns")))
		}
		status := rapid.SampledFrom([]int{0, 200, 302, 404, 500, 503})
		q := &Request{begun: time.Unix(1_700_000_000, 5), ended: at("ended"), judging: at("judging"), judged: at("judged")}
		q.asking, q.answered, q.upstream = at("asking"), at("answered"), status.Draw(t, "upstream")
		binary.BigEndian.PutUint64(q.trace[8:], rand.Uint64()|1)
		q.server, q.client, q.judge = newSpanID(), newSpanID(), newSpanID()
		if rapid.Bool().Draw(t, "parent") {
			q.parent = trace.NewSpanContext(trace.SpanContextConfig{TraceID: q.trace, SpanID: newSpanID(), Remote: true})
			q.state = "a=b"
		}
		q.answer = Answer{
			Method: text.Draw(t, "method"), Route: text.Draw(t, "route"), Path: text.Draw(t, "path"),
			Scheme: text.Draw(t, "scheme"), Host: text.Draw(t, "host"), Client: text.Draw(t, "client"),
			UserAgent: text.Draw(t, "agent"), Protocol: rapid.IntRange(1, 2).Draw(t, "protocol"),
			RequestID: text.Draw(t, "id"), Status: status.Draw(t, "status"), Reason: text.Draw(t, "reason"),
			Shadow:   text.Draw(t, "shadow"),
			Upstream: rapid.SampledFrom([]string{"", "app:8080", "[::1]:9", "/run/app.sock"}).Draw(t, "upstream address"),
		}
		var got otlp.ScopeSpans
		if err := proto.Unmarshal(appendSpans(nil, q), &got); err != nil {
			t.Fatal(err)
		}
		if want := (&otlp.ScopeSpans{Spans: model{q}.spans()}); !proto.Equal(&got, want) {
			t.Fatalf("got %v\nwant %v", &got, want)
		}
	})
}

// Bytes that are no UTF-8 cost nothing but themselves: a collector would refuse the whole batch.
func TestBytesThatAreNoText(t *testing.T) {
	t.Parallel()
	q := &Request{begun: time.Now(), ended: time.Now(), answer: Answer{UserAgent: "a\xffb", Path: "/\xc3\x28"}}
	var got otlp.ScopeSpans
	if err := proto.Unmarshal(appendSpans(nil, q), &got); err != nil || len(got.Spans) != 1 {
		t.Fatal(err, &got)
	}
}

// A parent is read as the reference reads it.
func TestParentsAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	good := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.SampledFrom([]string{
			good, good[:53] + "00", "01" + good[2:], "01" + good[2:] + "-more", "ff" + good[2:], good + "-more", good[:54],
			good + "0", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "", good[:53] + "ff", good[:53] + "03",
			"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "cc" + good[2:] + "x", "01" + good[2:53] + "09",
		}).Draw(t, "text"))
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			if len(b) > 0 {
				b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("0afgAF- \x00")).Draw(t, "byte")
			}
		}
		carrier := propagation.MapCarrier{"traceparent": string(b)}
		want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), carrier))
		got := parentOf(string(b))
		if got.IsValid() != want.IsValid() || got.IsValid() && !got.Equal(want) {
			t.Fatalf("%q: %+v, want %+v", b, got, want)
		}
	})
}

// A traced request leaves what its text is and no more, and one that is not traced as little.
func TestAllocationsOfATrace(t *testing.T) {
	tracer := &Tracer{ratio: 0, parent: ParentAny, clock: time.Now, export: &exporter{}}
	h := http.Header{Parent: {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	if n := testing.AllocsPerRun(1000, func() {
		q := tracer.Begin(h, false, time.Now())
		q.Judging()
		q.Judged()
		q.Asking()
		_, _ = q.Outgoing()
		q.Answered(200)
		q.End(Answer{})
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
	q := &Request{begun: time.Now(), ended: time.Now(), judging: time.Now(), judged: time.Now()}
	q.answer = Answer{Method: "GET", Route: "/", Path: "/", Upstream: "app:1"}
	room := make([]byte, 0, 4<<10)
	if n := testing.AllocsPerRun(1000, func() { room = appendSpans(room[:0], q) }); n > 1 {
		t.Errorf("%v allocations for its spans", n)
	}
}
