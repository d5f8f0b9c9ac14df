// Package listen binds sockets and hands what they accept to the server of its protocol: HTTP/1.1 to package h1, HTTP/2 to
// package h2 (chosen by ALPN, RFC 7301). It knows TLS certificates, the limits on connections, redirects to https, how a
// second instance takes over, and how connections are drained.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jotgate/jotgate/internal/httpserver/h1"
)

// A Listener is one address that requests come in on.
type Listener struct {
	Name          string       // for logs and Addr; must differ between listeners
	Address       string       // host:port
	TLS           *tls.Config  // nil: plain; see Certificates.Config
	RedirectHTTPS bool         // every request is answered 308 to https, none reaches a handler
	HTTPSPort     int          // where RedirectHTTPS sends to; 0 and 443: the default port
	ReusePort     bool         // SO_REUSEPORT: a second instance may listen beside this one, and take over
	Handler       http.Handler // instead of the handler that Serve is given
}

// Limits bound what clients may take. Zero takes the default in brackets; a negative time means never.
type Limits struct {
	h1.Limits                    // of an HTTP/1.1 connection; HTTP/2 is held to the same
	IdleTimeout    time.Duration // between requests (120 s: longer than the usual 60 s of load balancers in front)
	TLSTimeout     time.Duration // for a handshake (10 s)
	WriteStall     time.Duration // a write of at most 64 KiB that the client does not take in that time ends the connection (30 s)
	Connections    int           // open at the same time, over all listeners (10000)
	EvictIdleAfter time.Duration // at the cap, a connection that was idle for longer makes room for a new one (1 s)
	H2Streams      uint32        // concurrent, for each HTTP/2 connection (250)
}

// WithDefaults fills what is zero.
func (l Limits) WithDefaults() Limits {
	l.Limits = l.Limits.WithDefaults()
	orElse(&l.IdleTimeout, 120*time.Second)
	orElse(&l.TLSTimeout, 10*time.Second)
	orElse(&l.WriteStall, 30*time.Second)
	orElse(&l.Connections, 10000)
	orElse(&l.EvictIdleAfter, time.Second)
	orElse(&l.H2Streams, 250)
	return l
}

func orElse[T int | uint32 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Options say what to listen on.
type Options struct {
	Listeners []Listener
	Limits    Limits
	Log       *zap.Logger   // required
	Refused   func(Refused) // told of every request that was answered before a handler saw it; may be nil
}

// Listeners are bound sockets that become a server with Serve, and end with Drain or Close.
type Listeners struct {
	limits  Limits
	log     *zap.Logger
	refused func(Refused)
	doors   []*door

	draining atomic.Bool
	retireAt atomic.Pointer[time.Time] // when connections that wait for a request are to go
	stopping context.Context           // done when no more connections are accepted
	stop     context.CancelFunc

	mu       sync.Mutex
	open     map[*socket]struct{}
	empty    chan struct{} // closed when open is empty and will stay so
	served   chan struct{} // closed when Serve has returned, or will never be called
	started  bool
	stopped  bool
	turnedAt atomic.Uint64 // connections refused over the cap
}

// Listen binds every listener, or none. Connections wait in the kernel until Serve is called.
func Listen(ctx context.Context, o Options) (*Listeners, error) {
	ls := &Listeners{
		limits: o.Limits.WithDefaults(), log: o.Log, refused: o.Refused,
		open: map[*socket]struct{}{}, empty: make(chan struct{}), served: make(chan struct{}),
	}
	ls.stopping, ls.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, l := range o.Listeners {
		d, err := ls.bind(ctx, l)
		if err != nil {
			return nil, errors.Join(err, ls.Close())
		}
		ls.doors = append(ls.doors, d)
	}
	return ls, nil
}

func (ls *Listeners) bind(ctx context.Context, l Listener) (*door, error) {
	if l.RedirectHTTPS && l.TLS != nil {
		return nil, fmt.Errorf("listener %q: redirects to https and has certificates: it can have one of both", l.Name)
	}
	var lc net.ListenConfig
	if l.ReusePort {
		lc.Control = reusePort
	}
	raw, err := lc.Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", l.Name, err)
	}
	return newDoor(ls, l, raw.(*net.TCPListener)), nil
}

// Addr is the address that the listener of that name is bound to; nil if there is none.
func (ls *Listeners) Addr(name string) net.Addr {
	for _, d := range ls.doors {
		if d.Name == name {
			return d.raw.Addr()
		}
	}
	return nil
}

// Open counts the connections that are open now.
func (ls *Listeners) Open() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.open)
}

// Stopped is the context that ends when no more connections are accepted; see Stopping.
func (ls *Listeners) Stopped() context.Context { return ls.stopping }

// TurnedAway counts the connections that were closed at once because of the cap.
func (ls *Listeners) TurnedAway() uint64 { return ls.turnedAt.Load() }

// Serve answers requests with handler until Drain or Close is called and done; it returns nil then, and when that was before. It may be called
// once. An error means that a listener broke.
func (ls *Listeners) Serve(handler http.Handler) error {
	ls.mu.Lock()
	started, stopped := ls.started, ls.stopped
	ls.started = started || !stopped
	ls.mu.Unlock()
	switch {
	case started:
		return errors.New("serve: the listeners have been served already")
	case stopped:
		return nil
	}
	defer close(ls.served)

	var g errgroup.Group
	for _, d := range ls.doors {
		d.use(handler)
		g.Go(func() error { return ls.broken(d.accept()) })
	}
	err := g.Wait()
	for _, d := range ls.doors {
		d.handshakes.Wait()
	}
	return err
}

// broken closes everything when one part fails, so that Serve returns.
func (ls *Listeners) broken(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	ls.log.Error("listener broke", zap.Error(err))
	ls.closeAll()
	return err
}
