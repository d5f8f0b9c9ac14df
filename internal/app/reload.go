package app

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/redisstore"
)

// Reload reads the configuration anew and puts it into force, or changes nothing and tells why, in the log too.
// Requests on their way and open streams stay as they are.
func (g *Gate) Reload() error { return g.reloadBy(byOperator, false) }

// ReloadWidening is Reload by an operator who allows what reload.deny_widening denies, for this once.
func (g *Gate) ReloadWidening() error { return g.reloadBy(byOperator, true) }

// Who asks for a reload, as the log says it.
const (
	byOperator = "operator" // a signal, or admin
	byWatch    = "watch"
)

func (g *Gate) reloadBy(who string, widening bool) error {
	g.reload.Lock()
	defer g.reload.Unlock()
	if who == byWatch && len(g.sources.Load().Changed()) == 0 {
		return nil // while the watch waited for its turn, somebody else had the file read
	}
	before := g.Config()
	err := g.replace(who, widening)
	select {
	case g.reloaded <- struct{}{}:
	default: // the watch will hear of an earlier one, and look anyway
	}
	g.metrics.Reloaded(err)
	switch {
	case errors.Is(err, errWidens):
		g.metrics.Widening(false)
	case err == nil && widening:
		g.metrics.Widening(true)
	}
	last := &admin.LastReload{At: g.clock(), By: who, Err: err}
	g.latest.Store(last)
	g.reloads.add(last, before, g.Config())
	if err != nil {
		g.log.Error("reload refused: the configuration in force stays", zap.String("by", who), zap.Error(err))
		g.log.Audit.Info("reload", zap.String("outcome", "refused"), zap.String("by", who))
		return err
	}
	g.log.Info("reloaded", zap.String("by", who))
	g.log.Audit.Info("reload", zap.String("outcome", "done"), zap.String("by", who),
		zap.Bool("widening_allowed", widening))
	return nil
}

func (g *Gate) replace(who string, widening bool) error {
	if g.path == "" {
		return errors.New("this gate was not started from a file")
	}
	sources := config.Sources{} // whatever comes of it: a file with faults is one that was read
	defer g.sources.Store(&sources)
	options := config.Options{Sources: sources}
	if who == byWatch { // a key file that is gone is being moved: do not create another
		options.Before = g.Config().Sources
	}
	c, err := config.LoadWith(g.path, options)
	if err != nil {
		return err
	}
	old := g.snapshot.Load()
	if err := changeable(old.config, c); err != nil {
		return err
	}
	if err := g.createKeys(c, widening); err != nil {
		return err
	}
	level, err := zapcore.ParseLevel(c.Log.Level)
	if err != nil {
		return err
	}
	certificates, err := loadCertificates(c.Listeners, g.memory.store)
	if err != nil {
		return err
	}
	next, err := g.build(c)
	if err != nil {
		return err
	}
	if err := g.acceptable(next, widening); err != nil {
		next.close()
		return err
	}
	if err := g.reconfigure(next); err != nil {
		next.close()
		return fmt.Errorf("replay: %w", err)
	}
	// From here on nothing can fail.
	if g.memory.revocations != nil {
		g.memory.revocations.SetClients(len(clients(c)))
		g.memory.revocations.SetLife(c.SessionLife())
	}
	for name, fresh := range certificates {
		g.certificates[name].Take(fresh)
	}
	g.log.Level.SetLevel(level)
	next.series = series(g.metrics, c)
	g.metrics.Loaded(g.clock())
	next.generation = old.generation + 1
	g.enforce(next)
	old.series.Retire(next.series)
	old.close()
	g.warn(next)
	return nil
}

// enforce puts a snapshot in force.
func (g *Gate) enforce(snap *snapshot) {
	snap.loaded = g.clock()
	g.snapshot.Store(snap)
	if g.console != nil {
		g.console.TokenChanged()
	}
	if snap.issuer != nil {
		snap.issuer.Begin()
	}
}

// createKeys creates the key files that c asks for. What c makes is built with stand-ins for those keys first, so that
// a reload that is refused leaves no key file behind, which the next start would sign with.
func (g *Gate) createKeys(c *config.Config, widening bool) error {
	if len(c.MissingKeys) == 0 {
		return nil
	}
	rehearsal, err := g.build(c)
	if err != nil {
		return err
	}
	err = g.acceptable(rehearsal, widening)
	rehearsal.close()
	if err != nil {
		return err
	}
	return keyfile.Create(c)
}

// acceptable runs the tests of a configuration, and compares what it opens with the one in force.
func (g *Gate) acceptable(next *snapshot, widening bool) error {
	if err := next.policy(g.clock()); err != nil {
		return err
	}
	if widening {
		return nil
	}
	return g.denyWidening(next.config)
}

var errWidens = errors.New("reload.deny_widening: the new configuration opens")

// denyWidening refuses a configuration that opens what the one in force keeps closed, where that one says so.
func (g *Gate) denyWidening(next *config.Config) error {
	if !g.Config().DenyWidening {
		return nil
	}
	d, err := NewDiff(g.Config(), next, g.clock)
	if err != nil {
		return err
	}
	var opened []string
	for _, c := range d.Changes() {
		if c.Opens {
			opened = append(opened, c.String())
		}
	}
	const few = 5
	switch n := len(opened); {
	case n > few:
		opened = append(opened[:few], fmt.Sprintf("and %d more", n-few))
	case n == 0:
		return d.Close()
	}
	return errors.Join(fmt.Errorf("%w %s; to allow it: jotgate reload --allow-widening", errWidens,
		strings.Join(opened, "; ")), d.Close())
}

// reconfigure tells the guard of the new clients and capacity, while the old snapshot still serves: what a client that
// is dropped has used stays refused whichever snapshot asks.
func (g *Gate) reconfigure(next *snapshot) error {
	if g.memory.sharedGuard != nil {
		g.memory.sharedGuard.Reconfigure(codeClients(next.config))
	}
	if next.guard != nil {
		if err := next.guard.Reconfigure(codeClients(next.config), next.config.Replay.Capacity); err != nil {
			return err
		}
		g.memory.guard = next.guard
	}
	// Last, since these fail for no capacity that the config lets through.
	if err := g.memory.reconfigureOnce(next.config); err != nil {
		return err
	}
	g.memory.proofs.PrepareKeys(next.config.Limits.PreparedKeys, g.disagreed)
	return g.memory.proofs.Reconfigure(next.config.DPoP.Capacity, next.config.DPoP.MaxAge)
}

// changeable refuses what only a restart can change.
func changeable(old, next *config.Config) error {
	for _, fixed := range []struct {
		key        string
		old, fresh any
	}{
		{"listeners", shapes(old.Listeners), shapes(next.Listeners)},
		{"admin.listen, health_listen, metrics_listen or refusals", addresses(old.Admin), addresses(next.Admin)},
		{"decision.listen", decisionAddress(old), decisionAddress(next)},
		{"revocations", old.Revocations, next.Revocations},
		{"redis", old.Redis, next.Redis},
		{"replay.store", old.Replay.Shared, next.Replay.Shared},
		{"limits of connections", connections(old.Limits), connections(next.Limits)},
		{"tracing", old.Tracing, next.Tracing},
		{"log.access", old.Log.Access, next.Log.Access},
		{"log.format", old.Log.Format, next.Log.Format},
	} {
		if !reflect.DeepEqual(fixed.old, fixed.fresh) {
			return fmt.Errorf("%s: cannot change while the gate runs; restart it to change that", fixed.key)
		}
	}
	return nil
}

// shapes are listeners without what may change: the files of their certificates, and who sends PROXY headers.
func shapes(listeners []config.Listener) []config.Listener {
	s := slices.Clone(listeners)
	for i := range s {
		if s[i].ProxyProtocol != nil {
			s[i].ProxyProtocol = &config.ProxyProtocol{}
		}
		if s[i].TLS != nil {
			s[i].TLS = &config.TLS{}
		}
	}
	return s
}

func decisionAddress(c *config.Config) string {
	if c.Decision == nil {
		return ""
	}
	return c.Decision.Listen
}

func addresses(a config.Admin) config.Admin {
	a.Token, a.Pprof, a.Console = "", false, false
	return a
}

// connections are the limits that listeners and caches were made with.
func connections(l config.Limits) config.Limits {
	l.TokenBytes, l.TokenBodyBytes, l.BodyBytes, l.BodyTimeout, l.IssueRate, l.Shared = 0, 0, 0, 0, 0, false
	return l
}

// loadCertificates reads the certificates of every listener that has some.
func loadCertificates(listeners []config.Listener, store *redisstore.Store) (map[string]*listen.Certificates, error) {
	all := map[string]*listen.Certificates{}
	for _, l := range listeners {
		if l.TLS == nil {
			continue
		}
		options := listen.CertificateOptions{
			Clients: listen.ClientAuth{CAs: l.TLS.ClientCA, Required: l.TLS.ClientAuth == "required"},
		}
		for _, c := range l.TLS.Certificates {
			options.Pairs = append(options.Pairs, listen.KeyPair(c))
		}
		if l.TLS.ACME != nil {
			options.ACME = &listen.ACME{
				Domains: l.TLS.ACME.Domains, Email: l.TLS.ACME.Email, Directory: l.TLS.ACME.Directory,
				Storage: l.TLS.ACME.Storage,
			}
			if l.TLS.ACME.Storage == "" {
				if store == nil {
					return nil, fmt.Errorf("listener %q: acme: redis is not connected, which needs a restart", l.Name)
				}
				options.ACME.Shared = store.Certificates(l.TLS.ACME.Directory)
			}
		}
		loaded, err := listen.LoadTLS(options)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
		all[l.Name] = loaded
	}
	return all, nil
}
