package config

import (
	"strconv"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/route"
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

// synonyms are keys of other gates and proxies, with what they are called here.
var synonyms = map[string]string{
	"access_log": "log.access", "acme": "listeners[].tls", "backend": "upstreams", "backends": "upstreams",
	"bind": "listen", "host": "listen, or hosts of a route", "jwks": "trusted_issuers[].jwks_url",
	"jwks_uri": "trusted_issuers[].jwks_url", "log_level": "log.level", "metrics": "admin.listen", "port": "listen",
	"providers": "trusted_issuers", "rules": "routes", "servers": "upstreams.NAME.servers", "services": "upstreams",
}

type writtenFile struct {
	version        int
	watch          bool
	reload         writtenReload
	listen         yaml.Setting[string]
	listeners      yaml.Setting[[]yaml.Setting[writtenListener]]
	admin          yaml.Setting[writtenAdmin]
	decision       yaml.Setting[writtenDecision]
	trustedProxies []yaml.Setting[string]
	limits         writtenLimits
	log            Log
	tracing        yaml.Setting[writtenTracing]
	drain          Drain
	clockLeeway    time.Duration
	cors           yaml.Setting[writtenCORS]
	tenantPattern  yaml.Setting[string]
	issuer         yaml.Setting[writtenIssuer]
	roles          []yaml.Named[writtenPermissions]
	trustedIssuers []yaml.Setting[writtenTrusted]
	resources      []yaml.Setting[writtenResource]
	dpop           yaml.Setting[writtenDPoP]
	replay         yaml.Setting[writtenReplay]
	revocations    yaml.Setting[writtenRevocations]
	redis          yaml.Setting[writtenRedis]
	replicas       yaml.Setting[int]
	identity       yaml.Setting[writtenIdentity]
	claimHeaders   []yaml.Setting[writtenClaimHeader]
	tokenFrom      yaml.Setting[[]yaml.Setting[writtenSource]]
	tickets        yaml.Setting[writtenTickets]
	upstreams      []yaml.Named[writtenUpstream]
	routes         yaml.Setting[[]yaml.Setting[writtenRoute]]
	tests          []yaml.Setting[writtenTest]
}

func file() yaml.Kind[writtenFile] {
	type t = writtenFile
	return yaml.Mapping(
		yaml.Plain("version", version(), func(f *t) *int { return &f.version },
			"version of the configuration format").Must("begin with version: 1"),
		yaml.Plain("watch", yaml.Boolean(), func(f *t) *bool { return &f.watch },
			"reload when the content of this file, or of a file that it names, changes").Or("true"),
		yaml.Plain("reload", reload(), func(f *t) *writtenReload { return &f.reload },
			"what a reload may do").Filled(),
		yaml.Placed("listen", yaml.Text(isListenAddress).Like(addressLike),
			func(f *t) *yaml.Setting[string] { return &f.listen },
			"address to listen on, as host:port, or systemd for a socket that it passes; short for one listener named main; "+
				"default 127.0.0.1:8080"),
		yaml.Placed("listeners", yaml.List(1, listener()),
			func(f *t) *yaml.Setting[[]yaml.Setting[writtenListener]] { return &f.listeners },
			"addresses to listen on, instead of listen"),
		yaml.Placed("admin", admin(), func(f *t) *yaml.Setting[writtenAdmin] { return &f.admin },
			"the admin listener: health, metrics, and endpoints that need its token").Filled(),
		yaml.Placed("decision", decision(), func(f *t) *yaml.Setting[writtenDecision] { return &f.decision },
			"listener for other proxies (nginx, Traefik, Caddy, HAProxy, Envoy) that ask about requests and forward "+
				"them themselves"),
		yaml.Plain("trusted_proxies", yaml.Distinct(0, yaml.Text(nil)),
			func(f *t) *[]yaml.Setting[string] { return &f.trustedProxies },
			"addresses and CIDR ranges of the proxies whose X-Forwarded-* headers are trusted; unix: peers on a Unix socket; "+
				"default none"),
		yaml.Plain("limits", limits(), func(f *t) *writtenLimits { return &f.limits },
			"limits for a request, a connection and the process").Filled(),
		yaml.Plain("log", log(), func(f *t) *Log { return &f.log }, "log level and access log").Filled(),
		yaml.Placed("tracing", tracing(),
			func(f *t) *yaml.Setting[writtenTracing] { return &f.tracing },
			"traces for an OpenTelemetry collector; without it no traces are recorded, and clients' trace context is passed "+
				"on unchanged"),
		yaml.Plain("drain", drain(), func(f *t) *Drain { return &f.drain }, "graceful shutdown at SIGTERM").Filled(),
		yaml.Plain("clock_leeway", yaml.Duration(0, time.Minute), func(f *t) *time.Duration { return &f.clockLeeway },
			"how far an issuer's clock may be ahead, for iat and nbf; never applies to exp").Or("5s"),
		yaml.Placed("tenant_pattern", yaml.Text(isTenantPattern),
			func(f *t) *yaml.Setting[string] { return &f.tenantPattern },
			"regular expression (RE2) that a whole tenant name must match").Or("[A-Za-z0-9._~-]{1,64}"),
		yaml.Placed("issuer", issuer(), func(f *t) *yaml.Setting[writtenIssuer] { return &f.issuer },
			"the token issuer; without it the gate issues no tokens"),
		yaml.Plain("roles", yaml.Names(yaml.Text(isName).Like(nameLike), permissions()),
			func(f *t) *[]yaml.Named[writtenPermissions] { return &f.roles },
			"named sets of permissions; the tenant \"{tenant}\" stands for the tenant of each code"),
		yaml.Plain("trusted_issuers", yaml.List(0, trusted()),
			func(f *t) *[]yaml.Setting[writtenTrusted] { return &f.trustedIssuers },
			"other issuers whose tokens are accepted"),
		yaml.Placed("cors", corsKind(), func(f *t) *yaml.Setting[writtenCORS] { return &f.cors },
			"CORS for every route without cors of its own: what scripts of other origins may do; default the app's own"),
		yaml.Plain("resources", yaml.List(0, resourceKind()),
			func(f *t) *[]yaml.Setting[writtenResource] { return &f.resources },
			"protected resources with metadata of their own (RFC 9728), such as MCP servers"),
		yaml.Placed("dpop", dpop(), func(f *t) *yaml.Setting[writtenDPoP] { return &f.dpop },
			"proofs of possession (DPoP, RFC 9449)").Filled(),
		yaml.Placed("replay", replay(), func(f *t) *yaml.Setting[writtenReplay] { return &f.replay },
			"store of used codes, so that each is redeemed at most once").Filled(),
		yaml.Placed("revocations", revocations(), func(f *t) *yaml.Setting[writtenRevocations] { return &f.revocations },
			"list of revoked tokens").Filled(),
		yaml.Placed("redis", redisKind(), func(f *t) *yaml.Setting[writtenRedis] { return &f.redis },
			"store that replicas share: Redis 6.2 or later, or Valkey"),
		yaml.Placed("replicas", yaml.Integer(1, 10_000), func(f *t) *yaml.Setting[int] { return &f.replicas },
			"number of processes that serve this configuration; more than one requires replay.store: redis").Or("1"),
		yaml.Placed("identity_headers", identity(), func(f *t) *yaml.Setting[writtenIdentity] { return &f.identity },
			"request headers that carry the caller's identity to the upstream").Filled(),
		yaml.Placed("token_from", tokenFrom(),
			func(f *t) *yaml.Setting[[]yaml.Setting[writtenSource]] { return &f.tokenFrom },
			"where a request may have its token: authorization, websocket_protocol, ticket, {header: NAME}, {cookie: NAME}; "+
				"default authorization"),
		yaml.Placed("tickets", tickets(), func(f *t) *yaml.Setting[writtenTickets] { return &f.tickets },
			"one-time tickets, for routes whose token_from lists ticket").Filled(),
		yaml.Plain("claim_headers", claimHeaders(), func(f *t) *[]yaml.Setting[writtenClaimHeader] { return &f.claimHeaders },
			"request headers that carry claims of the token to the upstream, on every route"),
		yaml.Plain("upstreams", yaml.Names(yaml.Text(isUpstreamName).Like(upstreamNameLike), upstream()),
			func(f *t) *[]yaml.Named[writtenUpstream] { return &f.upstreams },
			"pools of servers behind the gate"),
		yaml.Placed("routes", yaml.List(0, routeKind()),
			func(f *t) *yaml.Setting[[]yaml.Setting[writtenRoute]] { return &f.routes },
			"which requests are allowed, and which upstream they go to"),
		yaml.Plain("tests", yaml.List(0, testKind()), func(f *t) *[]yaml.Setting[writtenTest] { return &f.tests },
			"policy tests, run by check, at start and at reload"),
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

type writtenReload struct{ denyWidening bool }

func reload() yaml.Kind[writtenReload] {
	return yaml.Mapping(
		yaml.Plain("deny_widening", yaml.Boolean(), func(r *writtenReload) *bool { return &r.denyWidening },
			"refuse a reload that opens what the running configuration keeps closed, as jotgate diff shows it").Or("false"),
	)
}

type writtenListener struct {
	name      yaml.Setting[string]
	address   yaml.Setting[string]
	tls       yaml.Setting[writtenTLS]
	redirect  yaml.Setting[string]
	h2c       yaml.Setting[bool]
	reusePort bool

	mode          yaml.Setting[string]
	proxyProtocol yaml.Setting[writtenProxyProtocol]
}

func listener() yaml.Kind[writtenListener] {
	type t = writtenListener
	return yaml.Mapping(
		yaml.Placed("name", yaml.Text(isName).Like(nameLike), func(l *t) *yaml.Setting[string] { return &l.name },
			"name in logs; default the address"),
		yaml.Placed("address", yaml.Text(isListenAddress).Like(addressLike),
			func(l *t) *yaml.Setting[string] { return &l.address },
			"host:port; without a host, every interface; unix:PATH; systemd or systemd:NAME for a socket that it passes").Must(
			`write it like ":8080"`),
		yaml.Placed("mode", yaml.Text(isMode).Like(modeLike), func(l *t) *yaml.Setting[string] { return &l.mode },
			"permissions of a Unix socket, in octal; default by the umask"),
		yaml.Placed("proxy_protocol", proxyProtocol(),
			func(l *t) *yaml.Setting[writtenProxyProtocol] { return &l.proxyProtocol },
			"each connection begins with a PROXY header, version 1 or 2, sent by a trusted proxy; others are closed"),
		yaml.Placed("tls", tlsKind(),
			func(l *t) *yaml.Setting[writtenTLS] { return &l.tls },
			"serve HTTPS; without it, plain HTTP/1.1"),
		yaml.Placed("redirect", yaml.Word("https"), func(l *t) *yaml.Setting[string] { return &l.redirect },
			"redirect every request to https"),
		yaml.Placed("h2c", yaml.Boolean(), func(l *t) *yaml.Setting[bool] { return &l.h2c },
			"serve HTTP/2 without TLS, too, to clients that begin with its preface (prior knowledge), such as gRPC's").Or(
			"false"),
		yaml.Plain("reuse_port", yaml.Boolean(),
			func(l *t) *bool { return &l.reusePort },
			"let another process listen on the same address, to take over while this one drains; Linux only").Or("false"),
	)
}

// A writtenProxyProtocol is true, or an object with from.
type writtenProxyProtocol struct {
	from []yaml.Setting[string] // nil: trusted_proxies
}

func proxyProtocol() yaml.Kind[writtenProxyProtocol] {
	type t = writtenProxyProtocol
	scalar := yaml.OnlyTrue()
	mapping := yaml.Mapping(
		yaml.Plain("from", yaml.Distinct(1, yaml.Text(nil)), func(x *t) *[]yaml.Setting[string] { return &x.from },
			"addresses and CIDR ranges of the peers that send it; unix: peers on a Unix socket").
			Must("name the load balancers, or write proxy_protocol: true for trusted_proxies"),
	)
	shape := &yaml.Shape{Either: []*yaml.Shape{scalar.Shape, mapping.Shape}}
	return yaml.Kind[t]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (t, bool) {
		if v.IsText() {
			_, ok := scalar.Read(r, v)
			return t{}, ok
		}
		return mapping.Read(r, v)
	}}
}

type writtenTLS struct {
	certificates []yaml.Setting[writtenCertificate]
	clientCA     yaml.Setting[string]
	clientAuth   yaml.Setting[string]
	acme         yaml.Setting[writtenACME]
}

type writtenACME struct {
	domains            []yaml.Setting[string]
	email              string
	directory, storage yaml.Setting[string]
}

func acmeKind() yaml.Kind[writtenACME] {
	type t = writtenACME
	return yaml.Mapping(
		yaml.Plain("domains", yaml.Distinct(1, yaml.Text(isDomain).Like(domainLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.domains }, "host names to have certificates issued for").
			Must("name the host names, in lower case"),
		yaml.Plain("email", yaml.Text(nil), func(x *t) *string { return &x.email },
			"contact address of the account; default none"),
		yaml.Placed("directory", yaml.Text(isACMEDirectory).Like(httpsLike),
			func(x *t) *yaml.Setting[string] { return &x.directory },
			"https URL of the authority's directory; default Let's Encrypt"),
		yaml.Placed("storage", yaml.Text(isPath).Like(filledLike),
			func(x *t) *yaml.Setting[string] { return &x.storage },
			"directory for the account's key, the certificates and their keys, or redis, where all replicas share them").
			Must("name a directory that only the gate can read, or redis"),
	)
}

type writtenCertificate struct{ cert, key yaml.Setting[string] }

func tlsKind() yaml.Kind[writtenTLS] {
	type c = writtenCertificate
	certificate := yaml.Mapping(
		yaml.Placed("cert", yaml.Text(isPath).Like(filledLike),
			func(x *c) *yaml.Setting[string] { return &x.cert }, "PEM file of the certificate and its chain").
			Must("name the PEM file"),
		yaml.Placed("key", yaml.Text(isPath).Like(filledLike),
			func(x *c) *yaml.Setting[string] { return &x.key }, "PEM file of its private key").Must("name the PEM file"),
	)
	return yaml.Mapping(
		yaml.Plain("certificates", yaml.List(1, certificate),
			func(x *writtenTLS) *[]yaml.Setting[c] { return &x.certificates },
			"certificates, chosen by server name (SNI); the first is the default"),
		yaml.Placed("client_ca", yaml.Text(isPath).Like(filledLike),
			func(x *writtenTLS) *yaml.Setting[string] { return &x.clientCA },
			"PEM file of the authorities of client certificates; without it clients are asked for none"),
		yaml.Placed("client_auth", yaml.Word("required", "optional"),
			func(x *writtenTLS) *yaml.Setting[string] { return &x.clientAuth },
			"whether a client must show a certificate; one that is shown is verified in any case").Or("required"),
		yaml.Placed("acme", acmeKind(), func(x *writtenTLS) *yaml.Setting[writtenACME] { return &x.acme },
			"certificates that an authority issues and renews (RFC 8555)"),
	)
}

type writtenAdmin struct {
	listen, healthListen, metricsListen yaml.Setting[string]

	token    Secret
	pprof    bool
	refusals int
	console  bool
}

func admin() yaml.Kind[writtenAdmin] {
	type t = writtenAdmin
	return yaml.Mapping(
		yaml.Placed("listen", yaml.Text(isAddressOrNone).Like(addressOrNoneLike),
			func(a *t) *yaml.Setting[string] { return &a.listen },
			`host:port; "" disables the admin listener`).Or("127.0.0.1:9090"),
		yaml.Plain("token", yaml.SecretText(isSecretOrNone).Like(secretOrNoneLike),
			func(a *t) *Secret { return &a.token },
			"bearer token for everything but health and metrics, at least 22 characters; without it those endpoints are "+
				"refused"),
		yaml.Placed("health_listen", yaml.Text(isAddressOrNone).Like(addressOrNoneLike),
			func(a *t) *yaml.Setting[string] { return &a.healthListen },
			"host:port of a second listener that serves only the health checks"),
		yaml.Placed("metrics_listen", yaml.Text(isAddressOrNone).Like(addressOrNoneLike),
			func(a *t) *yaml.Setting[string] { return &a.metricsListen },
			"host:port of a listener that serves only the metrics"),
		yaml.Plain("pprof", yaml.Boolean(), func(a *t) *bool { return &a.pprof },
			"serve runtime profiles under /debug/pprof/, with the admin token").Or("false"),
		yaml.Plain("refusals", yaml.Integer(0, 1_000_000), func(a *t) *int { return &a.refusals },
			"refused requests that are kept with their trace, for explain by request id, where there is a token; "+
				"0 keeps none").Or("10000"),
		yaml.Plain("console", yaml.Boolean(), func(a *t) *bool { return &a.console },
			"serve pages for browsers at / of the admin listener, where there is a token, which signs in").Or("true"),
	)
}

type writtenResource struct {
	resource, path  yaml.Setting[string]
	servers, scopes []yaml.Setting[string]
}

func resourceKind() yaml.Kind[writtenResource] {
	type t = writtenResource
	return yaml.Mapping(
		yaml.Placed("resource", yaml.Text(isAudience).Like(audienceLike),
			func(r *t) *yaml.Setting[string] { return &r.resource },
			"resource identifier: a URL; the routes below path take only tokens whose aud has it").
			Must("write it like https://shop.example.com/api"),
		yaml.Placed("path", yaml.Text(isPathPattern).Like(pathLike), func(r *t) *yaml.Setting[string] { return &r.path },
			"path of its routes: /mcp for that path alone, /api/ for the tree below it; default the path of resource"),
		yaml.Plain("authorization_servers", yaml.Distinct(1, yaml.Text(isIssuer)),
			func(r *t) *[]yaml.Setting[string] { return &r.servers },
			"issuers that a client can get its tokens from; default issuer.url and the trusted issuers that are URLs"),
		yaml.Plain("scopes", yaml.Distinct(1, yaml.Text(isScope)), func(r *t) *[]yaml.Setting[string] { return &r.scopes },
			"scopes that a client asks for, told in the metadata and in challenges"),
	)
}

type writtenDecision struct {
	listen   yaml.Setting[string]
	from     []yaml.Setting[string]
	clientCA yaml.Setting[string]
}

func decision() yaml.Kind[writtenDecision] {
	type t = writtenDecision
	return yaml.Mapping(
		yaml.Placed("listen", yaml.Text(isAddress).Like(addressLike), func(d *t) *yaml.Setting[string] { return &d.listen },
			"address to listen on, as host:port, for HTTP/1.1 and HTTP/2 without TLS").Must("write it like 127.0.0.1:4180"),
		yaml.Plain("from", yaml.Distinct(1, yaml.Text(nil)), func(d *t) *[]yaml.Setting[string] { return &d.from },
			"addresses and CIDR ranges that may ask; other peers are answered 403; default 127.0.0.0/8 and ::1/128"),
		yaml.Placed("client_ca", yaml.Text(isPath).Like(filledLike), func(d *t) *yaml.Setting[string] { return &d.clientCA },
			"PEM file of the authorities of the client certificates that Envoy passes on over gRPC "+
				"(include_peer_certificate); default none: only a certificate of our own handshakes counts"),
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
		yaml.Plain("config_bytes", yaml.Size[int](64*yaml.KiB, yaml.MostBytes), func(l *t) *int { return &l.ConfigBytes },
			"maximum size of this file").Or("8MiB"),
		yaml.Plain("header_bytes", yaml.Size(4*yaml.KiB, yaml.MiB),
			func(l *t) *int { return &l.HeaderBytes }, "maximum size of a request head").Or("32KiB"),
		yaml.Plain("uri_bytes", yaml.Size(256, 256*yaml.KiB),
			func(l *t) *int { return &l.URIBytes }, "maximum length of a request target").Or("16KiB"),
		yaml.Plain("token_bytes", yaml.Size(512, 64*yaml.KiB),
			func(l *t) *int { return &l.TokenBytes }, "maximum length of a bearer token").Or("8KiB"),
		yaml.Plain("token_body_bytes", yaml.Size[int64](yaml.KiB, 16*yaml.MiB),
			func(l *t) *int64 { return &l.TokenBodyBytes }, "maximum size of a request body at a token endpoint").Or("64KiB"),
		yaml.Plain("body_bytes", yaml.Size[int64](0, 1<<50), func(l *t) *int64 { return &l.BodyBytes },
			"maximum size of a request body to an upstream").Or("1GiB"),
		yaml.Plain("connections", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.Connections },
			"maximum open connections, over all listeners").Or("10000"),
		yaml.Plain("h2_streams", yaml.Integer(1, 10_000), func(l *t) *int { return &l.H2Streams },
			"maximum concurrent streams of an HTTP/2 connection").Or("100"),
		yaml.Plain("http2", yaml.Word("own", "standard", "off"), func(l *t) *string { return &l.HTTP2 },
			"the server of HTTP/2: our own, that of Go's standard library, or none").Or("own"),
		yaml.Plain("in_flight", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.InFlight },
			"maximum requests in flight, over all listeners; 503 above it").Or("10000"),
		yaml.Plain("streams", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.Streams },
			"maximum answers of unknown length and upgraded connections, which in_flight does not count").Or("10000"),
		yaml.Plain("header_timeout", yaml.Duration(100*time.Millisecond, time.Hour),
			func(l *t) *time.Duration { return &l.HeaderTimeout }, "maximum time to receive a request head").Or("10s"),
		yaml.Plain("body_timeout", yaml.Duration(100*time.Millisecond, time.Hour),
			func(l *t) *time.Duration { return &l.BodyTimeout },
			"maximum time to receive a request body at a token endpoint").Or("10s"),
		yaml.Plain("stall_timeout", yaml.Duration(100*time.Millisecond, day),
			func(l *t) *time.Duration { return &l.StallTimeout },
			"maximum time without progress of a body, in either direction").Or("30s"),
		yaml.Plain("idle_timeout", yaml.Duration(100*time.Millisecond, day),
			func(l *t) *time.Duration { return &l.IdleTimeout }, "maximum time a kept connection is idle").Or("75s"),
		yaml.Plain("token_cache_bytes", yaml.Size[int64](0, 64*yaml.GiB),
			func(l *t) *int64 { return &l.TokenCacheBytes }, "size of the cache of verified tokens; 0 disables it").Or("64MiB"),
		yaml.Plain("prepared_keys", yaml.Integer(0, 4096), func(l *t) *int { return &l.PreparedKeys },
			"maximum public keys in use that are prepared for faster verification; 0 leaves all to the standard library").
			Or(strconv.Itoa(jose.DefaultPreparedKeys)),
		yaml.Plain("issue_rate", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.IssueRate },
			"issued codes and tokens per second and client; the burst is twice that").Or(strconv.Itoa(defaultIssueRate)),
		yaml.Plain("logout_rate", yaml.Integer(1, 1_000_000), func(l *t) *int { return &l.LogoutRate },
			"back-channel logouts per second and issuer, and refused ones per second and client address; the burst is twice "+
				"that").Or("100"),
		yaml.Placed("shared", yaml.Boolean(),
			func(l *t) *yaml.Setting[bool] { return &l.shared },
			"count issue_rate over all replicas, in redis; while redis does not answer, each replica counts alone").Or("false"),
	)
}

func log() yaml.Kind[Log] {
	return yaml.Mapping(
		yaml.Plain("level", yaml.Word("debug", "info", "warn", "error"),
			func(l *Log) *string { return &l.Level }, "lowest level that is logged").Or("info"),
		yaml.Plain("access", yaml.Boolean(), func(l *Log) *bool { return &l.Access },
			"log one line for each request").Or("true"),
		yaml.Plain("format", yaml.Word("json", "text"), func(l *Log) *string { return &l.Format },
			"json lines, or text for people to read; default text at a terminal and json elsewhere"),
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
		yaml.Placed("endpoint", yaml.Text(isCollector).Like(jwksURLLike),
			func(x *t) *yaml.Setting[string] { return &x.endpoint },
			"URL of the collector (OTLP over HTTP); /v1/traces is appended to a URL without a path").
			Must("write it like http://127.0.0.1:4318"),
		yaml.Plain("sample_ratio", yaml.Ratio(), func(x *t) *float64 { return &x.ratio },
			"share of requests that is traced, unless a trusted proxy has decided").Or("1"),
		yaml.Plain("parent", yaml.Word(ParentAny, ParentTrusted, ParentNone),
			func(x *t) *string { return &x.parent },
			"whose trace context a request continues: any client's, only that of trusted_proxies, or none").Or(ParentAny),
		yaml.Plain(
			"headers",
			yaml.Names(
				yaml.Text(isTestHeader).Like(testHeaderLike),
				yaml.SecretText(isFieldValue).Like(fieldValueLike),
			),
			func(x *t) *[]yaml.Named[Secret] { return &x.headers },
			"headers of each export request; default none",
		),
		yaml.Plain("service", yaml.Text(isName).Like(nameLike), func(x *t) *string { return &x.service },
			"service.name of the traces").Or("jotgate"),
	)
}

func drain() yaml.Kind[Drain] {
	return yaml.Mapping(
		yaml.Plain("delay", yaml.Duration(0, time.Hour), func(d *Drain) *time.Duration { return &d.Delay },
			"time to keep serving, reported as not ready, so that load balancers notice").Or("1s"),
		yaml.Plain("timeout", yaml.Duration(0, 24*time.Hour), func(d *Drain) *time.Duration { return &d.Timeout },
			"time that requests in flight then have to finish").Or("30s"),
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
		yaml.Placed("url", yaml.Text(isIssuer).Like(issuerURLLike),
			func(i *t) *yaml.Setting[string] { return &i.url },
			"iss of our tokens: the URL at which clients reach the gate").Must("write it like https://gate.example.com"),
		yaml.Placed("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)),
			func(i *t) *yaml.Setting[[]yaml.Setting[string]] { return &i.audiences },
			"aud of tokens for the routes; never the url itself; default [<url>/api]"),
		yaml.Plain("keys", yaml.List(1, keyFile()),
			func(i *t) *[]yaml.Setting[writtenKey] { return &i.keys },
			"signing keys, PEM or JWK; one signs, the first unless a state says otherwise; all verify and are "+
				"published").Must("write [{file: keys/main.pem, create: true}]"),
		yaml.Plain("code_secrets", yaml.Distinct(0, yaml.SecretText(isCodeSecret).Like(codeSecretLike)),
			func(i *t) *[]yaml.Setting[Secret] { return &i.codeSecrets },
			"secrets that encrypt codes, at least 32 bytes: the first encrypts, all decrypt; default a random one per process"),
		yaml.Plain("code_prefixes", yaml.Distinct(0, yaml.Text(isCodePrefix).Like(filledLike)),
			func(i *t) *[]yaml.Setting[string] { return &i.codePrefixes },
			"common prefixes of subjects and tenants, such as did:empe:testnet:, which a code stores in one byte"),
		yaml.Plain("code_ttl", yaml.Seconds(time.Second, mostCodeTTL), func(i *t) *time.Duration { return &i.codeTTL },
			"lifetime of a code").Or(strconv.Itoa(int(defaultCodeTTL/time.Second))+"s"),
		yaml.Placed("token_ttl", yaml.Seconds(time.Second, mostTokenTTL),
			func(i *t) *yaml.Setting[time.Duration] { return &i.tokenTTL },
			"lifetime of a token, where the request asks for none").Or("1h"),
		yaml.Plain("max_token_ttl", yaml.Seconds(time.Second, mostTokenTTL),
			func(i *t) *time.Duration { return &i.maxTokenTTL },
			"maximum lifetime that a request may ask for").Or("24h"),
		yaml.Plain("max_access_token_ttl", yaml.Seconds(time.Second, mostTokenTTL),
			func(i *t) *time.Duration { return &i.maxAccessToken },
			"maximum lifetime in the access-token dialect").Or("8760h"),
		yaml.Plain("serve", serve(), func(i *t) *writtenServe { return &i.serve },
			"where the token endpoints are served").Filled(),
		yaml.Plain("clients", yaml.List(0, client()), func(i *t) *[]yaml.Setting[writtenClient] { return &i.clients },
			"callers of the token endpoints"),
		yaml.Placed("users", users(), func(i *t) *yaml.Setting[writtenUsers] { return &i.users },
			"end users of the user-token dialect: a list, {open: true, role: …} or {lookup: …}; default none"),
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
		yaml.Placed("file", yaml.Text(isPath).Like(filledLike),
			func(k *writtenKey) *yaml.Setting[string] { return &k.file },
			"PEM or JWK file, relative to the configuration file's directory"),
		yaml.Placed("dir", yaml.Text(isPath).Like(filledLike),
			func(k *writtenKey) *yaml.Setting[string] { return &k.dir },
			"directory of such files, in the order of their names, which say the state: a.pem, b.next.pem, c.retired.pem"),
		yaml.Placed("create", yaml.Boolean(), func(k *writtenKey) *yaml.Setting[bool] { return &k.create },
			"create a new ES256 key with mode 0600 if the file does not exist").Or("false"),
		yaml.Placed("state", yaml.Word(keyNext, keyCurrent, keyRetired),
			func(k *writtenKey) *yaml.Setting[string] { return &k.state },
			"next: published, signs later; current: signs; retired: verifies only; default: the first key that is neither "+
				"next nor retired signs"),
	).OneOf("file", "dir")
}

type writtenServe struct {
	cors               yaml.Setting[writtenCORS]
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
		yaml.Plain("hosts", yaml.Distinct(0, yaml.Text(isServeHost).Like(filledLike)),
			func(s *t) *[]yaml.Setting[string] { return &s.hosts },
			"hosts that the token endpoints are served on; default any"),
		yaml.Plain(
			"dialects",
			yaml.Distinct(0, yaml.Word(codesDialect, userTokensDialect, accessTokensDialect, oauth2Dialect)),
			func(s *t) *[]yaml.Setting[string] { return &s.dialects },
			"APIs that are served; default all four",
		),
		yaml.Plain("access_token_prefix", yaml.Text(isAccessTokenPrefix).Like(prefixLike),
			func(s *t) *string { return &s.accessTokenPrefix },
			"path prefix of /api/1/access_token, such as /crafter-profile; default none"),
		yaml.Plain("insecure_missing_tenant_is_any", yaml.Boolean(), func(s *t) *bool { return &s.missingTenantIsAny },
			"treat a missing tenant in the access-token dialect as *, as the original API does").Or("false"),
		yaml.Placed("cors", corsKind(), func(s *t) *yaml.Setting[writtenCORS] { return &s.cors },
			"CORS for the token endpoints; default none"),
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
	identity      yaml.Setting[writtenWorkload]
	claims        yaml.Setting[[]yaml.Setting[string]]
	tlsClientAuth yaml.Setting[writtenTLSClientAuth]
}

type writtenTLSClientAuth struct{ sanDNS, sanURI, subjectDN yaml.Setting[string] }

func client() yaml.Kind[writtenClient] {
	type t = writtenClient
	return yaml.Mapping(
		yaml.Placed("id", yaml.Text(isClientID).Like(clientIDLike),
			func(c *t) *yaml.Setting[string] { return &c.id }, "client_id").Must("name the client"),
		yaml.Placed("secret", yaml.SecretText(isSecret).Like(secretLike),
			func(c *t) *yaml.Setting[Secret] { return &c.secret },
			"client secret, at least 22 characters"),
		yaml.Placed("secret_sha256", hexSecret(), func(c *t) *yaml.Setting[string] { return &c.secretSHA256 },
			"SHA-256 of the secret in hex, instead of secret"),
		yaml.Placed("access_token_id", yaml.SecretText(isSecret).Like(secretLike),
			func(c *t) *yaml.Setting[Secret] { return &c.accessTokenID },
			"fixed accessTokenId for the access-token dialect, at least 22 characters"),
		yaml.Placed("permissions", permissions(),
			func(c *t) *yaml.Setting[writtenPermissions] { return &c.permissions },
			"permissions of the client's own token; default none"),
		yaml.Plain("may", yaml.Distinct(0, yaml.Word(token.MayWords()...)),
			func(c *t) *[]yaml.Setting[string] { return &c.may },
			"operations allowed at the token endpoints; default none"),
		yaml.Placed("delegate", permissions(), func(c *t) *yaml.Setting[writtenPermissions] { return &c.delegate },
			"upper bound of the permissions that the client may grant, in every dialect; default none"),
		yaml.Placed("code_ttl", yaml.Seconds(time.Second, mostCodeTTL),
			func(c *t) *yaml.Setting[time.Duration] { return &c.codeTTL },
			"lifetime of the client's codes; default issuer.code_ttl"),
		yaml.Placed("public", yaml.Boolean(), func(c *t) *yaml.Setting[bool] { return &c.public },
			"the client cannot keep a secret; its codes require PKCE").Or("false"),
		yaml.Placed("keys", yaml.List(1, publicKeyFile()),
			func(c *t) *yaml.Setting[[]yaml.Setting[writtenKeySet]] { return &c.keys },
			"public keys that verify its client assertions (private_key_jwt)"),
		yaml.Placed("identity", workload(), func(c *t) *yaml.Setting[writtenWorkload] { return &c.identity },
			"the client is a workload, which authenticates with a trusted issuer's token in place of a secret"),
		yaml.Placed("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)),
			func(c *t) *yaml.Setting[[]yaml.Setting[string]] { return &c.audiences },
			"aud of the tokens that it may introspect; default issuer.audiences"),
		yaml.Placed("claims", yaml.Distinct(1, yaml.Text(isCustomClaim).Like(filledLike)),
			func(c *t) *yaml.Setting[[]yaml.Setting[string]] { return &c.claims },
			"custom claims, 16 at most, that it may carry through codes, user tokens and exchanges into tokens; default none"),
		yaml.Placed("dpop", yaml.Word(dpopRequired), func(c *t) *yaml.Setting[string] { return &c.dpop },
			"required: issue only tokens that are bound to a key by DPoP; default as the client asks"),
		yaml.Placed("tls_client_auth", tlsClientAuth(),
			func(c *t) *yaml.Setting[writtenTLSClientAuth] { return &c.tlsClientAuth },
			"client certificate that it authenticates with instead of a secret, and that its tokens are bound to (RFC 8705)"),
	).OneAtMost("secret", "secret_sha256")
}

func tlsClientAuth() yaml.Kind[writtenTLSClientAuth] {
	type t = writtenTLSClientAuth
	return yaml.Mapping(
		yaml.Placed("san_dns", yaml.Text(isCertDNS).Like(filledLike),
			func(c *t) *yaml.Setting[string] { return &c.sanDNS }, "DNS name among its alternative names"),
		yaml.Placed("san_uri", yaml.Text(isCertURI).Like(filledLike),
			func(c *t) *yaml.Setting[string] { return &c.sanURI }, "URI among its alternative names"),
		yaml.Placed("subject_dn", yaml.Text(isSubjectDN).Like(filledLike),
			func(c *t) *yaml.Setting[string] { return &c.subjectDN },
			"whole subject as RFC 4514 writes it, like CN=orders,O=Example"),
	).OneOf("san_dns", "san_uri", "subject_dn")
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
			`tenant name, or "*" for any tenant and for global actions`).Must(`write a tenant's name, or "*" for any`),
		yaml.Plain("actions", yaml.Distinct(0, yaml.Text(isAction).Like(actionLike)),
			func(p *t) *[]yaml.Setting[string] { return &p.actions },
			`actions, each 1 to 64 of A-Z a-z 0-9 _ . : -, or "*" for any`).Must(`write the actions, or ["*"] for any`),
	))
	return yaml.Kind[writtenPermissions]{
		Shape: entries.Shape,
		Read: func(r *yaml.Reader, v yaml.Value) (writtenPermissions, bool) {
			p, ok := entries.Read(r, v)
			return p, ok
		},
	}
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
		yaml.Placed("open", yaml.OnlyTrue(),
			func(u *t) *yaml.Setting[bool] { return &u.open },
			"treat any UUID as an end user"),
		yaml.Placed("role", yaml.Text(isName).Like(nameLike),
			func(u *t) *yaml.Setting[string] { return &u.role },
			"role of every end user, with open: true"),
		yaml.Placed("lookup", lookup(),
			func(u *t) *yaml.Setting[UserLookup] { return &u.lookup },
			"look end users up in an HTTP directory"),
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
		yaml.Placed("id", yaml.Text(isUUID).Like(uuidLike), func(u *t) *yaml.Setting[string] { return &u.id },
			"UUID").Must("write the user's UUID"),
		yaml.Plain("type", yaml.Word("end_user", "person", "api_user", "api_signer", "system"),
			func(u *t) *string { return &u.kind },
			"type; tokens are issued only for an end_user").Or("end_user"),
		yaml.Placed("role", yaml.Text(isName).Like(nameLike),
			func(u *t) *yaml.Setting[string] { return &u.role },
			"role"),
		yaml.Placed("permissions", permissions(),
			func(u *t) *yaml.Setting[writtenPermissions] { return &u.permissions },
			"permissions, instead of a role"),
	).OneAtMost("role", "permissions")
}

func lookup() yaml.Kind[UserLookup] {
	type t = UserLookup
	return yaml.Mapping(
		yaml.Plain("url", yaml.Text(isDirectory).Like(directoryLike),
			func(l *t) *string { return &l.URL },
			"URL of a user's entry; {user_id} is replaced").Must("write it like https://directory.example.com/users/{user_id}"),
		yaml.Plain("bearer", yaml.SecretText(isBearer).Like(bearerLike),
			func(l *t) *Secret { return &l.Bearer },
			"bearer token for the directory; default none"),
		yaml.Plain("timeout", yaml.Duration(10*time.Millisecond, time.Minute),
			func(l *t) *time.Duration { return &l.Timeout }, "timeout of a lookup").Or("2s"),
		yaml.Plain("cache", yaml.Duration(0, 5*time.Minute),
			func(l *t) *time.Duration { return &l.Cache }, "how long an answer is cached").Or("30s"),
		yaml.Plain("entries", yaml.Integer(1, 10_000_000),
			func(l *t) *int { return &l.Entries }, "maximum number of cached answers").Or("10000"),
		yaml.Plain("bytes", yaml.Size[int64](256, 16*yaml.MiB),
			func(l *t) *int64 { return &l.Bytes }, "maximum size of an answer").Or("64KiB"),
	)
}

// dpopRequired is the word by which a client's tokens are always bound: dpop_bound_access_tokens of RFC 9449 §5.2.
const dpopRequired = "required"

type writtenCORS struct {
	off                               bool
	origins, methods, headers, expose []yaml.Setting[string]
	credentials                       yaml.Setting[bool]
	maxAge                            time.Duration
}

func corsKind() yaml.Kind[writtenCORS] {
	type t = writtenCORS
	return yaml.Mapping(
		yaml.Plain("origins", yaml.Distinct(1, yaml.Text(isScriptOrigin).Like(scriptOriginLike)),
			func(c *t) *[]yaml.Setting[string] { return &c.origins },
			`origins of the scripts, such as https://app.example.com; "https://*.example.com" matches one label, `+
				`"*" any origin`).
			Must(`write them like ["https://app.example.com"]`),
		yaml.Plain("methods", yaml.Distinct(0, yaml.Text(isMethod).Like(methodLike)),
			func(c *t) *[]yaml.Setting[string] { return &c.methods },
			"methods that scripts may use; default those of the route or endpoint"),
		yaml.Plain("headers", yaml.Distinct(0, yaml.Text(isFieldName).Like(fieldNameLike)),
			func(c *t) *[]yaml.Setting[string] { return &c.headers },
			`request headers that scripts may set, or "*"; default [authorization, content-type, dpop]`),
		yaml.Plain("expose", yaml.Distinct(0, yaml.Text(isFieldName).Like(fieldNameLike)),
			func(c *t) *[]yaml.Setting[string] { return &c.expose },
			"response headers that scripts may read, in addition to WWW-Authenticate, DPoP-Nonce, Retry-After and X-Request-Id"),
		yaml.Placed("credentials", yaml.Boolean(), func(c *t) *yaml.Setting[bool] { return &c.credentials },
			"allow requests with cookies").Or("false"),
		yaml.Plain("max_age", yaml.Seconds(0, 24*time.Hour), func(c *t) *time.Duration { return &c.maxAge },
			"how long browsers cache the answer to a preflight").Or("10m"),
	)
}

// routeCORS has the word off beside the settings.
func routeCORS() yaml.Kind[writtenCORS] {
	scalar, mapping := yaml.Word("off"), corsKind()
	shape := &yaml.Shape{Either: []*yaml.Shape{scalar.Shape, mapping.Shape}}
	return yaml.Kind[writtenCORS]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenCORS, bool) {
		if v.IsText() {
			_, ok := scalar.Read(r, v)
			return writtenCORS{off: true}, ok
		}
		return mapping.Read(r, v)
	}}
}

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
		yaml.Placed("max_age", yaml.Duration(time.Second, 10*time.Minute),
			func(d *t) *yaml.Setting[time.Duration] { return &d.maxAge },
			"maximum age of a proof").Or("60s"),
		yaml.Plain("require_nonce", yaml.Boolean(), func(d *t) *bool { return &d.requireNonce },
			"require a nonce of ours in every proof, so that proofs cannot be made in advance").Or("false"),
		yaml.Placed("nonce_ttl", yaml.Duration(time.Second, time.Hour),
			func(d *t) *yaml.Setting[time.Duration] { return &d.nonceTTL },
			"lifetime of a nonce").Or("5m"),
		yaml.Plain("nonce_secrets", yaml.Distinct(0, yaml.SecretText(isCodeSecret).Like(codeSecretLike)),
			func(d *t) *[]yaml.Setting[Secret] { return &d.nonceSecrets },
			"secrets that nonces are derived from, at least 32 bytes: the first makes nonces, all accept them; default "+
				"derived from issuer.code_secrets, or random per process"),
		yaml.Plain("origins", yaml.Distinct(0, yaml.Text(isOrigin).Like(serverLike)),
			func(d *t) *[]yaml.Setting[string] { return &d.origins },
			"origins (scheme and host) that proofs for the routes may name; default the one the request was sent to"),
		yaml.Placed("capacity", yaml.Integer(1<<10, 1<<26), func(d *t) *yaml.Setting[int] { return &d.capacity },
			"number of used proofs that are remembered").Or("262144"),
	)
}

type writtenTickets struct {
	ttl      yaml.Setting[time.Duration]
	capacity yaml.Setting[int]
	secrets  []yaml.Setting[Secret]
}

func tickets() yaml.Kind[writtenTickets] {
	type t = writtenTickets
	return yaml.Mapping(
		yaml.Placed("ttl", yaml.Seconds(time.Second, 5*time.Minute),
			func(x *t) *yaml.Setting[time.Duration] { return &x.ttl },
			"maximum lifetime of a ticket; it never outlives its token").Or("30s"),
		yaml.Placed("capacity", yaml.Integer(1, mostReplayCapacity), func(x *t) *yaml.Setting[int] { return &x.capacity },
			"used tickets that this process remembers, divided evenly among clients and trusted issuers").Or("65536"),
		yaml.Plain("secrets", yaml.Distinct(0, yaml.SecretText(isCodeSecret).Like(codeSecretLike)),
			func(x *t) *[]yaml.Setting[Secret] { return &x.secrets },
			"secrets that encrypt tickets, at least 32 bytes: the first encrypts, all decrypt; default derived from "+
				"issuer.code_secrets, or random per process"),
	)
}

type writtenReplay struct {
	store    yaml.Setting[string]
	capacity yaml.Setting[int]
}

func replay() yaml.Kind[writtenReplay] {
	type t = writtenReplay
	return yaml.Mapping(
		yaml.Placed("store", yaml.Word(storeMemory, storeRedis),
			func(x *t) *yaml.Setting[string] { return &x.store },
			"where used codes are remembered: memory, of this process, or redis, for any number of replicas").Or(storeMemory),
		yaml.Placed("capacity", yaml.Integer(1, mostReplayCapacity), func(x *t) *yaml.Setting[int] { return &x.capacity },
			"entries of the memory store, divided evenly among the clients that may issue codes").Or("1048576"),
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
		yaml.Placed("store", yaml.Word(storeFile, storeRedis),
			func(x *t) *yaml.Setting[string] { return &x.store },
			"where revocations are stored: file, for one process, or redis, for all replicas; default redis if redis is "+
				"configured and file is not"),
		yaml.Placed("file", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.file },
			"file that revocations are written to; without it and without redis nothing can be revoked"),
		yaml.Plain("capacity", yaml.Integer(1, 1<<26), func(x *t) *int { return &x.capacity },
			"maximum number of entries").Or("65536"),
		yaml.Plain("poll", yaml.Duration(50*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.poll },
			"with redis: interval at which each replica fetches new revocations").Or("1s"),
		yaml.Placed("max_staleness", yaml.Duration(100*time.Millisecond, time.Hour),
			func(x *t) *yaml.Setting[time.Duration] { return &x.maxStaleness },
			"with redis: time without an answer after which the list is stale").Or("10s"),
		yaml.Plain("on_stale", yaml.Word("serve", "refuse"),
			func(x *t) *string { return &x.onStale },
			"with redis, while the list is stale: serve judges by the last known list, refuse answers 503 to every "+
				"token").Or("serve"),
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
		yaml.Placed("url", yaml.SecretText(isRedisURL).Like(redisURLLike),
			func(x *t) *yaml.Setting[Secret] { return &x.url },
			"redis://user:password@host:port/database, rediss:// for TLS, or unix:///path"),
		yaml.Placed("sentinel", sentinelKind(), func(x *t) *yaml.Setting[writtenSentinel] { return &x.sentinel },
			"Sentinels that name the master, instead of url"),
		yaml.Plain("username", yaml.Text(isShort).Like(filledLike), func(x *t) *string { return &x.username },
			"user name for the server; default its default user"),
		yaml.Placed("password", yaml.SecretText(isStorePassword).Like(filledLike),
			func(x *t) *yaml.Setting[Secret] { return &x.password },
			"password for the server"),
		yaml.Placed("tls", redisTLSKind(), func(x *t) *yaml.Setting[writtenRedisTLS] { return &x.tls },
			"TLS settings for rediss:// or sentinel; default the system's CA certificates"),
		yaml.Plain("pool", yaml.Integer(1, 10_000), func(x *t) *int { return &x.pool },
			"maximum number of connections").Or("32"),
		yaml.Plain("dial_timeout", yaml.Duration(10*time.Millisecond, time.Minute),
			func(x *t) *time.Duration { return &x.dialTimeout },
			"timeout of connecting").Or("1s"),
		yaml.Plain("timeout", yaml.Duration(10*time.Millisecond, 10*time.Second),
			func(x *t) *time.Duration { return &x.timeout },
			"timeout of one operation including retries; after it the answer is 503").Or("1s"),
		yaml.Plain("prefix", yaml.Text(isKeyPrefix).Like(keyPrefixLike), func(x *t) *string { return &x.prefix },
			"prefix of our keys; deployments that share a server need different prefixes").Or("jotgate"),
		yaml.Plain("skew", yaml.Duration(100*time.Millisecond, time.Minute), func(x *t) *time.Duration { return &x.skew },
			"maximum clock difference between replicas and store; beyond it codes are refused, never accepted twice").Or("5s"),
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
			"PEM file of the CA certificates for the server; default the system's"),
		yaml.Placed("cert", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.cert },
			"PEM file of the client certificate and its chain; default none"),
		yaml.Placed("key", yaml.Text(isPath).Like(filledLike),
			func(x *t) *yaml.Setting[string] { return &x.key },
			"PEM file of its private key"),
		yaml.Plain("server_name", yaml.Text(isShort).Like(filledLike), func(x *t) *string { return &x.serverName },
			"name to expect in the server's certificate; default the host of the address"),
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
			"name of the master at the Sentinels").Must("name the master, as in `sentinel monitor NAME …`"),
		yaml.Plain("addresses", yaml.Distinct(1, yaml.Text(isRemoteAddress).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.addresses },
			"host:port of each Sentinel").Must("name them, like [10.0.0.1:26379, 10.0.0.2:26379, 10.0.0.3:26379]"),
		yaml.Plain("username", yaml.Text(isShort).Like(filledLike),
			func(x *t) *string { return &x.username },
			"user name for the Sentinels; default none"),
		yaml.Plain("password", yaml.SecretText(isStorePassword).Like(filledLike),
			func(x *t) *Secret { return &x.password },
			"password for the Sentinels; default none"),
		yaml.Plain("database", yaml.Integer(0, mostDatabase), func(x *t) *int { return &x.database },
			"database number").Or("0"),
	)
}

type writtenIdentity struct {
	subject, issuer, client, tenant, actions, tokenID yaml.Setting[string]
}

func identity() yaml.Kind[writtenIdentity] {
	type t = writtenIdentity
	return yaml.Mapping(
		yaml.Placed("subject", yaml.Text(isHeader).Like(headerLike),
			func(x *t) *yaml.Setting[string] { return &x.subject }, "sub of the token").Or("X-Jotgate-Subject"),
		yaml.Placed("issuer", yaml.Text(isHeader).Like(headerLike),
			func(x *t) *yaml.Setting[string] { return &x.issuer }, "iss of the token").Or("X-Jotgate-Issuer"),
		yaml.Placed("client", yaml.Text(isHeader).Like(headerLike),
			func(x *t) *yaml.Setting[string] { return &x.client }, "client_id of the token").Or("X-Jotgate-Client"),
		yaml.Placed("tenant", yaml.Text(isHeader).Like(headerLike),
			func(x *t) *yaml.Setting[string] { return &x.tenant }, "tenant of the request").Or("X-Jotgate-Tenant"),
		yaml.Placed("actions", yaml.Text(isHeader).Like(headerLike),
			func(x *t) *yaml.Setting[string] { return &x.actions },
			"actions that the token allows on the tenant").Or("X-Jotgate-Actions"),
		yaml.Placed("token_id", yaml.Text(isHeader).Like(headerLike),
			func(x *t) *yaml.Setting[string] { return &x.tokenID }, "jti of the token").Or("X-Jotgate-Token-Id"),
	)
}

type writtenUpstream struct {
	servers         []yaml.Setting[writtenServer]
	host            string
	connectTimeout  time.Duration
	responseTimeout time.Duration
	maxConnections  int
	maxIdle         yaml.Setting[int]
	perClient       float64
	balance         string
	health          yaml.Setting[writtenHealth]
	eject           writtenEject
	retry           Retry
	resolve         time.Duration
	caFile          yaml.Setting[string]
	tls             yaml.Setting[writtenUpstreamTLS]
	assertion       yaml.Setting[writtenAssertion]
}

type writtenServer struct {
	url    yaml.Setting[string]
	weight yaml.Setting[int]
}

type writtenHealth struct {
	path     yaml.Setting[string]
	grpc     yaml.Setting[string]
	interval time.Duration
	timeout  yaml.Setting[time.Duration]
	up, down int
	status   []yaml.Setting[int]
}

type writtenEject struct {
	failures int
	pause    time.Duration
	statuses []yaml.Setting[int]
}

type writtenUpstreamTLS struct {
	caFile     yaml.Setting[string]
	serverName yaml.Setting[string]
	cert, key  yaml.Setting[string]
}

// serverKind reads a server's URL, alone or with its weight.
func serverKind() yaml.Kind[writtenServer] {
	type t = writtenServer
	text := yaml.Text(isServer).Like(serverLike)
	alone := yaml.Convert(text, func(s string) writtenServer { return writtenServer{url: yaml.Setting[string]{Value: s}} })
	return yaml.Either(yaml.Mapping(
		yaml.Placed("url", text, func(s *t) *yaml.Setting[string] { return &s.url }, "its URL").
			Must("write {url: http://127.0.0.1:3000, weight: 9}"),
		yaml.Placed("weight", yaml.Integer(1, 100), func(s *t) *yaml.Setting[int] { return &s.weight },
			"its share of the requests, relative to the other servers'").Or("1"),
	), alone)
}

// balanceKind reads a word, or the key of a hash.
func balanceKind() yaml.Kind[string] {
	hash := yaml.Mapping(yaml.Plain("hash", yaml.Word("tenant", "subject", "ip"), func(s *string) *string { return s },
		"requests with the same value go to the same server").Must("write {hash: tenant}"))
	return yaml.Either(
		yaml.Convert(hash, func(key string) string { return "hash_" + key }), yaml.Word("round_robin", "least_requests"))
}

func healthKind() yaml.Kind[writtenHealth] {
	type t = writtenHealth
	return yaml.Mapping(
		yaml.Placed("path", yaml.Text(isHealthPath).Like(pathLike), func(h *t) *yaml.Setting[string] { return &h.path },
			"path that each server is asked for"),
		yaml.Placed("grpc", yaml.Text(nil), func(h *t) *yaml.Setting[string] { return &h.grpc },
			`service that grpc.health.v1.Health is asked for; "" is the whole server`),
		yaml.Plain("interval", yaml.Duration(100*time.Millisecond, time.Hour),
			func(h *t) *time.Duration { return &h.interval }, "time between checks").Or("5s"),
		yaml.Placed("timeout", yaml.Duration(10*time.Millisecond, time.Minute),
			func(h *t) *yaml.Setting[time.Duration] { return &h.timeout }, "timeout of a check").Or("1s"),
		yaml.Plain("up", yaml.Integer(1, 100), func(h *t) *int { return &h.up },
			"successes in a row that bring a server back").Or("2"),
		yaml.Plain("down", yaml.Integer(1, 100), func(h *t) *int { return &h.down },
			"failures in a row that take a server out").Or("3"),
		yaml.Plain("status", yaml.List(1, yaml.Integer(100, 599)), func(h *t) *[]yaml.Setting[int] { return &h.status },
			"statuses that are healthy; default 200 to 299"),
	).OneOf("path", "grpc")
}

func ejectKind() yaml.Kind[writtenEject] {
	type t = writtenEject
	return yaml.Mapping(
		yaml.Plain("failures", yaml.Integer(0, 1000), func(e *t) *int { return &e.failures },
			"failures in a row; 0 ejects no server").Or("5"),
		yaml.Plain("for", yaml.Duration(100*time.Millisecond, time.Hour), func(e *t) *time.Duration { return &e.pause },
			"how long; it doubles with each ejection in a row, up to 5m").Or("10s"),
		yaml.Plain("statuses", yaml.List(1, yaml.Integer(400, 599)), func(e *t) *[]yaml.Setting[int] { return &e.statuses },
			"statuses that count as failures; default none"),
	)
}

func retryKind() yaml.Kind[Retry] {
	return yaml.Mapping(
		yaml.Plain("attempts", yaml.Integer(1, 4), func(r *Retry) *int { return &r.Attempts },
			"maximum servers that one request is sent to; 1 disables retries").Or("2"),
		yaml.Plain("budget", yaml.Ratio(), func(r *Retry) *float64 { return &r.Budget },
			"maximum retries as a share of the requests of the last 10s; 3 per second are always allowed").Or("0.2"),
	)
}

func upstreamTLS() yaml.Kind[writtenUpstreamTLS] {
	type t = writtenUpstreamTLS
	return yaml.Mapping(
		yaml.Placed("ca_file", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.caFile },
			"PEM file of the CA certificates; default the system's"),
		yaml.Placed("server_name", yaml.Text(isHostHeader).Like(filledLike),
			func(x *t) *yaml.Setting[string] { return &x.serverName },
			"name that the server's certificate must have; default the URL's host"),
		yaml.Placed("cert", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.cert },
			"PEM file of the client certificate; default none"),
		yaml.Placed("key", yaml.Text(isPath).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.key },
			"PEM file of its private key"),
	)
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
		yaml.Placed("header", yaml.Text(isHeader).Like(headerLike),
			func(x *a) *yaml.Setting[string] { return &x.header },
			"request header that carries the JWT").Or("X-Jotgate-Assertion"),
		yaml.Plain("audience", yaml.Text(isAudience).Like(audienceLike),
			func(x *a) *string { return &x.audience }, "aud of the JWT").Must("name the app"),
		yaml.Plain("ttl", yaml.Seconds(time.Second, time.Hour),
			func(x *a) *time.Duration { return &x.ttl }, "lifetime of the JWT").Or("60s"),
	)
	return yaml.Mapping(
		yaml.Plain("servers", yaml.List(1, serverKind()),
			func(u *t) *[]yaml.Setting[writtenServer] { return &u.servers },
			"URL of each server: http(s)://host:port, h2c://host:port, unix:/path or unix+h2c:/path; or {url, weight}").
			Must("write [http://127.0.0.1:3000]"),
		yaml.Plain("host", yaml.Text(isHostHeader).Like(filledLike),
			func(u *t) *string { return &u.host },
			"Host header of forwarded requests; default the client's"),
		yaml.Plain("connect_timeout", yaml.Duration(10*time.Millisecond, time.Minute),
			func(u *t) *time.Duration { return &u.connectTimeout }, "timeout of connecting").Or("5s"),
		yaml.Plain("response_timeout", yaml.Duration(10*time.Millisecond, 24*time.Hour),
			func(u *t) *time.Duration { return &u.responseTimeout }, "maximum time until the response head").Or("60s"),
		yaml.Plain("max_connections", yaml.Integer(1, 65_536),
			func(u *t) *int { return &u.maxConnections }, "maximum requests in flight per server").Or("512"),
		yaml.Placed("max_idle", yaml.Integer(0, 65_536),
			func(u *t) *yaml.Setting[int] { return &u.maxIdle },
			"maximum idle connections per server; default max_connections"),
		yaml.Plain("per_client", yaml.Ratio(), func(u *t) *float64 { return &u.perClient },
			"share of a server's max_connections that one HTTP/2 client connection may hold, at least one; 0 and 1 "+
				"set no share").
			Or("0.25"),
		yaml.Plain("balance", balanceKind(), func(u *t) *string { return &u.balance },
			"how a server is chosen").Or("round_robin"),
		yaml.Placed("health", healthKind(), func(u *t) *yaml.Setting[writtenHealth] { return &u.health },
			"active health check; default none"),
		yaml.Plain("eject", ejectKind(), func(u *t) *writtenEject { return &u.eject },
			"when a server gets no requests for a while, as long as there are others").Filled(),
		yaml.Plain("retry", retryKind(), func(u *t) *Retry { return &u.retry },
			"how often a request may be sent again: a safe method, without a body, before the first byte of an answer").Filled(),
		yaml.Plain("resolve", yaml.Duration(0, time.Hour), func(u *t) *time.Duration { return &u.resolve },
			"how often host names are looked up; all addresses are used; 0s looks them up only when connecting").Or("10s"),
		yaml.Placed("tls", upstreamTLS(), func(u *t) *yaml.Setting[writtenUpstreamTLS] { return &u.tls },
			"TLS of https servers"),
		yaml.Placed("ca_file", yaml.Text(isPath).Like(filledLike),
			func(u *t) *yaml.Setting[string] { return &u.caFile },
			"short for tls.ca_file"),
		yaml.Placed("assertion", assertion, func(u *t) *yaml.Setting[writtenAssertion] { return &u.assertion },
			"short-lived JWT for the app that states the decision; default none"),
	)
}

type writtenRoute struct {
	cors          yaml.Setting[writtenCORS]
	name          yaml.Setting[string]
	hosts         []yaml.Setting[string]
	path          yaml.Setting[string]
	methods       []yaml.Setting[string]
	listeners     []yaml.Setting[string]
	require       yaml.Setting[writtenRequire]
	public        yaml.Setting[bool]
	upstream      yaml.Setting[string]
	insecureAllow []yaml.Setting[string]
	forwardToken  yaml.Setting[bool]
	audiences     yaml.Setting[[]yaml.Setting[string]]
	upgrade       bool
	bodyBytes     yaml.Setting[int64]
	shadow        yaml.Setting[bool]
	allowFrom     []yaml.Setting[string]
	denyFrom      []yaml.Setting[string]
	rateLimit     yaml.Setting[[]yaml.Setting[writtenRateLimit]]
	claimHeaders  []yaml.Setting[writtenClaimHeader]
	hop           writtenHop
	tokenFrom     yaml.Setting[[]yaml.Setting[writtenSource]]
	endWithToken  yaml.Setting[bool]
	loginURL      yaml.Setting[string]
}

func routeKind() yaml.Kind[writtenRoute] {
	type t = writtenRoute
	return yaml.Mapping(
		yaml.Placed("name", yaml.Text(isRouteName).Like(routeNameLike),
			func(x *t) *yaml.Setting[string] { return &x.name },
			"name in logs and metrics; default the path"),
		yaml.Plain("hosts", yaml.Distinct(0, yaml.Text(isHostPattern).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.hosts },
			`exact host names, or patterns such as "{tenant}.example.com"; default any`),
		yaml.Placed("path", yaml.Text(isPathPattern).Like(pathLike), func(x *t) *yaml.Setting[string] { return &x.path },
			`path pattern such as "/t/{tenant}/": {name} matches one segment; a trailing slash covers the tree below`).
			Must("write it like /tickets/"),
		yaml.Plain("methods", yaml.Distinct(1, yaml.Text(isMethod).Like(methodLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.methods },
			"request methods; default GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
		yaml.Plain("listeners", yaml.Distinct(1, yaml.Text(nil).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.listeners },
			"names of the listeners on which the route answers, decision for questions; elsewhere 404; default all"),
		yaml.Placed("require", require(), func(x *t) *yaml.Setting[writtenRequire] { return &x.require },
			"authenticated; optional (a request without a token passes without identity); or an action and its tenant, or "+
				"other conditions"),
		yaml.Placed("public", yaml.OnlyTrue(),
			func(x *t) *yaml.Setting[bool] { return &x.public },
			"true: no token is required or judged"),
		yaml.Placed("upstream", yaml.Text(isUpstream).Like(upstreamLike),
			func(x *t) *yaml.Setting[string] { return &x.upstream },
			"name of an upstream, a URL, or none: the route is for questions to decision alone").Must("name one of upstreams, "+
			"or write a URL"),
		yaml.Plain(
			"insecure_allow",
			yaml.Distinct(0, yaml.Word(route.OddityWords()...)),
			func(x *t) *[]yaml.Setting[string] { return &x.insecureAllow },
			"ambiguous spellings of a path to accept",
		),
		yaml.Placed("forward_token", yaml.Boolean(),
			func(x *t) *yaml.Setting[bool] { return &x.forwardToken },
			"pass the Authorization header on to the upstream").Or("false"),
		yaml.Placed("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)),
			func(x *t) *yaml.Setting[[]yaml.Setting[string]] { return &x.audiences },
			"accepted aud values of the token; default the issuer's"),
		yaml.Plain("upgrade", yaml.Boolean(), func(x *t) *bool { return &x.upgrade },
			"allow WebSocket and other upgrades").Or("false"),
		yaml.Placed("body_bytes", yaml.Size[int64](0, 1<<50), func(x *t) *yaml.Setting[int64] { return &x.bodyBytes },
			"maximum size of a request body; default limits.body_bytes"),
		yaml.Placed("strip_prefix", yaml.Text(isPathPrefix).Like(pathPrefixLike),
			func(x *t) *yaml.Setting[string] { return &x.hop.stripPrefix },
			"literal beginning of the path that the upstream does not get, whole segments such as /api/orders; default none"),
		yaml.Placed("add_prefix", yaml.Text(isPathPrefix).Like(pathPrefixLike),
			func(x *t) *yaml.Setting[string] { return &x.hop.addPrefix },
			"literal path put before what the upstream gets, such as /v2; default none"),
		yaml.Plain("timeout", yaml.Duration(10*time.Millisecond, 24*time.Hour),
			func(x *t) *time.Duration { return &x.hop.timeout },
			"maximum time until the response head; default response_timeout of the upstream"),
		yaml.Plain("stall_timeout", yaml.Duration(100*time.Millisecond, 24*time.Hour),
			func(x *t) *time.Duration { return &x.hop.stallTimeout },
			"maximum time without progress of a body; default limits.stall_timeout"),
		yaml.Plain("headers", headerEdits(), func(x *t) *writtenHeaders { return &x.hop.headers },
			"header fields that are set or removed"),
		yaml.Placed("shadow", yaml.Boolean(),
			func(x *t) *yaml.Setting[bool] { return &x.shadow },
			"judge and log, but forward requests that would be refused for their token, tenant or permission; for trying a "+
				"route out").Or("false"),
		yaml.Placed("cors", routeCORS(), func(x *t) *yaml.Setting[writtenCORS] { return &x.cors },
			"CORS of this route, instead of the top level's; off: the app's own"),
		yaml.Plain("allow_from", yaml.Distinct(1, yaml.Text(isPrefix).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.allowFrom },
			"addresses and CIDR ranges of the only clients that are let in (else 403); default any"),
		yaml.Plain("deny_from", yaml.Distinct(1, yaml.Text(isPrefix).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.denyFrom },
			"addresses and CIDR ranges of clients that are refused (403), also those in allow_from; default none"),
		yaml.Placed("token_from", tokenFrom(),
			func(x *t) *yaml.Setting[[]yaml.Setting[writtenSource]] { return &x.tokenFrom },
			"where a request may have its token, instead of the top level's"),
		yaml.Placed("end_with_token", yaml.Boolean(), func(x *t) *yaml.Setting[bool] { return &x.endWithToken },
			"end event streams, long downloads and gRPC streams with their token, as upgrades end anyway").Or("false"),
		yaml.Placed("login_url", yaml.Text(isLogin).Like(loginLike), func(x *t) *yaml.Setting[string] { return &x.loginURL },
			"where a person who opens a page without a token is sent (302), such as "+
				"https://login.example.com/?return_to={url}; default nowhere (401)"),
		yaml.Plain("claim_headers", claimHeaders(), func(x *t) *[]yaml.Setting[writtenClaimHeader] { return &x.claimHeaders },
			"request headers that carry claims of the token to the upstream, beside the top level's"),
		yaml.Placed("rate_limit", rateLimits(),
			func(x *t) *yaml.Setting[[]yaml.Setting[writtenRateLimit]] { return &x.rateLimit },
			"how many requests are forwarded (else 429), or a list of such limits; default no limit"),
	).OneOf("require", "public")
}

type writtenRequire struct {
	authenticated bool
	optional      bool
	scopes        []yaml.Setting[string]
	issuers       []yaml.Setting[string]
	claims        []yaml.Named[jose.Condition]
	clientCert    yaml.Setting[writtenClientCert]
	action        yaml.Setting[string]
	tenant        yaml.Setting[string]
	tenantFrom    yaml.Setting[string]
	global        yaml.Setting[bool]
}

type writtenClientCert struct {
	san []yaml.Setting[string]
}

func clientCert() yaml.Kind[writtenClientCert] {
	type t = writtenClientCert
	return yaml.Mapping(
		yaml.Plain("san", yaml.Distinct(1, yaml.Text(isCertName).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.san },
			"alternative names of which the certificate has one: a DNS name, a URI, an email or an IP address").
			Must("name them: san: [orders.internal]"),
	)
}

func require() yaml.Kind[writtenRequire] {
	type t = writtenRequire
	mapping := yaml.Mapping(
		yaml.Placed("action", yaml.Text(isPlainAction).Like(plainActionLike),
			func(x *t) *yaml.Setting[string] { return &x.action },
			"action that the token must allow"),
		yaml.Placed("tenant", yaml.Text(nil), func(x *t) *yaml.Setting[string] { return &x.tenant }, "fixed tenant"),
		yaml.Placed("tenant_from", yaml.Text(nil), func(x *t) *yaml.Setting[string] { return &x.tenantFrom },
			"where the request names the tenant: path.x, host.x, header.X-Tenant or query.x"),
		yaml.Placed("global", yaml.OnlyTrue(),
			func(x *t) *yaml.Setting[bool] { return &x.global },
			"true: the action is required globally, without a tenant"),
		yaml.Plain("scopes", yaml.Distinct(1, yaml.Text(isScope).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.scopes },
			"words that the token's scope must all have (else 403); challenges tell them"),
		yaml.Plain("issuers", yaml.Distinct(1, yaml.Text(nil).Like(filledLike)),
			func(x *t) *[]yaml.Setting[string] { return &x.issuers },
			"issuers whose tokens alone are taken (else 403)"),
		yaml.Plain("claims", yaml.Names(yaml.Text(isClaimPath).Like(filledLike), condition()),
			func(x *t) *[]yaml.Named[jose.Condition] { return &x.claims },
			"claims that the token must have (else 403), as in trusted_issuers[].require_claims"),
		yaml.Placed("client_cert", clientCert(), func(x *t) *yaml.Setting[writtenClientCert] { return &x.clientCert },
			"client certificate that the connection must have (else 403)"),
	).OneAtMost("tenant", "tenant_from", "global")
	scalar := yaml.Word("authenticated", "optional")
	shape := &yaml.Shape{Either: []*yaml.Shape{scalar.Shape, mapping.Shape}}
	return yaml.Kind[writtenRequire]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenRequire, bool) {
		if v.IsText() {
			word, ok := scalar.Read(r, v)
			return writtenRequire{authenticated: true, optional: word == "optional"}, ok
		}
		return mapping.Read(r, v)
	}}
}

type writtenTest struct {
	request     yaml.Setting[string]
	headers     []yaml.Named[string]
	listener    yaml.Setting[string]
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
		yaml.Placed("request", yaml.Text(isRequest).Like(requestLike),
			func(x *t) *yaml.Setting[string] { return &x.request },
			"method and absolute URL").Must(`write it like "GET https://app.example.com/tenants/acme/"`),
		yaml.Plain(
			"headers",
			yaml.Names(yaml.Text(isTestHeader).Like(testHeaderLike), yaml.Text(isShort).Like(filledLike)),
			func(x *t) *[]yaml.Named[string] { return &x.headers },
			"request headers",
		),
		yaml.Placed("listener", yaml.Text(nil).Like(filledLike),
			func(x *t) *yaml.Setting[string] { return &x.listener },
			"name of the listener that it comes in on; default the first"),
		yaml.Placed("permissions", permissions(),
			func(x *t) *yaml.Setting[writtenPermissions] { return &x.permissions },
			"permissions of the request's token; without permissions and claims the request has no token"),
		yaml.Placed("claims", yaml.AnyObject(),
			func(x *t) *yaml.Setting[string] { return &x.claims },
			"claims of the request's token, instead of permissions; claims that are left out are filled in as in our own "+
				"tokens"),
		yaml.Placed("expect", expect(), func(x *t) *yaml.Setting[writtenExpect] { return &x.expect },
			"allow, refuse, or {refuse: reason}").Must("write allow, refuse, or {refuse: tenant_denied}"),
	).OneAtMost("permissions", "claims")
}

func expect() yaml.Kind[writtenExpect] {
	scalar := yaml.Word("allow", "refuse")
	mapping := yaml.Mapping(
		yaml.Plain("refuse", yaml.Text(isReason).Like(reasonLike), func(x *writtenExpect) *string { return &x.refuse },
			"reason code of the refusal").Must("write {refuse: tenant_denied}"),
	)
	shape := &yaml.Shape{Either: []*yaml.Shape{scalar.Shape, mapping.Shape}}
	return yaml.Kind[writtenExpect]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (writtenExpect, bool) {
		if v.IsText() {
			s, ok := scalar.Read(r, v)
			return writtenExpect{allow: s == "allow"}, ok
		}
		return mapping.Read(r, v)
	}}
}
