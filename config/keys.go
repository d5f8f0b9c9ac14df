package config

import (
	"strconv"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// Defaults and a bound that lint compares with.
const (
	defaultIssueRate = 10_000
	defaultCodeTTL   = time.Minute

	mostReplayCapacity = 1 << 28
)

// This file is the list of all keys: each is declared once, with its type, bounds, default and meaning. Where a value
// must be checked together with others it is written into one of the types here first, with its place; what stands
// alone goes straight into the settings.

// Reference describes every key of a file, for a schema and for a page of documentation.
func Reference() *yaml.Shape { return file().Shape }

// Schema is the JSON Schema (draft 2020-12) of a file, for editors and for programs that generate files.
func Schema() ([]byte, error) { return Reference().JSONSchema("Jotgate configuration, version 1") }

type writtenFile struct {
	version        int
	watch          bool
	listen         yaml.Setting[string]
	listeners      yaml.Setting[[]yaml.Setting[writtenListener]]
	admin          yaml.Setting[writtenAdmin]
	trustedProxies []yaml.Setting[string]
	limits         writtenLimits
	log            Log
	tracing        yaml.Setting[writtenTracing]
	drain          Drain
	clockLeeway    time.Duration
	tenantPattern  yaml.Setting[string]
	issuer         yaml.Setting[writtenIssuer]
	roles          []yaml.Named[writtenPermissions]
	trustedIssuers []yaml.Setting[writtenTrusted]
	dpop           yaml.Setting[writtenDPoP]
	replay         yaml.Setting[writtenReplay]
	revocations    yaml.Setting[writtenRevocations]
	redis          yaml.Setting[writtenRedis]
	replicas       yaml.Setting[int]
	identity       yaml.Setting[writtenIdentity]
	upstreams      []yaml.Named[writtenUpstream]
	routes         yaml.Setting[[]yaml.Setting[writtenRoute]]
	tests          []yaml.Setting[writtenTest]
}

func file() yaml.Kind[writtenFile] {
	type t = writtenFile
	return yaml.Mapping(
		yaml.Plain("version", version(), func(f *t) *int { return &f.version },
			"the version of this file's keys").Must("begin with version: 1"),
		yaml.Plain("watch", yaml.Boolean(), func(f *t) *bool { return &f.watch },
			"reload when this file, or a file that it names, has other contents than before").Or("true"),
		yaml.Placed("listen", yaml.Text(isAddress).Like(addressLike), func(f *t) *yaml.Setting[string] { return &f.listen },
			"host:port that requests come in on, short for one listener called main; default 127.0.0.1:8080"),
		yaml.Placed("listeners", yaml.List(1, listener()), func(f *t) *yaml.Setting[[]yaml.Setting[writtenListener]] { return &f.listeners },
			"the addresses that requests come in on, instead of listen"),
		yaml.Placed("admin", admin(), func(f *t) *yaml.Setting[writtenAdmin] { return &f.admin },
			"the operator's side: health, metrics and what needs its token").Filled(),
		yaml.Plain("trusted_proxies", yaml.Distinct(0, yaml.Text(nil)), func(f *t) *[]yaml.Setting[string] { return &f.trustedProxies },
			"addresses and CIDR ranges of proxies whose X-Forwarded-* count; default none"),
		yaml.Plain("limits", limits(), func(f *t) *writtenLimits { return &f.limits },
			"what one request, one connection and one process may take").Filled(),
		yaml.Plain("log", log(), func(f *t) *Log { return &f.log }, "what is logged").Filled(),
		yaml.Placed("tracing", tracing(), func(f *t) *yaml.Setting[writtenTracing] { return &f.tracing },
			"traces for an OpenTelemetry collector; without it there are none, and the trace context of clients passes as it is"),
		yaml.Plain("drain", drain(), func(f *t) *Drain { return &f.drain }, "what happens at SIGTERM").Filled(),
		yaml.Plain("clock_leeway", yaml.Duration(0, time.Minute), func(f *t) *time.Duration { return &f.clockLeeway },
			"by how much an issuer's clock may run ahead, for iat and nbf; never for exp").Or("5s"),
		yaml.Placed("tenant_pattern", yaml.Text(isTenantPattern), func(f *t) *yaml.Setting[string] { return &f.tenantPattern },
			"what a whole tenant name looks like (RE2)").Or("[A-Za-z0-9._~-]{1,64}"),
		yaml.Placed("issuer", issuer(), func(f *t) *yaml.Setting[writtenIssuer] { return &f.issuer },
			"the token side; without it nothing is issued here"),
		yaml.Plain("roles", yaml.Names(yaml.Text(isName).Like(nameLike), permissions()), func(f *t) *[]yaml.Named[writtenPermissions] { return &f.roles },
			"named sets of permissions; the tenant \"{tenant}\" is filled in with each code"),
		yaml.Plain("trusted_issuers", yaml.List(0, trusted()), func(f *t) *[]yaml.Setting[writtenTrusted] { return &f.trustedIssuers },
			"other issuers whose tokens open our routes"),
		yaml.Placed("dpop", dpop(), func(f *t) *yaml.Setting[writtenDPoP] { return &f.dpop },
			"the proofs that come with tokens that are bound to a key (RFC 9449)").Filled(),
		yaml.Placed("replay", replay(), func(f *t) *yaml.Setting[writtenReplay] { return &f.replay },
			"the memory of used codes").Filled(),
		yaml.Placed("revocations", revocations(), func(f *t) *yaml.Setting[writtenRevocations] { return &f.revocations },
			"the list of withdrawn tokens").Filled(),
		yaml.Placed("redis", redisKind(), func(f *t) *yaml.Setting[writtenRedis] { return &f.redis },
			"the memory that replicas share: Redis 6.2 or later, or Valkey"),
		yaml.Placed("replicas", yaml.Integer(1, 10_000), func(f *t) *yaml.Setting[int] { return &f.replicas },
			"how many processes serve this configuration; more than one need replay.store: redis").Or("1"),
		yaml.Placed("identity_headers", identity(), func(f *t) *yaml.Setting[writtenIdentity] { return &f.identity },
			"the headers that tell the upstream who is asking").Filled(),
		yaml.Plain("upstreams", yaml.Names(yaml.Text(isUpstreamName).Like(upstreamNameLike), upstream()), func(f *t) *[]yaml.Named[writtenUpstream] { return &f.upstreams },
			"the apps behind the gate"),
		yaml.Placed("routes", yaml.List(0, routeKind()), func(f *t) *yaml.Setting[[]yaml.Setting[writtenRoute]] { return &f.routes },
			"which requests need what, and where they go"),
		yaml.Plain("tests", yaml.List(0, testKind()), func(f *t) *[]yaml.Setting[writtenTest] { return &f.tests },
			"the policy's own tests"),
	).OneAtMost("listen", "listeners")
}

// version is checked first of all by a reader of a later file: keys that it does not know may come from there.
func version() yaml.Kind[int] {
	k := yaml.Integer(0, 1<<30)
	k.Shape = &yaml.Shape{Type: "integer", Least: "1", Most: "1"}
	return yaml.Kind[int]{Shape: k.Shape, Read: func(r *yaml.Reader, v yaml.Value) (int, bool) {
		n, ok := k.Read(r, v)
		if ok && n != 1 {
			r.Fault(v.At(), v.Shown()+" is not a version that this program reads", "write version: 1")
		}
		return n, ok && n == 1
	}}
}

type writtenListener struct {
	name      yaml.Setting[string]
	address   yaml.Setting[string]
	tls       yaml.Setting[writtenTLS]
	redirect  yaml.Setting[string]
	reusePort bool
}

func listener() yaml.Kind[writtenListener] {
	type t = writtenListener
	return yaml.Mapping(
		yaml.Placed("name", yaml.Text(isName).Like(nameLike), func(l *t) *yaml.Setting[string] { return &l.name },
			"what the log calls it; default its address"),
		yaml.Placed("address", yaml.Text(isAddress).Like(addressLike), func(l *t) *yaml.Setting[string] { return &l.address },
			"host:port; a host that is left out means every interface").Must(`write it like ":8080"`),
		yaml.Placed("tls", tlsKind(), func(l *t) *yaml.Setting[writtenTLS] { return &l.tls }, "serve HTTPS; without it plain HTTP/1.1"),
		yaml.Placed("redirect", yaml.Word("https"), func(l *t) *yaml.Setting[string] { return &l.redirect },
			"answer every request with a redirect to https, and nothing else"),
		yaml.Plain("reuse_port", yaml.Boolean(), func(l *t) *bool { return &l.reusePort },
			"another instance may listen on the same address, and take over while this one drains; Linux only").Or("false"),
	)
}

type writtenTLS struct {
	certificates []yaml.Setting[writtenCertificate]
}

type writtenCertificate struct{ cert, key yaml.Setting[string] }

func tlsKind() yaml.Kind[writtenTLS] {
	type c = writtenCertificate
	certificate := yaml.Mapping(
		yaml.Placed("cert", yaml.Text(isPath).Like(filledLike), func(x *c) *yaml.Setting[string] { return &x.cert }, "PEM file: the certificate and its chain").Must("name the PEM file"),
		yaml.Placed("key", yaml.Text(isPath).Like(filledLike), func(x *c) *yaml.Setting[string] { return &x.key }, "PEM file: its private key").Must("name the PEM file"),
	)
	return yaml.Mapping(
		yaml.Plain("certificates", yaml.List(1, certificate), func(x *writtenTLS) *[]yaml.Setting[c] { return &x.certificates },
			"the server's name chooses among them; the first is the default").Must("name at least one: [{cert: a.pem, key: a.key}]"),
	)
}

type writtenAdmin struct {
	listen, healthListen yaml.Setting[string]
	token                Secret
	pprof                bool
}

func admin() yaml.Kind[writtenAdmin] {
	type t = writtenAdmin
	return yaml.Mapping(
		yaml.Placed("listen", yaml.Text(isAddressOrNone).Like(addressOrNoneLike), func(a *t) *yaml.Setting[string] { return &a.listen },
			`host:port; "" turns admin off`).Or("127.0.0.1:9090"),
		yaml.Plain("token", yaml.SecretText(isSecretOrNone).Like(secretOrNoneLike), func(a *t) *Secret { return &a.token },
			"the bearer for everything but health and metrics, 22 characters or more; without it these are refused"),
		yaml.Placed("health_listen", yaml.Text(isAddressOrNone).Like(addressOrNoneLike), func(a *t) *yaml.Setting[string] { return &a.healthListen },
			"host:port of a second listener that answers health alone"),
		yaml.Plain("pprof", yaml.Boolean(), func(a *t) *bool { return &a.pprof },
			"give the runtime's profiles under /debug/pprof/ to whoever has the token").Or("false"),
	)
}

type writtenLimits struct {
	Limits
	shared yaml.Setting[bool]
}

func limits() yaml.Kind[writtenLimits] {
	type t = writtenLimits
	const day = 24 * time.Hour
	return yaml.Mapping(
		yaml.Plain("header_bytes", yaml.Size(4*yaml.KiB, yaml.MiB), func(l *t) *int { return &l.HeaderBytes }, "the longest request head").Or("32KiB"),
		yaml.Plain("uri_bytes", yaml.Size(256, 256*yaml.KiB), func(l *t) *int { return &l.URIBytes }, "the longest request target").Or("16KiB"),
		yaml.Plain("token_bytes", yaml.Size(512, 64*yaml.KiB), func(l *t) *int { return &l.TokenBytes }, "the longest bearer token").Or("8KiB"),
		yaml.Plain("token_body_bytes", yaml.Size[int64](yaml.KiB, 16*yaml.MiB), func(l *t) *int64 { return &l.TokenBodyBytes }, "the longest body of a request to a token endpoint").Or("64KiB"),
		yaml.Plain("body_bytes", yaml.Size[int64](0, 1<<50), func(l *t) *int64 { return &l.BodyBytes }, "the longest body of a request to an upstream").Or("1GiB"),
		yaml.Plain("connections", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.Connections }, "open connections, over all listeners").Or("10000"),
		yaml.Plain("h2_streams", yaml.Integer(1, 10_000), func(l *t) *int { return &l.H2Streams }, "concurrent streams per HTTP/2 connection").Or("250"),
		yaml.Plain("header_timeout", yaml.Duration(100*time.Millisecond, time.Hour), func(l *t) *time.Duration { return &l.HeaderTimeout }, "for a request head to arrive").Or("10s"),
		yaml.Plain("body_timeout", yaml.Duration(100*time.Millisecond, time.Hour), func(l *t) *time.Duration { return &l.BodyTimeout }, "for a token endpoint's body to arrive").Or("10s"),
		yaml.Plain("stall_timeout", yaml.Duration(100*time.Millisecond, day), func(l *t) *time.Duration { return &l.StallTimeout }, "without any progress of a body, either way").Or("30s"),
		yaml.Plain("idle_timeout", yaml.Duration(100*time.Millisecond, day), func(l *t) *time.Duration { return &l.IdleTimeout }, "for the next request on a kept connection").Or("75s"),
		yaml.Plain("token_cache_bytes", yaml.Size[int64](0, 64*yaml.GiB), func(l *t) *int64 { return &l.TokenCacheBytes }, "the memory of verified tokens; 0 verifies each time").Or("64MiB"),
		yaml.Plain("prepared_keys", yaml.Integer(0, 4096), func(l *t) *int { return &l.PreparedKeys },
			"public keys in use that are prepared for verifying faster; 0: the standard library judges every signature").
			Or(strconv.Itoa(jose.DefaultPreparedKeys)),
		yaml.Plain("issue_rate", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.IssueRate }, "issuances per second and client; twice that at once").Or(strconv.Itoa(defaultIssueRate)),
		yaml.Placed("shared", yaml.Boolean(), func(l *t) *yaml.Setting[bool] { return &l.shared }, "count issue_rate over all replicas, in redis; while it does not answer, each counts alone").Or("false"),
	)
}

func log() yaml.Kind[Log] {
	return yaml.Mapping(
		yaml.Plain("level", yaml.Word("debug", "info", "warn", "error"), func(l *Log) *string { return &l.Level }, "the least level that is logged").Or("info"),
		yaml.Plain("access", yaml.Boolean(), func(l *Log) *bool { return &l.Access }, "one line for each request").Or("true"),
	)
}

type writtenTracing struct {
	endpoint yaml.Setting[string]
	ratio    float64
	headers  []yaml.Named[Secret]
	parent   string
	service  string
}

func tracing() yaml.Kind[writtenTracing] {
	type t = writtenTracing
	return yaml.Mapping(
		yaml.Placed("endpoint", yaml.Text(isCollector).Like(jwksURLLike), func(x *t) *yaml.Setting[string] { return &x.endpoint },
			"the collector's URL for OTLP over HTTP; /v1/traces is added where the URL has no path").Must("write it like http://127.0.0.1:4318"),
		yaml.Plain("sample_ratio", yaml.Ratio(), func(x *t) *float64 { return &x.ratio },
			"the part of the requests that is traced, unless a trusted proxy has decided").Or("1"),
		yaml.Plain("parent", yaml.Word(ParentAny, ParentTrusted, ParentNone), func(x *t) *string { return &x.parent },
			"whose trace a request may be a part of: any client's, that of trusted_proxies alone, or none").Or(ParentAny),
		yaml.Plain("headers", yaml.Names(yaml.Text(isTestHeader).Like(testHeaderLike), yaml.SecretText(isFieldValue).Like(fieldValueLike)), func(x *t) *[]yaml.Named[Secret] { return &x.headers },
			"headers that the collector wants; default none"),
		yaml.Plain("service", yaml.Text(isName).Like(nameLike), func(x *t) *string { return &x.service },
			"the service.name of the traces").Or("jotgate"),
	)
}

func drain() yaml.Kind[Drain] {
	return yaml.Mapping(
		yaml.Plain("delay", yaml.Duration(0, time.Hour), func(d *Drain) *time.Duration { return &d.Delay },
			"keep serving, not ready, so that load balancers notice").Or("1s"),
		yaml.Plain("timeout", yaml.Duration(0, 24*time.Hour), func(d *Drain) *time.Duration { return &d.Timeout },
			"then this long for what is in flight").Or("30s"),
	)
}

type writtenIssuer struct {
	url            yaml.Setting[string]
	audiences      yaml.Setting[[]yaml.Setting[string]]
	keys           []yaml.Setting[writtenKey]
	codeSecrets    []yaml.Setting[Secret]
	codePrefixes   []yaml.Setting[string]
	codeTTL        time.Duration
	tokenTTL       yaml.Setting[time.Duration]
	maxTokenTTL    time.Duration
	maxAccessToken time.Duration
	serve          writtenServe
	clients        []yaml.Setting[writtenClient]
	users          yaml.Setting[writtenUsers]
}

// Bounds on the lives of codes (RFC 6749 §4.1.2) and of tokens (the user-token dialect's own limit).
const (
	mostCodeTTL  = 10 * time.Minute
	mostTokenTTL = 315_360_000 * time.Second
)

func issuer() yaml.Kind[writtenIssuer] {
	type t = writtenIssuer
	return yaml.Mapping(
		yaml.Placed("url", yaml.Text(isIssuer).Like(issuerURLLike), func(i *t) *yaml.Setting[string] { return &i.url },
			"the iss of our tokens, as clients reach us").Must("write it like https://gate.example.com"),
		yaml.Placed("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)), func(i *t) *yaml.Setting[[]yaml.Setting[string]] { return &i.audiences },
			"the aud of tokens for our routes; never the url itself; default [<url>/api]"),
		yaml.Plain("keys", yaml.List(1, keyFile()), func(i *t) *[]yaml.Setting[writtenKey] { return &i.keys },
			"signing keys, PEM or JWK: one signs, the first unless a state says otherwise; all verify and are published").Must("write [{file: keys/main.pem, create: true}]"),
		yaml.Plain("code_secrets", yaml.Distinct(0, yaml.SecretText(isCodeSecret).Like(codeSecretLike)), func(i *t) *[]yaml.Setting[Secret] { return &i.codeSecrets },
			"what codes are sealed with, 32 bytes or more: the first seals, all open; default a random one per process"),
		yaml.Plain("code_prefixes", yaml.Distinct(0, yaml.Text(isCodePrefix).Like(filledLike)), func(i *t) *[]yaml.Setting[string] { return &i.codePrefixes },
			"beginnings of subjects and tenants that a code holds in one byte, like did:empe:testnet:"),
		yaml.Plain("code_ttl", yaml.Seconds(time.Second, mostCodeTTL), func(i *t) *time.Duration { return &i.codeTTL },
			"how long a code can be redeemed").Or(strconv.Itoa(int(defaultCodeTTL/time.Second))+"s"),
		yaml.Placed("token_ttl", yaml.Seconds(time.Second, mostTokenTTL), func(i *t) *yaml.Setting[time.Duration] { return &i.tokenTTL },
			"how long a token lives").Or("1h"),
		yaml.Plain("max_token_ttl", yaml.Seconds(time.Second, mostTokenTTL), func(i *t) *time.Duration { return &i.maxTokenTTL },
			"the longest life that may be asked for").Or("24h"),
		yaml.Plain("max_access_token_ttl", yaml.Seconds(time.Second, mostTokenTTL), func(i *t) *time.Duration { return &i.maxAccessToken },
			"the same for the access-token dialect").Or("8760h"),
		yaml.Plain("serve", serve(), func(i *t) *writtenServe { return &i.serve }, "where our own endpoints answer").Filled(),
		yaml.Plain("clients", yaml.List(0, client()), func(i *t) *[]yaml.Setting[writtenClient] { return &i.clients },
			"the callers of the token endpoints"),
		yaml.Placed("users", users(), func(i *t) *yaml.Setting[writtenUsers] { return &i.users },
			"the end users of the user-token dialect: a list, or {open: true, role: …}, or {lookup: …}; default none"),
	)
}

type writtenKey struct {
	file   yaml.Setting[string]
	dir    yaml.Setting[string]
	create yaml.Setting[bool]
	state  yaml.Setting[string]
}

// The states of a signing key.
const (
	keyNext    = "next"
	keyCurrent = "current"
	keyRetired = "retired"
)

func keyFile() yaml.Kind[writtenKey] {
	return yaml.Mapping(
		yaml.Placed("file", yaml.Text(isPath).Like(filledLike), func(k *writtenKey) *yaml.Setting[string] { return &k.file },
			"PEM or JWK file; a relative path starts at this file's folder"),
		yaml.Placed("dir", yaml.Text(isPath).Like(filledLike), func(k *writtenKey) *yaml.Setting[string] { return &k.dir },
			"a folder of such files instead, in the order of their names, each with its state in its name: a.pem, b.next.pem, c.retired.pem"),
		yaml.Placed("create", yaml.Boolean(), func(k *writtenKey) *yaml.Setting[bool] { return &k.create },
			"make a new ES256 key with mode 0600 if there is no such file").Or("false"),
		yaml.Placed("state", yaml.Word(keyNext, keyCurrent, keyRetired), func(k *writtenKey) *yaml.Setting[string] { return &k.state },
			"next: published, to sign later; current: signs; retired: verifies what it signed; default: the first key that is neither next nor retired signs"),
	).OneOf("file", "dir")
}

type writtenServe struct {
	hosts              []yaml.Setting[string]
	dialects           []yaml.Setting[string]
	accessTokenPrefix  string
	missingTenantIsAny bool
}

// The dialects that issuer.serve can name.
const (
	codesDialect        = "codes"
	userTokensDialect   = "user_tokens"
	accessTokensDialect = "access_tokens"
	oauth2Dialect       = "oauth2"
)

func serve() yaml.Kind[writtenServe] {
	type t = writtenServe
	return yaml.Mapping(
		yaml.Plain("hosts", yaml.Distinct(0, yaml.Text(isServeHost).Like(filledLike)), func(s *t) *[]yaml.Setting[string] { return &s.hosts },
			"the hosts that our endpoints answer on; default any"),
		yaml.Plain("dialects", yaml.Distinct(0, yaml.Word(codesDialect, userTokensDialect, accessTokensDialect, oauth2Dialect)),
			func(s *t) *[]yaml.Setting[string] { return &s.dialects }, "which APIs are served; default all four"),
		yaml.Plain("access_token_prefix", yaml.Text(isAccessTokenPrefix).Like(prefixLike), func(s *t) *string { return &s.accessTokenPrefix },
			"a path before /api/1/access_token, like /crafter-profile; default none"),
		yaml.Plain("insecure_missing_tenant_is_any", yaml.Boolean(), func(s *t) *bool { return &s.missingTenantIsAny },
			"take an omitted tenant of the access-token dialect for *, as the original does").Or("false"),
	)
}

type writtenClient struct {
	id            yaml.Setting[string]
	secret        yaml.Setting[Secret]
	secretSHA256  yaml.Setting[string]
	accessTokenID yaml.Setting[Secret]
	permissions   yaml.Setting[writtenPermissions]
	may           []yaml.Setting[string]
	delegate      yaml.Setting[writtenPermissions]
	codeTTL       yaml.Setting[time.Duration]
	public        yaml.Setting[bool]
	keys          yaml.Setting[[]yaml.Setting[writtenKeySet]]
	audiences     yaml.Setting[[]yaml.Setting[string]]
	dpop          yaml.Setting[string]
}

func client() yaml.Kind[writtenClient] {
	type t = writtenClient
	return yaml.Mapping(
		yaml.Placed("id", yaml.Text(isClientID).Like(clientIDLike), func(c *t) *yaml.Setting[string] { return &c.id }, "its client_id").Must("name the client"),
		yaml.Placed("secret", yaml.SecretText(isSecret).Like(secretLike), func(c *t) *yaml.Setting[Secret] { return &c.secret }, "22 characters or more"),
		yaml.Placed("secret_sha256", hexSecret(), func(c *t) *yaml.Setting[string] { return &c.secretSHA256 },
			"the secret's SHA-256 in hex, instead of the secret"),
		yaml.Placed("access_token_id", yaml.SecretText(isSecret).Like(secretLike), func(c *t) *yaml.Setting[Secret] { return &c.accessTokenID },
			"a fixed accessTokenId for the access-token dialect, 22 characters or more"),
		yaml.Placed("permissions", permissions(), func(c *t) *yaml.Setting[writtenPermissions] { return &c.permissions },
			"what its own token opens; default nothing"),
		yaml.Plain("may", yaml.Distinct(0, yaml.Word(token.MayWords()...)), func(c *t) *[]yaml.Setting[string] { return &c.may },
			"what it may do at the token endpoints; default nothing"),
		yaml.Placed("delegate", permissions(), func(c *t) *yaml.Setting[writtenPermissions] { return &c.delegate },
			"the most it may hand on, in every dialect; default nothing"),
		yaml.Placed("code_ttl", yaml.Seconds(time.Second, mostCodeTTL), func(c *t) *yaml.Setting[time.Duration] { return &c.codeTTL },
			"how long its codes can be redeemed; default issuer.code_ttl"),
		yaml.Placed("public", yaml.Boolean(), func(c *t) *yaml.Setting[bool] { return &c.public },
			"it cannot keep a secret; its codes need PKCE").Or("false"),
		yaml.Placed("keys", yaml.List(1, publicKeyFile()), func(c *t) *yaml.Setting[[]yaml.Setting[writtenKeySet]] { return &c.keys },
			"its public keys, to sign its client assertions with (private_key_jwt)"),
		yaml.Placed("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)), func(c *t) *yaml.Setting[[]yaml.Setting[string]] { return &c.audiences },
			"the aud of the tokens that it may introspect; default issuer.audiences"),
		yaml.Placed("dpop", yaml.Word(dpopRequired), func(c *t) *yaml.Setting[string] { return &c.dpop },
			"its tokens are bound to a key by DPoP, or not issued; default as it asks"),
	).OneAtMost("secret", "secret_sha256")
}

// hexSecret is a digest: not secret itself, but nothing that a message should repeat.
func hexSecret() yaml.Kind[string] {
	k := yaml.SecretText(isDigest).Like(digestLike)
	return yaml.Kind[string]{Shape: k.Shape, Read: func(r *yaml.Reader, v yaml.Value) (string, bool) {
		s, ok := k.Read(r, v)
		return s.Reveal(), ok
	}}
}

type writtenPermissions []yaml.Setting[writtenPermission]

type writtenPermission struct {
	tenant  yaml.Setting[string]
	actions []yaml.Setting[string]
}

func permissions() yaml.Kind[writtenPermissions] {
	type t = writtenPermission
	entries := yaml.List(0, yaml.Mapping(
		yaml.Placed("tenant", yaml.Text(nil), func(p *t) *yaml.Setting[string] { return &p.tenant },
			`a tenant's name, or "*" for any and for global actions`).Must(`write a tenant's name, or "*" for any`),
		yaml.Plain("actions", yaml.Distinct(0, yaml.Text(isAction).Like(actionLike)), func(p *t) *[]yaml.Setting[string] { return &p.actions },
			`actions of 1 to 64 of A-Z a-z 0-9 _ . : -, or "*" for any`).Must(`write the actions, or ["*"] for any`),
	))
	return yaml.Kind[writtenPermissions]{Shape: entries.Shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenPermissions, bool) {
		p, ok := entries.Read(r, v)
		return p, ok
	}}
}

type writtenUsers struct {
	open   yaml.Setting[bool]
	role   yaml.Setting[string]
	lookup yaml.Setting[UserLookup]
	list   []yaml.Setting[writtenUser]
}

type writtenUser struct {
	id          yaml.Setting[string]
	kind        string
	role        yaml.Setting[string]
	permissions yaml.Setting[writtenPermissions]
}

func users() yaml.Kind[writtenUsers] {
	type t = writtenUsers
	whole := yaml.Mapping(
		yaml.Placed("open", yaml.OnlyTrue(), func(u *t) *yaml.Setting[bool] { return &u.open }, "any UUID is an end user"),
		yaml.Placed("role", yaml.Text(isName).Like(nameLike), func(u *t) *yaml.Setting[string] { return &u.role }, "… with this role"),
		yaml.Placed("lookup", lookup(), func(u *t) *yaml.Setting[UserLookup] { return &u.lookup }, "ask an HTTP directory"),
	).OneOf("open", "lookup")
	each := yaml.List(0, user())
	shape := &yaml.Shape{Either: []*yaml.Shape{whole.Shape, each.Shape}}
	return yaml.Kind[writtenUsers]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenUsers, bool) {
		if v.IsList() {
			users, ok := each.Read(r, v)
			return writtenUsers{list: users}, ok
		}
		return whole.Read(r, v)
	}}
}

func user() yaml.Kind[writtenUser] {
	type t = writtenUser
	return yaml.Mapping(
		yaml.Placed("id", yaml.Text(isUUID).Like(uuidLike), func(u *t) *yaml.Setting[string] { return &u.id }, "a UUID").Must("write the user's UUID"),
		yaml.Plain("type", yaml.Word("end_user", "person", "api_user", "api_signer", "system"), func(u *t) *string { return &u.kind },
			"tokens are issued for an end_user alone").Or("end_user"),
		yaml.Placed("role", yaml.Text(isName).Like(nameLike), func(u *t) *yaml.Setting[string] { return &u.role }, "its role"),
		yaml.Placed("permissions", permissions(), func(u *t) *yaml.Setting[writtenPermissions] { return &u.permissions },
			"its permissions, instead of a role"),
	).OneAtMost("role", "permissions")
}

func lookup() yaml.Kind[UserLookup] {
	type t = UserLookup
	return yaml.Mapping(
		yaml.Plain("url", yaml.Text(isDirectory).Like(directoryLike), func(l *t) *string { return &l.URL },
			"where {user_id} is replaced").Must("write it like https://directory.example.com/users/{user_id}"),
		yaml.Plain("bearer", yaml.SecretText(isBearer).Like(bearerLike), func(l *t) *Secret { return &l.Bearer }, "sent as Authorization: Bearer; default none"),
		yaml.Plain("timeout", yaml.Duration(10*time.Millisecond, time.Minute), func(l *t) *time.Duration { return &l.Timeout }, "for the whole answer").Or("2s"),
		yaml.Plain("cache", yaml.Duration(0, 5*time.Minute), func(l *t) *time.Duration { return &l.Cache }, "how long an answer is believed").Or("30s"),
		yaml.Plain("entries", yaml.Integer(1, 10_000_000), func(l *t) *int { return &l.Entries }, "how many answers are kept").Or("10000"),
		yaml.Plain("bytes", yaml.Size[int64](256, 16*yaml.MiB), func(l *t) *int64 { return &l.Bytes }, "the longest answer").Or("64KiB"),
	)
}

type writtenTrusted struct {
	issuer        yaml.Setting[string]
	keys          yaml.Setting[[]yaml.Setting[writtenKeySet]]
	jwksURL       yaml.Setting[string]
	insecureHTTP  yaml.Setting[bool]
	fetch         yaml.Setting[writtenFetch]
	audiences     []yaml.Setting[string]
	algorithms    []yaml.Setting[string]
	tokenTypes    yaml.Setting[[]yaml.Setting[string]]
	requireClaims []yaml.Named[string]
	clientClaim   string
	roles         yaml.Setting[writtenForeignRoles]
	permissions   yaml.Setting[writtenPermissions]
	maxTokenTTL   time.Duration
}

type writtenKeySet struct{ file yaml.Setting[string] }

// publicKeyFile is a file of a client's public keys.
func publicKeyFile() yaml.Kind[writtenKeySet] {
	return yaml.Mapping(yaml.Placed("file", yaml.Text(isPath).Like(filledLike), func(k *writtenKeySet) *yaml.Setting[string] { return &k.file },
		"a JWKS, a JWK or a PEM public key; a relative path starts at this file's folder").Must("name the file of its public keys"))
}

type writtenFetch struct {
	refresh, maxAge         yaml.Setting[time.Duration]
	cooldown, wait, timeout time.Duration
	caFile                  yaml.Setting[string]
}

type writtenForeignRoles struct {
	from  string
	roles []yaml.Named[string]
}

func trusted() yaml.Kind[writtenTrusted] {
	type t = writtenTrusted
	keys := yaml.Mapping(yaml.Placed("file", yaml.Text(isPath).Like(filledLike), func(k *writtenKeySet) *yaml.Setting[string] { return &k.file },
		"a JWKS, a JWK or a PEM public key").Must("name the file"))
	roles := yaml.Mapping(
		yaml.Plain("from", yaml.Text(isClaimPath).Like(filledLike), func(x *writtenForeignRoles) *string { return &x.from },
			"the claim that lists the issuer's roles, like realm_access.roles").Must("name the claim"),
		yaml.Plain("map", yaml.Names(yaml.Text(isShort).Like(filledLike), yaml.Text(isName).Like(nameLike)), func(x *writtenForeignRoles) *[]yaml.Named[string] { return &x.roles },
			"the issuer's role: our role").Must("write {their-role: our-role}"),
	)
	return yaml.Mapping(
		yaml.Placed("issuer", yaml.Text(isForeignIssuer).Like(foreignIssuerLike), func(i *t) *yaml.Setting[string] { return &i.issuer },
			"its iss").Must("write it as its tokens spell it"),
		yaml.Placed("keys", yaml.List(1, keys), func(i *t) *yaml.Setting[[]yaml.Setting[writtenKeySet]] { return &i.keys },
			"its public keys in files; without them and jwks_url, its metadata says where its keys are (discovery)"),
		yaml.Placed("jwks_url", yaml.Text(isJWKSURL).Like(jwksURLLike), func(i *t) *yaml.Setting[string] { return &i.jwksURL },
			"where its keys are published, instead of discovery"),
		yaml.Placed("insecure_http", yaml.Boolean(), func(i *t) *yaml.Setting[bool] { return &i.insecureHTTP },
			"fetch them over plain http from other hosts than this one, too: whoever is in between can put in keys of his own").Or("false"),
		yaml.Placed("fetch", fetch(), func(i *t) *yaml.Setting[writtenFetch] { return &i.fetch },
			"how its keys are fetched and kept").Filled(),
		yaml.Plain("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)), func(i *t) *[]yaml.Setting[string] { return &i.audiences },
			"a token must name one of them in aud").Must("name what its tokens say in aud for us"),
		yaml.Plain("algorithms", yaml.Distinct(1, yaml.Word(jose.Algorithms()...)), func(i *t) *[]yaml.Setting[string] { return &i.algorithms },
			"the algorithms that its keys may use; default those of the keys"),
		yaml.Placed("token_types", yaml.Distinct(1, yaml.Text(isShort).Like(filledLike)), func(i *t) *yaml.Setting[[]yaml.Setting[string]] { return &i.tokenTypes },
			"the typ of its tokens; default [at+jwt, application/at+jwt]"),
		yaml.Plain("require_claims", yaml.Names(yaml.Text(isShort).Like(filledLike), yaml.Text(isShort).Like(filledLike)), func(i *t) *[]yaml.Named[string] { return &i.requireClaims },
			"claims that must have exactly this text; default none"),
		yaml.Plain("client_claim", yaml.Text(isClaimPath).Like(filledLike), func(i *t) *string { return &i.clientClaim },
			"the claim that names the client").Or("client_id"),
		yaml.Placed("roles", roles, func(i *t) *yaml.Setting[writtenForeignRoles] { return &i.roles },
			"which of our roles its roles mean; default none"),
		yaml.Placed("permissions", permissions(), func(i *t) *yaml.Setting[writtenPermissions] { return &i.permissions },
			"the most that its tokens may open").Must("write a ceiling, like [{tenant: acme, actions: [READ]}]"),
		yaml.Plain("max_token_ttl", yaml.Seconds(time.Second, mostTokenTTL), func(i *t) *time.Duration { return &i.maxTokenTTL },
			"a token that lives longer is refused").Or("24h"),
	).OneAtMost("keys", "jwks_url")
}

func fetch() yaml.Kind[writtenFetch] {
	type t = writtenFetch
	return yaml.Mapping(
		yaml.Placed("refresh", yaml.Duration(time.Second, 24*time.Hour), func(f *t) *yaml.Setting[time.Duration] { return &f.refresh },
			"between two fetches, a tenth less by chance").Or("10m"),
		yaml.Placed("max_age", yaml.Duration(time.Minute, 30*24*time.Hour), func(f *t) *yaml.Setting[time.Duration] { return &f.maxAge },
			"keys that could not be fetched anew for so long no longer count").Or("24h"),
		yaml.Plain("cooldown", yaml.Duration(time.Second, time.Hour), func(f *t) *time.Duration { return &f.cooldown },
			"between two fetches because a token names a key that is not there").Or("30s"),
		yaml.Plain("wait", yaml.Duration(0, 30*time.Second), func(f *t) *time.Duration { return &f.wait },
			"how long the request of such a token waits").Or("2s"),
		yaml.Plain("timeout", yaml.Duration(100*time.Millisecond, time.Minute), func(f *t) *time.Duration { return &f.timeout },
			"for a whole fetch").Or("5s"),
		yaml.Placed("ca_file", yaml.Text(isPath).Like(filledLike), func(f *t) *yaml.Setting[string] { return &f.caFile },
			"PEM of the authorities that its servers are checked with; default the system's"),
	)
}

// dpopRequired is the word by which a client's tokens are always bound: dpop_bound_access_tokens of RFC 9449 §5.2.
const dpopRequired = "required"

type writtenDPoP struct {
	maxAge       yaml.Setting[time.Duration]
	requireNonce bool
	nonceTTL     yaml.Setting[time.Duration]
	nonceSecrets []yaml.Setting[Secret]
	origins      []yaml.Setting[string]
	capacity     yaml.Setting[int]
}

func dpop() yaml.Kind[writtenDPoP] {
	type t = writtenDPoP
	return yaml.Mapping(
		yaml.Placed("max_age", yaml.Duration(time.Second, 10*time.Minute), func(d *t) *yaml.Setting[time.Duration] { return &d.maxAge },
			"how old a proof may be").Or("60s"),
		yaml.Plain("require_nonce", yaml.Boolean(), func(d *t) *bool { return &d.requireNonce },
			"every proof must have a nonce of ours, so that none can be made in advance").Or("false"),
		yaml.Placed("nonce_ttl", yaml.Duration(time.Second, time.Hour), func(d *t) *yaml.Setting[time.Duration] { return &d.nonceTTL },
			"how long a nonce counts").Or("5m"),
		yaml.Plain("nonce_secrets", yaml.Distinct(0, yaml.SecretText(isCodeSecret).Like(codeSecretLike)), func(d *t) *[]yaml.Setting[Secret] { return &d.nonceSecrets },
			"what nonces are made with, 32 bytes or more: the first makes, all count; default derived from issuer.code_secrets, or a random one per process"),
		yaml.Plain("origins", yaml.Distinct(0, yaml.Text(isOrigin).Like(serverLike)), func(d *t) *[]yaml.Setting[string] { return &d.origins },
			"the scheme and host that proofs for our routes may name, as clients reach us; default those that the request came to"),
		yaml.Placed("capacity", yaml.Integer(1<<10, 1<<26), func(d *t) *yaml.Setting[int] { return &d.capacity },
			"how many used proofs are remembered").Or("262144"),
	)
}

type writtenReplay struct {
	store    yaml.Setting[string]
	capacity yaml.Setting[int]
}

func replay() yaml.Kind[writtenReplay] {
	type t = writtenReplay
	return yaml.Mapping(
		yaml.Placed("store", yaml.Word(storeMemory, storeRedis), func(x *t) *yaml.Setting[string] { return &x.store },
			"where used codes are remembered: in this process, or in redis, for any number of replicas").Or(storeMemory),
		yaml.Placed("capacity", yaml.Integer(1, mostReplayCapacity), func(x *t) *yaml.Setting[int] { return &x.capacity },
			"entries, shared out evenly among the clients that may issue codes; of the memory store").Or("1048576"),
	)
}

// The stores that what is remembered can be kept in.
const (
	storeMemory = "memory"
	storeRedis  = "redis"
	storeFile   = "file"
)

type writtenRevocations struct {
	store, file  yaml.Setting[string]
	capacity     int
	poll         time.Duration
	maxStaleness yaml.Setting[time.Duration]
	onStale      string
}

func revocations() yaml.Kind[writtenRevocations] {
	type t = writtenRevocations
	return yaml.Mapping(
		yaml.Placed("store", yaml.Word(storeFile, storeRedis), func(x *t) *yaml.Setting[string] { return &x.store },
			"where withdrawn tokens are kept: file, of one process, or redis, for all replicas; default redis where redis is configured and no file"),
		yaml.Placed("file", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.file },
			"where withdrawn tokens are written; without it and without redis nothing can be revoked"),
		yaml.Plain("capacity", yaml.Integer(1, 1<<26), func(x *t) *int { return &x.capacity }, "entries").Or("65536"),
		yaml.Plain("poll", yaml.Duration(50*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.poll },
			"with redis: how often each replica asks what other replicas have withdrawn").Or("1s"),
		yaml.Placed("max_staleness", yaml.Duration(100*time.Millisecond, time.Hour), func(x *t) *yaml.Setting[time.Duration] { return &x.maxStaleness },
			"with redis: without an answer for so long the list is stale").Or("10s"),
		yaml.Plain("on_stale", yaml.Word("serve", "refuse"), func(x *t) *string { return &x.onStale },
			"with redis, what happens to tokens then: serve them by what is known, or refuse them all with 503").Or("serve"),
	)
}

type writtenRedis struct {
	url                  yaml.Setting[Secret]
	username             string
	password             yaml.Setting[Secret]
	tls                  yaml.Setting[writtenRedisTLS]
	sentinel             yaml.Setting[writtenSentinel]
	pool                 int
	dialTimeout, timeout time.Duration
	prefix               string
	skew                 time.Duration
}

func redisKind() yaml.Kind[writtenRedis] {
	type t = writtenRedis
	return yaml.Mapping(
		yaml.Placed("url", yaml.SecretText(isRedisURL).Like(redisURLLike), func(x *t) *yaml.Setting[Secret] { return &x.url },
			"redis://user:password@host:port/database, rediss:// for TLS, or unix:///path"),
		yaml.Placed("sentinel", sentinelKind(), func(x *t) *yaml.Setting[writtenSentinel] { return &x.sentinel },
			"instead of url: the processes that know which server is the master"),
		yaml.Plain("username", yaml.Text(isShort).Like(filledLike), func(x *t) *string { return &x.username },
			"of the server's ACL; default its default user"),
		yaml.Placed("password", yaml.SecretText(isStorePassword).Like(filledLike), func(x *t) *yaml.Setting[Secret] { return &x.password },
			"of the server"),
		yaml.Placed("tls", redisTLSKind(), func(x *t) *yaml.Setting[writtenRedisTLS] { return &x.tls },
			"how the server is checked, with rediss:// or sentinel; default by the system's authorities"),
		yaml.Plain("pool", yaml.Integer(1, 10_000), func(x *t) *int { return &x.pool }, "connections to the store at most").Or("32"),
		yaml.Plain("dial_timeout", yaml.Duration(10*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.dialTimeout },
			"for a connection").Or("1s"),
		yaml.Plain("timeout", yaml.Duration(10*time.Millisecond, 10*time.Second), func(x *t) *time.Duration { return &x.timeout },
			"for one operation, with its second attempts; over it, 503").Or("1s"),
		yaml.Plain("prefix", yaml.Text(isKeyPrefix).Like(keyPrefixLike), func(x *t) *string { return &x.prefix },
			"what our keys begin with; gates that share nothing else need prefixes of their own").Or("jotgate"),
		yaml.Plain("skew", yaml.Duration(100*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.skew },
			"by how much the clocks of replicas and store may differ; beyond it codes are refused, never accepted twice").Or("5s"),
	).OneOf("url", "sentinel")
}

type writtenRedisTLS struct {
	ca, cert, key yaml.Setting[string]
	serverName    string
}

func redisTLSKind() yaml.Kind[writtenRedisTLS] {
	type t = writtenRedisTLS
	return yaml.Mapping(
		yaml.Placed("ca", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.ca },
			"PEM of the authorities that the server is checked with; default the system's"),
		yaml.Placed("cert", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.cert },
			"PEM file: the certificate that we show, and its chain; default none"),
		yaml.Placed("key", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.key }, "PEM file: its private key"),
		yaml.Plain("server_name", yaml.Text(isShort).Like(filledLike), func(x *t) *string { return &x.serverName },
			"the name in the server's certificate; default the host that is dialled"),
	)
}

type writtenSentinel struct {
	master    string
	addresses []yaml.Setting[string]
	username  string
	password  Secret
	database  int
}

func sentinelKind() yaml.Kind[writtenSentinel] {
	type t = writtenSentinel
	return yaml.Mapping(
		yaml.Plain("master", yaml.Text(isShort).Like(filledLike), func(x *t) *string { return &x.master },
			"what the sentinels call it").Must("name the master, as in `sentinel monitor NAME …`"),
		yaml.Plain("addresses", yaml.Distinct(1, yaml.Text(isRemoteAddress).Like(filledLike)), func(x *t) *[]yaml.Setting[string] { return &x.addresses },
			"host:port of each sentinel").Must("name them, like [10.0.0.1:26379, 10.0.0.2:26379, 10.0.0.3:26379]"),
		yaml.Plain("username", yaml.Text(isShort).Like(filledLike), func(x *t) *string { return &x.username }, "of the sentinels' own ACL; default none"),
		yaml.Plain("password", yaml.SecretText(isStorePassword).Like(filledLike), func(x *t) *Secret { return &x.password }, "of the sentinels; default none"),
		yaml.Plain("database", yaml.Integer(0, mostDatabase), func(x *t) *int { return &x.database }, "the server's database").Or("0"),
	)
}

type writtenIdentity struct {
	subject, issuer, client, tenant, actions, tokenID yaml.Setting[string]
}

func identity() yaml.Kind[writtenIdentity] {
	type t = writtenIdentity
	return yaml.Mapping(
		yaml.Placed("subject", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.subject }, "the token's sub").Or("X-Jotgate-Subject"),
		yaml.Placed("issuer", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.issuer }, "its iss").Or("X-Jotgate-Issuer"),
		yaml.Placed("client", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.client }, "its client_id").Or("X-Jotgate-Client"),
		yaml.Placed("tenant", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.tenant }, "the tenant that was judged").Or("X-Jotgate-Tenant"),
		yaml.Placed("actions", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.actions }, "the actions that the token allows on it").Or("X-Jotgate-Actions"),
		yaml.Placed("token_id", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.tokenID }, "its jti").Or("X-Jotgate-Token-Id"),
	)
}

type writtenUpstream struct {
	servers         []yaml.Setting[string]
	host            string
	connectTimeout  time.Duration
	responseTimeout time.Duration
	maxConnections  int
	maxIdle         yaml.Setting[int]
	caFile          yaml.Setting[string]
	assertion       yaml.Setting[writtenAssertion]
}

type writtenAssertion struct {
	header   yaml.Setting[string]
	audience string
	ttl      time.Duration
}

func upstream() yaml.Kind[writtenUpstream] {
	type t = writtenUpstream
	type a = writtenAssertion
	assertion := yaml.Mapping(
		yaml.Placed("header", yaml.Text(isHeader).Like(headerLike), func(x *a) *yaml.Setting[string] { return &x.header }, "the header that carries it").Or("X-Jotgate-Assertion"),
		yaml.Plain("audience", yaml.Text(isAudience).Like(audienceLike), func(x *a) *string { return &x.audience }, "its aud").Must("name the app"),
		yaml.Plain("ttl", yaml.Seconds(time.Second, time.Hour), func(x *a) *time.Duration { return &x.ttl }, "how long it lives").Or("60s"),
	)
	return yaml.Mapping(
		yaml.Plain("servers", yaml.Distinct(1, yaml.Text(isServer).Like(serverLike)), func(u *t) *[]yaml.Setting[string] { return &u.servers },
			"http(s)://host:port of each").Must("write [http://127.0.0.1:3000]"),
		yaml.Plain("host", yaml.Text(isHostHeader).Like(filledLike), func(u *t) *string { return &u.host }, "the Host header that is sent; default the client's"),
		yaml.Plain("connect_timeout", yaml.Duration(10*time.Millisecond, time.Minute), func(u *t) *time.Duration { return &u.connectTimeout }, "for a connection").Or("5s"),
		yaml.Plain("response_timeout", yaml.Duration(10*time.Millisecond, 24*time.Hour), func(u *t) *time.Duration { return &u.responseTimeout }, "until the head of the answer").Or("60s"),
		yaml.Plain("max_connections", yaml.Integer(1, 65_536), func(u *t) *int { return &u.maxConnections }, "per server").Or("512"),
		yaml.Placed("max_idle", yaml.Integer(0, 65_536), func(u *t) *yaml.Setting[int] { return &u.maxIdle }, "kept connections per server").Or("64"),
		yaml.Placed("ca_file", yaml.Text(isPath).Like(filledLike), func(u *t) *yaml.Setting[string] { return &u.caFile },
			"PEM of the authorities for https servers; default the system's"),
		yaml.Placed("assertion", assertion, func(u *t) *yaml.Setting[writtenAssertion] { return &u.assertion },
			"a short-lived JWT that tells the app what was decided; default none"),
	)
}

type writtenRoute struct {
	name          yaml.Setting[string]
	hosts         []yaml.Setting[string]
	path          yaml.Setting[string]
	methods       []yaml.Setting[string]
	require       yaml.Setting[writtenRequire]
	public        yaml.Setting[bool]
	upstream      yaml.Setting[string]
	insecureAllow []yaml.Setting[string]
	forwardToken  yaml.Setting[bool]
	audiences     yaml.Setting[[]yaml.Setting[string]]
	upgrade       bool
	bodyBytes     yaml.Setting[int64]
	shadow        yaml.Setting[bool]
}

func routeKind() yaml.Kind[writtenRoute] {
	type t = writtenRoute
	return yaml.Mapping(
		yaml.Placed("name", yaml.Text(isRouteName).Like(routeNameLike), func(x *t) *yaml.Setting[string] { return &x.name }, "what logs and metrics call it; default its path"),
		yaml.Plain("hosts", yaml.Distinct(0, yaml.Text(isHostPattern).Like(filledLike)), func(x *t) *[]yaml.Setting[string] { return &x.hosts },
			`exact, or "{tenant}.example.com"; default any`),
		yaml.Placed("path", yaml.Text(isPathPattern).Like(pathLike), func(x *t) *yaml.Setting[string] { return &x.path },
			`"/t/{tenant}/": {name} is one segment, a slash at the end covers the tree below`).Must("write it like /tickets/"),
		yaml.Plain("methods", yaml.Distinct(1, yaml.Text(isMethod).Like(methodLike)), func(x *t) *[]yaml.Setting[string] { return &x.methods }, "default GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
		yaml.Placed("require", require(), func(x *t) *yaml.Setting[writtenRequire] { return &x.require },
			"authenticated, or an action and its tenant"),
		yaml.Placed("public", yaml.OnlyTrue(), func(x *t) *yaml.Setting[bool] { return &x.public }, "no token is judged"),
		yaml.Placed("upstream", yaml.Text(isUpstream).Like(upstreamLike), func(x *t) *yaml.Setting[string] { return &x.upstream },
			"a name from upstreams, or a URL").Must("name one of upstreams, or write a URL"),
		yaml.Plain("insecure_allow", yaml.Distinct(0, yaml.Word("encoded_slash", "semicolon", "double_slash", "double_encoding")),
			func(x *t) *[]yaml.Setting[string] { return &x.insecureAllow }, "spellings of a path that two readers could take differently"),
		yaml.Placed("forward_token", yaml.Boolean(), func(x *t) *yaml.Setting[bool] { return &x.forwardToken }, "pass the bearer on to the upstream").Or("false"),
		yaml.Placed("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)), func(x *t) *yaml.Setting[[]yaml.Setting[string]] { return &x.audiences },
			"a token must name one of them in aud; default the issuer's"),
		yaml.Plain("upgrade", yaml.Boolean(), func(x *t) *bool { return &x.upgrade }, "let WebSocket and other upgrades through").Or("false"),
		yaml.Placed("body_bytes", yaml.Size[int64](0, 1<<50), func(x *t) *yaml.Setting[int64] { return &x.bodyBytes },
			"the longest request body; default limits.body_bytes"),
		yaml.Placed("shadow", yaml.Boolean(), func(x *t) *yaml.Setting[bool] { return &x.shadow },
			"judge and log, but let through what would be refused for its token, tenant or permission: for trying a route out").Or("false"),
	).OneOf("require", "public")
}

type writtenRequire struct {
	authenticated bool
	action        yaml.Setting[string]
	tenant        yaml.Setting[string]
	tenantFrom    yaml.Setting[string]
	global        yaml.Setting[bool]
}

func require() yaml.Kind[writtenRequire] {
	type t = writtenRequire
	mapping := yaml.Mapping(
		yaml.Placed("action", yaml.Text(isPlainAction).Like(plainActionLike), func(x *t) *yaml.Setting[string] { return &x.action },
			"what the token must allow").Must("name the action that the token must allow, like READ"),
		yaml.Placed("tenant", yaml.Text(nil), func(x *t) *yaml.Setting[string] { return &x.tenant }, "on this tenant"),
		yaml.Placed("tenant_from", yaml.Text(nil), func(x *t) *yaml.Setting[string] { return &x.tenantFrom },
			"on the tenant that stands in path.x, host.x, header.X-Tenant or query.x"),
		yaml.Placed("global", yaml.OnlyTrue(), func(x *t) *yaml.Setting[bool] { return &x.global }, "without a tenant"),
	).OneOf("tenant", "tenant_from", "global")
	scalar := yaml.Word("authenticated")
	shape := &yaml.Shape{Either: []*yaml.Shape{scalar.Shape, mapping.Shape}}
	return yaml.Kind[writtenRequire]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenRequire, bool) {
		if v.IsText() {
			_, ok := scalar.Read(r, v)
			return writtenRequire{authenticated: true}, ok
		}
		return mapping.Read(r, v)
	}}
}

type writtenTest struct {
	request     yaml.Setting[string]
	headers     []yaml.Named[string]
	permissions yaml.Setting[writtenPermissions]
	claims      yaml.Setting[string]
	expect      yaml.Setting[writtenExpect]
}

type writtenExpect struct {
	allow  bool
	refuse string
}

func testKind() yaml.Kind[writtenTest] {
	type t = writtenTest
	return yaml.Mapping(
		yaml.Placed("request", yaml.Text(isRequest).Like(requestLike), func(x *t) *yaml.Setting[string] { return &x.request },
			"a method and a whole URL").Must(`write it like "GET https://app.example.com/tenants/acme/"`),
		yaml.Plain("headers", yaml.Names(yaml.Text(isTestHeader).Like(testHeaderLike), yaml.Text(isShort).Like(filledLike)), func(x *t) *[]yaml.Named[string] { return &x.headers }, "headers of the request"),
		yaml.Placed("permissions", permissions(), func(x *t) *yaml.Setting[writtenPermissions] { return &x.permissions },
			"what its token opens here; without permissions and claims it brings no token"),
		yaml.Placed("claims", yaml.AnyObject(), func(x *t) *yaml.Setting[string] { return &x.claims },
			"what its token says, instead: any claims; those left out are filled in as our own token would have them"),
		yaml.Placed("expect", expect(), func(x *t) *yaml.Setting[writtenExpect] { return &x.expect },
			"allow, refuse, or {refuse: reason}").Must("write allow, refuse, or {refuse: tenant_denied}"),
	).OneAtMost("permissions", "claims")
}

func expect() yaml.Kind[writtenExpect] {
	scalar := yaml.Word("allow", "refuse")
	mapping := yaml.Mapping(yaml.Plain("refuse", yaml.Text(isReason).Like(reasonLike), func(x *writtenExpect) *string { return &x.refuse },
		"the reason code of the refusal").Must("write {refuse: tenant_denied}"))
	shape := &yaml.Shape{Either: []*yaml.Shape{scalar.Shape, mapping.Shape}}
	return yaml.Kind[writtenExpect]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenExpect, bool) {
		if v.IsText() {
			s, ok := scalar.Read(r, v)
			return writtenExpect{allow: s == "allow"}, ok
		}
		return mapping.Read(r, v)
	}}
}
