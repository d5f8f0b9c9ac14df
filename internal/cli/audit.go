package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer"
)

// audit writes one line to standard error, as serve's log has them there: what is issued or revoked past the gate
// must not leave less of a trace. It comes before the result, so that no credential is out that no line tells of.
func (p *Process) audit(event string, fields []zap.Field) error {
	to := &remembering{Writer: p.Stderr}
	log, err := telemetry.NewLog(to, "info", false)
	if err != nil {
		return err
	}
	log.Audit.Info(event, append(fields, zap.String("by", fmt.Sprintf("command line, uid %d", os.Getuid())))...)
	if err := errors.Join(to.failed, log.Close()); err != nil {
		return fmt.Errorf("write the audit line: %w", err)
	}
	return nil
}

// A remembering writer keeps what went wrong, since a logger does not return it.
type remembering struct {
	io.Writer
	failed error
}

func (w *remembering) Write(line []byte) (int, error) {
	n, err := w.Writer.Write(line)
	w.failed = errors.Join(w.failed, err)
	return n, err
}

// auditMint tells of a token that was signed here, or refused.
func (p *Process) auditMint(m *mintFlags, claims *token.Claims, refused error) error {
	e := issuer.Event{
		Name: "mint", Outcome: "granted", ClientID: m.client, Subject: m.subject, Tenant: m.tenant,
		Role: m.role,
	}
	if m.scope != "" {
		e.Note = "scope " + m.scope
	}
	if refused != nil {
		e.Outcome, e.Reason = "refused", refusal.Of(refused)
	} else {
		e.Subject, e.TokenID = claims.Subject, claims.ID
		e.TTL = time.Duration(claims.Expiry-claims.IssuedAt) * time.Millisecond
	}
	return p.audit(e.Name, e.Fields())
}

// auditRevocation reports a revocation that was written here; of one that a running gate is asked for, its log tells.
func (p *Process) auditRevocation(w admin.Revocation, err error) error {
	outcome := "done"
	if err != nil {
		outcome = "refused"
	}
	return p.audit(w.Event(), []zap.Field{
		zap.String("event", w.Event()), zap.String("outcome", outcome), zap.String("kind", w.Kind),
		zap.String("issuer", w.Issuer),
		zap.String("value", w.Value), zap.Time("at", time.UnixMilli(w.At)), zap.Error(err),
	})
}
