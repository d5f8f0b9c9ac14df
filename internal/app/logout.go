package app

import (
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/logout"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
)

// logoutIssuers are those that tell of logouts.
func logoutIssuers(c *config.Config) (issuers []string) {
	for _, t := range c.TrustedIssuers {
		if len(t.LogoutAudiences) > 0 {
			issuers = append(issuers, t.Issuer)
		}
	}
	return issuers
}

// buildLogout makes the endpoint that trusted issuers tell of logouts, where one does.
func (g *Gate) buildLogout(snap *snapshot, source func(*config.TrustedIssuer) keysets.KeySource) error {
	if g.memory.revocations == nil {
		return nil // the config has seen to it that no issuer asks for it
	}
	verifier, err := keysets.LogoutVerifier(snap.config, source)
	if verifier == nil || err != nil {
		return err
	}
	o := logout.Options{
		Config: snap.config, Verifier: verifier, Marks: g.memory.revocations, State: g.memory.logouts, Clock: g.clock,
		Audit: g.loggedOut,
	}
	if g.memory.sharedGuard != nil {
		o.Guard = replay.NewOnce(g.memory.store, "logout", logout.Longest)
	}
	snap.logout = logout.New(o)
	return nil
}

// ownsLogout reports whether the request is for the endpoint of logouts.
func (snap *snapshot) ownsLogout(x *request.Exchange, r *http.Request) bool {
	if snap.logout == nil || r.URL.Path != endpoint.BackchannelLogout || x.Target.Oddities != 0 {
		return false
	}
	c := snap.config
	return c.Issuer == nil || len(c.Issuer.Serve.Hosts) == 0 || slices.Contains(c.Issuer.Serve.Hosts, x.Host)
}

// loggedOut writes the audit line of a logout.
func (g *Gate) loggedOut(e logout.Event) {
	g.log.Audit.Info("backchannel_logout", zap.String("event", "backchannel_logout"), zap.String("outcome", e.Outcome),
		zap.String("reason", string(e.Reason)), zap.String("issuer", e.Issuer), zap.String("subject", e.Subject),
		zap.String("sid", e.Session), zap.String("jti", e.TokenID), zap.String("note", e.Cause),
		zap.String("request_id", e.RequestID), zap.String("remote", e.Remote))
}
