//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	grpcUnary   = "/test.Echo/Unary"
	grpcMessage = 64 // bytes, in both directions
	grpcStreams = 8  // calls at a time on each connection
)

// grpcUnaryCalls holds unary calls through the gate against nginx's grpc_pass and HAProxy, which all speak h2c on both
// sides. The app is grpc-go's server; each answer's grpc-status and message are looked at.
func grpcUnaryCalls(ctx context.Context, b *bench, r *Case) error {
	app, err := b.startGRPCApp(ctx)
	if err != nil {
		return err
	}
	plain, err := b.grpcNginx(ctx, app)
	if err != nil {
		return err
	}
	pass, err := b.grpcHAProxy(ctx, "", app)
	if err != nil {
		return err
	}
	judge, err := b.grpcHAProxy(ctx, "ES256", app)
	if err != nil {
		return err
	}
	var all []*contestant
	add := func(name string, s *server) {
		all = append(all, &contestant{
			name: name, process: s.process, prepare: s.forgetLog,
			turn: func(ctx context.Context) (tally, error) { return b.calls(ctx, s.address) },
		})
	}
	add(nginxName, plain)
	add(haproxyName, pass)
	add("haproxy ES256", judge)
	if err := b.gates(ctx, gateOf{h2c: true, grpc: app}, add); err != nil {
		return err
	}
	return b.compete(ctx, r, all, []pair{
		{gateName, nginxName, 1.5},
		{gateName, haproxyName, 0},
		{gateName, "haproxy ES256", 0},
		{haproxyName, nginxName, 0},
		{gateName, baseName, 0},
	})
}

// startGRPCApp builds and starts the server of test/grpc, a module of its own.
func (b *bench) startGRPCApp(ctx context.Context) (address string, err error) {
	folder, err := b.newFolder("grpc")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "grpc")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	cmd.Dir, cmd.Env = filepath.Join(b.root, "test", "grpc"), append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in test/grpc: %w: %.2000s", err, text)
	}
	if address, err = freeAddress(); err != nil {
		return "", err
	}
	p, err := b.running.start("grpc app", b.loadCPU, filepath.Join(folder, "log"), program, "serve", address)
	if err != nil {
		return "", err
	}
	return address, b.answersCalls(ctx, &server{process: p, address: address})
}

// answersCalls waits for a contestant to answer calls with a good token.
func (b *bench) answersCalls(ctx context.Context, s *server) error {
	return s.await(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		return callOnce(ctx, s.address, b.tokens.good["ES256"][0], "0")
	})
}

// judgesCalls checks that a contestant refuses a token with a letter changed, and none, with what its status is.
func (b *bench) judgesCalls(ctx context.Context, s *server, status string) error {
	for _, bearer := range []string{tampered(b.tokens.good["ES256"][0]), ""} {
		if err := callOnce(ctx, s.address, bearer, status); err != nil {
			return fmt.Errorf("%s with a bad token: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) grpcNginx(ctx context.Context, app string) (*server, error) {
	folder, err := b.newFolder("nginx")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := b.startNginx(nginxName, b.gateCPU, folder, fmt.Sprintf(`
  upstream app { server %s; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h; }
  server {
    listen %s http2;
    http2_max_requests 1000000000;
    location / { grpc_pass grpc://app; }
  }
`, app, address))
	if err != nil {
		return nil, err
	}
	s := &server{process: p, address: address}
	return s, b.answersCalls(ctx, s)
}

func (b *bench) grpcHAProxy(ctx context.Context, alg, app string) (*server, error) {
	s, err := b.startHAProxy(alg, " proto h2", app+" proto h2")
	if err != nil {
		return nil, err
	}
	if err := b.answersCalls(ctx, s); err != nil || alg == "" {
		return s, err
	}
	return s, b.judgesCalls(ctx, s, "401")
}

// grpcUpstream and grpcRoute are what a gate's configuration has for calls.
func (o gateOf) grpcUpstream() string {
	if o.grpc == "" {
		return ""
	}
	return fmt.Sprintf(", calls: {servers: [\"h2c://%s\"]}", o.grpc)
}

func (o gateOf) grpcRoute() string {
	if o.grpc == "" {
		return ""
	}
	return fmt.Sprintf("  - {path: %s/, require: {tenant: %s, action: READ}, upstream: calls}\n",
		strings.TrimSuffix(grpcUnary, "/Unary"), tenant)
}
