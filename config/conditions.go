package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// A RateLimit bounds how many requests of one kind a route forwards.
type RateLimit struct {
	Requests int           // in each …
	Per      time.Duration // … of these
	Burst    int           // the size of the bucket
	By       string        // whose requests count together: ByTenant, BySubject, ByClient or ByIP
	Shared   bool          // on all replicas together
}

// Whose requests a rate limit counts together.
const (
	ByTenant  = "tenant"
	BySubject = "subject"
	ByClient  = "client"
	ByIP      = "ip" // an IPv6 client by its /64
)

type writtenRateLimit struct {
	requests yaml.Setting[int]
	per      yaml.Setting[time.Duration]
	burst    yaml.Setting[int]
	by       yaml.Setting[string]
	shared   yaml.Setting[bool]
}

func rateLimit() yaml.Kind[writtenRateLimit] {
	type t = writtenRateLimit
	return yaml.Mapping(
		yaml.Placed("requests", yaml.Integer(1, 1_000_000), func(x *t) *yaml.Setting[int] { return &x.requests },
			"number of requests that are forwarded per period").Must("write a number of requests, like 100"),
		yaml.Placed("per", yaml.Duration(time.Second, 24*time.Hour),
			func(x *t) *yaml.Setting[time.Duration] { return &x.per },
			"the period").Or("1s"),
		yaml.Placed("burst", yaml.Integer(1, 1_000_000), func(x *t) *yaml.Setting[int] { return &x.burst },
			"size of the bucket: requests that may come at once; default requests"),
		yaml.Placed("by", yaml.Word(ByTenant, BySubject, ByClient, ByIP), func(x *t) *yaml.Setting[string] { return &x.by },
			"whose requests are counted together; ip counts before the token is judged, IPv6 by /64").
			Must("write tenant, subject, client or ip"),
		yaml.Placed("shared", yaml.Boolean(), func(x *t) *yaml.Setting[bool] { return &x.shared },
			"count on all replicas together, in redis").Or("false"),
	)
}

// rateLimits reads one limit or a list of them.
func rateLimits() yaml.Kind[[]yaml.Setting[writtenRateLimit]] {
	one := rateLimit()
	list := yaml.List(1, one)
	shape := &yaml.Shape{Either: []*yaml.Shape{one.Shape, list.Shape}}
	read := func(r *yaml.Reader, v yaml.Value) ([]yaml.Setting[writtenRateLimit], bool) {
		if v.IsList() {
			return list.Read(r, v)
		}
		limit, ok := one.Read(r, v)
		return []yaml.Setting[writtenRateLimit]{{Value: limit, At: v.At(), Given: true, Bad: !ok}}, ok
	}
	return yaml.Kind[[]yaml.Setting[writtenRateLimit]]{Shape: shape, Read: read}
}

func isPrefix(s string) (problem, remedy string) {
	_, problem, remedy = parsePrefix(s)
	return problem, remedy
}

func prefixes(texts []yaml.Setting[string]) (all []netip.Prefix) {
	for _, text := range yaml.Values(texts) {
		if prefix, problem, _ := parsePrefix(text); problem == "" { // told when it was read
			all = append(all, prefix)
		}
	}
	return all
}

// buildConditions takes over what a route asks for beside a permission.
func (b *builder) buildConditions(w *writtenRoute, r *Route) {
	b.buildRouteSources(w, r)
	r.AllowFrom, r.DenyFrom = prefixes(w.allowFrom), prefixes(w.denyFrom)
	for i := range w.rateLimit.Value {
		if s := &w.rateLimit.Value[i]; !s.Bad {
			b.buildRateLimit(s, r)
		}
	}
	for _, issuer := range w.require.Value.issuers {
		if !issuer.Bad && !b.knowsIssuer(issuer.Value) {
			b.Fault(issuer.At, issuer.Shown+" is not the URL of an issuer here",
				"name issuer.url, or the issuer of one of trusted_issuers")
		}
	}
	for _, c := range w.require.Value.claims {
		if path, err := jose.ParsePath(c.Name); err == nil && !c.Bad { // told when it was read
			r.Require.Claims = append(r.Require.Claims, jose.Requirement{Claim: path, Condition: c.Value})
		}
	}
	if r.Public && len(w.claimHeaders) > 0 {
		b.Fault(w.claimHeaders[0].At, "has no effect on a public route", "remove it: a public route judges no token")
	} else if !r.Public {
		r.ClaimHeaders = b.buildClaimHeaders(w.claimHeaders, b.ClaimHeaders)
	}
	r.Require.Issuers = yaml.Values(w.require.Value.issuers)
	r.Require.Scopes = yaml.Values(w.require.Value.scopes)
	if q := &w.require.Value.clientCert; q.Given {
		r.Require.CertNames = yaml.Values(q.Value.san)
	}
}

func (b *builder) knowsIssuer(url string) bool {
	return b.Issuer != nil && b.Issuer.URL == url ||
		slices.ContainsFunc(b.TrustedIssuers, func(t *TrustedIssuer) bool { return t.Issuer == url })
}

func (b *builder) buildRateLimit(s *yaml.Setting[writtenRateLimit], r *Route) {
	w := &s.Value
	limit := RateLimit{
		Requests: w.requests.Value, Per: w.per.Value, Burst: w.burst.Value, By: w.by.Value, Shared: w.shared.Value,
	}
	if !w.burst.Given {
		limit.Burst = limit.Requests
	}
	tenantless := r.Require.Action == "" || r.Require.Global
	switch {
	case limit.By != ByIP && r.Public:
		b.Fault(w.by.At, w.by.Shown+" is not known on a public route, which judges no token", "write ip")
	case limit.By == ByTenant && tenantless:
		b.Fault(w.by.At, "the route has no tenant", "write subject, client or ip, or let require name a tenant")
	}
	if limit.Shared && !b.file.redis.Given {
		b.Fault(w.shared.At, "needs redis, in which replicas count together", "add redis, or remove shared")
	}
	r.RateLimits = append(r.RateLimits, limit)
}

// isScope holds a word of a scope to RFC 6749 §3.3.
// isCertName judges an alternative name of certificates, which is compared as a whole.
func isCertName(s string) (problem, remedy string) {
	bad := func(c rune) bool { return c <= ' ' || c > '~' }
	switch {
	case s == "" || len(s) > 2048 || strings.ContainsFunc(s, bad):
		return "is not a name in a certificate", "write a DNS name, a URI, or an email or IP address, in ASCII without spaces"
	case strings.Contains(s, "*"):
		return "is a pattern", "write each name in full"
	}
	return "", ""
}

func isScope(s string) (problem, remedy string) {
	bad := func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }
	if s == "" || len(s) > 256 || strings.ContainsFunc(s, bad) {
		return "is not a word of a scope", "write one word without spaces, like orders:read"
	}
	return "", ""
}
