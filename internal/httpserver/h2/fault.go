package h2

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// refuse resets a stream before a handler had it.
func refuse(id uint32, code http2.ErrCode, why string) error {
	return http2.StreamError{StreamID: id, Code: code, Cause: errors.New(why)}
}

// errTooSlow ends a connection whose client did not send a head in time.
var errTooSlow = fmt.Errorf("the head did not arrive in time: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))

// tell reports a fault. It must not be called with Conn.mu held.
func (c *Conn) tell(connection bool, code http2.ErrCode, served bool, why error) {
	if c.server.Faulted == nil {
		return
	}
	f := httpserver.Fault{
		Connection: connection, Reason: strings.ToLower(code.String()), Detail: "HTTP/2: " + why.Error(),
		Remote: c.remote, TLS: c.tls != nil,
	}
	switch {
	case served:
	case errors.Is(why, errTooSlow):
		f.Refused = refusal.HeaderTimeout
	case code == http2.ErrCodeEnhanceYourCalm || code == http2.ErrCodeRefusedStream:
		f.Refused = refusal.RateLimited
	default:
		f.Refused = refusal.RequestMalformed
	}
	c.server.Faulted(f)
}

// tellStall reports that a client did not accept an answer in time.
func (c *Conn) tellStall(why string) {
	if c.server.Faulted != nil {
		c.server.Faulted(httpserver.Fault{Reason: "stalled", Detail: "HTTP/2: " + why, Remote: c.remote, TLS: c.tls != nil})
	}
}
