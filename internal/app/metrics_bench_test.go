package app_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// BenchmarkWhatMetricsCost has the counting of a request beside the cheapest whole request that the gate answers, from
// the first line of the chain to the last: what it costs is the ratio of the two.
func BenchmarkWhatMetricsCost(b *testing.B) {
	b.Run("counting", func(b *testing.B) {
		m := telemetry.NewMetrics("")
		routes := m.Routes([]string{"app"})
		x := new(request.Exchange)
		x.Begin(httptest.NewRecorder(), time.Now())
		x.Route, x.Upstream, x.Waited = "app", "127.0.0.1:1", time.Millisecond
		x.WriteHeader(http.StatusOK)
		b.ReportAllocs()
		for b.Loop() {
			routes.Observe(http.MethodGet, x)
		}
	})
	b.Run("a refused request", func(b *testing.B) {
		g := startGate(b)
		r := httptest.NewRequest(http.MethodGet, "/t/acme/", nil)
		b.ReportAllocs()
		for b.Loop() {
			w := httptest.NewRecorder()
			if g.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
				b.Fatal(w.Code)
			}
		}
	})
}
