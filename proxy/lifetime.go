package proxy

import (
	"context"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A lifetime ends an answer that is a stream (events, a long download, a gRPC stream) with the token that it was let in
// by, as upgraded connections end: at its expiry, or when it is revoked. Routes ask for it by end_with_token; what a
// ticket opened ends with the token that drew it on every route.
type lifetime struct {
	gate   *Gate
	entry  *entry
	tenant string
	shadow bool // what a shadow lets through goes on

	give   context.CancelCauseFunc  // up what was asked of the upstream
	client *http.ResponseController // the answer's

	mu        sync.Mutex
	timer     *time.Timer // nil: it has not started
	interrupt func()      // a Read of the answer; nil: give does
	stopped   bool
	err       error // why the stream may not go on; nil: it may
}

// limit returns the context to ask the upstream with, which the end of the token ends, if it has a say here.
func (f *forwarding) limit(ctx context.Context) context.Context {
	if f.entry == nil || !f.plan.route.EndWithToken && !f.ticketed {
		return ctx
	}
	l := &lifetime{
		gate: f.gate, entry: f.entry, tenant: f.tenant, shadow: f.plan.route.Shadow,
		client: http.NewResponseController(f.x),
	}
	ctx, l.give = context.WithCancelCause(ctx)
	f.lifetime = l
	if f.x.GRPC { // a stream from its first byte on: the answer may come when the client has sent everything
		l.start()
	}
	return ctx
}

// start begins to look. Other requests than gRPC's are no streams before their answer begins: what the app has done is
// told.
func (l *lifetime) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		l.timer = time.AfterFunc(l.gate.nextCheck(l.entry), l.look)
	}
}

// answered says that the answer has begun.
func (l *lifetime) answered(f *forwarding) {
	l.mu.Lock()
	l.interrupt = f.answer.Interrupter()
	if l.err != nil && !l.spares() && l.interrupt != nil {
		l.interrupt()
	}
	l.mu.Unlock()
	l.start()
}

func (l *lifetime) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		return
	case l.err != nil: // a client that does not read has not noticed
		_ = l.client.SetWriteDeadline(time.Now())
		return
	}
	if l.err = l.gate.stillGood(l.entry, l.tenant); l.err == nil {
		l.timer.Reset(l.gate.nextCheck(l.entry))
		return
	}
	if !l.spares() {
		l.give(l.err)
		if l.interrupt != nil {
			l.interrupt()
		}
		l.timer.Reset(lastWords)
	}
}

// spares reports whether a shadow lets the stream go on.
func (l *lifetime) spares() bool { return l.shadow && spared(refusal.Of(l.err)) }

// over returns why the stream has to end; nil if it need not.
func (l *lifetime) over() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil || l.spares() {
		return nil
	}
	return l.err
}

// stop ends the looking. It returns what a shadow has let through.
func (l *lifetime) stop() (shadowed error) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.give(nil)
	if l.err != nil && l.spares() {
		return l.err
	}
	return nil
}

// cut ends an answer whose token is no longer good, or whose deadline has passed: in gRPC's words where a message has
// just ended, else by breaking off, so that it never looks whole.
func (f *forwarding) cut(why error) {
	f.x.Note(why)
	if m := f.messages; m == nil || !m.between() {
		panic(http.ErrAbortHandler)
	}
	f.x.EndGRPC(refusal.Of(why))
}

// messages are gRPC's on their way to the client: each has a byte, its length in four, and its content.
type messages struct {
	head []byte // what there is of the next message's first five bytes
	left int64  // of the content
}

const messageHead = 5

// newMessages returns nil for an answer that is not gRPC's.
func newMessages(f *forwarding) *messages {
	if !f.x.GRPC || f.answer.Status != http.StatusOK {
		return nil
	}
	for _, h := range f.answer.Fields {
		if h.Name == "Content-Type" && strings.HasPrefix(h.Value, "application/grpc") {
			return &messages{head: make([]byte, 0, messageHead)}
		}
	}
	return nil
}

// advance goes past what was sent.
func (m *messages) advance(p []byte) {
	for m != nil && len(p) > 0 {
		if m.left > 0 {
			n := min(m.left, int64(len(p)))
			m.left -= n
			p = p[n:]
			continue
		}
		n := min(messageHead-len(m.head), len(p))
		m.head = append(m.head, p[:n]...)
		p = p[n:]
		if len(m.head) == messageHead {
			m.left, m.head = int64(binary.BigEndian.Uint32(m.head[1:])), m.head[:0]
		}
	}
}

// between reports whether no message is under way.
func (m *messages) between() bool { return m.left == 0 && len(m.head) == 0 }
