//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// overH2C has HTTP/2 without TLS in front, as behind a load balancer that ends TLS, and HTTP/1.1 to the app.
func overH2C(ctx context.Context, b *bench, r *Case) error {
	plain, err := b.nginxAt(ctx, func(address string) string {
		return address + " http2; http2_max_requests 1000000000"
	}, func(s *server) { s.h2c = true }, "")
	if err != nil {
		return err
	}
	pass, err := b.startHAProxy("", " proto h2", b.app.address)
	if err != nil {
		return err
	}
	pass.h2c = true
	if err := b.ready(ctx, pass); err != nil {
		return err
	}
	var all []*contestant
	add := func(name string, s *server) {
		all = append(all, &contestant{
			name: name, process: s.process, prepare: s.forgetLog,
			turn: func(ctx context.Context) (tally, error) {
				return b.h2load(ctx, "http://"+s.address, goodPath, b.tokens.good["ES256"][0])
			},
		})
	}
	add(nginxName, plain)
	add(haproxyName, pass)
	if err := b.gates(ctx, gateOf{h2c: true}, add); err != nil {
		return err
	}
	return b.compete(ctx, r, all, []pair{
		{gateName, nginxName, 2},
		{gateName, haproxyName, 0},
		{haproxyName, nginxName, 0},
		{gateName, baseName, 0},
	})
}

// handshakes counts connections: each has a handshake of TLS 1.3, one request with a known token and its answer, and is
// closed. "full" has the certificate's signature in it, "resumed" a ticket of an earlier connection in its place.
func handshakes(ctx context.Context, b *bench, r *Case) error {
	cert, err := newCertificate(b.folder, time.Now())
	if err != nil {
		return err
	}
	plain, err := b.nginx(ctx, cert)
	if err != nil {
		return err
	}
	both := filepath.Join(b.folder, "both.pem")
	var pem []byte
	for _, file := range []string{cert.cert, cert.key} {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		pem = append(pem, text...)
	}
	if err := os.WriteFile(both, pem, 0o600); err != nil {
		return err
	}
	pass, err := b.startHAProxy("", " ssl crt "+both+" ssl-min-ver TLSv1.3 alpn http/1.1", b.app.address)
	if err != nil {
		return err
	}
	pass.cert = cert
	if err := b.ready(ctx, pass); err != nil {
		return err
	}
	var all []*contestant
	add := func(name string, s *server) {
		for _, kind := range []string{"full", "resumed"} {
			var cache tls.ClientSessionCache
			if kind == "resumed" {
				cache = tls.NewLRUClientSessionCache(1)
			}
			all = append(all, &contestant{
				name: name + " " + kind, process: s.process, prepare: s.forgetLog,
				turn: func(ctx context.Context) (tally, error) { return b.connect(ctx, s, cache) },
			})
		}
	}
	add(nginxName, plain)
	add(haproxyName, pass)
	if err := b.gates(ctx, gateOf{cert: cert}, add); err != nil {
		return err
	}
	var pairs []pair
	for _, kind := range []string{" full", " resumed"} {
		pairs = append(pairs, pair{gateName + kind, nginxName + kind, 0}, pair{gateName + kind, haproxyName + kind, 0},
			pair{gateName + kind, baseName + kind, 0})
	}
	return b.compete(ctx, r, all, pairs)
}

// connect makes connections for a turn, a few at a time. With a cache, one goes first, whose ticket the others use.
func (b *bench) connect(ctx context.Context, s *server, cache tls.ClientSessionCache) (tally, error) {
	settings := &tls.Config{
		RootCAs: s.cert.trust, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13, ClientSessionCache: cache,
		NextProtos: []string{"http/1.1"},
	}
	token := b.tokens.good["ES256"][0]
	if cache != nil {
		if err := connectOnce(ctx, s.address, token, settings, false); err != nil {
			return tally{}, err
		}
	}
	end := time.Now().Add(b.turn)
	var made, wrong atomic.Int64
	var all sync.WaitGroup
	failed := make([]error, min(8, b.connections))
	for i := range failed {
		all.Go(func() {
			for time.Now().Before(end) {
				if failed[i] = connectOnce(ctx, s.address, token, settings, cache != nil); failed[i] != nil {
					wrong.Add(1)
					return
				}
				made.Add(1)
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return tally{}, fmt.Errorf("TLS: %w", err)
		}
	}
	return tally{requests: int(made.Load()), wrong: int(wrong.Load())}, nil
}

func connectOnce(ctx context.Context, address, token string, settings *tls.Config, resumed bool) error {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c := tls.Client(raw, settings)
	if _, err := c.Write(getHead(address, token)); err != nil {
		return err
	}
	status, _, err := readAnswer(bufio.NewReader(c))
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("status %d", status)
	case settings.ClientSessionCache == nil && c.ConnectionState().DidResume, resumed && !c.ConnectionState().DidResume:
		return fmt.Errorf("resumed: %v", c.ConnectionState().DidResume)
	}
	return c.Close()
}
