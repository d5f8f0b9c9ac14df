package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/upstream"
)

// An app is an upstream on a raw socket: it keeps the exact bytes of each request and answers with whatever answer
// says.
type app struct {
	listener net.Listener
	answer   func(c net.Conn, r *received) bool // true keeps the connection

	mu       sync.Mutex
	requests []*received
	open     map[net.Conn]bool
	serving  sync.WaitGroup
}

// received is a request as it came.
type received struct {
	line   string   // without CRLF
	fields []string // by name
	body   string
	in     *bufio.Reader
}

// get lists the values of a field by its exact spelling.
func (r *received) get(name string) (values []string) {
	for _, f := range r.fields {
		if n, v, _ := strings.Cut(f, ": "); n == name {
			values = append(values, v)
		}
	}
	return values
}

func newApp(t testing.TB) *app {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{listener: l, open: map[net.Conn]bool{}}
	a.serving.Go(func() { a.serve(l) }) // a test may put another listener in its place
	t.Cleanup(func() {
		l.Close()
		a.mu.Lock()
		for c := range a.open {
			c.Close()
		}
		a.mu.Unlock()
		a.serving.Wait()
	})
	return a
}

func (a *app) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		a.mu.Lock()
		a.open[c] = true
		a.mu.Unlock()
		a.serving.Go(func() { a.speak(c) })
	}
}

func (a *app) speak(c net.Conn) {
	defer func() {
		c.Close()
		a.mu.Lock()
		delete(a.open, c)
		a.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		r, err := readRequest(in)
		if err != nil {
			return
		}
		a.mu.Lock()
		a.requests = append(a.requests, r)
		answer := a.answer
		a.mu.Unlock()
		if answer == nil {
			answer = readAndSay("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		if !answer(c, r) {
			return
		}
	}
}

func readRequest(in *bufio.Reader) (*received, error) {
	r := &received{in: in}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\r\n")
		switch {
		case line == "":
			// Their order means nothing but among those of one name (RFC 9110 §5.3).
			slices.SortStableFunc(r.fields, func(a, b string) int {
				a, _, _ = strings.Cut(a, ":")
				b, _, _ = strings.Cut(b, ":")
				return strings.Compare(a, b)
			})
			return r, nil
		case r.line == "":
			r.line = line
		default:
			r.fields = append(r.fields, line)
		}
	}
}

// readBody reads what the head announces, chunks as they stand on the wire.
func (r *received) readBody() error {
	var b bytes.Buffer
	defer func() { r.body = b.String() }()
	if n := r.get("Content-Length"); len(n) == 1 {
		var length int64
		if _, err := fmt.Sscan(n[0], &length); err != nil {
			return err
		}
		_, err := io.CopyN(&b, r.in, length)
		return err
	}
	if len(r.get("Transfer-Encoding")) == 0 {
		return nil
	}
	for !strings.HasSuffix(b.String(), "0\r\n\r\n") {
		line, err := r.in.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return err
		}
	}
	return nil
}

// readAndSay answers with raw bytes once the body is read.
func readAndSay(raw string) func(net.Conn, *received) bool {
	return func(c net.Conn, r *received) bool {
		if r.readBody() != nil {
			return false
		}
		_, err := io.WriteString(c, raw)
		return err == nil
	}
}

func (a *app) says(answer func(net.Conn, *received) bool) {
	a.mu.Lock()
	a.answer = answer
	a.mu.Unlock()
}

func (a *app) seen() []*received {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*received(nil), a.requests...)
}

func (a *app) forget() {
	a.mu.Lock()
	a.requests = nil
	a.mu.Unlock()
}

func (a *app) url() string { return "http://" + a.listener.Addr().String() }

// A house is a gate with all around it: a configuration, an app, a server on a real socket, and a clock.
type house struct {
	t        testing.TB
	app      *app
	config   *config.Config
	keys     *atomic.Pointer[jose.KeySet] // of our issuer
	foreign  *jose.PrivateKey             // of https://idp.example
	gate     *Gate
	cache    *Cache
	pools    *upstream.Pools
	revoked  *revocations
	further  []step
	rates    Rates
	proofs   *dpop.Checker
	draining context.Context
	drain    context.CancelFunc
	now      atomic.Int64 // unix ms
	server   *http.Server
	address  string
	last     atomic.Pointer[visit]
}

// A visit is one request in the gate. Its exchange may be read when it is over.
type visit struct {
	*request.Exchange
	over chan struct{}
}

// visit waits for the last request to be over.
func (h *house) visit() *request.Exchange {
	v := h.last.Load()
	<-v.over
	return v.Exchange
}

const settings = `
version: 1
issuer:
  url: https://gate.example
  audiences: [https://api.example]
  keys: [{file: main.pem}]
  clients:
    - id: web
      secret: "a123456789012345678901"
      may: [issue_codes]
      permissions: [{tenant: acme, actions: [READ]}]
      delegate: [{tenant: "*", actions: ["*"]}]
    - id: narrow
      secret: abcdefghijklmnopqrstuvw
      may: [issue_codes]
      delegate: [{tenant: acme, actions: [READ]}]
trusted_issuers:
  - issuer: https://idp.example
    keys: [{file: idp.json}]
    audiences: [https://api.example]
    permissions: [{tenant: acme, actions: [READ]}]
  - issuer: https://roles.example
    keys: [{file: idp.json}]
    audiences: [https://api.example]
    roles: {from: roles, map: {reader: reader, writer: writer}}
    permissions: [{tenant: "*", actions: [READ, WRITE]}]
roles:
  reader: [{tenant: acme, actions: [READ]}]
  writer: [{tenant: acme, actions: [WRITE]}, {tenant: other, actions: [WRITE]}]
limits: {stall_timeout: 2s}
upstreams:
  app: {servers: ["APP"], connect_timeout: 1s, response_timeout: 1s}
  signed: {servers: ["APP"], assertion: {audience: app, ttl: 60s}}
  renamed: {servers: ["APP"], host: inner.example}
routes:
  - {path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: app}
  - {path: "/odd/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: app, insecure_allow: [encoded_slash, semicolon, double_slash, double_encoding]}
  - {path: /h, require: {tenant_from: header.X-Tenant, action: READ}, upstream: app}
  - {path: /q, require: {tenant_from: query.tenant, action: READ}, upstream: app}
  - {path: /, hosts: ["{tenant}.tenants.example"], require: {tenant_from: host.tenant, action: READ}, upstream: app}
  - {path: /fixed, require: {tenant: acme, action: READ}, upstream: app}
  - {path: /global, require: {global: true, action: CREATE}, upstream: app}
  - {path: /me, require: authenticated, upstream: app}
  - {path: /pass, require: authenticated, upstream: app, forward_token: true}
  - {path: /aud, require: authenticated, upstream: app, audiences: [https://other.example]}
  - {path: /small, require: authenticated, upstream: app, body_bytes: 10}
  - {path: /only, methods: [GET], require: authenticated, upstream: app}
  - {path: /signed, require: {tenant: acme, action: READ}, upstream: signed}
  - {path: /renamed, require: authenticated, upstream: renamed}
  - {path: /ws, require: {tenant: acme, action: READ}, upstream: app, upgrade: true}
  - {path: /ws-public, public: true, upstream: app, upgrade: true}
  - {path: /assets/, public: true, upstream: app, insecure_allow: [double_slash]}
`

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{
		t: t, app: newApp(t), keys: new(atomic.Pointer[jose.KeySet]), cache: NewCache(1 << 20),
		revoked: &revocations{},
	}
	h.draining, h.drain = context.WithCancel(t.Context())
	h.now.Store(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	h.pools = upstream.NewPools(time.Now)
	h.judgeProofs(nil)
	h.load(settings)
	h.serve()
	t.Cleanup(h.close)
	return h
}

func (h *house) clock() time.Time { return time.UnixMilli(h.now.Load()) }

// load reads a configuration and puts a gate of it in place of the one that is there.
func (h *house) load(text string) {
	h.t.Helper()
	if h.foreign == nil {
		h.foreign = must(jose.Generate("ES256"))
	}
	main := must(must(jose.Generate("ES256")).MarshalPEM())
	if h.config != nil {
		main = must(h.config.Issuer.Keys[0].MarshalPEM())
	}
	idp := must(jose.NewKeySet(h.foreign.Public())).JWKS()
	c, err := config.Parse("gate.yaml", []byte(strings.ReplaceAll(text, "APP", h.app.url())), config.Options{
		ReadFile: func(path string) ([]byte, error) {
			switch {
			case strings.HasSuffix(path, "main.pem"):
				return main, nil
			case strings.HasSuffix(path, "idp.json"):
				return idp, nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.config = c
	h.keys.Store(must(jose.NewKeySet(c.Issuer.Keys[0].Public())))
	h.build()
}

// judgeProofs makes what judges DPoP proofs, with a memory that began a while ago; the next build has it.
func (h *house) judgeProofs(change func(*dpop.Options)) {
	h.t.Helper()
	o := dpop.Options{MaxAge: time.Minute, Leeway: 5 * time.Second, NonceTTL: 5 * time.Minute, Clock: h.clock}
	o.State = must(dpop.NewState(dpop.LeastCapacity, o.MaxAge, func() time.Time { return h.clock().Add(-time.Hour) }))
	if change != nil {
		change(&o)
	}
	h.proofs = must(dpop.New(o))
}

func (h *house) build() {
	h.t.Helper()
	retain, scopes := h.config.Retained()
	issuers := []*jose.Issuer{{
		URL: h.config.Issuer.URL, Keys: h.keys.Load, Own: true, MaxLifetime: 24 * time.Hour,
		Retain: retain, Scopes: scopes,
	}}
	for _, i := range h.config.TrustedIssuers {
		issuers = append(issuers, &jose.Issuer{
			URL: i.Issuer, Keys: func() *jose.KeySet { return i.Keys }, Words: i.Words,
			Retain: retain, Scopes: scopes,
		})
	}
	g, err := New(Options{
		Config: h.config, Verifier: must(jose.NewVerifier(jose.Options{
			Issuers:  issuers,
			MaxBytes: h.config.Limits.TokenBytes,
		})),
		Cache: h.cache, Upstreams: h.pools, Revocations: h.revoked, Proofs: h.proofs, Clock: h.clock, Draining: h.draining,
		further: h.further, Rates: &h.rates,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if h.gate != nil {
		h.gate.Close()
	}
	h.gate = g
}

// serve puts the gate behind a chain that does what the server's own does for it.
func (h *house) serve() {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = l.Addr().String()
	h.server = &http.Server{Handler: http.HandlerFunc(h.chain)}
	go h.server.Serve(l)
}

func (h *house) chain(w http.ResponseWriter, r *http.Request) {
	x := new(request.Exchange)
	x.Begin(w, time.Now())
	v := &visit{x, make(chan struct{})}
	defer close(v.over)
	h.last.Store(v)
	x.ID, x.Scheme = "0190-id", "http"
	x.Peer = netip.MustParseAddrPort(r.RemoteAddr).Addr()
	x.Client = x.Peer
	x.Trusted = r.Header.Get("Test-Trusted") != ""
	w.Header().Set(request.RequestIDHeader, x.ID)
	var err error
	if x.Host, err = route.CanonicalHost(r.Host); err == nil {
		err = x.Target.Parse(r.RequestURI)
	}
	if err != nil {
		x.Refuse(err)
		return
	}
	h.gate.ServeHTTP(x, r)
}

func (h *house) close() {
	h.server.Close()
	h.gate.Close()
}

// revocations is a list of revoked token ids and tenants.
type revocations struct {
	ids, tenants sync.Map
	refused      atomic.Int64
}

func (w *revocations) Check(c *token.Claims, _ string) error {
	if _, gone := w.ids.Load(c.ID); gone {
		w.refused.Add(1)
		return &refusal.Error{Reason: refusal.TokenRevoked}
	}
	return nil
}

func (w *revocations) CheckTenant(_ *token.Claims, tenant string) error {
	if _, gone := w.tenants.Load(tenant); gone {
		return &refusal.Error{Reason: refusal.TokenRevoked}
	}
	return nil
}

// claims are those of a good access token that allows READ on acme.
func (h *house) claims() *token.Claims {
	now := h.now.Load()
	return &token.Claims{
		Issuer: "https://gate.example", Subject: "alice", Audience: []string{"https://api.example"}, ClientID: "web",
		ID:       "id-1",
		IssuedAt: now, Expiry: now + 3600_000, Grantor: "web",
		Permissions: token.Permissions{{Tenant: "acme", AllowedActions: []string{"READ", "LIST"}}},
	}
}

// mint signs the good claims, changed.
func (h *house) mint(change ...func(*token.Claims)) string {
	h.t.Helper()
	c := h.claims()
	for _, f := range change {
		f(c)
	}
	return must(h.config.Issuer.Keys[0].Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, c)))
}

// mintForeign signs claims of another issuer, with further members as JSON.
func (h *house) mintForeign(issuer, more string, change ...func(*token.Claims)) string {
	h.t.Helper()
	c := h.claims()
	c.Issuer, c.Grantor, c.ClientID = issuer, "", "their-app"
	for _, f := range change {
		f(c)
	}
	text := string(jose.EncodeClaims(nil, c))
	if more != "" {
		text = text[:len(text)-1] + "," + more + "}"
	}
	return must(h.foreign.Sign(jose.TypeAccessToken, []byte(text)))
}

// patience ends a test that would hang; nothing passes because of it.
const patience = 30 * time.Second

// dial connects to the gate.
func (h *house) dial() (net.Conn, *bufio.Reader) {
	h.t.Helper()
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	h.t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// An outcome is a whole answer, and what the exchange noted.
type outcome struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
	last   bool  // Connection: close
	reason refusal.Reason
}

// raw sends bytes on a connection of their own and reads one answer.
func (h *house) raw(text string) outcome {
	h.t.Helper()
	c, in := h.dial()
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		h.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	return h.read(in, method)
}

func (h *house) read(in *bufio.Reader, method string) outcome {
	h.t.Helper()
	r, err := http.ReadResponse(in, &http.Request{Method: method})
	for err == nil && r.StatusCode < 200 && r.StatusCode != http.StatusSwitchingProtocols {
		r, err = http.ReadResponse(in, &http.Request{Method: method})
	}
	if err != nil {
		return outcome{err: err, reason: h.visit().Reason}
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return outcome{
		status: r.StatusCode, header: r.Header, body: string(body), err: err, last: r.Close,
		reason: h.visit().Reason,
	}
}

// get sends a GET with a bearer, if there is one, and further lines.
func (h *house) get(target, bearer string, lines ...string) outcome {
	h.t.Helper()
	return h.raw(head("GET", target, bearer, lines...))
}

func head(method, target, bearer string, lines ...string) string {
	text := method + " " + target + " HTTP/1.1\r\n"
	host := "Host: app.example\r\n"
	for _, l := range lines {
		if strings.HasPrefix(l, "Host: ") {
			host = ""
		}
	}
	text += host
	if bearer != "" {
		text += "Authorization: Bearer " + bearer + "\r\n"
	}
	for _, l := range lines {
		text += l + "\r\n"
	}
	return text + "\r\n"
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
