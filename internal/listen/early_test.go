package listen_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

const (
	earlyTimes = 20
	earlySize  = 20_000_000
)

// unread answers 401 and does not read the body.
func unread(w http.ResponseWriter, _ *http.Request) {
	request.Problem(w, refusal.TokenMissing, request.NewID())
}

// An early answer is one that comes while the client still sends its body. Each client must see it each time.
func TestEarlyAnswersReachEveryClient(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "body")
	if err := os.WriteFile(file, make([]byte, earlySize), 0o600); err != nil {
		t.Fatal(err)
	}
	o, _ := secure(t, listen.Limits{})
	o.Listeners = append(o.Listeners, listen.Listener{Name: "plain"})
	ls := start(t, o, http.HandlerFunc(unread))
	for _, scheme := range []string{"http", "https"} {
		url := scheme + "://" + ls.Addr(map[string]string{"http": "plain", "https": "main"}[scheme]).String() + "/upload"
		for client, statuses := range map[string]func(*testing.T, string, string) []string{
			"go, a new connection each":   goPosts(true, false),
			"go, kept connections":        goPosts(false, false),
			"go, chunked":                 goPosts(false, true),
			"node, one buffer":            nodePosts("buffer"),
			"node, a stream":              nodePosts("stream"),
			"node, fetch":                 nodePosts("fetch"),
			"python":                      pythonPosts("bytes"),
			"python, chunked":             pythonPosts("chunked"),
			"curl":                        curlPosts("Expect:"),
			"curl, chunked":               curlPosts("Expect:", "Transfer-Encoding: chunked"),
			"curl, waiting":               curlPosts("Expect: 100-continue"),
			"nginx, buffers the request":  nginxPosts("on"),
			"nginx, streams the request":  nginxPosts("off"),
			"one that reads at the end":   rawPosts(false),
			"one that closes for writing": rawPosts(true),
		} {
			t.Run(scheme+"/"+client, func(t *testing.T) {
				got := statuses(t, url, file)
				bad := 0
				for _, status := range got {
					if status != "401" {
						bad++
						t.Errorf("got %q", status)
					}
				}
				if len(got) != earlyTimes || bad > 0 {
					t.Errorf("%d of %d answers were 401", len(got)-bad, earlyTimes)
				}
			})
		}
	}
}

// goPosts posts with Go's client.
func goPosts(fresh, chunked bool) func(*testing.T, string, string) []string {
	return func(t *testing.T, url, _ string) (statuses []string) {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: fresh,
		}
		defer transport.CloseIdleConnections()
		body := make([]byte, earlySize)
		for range earlyTimes {
			var from io.Reader = bytes.NewReader(body)
			if chunked {
				from = io.MultiReader(from)
			}
			answer, err := (&http.Client{Transport: transport}).Post(url, "application/octet-stream", from)
			if err != nil {
				statuses = append(statuses, err.Error())
				continue
			}
			if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), `"status":401`) {
				t.Errorf("body %q, %v", text, err)
			}
			_ = answer.Body.Close()
			statuses = append(statuses, fmt.Sprint(answer.StatusCode))
		}
		return statuses
	}
}

// program runs a client that prints one status a line.
func program(t *testing.T, input, name string, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// nodePosts posts with Node's clients. An error after the answer counts as one, too.
func nodePosts(how string) func(*testing.T, string, string) []string {
	const script = `
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
const [url, file, how] = process.argv.slice(2)
const { createReadStream, readFileSync } = require('node:fs')
const http = require(new URL(url).protocol.slice(0, -1))
const body = readFileSync(file)
const once = () => new Promise(done => {
  if (how === 'fetch') return fetch(url, { method: 'POST', body }).then(async r => (await r.text(), done(r.status)), e => done(e.cause ?? e))
  let status
  const r = http.request(url, { method: 'POST', headers: { 'Content-Length': body.length }, rejectUnauthorized: false }, answer => {
    status = answer.statusCode
    answer.resume().on('end', () => done(status)).on('error', done)
  })
  r.on('error', e => done(status === undefined ? e : 'after ' + status + ': ' + e))
  how === 'stream' ? createReadStream(file).pipe(r) : r.end(body)
})
;(async () => { for (let i = 0; i < 20; i++) console.log(String(await once())) ; process.exit(0) })()
`
	return func(t *testing.T, url, file string) []string {
		return program(t, script, "node", "-", url, file, how)
	}
}

// pythonPosts posts with Python's http.client, which reads nothing before it has written everything.
func pythonPosts(how string) func(*testing.T, string, string) []string {
	const script = `
import http.client, ssl, sys, urllib.parse
url, file, how = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3]
body = open(file, 'rb').read()
pieces = lambda: (body[i:i + 65536] for i in range(0, len(body), 65536))
for _ in range(20):
    c = http.client.HTTPConnection(url.netloc)
    if url.scheme == 'https':
        c = http.client.HTTPSConnection(url.netloc, context=ssl._create_unverified_context())
    try:
        if how == 'chunked':
            c.request('POST', url.path, body=pieces(), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
        else:
            c.request('POST', url.path, body=body)
        r = c.getresponse()
        r.read()
        print(r.status)
    except Exception as e:
        print(repr(e))
    c.close()
`
	return func(t *testing.T, url, file string) []string {
		return program(t, script, "python3", "-", url, file, how)
	}
}

func curlPosts(fields ...string) func(*testing.T, string, string) []string {
	return func(t *testing.T, url, file string) (statuses []string) {
		args := []string{
			"-sSk", "--http1.1", "-o", os.DevNull, "-w", "%{http_code}\\n", "-X", "POST", "-T", file, "--max-time", "60",
		}
		for _, field := range fields {
			args = append(args, "-H", field)
		}
		for range earlyTimes {
			statuses = append(statuses, program(t, "", "curl", append(args, url)...)...)
		}
		return statuses
	}
}

// nginxPosts posts through nginx as a reverse proxy, which answers 502 if it does not see the answer.
func nginxPosts(buffering string) func(*testing.T, string, string) []string {
	return func(t *testing.T, url, file string) (statuses []string) {
		folder := t.TempDir()
		config := fmt.Sprintf(`daemon off; master_process off; pid nginx.pid; error_log error.log;
events { worker_connections 64; }
http {
  access_log off; client_max_body_size 100m; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen unix:%s/nginx.sock;
    location / { proxy_pass %s; proxy_http_version 1.1; proxy_request_buffering %s; }
  }
}
`, folder, url, buffering)
		if err := os.WriteFile(filepath.Join(folder, "nginx.conf"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		nginx := exec.Command("nginx", "-p", folder, "-c", "nginx.conf", "-e", filepath.Join(folder, "error.log"))
		nginx.Stderr = os.Stderr
		if err := nginx.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = nginx.Process.Signal(syscall.SIGTERM)
			_ = nginx.Wait()
		})
		socket := filepath.Join(folder, "nginx.sock")
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			c, err := net.Dial("unix", socket)
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		for range earlyTimes {
			statuses = append(statuses, program(t, "", "curl", "-sS", "--unix-socket", socket, "-o", os.DevNull,
				"-w", "%{http_code}\\n", "-X", "POST", "-H", "Expect:", "--data-binary", "@"+file, "http://x/upload")...)
		}
		return statuses
	}
}

// rawPosts writes the whole request before it reads, and waits for the end of the connection.
func rawPosts(closes bool) func(*testing.T, string, string) []string {
	return func(t *testing.T, url, _ string) (statuses []string) {
		secure, address := strings.HasPrefix(url, "https"), strings.Split(url, "/")[2]
		for range earlyTimes {
			raw, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.SetDeadline(time.Now().Add(time.Minute))
			var c interface {
				net.Conn
				CloseWrite() error
			} = raw.(*net.TCPConn)
			if secure {
				c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
			}
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", earlySize)
			if _, err := c.Write(make([]byte, earlySize)); err != nil {
				t.Error(err)
			}
			if closes {
				_ = c.CloseWrite()
			}
			all, err := io.ReadAll(c)
			if err != nil {
				t.Error(err)
			}
			statuses = append(statuses, strings.Split(string(all)+"  ", " ")[1])
			_ = c.Close()
		}
		return statuses
	}
}

// A client on a slow link has as long as it needs. A client that stops or trickles does not keep the connection.
func TestEarlyAnswersOnSlowLinks(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (*listen.Listeners, *net.TCPConn) {
		t.Parallel()
		ls := start(t, listen.Options{}, http.HandlerFunc(unread))
		c := dial(t, ls)
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
		return ls, c
	}
	t.Run("slow", func(t *testing.T) {
		_, c := begin(t)
		for range 70 { // longer than a client may pause
			if _, err := c.Write(make([]byte, 8<<10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if all, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 401 ") {
			t.Errorf("got %q, %v", all, err)
		}
	})
	for name, every := range map[string]time.Duration{"silent": time.Hour, "trickles": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			ls, c := begin(t)
			if every < time.Hour {
				go drip(c, every)
			}
			if all, _ := io.ReadAll(c); !strings.HasPrefix(string(all), "HTTP/1.1 401 ") {
				t.Errorf("got %q", all)
			}
			for end := time.Now().Add(40 * time.Second); ls.Open() > 0; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the connection is kept")
				}
			}
		})
	}
}

// At the cap on connections, one that lingers makes room for a new one.
func TestALingeringConnectionIsEvicted(t *testing.T) {
	t.Parallel()
	ls := start(t, listen.Options{Limits: listen.Limits{Connections: 1, EvictIdleAfter: time.Millisecond}},
		http.HandlerFunc(unread))
	c := dial(t, ls)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if next, err := net.Dial("tcp", ls.Addr("main").String()); err == nil { // else it was turned away already
			_ = next.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(next, get)
			n, _ := io.ReadFull(next, make([]byte, 12))
			_ = next.Close()
			if n == 12 {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("the connection that lingers was not closed for a new one")
		}
	}
}

// A drain does not wait for the body of a request that was answered.
func TestADrainDoesNotWaitForTheBodyOfAnAnsweredRequest(t *testing.T) {
	t.Parallel()
	ls := start(t, listen.Options{Limits: listen.Limits{Limits: httpserver.Limits{BodyRate: -1}}},
		http.HandlerFunc(unread))
	c := dial(t, ls)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000000\r\n\r\n")
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	drain(t, ls, listen.Drain{})
}
