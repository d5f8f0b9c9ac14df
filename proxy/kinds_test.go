package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// One rule decides on fields, whatever protocol the upstream speaks: an app over HTTP/2 sees what one over HTTP/1.1
// does.
func TestEveryUpstreamSeesTheSameFields(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	seen := make(chan []string, 100)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []string
		for name, values := range r.Header {
			for _, v := range values {
				all = append(all, name+": "+v)
			}
		}
		all = append(all, "Host: "+r.Host, r.Method+" "+r.RequestURI)
		slices.Sort(all)
		seen <- all
		w.Header().Set("X-Request-Id", "theirs")
		w.Header().Set("Keep-Alive", "x")
		w.Header().Set("X-App", "1")
		io.WriteString(w, "ok")
	}))
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetHTTP1(true)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	t.Cleanup(app.Close)
	bearer := h.mint()
	for _, lines := range [][]string{
		nil,
		{
			"X-Jotgate-Subject: evil", "x_jotgate_tenant: evil", "X-Forwarded-For: 1.1.1.1", "Proxy: x", "Cookie: a=b",
			"Te: trailers",
		},
		{"Connection: X-Hop, X-Jotgate-Subject, close", "X-Hop: 1", "Keep-Alive: 1", "Proxy-Connection: x", "User-Agent: me"},
		{
			"Test-Trusted: 1", "X-Forwarded-For: 192.0.2.1", "DPoP: x", "Traceparent: x", "Expect: 100-continue",
			"X-Custom_name: 1",
		},
	} {
		for _, target := range []string{"/t/acme/a%20b?x=%zz", "/pass", "/renamed"} {
			var got [2][]string
			for i, scheme := range []string{"http", "h2c"} {
				for _, u := range h.config.Upstreams {
					u.Servers = []*url.URL{must(url.Parse(strings.Replace(app.URL, "http", scheme, 1)))}
				}
				h.build()
				answer := h.get(target, bearer, lines...)
				if answer.status != 200 || answer.body != "ok" || answer.header.Get("Keep-Alive") != "" ||
					answer.header.Get("X-App") != "1" || answer.header.Get("X-Request-Id") != "0190-id" {
					t.Errorf("%s %s: got %+v", scheme, target, answer)
					continue
				}
				got[i] = <-seen
			}
			if d := cmp.Diff(got[0], got[1]); d != "" || !slices.Contains(got[0], "X-Jotgate-Subject: alice") {
				t.Errorf("%s with %q: %s %q", target, lines, d, got[0])
			}
		}
	}
}

// What a stream's two ends may say to each other over HTTP/2 passes piece by piece, and the trailers come behind.
func TestAStreamOverHTTP2(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "application/grpc")
		w.(http.Flusher).Flush()
		buffer := make([]byte, 100)
		for {
			n, err := r.Body.Read(buffer)
			fmt.Fprintf(w, "%s!", buffer[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	t.Cleanup(app.Close)
	for _, u := range h.config.Upstreams {
		u.Servers = []*url.URL{must(url.Parse(strings.Replace(app.URL, "http", "h2c", 1)))}
	}
	h.build()
	c, in := h.dial()
	io.WriteString(c, head("POST", "/me", h.mint(), "Transfer-Encoding: chunked", "Te: trailers")+"1\r\na\r\n")
	r, err := http.ReadResponse(in, nil) // before the rest of the body was sent
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []string{"a", "b", "c"} {
		if i > 0 {
			io.WriteString(c, "1\r\n"+s+"\r\n")
		}
		b := make([]byte, 2)
		if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != s+"!" {
			t.Fatalf("got %q %v", b, err)
		}
	}
	io.WriteString(c, "0\r\n\r\n")
	rest, err := io.ReadAll(r.Body)
	if string(rest) != "!" || err != nil || r.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("then %q %v, trailers %v", rest, err, r.Trailer)
	}
}

// A request whose body does not come holds no place at its server, so that heads alone do not keep others out.
func TestHeadsWithoutBodiesTakeNoPlace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, u := range h.config.Upstreams {
		u.MaxConnections, u.MaxIdle = 2, 2
	}
	h.build()
	bearer := h.mint()
	var (
		held  []net.Conn
		heads []*bufio.Reader
	)
	for range 10 {
		c, in := h.dial()
		io.WriteString(c, head("POST", "/me", bearer, "Content-Length: 5", "Expect: 100-continue"))
		if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" { // it is being waited for
			t.Fatal(line, err)
		}
		if _, err := in.Discard(len("\r\n")); err != nil {
			t.Fatal(err)
		}
		held, heads = append(held, c), append(heads, in)
	}
	for range 3 {
		if got := h.get("/me", bearer); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
	for i, c := range held {
		io.WriteString(c, "hello")
		if got := h.read(heads[i], "POST"); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
}

// 512 streams are open, as many as the app's places, and an ordinary request to the same app is answered.
func TestManyStreamsAndAnOrdinaryRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(func(c net.Conn, r *received) bool {
		if len(r.get("Upgrade")) == 0 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			return true
		}
		io.WriteString(c, switching)
		io.Copy(io.Discard, r.in)
		return false
	})
	for range h.config.Upstreams["app"].MaxConnections {
		h.open101("/ws-public", "")
	}
	if got := h.get("/me", h.mint()); got.status != 200 || got.body != "ok" {
		t.Errorf("got %+v", got)
	}
}

// Some apps compare the names of RFC 6455's fields letter by letter.
func TestWebSocketFieldsKeepTheirSpelling(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.script("")
	c, in := h.dial()
	io.WriteString(c, head("GET", "/ws-public", "", append([]string{"sec-websocket-protocol: chat"}, upgradeLines...)...))
	var answer strings.Builder
	for !strings.HasSuffix(answer.String(), "\r\n\r\n") {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		answer.WriteString(line)
	}
	if !strings.Contains(answer.String(), "\r\nSec-WebSocket-Accept: s3p") {
		t.Errorf("the client got %q", answer.String())
	}
	seen := h.app.seen()[0]
	for _, f := range []string{
		"Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	} {
		if !slices.Contains(seen.fields, f) {
			t.Errorf("%q is not among %q", f, seen.fields)
		}
	}
}
