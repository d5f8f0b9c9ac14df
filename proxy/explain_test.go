package proxy

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/token"
)

// trace asks the gate about a raw request.
func (h *house) trace(text string, as Bearer) *Trace {
	h.t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		h.t.Fatal(err)
	}
	x := new(request.Exchange)
	x.Begin(silent{}, h.clock())
	x.Scheme = "http"
	if x.Host, err = route.CanonicalHost(r.Host); err == nil {
		err = x.Target.Parse(r.RequestURI)
	}
	if err != nil {
		return Refused("request", err)
	}
	return h.gate.Trace(x, r, as)
}

// TestTraceTellsWhatTheGateDecides asks the same of both, and no trace shows the token that it is about.
func TestTraceTellsWhatTheGateDecides(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := h.mint()
	cut := good[:len(good)-4]
	forged := cut + map[bool]string{true: "AAAA", false: "BAAA"}[good[len(good)-4:] != "AAAA"]
	expired := func(c *token.Claims) { c.IssuedAt, c.Expiry = c.IssuedAt-7200_000, c.IssuedAt-1 }
	stale := h.mint(expired)
	h.revoked.ids.Store("gone", true)
	h.revoked.tenants.Store("closed", true)
	seen := map[refusal.Reason]bool{}
	for _, c := range []struct{ name, method, path, bearer string }{
		{"good", "GET", "/t/acme/1", good},
		{"public", "GET", "/assets/x", ""},
		{"authenticated", "GET", "/me", good},
		{"no route", "GET", "/nowhere", good},
		{"another method", "POST", "/only", good},
		{"an odd path", "GET", "/t/a%2Fb/", good},
		{"no token", "GET", "/me", ""},
		{"in the query", "GET", "/me?access_token=" + good, ""},
		{"no JWT", "GET", "/me", "abc"},
		{"forged", "GET", "/me", forged},
		{"expired", "GET", "/me", stale},
		{"expired and forged", "GET", "/me", stale[:len(stale)-4] + forged[len(forged)-4:]},
		{"management", "GET", "/me", h.mint(func(c *token.Claims) { c.Scope = "issue_codes" })},
		{"another audience", "GET", "/me", h.mint(func(c *token.Claims) { c.Audience = []string{"https://x"} })},
		{
			"audience of another route", "GET", "/me",
			h.mint(func(c *token.Claims) { c.Audience = []string{"https://other.example"} }),
		},
		{"revoked", "GET", "/me", h.mint(func(c *token.Claims) { c.ID = "gone" })},
		{"a subject that is a client", "GET", "/me", h.mint(func(c *token.Claims) { c.Subject = "narrow" })},
		{"grantor gone", "GET", "/me", h.mint(func(c *token.Claims) { c.Grantor = "gone" })},
		{"grantor too narrow", "GET", "/me", h.mint(func(c *token.Claims) { c.Grantor = "narrow" })},
		{"unknown issuer", "GET", "/me", h.mint(func(c *token.Claims) { c.Issuer = "https://x" })},
		{"tenant missing", "GET", "/q", good},
		{"tenant twice", "GET", "/q?tenant=acme&tenant=acme", good},
		{"tenant malformed", "GET", "/t/a%20b/", good},
		{"tenant revoked", "GET", "/t/closed/", good},
		{"another tenant", "GET", "/t/other/", good},
		{
			"another action", "GET", "/t/acme/",
			h.mint(func(c *token.Claims) { c.Permissions[0].AllowedActions = []string{"LIST"} }),
		},
		{"global", "GET", "/global", good},
		{"foreign, cut", "GET", "/t/other/", h.mintForeign("https://idp.example", "")},
		{"foreign, by role", "GET", "/t/acme/", h.mintForeign("https://roles.example", `"roles":["reader"]`)},
	} {
		text := c.method + " " + c.path + " HTTP/1.1\r\nHost: app.example\r\n"
		if c.bearer != "" {
			text += "Authorization: Bearer " + c.bearer + "\r\n"
		}
		text += "Content-Length: 0\r\n\r\n"
		got, trace := h.verdict(text), h.trace(text, Bearer{})
		if trace.Allowed != (got.reached == 1) || trace.Reason != got.reason || trace.Reason != "" &&
			trace.Status != got.status {
			t.Errorf("%s: the gate answers %d %s, the trace says %t %d %s (%s)", c.name, got.status, got.reason, trace.Allowed,
				trace.Status, trace.Reason, trace.Detail)
		}
		seen[trace.Reason] = true
		text = string(must(json.Marshal(trace)))
		for _, part := range strings.Split(c.bearer, ".") {
			if len(part) > 20 && strings.Contains(text, part) {
				t.Errorf("%s: the trace shows the token: %s", c.name, text)
			}
		}
		last := trace.Steps[len(trace.Steps)-1]
		if (last.Outcome == StepRefused) == trace.Allowed {
			t.Errorf("%s: the last step is %+v", c.name, last)
		}
	}
	if len(seen) < 20 {
		t.Errorf("saw %d reasons", len(seen))
	}
}

// A whole trace, step by step.
func TestTraceOfARefusal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	trace := h.trace("GET /t/acme/7?x=1 HTTP/1.1\r\nHost: App.example:80\r\nAuthorization: Bearer "+
		h.mint(func(c *token.Claims) { c.Permissions[0].AllowedActions = []string{"LIST"} })+"\r\n\r\n", Bearer{})
	trace.Routes = slices.DeleteFunc(trace.Routes, func(r TracedRoute) bool { return !r.Matches })
	trace.Token = nil
	zero := 0
	want := &Trace{
		Reason: refusal.ActionDenied, Status: 403, Detail: "entry 0 does not hold READ",
		Needed:  `READ, or "*", among the actions of entry 0 (tenant "acme"), which decides alone`,
		Request: &TracedRequest{Method: "GET", Host: "app.example", Path: "/t/acme/7", Segments: []string{"t", "acme", "7"}},
		Routes:  []TracedRoute{{Route: "/t/{tenant}/", Path: "/t/{tenant}/", Verdict: "chosen", Matches: true}},
		Steps: []Step{
			{"route", StepPassed, "/t/{tenant}/"},
			{"bearer", StepPassed, "one, in Authorization"},
			{"token", StepPassed, `signed with key "` + h.config.Issuer.Keys[0].ID() + `" of issuer https://gate.example`},
			{"time", StepPassed, "until 2030-01-02T04:04:05Z"},
			{"kind", StepPassed, "an access token"},
			{"revocation", StepPassed, "not revoked"},
			{"audience", StepPassed, `this route takes ["https://api.example"]`},
			{"grant", StepPassed, `granted by client "web", which may still delegate it`},
			{"tenant", StepPassed, `"acme", from path.tenant`},
			{"permission", StepRefused, "action_denied: entry 0 does not hold READ"},
		},
		Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"LIST"}}},
		Tenant:      "acme", TenantFrom: "path.tenant", Deciding: &zero,
	}
	if trace.Chosen == nil || trace.Chosen.Name != "/t/{tenant}/" {
		t.Errorf("chosen: %v", trace.Chosen)
	}
	trace.Chosen = nil
	if diff := cmp.Diff(want, trace); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

// Without its signature a token is told apart, loudly, and the gate that serves never takes one so.
func TestTraceWithoutTheSignature(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := h.mint()
	other := h.mint(func(c *token.Claims) { c.Subject = "bob" })
	text := "GET /me HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer " +
		good[:strings.LastIndexByte(good, '.')] + other[strings.LastIndexByte(other, '.'):] + "\r\n\r\n"
	if got := h.verdict(text); got.reason != refusal.TokenSignatureInvalid {
		t.Fatalf("the gate says %+v", got)
	}
	trace := h.trace(text, Bearer{Unverified: true})
	if !trace.Allowed || !trace.Unverified {
		t.Errorf("allowed %t, unverified %t: %+v", trace.Allowed, trace.Unverified, trace.Steps)
	}
	if i := slices.IndexFunc(trace.Steps, func(s Step) bool { return s.Check == "signature" }); i < 0 ||
		trace.Steps[i].Outcome != StepSkipped {
		t.Errorf("the steps do not say that the signature was not looked at: %+v", trace.Steps)
	}
	if got := h.verdict(text); got.reason != refusal.TokenSignatureInvalid {
		t.Errorf("after the trace the gate says %+v", got)
	}
}

func TestTokenAloneTellsWhatItOpens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	trace := h.gate.TraceToken(h.mint(func(c *token.Claims) {
		c.Permissions = token.Permissions{
			{Tenant: "shut", AllowedActions: []string{}},
			{Tenant: "*", AllowedActions: []string{"READ"}},
		}
	}), false)
	if !trace.Allowed {
		t.Fatalf("%+v", trace)
	}
	var got []string
	for _, o := range trace.Opens {
		line := o.Route
		if o.Any {
			line += " any but"
		}
		got = append(got, strings.TrimSpace(line+" "+strings.Join(o.Tenants, " ")))
	}
	want := []string{
		"/t/{tenant}/ any but shut", "/odd/{tenant}/ any but shut", "/h any but shut", "/q any but shut", "/ any but shut",
		"/fixed acme", "/me", "/pass", "/small", "/only", "/signed acme", "/renamed", "/ws acme", "/ws-public", "/assets/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("opens (-want +got):\n%s", diff)
	}
	if bad := h.gate.TraceToken("abc", false); bad.Allowed || bad.Reason != refusal.TokenMalformed || bad.Opens != nil {
		t.Errorf("no token: %+v", bad)
	}
}
