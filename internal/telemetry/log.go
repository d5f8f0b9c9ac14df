// Package telemetry is what Jotgate says about itself: structured logs, among them one access line for each request and
// one audit line for each issuance, revocation and reload.
//
// No line ever holds a credential: paths that carry one are redacted before they get here ([exchange.Exchange.LogPath]),
// queries are never logged, and headers are not logged but for the user agent.
package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jotgate/jotgate/internal/exchange"
)

const (
	// accessBuffer and accessFlush bound what a crash can lose of the access log: one write for each line costs more
	// than judging the request.
	accessBuffer = 256 << 10
	accessFlush  = 100 * time.Millisecond

	userAgentBytes = 256
)

// A Log is where everything is said. Its zero value is not usable; see [NewLog].
type Log struct {
	*zap.Logger                 // what happens to the process
	Audit       *zap.Logger     // who was given what, and who was not; written through before the answer
	Level       zap.AtomicLevel // of Logger; audit and access lines are never filtered by it, nor sampled

	access *zap.Logger
	buffer *zapcore.BufferedWriteSyncer
	closed atomic.Bool
}

// NewLog writes JSON lines to w. The level is one of debug, info, warn, error; access turns the access lines on.
func NewLog(w io.Writer, level string, access bool) (*Log, error) {
	atomic, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", NameKey: "log", MessageKey: "msg", StacktraceKey: "stack",
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeDuration: milliseconds, EncodeName: zapcore.FullNameEncoder,
	})
	sink := zapcore.Lock(zapcore.AddSync(w))
	l := &Log{Level: atomic}
	l.Logger = zap.New(zapcore.NewCore(encoder, sink, atomic))
	l.Audit = zap.New(zapcore.NewCore(encoder, sink, zapcore.DebugLevel)).Named("audit")
	if access {
		l.buffer = &zapcore.BufferedWriteSyncer{WS: sink, Size: accessBuffer, FlushInterval: accessFlush}
		l.access = zap.New(zapcore.NewCore(encoder, l.buffer, zapcore.DebugLevel)).Named("access")
		// Its goroutine starts with the first write. Were that one later than Close, nobody would end it.
		if _, err := l.buffer.Write(nil); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	return l, nil
}

// milliseconds keeps the fraction: most requests take less than one.
func milliseconds(d time.Duration, to zapcore.PrimitiveArrayEncoder) {
	to.AppendFloat64(float64(d.Microseconds()) / 1000)
}

// Close writes out what is buffered. The log can still be written to; access lines then go out one by one, as those of
// requests that were cut off do.
func (l *Log) Close() error {
	if l.buffer == nil {
		return nil
	}
	l.closed.Store(true)
	return l.buffer.Stop()
}

// Access writes the access line of a finished exchange.
func (l *Log) Access(r *http.Request, x *exchange.Exchange, end time.Time) {
	if l.access == nil {
		return
	}
	entry := l.access.Check(zapcore.InfoLevel, "request")
	if entry == nil {
		return
	}
	var room [28]zap.Field
	f := append(room[:0],
		zap.String("request_id", x.ID),
		zap.String("method", bounded(r.Method, 32)),
		zap.String("host", x.Host),
		zap.String("path", x.LogPath),
		zap.Int("proto", r.ProtoMajor),
		zap.Int("status", x.Status()),
		zap.Int64("bytes", x.Bytes()),
		zap.Duration("ms", end.Sub(x.Start)),
		address("peer", x.Peer),
	)
	if x.Client != x.Peer {
		f = append(f, address("client", x.Client))
	}
	f = text(f, "route", x.Route)
	f = text(f, "reason", string(x.Reason))
	f = text(f, "detail", x.Detail)
	f = text(f, "shadow_reason", string(x.Shadow))
	f = text(f, "shadow_detail", x.ShadowDetail)
	f = text(f, "issuer", x.Issuer)
	f = text(f, "subject", x.Subject)
	f = text(f, "client_id", x.ClientID)
	f = text(f, "tenant", x.Tenant)
	f = text(f, "jti", x.TokenID)
	if x.Upstream != "" {
		f = append(f, zap.String("upstream", x.Upstream), zap.Duration("upstream_ms", x.Waited))
	}
	f = text(f, "user_agent", bounded(r.UserAgent(), userAgentBytes))
	entry.Write(f...)
	if l.closed.Load() {
		_ = l.buffer.Sync() // a log that cannot be written has nobody to tell
	}
}

// Refused writes the access line of a request that was refused before its head could be believed: nothing of it is
// known but where it came from.
func (l *Log) Refused(x *exchange.Exchange) {
	if l.access == nil {
		return
	}
	l.access.Info("request", zap.String("request_id", x.ID), zap.Int("status", x.Reason.Status()), address("peer", x.Peer),
		zap.String("reason", string(x.Reason)), zap.String("detail", x.Detail))
}

func text(f []zap.Field, key, value string) []zap.Field {
	if value == "" {
		return f
	}
	return append(f, zap.String(key, value))
}

func address(key string, a netip.Addr) zap.Field {
	if !a.IsValid() {
		return zap.Skip()
	}
	return zap.Stringer(key, a)
}

// bounded cuts s to at most n bytes, on a rune's border.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
