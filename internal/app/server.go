// Package server is a running gate: the listeners, the chain that each request goes through, and the snapshot of the
// configuration that judges it.
//
// The configuration in force is one immutable snapshot behind one atomic pointer (snapshot.go). A reload builds the next
// one whole and swaps it in, or changes nothing and says why (reload.go). What must outlive a reload is listed once
// (memory.go): the replay guard, the revocations, the verified-token cache, the connections to upstreams and the issuer's
// counters. A request keeps the snapshot that it began with, and goes through the chain in chain.go.
//
// The listeners (listen*.go, drain.go) know nothing of all that: sockets, TLS, limits and the strict reader of heads.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// Options are what a Server stands on.
type Options struct {
	Config     *config.Config
	ConfigPath string // where Reload reads; "": there is nothing to reload
	Log        *telemetry.Log
	Clock      func() time.Time // nil: time.Now
	Version    string           // of the release, for metrics; "" asks the build's own stamp
}

// A Server is a gate and its admin side. New builds it, Start binds and serves, Drain or Close ends it.
type Server struct {
	path  string
	log   *telemetry.Log
	clock func() time.Time
	dry   bool // nothing is fetched; see Judge

	metrics  *telemetry.Metrics
	tracer   *otel.Tracer // nil: there are no traces
	memory   *memory
	snapshot atomic.Pointer[snapshot]
	reload   sync.Mutex                        // one at a time
	reloaded chan struct{}                     // holds one if the watch has not heard of a reload, good or bad
	sources  atomic.Pointer[config.Sources]    // what the latest reload, or else the start, has read
	watched  atomic.Pointer[watchState]        // nil: nothing is
	latest   atomic.Pointer[admin.LastReload]  // nil: there was none
	notifier func() (*fsnotify.Watcher, error) // what the system has to watch folders with

	listeners    *listen.Listeners
	certificates map[string]*listen.Certificates // by listener
	admins       []*http.Server
	adminAddr    net.Addr
	healthAddr   net.Addr

	started    atomic.Bool
	draining   atomic.Bool
	drain      chan struct{} // closed when draining begins
	drainOnce  sync.Once
	background sync.WaitGroup
	failed     chan error // a listener's failure
}

// New builds everything that can be built without a socket. Its errors are those of files that the configuration names,
// and of what only a running gate can find wrong with it.
func New(o Options) (*Server, error) {
	s := &Server{
		path: o.ConfigPath, log: o.Log, clock: o.Clock,
		metrics: telemetry.NewMetrics(o.Version), drain: make(chan struct{}), failed: make(chan error, 4), // one for each part that can break
		reloaded: make(chan struct{}, 1), notifier: fsnotify.NewWatcher,
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	err := s.metrics.Register(gauges{s})
	if err != nil {
		return nil, err
	}
	if s.certificates, err = loadCertificates(o.Config.Listeners); err != nil {
		return nil, err
	}
	if s.memory, err = newMemory(o.Config, s.log, s.clock); err != nil {
		return nil, err
	}
	snap, err := s.build(o.Config)
	if err != nil {
		return nil, errors.Join(err, s.memory.close())
	}
	if err := snap.policy(s.clock()); err != nil {
		snap.close()
		return nil, errors.Join(err, s.memory.close())
	}
	s.memory.guard = snap.guard
	snap.series = series(s.metrics, snap.config)
	s.metrics.Loaded(s.clock())
	snap.generation = 1
	s.enforce(snap)
	s.tracer = newTracer(o.Config.Tracing, s.log, o.Version) // when nothing can fail any more: it works in the background
	s.sources.Store(&o.Config.Sources)
	return s, nil
}

// Start binds every listener, or none, and serves.
func (s *Server) Start() error {
	ctx, c := context.Background(), s.Config()
	listeners, err := listen.Listen(ctx, s.listenOptions(c))
	if err != nil {
		return err
	}
	if err := s.startAdmin(ctx, c); err != nil {
		return errors.Join(err, listeners.Close(), s.closeAdmin())
	}
	s.listeners = listeners
	s.background.Go(func() {
		if err := listeners.Serve(s); err != nil {
			s.failed <- err
		}
	})
	if s.path != "" {
		s.background.Go(s.watching)
	}
	s.started.Store(true)
	for _, l := range c.Listeners {
		s.log.Info("listening", zap.String("listener", l.Name), zap.Stringer("address", listeners.Addr(l.Name)),
			zap.Bool("tls", l.TLS != nil))
	}
	for side, address := range map[string]net.Addr{"admin": s.adminAddr, "health": s.healthAddr} {
		if address != nil {
			s.log.Info("admin listening", zap.String("side", side), zap.Stringer("address", address))
		}
	}
	s.warn(s.snapshot.Load())
	return nil
}

// warn tells what is not wrong with a configuration that comes into force, but worth a word.
func (s *Server) warn(snap *snapshot) {
	for _, w := range snap.config.Warnings {
		s.log.Warn("config: " + w.String())
	}
	if names := snap.shadows(); len(names) > 0 {
		s.log.Warn("IN SHADOW: requests that these routes should refuse for their token, tenant or permission are let through",
			zap.Strings("routes", names))
	}
}

func (s *Server) listenOptions(c *config.Config) listen.Options {
	o := listen.Options{Log: s.log.Logger, Refused: s.refused, Limits: listen.Limits{
		Limits: httpserver.Limits{
			HeaderBytes: c.Limits.HeaderBytes, URIBytes: c.Limits.URIBytes,
			HeaderTimeout: c.Limits.HeaderTimeout, BodyStall: c.Limits.StallTimeout,
		},
		IdleTimeout: c.Limits.IdleTimeout, WriteStall: c.Limits.StallTimeout,
		Connections: c.Limits.Connections, H2Streams: uint32(c.Limits.H2Streams),
	}}
	for _, l := range c.Listeners {
		listener := listen.Listener{Name: l.Name, Address: l.Address, RedirectHTTPS: l.Redirect, ReusePort: l.ReusePort}
		if l.Redirect {
			listener.HTTPSPort = httpsPort(c.Listeners)
		}
		if certificates := s.certificates[l.Name]; certificates != nil {
			listener.TLS = certificates.Config()
		}
		o.Listeners = append(o.Listeners, listener)
	}
	return o
}

// httpsPort is where a redirect leads: the port of the first listener with certificates.
func httpsPort(all []config.Listener) int {
	for _, l := range all {
		if l.TLS == nil {
			continue
		}
		if _, text, err := net.SplitHostPort(l.Address); err == nil {
			if port, err := net.LookupPort("tcp", text); err == nil {
				return port
			}
		}
	}
	return 0
}

// refused writes the access line of a request that no handler saw.
func (s *Server) refused(f listen.Refused) {
	x := request.Exchange{ID: f.RequestID, Reason: f.Reason, Detail: f.Detail}
	if addr, err := netip.ParseAddrPort(f.Remote); err == nil {
		x.Peer = addr.Addr().Unmap()
		x.Client = x.Peer
	}
	s.log.Refused(&x)
	s.snapshot.Load().series.Refused(&x)
}

// startAdmin binds the admin listeners. One that the file does not mention is not worth a failed start: another process
// on the machine may have its port.
func (s *Server) startAdmin(ctx context.Context, c *config.Config) (err error) {
	if c.Admin.Listen != "" {
		if s.adminAddr, err = s.serveAdmin(ctx, c.Admin.Listen, false); err != nil {
			if !c.Admin.Implicit {
				return fmt.Errorf("admin.listen: %w", err)
			}
			s.log.Warn("no health endpoint, as the default address is taken; set admin.listen", zap.Error(err))
		}
	}
	if c.Admin.HealthListen != "" {
		if s.healthAddr, err = s.serveAdmin(ctx, c.Admin.HealthListen, true); err != nil {
			return fmt.Errorf("admin.health_listen: %w", err)
		}
	}
	return nil
}

func (s *Server) serveAdmin(ctx context.Context, address string, health bool) (net.Addr, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	options := admin.Options{
		Token: s.adminToken, Ready: s.Ready, Warnings: s.Warnings, Health: health, Audit: s.auditWithdrawal, Refused: s.adminRefused, Explain: s.explain, Metrics: s.metrics.Handler(),
		Reload: s.Reload, LastReload: s.latest.Load, LogLevel: s.setLogLevel, Profile: func() bool { return s.Config().Admin.Pprof },
	}
	if s.memory.revocations != nil {
		options.Revocations = s.memory.revocations
	}
	server := &http.Server{
		Handler:           admin.New(options),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: quietLog(s.log.Named("admin")),
	}
	s.admins = append(s.admins, server)
	s.background.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("admin: %w", err)
		}
	})
	return l.Addr(), nil
}

func (s *Server) setLogLevel(text string) error {
	level, err := zapcore.ParseLevel(text)
	if err != nil || text == "" || level < zapcore.DebugLevel || level > zapcore.ErrorLevel {
		return fmt.Errorf("level %.32q: want debug, info, warn or error", text)
	}
	s.log.Level.SetLevel(level)
	s.log.Audit.Info("log_level", zap.Stringer("level", level))
	return nil
}

func (s *Server) auditWithdrawal(r *http.Request, w admin.Withdrawal, err error) {
	outcome := "done"
	if err != nil {
		outcome = "refused"
	}
	s.log.Audit.Info("withdraw", zap.String("event", "withdraw"), zap.String("outcome", outcome),
		zap.String("kind", w.Kind), zap.String("issuer", w.Issuer), zap.String("value", w.Value),
		zap.Time("at", time.UnixMilli(w.At)), zap.String("by", "admin"), zap.String("remote", r.RemoteAddr), zap.Error(err))
}

// adminRefused tells of whoever tried the operator's side without its token.
func (s *Server) adminRefused(r *http.Request, reason refusal.Reason, requestID string) {
	s.log.Warn("admin refused", zap.String("request_id", requestID), zap.String("remote", r.RemoteAddr),
		zap.String("method", r.Method), zap.String("path", endpoint.Redact(r.URL.EscapedPath())), zap.String("reason", string(reason)))
}

func (s *Server) adminToken() string { return s.Config().Admin.Token.Reveal() }

// Ready is nil while the server wants requests.
func (s *Server) Ready() error {
	switch {
	case s.draining.Load():
		return errors.New("draining")
	case !s.started.Load():
		return errors.New("starting")
	}
	return nil
}

// Warnings name the trusted issuers whose keys are not at hand, and the routes in shadow. The gate is ready all the same:
// only those issuers' own tokens are refused, and taking every replica out of service would make one issuer's failure
// everybody's.
func (s *Server) Warnings() []string {
	all := s.memory.warnings()
	if last := s.latest.Load(); last != nil && last.Err != nil { // without its faults: whoever asks for readiness need not read them
		all = append(all, "the reload of "+last.At.UTC().Format(time.RFC3339)+" was refused, the configuration from before it is in force; the log has the faults")
	}
	if w := s.watched.Load(); w != nil && w.err != nil {
		all = append(all, "not every file is watched; changes need SIGHUP or `jotgate reload`")
	}
	for _, k := range s.KeySets() {
		of := "trusted issuer " + k.Issuer + ": "
		switch {
		case k.Fetched.IsZero():
			all = append(all, of+"no keys yet, its tokens are refused")
		case !k.Available:
			all = append(all, of+"its keys are too old, its tokens are refused")
		case k.Err != nil:
			all = append(all, of+"its keys cannot be fetched, those of "+k.Fetched.UTC().Format(time.RFC3339)+" still count")
		case k.Keys == 0:
			all = append(all, of+"it publishes no key of use, its tokens are refused")
		}
	}
	for _, name := range s.snapshot.Load().shadows() {
		all = append(all, "route "+name+": in shadow, lets through what it should refuse")
	}
	return all
}

// KeySets tell how the keys of each trusted issuer that publishes them are doing.
func (s *Server) KeySets() []keysets.Stats { return s.memory.keys.Stats() }

// Addr is the address that a listener is bound to; nil if there is none of that name.
func (s *Server) Addr(name string) net.Addr { return s.listeners.Addr(name) }

// AdminAddr is the address of the admin listener; nil without one.
func (s *Server) AdminAddr() net.Addr { return s.adminAddr }

// HealthAddr is the address of the listener that has health alone; nil without one.
func (s *Server) HealthAddr() net.Addr { return s.healthAddr }

// Config is the configuration in force.
func (s *Server) Config() *config.Config { return s.snapshot.Load().config }

// Failed tells of a listener that broke; the server is to be closed then.
func (s *Server) Failed() <-chan error { return s.failed }

// Drain ends the server without losing a request: it stops being ready, serves on for drain.delay with
// `Connection: close`, then accepts no more, and gives what is in flight drain.timeout. It returns nil when everything
// ended by itself. When ctx ends, what is left is closed at once.
func (s *Server) Drain(ctx context.Context) error {
	s.beginDrain()
	d := s.Config().Drain
	s.log.Info("draining", zap.Duration("delay_ms", d.Delay), zap.Duration("timeout_ms", d.Timeout))
	ctx, cancel := context.WithTimeoutCause(ctx, d.Delay+d.Timeout, errors.New("drain.timeout is over"))
	defer cancel()
	err := s.listeners.Drain(ctx, listen.Drain{Delay: d.Delay, IdleGrace: idleGrace(d)})
	return errors.Join(err, s.Close())
}

// idleGrace is how long a quiet connection is kept for the request that may be on its way: long enough for a slow
// network's round trip.
func idleGrace(d config.Drain) time.Duration { return min(time.Second, d.Timeout/2) }

func (s *Server) beginDrain() {
	s.draining.Store(true)
	s.drainOnce.Do(func() { close(s.drain) })
}

// Close ends everything at once. It may be called more than once.
func (s *Server) Close() error {
	s.beginDrain()
	var errs []error
	if s.listeners != nil {
		errs = append(errs, s.listeners.Close())
	}
	errs = append(errs, s.closeAdmin())
	s.background.Wait()
	s.snapshot.Load().close()
	s.closeTracer()
	return errors.Join(append(errs, s.memory.close())...)
}

func (s *Server) closeAdmin() error {
	var errs []error
	for _, a := range s.admins {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}
