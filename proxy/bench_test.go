package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// A stand is a request that can be judged again and again, without a server around it.
type stand struct {
	h *house
	p inbound
}

func newStand(h *house, target, bearer string) *stand {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header["Authorization"] = []string{"Bearer " + bearer}
	r.Header["Accept"], r.Header["User-Agent"], r.Header["Cookie"] = []string{"*/*"}, []string{"bench"}, []string{"a=b"}
	x := new(request.Exchange)
	x.Begin(httptest.NewRecorder(), h.clock())
	x.Host = "app.example"
	if err := x.Target.Parse(target); err != nil {
		h.t.Fatal(err)
	}
	return &stand{h: h, p: inbound{x: x, r: r, now: h.clock()}}
}

// judge begins anew each time, as a request does.
func (s *stand) judge() error {
	s.p = inbound{x: s.p.x, r: s.p.r, now: s.p.now}
	return s.h.gate.admit(&s.p)
}

// What judging allocates is gated; the inbound itself is one more.
func TestJudgingAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates itself: only the verdicts are looked at")
	}
	h := newHouse(t)
	good := h.mint()
	other := h.mint(func(c *token.Claims) { c.Subject = "bob" })
	forged := good[:len(good)-86] + other[len(other)-86:]
	for _, c := range []struct {
		name, target, bearer string
		want                 refusal.Reason
		most                 float64
	}{
		{"hit", "/t/acme/x", good, "", 0},
		{"hit, tenant from the query", "/q?tenant=acme", good, "", 2},
		{"hit, denied", "/t/other/x", good, refusal.TenantDenied, 4},
		{"refused by its letters", "/t/acme/x", "a b", refusal.TokenMalformed, 6},
		{"refused by its shape", "/t/acme/x", "abc", refusal.TokenMalformed, 6},
		{"bad signature", "/t/acme/x", forged, refusal.TokenSignatureInvalid, 50},
	} {
		s := newStand(h, c.target, c.bearer)
		for range 2 {
			if got := refusal.Of(s.judge()); got != c.want {
				t.Fatalf("%s: got %q", c.name, got)
			}
		}
		if n := testing.AllocsPerRun(200, func() { _ = s.judge() }); n > c.most && !raceEnabled {
			t.Errorf("%s: %v allocations, %v are allowed", c.name, n, c.most)
		}
	}
}

func TestHeadersAllocateLittle(t *testing.T) {
	h := newHouse(t)
	s := newStand(h, "/t/acme/x", h.mint())
	if err := s.judge(); err != nil {
		t.Fatal(err)
	}
	s.p.r.Header["X_Jotgate_Subject"] = s.p.r.Header["Accept"]
	f := &forwarding{inbound: &s.p, gate: h.gate}
	q := &h1.Request{Method: "GET", Target: "/", Host: "x", Fields: f}
	n := testing.AllocsPerRun(200, func() {
		var err error
		if f.own, err = h.gate.own(&s.p, f.room[:0]); err != nil {
			t.Fatal(err)
		}
		header, err := q.Header()
		if err != nil || header["X-Jotgate-Subject"][0] != "alice" || header["X_jotgate_subject"] != nil {
			t.Fatal(header, err)
		}
	})
	if n > 24 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkJudge(b *testing.B) {
	h := newHouse(b)
	good := h.mint()
	other := h.mint(func(c *token.Claims) { c.Subject = "bob" })
	misses := make([]string, 2048)
	for i := range misses {
		misses[i] = h.mint(func(c *token.Claims) { c.ID = fmt.Sprint(i) })
	}
	run := func(name, bearer string, fine bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := newStand(h, "/t/acme/x", bearer)
			for b.Loop() {
				if err := s.judge(); (err == nil) != fine {
					b.Fatal(err)
				}
			}
		})
	}
	run("hit", good, true)
	run("refused/shape", "abc", false)
	run("refused/signature", good[:len(good)-86]+other[len(other)-86:], false)
	b.Run("hit/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			s := newStand(h, "/t/acme/x", good)
			for pb.Next() {
				if err := s.judge(); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("miss", func(b *testing.B) {
		h.cache = NewCache(0)
		h.build()
		b.ReportAllocs()
		s := newStand(h, "/t/acme/x", good)
		i := 0
		for b.Loop() {
			s.p.r.Header["Authorization"][0] = "Bearer " + misses[i%len(misses)]
			i++
			if err := s.judge(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkThrough is a cached token through real sockets, the upstream and the client among the cost.
func BenchmarkThrough(b *testing.B) {
	h := newHouse(b)
	text := head("GET", "/t/acme/x", h.mint())
	c, in := h.dial()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write([]byte(text)); err != nil {
			b.Fatal(err)
		}
		if got := h.read(in, "GET"); got.status != 200 {
			b.Fatal(got)
		}
	}
}
