package otel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options are what a Tracer is made of; URL is required.
type Options struct {
	URL     string // that batches are posted to
	Headers map[string]string
	Ratio   float64 // of the requests, 0 to 1
	Parent  string  // ParentAny, ParentTrusted or ParentNone
	Service string
	Version string
	Log     *zap.Logger      // nil: nothing is said
	Clock   func() time.Time // nil: time.Now
}

// The bounds of what waits for the collector.
const (
	queued     = 2048 // requests
	batch      = 512  // requests in one post
	every      = time.Second
	attempts   = 3 // for one batch, the last ones after a wait
	firstWait  = 500 * time.Millisecond
	postWithin = 5 * time.Second
	complain   = time.Minute // between two words about a collector that does not answer
)

// Stats count spans' requests since the tracer was made.
type Stats struct {
	Exported, Failed, Dropped int64 // taken by the collector; not taken; never tried, as the queue was full
}

// An exporter sends what requests leave behind.
type exporter struct {
	options  Options
	client   *http.Client
	queue    chan *Request
	stop     chan struct{} // closed when no more comes
	stopOnce sync.Once
	done     chan struct{} // closed when all is sent or lost
	ctx      context.Context
	cancel   context.CancelFunc

	exported, failed, dropped atomic.Int64
	complained                time.Time
}

// New begins to trace. The tracer is to be closed.
func New(o Options) *Tracer {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	e := &exporter{
		options: o, queue: make(chan *Request, queued), stop: make(chan struct{}), done: make(chan struct{}),
		client: &http.Client{
			Timeout: postWithin, Transport: &http.Transport{MaxIdleConns: 1, MaxResponseHeaderBytes: 64 << 10},
			// its headers are for this host
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	go e.run()
	return &Tracer{ratio: o.Ratio, parent: o.Parent, clock: o.Clock, export: e}
}

// Close sends what waits, as long as ctx lasts. What comes later is lost.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	e := t.export
	e.stopOnce.Do(func() { close(e.stop) })
	select {
	case <-e.done:
	case <-ctx.Done():
	}
	e.cancel()
	<-e.done
	e.client.CloseIdleConnections()
}

// Stats tells how the export is doing.
func (t *Tracer) Stats() Stats {
	return Stats{t.export.exported.Load(), t.export.failed.Load(), t.export.dropped.Load()}
}

// take never waits.
func (e *exporter) take(q *Request) {
	select {
	case e.queue <- q:
	default:
		e.dropped.Add(1)
		q.free()
	}
}

func (e *exporter) run() {
	defer close(e.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var waiting []*Request
	for {
		select {
		case q := <-e.queue:
			if waiting = append(waiting, q); len(waiting) < batch {
				continue
			}
		case <-tick.C:
		case <-e.stop:
			e.rest(waiting)
			return
		}
		e.send(waiting)
		clear(waiting)
		waiting = waiting[:0]
	}
}

// rest sends what is left.
func (e *exporter) rest(waiting []*Request) {
	for {
		select {
		case q := <-e.queue:
			if waiting = append(waiting, q); len(waiting) == batch {
				e.send(waiting)
				waiting = nil
			}
		default:
			e.send(waiting)
			return
		}
	}
}

// send posts a batch, again if the collector says that this may help.
func (e *exporter) send(requests []*Request) {
	if len(requests) == 0 {
		return
	}
	body := e.write(requests)
	for _, q := range requests {
		q.free()
	}
	var err error
	wait, again := firstWait, true
	for i := 0; err == nil && i < attempts; i++ {
		if again, err = e.post(body); err == nil {
			e.exported.Add(int64(len(requests)))
			return
		}
		if !again || i == attempts-1 || !e.pause(wait) {
			break
		}
		wait, err = 2*wait, nil
	}
	e.failed.Add(int64(len(requests)))
	e.tell(err)
}

// usualSize is about what a request's spans come to.
const usualSize = 1 << 10

// write makes the message of a batch, an ExportTraceServiceRequest. Its memory is not used again: the client may read
// it for a while after it has given up.
func (e *exporter) write(requests []*Request) []byte {
	return nested(make([]byte, 0, usualSize*(len(requests)+1)), tracesResourceSpans, func(b []byte) []byte {
		b = nested(b, spansResource, func(b []byte) []byte {
			b = appendText(b, resourceAttributes, "service.name", e.options.Service)
			return appendText(b, resourceAttributes, "service.version", e.options.Version)
		})
		return nested(b, spansScopeSpans, func(b []byte) []byte {
			b = nested(b, scopeSpansScope, func(b []byte) []byte {
				return appendString(appendString(b, scopeName, "github.com/jotgate/jotgate"), scopeVersion, e.options.Version)
			})
			for _, q := range requests {
				b = appendSpans(b, q)
			}
			return b
		})
	})
}

// pause is false if there is no time for another attempt.
func (e *exporter) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stop:
		return false
	}
}

// post sends one batch; again reports whether another attempt could help (OTLP §OTLP/HTTP Response).
func (e *exporter) post(body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(e.ctx, http.MethodPost, e.options.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	for name, value := range e.options.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	answer, err := e.client.Do(r)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	switch answer.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("the collector answers %d", answer.StatusCode)
}

// tell says now and then that the collector fails. A span that is lost is no request that is lost.
func (e *exporter) tell(err error) {
	if now := time.Now(); err != nil && !errors.Is(err, context.Canceled) && now.Sub(e.complained) >= complain {
		e.complained = now
		e.options.Log.Warn("traces are lost: the collector does not take them", zap.Error(err),
			zap.Int64("requests", e.failed.Load()))
	}
}
