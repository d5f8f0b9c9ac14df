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
	"golang.org/x/crypto/acme"

	"github.com/jotgate/jotgate/internal/httpserver/h1"
	"github.com/jotgate/jotgate/internal/httpserver/h2"
	"github.com/jotgate/jotgate/internal/httpserver/h2std"
)

// A listener is a bound socket. It accepts connections, does the TLS handshake, and passes each connection to the
// server of its protocol: package h1 for HTTP/1.1, package h2 for HTTP/2.
type listener struct {
	Listener
	all        *Listeners
	raw        rawListener
	h1         *h1.Server
	h2         h2Server
	setH2      func(http.Handler)
	handshakes sync.WaitGroup
	accepted   chan struct{} // closed when accept has returned
	stopBy     atomic.Int64  // latest end of accept after it was told to stop; Unix nanoseconds
}

// An h2Server is package h2's, or that of net/http. It is nil if HTTP/2 is not served.
type h2Server interface {
	conn(c net.Conn) connection
	prior(c net.Conn, early []byte) connection
}

type ownH2 struct{ *h2.Server }

func (s ownH2) conn(c net.Conn) connection { return s.NewConn(c) }

func (s ownH2) prior(c net.Conn, early []byte) connection { return s.NewPriorConn(c, early) }

type standardH2 struct{ *h2std.Server }

func (s standardH2) conn(c net.Conn) connection { return s.NewConn(c) }

func (s standardH2) prior(c net.Conn, early []byte) connection { return s.NewPriorConn(c, early) }

func newListener(ls *Listeners, options Listener, raw rawListener) *listener {
	l := &listener{Listener: options, all: ls, raw: raw, accepted: make(chan struct{})}
	base := context.Background()
	l.h1 = &h1.Server{
		Limits: &ls.limits.Limits, IdleTimeout: ls.limits.IdleTimeout,
		Context: base, Log: ls.log, Last: ls.Draining, Refused: ls.refuse,
	}
	switch ls.limits.HTTP2 {
	case HTTP2Own:
		own := &h2.Server{
			Limits: &ls.limits.Limits, IdleTimeout: ls.limits.IdleTimeout,
			WriteStall: ls.limits.WriteStall, Streams: ls.limits.H2Streams,
			Context: base, Log: ls.log, Last: ls.Draining, Refused: ls.refuse, Faulted: ls.faulted,
		}
		l.h2, l.setH2 = ownH2{own}, func(h http.Handler) { own.Handler = h }
	case HTTP2Standard:
		standard := &h2std.Server{
			Limits: &ls.limits.Limits, IdleTimeout: ls.limits.IdleTimeout,
			WriteStall: ls.limits.WriteStall, Streams: ls.limits.H2Streams,
			Context: base, Log: ls.log, Last: ls.Draining, Refused: ls.refuse,
		}
		l.h2, l.setH2 = standardH2{standard}, func(h http.Handler) { standard.Handler = h }
	}
	if l.h2 == nil && options.TLS != nil {
		l.TLS.withoutHTTP2()
	}
	if options.H2C && options.TLS == nil && l.h2 != nil {
		l.h1.HTTP2 = func(c net.Conn, early []byte) {
			s := c.(*socket)
			s.serve(l.h2.prior(s, early))
		}
	}
	return l
}

// use sets the handler of both servers.
func (l *listener) use(handler http.Handler) {
	if l.Handler != nil {
		handler = l.Handler
	}
	if l.RedirectHTTPS {
		handler = redirect{port: l.HTTPSPort, refuse: l.all.refuse}
		for _, certificates := range l.ACME {
			handler = certificates.HTTP01(handler)
		}
	}
	if l.TLS != nil {
		handler = judging{certificates: l.TLS, refuse: l.all.refuse, next: handler}
	}
	l.h1.Handler = handler
	if l.setH2 != nil {
		l.setH2(handler)
	}
}

// accept accepts connections until the listener is closed. After a temporary error, such as EMFILE, it backs off and
// tries again.
func (l *listener) accept() error {
	defer close(l.accepted)
	backoff := time.Duration(0)
	for {
		c, err := l.raw.Accept()
		switch {
		case err == nil:
			backoff = 0
			l.admit(c.(rawConn))
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !l.more() {
				return l.raw.Close()
			}
		case !temporary(err):
			return err
		default:
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			l.all.log.Warn("accept failed, will try again", zap.String("listener", l.Name), zap.Error(err))
			select {
			case <-time.After(backoff):
			case <-l.all.stopping.Done():
			}
		}
	}
}

// more reports whether accept, once told to stop, goes on because connections are still queued.
func (l *listener) more() bool {
	if !queued(l.raw) || time.Now().UnixNano() > l.stopBy.Load() {
		return false
	}
	return l.raw.SetDeadline(time.Now().Add(queueWait)) == nil
}

func temporary(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit starts to serve the connection, or closes it if the cap on connections is reached.
func (l *listener) admit(c rawConn) {
	s := newSocket(c, l.all)
	if !l.all.enter(s) {
		l.all.overCap.Add(1)
		_ = s.SetLinger(0) // a reset leaves no TIME_WAIT, of which a flood would make many
		_ = c.Close()
		return
	}
	if l.TLS == nil && l.Proxies == nil {
		go s.serve(l.h1.NewConn(s))
		return
	}
	l.handshakes.Add(1)
	go func() {
		c := l.handshake(s)
		l.handshakes.Done()
		if c != nil {
			s.serve(c)
		}
	}()
}

// handshake reads the PROXY header and does the TLS handshake; ALPN chooses the server. It returns nil if one of them
// failed.
func (l *listener) handshake(s *socket) connection {
	if within := l.all.limits.TLSTimeout; within > 0 {
		_ = s.SetDeadline(time.Now().Add(within)) // if it cannot be set, the handshake fails
	}
	if l.Proxies != nil {
		if err := s.readProxyHeader(l.Proxies); err != nil {
			l.all.log.Debug("PROXY header refused", zap.String("listener", l.Name), zap.Error(err))
			_ = s.SetLinger(0)
			_ = s.Close()
			return nil
		}
	}
	if l.TLS == nil {
		_ = s.SetDeadline(time.Time{})
		return l.h1.NewConn(s)
	}
	t := tls.Server(s, l.TLS.Config())
	if err := t.HandshakeContext(context.Background()); err != nil {
		l.all.log.Debug("handshake failed", zap.String("listener", l.Name), zap.Error(err))
		_ = s.Close()
		return nil
	}
	_ = s.SetDeadline(time.Time{})
	switch t.ConnectionState().NegotiatedProtocol {
	case "h2":
		return l.h2.conn(t)
	case acme.ALPNProto: // the handshake was the answer
		_ = t.Close()
		return nil
	}
	return l.h1.NewConn(t)
}
