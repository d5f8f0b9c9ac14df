package upstream

import (
	"context"
	"errors"
	"net"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// classify returns the refusal for an error before the head of an answer. before is that of the server that was asked
// before; nil if none was.
func classify(ctx context.Context, s *server, err, before error) error {
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return err
	}
	if before != nil {
		return refusal.Because(reason(ctx, err), "%s: %v; before, %v", s.name, err, before)
	}
	return refusal.Because(reason(ctx, err), "%s: %v", s.name, err)
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
	case errors.As(err, &dial):
		return refusal.UpstreamUnreachable
	}
	return refusal.UpstreamBroken
}

// Stalled reports whether an answer's body was given up because it made no progress.
func Stalled(err error) bool { return errors.Is(err, errStalled) || errors.Is(err, h1.ErrStalled) }
