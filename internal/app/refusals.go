package app

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/endpoint"
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
	next  int            // where the next one goes
	at    map[string]int // the place of each id
	bytes int
}

type keptRefusal struct {
	id   string
	data []byte // a Refused, as JSON
}

// newRefusals returns nil for a ring of no size.
func newRefusals(most int) *refusals {
	if most <= 0 {
		return nil
	}
	return &refusals{ring: make([]keptRefusal, most), at: make(map[string]int)}
}

// add keeps a refusal in place of the oldest, or of as many of them as have its bytes.
func (r *refusals) add(id string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, there := r.at[id]; there { // never, as long as ids are our own
		r.drop(i)
	}
	r.drop(r.next)
	r.ring[r.next] = keptRefusal{id, data}
	r.at[id], r.bytes = r.next, r.bytes+len(id)+len(data)
	r.next = (r.next + 1) % len(r.ring)
	size := len(r.ring)
	for older := 0; r.bytes > refusalAverage*size && older < size-1; older++ {
		r.drop((r.next + older) % size)
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
		g.refusals.add(x.ID, slices.Clip(data))
	}
}

// brief bounds a text that a client had a part in.
func brief(text string) string { return telemetry.Bounded(text) }

// Refusal returns what was kept of the refusal with this request id, as JSON; nil: nothing was, or it is forgotten.
func (g *Gate) Refusal(id string) []byte { return g.refusals.find(id) }
