package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// askAt sends a request to an address of the gate, without a body type that its author did not name.
func askAt(t *testing.T, address net.Addr, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+address.String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func TestMetricsOnAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	g := startGate(t, `admin: {`, `admin: {metrics_listen: "127.0.0.1:0", `)
	answer, body := askAt(t, g.MetricsAddr(), "GET", "/metrics", "")
	if answer.StatusCode != 200 || !strings.Contains(body, "jotgate_build_info") {
		t.Errorf("%d %.100s", answer.StatusCode, body)
	}
	for _, path := range []string{
		"/", "/healthz", "/readyz", "/reload", "/revocations", "/explain", "/debug/pprof/",
		"/metrics/",
	} {
		if answer, body := askAt(t, g.MetricsAddr(), "GET", path, "", "Authorization", "Bearer "+
			operatorToken); answer.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, answer.StatusCode, body)
		}
	}
	g.write(`admin: {`, `admin: {metrics_listen: "127.0.0.1:1", `)
	if err := g.Reload(); err == nil || !strings.Contains(err.Error(), "metrics_listen") {
		t.Errorf("a reload moved it: %v", err)
	}
}

// RFC 9110 §15.5.6: a method that a page lacks is 405, and the answer says which it has.
func TestAdminPagesSayTheirMethods(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/revocations", "GET, HEAD, POST"},
		{"GET", "/revocations/x", "DELETE"},
		{"DELETE", "/reload", "GET, HEAD, POST"},
		{"GET", "/explain", "POST"},
		{"GET", "/log-level", "PUT"},
		{"POST", "/healthz", "GET, HEAD"},
		{"PUT", "/readyz", "GET, HEAD"},
		{"POST", "/metrics", "GET, HEAD"},
		{"GET", "/console/sign-in", "POST"},
		{"GET", "/console/sign-out", "POST"},
		{"GET", "/console/revocations/undo", "POST"},
		{"POST", "/console/config", "GET, HEAD"},
	} {
		answer, body := askAt(t, g.AdminAddr(), c.method, c.path, "", "Authorization", "Bearer "+operatorToken)
		if answer.StatusCode != 405 || !strings.Contains(answer.Header.Get("Allow"), c.allow) ||
			answer.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %d, Allow %q, %s", c.method, c.path, answer.StatusCode, answer.Header.Get("Allow"), body)
		}
	}
	if answer, _ := askAt(t, g.AdminAddr(), "GET", "/revocations", ""); answer.StatusCode != 401 {
		t.Errorf("without the token: %d", answer.StatusCode)
	}
	if answer, _ := askAt(t, g.AdminAddr(), "HEAD", "/readyz", ""); answer.StatusCode != 200 {
		t.Errorf("HEAD: %d", answer.StatusCode)
	}
}

// TestTheLogLevelCommandOfTheDocsWorks runs the command as docs/observability.md has it: curl -d calls its body a form.
func TestTheLogLevelCommandOfTheDocsWorks(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^ +(curl .*http://127\.0\.0\.1:9090/log-level)$`).FindSubmatch(page)
	if command == nil {
		t.Fatal("docs/observability.md has no command for the log level")
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(string(command[1]), "127.0.0.1:9090",
		g.AdminAddr().String(), 1)+" --silent --show-error --write-out '%{http_code}'")
	shell.Env = append(os.Environ(), "ADMIN_TOKEN="+operatorToken)
	if out, err := shell.CombinedOutput(); err != nil || string(out) != "204" {
		t.Errorf("%v: %s, want 204", err, out)
	}
	g.eventually(`"log":"audit","msg":"log_level","level":"debug"`)
	answer, body := askAt(t, g.AdminAddr(), "PUT", "/log-level", `{"level": "loud"}`, "Authorization",
		"Bearer "+operatorToken, "Content-Type", "application/json")
	if answer.StatusCode != 400 || answer.Header.Get("X-Request-Id") == "" {
		t.Errorf("a level that there is not: %d %s, %v", answer.StatusCode, body, answer.Header)
	}
}

// Whatever refuses a request, the answer has the id that its log line has.
func TestEveryRefusalHasItsRequestID(t *testing.T) {
	t.Parallel()
	g := startGate(t, "drain:", "limits: {header_timeout: 100ms, stall_timeout: 500ms, body_bytes: 1KiB}\ndrain:")
	long := strings.Repeat("a", 16<<10)
	for name, row := range map[string]struct {
		status  int
		request string
	}{
		"a dot segment":      {400, "GET /open/../x HTTP/1.1\r\nHost: a\r\n\r\n"},
		"a bad host":         {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
		"another spelling":   {400, "GET /t/acme/%ff HTTP/1.1\r\nHost: a\r\n\r\n"},
		"a head with a LF":   {400, "GET / HTTP/1.1\nHost: a\n\n"},
		"two lengths":        {400, "POST /open/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"},
		"no token":           {401, "GET /t/acme/ HTTP/1.1\r\nHost: a\r\n\r\n"},
		"no route":           {404, "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"},
		"a method of others": {405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"},
		"half a head":        {408, "GET / HTTP/1.1\r\nHost: a\r\n"},
		"half a body":        {408, "POST /open/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"},
		"a long body":        {413, "POST /open/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n"},
		"a long target":      {414, "GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n"},
		"a long head":        {431, "GET / HTTP/1.1\r\nHost: a\r\nA: " + long + "\r\nB: " + long + "\r\n\r\n"},
		"an expectation":     {417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n"},
		"another version":    {505, "GET / HTTP/2.5\r\nHost: a\r\n\r\n"},
	} {
		c, err := net.Dial("tcp", g.Addr("main").String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, row.request); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, _ := io.ReadAll(answer.Body)
		c.Close()
		id := answer.Header.Get("X-Request-Id")
		told := strings.Contains(string(body), fmt.Sprintf(`"request_id":%q`, id))
		if answer.StatusCode != row.status || id == "" || !told {
			t.Errorf("%s: %d, id %q, %s", name, answer.StatusCode, id, body)
			continue
		}
		g.eventually(`"request_id":"` + id + `"`)
	}
}

// Over HTTP/2, too, what no handler saw is answered with an id that the log has.
func TestEveryRefusalOverHTTP2HasItsRequestID(t *testing.T) {
	t.Parallel()
	silent := func() io.ReadCloser {
		body, feeding := io.Pipe()
		t.Cleanup(func() { _ = feeding.Close() })
		return body
	}
	for _, server := range []string{"own", "standard"} {
		g := startGate(t, h2c[0], h2c[1], "drain:", "limits: {http2: "+server+
			", header_bytes: 32KiB, stall_timeout: 500ms, body_bytes: 1KiB}\ndrain:")
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(transport.CloseIdleConnections)
		for name, row := range map[string]struct {
			status int
			path   string
			edit   func(*http.Request)
		}{
			"a bad host":     {400, "/open/", func(r *http.Request) { r.Host = "a_b:x" }},
			"a dot segment":  {400, "/open/../x", nil},
			"no token":       {401, "/t/acme/", nil},
			"no route":       {404, "/nowhere", nil},
			"another method": {405, "/open/", func(r *http.Request) { r.Method = "TRACE" }},
			"half a body":    {408, "/open/", func(r *http.Request) { r.Method, r.Body = "POST", silent() }},
			"a long body": {413, "/open/", func(r *http.Request) {
				r.Method, r.Body, r.ContentLength = "POST", silent(), 9999
			}},
			"a long target": {414, "/open/" + strings.Repeat("a", 16<<10), nil},
			"many fields":   {431, "/open/", func(r *http.Request) { r.Header["A"] = make([]string, 300) }},
		} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", g.url(row.path), nil)
			if err != nil {
				t.Fatal(err)
			}
			if row.edit != nil {
				row.edit(r)
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Errorf("%s, %s: %v", server, name, err)
				continue
			}
			body, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			id := answer.Header.Get("X-Request-Id")
			told := strings.Contains(string(body), fmt.Sprintf(`"request_id":%q`, id))
			if answer.StatusCode != row.status || id == "" || !told {
				t.Errorf("%s, %s: %d, id %q, %s", server, name, answer.StatusCode, id, body)
				continue
			}
			g.eventually(`"request_id":"` + id + `"`)
		}
	}
}

// A reload that was refused is told as long as the file is not what is in force.
func TestABadReloadStaysVisible(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	g.tells("jotgate_config_last_reload_successful 1")
	g.write("routes:", "rutes:")
	if g.Reload() == nil {
		t.Fatal("a bad config was taken")
	}
	for range 2 {
		g.tells("jotgate_config_last_reload_successful 0")
		if _, body := askAt(t, g.AdminAddr(), "GET", "/readyz", ""); !strings.Contains(body, "was refused") {
			t.Errorf("ready says nothing of it: %s", body)
		}
	}
	g.write()
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	g.tells("jotgate_config_last_reload_successful 1")
}

func TestOpenStreamsAreCounted(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	stream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			<-end
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-end
	}))
	defer stream.Close()
	g := startGate(t, "/open/, public: true", "/open/, public: true, upgrade: true", "$APP", stream.URL)
	g.tells("jotgate_streams_open 0")
	answer, err := http.Get(g.url("/open/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /open/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "101") {
		t.Fatalf("%q %v", line, err)
	}
	g.tells("jotgate_streams_open 2")
	close(end)
	c.Close()
	g.tells("jotgate_streams_open 0")
}
