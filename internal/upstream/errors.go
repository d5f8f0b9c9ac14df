package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// classify turns what went wrong before the head of an answer into the refusal that the client gets.
func classify(ctx context.Context, s *server, err error) error {
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return err
	}
	return refusal.Because(reason(ctx, err), "%s: %v", s.url.Host, err)
}

func reason(ctx context.Context, err error) refusal.Reason {
	var (
		dial    *h1.DialError
		timeout net.Error
	)
	switch {
	case ctx.Err() != nil:
		return refusal.ClientClosed
	case errors.As(err, &timeout) && timeout.Timeout():
		return refusal.UpstreamTimeout
	case errors.As(err, &dial), untrusted(err):
		return refusal.UpstreamUnreachable
	}
	return refusal.UpstreamBroken
}

// untrusted tells a TLS handshake that failed: no connection was made that could be spoken on.
func untrusted(err error) bool {
	var (
		record      tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
	)
	return errors.As(err, &record) || errors.As(err, &certificate) || errors.As(err, &alert)
}

// Stalled tells that an answer's body was given up because it made no progress.
func Stalled(err error) bool { return errors.Is(err, errStalled) || errors.Is(err, h1.ErrStalled) }
