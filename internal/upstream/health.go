package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// Health is an active health check. Without a path and GRPC there is none.
type Health struct {
	Path     string // asked for by GET
	GRPC     bool   // asks grpc.health.v1.Health/Check instead
	Service  string // the service that it asks for; "" is the whole server
	Host     string // the Host field; "" is the server's
	Interval time.Duration
	Timeout  time.Duration
	Up       int   // successes in a row that bring a server back
	Down     int   // failures in a row that take it out
	Status   []int // that are healthy; none: 200 to 299
}

func (h *Health) enabled() bool { return h.Path != "" || h.GRPC }

// check asks the server again and again, and keeps what it finds in s.sick.
func (s *server) check(ctx context.Context) {
	h := &s.pool.settings.Health
	ticker := time.NewTicker(h.Interval)
	defer ticker.Stop()
	good, bad := 0, 0
	for {
		err := s.probe(ctx, h)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch sick := s.sick.Load(); {
		case sick && good >= h.Up:
			s.warm(s.pool.clock())
			s.sick.Store(false)
			s.log().Info("upstream server is healthy again", zap.String("server", s.name))
		case !sick && bad >= h.Down:
			s.sick.Store(true)
			s.log().Warn("upstream server is unhealthy", zap.String("server", s.name), zap.Error(err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

const (
	probeBody = 64 << 10 // bytes of an answer that are read, so that its connection can be kept
	grpcCheck = "/grpc.health.v1.Health/Check"
)

// probe asks once. It takes no place, so that a busy server is not taken for a sick one.
func (s *server) probe(ctx context.Context, h *Health) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	q := &h1.Request{Method: "GET", Target: h.Path, Host: h.Host}
	if q.Host == "" {
		q.Host = s.pool.host
	}
	if h.GRPC {
		message := grpcMessage(h.Service)
		q.Method, q.Target, q.Body, q.Length = "POST", grpcCheck, io.NopCloser(&oneRead{message}), int64(len(message))
		q.Fields = h1.HeaderFields{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	}
	a := Answer{Answer: h1.Answer{Fields: make([]h1.Field, 0, 8)}}
	if err := s.client.do(ctx, q, &a); err != nil {
		return err
	}
	defer a.Close()
	var body []byte
	if !a.Bodiless() {
		var err error
		if body, err = io.ReadAll(io.LimitReader(&a, probeBody)); err != nil {
			return err
		}
	}
	switch {
	case h.GRPC:
		return grpcHealthy(&a, body)
	case len(h.Status) == 0 && a.Status >= 200 && a.Status < 300, slices.Contains(h.Status, a.Status):
		return nil
	}
	return fmt.Errorf("status %d", a.Status)
}

type oneRead struct{ left []byte }

func (r *oneRead) Read(p []byte) (int, error) {
	n := copy(p, r.left)
	if r.left = r.left[n:]; len(r.left) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// grpcMessage is a framed HealthCheckRequest: its first field is the service.
func grpcMessage(service string) []byte {
	var message []byte
	if service != "" {
		message = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service))), service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// grpcHealthy reads a framed HealthCheckResponse, whose first field is the status: 1 is SERVING.
func grpcHealthy(a *Answer, body []byte) error {
	status := a.Trailer.Get("Grpc-Status")
	for _, f := range a.Fields {
		if f.Name == "Grpc-Status" { // an answer that consists of trailers alone
			status = f.Value
		}
	}
	switch {
	case a.Status != 200:
		return fmt.Errorf("status %d", a.Status)
	case status != "0":
		return fmt.Errorf("grpc-status %q", status)
	case len(body) < 5 || body[0] != 0:
		return errors.New("no health check answer")
	case len(body) >= 7 && body[5] == 1<<3 && body[6] == 1:
		return nil
	}
	return errors.New("not serving")
}
