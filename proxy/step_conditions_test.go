package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// with loads the house's settings with further routes.
func (h *house) with(routes ...string) {
	h.t.Helper()
	text := settings
	for _, r := range routes {
		text += "  - " + r + "\n"
	}
	h.load(text)
	h.build()
}

func get(path, bearer string, more ...string) string {
	text := "GET " + path + " HTTP/1.1\r\nHost: app.example\r\n"
	if bearer != "" {
		text += "Authorization: Bearer " + bearer + "\r\n"
	}
	for _, line := range more {
		text += line + "\r\n"
	}
	return text + "\r\n"
}

func TestAddressesThatMayCome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		allow, deny, client string
		want                refusal.Reason
	}{
		{"[127.0.0.0/8]", "", "127.0.0.1", ""},
		{"[127.0.0.0/8]", "", "::ffff:127.0.0.1", ""},
		{"[10.0.0.0/8]", "", "127.0.0.1", refusal.AddressDenied},
		{"", "[127.0.0.1]", "127.0.0.1", refusal.AddressDenied},
		{"", "[127.0.0.1]", "127.0.0.2", ""},
		{"[127.0.0.0/8]", "[127.0.0.1]", "127.0.0.1", refusal.AddressDenied},
		{"[\"fd00::/8\"]", "", "fd00::1", ""},
		{"[\"fd00::/8\"]", "", "fe80::1%eth0", refusal.AddressDenied},
		{"[0.0.0.0/0, \"::/0\"]", "", "", refusal.AddressDenied}, // a Unix socket's peer
		{"", "[10.0.0.0/8]", "", refusal.AddressDenied},
	} {
		keys := ""
		if c.allow != "" {
			keys += ", allow_from: " + c.allow
		}
		if c.deny != "" {
			keys += ", deny_from: " + c.deny
		}
		h := newHouse(t)
		h.with("{path: /near, require: authenticated, upstream: app"+keys+"}",
			"{path: /near-public, public: true, upstream: app"+keys+"}")
		for _, path := range []string{"/near", "/near-public"} {
			s := newStand(h, path, h.mint())
			s.p.x.Client = netip.Addr{}
			if c.client != "" {
				s.p.x.Client = netip.MustParseAddr(c.client)
			}
			if got := refusal.Of(s.judge()); got != c.want {
				t.Errorf("%s%s from %q: %q, want %q", path, keys, c.client, got, c.want)
			}
		}
		// A refused address learns nothing about tokens, and is asked for none.
		s := newStand(h, "/near", "x")
		s.p.x.Client = netip.Addr{}
		if got := refusal.Of(s.judge()); got != refusal.AddressDenied {
			t.Errorf("a bad token from nowhere: %q", got)
		}
	}
	h := newHouse(t)
	h.with("{path: /near, require: authenticated, upstream: app, allow_from: [10.0.0.0/8], shadow: true}")
	if got := h.verdict(get("/near", h.mint())); got.status != 403 || got.challenge != "" {
		t.Errorf("in shadow, with a challenge that no token would answer: %+v", got)
	}
}

func TestIssuersAndScopesOfARoute(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.with(`{path: /idp, require: {issuers: ["https://idp.example"]}, upstream: app}`,
		`{path: /orders, require: {scopes: [orders, "items:read"]}, upstream: app}`,
		`{path: "/o/{tenant}/", require: {tenant_from: path.tenant, action: READ, scopes: [orders]}, upstream: app}`)
	idp := func(scope string) string {
		return h.mintForeign("https://idp.example", "", func(c *token.Claims) { c.Scope = scope })
	}
	for _, c := range []struct {
		name, path, bearer string
		want               refusal.Reason
	}{
		{"its issuer", "/idp", idp(""), ""},
		{"ours", "/idp", h.mint(), refusal.IssuerDenied},
		{"another", "/idp", h.mintForeign("https://roles.example", ""), refusal.IssuerDenied},
		{"all words", "/orders", idp("openid items:read orders"), ""},
		{"one word", "/orders", idp("orders"), refusal.ScopeMissing},
		{"a part of a word", "/orders", idp("orders items:readonly"), refusal.ScopeMissing},
		{"no scope", "/orders", idp(""), refusal.ScopeMissing},
		{"ours has none", "/orders", h.mint(), refusal.ScopeMissing},
		{"no token", "/orders", "", refusal.TokenMissing},
		{"beside an action", "/o/acme/", idp("orders"), ""},
		{"the action alone", "/o/acme/", idp("x"), refusal.ScopeMissing},
		{"the scope alone", "/o/other/", h.mintForeign("https://idp.example", "", func(c *token.Claims) {
			c.Scope, c.Permissions = "orders", nil
		}), refusal.TenantDenied},
	} {
		text := get(c.path, c.bearer)
		got, trace := h.verdict(text), h.trace(text, Bearer{})
		if got.reason != c.want || trace.Reason != c.want || (got.reached == 1) != (c.want == "") {
			t.Errorf("%s: %d %s, traced %s; want %s", c.name, got.status, got.reason, trace.Reason, c.want)
		}
		if c.want == refusal.ScopeMissing || c.want == refusal.IssuerDenied {
			if got.status != 403 || !strings.Contains(got.challenge, `error="insufficient_scope"`) || trace.Needed == "" {
				t.Errorf("%s: %d %q, needed %q", c.name, got.status, got.challenge, trace.Needed)
			}
		}
	}
}

func TestOptionalToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.with("{path: /feed, require: optional, upstream: app, forward_token: true}")
	good := h.mint()
	for _, c := range []struct {
		name   string
		lines  []string
		want   refusal.Reason
		status int
		who    string
	}{
		{"none", nil, "", 200, ""},
		{"none, and an identity of the client's own", []string{"X-Jotgate-Subject: root"}, "", 200, ""},
		{"a good one", []string{"Authorization: Bearer " + good}, "", 200, "alice"},
		{"a bad one", []string{"Authorization: Bearer " + good + "x"}, refusal.TokenMalformed, 401, ""},
		{
			"an expired one",
			[]string{"Authorization: Bearer " + h.mint(func(c *token.Claims) { c.Expiry = c.IssuedAt - 1 })},
			refusal.TokenExpired, 401, "",
		},
		{"an empty one", []string{"Authorization: Bearer "}, refusal.TokenMalformed, 401, ""},
		{"an empty field", []string{"Authorization:"}, refusal.TokenSchemeUnsupported, 401, ""},
		{"Basic", []string{"Authorization: Basic eDp5"}, refusal.TokenSchemeUnsupported, 401, ""},
		{
			"two",
			[]string{"Authorization: Bearer " + good, "Authorization: Bearer " + good},
			refusal.CredentialsMultiple, 400,
			"",
		},
	} {
		text := get("/feed", "", c.lines...)
		got, trace := h.verdict(text), h.trace(text, Bearer{})
		if got.reason != c.want || got.status != c.status || trace.Reason != c.want || trace.Allowed != (c.want == "") {
			t.Errorf("%s: %d %s, traced %t %s; want %d %s", c.name, got.status, got.reason, trace.Allowed, trace.Reason,
				c.status, c.want)
		}
		if c.want == "" {
			if sent := strings.Join(h.app.seen()[0].get("X-Jotgate-Subject"), ","); sent != c.who {
				t.Errorf("%s: the app is told %q, want %q", c.name, sent, c.who)
			}
		}
	}
	if got := h.verdict(get("/feed?access_token="+good, "")); got.reason != refusal.TokenInQuery {
		t.Errorf("in the query: %+v", got)
	}
}

// TestRateLimits: whose turns a request takes, and what a request over the limit is answered.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.with(`{path: "/r/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: app, rate_limit: `+
		`{requests: 2, per: 1m, burst: 3, by: tenant}}`,
		`{path: /subject, require: authenticated, upstream: app, rate_limit: [{requests: 2, by: subject}, {requests: 5, `+
			`by: client}]}`,
		`{path: /ip, require: authenticated, upstream: app, rate_limit: {requests: 2, by: ip}}`,
		`{path: /maybe, require: optional, upstream: app, rate_limit: {requests: 2, by: subject}}`)
	tokenOf := func(subject string) string {
		return h.mint(func(c *token.Claims) {
			c.Subject, c.Permissions = subject, token.Permissions{{Tenant: "*", AllowedActions: []string{"READ"}}}
		})
	}
	statuses := func(n int, text string) (all []int) {
		for range n {
			all = append(all, h.verdict(text).status)
		}
		return all
	}
	expect := func(name string, got []int, want ...int) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	alice, bob := tokenOf("alice"), tokenOf("bob")
	expect("the burst of a tenant", statuses(4, get("/r/acme/", alice)), 200, 200, 200, 429)
	expect("the same tenant, another subject", statuses(1, get("/r/acme/", bob)), 429)
	expect("another tenant", statuses(1, get("/r/other/", alice)), 200)
	over := h.raw(get("/r/acme/", alice))
	for name, want := range map[string]string{
		"Retry-After": "30", "RateLimit-Limit": "2", "RateLimit-Remaining": "0", "RateLimit-Reset": "90",
		"RateLimit-Policy": `"tenant";q=2;w=60`, "RateLimit": `"tenant";r=0;t=30`,
	} {
		if got := over.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if over.reason != refusal.RateLimited || over.status != 429 {
		t.Errorf("over the limit: %+v", over)
	}
	h.now.Add(29_000)
	expect("before the turn is back", statuses(1, get("/r/acme/", alice)), 429)
	h.now.Add(1_000)
	expect("a turn is back", statuses(2, get("/r/acme/", alice)), 200, 429)
	h.build() // as a reload does, with the same buckets
	expect("after a reload", statuses(1, get("/r/acme/", alice)), 429)
	expect("refused requests take no turns of others", statuses(3, get("/subject", "x")), 401, 401, 401)
	expect("a subject", statuses(3, get("/subject", alice)), 200, 200, 429)
	expect("another subject", statuses(2, get("/subject", bob)), 200, 200)
	expect("their client's last turn", statuses(2, get("/subject", tokenOf("carol"))), 200, 429)
	expect("an address counts bad tokens", statuses(3, get("/ip", "x")), 401, 401, 429)
	expect("an address has no turn for a good one", statuses(1, get("/ip", alice)), 429)
	expect("without a token by address", statuses(3, get("/maybe", "")), 200, 200, 429)
	expect("with one by subject", statuses(3, get("/maybe", alice)), 200, 200, 429)
	if trace := h.trace(get("/ip", alice), Bearer{}); !trace.Allowed {
		t.Errorf("a trace counts: %+v", trace)
	}
}

func TestNetworkOfAClient(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3::4": "2001:db8:1:2::", "2001:db8:1:2:ffff::": "2001:db8:1:2::", "2001:db8:1:3::1": "2001:db8:1:3::",
		"fe80::1%eth0": "fe80::",
	} {
		if got := network(netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: %s, want %s", client, got, want)
		}
	}
}

// TestBucketsAreBounded: however many come, a limit remembers a bounded number, the latest.
func TestBucketsAreBounded(t *testing.T) {
	t.Parallel()
	b, release, err := new(Rates).open("x")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	now := time.Unix(1_800_000_000, 0)
	for i := range 2 * bucketsAtMost {
		b.take(fmt.Sprint(i), now, time.Hour, 1)
	}
	if b.full.Len() != bucketsAtMost {
		t.Errorf("%d buckets", b.full.Len())
	}
	if wait, _ := b.take(fmt.Sprint(2*bucketsAtMost-1), now, time.Hour, 1); wait != time.Hour {
		t.Errorf("the latest has to wait %v", wait)
	}
	if wait, _ := b.take(fmt.Sprint(2*bucketsAtMost-1), now.Add(-3*time.Hour), time.Hour, 1); wait != 0 {
		t.Errorf("a clock that goes back shuts out for %v", wait)
	}
}
