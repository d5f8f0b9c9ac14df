package otel

import (
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// Spans are written as the messages of OTLP are on the wire (opentelemetry/proto/trace/v1/trace.proto), since objects
// for three spans and their attributes would cost more than the request that they are about. The tests compare the
// bytes with those of the protocol's own package.

// The numbers of the fields that are written.
const (
	tracesResourceSpans = 1
	spansResource       = 1
	spansScopeSpans     = 2
	resourceAttributes  = 1
	scopeSpansScope     = 1
	scopeSpansSpans     = 2
	scopeName           = 1
	scopeVersion        = 2

	spanTrace, spanID, spanState, spanParent = 1, 2, 3, 4
	spanName, spanKind, spanStart, spanEnd   = 5, 6, 7, 8
	spanAttributes, spanStatus, spanFlags    = 9, 15, 16
	statusCode, statusError                  = 3, 2
	pairKey, pairValue                       = 1, 2
	valueText, valueNumber                   = 1, 3
)

// The kinds of spans.
const (
	kindInternal = 1
	kindServer   = 2
	kindClient   = 3
)

// The flags of a span: that it is traced, and that its parent's process is known (bits 8 and 9 of Span.flags).
const (
	sampled        = 0x01
	parentIsKnown  = 0x100
	parentIsRemote = 0x200
)

// appendSpans writes what is sent of a request, as fields of a ScopeSpans. It runs in the exporter, not in the request.
func appendSpans(b []byte, q *Request) []byte {
	b = nested(b, scopeSpansSpans, q.serverSpan)
	if !q.judged.IsZero() {
		b = nested(b, scopeSpansSpans, q.judgeSpan)
	}
	if !q.answered.IsZero() {
		b = nested(b, scopeSpansSpans, q.clientSpan)
	}
	return b
}

func (q *Request) serverSpan(b []byte) []byte {
	a := &q.answer
	name := method(a.Method)
	if a.Route != "" {
		name += " " + a.Route
	}
	parent, flags := trace.SpanID{}, uint32(0)
	if q.parent.IsValid() {
		parent, flags = q.parent.SpanID(), parentIsRemote
	}
	b = q.span(b, name, kindServer, q.server, parent, flags, q.begun, q.ended)
	b = appendString(b, spanState, q.state)
	for _, pair := range [...][2]string{
		{"http.request.method", method(a.Method)},
		{"http.route", a.Route},
		{"url.scheme", a.Scheme},
		{"url.path", a.Path},
		{"server.address", a.Host},
		{"client.address", a.Client},
		{"user_agent.original", a.UserAgent},
		{"network.protocol.name", "http"},
		{"network.protocol.version", version(a.Protocol)},
		{"jotgate.request_id", a.RequestID},
		{"jotgate.reason", a.Reason},
		{"jotgate.shadow_reason", a.Shadow},
	} {
		b = appendText(b, spanAttributes, pair[0], pair[1])
	}
	return outcome(b, a.Status, 500, a.Reason)
}

func (q *Request) judgeSpan(b []byte) []byte {
	b = q.child(b, "judge", kindInternal, q.judge, q.judging, q.judged)
	reason := q.answer.Reason
	if !q.asking.IsZero() {
		reason = "" // it is the upstream's
	}
	b = appendText(b, spanAttributes, "jotgate.reason", reason)
	return appendText(b, spanAttributes, "jotgate.shadow_reason", q.answer.Shadow)
}

func (q *Request) clientSpan(b []byte) []byte {
	a := &q.answer
	b = q.child(b, method(a.Method), kindClient, q.client, q.asking, q.answered)
	b = appendText(b, spanAttributes, "http.request.method", method(a.Method))
	host, port, err := net.SplitHostPort(a.Upstream)
	if err != nil {
		host = a.Upstream
	}
	b = appendText(b, spanAttributes, "server.address", host)
	if n, err := strconv.Atoi(port); err == nil {
		b = appendNumber(b, spanAttributes, "server.port", n)
	}
	reason := ""
	if q.upstream == 0 {
		reason = a.Reason
	}
	return outcome(b, q.upstream, 400, reason)
}

// outcome says how a span ended: an error from a status on, or where there is none.
func outcome(b []byte, status, bad int, reason string) []byte {
	if status > 0 {
		b = appendNumber(b, spanAttributes, "http.response.status_code", status)
	}
	if status > 0 && status < bad {
		return b
	}
	if reason == "" && status > 0 {
		reason = strconv.Itoa(status)
	}
	if reason == "" {
		reason = "_OTHER"
	}
	b = appendText(b, spanAttributes, "error.type", reason)
	return nested(b, spanStatus, func(b []byte) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, statusCode, protowire.VarintType), statusError)
	})
}

func (q *Request) child(b []byte, name string, kind uint64, id trace.SpanID, from, to time.Time) []byte {
	return q.span(b, name, kind, id, q.server, 0, from, to)
}

// span writes what every span has. The zero parent is none.
func (q *Request) span(
	b []byte, name string, kind uint64, id, parent trace.SpanID, flags uint32, from, to time.Time,
) []byte {
	b = protowire.AppendBytes(protowire.AppendTag(b, spanTrace, protowire.BytesType), q.trace[:])
	b = protowire.AppendBytes(protowire.AppendTag(b, spanID, protowire.BytesType), id[:])
	if parent.IsValid() {
		b = protowire.AppendBytes(protowire.AppendTag(b, spanParent, protowire.BytesType), parent[:])
	}
	b = appendString(b, spanName, name)
	b = protowire.AppendVarint(protowire.AppendTag(b, spanKind, protowire.VarintType), kind)
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanStart, protowire.Fixed64Type), uint64(from.UnixNano()))
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanEnd, protowire.Fixed64Type),
		uint64(max(to.UnixNano(), from.UnixNano())))
	return protowire.AppendFixed32(protowire.AppendTag(b, spanFlags, protowire.Fixed32Type),
		flags|sampled|parentIsKnown)
}

// nested writes a message in a message. Its length stands in front of it, so what was written is moved once.
func nested(b []byte, number protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	from := len(b)
	b = write(b)
	size := len(b) - from
	b = protowire.AppendVarint(b, uint64(size))
	var length [10]byte
	n := copy(length[:], b[from+size:])
	copy(b[from+n:], b[from:from+size])
	copy(b[from:], length[:n])
	return b
}

// appendString writes a text field; an empty one is not written, and what is no UTF-8 is replaced.
func appendString(b []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

// appendText writes an attribute; an empty value makes none.
func appendText(b []byte, number protowire.Number, key, value string) []byte {
	if value == "" {
		return b
	}
	return nested(b, number, func(b []byte) []byte {
		return nested(appendString(b, pairKey, key), pairValue, func(b []byte) []byte {
			return appendString(b, valueText, value)
		})
	})
}

func appendNumber(b []byte, number protowire.Number, key string, n int) []byte {
	return nested(b, number, func(b []byte) []byte {
		return nested(appendString(b, pairKey, key), pairValue, func(b []byte) []byte {
			return protowire.AppendVarint(protowire.AppendTag(b, valueNumber, protowire.VarintType), uint64(n))
		})
	})
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
