package proxy

import (
	"context"
	"math"
	"net/http"
	"time"
)

// A deadline is that of a gRPC call, from its grpc-timeout. Client, gate and server each count from when they began, so
// the server's comes last; whichever ends the call, the client is told DEADLINE_EXCEEDED, and the server is not blamed.
// The zero value never comes.
type deadline struct {
	at     time.Time
	cancel context.CancelFunc
}

// begin returns the context to ask the upstream with, which the deadline ends.
func (d *deadline) begin(ctx context.Context, p *inbound) context.Context {
	if !p.x.GRPC {
		return ctx
	}
	timeout, has := grpcTimeout(p.r.Header)
	if !has {
		return ctx
	}
	d.at = time.Now().Add(timeout)
	ctx, d.cancel = context.WithDeadline(ctx, d.at)
	return ctx
}

func (d *deadline) set() bool { return !d.at.IsZero() }

func (d *deadline) passed() bool { return d.set() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.cancel != nil {
		d.cancel()
	}
}

// grpcTimeout reads grpc-timeout: one to eight digits and a unit (gRPC over HTTP/2, "Requests"). One that is malformed,
// there twice or beyond any clock is the server's to judge.
func grpcTimeout(h http.Header) (timeout time.Duration, has bool) {
	values := h["Grpc-Timeout"]
	if len(values) != 1 || len(values[0]) < 2 || len(values[0]) > 9 {
		return 0, false
	}
	last := len(values[0]) - 1
	n := int64(0)
	for _, c := range []byte(values[0][:last]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	var unit time.Duration
	switch values[0][last] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if n > math.MaxInt64/int64(unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
