package config

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// A Hop is what a route changes of a request on its way to the upstream, and of the answer.
type Hop struct {
	StripPrefix  string        // taken from the path that is sent; "" or like /api/orders
	AddPrefix    string        // put before it; "" or like /v2
	Timeout      time.Duration // until the head of the answer; 0: the upstream's
	StallTimeout time.Duration // without any progress of a body; 0: limits.stall_timeout
	Request      HeaderEdits
	Response     HeaderEdits
}

// HeaderEdits are fields by their canonical names. Set replaces a field.
type HeaderEdits struct {
	Set    []HeaderValue
	Remove []string
}

// A HeaderValue is a field that is set.
type HeaderValue struct{ Name, Value string }

type writtenHop struct {
	stripPrefix, addPrefix yaml.Setting[string]
	timeout, stallTimeout  time.Duration
	headers                writtenHeaders
}

type writtenHeaders struct{ request, response writtenEdits }

type writtenEdits struct {
	set    []yaml.Named[string]
	remove []yaml.Setting[string]
}

func headerEdits() yaml.Kind[writtenHeaders] {
	edits := func() yaml.Kind[writtenEdits] {
		return yaml.Mapping(
			yaml.Plain("set", yaml.Names(yaml.Text(isFieldName).Like(fieldNameLike),
				yaml.Text(isHeaderValue).Like(headerValueLike)),
				func(e *writtenEdits) *[]yaml.Named[string] { return &e.set },
				"fields that are set, in place of those that are there"),
			yaml.Plain("remove", yaml.Distinct(1, yaml.Text(isFieldName).Like(fieldNameLike)),
				func(e *writtenEdits) *[]yaml.Setting[string] { return &e.remove }, "fields that are removed"),
		)
	}
	return yaml.Mapping(
		yaml.Plain("request", edits(), func(h *writtenHeaders) *writtenEdits { return &h.request },
			"header fields of the request to the upstream"),
		yaml.Plain("response", edits(), func(h *writtenHeaders) *writtenEdits { return &h.response },
			"header fields of the upstream's answer"),
	)
}

const (
	pathPrefixLike  = `^/[A-Za-z0-9._~!$&'()*+,=:@/-]*[^/]$`
	headerValueLike = `^[!-~]([ -~]*[!-~])?$`
)

func isHeaderValue(s string) (problem, remedy string) {
	if s == "" || len(s) > 4096 || strings.TrimSpace(s) != s ||
		strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "is not a valid header value", "use 1 to 4096 printable ASCII characters, without a space at either end"
	}
	return "", ""
}

// isPathPrefix takes a path that is the same in every reading: whole segments of characters that need no escape.
func isPathPrefix(s string) (problem, remedy string) {
	const write = "write it like /api/orders"
	p, err := route.ParsePath(s)
	switch {
	case err != nil || len(p.Params()) > 0:
		return "is not a literal path", write
	case strings.HasSuffix(s, "/"):
		return "ends in a slash", write
	case strings.ContainsFunc(s, func(c rune) bool { return c > '~' || !plainRunes(string(c), "-._~!$&'()*+,=:@/") }):
		return "has a character that a path would have escaped", write
	}
	return "", ""
}

func (b *builder) buildHop(w *writtenRoute, r *Route) {
	h := &w.hop
	r.Hop = Hop{
		StripPrefix: h.stripPrefix.Value, AddPrefix: h.addPrefix.Value, Timeout: h.timeout, StallTimeout: h.stallTimeout,
		Request: b.buildEdits(&h.headers.request, r), Response: b.buildEdits(&h.headers.response, nil),
	}
	for _, given := range []yaml.Setting[string]{h.stripPrefix, h.addPrefix} {
		if given.Given && w.upstream.Value == noUpstream {
			b.Fault(given.At, "has no effect with upstream: none", "let the front change the path, or name an upstream")
			return
		}
	}
	if !h.stripPrefix.Usable() && !h.addPrefix.Usable() || !w.path.Usable() {
		return
	}
	if _, err := r.upstreamPath(); err != nil && h.stripPrefix.Given {
		b.Fault(h.stripPrefix.At, h.stripPrefix.Shown+" is not the beginning of the path "+yaml.Quote(r.Path.String()),
			"write the literal segments that every path of this route begins with")
	}
}

// upstreamPath is the pattern of the paths that the upstream gets by r.
func (r *Route) upstreamPath() (route.Path, error) {
	return r.Path.Rewritten(r.Hop.StripPrefix, r.Hop.AddPrefix)
}

func (b *builder) buildEdits(w *writtenEdits, r *Route) (e HeaderEdits) {
	seen := map[string]bool{}
	check := func(at yaml.Place, name string) (string, bool) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch why := b.notEditable(canonical); {
		case why != "":
			b.Fault(at, yaml.Quote(name)+" "+why, "remove it here")
		case seen[foldField(canonical)]:
			b.Fault(at, yaml.Quote(name)+" is listed twice", "remove one")
		case r != nil && r.Require.From == FromHeader && foldField(r.Require.Name) == foldField(canonical):
			b.Fault(at, yaml.Quote(name)+" is where the tenant comes from", "remove it here: what is judged is what is sent")
		default:
			seen[foldField(canonical)] = true
			return canonical, true
		}
		return "", false
	}
	for _, s := range w.set {
		if name, ok := check(s.At, s.Name); ok && !s.Bad {
			e.Set = append(e.Set, HeaderValue{name, s.Value})
		}
	}
	for _, s := range w.remove {
		if s.Bad {
			continue
		}
		if name, ok := check(s.At, s.Value); ok {
			e.Remove = append(e.Remove, name)
		}
	}
	return e
}

// foldField is a name as package proxy compares it: CGI makes one of "-" and "_".
func foldField(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		}
		return '-'
	}, name)
}

// notEditable says why a route may not set or remove a field; "": it may.
func (b *builder) notEditable(name string) string {
	folded := foldField(name)
	switch {
	case slices.Contains(framing, folded):
		return "belongs to the connection or frames the message"
	case folded == "host":
		return "is the upstream's to say (upstreams.*.host)"
	case folded == "cookie":
		return "carries what the client and the app agree on"
	case strings.HasPrefix(folded, "x-forwarded-"), folded == "forwarded", folded == "x-real-ip", folded == "x-request-id",
		folded == "traceparent", folded == "tracestate":
		return "is set by the gate"
	case strings.HasPrefix(folded, "x-jotgate-"),
		slices.ContainsFunc(b.IdentityHeaders.All(), func(h string) bool { return foldField(h) == folded }):
		return "is an identity header"
	}
	return ""
}

// framing are fields of one hop (RFC 9110 §7.6.1) or about the message's framing.
var framing = []string{
	"connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
	"proxy-authentication-info", "te",
	"trailer", "transfer-encoding", "content-length", "upgrade", "http2-settings", "expect",
}

// rewrittenPlaces refuses routes by which a request reaches, at the same upstream, the place of a route that asks for
// more: once paths are rewritten, the table of routes no longer keeps them apart.
func (b *builder) rewrittenPlaces() {
	for i, loose := range b.Routes {
		for j, strict := range b.Routes {
			if i == j || !loose.rewrites() && !strict.rewrites() || !sameServers(loose, strict) || !sameHosts(loose, strict) ||
				(loose.Allow|strict.Allow)&route.Rewritten != 0 || !sharesMethod(loose, strict) {
				continue
			}
			at, err1 := loose.upstreamPath()
			there, err2 := strict.upstreamPath()
			if err1 != nil || err2 != nil || !at.Overlaps(there) || at.Before(there) || !b.asksMoreThere(strict, loose) {
				continue
			}
			w := b.file.routes.Value[loose.Index]
			b.Fault(w.Value.path.At, fmt.Sprintf("reaches %s at the upstream, which is the place of %s (%s), and asks for less",
				yaml.Quote(there.String()), placeOf(strict), yaml.Quote(strict.Path.String())),
				"choose other prefixes, let both ask for the same, or write insecure_allow: [rewritten]")
		}
	}
}

// asksMoreThere compares what two routes ask for, with the segments of the path where the upstream has them.
func (b *builder) asksMoreThere(strict, loose *Route) bool {
	there := func(r *Route) []route.Demand {
		host := route.Host{}
		if len(r.Hosts) > 0 {
			host = r.Hosts[0]
		}
		list := r.asks(host)
		for i := range list {
			if list[i].Segment > 0 {
				list[i].Segment += strings.Count(r.Hop.AddPrefix, "/") - strings.Count(r.Hop.StripPrefix, "/")
			}
		}
		return list
	}
	mine := there(loose)
	return slices.ContainsFunc(there(strict), func(d route.Demand) bool { return !slices.Contains(mine, d) })
}

func (r *Route) rewrites() bool { return r.Hop.StripPrefix != "" || r.Hop.AddPrefix != "" }

func sameHosts(a, b *Route) bool {
	if len(a.Hosts) == 0 || len(b.Hosts) == 0 {
		return true
	}
	return slices.ContainsFunc(a.Hosts, func(h route.Host) bool {
		return slices.ContainsFunc(b.Hosts, func(q route.Host) bool { return h.Covers(q) || q.Covers(h) })
	})
}

func sharesMethod(a, b *Route) bool {
	return len(a.Methods) == 0 || len(b.Methods) == 0 ||
		slices.ContainsFunc(a.Methods, func(m string) bool { return slices.Contains(b.Methods, m) })
}
