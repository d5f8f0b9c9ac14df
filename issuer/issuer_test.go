package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jotgate/jotgate/config"
	endpoints "github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// The credentials of the test config.
const (
	issuerURL = "https://gate.test"
	makerID   = "b4d1c2e3-fixed-master-0001"
	plainID   = "b4d1c2e3-fixed-plain-0002"
	aliceID   = "7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0a01"
	personID  = "7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0a02"
	unknownID = "7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0aff"
)

func all(tenant string, actions ...string) token.Permissions {
	return token.Permissions{{Tenant: tenant, AllowedActions: actions}}
}

// settings is the config of most tests: shop issues codes and user tokens for tenants it may hand on, maker makes
// access tokens and masters, plain may nothing.
func settings(t testing.TB) *config.Config {
	t.Helper()
	roles := map[string]*config.Role{
		"support": {Name: "support", Permissions: all("acme", "READ_TENANT", "MANAGE_TICKETS")},
		"agent":   {Name: "agent", Permissions: all(token.Placeholder, "READ_TENANT")},
		"owner":   {Name: "owner", Permissions: all("*", "*")},
	}
	delegate := token.Permissions{
		{Tenant: "secret", AllowedActions: []string{}},
		{Tenant: "*", AllowedActions: []string{"READ_TENANT", "MANAGE_TICKETS"}},
	}
	return &config.Config{
		TenantPattern: regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`),
		ClockLeeway:   5 * time.Second,
		Limits:        config.Limits{TokenBytes: 8192, TokenBodyBytes: 65536, BodyTimeout: 10 * time.Second, IssueRate: 1000},
		Replay:        config.Replay{Capacity: 1 << 12},
		Roles:         roles,
		Issuer: &config.Issuer{
			URL: issuerURL, Audiences: []string{issuerURL + "/api"}, Keys: []*jose.PrivateKey{testKey(t, "ES256")},
			CodeTTL: time.Minute, TokenTTL: time.Hour, MaxTokenTTL: 2 * time.Hour, MaxAccessTokenTTL: 8760 * time.Hour,
			Serve: config.Serve{Codes: true, UserTokens: true, AccessTokens: true},
			Clients: []*config.Client{
				{ID: "shop", May: []string{token.IssueCodes, token.IssueUserTokens}, Delegate: delegate, CodeTTL: time.Minute},
				{
					ID: "maker", May: []string{token.CreateAccessTokens, token.CreateMasters}, Delegate: delegate,
					CodeTTL: time.Minute, AccessTokenID: makerID,
				},
				{
					ID: "other", May: []string{token.CreateAccessTokens, token.IssueCodes}, Delegate: all("*", "READ_TENANT"),
					CodeTTL: time.Minute,
				},
				{ID: "plain", Permissions: all("acme", "READ_TENANT"), CodeTTL: time.Minute, AccessTokenID: plainID},
			},
			Users: &config.Users{List: map[string]*config.User{
				aliceID:  {ID: aliceID, Type: "end_user", Permissions: all("*", "READ_TENANT", "DELETE_TENANT")},
				personID: {ID: personID, Type: "person"},
			}},
		},
	}
}

var testKeys sync.Map // by algorithm: making RSA keys is slow

func testKey(t testing.TB, algorithm string) *jose.PrivateKey {
	t.Helper()
	if k, ok := testKeys.Load(algorithm); ok {
		return k.(*jose.PrivateKey)
	}
	k, err := jose.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	kept, _ := testKeys.LoadOrStore(algorithm, k)
	return kept.(*jose.PrivateKey)
}

// A clock is set by hand.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// A house is an issuer behind a real socket, with the little of the chain that it needs.
type house struct {
	testing.TB
	config *config.Config
	clock  *clock
	guard  Guard
	state  *State
	issuer atomic.Pointer[Issuer]
	revoked
	server *httptest.Server
	logs   lockedBuffer
	events events
	doc    *openapi3.T
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

// last is the newest event, without what differs from run to run.
func (e *events) last() Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return Event{}
	}
	ev := e.list[len(e.list)-1]
	ev.RequestID, ev.Remote = "", ""
	return ev
}

// revoked is a memory of revocations, if it is on.
type revoked struct {
	on bool
	mu sync.Mutex
	by map[string]string // jti: client

	broken error // what the disk says

	replayed atomic.Int64 // until when the last token of a replayed code is remembered, ms
}

func (r *revoked) Check(v *jose.Verified, _ time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.by[v.Claims.ID]; ok {
		return refusal.Because(refusal.TokenRevoked, "revoked")
	}
	return nil
}

func (r *revoked) Revoke(_ context.Context, _, jti, client string, _ int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return r.broken
	}
	if r.by == nil {
		r.by = make(map[string]string)
	}
	r.by[jti] = client
	return nil
}

func (r *revoked) RevokeReplayed(ctx context.Context, issuer, jti, client string, expiry int64) error {
	r.replayed.Store(expiry)
	return r.Revoke(ctx, issuer, jti, client, expiry)
}

func newHouse(t testing.TB, change func(*config.Config)) *house {
	t.Helper()
	h := &house{TB: t, config: settings(t), clock: new(clock), state: NewState()}
	h.clock.ms.Store(time.Date(2026, 3, 1, 12, 0, 0, 823_000_000, time.UTC).UnixMilli())
	if change != nil {
		change(h.config)
	}
	h.guard = h.newGuard()
	h.reload(h.config)
	h.server = httptest.NewServer(http.HandlerFunc(h.chain))
	t.Cleanup(h.server.Close)
	return h
}

func (h *house) newGuard() Guard {
	h.Helper()
	m, err := replay.NewMemory(replay.Options{
		Clients:  []string{"shop", "maker", "other", "plain"},
		Capacity: h.config.Replay.Capacity, Clock: h.clock.now,
	})
	if err != nil {
		h.Fatal(err)
	}
	return m
}

func (h *house) logger() *zap.Logger {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&h.logs),
		zap.DebugLevel)
	return zap.New(core)
}

// verifier judges our own tokens as the config says, and those of the foreign issuers given.
func verifier(t testing.TB, c *config.Config, foreign ...*jose.Issuer) *jose.Verifier {
	t.Helper()
	var public []*jose.PublicKey
	for _, k := range c.Issuer.Keys {
		public = append(public, k.Public())
	}
	keys, err := jose.NewKeySet(public...)
	if err != nil {
		t.Fatal(err)
	}
	own := &jose.Issuer{
		URL: c.Issuer.URL, Keys: func() *jose.KeySet { return keys }, Own: true,
		MaxLifetime: max(c.Issuer.MaxTokenTTL, c.Issuer.MaxAccessTokenTTL),
	}
	v, err := jose.NewVerifier(jose.Options{
		Issuers: append(foreign, own), Leeway: c.ClockLeeway,
		MaxBytes: c.Limits.TokenBytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reload swaps the config; the guard and the state stay.
func (h *house) reload(c *config.Config) {
	h.Helper()
	h.config = c
	log := h.logger()
	o := Options{Config: c, Verifier: verifier(h, c), Guard: h.guard, State: h.state, Log: log, Clock: h.clock.now}
	o.Audit = func(e Event) {
		h.events.add(e)
		log.Named("audit").Info(e.Name, e.Fields()...)
	}
	if h.on {
		o.Revocations = &h.revoked
	}
	i, err := New(o)
	if err != nil {
		h.Fatal(err)
	}
	i.Begin()
	if old := h.issuer.Swap(i); old != nil {
		old.Close()
	}
	h.doc = h.openAPI(i)
}

var apiDocuments sync.Map // by their text: reading one is slow

// openAPI reads and validates the document that i serves.
func (h *house) openAPI(i *Issuer) *openapi3.T {
	h.Helper()
	data := i.documents.openAPI.data
	if doc, ok := apiDocuments.Load(string(data)); ok {
		return doc.(*openapi3.T)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		h.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		h.Fatal(err)
	}
	kept, _ := apiDocuments.LoadOrStore(string(data), doc)
	return kept.(*openapi3.T)
}

// chain is what the server does before the issuer, and the access line after it.
func (h *house) chain(w http.ResponseWriter, r *http.Request) {
	x := new(request.Exchange)
	x.Begin(w, time.Now())
	x.ID = request.NewID()
	x.Client = netip.MustParseAddrPort(r.RemoteAddr).Addr()
	x.LogPath, x.Host = endpoints.Redact(r.URL.EscapedPath()), r.Header.Get("X-Test-Host")
	h.issuer.Load().ServeHTTP(x, r)
	h.logger().Named("access").Info("access", zap.String("path", x.LogPath), zap.String("route", x.Route),
		zap.Int("status", x.Status()), zap.String("reason", string(x.Reason)), zap.String("detail", x.Detail),
		zap.String("subject", x.Subject), zap.String("client", x.ClientID), zap.String("jti", x.TokenID),
		zap.String("id", x.ID))
}

// minter makes tokens for the tests' callers by the present config.
func (h *house) minter() *Minter { return h.issuer.Load().minter }

func (h *house) management(client, scope string) string {
	h.Helper()
	compact, _, err := h.minter().Management(client, scope, "", 0)
	if err != nil {
		h.Fatal(err)
	}
	return compact
}

func (h *house) roleToken(client, role, tenant, subject string) string {
	h.Helper()
	compact, _, err := h.minter().ForRole(client, role, tenant, subject, 0)
	if err != nil {
		h.Fatal(err)
	}
	return compact
}

// A reply is an answer whole, but for headers that every answer has or that only time tells.
type reply struct {
	Status int
	Header map[string]string
	Body   string
}

func (r reply) String() string { return fmt.Sprintf("%d %v %s", r.Status, r.Header, r.Body) }

type option func(*http.Request)

func bearer(compact string) option {
	return func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+compact) }
}

func header(name, value string) option {
	return func(r *http.Request) { r.Header[name] = append(r.Header[name], value) }
}

// ask sends a request with a JSON body, if there is one, and validates the answer against the OpenAPI document.
func (h *house) ask(method, target, body string, options ...option) reply {
	h.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, h.server.URL+target, reader)
	if err != nil {
		h.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(r)
	}
	response, err := h.server.Client().Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	h.validate(h.doc, r, response, data)
	return plain(response, data)
}

func plain(response *http.Response, data []byte) reply {
	out := reply{Status: response.StatusCode, Header: map[string]string{}, Body: string(data)}
	for name, values := range response.Header {
		switch name {
		case "Date", "Content-Length", "X-Request-Id", "X-Content-Type-Options":
		default:
			out.Header[name] = strings.Join(values, " | ")
		}
	}
	return out
}

// validate holds an answer to the document. The operation is found by the path alone, so that 405 has one too.
func (h *house) validate(doc *openapi3.T, r *http.Request, response *http.Response, data []byte) {
	h.Helper()
	path, item := operation(doc, r.URL.Path)
	if item == nil {
		return // below a tree, and no endpoint
	}
	for method, op := range item.Operations() {
		input := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{
				Request: r, Route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op},
			},
			Status: response.StatusCode, Header: response.Header,
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}
		input.SetBodyBytes(data)
		if r.Method == http.MethodHead {
			input.Options.ExcludeResponseBody = true
		}
		if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
			h.Errorf("%s %s: the answer %d %s is not the document's: %v", r.Method, path, response.StatusCode, data, err)
		}
	}
}

func operation(doc *openapi3.T, path string) (string, *openapi3.PathItem) {
	if item := doc.Paths.Value(path); item != nil {
		return path, item
	}
	for template, item := range doc.Paths.Map() {
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(template), `\{id\}`, "[^/]+") + "$"
		if regexp.MustCompile(pattern).MatchString(path) {
			return template, item
		}
	}
	return "", nil
}

// into decodes an answer's body strictly.
func into[T any](t testing.TB, r reply, status int) T {
	t.Helper()
	var v T
	if r.Status != status {
		t.Fatalf("answered %v, want status %d", r, status)
	}
	d := json.NewDecoder(strings.NewReader(r.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	return v
}

// claimsOf verifies a token with the verifier of the config, and gives its claims.
func (h *house) claimsOf(compact string) token.Claims {
	h.Helper()
	v, err := verifier(h, h.config).Verify(compact, h.clock.now(), nil)
	if err != nil {
		h.Fatal(err)
	}
	return v.Claims
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (h *house) code(body string) string {
	h.Helper()
	r := h.ask("POST", "/api/v1/authorization-codes", body, bearer(h.management("shop", token.IssueCodes)))
	return into[codeAnswer](h, r, 201).AuthorizationCode
}

func (h *house) redeem(code string) reply {
	h.Helper()
	return h.ask("POST", "/api/v1/tokens", `{"authorization_code":"`+code+`"}`)
}

func TestOwns(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) {
		c.Issuer.Serve = config.Serve{
			Hosts: []string{"gate.test"}, Codes: true, AccessTokens: true,
			AccessTokenPrefix: "/crafter-profile",
		}
	})
	for _, c := range []struct {
		host, path string
		want       bool
	}{
		{"gate.test", "/api/v1/tokens", true},
		{"gate.test", "/api/v1/authorization-codes", true},
		{"other.test", "/api/v1/tokens", false},
		{"gate.test", "/api/v1/tokens/", false},
		{"gate.test", "/api/v1/authorization-tokens", false}, // its dialect is off
		{"gate.test", "/crafter-profile/api/1/access_token/create", true},
		{"gate.test", "/crafter-profile/api/1/access_token/x/y", true},
		{"gate.test", "/api/1/access_token/create", false},
		{"gate.test", "/crafter-profile/api/1/access_token", false},
		{"gate.test", "/.well-known/jwks.json", true},
		{"gate.test", "/openapi.json", true},
		{"gate.test", "/", false},
	} {
		if got := h.issuer.Load().Owns(c.host, c.path); got != c.want {
			t.Errorf("Owns(%q, %q) = %t", c.host, c.path, got)
		}
	}
}

func TestDigestCollisionsAreFaults(t *testing.T) {
	t.Parallel()
	a, b := collidingNames()
	for what, change := range map[string]func(*config.Config){
		"clients": func(c *config.Config) {
			c.Issuer.Clients = append(c.Issuer.Clients, &config.Client{ID: a}, &config.Client{ID: b})
		},
		"roles": func(c *config.Config) {
			c.Roles[a], c.Roles[b] = &config.Role{Name: a}, &config.Role{Name: b}
		},
	} {
		c := settings(t)
		change(c)
		guard, err := replay.NewMemory(replay.Options{Capacity: 8})
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(Options{Config: c, Verifier: verifier(t, settings(t)), Guard: guard})
		if err == nil || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
			t.Errorf("two %s of one digest: %v", what, err)
		}
	}
}

// TestErrorsInTheDialectOfThePath: what is refused before a handler runs.
func TestErrorsInTheDialectOfThePath(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for _, c := range []struct {
		method, path string
		want         reply
	}{
		{"GET", "/api/v1/tokens", reply{
			405,
			map[string]string{"Allow": "POST", "Cache-Control": "no-store", "Content-Type": "application/json"},
			`{"name":"MethodNotAllowedError","message":"The endpoint does not have this method; the Allow header lists those ` +
				`it has","code":10013,"statusCode":405,"httpCode":405,"method":"GET","path":"/api/v1/tokens"}` + "\n",
		}},
		{"GET", "/api/1/access_token/create", reply{
			405,
			map[string]string{"Allow": "POST", "Cache-Control": "no-store", "Content-Type": "application/json"},
			`{"errorCode":"OTHER","message":"The endpoint does not have this method; the Allow header lists those it has"}` +
				"\n",
		}},
		{"DELETE", "/api/1/access_token/some-id", reply{
			405,
			map[string]string{"Allow": "GET, HEAD", "Cache-Control": "no-store", "Content-Type": "application/json"},
			`{"errorCode":"OTHER","message":"The endpoint does not have this method; the Allow header lists those it has"}` +
				"\n",
		}},
		{"GET", "/api/1/access_token/a/b/c", reply{
			404,
			map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"},
			`{"errorCode":"OTHER","message":"There is no such endpoint"}` + "\n",
		}},
	} {
		same(t, c.method+" "+c.path, h.ask(c.method, c.path, ""), c.want)
	}
	user := h.ask("PUT", "/api/v1/authorization-tokens", "")
	e := into[userError](t, user, 405)
	if e.Title != "Method Not Allowed" || user.Header["Allow"] != "POST" {
		t.Errorf("PUT: %v", user)
	}
	if p := h.ask("POST", "/openapi.json", "{}"); p.Status != 405 ||
		p.Header["Content-Type"] != "application/problem+json" {
		t.Errorf("POST: %v", p)
	}
}

// TestBodyTimeout: a body that does not come is cut off, and answered in the dialect.
func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Limits.BodyTimeout = 50 * time.Millisecond })
	for path, head := range map[string]string{
		"/api/v1/tokens": "",
		"/api/v1/authorization-tokens": "Authorization: Bearer " +
			h.management("shop", token.IssueUserTokens) + "\r\n",
		"/api/1/access_token/create?accessTokenId=" + makerID: "",
	} {
		status, body := h.stall(path, head)
		if status != 408 {
			t.Errorf("%s answered %d %s", path, status, body)
		}
	}
}

// stall sends a head that promises a body, and a part of it.
func (h *house) stall(path, head string) (int, string) {
	h.Helper()
	u, _ := url.Parse(h.server.URL)
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gate.test\r\n%sContent-Type: application/json\r\nContent-Length: "+
		"100\r\n\r\n{", path, head)
	data, err := io.ReadAll(conn) // the server closes: what is left of the body is not worth reading
	if err != nil {
		h.Fatal(err)
	}
	var status int
	fmt.Sscanf(string(data), "HTTP/1.1 %d", &status)
	_, body, _ := strings.Cut(string(data), "\r\n\r\n")
	return status, body
}

// TestPanicCostsOneRequest: it is answered as an internal error of the dialect, and what it said stays with us.
func TestPanicCostsOneRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.issuer.Load().guard = panicking{h.guard}
	got := h.redeem(h.code(`{"subject":"alice","role":"support"}`))
	want := codeError{
		Name: "InternalServerError", Message: "Internal server error", Code: 10001, StatusCode: 500,
		HTTPCode: 500, Method: "POST", Path: "/api/v1/tokens",
	}
	same(t, "a panic", into[codeError](t, got, 500), want)
	if strings.Contains(h.logs.text(), "a secret in a panic") {
		t.Error("the log has the panic's own words")
	}
}

type panicking struct{ Guard }

func (panicking) Consume(context.Context, replay.Use) error { panic("a secret in a panic") }

func TestAuditEvents(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	code := h.code(`{"subject":"alice","role":"agent","tenant":"acme"}`)
	issued := h.events.last()
	compact := into[tokenAnswer](t, h.redeem(code), 201).AccessToken
	jti := h.claimsOf(compact).ID
	same(t, "issue", issued, Event{
		Name: "code_issue", Outcome: "granted", ClientID: "shop", Subject: "alice",
		Tenant: "acme", Role: "agent", TokenID: jti, TTL: time.Minute,
	})
	same(t, "redeem", h.events.last(), Event{
		Name: "code_redeem", Outcome: "granted", ClientID: "shop", Subject: "alice",
		Tenant: "acme", Role: "agent", TokenID: jti, TTL: time.Hour,
	})
	h.redeem(code)
	same(t, "replay", h.events.last(), Event{
		Name: "code_redeem", Outcome: "refused", Reason: refusal.CodeUsed,
		ClientID: "shop", Subject: "alice", Tenant: "acme", Role: "agent", TokenID: jti, TTL: time.Hour,
	})
	h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":"owner"}`,
		bearer(h.management("shop", token.IssueCodes)))
	same(t, "beyond", h.events.last(), Event{
		Name: "code_issue", Outcome: "refused", Reason: refusal.DelegateExceeded,
		ClientID: "shop", Subject: "alice", Role: "owner",
	})
	h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":"owner"}`)
	same(t, "nobody", h.events.last(), Event{Name: "code_issue", Outcome: "refused", Reason: refusal.TokenMissing})
	for line := range strings.Lines(h.logs.text()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line is no JSON: %s", line)
		}
	}
	if !slices.ContainsFunc(strings.Split(h.logs.text(), "\n"), func(l string) bool {
		return strings.Contains(l, `"logger":"audit"`) && strings.Contains(l, `"jti":"`+jti+`"`)
	}) {
		t.Error("no audit line names the token")
	}
}

// collidingNames are two names of one digest, found by trying some hundred thousand.
func collidingNames() (a, b string) {
	seen := make(map[[4]byte]string)
	for i := 0; ; i++ {
		name := fmt.Sprintf("name-%d", i)
		d := [4]byte(code.DigestOf(name))
		if other, ok := seen[d]; ok {
			return other, name
		}
		seen[d] = name
	}
}
