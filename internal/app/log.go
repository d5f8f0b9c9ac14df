package app

import (
	"bytes"
	"log"

	"go.uber.org/zap"
)

// quietLog returns a logger for what net/http reports: faults of clients and, rarely, of ours.
func quietLog(l *zap.Logger) *log.Logger { return log.New(logLines{l}, "", 0) }

type logLines struct{ to *zap.Logger }

func (l logLines) Write(p []byte) (int, error) {
	l.to.Info("net/http", zap.ByteString("message", bytes.TrimSpace(p)))
	return len(p), nil
}
