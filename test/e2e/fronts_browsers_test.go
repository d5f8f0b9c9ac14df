package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestBrowsersBehindFronts: through each front, a page of another site opens no WebSocket with a cookie that the
// browser adds by itself, a preflight opens nothing, and an expired token neither.
func TestBrowsersBehindFronts(t *testing.T) {
	t.Parallel()
	edit := strings.NewReplacer("\nissuer:\n", "\ncors: {origins: [\"https://page.test\"]}\nissuer:\n",
		"{path: /live/, require: authenticated,",
		"{path: /live/, token_from: [authorization, {cookie: session}], forward_token: true, require: authenticated,")
	for _, front := range []struct {
		name  string
		files []string
		args  []string
		cors  bool // it passes on the fields of a refusal
	}{
		{"nginx", []string{"nginx.conf"}, []string{"-p", ".", "-c", "nginx.conf", "-e", "stderr"}, false},
		{"caddy", []string{"Caddyfile"}, []string{"run", "--config", "Caddyfile", "--adapter", "caddyfile"}, true},
		{"haproxy", []string{"haproxy.cfg", "jotgate.lua"}, []string{"-W", "-db", "-f", "haproxy.cfg"}, true},
		{"traefik", nil, nil, true},
	} {
		t.Run(front.name, func(t *testing.T) {
			t.Parallel()
			var h *frontHouse
			if front.files == nil {
				h = openTraefik(t, edit)
			} else {
				h = openFrontWith(t, edit, front.name, front.name, front.files, front.args...)
			}
			short := strings.TrimSpace(run(t, h.folder, nil, "mint", "--config", "config.yaml", "--client", "web", "--role",
				"reader", "--tenant", "acme", "--sub", "alice", "--ttl", "1s"))
			minted := time.Now()
			handshake := []string{
				"Upgrade: websocket", "Sec-WebSocket-Version: 13",
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Cookie: session=" + h.token,
			}
			for _, c := range []struct {
				name, method, target string
				fields               []string
				want                 int
			}{
				{"WebSocket of another site", "GET", "/live/a", append([]string{"Origin: https://evil.test"}, handshake...), 403},
				{"WebSocket of an opaque origin", "GET", "/live/a", append([]string{"Origin: null"}, handshake...), 403},
				{"WebSocket without an origin", "GET", "/live/a", handshake, 403},
				{
					"WebSocket that says cross-site", "GET", "/live/a",
					append([]string{"Origin: http://app.test", "Sec-Fetch-Site: cross-site"}, handshake...), 403,
				},
				{"WebSocket of this origin", "GET", "/live/a", append([]string{"Origin: http://app.test"}, handshake...), 200},
				{
					"preflight", "OPTIONS", "/t/acme/orders",
					[]string{"Origin: https://page.test", "Access-Control-Request-Method: GET"},
					403,
				},
			} {
				h.app.take()
				status, head := h.ask(t, c.method, c.target, c.fields...)
				seen := h.app.take()
				if status != c.want || (len(seen) == 1) != (c.want == 200) {
					t.Errorf("%s: %d, %d times at the app; want %d", c.name, status, len(seen), c.want)
				}
				if c.method == "OPTIONS" && front.cors && head.Get("Access-Control-Allow-Origin") != "https://page.test" {
					t.Errorf("%s: %v", c.name, head)
				}
			}
			time.Sleep(time.Until(minted.Add(2 * time.Second))) // a lifetime, which nothing tells the end of
			if status, _ := h.ask(t, "GET", "/t/acme/orders", "Authorization: Bearer "+short); status != 401 {
				t.Errorf("an expired token: %d, want 401", status)
			}
			if seen := h.app.take(); len(seen) != 0 {
				t.Errorf("an expired token reached the app: %v", seen)
			}
		})
	}
}
