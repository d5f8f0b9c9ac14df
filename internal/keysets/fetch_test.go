package keysets

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// TestFaultsKeepTheLastGoodKeys: each fault of a key set's server, at the start and later, and the recovery from it.
func TestFaultsKeepTheLastGoodKeys(t *testing.T) {
	t.Parallel()
	elsewhere := publish(t, says("{}"))
	hijack := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // one byte after the other, until the fetch gives up
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		want    string // in the log
		timeout time.Duration
	}{
		{"closed without an answer", hijack(""), "EOF", 0},
		{"reset inside the head", hijack("HTTP/1.1 200 O"), "EOF", 0},
		{"no HTTP", hijack("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "malformed HTTP", 0},
		{"broken off", hijack("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[]}"), "unexpected EOF", 0},
		{
			"never answers", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no whole answer within 2s",
			2 * time.Second,
		},
		{"slow drip", drip, "no whole answer within 2s", 2 * time.Second},
		{"huge", says(strings.Repeat(" ", jose.MaxKeySetBytes) + `{"keys":[]}`), "more than 1048576 bytes", 0},
		{
			"huge head", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 80<<10)) },
			"server response headers exceeded", 0,
		},
		{"compressed unasked", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0})
		}, "key set: ", 0},
		{"malformed", says(`{"keys":[`), "key set:", 0},
		{"duplicate members", says(`{"keys":[],"keys":[]}`), "key set:", 0},
		{"no key set", says(`{"error":"unknown realm"}`), "no member keys", 0},
		{"a page", says("<!doctype html>"), "key set:", 0},
		{"nothing", says(""), "key set:", 0},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "answers 404", 0},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "answers 204", 0},
		{
			"redirect loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			"redirects more than 3 times", 0,
		},
		{"redirect to another server", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "redirects to another server", 0},
		{"redirect to a file", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(302)
		}, "redirects to another server", 0},
		{"redirect without a place", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, "answers 302", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			key := newKey(t)
			p := publish(t, c.answer)
			settings := usual(p.URL)
			if c.timeout > 0 {
				settings.Timeout = c.timeout
			}
			s := open(t, settings)
			if set, err := s.Seek(key.ID()); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
				t.Errorf("at the start: %v, %v", set, err)
			}
			if !strings.Contains(s.logged(), c.want) {
				t.Errorf("the log does not say %q:\n%s", c.want, s.logged())
			}
			p.become(says(jwks(t, key)))
			s.refetch()
			good := s.Keys()
			if good == nil {
				t.Fatalf("does not recover: %s", s.logged())
			}
			p.become(c.answer)
			s.refetch()
			if s.Keys() != good {
				t.Error("the last good keys are gone")
			}
			if set, err := s.Seek("rotated"); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
				t.Errorf("an unknown key, while the key set cannot be fetched: %v, %v", set, err)
			}
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.seen.Load(); n != 0 {
			t.Errorf("another server was asked %d times", n)
		}
	})
}

func TestNoIssuerAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	for _, c := range []struct{ name, url, want string }{
		{"refused connection", closed, "connection refused"},
		// A name that no resolver asks anybody about, since a label has 63 letters at most.
		{"DNS failure", "https://" + strings.Repeat("a", 64) + ".example/jwks", "no such host"},
	} {
		s := open(t, usual(c.url))
		if _, err := s.Seek("x"); refusal.Of(err) != refusal.IssuerUnavailable {
			t.Errorf("%s: %v", c.name, err)
		}
		if !strings.Contains(s.logged(), c.want) {
			t.Errorf("%s: the log does not say %q:\n%s", c.name, c.want, s.logged())
		}
	}
}

func TestRedirectsWithinAServer(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	set := jwks(t, key)
	for hops, want := range map[int]bool{1: true, 3: true, 4: false} {
		p := publish(t, func(w http.ResponseWriter, r *http.Request) {
			if len(r.URL.Path) <= hops {
				http.Redirect(w, r, r.URL.Path+"x", http.StatusMovedPermanently)
				return
			}
			says(set)(w, r)
		})
		s := open(t, usual(p.URL+"/"))
		if _, err := s.Seek(key.ID()); (err == nil) != want {
			t.Errorf("%d redirects: %v", hops, err)
		}
	}
}

// TestOneBadKeyIsToldOnce: the others stay, and the log is not filled every ten minutes.
func TestOneBadKeyIsToldOnce(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, says(strings.Replace(jwks(t, key), "[", `[{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AA"},`, 1)))
	s := open(t, usual(p.URL))
	s.ready()
	s.refetch()
	if s.Keys().Key(key.ID()) == nil || s.Keys().Len() != 1 {
		t.Error("the good key is lost")
	}
	if n := s.log.FilterMessage("trusted issuer: keys left out").Len(); n != 1 {
		t.Errorf("told %d times:\n%s", n, s.logged())
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	set := jwks(t, key)
	keys := publish(t, says(set)) // on a server of its own, as some issuers have it
	const oidc, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	for _, c := range []struct {
		name, path string            // of the issuer
		documents  map[string]string // $I is the issuer, $K the keys' server
		want       string            // in the log; "": it works
		asked      int64
	}{
		{"OpenID Connect", "", map[string]string{oidc: `{"issuer":"$I","jwks_uri":"$K/k","x":{}}`}, "", 1},
		{"with a path", "/realms/shop", map[string]string{"/realms/shop" + oidc: `{"issuer":"$I","jwks_uri":"$K"}`}, "", 1},
		{"with a slash at the end, as Auth0", "/", map[string]string{oidc: `{"issuer":"$I","jwks_uri":"$K"}`}, "", 1},
		{"with a path and a slash", "/o/", map[string]string{"/o" + oidc: `{"issuer":"$I","jwks_uri":"$K"}`}, "", 1},
		{"a byte order mark", "", map[string]string{oidc: "\xef\xbb\xbf" + `{"issuer":"$I","jwks_uri":"$K"}`}, "", 1},
		{"RFC 8414", "", map[string]string{oauth: `{"issuer":"$I","jwks_uri":"$K"}`}, "", 2},
		{"RFC 8414 with a path", "/a/b", map[string]string{oauth + "/a/b": `{"issuer":"$I","jwks_uri":"$K"}`}, "", 2},
		{"neither", "", nil, "answers 404", 2},
		{"wrong issuer", "", map[string]string{
			oidc:  `{"issuer":"https://evil.example","jwks_uri":"$K"}`,
			oauth: `{"issuer":"$I","jwks_uri":"$K"}`,
		}, `the metadata is of issuer "https://evil.example"`, 1},
		{
			"issuer with another slash", "",
			map[string]string{oidc: `{"issuer":"$I/","jwks_uri":"$K"}`},
			"the metadata is of issuer", 1,
		},
		{
			"another tenant of its server", "/a",
			map[string]string{"/a" + oidc: `{"issuer":"$I/b","jwks_uri":"$K"}`},
			"the metadata is of issuer", 1,
		},
		{"no issuer", "", map[string]string{oidc: `{"jwks_uri":"$K"}`}, "the metadata is of issuer", 1},
		{
			"two issuers", "",
			map[string]string{oidc: `{"issuer":"https://evil.example","issuer":"$I","jwks_uri":"$K"}`},
			"not JSON as it must be", 1,
		},
		{"no jwks_uri", "", map[string]string{oidc: `{"issuer":"$I"}`}, "jwks_uri: ", 1},
		{
			"jwks_uri without TLS", "",
			map[string]string{oidc: `{"issuer":"$I","jwks_uri":"http://keys.example/k"}`},
			"is not https", 1,
		},
		{"jwks_uri a file", "", map[string]string{oidc: `{"issuer":"$I","jwks_uri":"file:///etc/passwd"}`}, "jwks_uri: ", 1},
		{
			"jwks_uri with a user", "",
			map[string]string{oidc: `{"issuer":"$I","jwks_uri":"https://u:p@keys.example/k"}`},
			"jwks_uri: ", 1,
		},
		{"jwks_uri a number", "", map[string]string{oidc: `{"issuer":"$I","jwks_uri":7}`}, "not JSON as it must be", 1},
		{"a page", "", map[string]string{oidc: `<!doctype html>`}, "not JSON as it must be", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var issuer string
			p := publish(t, func(w http.ResponseWriter, r *http.Request) {
				document, ok := c.documents[r.URL.Path]
				if !ok {
					w.WriteHeader(404)
					return
				}
				says(strings.NewReplacer("$I", issuer, "$K", keys.URL).Replace(document))(w, r)
			})
			issuer = p.URL + c.path
			settings := usual("")
			settings.Issuer = issuer
			s := open(t, settings)
			s.settled()
			if has := s.Keys() != nil && s.Keys().Key(key.ID()) != nil; has != (c.want == "") ||
				!strings.Contains(s.logged(), c.want) {
				t.Errorf("has the key: %t, want %q in the log:\n%s", has, c.want, s.logged())
			}
			if n := p.seen.Load(); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// TestTLS: an https server is checked with the system's authorities, or with those of the settings instead.
func TestTLS(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	server := httptest.NewUnstartedServer(says(jwks(t, key)))
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	authorities := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for name, c := range map[string]struct {
		authorities string
		want        bool
	}{"its authority": {authorities, true}, "the system's": {"", false}} {
		settings := usual(server.URL)
		settings.Authorities = c.authorities
		s := open(t, settings)
		if _, err := s.Seek(key.ID()); (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	all := New(nil, nil)
	t.Cleanup(all.Close)
	for _, c := range []struct {
		settings Settings
		want     string
	}{
		{
			Settings{Issuer: "http://kc.example"},
			"issuer http://kc.example: http://kc.example is not https; insecure_http: true would allow it",
		},
		{
			Settings{Issuer: "https://kc.example", URL: "http://192.0.2.1/"},
			"issuer https://kc.example: http://192.0.2.1 is not https; insecure_http: true would allow it",
		},
		{
			Settings{Issuer: "https://kc.example", URL: "ftp://kc.example"},
			`issuer https://kc.example: "ftp://kc.example" is not https`,
		},
		{
			Settings{Issuer: "https://kc.example", URL: "http://localhost.evil.example"},
			"issuer https://kc.example: http://localhost.evil.example is not https; insecure_http: true would allow it",
		},
		{
			Settings{Issuer: "https://kc.example", Authorities: "-"},
			"issuer https://kc.example: its authorities hold no PEM certificate",
		},
		{Settings{Issuer: "kc"}, `issuer kc: "kc" is no address of a server`},
	} {
		_, _, err := all.Open(c.settings)
		if err == nil || err.Error() != c.want {
			t.Errorf("have %v\nwant %s", err, c.want)
		}
	}
}

// FuzzMetadata: whatever a server says, it is taken only as this issuer's, and leads only to a server over TLS.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://idp.example","jwks_uri":"https://keys.example/k"}`,
		`{"issuer":"https://idp.example","jwks_uri":"http://127.0.0.1/k"}`,
		`{"issuer":"https://idp.example","issuer":"x","jwks_uri":"https://k"}`,
		`{"\u0069ssuer":"https://idp.example","jwks_uri":"https://a@k"}`, `[]`, ``, `{"jwks_uri":"https://k"}`,
	} {
		f.Add(seed)
	}
	fetcher, err := newFetcher(Settings{Issuer: "https://idp.example"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := fetcher.metadata([]byte(text))
		if err != nil {
			return
		}
		u, err := fetcher.allowed(uri)
		if err != nil || u.Scheme != "https" {
			t.Errorf("%q leads to %q (%v)", text, uri, err)
		}
		if !strings.Contains(fmt.Sprintf("%q", text), "idp.example") && !strings.Contains(text, `\u`) {
			t.Errorf("%q is of another issuer", text)
		}
	})
}

// A recorder notes the credentials that each request brings.
type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) note(q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, strings.TrimSpace(q.URL.Path+" "+q.Header.Get("Authorization")+" "+q.Header.Get("X-Api-Key")))
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func tlsServer(t *testing.T, handle http.HandlerFunc) (server *httptest.Server, authority string) {
	t.Helper()
	server = httptest.NewUnstartedServer(handle)
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// TestFetchCredentials: a bearer and headers go to the origins of the issuer and of its key set's URL, over https alone
// and never through a redirect; a bearer in a file is read for each fetch.
func TestFetchCredentials(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	set := jwks(t, key)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	var here, elsewhere recorder
	other, otherAuthority := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere.note(r)
		says(set)(w, r)
	})
	var server *httptest.Server
	server, authority := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		here.note(r)
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/jwks", http.StatusFound)
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, server.URL, other.URL+"/jwks")
		default:
			says(set)(w, r)
		}
	})
	settings := usual(server.URL + "/jwks")
	settings.Authorities, settings.BearerFile = authority+otherAuthority, file
	settings.Headers = EncodeHeaders(map[string]Secret{"X-Api-Key": "k:1"})
	s := open(t, settings)
	s.ready()
	write("second")
	s.refetch()
	if diff := cmp.Diff([]string{"/jwks Bearer first k:1", "/jwks Bearer second k:1"}, here.seen()); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	write("")
	s.refetch()
	if n := len(here.seen()); n != 2 || !strings.Contains(s.logged(), "holds no bearer token") {
		t.Errorf("without a token: %d requests\n%s", n, s.logged())
	}
	if strings.Contains(s.logged(), "second") || strings.Contains(fmt.Sprintf("%+v", settings), "k:1") {
		t.Error("a credential is printed")
	}

	moved := settings
	moved.URL, moved.BearerFile, moved.Bearer = server.URL+"/moved", "", "plain"
	open(t, moved).ready()
	if diff := cmp.Diff([]string{"/moved Bearer plain k:1", "/jwks"}, here.seen()[2:]); diff != "" {
		t.Errorf("redirected: (-want +have)\n%s", diff)
	}

	discovered := moved
	discovered.URL, discovered.Issuer = "", server.URL
	open(t, discovered).ready()
	if diff := cmp.Diff([]string{"/.well-known/openid-configuration Bearer plain k:1"}, here.seen()[4:]); diff != "" {
		t.Errorf("discovery: (-want +have)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/jwks"}, elsewhere.seen()); diff != "" {
		t.Errorf("another origin gets a credential: (-want +have)\n%s", diff)
	}

	var plain recorder
	p := publish(t, func(w http.ResponseWriter, r *http.Request) { plain.note(r); says(set)(w, r) })
	unsafe := moved
	unsafe.URL = p.URL + "/jwks"
	open(t, unsafe).ready()
	if diff := cmp.Diff([]string{"/jwks"}, plain.seen()); diff != "" {
		t.Errorf("over plain http: (-want +have)\n%s", diff)
	}
}

// An issuer need not be a URL where its keys are elsewhere.
func TestIssuerThatIsNoURL(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, says(jwks(t, key)))
	settings := usual(p.URL)
	settings.Issuer = "urn:%zz"
	open(t, settings).ready()
}
