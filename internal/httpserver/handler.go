package httpserver

import (
	"net/http"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A Refuser answers a request that no handler sees: its head broke the grammar or a limit, or it expects what the
// server does not do. Nothing of r is to be believed but where it came from, and whose script may read the answer: its
// Origin is there if it was read, once, before the fault.
type Refuser func(w http.ResponseWriter, r *http.Request, why *refusal.Error)

// RefusedHeader is the header of a request that is refused: nothing but its origin, if there is exactly one.
func RefusedHeader(origins []string) http.Header {
	if len(origins) != 1 || !grammar.IsFieldValue(origins[0]) {
		return http.Header{}
	}
	return http.Header{"Origin": {origins[0]}}
}

// Call answers a request: by refuse if there is a fault or an unknown expectation, else by the handler. It reports
// whether that returned. A panic costs this request alone; log is told of it unless it is http.ErrAbortHandler.
func Call(
	handler http.Handler, refuse Refuser, log *zap.Logger, w http.ResponseWriter, r *http.Request, fault *refusal.Error,
) (returned bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		returned = false
		if p != http.ErrAbortHandler {
			log.Error("panic in a handler", zap.ByteString("stack", debug.Stack()))
		}
	}()
	switch expect := r.Header["Expect"]; {
	case fault != nil:
		refuse(w, r, fault)
	case len(expect) > 0 && !ExpectsContinue(expect):
		refuse(w, r, &refusal.Error{Reason: refusal.ExpectationUnknown, Detail: "Expect is not 100-continue"})
	default:
		handler.ServeHTTP(w, r)
	}
	return true
}
