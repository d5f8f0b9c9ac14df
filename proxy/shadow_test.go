package proxy

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// inShadow are the settings with every route that judges in shadow.
func inShadow() string {
	var lines []string
	for line := range strings.Lines(settings) {
		if strings.Contains(line, "require: ") {
			line = strings.Replace(line, "upstream: ", "shadow: true, upstream: ", 1)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// told are the fields that the upstream got and that are about who asks.
func told(r *received) (fields []string) {
	for _, f := range r.fields {
		if folded := strings.ToLower(f); strings.HasPrefix(folded, "x-jotgate") || strings.HasPrefix(folded, "x_jotgate") ||
			strings.HasPrefix(folded, "authorization") || strings.HasPrefix(folded, "x-tenant") {
			fields = append(fields, f)
		}
	}
	return fields
}

// What a shadow lets through is what another token, or another tenant's name, would have let through. No identity
// is made up on the way, and nothing says that the request was allowed.
func TestAShadowLetsThroughWhatItTells(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(inShadow())
	good := h.mint()
	alice := []string{
		"X-Jotgate-Client: web", "X-Jotgate-Issuer: https://gate.example", "X-Jotgate-Subject: alice",
		"X-Jotgate-Token-Id: id-1",
	}
	forged := []string{
		"X-Jotgate-Subject: root", "X_Jotgate_Subject: root", "X-Jotgate-Actions: *",
		"X-Jotgate-Assertion: a.b.c", "X-Jotgate-Tenant: acme",
	}
	h.revoked.ids.Store("gone", true)
	for _, c := range []struct {
		name, target, bearer string
		lines                []string
		want                 refusal.Reason
		told                 []string
	}{
		{"no token", "/t/acme/x", "", nil, refusal.TokenMissing, nil},
		{"another scheme", "/t/acme/x", "", []string{"Authorization: Basic YTpi"}, refusal.TokenSchemeUnsupported, nil},
		{"in the query", "/t/acme/x?access_token=" + good, "", nil, refusal.TokenInQuery, nil},
		{"no JWT", "/t/acme/x", "abc", nil, refusal.TokenMalformed, nil},
		{
			"expired", "/t/acme/x", h.mint(func(c *token.Claims) { c.IssuedAt -= 7200_000; c.Expiry = c.IssuedAt + 1 }), nil,
			refusal.TokenExpired, nil,
		},
		{"revoked", "/t/acme/x", h.mint(func(c *token.Claims) { c.ID = "gone" }), nil, refusal.TokenRevoked, nil},
		{
			"a management token", "/me", h.mint(func(c *token.Claims) { c.Scope = "issue_codes" }), nil, refusal.TokenManagement,
			nil,
		},
		{"another audience", "/aud", good, nil, refusal.TokenAudienceMismatch, nil},
		{
			"its grantor is gone", "/me", h.mint(func(c *token.Claims) { c.Grantor = "gone" }), nil, refusal.GrantorUnknown,
			nil,
		},
		{
			"a subject of ours", "/me", h.mint(func(c *token.Claims) { c.Subject = "narrow" }), nil,
			refusal.TokenSubjectReserved, nil,
		},
		{"tenant denied", "/t/other/x", good, nil, refusal.TenantDenied, alice},
		{
			"action denied", "/t/acme/x", h.mint(func(c *token.Claims) { c.Permissions[0].AllowedActions = []string{"LIST"} }),
			nil, refusal.ActionDenied, alice,
		},
		{
			"no assertion either", "/signed", h.mint(func(c *token.Claims) { c.Permissions = nil }), nil, refusal.TenantDenied,
			alice,
		},
		{"tenant missing", "/h", good, nil, refusal.TenantMissing, alice},
		{
			"tenant twice", "/h", good,
			[]string{"X-Tenant: acme", "X-Tenant: other"},
			refusal.TenantAmbiguous,
			slices.Concat(alice, []string{"X-Tenant: acme", "X-Tenant: other"}),
		},
		{
			"tenant malformed", "/h", good,
			[]string{"X-Tenant: *"},
			refusal.TenantMalformed,
			slices.Concat(alice, []string{"X-Tenant: *"}),
		},
		{
			"no token where it would pass on", "/pass", "",
			[]string{"Authorization: Basic YTpi"},
			refusal.TokenSchemeUnsupported,
			[]string{"Authorization: Basic YTpi"},
		},
		{
			"allowed", "/t/acme/x", good, nil, "",
			slices.Concat([]string{"X-Jotgate-Actions: READ,LIST"}, alice[:3], []string{"X-Jotgate-Tenant: acme"}, alice[3:]),
		},
	} {
		h.app.forget()
		got := h.get(c.target, c.bearer, slices.Concat(c.lines, forged)...)
		if got.status != 200 || got.body != "ok" || got.reason != "" {
			t.Errorf("%s: got %+v", c.name, got)
			continue
		}
		if x := h.visit(); x.Shadow != c.want || strings.Contains(x.ShadowDetail, good) {
			t.Errorf("%s: would be refused for %q (%s), want %q", c.name, x.Shadow, x.ShadowDetail, c.want)
		}
		if d := cmp.Diff(c.told, told(h.app.seen()[0])); d != "" {
			t.Errorf("%s: the upstream is told (-want +got):\n%s", c.name, d)
		}
		trace := h.trace(head("GET", c.target, c.bearer, c.lines...), Bearer{})
		if trace.Reason != c.want || trace.Allowed != (c.want == "") || trace.Shadow != (c.want != "") {
			t.Errorf("%s: the trace says %+v", c.name, trace)
		}
	}
}

// A shadow is about tokens, tenants and permissions alone: what two readers could take differently, what no route has,
// and what a limit forbids stays refused.
func TestAShadowLetsNothingElseThrough(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(inShadow())
	good := h.mint()
	for _, c := range []struct {
		name, text string
		status     int
		want       refusal.Reason
	}{
		{"an encoded slash", head("GET", "/t/a%2Fb/", good), 400, refusal.PathAmbiguous},
		{"dot segments", head("GET", "/t/acme/../../me", ""), 400, refusal.PathAmbiguous},
		{"two bearers", head("GET", "/me", good, "Authorization: Bearer "+good), 400, refusal.CredentialsMultiple},
		{"a bearer beside the query", head("GET", "/me?access_token=x", good), 400, refusal.CredentialsMultiple},
		{"a bearer beside a cookie", head("GET", "/me", good, "Cookie: access_token=x"), 400, refusal.CredentialsMultiple},
		{"no route", head("GET", "/nowhere", ""), 404, refusal.RouteNotFound},
		{"another method", head("DELETE", "/only", ""), 405, refusal.MethodNotAllowed},
		{"a stream that is not allowed", head("GET", "/me", "", upgradeLines...), 400, refusal.UpgradeNotAllowed},
		{"too long a body", head("POST", "/small", "", "Content-Length: 11") + "hello world", 413, refusal.BodyTooLarge},
	} {
		if got := h.raw(c.text); got.status != c.status || got.reason != c.want {
			t.Errorf("%s: got %d %s", c.name, got.status, got.reason)
		}
		if trace := h.trace(c.text, Bearer{}); trace.Shadow && c.want != refusal.UpgradeNotAllowed &&
			c.want != refusal.BodyTooLarge {
			t.Errorf("%s: the trace says that it is let through", c.name)
		}
	}
	if n := len(h.app.seen()); n != 0 {
		t.Errorf("the upstream saw %d of them", n)
	}
}

// Every reason of the list is on one side; a new one of the request's own stays refused.
func TestWhatAShadowSpares(t *testing.T) {
	t.Parallel()
	var got []string
	for _, r := range refusal.All() {
		own := slices.ContainsFunc([]string{"token_", "tenant_", "proof_"},
			func(p string) bool { return strings.HasPrefix(string(r), p) })
		if !spared(r) && own {
			t.Errorf("%s is refused in shadow", r)
		}
		if spared(r) && !own {
			got = append(got, string(r))
		}
	}
	slices.Sort(got)
	want := []string{
		"action_denied", "assertion_used", "claim_denied",
		"client_cert_refused", // the listener's, before any route
		"client_unauthenticated", "credential_unknown", "cross_site",
		"delegate_exceeded", "grantor_not_covering",
		// the token side's are never the gate's
		"grantor_unknown", "issuer_denied", "issuer_unavailable", "master_required", "original_not_covered",
		"scope_missing",
		"ticket_mismatch", "ticket_used",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("spared beside the token's and the tenant's own (-want +got):\n%s", d)
	}
}

// A stream goes on when its token is revoked, in shadow; elsewhere it is cut.
func TestAShadowDoesNotCutStreams(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(inShadow())
	all := h.script("\x81\x02hi")
	client, in := h.open101("/ws", h.mint())
	b := make([]byte, 4)
	if _, err := io.ReadFull(in, b); err != nil {
		t.Fatal(err)
	}
	h.revoked.ids.Store("id-1", true)
	for deadline := time.Now().Add(patience); h.revoked.refused.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the token was not judged again")
		}
	}
	io.WriteString(client, "\x81\x82\x00\x00\x00\x00yo")
	client.(*net.TCPConn).CloseWrite()
	if got := <-all; got != "\x81\x82\x00\x00\x00\x00yo" {
		t.Errorf("the upstream got %q", got)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("the client got %q %v", rest, err)
	}
	if x := h.visit(); x.Shadow != refusal.TokenRevoked || x.Reason != "" {
		t.Errorf("noted: %q, %q", x.Shadow, x.Reason)
	}
}

// An issuer whose keys are not at hand does not stop an app that is in use.
func TestAShadowOutlivesAnIssuer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(inShadow())
	good := h.mint()
	h.keys.Store((*jose.KeySet)(nil))
	if got := h.get("/me", good); got.status != 200 || h.visit().Shadow != refusal.IssuerUnavailable {
		t.Errorf("got %d, would be refused for %q", got.status, h.visit().Shadow)
	}
}
