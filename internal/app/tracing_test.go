package app_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collector takes what OTLP over HTTP brings.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []*otlp.Span
	faults []string
	answer []int // statuses of the next answers; 200 behind them
}

func newCollector(t *testing.T, answer ...int) *collector {
	c := &collector{answer: answer}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var data otlp.TracesData
		if err == nil {
			err = proto.Unmarshal(body, &data)
		}
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" ||
			r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("X-Key") != "of-the-collector" {
			c.faults = append(c.faults, fmt.Sprintf("%s %s %v: %v", r.Method, r.URL, r.Header, err))
		}
		if len(c.answer) > 0 {
			w.WriteHeader(c.answer[0])
			c.answer = c.answer[1:]
			return
		}
		for _, rs := range data.ResourceSpans {
			if got := attributes(rs.Resource.Attributes); got["service.name"] != "shop-gate" {
				c.faults = append(c.faults, fmt.Sprint("resource: ", got))
			}
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(func() {
		c.Close()
		if len(c.faults) > 0 {
			t.Errorf("the collector was sent: %q", c.faults)
		}
	})
	return c
}

func attributes(all []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range all {
		if _, number := kv.Value.Value.(*common.AnyValue_IntValue); number {
			m[kv.Key] = fmt.Sprint(kv.Value.GetIntValue())
			continue
		}
		m[kv.Key] = kv.Value.GetStringValue()
	}
	return m
}

// trace waits for the spans of one trace, by their kinds.
func (c *collector) trace(t *testing.T, id string, n int) map[otlp.Span_SpanKind]*otlp.Span {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		found := map[otlp.Span_SpanKind]*otlp.Span{}
		c.mu.Lock()
		for _, s := range c.spans {
			if hex.EncodeToString(s.TraceId) == id {
				found[s.Kind] = s
			}
		}
		c.mu.Unlock()
		if len(found) == n {
			return found
		}
		if time.Now().After(end) {
			t.Fatalf("of trace %s there are %v, want %d spans", id, found, n)
		}
	}
}

const traced = "\ntracing: {endpoint: %q, service: shop-gate, headers: {X-Key: of-the-collector}%s}\nwatch:"

func tracing(c *collector, more string) []string {
	return []string{"\nwatch:", fmt.Sprintf(traced, c.URL, more)}
}

const (
	traceOfClient = "0af7651916cd43dd8448eb211c80319c"
	spanOfClient  = "b7ad6b7169203331"
)

// field reads what the app says of a field that it got.
func field(body, name string) string {
	for line := range strings.Lines(body) {
		if n, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && n == name {
			return v
		}
	}
	return ""
}

func TestATraceGoesThroughTheGate(t *testing.T) {
	t.Parallel()
	c := newCollector(t, http.StatusServiceUnavailable) // the first batch is sent again
	g := startGate(t, tracing(c, "")...)
	token := g.token("acme")
	status, _, body := g.get("/t/acme/x?secret=in-the-query", "Authorization", "Bearer "+token,
		"Traceparent", "00-"+traceOfClient+"-"+spanOfClient+"-01", "Tracestate", "vendor=1", "User-Agent", "test/1")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	spans := c.trace(t, traceOfClient, 3)
	server, judge, client := spans[otlp.Span_SPAN_KIND_SERVER], spans[otlp.Span_SPAN_KIND_INTERNAL],
		spans[otlp.Span_SPAN_KIND_CLIENT]
	if got := hex.EncodeToString(server.ParentSpanId); got != spanOfClient {
		t.Errorf("the server span's parent is %s", got)
	}
	for _, child := range []*otlp.Span{judge, client} {
		if string(child.ParentSpanId) != string(server.SpanId) {
			t.Errorf("%s is not a child of the server span", child.Name)
		}
		if child.StartTimeUnixNano < server.StartTimeUnixNano || child.EndTimeUnixNano > server.EndTimeUnixNano ||
			child.EndTimeUnixNano < child.StartTimeUnixNano {
			t.Errorf("%s is not within the server span", child.Name)
		}
	}
	if got, want := field(body, "Traceparent"), "00-"+traceOfClient+"-"+hex.EncodeToString(client.SpanId)+
		"-01"; got != want {
		t.Errorf("the app got traceparent %q, want %q", got, want)
	}
	if got := field(body, "Tracestate"); got != "vendor=1" {
		t.Errorf("the app got tracestate %q", got)
	}
	if server.Name != "GET /t/{tenant}/" || judge.Name != "judge" || client.Name != "GET" {
		t.Errorf("names: %q %q %q", server.Name, judge.Name, client.Name)
	}
	got := attributes(server.Attributes)
	id := got["jotgate.request_id"]
	delete(got, "jotgate.request_id")
	want := map[string]string{
		"http.request.method": "GET", "http.route": "/t/{tenant}/", "http.response.status_code": "200", "url.scheme": "http",
		"url.path":       "/t/acme/x",
		"server.address": "127.0.0.1", "client.address": "127.0.0.1", "user_agent.original": "test/1",
		"network.protocol.name": "http", "network.protocol.version": "1.1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("server span (-want +got):\n%s", d)
	}
	host, port, _ := net.SplitHostPort(g.app.Listener.Addr().String())
	want = map[string]string{
		"http.request.method": "GET", "http.response.status_code": "200", "server.address": host,
		"server.port": port,
	}
	if d := cmp.Diff(want, attributes(client.Attributes)); d != "" {
		t.Errorf("client span (-want +got):\n%s", d)
	}
	g.eventually(`"request_id":"` + id + `","trace_id":"` + traceOfClient + `"`)
	c.mu.Lock()
	everything := fmt.Sprint(c.spans)
	c.mu.Unlock()
	if strings.Contains(everything, token) || strings.Contains(everything, "in-the-query") ||
		strings.Contains(g.log.String(), "of-the-collector") {
		t.Error("a credential, or a query, is told")
	}
	g.tells(`jotgate_traced_requests_total{result="exported"} 1`, `jotgate_traced_requests_total{result="failed"} 0`)
}

// What is refused, our own endpoints, and an app that is not there have their spans, too.
func TestTracesOfWhatDoesNotGoWell(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	g := startGate(t, append(tracing(c, ""), "  - {path: /open/,",
		"  - {path: /gone/, public: true, upstream: \"http://127.0.0.1:1\"}\n  - {path: /open/,")...)
	for i, x := range []struct {
		path, route string
		spans       int
		reason      string
		failed      otlp.Span_SpanKind
	}{
		{"/t/acme/", "/t/{tenant}/", 2, "token_missing", 0},
		{"/nowhere", "", 1, "route_not_found", 0},
		{"/a/../b", "", 1, "path_ambiguous", 0},
		{"/gone/", "/gone/", 2, "upstream_unreachable", otlp.Span_SPAN_KIND_CLIENT},
		{"/.well-known/jwks.json", "/.well-known/jwks.json", 1, "", 0},
		{"/api/1/access_token/secret-of-somebody", "/api/1/access_token/{id}", 1, "token_missing", 0},
	} {
		id := fmt.Sprintf("%031x1", i+1)
		g.raw("GET " + x.path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTraceparent: 00-" + id + "-" + spanOfClient +
			"-01\r\n\r\n")
		spans := c.trace(t, id, x.spans)
		server := attributes(spans[otlp.Span_SPAN_KIND_SERVER].Attributes)
		if server["http.route"] != x.route || server["jotgate.reason"] != x.reason {
			t.Errorf("%s: %v", x.path, server)
		}
		if strings.Contains(fmt.Sprint(spans), "secret-of-somebody") {
			t.Errorf("%s: the credential is told: %v", x.path, spans)
		}
		if x.failed != 0 {
			if s := spans[x.failed]; attributes(s.Attributes)["error.type"] != x.reason ||
				s.Status.GetCode() != otlp.Status_STATUS_CODE_ERROR {
				t.Errorf("%s: the span of the question: %v", x.path, s)
			}
			if server["error.type"] != x.reason {
				t.Errorf("%s: the server span: %v", x.path, server)
			}
		}
	}
}

// Whose context counts, and what goes on to the app.
func TestWhoseTraceARequestIsAPartOf(t *testing.T) {
	t.Parallel()
	const sampledParent, otherParent = "00-" + traceOfClient + "-" + spanOfClient + "-01", "00-" + traceOfClient + "-" +
		spanOfClient + "-00"
	for _, c := range []struct {
		name, more      string
		header          []string
		continued, sent bool // the client's trace goes on; it is marked as traced
	}{
		{"any", "", []string{"Traceparent", sampledParent}, true, true},
		{"any, not sampled by a stranger", "", []string{"Traceparent", otherParent}, true, true},
		{"any, sampled by a stranger", ", sample_ratio: 0", []string{"Traceparent", sampledParent}, true, false},
		{"twice", "", []string{"Traceparent", sampledParent, "Traceparent", sampledParent}, false, true},
		{"malformed", "", []string{"Traceparent", "00-0-0-01", "Tracestate", "a=b"}, false, true},
		{"none there", ", sample_ratio: 0", nil, false, false},
		{"unknown", ", parent: none", []string{"Traceparent", sampledParent, "Tracestate", "a=b"}, false, true},
		{"a stranger's", ", parent: trusted", []string{"Traceparent", sampledParent}, false, true},
		{
			"a trusted proxy's", ", parent: trusted, sample_ratio: 0}\ntrusted_proxies: [127.0.0.1]\nlog: {level: info",
			[]string{"Traceparent", sampledParent},
			true, true,
		},
		{
			"not sampled by a trusted proxy", "}\ntrusted_proxies: [127.0.0.1]\nlog: {level: info",
			[]string{"Traceparent", otherParent},
			true, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, tracing(newCollector(t), c.more)...)
			_, _, body := g.get("/open/", c.header...)
			got := strings.Split(field(body, "Traceparent"), "-")
			if len(got) != 4 || len(got[1]) != 32 || len(got[2]) != 16 || got[2] == spanOfClient ||
				(got[1] == traceOfClient) != c.continued || (got[3] == "01") != c.sent {
				t.Errorf("the app got %q", got)
			}
			if state := field(body, "Tracestate"); state != "" {
				t.Errorf("the app got tracestate %q of a trace that is not gone on with", state)
			}
			if n := strings.Count(body, "Traceparent: "); n != 1 {
				t.Errorf("the app got it %d times", n)
			}
		})
	}
}

// Without tracing, the client's fields pass as they are, and no line tells of a trace.
func TestWithoutTracingTheContextPasses(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	_, _, body := g.get("/open/", "Traceparent", "anything", "Tracestate", "a=1", "Tracestate", "b=2")
	if field(body, "Traceparent") != "anything" || !strings.Contains(body, "Tracestate: a=1\r\nTracestate: b=2") {
		t.Errorf("the app got:\n%s", body)
	}
	g.eventually(`"route":"/open/"`)
	if strings.Contains(g.log.String(), "trace_id") {
		t.Errorf("a trace is told: %s", g.log)
	}
}

// A collector that is gone, or that hangs, costs spans and nothing else; neither keeps the process from ending.
func TestADeadCollectorTouchesNoRequest(t *testing.T) {
	t.Parallel()
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	for _, address := range []string{"http://127.0.0.1:1", "http://" + hanging.Addr().String()} {
		g := startGate(t, "\nwatch:", fmt.Sprintf(traced, address, ""))
		for range 3000 { // more than the queue has room for
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url("/nowhere"), nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body) // the status is what counts
			answer.Body.Close()
			if answer.StatusCode != http.StatusNotFound {
				t.Fatalf("%d", answer.StatusCode)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := g.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		if n := strings.Count(g.log.String(), "traces are lost"); address == "http://127.0.0.1:1" && n != 1 {
			t.Errorf("the log has %d words about the collector", n)
		}
	}
}

// What waits when the process is told to go is sent.
func TestTheLastSpansAreSent(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	g := startGate(t, tracing(c, "")...)
	for range 20 {
		g.get("/nowhere")
	}
	if err := g.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.spans); n != 20 {
		t.Errorf("%d spans of 20 requests", n)
	}
}
