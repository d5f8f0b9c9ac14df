package h2_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// What a client is told by a reset or a GOAWAY, the operator is told too: whose it was, and why.
func TestFaultsAreTold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		send func(*peer)
		want httpserver.Fault
	}{
		{
			"malformed head", func(p *peer) { p.ask(1, true, request("GET", "/", "connection: close")...) },
			httpserver.Fault{Reason: "protocol_error", Refused: refusal.RequestMalformed, Detail: "malformed request head"},
		},
		{"one stream too many", func(p *peer) {
			p.ask(1, true, get("/wait")...)
			p.ask(3, true, get("/wait")...)
		}, httpserver.Fault{Reason: "refused_stream", Refused: refusal.RateLimited, Detail: "more concurrent streams"}},
		{"body over its length", func(p *peer) {
			p.ask(1, false, request("POST", "/", "content-length: 1")...)
			p.must(p.WriteData(1, true, []byte("ab")))
		}, httpserver.Fault{Reason: "protocol_error", Detail: "PROTOCOL_ERROR"}},
		{"an answer that is not accepted", func(p *peer) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			p.ask(1, true, get("/long")...)
			p.until("1: RST INTERNAL_ERROR")
		}, httpserver.Fault{Reason: "stalled", Detail: "granted no window"}},
		{"a flood of settings", func(p *peer) {
			p.must(p.WriteSettings(make([]http2.Setting, 200)...))
		}, httpserver.Fault{
			Connection: true, Reason: "enhance_your_calm", Refused: refusal.RateLimited,
			Detail: "ENHANCE_YOUR_CALM",
		}},
		{"a broken table", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0x40}, EndHeaders: true}))
		}, httpserver.Fault{
			Connection: true, Reason: "compression_error", Refused: refusal.RequestMalformed,
			Detail: "COMPRESSION_ERROR",
		}},
		{"half a head", func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(get("/")...)}))
		}, httpserver.Fault{
			Connection: true, Reason: "enhance_your_calm", Refused: refusal.HeaderTimeout,
			Detail: "did not arrive in time",
		}},
		{"a frame over the limit", func(p *peer) {
			p.must(p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 16<<10+1)))
		}, httpserver.Fault{
			Connection: true, Reason: "frame_size_error", Refused: refusal.RequestMalformed,
			Detail: "FRAME_SIZE_ERROR",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			told := make(chan httpserver.Fault, 8)
			s := ours(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/wait":
					<-r.Context().Done()
				case "/long":
					_, _ = io.WriteString(w, long)
				default:
					_, _ = io.Copy(io.Discard, r.Body)
				}
			})
			s.Streams, s.WriteStall, s.Limits.HeaderTimeout = 1, 100*time.Millisecond, 100*time.Millisecond
			s.Faulted = func(f httpserver.Fault) { told <- f }
			p := dial(t, serve(t, s))
			row.send(p)
			got := <-told
			if got.Remote != p.conn.LocalAddr().String() || !strings.Contains(got.Detail, row.want.Detail) {
				t.Errorf("%+v", got)
			}
			got.Remote, got.Detail = "", row.want.Detail
			if got != row.want {
				t.Errorf("told %+v, want %+v", got, row.want)
			}
		})
	}
}

// A good client leaves no fault: one that goes away, resets what it asked for, or sends behind an early answer.
func TestGoodClientsAreNoFault(t *testing.T) {
	t.Parallel()
	s := ours(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
		}
	})
	s.Faulted = func(f httpserver.Fault) { t.Errorf("told %+v", f) }
	p := dial(t, serve(t, s))
	for id := uint32(1); id < 60; id += 6 {
		p.ask(id, true, get("/wait")...)
		p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
		p.ask(id+2, false, request("POST", "/")...)
		p.must(p.WriteData(id+2, true, make([]byte, 1000)))
		p.ask(id+4, true, get("/")...)
		p.until(fmt.Sprintf("%d: END", id+4))
	}
	p.must(p.WriteGoAway(0, http2.ErrCodeNo, nil))
	p.rest()
}
