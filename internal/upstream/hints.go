package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
)

var errHints = errors.New("too many informational answers (1xx)")

// boundHints lets informational answers through to the trace that the caller has put into ctx, but only so many of them:
// with a trace the transport leaves counting to its caller. 100 (Continue) stays here, as our own server says it to the
// client when the body is asked for.
func boundHints(ctx context.Context) {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil || trace.Got1xxResponse == nil {
		return
	}
	pass, count := trace.Got1xxResponse, 0
	trace.Got1xxResponse = func(code int, h textproto.MIMEHeader) error {
		if count++; count > hintLimit {
			return errHints
		}
		if code == http.StatusContinue {
			return nil
		}
		for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
			delete(h, name)
		}
		return pass(code, h)
	}
}
