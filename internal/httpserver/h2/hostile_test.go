package h2_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/refusal"
)

// Malformed requests (RFC 9113 section 8.1.1) are reset before a handler sees them, and the connection goes on.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		fields []string
	}{
		{"Connection", request("GET", "/", "connection: close")},
		{"Connection lists an identity field", request("GET", "/", "connection: x-user", "x-user: root")},
		{"Keep-Alive", request("GET", "/", "keep-alive: timeout=5")},
		{"Proxy-Connection", request("GET", "/", "proxy-connection: close")},
		{"Transfer-Encoding", request("POST", "/", "transfer-encoding: chunked")},
		{"Upgrade", request("GET", "/", "upgrade: websocket")},
		{"TE other than trailers", request("GET", "/", "te: gzip")},
		{"TE with more", request("GET", "/", "te: trailers, gzip")},
		{"name in upper case", request("GET", "/", "X-Upper: a")},
		{"known name in upper case", request("GET", "/", "Accept: a")},
		{"name with a space", request("GET", "/", "a b: c")},
		{"name with a colon", request("GET", "/", "a:b: c")},
		{"name that is none", request("GET", "/", "\x00: c")},
		{"LF in a value", request("GET", "/", "a: b\nc: d")},
		{"CR in a value", request("GET", "/", "a: b\rc")},
		{"NUL in a value", request("GET", "/", "a: b\x00c")},
		{"space before a value", request("GET", "/", "a:  b")},
		{"space behind a value", request("GET", "/", "a: b ")},
		{"no :method", []string{":scheme: https", ":authority: x", ":path: /"}},
		{"no :scheme", []string{":method: GET", ":authority: x", ":path: /"}},
		{"no :path", []string{":method: GET", ":scheme: https", ":authority: x"}},
		{":method twice", append([]string{":method: GET"}, get("/")...)},
		{":path twice", append([]string{":path: /a"}, get("/b")...)},
		{":authority twice", append([]string{":authority: y"}, get("/")...)},
		{":scheme twice", append([]string{":scheme: http"}, get("/")...)},
		{"pseudo-field behind a field", []string{":method: GET", ":scheme: https", "a: b", ":authority: x", ":path: /"}},
		{"pseudo-field of an answer", request("GET", "/", ":status: 200")},
		{"unknown pseudo-field", append([]string{":unknown: x"}, get("/")...)},
		{":protocol with GET", append([]string{":protocol: websocket"}, request("GET", "/")...)},
		{"extended CONNECT without a path", []string{
			":method: CONNECT", ":protocol: websocket", ":scheme: https",
			":authority: x",
		}},
		{"extended CONNECT that ends at once", append([]string{":protocol: websocket"}, request("CONNECT", "/")...)},
		{"CONNECT with a path", request("CONNECT", "/")},
		{"CONNECT without an authority", []string{":method: CONNECT"}},
		{"empty :path", get("")},
		{"absolute target", get("https://x/")},
		{"target without a slash", get("a/b")},
		{"* with GET", get("*")},
		{"** with OPTIONS", request("OPTIONS", "**")},
		{"empty :method", request("", "/")},
		{":method with a space", request("GET /", "/")},
		{"unknown :scheme", []string{":method: GET", ":scheme: gopher", ":authority: x", ":path: /"}},
		{"control byte in :path", get("/a\x01b")},
		{"LF in :authority", []string{":method: GET", ":scheme: https", ":authority: x\ny", ":path: /"}},
		{"Content-Length without a body", request("POST", "/", "content-length: 5")},
		{"Content-Length twice", request("POST", "/", "content-length: 0", "content-length: 0")},
		{"Content-Length list", request("POST", "/", "content-length: 0, 0")},
		{"Content-Length signed", request("POST", "/", "content-length: +0")},
		{"Content-Length negative", request("POST", "/", "content-length: -1")},
		{"Content-Length too long", request("POST", "/", "content-length: 99999999999999999999")},
		{"Content-Length empty", request("POST", "/", "content-length: ")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int32
			p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/probe" {
					served.Add(1)
				}
			})))
			p.ask(1, true, row.fields...)
			p.until("1: RST PROTOCOL_ERROR")
			p.answers(3)
			if served.Load() != 0 {
				t.Error("it reached the handler")
			}
		})
	}
}

// What HTTP/1.1 would answer is answered, with the reason in the log, and the connection goes on.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	many := get("/")
	for i := range 201 {
		many = append(many, fmt.Sprintf("a%d: b", i))
	}
	for _, row := range []struct {
		name   string
		fields []string
		status int
		reason refusal.Reason
	}{
		{"target over the limit", get("/" + strings.Repeat("u", 16<<10)), 414, refusal.URITooLong},
		{"fields over the limit", many, 431, refusal.HeaderTooLarge},
		{"one field over the limit", request("GET", "/", "a: "+strings.Repeat("a", 32<<10)), 431, refusal.HeaderTooLarge},
		{
			"one field as long as a block", request("GET", "/", "a: "+strings.Repeat("\\", 60<<10)), 431,
			refusal.HeaderTooLarge,
		},
		{"one name over the limit", request("GET", "/", strings.Repeat("a", 33<<10)+": a"), 431, refusal.HeaderTooLarge},
		{"many over the limit", request("GET", "/", strings.Split(strings.Repeat("a: "+strings.Repeat("a", 1<<10)+"|", 40)+
			"b: c", "|")...), 431, refusal.HeaderTooLarge},
		{
			"cookies over the limit", request("GET", "/",
				strings.Split(strings.Repeat("cookie: "+strings.Repeat("a", 100)+"|", 400)+"b: c", "|")...), 431,
			refusal.HeaderTooLarge,
		},
		{"no host", []string{":method: GET", ":scheme: https", ":path: /"}, 400, refusal.HostMalformed},
		{
			"host that is none",
			[]string{":method: GET", ":scheme: https", ":authority: a_b~c", ":path: /"},
			400,
			refusal.HostMalformed,
		},
		{
			"user in :authority",
			[]string{":method: GET", ":scheme: https", ":authority: root@x", ":path: /"},
			400,
			refusal.HostMalformed,
		},
		{"Host that differs", request("GET", "/", "host: y"), 400, refusal.HostMalformed},
		{"two Hosts", request("GET", "/", "host: x", "host: x"), 400, refusal.HostMalformed},
		{
			"two Hosts alone",
			[]string{":method: GET", ":scheme: https", ":path: /", "host: x", "host: y"},
			400,
			refusal.HostMalformed,
		},
		{"escape that is none", get("/%zz"), 400, refusal.RequestMalformed},
		{"expectation", request("POST", "/", "expect: a-miracle"), 417, refusal.ExpectationUnknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			told := make(chan refusal.Reason, 1)
			s := ours(nothing)
			s.Refused = func(w http.ResponseWriter, r *http.Request, why *refusal.Error) {
				told <- why.Reason
				if r.RequestURI != "/" && why.Reason != refusal.ExpectationUnknown || r.RemoteAddr == "" {
					t.Errorf("what was refused is told: %q from %q", r.RequestURI, r.RemoteAddr)
				}
				w.WriteHeader(why.Reason.Status())
			}
			p := dial(t, serve(t, s))
			p.ask(1, true, row.fields...)
			p.until("1: END")
			if !p.saw(fmt.Sprintf("1: HEADERS %d", row.status)) {
				t.Errorf("%q", p.log)
			}
			if got := <-told; got != row.reason {
				t.Errorf("reason %s", got)
			}
			p.answers(3)
		})
	}
}

// At the limits there is nothing to refuse.
func TestRequestsAtTheLimits(t *testing.T) {
	t.Parallel()
	most := get("/")
	for range 200 {
		most = append(most, "a: b")
	}
	head := request("GET", "/", "a: ")
	used := 0
	for _, f := range head {
		used += len(f) + len("\r\n")
	}
	for name, fields := range map[string][]string{
		"target": get("/" + strings.Repeat("u", 16<<10-1)),
		"fields": most,
		"head":   request("GET", "/", "a: "+strings.Repeat("a", 32<<10-used)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, serve(t, ours(nothing)))
			p.ask(1, true, fields...)
			p.until("1: HEADERS 200")
		})
	}
}

// A body is what Content-Length says, or the stream is reset and the handler's read fails (section 8.1.1).
func TestContentLengthIsTheDataThatComes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		send func(p *peer)
	}{
		{"more", func(p *peer) { p.must(p.WriteData(1, false, []byte("123456"))) }},
		{"more, later", func(p *peer) {
			p.must(p.WriteData(1, false, []byte("12345")))
			p.must(p.WriteData(1, false, []byte("6")))
		}},
		{"less", func(p *peer) { p.must(p.WriteData(1, true, []byte("1234"))) }},
		{"less, then trailers", func(p *peer) { p.must(p.WriteData(1, false, []byte("1234"))); p.ask(1, true, "a: b") }},
		{"padding counts for nothing", func(p *peer) { p.must(p.WriteDataPadded(1, true, []byte("1234"), make([]byte, 1))) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			read := make(chan error, 1)
			p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					_, err := io.Copy(io.Discard, r.Body)
					read <- err
				}
			})))
			p.ask(1, false, request("POST", "/", "content-length: 5")...)
			row.send(p)
			p.until("1: RST PROTOCOL_ERROR")
			if err := <-read; refusal.Of(err) != refusal.BodyMalformed {
				t.Errorf("the handler read %v", err)
			}
			p.answers(3)
		})
	}
}

// Trailers (section 8.1) that are malformed, or do not end the stream, cost it.
func TestMalformedTrailers(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		ended  bool
		fields []string
	}{
		"do not end":       {false, []string{"a: b"}},
		"pseudo-field":     {true, []string{":path: /admin"}},
		"Connection":       {true, []string{"connection: close"}},
		"name in capitals": {true, []string{"X-User: root"}},
		"LF":               {true, []string{"a: b\nc"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := make(chan error, 1)
			p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					_, err := io.Copy(io.Discard, r.Body)
					read <- err
				}
			})))
			p.ask(1, false, request("POST", "/")...)
			p.ask(1, row.ended, row.fields...)
			p.until("1: RST PROTOCOL_ERROR")
			if err := <-read; refusal.Of(err) != refusal.BodyMalformed {
				t.Errorf("the handler read %v", err)
			}
			p.answers(3)
		})
	}
}

// Faults of the connection end it, with the code that RFC 9113 names.
func TestConnectionFaults(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		send func(p *peer)
		code http2.ErrCode
	}{
		{"DATA on an idle stream", func(p *peer) { p.must(p.WriteData(1, true, nil)) }, http2.ErrCodeProtocol},
		{"DATA on no stream", func(p *peer) { p.must(p.WriteData(0, true, nil)) }, http2.ErrCodeProtocol},
		{"RST_STREAM on an idle stream", func(p *peer) { p.must(p.WriteRSTStream(1, 0)) }, http2.ErrCodeProtocol},
		{"WINDOW_UPDATE on an idle stream", func(p *peer) { p.must(p.WriteWindowUpdate(1, 1)) }, http2.ErrCodeProtocol},
		{"WINDOW_UPDATE of nothing", func(p *peer) { p.must(p.WriteWindowUpdate(0, 0)) }, http2.ErrCodeProtocol},
		{"window over its most", func(p *peer) { p.must(p.WriteWindowUpdate(0, 1<<31-1)) }, http2.ErrCodeFlowControl},
		{"initial window over its most", func(p *peer) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}, http2.ErrCodeFlowControl},
		{"initial window that overflows a stream's", func(p *peer) {
			p.ask(1, false, request("POST", "/")...)
			p.must(p.WriteWindowUpdate(1, 1<<30))
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
		}, http2.ErrCodeFlowControl},
		{
			"frame size out of bounds",
			func(p *peer) { p.must(p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1})) },
			http2.ErrCodeProtocol,
		},
		{
			"push that is neither on nor off",
			func(p *peer) { p.must(p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})) },
			http2.ErrCodeProtocol,
		},
		{
			"SETTINGS cut off", func(p *peer) { p.must(p.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5))) },
			http2.ErrCodeFrameSize,
		},
		{
			"SETTINGS on a stream", func(p *peer) { p.must(p.WriteRawFrame(http2.FrameSettings, 0, 1, nil)) },
			http2.ErrCodeProtocol,
		},
		{
			"PING of 7 bytes", func(p *peer) { p.must(p.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7))) },
			http2.ErrCodeFrameSize,
		},
		{
			"frame over its most", func(p *peer) { p.must(p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 16<<10+1))) },
			http2.ErrCodeFrameSize,
		},
		{"stream of even number", func(p *peer) { p.ask(2, true, get("/")...) }, http2.ErrCodeProtocol},
		{
			"stream of a number before", func(p *peer) { p.ask(5, true, get("/")...); p.ask(3, true, get("/")...) },
			http2.ErrCodeStreamClosed,
		},
		{"CONTINUATION without HEADERS", func(p *peer) { p.must(p.WriteContinuation(1, true, nil)) }, http2.ErrCodeProtocol},
		{"another frame inside a header block", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(get("/")...)}))
			p.must(p.WritePing(false, [8]byte{}))
		}, http2.ErrCodeProtocol},
		{"header block cut off", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: []byte{0x40, 0x0a, 'c'},
				EndHeaders: true,
			}))
		}, http2.ErrCodeCompression},
		{"index of nothing", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0x40}, EndHeaders: true}))
		}, http2.ErrCodeCompression},
		{"table over its size", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: []byte{0x3f, 0xe2, 0x1f},
				EndHeaders: true,
			}))
		}, http2.ErrCodeCompression},
		{"HEADERS with more padding than there is", func(p *peer) {
			p.must(p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, []byte{9, 0x82}))
		}, http2.ErrCodeProtocol},
		{"PUSH_PROMISE", func(p *peer) {
			p.must(p.WritePushPromise(http2.PushPromiseParam{
				StreamID: 1, PromiseID: 2, BlockFragment: p.encode(get("/")...),
				EndHeaders: true,
			}))
		}, http2.ErrCodeProtocol},
		{"padding as long as the frame", func(p *peer) {
			p.ask(1, false, request("POST", "/")...)
			p.must(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{2, 0}))
		}, http2.ErrCodeProtocol},
		{"padding without its length", func(p *peer) {
			p.ask(1, false, request("POST", "/")...)
			p.must(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil))
		}, http2.ErrCodeFrameSize},
		{"block over its most", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 0)}))
			_, _ = p.conn.Write(continuations(6, 16<<10)) // it may be closed meanwhile
		}, http2.ErrCodeEnhanceYourCalm},
		{"block of too many frames", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 0)}))
			_, _ = p.conn.Write(continuations(200, 0)) // as above
		}, http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, serve(t, ours(drained)))
			row.send(p)
			if log := p.rest(); len(log) == 0 || !strings.HasSuffix(log[len(log)-1], " "+row.code.String()) {
				t.Errorf("%q, want %v", log, row.code)
			}
		})
	}
}

// continuations are so many frames of stream 1, each of a whole field.
func continuations(many, size int) (all []byte) {
	field := []byte{}
	if size > 0 {
		field = append([]byte{0x10, 1, 'a', 0x7f}, binary.AppendUvarint(nil, uint64(size-64-127))...)
		field = append(field, make([]byte, size-64)...)
	}
	for range many {
		all = append(all, byte(len(field)>>16), byte(len(field)>>8), byte(len(field)), byte(http2.FrameContinuation), 0, 0, 0,
			0, 1)
		all = append(all, field...)
	}
	return all
}

// Faults of a stream cost the stream alone.
func TestStreamFaults(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		send func(p *peer)
		code http2.ErrCode
	}{
		{
			"DATA behind the end", func(p *peer) { p.must(p.WriteData(1, true, nil)); p.must(p.WriteData(1, true, nil)) },
			http2.ErrCodeStreamClosed,
		},
		{
			"HEADERS behind the end", func(p *peer) { p.must(p.WriteData(1, true, nil)); p.ask(1, true, "a: b") },
			http2.ErrCodeStreamClosed,
		},
		{"WINDOW_UPDATE of nothing", func(p *peer) { p.must(p.WriteWindowUpdate(1, 0)) }, http2.ErrCodeProtocol},
		{"window over its most", func(p *peer) { p.must(p.WriteWindowUpdate(1, 1<<31-1)) }, http2.ErrCodeFlowControl},
		{"more DATA than the window", func(p *peer) {
			for range 33 {
				p.must(p.WriteData(1, false, make([]byte, 16<<10)))
			}
		}, http2.ErrCodeFlowControl},
		{
			"it depends on itself", func(p *peer) { p.must(p.WritePriority(1, http2.PriorityParam{StreamDep: 1})) },
			http2.ErrCodeProtocol,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, serve(t, ours(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					<-r.Context().Done() // a handler that reads nothing
				}
			})))
			p.ask(1, false, request("POST", "/")...)
			row.send(p)
			p.until("1: RST " + row.code.String())
			p.answers(3)
		})
	}
}

// Over all streams, no more is taken than the connection's window, whatever becomes of them (section 6.9).
func TestDataOnClosedStreamsCounts(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, ours(nothing))) // answers, and reads nothing
	p.ask(1, true, get("/")...)
	p.until("1: END")
	for range 2 << 20 >> 14 { // twice the window: it is given back
		p.must(p.WriteData(1, false, make([]byte, 16<<10)))
		p.until("1: RST STREAM_CLOSED")
	}
	p.answers(3)
}

func TestConnectionWindow(t *testing.T) {
	t.Parallel()
	s := ours(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s.BodyMemory = 1 // so that the connection's window is not credited
	p := dial(t, serve(t, s))
	for id := uint32(1); id <= 2*17; id += 2 {
		if p.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: p.encode(request("POST", "/")...),
			EndHeaders: true,
		}) != nil {
			break // it was closed over what came before
		}
		for range 64 >> 4 {
			if p.WriteData(id, false, make([]byte, 16<<10)) != nil {
				break
			}
		}
	}
	if log := p.rest(); len(log) == 0 || !strings.HasSuffix(log[len(log)-1], "FLOW_CONTROL_ERROR") {
		t.Errorf("%q", log)
	}
}

// Frames that bring nothing are taken, but not for ever; a client that does not read what they are answered is cut
// earlier.
func TestFloods(t *testing.T) {
	t.Parallel()
	frame := func(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) string {
		return string(append([]byte{0, 0, byte(len(payload)), byte(kind), byte(flags), 0, 0, 0, byte(stream)}, payload...))
	}
	for name, one := range map[string]string{
		"PING":          frame(http2.FramePing, 0, 0, "12345678"),
		"PING answers":  frame(http2.FramePing, http2.FlagPingAck, 0, "12345678"),
		"SETTINGS":      frame(http2.FrameSettings, 0, 0, "\x00\x04\x00\x00\xff\xff"),
		"SETTINGS acks": frame(http2.FrameSettings, http2.FlagSettingsAck, 0, ""),
		"PRIORITY":      frame(http2.FramePriority, 0, 1, "\x00\x00\x00\x00\x01"),
		"empty DATA":    frame(http2.FrameData, 0, 1, ""),
		"padding":       frame(http2.FrameData, http2.FlagDataPadded, 1, "\x05\x00\x00\x00\x00\x00"),
		"WINDOW_UPDATE": frame(http2.FrameWindowUpdate, 0, 3, "\x00\x00\x00\x01"),
		"RST_STREAM":    frame(http2.FrameRSTStream, 0, 3, "\x00\x00\x00\x08"),
		"unknown":       frame(0xbe, 0, 0, "12345678"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, serve(t, ours(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					<-r.Context().Done()
				}
			})))
			p.ask(1, false, request("POST", "/")...)
			p.ask(3, true, get("/probe")...)
			p.until("3: END")
			go func() {
				many := strings.Repeat(one, 1000)
				for range 300 {
					if _, err := io.WriteString(p.conn, many); err != nil {
						return
					}
				}
			}()
			if log := p.rest(); !strings.HasSuffix(log[len(log)-1], "ENHANCE_YOUR_CALM") {
				t.Errorf("%q", log)
			}
		})
	}
}

// A client may reset what it asked for, but not without end: then it is asked for nothing but the work.
func TestRapidResetOfStreamsThatEnd(t *testing.T) {
	t.Parallel()
	s := ours(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	var most, now atomic.Int32
	inner := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		inner.ServeHTTP(w, r)
	})
	p := dial(t, serve(t, s))
	go func() {
		// it puts :authority into the table each time, which does no harm
		block := append([]byte(nil), p.encode(get("/")...)...)
		for id := uint32(1); id < 100_000; id += 2 {
			if p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: block, EndStream: true,
				EndHeaders: true,
			}) != nil ||
				p.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	log := p.rest()
	if len(log) == 0 || !strings.HasSuffix(log[len(log)-1], "ENHANCE_YOUR_CALM") || most.Load() > 100 {
		t.Errorf("%q, %d at once", log[max(0, len(log)-3):], most.Load())
	}
}

// What does not come in time ends the connection.
func TestSlowBeginnings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		begin func(p *peer)
		code  string
	}{
		{"nothing", func(*peer) {}, ""},
		{"half a preface", func(p *peer) { _, _ = io.WriteString(p.conn, http2.ClientPreface[:10]) }, ""},
		{"no SETTINGS", func(p *peer) { _, _ = io.WriteString(p.conn, http2.ClientPreface) }, ""},
		{"half a header block", func(p *peer) {
			_, _ = io.WriteString(p.conn, http2.ClientPreface)
			p.must(p.WriteSettings())
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(get("/")...)}))
		}, "GOAWAY 0 ENHANCE_YOUR_CALM"},
		{"half a HEADERS frame", func(p *peer) {
			_, _ = io.WriteString(p.conn, http2.ClientPreface)
			p.must(p.WriteSettings())
			_, _ = p.conn.Write([]byte{0, 0, 9, 1, 5, 0, 0, 0, 1})
		}, "GOAWAY 0 ENHANCE_YOUR_CALM"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := ours(nothing)
			s.Limits.HeaderTimeout = 50 * time.Millisecond
			p := open(t, serve(t, s))
			row.begin(p)
			if log := strings.Join(p.rest(), "|"); !strings.HasSuffix(log, row.code) {
				t.Errorf("%q", log)
			}
		})
	}
}

func TestPrefaceThatIsNone(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{
		"HTTP/1.1":        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"another frame":   http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
		"almost":          "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n",
		"TLS once more":   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 01234567890",
		"a frame at once": "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t, serve(t, ours(func(http.ResponseWriter, *http.Request) { t.Error("served") })))
			_, _ = io.WriteString(p.conn, begin)
			if log := p.rest(); len(log) != 1 || log[0] != "GOAWAY 0 PROTOCOL_ERROR" {
				t.Errorf("%q", log)
			}
		})
	}
}
