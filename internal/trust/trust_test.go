package trust_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/trust"
)

const (
	gate, idp, closed, ci = "https://gate.test", "https://idp.test", "https://closed.test", "https://ci.test"
	api, books, staff     = "https://gate.test/api", "https://gate.test/books", "https://gate.test/staff"

	settings = `version: 1
listen: 127.0.0.1:0
issuer:
  url: https://gate.test
  audiences: [https://gate.test/api, https://gate.test/books, https://gate.test/staff]
  keys: [{file: main.pem}]
  clients:
    - {id: web, secret: 0123456789abcdefghijkl, may: [exchange], claims: [plan], delegate: [{tenant: acme, actions: [READ]}]}
    - {id: idle, secret: 0123456789abcdefghijkl}
    - {id: bound, secret: 0123456789abcdefghijkl, dpop: required}
    - id: job
      permissions: [{tenant: acme, actions: [READ]}]
      identity: {issuer: https://ci.test, subject: {prefix: "repo:acme/shop:"}, claims: {ref: main}, once: true}
trusted_issuers:
  - issuer: https://idp.test
    keys: [{file: theirs.json}]
    audiences: [shop]
    exchange: true
    roles: {from: roles, map: {desk: desk}}
    permissions: [{tenant: acme, actions: [READ, WRITE]}]
  - {issuer: https://closed.test, keys: [{file: theirs.json}], audiences: [shop], permissions: []}
  - {issuer: https://ci.test, keys: [{file: theirs.json}], kinds: [workload], token_types: [none, JWT], audiences: [jobs], permissions: []}
roles: {desk: [{tenant: acme, actions: [READ]}]}
routes:
  - {path: /staff, audiences: [https://gate.test/staff], require: {tenant: acme, action: READ}, upstream: "http://127.0.0.1:9"}
  - {path: /books, audiences: [https://gate.test/books, shop], require: {tenant: acme, action: READ}, upstream: "http://127.0.0.1:9"}
  - {path: /, require: {tenant: acme, action: READ}, upstream: "http://127.0.0.1:9"}
`
)

func load(t *testing.T) *config.Config {
	t.Helper()
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewKeySet(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	private, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, data := range map[string][]byte{
		"main.pem": private, "theirs.json": set.JWKS(), "gate.yaml": []byte(settings),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(filepath.Join(folder, "gate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func acme(actions ...string) token.Permissions {
	return token.Permissions{{Tenant: "acme", AllowedActions: actions}}
}

// ours is a token of this gate's, exchanged or not.
func ours(change func(*token.Claims)) *jose.Verified {
	v := &jose.Verified{Issuer: &jose.Issuer{URL: gate, Own: true}, Claims: token.Claims{
		Issuer: gate, Subject: "alice", Audience: []string{api}, ClientID: "web", Grantor: "web", Permissions: acme("READ"),
	}}
	if change != nil {
		change(&v.Claims)
	}
	return v
}

// TestOursStandOnTheConfig: a token of ours is worth what it says, while all that it stands on is there.
func TestOursStandOnTheConfig(t *testing.T) {
	t.Parallel()
	p := trust.New(load(t))
	from := func(issuer, subject string) func(*token.Claims) {
		return func(c *token.Claims) { c.Ancestors = []token.Ancestor{{Issuer: issuer, Subject: subject, ID: "1"}} }
	}
	with := func(a token.Ancestor) func(*token.Claims) {
		return func(c *token.Claims) { c.ActorTokens = []token.Ancestor{a} }
	}
	for _, c := range []struct {
		name   string
		change func(*token.Claims)
		want   refusal.Reason
	}{
		{"as it is", nil, ""},
		{"a grantor that is gone", func(c *token.Claims) { c.Grantor = "gone" }, refusal.GrantorUnknown},
		{"a client that is gone", func(c *token.Claims) { c.ClientID = "gone" }, refusal.GrantorUnknown},
		{"more than its grantor may", func(c *token.Claims) { c.Permissions = acme("WRITE") }, refusal.GrantorNotCovering},
		{"a subject like a client", func(c *token.Claims) { c.Subject = "idle" }, refusal.TokenSubjectReserved},
		{"not bound, though its client must", func(c *token.Claims) { c.ClientID = "bound" }, refusal.TokenUnbound},
		{"exchanged", from(idp, "alice"), ""},
		{"from an issuer without exchange", from(closed, "alice"), refusal.OriginalNotCovered},
		{"from one that is not trusted", from("https://gone.test", "alice"), refusal.OriginalNotCovered},
		{"from one with our name", from(gate, "alice"), refusal.OriginalNotCovered},
		{"from a subject like a client", from(idp, "idle"), refusal.TokenSubjectReserved},
		{"an actor's token", with(token.Ancestor{Issuer: idp, Subject: "bob"}), ""},
		{"an actor's of an issuer without exchange", with(token.Ancestor{Issuer: closed}), refusal.OriginalNotCovered},
		{"an actor's that is not trusted", with(token.Ancestor{Issuer: "https://gone.test"}), refusal.OriginalNotCovered},
		{"an actor's that names no issuer", with(token.Ancestor{}), refusal.OriginalNotCovered},
		{"our own client's", with(token.Ancestor{Issuer: gate, ClientID: "web", Grantor: "web"}), ""},
		{"of a client that is gone", with(token.Ancestor{Issuer: gate, ClientID: "gone"}), refusal.GrantorUnknown},
		{
			"of a grantor that is gone", with(token.Ancestor{Issuer: gate, ClientID: "web", Grantor: "gone"}),
			refusal.GrantorUnknown,
		},
	} {
		permissions, err := p.Worth(ours(c.change))
		if refusal.Of(err) != c.want || err == nil && !cmp.Equal(permissions, acme("READ")) {
			t.Errorf("%s: %v, %v, want %q", c.name, permissions, err, c.want)
		}
	}
}

// TestOpensRefusesWhatNoRouteTakes, before a signature is paid for.
func TestOpensRefusesWhatNoRouteTakes(t *testing.T) {
	t.Parallel()
	p := trust.New(load(t))
	theirs := func(issuer, aud string) *jose.Verified {
		return &jose.Verified{
			Issuer: &jose.Issuer{URL: issuer}, Claims: token.Claims{Issuer: issuer, Audience: []string{aud}},
		}
	}
	for _, c := range []struct {
		name string
		v    *jose.Verified
		want refusal.Reason
	}{
		{"ours", ours(nil), ""},
		{"ours, for one route", ours(func(c *token.Claims) { c.Audience = []string{staff} }), ""},
		{"ours, for none", ours(func(c *token.Claims) { c.Audience = []string{"x"} }), refusal.TokenAudienceMismatch},
		{"one that manages", ours(func(c *token.Claims) { c.Scope = "exchange" }), refusal.TokenManagement},
		{"one for the issuer", ours(func(c *token.Claims) { c.Audience = []string{gate} }), refusal.TokenManagement},
		{"theirs", theirs(idp, "shop"), ""},
		{"theirs, for a route", theirs(idp, books), ""},
		{"theirs, for none", theirs(idp, "x"), refusal.TokenAudienceMismatch},
		{"a stranger's", theirs("https://gone.test", "shop"), refusal.InternalError},
		{
			"a trusted one's that says it is ours", &jose.Verified{Issuer: &jose.Issuer{URL: idp, Own: true}},
			refusal.InternalError,
		},
	} {
		if err := p.Opens(c.v); refusal.Of(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestNarrow: an audience that opens a route to which the token is not meant is not among them.
func TestNarrow(t *testing.T) {
	t.Parallel()
	p := trust.New(load(t))
	for _, c := range []struct{ aud, want []string }{
		{[]string{"shop"}, []string{api, books}},
		{[]string{"other"}, []string{api}},
		{[]string{"shop", staff}, []string{api, books, staff}},
		{nil, []string{api}},
	} {
		if d := cmp.Diff(c.want, p.Narrow([]string{api, books, staff}, c.aud)); d != "" {
			t.Errorf("aud %v (-want +got):\n%s", c.aud, d)
		}
	}
}

// TestTables: who may exchange what for what, and who authenticates with what.
func TestTables(t *testing.T) {
	t.Parallel()
	c := load(t)
	all := []string{api, books, staff}
	if d := cmp.Diff([]trust.Exchange{
		{Client: "web", Issuer: gate, Audiences: all, Most: acme("READ"), Claims: []string{"plan"}},
		{
			Client: "web", Issuer: idp, Audiences: []string{api, books}, Named: []string{staff}, Claims: []string{"plan"},
			Most: token.Permissions{
				{Tenant: "acme", AllowedActions: []string{"READ"}}, {Tenant: "*", AllowedActions: []string{}},
			},
		},
	}, trust.Exchanges(c)); d != "" {
		t.Errorf("exchanges (-want +got):\n%s", d)
	}
	workloads := trust.Workloads(c)
	if len(workloads) != 1 || workloads[0].Client != "job" || workloads[0].Issuer != ci ||
		workloads[0].Is != `sub repo:acme/shop:…, ref "main"` || !workloads[0].Identity.Once {
		t.Errorf("workloads: %+v", workloads)
	}
	c.Issuer.Serve.OAuth2 = false
	if got := trust.Exchanges(c); got != nil {
		t.Errorf("without the endpoint: %+v", got)
	}
}

// TestAuthenticates: explain tells of a workload's token which client it stands for.
func TestAuthenticates(t *testing.T) {
	t.Parallel()
	p := trust.New(load(t))
	for _, c := range []struct {
		name, sub, aud, ref string
		kind                jose.Kind
		want                []string
	}{
		{"the workload's", "repo:acme/shop:ref:main", gate, `"main"`, jose.KindWorkload, []string{"job"}},
		{"another subject", "repo:acme/other:ref:main", gate, `"main"`, jose.KindWorkload, nil},
		{"the prefix alone", "repo:acme/shop:", gate, `"main"`, jose.KindWorkload, nil},
		{"another claim", "repo:acme/shop:ref:main", gate, `"dev"`, jose.KindWorkload, nil},
		{"for a route", "repo:acme/shop:ref:main", "jobs", `"main"`, jose.KindWorkload, nil},
		{"an access token", "repo:acme/shop:ref:main", gate, `"main"`, jose.KindAccess, nil},
	} {
		v := &jose.Verified{
			Issuer: &jose.Issuer{URL: ci, Retain: []jose.Path{{"ref"}}}, Kind: c.kind, Retained: []jose.Value{jose.Value(c.ref)},
			Claims: token.Claims{Issuer: ci, Subject: c.sub, Audience: []string{c.aud}},
		}
		if d := cmp.Diff(c.want, p.Authenticates(v)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
