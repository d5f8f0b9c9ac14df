// Package telemetry is what Jotgate says about itself: structured logs, among them one access line for each request and
// one audit line for each issuance, revocation and reload.
//
// No line ever holds a credential: paths that carry one are redacted before they get here ([request.Exchange.LogPath]),
// queries are never logged, and headers are not logged but for the user agent.
package telemetry

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
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

	buffer  *zapcore.BufferedWriteSyncer
	through zapcore.WriteSyncer // unbuffered
	closed  atomic.Bool
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
	l := &Log{Level: atomic, through: sink}
	l.Logger = zap.New(zapcore.NewCore(encoder, sink, atomic))
	l.Audit = zap.New(zapcore.NewCore(encoder, l.through, zapcore.DebugLevel)).Named("audit")
	if access {
		l.buffer = &zapcore.BufferedWriteSyncer{WS: sink, Size: accessBuffer, FlushInterval: accessFlush}
		// Its goroutine starts with the first write. Were that one later than Close, it would never be ended.
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

// Bounded cuts the name of a user agent to what a log has of it.
func Bounded(userAgent string) string { return bounded(userAgent, userAgentBytes) }

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
