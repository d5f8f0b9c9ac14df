package config

import (
	"cmp"
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

// A place is where requests of routes that are alike reach their upstream.
type place struct {
	at     route.Path
	routes []*Route
	asks   []route.Demand // with the segments of the path where the upstream has them
	class  string         // of asks
}

// A reach is a route by which requests come to the place of another that asks for more.
type reach struct {
	loose, strict *Route
	there         route.Path
}

// rewrittenPlaces refuses routes by which a request reaches, at the same upstream, the place of a route that asks for
// more: once paths are rewritten, the table of routes no longer keeps them apart.
func (b *builder) rewrittenPlaces() {
	for _, r := range reaches(b.Routes) {
		w := b.file.routes.Value[r.loose.Index]
		b.Fault(w.Value.path.At, fmt.Sprintf("reaches %s at the upstream, which is the place of %s (%s), and asks for less",
			yaml.Quote(r.there.String()), placeOf(r.strict), yaml.Quote(r.strict.Path.String())),
			"choose other prefixes, let both ask for the same, or write insecure_allow: [rewritten]")
	}
}

// reaches compares only places that can meet: the literal segments with which the one begins are the beginning of the
// other's. A file may have ten thousand routes that are rewritten, and most of those ask for the same.
func reaches(routes []*Route) (all []reach) {
	if !slices.ContainsFunc(routes, (*Route).rewrites) {
		return nil
	}
	places := placesOf(routes)
	begins := map[string]map[string][]*place{} // by the literal beginning, then by what is asked for
	for _, p := range places {
		start := p.at.Beginning()
		if begins[start] == nil {
			begins[start] = map[string][]*place{}
		}
		begins[start][p.class] = append(begins[start][p.class], p)
	}
	for _, p := range places {
		own := p.at.Beginning()
		for start, more := own, true; more; start, more = shorter(start) {
			for class, others := range begins[start] {
				if class == p.class {
					continue
				}
				for _, q := range others {
					all = p.reach(q, all)
					if start != own { // else q gets its own turn
						all = q.reach(p, all)
					}
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b reach) int {
		return cmp.Or(cmp.Compare(a.loose.Index, b.loose.Index), cmp.Compare(a.strict.Index, b.strict.Index))
	})
	return all
}

// shorter returns a beginning without its last segment; false: it has none.
func shorter(beginning string) (string, bool) {
	last := strings.LastIndexByte(beginning, '/')
	return beginning[:max(last, 0)], last >= 0
}

// placesOf joins routes that are alike in all that is compared.
func placesOf(routes []*Route) (places []*place) {
	known := map[string]*place{}
	for _, r := range routes {
		at, err := r.upstreamPath()
		if err != nil {
			continue
		}
		asks := r.asksThere()
		class := ""
		for _, d := range asks {
			class += fmt.Sprintf("%q %d, ", d.What, d.Segment)
		}
		if r.Listeners != nil { // each path by itself: another one of the same place may answer on other listeners
			class += fmt.Sprintf("%q at %s", r.Listeners, r.Path)
		}
		key := fmt.Sprintf("%p %v %q %d %t %q %q %s", r.Upstream, r.Hosts, r.Methods, r.Allow&route.Rewritten,
			r.rewrites(), at, at.Beginning(), class)
		p := known[key]
		if p == nil {
			p = &place{at: at, asks: asks, class: class}
			known[key], places = p, append(places, p)
		}
		p.routes = append(p.routes, r)
	}
	return places
}

// reach adds the routes of p by which a request comes to q. Of q's routes, which are alike, it names the first.
func (p *place) reach(q *place, all []reach) []reach {
	loose, strict := p.routes[0], q.routes[0]
	if !loose.rewrites() && !strict.rewrites() || !sameServers(loose, strict) || !sameHosts(loose, strict) ||
		(loose.Allow|strict.Allow)&route.Rewritten != 0 || !sharesMethod(loose, strict) ||
		!p.at.Overlaps(q.at) || p.at.Before(q.at) || !asksMore(q.asks, p.asks) && !beyond(loose, strict) ||
		loose.Path.String() == strict.Path.String() && !shareListener(loose, strict) {
		return all
	}
	for _, r := range p.routes {
		all = append(all, reach{r, strict, q.at})
	}
	return all
}

// asksMore reports whether strict has a demand that loose has not.
func asksMore(strict, loose []route.Demand) bool {
	return slices.ContainsFunc(strict, func(d route.Demand) bool { return !slices.Contains(loose, d) })
}

// asksThere are the demands of a route, with the segments of the path where the upstream has them.
func (r *Route) asksThere() []route.Demand {
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
