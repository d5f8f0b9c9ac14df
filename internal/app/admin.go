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

func (g *Gate) serveAdmin(ctx context.Context, address string, handler http.Handler) (net.Addr, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: quietLog(g.log.Named("admin")),
	}
	g.admins = append(g.admins, server)
	g.background.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			g.failed <- fmt.Errorf("admin: %w", err)
		}
	})
	return l.Addr(), nil
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

func (g *Gate) adminToken() string { return g.Config().Admin.Token.Reveal() }

func (g *Gate) closeAdmin() error {
	var errs []error
	for _, a := range g.admins {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}
