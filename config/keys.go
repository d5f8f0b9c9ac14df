package config

import (
	"strconv"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
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
func Reference() *Shape { return file().shape }

type writtenFile struct {
	version        int
	watch          bool
	listen         setting[string]
	listeners      setting[[]setting[writtenListener]]
	admin          setting[writtenAdmin]
	trustedProxies []setting[string]
	limits         writtenLimits
	log            Log
	tracing        setting[writtenTracing]
	drain          Drain
	clockLeeway    time.Duration
	tenantPattern  setting[string]
	issuer         setting[writtenIssuer]
	roles          []named[writtenPermissions]
	trustedIssuers []setting[writtenTrusted]
	dpop           setting[writtenDPoP]
	replay         setting[writtenReplay]
	revocations    setting[writtenRevocations]
	redis          setting[writtenRedis]
	replicas       setting[int]
	identity       setting[writtenIdentity]
	upstreams      []named[writtenUpstream]
	routes         setting[[]setting[writtenRoute]]
	tests          []setting[writtenTest]
}

func file() kind[writtenFile] {
	type t = writtenFile
	return object(
		plain("version", version(), func(f *t) *int { return &f.version },
			"the version of this file's keys").must("begin with version: 1"),
		plain("watch", boolean(), func(f *t) *bool { return &f.watch },
			"reload when this file, or a file that it names, has other contents than before").or("true"),
		placed("listen", text(isAddress).like(addressLike), func(f *t) *setting[string] { return &f.listen },
			"host:port that requests come in on, short for one listener called main; default 127.0.0.1:8080"),
		placed("listeners", list(1, listener()), func(f *t) *setting[[]setting[writtenListener]] { return &f.listeners },
			"the addresses that requests come in on, instead of listen"),
		placed("admin", admin(), func(f *t) *setting[writtenAdmin] { return &f.admin },
			"the operator's side: health, metrics and what needs its token").filled(),
		plain("trusted_proxies", distinct(0, text(nil)), func(f *t) *[]setting[string] { return &f.trustedProxies },
			"addresses and CIDR ranges of proxies whose X-Forwarded-* count; default none"),
		plain("limits", limits(), func(f *t) *writtenLimits { return &f.limits },
			"what one request, one connection and one process may take").filled(),
		plain("log", log(), func(f *t) *Log { return &f.log }, "what is logged").filled(),
		placed("tracing", tracing(), func(f *t) *setting[writtenTracing] { return &f.tracing },
			"traces for an OpenTelemetry collector; without it there are none, and the trace context of clients passes as it is"),
		plain("drain", drain(), func(f *t) *Drain { return &f.drain }, "what happens at SIGTERM").filled(),
		plain("clock_leeway", duration(0, time.Minute), func(f *t) *time.Duration { return &f.clockLeeway },
			"by how much an issuer's clock may run ahead, for iat and nbf; never for exp").or("5s"),
		placed("tenant_pattern", text(isTenantPattern), func(f *t) *setting[string] { return &f.tenantPattern },
			"what a whole tenant name looks like (RE2)").or("[A-Za-z0-9._~-]{1,64}"),
		placed("issuer", issuer(), func(f *t) *setting[writtenIssuer] { return &f.issuer },
			"the token side; without it nothing is issued here"),
		plain("roles", names(text(isName).like(nameLike), permissions()), func(f *t) *[]named[writtenPermissions] { return &f.roles },
			"named sets of permissions; the tenant \"{tenant}\" is filled in with each code"),
		plain("trusted_issuers", list(0, trusted()), func(f *t) *[]setting[writtenTrusted] { return &f.trustedIssuers },
			"other issuers whose tokens open our routes"),
		placed("dpop", dpop(), func(f *t) *setting[writtenDPoP] { return &f.dpop },
			"the proofs that come with tokens that are bound to a key (RFC 9449)").filled(),
		placed("replay", replay(), func(f *t) *setting[writtenReplay] { return &f.replay },
			"the memory of used codes").filled(),
		placed("revocations", revocations(), func(f *t) *setting[writtenRevocations] { return &f.revocations },
			"the list of withdrawn tokens").filled(),
		placed("redis", redisKind(), func(f *t) *setting[writtenRedis] { return &f.redis },
			"the memory that replicas share: Redis 6.2 or later, or Valkey"),
		placed("replicas", integer(1, 10_000), func(f *t) *setting[int] { return &f.replicas },
			"how many processes serve this configuration; more than one need replay.store: redis").or("1"),
		placed("identity_headers", identity(), func(f *t) *setting[writtenIdentity] { return &f.identity },
			"the headers that tell the upstream who is asking").filled(),
		plain("upstreams", names(text(isUpstreamName).like(upstreamNameLike), upstream()), func(f *t) *[]named[writtenUpstream] { return &f.upstreams },
			"the apps behind the gate"),
		placed("routes", list(0, routeKind()), func(f *t) *setting[[]setting[writtenRoute]] { return &f.routes },
			"which requests need what, and where they go"),
		plain("tests", list(0, testKind()), func(f *t) *[]setting[writtenTest] { return &f.tests },
			"the policy's own tests"),
	).oneAtMost("listen", "listeners")
}

// version is checked first of all by a reader of a later file: keys that it does not know may come from there.
func version() kind[int] {
	k := integer(0, 1<<30)
	k.shape = &Shape{Type: "integer", Least: "1", Most: "1"}
	return kind[int]{k.shape, func(r *reader, v value) (int, bool) {
		n, ok := k.read(r, v)
		if ok && n != 1 {
			r.fault(v.at(), v.shown()+" is not a version that this program reads", "write version: 1")
		}
		return n, ok && n == 1
	}}
}

type writtenListener struct {
	name      setting[string]
	address   setting[string]
	tls       setting[writtenTLS]
	redirect  setting[string]
	reusePort bool
}

func listener() kind[writtenListener] {
	type t = writtenListener
	return object(
		placed("name", text(isName).like(nameLike), func(l *t) *setting[string] { return &l.name },
			"what the log calls it; default its address"),
		placed("address", text(isAddress).like(addressLike), func(l *t) *setting[string] { return &l.address },
			"host:port; a host that is left out means every interface").must(`write it like ":8080"`),
		placed("tls", tlsKind(), func(l *t) *setting[writtenTLS] { return &l.tls }, "serve HTTPS; without it plain HTTP/1.1"),
		placed("redirect", word("https"), func(l *t) *setting[string] { return &l.redirect },
			"answer every request with a redirect to https, and nothing else"),
		plain("reuse_port", boolean(), func(l *t) *bool { return &l.reusePort },
			"another instance may listen on the same address, and take over while this one drains; Linux only").or("false"),
	)
}

type writtenTLS struct {
	certificates []setting[writtenCertificate]
}

type writtenCertificate struct{ cert, key setting[string] }

func tlsKind() kind[writtenTLS] {
	type c = writtenCertificate
	certificate := object(
		placed("cert", text(isPath).like(filledLike), func(x *c) *setting[string] { return &x.cert }, "PEM file: the certificate and its chain").must("name the PEM file"),
		placed("key", text(isPath).like(filledLike), func(x *c) *setting[string] { return &x.key }, "PEM file: its private key").must("name the PEM file"),
	)
	return object(
		plain("certificates", list(1, certificate), func(x *writtenTLS) *[]setting[c] { return &x.certificates },
			"the server's name chooses among them; the first is the default").must("name at least one: [{cert: a.pem, key: a.key}]"),
	)
}

type writtenAdmin struct {
	listen, healthListen setting[string]
	token                Secret
	pprof                bool
}

func admin() kind[writtenAdmin] {
	type t = writtenAdmin
	return object(
		placed("listen", text(isAddressOrNone).like(addressOrNoneLike), func(a *t) *setting[string] { return &a.listen },
			`host:port; "" turns admin off`).or("127.0.0.1:9090"),
		plain("token", secret(isSecretOrNone).like(secretOrNoneLike), func(a *t) *Secret { return &a.token },
			"the bearer for everything but health and metrics, 22 characters or more; without it these are refused"),
		placed("health_listen", text(isAddressOrNone).like(addressOrNoneLike), func(a *t) *setting[string] { return &a.healthListen },
			"host:port of a second listener that answers health alone"),
		plain("pprof", boolean(), func(a *t) *bool { return &a.pprof },
			"give the runtime's profiles under /debug/pprof/ to whoever has the token").or("false"),
	)
}

type writtenLimits struct {
	Limits
	shared setting[bool]
}

func limits() kind[writtenLimits] {
	type t = writtenLimits
	const day = 24 * time.Hour
	return object(
		plain("header_bytes", size(4*kib, mib), func(l *t) *int { return &l.HeaderBytes }, "the longest request head").or("32KiB"),
		plain("uri_bytes", size(256, 256*kib), func(l *t) *int { return &l.URIBytes }, "the longest request target").or("16KiB"),
		plain("token_bytes", size(512, 64*kib), func(l *t) *int { return &l.TokenBytes }, "the longest bearer token").or("8KiB"),
		plain("token_body_bytes", size[int64](kib, 16*mib), func(l *t) *int64 { return &l.TokenBodyBytes }, "the longest body of a request to a token endpoint").or("64KiB"),
		plain("body_bytes", size[int64](0, 1<<50), func(l *t) *int64 { return &l.BodyBytes }, "the longest body of a request to an upstream").or("1GiB"),
		plain("connections", integer(1, 1_000_000), func(l *t) *int { return &l.Connections }, "open connections, over all listeners").or("10000"),
		plain("h2_streams", integer(1, 10_000), func(l *t) *int { return &l.H2Streams }, "concurrent streams per HTTP/2 connection").or("250"),
		plain("header_timeout", duration(100*time.Millisecond, time.Hour), func(l *t) *time.Duration { return &l.HeaderTimeout }, "for a request head to arrive").or("10s"),
		plain("body_timeout", duration(100*time.Millisecond, time.Hour), func(l *t) *time.Duration { return &l.BodyTimeout }, "for a token endpoint's body to arrive").or("10s"),
		plain("stall_timeout", duration(100*time.Millisecond, day), func(l *t) *time.Duration { return &l.StallTimeout }, "without any progress of a body, either way").or("30s"),
		plain("idle_timeout", duration(100*time.Millisecond, day), func(l *t) *time.Duration { return &l.IdleTimeout }, "for the next request on a kept connection").or("75s"),
		plain("token_cache_bytes", size[int64](0, 64*gib), func(l *t) *int64 { return &l.TokenCacheBytes }, "the memory of verified tokens; 0 verifies each time").or("64MiB"),
		plain("issue_rate", integer(1, 1_000_000), func(l *t) *int { return &l.IssueRate }, "issuances per second and client; twice that at once").or(strconv.Itoa(defaultIssueRate)),
		placed("shared", boolean(), func(l *t) *setting[bool] { return &l.shared }, "count issue_rate over all replicas, in redis; while it does not answer, each counts alone").or("false"),
	)
}

func log() kind[Log] {
	return object(
		plain("level", word("debug", "info", "warn", "error"), func(l *Log) *string { return &l.Level }, "the least level that is logged").or("info"),
		plain("access", boolean(), func(l *Log) *bool { return &l.Access }, "one line for each request").or("true"),
	)
}

type writtenTracing struct {
	endpoint setting[string]
	ratio    float64
	headers  []named[Secret]
	parent   string
	service  string
}

func tracing() kind[writtenTracing] {
	type t = writtenTracing
	return object(
		placed("endpoint", text(isCollector).like(jwksURLLike), func(x *t) *setting[string] { return &x.endpoint },
			"the collector's URL for OTLP over HTTP; /v1/traces is added where the URL has no path").must("write it like http://127.0.0.1:4318"),
		plain("sample_ratio", ratio(), func(x *t) *float64 { return &x.ratio },
			"the part of the requests that is traced, unless a trusted proxy has decided").or("1"),
		plain("parent", word(ParentAny, ParentTrusted, ParentNone), func(x *t) *string { return &x.parent },
			"whose trace a request may be a part of: any client's, that of trusted_proxies alone, or none").or(ParentAny),
		plain("headers", names(text(isTestHeader).like(testHeaderLike), secret(isFieldValue).like(fieldValueLike)), func(x *t) *[]named[Secret] { return &x.headers },
			"headers that the collector wants; default none"),
		plain("service", text(isName).like(nameLike), func(x *t) *string { return &x.service },
			"the service.name of the traces").or("jotgate"),
	)
}

func drain() kind[Drain] {
	return object(
		plain("delay", duration(0, time.Hour), func(d *Drain) *time.Duration { return &d.Delay },
			"keep serving, not ready, so that load balancers notice").or("1s"),
		plain("timeout", duration(0, 24*time.Hour), func(d *Drain) *time.Duration { return &d.Timeout },
			"then this long for what is in flight").or("30s"),
	)
}

type writtenIssuer struct {
	url            setting[string]
	audiences      setting[[]setting[string]]
	keys           []setting[writtenKey]
	codeSecrets    []setting[Secret]
	codePrefixes   []setting[string]
	codeTTL        time.Duration
	tokenTTL       setting[time.Duration]
	maxTokenTTL    time.Duration
	maxAccessToken time.Duration
	serve          writtenServe
	clients        []setting[writtenClient]
	users          setting[writtenUsers]
}

// Bounds on the lives of codes (RFC 6749 §4.1.2) and of tokens (the user-token dialect's own limit).
const (
	mostCodeTTL  = 10 * time.Minute
	mostTokenTTL = 315_360_000 * time.Second
)

func issuer() kind[writtenIssuer] {
	type t = writtenIssuer
	return object(
		placed("url", text(isIssuer).like(issuerURLLike), func(i *t) *setting[string] { return &i.url },
			"the iss of our tokens, as clients reach us").must("write it like https://gate.example.com"),
		placed("audiences", distinct(1, text(isAudience).like(audienceLike)), func(i *t) *setting[[]setting[string]] { return &i.audiences },
			"the aud of tokens for our routes; never the url itself; default [<url>/api]"),
		plain("keys", list(1, keyFile()), func(i *t) *[]setting[writtenKey] { return &i.keys },
			"signing keys, PEM or JWK: one signs, the first unless a state says otherwise; all verify and are published").must("write [{file: keys/main.pem, create: true}]"),
		plain("code_secrets", distinct(0, secret(isCodeSecret).like(codeSecretLike)), func(i *t) *[]setting[Secret] { return &i.codeSecrets },
			"what codes are sealed with, 32 bytes or more: the first seals, all open; default a random one per process"),
		plain("code_prefixes", distinct(0, text(isCodePrefix).like(filledLike)), func(i *t) *[]setting[string] { return &i.codePrefixes },
			"beginnings of subjects and tenants that a code holds in one byte, like did:empe:testnet:"),
		plain("code_ttl", seconds(time.Second, mostCodeTTL), func(i *t) *time.Duration { return &i.codeTTL },
			"how long a code can be redeemed").or(strconv.Itoa(int(defaultCodeTTL/time.Second))+"s"),
		placed("token_ttl", seconds(time.Second, mostTokenTTL), func(i *t) *setting[time.Duration] { return &i.tokenTTL },
			"how long a token lives").or("1h"),
		plain("max_token_ttl", seconds(time.Second, mostTokenTTL), func(i *t) *time.Duration { return &i.maxTokenTTL },
			"the longest life that may be asked for").or("24h"),
		plain("max_access_token_ttl", seconds(time.Second, mostTokenTTL), func(i *t) *time.Duration { return &i.maxAccessToken },
			"the same for the access-token dialect").or("8760h"),
		plain("serve", serve(), func(i *t) *writtenServe { return &i.serve }, "where our own endpoints answer").filled(),
		plain("clients", list(0, client()), func(i *t) *[]setting[writtenClient] { return &i.clients },
			"the callers of the token endpoints"),
		placed("users", users(), func(i *t) *setting[writtenUsers] { return &i.users },
			"the end users of the user-token dialect: a list, or {open: true, role: …}, or {lookup: …}; default none"),
	)
}

type writtenKey struct {
	file   setting[string]
	dir    setting[string]
	create setting[bool]
	state  setting[string]
}

// The states of a signing key.
const (
	keyNext    = "next"
	keyCurrent = "current"
	keyRetired = "retired"
)

func keyFile() kind[writtenKey] {
	return object(
		placed("file", text(isPath).like(filledLike), func(k *writtenKey) *setting[string] { return &k.file },
			"PEM or JWK file; a relative path starts at this file's folder"),
		placed("dir", text(isPath).like(filledLike), func(k *writtenKey) *setting[string] { return &k.dir },
			"a folder of such files instead, in the order of their names, each with its state in its name: a.pem, b.next.pem, c.retired.pem"),
		placed("create", boolean(), func(k *writtenKey) *setting[bool] { return &k.create },
			"make a new ES256 key with mode 0600 if there is no such file").or("false"),
		placed("state", word(keyNext, keyCurrent, keyRetired), func(k *writtenKey) *setting[string] { return &k.state },
			"next: published, to sign later; current: signs; retired: verifies what it signed; default: the first key that is neither next nor retired signs"),
	).oneOf("file", "dir")
}

type writtenServe struct {
	hosts              []setting[string]
	dialects           []setting[string]
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

func serve() kind[writtenServe] {
	type t = writtenServe
	return object(
		plain("hosts", distinct(0, text(isServeHost).like(filledLike)), func(s *t) *[]setting[string] { return &s.hosts },
			"the hosts that our endpoints answer on; default any"),
		plain("dialects", distinct(0, word(codesDialect, userTokensDialect, accessTokensDialect, oauth2Dialect)),
			func(s *t) *[]setting[string] { return &s.dialects }, "which APIs are served; default all four"),
		plain("access_token_prefix", text(isAccessTokenPrefix).like(prefixLike), func(s *t) *string { return &s.accessTokenPrefix },
			"a path before /api/1/access_token, like /crafter-profile; default none"),
		plain("insecure_missing_tenant_is_any", boolean(), func(s *t) *bool { return &s.missingTenantIsAny },
			"take an omitted tenant of the access-token dialect for *, as the original does").or("false"),
	)
}

type writtenClient struct {
	id            setting[string]
	secret        setting[Secret]
	secretSHA256  setting[string]
	accessTokenID setting[Secret]
	permissions   setting[writtenPermissions]
	may           []setting[string]
	delegate      setting[writtenPermissions]
	codeTTL       setting[time.Duration]
	public        setting[bool]
	keys          setting[[]setting[writtenKeySet]]
	audiences     setting[[]setting[string]]
	dpop          setting[string]
}

func client() kind[writtenClient] {
	type t = writtenClient
	return object(
		placed("id", text(isClientID).like(clientIDLike), func(c *t) *setting[string] { return &c.id }, "its client_id").must("name the client"),
		placed("secret", secret(isSecret).like(secretLike), func(c *t) *setting[Secret] { return &c.secret }, "22 characters or more"),
		placed("secret_sha256", hexSecret(), func(c *t) *setting[string] { return &c.secretSHA256 },
			"the secret's SHA-256 in hex, instead of the secret"),
		placed("access_token_id", secret(isSecret).like(secretLike), func(c *t) *setting[Secret] { return &c.accessTokenID },
			"a fixed accessTokenId for the access-token dialect, 22 characters or more"),
		placed("permissions", permissions(), func(c *t) *setting[writtenPermissions] { return &c.permissions },
			"what its own token opens; default nothing"),
		plain("may", distinct(0, word(token.MayWords()...)), func(c *t) *[]setting[string] { return &c.may },
			"what it may do at the token endpoints; default nothing"),
		placed("delegate", permissions(), func(c *t) *setting[writtenPermissions] { return &c.delegate },
			"the most it may hand on, in every dialect; default nothing"),
		placed("code_ttl", seconds(time.Second, mostCodeTTL), func(c *t) *setting[time.Duration] { return &c.codeTTL },
			"how long its codes can be redeemed; default issuer.code_ttl"),
		placed("public", boolean(), func(c *t) *setting[bool] { return &c.public },
			"it cannot keep a secret; its codes need PKCE").or("false"),
		placed("keys", list(1, publicKeyFile()), func(c *t) *setting[[]setting[writtenKeySet]] { return &c.keys },
			"its public keys, to sign its client assertions with (private_key_jwt)"),
		placed("audiences", distinct(1, text(isAudience).like(audienceLike)), func(c *t) *setting[[]setting[string]] { return &c.audiences },
			"the aud of the tokens that it may introspect; default issuer.audiences"),
		placed("dpop", word(dpopRequired), func(c *t) *setting[string] { return &c.dpop },
			"its tokens are bound to a key by DPoP, or not issued; default as it asks"),
	).oneAtMost("secret", "secret_sha256")
}

// hexSecret is a digest: not secret itself, but nothing that a message should repeat.
func hexSecret() kind[string] {
	k := secret(isDigest).like(digestLike)
	return kind[string]{k.shape, func(r *reader, v value) (string, bool) {
		s, ok := k.read(r, v)
		return s.Reveal(), ok
	}}
}

type writtenPermissions []setting[writtenPermission]

type writtenPermission struct {
	tenant  setting[string]
	actions []setting[string]
}

func permissions() kind[writtenPermissions] {
	type t = writtenPermission
	entries := list(0, object(
		placed("tenant", text(nil), func(p *t) *setting[string] { return &p.tenant },
			`a tenant's name, or "*" for any and for global actions`).must(`write a tenant's name, or "*" for any`),
		plain("actions", distinct(0, text(isAction).like(actionLike)), func(p *t) *[]setting[string] { return &p.actions },
			`actions of 1 to 64 of A-Z a-z 0-9 _ . : -, or "*" for any`).must(`write the actions, or ["*"] for any`),
	))
	return kind[writtenPermissions]{entries.shape, func(r *reader, v value) (writtenPermissions, bool) {
		p, ok := entries.read(r, v)
		return p, ok
	}}
}

type writtenUsers struct {
	open   setting[bool]
	role   setting[string]
	lookup setting[UserLookup]
	list   []setting[writtenUser]
}

type writtenUser struct {
	id          setting[string]
	kind        string
	role        setting[string]
	permissions setting[writtenPermissions]
}

func users() kind[writtenUsers] {
	type t = writtenUsers
	whole := object(
		placed("open", only(), func(u *t) *setting[bool] { return &u.open }, "any UUID is an end user"),
		placed("role", text(isName).like(nameLike), func(u *t) *setting[string] { return &u.role }, "… with this role"),
		placed("lookup", lookup(), func(u *t) *setting[UserLookup] { return &u.lookup }, "ask an HTTP directory"),
	).oneOf("open", "lookup")
	each := list(0, user())
	shape := &Shape{Either: []*Shape{whole.shape, each.shape}}
	return kind[writtenUsers]{shape, func(r *reader, v value) (writtenUsers, bool) {
		if v.isList() {
			users, ok := each.read(r, v)
			return writtenUsers{list: users}, ok
		}
		return whole.read(r, v)
	}}
}

func user() kind[writtenUser] {
	type t = writtenUser
	return object(
		placed("id", text(isUUID).like(uuidLike), func(u *t) *setting[string] { return &u.id }, "a UUID").must("write the user's UUID"),
		plain("type", word("end_user", "person", "api_user", "api_signer", "system"), func(u *t) *string { return &u.kind },
			"tokens are issued for an end_user alone").or("end_user"),
		placed("role", text(isName).like(nameLike), func(u *t) *setting[string] { return &u.role }, "its role"),
		placed("permissions", permissions(), func(u *t) *setting[writtenPermissions] { return &u.permissions },
			"its permissions, instead of a role"),
	).oneAtMost("role", "permissions")
}

func lookup() kind[UserLookup] {
	type t = UserLookup
	return object(
		plain("url", text(isDirectory).like(directoryLike), func(l *t) *string { return &l.URL },
			"where {user_id} is replaced").must("write it like https://directory.example.com/users/{user_id}"),
		plain("bearer", secret(isBearer).like(bearerLike), func(l *t) *Secret { return &l.Bearer }, "sent as Authorization: Bearer; default none"),
		plain("timeout", duration(10*time.Millisecond, time.Minute), func(l *t) *time.Duration { return &l.Timeout }, "for the whole answer").or("2s"),
		plain("cache", duration(0, 5*time.Minute), func(l *t) *time.Duration { return &l.Cache }, "how long an answer is believed").or("30s"),
		plain("entries", integer(1, 10_000_000), func(l *t) *int { return &l.Entries }, "how many answers are kept").or("10000"),
		plain("bytes", size[int64](256, 16*mib), func(l *t) *int64 { return &l.Bytes }, "the longest answer").or("64KiB"),
	)
}

type writtenTrusted struct {
	issuer        setting[string]
	keys          setting[[]setting[writtenKeySet]]
	jwksURL       setting[string]
	insecureHTTP  setting[bool]
	fetch         setting[writtenFetch]
	audiences     []setting[string]
	algorithms    []setting[string]
	tokenTypes    setting[[]setting[string]]
	requireClaims []named[string]
	clientClaim   string
	roles         setting[writtenForeignRoles]
	permissions   setting[writtenPermissions]
	maxTokenTTL   time.Duration
}

type writtenKeySet struct{ file setting[string] }

// publicKeyFile is a file of a client's public keys.
func publicKeyFile() kind[writtenKeySet] {
	return object(placed("file", text(isPath).like(filledLike), func(k *writtenKeySet) *setting[string] { return &k.file },
		"a JWKS, a JWK or a PEM public key; a relative path starts at this file's folder").must("name the file of its public keys"))
}

type writtenFetch struct {
	refresh, maxAge         setting[time.Duration]
	cooldown, wait, timeout time.Duration
	caFile                  setting[string]
}

type writtenForeignRoles struct {
	from  string
	roles []named[string]
}

func trusted() kind[writtenTrusted] {
	type t = writtenTrusted
	keys := object(placed("file", text(isPath).like(filledLike), func(k *writtenKeySet) *setting[string] { return &k.file },
		"a JWKS, a JWK or a PEM public key").must("name the file"))
	roles := object(
		plain("from", text(isClaimPath).like(filledLike), func(x *writtenForeignRoles) *string { return &x.from },
			"the claim that lists the issuer's roles, like realm_access.roles").must("name the claim"),
		plain("map", names(text(isShort).like(filledLike), text(isName).like(nameLike)), func(x *writtenForeignRoles) *[]named[string] { return &x.roles },
			"the issuer's role: our role").must("write {their-role: our-role}"),
	)
	return object(
		placed("issuer", text(isForeignIssuer).like(foreignIssuerLike), func(i *t) *setting[string] { return &i.issuer },
			"its iss").must("write it as its tokens spell it"),
		placed("keys", list(1, keys), func(i *t) *setting[[]setting[writtenKeySet]] { return &i.keys },
			"its public keys in files; without them and jwks_url, its metadata says where its keys are (discovery)"),
		placed("jwks_url", text(isJWKSURL).like(jwksURLLike), func(i *t) *setting[string] { return &i.jwksURL },
			"where its keys are published, instead of discovery"),
		placed("insecure_http", boolean(), func(i *t) *setting[bool] { return &i.insecureHTTP },
			"fetch them over plain http from other hosts than this one, too: whoever is in between can put in keys of his own").or("false"),
		placed("fetch", fetch(), func(i *t) *setting[writtenFetch] { return &i.fetch },
			"how its keys are fetched and kept").filled(),
		plain("audiences", distinct(1, text(isAudience).like(audienceLike)), func(i *t) *[]setting[string] { return &i.audiences },
			"a token must name one of them in aud").must("name what its tokens say in aud for us"),
		plain("algorithms", distinct(1, word(jose.Algorithms()...)), func(i *t) *[]setting[string] { return &i.algorithms },
			"the algorithms that its keys may use; default those of the keys"),
		placed("token_types", distinct(1, text(isShort).like(filledLike)), func(i *t) *setting[[]setting[string]] { return &i.tokenTypes },
			"the typ of its tokens; default [at+jwt, application/at+jwt]"),
		plain("require_claims", names(text(isShort).like(filledLike), text(isShort).like(filledLike)), func(i *t) *[]named[string] { return &i.requireClaims },
			"claims that must have exactly this text; default none"),
		plain("client_claim", text(isClaimPath).like(filledLike), func(i *t) *string { return &i.clientClaim },
			"the claim that names the client").or("client_id"),
		placed("roles", roles, func(i *t) *setting[writtenForeignRoles] { return &i.roles },
			"which of our roles its roles mean; default none"),
		placed("permissions", permissions(), func(i *t) *setting[writtenPermissions] { return &i.permissions },
			"the most that its tokens may open").must("write a ceiling, like [{tenant: acme, actions: [READ]}]"),
		plain("max_token_ttl", seconds(time.Second, mostTokenTTL), func(i *t) *time.Duration { return &i.maxTokenTTL },
			"a token that lives longer is refused").or("24h"),
	).oneAtMost("keys", "jwks_url")
}

func fetch() kind[writtenFetch] {
	type t = writtenFetch
	return object(
		placed("refresh", duration(time.Second, 24*time.Hour), func(f *t) *setting[time.Duration] { return &f.refresh },
			"between two fetches, a tenth less by chance").or("10m"),
		placed("max_age", duration(time.Minute, 30*24*time.Hour), func(f *t) *setting[time.Duration] { return &f.maxAge },
			"keys that could not be fetched anew for so long no longer count").or("24h"),
		plain("cooldown", duration(time.Second, time.Hour), func(f *t) *time.Duration { return &f.cooldown },
			"between two fetches because a token names a key that is not there").or("30s"),
		plain("wait", duration(0, 30*time.Second), func(f *t) *time.Duration { return &f.wait },
			"how long the request of such a token waits").or("2s"),
		plain("timeout", duration(100*time.Millisecond, time.Minute), func(f *t) *time.Duration { return &f.timeout },
			"for a whole fetch").or("5s"),
		placed("ca_file", text(isPath).like(filledLike), func(f *t) *setting[string] { return &f.caFile },
			"PEM of the authorities that its servers are checked with; default the system's"),
	)
}

// dpopRequired is the word by which a client's tokens are always bound: dpop_bound_access_tokens of RFC 9449 §5.2.
const dpopRequired = "required"

type writtenDPoP struct {
	maxAge       setting[time.Duration]
	requireNonce bool
	nonceTTL     setting[time.Duration]
	nonceSecrets []setting[Secret]
	origins      []setting[string]
	capacity     setting[int]
}

func dpop() kind[writtenDPoP] {
	type t = writtenDPoP
	return object(
		placed("max_age", duration(time.Second, 10*time.Minute), func(d *t) *setting[time.Duration] { return &d.maxAge },
			"how old a proof may be").or("60s"),
		plain("require_nonce", boolean(), func(d *t) *bool { return &d.requireNonce },
			"every proof must have a nonce of ours, so that none can be made in advance").or("false"),
		placed("nonce_ttl", duration(time.Second, time.Hour), func(d *t) *setting[time.Duration] { return &d.nonceTTL },
			"how long a nonce counts").or("5m"),
		plain("nonce_secrets", distinct(0, secret(isCodeSecret).like(codeSecretLike)), func(d *t) *[]setting[Secret] { return &d.nonceSecrets },
			"what nonces are made with, 32 bytes or more: the first makes, all count; default derived from issuer.code_secrets, or a random one per process"),
		plain("origins", distinct(0, text(isOrigin).like(serverLike)), func(d *t) *[]setting[string] { return &d.origins },
			"the scheme and host that proofs for our routes may name, as clients reach us; default those that the request came to"),
		placed("capacity", integer(1<<10, 1<<26), func(d *t) *setting[int] { return &d.capacity },
			"how many used proofs are remembered").or("262144"),
	)
}

type writtenReplay struct {
	store    setting[string]
	capacity setting[int]
}

func replay() kind[writtenReplay] {
	type t = writtenReplay
	return object(
		placed("store", word(storeMemory, storeRedis), func(x *t) *setting[string] { return &x.store },
			"where used codes are remembered: in this process, or in redis, for any number of replicas").or(storeMemory),
		placed("capacity", integer(1, mostReplayCapacity), func(x *t) *setting[int] { return &x.capacity },
			"entries, shared out evenly among the clients that may issue codes; of the memory store").or("1048576"),
	)
}

// The stores that what is remembered can be kept in.
const (
	storeMemory = "memory"
	storeRedis  = "redis"
	storeFile   = "file"
)

type writtenRevocations struct {
	store, file  setting[string]
	capacity     int
	poll         time.Duration
	maxStaleness setting[time.Duration]
	onStale      string
}

func revocations() kind[writtenRevocations] {
	type t = writtenRevocations
	return object(
		placed("store", word(storeFile, storeRedis), func(x *t) *setting[string] { return &x.store },
			"where withdrawn tokens are kept: file, of one process, or redis, for all replicas; default redis where redis is configured and no file"),
		placed("file", text(isPath).like(filledLike), func(x *t) *setting[string] { return &x.file },
			"where withdrawn tokens are written; without it and without redis nothing can be revoked"),
		plain("capacity", integer(1, 1<<26), func(x *t) *int { return &x.capacity }, "entries").or("65536"),
		plain("poll", duration(50*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.poll },
			"with redis: how often each replica asks what other replicas have withdrawn").or("1s"),
		placed("max_staleness", duration(100*time.Millisecond, time.Hour), func(x *t) *setting[time.Duration] { return &x.maxStaleness },
			"with redis: without an answer for so long the list is stale").or("10s"),
		plain("on_stale", word("serve", "refuse"), func(x *t) *string { return &x.onStale },
			"with redis, what happens to tokens then: serve them by what is known, or refuse them all with 503").or("serve"),
	)
}

type writtenRedis struct {
	url                  setting[Secret]
	username             string
	password             setting[Secret]
	tls                  setting[writtenRedisTLS]
	sentinel             setting[writtenSentinel]
	pool                 int
	dialTimeout, timeout time.Duration
	prefix               string
	skew                 time.Duration
}

func redisKind() kind[writtenRedis] {
	type t = writtenRedis
	return object(
		placed("url", secret(isRedisURL).like(redisURLLike), func(x *t) *setting[Secret] { return &x.url },
			"redis://user:password@host:port/database, rediss:// for TLS, or unix:///path"),
		placed("sentinel", sentinelKind(), func(x *t) *setting[writtenSentinel] { return &x.sentinel },
			"instead of url: the processes that know which server is the master"),
		plain("username", text(isShort).like(filledLike), func(x *t) *string { return &x.username },
			"of the server's ACL; default its default user"),
		placed("password", secret(isStorePassword).like(filledLike), func(x *t) *setting[Secret] { return &x.password },
			"of the server"),
		placed("tls", redisTLSKind(), func(x *t) *setting[writtenRedisTLS] { return &x.tls },
			"how the server is checked, with rediss:// or sentinel; default by the system's authorities"),
		plain("pool", integer(1, 10_000), func(x *t) *int { return &x.pool }, "connections to the store at most").or("32"),
		plain("dial_timeout", duration(10*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.dialTimeout },
			"for a connection").or("1s"),
		plain("timeout", duration(10*time.Millisecond, 10*time.Second), func(x *t) *time.Duration { return &x.timeout },
			"for one operation, with its second attempts; over it, 503").or("1s"),
		plain("prefix", text(isKeyPrefix).like(keyPrefixLike), func(x *t) *string { return &x.prefix },
			"what our keys begin with; gates that share nothing else need prefixes of their own").or("jotgate"),
		plain("skew", duration(100*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.skew },
			"by how much the clocks of replicas and store may differ; beyond it codes are refused, never accepted twice").or("5s"),
	).oneOf("url", "sentinel")
}

type writtenRedisTLS struct {
	ca, cert, key setting[string]
	serverName    string
}

func redisTLSKind() kind[writtenRedisTLS] {
	type t = writtenRedisTLS
	return object(
		placed("ca", text(isPath).like(filledLike), func(x *t) *setting[string] { return &x.ca },
			"PEM of the authorities that the server is checked with; default the system's"),
		placed("cert", text(isPath).like(filledLike), func(x *t) *setting[string] { return &x.cert },
			"PEM file: the certificate that we show, and its chain; default none"),
		placed("key", text(isPath).like(filledLike), func(x *t) *setting[string] { return &x.key }, "PEM file: its private key"),
		plain("server_name", text(isShort).like(filledLike), func(x *t) *string { return &x.serverName },
			"the name in the server's certificate; default the host that is dialled"),
	)
}

type writtenSentinel struct {
	master    string
	addresses []setting[string]
	username  string
	password  Secret
	database  int
}

func sentinelKind() kind[writtenSentinel] {
	type t = writtenSentinel
	return object(
		plain("master", text(isShort).like(filledLike), func(x *t) *string { return &x.master },
			"what the sentinels call it").must("name the master, as in `sentinel monitor NAME …`"),
		plain("addresses", distinct(1, text(isRemoteAddress).like(filledLike)), func(x *t) *[]setting[string] { return &x.addresses },
			"host:port of each sentinel").must("name them, like [10.0.0.1:26379, 10.0.0.2:26379, 10.0.0.3:26379]"),
		plain("username", text(isShort).like(filledLike), func(x *t) *string { return &x.username }, "of the sentinels' own ACL; default none"),
		plain("password", secret(isStorePassword).like(filledLike), func(x *t) *Secret { return &x.password }, "of the sentinels; default none"),
		plain("database", integer(0, mostDatabase), func(x *t) *int { return &x.database }, "the server's database").or("0"),
	)
}

type writtenIdentity struct {
	subject, issuer, client, tenant, actions, tokenID setting[string]
}

func identity() kind[writtenIdentity] {
	type t = writtenIdentity
	return object(
		placed("subject", text(isHeader).like(headerLike), func(x *t) *setting[string] { return &x.subject }, "the token's sub").or("X-Jotgate-Subject"),
		placed("issuer", text(isHeader).like(headerLike), func(x *t) *setting[string] { return &x.issuer }, "its iss").or("X-Jotgate-Issuer"),
		placed("client", text(isHeader).like(headerLike), func(x *t) *setting[string] { return &x.client }, "its client_id").or("X-Jotgate-Client"),
		placed("tenant", text(isHeader).like(headerLike), func(x *t) *setting[string] { return &x.tenant }, "the tenant that was judged").or("X-Jotgate-Tenant"),
		placed("actions", text(isHeader).like(headerLike), func(x *t) *setting[string] { return &x.actions }, "the actions that the token allows on it").or("X-Jotgate-Actions"),
		placed("token_id", text(isHeader).like(headerLike), func(x *t) *setting[string] { return &x.tokenID }, "its jti").or("X-Jotgate-Token-Id"),
	)
}

type writtenUpstream struct {
	servers         []setting[string]
	host            string
	connectTimeout  time.Duration
	responseTimeout time.Duration
	maxConnections  int
	maxIdle         setting[int]
	caFile          setting[string]
	assertion       setting[writtenAssertion]
}

type writtenAssertion struct {
	header   setting[string]
	audience string
	ttl      time.Duration
}

func upstream() kind[writtenUpstream] {
	type t = writtenUpstream
	type a = writtenAssertion
	assertion := object(
		placed("header", text(isHeader).like(headerLike), func(x *a) *setting[string] { return &x.header }, "the header that carries it").or("X-Jotgate-Assertion"),
		plain("audience", text(isAudience).like(audienceLike), func(x *a) *string { return &x.audience }, "its aud").must("name the app"),
		plain("ttl", seconds(time.Second, time.Hour), func(x *a) *time.Duration { return &x.ttl }, "how long it lives").or("60s"),
	)
	return object(
		plain("servers", distinct(1, text(isServer).like(serverLike)), func(u *t) *[]setting[string] { return &u.servers },
			"http(s)://host:port of each").must("write [http://127.0.0.1:3000]"),
		plain("host", text(isHostHeader).like(filledLike), func(u *t) *string { return &u.host }, "the Host header that is sent; default the client's"),
		plain("connect_timeout", duration(10*time.Millisecond, time.Minute), func(u *t) *time.Duration { return &u.connectTimeout }, "for a connection").or("5s"),
		plain("response_timeout", duration(10*time.Millisecond, 24*time.Hour), func(u *t) *time.Duration { return &u.responseTimeout }, "until the head of the answer").or("60s"),
		plain("max_connections", integer(1, 65_536), func(u *t) *int { return &u.maxConnections }, "per server").or("512"),
		placed("max_idle", integer(0, 65_536), func(u *t) *setting[int] { return &u.maxIdle }, "kept connections per server").or("64"),
		placed("ca_file", text(isPath).like(filledLike), func(u *t) *setting[string] { return &u.caFile },
			"PEM of the authorities for https servers; default the system's"),
		placed("assertion", assertion, func(u *t) *setting[writtenAssertion] { return &u.assertion },
			"a short-lived JWT that tells the app what was decided; default none"),
	)
}

type writtenRoute struct {
	name          setting[string]
	hosts         []setting[string]
	path          setting[string]
	methods       []setting[string]
	require       setting[writtenRequire]
	public        setting[bool]
	upstream      setting[string]
	insecureAllow []setting[string]
	forwardToken  setting[bool]
	audiences     setting[[]setting[string]]
	upgrade       bool
	bodyBytes     setting[int64]
	shadow        setting[bool]
}

func routeKind() kind[writtenRoute] {
	type t = writtenRoute
	return object(
		placed("name", text(isRouteName).like(routeNameLike), func(x *t) *setting[string] { return &x.name }, "what logs and metrics call it; default its path"),
		plain("hosts", distinct(0, text(isHostPattern).like(filledLike)), func(x *t) *[]setting[string] { return &x.hosts },
			`exact, or "{tenant}.example.com"; default any`),
		placed("path", text(isPathPattern).like(pathLike), func(x *t) *setting[string] { return &x.path },
			`"/t/{tenant}/": {name} is one segment, a slash at the end covers the tree below`).must("write it like /tickets/"),
		plain("methods", distinct(1, text(isMethod).like(methodLike)), func(x *t) *[]setting[string] { return &x.methods }, "default GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
		placed("require", require(), func(x *t) *setting[writtenRequire] { return &x.require },
			"authenticated, or an action and its tenant"),
		placed("public", only(), func(x *t) *setting[bool] { return &x.public }, "no token is judged"),
		placed("upstream", text(isUpstream).like(upstreamLike), func(x *t) *setting[string] { return &x.upstream },
			"a name from upstreams, or a URL").must("name one of upstreams, or write a URL"),
		plain("insecure_allow", distinct(0, word("encoded_slash", "semicolon", "double_slash", "double_encoding")),
			func(x *t) *[]setting[string] { return &x.insecureAllow }, "spellings of a path that two readers could take differently"),
		placed("forward_token", boolean(), func(x *t) *setting[bool] { return &x.forwardToken }, "pass the bearer on to the upstream").or("false"),
		placed("audiences", distinct(1, text(isAudience).like(audienceLike)), func(x *t) *setting[[]setting[string]] { return &x.audiences },
			"a token must name one of them in aud; default the issuer's"),
		plain("upgrade", boolean(), func(x *t) *bool { return &x.upgrade }, "let WebSocket and other upgrades through").or("false"),
		placed("body_bytes", size[int64](0, 1<<50), func(x *t) *setting[int64] { return &x.bodyBytes },
			"the longest request body; default limits.body_bytes"),
		placed("shadow", boolean(), func(x *t) *setting[bool] { return &x.shadow },
			"judge and log, but let through what would be refused for its token, tenant or permission: for trying a route out").or("false"),
	).oneOf("require", "public")
}

type writtenRequire struct {
	authenticated bool
	action        setting[string]
	tenant        setting[string]
	tenantFrom    setting[string]
	global        setting[bool]
}

func require() kind[writtenRequire] {
	type t = writtenRequire
	mapping := object(
		placed("action", text(isPlainAction).like(plainActionLike), func(x *t) *setting[string] { return &x.action },
			"what the token must allow").must("name the action that the token must allow, like READ"),
		placed("tenant", text(nil), func(x *t) *setting[string] { return &x.tenant }, "on this tenant"),
		placed("tenant_from", text(nil), func(x *t) *setting[string] { return &x.tenantFrom },
			"on the tenant that stands in path.x, host.x, header.X-Tenant or query.x"),
		placed("global", only(), func(x *t) *setting[bool] { return &x.global }, "without a tenant"),
	).oneOf("tenant", "tenant_from", "global")
	scalar := word("authenticated")
	shape := &Shape{Either: []*Shape{scalar.shape, mapping.shape}}
	return kind[writtenRequire]{shape, func(r *reader, v value) (writtenRequire, bool) {
		if v.isText() {
			_, ok := scalar.read(r, v)
			return writtenRequire{authenticated: true}, ok
		}
		return mapping.read(r, v)
	}}
}

type writtenTest struct {
	request     setting[string]
	headers     []named[string]
	permissions setting[writtenPermissions]
	claims      setting[string]
	expect      setting[writtenExpect]
}

type writtenExpect struct {
	allow  bool
	refuse string
}

func testKind() kind[writtenTest] {
	type t = writtenTest
	return object(
		placed("request", text(isRequest).like(requestLike), func(x *t) *setting[string] { return &x.request },
			"a method and a whole URL").must(`write it like "GET https://app.example.com/tenants/acme/"`),
		plain("headers", names(text(isTestHeader).like(testHeaderLike), text(isShort).like(filledLike)), func(x *t) *[]named[string] { return &x.headers }, "headers of the request"),
		placed("permissions", permissions(), func(x *t) *setting[writtenPermissions] { return &x.permissions },
			"what its token opens here; without permissions and claims it brings no token"),
		placed("claims", claims(), func(x *t) *setting[string] { return &x.claims },
			"what its token says, instead: any claims; those left out are filled in as our own token would have them"),
		placed("expect", expect(), func(x *t) *setting[writtenExpect] { return &x.expect },
			"allow, refuse, or {refuse: reason}").must("write allow, refuse, or {refuse: tenant_denied}"),
	).oneAtMost("permissions", "claims")
}

func expect() kind[writtenExpect] {
	scalar := word("allow", "refuse")
	mapping := object(plain("refuse", text(isReason).like(reasonLike), func(x *writtenExpect) *string { return &x.refuse },
		"the reason code of the refusal").must("write {refuse: tenant_denied}"))
	shape := &Shape{Either: []*Shape{scalar.shape, mapping.shape}}
	return kind[writtenExpect]{shape, func(r *reader, v value) (writtenExpect, bool) {
		if v.isText() {
			s, ok := scalar.read(r, v)
			return writtenExpect{allow: s == "allow"}, ok
		}
		return mapping.read(r, v)
	}}
}
