package wire_test

import (
	"net"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/server/wire"
)

const usual = "GET /tenants/acme/tickets/7?page=2 HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
	"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer " +
	"eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2dhdGUuZXhhbXBsZS5jb20iLCJhdWQiOiJodHRwczovL2FwaS5leGFtcGxlLmNvbSIsInN1YiI6InVzZXItNyIsImV4cCI6MTcwMDAwMDAwMH0." +
	"c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtc2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU\r\nX-Request-Id: 0190f7c6-6f0b-7c3e-9b0a-1a2b3c4d5e6f\r\n\r\n"

// again is a client that sends the same request whenever it is asked.
type again struct{ net.Conn }

func (again) Read(p []byte) (int, error)      { return copy(p, usual), nil }
func (again) SetReadDeadline(time.Time) error { return nil }

// one reads a request the way net/http's server does, deadlines and all.
func one(c *wire.Conn, p []byte, far time.Time) int {
	_ = c.SetReadDeadline(far) // idle
	n, err := c.Read(p)
	if err != nil || c.Refused() != nil {
		return -1
	}
	_ = c.SetReadDeadline(far.Add(time.Second)) // header
	_ = c.SetReadDeadline(time.Time{})
	c.Answered()
	return n
}

func TestReadingARequestAllocatesNothing(t *testing.T) {
	limits := wire.Default()
	c, p, far := wire.New(again{}, &limits), make([]byte, 4096), time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(1000, func() {
		if n := one(c, p, far); n != len(usual) {
			t.Fatalf("%d bytes", n)
		}
	}); n > 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// What the strict reader costs per request, beside net/http's own parsing and the kernel (tens of microseconds).
func BenchmarkConn(b *testing.B) {
	limits := wire.Default()
	c, p, far := wire.New(again{}, &limits), make([]byte, 4096), time.Now().Add(time.Hour)
	b.SetBytes(int64(len(usual)))
	b.ReportAllocs()
	for b.Loop() {
		one(c, p, far)
	}
}
