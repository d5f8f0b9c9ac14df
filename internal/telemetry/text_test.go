package telemetry

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

func TestTextLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"level":"info","ts":"2030-01-02T03:04:05.678Z","log":"x","msg":"listening","address":"127.0.0.1:80","tls":false}`: "03:04:05.678 INFO  x listening address=127.0.0.1:80 tls=false",
		`{"level":"warn","ts":"2030-01-02T03:04:05.678Z","msg":"two words","error":"a ` +
			`\"b\"\nc","empty":""}`: `03:04:05.678 WARN  two words error="a \"b\"\nc" empty=""`,
		`{"level":"info","ts":"2030-01-02T03:04:05Z","log":"access","msg":"request","request_id":"1","method":"GET","host":"a","path":"/x","status":403,"ms":0.5,"reason":"action_denied","route":"r"}`: "03:04:05.000 INFO  access 403 GET a/x action_denied 0.5ms request_id=1 route=r",
		`{"level":"info","list":["a b",1]}`: `INFO  list="[\"a b\",1]"`,
		`plain`:                             "plain",
		`{"broken":`:                        `{"broken":`,
		`[1]`:                               "[1]",
		``:                                  "",
	} {
		var out bytes.Buffer
		if n, err := Text(&out).Write([]byte(line + "\n")); n != len(line)+1 || err != nil {
			t.Errorf("%s: %d, %v", line, n, err)
		}
		if got := out.String(); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// Whatever a client sends, the line has no character that a terminal acts on, and stays one line.
func TestTextLinesDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{"\x1b[2J", "a\nb", "\r", "\u009b31m", "\x7f", "\u202e", "\xff", "tab\t"} {
		var out bytes.Buffer
		log, err := NewLog(Text(&out), "debug", true)
		if err != nil {
			t.Fatal(err)
		}
		x := new(request.Exchange)
		x.ID, x.Host, x.LogPath, x.Peer, x.Reason = "1", evil, "/"+evil, netip.MustParseAddr("192.0.2.1"),
			refusal.RouteNotFound
		log.Access(&http.Request{Method: evil, Header: http.Header{"User-Agent": {evil}}}, x, time.Now())
		log.Warn(evil, zap.String(evil, evil), zap.Strings("list", []string{evil}), zap.Error(errors.New(evil)))
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%q: %d lines", evil, n)
		}
		for _, c := range strings.ReplaceAll(out.String(), "\n", "") {
			if !unicode.IsPrint(c) {
				t.Errorf("%q: %q in %q", evil, c, out.String())
			}
		}
	}
}

func TestTextTakesLinesInPieces(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := Text(&out)
	for _, piece := range []string{`{"level":"in`, `fo","msg":"a"}` + "\n" + `{"level":"info",`, `"msg":"b"}` + "\n"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "INFO  a\nINFO  b\n" {
		t.Errorf("%q", out.String())
	}
	if _, err := Text(&disk{broken: errors.New("full")}).Write([]byte("x\n")); err == nil {
		t.Error("a write that failed is none")
	}
}
