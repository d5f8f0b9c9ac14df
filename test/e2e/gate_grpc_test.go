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

// All kinds of call, their ends, deadlines, cancellation, flow control and refusals, with grpc-go on both sides of the
// gate.
func TestGRPC(t *testing.T) {
	t.Parallel()
	program := buildGRPC(t)
	app := startGRPC(t, program, "serve", "127.0.0.1:0")
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

// startGRPC starts a server of gRPC and returns its address.
func startGRPC(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, name, arguments...)
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
		t.Fatalf("%s %v: %q %v", name, arguments, line, err)
	}
	return address
}

// grpcBothWays runs a gate before two servers, one without TLS and one with it, which the host gate.test leads to.
func grpcBothWays(t *testing.T, program string, arguments []string, paths string) (g *gate, tokens map[string]string) {
	t.Helper()
	g = &gate{folder: t.TempDir()}
	certificate(t, g.folder, "pair", 1, "gate.test")
	pem, key := filepath.Join(g.folder, "pair.pem"), filepath.Join(g.folder, "pair.key")
	clear := startGRPC(t, program, append(arguments, "127.0.0.1:0")...)
	secure := startGRPC(t, program, append(arguments, "127.0.0.1:0", pem, key)...)
	g.configure(t, fmt.Sprintf(`version: 1
listeners:
  - {name: main, address: "127.0.0.1:0", h2c: true}
  - {name: tls, address: "127.0.0.1:0", tls: {certificates: [{cert: pair.pem, key: pair.key}]}}
admin: {listen: ""}
limits: {h2_streams: 2000}
issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}]
  clients:
    - {id: shop, secret: "0123456789012345678901", may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}
roles:
  reader: [{tenant: acme, actions: [READ]}]
  narrow: [{tenant: acme, actions: [NOTHING]}]
upstreams:
  clear: {servers: ["h2c://%s"], max_connections: 2000}
  secure: {servers: ["https://%s"], max_connections: 2000, tls: {ca_file: pair.pem, server_name: gate.test}}
  gone: {servers: ["h2c://127.0.0.1:1"]}
routes:
  - {path: %[3]s, require: {tenant: acme, action: READ}, upstream: clear}
  - {path: %[3]s, hosts: [gate.test], require: {tenant: acme, action: READ}, upstream: secure}
  - {path: /test.Gone/, require: authenticated, upstream: gone}
`, clear, secure, paths))
	g.serve(t)
	tokens = map[string]string{}
	for _, role := range []string{"reader", "narrow"} {
		tokens[role] = strings.TrimSpace(run(t, g.folder, nil, "mint", "--config", "config.yaml", "--client", "shop",
			"--role", role, "--sub", "alice"))
	}
	return g, tokens
}

// TestGRPCInterop has the interoperability client of grpc-go call its server through the gate: every test that needs no
// account of a cloud, without TLS and with TLS on both sides.
func TestGRPCInterop(t *testing.T) {
	t.Parallel()
	program := buildGRPC(t)
	g, tokens := grpcBothWays(t, program, []string{"interop-serve"}, "/")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, arguments := range [][]string{
		{g.at(t, "main"), tokens["reader"]},
		{g.at(t, "tls"), tokens["reader"], filepath.Join(g.folder, "pair.pem")},
	} {
		out, err := exec.CommandContext(ctx, program, append([]string{"interop"}, arguments...)...).CombinedOutput()
		if err != nil || strings.Count(string(out), "passed ") != 15 {
			t.Errorf("%s: %v\n%s", arguments[0], err, out)
		}
	}
}

// TestGRPCByNode plays all kinds of call with @grpc/grpc-js as the client, and it or grpc-go as the server,
// without TLS and with it.
func TestGRPCByNode(t *testing.T) {
	t.Parallel()
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = "test/grpc/js"
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci (scripts/deps installs npm): %v\n%s", err, out)
	}
	const script = "test/grpc/js/grpc.mjs"
	for _, server := range [][]string{{"node", script, "serve"}, {buildGRPC(t), "serve"}} {
		g, tokens := grpcBothWays(t, server[0], server[1:], "/test.Echo/")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		for _, arguments := range [][]string{
			{g.at(t, "main"), tokens["reader"], tokens["narrow"]},
			{g.at(t, "tls"), tokens["reader"], tokens["narrow"], filepath.Join(g.folder, "pair.pem")},
		} {
			play := exec.CommandContext(ctx, "node", append([]string{script, "play"}, arguments...)...)
			out, err := play.CombinedOutput()
			if err != nil || strings.Count(string(out), " ok\n") != 10 {
				t.Errorf("%s: %s: %v\n%s", server[0], arguments[0], err, out)
			}
		}
	}
}
