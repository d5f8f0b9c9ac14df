package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
)

func TestCanonicalHost(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 63)
	for host, want := range map[string]string{
		"app.example.com":               "app.example.com",
		"APP.Example.COM":               "app.example.com",
		"app.example.com.":              "app.example.com",
		"app.example.com:8080":          "app.example.com",
		"App.Example.Com.:65535":        "app.example.com",
		"app.example.com:":              "app.example.com",
		"localhost":                     "localhost",
		"my_app":                        "my_app",
		"xn--bcher-kva.example":         "xn--bcher-kva.example",
		"4u.example":                    "4u.example",
		"0xyz.example":                  "0xyz.example",
		"127.0.0.1":                     "127.0.0.1",
		"127.0.0.1.:80":                 "127.0.0.1",
		"[::1]":                         "[::1]",
		"[::1]:8080":                    "[::1]",
		"[0:0::0001]":                   "[::1]",
		"[2001:DB8::A]:443":             "[2001:db8::a]",
		"[::ffff:1.2.3.4]":              "[::ffff:1.2.3.4]",
		label + "." + label + ":1":      label + "." + label,
		strings.Repeat("a.", 126) + "a": strings.Repeat("a.", 126) + "a",
	} {
		if got, err := CanonicalHost(host); got != want || err != nil {
			t.Errorf("CanonicalHost(%q) = %q, %v; want %q", host, got, err, want)
		}
		if got, err := CanonicalHost(want); got != want || err != nil {
			t.Errorf("CanonicalHost(%q), canonical already, = %q, %v", want, got, err)
		}
	}
	for _, host := range []string{
		"", ".", "..", ":80", ".:80", "a..b", ".a", "a.b..", "-a.b", "a-.b", "a b", "a\tb", "a\x00", "a/b", "a?b", `a\b`,
		"a#b",
		"user@a.example", "a%2eexample", "bücher.example", "ｅxample.com", "\u212Aube.example", "a,b", "a;b", "*",
		"*.example.com",
		"a:b", "a:65536", "a:123456", "a:-1", "a:+1", "a:80:80", "a:80a", "::1", "::", "1::2:3",
		"[::1", "::1]", "[]", "[a]", "[127.0.0.1]", "[::1]a", "[::1]80", "[::1]:x", "[::1%25eth0]", "[fe80::1%eth0]",
		"[v1.a]", "[::1].",
		"127.1", "2130706433", "0x7f000001", "0x7f.1", "127.0.0.0x1", "0x", "010.0.0.1", "1.2.3.4.5", "256.1.1.1", "a.1",
		"a.0x1",
		strings.Repeat("a", 64), strings.Repeat("a.", 126) + "aa", strings.Repeat("a.", 127) + "a",
	} {
		if got, err := CanonicalHost(host); got != "" || refusal.Of(err) != refusal.HostMalformed {
			t.Errorf("CanonicalHost(%q) = %q, %v; want host_malformed", host, got, err)
		}
	}
}

func TestParseHost(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]struct {
		text   string
		params []string
	}{
		"":                        {},
		"App.Example.com.":        {text: "app.example.com"},
		"127.0.0.1":               {text: "127.0.0.1"},
		"[::1]":                   {text: "[::1]"},
		"2001:DB8::0":             {text: "[2001:db8::]"},
		"{tenant}.Example.com":    {text: "{tenant}.example.com", params: []string{"tenant"}},
		"{a}.x.{b_1}.example.com": {text: "{a}.x.{b_1}.example.com", params: []string{"a", "b_1"}},
		"{any}":                   {text: "{any}", params: []string{"any"}},
	} {
		h, err := ParseHost(pattern)
		if err != nil || h.String() != want.text || !slices.Equal(h.Params(), want.params) {
			t.Errorf("ParseHost(%q) = %q %q, %v", pattern, h, h.Params(), err)
		}
		if again, err := ParseHost(h.String()); err != nil || again.String() != h.String() {
			t.Errorf("ParseHost(%q) again = %q, %v", h, again, err)
		}
	}
	for pattern, want := range map[string]string{
		"a.example:80": `host "a.example:80": a port: hosts are compared without one, so ` +
			`leave it out`,
		"[::1]:80": `host "[::1]:80": a port: hosts are compared without one, so leave it out`,
		"*.example.com": `host "*.example.com": no wildcard: write {name} for one label, or leave ` +
			`the host out for any`,
		"*": `host "*": no wildcard: write {name} for one label, or leave the ` +
			`host out for any`,
		"a-{x}.example.com": `host "a-{x}.example.com": "a-{x}": a placeholder is {name}, alone ` +
			`between its borders`,
		"{x}.{x}.com": `host "{x}.{x}.com": {x} is there twice: give each placeholder ` +
			`its own name`,
		"{}.com":   `host "{}.com": "{}": a placeholder needs a name`,
		"{X}.com":  `host "{X}.com": "{X}": a placeholder's name is [a-z_][a-z0-9_]*`,
		"{x}..com": `host "{x}..com": a label of no or more than 63 bytes`,
		"{x}.0.0.1": `host "{x}.0.0.1": ends in a number, as only an address does: no ` +
			`placeholder matches a part of one`,
		"{x}.com:80": `host "{x}.com:80": a label with bytes other than letters, digits, ` +
			`hyphens and underscores`,
		"http://a.example": `host "http://a.example": a port that is no number up to 65535`,
		"a b": `host "a b": a label with bytes other than letters, digits, hyphens ` +
			`and underscores`,
		"127.1": `host "127.1": ends in a number, but is no dotted IPv4 address`,
		".":     `host ".": empty`,
		"\u212A.example": "host \"\u212A.example\": a label with bytes other than letters, digits, " +
			"hyphens and underscores",
		"{x}." + strings.Repeat("a.", 126) + "a": `host "{x}.` + strings.Repeat("a.", 126) +
			`a": no host name of at most 253 bytes can match`,
	} {
		if h, err := ParseHost(pattern); err == nil || err.Error() != want {
			t.Errorf("ParseHost(%q) = %q, %v; want %s", pattern, h, err, want)
		}
	}
}

func TestHostCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"", "", true},
		{"", "a.b", true},
		{"", "{x}.b", true},
		{"a.b", "", false},
		{"{x}", "", false},
		{"a.b", "A.b.", true},
		{"a.b", "a.c", false},
		{"a.b", "{x}.b", false},
		{"{x}.b", "a.b", true},
		{"{x}.b", "{y}.b", true},
		{"{x}.b", "{x}.{y}", false},
		{"{x}.{y}", "{x}.b", true},
		{"{x}.b", "a.c", false},
		{"{x}.b", "a.a.b", false},
		{"{x}.b", "b", false},
		{"{a}.{b}.{c}.{d}", "127.0.0.1", false},
		{"{a}", "[::1]", false},
		{"127.0.0.1", "127.0.0.1", true},
	} {
		if got := mustHost(t, c.p).Covers(mustHost(t, c.q)); got != c.want {
			t.Errorf("%q covers %q: %v", c.p, c.q, got)
		}
	}
}

func mustHost(t interface{ Fatal(...any) }, pattern string) Host {
	h, err := ParseHost(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
