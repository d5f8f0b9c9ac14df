package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestASpareConnectionIsForAMoment: the request that made it takes it at once; later the server may have closed it, so
// that it is closed here, and a new one is made.
func TestASpareConnectionIsForAMoment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		after time.Duration
		taken bool
	}{
		{"at once", 0, true},
		{"just before its end", spareFor - time.Nanosecond, true},
		{"at its end", spareFor, false},
		{"much later", time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				client := &secureClient{dialer: &dialer{network: "tcp", address: "127.0.0.1:1", tls: &tls.Config{}}}
				kept := &spare{tls.Client(near, &tls.Config{ServerName: "app.test"}), time.Now()}
				client.spare.Store(kept)
				time.Sleep(c.after)
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // a new connection is not made
				conn, err := client.dialSecond(ctx)
				if taken := err == nil && conn == net.Conn(kept.Conn); taken != c.taken {
					t.Errorf("%v, %v; want it taken: %v", conn, err, c.taken)
				}
				if client.spare.Load() != nil {
					t.Error("it can be taken once more")
				}
				if !c.taken {
					if _, err := far.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("its other end reads %v, want it closed", err)
					}
				}
				_ = near.Close()
			})
		})
	}
}

// TestTheClientsPaceIsNotTheServers: on HTTP/2 an answer stalls while the server sends nothing, and not while the
// client is slow to take what is there.
func TestTheClientsPaceIsNotTheServers(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	open := func(kind string) (*http2Body, *io.PipeWriter) {
		from, to := io.Pipe()
		return newHTTP2Body(&http.Response{
			Body: from, ContentLength: -1, Header: http.Header{"Content-Type": {kind}},
		}, stall), to
	}
	for _, c := range []struct {
		name, kind     string
		client, server time.Duration // between two pieces
		want           error
	}{
		{"both are quick", "text/plain", 0, 0, io.EOF},
		{"a slow client", "text/plain", time.Hour, 0, io.EOF},
		{"a slow server", "text/plain", 0, stall - time.Nanosecond, io.EOF},
		{"a silent server", "text/plain", 0, stall + time.Nanosecond, errStalled},
		{"a slow client, a silent server", "text/plain", time.Hour, time.Hour + 2*stall, errStalled},
		{"a silent event stream", "text/event-stream", 0, time.Hour, io.EOF},
		{"a silent gRPC stream", "application/grpc+proto", 0, time.Hour, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body, to := open(c.kind)
				var server sync.WaitGroup
				server.Go(func() {
					for range 3 {
						time.Sleep(c.server)
						if _, err := to.Write([]byte("piece")); err != nil {
							return
						}
					}
					_ = to.Close()
				})
				var err error
				for err == nil {
					_, err = body.Read(make([]byte, 64))
					time.Sleep(c.client)
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				_ = body.Close()
				server.Wait()
			})
		})
	}
}
