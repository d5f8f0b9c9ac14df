package app_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Whatever an admin listener refuses has an id, and what no handler saw is in the log under it: the grammar and the
// bounds of heads are those of the other listeners.
func TestRefusalsOfAdminHaveAnID(t *testing.T) {
	t.Parallel()
	const listen, more = `admin: {listen: "127.0.0.1:0"`, `, health_listen: "127.0.0.1:0", metrics_listen: "127.0.0.1:0"`
	g := startGate(t, listen, listen+more)
	const host = "Host: 127.0.0.1\r\n"
	for _, c := range []struct {
		request, reason string // no reason: a handler saw it
		status          int
	}{
		{"GET /healthz HTTP/1.1\r\n\r\n", "host_malformed", 400},
		{"GET /healthz HTTP/1.1\r\n" + host + host + "\r\n", "host_malformed", 400},
		{"GET /healthz HTTP/1.1\n" + host + "\r\n", "request_malformed", 400},
		{"GET /healthz HTTP/1.1\r\n" + host + "A b: c\r\n\r\n", "request_malformed", 400},
		{"nonsense\r\n\r\n", "request_malformed", 400},
		{
			"POST /revocations HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
			"request_malformed", 400,
		},
		{"GET /healthz HTTP/2.0\r\n" + host + "\r\n", "", 505},
		{"GET / HTTP/1.1\r\n" + host + "A: " + strings.Repeat("a", 16<<10) + "\r\n\r\n", "header_too_large", 431},
		{"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "", 400},
		{"BREW /healthz HTTP/1.1\r\n" + host + "\r\n", "", 0},
		{"GET /nowhere HTTP/1.1\r\n" + host + "\r\n", "", 0},
	} {
		for _, l := range []net.Addr{g.AdminAddr(), g.HealthAddr(), g.MetricsAddr()} {
			answer := adminAnswer(t, l, c.request)
			id := answer.Header.Get("X-Request-Id")
			if c.status != 0 && answer.StatusCode != c.status || answer.StatusCode < 400 ||
				!regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) {
				t.Errorf("%.60q: %d %v", c.request, answer.StatusCode, answer.Header)
			}
			if c.reason != "" {
				g.eventually(`"request_id":"` + id + `"`)
				at := strings.Index(g.log.String(), id)
				line, _, _ := strings.Cut(g.log.String()[at:], "\n")
				if !strings.Contains(line, `"reason":"`+c.reason+`"`) {
					t.Errorf("%.60q: %s", c.request, line)
				}
			}
		}
	}
	// An old health check has no Host.
	for _, l := range []net.Addr{g.AdminAddr(), g.HealthAddr()} {
		if answer := adminAnswer(t, l, "GET /healthz HTTP/1.0\r\n\r\n"); answer.StatusCode != 200 ||
			answer.Header.Get("X-Request-Id") != "" {
			t.Errorf("HTTP/1.0: %d %v", answer.StatusCode, answer.Header)
		}
	}
}

// adminAnswer sends the bytes of a request on a connection of its own.
func adminAnswer(t *testing.T, to net.Addr, request string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	answer.Body.Close()
	return answer
}

// Requests with a body that nothing reads take no place of an admin listener for long.
func TestABodyThatAdminDoesNotReadHoldsNothing(t *testing.T) {
	t.Parallel()
	g := startGate(t, `admin: {listen: "127.0.0.1:0"`, `admin: {listen: "127.0.0.1:0", health_listen: "127.0.0.1:0"`)
	for _, method := range []string{"POST", "GET"} {
		answer := adminAnswer(t, g.HealthAddr(), method+" /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
			"Content-Length: 200000\r\n\r\nx")
		if !answer.Close {
			t.Errorf("%s: the connection goes on: %v", method, answer.Header)
		}
	}
}
