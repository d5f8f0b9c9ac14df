package proxy

import (
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/upstream"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// A forwarding is one judged request at its upstream. It copies no map: the request's fields are written as they are
// met, and the answer's go straight into the client's answer. It is used again for other requests.
type forwarding struct {
	*inbound
	gate    *Gate
	body    *clientBody // nil: the request has none
	upgrade string      // the protocol that may be switched to; "" for none
	whole   bool        // the answer was passed on to its end

	lifetime *lifetime // nil: the answer may outlive the token
	deadline deadline  // of a gRPC call
	messages *messages // of a gRPC answer that may end early; nil: it is another, or not known yet

	request h1.Request
	answer  upstream.Answer
	pass    iter.Seq2[string, string] // passing, made once
	own     []field
	room    [ownAtMost]field
}

// fieldsKept is how many fields of an answer there is room for from the start.
const fieldsKept = 32

// forward sends the request that was judged, and passes the answer on. It reports whether nothing of the request is
// held on to: it had no body, which a sender may still read, and was answered whole, at the first attempt, over
// HTTP/1.1, whose client has no goroutine for it.
func (g *Gate) forward(p *inbound) (released bool) {
	f, ok := g.forwardings.Get().(*forwarding)
	if !ok {
		f = new(forwarding)
		f.request.Fields, f.request.Hint = f, f.hint
		f.answer.Fields, f.pass = make([]h1.Field, 0, fieldsKept), f.passing
	}
	f.inbound, f.gate = p, g
	defer f.done()
	if err := f.admissible(); err != nil {
		p.x.Refuse(err)
		return false
	}
	if p.x.ProxyID != "" {
		p.x.Header()[request.RequestIDHeader] = []string{p.x.ProxyID}
	}
	f.run()
	return f.whole && f.body == nil && f.upgrade == "" && p.x.Reason == "" && f.answer.Simple()
}

// done lets go of all that belongs to the request. A sender of its body may live on; it has the body alone.
func (f *forwarding) done() {
	if err := f.lifetime.stop(); err != nil {
		f.x.Spare(err)
	}
	f.deadline.stop()
	f.answer.Close()
	f.answer.Forget()
	g := f.gate
	f.inbound, f.gate, f.body, f.upgrade, f.whole = nil, nil, nil, "", false
	f.own, f.room, f.lifetime, f.deadline, f.messages = nil, [ownAtMost]field{}, nil, deadline{}, nil
	f.request = h1.Request{Fields: f, Hint: f.request.Hint}
	clear(f.answer.Fields)
	if f.answer.Trailer, f.answer.Fields = nil, f.answer.Fields[:0]; cap(f.answer.Fields) > 2*fieldsKept {
		f.answer.Fields = make([]h1.Field, 0, fieldsKept)
	}
	g.forwardings.Put(f)
}

// admissible refuses by the head what need not be tried.
func (f *forwarding) admissible() error {
	var err error
	if f.upgrade, err = upgradeOf(f.r, f.plan.route.Upgrade); err != nil {
		return err
	}
	if f.upgrade != "" && !f.x.StreamRoom() {
		return refusal.Because(refusal.StreamsFull, "limits.streams")
	}
	if limit := f.plan.bodyLimit; limit > 0 && f.r.ContentLength > limit {
		if f.r.ProtoMajor == 1 {
			f.x.Header().Set("Connection", "close")
		}
		return tooLarge(limit)
	}
	if stall := f.plan.route.Hop.StallTimeout; stall > 0 {
		httpserver.SetStall(f.x, stall)
	}
	if f.hasBody() {
		// Without this, net/http's server would read the whole body of an HTTP/1.1 request before it sends the first byte of
		// an answer. Ours do not.
		_ = http.NewResponseController(f.x).EnableFullDuplex()
	}
	return nil
}

func (f *forwarding) hasBody() bool {
	return f.r.ContentLength != 0 && f.r.Body != nil && f.r.Body != http.NoBody
}

func (f *forwarding) run() {
	if err := f.ask(); err != nil {
		if f.leavesBody() {
			f.x.Header()["Connection"] = []string{"close"}
		}
		f.x.Refuse(f.cause(err))
		return
	}
	if f.answer.Status == http.StatusSwitchingProtocols {
		if err := f.tunnel(); err != nil {
			f.x.Refuse(err)
		}
		return
	}
	if f.body != nil && f.speaksFirst() {
		// Both sides of a stream may be silent from now on: gRPC has deadlines of its own. A server that cannot do that keeps
		// its bound.
		_ = http.NewResponseController(f.x).SetReadDeadline(time.Time{})
	}
	announced := f.head()
	f.x.Answer(f.answer.Status, f.answer.Length, f.pass)
	if f.lifetime != nil || f.deadline.set() {
		f.messages = newMessages(f)
	}
	if f.lifetime != nil {
		f.lifetime.answered(f)
	}
	if f.copy() {
		f.trailers(announced)
	}
	f.whole = true
}

// ask sends the request, and measures the time until the head of the answer is there.
func (f *forwarding) ask() (err error) {
	f.x.Trace.Asking()
	if f.own, err = f.gate.own(f.inbound, f.room[:0]); err != nil {
		return err
	}
	q := &f.request
	q.Method, q.Target, q.Host, q.Upgrade = f.r.Method, f.target(), f.r.Host, f.upgrade
	q.ResponseTimeout, q.StallTimeout = f.plan.route.Hop.Timeout, f.plan.route.Hop.StallTimeout
	if host := f.plan.upstream.Host; host != "" {
		q.Host = host
	}
	if f.hasBody() {
		// Not the body itself: its Close waits for a client that is slow to send. Its trailers stay here, since an app would
		// merge them into the fields, where ours are (RFC 9110 §6.5.1).
		f.body = newClientBody(f.r.Body, f.plan.bodyLimit)
		q.Body, q.Length = f.body, f.r.ContentLength
		if !f.speaksFirst() {
			f.body.await()
		}
	}
	start := f.gate.clock()
	err = f.plan.pool.Do(f.deadline.begin(f.limit(f.r.Context()), f.inbound), f.caller(), q, &f.answer)
	f.x.Waited = f.gate.clock().Sub(start)
	f.x.Upstream = f.answer.From
	status := f.answer.Status
	if err != nil {
		status = 0
	}
	f.x.Trace.Answered(status)
	return err
}

// caller names the client's connection where that carries several requests at once, but for those of trusted proxies,
// which carry many clients', and what the balance of the upstream goes by.
func (f *forwarding) caller() (c upstream.Caller) {
	if f.r.ProtoMajor >= 2 && !f.x.Trusted && f.x.Peer.IsValid() {
		c.Connection = f.r.RemoteAddr
	}
	switch upstream.Balance(f.plan.upstream.Balance) {
	case upstream.HashTenant:
		c.Key = f.tenant
	case upstream.HashSubject:
		if f.grant != nil {
			c.Key = f.grant.subject
		}
	case upstream.HashIP:
		if f.x.Client.IsValid() {
			c.Key = f.x.Client.String()
		}
	}
	return c
}

// speaksFirst reports whether the server may answer before the client sends anything of its body, as in a gRPC stream.
func (f *forwarding) speaksFirst() bool {
	if f.r.ProtoMajor < 2 {
		return false
	}
	kind := f.r.Header["Content-Type"]
	return len(kind) > 0 && (strings.HasPrefix(kind[0], "application/grpc") ||
		strings.HasPrefix(kind[0], "application/connect+"))
}

// leavesBody reports whether the answer comes before the body was read. What is left of it must never be read as
// another request, nor be waited for by a server that would go on with the connection. In HTTP/2 it can only be the
// stream's, and the server would send GOAWAY, which ends the client's other streams.
func (f *forwarding) leavesBody() bool {
	return f.body != nil && !f.body.over.Load() && f.r.ProtoMajor == 1
}

// cause finds whose fault it was: a body that broke off on the client's side looks like a broken upstream at first.
func (f *forwarding) cause(err error) error {
	if ended := f.lifetime.over(); ended != nil {
		return ended
	}
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
	case f.deadline.passed():
		return refusal.Because(refusal.GRPCDeadline, "%v", err)
	case errors.As(err, &refused):
		return err
	case upstream.Stalled(err):
		return refusal.Because(refusal.UpstreamTimeout, "%v", err)
	}
	return refusal.Because(refusal.UpstreamBroken, "%v", err)
}

// hintable reports whether the client of r may be sent this informational answer. HTTP/1.0 knows none (RFC 9110 §15.2).
// A client that waits for 100 (Continue) gets no other, since the server says that one when the body is first read,
// which happens beside us.
func hintable(r *http.Request, status int) bool {
	return status != http.StatusContinue && status != http.StatusSwitchingProtocols && r.ProtoAtLeast(1, 1) &&
		len(r.Header["Expect"]) == 0
}

// hint passes an informational answer on, with its own fields alone. 100 (Continue) stays here, as our own server says
// it to the client when the body is asked for.
func (f *forwarding) hint(status int, h http.Header) error {
	if !hintable(f.r, status) {
		return nil
	}
	delete(h, request.RequestIDHeader) // the final answer has ours
	out, hops := f.x.Header(), hopsOf(h)
	kept := maps.Clone(out)
	clear(out)
	for name, values := range h {
		if !hops.end(name) {
			out[name] = values
		}
	}
	f.x.WriteHeader(status)
	clear(out)
	maps.Copy(out, kept)
	return nil
}

// head sets our own fields of the client's head. It returns how many trailers are announced.
func (f *forwarding) head() (announced int) {
	out, a := f.x.Header(), &f.answer
	if edits := f.plan.response; edits != nil {
		for _, v := range edits.set {
			out[v.Name] = []string{v.Value}
		}
	}
	f.confine()
	if len(a.Trailer) > 0 {
		f.gate.trail(a.Trailer, f.listed())
	}
	if announced = len(a.Trailer); announced > 0 {
		names := make([]string, 0, announced)
		for name := range a.Trailer {
			names = append(names, name)
		}
		out["Trailer"] = []string{strings.Join(names, ", ")}
	}
	if f.leavesBody() {
		out["Connection"] = []string{"close"}
	}
	return announced
}

// passing yields the fields of the upstream's answer that go further than one hop. What the chain in front has set
// stays.
func (f *forwarding) passing(yield func(name, value string) bool) {
	if f.elsewhere {
		f.cacheable(f.answered)(yield)
		return
	}
	f.answered(yield)
}

func (f *forwarding) answered(yield func(name, value string) bool) {
	ours, hops := f.x.Header(), f.listed()
	edits := f.plan.response
	for _, h := range f.answer.Fields {
		if hops.end(h.Name) || edits != nil && edits.drops(h.Name) {
			continue
		}
		if _, set := ours[h.Name]; !set && !yield(h.Name, h.Value) {
			return
		}
	}
}

// listed returns the names that the answer's Connection lists, besides the common ones.
func (f *forwarding) listed() (all hops) {
	for _, h := range f.answer.Fields {
		if h.Name == "Connection" && !strings.EqualFold(h.Value, "keep-alive") && !strings.EqualFold(h.Value, "close") {
			all = append(all, h.Value)
		}
	}
	return all
}

// copy passes the body on, each piece at once; what ends the answer needs no flush. An answer that breaks off breaks
// the client's connection off, so that half an answer never looks whole. It reports whether the body came to its end.
func (f *forwarding) copy() (whole bool) {
	a := &f.answer
	if a.Bodiless() {
		return true
	}
	if a.Length < 0 && a.Waiting() {
		f.x.Flush()
	}
	for {
		piece, err := a.Next()
		if ended := f.lifetime.over(); ended != nil {
			f.cut(ended)
			return false
		}
		if len(piece) > 0 {
			if _, gone := f.x.Write(piece); gone != nil {
				if ended := f.lifetime.over(); ended != nil {
					f.x.Note(ended)
				}
				panic(http.ErrAbortHandler)
			}
			f.messages.advance(piece)
		}
		switch {
		case err == io.EOF:
			return true
		case err != nil && f.deadline.passed():
			f.cut(f.cause(err))
			return false
		case err != nil:
			f.x.Note(f.cause(err))
			panic(http.ErrAbortHandler)
		case a.Waiting():
			f.x.Flush()
		}
	}
}

// trailers follow the body. Those that were not announced need net/http's own way of saying so.
func (f *forwarding) trailers(announced int) {
	trailer := f.answer.Trailer
	if len(trailer) == 0 {
		return
	}
	if f.gate.trail(trailer, f.listed()); len(trailer) == 0 {
		return
	}
	f.x.Flush() // trailers need chunks, which a short answer might not have got
	prefix := ""
	if len(trailer) != announced {
		prefix = http.TrailerPrefix
	}
	out := f.x.Header()
	for name, values := range trailer {
		out[prefix+name] = append(out[prefix+name], values...)
	}
}
