package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2c has the gate's listener speak HTTP/2 without TLS.
var h2c = []string{
	"listen: 127.0.0.1:0\nadmin",
	"listeners: [{name: main, address: \"127.0.0.1:0\", h2c: true}]\nadmin",
}

// frames opens an HTTP/2 connection to the gate, to speak frame by frame.
func (g *gate) frames(settings ...http2.Setting) (*http2.Framer, net.Conn) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(settings...); err != nil {
		g.t.Fatal(err)
	}
	return f, c
}

func headers(t *testing.T, f *http2.Framer, id uint32, ended bool, fields ...string) {
	t.Helper()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // a buffer does not fail
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: block.Bytes(), EndStream: ended,
		EndHeaders: true,
	}); err != nil {
		t.Fatal(err)
	}
}

// What HTTP/2 resets leaves an access line with its reason and a count, and a download that is cut has a reason in its
// line.
func TestHTTP2FaultsAreToldToTheOperator(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = w.Write(make([]byte, 1<<20))
	}))
	defer app.Close()
	g := startGate(t, append(h2c, "drain:", "limits: {stall_timeout: 300ms}\ndrain:",
		`{path: /open/, public: true, upstream: "$APP"}`,
		`{path: /open/, public: true, upstream: "`+app.URL+`"}`)...)
	f, _ := g.frames()
	headers(t, f, 1, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/open/", "connection",
		"close")
	// and no window for its answer
	headers(t, f, 3, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/open/")
	for reset := 0; reset < 2; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			reset++
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		}
	}
	g.eventually(`"reason":"request_malformed","detail":"HTTP/2: `)
	g.eventually(`"status":200`)
	g.eventually(`"reason":"client_closed","detail":"the client granted no window"`)
	other, _ := g.frames(make([]http2.Setting, 200)...)
	for {
		if _, err := other.ReadFrame(); err != nil {
			break
		}
	}
	g.eventually(`"reason":"rate_limited","detail":"HTTP/2: `)
	g.tells(
		`jotgate_http2_faults_total{reason="protocol_error",scope="stream"} 1`,
		`jotgate_http2_faults_total{reason="stalled",scope="stream"} 1`,
		`jotgate_http2_faults_total{reason="enhance_your_calm",scope="connection"} 1`,
	)
}

// A slow body at a token endpoint ends its own stream alone.
func TestSlowTokenRequestEndsItsStreamAlone(t *testing.T) {
	t.Parallel()
	g := startGate(t, append(h2c, "drain:", "limits: {body_timeout: 200ms}\ndrain:")...)
	f, _ := g.frames()
	headers(t, f, 1, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/api/v1/tokens",
		"content-type", "application/json")
	status := func(id uint32) string {
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if _, away := frame.(*http2.GoAwayFrame); away {
				t.Fatal("the connection is to end")
			}
			if head, ok := frame.(*http2.MetaHeadersFrame); ok && head.StreamID == id {
				return head.PseudoValue("status")
			}
		}
	}
	if got := status(1); got != "408" {
		t.Errorf("the slow one: %s", got)
	}
	headers(t, f, 3, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/open/")
	if got := status(3); got != "200" {
		t.Errorf("another: %s", got)
	}
}

// A WebSocket over HTTP/2 goes through the gate to an upstream of HTTP/1.1 where the route allows upgrades, with a
// token alone, and is refused where it does not.
func TestWebSocketOverHTTP2ThroughTheGate(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-Websocket-Version") != "13" ||
			r.Header.Get("Sec-Websocket-Key") == "" ||
			r.Header.Get("X-Jotgate-Subject") != "alice" {
			t.Errorf("the app saw %v", r.Header)
		}
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: a\r\n\r\n")
		_, _ = io.Copy(c, buffered) // an echo: frames of the client come back as they are
	}))
	defer app.Close()
	g := startGate(t, append(h2c, `action: READ}, upstream: "$APP"}`, `action: READ}, upgrade: true, upstream: "`+app.URL+
		`"}`)...)
	f, _ := g.frames()
	connect := func(id uint32, path string, more ...string) {
		headers(t, f, id, false, append([]string{
			":method", "CONNECT", ":protocol", "websocket", ":scheme", "http",
			":authority", "x", ":path", path,
			"sec-websocket-version", "13",
		}, more...)...)
	}
	connect(1, "/t/acme/")
	connect(3, "/open/")
	connect(5, "/t/acme/", "authorization", "Bearer "+g.token("acme"))
	const message = "\x82\x05hello" // a frame of a server is not masked
	statuses, echoed := map[uint32]string{}, ""
	for len(statuses) < 3 || echoed != message {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("%v: %v %q", err, statuses, echoed)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if v, ok := frame.Value(http2.SettingEnableConnectProtocol); !frame.IsAck() && (!ok || v != 1) {
				t.Error("SETTINGS_ENABLE_CONNECT_PROTOCOL is not there")
			}
		case *http2.MetaHeadersFrame:
			if statuses[frame.StreamID] = frame.PseudoValue("status"); frame.StreamID == 5 {
				if err := f.WriteData(5, false, []byte(message)); err != nil {
					t.Fatal(err)
				}
			}
		case *http2.DataFrame:
			if frame.StreamID == 5 {
				echoed += string(frame.Data())
			}
		}
	}
	if statuses[1] != "401" || statuses[3] != "400" || statuses[5] != "200" {
		t.Errorf("%v", statuses)
	}
	if err := f.WriteData(5, true, nil); err != nil {
		t.Fatal(err)
	}
	for ended := false; !ended; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			ended = frame.StreamID == 5 && frame.StreamEnded()
		case *http2.RSTStreamFrame:
			t.Fatal(frame)
		}
	}
	g.eventually(`"status":101`)
	if log := g.log.String(); strings.Contains(log, "panic") {
		t.Error(log)
	}
}

// With each server of HTTP/2, and without, clients that offer HTTP/2 see the same gate: what passes, what is refused,
// both bodies.
func TestEachServerOfHTTP2(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Late")
		fmt.Fprintf(w, "%s %s %s %d %d %v %q", r.Method, r.RequestURI, r.Header.Get("X-Jotgate-Subject"), r.ContentLength,
			len(body), err, r.Header["Transfer-Encoding"])
		_, _ = w.Write(body)
		w.Header().Set("X-Late", "late")
	}))
	t.Cleanup(app.Close)
	for server, proto := range map[string]string{"own": "HTTP/2.0", "standard": "HTTP/2.0", "off": "HTTP/1.1"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			listener := h2c[1]
			if server == "off" {
				listener = strings.Replace(listener, ", h2c: true", "", 1)
			}
			g := startGate(t, h2c[0], listener, "drain:", "limits: {http2: "+server+
				", stall_timeout: 1s, body_bytes: 1MiB}\ndrain:",
				`upstream: "$APP"`, `upstream: "`+app.URL+`"`)
			transport := &http.Transport{Protocols: new(http.Protocols)}
			transport.Protocols.SetUnencryptedHTTP2(server != "off")
			transport.Protocols.SetHTTP1(server == "off")
			defer transport.CloseIdleConnections()
			ask := func(method, path, token string, body io.Reader) string {
				r, err := http.NewRequestWithContext(t.Context(), method, g.url(path), body)
				if err != nil {
					t.Fatal(err)
				}
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				a, err := transport.RoundTrip(r)
				if err != nil {
					return err.Error()
				}
				defer a.Body.Close()
				text, err := io.ReadAll(a.Body)
				if err != nil {
					return err.Error()
				}
				if a.StatusCode != 200 {
					return fmt.Sprint(a.Proto, " ", a.StatusCode)
				}
				return fmt.Sprintf("%s %d %.60s %d %s", a.Proto, a.StatusCode, text, len(text), a.Trailer.Get("X-Late"))
			}
			token := g.token("acme")
			for _, row := range []struct {
				method, path, token string
				body                io.Reader
				want                string
			}{
				{"GET", "/t/acme/a%20b?c", token, nil, `200 GET /t/acme/a%20b?c alice 0 0 <nil> [] 38 late`},
				{"GET", "/t/acme/", "", nil, "401"},
				{"GET", "/t/other/", token, nil, "403"},
				{"GET", "/nowhere", token, nil, "404"},
				{"GET", "/open/../t/acme/", token, nil, "400"},
				{"POST", "/open/", "", strings.NewReader(strings.Repeat("x", 500_000)), "200 POST /open/  500000 500000 <nil> []" +
					strings.Repeat("x", 25) + " 500035 late"},
				{
					"POST", "/open/", "", io.MultiReader(strings.NewReader("streamed")),
					"200 POST /open/  -1 8 <nil> []streamed 34 late",
				},
				{"POST", "/open/", "", strings.NewReader(strings.Repeat("x", 2<<20)), "413"},
				{"DELETE", "/open/", "", io.MultiReader(strings.NewReader("")), "200 DELETE /open/  0 0 <nil> [] 27 late"},
			} {
				if got := ask(row.method, row.path, row.token, row.body); got != proto+" "+row.want {
					t.Errorf("%s %s:\n got %q\nwant %q", row.method, row.path, got, proto+" "+row.want)
				}
			}
			silent, feeding := io.Pipe()
			defer feeding.Close()
			go func() { _, _ = feeding.Write([]byte("a")) }()
			if got := ask("POST", "/open/", "", silent); got != proto+" 408" {
				t.Errorf("a body that stops: %s", got)
			}
			if log := g.log.String(); strings.Contains(log, "panic") {
				t.Error(log)
			}
		})
	}
}

// A GET over HTTP/2 whose HEADERS do not end the stream, as some clients send it, reaches apps of both versions without
// a body and its framing where an empty frame or trailers end it, and with its body where there is one.
func TestAGETThatEndsLater(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %d %v %q %v", r.Method, r.ContentLength, r.TransferEncoding, body, err)
	})
	plain, two := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	two.Config.Protocols = new(http.Protocols)
	two.Config.Protocols.SetUnencryptedHTTP2(true)
	two.Start()
	t.Cleanup(plain.Close)
	t.Cleanup(two.Close)
	g := startGate(t, append(h2c, "routes:\n", fmt.Sprintf("routes:\n  - {path: /http, public: true, upstream: %q}\n"+
		"  - {path: /h2c, public: true, upstream: %q}\n", plain.URL, strings.Replace(two.URL, "http", "h2c", 1)))...)
	f, _ := g.frames()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	none := `GET 0 [] "" <nil>`
	for i, c := range []struct {
		path string
		rest func(id uint32)
		want string
	}{
		{"/http", func(id uint32) { must(f.WriteData(id, true, nil)) }, none},
		{"/http", func(id uint32) { must(f.WriteData(id, false, nil)); must(f.WriteData(id, true, nil)) }, none},
		{"/http", func(id uint32) { headers(t, f, id, true, "x-trailer", "1") }, none},
		{"/http", func(id uint32) { must(f.WriteData(id, true, []byte("body"))) }, `GET -1 [chunked] "body" <nil>`},
		{"/h2c", func(id uint32) { must(f.WriteData(id, true, nil)) }, none},
		{"/h2c", func(id uint32) { headers(t, f, id, true, "x-trailer", "1") }, none},
		{"/h2c", func(id uint32) { must(f.WriteData(id, true, []byte("body"))) }, `GET -1 [] "body" <nil>`},
	} {
		id := uint32(2*i + 1)
		headers(t, f, id, false, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", c.path)
		c.rest(id)
		status, text, ended := "", "", false
		for !ended {
			frame, err := f.ReadFrame()
			must(err)
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				status, ended = frame.PseudoValue("status"), frame.StreamEnded()
			case *http2.DataFrame:
				text += string(frame.Data())
				ended = frame.StreamEnded()
			case *http2.RSTStreamFrame:
				t.Fatalf("%d: reset with %v", i, frame.ErrCode)
			}
		}
		if status != "200" || text != c.want {
			t.Errorf("%d, %s: %s %s, want %s", i, c.path, status, text, c.want)
		}
	}
}
