package config

import (
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/strictjson"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

type writtenTrusted struct {
	made           *TrustedIssuer // of it; with a pattern, one of them
	issuer         yaml.Setting[string]
	issuerPattern  yaml.Setting[string]
	issuerValues   yaml.Setting[[]yaml.Named[[]yaml.Setting[string]]]
	preset         string
	trustDomain    yaml.Setting[string]
	keys           yaml.Setting[[]yaml.Setting[writtenKeySet]]
	jwksURL        yaml.Setting[string]
	insecureHTTP   yaml.Setting[bool]
	fetch          yaml.Setting[writtenFetch]
	audiences      []yaml.Setting[string]
	audienceClaims yaml.Setting[[]yaml.Setting[jose.Path]]
	algorithms     []yaml.Setting[string]
	tokenTypes     yaml.Setting[[]yaml.Setting[string]]
	kinds          yaml.Setting[[]yaml.Setting[string]]
	requireClaims  []yaml.Named[jose.Condition]
	clientClaim    yaml.Setting[jose.Path]
	tenants        yaml.Setting[writtenTenants]
	roles          yaml.Setting[[]yaml.Setting[writtenForeignRoles]]
	actions        yaml.Setting[writtenActions]
	permissions    yaml.Setting[writtenPermissions]
	maxTokenTTL    yaml.Setting[time.Duration]
	logout         yaml.Setting[[]yaml.Setting[string]]
	exchange       yaml.Setting[bool]
}

type writtenKeySet struct{ file, kid yaml.Setting[string] }

// writtenWords says which words of a claim count.
type writtenWords struct {
	from  yaml.Setting[jose.Path]
	split yaml.Setting[string]
	keys  bool
}

type writtenTenants struct {
	writtenWords
	rename yaml.Setting[[]yaml.Named[string]]
	global bool
}

type writtenForeignRoles struct {
	writtenWords
	tenants yaml.Setting[string]
	roles   []yaml.Named[string]
}

type writtenActions struct {
	writtenWords
	actions yaml.Setting[[]yaml.Named[[]yaml.Setting[string]]]
}

type writtenFetch struct {
	refresh, maxAge         yaml.Setting[time.Duration]
	cooldown, wait, timeout time.Duration
	caFile                  yaml.Setting[string]
	bearer                  yaml.Setting[yaml.SecretSource]
	headers                 yaml.Setting[[]yaml.Named[Secret]]
}

// publicKeyFile is a file of a client's public keys.
func publicKeyFile() yaml.Kind[writtenKeySet] {
	return yaml.Mapping(keyFileField())
}

func keyFileField() yaml.Field[writtenKeySet] {
	return yaml.Placed("file", yaml.Text(isPath).Like(filledLike),
		func(k *writtenKeySet) *yaml.Setting[string] { return &k.file },
		"JWK set, JWK or PEM public key file, relative to the configuration file's directory").Must("name the file of " +
		"its public keys")
}

// claimPath reads the name of a claim: names joined by dots, or a list of names.
func claimPath() yaml.Kind[jose.Path] {
	text := yaml.Text(isClaimPath).Like(filledLike)
	list := yaml.List(1, yaml.Text(isShort).Like(filledLike))
	shape := &yaml.Shape{Either: []*yaml.Shape{text.Shape, list.Shape}}
	return yaml.Kind[jose.Path]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (jose.Path, bool) {
		if v.IsList() {
			names, ok := list.Read(r, v)
			return jose.Path(yaml.Values(names)), ok
		}
		name, ok := text.Read(r, v)
		path, _ := jose.ParsePath(name) // isClaimPath has checked it
		return path, ok
	}}
}

// condition reads what a claim must hold: a scalar, {contains: scalar}, a list of these, or the word present.
func condition() yaml.Kind[jose.Condition] {
	equals := yaml.Convert(yaml.Scalar(isClaimValue), func(s yaml.ScalarValue) jose.Condition {
		return jose.Condition{{Scalar: scalar(s)}}
	})
	type holding struct {
		members []yaml.Setting[yaml.ScalarValue]
	}
	contains := yaml.Convert(yaml.Mapping(
		yaml.Plain("contains", yaml.OneOrMany(yaml.Scalar(isClaimValue)),
			func(h *holding) *[]yaml.Setting[yaml.ScalarValue] { return &h.members },
			"the claim is a list that has this member, or one of these").Must("name the member"),
	), func(h holding) (c jose.Condition) {
		for _, s := range yaml.Values(h.members) {
			c = append(c, jose.Alternative{Scalar: scalar(s), Contains: true})
		}
		return c
	})
	many := yaml.OneOrMany(yaml.Either(contains, equals))
	return yaml.Kind[jose.Condition]{Shape: many.Shape, Read: func(r *yaml.Reader, v yaml.Value) (jose.Condition, bool) {
		all, ok := many.Read(r, v)
		var c jose.Condition
		for _, one := range yaml.Values(all) {
			c = append(c, one...)
		}
		if !v.IsList() && len(c) == 1 && !c[0].Contains &&
			c[0].Scalar == (jose.Scalar{Kind: strictjson.KindString, Text: "present"}) {
			c = jose.Condition{{Present: true}}
		}
		return c, ok
	}}
}

func scalar(s yaml.ScalarValue) jose.Scalar {
	kind := map[string]strictjson.Kind{
		"text": strictjson.KindString, "number": strictjson.KindNumber, "boolean": strictjson.KindBool,
	}[s.Type]
	return jose.Scalar{Kind: kind, Text: s.Text}
}

func wordFields[T any](of func(*T) *writtenWords, what string) []yaml.Field[T] {
	return []yaml.Field[T]{
		yaml.Placed("from", claimPath(), func(x *T) *yaml.Setting[jose.Path] { return &of(x).from },
			"the claim that "+what+": a name, a path with dots, or a list of names; required where the preset names none"),
		yaml.Placed("split", yaml.Text(isSplit).Like(filledLike), func(x *T) *yaml.Setting[string] { return &of(x).split },
			`a string is split at this; default " " for claims called scope or scp, else a string is one word`),
		yaml.Plain("keys", yaml.Boolean(), func(x *T) *bool { return &of(x).keys },
			"the keys of an object are words").Or("false"),
	}
}

func trusted() yaml.Kind[writtenTrusted] {
	type t = writtenTrusted
	keys := yaml.Mapping(keyFileField(),
		yaml.Placed("kid", yaml.Text(isShort).Like(filledLike),
			func(k *writtenKeySet) *yaml.Setting[string] { return &k.kid },
			"the kid of a file that holds one key without a kid, like a PEM"))
	theirs := yaml.Text(isShort).Like(filledLike)
	tenants := yaml.Mapping(append(wordFields(func(x *writtenTenants) *writtenWords { return &x.writtenWords },
		"names the token's tenants"),
		yaml.Placed("map", yaml.Names(theirs, yaml.Text(isShort).Like(filledLike)),
			func(x *writtenTenants) *yaml.Setting[[]yaml.Named[string]] { return &x.rename },
			"the issuer's tenant: ours; what is not in it does not count; default: the same names"),
		yaml.Plain("global", yaml.Boolean(), func(x *writtenTenants) *bool { return &x.global },
			"routes that belong to no tenant may be opened, too").Or("false"))...)
	role := yaml.Mapping(append(wordFields(func(x *writtenForeignRoles) *writtenWords { return &x.writtenWords },
		"lists the issuer's roles"),
		yaml.Placed("tenants", yaml.Word("keys"), func(x *writtenForeignRoles) *yaml.Setting[string] { return &x.tenants },
			"keys: each role is an object whose keys are the tenants that it counts for"),
		yaml.Plain("map", yaml.Names(theirs, yaml.Text(isName).Like(nameLike)),
			func(x *writtenForeignRoles) *[]yaml.Named[string] { return &x.roles },
			"maps the issuer's roles to ours").Must("write {their-role: our-role}"))...)
	actions := yaml.Mapping(append(wordFields(func(x *writtenActions) *writtenWords { return &x.writtenWords },
		"lists actions"),
		yaml.Placed("map", yaml.Names(theirs, yaml.OneOrMany(yaml.Text(isAction).Like(filledLike))),
			func(x *writtenActions) *yaml.Setting[[]yaml.Named[[]yaml.Setting[string]]] { return &x.actions },
			"the issuer's word: our action, or a list of them; default: the words as they are"))...)
	return yaml.Mapping(
		yaml.Placed("issuer", yaml.Text(isForeignIssuer).Like(filledLike),
			func(i *t) *yaml.Setting[string] { return &i.issuer },
			"iss of its tokens; a URL, unless jwks_url or keys is set"),
		yaml.Placed("issuer_pattern", yaml.Text(isForeignIssuer).Like(filledLike),
			func(i *t) *yaml.Setting[string] { return &i.issuerPattern },
			"many issuers in one entry: an iss with {names}, each with its values in issuer_values; needs jwks_url or keys"),
		yaml.Placed("issuer_values", yaml.Names(yaml.Text(isPatternName).Like(filledLike),
			yaml.Distinct(1, yaml.Text(isPatternValue).Like(filledLike))),
			func(i *t) *yaml.Setting[[]yaml.Named[[]yaml.Setting[string]]] { return &i.issuerValues },
			"the values of each {name} of issuer_pattern; each combination is an issuer of its own"),
		yaml.Plain("preset", yaml.Word(PresetNames()...), func(i *t) *string { return &i.preset },
			"defaults for what follows, by the vendor: see docs/issuers.md; default none"),
		yaml.Placed("trust_domain", yaml.Text(isTrustDomain).Like(filledLike),
			func(i *t) *yaml.Setting[string] { return &i.trustDomain },
			"preset spiffe: the trust domain of its subjects; default the host of issuer"),
		yaml.Placed("keys", yaml.List(1, keys), func(i *t) *yaml.Setting[[]yaml.Setting[writtenKeySet]] { return &i.keys },
			"files of its public keys; without keys and jwks_url, the keys are found by discovery"),
		yaml.Placed("jwks_url", yaml.Text(isJWKSURL).Like(jwksURLLike),
			func(i *t) *yaml.Setting[string] { return &i.jwksURL },
			"URL of its key set, instead of discovery"),
		yaml.Placed("insecure_http", yaml.Boolean(), func(i *t) *yaml.Setting[bool] { return &i.insecureHTTP },
			"allow fetching its keys over plain http from other hosts; an attacker on the network can then replace them").Or(
			"false"),
		yaml.Placed("fetch", fetch(), func(i *t) *yaml.Setting[writtenFetch] { return &i.fetch },
			"how its keys are fetched and cached").Filled(),
		yaml.Plain("audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)),
			func(i *t) *[]yaml.Setting[string] { return &i.audiences },
			"accepted aud values of its tokens").Must("list the aud values that its tokens have for this gate"),
		yaml.Placed("audience_claims", yaml.List(1, claimPath()),
			func(i *t) *yaml.Setting[[]yaml.Setting[jose.Path]] { return &i.audienceClaims },
			"where the audiences stand: aud decides where it is there; the first other one that is there stands in for a "+
				"missing aud; default [aud]"),
		yaml.Plain("algorithms", yaml.Distinct(1, yaml.Word(append(jose.Algorithms(), "Ed25519")...)),
			func(i *t) *[]yaml.Setting[string] { return &i.algorithms },
			"accepted signature algorithms; default those of its keys"),
		yaml.Placed("token_types", yaml.Distinct(1, yaml.Text(isShort).Like(filledLike)),
			func(i *t) *yaml.Setting[[]yaml.Setting[string]] { return &i.tokenTypes },
			"accepted typ values of its tokens' headers; none: no typ; default [at+jwt, application/at+jwt]"),
		yaml.Placed("kinds", yaml.Distinct(1, yaml.Word("access", "id", "workload")),
			func(i *t) *yaml.Setting[[]yaml.Setting[string]] { return &i.kinds },
			"accepted kinds of tokens: access tokens, id_tokens, or workload tokens, which do not say what they are; "+
				"default [access]"),
		yaml.Plain("require_claims", yaml.Names(yaml.Text(isClaimPath).Like(filledLike), condition()),
			func(i *t) *[]yaml.Named[jose.Condition] { return &i.requireClaims },
			"what claims must hold: a text, number or boolean, {contains: member}, a list of these, or present; default none"),
		yaml.Placed("client_claim", claimPath(), func(i *t) *yaml.Setting[jose.Path] { return &i.clientClaim },
			"claim that holds the client id; default client_id"),
		yaml.Placed("tenants", tenants, func(i *t) *yaml.Setting[writtenTenants] { return &i.tenants },
			"the token's own tenants: it opens these alone; default none"),
		yaml.Placed("roles", yaml.OneOrMany(role),
			func(i *t) *yaml.Setting[[]yaml.Setting[writtenForeignRoles]] { return &i.roles },
			"maps the roles in its tokens to ours: one source, or a list; default none"),
		yaml.Placed("actions", actions, func(i *t) *yaml.Setting[writtenActions] { return &i.actions },
			"words of the token that are actions on each of its tenants; needs tenants; default none"),
		yaml.Placed("permissions", permissions(), func(i *t) *yaml.Setting[writtenPermissions] { return &i.permissions },
			"upper bound of the permissions of its tokens").Must("write a ceiling, like [{tenant: acme, actions: [READ]}]"),
		yaml.Placed("max_token_ttl", yaml.Seconds(time.Second, mostTokenTTL),
			func(i *t) *yaml.Setting[time.Duration] { return &i.maxTokenTTL },
			"maximum lifetime of its tokens; longer ones are refused").Or("24h"),
		yaml.Placed("exchange", yaml.Boolean(), func(i *t) *yaml.Setting[bool] { return &i.exchange },
			"clients with exchange in may can exchange its tokens for narrower ones of ours at /oauth2/token (RFC 8693)").Or(
			"false"),
		yaml.Placed("logout_audiences", yaml.Distinct(1, yaml.Text(isAudience).Like(audienceLike)),
			func(i *t) *yaml.Setting[[]yaml.Setting[string]] { return &i.logout },
			"accepted aud values of its logout tokens, often a client id: with them, POST /oauth2/backchannel-logout ends "+
				"sessions, and its tokens need iat; default none"),
	).OneAtMost("keys", "jwks_url")
}

func fetch() yaml.Kind[writtenFetch] {
	type t = writtenFetch
	return yaml.Mapping(
		yaml.Placed("refresh", yaml.Duration(time.Second, 24*time.Hour),
			func(f *t) *yaml.Setting[time.Duration] { return &f.refresh },
			"interval between two fetches, with up to 10 % negative jitter").Or("10m"),
		yaml.Placed("max_age", yaml.Duration(time.Minute, 30*24*time.Hour),
			func(f *t) *yaml.Setting[time.Duration] { return &f.maxAge },
			"maximum age of the key set while fetches fail; after that its tokens are refused").Or("24h"),
		yaml.Plain("cooldown", yaml.Duration(time.Second, time.Hour), func(f *t) *time.Duration { return &f.cooldown },
			"minimum interval between two fetches caused by tokens with an unknown kid").Or("30s"),
		yaml.Plain("wait", yaml.Duration(0, 30*time.Second), func(f *t) *time.Duration { return &f.wait },
			"how long a request with such a token waits for the fetch").Or("2s"),
		yaml.Plain("timeout", yaml.Duration(100*time.Millisecond, time.Minute),
			func(f *t) *time.Duration { return &f.timeout },
			"timeout of a fetch, including redirects").Or("5s"),
		yaml.Placed("ca_file", yaml.Text(isPath).Like(filledLike), func(f *t) *yaml.Setting[string] { return &f.caFile },
			"PEM file of the CA certificates for its servers; default the system's"),
		yaml.Placed("bearer", yaml.SecretFrom(isFetchBearer).Like(bearerLike),
			func(f *t) *yaml.Setting[yaml.SecretSource] { return &f.bearer },
			"sent as Authorization: Bearer to the issuer's own and the jwks_url's origin, over https alone; ${file:PATH} is "+
				"read anew for each fetch; default none"),
		yaml.Placed("headers", yaml.Names(yaml.Text(isFetchHeader).Like(testHeaderLike),
			yaml.SecretText(isFieldValue).Like(fieldValueLike)),
			func(f *t) *yaml.Setting[[]yaml.Named[Secret]] { return &f.headers },
			"headers that go where bearer goes; default none"),
	)
}

func isFetchBearer(s string) (problem, remedy string) {
	if s = strings.TrimSpace(s); s == "" {
		return "is empty", "name the token, like ${file:/var/run/secrets/token}"
	}
	if len(s) > 16<<10 || !visible(s) {
		return "is not a bearer token", "use printable ASCII characters without spaces"
	}
	return "", ""
}

func isFetchHeader(s string) (problem, remedy string) {
	switch strings.ToLower(s) {
	case "authorization", "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
		"accept",
		"accept-encoding", "user-agent":
		return "is not a header that can be set here", "use bearer for Authorization; leave the others out"
	}
	return isTestHeader(s)
}

func isClaimValue(s string) (problem, remedy string) {
	if len(s) > 1024 || strings.ContainsFunc(s, yaml.IsControl) {
		return "is too long or has control characters", "use up to 1024 characters"
	}
	return "", ""
}

func isSplit(s string) (problem, remedy string) {
	if s == "" || len(s) > 4 || strings.ContainsFunc(s, yaml.IsControl) {
		return "is no separator", `use 1 to 4 characters, like " " or ","`
	}
	return "", ""
}

func isPatternName(s string) (problem, remedy string) {
	if len(s) > 64 || !plainRunes(s, "_-") {
		return "is not a name", "use 1 to 64 letters, digits, _ and -"
	}
	return "", ""
}

func isPatternValue(s string) (problem, remedy string) {
	if s == "" || len(s) > 128 || !visible(s) || strings.ContainsAny(s, "{}/?#") {
		return "is not a value", "use 1 to 128 printable ASCII characters without spaces, braces, /, ? and #"
	}
	return "", ""
}

func isTrustDomain(s string) (problem, remedy string) {
	if len(s) > 255 || !plainRunes(s, ".-_") || strings.ToLower(s) != s {
		return "is not a trust domain", "write it like example.org: lower-case letters, digits, ., - and _"
	}
	return "", ""
}
