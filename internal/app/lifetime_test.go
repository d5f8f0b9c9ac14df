package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

// message is one of gRPC's, with the content "abc".
const message = "\x00\x00\x00\x00\x03abc"

// TestStreamsOfHTTP2EndWithTheirToken: an event stream is reset, and a gRPC stream ends with the status 16 where no
// message is under way, else it is reset, too.
func TestStreamsOfHTTP2EndWithTheirToken(t *testing.T) {
	t.Parallel()
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, begin := r.URL.Query().Get("type"), r.URL.Query().Get("begin")
		if begin == "" { // a client that streams, and is answered when it has sent everything
			_, _ = io.Copy(io.Discard, r.Body)
		}
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, begin)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	backend.Start()
	t.Cleanup(backend.Close)
	file := filepath.Join(t.TempDir(), "revoked")
	g := startGate(t, append(h2c, "drain:", "revocations: {file: "+file+"}\ndrain:", "routes:",
		fmt.Sprintf(`upstreams: {two: {servers: ["h2c://%s"]}}
routes:
  - {path: /ends/, require: {tenant: acme, action: READ}, upstream: two, end_with_token: true}`,
			backend.Listener.Addr()))...)
	minter, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	for _, c := range []struct {
		name, kind, begin string
		cut               bool
	}{
		{"events", "text/event-stream", "data: 1\n\n", true},
		{"gRPC, after a message", "application/grpc", message + message, false},
		{"gRPC, before the first", "application/grpc+proto", message[:0] + "\x00\x00\x00\x00\x00", false},
		{"gRPC, within one", "application/grpc", message + message[:6], true},
		{"gRPC, the client streams", "application/grpc", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			token, claims, err := minter.ForRole("web", "reader", "acme", "alice", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			out, in := io.Pipe()
			defer in.Close()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url("/ends/"), out)
			if err != nil {
				t.Fatal(err)
			}
			q := r.URL.Query()
			q.Set("type", c.kind)
			q.Set("begin", c.begin)
			r.URL.RawQuery = q.Encode()
			r.Header.Set("Content-Type", c.kind)
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Te", "trailers")
			end := func() {
				if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":"token","issuer":"https://gate.test","value":%q,"at":%d}`,
					claims.ID, claims.Expiry)); status >= 300 {
					t.Errorf("revoke: %d", status)
				}
			}
			if c.begin == "" {
				go func() {
					_, _ = io.WriteString(in, message) // it is let in, and goes on
					end()
				}()
			} else {
				go io.WriteString(in, message)
			}
			a, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Body.Close()
			first := make([]byte, len(c.begin))
			if _, err := io.ReadFull(a.Body, first); err != nil || !bytes.Equal(first, []byte(c.begin)) {
				t.Fatalf("%q %v", first, err)
			}
			if c.begin != "" {
				end()
			}
			rest, err := io.ReadAll(a.Body)
			status := a.Trailer.Get("Grpc-Status") + a.Header.Get("Grpc-Status")
			if len(rest) > 0 || (err != nil) != c.cut || (status == "16") == c.cut {
				t.Errorf("%q %v, status %q, %v", rest, err, status, a.Trailer)
			}
		})
	}
}
