package proxy

import (
	"slices"
	"testing"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// TestAStepIsSeenEverywhere adds one step to the list. The gate that serves, the trace of a request with a token, and
// the two trials of a policy's tests (what a token claims, what it opens) all run it and tell of it.
func TestAStepIsSeenEverywhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.further = []step{{
		name: "header", wanted: func(r *config.Route) bool { return r.Name == "/me" },
		run: func(_ *Gate, p *inbound) error {
			if p.r.Header.Get("Test-Refused") != "" {
				return refusal.Because(refusal.TenantDenied, "by a test")
			}
			return nil
		},
		say:  func(*Gate, *inbound) string { return "not there" },
		need: func(*Gate, *inbound, refusal.Reason) string { return "a request without the header" },
	}}
	h.build()
	good := h.mint()
	bad := "Test-Refused: yes\r\n"
	text := func(path, more string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer " + good + "\r\n" + more + "\r\n"
	}
	if got := h.verdict(text("/me", "")); got.reached != 1 {
		t.Errorf("serving without the header: %+v", got)
	}
	if got := h.verdict(text("/me", bad)); got.status != 403 || got.reached != 0 || got.reason != refusal.TenantDenied {
		t.Errorf("serving with the header: %+v", got)
	}
	if got := h.verdict(text("/t/acme/1", bad)); got.reached != 1 {
		t.Errorf("a route that does not want the step: %+v", got)
	}
	for name, as := range map[string]Bearer{
		"explain":                     {},
		"a policy test's claims":      {Claims: string(claimsOf(h))},
		"a policy test's permissions": {Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"READ"}}}},
	} {
		trace := h.trace(text("/me", ""), as)
		if !trace.Allowed || !slices.Contains(trace.Steps, Step{"header", StepPassed, "not there"}) {
			t.Errorf("%s: %+v", name, trace)
		}
		trace = h.trace(text("/me", bad), as)
		if trace.Allowed || trace.Needed != "a request without the header" || trace.Status != 403 ||
			!slices.Contains(trace.Steps, Step{"header", StepRefused, "tenant_denied: by a test"}) {
			t.Errorf("%s, refused: %+v", name, trace)
		}
		trace = h.trace(text("/t/acme/1", bad), as)
		if !trace.Allowed || slices.ContainsFunc(trace.Steps, func(s Step) bool { return s.Check == "header" }) {
			t.Errorf("%s, a route that does not want the step: %+v", name, trace)
		}
	}
}

// TestASkippedStepOpensNothing: what only a trial may skip refuses a request that is served.
func TestASkippedStepOpensNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.further = []step{{name: "skips", run: func(*Gate, *inbound) error { return skipped("cannot tell") }}}
	h.build()
	text := "GET /me HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer " + h.mint() + "\r\n\r\n"
	if got := h.verdict(text); got.status != 500 || got.reached != 0 {
		t.Errorf("%+v", got)
	}
	if trace := h.trace(text, Bearer{}); !trace.Allowed ||
		!slices.Contains(trace.Steps, Step{"skips", StepSkipped, "cannot tell"}) {
		t.Errorf("%+v", trace)
	}
}

func claimsOf(h *house) []byte { return jose.EncodeClaims(nil, h.claims()) }
