package h1_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/httpserver/h1"
)

const usual = "GET /tenants/acme/tickets/7?page=2 HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: Mozilla/5.0 (X11; " +
	"Linux x86_64) AppleWebKit/537.36\r\n" +
	"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer " +
	"eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2dhdGUuZXhhbXBsZS5jb20iLCJhdWQiOiJodHRwczovL2FwaS5leGFtcGxlLmNvbSIsInN1YiI6InVzZXItNyIsImV4cCI6MTcwMDAwMDAwMH0." +
	"c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtc2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU\r\nX-Request-Id: " +
	"0190f7c6-6f0b-7c3e-9b0a-1a2b3c4d5e6f\r\n\r\n"

// again is a client that sends the same request so many times.
type again struct {
	pieces
	left int
}

func (a *again) Read(p []byte) (int, error) {
	if a.left--; a.left < 0 {
		return 0, io.EOF
	}
	return copy(p, usual), nil
}

// rounds has so many requests read and answered, by a handler that keeps nothing of them or does not say so.
func rounds(n int, release bool) {
	limits, body := httpserver.DefaultLimits(), make([]byte, 1024)
	length := []string{"1024"}
	s := &h1.Server{
		Limits: &limits, Context: context.Background(), Log: zap.NewNop(), Last: func() bool { return false },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Length"] = length
			_, _ = w.Write(body)
			if release {
				w.(interface{ Release() }).Release()
			}
		}),
	}
	s.NewConn(&again{left: n}).Serve()
}

// A request costs: what it and its answer are made of, its head as text, two maps and their content. If nothing is held
// on to, it costs the text and the response alone.
func TestAllocationsOfARequest(t *testing.T) {
	const many = 1000
	for release, most := range map[bool]float64{false: 9.1, true: 2.1} {
		n := testing.AllocsPerRun(5, func() { rounds(many, release) }) / many
		if n > most && !raceEnabled { // under it, pools forget
			t.Errorf("released %v: %v allocations per request", release, n)
		}
	}
}

// What reading a request and writing an answer cost beside the kernel (tens of microseconds).
func BenchmarkConn(b *testing.B) {
	b.SetBytes(int64(len(usual)))
	b.ReportAllocs()
	rounds(b.N, true)
}
