package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/server/wire"
	"github.com/jotgate/jotgate/issuer"
	"github.com/jotgate/jotgate/proxy"
)

// A snapshot is one configuration, ready to judge requests. It does not change.
type snapshot struct {
	config  *config.Config
	issuer  *issuer.Issuer // nil: nothing is issued
	guard   *replay.Memory // the one in memory, or a new one that goes there with this snapshot
	gate    *proxy.Gate
	methods map[string]bool // those that are known
	allow   string          // those known to every configuration, for an Allow header
}

// build makes a snapshot, or nothing.
func (s *Server) build(c *config.Config) (*snapshot, error) {
	verifier, err := c.Verifier()
	if err != nil {
		return nil, err
	}
	snap := &snapshot{config: c, guard: s.memory.guard, methods: knownMethods(c), allow: strings.Join(baseMethods[:], ", ")}
	if c.Issuer != nil {
		if err := s.buildIssuer(snap, verifier); err != nil {
			return nil, err
		}
	}
	options := proxy.Options{
		Config: c, Verifier: verifier, Cache: s.memory.cache, Upstreams: s.memory.upstreams,
		Log: s.log.Logger, Clock: s.clock, Draining: s.drain, BeforeUpgrade: beforeUpgrade,
	}
	if s.memory.revocations != nil {
		options.Revocations = s.memory.revocations
	}
	if snap.gate, err = proxy.New(options); err != nil {
		snap.close()
		return nil, err
	}
	return snap, nil
}

func (s *Server) buildIssuer(snap *snapshot, verifier *jose.Verifier) (err error) {
	if snap.guard, err = s.memory.guardFor(snap.config, s.clock); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	options := issuer.Options{
		Config: snap.config, Verifier: verifier, Guard: snap.guard, State: s.memory.issuer, Log: s.log.Logger,
		Audit: func(e issuer.Event) { s.log.Audit.Info(e.Name, e.Fields()...) }, Clock: s.clock,
	}
	if s.memory.revocations != nil {
		options.Revocations = withdrawals{s.memory.revocations}
	}
	snap.issuer, err = issuer.New(options)
	return err
}

// close lets go of what only this snapshot needs; requests on their way end well.
func (snap *snapshot) close() {
	if snap.issuer != nil {
		snap.issuer.Close()
	}
	if snap.gate != nil {
		snap.gate.Close()
	}
}

// beforeUpgrade takes the strict reader out of the way of a connection that stops speaking HTTP/1.1.
func beforeUpgrade(r *http.Request) {
	if c := wire.FromContext(r.Context()); c != nil {
		c.Raw()
	}
}

// baseMethods are known without being named; a route's `methods` makes others known.
var baseMethods = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

func knownMethods(c *config.Config) map[string]bool {
	known := map[string]bool{}
	for _, m := range baseMethods {
		known[m] = true
	}
	for _, r := range c.Routes {
		for _, m := range r.Methods {
			known[m] = true
		}
	}
	return known
}
