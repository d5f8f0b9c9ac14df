package app

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/listen"
)

// Reload reads the configuration anew and puts it into force, or changes nothing and tells why, in the log too.
// Requests on their way and open streams stay as they are.
func (s *Server) Reload() error { return s.reloadBy(byOperator) }

// Who asks for a reload, as the log says it.
const (
	byOperator = "operator" // a signal, or admin
	byWatch    = "watch"
)

func (s *Server) reloadBy(who string) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	if who == byWatch && len(s.sources.Load().Changed()) == 0 {
		return nil // while the watch waited for its turn, somebody else had the file read
	}
	err := s.replace(who)
	select {
	case s.reloaded <- struct{}{}:
	default: // the watch will hear of an earlier one, and look anyway
	}
	s.metrics.Reloaded(err)
	s.latest.Store(&admin.LastReload{At: s.clock(), By: who, Err: err})
	if err != nil {
		s.log.Error("reload refused: the configuration in force stays", zap.String("by", who), zap.Error(err))
		s.log.Audit.Info("reload", zap.String("outcome", "refused"), zap.String("by", who))
		return err
	}
	s.log.Info("reloaded", zap.String("by", who))
	s.log.Audit.Info("reload", zap.String("outcome", "done"), zap.String("by", who))
	return nil
}

func (s *Server) replace(who string) error {
	if s.path == "" {
		return errors.New("this gate was not started from a file")
	}
	sources := config.Sources{} // whatever comes of it: a file with faults is one that was read
	defer s.sources.Store(&sources)
	options := config.Options{Sources: sources}
	if who == byWatch { // a key file that is gone is on its way to somewhere: nobody asks for a new one
		options.Before = s.Config().Sources
	}
	if err := s.rehearse(options); err != nil {
		return err
	}
	c, err := config.LoadWith(s.path, options)
	if err != nil {
		return err
	}
	level, err := zapcore.ParseLevel(c.Log.Level)
	if err != nil {
		return err
	}
	old := s.snapshot.Load()
	if err := changeable(old.config, c); err != nil {
		return err
	}
	certificates, err := loadCertificates(c.Listeners)
	if err != nil {
		return err
	}
	next, err := s.build(c)
	if err != nil {
		return err
	}
	if err := next.policy(s.clock()); err != nil {
		next.close()
		return err
	}
	if err := s.reconfigure(next); err != nil {
		next.close()
		return fmt.Errorf("replay: %w", err)
	}
	// From here on nothing can fail.
	if s.memory.revocations != nil {
		s.memory.revocations.SetClients(len(clients(c)))
	}
	for name, fresh := range certificates {
		s.certificates[name].Take(fresh)
	}
	s.log.Level.SetLevel(level)
	next.series = series(s.metrics, c)
	s.metrics.Loaded(s.clock())
	next.generation = old.generation + 1
	s.enforce(next)
	old.series.Retire(next.series)
	old.close()
	s.warn(next)
	return nil
}

// enforce puts a snapshot in force.
func (s *Server) enforce(snap *snapshot) {
	s.snapshot.Store(snap)
	if snap.issuer != nil {
		snap.issuer.Begin()
	}
}

// rehearse builds what the file asks for with stand-ins for keys that are still to be made, so that a reload that is
// refused leaves no key file behind, which the next start would sign with.
func (s *Server) rehearse(options config.Options) error {
	options.NoCreate = true
	c, err := config.LoadWith(s.path, options)
	if err != nil {
		return err
	}
	if err := changeable(s.Config(), c); err != nil {
		return err
	}
	snap, err := s.build(c)
	if err != nil {
		return err
	}
	defer snap.close()
	return snap.policy(s.clock())
}

// reconfigure tells the guard of the new clients and capacity, while the old snapshot still serves: what a client that
// is dropped has used stays refused whichever snapshot asks.
func (s *Server) reconfigure(next *snapshot) error {
	if s.memory.sharedGuard != nil {
		s.memory.sharedGuard.Reconfigure(codeClients(next.config))
	}
	if next.guard != nil {
		if err := next.guard.Reconfigure(codeClients(next.config), next.config.Replay.Capacity); err != nil {
			return err
		}
		s.memory.guard = next.guard
	}
	// Last, since it fails for no capacity that the config lets through.
	return s.memory.proofs.Reconfigure(next.config.DPoP.Capacity, next.config.DPoP.MaxAge)
}

// changeable refuses what only a restart can change.
func changeable(old, next *config.Config) error {
	for _, fixed := range []struct {
		key        string
		old, fresh any
	}{
		{"listeners", shapes(old.Listeners), shapes(next.Listeners)},
		{"admin.listen or admin.health_listen", addresses(old.Admin), addresses(next.Admin)},
		{"revocations", old.Revocations, next.Revocations},
		{"redis", old.Redis, next.Redis},
		{"replay.store", old.Replay.Shared, next.Replay.Shared},
		{"limits of connections", connections(old.Limits), connections(next.Limits)},
		{"tracing", old.Tracing, next.Tracing},
		{"log.access", old.Log.Access, next.Log.Access},
	} {
		if !reflect.DeepEqual(fixed.old, fixed.fresh) {
			return fmt.Errorf("%s: cannot change while the gate runs; restart it to change that", fixed.key)
		}
	}
	return nil
}

// shapes are listeners without the files of their certificates, which may change.
func shapes(listeners []config.Listener) []config.Listener {
	s := slices.Clone(listeners)
	for i := range s {
		if s[i].TLS != nil {
			s[i].TLS = &config.TLS{}
		}
	}
	return s
}

func addresses(a config.Admin) config.Admin {
	a.Token, a.Pprof = "", false
	return a
}

// connections are the limits that listeners and caches were made with.
func connections(l config.Limits) config.Limits {
	l.TokenBytes, l.TokenBodyBytes, l.BodyBytes, l.BodyTimeout, l.IssueRate, l.Shared = 0, 0, 0, 0, 0, false
	return l
}

// loadCertificates reads the certificates of every listener that has some.
func loadCertificates(listeners []config.Listener) (map[string]*listen.Certificates, error) {
	all := map[string]*listen.Certificates{}
	for _, l := range listeners {
		if l.TLS == nil {
			continue
		}
		var pairs []listen.KeyPair
		for _, c := range l.TLS.Certificates {
			pairs = append(pairs, listen.KeyPair(c))
		}
		loaded, err := listen.LoadCertificates(pairs)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
		all[l.Name] = loaded
	}
	return all, nil
}
