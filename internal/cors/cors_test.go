package cors

import (
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func request(method string, fields ...string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header[fields[i]] = append(r.Header[fields[i]], fields[i+1])
	}
	return r
}

// Origins that only look like an allowed one are not; what a browser sends is compared byte by byte.
func TestOrigins(t *testing.T) {
	t.Parallel()
	p := New(Settings{Origins: []string{
		"https://app.example.com",
		"https://*.shop.example",
		"https://*.port.example:8443",
		"http://localhost:5173",
		"https://[::1]:8443",
	}})
	for origin, want := range map[string]bool{
		"https://app.example.com":                               true,
		"http://localhost:5173":                                 true,
		"https://[::1]:8443":                                    true,
		"https://a.shop.example":                                true,
		"https://xn--a-b_c.shop.example":                        true,
		"https://a.port.example:8443":                           true,
		"null":                                                  false,
		"":                                                      false,
		"*":                                                     false,
		"http://app.example.com":                                false,
		"https://app.example.com:443":                           false,
		"https://app.example.com:8443":                          false,
		"https://app.example.com.evil.example":                  false,
		"https://evilapp.example.com":                           false,
		"https://app.example.com/":                              false,
		"https://app.example.com ":                              false,
		"https://APP.example.com":                               false,
		"https://app.example.com,https://a":                     false,
		"https://shop.example":                                  false,
		"https://.shop.example":                                 false,
		"https://a.b.shop.example":                              false,
		"https://a.shop.example:8443":                           false,
		"https://a.shop.example.evil.example":                   false,
		"https://evilshop.example":                              false,
		"https://evil.example/.shop.example":                    false,
		"https://evil.example#.shop.example":                    false,
		"https://evil.example:1@.shop.example":                  false,
		"https://*.shop.example":                                false,
		"https://a.port.example":                                false,
		"https://a.port.example:8444":                           false,
		"https://a:8443.port.example:8443":                      false,
		"http://localhost:51731":                                false,
		"http://localhost":                                      false,
		"https://\x00.shop.example":                             false,
		"https://a\u212a.shop.example":                          false,
		"https://" + strings.Repeat("a", 600) + ".shop.example": false,
	} {
		a := p.Answer(request(http.MethodGet, "Origin", origin))
		if a.Allowed() != want || want && a.origin != origin {
			t.Errorf("%q: allowed is %t, as %q, want %t", origin, a.Allowed(), a.origin, want)
		}
	}
	if p.Answer(
		request(http.MethodGet, "Origin", "https://app.example.com", "Origin", "https://app.example.com"),
	).Allowed() {
		t.Error("two Origin fields are allowed")
	}
	if p.Answer(request(http.MethodGet)).Allowed() {
		t.Error("a request without Origin is allowed")
	}
}

func TestTheNilPolicyLeavesAnswersAsTheyAre(t *testing.T) {
	t.Parallel()
	var p *Policy
	a := p.Answer(request(http.MethodGet, "Origin", "https://a"))
	h := http.Header{"Access-Control-Allow-Origin": {"*"}, "Vary": {"Accept"}}
	a.Apply(h)
	if diff := cmp.Diff(
		http.Header{"Access-Control-Allow-Origin": {"*"}, "Vary": {"Accept"}},
		h,
	); diff != "" ||
		a.Speaks() {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAllocationsWithoutAPolicy(t *testing.T) {
	var p *Policy
	h := http.Header{"Vary": {"Accept"}}
	if n := testing.AllocsPerRun(100, func() {
		a := p.Answer(nil)
		a.Apply(h)
		a.Replace(nil)
	}); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

// Both ways of sending a head say the same: in a map, and in a sequence.
func TestAppsFieldsGiveWay(t *testing.T) {
	t.Parallel()
	const exposes = "WWW-Authenticate, DPoP-Nonce, Retry-After, X-Request-Id, X-Total"
	app := http.Header{
		"Access-Control-Allow-Origin": {"https://evil.example"}, "Access-Control-Allow-Credentials": {"true"},
		"Access-Control-Allow-Private-Network": {"true"}, "Access-Control-Expose-Headers": {"Set-Cookie"},
		"Timing-Allow-Origin": {"*"}, "Etag": {"1"},
	}
	for _, c := range []struct {
		name     string
		settings Settings
		origin   string
		vary     []string
		want     http.Header
	}{
		{
			"allowed",
			Settings{Origins: []string{"https://a.example"}, Expose: []string{"X-Total"}},
			"https://a.example", nil,
			http.Header{
				"Access-Control-Allow-Origin": {"https://a.example"}, "Access-Control-Expose-Headers": {exposes},
				"Vary": {"Origin"},
			},
		},
		{
			"with credentials",
			Settings{Origins: []string{"https://a.example"}, Expose: []string{"X-Total"}, Credentials: true},
			"https://a.example",
			[]string{"Accept-Encoding, origin"},
			http.Header{
				"Access-Control-Allow-Origin": {"https://a.example"}, "Access-Control-Allow-Credentials": {"true"},
				"Access-Control-Expose-Headers": {exposes}, "Vary": {"Accept-Encoding, origin"},
			},
		},
		{
			"not allowed",
			Settings{Origins: []string{"https://a.example"}},
			"https://evil.example",
			[]string{"Accept-Encoding"},
			http.Header{"Vary": {"Accept-Encoding", "Origin"}},
		},
		{"no script", Settings{Origins: []string{"https://a.example"}}, "", []string{"*"}, http.Header{"Vary": {"*"}}},
		{
			"any origin",
			Settings{Origins: []string{"*"}, Expose: []string{"X-Total"}},
			"null", nil,
			http.Header{"Access-Control-Allow-Origin": {"*"}, "Access-Control-Expose-Headers": {exposes}, "Vary": {"Origin"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.want["Timing-Allow-Origin"], c.want["Etag"] = []string{"*"}, []string{"1"}
			r := request(http.MethodGet)
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			a := New(c.settings).Answer(r)
			h := maps.Clone(app)
			if c.vary != nil {
				h["Vary"] = c.vary
			}
			sequence := http.Header{}
			for range 2 { // a server may go through it more than once
				clear(sequence)
				for name, value := range a.Replace(all(h)) {
					sequence.Add(name, value)
				}
			}
			if diff := cmp.Diff(c.want, sequence); diff != "" {
				t.Errorf("sequence (-want +got):\n%s", diff)
			}
			a.Apply(h)
			a.Apply(h) // once more says the same
			if diff := cmp.Diff(c.want, h); diff != "" {
				t.Errorf("map (-want +got):\n%s", diff)
			}
		})
	}
}

func all(h http.Header) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			for _, value := range h[name] {
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

func TestAsked(t *testing.T) {
	t.Parallel()
	const asks = "Access-Control-Request-Method"
	for _, c := range []struct {
		name string
		r    *http.Request
		want string
	}{
		{"a preflight", request("OPTIONS", "Origin", "https://a", asks, "DELETE"), "DELETE"},
		{"no origin", request("OPTIONS", asks, "DELETE"), ""},
		{"two origins", request("OPTIONS", "Origin", "https://a", "Origin", "https://b", asks, "DELETE"), ""},
		{"no method", request("OPTIONS", "Origin", "https://a"), ""},
		{"two methods", request("OPTIONS", "Origin", "https://a", asks, "GET", asks, "DELETE"), ""},
		{"another method", request("GET", "Origin", "https://a", asks, "DELETE"), ""},
	} {
		if got := Asked(c.r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPreflightOfWildcards(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	New(Settings{Origins: []string{"*"}, Methods: []string{"PUT"}, Headers: []string{"*"}, MaxAge: time.Minute}).
		Answer(request("OPTIONS", "Origin", "null")).Preflight([]string{"GET"}).Apply(h)
	want := http.Header{
		"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Methods": {"PUT"}, "Access-Control-Max-Age": {"60"},
		"Access-Control-Allow-Headers": {"*, Authorization"},
		"Vary":                         {"Origin"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
