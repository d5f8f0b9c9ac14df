package proxy

import (
	"io"
	"iter"
	"maps"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/upstream"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// A direct is a forwarding to a plain-HTTP upstream. It does what ReverseProxy does elsewhere, but copies no map: the
// request's fields are written as they are met, and the answer's are put straight into the client's answer.
type direct struct {
	forwarding
	request h1.Request
	answer  upstream.Answer
	pass    iter.Seq2[string, string] // passing, made once
	own     []field
	room    [ownAtMost]field
}

// fieldsKept is how many fields of an answer there is room for from the start.
const fieldsKept = 32

func (g *Gate) direct(judged forwarding) {
	d, ok := g.directs.Get().(*direct)
	if !ok {
		d = new(direct)
		d.request.Fields, d.request.Hint = d, d.hint
		d.answer.Fields, d.pass = make([]h1.Field, 0, fieldsKept), d.passing
	}
	d.forwarding = judged
	defer d.done()
	d.run()
}

// done lets go of all that belongs to the request. A sender of its body may live on; it has the body alone.
func (d *direct) done() {
	d.answer.Close()
	g := d.gate
	d.forwarding, d.own, d.room = forwarding{}, nil, [ownAtMost]field{}
	d.request = h1.Request{Fields: d, Hint: d.request.Hint}
	clear(d.answer.Fields)
	if d.answer.Trailer, d.answer.Fields = nil, d.answer.Fields[:0]; cap(d.answer.Fields) > 2*fieldsKept {
		d.answer.Fields = make([]h1.Field, 0, fieldsKept)
	}
	g.directs.Put(d)
}

func (d *direct) run() {
	if err := d.ask(); err != nil {
		if d.leavesBody() {
			d.x.Header()["Connection"] = []string{"close"}
		}
		d.x.Refuse(d.cause(err))
		return
	}
	announced := d.head()
	d.x.Answer(d.answer.Status, d.answer.Length, d.pass)
	d.copy()
	d.trailers(announced)
}

// ask sends the request, and takes the time until the head of the answer is there.
func (d *direct) ask() (err error) {
	d.x.Trace.Asking()
	if d.own, err = d.gate.own(d.inbound, d.room[:0]); err != nil {
		return err
	}
	q := &d.request
	q.Method, q.Target, q.Host = d.r.Method, d.r.RequestURI, d.r.Host
	if host := d.plan.upstream.Host; host != "" {
		q.Host = host
	}
	if d.hasBody() {
		d.body = newClientBody(d.r.Body, d.plan.bodyLimit)
		q.Body, q.Length = d.body, d.r.ContentLength
	}
	start := d.gate.clock()
	err = d.plan.pool.Do(d.r.Context(), q, &d.answer)
	d.x.Waited = d.gate.clock().Sub(start)
	d.x.Upstream = d.answer.From
	status := d.answer.Status
	if err != nil {
		status = 0
	}
	d.x.Trace.Answered(status)
	return err
}

// WriteFields writes the client's fields that may pass, and then ours.
func (d *direct) WriteFields(to *h1.Head) {
	in := d.r.Header
	hops, tenant, judged := hopsOf(in), d.tenantHeader(), !d.plan.route.Public
	traced := d.x.Trace != nil // then ours go on
	var room [maxFold]byte
	for name, values := range in {
		if name == "Authorization" || name == dpop.Header && judged || name == tenant || traced && traceField(name) || forOneHop(name) || hops.list(name) ||
			!d.gate.fields.passes(fold(room[:0], name), d.x.Trusted) {
			continue
		}
		for _, value := range values {
			to.Field(name, value)
		}
	}
	if d.passesAuthorization() {
		for _, value := range in["Authorization"] {
			to.Field("Authorization", value)
		}
	}
	if httpguts.HeaderValuesContainsToken(in["Te"], "trailers") { // a hop's, but we do pass trailers on
		to.Field("Te", "trailers")
	}
	for _, f := range d.own {
		to.Field(f.name, f.value)
	}
}

// forOneHop knows the fields that end with a connection (RFC 9110 §7.6.1), by their canonical names.
func forOneHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// hops are Connection's values, which may list further fields that end with the connection.
type hops []string

// hopsOf leaves out the common values that list none.
func hopsOf(h http.Header) hops {
	values := h["Connection"]
	if len(values) == 1 && (strings.EqualFold(values[0], "keep-alive") || strings.EqualFold(values[0], "close")) {
		return nil
	}
	return values
}

func (h hops) list(name string) bool {
	return len(h) > 0 && httpguts.HeaderValuesContainsToken(h, name)
}

// hintable tells whether the client of r may be sent this informational answer. HTTP/1.0 knows none (RFC 9110 §15.2). A
// client that waits for 100 (Continue) gets no other, since the server says that one when the body is first read, which
// happens beside us.
func hintable(r *http.Request, status int) bool {
	return status != http.StatusContinue && r.ProtoAtLeast(1, 1) && len(r.Header["Expect"]) == 0
}

// hint passes an informational answer on, with its own fields alone. 100 (Continue) stays here, as our own server says it to
// the client when the body is asked for.
func (d *direct) hint(status int, h http.Header) error {
	if !hintable(d.r, status) {
		return nil
	}
	delete(h, request.RequestIDHeader) // the final answer has ours
	out := d.x.Header()
	kept := maps.Clone(out)
	clear(out)
	merge(out, h)
	d.x.WriteHeader(status)
	clear(out)
	maps.Copy(out, kept)
	return nil
}

// head sets what we have to say in the client's head. It tells how many trailers were announced.
func (d *direct) head() (announced int) {
	out, a := d.x.Header(), &d.answer
	if len(a.Trailer) > 0 {
		d.gate.trail(a.Trailer, d.listed())
	}
	if announced = len(a.Trailer); announced > 0 {
		names := make([]string, 0, announced)
		for name := range a.Trailer {
			names = append(names, name)
		}
		out["Trailer"] = []string{strings.Join(names, ", ")}
	}
	if d.leavesBody() {
		out["Connection"] = []string{"close"}
	}
	return announced
}

// passing are the fields of the upstream's answer that go further than one hop. What the chain in front has set stays.
func (d *direct) passing(yield func(name, value string) bool) {
	ours, hops := d.x.Header(), d.listed()
	for _, f := range d.answer.Fields {
		if forOneHop(f.Name) || hops.list(f.Name) {
			continue
		}
		if _, set := ours[f.Name]; !set && !yield(f.Name, f.Value) {
			return
		}
	}
}

// listed are the names that the answer's Connection lists, beside the common ones.
func (d *direct) listed() (all hops) {
	for _, f := range d.answer.Fields {
		if f.Name == "Connection" && !strings.EqualFold(f.Value, "keep-alive") && !strings.EqualFold(f.Value, "close") {
			all = append(all, f.Value)
		}
	}
	return all
}

// merge adds the fields of an answer that go further than one hop and are not there yet.
func merge(out, in http.Header) {
	hops := hopsOf(in)
	for name, values := range in {
		if forOneHop(name) || hops.list(name) {
			continue
		}
		if _, ours := out[name]; !ours {
			out[name] = values
		}
	}
}

// copy passes the body on, each piece at once; what ends the answer needs no flush. An answer that breaks off breaks the
// client's connection off, so that half an answer never looks whole.
func (d *direct) copy() {
	a := &d.answer
	if a.Bodiless() {
		return
	}
	if a.Length < 0 && a.Waiting() {
		d.x.Flush()
	}
	buffer := d.gate.buffers.Get()
	defer d.gate.buffers.Put(buffer)
	for {
		n, err := a.Read(buffer)
		if n > 0 {
			if _, gone := d.x.Write(buffer[:n]); gone != nil {
				panic(http.ErrAbortHandler)
			}
		}
		switch {
		case err == io.EOF:
			return
		case err != nil:
			d.x.Note(d.cause(err))
			panic(http.ErrAbortHandler)
		case a.Waiting():
			d.x.Flush()
		}
	}
}

// trailers follow the body. Those that were not announced need net/http's own way of saying so.
func (d *direct) trailers(announced int) {
	trailer := d.answer.Trailer
	if len(trailer) == 0 {
		return
	}
	if d.gate.trail(trailer, d.listed()); len(trailer) == 0 {
		return
	}
	d.x.Flush() // trailers need chunks, which a short answer might not have got
	prefix := ""
	if len(trailer) != announced {
		prefix = http.TrailerPrefix
	}
	out := d.x.Header()
	for name, values := range trailer {
		out[prefix+name] = append(out[prefix+name], values...)
	}
}
