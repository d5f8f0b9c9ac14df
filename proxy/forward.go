package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/upstream"
)

// A forwarding is one judged request at its upstream.
type forwarding struct {
	*inbound
	gate    *Gate
	kept    http.Header // of the answer, as the chain in front has set them
	body    *clientBody // nil: the request has none
	upgrade string      // the protocol that may be switched to; "" for none
	fault   error       // ours, found while the request was written anew
	hops    hops        // what the answer's Connection lists, which ReverseProxy takes away
}

// forward sends what was judged: the short way (direct.go) to upstreams that speak plain HTTP, else by ReverseProxy.
func (g *Gate) forward(p *inbound) {
	f := forwarding{inbound: p, gate: g}
	if err := f.admissible(); err != nil {
		p.x.Refuse(err)
		return
	}
	if f.upgrade == "" && p.plan.direct {
		g.direct(f)
		return
	}
	g.relay(f)
}

func (g *Gate) relay(judged forwarding) {
	f, p := &judged, judged.inbound
	p.x.Trace.Asking()
	// The proxy's answer replaces these, and an informational answer (1xx) would clear them.
	f.kept = p.x.Header().Clone()
	clear(p.x.Header())
	r := p.r
	if f.hasBody() {
		// Not the body itself: ReverseProxy closes what it is given, and that waits for a client that is slow to send.
		f.body = newClientBody(r.Body, f.plan.bodyLimit)
		r = r.WithContext(r.Context())
		r.Body = f.body
	}
	f.proxy().ServeHTTP(p.x, r)
}

// admissible refuses by the head what need not be tried.
func (f *forwarding) admissible() error {
	var err error
	if f.upgrade, err = upgradeOf(f.r, f.plan.route.Upgrade); err != nil {
		return err
	}
	if limit := f.plan.bodyLimit; limit > 0 && f.r.ContentLength > limit {
		if f.r.ProtoMajor == 1 {
			f.x.Header().Set("Connection", "close")
		}
		return tooLarge(limit)
	}
	if f.hasBody() {
		// Without this, net/http's server would read the whole body of an HTTP/1.1 request before it sends the first byte of an
		// answer. Ours do not.
		_ = http.NewResponseController(f.x).EnableFullDuplex()
	}
	return nil
}

func (f *forwarding) hasBody() bool {
	return f.r.ContentLength != 0 && f.r.Body != nil && f.r.Body != http.NoBody
}

// proxy is the seam to what speaks HTTP with the upstream.
func (f *forwarding) proxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: f.rewrite, Transport: f, ModifyResponse: f.answer, ErrorHandler: f.fail,
		FlushInterval: -1, BufferPool: &f.gate.buffers, ErrorLog: f.gate.errorLog,
	}
}

// rewrite runs when fields for one hop are gone, those that Connection lists too: what is set here stays.
func (f *forwarding) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL = f.target()
	pr.Out.Trailer = nil // an app would merge them into the fields, where ours are (RFC 9110 §6.5.1)
	if host := f.plan.upstream.Host; host != "" {
		pr.Out.Host = host
	}
	f.fault = f.gate.outward(f.inbound, pr.Out.Header)
	if f.upgrade != "" {
		pr.Out.Header["Connection"], pr.Out.Header["Upgrade"] = []string{"Upgrade"}, []string{f.upgrade}
	}
}

// target is the request's own, byte for byte. Opaque is written as it is, but for a leading "//", which would be taken for
// an authority; such a path consists of bytes that stay as they are in RawPath.
func (f *forwarding) target() *url.URL {
	t := &f.x.Target
	u := &url.URL{Opaque: t.Path, RawQuery: t.Query, ForceQuery: t.HasQuery}
	if strings.HasPrefix(t.Path, "//") {
		u.Opaque, u.RawPath = "", t.Path
		u.Path, _ = url.PathUnescape(t.Path) // its escapes were read before
	}
	return u
}

// RoundTrip asks the upstream's pool, and takes the time.
func (f *forwarding) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.fault != nil {
		return nil, f.fault
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
		pass := trace.Got1xxResponse
		trace.Got1xxResponse = func(status int, h textproto.MIMEHeader) error {
			if !hintable(f.r, status) {
				return nil
			}
			delete(h, request.RequestIDHeader)
			return pass(status, h)
		}
	}
	start := f.gate.clock()
	answer, err := f.plan.pool.RoundTrip(r)
	f.x.Waited = f.gate.clock().Sub(start)
	f.x.Upstream = r.URL.Host
	status := 0
	if err == nil {
		status, f.hops = answer.StatusCode, hopsOf(answer.Header)
	}
	f.x.Trace.Answered(status)
	return answer, err
}

// answer sees the head of the upstream's answer before the client does.
func (f *forwarding) answer(r *http.Response) error {
	if r.StatusCode == http.StatusSwitchingProtocols {
		return f.tunnel(r)
	}
	delete(r.Header, request.RequestIDHeader)
	for name, values := range f.kept {
		r.Header[name] = values
	}
	r.Header[request.RequestIDHeader] = []string{f.x.ID}
	if f.leavesBody() {
		r.Header["Connection"] = []string{"close"}
	}
	if _, typed := r.Header["Content-Type"]; !typed {
		f.x.Header()["Content-Type"] = nil // net/http would guess one
	}
	f.gate.trail(r.Trailer, f.hops)
	r.Body = &answerBody{ReadCloser: r.Body, f: f, answer: r}
	return nil
}

// leavesBody tells whether the answer comes before the body was read. What is left of it must never be read as another request, nor
// be waited for by a server that would go on with the connection. In HTTP/2 it can only be the stream's, and the server would
// send GOAWAY, which ends the client's other streams.
func (f *forwarding) leavesBody() bool {
	return f.body != nil && !f.body.over.Load() && f.r.ProtoMajor == 1
}

// fail answers for an upstream that gave no answer, or for a request that broke off.
func (f *forwarding) fail(_ http.ResponseWriter, _ *http.Request, err error) {
	if errors.Is(err, errTunnelled) {
		return
	}
	h := f.x.Header()
	clear(h)
	for name, values := range f.kept {
		h[name] = values
	}
	if f.leavesBody() {
		h["Connection"] = []string{"close"}
	}
	f.x.Refuse(f.cause(err))
}

// cause finds whose fault it was: a body that broke off on the client's side looks like a broken upstream at first.
func (f *forwarding) cause(err error) error {
	if f.body != nil {
		if fault := f.body.fault.Load(); fault != nil {
			f.x.BodyError = fault.cause
			return fault.refused
		}
	}
	var refused *refusal.Error
	switch {
	case f.r.Context().Err() != nil:
		return refusal.Because(refusal.ClientClosed, "%v", err)
	case errors.As(err, &refused):
		return err
	case upstream.Stalled(err):
		return refusal.Because(refusal.UpstreamTimeout, "%v", err)
	}
	return refusal.Because(refusal.UpstreamBroken, "%v", err)
}

// An answerBody tells the log why an answer broke off. The client's connection is broken off then, too
// (http.ErrAbortHandler), so that half an answer never looks whole.
type answerBody struct {
	io.ReadCloser
	f      *forwarding
	answer *http.Response
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.f.gate.trail(b.answer.Trailer, b.f.hops) // which are all there now
	case err != nil:
		b.f.x.Note(b.f.cause(err))
	}
	return n, err
}

// buffers are for copying answers.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) {
	if len(p) == bufferSize {
		b.pool.Put((*[bufferSize]byte)(p))
	}
}
