package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildGRPC builds the program that speaks gRPC. It is a module of its own: nothing of it is in the product.
func buildGRPC(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "grpc")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "test/grpc"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// serveGRPC starts the server and returns its address.
func serveGRPC(t *testing.T, program string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, program, "serve", "127.0.0.1:0")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = server.Wait() // it was killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	address, is := strings.CutPrefix(strings.TrimSpace(line), "serving ")
	if err != nil || !is {
		t.Fatalf("%q %v", line, err)
	}
	return address
}

// All kinds of call, their ends, deadlines, cancellation, flow control and refusals, with grpc-go on both sides of the
// gate.
func TestGRPC(t *testing.T) {
	t.Parallel()
	program := buildGRPC(t)
	app := serveGRPC(t, program)
	g := &gate{folder: t.TempDir()}
	g.configure(t, fmt.Sprintf(`version: 1
listeners: [{name: main, address: "127.0.0.1:0", h2c: true}]
admin: {listen: ""}
limits: {h2_streams: 2000, stall_timeout: 2s}
issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}]
  clients:
    - {id: shop, secret: "0123456789012345678901", may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}
roles:
  reader: [{tenant: acme, actions: [READ]}]
  narrow: [{tenant: acme, actions: [NOTHING]}]
upstreams:
  app: {servers: ["h2c://%s"], health: {grpc: "", interval: 100ms}}
  gone: {servers: ["h2c://127.0.0.1:1"]}
routes:
  - {path: /test.Echo/, require: {tenant: acme, action: READ}, upstream: app}
  - {path: /test.Gone/, require: authenticated, upstream: gone}
`, app))
	g.serve(t)
	token := func(role string) string {
		return strings.TrimSpace(run(t, g.folder, nil, "mint", "--config", "config.yaml", "--client", "shop", "--role", role,
			"--sub", "alice"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "play", g.at(t, "main"), token("reader"),
		token("narrow")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
