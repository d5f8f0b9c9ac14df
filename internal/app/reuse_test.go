package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Requests are served in the memory of others. Requests of all kinds take turns on many connections, some broken off,
// and none finds anything of another one: not at the app, not in the answer, not in the log.
func TestNothingOfAnotherRequest(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	good := g.token("acme")
	const clients, rounds = 6, 60
	var work sync.WaitGroup
	for client := range clients {
		work.Go(func() {
			var c net.Conn
			var in *bufio.Reader
			for i := range rounds {
				if c == nil {
					var err error
					if c, err = net.Dial("tcp", g.Addr("main").String()); err != nil {
						t.Error(err)
						return
					}
					_ = c.SetDeadline(time.Now().Add(time.Minute))
					in = bufio.NewReader(c)
				}
				mark := fmt.Sprintf("mark-%d-%d", client, i)
				method, target, token, body, want := "GET", "/t/acme/"+mark, good, "", 200
				kind := (client + i) % 8
				switch kind {
				case 1:
					method, body = "POST", strings.Repeat("b", 1+i)
				case 2:
					target, want = "/t/other/"+mark, 403
				case 3:
					token, want = "x.y.z", 401
				case 4:
					method = "HEAD"
				case 5:
					target, token = "/open/"+mark, ""
				}
				var b strings.Builder
				fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: a\r\nUser-Agent: %s\r\nX-%s: %s\r\n", method, target, mark, mark, mark)
				if token != "" {
					fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
				}
				if body != "" {
					fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
				}
				if _, err := io.WriteString(c, b.String()+"\r\n"+body); err != nil {
					t.Error(err)
					return
				}
				if kind == 7 { // the client goes
					_ = c.Close()
					c = nil
					continue
				}
				a, err := http.ReadResponse(in, &http.Request{Method: method})
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(a.Body)
				if err != nil || a.StatusCode != want {
					t.Errorf("%s: %v, %d %q", target, err, a.StatusCode, text)
					return
				}
				if method != "HEAD" && want == 200 && (!strings.Contains(string(text), mark) ||
					strings.Count(strings.ToLower(string(text)), "mark-") != 3 ||
					strings.Contains(string(text), "X-Jotgate-Subject") != (token != "") ||
					!strings.Contains(string(text), a.Header.Get("X-Request-Id"))) {
					t.Errorf("%s: the app saw %q", target, text)
				}
			}
		})
	}
	work.Wait()
	for client := range clients {
		for i := range rounds {
			if (client+i)%8 != 7 { // a client that goes may be gone before it is heard
				g.eventually(fmt.Sprintf(`/mark-%d-%d"`, client, i))
			}
		}
	}
	seen := make(map[string]bool)
	for text := range strings.Lines(g.log.String()) {
		var line struct {
			Log       string
			Path      string
			Agent     string `json:"user_agent"`
			ID        string `json:"request_id"`
			Subject   string
			Reason    string
			Upstream  string
			Status    int
			UpstreamM float64 `json:"upstream_ms"`
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		if line.Log != "access" {
			continue
		}
		refused := strings.HasPrefix(line.Path, "/t/other/") || line.Status == 401
		if !strings.HasSuffix(line.Path, "/"+line.Agent) || seen[line.Agent] || seen[line.ID] ||
			refused && (line.Upstream != "" || line.UpstreamM > 0 || line.Reason == "") ||
			line.Status == 200 && (line.Reason != "" || line.Upstream == "") ||
			(line.Status == 401 || strings.HasPrefix(line.Path, "/open/")) && line.Subject != "" {
			t.Errorf("logged %s", text)
		}
		seen[line.Agent], seen[line.ID] = true, true
	}
}
