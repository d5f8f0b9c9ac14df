// Package listen binds sockets and passes accepted connections to the server of their protocol: HTTP/1.1 to package h1,
// HTTP/2 to package h2 (chosen by ALPN, RFC 7301).
//
//	listen.go        what a listener is, its limits, and the set of all listeners
//	bind.go          TCP, Unix and sockets that systemd passes (systemd.go)
//	listener.go      one bound socket: accept, handshake, choice of the server
//	proxy.go         the PROXY protocol, which tells the peer in front of a load balancer
//	socket.go        one accepted connection: its deadlines and how it is closed
//	connections.go   the cap on open connections, and which idle connection is evicted at the cap
//	certificates.go  certificates by SNI, and their replacement by a reload
//	redirect.go      redirects to https
//	refused.go       requests that are refused before any handler
//	drain.go         graceful shutdown
//	takeover_*.go    how a second instance takes over a listening socket without a lost connection
package listen

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jotgate/jotgate/internal/httpserver"
)

// A Listener is an address to listen on.
type Listener struct {
	Name          string          // for logs and Addr; must differ between listeners
	Address       string          // host:port, unix:PATH, systemd or systemd:NAME
	Mode          fs.FileMode     // of a Unix socket; 0: by the umask
	Proxies       func(Peer) bool // not nil: each connection begins with a PROXY header, from these peers alone
	TLS           *Certificates   // nil: plain
	ACME          []*Certificates // whose HTTP-01 challenges RedirectHTTPS answers
	H2C           bool            // plain: HTTP/2 is served too, to clients that begin with its preface
	RedirectHTTPS bool            // answer every request 308 to https
	HTTPSPort     int             // port that RedirectHTTPS redirects to; 0 and 443: the default port
	ReusePort     bool            // SO_REUSEPORT: a second instance may bind the same address and take over
	Handler       http.Handler    // replaces the handler of Serve for this listener; may be nil
}

// Limits bound what clients may use. A zero field takes the default in brackets; a negative time means no limit.
type Limits struct {
	httpserver.Limits               // of a request, in both protocols
	IdleTimeout       time.Duration // between requests (120 s: longer than the usual 60 s of load balancers in front)
	TLSTimeout        time.Duration // for a handshake (10 s)
	WriteStall        time.Duration // for the client to accept 64 KiB of an answer (30 s)
	Connections       int           // open at the same time, of all listeners (10000)
	EvictIdleAfter    time.Duration // at the cap, a connection idle for longer is closed for a new one (1 s)
	H2Streams         uint32        // concurrent, of each HTTP/2 connection (100)
	HTTP2             HTTP2         // which server speaks HTTP/2 (HTTP2Own)
}

// HTTP2 is which server speaks HTTP/2.
type HTTP2 uint8

// The servers of HTTP/2.
const (
	HTTP2Own      HTTP2 = iota // package h2's
	HTTP2Standard              // net/http's
	HTTP2Off                   // none: it is not offered
)

// WithDefaults returns l with its zero fields set to their defaults.
func (l Limits) WithDefaults() Limits {
	l.Limits = l.Limits.WithDefaults()
	orElse(&l.IdleTimeout, 120*time.Second)
	orElse(&l.TLSTimeout, 10*time.Second)
	orElse(&l.WriteStall, 30*time.Second)
	orElse(&l.Connections, 10000)
	orElse(&l.EvictIdleAfter, time.Second)
	orElse(&l.H2Streams, 100)
	return l
}

func orElse[T int | uint32 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Options are the parameters of Listen.
type Options struct {
	Listeners []Listener
	Limits    Limits
	Log       *zap.Logger   // required
	Refused   func(Refused) // called for each request that is refused before any handler; may be nil
	// adds to the head of such an answer what the script of an origin needs; r has nothing but its Origin. May be nil.
	CORS func(r *http.Request, h http.Header)
	// called for each HTTP/2 stream or connection that ended for what its client did; may be nil
	Faulted func(httpserver.Fault)
}

// Listeners are the bound sockets of a server. Serve serves them; Drain or Close ends them.
type Listeners struct {
	limits    Limits
	log       *zap.Logger
	refused   func(Refused)
	cors      func(*http.Request, http.Header)
	faulted   func(httpserver.Fault)
	listeners []*listener

	draining atomic.Bool
	retireAt atomic.Pointer[time.Time] // when idle connections are closed; nil: not draining
	stopping context.Context           // ends when no more connections are accepted
	stop     context.CancelFunc

	mu      sync.Mutex
	open    map[*socket]struct{}
	empty   chan struct{} // closed when open is empty and will stay so
	served  chan struct{} // closed when Serve has returned, or will never be called
	started bool
	stopped bool
	overCap atomic.Uint64 // connections closed because of the cap
}

// Listen binds all listeners, or none of them. Connections wait in the backlog of the kernel until Serve is called.
func Listen(ctx context.Context, o Options) (*Listeners, error) {
	ls := &Listeners{
		limits: o.Limits.WithDefaults(), log: o.Log, refused: o.Refused, cors: o.CORS, faulted: o.Faulted,
		open: map[*socket]struct{}{}, empty: make(chan struct{}), served: make(chan struct{}),
	}
	ls.stopping, ls.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, options := range o.Listeners {
		l, err := ls.bind(ctx, options)
		if err != nil {
			return nil, errors.Join(err, ls.Close())
		}
		ls.listeners = append(ls.listeners, l)
	}
	return ls, nil
}

// Addr returns the address that the listener of that name is bound to; nil if there is none.
func (ls *Listeners) Addr(name string) net.Addr {
	for _, l := range ls.listeners {
		if l.Name == name {
			return l.raw.Addr()
		}
	}
	return nil
}

// Open returns the number of open connections.
func (ls *Listeners) Open() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.open)
}

// Stopped returns the context that ends when no more connections are accepted: an upgraded stream, which no answer
// ends, should close then.
func (ls *Listeners) Stopped() context.Context { return ls.stopping }

// TurnedAway returns how many connections were closed at once because of the cap.
func (ls *Listeners) TurnedAway() uint64 { return ls.overCap.Load() }

// Serve answers requests with handler until Drain or Close is done, or returns at once if that was before; it returns
// nil then. It may be called once. An error means that a listener failed.
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
	for _, l := range ls.listeners {
		l.use(handler)
		g.Go(func() error { return ls.failed(l.accept()) })
	}
	err := g.Wait()
	for _, l := range ls.listeners {
		l.handshakes.Wait()
	}
	return err
}

// failed closes everything when a listener fails, so that Serve returns.
func (ls *Listeners) failed(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	ls.log.Error("listener failed", zap.Error(err))
	ls.closeAll()
	return err
}
