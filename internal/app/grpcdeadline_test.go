package app_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTheDeadlineOfAGRPCCall: the client's grpc-timeout ends a call in gRPC's words, at whatever point it stands, and
// whether the gate or the server notices first; and no client ejects a server with it.
func TestTheDeadlineOfAGRPCCall(t *testing.T) {
	t.Parallel()
	const message = "\x00\x00\x00\x00\x02hi"
	app := func() string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/grpc")
			switch r.URL.Path {
			case "/shop.Orders/Fine":
				_, _ = io.WriteString(w, message)
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
				return
			case "/shop.Orders/Reset": // as a server whose own timer comes first
				wait, _ := time.ParseDuration(strings.TrimSuffix(r.Header.Get("Grpc-Timeout"), "m") + "ms")
				time.Sleep(wait)
				panic(http.ErrAbortHandler)
			case "/shop.Orders/Between":
				_, _ = io.WriteString(w, message)
				w.(http.Flusher).Flush()
			case "/shop.Orders/Within":
				_, _ = io.WriteString(w, message[:6])
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		}))
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		return strings.Replace(s.URL, "http", "h2c", 1)
	}
	first, second := app(), app()
	g := startGate(t, "listen: 127.0.0.1:0\n", "listeners: [{name: main, address: \"127.0.0.1:0\", h2c: true}]\n",
		"routes:\n", "upstreams: {orders: {servers: [\""+first+"\", \""+second+"\"], eject: {failures: 2}}}\n"+
			"routes:\n  - {path: /shop.Orders/, require: authenticated, upstream: orders}\n")
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	bearer := "Bearer " + g.token("acme")
	for range 2 {
		for _, c := range []struct{ method, timeout, status, body string }{
			{"Never", "30m", "4", ""},
			{"Never", "1n", "4", ""},
			{"Reset", "30m", "4", ""},
			{"Between", "2S", "4", message},
			{"Within", "2S", "broken", message[:6]},
			{"Fine", "99999999H", "0", message},
			{"Fine", "99999999S", "0", message},
			{"Fine", "1 m", "0", message}, // malformed: the server's to judge
			{"Fine", "", "0", message},
		} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", g.url("/shop.Orders/"+c.method),
				bytes.NewReader([]byte(message)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Authorization": {bearer}}
			if c.timeout != "" {
				r.Header.Set("Grpc-Timeout", c.timeout)
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			status := answer.Header.Get("Grpc-Status") + answer.Trailer.Get("Grpc-Status")
			if err != nil {
				status = "broken"
			}
			if answer.StatusCode != 200 || status != c.status || string(body) != c.body {
				t.Errorf("%s with %q: %d, status %q, %q (%v), want %+v", c.method, c.timeout, answer.StatusCode, status, body,
					err, c)
			}
		}
	}
	g.eventually(`"reason":"grpc_deadline"`)
	for _, server := range []string{first, second} {
		g.tells(`jotgate_upstream_server_ejections_total{server="` + strings.TrimPrefix(server, "h2c://") +
			`",upstream="orders"} 0`)
	}
}
