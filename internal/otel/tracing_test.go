package otel

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Without a tracer, everything may be called, and nothing is spent.
func TestNothingCostsNothing(t *testing.T) {
	var tracer *Tracer
	h := http.Header{Parent: {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		q := tracer.Begin(h, true, now)
		q.Judging()
		q.Judged()
		q.Asking()
		q.Answered(200)
		if parent, state := q.Outgoing(); q != nil || parent+state+q.ID() != "" {
			t.Fatal("something of nothing")
		}
		q.End(Answer{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	tracer.Close(t.Context())
}

// What a collector that hangs leaves behind is bounded: the rest is dropped and counted, and nothing waits.
func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var posts atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts.Add(1)
		<-release
	}))
	defer collector.Close()
	defer close(release)
	tracer := New(Options{URL: collector.URL, Ratio: 1, Parent: ParentAny})
	const all = 4 * queued
	for range all {
		tracer.Begin(http.Header{}, false, time.Now()).End(Answer{Method: "GET", Status: 200})
	}
	s := tracer.Stats()
	if s.Dropped < all-queued-2*batch || s.Dropped >= all-queued+1 {
		t.Errorf("%d of %d are dropped", s.Dropped, all)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no time at all
	tracer.Close(ctx)
	if s = tracer.Stats(); s.Exported != 0 || s.Failed+s.Dropped != all {
		t.Errorf("after the end: %+v", s)
	}
	if posts.Load() > attempts {
		t.Errorf("%d posts to a collector that does not answer", posts.Load())
	}
}

// Whatever a client sends as its context, the app gets one that is well formed, and never the client's own span.
func FuzzOutgoing(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b", true)
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01", "a=b,c=d", false)
	f.Add("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", true)
	f.Add("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more", "a=\r\nX: y", true)
	formed := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`)
	tracer := New(Options{URL: "http://127.0.0.1:1", Ratio: 0.5, Parent: ParentAny})
	f.Cleanup(func() { tracer.Close(context.Background()) })
	f.Fuzz(func(t *testing.T, parent, state string, trusted bool) {
		q := tracer.Begin(http.Header{Parent: {parent}, State: {state}}, trusted, time.Now())
		q.Asking()
		gotParent, gotState := q.Outgoing()
		if !formed.MatchString(gotParent) || regexp.MustCompile(`^00-0{32}|-0{16}-`).MatchString(gotParent) {
			t.Errorf("%q makes %q", parent, gotParent)
		}
		if q.parent.IsValid() && gotParent[3:35] != parent[3:35] || gotParent == parent {
			t.Errorf("%q makes %q", parent, gotParent)
		}
		if gotState != "" && (gotState != state || !q.parent.IsValid()) ||
			regexp.MustCompile(`[\r\n\x00]`).MatchString(gotState) {
			t.Errorf("tracestate %q makes %q", state, gotState)
		}
	})
}
