package proxy

import (
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A verdict is what a request got, as far as a table can say it.
type verdict struct {
	status    int
	reason    refusal.Reason
	challenge string
	reached   int // requests that the upstream counted
}

func (h *house) verdict(text string) verdict {
	h.t.Helper()
	h.app.forget()
	got := h.raw(text)
	return verdict{got.status, got.reason, got.header.Get("WWW-Authenticate"), len(h.app.seen())}
}

const (
	noBearer     = `Bearer realm="jotgate"`
	badRequest   = `Bearer realm="jotgate", error="invalid_request"`
	badToken     = `Bearer realm="jotgate", error="invalid_token"`
	insufficient = `Bearer realm="jotgate", error="insufficient_scope"`
)

func TestOneCredentialInOnePlace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := h.mint()
	auth := "Authorization: Bearer " + good
	for _, c := range []struct {
		name, target string
		lines        []string
		want         verdict
	}{
		{"none", "/me", nil, verdict{401, refusal.TokenMissing, noBearer, 0}},
		{"good", "/me", []string{auth}, verdict{200, "", "", 1}},
		{"scheme in capitals", "/me", []string{"authorization: BEARER " + good}, verdict{200, "", "", 1}},
		{"two spaces", "/me", []string{"Authorization: Bearer  " + good}, verdict{200, "", "", 1}},
		{"two headers", "/me", []string{auth, auth}, verdict{400, refusal.CredentialsMultiple, badRequest, 0}},
		{
			"two headers, one empty", "/me",
			[]string{auth, "Authorization:"},
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
		{"two in one header", "/me", []string{auth + ", Bearer " + good}, verdict{401, refusal.TokenMalformed, badToken, 0}},
		{"beside the query", "/me?access_token=" + good, []string{auth}, verdict{
			400, refusal.CredentialsMultiple, badRequest,
			0,
		}},
		{"beside an empty member", "/me?access_token", []string{auth}, verdict{
			400, refusal.CredentialsMultiple, badRequest,
			0,
		}},
		{
			"beside an escaped member", "/me?x&%61ccess_token=1",
			[]string{auth},
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
		{
			"beside a member after ;", "/me?x=1;access_token=1",
			[]string{auth},
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
		{
			"beside a cookie", "/me",
			[]string{auth, "Cookie: a=b; access_token=" + good},
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
		{"beside another cookie", "/me", []string{auth, "Cookie: session=access_token"}, verdict{200, "", "", 1}},
		{"query alone", "/me?access_token=" + good, nil, verdict{401, refusal.TokenInQuery, noBearer, 0}},
		{"a member with a longer name", "/me?access_tokens=1", []string{auth}, verdict{200, "", "", 1}},
		{"cookie is none", "/me", []string{"Cookie: access_token=" + good}, verdict{401, refusal.TokenMissing, noBearer, 0}},
		{"basic", "/me", []string{"Authorization: Basic d2ViOng="}, verdict{
			401, refusal.TokenSchemeUnsupported, noBearer,
			0,
		}},
		{
			"bearer without a token", "/me",
			[]string{"Authorization: Bearer"},
			verdict{401, refusal.TokenMalformed, badToken, 0},
		},
		{"bearers", "/me", []string{"Authorization: Bearers " + good}, verdict{
			401, refusal.TokenSchemeUnsupported, noBearer,
			0,
		}},
		{"tab", "/me", []string{"Authorization: Bearer\t" + good}, verdict{401, refusal.TokenSchemeUnsupported, noBearer, 0}},
		{"token and more", "/me", []string{auth + " x"}, verdict{401, refusal.TokenMalformed, badToken, 0}},
		{
			"proxy-authorization is none", "/me",
			[]string{"Proxy-Authorization: Bearer " + good},
			verdict{401, refusal.TokenMissing, noBearer, 0},
		},
		{
			"too large", "/me",
			[]string{"Authorization: Bearer " + strings.Repeat("a", 8193)},
			verdict{401, refusal.TokenTooLarge, badToken, 0},
		},
		{
			"dots", "/me",
			[]string{"Authorization: Bearer " + strings.Repeat(".", 8192)},
			verdict{401, refusal.TokenMalformed, badToken, 0},
		},
		{"public route judges none", "/assets/x", nil, verdict{200, "", "", 1}},
		{
			"public route judges no bad one", "/assets/x?access_token=1",
			[]string{"Authorization: Bearer x"},
			verdict{200, "", "", 1},
		},
		{
			"OPTIONS needs one as well", "/me",
			[]string{"Access-Control-Request-Method: GET"},
			verdict{401, refusal.TokenMissing, noBearer, 0},
		},
	} {
		method := "GET"
		if strings.HasPrefix(c.name, "OPTIONS") {
			method = "OPTIONS"
		}
		if got := h.verdict(head(method, c.target, "", c.lines...)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestTokensThatOpenNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	set := func(f func(*token.Claims)) string { return h.mint(f) }
	refused := func(r refusal.Reason) verdict { return verdict{401, r, badToken, 0} }
	good, other := h.mint(), set(func(c *token.Claims) { c.Subject = "bob" })
	anyAction := token.Permissions{{Tenant: "acme", AllowedActions: []string{"*"}}}
	for _, c := range []struct {
		name, bearer string
		want         verdict
	}{
		{"good", good, verdict{200, "", "", 1}},
		{
			"another token's signature", good[:strings.LastIndexByte(good, '.')] + other[strings.LastIndexByte(other, '.'):],
			refused(refusal.TokenSignatureInvalid),
		},
		{"signature cut", good[:len(good)-1], refused(refusal.TokenMalformed)},
		{"padding", good + "=", refused(refusal.TokenMalformed)},
		{"five parts", good + ".x.y", refused(refusal.TokenMalformed)},
		{"expired now", set(func(c *token.Claims) { c.Expiry = h.now.Load() / 1000 * 1000 }), refused(refusal.TokenExpired)},
		{"not yet", set(func(c *token.Claims) { c.NotBefore = h.now.Load() + 100_000 }), refused(refusal.TokenNotYetValid)},
		{"lives too long", set(func(c *token.Claims) { c.Expiry += 48 * 3600_000 }), refused(refusal.TokenLifetimeTooLong)},
		{
			"audience of others", set(func(c *token.Claims) { c.Audience = []string{"https://x.example"} }),
			refused(refusal.TokenAudienceMismatch),
		},
		{
			"audience of another route", set(func(c *token.Claims) { c.Audience = []string{"https://other.example"} }),
			refused(refusal.TokenAudienceMismatch),
		},
		{
			"unknown issuer", set(func(c *token.Claims) { c.Issuer = "https://evil.example" }),
			refused(refusal.TokenIssuerUnknown),
		},
		{
			"our key, their issuer", set(func(c *token.Claims) { c.Issuer = "https://idp.example" }),
			refused(refusal.TokenKeyUnknown),
		},
		{"their key, our issuer", h.mintForeign("https://gate.example", ""), refused(refusal.TokenKeyUnknown)},
		{"management by scope", set(func(c *token.Claims) { c.Scope = "issue_codes" }), refused(refusal.TokenManagement)},
		{"management by any scope", set(func(c *token.Claims) { c.Scope = "read" }), refused(refusal.TokenManagement)},
		{"management by audience", set(func(c *token.Claims) {
			c.Audience = []string{
				"https://gate.example",
				"https://api.example",
			}
		}), refused(refusal.TokenManagement)},
		{"no grantor", set(func(c *token.Claims) { c.Grantor = "" }), refused(refusal.GrantorUnknown)},
		{"grantor that is gone", set(func(c *token.Claims) { c.Grantor = "old" }), refused(refusal.GrantorUnknown)},
		{"client that is gone", set(func(c *token.Claims) { c.ClientID = "old" }), refused(refusal.GrantorUnknown)},
		{
			"grantor that hands on less", set(func(c *token.Claims) { c.Grantor, c.Permissions = "narrow", anyAction }),
			refused(refusal.GrantorNotCovering),
		},
		{
			"own token beyond its permissions", set(func(c *token.Claims) { c.Subject, c.Permissions = "web", anyAction }),
			refused(refusal.GrantorNotCovering),
		},
		{
			"own token", set(func(c *token.Claims) { c.Subject, c.Permissions[0].AllowedActions = "web", []string{"READ"} }),
			verdict{200, "", "", 1},
		},
		{
			"subject of another client", set(func(c *token.Claims) { c.Subject = "narrow" }),
			refused(refusal.TokenSubjectReserved),
		},
		{
			"subject of the client, granted by another", set(func(c *token.Claims) { c.Subject, c.Grantor = "web", "narrow" }),
			refused(refusal.TokenSubjectReserved),
		},
		{
			"application of a client", set(func(c *token.Claims) { c.Application = "narrow" }),
			refused(refusal.TokenSubjectReserved),
		},
		{
			"foreign subject of a client", h.mintForeign("https://idp.example", "", func(c *token.Claims) { c.Subject = "web" }),
			refused(refusal.TokenSubjectReserved),
		},
		{
			"foreign client_id of a client",
			h.mintForeign("https://idp.example", "", func(c *token.Claims) { c.ClientID = "web" }),
			refused(refusal.TokenSubjectReserved),
		},
		{
			"subject with a newline", set(func(c *token.Claims) { c.Subject = "a\r\nX-Jotgate-Tenant: b" }),
			refused(refusal.TokenIdentityRefused),
		},
		{
			"action with a NUL", set(func(c *token.Claims) { c.Permissions[0].AllowedActions = []string{"READ", "\x00"} }),
			refused(refusal.TokenIdentityRefused),
		},
		{
			"revoked", func() string { h.revoked.ids.Store("gone", 1); return set(func(c *token.Claims) { c.ID = "gone" }) }(),
			refused(refusal.TokenRevoked),
		},
	} {
		// Twice: a refusal is the same from the cache.
		for range 2 {
			if got := h.verdict(head("GET", "/t/acme/", c.bearer)); got != c.want {
				t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
			}
		}
	}
	if got := h.verdict(head("GET", "/aud", good)); got != refused(refusal.TokenAudienceMismatch) {
		t.Errorf("a route with its own audience: got %+v", got)
	}
	if got := h.verdict(head("GET", "/aud",
		set(func(c *token.Claims) { c.Audience = []string{"https://other.example"} }))); got.status != 200 {
		t.Errorf("a route with its own audience, met: got %+v", got)
	}
}

func TestForeignTokensOpenOnlyTheirCeiling(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	wide := func(c *token.Claims) {
		c.Permissions, c.Scope, c.Master = token.Permissions{{Tenant: "*", AllowedActions: []string{"*"}}}, "issue_codes",
			true
	}
	plain := h.mintForeign("https://idp.example", "", wide)
	both := h.mintForeign("https://roles.example", `"roles":["reader","writer","unknown"]`, wide)
	none := h.mintForeign("https://roles.example", `"roles":["unknown"]`, wide)
	for _, c := range []struct {
		name, target, bearer string
		want                 int
	}{
		{"its permissions, cut", "/t/acme/", plain, 200},
		{"beyond the ceiling", "/t/other/", plain, 403},
		{"global is beyond the ceiling", "/global", plain, 403},
		{"roles that are mapped", "/t/acme/", both, 200},
		{"a role that does not hold it", "/t/other/", both, 403},
		{"unmapped permissions", "/t/acme/", none, 403},
		{"authenticated all the same", "/me", none, 200},
	} {
		if got := h.get(c.target, c.bearer); got.status != c.want {
			t.Errorf("%s: got %d (%s), want %d", c.name, got.status, got.reason, c.want)
		}
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint(func(c *token.Claims) {
		c.Permissions = token.Permissions{
			{Tenant: "acme", AllowedActions: []string{"READ"}},
			{Tenant: "none", AllowedActions: []string{}},
			{Tenant: "A", AllowedActions: []string{"READ"}},
			{Tenant: "*", AllowedActions: []string{"CREATE"}},
		}
	})
	for _, c := range []struct {
		name, target string
		lines        []string
		want         int
		reason       refusal.Reason
	}{
		{"path", "/t/acme/", nil, 200, ""},
		{"path, escaped letter", "/t/%61cme/", nil, 200, ""},
		{"another case", "/t/a/", nil, 403, refusal.ActionDenied},
		{"trailing space", "/t/A%20/", nil, 400, refusal.TenantMalformed},
		{"star", "/t/*/", nil, 400, refusal.TenantMalformed},
		{"escaped star", "/t/%2a/", nil, 400, refusal.TenantMalformed},
		{"too long", "/t/" + strings.Repeat("a", 65) + "/", nil, 400, refusal.TenantMalformed},
		{"longest", "/t/" + strings.Repeat("a", 64) + "/", nil, 403, refusal.ActionDenied},
		{"slash inside, tolerated elsewhere", "/odd/ac%2fme/", nil, 400, refusal.TenantMalformed},
		{"semicolon inside", "/odd/acme;x/", nil, 400, refusal.TenantMalformed},
		{"oddity behind", "/odd/acme/x;y", nil, 200, ""},
		{"first entry decides", "/t/none/", nil, 403, refusal.ActionDenied},
		{"header", "/h", []string{"X-Tenant: acme"}, 200, ""},
		{"header in capitals", "/h", []string{"X-TENANT: acme"}, 200, ""},
		{"header missing", "/h", nil, 400, refusal.TenantMissing},
		{"header empty", "/h", []string{"X-Tenant:"}, 400, refusal.TenantMissing},
		{"header twice", "/h", []string{"X-Tenant: acme", "X-Tenant: acme"}, 400, refusal.TenantAmbiguous},
		{"header in another spelling", "/h", []string{"X-Tenant: acme", "X_Tenant: other"}, 400, refusal.TenantAmbiguous},
		{"header as a list", "/h", []string{"X-Tenant: acme, other"}, 400, refusal.TenantMalformed},
		{"header listed in Connection", "/h", []string{"X-Tenant: acme", "Connection: X-Tenant"}, 200, ""},
		{"query", "/q?tenant=acme", nil, 200, ""},
		{"query missing", "/q?x", nil, 400, refusal.TenantMissing},
		{"query empty", "/q?tenant=", nil, 400, refusal.TenantMissing},
		{"query twice", "/q?tenant=acme&tenant=acme", nil, 400, refusal.TenantAmbiguous},
		{"query twice, escaped", "/q?tenant=acme&%74enant=other", nil, 400, refusal.TenantAmbiguous},
		{"query with a semicolon", "/q?x=1;tenant=other&tenant=acme", nil, 400, refusal.TenantAmbiguous},
		{"host", "/", []string{"Host: acme.tenants.example"}, 200, ""},
		{"host with port, dot and capitals", "/", []string{"Host: ACME.Tenants.example.:80"}, 200, ""},
		{"fixed", "/fixed", nil, 200, ""},
		{"global", "/global", nil, 200, ""},
		{
			"strangers are told nothing about tenants", "/t/*/",
			[]string{"Authorization: Bearer x"},
			400,
			refusal.CredentialsMultiple,
		},
	} {
		h.app.forget()
		got := h.get(c.target, bearer, c.lines...)
		reached := 0
		if c.want == 200 {
			reached = 1
		}
		if got.status != c.want || got.reason != c.reason || len(h.app.seen()) != reached {
			t.Errorf("%s: got %d %s, upstream %d; want %d %s", c.name, got.status, got.reason, len(h.app.seen()), c.want,
				c.reason)
			continue
		}
		if c.name == "header listed in Connection" && len(h.app.seen()[0].get("X-Tenant")) != 1 {
			t.Errorf("%s: the tenant that was judged did not reach the upstream: %q", c.name, h.app.seen()[0].fields)
		}
	}
	if got := h.get("/t/*/", ""); got.reason != refusal.TokenMissing {
		t.Errorf("a bad tenant without a bearer: got %s", got.reason)
	}
	none := h.mint(func(c *token.Claims) { c.Permissions = token.Permissions{} })
	if got := h.get("/t/acme/", none); got.reason != refusal.TenantDenied {
		t.Errorf("no entry: got %s", got.reason)
	}
	h.revoked.tenants.Store("acme", 1)
	if got := h.get("/t/acme/", bearer); got.status != 401 || got.reason != refusal.TokenRevoked {
		t.Errorf("a tenant's mark: got %d %s", got.status, got.reason)
	}
}

func TestRoutesAndMethods(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		name, method, target string
		want                 verdict
		allow                string
	}{
		{"no route", "GET", "/none", verdict{404, refusal.RouteNotFound, "", 0}, ""},
		{"without border", "GET", "/means", verdict{404, refusal.RouteNotFound, "", 0}, ""},
		{"a method that the route lacks", "POST", "/only", verdict{405, refusal.MethodNotAllowed, "", 0}, "GET"},
		{
			"TRACE", "TRACE", "/me",
			verdict{405, refusal.MethodUnsupported, "", 0},
			"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
		},
		{"gEt", "gEt", "/me", verdict{405, refusal.MethodUnsupported, "", 0}, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"},
		{"unknown, no route", "BREW", "/none", verdict{405, refusal.MethodUnsupported, "", 0}, ""},
		{"oddity that the route does not tolerate", "GET", "/t/acme//x", verdict{400, refusal.PathAmbiguous, "", 0}, ""},
		{"dot segments", "GET", "/assets/../me", verdict{400, refusal.PathAmbiguous, "", 0}, ""},
		{"absolute form", "GET", "http://app.example/assets/", verdict{400, refusal.RequestMalformed, "", 0}, ""},
	} {
		h.app.forget()
		got := h.raw(head(c.method, c.target, ""))
		v := verdict{got.status, got.reason, got.header.Get("WWW-Authenticate"), len(h.app.seen())}
		if v != c.want || got.header.Get("Allow") != c.allow {
			t.Errorf("%s: got %+v Allow %q, want %+v %q", c.name, v, got.header.Get("Allow"), c.want, c.allow)
		}
	}
}
