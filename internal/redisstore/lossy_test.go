package redisstore_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// lossy stands between a client and a server, and loses an answer when told to: the server has got the request and has
// done what it says, and the connection breaks.
type lossy struct {
	listener net.Listener
	server   string
	lose     atomic.Bool // the next answer
	open     sync.WaitGroup
}

func newLossy(t *testing.T, server string) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossy{listener: l, server: server}
	p.open.Go(p.accept)
	t.Cleanup(func() { _ = l.Close(); p.open.Wait() })
	return p
}

func (p *lossy) address() string { return p.listener.Addr().String() }

func (p *lossy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.open.Go(func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		})
		p.open.Go(func() {
			defer func() { _ = client.Close(); _ = server.Close() }()
			b := make([]byte, 64<<10)
			for {
				n, err := server.Read(b)
				if err != nil || p.lose.CompareAndSwap(true, false) {
					return
				}
				if _, err := client.Write(b[:n]); err != nil {
					return
				}
			}
		})
	}
}
