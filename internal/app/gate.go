// Package app is a running gate: it starts, reloads, watches its files, drains, and joins what the other packages do.
//
// The configuration in force is one immutable snapshot behind one atomic pointer (snapshot.go). A reload builds the
// next one whole and swaps it in, or changes nothing and says why (reload.go). What must outlive a reload is listed
// once (memory.go): the replay guard, the revocations, the verified-token cache, the connections to upstreams and the
// issuer's counters. A request keeps the snapshot that it began with, and goes through the chain in chain.go.
//
// Package listen accepts connections and hands their requests to the gate (listeners.go); package admin serves the
// operator's side (admin.go).
package app

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/admin/console"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// Options are what a Gate is made of.
type Options struct {
	Config     *config.Config
	ConfigPath string // where Reload reads; "": there is nothing to reload
	Log        *telemetry.Log
	Clock      func() time.Time // nil: time.Now
	Version    string           // of the release, for metrics; "" asks the build's own stamp
}

// A Gate is a running gate with its admin side. New builds it, Start binds and serves, Drain or Close ends it.
type Gate struct {
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
	admins       []*listen.Listeners
	adminAddr    net.Addr
	healthAddr   net.Addr
	metricsAddr  net.Addr

	version  string
	began    time.Time        // when it was built
	console  *console.Console // its pages are served on the admin listener, where there is one
	reloads  reloads
	compared compared

	refusals   *refusals // nil: none are kept
	started    atomic.Bool
	draining   atomic.Bool
	drain      chan struct{} // closed when draining begins
	drainOnce  sync.Once
	streams    context.Context    // ends when upgraded streams are to end …
	endStreams context.CancelFunc // … by this
	load       request.Load
	exchanges  sync.Pool // of *request.Exchange
	background sync.WaitGroup
	failed     chan error // a listener's failure
}

// New builds everything that can be built without a socket. Its errors are those of files that the configuration names,
// and of what only a running gate can find wrong with it.
func New(o Options) (*Gate, error) {
	s := &Gate{
		path: o.ConfigPath, log: o.Log, clock: o.Clock,
		metrics: telemetry.NewMetrics(o.Version), drain: make(chan struct{}),
		failed:   make(chan error, 4), // one for each part that can break
		reloaded: make(chan struct{}, 1), notifier: fsnotify.NewWatcher,
	}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	if s.clock == nil {
		s.clock = time.Now
	}
	s.refusals = newRefusals(o.Config.Admin.Refusals)
	s.metrics.Register(gauges{s})
	var err error
	began := nextSecond(time.Now())
	if o.Clock == nil && expectsProofs(o.Config) {
		time.Sleep(time.Until(began))
	}
	if s.memory, err = newMemory(o.Config, s.log, s.clock); err != nil {
		return nil, err
	}
	if s.certificates, err = loadCertificates(o.Config.Listeners, s.memory.store); err != nil {
		return nil, errors.Join(err, s.memory.close())
	}
	if o.Clock == nil {
		s.memory.proofs.BeginAt(began)
	}
	s.memory.proofs.PrepareKeys(o.Config.Limits.PreparedKeys, s.disagreed)
	snap, err := s.build(o.Config)
	if err != nil {
		return nil, errors.Join(err, s.memory.close())
	}
	if err := snap.policy(s.clock()); err != nil {
		snap.close()
		return nil, errors.Join(err, s.memory.close())
	}
	s.memory.guard = snap.guard
	if err := s.memory.reconfigureOnce(o.Config); err != nil {
		snap.close()
		return nil, errors.Join(err, s.memory.close())
	}
	snap.series = series(s.metrics, snap.config)
	s.metrics.Loaded(s.clock())
	snap.generation = 1
	s.version, s.began = o.Version, s.clock()
	s.enforce(snap)
	s.console = console.New(s.consoleOptions())
	s.tracer = newTracer(o.Config.Tracing, s.log, o.Version) // when nothing can fail any more: it works in the background
	if s.tracer != nil {
		s.metrics.Trace()
	}
	s.sources.Store(&o.Config.Sources)
	return s, nil
}

// nextSecond is when a process begins to remember what it has accepted: at a whole second, which is all that the iat of
// most client assertions and DPoP proofs tells. What was made in an earlier one may have been accepted by the process
// before, and is doubted; what is made from now on is not, however young the process is.
//
// Only a config that expects assertions or proofs waits for it, up to a second. Elsewhere the process serves at once,
// and a DPoP proof of the second that it began in is asked for a nonce.
func nextSecond(now time.Time) time.Time {
	return now.Add(time.Second - 1).Truncate(time.Second)
}

// expectsProofs reports whether the config speaks of what counts once, by when it was made: client assertions, logout
// tokens, DPoP.
func expectsProofs(c *config.Config) bool {
	if c.DPoP.Given || len(logoutIssuers(c)) > 0 {
		return true
	}
	return c.Issuer != nil && slices.ContainsFunc(c.Issuer.Clients, func(client *config.Client) bool {
		return client.Keys != nil || client.Bound || client.Identity != nil && client.Identity.Once
	})
}

// Start binds every listener, or none, and serves.
func (g *Gate) Start() error {
	ctx, c := context.Background(), g.Config()
	listeners, err := listen.Listen(ctx, g.listenOptions(c))
	if err != nil {
		return err
	}
	if err := g.startAdmin(ctx, c); err != nil {
		return errors.Join(err, listeners.Close(), g.closeAdmin())
	}
	g.listeners = listeners
	context.AfterFunc(listeners.Stopped(), g.endStreams)
	g.background.Go(func() {
		if err := listeners.Serve(g); err != nil {
			g.failed <- err
		}
	})
	g.obtain()
	if g.path != "" {
		g.background.Go(g.watching)
	}
	g.started.Store(true)
	for _, l := range c.Listeners {
		g.log.Info("listening", zap.String("listener", l.Name), zap.Stringer("address", listeners.Addr(l.Name)),
			zap.Bool("tls", l.TLS != nil))
	}
	if address := g.DecisionAddr(); address != nil {
		g.log.Info("listening", zap.String("listener", config.DecisionListener), zap.Stringer("address", address))
	}
	for side, address := range map[string]net.Addr{
		"admin": g.adminAddr, "health": g.healthAddr,
		"metrics": g.metricsAddr,
	} {
		if address != nil {
			g.log.Info("admin listening", zap.String("side", side), zap.Stringer("address", address))
		}
	}
	g.warn(g.snapshot.Load())
	return nil
}

// obtain has certificates issued that are not there yet, so that the first client need not wait for it. The authority
// may be slow: this does not end with the gate.
func (g *Gate) obtain() {
	for listener, certificates := range g.certificates {
		go func() {
			err := certificates.Obtain()
			for end := time.Now().Add(10 * time.Minute); errors.Is(err, redisstore.ErrAnotherAsks) && time.Now().Before(end); {
				time.Sleep(3 * time.Second)
				err = certificates.Obtain()
			}
			if err != nil {
				g.log.Error("no certificate by ACME yet; each handshake tries again", zap.String("listener", listener),
					zap.Error(err))
			}
		}()
	}
}

// warn tells what is not wrong with a configuration that comes into force, but worth a word.
func (g *Gate) warn(snap *snapshot) {
	for _, w := range snap.config.Warnings {
		g.log.Warn("config: " + w.String())
	}
	if names := snap.shadows(); len(names) > 0 {
		g.log.Warn("IN SHADOW: requests that these routes should refuse for their token, tenant or permission "+
			"are let through",
			zap.Strings("routes", names))
	}
}

// Ready is nil while the server wants requests.
func (g *Gate) Ready() error {
	switch {
	case g.draining.Load():
		return errors.New("draining")
	case !g.started.Load():
		return errors.New("starting")
	}
	return nil
}

// Warnings name the trusted issuers whose keys are not at hand, and the routes in shadow. The gate is ready all the
// same: only those issuers' own tokens are refused, and taking every replica out of service would make one issuer's
// failure everybody's.
func (g *Gate) Warnings() []string {
	all := g.memory.warnings()
	// without its faults: a readiness probe need not read them
	if last := g.latest.Load(); last != nil && last.Err != nil {
		all = append(all, "the reload of "+last.At.UTC().Format(time.RFC3339)+
			" was refused, the configuration from before it is in force; the log has the faults")
	}
	if w := g.watched.Load(); w != nil && w.err != nil {
		all = append(all, "not every file is watched; changes need SIGHUP or `jotgate reload`")
	}
	for _, k := range g.KeySets() {
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
	for _, name := range g.snapshot.Load().shadows() {
		all = append(all, "route "+name+": in shadow, lets through what it should refuse")
	}
	return all
}

// KeySets tell how the keys of each trusted issuer that publishes them are doing.
func (g *Gate) KeySets() []keysets.Stats { return g.memory.keys.Stats() }

// Addr is the address that a listener is bound to; nil if there is none of that name.
func (g *Gate) Addr(name string) net.Addr { return g.listeners.Addr(name) }

// AdminAddr is the address of the admin listener; nil without one.
func (g *Gate) AdminAddr() net.Addr { return g.adminAddr }

// HealthAddr is the address of the listener that has health alone; nil without one.
func (g *Gate) HealthAddr() net.Addr { return g.healthAddr }

// MetricsAddr is the address of the listener that has metrics alone; nil without one.
func (g *Gate) MetricsAddr() net.Addr { return g.metricsAddr }

// Config is the configuration in force.
func (g *Gate) Config() *config.Config { return g.snapshot.Load().config }

// Failed tells of a listener that broke; the server is to be closed then.
func (g *Gate) Failed() <-chan error { return g.failed }

// Drain ends the server without losing a request: it stops being ready, serves on for drain.delay with
// `Connection: close`, then accepts no more, ends upgraded streams, and gives requests in flight drain.timeout. It
// returns nil if no request in flight was cut; a stream may be. When ctx ends, what is left is closed at once.
func (g *Gate) Drain(ctx context.Context) error {
	g.beginDrain()
	d := g.Config().Drain
	g.log.Info("draining", zap.Duration("delay_ms", d.Delay), zap.Duration("timeout_ms", d.Timeout))
	ctx, cancel := context.WithTimeoutCause(ctx, d.Delay+d.Timeout, errors.New("drain.timeout is over"))
	defer cancel()
	err := g.listeners.Drain(ctx, listen.Drain{Delay: d.Delay, IdleGrace: idleGrace(d), InFlight: g.load.InFlight})
	return errors.Join(err, g.Close())
}

// idleGrace is how long a quiet connection is kept for the request that may be on its way: long enough for a slow
// network's round trip.
func idleGrace(d config.Drain) time.Duration { return min(time.Second, d.Timeout/2) }

func (g *Gate) beginDrain() {
	g.draining.Store(true)
	g.drainOnce.Do(func() { close(g.drain) })
}

// Close ends everything at once. It may be called more than once.
func (g *Gate) Close() error {
	g.beginDrain()
	g.endStreams()
	var errs []error
	if g.listeners != nil {
		errs = append(errs, g.listeners.Close())
	}
	errs = append(errs, g.closeAdmin())
	g.background.Wait()
	g.snapshot.Load().close()
	g.closeTracer()
	return errors.Join(append(errs, g.memory.close())...)
}
