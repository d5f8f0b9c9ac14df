package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/server/wire"
)

// A door is one listener at work: it accepts, shakes hands where there is TLS, and has each connection served by the server
// of its protocol: package wire's for HTTP/1.1, net/http's for HTTP/2.
type door struct {
	Listener
	all        *Listeners
	raw        *net.TCPListener
	h1         *wire.Server
	h2         *http.Server
	http2      *feed
	handshakes sync.WaitGroup
	accepted   chan struct{} // closed when accept has returned
	stopBy     atomic.Int64  // when accept must end at the latest, once it was told to; Unix nanoseconds
}

func newDoor(ls *Listeners, l Listener, raw *net.TCPListener) *door {
	d := &door{Listener: l, all: ls, raw: raw, http2: newFeed(raw.Addr()), accepted: make(chan struct{})}
	base := context.WithValue(context.Background(), stoppingKey{}, ls.stopping)
	d.h1 = &wire.Server{
		Limits: &ls.limits.Limits, IdleTimeout: ls.limits.IdleTimeout, Context: base, Log: ls.log, Last: ls.Draining, Refused: ls.refuse,
	}
	d.h2 = &http.Server{
		IdleTimeout:    max(0, ls.limits.IdleTimeout),
		MaxHeaderBytes: ls.limits.HeaderBytes,
		ErrorLog:       quietLog(ls.log),
		BaseContext:    func(net.Listener) context.Context { return base },
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: int(ls.limits.H2Streams)},
		Protocols:      new(http.Protocols),

		DisableGeneralOptionsHandler: true,
	}
	d.h2.Protocols.SetHTTP2(true)
	return d
}

// use puts the handler behind what every request goes through first.
func (d *door) use(handler http.Handler) {
	if d.Handler != nil {
		handler = d.Handler
	}
	if d.RedirectHTTPS {
		handler = redirect{port: d.HTTPSPort}
	}
	d.h1.Handler = handler
	d.h2.Handler = &frontH2{all: d.all, next: handler}
}

// accept takes connections until the listener is closed. Errors that pass, such as too many open files, are waited out.
func (d *door) accept() error {
	defer close(d.accepted)
	pause := time.Duration(0)
	for {
		c, err := d.raw.AcceptTCP()
		switch {
		case err == nil:
			pause = 0
			d.admit(c)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !d.more() {
				return d.raw.Close()
			}
		case !passes(err):
			return err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			d.all.log.Warn("accept failed, will try again", zap.String("listener", d.Name), zap.Error(err))
			select {
			case <-time.After(pause):
			case <-d.all.stopping.Done():
			}
		}
	}
}

// more lets accept go on, once told to stop, while connections are queued.
func (d *door) more() bool {
	if !queued(d.raw) || time.Now().UnixNano() > d.stopBy.Load() {
		return false
	}
	return d.raw.SetDeadline(time.Now().Add(queueWait)) == nil
}

func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit counts the connection in or closes it.
func (d *door) admit(c *net.TCPConn) {
	s := newSocket(c, d.all)
	if !d.all.enter(s) {
		d.all.turnedAt.Add(1)
		_ = c.SetLinger(0) // no TIME_WAIT for a flood
		_ = c.Close()
		return
	}
	if d.TLS == nil {
		go d.serve(s, s)
		return
	}
	d.handshakes.Add(1)
	go func() {
		t := d.shake(s)
		d.handshakes.Done()
		if t != nil {
			d.serve(s, t)
		}
	}()
}

// serve answers HTTP/1.1 on the socket, or on what stands above it.
func (d *door) serve(s *socket, above net.Conn) {
	c := d.h1.NewConn(above)
	s.wire.Store(c)
	if at := d.all.retireAt.Load(); at != nil { // it came too late to be told
		c.Retire(*at)
	}
	c.Serve()
}

// shake does the TLS handshake and lets ALPN choose the server. It gives the session that is to speak HTTP/1.1, or nil.
func (d *door) shake(s *socket) *tls.Conn {
	t := tls.Server(s, d.TLS)
	if within := d.all.limits.TLSTimeout; within > 0 {
		_ = s.SetDeadline(time.Now().Add(within)) // if it cannot be set, the handshake fails
	}
	if err := t.HandshakeContext(context.Background()); err != nil {
		d.all.log.Debug("handshake failed", zap.String("listener", d.Name), zap.Error(err))
		_ = s.Close()
		return nil
	}
	_ = s.SetDeadline(time.Time{})
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		d.http2.put(t)
		return nil
	}
	return t
}

// A feed is the net.Listener through which net/http's server gets connections that are ready for it.
type feed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func newFeed(addr net.Addr) *feed {
	return &feed{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr}
}

func (f *feed) put(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.done:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr implements net.Listener.
func (f *feed) Addr() net.Addr { return f.addr }
