package app_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestGRPCWebPassesAsHTTP: its calls and answers, with their trailers in the body, pass unchanged over both versions of
// HTTP, and a refusal is HTTP's.
func TestGRPCWebPassesAsHTTP(t *testing.T) {
	t.Parallel()
	call := []byte("\x00\x00\x00\x00\x02hi")
	answer := []byte("\x00\x00\x00\x00\x05hello\x80\x00\x00\x00\x0fgrpc-status:0\r\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Equal(body, call) || r.Header.Get("X-Grpc-Web") != "1" || r.Header.Get("X-Jotgate-Subject") != "alice" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = w.Write(answer[:10])
		w.(http.Flusher).Flush()
		_, _ = w.Write(answer[10:])
	}))
	t.Cleanup(server.Close)
	g := startGate(t, "listen: 127.0.0.1:0\n", "listeners: [{name: main, address: \"127.0.0.1:0\", h2c: true}]\n",
		"routes:\n", "routes:\n  - {path: /shop.Orders/, require: authenticated, upstream: \""+server.URL+"\"}\n")
	for _, h2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!h2)
		protocols.SetUnencryptedHTTP2(h2)
		transport := &http.Transport{Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		for _, kind := range []string{"application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"} {
			for bearer, want := range map[string]int{"Bearer " + g.token("acme"): 200, "Bearer nonsense": 401} {
				r, err := http.NewRequestWithContext(t.Context(), "POST", g.url("/shop.Orders/Get"), bytes.NewReader(call))
				if err != nil {
					t.Fatal(err)
				}
				r.Header = http.Header{"Content-Type": {kind}, "X-Grpc-Web": {"1"}, "Authorization": {bearer}}
				a, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(a.Body)
				_ = a.Body.Close()
				whole := bytes.Equal(body, answer) && a.Header.Get("Content-Type") == kind
				if err != nil || a.StatusCode != want || whole != (want == 200) || a.Header.Get("Grpc-Status") != "" {
					t.Errorf("HTTP/2 %v, %s: %d %v %q (%v), want %d", h2, kind, a.StatusCode, a.Header, body, err, want)
				}
			}
		}
	}
}
