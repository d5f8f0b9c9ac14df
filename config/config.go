// Package config turns one YAML file into settings that are checked, typed and compiled.
//
// What [Load] returns cannot be wrong in itself: names are resolved, keys are read, routes are compiled, durations are
// durations. Whatever is wrong with a file is told as a [Fault], all of them at once, each with its place in the file:
//
//	gate.yaml:12:9: routes[0].require.action: is missing; name the action that the token must allow, like READ
//
// The reading is strict: unknown and duplicate keys, a second document, unset variables and values of another type are
// faults. Secrets come as ${env:NAME}, ${env:NAME:-default} or ${file:PATH}, expanded after parsing, so that a secret
// can never change the structure of the file; they print as [redacted].
//
// A file becomes settings in two steps. Reading (package strictyaml) goes by the table of all keys in keys.go, where
// each is declared once with its type, bounds, default and meaning; [Reference] returns the same table, and [Schema]
// its JSON Schema. Building (load.go, and one file for each section) resolves names and checks what belongs together.
// Both go on after a fault. Lint (lint.go) warns of what is valid but unlikely to be meant.
//
// Nothing here writes: key files that are still to be created are listed in [Config.MissingKeys].
package config

import (
	"io/fs"
	"net/netip"
	"net/url"
	"regexp"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// Config is a whole configuration, version 1.
type Config struct {
	File    string     // where it came from; relative paths in it are relative to its folder
	Sources Sources    // that file and those that it names, as they were read
	Said    *yaml.Tree // what the file says, for comparison with what another says
	Digest  string     // the first 16 hex digits of that file's SHA-256
	Text    Secret     // of that file; see Redacted
	Watch   bool       // a source that changes causes a reload

	DenyWidening bool // a reload that opens what this configuration keeps closed is refused

	Listeners      []Listener
	Admin          Admin
	Decision       *Decision // nil: no questions of other proxies are answered
	TrustedProxies []netip.Prefix
	TrustUnix      bool // trusted_proxies has the word unix: any peer of a Unix socket of ours
	Limits         Limits
	Log            Log
	Tracing        *Tracing // nil: there are no traces
	Drain          Drain

	Resources      []*Resource
	Issuer         *Issuer // nil: nothing is issued here
	Roles          map[string]*Role
	TrustedIssuers []*TrustedIssuer
	Retain         []jose.Path   // claims of verified tokens that routes ask for or hand on
	RetainScopes   bool          // … and their scopes
	ClockLeeway    time.Duration // for iat and nbf, never for exp

	CORS        *CORS // of every route that has none of its own; nil: the gate does not speak CORS there
	DPoP        DPoP
	Replay      Replay
	Revocations Revocations
	Redis       *Redis // nil: nothing is shared

	IdentityHeaders IdentityHeaders
	ClaimHeaders    []ClaimHeader // of every route
	TokenFrom       *TokenSources // of routes without their own; nil: Authorization
	Tickets         Tickets
	TenantPattern   *regexp.Regexp // what a tenant's name looks like, anchored
	Upstreams       map[string]*Upstream
	Routes          []*Route
	Table           *route.Table[*Route]            // of the first listener that has routes
	Tables          map[string]*route.Table[*Route] // by listener; nil: all have the same routes
	Tests           []*Test

	// MissingKeys are the key files with create: true that are not there. Until package keyfile creates them, Issuer.Keys
	// has throw-away keys in their places.
	MissingKeys []MissingKey

	Warnings []Fault // what is not an error but worth a warning
}

// What a file is read with, and what is wrong with it.
type (
	Secret = yaml.Secret
	Fault  = yaml.Fault
	Faults = yaml.Faults
)

// A MissingKey is a key file that is still to be created.
type MissingKey struct {
	Path  string
	Index int // in Issuer.Keys

	fault Fault // its place
}

// Fault is a fault of that key file, at its place in the configuration.
func (m MissingKey) Fault(problem, remedy string) Fault { return saying(m.fault, problem, remedy) }

// A Listener is one address that requests come in on.
type Listener struct {
	Name    string
	Address string // host:port, unix:PATH, systemd or systemd:NAME

	Mode          fs.FileMode    // of a Unix socket; 0: by the umask
	ProxyProtocol *ProxyProtocol // nil: connections begin with no PROXY header

	TLS       *TLS // nil: plain HTTP/1.1
	Redirect  bool // redirect: https; answers nothing else
	H2C       bool // without TLS: HTTP/2 is served to clients that begin with its preface
	ReusePort bool // another instance may listen beside this one
}

// ProxyProtocol says which peers send a PROXY header, which tells the peer in front of them. Others are closed.
type ProxyProtocol struct {
	Trusted bool           // the trusted proxies
	From    []netip.Prefix // otherwise these addresses
	Unix    bool           // … and any peer of a Unix socket
}

// TLS names the certificates of a listener; the handshake's server name chooses among them, the first is the default.
type TLS struct {
	Certificates []Certificate
	ClientCA     string // PEM; "": clients are asked for no certificate
	ClientAuth   string // required, optional; with ClientCA
	ACME         *ACME  // nil: none; else Certificates may be empty
}

// ACME has certificates issued and renewed by a certification authority.
type ACME struct {
	Domains   []string
	Email     string
	Directory string // URL; "": Let's Encrypt
	Storage   string // folder; "": redis
}

// A Certificate is a pair of PEM files.
type Certificate struct{ Cert, Key string }

// Admin is the operator's side: health, metrics and what needs the token.
type Admin struct {
	Listen       string // host:port; "" turns it off
	Implicit     bool   // the file does not mention admin: a port that is taken is then a warning, not an error
	Token        Secret // "": everything but health and metrics is refused
	HealthListen string // host:port of a second listener that has health alone; "" for none

	Refusals      int    // how many are kept for explain; 0: none
	MetricsListen string // host:port of a listener that has metrics alone; "" for none

	Pprof   bool // serve the runtime's profiles to holders of the token
	Console bool // serve the console, where there is a token
}

// Decision is where other proxies ask about the requests that they forward themselves.
type Decision struct {
	Listen string         // host:port
	From   []netip.Prefix // which peers may ask

	ClientCA string // PEM: verifies the client certificates that Envoy passes on; "": these do not count
}

// Limits bound limits for a request, a connection and the process.
type Limits struct {
	ConfigBytes     int           // the configuration file
	HeaderBytes     int           // a request head
	URIBytes        int           // a request target
	TokenBytes      int           // a bearer token
	TokenBodyBytes  int64         // the body of a request to a token endpoint
	BodyBytes       int64         // the body of a proxied request
	Connections     int           // open connections, over all listeners
	H2Streams       int           // concurrent streams per HTTP/2 connection
	HTTP2           string        // own, standard (net/http's server), off
	InFlight        int           // requests in flight, over all listeners
	Streams         int           // answers of unknown length and upgraded connections, over all listeners
	HeaderTimeout   time.Duration // for a request head to arrive
	BodyTimeout     time.Duration // for a token endpoint's body to arrive
	StallTimeout    time.Duration // for any progress of a proxied body, either way
	IdleTimeout     time.Duration // for the next request on a kept connection
	TokenCacheBytes int64         // the verified-token cache
	PreparedKeys    int           // public keys that are prepared at a time
	IssueRate       int           // issuances per second and client; the burst is twice that
	LogoutRate      int           // logouts per second and issuer, and refused ones per second and address
	Shared          bool          // IssueRate is counted over all replicas
}

// Log says what is logged.
type Log struct {
	Level  string // debug, info, warn, error
	Access bool   // one line for each request
	Format string // json, text; "": text at a terminal, json elsewhere
}

// Tracing says where traces go, and of which requests.
type Tracing struct {
	Endpoint string // the URL that batches are posted to
	Ratio    float64
	Parent   string            // ParentAny, ParentTrusted or ParentNone
	Headers  map[string]Secret // of each post
	Service  string
}

// Whose trace context is taken up.
const (
	ParentAny     = "any"
	ParentTrusted = "trusted"
	ParentNone    = "none"
)

// Drain is graceful shutdown at SIGTERM.
type Drain struct {
	Delay   time.Duration // time to keep serving, reported as not ready, so that load balancers notice
	Timeout time.Duration // time that requests in flight then have to finish
}

// Issuer is the token side.
type Issuer struct {
	URL               string             // the iss of our tokens
	Audiences         []string           // the aud of our access tokens
	Keys              []*jose.PrivateKey // the first signs, whatever its place in the file; all verify and are published
	KeyFiles          []KeyFile          // of Keys, in their order
	CodeSecrets       []Secret
	CodePrefixes      []string
	CodeTTL           time.Duration
	TokenTTL          time.Duration
	MaxTokenTTL       time.Duration
	MaxAccessTokenTTL time.Duration // of the access-token dialect
	Serve             Serve
	Clients           []*Client
	Users             *Users // nil: no users, the user-token dialect knows no user
}

// A KeyFile is where a signing key came from.
type KeyFile struct {
	Path  string // resolved
	State string // next, current, retired, or "" where the file does not say
}

// Serve says where our own endpoints answer.
type Serve struct {
	Hosts             []string // canonical; none: any
	Codes             bool     // the dialects
	UserTokens        bool
	AccessTokens      bool
	OAuth2            bool
	CORS              *CORS  // of the token endpoints; nil: they do not speak CORS
	AccessTokenPrefix string // before /api/1/access_token, "" or like /crafter-profile
	// MissingTenantIsAny takes an omitted tenant in the access-token dialect for "*", as the original does.
	MissingTenantIsAny bool // insecure_missing_tenant_is_any
}

// A Client is a caller of the token endpoints.
type Client struct {
	ID            string
	Secret        Secret             // "" if only its SHA-256 is known, or none
	SecretSHA256  []byte             // 32 bytes, or nil
	AccessTokenID Secret             // a fixed accessTokenId, or ""
	Permissions   token.Permissions  // what its own token opens
	May           []string           // token.MayWords
	Delegate      token.Permissions  // the most that it may hand on
	CodeTTL       time.Duration      // at most 600 s; default issuer.code_ttl
	Public        bool               // it has no secret and cannot keep one (RFC 6749 §2.1): its codes need PKCE
	Keys          *jose.KeySet       // its public keys, for private_key_jwt (RFC 7523); nil: none
	Identity      *Workload          // the workload whose tokens authenticate it; nil: none
	Audiences     []string           // the aud of the tokens that it may introspect; nil: issuer.audiences
	Claims        []string           // custom claims that it may carry through to tokens
	Bound         bool               // dpop: required; its tokens are bound to a key, or not issued (RFC 9449 §5.2)
	Certificate   *ClientCertificate // tls_client_auth (RFC 8705 §2.1); nil: none
}

// A ClientCertificate says which certificate a client authenticates with: exactly one field is set.
type ClientCertificate struct {
	DNS, URI string // an alternative name
	Subject  string // the whole subject, as RFC 4514 writes it
}

// A Role is a named set of permissions.
type Role struct {
	Name        string
	Permissions token.Permissions // may hold token.Placeholder
}

// Users says who the end users of the user-token dialect are: exactly one of its three parts is set.
type Users struct {
	Open   *Role            // any UUID is an end user with this role (which has no placeholder)
	List   map[string]*User // by lower-case UUID
	Lookup *UserLookup
}

// A User is one of the list.
type User struct {
	ID          string // lower-case UUID
	Type        string // end_user, person, api_user, api_signer, system
	Permissions token.Permissions
}

// UserLookup is an HTTP directory of the operator's.
type UserLookup struct {
	URL     string        // "{user_id}" in it is replaced
	Bearer  Secret        // sent as Authorization: Bearer, if set
	Timeout time.Duration // for the whole answer
	Cache   time.Duration // how long an answer is believed; at most 5m
	Entries int           // how many answers are kept
	Bytes   int64         // the longest answer
}

// A TrustedIssuer is another issuer whose tokens open our routes.
type TrustedIssuer struct {
	Issuer         string
	Pattern        string // the issuer_pattern that it is one of; "": none
	Preset         string
	TrustDomain    string       // of a SPIFFE issuer's subjects
	Keys           *jose.KeySet // from files, or nil …
	Remote         *RemoteKeys  // … and where they are published
	Audiences      []string
	AudienceClaims []jose.Path // those that stand in for a missing aud
	Algorithms     []string
	TokenTypes     []string    // "" stands for a token without typ
	Kinds          []jose.Kind // none: access tokens alone
	Require        []jose.Requirement
	ClientClaim    jose.Path // none: client_id
	Words          []jose.WordRule
	Mapping        *token.Mapping    // what the words open
	Permissions    token.Permissions // the most that its tokens may open
	MaxTokenTTL    time.Duration

	LogoutAudiences []string // accepted aud values of its logout tokens; nil: it cannot tell of logouts
	Exchange        bool     // clients with `exchange` may exchange its tokens for ours (RFC 8693)
}

// Opens returns what a token of this issuer opens: what its words open, or else what it says in tenantPermissions, cut
// to the ceiling that trusting the issuer has. A scope or a master flag alone opens nothing.
func (t *TrustedIssuer) Opens(v *jose.Verified) (token.Permissions, error) {
	return t.Mapping.Opens(v.Words, v.Claims.Permissions)
}

// RemoteKeys say where a trusted issuer publishes its keys and how they are kept.
type RemoteKeys struct {
	URL          string            // of the JWK set; "": discovery
	InsecureHTTP bool              // plain http to hosts other than this one is allowed
	Authorities  string            // PEM of the authorities that https servers are checked with; "": the system's
	Bearer       Secret            // sent to the origins of the issuer and of URL, over https alone …
	BearerFile   string            // … or the file that has it at any time
	Headers      map[string]Secret // sent where Bearer is
	Refresh      time.Duration
	MaxAge       time.Duration // at least Refresh
	Cooldown     time.Duration // between two fetches that tokens with unknown keys cause
	Wait         time.Duration // how long a request with such a token waits for the fetch
	Timeout      time.Duration // for a whole fetch
}

// DPoP is how proofs of possession are judged (RFC 9449).
type DPoP struct {
	Given        bool          // the file has dpop
	MaxAge       time.Duration // of a proof
	RequireNonce bool          // every proof must have one
	NonceTTL     time.Duration // how long one counts
	NonceSecrets []Secret      // the first makes, all count; none: a random one per process
	Origins      []string      // what an htu may begin with; none: where the request came to
	Capacity     int           // used proofs that are remembered
}

// Tickets are how one-time tickets are drawn and used.
type Tickets struct {
	Taken    bool // some route takes them
	TTL      time.Duration
	Capacity int      // used tickets that this process remembers
	Secrets  []Secret // the first seals, all open; none: a random one per process
}

// Replay is the guard that lets a code be used once.
type Replay struct {
	Shared   bool // in redis; otherwise in this process
	Capacity int  // entries of the memory store, shared out evenly among the clients that may issue codes
}

// Revocations is the list of what was revoked.
type Revocations struct {
	File     string // "": nothing can be revoked, unless it is …
	Shared   bool   // … in redis
	Capacity int    // entries

	// Of the shared list.
	Poll         time.Duration // between two looks for what others have revoked
	MaxStaleness time.Duration // without an answer for so long it is stale …
	RefuseStale  bool          // … and then every token is refused
}

// IdentityHeaders names the headers that carry the identity to the upstream, in canonical form.
type IdentityHeaders struct {
	Subject, Issuer, Client, Tenant, Actions, TokenID string
}

// CertHeaders lists the headers that tell the upstream of the client's certificate: its subject, its alternative names
// and its SHA-256.
func CertHeaders() [3]string {
	return [...]string{"X-Jotgate-Cert-Subject", "X-Jotgate-Cert-San", "X-Jotgate-Cert-Sha256"}
}

// isCertHeader reports whether an app could take a header for one of CertHeaders.
func isCertHeader(name string) bool {
	for _, ours := range CertHeaders() {
		if foldField(name) == foldField(ours) {
			return true
		}
	}
	return false
}

// All lists the six names.
func (h *IdentityHeaders) All() []string {
	return []string{h.Subject, h.Issuer, h.Client, h.Tenant, h.Actions, h.TokenID}
}

// An Upstream is a pool of servers that are the same app.
type Upstream struct {
	Name            string
	Servers         []*url.URL // http, https, h2c with a host; unix, unix+h2c with a path
	Weights         []int      // of the servers; nil: all are equal
	Host            string     // the Host header that is sent; "" keeps the client's
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration // until the head of the answer
	MaxConnections  int           // per server
	MaxIdle         int           // kept connections per server
	PerClient       float64       // share of a server's places that one client connection may hold
	Balance         string        // round_robin, least_requests, hash_tenant, hash_subject, hash_ip
	Health          *Health       // nil: no active health check
	Eject           Eject
	Retry           Retry
	Resolve         time.Duration // how often names are looked up; 0: only when a connection is made
	TLS             UpstreamTLS   // of https servers
	Assertion       *Assertion    // nil: none is sent
}

// Health is an active health check of an upstream's servers.
type Health struct {
	Path     string // asked for by GET; "" asks gRPC's health service
	Service  string // that gRPC's health service is asked for
	Interval time.Duration
	Timeout  time.Duration
	Up       int   // successes in a row that bring a server back
	Down     int   // failures in a row that take it out
	Status   []int // that are healthy; none: 200 to 299
}

// Eject says when a server gets no requests for a while.
type Eject struct {
	Failures int // in a row; 0: no server is ejected
	For      time.Duration
	Statuses []int // that count as failures
}

// Retry says how often a request may be sent again.
type Retry struct {
	Attempts int     // servers that one request may meet
	Budget   float64 // retries for each request
}

// UpstreamTLS describes the connections to https servers.
type UpstreamTLS struct {
	CAFile     string // PEM of the authorities; "" is the system's
	ServerName string // "" is the URL's host
	CertFile   string // of the client certificate; "" for none
	KeyFile    string
}

// An Assertion is a short-lived JWT for the upstream that says what was decided.
type Assertion struct {
	Header   string
	Audience string
	TTL      time.Duration
}

// A Route says what a request must bring to reach an upstream.
type Route struct {
	Index        int    // its place in the file
	Name         string // its name, or its path
	Hosts        []route.Host
	Path         route.Path
	Methods      []string // empty: any known method
	Listeners    []string // where it answers; nil: on all
	Public       bool
	Require      Require      // of a route that is not public
	Upstream     *Upstream    // nil: upstream: none, for questions to decision alone
	Allow        route.Oddity // insecure_allow
	ForwardToken bool
	EndWithToken bool      // answers that are streams end with the token, as upgrades do anyway
	LoginURL     string    // where a person without a token is sent, with LoginPlaceholder in it; "": nowhere
	Audiences    []string  // instead of the issuer's
	Resource     *Resource // that the route is below; nil: none
	Upgrade      bool
	BodyBytes    int64          // instead of limits.body_bytes
	CORS         *CORS          // its own, or the top level's; nil: the app's CORS fields pass
	Shadow       bool           // refusals for token, tenant or permission are told, and let through
	AllowFrom    []netip.Prefix // clients that alone may come; nil: all
	DenyFrom     []netip.Prefix // clients that may not come, whatever AllowFrom says
	RateLimits   []RateLimit
	ClaimHeaders []ClaimHeader // its own, and the top level's
	Hop          Hop
	TokenFrom    *TokenSources // its own, or the top level's; nil: Authorization
}

// Require is what a token must bring. The zero value asks for authentication alone.
type Require struct {
	Action string // "": authenticated
	Global bool   // the action is asked for without a tenant
	Tenant string // a fixed tenant, or "" …
	From   Source // … and then where the request says it
	Name   string // the parameter's, header's or query member's name

	Optional bool     // a request without a token passes, without identity
	Scopes   []string // words that the token's scope must all have
	Issuers  []string // whose tokens alone are taken; nil: every issuer's
	Claims   []jose.Requirement

	CertNames []string // alternative names of which the client's certificate has one; nil: no certificate is asked for
}

// CORS is what scripts of other origins may do (the Fetch standard's CORS protocol).
type CORS struct {
	Origins     []string // "*", origins, and origins whose host begins with "*.", which stands for one label
	Methods     []string // nil: those of the route or endpoint
	Headers     []string // request fields that a script may set
	Expose      []string // response fields that a script may read, beside the gate's own
	Credentials bool
	MaxAge      time.Duration // how long a browser caches the answer to a preflight
}

// A Source is where in a request its tenant stands.
type Source int

// The sources of tenant_from.
const (
	FromNowhere Source = iota
	FromPath
	FromHost
	FromHeader
	FromQuery
)

// A Test is one of the policy's own.
type Test struct {
	Method, URL string
	Headers     map[string]string
	Listener    string            // that it comes in on; "" is the first one
	Permissions token.Permissions // what the token opens that the request brings; nil: it has Claims, or brings none
	// what that token says, a JSON object that may lack any claim; "": it has Permissions, or brings none
	Claims string
	Allow  bool
	Reason string // the expected reason of a refusal, or "" for any

	test, expect Fault // their places
}

// Fault is a fault of the test as a whole, at its place in the file.
func (t *Test) Fault(problem, remedy string) Fault { return saying(t.test, problem, remedy) }

// ExpectFault is a fault of what the test expects.
func (t *Test) ExpectFault(problem, remedy string) Fault { return saying(t.expect, problem, remedy) }

func saying(f Fault, problem, remedy string) Fault {
	f.Problem, f.Remedy = problem, remedy
	return f
}

// SessionLife returns how long what a logout has ended must be known: as long as any token of a trusted issuer can
// live, and a day at least, since another configuration may have let longer ones in.
func (c *Config) SessionLife() time.Duration {
	life := 24 * time.Hour
	for _, t := range c.TrustedIssuers {
		life = max(life, t.MaxTokenTTL)
	}
	return life
}
