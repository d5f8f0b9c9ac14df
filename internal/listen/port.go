package listen

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

	"github.com/jotgate/jotgate/internal/httpserver/h1"
	"github.com/jotgate/jotgate/internal/httpserver/h2"
)

// A door is one listener at work: it accepts, shakes hands where there is TLS, and has each connection served by the server
// of its protocol: package wire's for HTTP/1.1, package h2's for HTTP/2.
type door struct {
	Listener
	all        *Listeners
	raw        *net.TCPListener
	h1         *h1.Server
	h2         *h2.Server
	handshakes sync.WaitGroup
	accepted   chan struct{} // closed when accept has returned
	stopBy     atomic.Int64  // when accept must end at the latest, once it was told to; Unix nanoseconds
}

func newDoor(ls *Listeners, l Listener, raw *net.TCPListener) *door {
	d := &door{Listener: l, all: ls, raw: raw, accepted: make(chan struct{})}
	base := context.WithValue(context.Background(), stoppingKey{}, ls.stopping)
	d.h1 = &h1.Server{
		Limits: &ls.limits.Limits, IdleTimeout: ls.limits.IdleTimeout, Context: base, Log: ls.log, Last: ls.Draining, Refused: ls.refuse,
	}
	d.h2 = &h2.Server{
		Limits: &ls.limits.Limits, IdleTimeout: ls.limits.IdleTimeout, WriteStall: ls.limits.WriteStall, Streams: ls.limits.H2Streams,
		Context: base, Log: ls.log, Last: ls.Draining, Refused: ls.refuse,
	}
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
	d.h1.Handler, d.h2.Handler = handler, handler
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
		go s.serve(d.h1.NewConn(s))
		return
	}
	d.handshakes.Add(1)
	go func() {
		c := d.shake(s)
		d.handshakes.Done()
		if c != nil {
			s.serve(c)
		}
	}()
}

// shake does the TLS handshake and lets ALPN choose the server; nil if it failed.
func (d *door) shake(s *socket) connection {
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
		return d.h2.NewConn(t)
	}
	return d.h1.NewConn(t)
}
