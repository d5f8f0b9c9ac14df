package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/refusal"
)

// startAdmin binds the admin listeners. One that the file does not mention is not worth a failed start: another process
// on the machine may have its port.
func (g *Gate) startAdmin(ctx context.Context, c *config.Config) (err error) {
	if c.Admin.Listen != "" {
		if g.adminAddr, err = g.serveAdmin(ctx, c.Admin.Listen, admin.New(g.adminOptions())); err != nil {
			if !c.Admin.Implicit {
				return fmt.Errorf("admin.listen: %w", err)
			}
			g.log.Warn("no health endpoint, as the default address is taken; set admin.listen", zap.Error(err))
		}
	}
	if c.Admin.HealthListen != "" {
		if g.healthAddr, err = g.serveAdmin(ctx, c.Admin.HealthListen, admin.NewHealth(g.adminOptions())); err != nil {
			return fmt.Errorf("admin.health_listen: %w", err)
		}
	}
	if c.Admin.MetricsListen != "" {
		if g.metricsAddr, err = g.serveAdmin(ctx, c.Admin.MetricsListen, admin.NewMetrics(g.metrics.Handler())); err != nil {
			return fmt.Errorf("admin.metrics_listen: %w", err)
		}
	}
	return nil
}

func (g *Gate) adminOptions() admin.Options {
	options := admin.Options{
		Token: g.adminToken, Ready: g.Ready, Warnings: g.Warnings, Audit: g.auditRevocation, Refused: g.adminRefused,
		Explain: g.explain, Metrics: g.metrics.Handler(), Reload: g.Reload, Widen: g.ReloadWidening,
		LastReload: g.latest.Load, LogLevel: g.setLogLevel, Profile: func() bool { return g.Config().Admin.Pprof },
		Refusals: g.refusals.list, Console: g.console, ConsoleOn: g.consoleOn,
	}
	if g.memory.revocations != nil {
		options.Revocations = g.memory.revocations
	}
	return options
}

// adminLimits bound what clients of an admin listener may use.
var adminLimits = listen.Limits{
	Limits: httpserver.Limits{
		HeaderBytes: 16 << 10, HeaderTimeout: 5 * time.Second, BodyStall: 10 * time.Second, BodyRate: 8 << 10,
	},
	IdleTimeout: 30 * time.Second, Connections: 1000, HTTP2: listen.HTTP2Off,
}

// serveAdmin serves an admin listener by the gate's own server: as strict as on the others, and with an id on what it
// refuses by itself.
func (g *Gate) serveAdmin(ctx context.Context, address string, handler http.Handler) (net.Addr, error) {
	const name = "admin"
	listeners, err := listen.Listen(ctx, listen.Options{
		Listeners: []listen.Listener{{Name: name, Address: address}}, Limits: adminLimits, Log: g.log.Named(name),
		Refused: g.adminMalformed,
	})
	if err != nil {
		return nil, err
	}
	g.admins = append(g.admins, listeners)
	g.background.Go(func() {
		if err := listeners.Serve(handler); err != nil {
			g.failed <- fmt.Errorf("admin: %w", err)
		}
	})
	return listeners.Addr(name), nil
}

func (g *Gate) setLogLevel(text string) error {
	level, err := zapcore.ParseLevel(text)
	if err != nil || text == "" || level < zapcore.DebugLevel || level > zapcore.ErrorLevel {
		return fmt.Errorf("level %.32q: want debug, info, warn or error", text)
	}
	g.log.Level.SetLevel(level)
	g.log.Audit.Info("log_level", zap.Stringer("level", level))
	return nil
}

func (g *Gate) auditRevocation(r *http.Request, w admin.Revocation, err error) {
	g.auditRevocationBy("admin", r, w, err)
}

func (g *Gate) auditRevocationBy(by string, r *http.Request, w admin.Revocation, err error) {
	outcome := "done"
	if err != nil {
		outcome = "refused"
	}
	event := w.Event()
	g.log.Audit.Info(event, zap.String("event", event), zap.String("outcome", outcome),
		zap.String("kind", w.Kind), zap.String("issuer", w.Issuer), zap.String("value", w.Value),
		zap.Time("at", time.UnixMilli(w.At)), zap.String("by", by), zap.String("remote", r.RemoteAddr), zap.Error(err))
}

// adminRefused logs a request to the admin listener that did not bring its token.
func (g *Gate) adminRefused(r *http.Request, reason refusal.Reason, requestID string) {
	g.log.Warn("admin refused", zap.String("request_id", requestID), zap.String("remote", r.RemoteAddr),
		zap.String("method", r.Method), zap.String("path", endpoint.Redact(r.URL.EscapedPath())),
		zap.String("reason", string(reason)))
}

// adminMalformed logs a request to an admin listener that no handler saw.
func (g *Gate) adminMalformed(f listen.Refused) {
	g.log.Warn("admin refused", zap.String("request_id", f.RequestID), zap.String("remote", f.Remote),
		zap.String("reason", string(f.Reason)), zap.String("detail", f.Detail))
}

func (g *Gate) adminToken() string { return g.Config().Admin.Token.Reveal() }

func (g *Gate) closeAdmin() error {
	var errs []error
	for _, a := range g.admins {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}
