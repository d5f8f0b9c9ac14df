package app

import (
	"context"
	"net/http"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// lastSpans is how long the end of the process waits for the collector.
const lastSpans = 2 * time.Second

// newTracer begins to trace as a configuration says; nil without.
func newTracer(c *config.Tracing, log *telemetry.Log, version string) *otel.Tracer {
	if c == nil {
		return nil
	}
	headers := make(map[string]string, len(c.Headers))
	for name, value := range c.Headers {
		headers[name] = value.Reveal()
	}
	return otel.New(otel.Options{
		URL: c.Endpoint, Headers: headers, Ratio: c.Ratio, Parent: c.Parent, Service: c.Service, Version: version,
		Log: log.Named("tracing"),
	})
}

func (g *Gate) begin(x *request.Exchange, r *http.Request) *otel.Request {
	if g.tracer == nil {
		return nil
	}
	return g.tracer.Begin(r.Header, x.Trusted, time.Now())
}

// endTrace tells what became of the request, in the words of the access log.
func endTrace(x *request.Exchange, r *http.Request) {
	a := otel.Answer{
		Method: r.Method, Route: x.Pattern, Path: x.LogPath, Scheme: x.Scheme, Host: x.Host,
		UserAgent: telemetry.Bounded(r.UserAgent()),
		Protocol:  r.ProtoMajor, RequestID: x.ID, Status: x.Status(), Reason: string(x.Reason), Shadow: string(x.Shadow),
		Upstream: x.Upstream,
	}
	if x.Client.IsValid() {
		a.Client = x.Client.String()
	}
	x.Trace.End(a)
}

// closeTracer sends the spans that wait.
func (g *Gate) closeTracer() {
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	g.tracer.Close(ctx)
}
