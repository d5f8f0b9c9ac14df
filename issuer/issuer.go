// Package issuer is the token side: it hands out the short-lived tokens that the gate asks for.
//
// A request comes in on one of the endpoints of table.go, which says for each one method, path, dialect, deadline and
// who may call it. Three token APIs that existed before Jotgate are spoken here, each with its own shapes and errors,
// so that their clients can be pointed at Jotgate and work:
//
//   - the issuer dialect (codes.go, redeem.go): a backend that has logged its user in asks for an authorization code,
//     and the holder of the code redeems it, once, for an access token (RFC 6749 §4.1.2);
//   - the user-token dialect (usertokens.go): a service asks for an end user's token;
//   - the access-token dialect (accesstokens.go): a master makes tokens whose id is the credential.
//
// Beside them stands standard OAuth 2.0 (oauth.go), for clients that have a library for it: the token endpoint of RFC
// 6749 with a file for each grant (grantcode.go, grantclient.go, grantexchange.go), whose clients authenticate by
// secret or by key (clientauth.go, assertion.go), tokens that are bound to a key of the client's (proof.go),
// introspection (introspect.go), revocation (revoke.go) and the metadata that tell of them (metadata.go).
//
// Whatever the dialect, the way is the same. The caller is known by a management token, by an accessTokenId, by a code
// (caller.go) or by client authentication. The body is read strictly (body.go). What is asked for is held to the
// ceiling of the client that grants it (ceiling.go): no client hands on more than the present config lets it. Only then
// is a code consumed and a token signed (mint.go), in the form of RFC 9068. The answer is written in the dialect of the
// path, and so is every refusal (dialect.go), whose reason stays with us: in the access log, and in one audit event for
// each issuance and for each refusal of one (audit.go).
package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	endpoints "github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/trust"
	"github.com/jotgate/jotgate/issuer/code"
)

// A Guard lets a code be used once; see package replay.
type Guard interface {
	Consume(ctx context.Context, u replay.Use) error
	// Epoch is part of the associated data of the codes that are sealed now; nil: it is not known.
	Epoch() []byte
}

// Revocations is the memory of revoked tokens.
type Revocations interface {
	// Check returns a refusal with TokenRevoked for a token that was revoked.
	Check(v *jose.Verified, now time.Time) error
	// Revoke remembers that client revoked the token jti, which expires at expiry (milliseconds since 1970). It returns
	// when that is durable.
	Revoke(ctx context.Context, issuer, jti, client string, expiry int64) error
	// RevokeReplayed does the same for the token of a code of client's that was presented again. What it remembers takes
	// no room from Revoke.
	RevokeReplayed(ctx context.Context, issuer, jti, client string, expiry int64) error
}

// Rates count what clients ask for on all replicas together.
type Rates interface {
	// Allow takes a turn, or answers how long to wait for one. After an error nothing is known.
	Allow(ctx context.Context, key string, perSecond int) (wait time.Duration, err error)
	// Return gives back a turn that was taken.
	Return(ctx context.Context, key string, perSecond int) error
}

// Options are what an Issuer is made of.
type Options struct {
	Config      *config.Config
	Verifier    *jose.Verifier // of our own tokens at least
	Guard       Guard
	Revocations Revocations      // nil: nothing can be revoked
	Proofs      *dpop.Checker    // nil: one that remembers as long as this Issuer
	Rates       Rates            // nil: each client's turns are counted in State, for this process
	Assertions  Assertions       // nil: State remembers which client assertions were used, for this process
	Workloads   Assertions       // nil: the same of the tokens of workloads that authenticate once
	State       *State           // nil: a new one, so that nothing outlives this Issuer
	Log         *zap.Logger      // nil: nothing is logged
	Audit       func(Event)      // nil: to Log, named "audit"
	Clock       func() time.Time // nil: time.Now
}

// An Issuer serves the token endpoints of one config. It does not change and is safe for concurrent use; a reload makes
// a new one with the same State and Guard.
type Issuer struct {
	config     *config.Config
	settings   *config.Issuer
	clients    *clients
	trust      *trust.Policy
	roles      map[code.Digest]*config.Role
	verifier   *jose.Verifier
	assertions *jose.Verifier // of client assertions
	guard      Guard
	once       Assertions // nil: the state's
	workloads  workloads  // clients that trusted issuers' tokens authenticate …
	// … and which of these tokens were used; nil: the state knows
	workloadsOnce Assertions
	rates         Rates // nil: the state's
	sealer        *codeSealer
	minter        *Minter
	users         directory
	revocations   Revocations
	proofs        *dpop.Checker
	state         *State
	router        *mux.Router
	owned         map[string]bool // paths that are ours
	tree          string          // path below which everything is the access-token dialect's, or ""
	documents     documents
	log           *zap.Logger
	audit         func(Event)
	clock         func() time.Time
}

// New makes an Issuer. Errors name what in the config cannot be served, such as two clients whose names share a digest.
func New(o Options) (*Issuer, error) {
	if o.Config == nil || o.Config.Issuer == nil {
		return nil, errors.New("issuer: the config has no issuer")
	}
	if o.Verifier == nil || o.Guard == nil {
		return nil, errors.New("issuer: a verifier and a replay guard are needed")
	}
	o.defaults()
	i := &Issuer{
		config: o.Config, settings: o.Config.Issuer, verifier: o.Verifier, guard: o.Guard, once: o.Assertions, rates: o.Rates,
		workloads: newWorkloads(o.Config.Issuer.Clients), workloadsOnce: o.Workloads,
		revocations: o.Revocations,
		proofs:      o.Proofs, state: o.State, log: o.Log, audit: o.Audit, clock: o.Clock,
	}
	var err error
	if i.minter, err = newMinter(o.Config, o.Clock, o.State); err != nil {
		return nil, err
	}
	i.clients, i.trust = i.minter.clients, trust.New(o.Config)
	if i.roles, err = rolesByDigest(o.Config.Roles); err != nil {
		return nil, err
	}
	if i.sealer, err = newSealer(i.settings, o.State, o.Guard); err != nil {
		return nil, err
	}
	if i.proofs == nil {
		if i.proofs, err = newProofs(o.Config, o.Clock); err != nil {
			return nil, fmt.Errorf("issuer: %w", err)
		}
	}
	if i.documents, err = newDocuments(o.Config, o.Revocations != nil); err != nil {
		return nil, err
	}
	if i.assertions, err = newAssertions(o.Config); err != nil {
		return nil, fmt.Errorf("issuer: the keys of clients: %w", err)
	}
	if err = o.State.remember(i.settings.Clients, o.Clock); err != nil {
		return nil, fmt.Errorf("issuer: client assertions: %w", err)
	}
	if err = i.route(); err != nil {
		return nil, err
	}
	// The last that can fail, since it is held from here on until Close.
	if i.users, err = newDirectory(o.Config, o.State, o.Clock); err != nil {
		return nil, err
	}
	o.State.retain(i.settings)
	return i, nil
}

func (o *Options) defaults() {
	if o.State == nil {
		o.State = NewState()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Audit == nil {
		log := o.Log.Named("audit")
		o.Audit = func(e Event) { log.Info(e.Name, e.Fields()...) }
	}
}

// Sign signs another JWT than an access token, with the key that signs now.
func (i *Issuer) Sign(typ string, claims []byte) (string, error) {
	return i.minter.signing.key(i.clock()).Sign(typ, claims)
}

// Begin tells the State that the Issuer's keys are published from now on. It is called once, when its config is in
// force.
func (i *Issuer) Begin() { i.state.keys.take(i.minter.signing) }

// Close lets go of what the Issuer keeps open towards a user directory. Requests under way still end.
func (i *Issuer) Close() { i.users.close() }

// Owns reports whether a request for path at host is answered here. The host is canonical (lower case, without port and
// trailing dot), the path decoded once.
func (i *Issuer) Owns(host, path string) bool {
	return i.servesHost(host) && (i.owned[path] || i.inTree(path))
}

func (i *Issuer) servesHost(host string) bool {
	hosts := i.settings.Serve.Hosts
	return len(hosts) == 0 || slices.Contains(hosts, host)
}

func (i *Issuer) inTree(path string) bool { return i.tree != "" && strings.HasPrefix(path, i.tree) }

// ServeHTTP answers a request that the Issuer Owns. A w that is an *request.Exchange learns what was decided.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := request.From(w)
	if x.LogPath == "" {
		x.LogPath = endpoints.Redact(r.URL.EscapedPath())
	}
	if x.ID != "" {
		x.Header().Set(request.RequestIDHeader, x.ID)
	}
	i.router.ServeHTTP(x, r)
}

// serve answers a request whose path is known. An unknown method gets its 405 here, after the path was chosen, so that
// it never falls through to a broader path.
func (i *Issuer) serve(w http.ResponseWriter, r *http.Request, methods []*endpoint) {
	x := request.From(w)
	c := &call{issuer: i, x: x, r: r, endpoint: methods[0], now: i.clock()}
	defer c.recovered()
	known := false
	for _, e := range methods {
		if e.Method == r.Method || e.Method == http.MethodGet && r.Method == http.MethodHead {
			c.endpoint, known = e, true
		}
	}
	x.Route, x.Pattern = c.endpoint.Name, c.endpoint.Path
	c.event = Event{Name: c.endpoint.event, RequestID: x.ID, Remote: remote(x)}
	if !known {
		c.refuse(&fault{reason: refusal.MethodNotAllowed, header: http.Header{"Allow": {allowed(methods)}}})
		return
	}
	by, end := context.WithTimeout(r.Context(), c.endpoint.deadline)
	defer end()
	c.r = r.WithContext(by)
	a, err := c.endpoint.handle(c)
	if err != nil {
		c.refuse(err)
		return
	}
	c.grant(a)
}

// notFound answers for paths in the access-token dialect's tree that are none of its endpoints.
func (i *Issuer) notFound(w http.ResponseWriter, r *http.Request) {
	x := request.From(w)
	c := &call{issuer: i, x: x, r: r, endpoint: &endpoint{
		endpoints.Endpoint{Name: "not_found"},
		behaviour{dialect: problems{}},
	}, now: i.clock()}
	if i.inTree(r.URL.Path) {
		c.endpoint.dialect = accessTokens{}
	}
	x.Route, x.Pattern = c.endpoint.Name, c.endpoint.Path
	c.refuse(refusal.Because(refusal.RouteNotFound, "no endpoint has this path"))
}

// A call is one request on its way.
type call struct {
	issuer   *Issuer
	x        *request.Exchange
	r        *http.Request
	endpoint *endpoint
	now      time.Time
	event    Event
	proof    *dpop.Proof // of a request to the token endpoint; nil: it brings none
	workload string      // whose token authenticates the client, for the audit; "": none
	// of the certificate that the client authenticated with (RFC 8705 §3.1); "": none
	thumbprint string
}

// An answer is what a call ends with if it is not refused.
type answer struct {
	status int
	header http.Header
	body   any    // as JSON; nil: none
	raw    []byte // instead of body
	public bool   // no credential in it: the header says how it may be cached
}

// grant writes the audit event, which is durable before the caller has what it asked for, and then the answer.
func (c *call) grant(a *answer) {
	c.record("granted", "")
	h := c.x.Header()
	for name, values := range a.header {
		h[name] = values
	}
	if !a.public {
		c.private(h)
	}
	c.write(a.status, a.body, a.raw)
}

// private keeps an answer out of every cache. Pragma is RFC 6749's wish (§5.1), for caches of HTTP/1.0.
func (c *call) private(h http.Header) {
	h.Set("Cache-Control", "no-store")
	if _, ok := c.endpoint.dialect.(oauth); ok {
		h.Set("Pragma", "no-cache")
	}
}

// recovered turns a panic into the dialect's 500, so that it costs one request, and an answer that is already on its
// way into one that does not look whole.
func (c *call) recovered() {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler || c.x.Status() != 0 {
		panic(p)
	}
	c.issuer.log.Error("panic", zap.String("endpoint", c.endpoint.Name), zap.String("request_id", c.x.ID),
		zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
	c.refuse(refusal.Because(refusal.InternalError, "panic"))
}
