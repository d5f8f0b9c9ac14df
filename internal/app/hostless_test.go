package app_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// HTTP/1.0 has no Host (RFC 1945). Such a request is judged as one without a host: it matches routes for any host
// alone.
func TestHTTP10WithoutAHost(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", `routes:
  - {path: /hosted/, hosts: [a.test], public: true, upstream: "$APP"}
  - {path: /tenants/, hosts: ["{tenant}.test"], require: {tenant_from: host.tenant, action: READ}, upstream: "$APP"}
`)
	bearer := "Authorization: Bearer " + g.token("acme") + "\r\n"
	for _, c := range []struct{ name, request, want string }{
		{"any host", "GET /open/ HTTP/1.0\r\n\r\n", "200"},
		{"a body", "POST /open/ HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "200"},
		{"a tenant", "GET /t/acme/ HTTP/1.0\r\n" + bearer + "\r\n", "200"},
		{"another tenant", "GET /t/other/ HTTP/1.0\r\n" + bearer + "\r\n", "403"},
		{"no token", "GET /t/acme/ HTTP/1.0\r\n\r\n", "401"},
		{"a route of a host", "GET /hosted/ HTTP/1.0\r\n\r\n", "404"},
		{"a route of tenants' hosts", "GET /tenants/ HTTP/1.0\r\n" + bearer + "\r\n", "404"},
		{"the same with its host", "GET /hosted/ HTTP/1.0\r\nHost: a.test\r\n\r\n", "200"},
		{"X-Forwarded-Host is no host", "GET /hosted/ HTTP/1.0\r\nX-Forwarded-Host: a.test\r\n\r\n", "404"},
		{"our endpoint", "GET /.well-known/jwks.json HTTP/1.0\r\n\r\n", "200"},
		{"absolute form", "GET http://a.test/hosted/ HTTP/1.0\r\n\r\n", "400"},
		{"an empty host", "GET /open/ HTTP/1.0\r\nHost:\r\n\r\n", "400"},
		{"HTTP/1.1", "GET /open/ HTTP/1.1\r\n\r\n", "400"},
	} {
		if got := g.talk("main", c.request); !strings.HasPrefix(got, c.want+"\n") {
			t.Errorf("%s: %q, want %s", c.name, got, c.want)
		}
	}
}

// HAProxy's default health check is HTTP/1.0 without a Host.
func TestHAProxysDefaultHealthCheck(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", "routes:\n  - {path: /, public: true, upstream: \"$APP\"}\n")
	folder := t.TempDir()
	stats := filepath.Join(folder, "stats.sock")
	config := filepath.Join(folder, "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, `global
  stats socket %s
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
backend gate
  option httpchk
  server one %s check inter 50ms fall 1 rise 1
`, stats, g.Addr("main")), 0o600); err != nil {
		t.Fatal(err)
	}
	haproxy := exec.Command("haproxy", "-db", "-f", config)
	haproxy.Stderr = os.Stderr
	if err := haproxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = haproxy.Process.Signal(syscall.SIGTERM)
		_ = haproxy.Wait()
	})
	var last string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unix", stats)
		if err != nil {
			continue
		}
		fmt.Fprintln(c, "show stat")
		all := make([]byte, 64<<10)
		n, _ := c.Read(all)
		_ = c.Close()
		for line := range strings.Lines(string(all[:n])) {
			if last = line; strings.HasPrefix(line, "gate,one,") && strings.Contains(line, ",UP,") &&
				strings.Contains(line, ",L7OK,200,") {
				return
			}
		}
	}
	t.Errorf("the health check does not pass: %s", last)
}
