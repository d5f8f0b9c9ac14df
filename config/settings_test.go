package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/strictjson"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// files is what the tests' configurations find beside them.
var files = sync.OnceValue(func() map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	foreign, err := jose.Generate("RS256")
	if err != nil {
		panic(err)
	}
	set, err := jose.NewKeySet(foreign.Public())
	if err != nil {
		panic(err)
	}
	stranger := []byte("-----BEGIN PRIVATE KEY-----\nbm8ga2V5\n-----END PRIVATE KEY-----\n")
	return map[string][]byte{
		"a.pem":       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"a.key":       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"kc.json":     set.JWKS(),
		"broken.pem":  stranger,
		"shop":        []byte("shop-token-shop-token-shop\r\n"),
		"two-lines":   []byte("hunter2hunter2hunter2hunter2\nhunter2\n"),
		"shared.json": []byte(`{"kty":"oct","kid":"s","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`),
		"bad.json":    []byte(`{"kty":"EC","crv":"P-256","d":"hunter2hunter2hunter2","x":"AA","y":"AA"}`),
	}
})

func laidOut(path string) ([]byte, error) {
	if data, ok := files()[filepath.Base(path)]; ok {
		return data, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func parseGood(t *testing.T, name string) *Config {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "good", name))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("/etc/jotgate/"+name, data, hermetic)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// same compares settings by what they mean: patterns by their text, keys and tables by being there.
var same = cmp.Options{
	cmp.Comparer(func(a, b route.Path) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b route.Host) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b *route.Table[*Route]) bool { return (a == nil) == (b == nil) }),
	cmp.Comparer(func(a, b *jose.PrivateKey) bool { return (a == nil) == (b == nil) }),
	cmp.Comparer(func(a, b *jose.KeySet) bool { return (a == nil) == (b == nil) }),
	cmp.Comparer(func(a, b *yaml.Tree) bool { return (a == nil) == (b == nil) }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b Secret) bool { return a == b }),
	cmpopts.IgnoreUnexported(Test{}), // its places
	cmp.AllowUnexported(MissingKey{}),
}

func path(t *testing.T, pattern string) route.Path {
	t.Helper()
	p, err := route.ParsePath(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func host(t *testing.T, pattern string) route.Host {
	t.Helper()
	h, err := route.ParseHost(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func server(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// defaults are the settings that a file without them has.
func defaults() *Config {
	return &Config{
		Listeners: []Listener{{Name: "main", Address: "127.0.0.1:8080"}},
		Admin:     Admin{Listen: "127.0.0.1:9090", Implicit: true, Refusals: 10000, Console: true},
		Limits: Limits{
			HeaderBytes: 32 << 10, URIBytes: 16 << 10, TokenBytes: 8 << 10, TokenBodyBytes: 64 << 10, BodyBytes: 1 << 30,
			Connections: 10000, H2Streams: 100, HTTP2: "own", InFlight: 10000, Streams: 10000, PreparedKeys: 64,
			HeaderTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, StallTimeout: 30 * time.Second,
			IdleTimeout: 75 * time.Second,
			ConfigBytes: 8 << 20, TokenCacheBytes: 64 << 20, IssueRate: 10000, LogoutRate: 100,
		},
		Log:         Log{Level: "info", Access: true},
		Drain:       Drain{Delay: time.Second, Timeout: 30 * time.Second},
		Roles:       map[string]*Role{},
		ClockLeeway: 5 * time.Second,
		DPoP:        DPoP{MaxAge: time.Minute, NonceTTL: 5 * time.Minute, Capacity: 262144},
		Replay:      Replay{Capacity: 1048576},
		Tickets:     Tickets{TTL: 30 * time.Second, Capacity: 65536},
		Revocations: Revocations{Capacity: 65536, Poll: time.Second, MaxStaleness: 10 * time.Second},
		IdentityHeaders: IdentityHeaders{
			Subject: "X-Jotgate-Subject", Issuer: "X-Jotgate-Issuer", Client: "X-Jotgate-Client",
			Tenant: "X-Jotgate-Tenant", Actions: "X-Jotgate-Actions", TokenID: "X-Jotgate-Token-Id",
		},
		TenantPattern: regexp.MustCompile(`\A(?:[A-Za-z0-9._~-]{1,64})\z`),
		Table:         &route.Table[*Route]{},
	}
}

func upstreamWithDefaults(name string, servers ...*url.URL) *Upstream {
	return &Upstream{
		Name: name, Servers: servers, ConnectTimeout: 5 * time.Second, ResponseTimeout: time.Minute,
		MaxConnections: 512, MaxIdle: 512, PerClient: 0.25, Balance: "round_robin",
		Eject: Eject{Failures: 5, For: 10 * time.Second}, Retry: Retry{Attempts: 2, Budget: 0.2}, Resolve: 10 * time.Second,
	}
}

// digestOfGood is what sha256sum says of a file, its first 16 digits.
func digestOfGood(t *testing.T, file string) (digest string, text Secret) {
	t.Helper()
	data, err := os.ReadFile("testdata/good/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))[:16], Secret(data)
}

func TestSidecarMeansWhatItSays(t *testing.T) {
	t.Parallel()
	const where = "http://127.0.0.1:3000"
	app := upstreamWithDefaults(where, server(t, where))
	want := defaults()
	want.File, want.Sources, want.Watch = "/etc/jotgate/sidecar.yaml", Sources{}, true
	want.Said = new(yaml.Tree)
	want.Digest, want.Text = digestOfGood(t, "sidecar.yaml")
	want.Listeners = []Listener{{Name: "main", Address: ":8080"}}
	want.Issuer = &Issuer{
		URL: "http://shop:8080", Audiences: []string{"http://shop:8080/api"}, Keys: []*jose.PrivateKey{{}},
		KeyFiles: []KeyFile{{Path: "/etc/jotgate/keys/main.pem"}},
		CodeTTL:  time.Minute, TokenTTL: time.Hour, MaxTokenTTL: 24 * time.Hour, MaxAccessTokenTTL: 8760 * time.Hour,
		Serve: Serve{Codes: true, UserTokens: true, AccessTokens: true, OAuth2: true},
		Clients: []*Client{{
			ID: "web", Secret: webSecret, Permissions: token.Permissions{}, May: []string{"issue_codes"},
			Delegate: token.Permissions{{Tenant: "*", AllowedActions: []string{"*"}}}, CodeTTL: time.Minute,
		}},
	}
	want.Roles["reader"] = &Role{
		Name:        "reader",
		Permissions: token.Permissions{{Tenant: "{tenant}", AllowedActions: []string{"READ"}}},
	}
	want.Upstreams = map[string]*Upstream{where: app}
	want.Routes = []*Route{{
		Name: "/t/{tenant}/", Path: path(t, "/t/{tenant}/"), Require: Require{Action: "READ", From: FromPath, Name: "tenant"},
		Upstream: app, BodyBytes: 1 << 30,
	}}
	want.MissingKeys = []MissingKey{{Path: "/etc/jotgate/keys/main.pem", fault: Fault{
		File: "/etc/jotgate/sidecar.yaml", Line: 5, Column: 17, Path: "issuer.keys[0].file",
	}}}
	if diff := cmp.Diff(want, parseGood(t, "sidecar.yaml"), same); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestPartsMeanWhatTheySay(t *testing.T) {
	t.Parallel()
	app := upstreamWithDefaults("app", server(t, "http://127.0.0.1:3000"))
	support := &Role{
		Name:        "support",
		Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"READ_TENANT", "MANAGE_TICKETS"}}},
	}
	want := defaults()
	want.File, want.Sources, want.Watch = "/etc/jotgate/parts.yaml", Sources{}, true
	want.Said = new(yaml.Tree)
	want.Digest, want.Text = digestOfGood(t, "parts.yaml")
	want.Listeners = []Listener{
		{
			Name: "main", Address: ":443",
			TLS: &TLS{Certificates: []Certificate{{Cert: "/etc/jotgate/a.pem", Key: "/etc/jotgate/a.key"}}},
		},
		{Name: ":80", Address: ":80", Redirect: true, ReusePort: true},
	}
	want.Admin = Admin{Listen: "127.0.0.1:9090", HealthListen: ":9091", Refusals: 10000, Console: true}
	want.Issuer = &Issuer{
		URL: "https://gate.example.com", Audiences: []string{"https://api.example.com"}, Keys: []*jose.PrivateKey{{}},
		KeyFiles: []KeyFile{{Path: "/etc/jotgate/keys/main.pem"}},
		CodeTTL:  time.Minute, TokenTTL: time.Hour, MaxTokenTTL: 24 * time.Hour, MaxAccessTokenTTL: 8760 * time.Hour,
		Serve: Serve{Codes: true, UserTokens: true, AccessTokens: true, OAuth2: true},
		Clients: []*Client{{
			ID: "shop-backend", Secret: "shop-secret-shop-secret", AccessTokenID: "shop-token-shop-token-shop",
			Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"READ_TENANT"}}},
			May:         token.MayWords(),
			Delegate:    token.Permissions{{Tenant: "*", AllowedActions: []string{"*"}}}, CodeTTL: time.Minute,
		}},
		Users: &Users{Open: support},
	}
	want.Roles = map[string]*Role{
		"support": support,
		"clerk": {Name: "clerk", Permissions: token.Permissions{{
			Tenant:         "{tenant}",
			AllowedActions: []string{"READ_TENANT"},
		}}},
	}
	want.TrustedIssuers = []*TrustedIssuer{{
		Issuer: "https://kc.example.com/realms/shop", Keys: &jose.KeySet{}, Audiences: []string{"api"},
		Algorithms: []string{"RS256"}, TokenTypes: []string{"JWT"}, Require: []jose.Requirement{{
			Claim:     jose.Path{"typ"},
			Condition: jose.Condition{{Scalar: jose.Scalar{Kind: strictjson.KindString, Text: "Bearer"}}},
		}},
		ClientClaim: jose.Path{"azp"}, Words: []jose.WordRule{{From: jose.Path{"realm_access", "roles"}}},
		Mapping: &token.Mapping{
			Pattern: want.TenantPattern,
			Sources: []token.Source{{Roles: map[string]token.Permissions{"kc-support": support.Permissions}}},
			Ceiling: token.Permissions{{Tenant: "acme", AllowedActions: []string{"*"}}},
		},
		Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"*"}}}, MaxTokenTTL: 24 * time.Hour,
	}}
	want.Revocations.File = "/var/lib/jotgate/revoked"
	want.Upstreams = map[string]*Upstream{"app": app}
	want.Routes = []*Route{
		{
			Index: 0, Name: "tickets", Hosts: []route.Host{host(t, "app.example.com")},
			Path:    path(t, "/tenants/{tenant}/tickets/"),
			Methods: []string{"GET", "HEAD"}, Require: Require{Action: "MANAGE_TICKETS", From: FromPath, Name: "tenant"},
			Upstream: app, BodyBytes: 1 << 30,
		},
		{Index: 1, Name: "/me", Path: path(t, "/me"), Upstream: app, BodyBytes: 1 << 30},
		{
			Index: 2, Name: "/tenants", Path: path(t, "/tenants"), Require: Require{Action: "CREATE_TENANT", Global: true},
			Upstream: app, BodyBytes: 1 << 30,
		},
		{Index: 3, Name: "/assets/", Path: path(t, "/assets/"), Public: true, Upstream: app, BodyBytes: 1 << 30},
	}
	want.Tests = []*Test{{
		Method: "GET", URL: "https://app.example.com/tenants/acme/tickets/7", Headers: map[string]string{},
		Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"*"}}}, Allow: true,
	}}
	want.Warnings = []Fault{{
		File: "/etc/jotgate/parts.yaml", Line: 28, Column: 10, Path: "roles.clerk",
		Problem: "opens no route that requires an action",
		Remedy:  "compare its tenants and actions with what the routes require",
	}}
	want.MissingKeys = []MissingKey{{Path: "/etc/jotgate/keys/main.pem", fault: Fault{
		File: "/etc/jotgate/parts.yaml", Line: 12, Column: 17, Path: "issuer.keys[0].file",
	}}}
	got := parseGood(t, "parts.yaml")
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if _, err := got.KeySet(); err != nil {
		t.Errorf("key set: %v", err)
	}
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PORT": "9000", "EMPTY": "", "ODD": "a\nb: c", "NESTED": "${env:PORT}"}
	opts := hermetic
	opts.Env = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	const head = "version: 1\nroutes: [{path: /, public: true, upstream: \"http://127.0.0.1:3000\"}]\n"
	for _, c := range []struct{ name, listen, want, fault string }{
		{"in the middle", `"127.0.0.1:${env:PORT}"`, "127.0.0.1:9000", ""},
		{"default unused", `":${env:PORT:-1}"`, ":9000", ""},
		{"default of an unset one", `":${env:NONE:-81}"`, ":81", ""},
		{"default of an empty one", `":${env:EMPTY:-82}"`, ":82", ""},
		{"twice", `"127.0.0.${env:NONE:-1}:${env:PORT}"`, "127.0.0.1:9000", ""},
		{"not again", `"${env:NESTED}"`, "", `listen: "${env:NESTED}" has no port from 0 to 65535`},
		{
			"adds no keys", `"${env:ODD}"`, "",
			"listen: comes from the environment variable ODD, which is not one line of UTF-8 text",
		},
		{
			"nothing from a file of two lines", `"${file:two-lines}"`, "",
			`listen: comes from the file "two-lines", which is not one line of UTF-8 text`,
		},
	} {
		got, err := Parse("gate.yaml", []byte(head+"listen: "+c.listen+"\n"), opts)
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: got %v, want %s", c.name, err, c.fault)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case got.Listeners[0].Address != c.want:
			t.Errorf("%s: got %s, want %s", c.name, got.Listeners[0].Address, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{
			"everyone is a proxy",
			"trusted_proxies: [0.0.0.0/0]\nroutes: [{path: /, public: true, upstream: \"http://127.0.0.1:3000\"}]\n",
			`gate.yaml:2:19: trusted_proxies[0]: "0.0.0.0/0" is every address; name the proxies alone: any client can now ` +
				`forge its address`,
		},
		{
			"codes that open nothing",
			"issuer: {url: http://shop, keys: [{file: k.pem, create: true}], clients: [{id: web, may: [issue_codes]}]}\n",
			`gate.yaml:2:75: issuer.clients[0]: may issue codes, but has no permissions to grant; add delegate: it is the ` +
				`upper bound of what its codes open`,
		},
	} {
		got, err := Parse("gate.yaml", []byte("version: 1\n"+c.text), hermetic)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, Faults(got.Warnings).Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestOwnPathsFollowTheDialectsAndHosts(t *testing.T) {
	t.Parallel()
	const text = `version: 1
issuer:
  url: http://gate
  keys: [{file: k.pem, create: true}]
  serve: {hosts: [Gate.example.com.], dialects: [access_tokens], access_token_prefix: /crafter-profile}
routes:
  - {path: /api/v1/tokens, public: true, upstream: "http://127.0.0.1:3000"}
  - {path: /openapi.json, public: true, upstream: "http://127.0.0.1:3000"}
  - {path: /openapi.json, hosts: [app.example.com], public: true, upstream: "http://127.0.0.1:3000"}
`
	c, err := Parse("gate.yaml", []byte(text), hermetic)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.OwnPaths() {
		got = append(got, p.String())
	}
	want := []string{"/.well-known/jwks.json", "/openapi.json", "/crafter-profile/api/1/access_token/"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("own paths (-want +got):\n%s", diff)
	}
	if !c.OwnHost(host(t, "gate.example.com")) || c.OwnHost(host(t, "app.example.com")) || c.OwnHost(host(t, "")) {
		t.Error("own hosts are not issuer.serve.hosts")
	}
	_, err = Parse("gate.yaml", []byte(text+
		"  - {path: /openapi.json, hosts: [gate.example.com], public: true, upstream: \"http://127.0.0.1:3000\"}\n"),
		hermetic)
	if err == nil || !strings.Contains(err.Error(), "routes[3].path: \"/openapi.json\" is inside") {
		t.Errorf("a route inside ours on our host: %v", err)
	}
	if without := (&Config{}).OwnPaths(); without != nil {
		t.Errorf("without an issuer: %v", without)
	}
}
