package listen_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/listen"
)

// A small GET over keep-alive and loopback: net/http alone and behind the listeners, in turns. The ratio is what
// counts.
func BenchmarkListenersAgainstNetHTTP(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header()["Date"] = nil })
	alone := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = alone.Serve(l) }()
	defer alone.Close()
	ls := start(b, listen.Options{}, handler)
	clients := [2]*asker{newAsker(b, l.Addr()), newAsker(b, ls.Addr("main"))}
	var took [2]time.Duration
	for b.Loop() {
		for i, a := range clients {
			begin := time.Now()
			a.ask(b, 20)
			took[i] += time.Since(begin)
		}
	}
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(20*b.N), "alone-ns/request")
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
}

type asker struct {
	c  net.Conn
	in *bufio.Reader
}

func newAsker(b *testing.B, to net.Addr) *asker {
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return &asker{c, bufio.NewReader(c)}
}

func (a *asker) ask(b *testing.B, times int) {
	for range times {
		if _, err := io.WriteString(a.c, get); err != nil {
			b.Fatal(err)
		}
		for line := get; line != "\r\n"; { // the answer has no body
			var err error
			if line, err = a.in.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
}
