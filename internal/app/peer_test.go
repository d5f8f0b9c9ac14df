package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// talk sends raw bytes to a listener and returns what comes until the end; "" where the connection is closed
// unanswered.
func (g *gate) talk(listener, bytes string) string {
	g.t.Helper()
	address := g.Addr(listener)
	c, err := net.Dial(address.Network(), address.String())
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, bytes) // it may be closed already
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(answer.Body)
	return fmt.Sprintf("%d\n%s", answer.StatusCode, text)
}

const (
	asksAs = "GET /open/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n" +
		"Connection: close\r\n\r\n"
	announced = "PROXY TCP4 192.0.2.7 192.0.2.1 56324 80\r\n"
)

// Behind the header the announced address is the peer: X-Forwarded-For counts only where that one is a trusted proxy.
func TestThePeerBehindAPROXYHeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ trusted, protocol, header, want string }{
		"from trusted_proxies": {"[127.0.0.1]", "true", announced, "X-Forwarded-For: 192.0.2.7\r\n"},
		"from a list":          {"[]", "{from: [127.0.0.0/8]}", announced, "X-Forwarded-For: 192.0.2.7\r\n"},
		"who announces a trusted proxy": {
			"[192.0.2.0/24]", "{from: [127.0.0.1]}", announced,
			"X-Forwarded-For: 203.0.113.9, 192.0.2.7\r\n",
		},
		"who announces no address":           {"[127.0.0.1]", "true", "PROXY UNKNOWN\r\n", ""},
		"a stranger":                         {"[10.0.0.1]", "true", announced, "closed"},
		"no header":                          {"[127.0.0.1]", "true", "", "closed"},
		"a Unix peer's word for a TCP peer":  {"[unix]", "true", announced, "closed"},
		"an address that trusts, not a list": {"[127.0.0.1]", "{from: [10.0.0.1]}", announced, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, "listen: 127.0.0.1:0\n", fmt.Sprintf(
				"listeners: [{name: main, address: \"127.0.0.1:0\", proxy_protocol: %s}]\ntrusted_proxies: %s\n", c.protocol,
				c.trusted))
			got := g.talk("main", c.header+asksAs)
			switch {
			case c.want == "closed":
				if got != "" {
					t.Errorf("answered %s, want the connection closed", got)
				}
			case c.want == "":
				if !strings.HasPrefix(got, "200\n") || strings.Contains(got, "X-Forwarded-For") ||
					!strings.Contains(got, "X-Forwarded-Proto: http\r\n") {
					t.Errorf("answered %s, want no address", got)
				}
			case !strings.HasPrefix(got, "200\n") || !strings.Contains(got, c.want):
				t.Errorf("answered %s, want %q", got, c.want)
			}
		})
	}
}

// A peer on a Unix socket has no address. What it says of its client counts where it is trusted by the word unix.
func TestAPeerOnAUnixSocket(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[string]string{
		"[unix]": "X-Forwarded-For: 203.0.113.9\r\n", "[]": "", "[0.0.0.0/0, \"::/0\"]": "",
	} {
		g := startGate(t, "listen: 127.0.0.1:0\n", "listen: \"unix:gate.sock\"\ntrusted_proxies: "+trusted+"\n")
		got := g.talk("main", asksAs)
		if !strings.HasPrefix(got, "200\n") || !strings.Contains(got, want) || want == "" &&
			strings.Contains(got, "203.0.113.9") {
			t.Errorf("trusted_proxies: %s: answered %s, want %q", trusted, got, want)
		}
		if scheme := strings.Contains(got, "X-Forwarded-Proto: https\r\n"); scheme != (want != "") {
			t.Errorf("trusted_proxies: %s: https %v", trusted, scheme)
		}
	}
}

// Who may send PROXY headers changes with a reload.
func TestAReloadChangesWhoSendsPROXYHeaders(t *testing.T) {
	t.Parallel()
	const with = "listeners: [{name: main, address: \"127.0.0.1:0\", proxy_protocol: {from: [%s]}}]\n"
	g := startGate(t, "listen: 127.0.0.1:0\n", fmt.Sprintf(with, "127.0.0.1"))
	if got := g.talk("main", announced+asksAs); !strings.HasPrefix(got, "200\n") {
		t.Errorf("before: %q", got)
	}
	g.write("listen: 127.0.0.1:0\n", fmt.Sprintf(with, "10.0.0.1"))
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := g.talk("main", announced+asksAs); got != "" {
		t.Errorf("after: answered %q, want the connection closed", got)
	}
	g.write("listen: 127.0.0.1:0\n", "listeners: [{name: main, address: \"127.0.0.1:0\"}]\n")
	if err := g.Reload(); err == nil {
		t.Error("without proxy_protocol: the reload was not refused")
	}
}
