package config

import (
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// leastSecret is 22 characters: 128 bits in base64url.
const leastSecret = 22

// What every good text of a kind matches, for a schema: it may be less than its check asks for, never more. RE2 and
// ECMA-262 read all of these alike.
const (
	nameLike          = `^[A-Za-z0-9._:~@/+-]{1,64}$`
	clientIDLike      = "^[A-Za-z0-9!#$&'()*+./<=>?@\\[\\]^_`{|}~-]{1,128}$"
	actionLike        = `^(\*|[A-Za-z0-9_.:-]{1,64})$`
	plainActionLike   = `^[A-Za-z0-9_.:-]{1,64}$`
	secretLike        = `^[!-~]{22,512}$`
	secretOrNoneLike  = `^([!-~]{22,512})?$`
	bearerLike        = `^[!-~]*$`
	codeSecretLike    = `^[\s\S]{8,}` // 32 bytes; a character has four at most
	digestLike        = `^[0-9A-Fa-f]{64}$`
	audienceLike      = `^[!-~]{1,256}$`
	filledLike        = `[\s\S]`
	uuidLike          = `^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`
	addressLike       = `^((\[[^\]]+\]|[^:]*):[0-9]{1,5}|unix:.+|systemd(:[A-Za-z0-9_.-]{1,255})?)$`
	domainLike        = `^[a-z0-9.-]{1,253}$`
	httpsLike         = `^https://[!-~]+$`
	modeLike          = `^0?[0-7]{3}$`
	addressOrNoneLike = `^((\[[^\]]+\]|[^:]*):[0-9]{1,5})?$`
	issuerURLLike     = `^https?://[!-~]*[^/]$`
	foreignIssuerLike = `^https?://[!-~]+$`
	jwksURLLike       = `^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$`
	directoryLike     = `^[Hh][Tt][Tt][Pp][Ss]?://[!-~]*\{user_id\}[!-~]*$`
	loginLike         = `^[Hh][Tt][Tt][Pp][Ss]?://[!-~]*\{url\}[!-~]*$`
	serverLike        = `^(([Hh][Tt][Tt][Pp][Ss]?|h2c)://[^/?#@]+|unix(\+h2c)?:/[!-~]+)$`
	prefixLike        = `^((/[A-Za-z0-9._~-]+)+)?$`
	headerLike        = `^[A-Za-z0-9-]{1,64}$`
	testHeaderLike    = `^[A-Za-z0-9_-]{1,64}$`
	routeNameLike     = `^[ -~]{1,128}$`
	requestLike       = `^[A-Za-z0-9_-]+ [Hh][Tt][Tt][Pp][Ss]?://[!-~]+$`
	reasonLike        = `^[a-z_]+$`
	upstreamNameLike  = `^[A-Za-z0-9._-]{1,64}$`
	upstreamLike      = `^([A-Za-z0-9._-]{1,64}|([Hh][Tt][Tt][Pp][Ss]?|h2c)://[^/?#@]+|unix(\+h2c)?:/[!-~]+)$`
	pathLike          = `^/`
	redisURLLike      = `^(rediss?://[^/]+|unix:///[\s\S]+)`
	keyPrefixLike     = `^[A-Za-z0-9._:-]{1,64}$`
	methodLike        = "^[A-Z0-9!#$%&'*+.^_`|~-]+$"
)

// The checks below say what a single text must look like. Each answers the problem, which follows the text, and the
// remedy.

func isName(s string) (problem, remedy string) {
	if len(s) > 64 || !plainRunes(s, "._:~@/+-") {
		return "is not a valid name", "use 1 to 64 of A-Z a-z 0-9 . _ : ~ @ / + -"
	}
	return "", ""
}

// isClientID keeps a client id usable in HTTP Basic (no colon) and in a log line.
func isClientID(s string) (problem, remedy string) {
	if len(s) > 128 || !plainRunes(s, "!#$&'()*+-./<=>?@[]^_`{|}~") {
		return "is not a valid client id", `use 1 to 128 printable ASCII characters except space : " \ % , ;`
	}
	return "", ""
}

func isAction(s string) (problem, remedy string) {
	if s == token.Any {
		return "", ""
	}
	return isPlainAction(s)
}

func isPlainAction(s string) (problem, remedy string) {
	switch {
	case s == token.Any:
		return "is the wildcard, not an action", "name one action, such as READ"
	case len(s) > 64 || !plainRunes(s, "_.:-"):
		return "is not a valid action", "use 1 to 64 of A-Z a-z 0-9 _ . : -"
	}
	return "", ""
}

// plainRunes reports whether s has letters, digits and those of more alone, and at least one.
func plainRunes(s, more string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(more, c))
	}) < 0
}

func isSecret(s string) (problem, remedy string) {
	switch {
	case len(s) < leastSecret:
		return fmt.Sprintf("has %d characters", len(s)),
			fmt.Sprintf(
				"use at least %d random characters, such as the output of `openssl rand -base64 24`",
				leastSecret,
			)
	case len(s) > 512 || !visible(s):
		return "cannot be sent in a header", "use at most 512 printable ASCII characters without spaces"
	}
	return "", ""
}

func isSecretOrNone(s string) (problem, remedy string) {
	if s == "" {
		return "", ""
	}
	return isSecret(s)
}

func isBearer(s string) (problem, remedy string) {
	if len(s) > 4096 || s != "" && !visible(s) {
		return "is not a bearer token", "use at most 4096 printable ASCII characters without spaces"
	}
	return "", ""
}

func isCodeSecret(s string) (problem, remedy string) {
	if len(s) < 32 || len(s) > 1024 {
		return fmt.Sprintf(
			"has %d bytes",
			len(s),
		), "use at least 32 random bytes, such as the output of `jotgate keygen --secret`"
	}
	return "", ""
}

func isDigest(s string) (problem, remedy string) {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdefABCDEF") != "" {
		return "is not a SHA-256", "write its 64 hex digits, as `jotgate hash` prints them"
	}
	return "", ""
}

func visible(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) < 0
}

func isAudience(s string) (problem, remedy string) {
	if s == "" || len(s) > 256 || !visible(s) {
		return "is not an audience", "use 1 to 256 printable ASCII characters without spaces"
	}
	return "", ""
}

func isPath(s string) (problem, remedy string) {
	if s == "" {
		return "is not a path", "name a file"
	}
	return "", ""
}

func isClaimPath(s string) (problem, remedy string) {
	if _, err := jose.ParsePath(s); err != nil || len(s) > 256 || strings.ContainsFunc(s, yaml.IsControl) {
		return "is not a claim", "name a claim, or a dotted path such as realm_access.roles"
	}
	return "", ""
}

func isShort(s string) (problem, remedy string) {
	if s == "" || len(s) > 256 || strings.ContainsFunc(s, yaml.IsControl) {
		return "is empty, too long or contains control characters", "use 1 to 256 characters"
	}
	return "", ""
}

func isCodePrefix(s string) (problem, remedy string) {
	if s == "" || len(s) > 64 || !utf8.ValidString(s) || strings.ContainsFunc(s, yaml.IsControl) {
		return "is not a prefix", "use 1 to 64 bytes without control characters"
	}
	return "", ""
}

var uuidShape = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

func isUUID(s string) (problem, remedy string) {
	if !uuidShape.MatchString(s) {
		return "is not a UUID", "write it like 6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	}
	return "", ""
}

// isListenAddress reads host:port, the path of a Unix socket, or the name of a socket that systemd passes.
func isListenAddress(s string) (problem, remedy string) {
	if path, found := strings.CutPrefix(s, "unix:"); found {
		return isUnixPath(path)
	}
	if s == "systemd" {
		return "", ""
	}
	if name, found := strings.CutPrefix(s, "systemd:"); found {
		if name == "" || len(name) > 255 || !plainRunes(name, "-_.") {
			return "has no name of a socket", "write it like systemd:main, with FileDescriptorName=main in the .socket unit"
		}
		return "", ""
	}
	return isAddress(s)
}

// longestUnixPath is what the system takes, less the end of a name that the socket has while it is made.
const longestUnixPath = 100

func isUnixPath(path string) (problem, remedy string) {
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		return "has no path", "write it like unix:/run/jotgate/gate.sock"
	case path[0] == '@':
		return "is an abstract socket, which has no mode", "write a path, like unix:/run/jotgate/gate.sock"
	case len(path) > longestUnixPath:
		return "has a path longer than 100 bytes", "choose a shorter one, like unix:/run/jotgate/gate.sock"
	}
	return "", ""
}

// isDomain reads a host name that a certificate can be issued for.
func isDomain(s string) (problem, remedy string) {
	host, err := route.CanonicalHost(s)
	if err != nil || host != s || !strings.Contains(s, ".") || !domainPattern.MatchString(s) || net.ParseIP(s) != nil {
		return "is not a host name", "write it in lower case, like shop.example.com; ACME has no wildcards here"
	}
	return "", ""
}

var domainPattern = regexp.MustCompile(domainLike)

func isACMEDirectory(s string) (problem, remedy string) {
	if u, err := webURL(s); err != nil || u.Scheme != "https" || u.String() != s {
		return "is not an https URL", "write it like https://acme-v02.api.letsencrypt.org/directory"
	}
	return "", ""
}

// isMode reads the permissions of a file, as chmod takes them.
func isMode(s string) (problem, remedy string) {
	mode, err := strconv.ParseUint(s, 8, 32)
	if err != nil || mode > 0o777 || len(s) != 3 && (len(s) != 4 || s[0] != '0') {
		return "is not the mode of a file", `write it in octal and quoted, like "0660"`
	}
	return "", ""
}

// isAddress reads host:port to listen on. Port 0 lets the system choose.
func isAddress(s string) (problem, remedy string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "is not host:port", `write it like "127.0.0.1:8080", "[::1]:8080", or ":8080" for every interface`
	}
	if n, ok := yaml.Digits(port); !ok || n > 65535 {
		return "has no port from 0 to 65535", `write it like "127.0.0.1:8080"`
	}
	if host != "" && net.ParseIP(host) == nil && !plainRunes(host, ".-_:%") {
		return "has no valid host", "write an IP address, a name, or nothing before the colon"
	}
	return "", ""
}

func isAddressOrNone(s string) (problem, remedy string) {
	if s == "" {
		return "", ""
	}
	return isAddress(s)
}

// isIssuer holds our own URL to what RFC 8414 §2 wants, but for http, which a sidecar needs.
func isIssuer(s string) (problem, remedy string) {
	if strings.HasSuffix(s, "/") {
		return "ends in a slash", "remove it: the iss of every token must match exactly"
	}
	return isIssuerURL(s)
}

// isForeignIssuer takes any StringOrURI (RFC 7519 §2).
func isForeignIssuer(s string) (problem, remedy string) {
	if s == "" || len(s) > 256 || !visible(s) {
		return "is not an issuer", "use 1 to 256 printable ASCII characters without spaces"
	}
	return "", ""
}

func isIssuerURL(s string) (problem, remedy string) {
	u, err := webURL(s)
	if err != nil || u.String() != s || u.RawQuery != "" || u.ForceQuery || len(s) > 256 {
		return "is not an issuer URL", "write http(s)://host, optionally with a port and a path, without user, query and " +
			"fragment"
	}
	return "", ""
}

func isOrigin(s string) (problem, remedy string) {
	u, err := webURL(s)
	if err != nil || u.Scheme+"://"+u.Host != s || len(s) > 256 {
		return "is not an origin", "write http(s)://host, optionally with a port, and nothing after it"
	}
	return "", ""
}

func isJWKSURL(s string) (problem, remedy string) {
	if _, err := webURL(s); err != nil || len(s) > 1024 {
		return "is not a key set URL", "write it like https://kc.example.com/realms/shop/protocol/openid-connect/certs"
	}
	return "", ""
}

func isDirectory(s string) (problem, remedy string) {
	if strings.Count(s, "{user_id}") != 1 {
		return "has no {user_id}", "write it like https://directory.example.com/users/{user_id}"
	}
	u, err := webURL(strings.Replace(s, "{user_id}", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", 1))
	if err != nil || strings.Contains(u.Host, "6ba7b810") {
		return "is not a directory URL", "write it like https://directory.example.com/users/{user_id}"
	}
	return "", ""
}

// isServer reads an upstream's server: what is asked of it comes from the request alone.
func isServer(s string) (problem, remedy string) {
	if path, is := cutSocket(s); is {
		return isSocket(path)
	}
	u, err := webURL(s)
	if rest, is := strings.CutPrefix(s, "h2c://"); is {
		u, err = webURL("http://" + rest)
	}
	if isHostPort(s) {
		return "has no scheme", "write http://" + s
	}
	if err == nil && u.Path == "/" && u.RawQuery == "" && !u.ForceQuery {
		return "ends in a slash", "write " + strings.TrimSuffix(s, "/")
	}
	if err != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery {
		return "is not a server URL",
			"write only http(s)://host:port, without path, query, user and fragment; or h2c://host:port, unix:/path, " +
				"unix+h2c:/path"
	}
	return "", ""
}

// cutSocket returns the path of unix:/run/app.sock and of unix+h2c:/run/app.sock.
func cutSocket(s string) (path string, is bool) {
	if path, is = strings.CutPrefix(s, "unix:"); !is {
		path, is = strings.CutPrefix(s, "unix+h2c:")
	}
	return path, is
}

func isSocket(path string) (problem, remedy string) {
	switch u, err := url.Parse("unix:" + path); {
	case err != nil || !visible(path) || u.Host != "" || u.RawQuery != "" || u.ForceQuery ||
		strings.ContainsAny(path, "#%"):
		return "is not a socket's path", "write it like unix:/run/app.sock"
	case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/"):
		return "is not the absolute path of a socket", "write it like unix:/run/app.sock"
	}
	return "", ""
}

func isHealthPath(s string) (problem, remedy string) {
	if !strings.HasPrefix(s, "/") || !visible(s) || strings.Contains(s, "#") {
		return "is not a path", "write it like /healthz"
	}
	return "", ""
}

// webURL parses an absolute http or https URL without user and fragment.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || !visible(s):
		return nil, fmt.Errorf("not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.Opaque != "":
		return nil, fmt.Errorf("not an http or https URL with a host and without a user")
	case strings.Contains(s, "#"):
		return nil, fmt.Errorf("a fragment")
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("a port that is none")
		}
	}
	return u, nil
}

func isAccessTokenPrefix(s string) (problem, remedy string) {
	if s == "" {
		return "", ""
	}
	if s[0] != '/' || strings.HasSuffix(s, "/") || strings.Contains(s, "//") || !plainRunes(s, "/._~-") ||
		slices.ContainsFunc(
			strings.Split(s, "/"),
			func(segment string) bool { return segment == "." || segment == ".." },
		) {
		return "is not a path prefix", "write it like /crafter-profile"
	}
	return "", ""
}

func isHeader(s string) (problem, remedy string) {
	if len(s) > 64 || !plainRunes(s, "-") {
		return "is not a valid header name", "use 1 to 64 letters, digits and hyphens, as in X-Tenant"
	}
	if slices.Contains(reservedHeaders, textproto.CanonicalMIMEHeaderKey(s)) {
		return "is a reserved header", "choose another name, such as X-Tenant"
	}
	return "", ""
}

// reservedHeaders can neither carry an identity nor name a tenant: they frame the message, hold the credential, or are
// rewritten on the way.
var reservedHeaders = []string{
	"Authorization", "Connection", "Content-Length", "Content-Type", "Cookie", "Date", "Expect", "Forwarded", "Host",
	"Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
	"X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id",
}

func isRouteName(s string) (problem, remedy string) {
	if s == "" || len(s) > 128 || strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
		return "is not a valid route name", "use 1 to 128 printable ASCII characters"
	}
	return "", ""
}

// isTenantPattern sees that no pattern lets through what is never a tenant (design rule 5 and api.md).
func isTenantPattern(s string) (problem, remedy string) {
	_, alone := regexp.Compile(s) // so that it cannot close our parenthesis
	p, err := regexp.Compile(anchors(s))
	if alone != nil || err != nil { // \Q without \E would swallow our parenthesis
		return "is not a valid RE2 regular expression", "write it like [A-Za-z0-9._~-]{1,64}"
	}
	for _, never := range []string{"", token.Any, token.Placeholder} {
		if p.MatchString(never) {
			return "matches " + yaml.Quote(never) + ", which is never a tenant", "restrict the pattern"
		}
	}
	for c := rune(0); c < 0x80; c++ {
		if c > ' ' && c != 0x7f && !strings.ContainsRune(`/\%;`, c) {
			continue
		}
		for _, never := range []string{string(c), "a" + string(c), "a" + string(c) + "a"} {
			if p.MatchString(never) {
				return "matches " + yaml.Quote(
					never,
				), "exclude spaces, control characters and / \\ % ; which change the meaning of a path"
			}
		}
	}
	return "", ""
}

// anchored compiles a pattern that was checked before, for whole texts.
func anchored(s string) *regexp.Regexp {
	return regexp.MustCompile(anchors(s))
}

func anchors(s string) string { return `\A(?:` + s + `)\z` }

func isRequest(s string) (problem, remedy string) {
	method, target, _ := strings.Cut(s, " ")
	u, err := webURL(target)
	if err != nil || u.Host == "" || !plainRunes(method, "-_") {
		return "is not a request", `write it like "GET https://app.example.com/tenants/acme/"`
	}
	return "", ""
}

func isReason(s string) (problem, remedy string) {
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "is not a reason code", "write one such as tenant_denied"
	}
	return "", ""
}

// isPathPattern, isHostPattern and isMethod let the route package speak; its errors begin with the operand, which the
// fault shows already.

func isPathPattern(s string) (problem, remedy string) {
	_, err := route.ParsePath(s)
	return operandless(err, "path", s)
}

func isHostPattern(s string) (problem, remedy string) {
	if s == "" {
		return "is not a host", "remove hosts to match any"
	}
	_, err := route.ParseHost(s)
	return operandless(err, "host", s)
}

func isServeHost(s string) (problem, remedy string) {
	h, err := route.ParseHost(s)
	if err == nil && (s == "" || len(h.Params()) > 0) {
		return "is not a host", "write out each host, or remove hosts to match any"
	}
	return operandless(err, "host", s)
}

func isMethod(s string) (problem, remedy string) {
	_, err := route.ParseMethod(s)
	return operandless(err, "method", s)
}

func operandless(err error, what, s string) (problem, remedy string) {
	if err == nil {
		return "", ""
	}
	says := strings.TrimPrefix(err.Error(), fmt.Sprintf("%s %q: ", what, s))
	problem, remedy, _ = strings.Cut(says, ": ")
	return "is not a " + what + " (" + problem + ")", remedy
}

// isHostHeader is what an upstream may be told in Host: a host with or without a port.
func isHostHeader(s string) (problem, remedy string) {
	if host, err := route.CanonicalHost(s); err != nil || host == "" {
		return "is not a host", "write it like app.internal or app.internal:8080"
	}
	return "", ""
}

func isUpstreamName(s string) (problem, remedy string) {
	if len(s) > 64 || !plainRunes(s, "._-") {
		return "is not a valid name", "use 1 to 64 of A-Z a-z 0-9 . _ -"
	}
	if s == noUpstream {
		return "is reserved: upstream: none is a route that forwards nothing", "give the upstream another name"
	}
	return "", ""
}

// isHostPort reports whether s is a host and a port, without the scheme that makes a URL of it.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, ok := yaml.Digits(port)
	return err == nil && ok && n > 0 && n <= 65535 && (net.ParseIP(host) != nil || plainRunes(host, ".-_"))
}

func isUpstream(s string) (problem, remedy string) {
	if strings.Contains(s, "/") || isHostPort(s) {
		return isServer(s)
	}
	if s == noUpstream {
		return "", ""
	}
	return isUpstreamName(s)
}

func isTestHeader(s string) (problem, remedy string) {
	if len(s) > 64 || !plainRunes(s, "-_") {
		return "is not a valid header name", "use 1 to 64 letters, digits, hyphens and underscores, as in X-Tenant"
	}
	return "", ""
}

// claimsOfTokens are the claims that mean something to those who judge tokens: no client may choose their values.
// Letter case does not count, as some readers fold it.
var claimsOfTokens = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", // RFC 7519 §4.1
	"client_id", "scope", "scp", "cnf", "act", "may_act", "sid", "authorization_details",
	"grantor", "tenantPermissions", "exchanged_from", "actor_tokens", "application", "master", "expiresOn", // ours
	"typ", "token_use", "events", "nonce", "at_hash", "c_hash", "s_hash", "azp", "cid", "appid", "azpacr", "gty", // kinds
	"code", "response", "htm", "htu", "ath", "token_introspection", "toe", "txn",
}

func isCustomClaim(s string) (problem, remedy string) {
	if s == "" || len(s) > 64 || !visible(s) || strings.ContainsAny(s, `"\`) {
		return "is not the name of a custom claim", `use 1 to 64 printable ASCII characters without spaces, " and \`
	}
	if slices.ContainsFunc(claimsOfTokens, func(name string) bool { return strings.EqualFold(name, s) }) {
		return "is a claim that the gate sets or judges itself", "choose another name"
	}
	return "", ""
}
