package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/buffers"
	"github.com/jotgate/jotgate/internal/refusal"
)

// An upgraded connection (RFC 9110 §7.8) is a stream whose content is not judged, so it lives no longer than what it
// was let in for: it ends when its token expires or is revoked, and when the process drains. Nothing that the client
// sends reaches the upstream before the upstream has answered 101.

const (
	recheck    = time.Second // how soon a revoked token ends its stream
	lastWords  = time.Second // for the client to take a close frame
	halfClosed = time.Minute // for the other side to finish, once one has
	websocket  = "websocket"
)

// upgradeOf is the protocol that the request may ask its upstream for; "" if it asks for none, or for one that is not
// asked for here. A client may be answered as if it had not asked (RFC 9110 §7.8), but a WebSocket client cannot go on
// then.
func upgradeOf(r *http.Request, allowed bool) (string, error) {
	values := r.Header["Upgrade"]
	if len(values) == 0 || r.ProtoMajor == 1 && r.ProtoMinor == 0 ||
		!httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return "", nil
	}
	protocol := strings.Join(values, ", ")
	switch {
	case !allowed && mentions(protocol, websocket):
		return "", &refusal.Error{Reason: refusal.UpgradeNotAllowed, Detail: websocket}
	case !allowed, mentions(protocol, "h2c"), mentions(protocol, "tls"):
		// HTTP/2 or TLS inside would carry requests past the gate.
		return "", nil
	case !protocolName(protocol):
		return "", refusal.Because(refusal.UpgradeNotAllowed, "upgrade %.64q: one protocol's name is asked for", protocol)
	case r.ContentLength != 0:
		return "", refusal.Because(refusal.UpgradeNotAllowed, "upgrade %s: with a body", protocol)
	case strings.EqualFold(protocol, websocket) && r.Method != http.MethodGet:
		return "", refusal.Because(refusal.UpgradeNotAllowed, "upgrade %s: RFC 6455 has it with GET", protocol)
	}
	return protocol, nil
}

// mentions looks for a protocol in an Upgrade list, whatever its version.
func mentions(list, protocol string) bool {
	for item := range strings.SplitSeq(list, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(item), "/")
		if strings.EqualFold(name, protocol) {
			return true
		}
	}
	return false
}

// protocolName is one protocol, with or without a version (RFC 9110 §7.8).
func protocolName(s string) bool {
	name, version, versioned := strings.Cut(s, "/")
	return httpguts.ValidHeaderFieldName(name) && (!versioned || httpguts.ValidHeaderFieldName(version))
}

// tunnel takes the client's connection from its server and joins it with the upstream's, until both are closed. It
// returns an error while the client can still be answered.
func (f *forwarding) tunnel() error {
	chosen := ""
	for _, h := range f.answer.Fields {
		if h.Name == "Upgrade" {
			chosen = h.Value
		}
	}
	if f.upgrade == "" || !strings.EqualFold(chosen, f.upgrade) {
		return refusal.Because(refusal.UpstreamBroken, "101 for %.64q, %.64q was asked for", chosen, f.upgrade)
	}
	server := f.answer.Stream()
	if server == nil {
		return fault("the answer has no stream")
	}
	defer server.Close()
	if !f.x.Stream() {
		return refusal.Because(refusal.StreamsFull, "limits.streams")
	}
	client, buffered, err := http.NewResponseController(f.x).Hijack()
	if err != nil {
		return fault("take over the connection: %v", err)
	}
	defer client.Close()
	f.x.Switched()
	_ = f.lifetime.stop() // which the tunnel has a closer look at itself
	if client.SetDeadline(time.Time{}) != nil || f.switchProtocols(client) != nil {
		return nil
	}
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil {
		t := &tunnel{
			client: client, server: server,
			down: &frameWriter{to: client, framed: strings.EqualFold(f.upgrade, websocket)},
			f:    f,
		}
		t.run(early)
	}
	return nil
}

// switchProtocols writes the head of the answer, which the server no longer does.
func (f *forwarding) switchProtocols(client net.Conn) error {
	var head strings.Builder
	line := func(name, value string) bool {
		head.WriteString(websocketSpelling(name) + ": " + value + "\r\n")
		return true
	}
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	line("Connection", "Upgrade")
	line("Upgrade", f.upgrade)
	for name, values := range f.x.Header() {
		for _, value := range values {
			line(name, value)
		}
	}
	chosen := false
	f.passing(func(name, value string) bool {
		chosen = chosen || name == protocolField
		return line(name, value)
	})
	if f.offeredBearer && !chosen { // a browser fails the connection if none of what it offered is chosen (RFC 6455 §4.1)
		line(protocolField, bearerProtocol)
	}
	head.WriteString("\r\n")
	_, err := io.WriteString(client, head.String())
	return err
}

// A tunnel is two connections that are one stream. The goroutine that served the request copies one way, a second one
// the other. Timers look whether the stream may go on: there may be thousands of streams, and a goroutine that waits
// takes as much memory as all else that one of them needs.
type tunnel struct {
	client net.Conn
	server io.ReadWriteCloser
	down   *frameWriter // to the client
	f      *forwarding

	mu       sync.Mutex
	oneOver  bool        // of the two directions
	patience *time.Timer // for the other one

	looking sync.Mutex  // while it is looked whether the stream may go on
	check   *time.Timer // the next look; nil: there is no token
	over    bool        // nothing is looked for any more
	why     error       // the stream may not go on; nil: it may
}

// run copies both ways until both are over, or the stream may not go on.
func (t *tunnel) run(early []byte) {
	if t.f.entry != nil {
		t.looking.Lock()
		t.check = time.AfterFunc(t.f.gate.nextCheck(t.f.entry), t.look)
		t.looking.Unlock()
	}
	undrained := context.AfterFunc(t.f.gate.draining, func() {
		t.cut(nil, goingAway, "the server is going away")
	})
	var up sync.WaitGroup
	up.Go(func() { t.ended(t.copyUp(early), func() bool { return finish(t.server) }) })
	t.ended(buffers.Copy(t.down, t.server), t.down.finish)
	up.Wait()
	undrained()
	t.looking.Lock() // a last frame that is being written has its time
	defer t.looking.Unlock()
	t.over = true
	if t.check != nil {
		t.check.Stop()
	}
	if t.why != nil {
		t.f.x.Note(t.why)
	}
}

func (t *tunnel) copyUp(early []byte) error {
	if len(early) > 0 {
		if _, err := t.server.Write(early); err != nil {
			return err
		}
	}
	return buffers.Copy(t.server, t.client)
}

// ended is told that nothing more comes for one side, which may still have something to say; finish tells that side.
func (t *tunnel) ended(err error, finish func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.oneOver && err == nil && finish() {
		t.oneOver, t.patience = true, time.AfterFunc(halfClosed, t.close)
		return
	}
	if t.patience != nil {
		t.patience.Stop()
	}
	t.close()
}

// close wakes both who copy.
func (t *tunnel) close() {
	t.client.Close()
	t.server.Close()
}

// look looks whether the token is still good.
func (t *tunnel) look() {
	t.looking.Lock()
	f := t.f
	if t.over {
		t.looking.Unlock()
		return
	}
	err := f.stillSpared(f.gate.stillGood(f.entry, f.tenant))
	if err == nil && f.entry != nil { // a stream that a shadow lets go on is not asked about again
		t.check.Reset(f.gate.nextCheck(f.entry))
	}
	t.looking.Unlock()
	if err != nil {
		t.cut(err, policyViolation, "the token is no longer good")
	}
}

// cut ends the stream, with a frame that says why where there is a place for one.
func (t *tunnel) cut(why error, code uint16, reason string) {
	t.looking.Lock()
	defer t.looking.Unlock()
	if t.over {
		return
	}
	t.over, t.why = true, why
	t.down.cut(closeFrame(code, reason))
	t.close()
}

// finish ends one direction; false says that only both can end.
func finish(c io.Closer) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// nextCheck is when the token that opened a stream is looked at again: at its expiry at the latest.
func (g *Gate) nextCheck(opened *entry) time.Duration {
	if opened == nil {
		return recheck
	}
	left := time.UnixMilli(opened.verified.Claims.Expiry).Sub(g.clock())
	return min(recheck, max(left, time.Millisecond))
}

// stillGood asks again what may have changed since the token opened a stream.
func (g *Gate) stillGood(opened *entry, tenant string) error {
	if opened == nil { // a public route, or one in shadow
		return nil
	}
	v := opened.verified
	if err := g.verifier.CheckTimes(v, g.clock()); err != nil {
		return err
	}
	if g.revocations == nil {
		return nil
	}
	if err := g.revocations.Check(&v.Claims, v.KeyID); err != nil {
		return err
	}
	return g.revocations.CheckTenant(&v.Claims, tenant)
}

// stillSpared lets the stream of a route in shadow go on; it is not asked about again.
func (f *forwarding) stillSpared(err error) error {
	if err != nil && f.spare(err) == nil {
		f.entry, err = nil, nil
	}
	return err
}

// A frameWriter writes to the client of a stream, and can put a last frame of ours behind the upstream's last whole
// one.
type frameWriter struct {
	to     net.Conn
	framed bool // WebSocket; other protocols are cut without a word

	mu     sync.Mutex
	frames frames
	last   []byte        // to be written as soon as a frame ends
	ended  chan struct{} // closed then; set with last
	done   bool
}

var errCut = errors.New("the stream was cut")

func (w *frameWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.done:
		return 0, errCut
	case !w.framed:
		return w.to.Write(p)
	}
	n := w.frames.advance(p, w.last != nil)
	written, err := w.to.Write(p[:n])
	if err == nil && w.last != nil && w.frames.between() {
		err = w.end()
	}
	return written, err
}

// end writes the last frame; the lock is held.
func (w *frameWriter) end() error {
	w.done = true
	defer close(w.ended)
	if !w.frames.closed {
		if _, err := w.to.Write(w.last); err != nil {
			return err
		}
	}
	finish(w.to)
	return errCut
}

// finish tells the client that nothing more comes. Nothing of ours can follow, either.
func (w *frameWriter) finish() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done && w.ended != nil { // a last frame finds no place any more
		close(w.ended)
	}
	w.done = true
	return finish(w.to)
}

// cut ends the stream with a frame, if a place for it comes soon enough. A client that does not read does not hold us
// up.
func (w *frameWriter) cut(frame []byte) {
	if !w.framed || w.to.SetWriteDeadline(time.Now().Add(lastWords)) != nil {
		return
	}
	w.mu.Lock()
	if w.done {
		w.mu.Unlock()
		return
	}
	ended := make(chan struct{})
	w.last, w.ended = frame, ended
	if w.frames.between() {
		_ = w.end() // whether it arrived or not, the connection is closed next
	}
	w.mu.Unlock()
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}
