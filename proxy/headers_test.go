package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/token"
)

// spellings are ways to write a name that some reader takes for it.
func spellings(name string) []string {
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"),
		strings.Replace(name, "-", "_", 1), strings.ToLower(strings.ReplaceAll(name, "-", "_")),
		strings.ReplaceAll(name, "-", "."),
	}
}

func TestOnlyTheGateSetsTheIdentity(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	names := append(h.config.IdentityHeaders.All(), "X-Jotgate-Assertion", "X-Jotgate-Other",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded",
		"Forwarded", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Method-Override",
		"X-Http-Method", "Proxy", "X-Original-Method", "X-Original-Host", "X-Original-Uri", "X-Request-Id", "True-Client-Ip",
		"Client-Ip", "Forwarded-For", "X-Originating-Ip", "X-Remote-Addr", "Cf-Connecting-Ipv6", "Fly-Client-Ip",
		"X-Envoy-External-Address", "X-Envoy-Original-Path", "Front-End-Https", "X-Url-Scheme", "X-Scheme",
		"Wl-Proxy-Client-Ip",
		"X-Azure-Clientip", "X-Ms-Original-Url", "X-Script-Name")
	for _, route := range []struct{ target, bearer string }{{"/t/acme/", bearer}, {"/me", bearer}, {"/assets/x", ""}} {
		h.app.forget()
		h.get(route.target, route.bearer)
		want := h.app.seen()[0].fields
		for _, name := range names {
			for _, spelled := range spellings(name) {
				for _, lines := range [][]string{
					{spelled + ": evil"},
					{spelled + ": evil", spelled + ": evil2"},
					{spelled + ": evil", "Connection: " + spelled},
					{"Connection: close, " + strings.Join(h.config.IdentityHeaders.All(), ", ")},
				} {
					h.app.forget()
					if got := h.get(route.target, route.bearer, lines...); got.status != 200 {
						t.Fatalf("%s with %q: %d", route.target, lines, got.status)
					}
					if d := cmp.Diff(want, h.app.seen()[0].fields); d != "" {
						t.Fatalf("%s with %q: the upstream saw another head: %s", route.target, lines, d)
					}
				}
			}
		}
	}
}

func TestARequestsTrailersStayHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	text := head("POST", "/me", h.mint(), "Transfer-Encoding: chunked", "Trailer: X-Jotgate-Subject, X-Else") +
		"2\r\nhi\r\n0\r\nX-Jotgate-Subject: evil\r\nX-Else: x\r\n\r\n"
	if got := h.raw(text); got.status != 200 {
		t.Fatalf("got %+v", got)
	}
	seen := h.app.seen()[0]
	if seen.body != "2\r\nhi\r\n0\r\n\r\n" || slices.Contains(seen.fields, "Trailer: X-Jotgate-Subject, X-Else") ||
		len(seen.get("Trailer")) > 0 {
		t.Errorf("the upstream saw %q, body %q", seen.fields, seen.body)
	}
}

func TestIdentityIsEncodedSoThatItCannotBeTakenForAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for subject, want := range map[string]string{
		"alice":  "alice",
		"Zoë":    "Zo%C3%AB",
		"100%":   "100%25",
		" admin": "%20admin",
		"admin ": "admin%20",
		"a b":    "a b",
		"a,b":    "a,b",
		"日":      "%E6%97%A5",
	} {
		h.app.forget()
		got := h.get("/t/acme/", h.mint(func(c *token.Claims) {
			c.Subject, c.Permissions[0].AllowedActions = subject, []string{"READ", "a,b", "ö"}
		}))
		if got.status != 200 {
			t.Errorf("%q: %d %s", subject, got.status, got.reason)
			continue
		}
		seen := h.app.seen()[0]
		if d := cmp.Diff([]string{want}, seen.get("X-Jotgate-Subject")); d != "" {
			t.Errorf("%q: %s", subject, d)
		}
		if d := cmp.Diff([]string{"READ,a%2Cb,%C3%B6"}, seen.get("X-Jotgate-Actions")); d != "" {
			t.Error(d)
		}
	}
}

func TestWhatPassesOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for _, c := range []struct {
		name, target, bearer string
		lines, want, lack    []string
	}{
		{
			"ordinary fields", "/me", bearer,
			[]string{"Cookie: a=b", "Accept-Encoding: br", "X-Custom_name: 1", "User-Agent: me"},
			[]string{"Cookie: a=b", "Accept-Encoding: br", "X-Custom_name: 1", "User-Agent: me"},
			[]string{"Authorization"},
		},
		{"no user agent of ours", "/me", bearer, nil, nil, []string{"User-Agent", "Accept-Encoding", "Connection", "Te"}},
		{
			"fields for one hop", "/me", bearer,
			[]string{
				"Connection: x-hop, keep-alive", "X-Hop: 1", "Keep-Alive: 1", "Te: gzip", "Proxy-Connection: x",
				"Proxy-Authorization: x",
			},
			nil,
			[]string{"X-Hop", "Keep-Alive", "Te", "Proxy-Connection", "Proxy-Authorization", "Connection"},
		},
		{"te trailers", "/me", bearer, []string{"Te: trailers, deflate"}, []string{"Te: trailers"}, nil},
		{
			"the token where it is asked for", "/pass", bearer,
			[]string{"Connection: authorization"},
			[]string{"Authorization: Bearer " + bearer},
			nil,
		},
		{
			"authorization on a public route", "/assets/x", "x", nil,
			[]string{"Authorization: Bearer x"},
			[]string{"X-Jotgate-Subject"},
		},
		{"another host", "/renamed", bearer, nil, []string{"Host: inner.example", "X-Forwarded-Host: app.example"}, nil},
		{
			"the host with its port", "/me", bearer,
			[]string{"Host: app.example:8443"},
			[]string{
				"Host: app.example:8443", "X-Forwarded-Host: app.example:8443",
				`Forwarded: for=127.0.0.1;host="app.example:8443";proto=http`,
			},
			nil,
		},
		{
			"what a trusted proxy said", "/me", bearer,
			[]string{
				"Test-Trusted: 1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2", "Forwarded: for=192.0.2.1",
				"True-Client-Ip: 192.0.2.1", "X-Real-Ip: 192.0.2.9",
			},
			[]string{
				"X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.1",
				"Forwarded: for=192.0.2.1, for=192.0.2.2, for=127.0.0.1;host=app.example;proto=http", "True-Client-Ip: 192.0.2.1",
			},
			[]string{"X-Real-Ip"},
		},
		{
			"a trusted proxy's host, port and prefix", "/me", bearer,
			[]string{
				"Test-Trusted: 1", "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 8443", "X-Forwarded-Prefix: /shop",
				"X-Forwarded-Server: x",
			},
			[]string{
				"X-Forwarded-Host: shop.example", "X-Forwarded-Port: 8443", "X-Forwarded-Prefix: /shop",
				"X-Forwarded-For: 127.0.0.1",
			},
			[]string{"X-Forwarded-Server"},
		},
		{
			"a chain of all kinds of addresses", "/me", bearer,
			[]string{
				"Test-Trusted: 1",
				`X-Forwarded-For: 192.0.2.1:1234,[2001:db8::1]:99, 2001:db8::2%eth0 ,unknown,"for=x;by=y`,
				"Forwarded: for=9.9.9.9;host=evil",
			},
			[]string{`Forwarded: for=192.0.2.1, for="[2001:db8::1]", for="[2001:db8::2]", for=unknown, for=unknown, ` +
				`for=127.0.0.1;host=app.example;proto=http`},
			nil,
		},
		{
			"what a stranger says of its port", "/me", bearer,
			[]string{"X-Forwarded-Port: 1", "X-Forwarded-Prefix: /x"},
			nil,
			[]string{"X-Forwarded-Port", "X-Forwarded-Prefix"},
		},
		{
			"an upgrade that no route allows", "/me", bearer,
			[]string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
			nil,
			[]string{"Upgrade", "Connection", "Http2-Settings", "HTTP2-Settings"},
		},
		{
			"h2c where upgrades are allowed", "/ws", bearer,
			[]string{"Connection: Upgrade", "Upgrade: h2c"},
			nil,
			[]string{"Upgrade", "Connection"},
		},
	} {
		h.app.forget()
		if got := h.get(c.target, c.bearer, c.lines...); got.status != 200 {
			t.Errorf("%s: %d %s", c.name, got.status, got.reason)
			continue
		}
		seen := h.app.seen()[0]
		for _, f := range c.want {
			if !slices.Contains(seen.fields, f) {
				t.Errorf("%s: %q is not among %q", c.name, f, seen.fields)
			}
		}
		for _, name := range c.lack {
			if len(seen.get(name)) > 0 {
				t.Errorf("%s: %s reached the upstream: %q", c.name, name, seen.fields)
			}
		}
	}
}

func TestTheTargetGoesOnVerbatim(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for _, target := range []string{
		"/t/acme/", "/t/%61cme/%7e~", "/t/acme/a!$&'()*+,=:@b", "/t/acme/%e2%82%ac", "/t/acme/%E2%82%AC", "/t/acme/x?",
		"/t/acme/x??",
		"/t/acme/x?x;y=1&z", "/t/acme/x?a=%zz&b=%", "/t/acme/x?a=[]{}|^`\"<>\\", "/t/acme/100%25", "/t/acme/.well-known/...",
		"/odd/acme/a;b=c/d%2fe//f%252f", "/odd/acme//", "/t/acme/%20%2B+",
	} {
		h.app.forget()
		if got := h.get(target, bearer); got.status != 200 {
			t.Errorf("%s: %d %s", target, got.status, got.reason)
			continue
		}
		if got, want := h.app.seen()[0].line, "GET "+target+" HTTP/1.1"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestALeadingDoubleSlashIsNoAuthority(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(settings + "  - {path: /, public: true, upstream: app, insecure_allow: [double_slash]}\n")
	if got := h.get("//evil.example/x?y", ""); got.status != 200 {
		t.Fatalf("got %+v", got)
	}
	if got := h.app.seen()[0].line; got != "GET //evil.example/x?y HTTP/1.1" {
		t.Errorf("got %q", got)
	}
}

func TestForwardedQuotesWhatMustBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ address, host, scheme, want string }{
		{"192.0.2.1", "a.example", "https", "for=192.0.2.1;host=a.example;proto=https"},
		{"2001:db8::1", "[2001:db8::2]:443", "https", `for="[2001:db8::1]";host="[2001:db8::2]:443";proto=https`},
		{"", "", "http", "for=unknown;proto=http"},
	} {
		if got := forwarded(c.address, c.host, c.scheme); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// FuzzFieldValue: whatever a claim holds, its header is one line of visible ASCII that decodes to it.
func FuzzFieldValue(f *testing.F) {
	for _, s := range []string{"", "a", " a ", "%", "é", "\r\n", "\x00", "a,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := fieldValue(s)
		if strings.TrimSpace(v) != v || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q became %q", s, v)
		}
		back := ""
		for i := 0; i < len(v); i++ {
			if v[i] != '%' {
				back += v[i : i+1]
				continue
			}
			var c byte
			if _, err := fmt.Sscanf(v[i+1:i+3], "%02X", &c); err != nil {
				t.Fatal(err)
			}
			back += string([]byte{c})
			i += 2
		}
		if back != s {
			t.Fatalf("%q became %q, which is %q", s, v, back)
		}
	})
}

// FuzzStrip: no name that remains is one of ours in the eyes of a reader that folds names.
func FuzzStrip(f *testing.F) {
	for _, s := range []string{"X-Jotgate-Subject", "x_jotgate_subject", "X-Forwarded-For", "Cookie", "proxy"} {
		f.Add(s)
	}
	h := newHouse(f)
	cgi := strings.NewReplacer("-", "_")
	taken := map[string]bool{}
	for name := range h.gate.fields.removed.folded {
		taken[strings.ToUpper(cgi.Replace(name))] = true
	}
	f.Fuzz(func(t *testing.T, name string) {
		rule := requestRule{fields: h.gate.fields, trusted: true}
		if seen := strings.ToUpper(cgi.Replace(name)); rule.passes(name, nil) &&
			(taken[seen] || strings.HasPrefix(seen, "X_JOTGATE_") || strings.HasPrefix(seen, "X_FORWARDED")) {
			t.Fatalf("%q stayed", name)
		}
	})
}
