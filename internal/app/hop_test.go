package app_test

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/listen/listentest"
	"github.com/jotgate/jotgate/internal/refusal"
)

// mirror answers with what it was asked, byte by byte.
func mirror(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "app/1.0")
		w.Header().Set("X-Powered-By", "app")
		w.Header().Set("Cache-Control", "public")
		_ = json.NewEncoder(w).Encode(map[string]any{"target": r.RequestURI, "header": r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}

type mirrored struct {
	Target string
	Header http.Header
}

// exchange sends a request line as it stands, to a mirror.
func (g *gate) exchange(target string, header ...string) (*http.Response, mirrored) {
	g.t.Helper()
	answer, body := g.roundTrip(target, header...)
	var m mirrored
	if err := json.Unmarshal(body, &m); err != nil {
		g.t.Fatalf("%v in %q", err, body)
	}
	return answer, m
}

// roundTrip sends a request line as it stands.
func (g *gate) roundTrip(target string, header ...string) (*http.Response, []byte) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	request := "GET " + target + " HTTP/1.1\r\nHost: a\r\n"
	for i := 0; i < len(header); i += 2 {
		request += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		g.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer, body
}

func TestPrefixesOnTheWayToTheUpstream(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", strings.ReplaceAll(`routes:
  - {name: orders, path: "/api/orders/{tenant}/", require: {tenant_from: path.tenant, action: READ}, strip_prefix: /api/orders, upstream: "$APP"}
  - {path: /bare, public: true, strip_prefix: /bare, upstream: "$APP"}
  - {path: /new/, public: true, add_prefix: /v2, upstream: "$APP"}
  - {path: /old/, public: true, strip_prefix: /old, add_prefix: /v1/x, upstream: "$APP", insecure_allow: [double_slash, double_encoding, encoded_slash]}
`, "$APP", mirror(t).URL))
	token := "Bearer " + g.token("acme")
	for target, want := range map[string]string{
		"/api/orders/acme/7?a=b&c=%2f":    "/acme/7?a=b&c=%2f",
		"/api/orders/acme/":               "/acme/",
		"/api/orders/acme/?":              "/acme/?",
		"/api/orders/acme/api/orders/x":   "/acme/api/orders/x",
		"/api/orders/acme/caf%C3%A9/[x]|": "/acme/caf%C3%A9/[x]|",
		"/bare":                           "/",
		"/bare?x":                         "/?x",
		"/new/":                           "/v2/new/",
		"/new/a/b?x=/new":                 "/v2/new/a/b?x=/new",
		"/old/":                           "/v1/x/",
		"/old/a//b":                       "/v1/x/a//b",
		"/old/a%2Fb":                      "/v1/x/a%2Fb",
		// Another spelling of what is taken away, or what would be an authority without it.
		"/api/%6frders/acme/7": "400",
		"/%61pi/orders/acme/7": "400",
		"/old//evil/x":         "400",
		"/ol%64/x":             "400",
		"/%62are":              "400",
		"/api/orders//acme/7":  "400",
	} {
		answer, got := g.exchange(target, "Authorization", token)
		if answer.StatusCode != 200 {
			got.Target = fmt.Sprint(answer.StatusCode)
		}
		if got.Target != want {
			t.Errorf("%s: %s, want %s", target, got.Target, want)
		}
	}
	g.eventually(`"path":"/api/orders/acme/7"`)
	g.eventually(`"upstream_path":"/acme/7"`)
	trace, err := g.Trace(app.Question{
		Request: "GET http://a/api/orders/acme/7",
		Token:   strings.TrimPrefix(token, "Bearer "),
	})
	if err != nil || !trace.Allowed || trace.Request.Path != "/api/orders/acme/7" || trace.Request.SentPath != "/acme/7" {
		t.Errorf("explain: %+v, %v", trace.Request, err)
	}
	trace, err = g.Trace(app.Question{Request: "GET http://a/api/%6frders/acme/7"})
	if err != nil || trace.Reason != refusal.PathAmbiguous ||
		!strings.Contains(trace.Detail, "another spelling of strip_prefix") {
		t.Errorf("explain: %+v, %v", trace, err)
	}
}

func TestHeadersThatARouteSetsAndRemoves(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", strings.ReplaceAll(`routes:
  - {path: /plain/, public: true, upstream: "$APP"}
  - path: /edited/
    public: true
    upstream: "$APP"
    headers:
      request: {set: {X-Env: prod, Authorization: "Basic c2VjcmV0"}, remove: [X-Debug]}
      response: {set: {Strict-Transport-Security: max-age=31536000, cache-control: private}, remove: [Server, x-powered-by]}
`, "$APP", mirror(t).URL))
	answer, got := g.exchange("/edited/", "X-Env", "client", "x_env", "client", "X-Debug", "1", "X_DEBUG", "2", "X-Other",
		"stays", "Authorization", "Bearer x")
	if answer.StatusCode != 200 {
		t.Fatal(answer.Status)
	}
	for name, want := range map[string]string{
		"X-Env": "[prod]", "X_env": "[]", "X-Debug": "[]", "X_debug": "[]",
		"X-Other": "[stays]", "Authorization": "[Basic c2VjcmV0]",
	} {
		if values := fmt.Sprint(got.Header[name]); values != want {
			t.Errorf("the app got %s: %s, want %s", name, values, want)
		}
	}
	for name, want := range map[string]string{
		"Strict-Transport-Security": "[max-age=31536000]", "Cache-Control": "[private]", "Server": "[]", "X-Powered-By": "[]",
		"Content-Type": "[text/plain; charset=utf-8]",
	} {
		if values := fmt.Sprint(answer.Header[name]); values != want {
			t.Errorf("the client got %s: %s, want %s", name, values, want)
		}
	}
	answer, got = g.exchange("/plain/", "X-Env", "client", "X-Debug", "1")
	if fmt.Sprint(got.Header["X-Env"], got.Header["X-Debug"], answer.Header["Server"]) != "[client] [1] [app/1.0]" {
		t.Errorf("on another route: %v %v", got, answer.Header)
	}
}

// authority writes a server's certificate to a file.
func authority(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A route's time-outs are its own, shorter or longer than the upstream's, over HTTP/1.1 and HTTP/2.
func TestARouteHasTimeOutsOfItsOwn(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "/stall") {
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-time.After(1200 * time.Millisecond):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "ok")
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	for name, server := range map[string]*httptest.Server{"HTTP/1.1": plain, "HTTP/2": secure} {
		ca := ""
		if server.TLS != nil {
			ca = ", ca_file: " + authority(t, server)
		}
		g := startGate(t, "routes:\n", fmt.Sprintf(`limits: {stall_timeout: 400ms}
upstreams:
  fast: {servers: ["%s"], response_timeout: 400ms%s}
  slow: {servers: ["%[1]s"], response_timeout: 30s%s}
routes:
  - {path: /default/, public: true, upstream: fast}
  - {path: /longer/, public: true, upstream: fast, timeout: 30s, stall_timeout: 30s}
  - {path: /shorter/, public: true, upstream: slow, timeout: 400ms}
`, server.URL, ca, ca))
		for path, want := range map[string]string{
			"/default/": "504", "/longer/": "200 ok", "/shorter/": "504", "/default/stall": "200 broken",
			"/longer/stall": "200 aok",
		} {
			for _, method := range []string{"GET", "POST"} {
				r, err := http.NewRequest(method, g.url(path), nil)
				if err != nil {
					t.Fatal(err)
				}
				if method == "POST" {
					r.Body = io.NopCloser(strings.NewReader("body"))
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				got := fmt.Sprint(answer.StatusCode)
				switch {
				case err != nil:
					got += " broken"
				case answer.StatusCode == 200:
					got += " " + string(body)
				}
				if got != want {
					t.Errorf("%s: %s %s: %s, want %s", name, method, path, got, want)
				}
			}
		}
	}
}

// A route's stall_timeout holds in both directions and against the client, too: for an upload that drips, and for an
// answer that is not taken. Elsewhere, and for the next request on the connection, the limit holds.
func TestARoutesStallTimeoutIsTheClientsToo(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/large") {
			_, _ = w.Write(make([]byte, 16<<20))
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}))
	t.Cleanup(app.Close)
	pair := listentest.WritePair(t, "127.0.0.1")
	const drops, pause = 6, 300 * time.Millisecond
	for _, server := range []string{"own", "standard"} {
		g := startGate(t, "listen: 127.0.0.1:0\n", fmt.Sprintf("listeners:\n  - {name: main, address: \"127.0.0.1:0\"}\n"+
			"  - {name: tls, address: \"127.0.0.1:0\", tls: {certificates: [{cert: %q, key: %q}]}}\n", pair.Cert, pair.Key),
			"routes:\n", fmt.Sprintf(`limits: {stall_timeout: 500ms, http2: %s}
routes:
  - {path: /limit/, public: true, upstream: %q}
  - {path: /longer/, public: true, upstream: %[2]q, stall_timeout: 1h}
`, server, app.URL))
		secure := "https://" + g.Addr("tls").String()
		for _, row := range []struct {
			name   string
			client *http.Client
			base   string
		}{
			{"HTTP/1.1", listentest.Client(t, false), g.url("")},
			{"HTTP/1.1 over TLS", listentest.Client(t, false), secure},
			{"HTTP/2", listentest.Client(t, true), secure},
		} {
			t.Run(server+", "+row.name, func(t *testing.T) {
				t.Parallel()
				upload := func(path string) string {
					out, in := io.Pipe()
					go func() {
						for range drops {
							_, _ = in.Write([]byte{'x'}) // the other end may be closed
							time.Sleep(pause)
						}
						_ = in.Close()
					}()
					r, err := http.NewRequestWithContext(t.Context(), "POST", row.base+path, struct{ io.Reader }{out})
					if err != nil {
						t.Fatal(err)
					}
					answer, err := row.client.Do(r)
					_ = out.Close()
					if err != nil {
						return err.Error()
					}
					defer answer.Body.Close()
					if text, err := io.ReadAll(answer.Body); answer.StatusCode == 200 {
						return fmt.Sprintf("%s %v", text, err)
					}
					return fmt.Sprint(answer.StatusCode)
				}
				download := func(path string) string {
					r, err := http.NewRequestWithContext(t.Context(), "GET", row.base+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					answer, err := row.client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					defer answer.Body.Close()
					time.Sleep(3 * time.Second) // six times the limit
					if n, err := io.Copy(io.Discard, answer.Body); err != nil || n != 16<<20 {
						return "cut"
					}
					return "whole"
				}
				for range 2 { // on kept connections, too
					if got := upload("/longer/"); got != "6 <nil>" {
						t.Errorf("upload: %s", got)
					}
					if got := upload("/limit/"); got != "408" {
						t.Errorf("upload within the limit alone: %s", got)
					}
				}
				if server == "standard" && row.name == "HTTP/2" {
					return // net/http bounds the connection
				}
				if got := download("/longer/large"); got != "whole" {
					t.Errorf("download: %s", got)
				}
				if got := download("/limit/large"); got != "cut" {
					t.Errorf("download within the limit alone: %s", got)
				}
			})
		}
	}
}
