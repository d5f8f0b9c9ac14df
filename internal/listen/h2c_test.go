package listen_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// priorClient speaks HTTP/2 without TLS from the first byte on.
func priorClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func plainH2C(limits listen.Limits) listen.Options {
	return listen.Options{Limits: limits, Listeners: []listen.Listener{{Name: "main", H2C: true}}}
}

func protocol(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %v %v", r.Method, r.Proto, body, err, r.TLS == nil)
}

// A plain listener with h2c serves HTTP/2 to those who begin with its preface, and HTTP/1.1 to the others: Go's client
// and curl.
func TestH2CByPriorKnowledge(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		ls := start(t, plainH2C(listen.Limits{HTTP2: server}), http.HandlerFunc(protocol))
		url := "http://" + ls.Addr("main").String() + "/a"
		if _, got := fetch(t, priorClient(t), "POST", url, strings.NewReader("hi")); got != "POST HTTP/2.0 hi <nil> true" {
			t.Errorf("got %q", got)
		}
		if _, got := fetch(t, listentest.Client(t, false), "POST", url, strings.NewReader("hi")); got != "POST HTTP/1.1 "+
			"hi <nil> true" {
			t.Errorf("got %q", got)
		}
		for flag, want := range map[string]string{
			"--http2-prior-knowledge": "PUT HTTP/2.0 hi <nil> true",
			"--http1.1":               "PUT HTTP/1.1 hi <nil> true",
		} {
			out, err := exec.Command("curl", "-sS", flag, "-X", "PUT", "-d", "hi", url).CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("curl %s: %v %q", flag, err, out)
			}
		}
	})
}

// The preface may come in pieces of any length, and what only looks like it is a request of HTTP/1.1.
func TestH2CPrefaceInPieces(t *testing.T) {
	t.Parallel()
	ls := start(t, plainH2C(listen.Limits{}), http.HandlerFunc(protocol))
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, piece := range []int{1, 2, 3, 15, 16, 17, 23, 24, 30, 100} {
		c := dial(t, ls)
		for rest := http2.ClientPreface + settings; rest != ""; {
			n := min(piece, len(rest))
			fmt.Fprint(c, rest[:n])
			rest = rest[n:]
		}
		f := http2.NewFramer(c, c)
		if err := f.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, BlockFragment: headerBlock("/"), EndStream: true,
			EndHeaders: true,
		}); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("pieces of %d: %v", piece, err)
			}
			_, answered = frame.(*http2.HeadersFrame)
		}
	}
	for begin, want := range map[string]int{
		"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n": 200, "PRI / HTTP/1.1\r\nHost: x\r\n\r\n": 200,
		"PRI * HTTP/2.1\r\n\r\n": 505, "P\r\n\r\n": 400, "PRI * HTTP/2.0\n\n": 400,
	} {
		c := dial(t, ls)
		fmt.Fprint(c, begin)
		_ = c.CloseWrite()
		if got := answers(t, c); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %v, want %d", begin, got, want)
		}
	}
	c := dial(t, ls)
	fmt.Fprint(c, get+http2.ClientPreface) // not at the beginning
	if got := answers(t, c); len(got) != 2 || got[1] != 505 {
		t.Errorf("%v", got)
	}
}

// Without h2c, and with limits.http2 off, the preface is no more than a bad request, and ALPN offers HTTP/1.1 alone.
func TestHTTP2Off(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]listen.Options{
		"no h2c": {Listeners: []listen.Listener{{Name: "main"}}},
		"off":    plainH2C(listen.Limits{HTTP2: listen.HTTP2Off}),
	} {
		c := dial(t, start(t, o, http.HandlerFunc(protocol)))
		fmt.Fprint(c, http2.ClientPreface)
		if got := answers(t, c); len(got) != 1 || got[0] != 505 {
			t.Errorf("%s: %v", name, got)
		}
	}
	o, _ := secure(t, listen.Limits{HTTP2: listen.HTTP2Off})
	ls := start(t, o, http.HandlerFunc(protocol))
	c := tls.Client(dial(t, ls), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err := c.HandshakeContext(t.Context()); err != nil || c.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("%v, %q", err, c.ConnectionState().NegotiatedProtocol)
	}
}

// Connections of h2c are drained, and counted against the cap, as others are.
func TestH2CDrains(t *testing.T) {
	t.Parallel()
	bothH2(t, func(t *testing.T, server listen.HTTP2) {
		release, begun := make(chan struct{}), make(chan struct{})
		ls := start(t, plainH2C(listen.Limits{HTTP2: server}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			<-release
			protocol(w, r)
		}))
		url, client := "http://"+ls.Addr("main").String(), priorClient(t)
		got := make(chan string, 1)
		go func() {
			a, err := client.Get(url)
			if err != nil {
				got <- err.Error()
				return
			}
			defer a.Body.Close()
			text, _ := io.ReadAll(a.Body)
			got <- string(text)
		}()
		<-begun
		if ls.Open() != 1 {
			t.Errorf("%d open", ls.Open())
		}
		drained := make(chan struct{})
		go func() { defer close(drained); drain(t, ls, listen.Drain{}) }()
		close(release)
		if text := <-got; text != "GET HTTP/2.0  <nil> true" {
			t.Error(text)
		}
		<-drained
	})
}
