package otel

import (
	"net"
	"strconv"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
)

// spans makes what is sent of a request. It runs in the exporter, not in the request.
func (q *Request) spans() []*otlp.Span {
	all := []*otlp.Span{q.serverSpan()}
	if !q.judged.IsZero() {
		all = append(all, q.judgeSpan())
	}
	if !q.answered.IsZero() {
		all = append(all, q.clientSpan())
	}
	return all
}

func (q *Request) serverSpan() *otlp.Span {
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

func (q *Request) judgeSpan() *otlp.Span {
	s := q.child("judge", otlp.Span_SPAN_KIND_INTERNAL, q.judging, q.judged)
	id := newSpanID()
	s.SpanId = id[:]
	reason := q.answer.Reason
	if !q.asking.IsZero() {
		reason = "" // it is the upstream's
	}
	s.Attributes = texts("jotgate.reason", reason, "jotgate.shadow_reason", q.answer.Shadow)
	return s
}

func (q *Request) clientSpan() *otlp.Span {
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
func (q *Request) outcome(s *otlp.Span, status, bad int, reason string) {
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

// The flags of a span: that it is traced, and that its parent's process is known (bits 8 and 9 of Span.flags).
const (
	sampled        = 0x01
	parentIsKnown  = 0x100
	parentIsRemote = 0x200
)

func (q *Request) child(name string, kind otlp.Span_SpanKind, from, to time.Time) *otlp.Span {
	s := q.span(name, kind, from, to)
	s.ParentSpanId = q.server[:]
	return s
}

func (q *Request) span(name string, kind otlp.Span_SpanKind, from, to time.Time) *otlp.Span {
	return &otlp.Span{
		TraceId: q.trace[:], Name: name, Kind: kind, StartTimeUnixNano: uint64(from.UnixNano()),
		EndTimeUnixNano: uint64(max(to.UnixNano(), from.UnixNano())),
		Flags:           sampled | parentIsKnown,
	}
}

// method is one of the well-known methods, or the word for another: names must be few.
func method(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY":
		return m
	}
	return "_OTHER"
}

func version(major int) string {
	if major == 1 {
		return "1.1"
	}
	return strconv.Itoa(major)
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
