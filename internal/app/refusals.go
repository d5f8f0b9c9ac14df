package app

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/proxy"
)

// A Refused is a request that was refused, with what explain would have told of it at that moment. It holds no
// credential: the path is redacted as in the log, the query and the header are left out.
type Refused struct {
	RequestID string    `json:"request_id"`
	At        time.Time `json:"at"`
	Client    string    `json:"client,omitempty"`
	Route     string    `json:"route,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	ClientID  string    `json:"client_id,omitempty"`
	TokenID   string    `json:"jti,omitempty"`
	*proxy.Trace
}

// Bounds of what is kept of refusals.
const (
	refusalMost    = 8 << 10 // bytes of one, as JSON
	refusalAverage = 2 << 10 // bytes of each, taken together: 10,000 refusals take at most 20 MB
)

// refusals is a ring of the latest ones, by their request ids.
type refusals struct {
	mu    sync.Mutex
	ring  []keptRefusal
	added uint64         // how many there were; the next one goes to added modulo the ring's size
	at    map[string]int // the place of each id
	bytes int
}

type keptRefusal struct {
	id     string
	data   []byte // a Refused, as JSON
	at     int64  // milliseconds since 1970
	reason refusal.Reason
}

// newRefusals returns nil for a ring of no size.
func newRefusals(most int) *refusals {
	if most <= 0 {
		return nil
	}
	return &refusals{ring: make([]keptRefusal, most), at: make(map[string]int)}
}

// add keeps a refusal in place of the oldest, or of as many of them as have its bytes.
func (r *refusals) add(k keptRefusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, there := r.at[k.id]; there { // never, as long as ids are our own
		r.drop(i)
	}
	size := len(r.ring)
	next := int(r.added % uint64(size))
	r.drop(next)
	r.ring[next] = k
	r.at[k.id], r.bytes = next, r.bytes+len(k.id)+len(k.data)
	r.added++
	for older := 1; r.bytes > refusalAverage*size && older < size; older++ {
		r.drop((next + older) % size)
	}
}

func (r *refusals) drop(i int) {
	if k := r.ring[i]; k.data != nil {
		delete(r.at, k.id)
		r.bytes -= len(k.id) + len(k.data)
		r.ring[i] = keptRefusal{}
	}
}

// find returns a refusal as JSON; nil: it is not there, or not any more.
func (r *refusals) find(id string) []byte {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, there := r.at[id]; there {
		return r.ring[i].data
	}
	return nil
}

// atOnce bounds the refusals that are read while requests that are refused wait.
const atOnce = 256

// latest yields what is kept, the latest first. Requests may be refused meanwhile; what they push out is left out.
func (r *refusals) latest(before string) iter.Seq[keptRefusal] {
	return func(yield func(keptRefusal) bool) {
		if r == nil {
			return
		}
		room := make([]keptRefusal, 0, atOnce)
		for below, more := r.start(before); more; {
			room, below, more = r.read(room[:0], below)
			for _, k := range room {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// start returns the number below which the refusals are older than the one with this id; "" is the latest of all.
func (r *refusals) start(before string) (below uint64, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before == "" {
		return r.added, true
	}
	place, found := r.at[before]
	size := uint64(len(r.ring))
	newest := (r.added + size - 1) % size
	return r.added - 1 - (newest+size-uint64(place))%size, found
}

// read reads down from a number, and reports whether there is more.
func (r *refusals) read(room []keptRefusal, below uint64) (_ []keptRefusal, next uint64, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := uint64(len(r.ring))
	for ; below > 0 && r.added-below < size; below-- {
		if len(room) == cap(room) {
			return room, below, true
		}
		if k := r.ring[(below-1)%size]; k.data != nil {
			room = append(room, k)
		}
	}
	return room, 0, false
}

// list answers a query.
func (r *refusals) list(q admin.RefusalQuery) admin.RefusalPage {
	page := admin.RefusalPage{Refusals: []admin.Refusal{}}
	var texts [][]byte // that the JSON of a match has
	for name, value := range map[string]string{
		"reason": q.Reason, "route": q.Route, "tenant": q.Tenant, "subject": q.Subject,
	} {
		if value != "" {
			text, _ := json.Marshal(map[string]string{name: value}) // of strings, which never fails
			texts = append(texts, text[1:len(text)-1])
		}
	}
	for k := range r.latest(q.Before) {
		if !q.Since.IsZero() && k.at < q.Since.UnixMilli() {
			break // they are in the order in which they ended; one that took long may be missed
		}
		if !q.Until.IsZero() && k.at >= q.Until.UnixMilli() || slices.ContainsFunc(texts, func(t []byte) bool {
			return !bytes.Contains(k.data, t)
		}) {
			continue
		}
		var one admin.Refusal
		if json.Unmarshal(k.data, &one) != nil || !matches(q.Reason, string(one.Reason)) || !matches(q.Route, one.Route) ||
			!matches(q.Tenant, one.Tenant) || !matches(q.Subject, one.Subject) {
			continue
		}
		if len(page.Refusals) == q.Limit {
			page.Next = page.Refusals[q.Limit-1].RequestID
			break
		}
		page.Refusals = append(page.Refusals, one)
	}
	return page
}

func matches(asked, is string) bool { return asked == "" || asked == is }

// keepsRefusals reports whether refusals are kept: where somebody can ask for them.
func (snap *snapshot) keepsRefusals() bool {
	a := &snap.config.Admin
	return a.Refusals > 0 && a.Listen != "" && a.Token != ""
}

// keep takes a refused exchange into the ring.
func (g *Gate) keep(x *request.Exchange, r *http.Request) {
	kept := Refused{
		RequestID: x.ID, At: x.Start.UTC(), Route: x.Route, Issuer: brief(x.Issuer), Subject: brief(x.Subject),
		ClientID: brief(x.ClientID), TokenID: brief(x.TokenID),
	}
	if x.Client.IsValid() {
		kept.Client = x.Client.String()
	}
	trace, _ := x.Story.(*proxy.Trace)
	if trace == nil {
		trace = new(proxy.Trace)
	}
	trace.Allowed = false
	trace.Reason, trace.Status, trace.Detail = x.Reason, x.Status(), brief(x.Detail)
	if trace.Status == 0 {
		trace.Status = x.Reason.Status()
	}
	trace.Request = &proxy.TracedRequest{
		Method: brief(strings.Clone(r.Method)), Host: x.Host, Path: brief(x.LogPath),
		SentPath: brief(endpoint.Redact(x.SentPath)),
	}
	kept.Trace = trace
	data, err := json.Marshal(kept)
	if err == nil && len(data) > refusalMost { // permissions without end: what decided is in the steps
		trace.Permissions, trace.Token = nil, nil
		data, err = json.Marshal(kept)
	}
	if err == nil && len(data) > refusalMost {
		trace.Steps = nil
		data, err = json.Marshal(kept)
	}
	if err == nil {
		g.refusals.add(keptRefusal{id: x.ID, data: slices.Clip(data), at: x.Start.UnixMilli(), reason: x.Reason})
	}
}

// brief bounds a text that a client had a part in.
func brief(text string) string { return telemetry.Bounded(text) }

// Refusal returns what was kept of the refusal with this request id, as JSON; nil: nothing was, or it is forgotten.
func (g *Gate) Refusal(id string) []byte { return g.refusals.find(id) }

// held returns the number of refusals that are kept.
func (r *refusals) held() int {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.at)
}
