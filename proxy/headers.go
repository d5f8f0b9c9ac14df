package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// An app reads the fields that we set as the truth, so no one else may set them, in any spelling that some reader takes
// for ours: CGI turns "-" into "_" (RFC 3875 §4.1.18), and old servers turned every other mark into "_" as well.
// Names are therefore compared folded: in lower case, with "-" for all that is neither letter nor digit.

// maxFold is room for a folded name; a longer one costs an allocation.
const maxFold = 64

func fold(room []byte, name string) []byte {
	for i := range len(name) {
		room = append(room, foldByte(name[i]))
	}
	return room
}

// claimed are the folded names that a client may not send on, each group with its reason.
var claimed = [...][]string{
	// Another path, host or method than the one that was judged.
	{
		"x-original-url", "x-original-uri", "x-original-path", "x-original-method", "x-original-host", "x-rewrite-url",
		"x-rewrite-uri",
		"x-http-method-override", "x-http-method", "x-method-override", "x-host", "x-http-host-override",
		"x-http-path-override",
	},
	// Where the request came from: said anew, by us.
	{"forwarded", "x-real-ip", "x-original-forwarded-for", "x-original-remote-addr"},
	// httpoxy: a CGI app would take it for its HTTP_PROXY.
	{"proxy"},
	// For one hop only, whatever the spelling (RFC 9110 §7.6.1), or about the message's framing.
	{
		"connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
		"proxy-authentication-info",
		"trailer", "transfer-encoding", "content-length", "upgrade", "http2-settings", "host",
	},
	{"x-request-id"},
}

// originNames are further names for a client's address, scheme or original URL, believed of a trusted proxy alone.
var originNames = [...]string{
	"client-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "true-client-port", "x-true-client-ip",
	"x-true-ip",
	"forwarded-for", "forwarded-for-ip", "forwarded-host", "forwarded-proto", "x-originating-ip", "x-remote-ip",
	"x-remote-addr",
	"x-remote-host", "remote-addr", "x-user-ip", "x-host-ip", "x-ip", "x-source-ip", "x-peer-ip", "x-real-port",
	"x-real-host",
	"proxy-client-ip", "wl-proxy-client-ip", "x-proxy-client-ip", "x-proxyuser-ip", "x-backend-host", "x-backend-server",
	"cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-visitor", "cdn-src-ip", "cdn-real-ip",
	"ali-cdn-real-ip",
	"fastly-client-ip", "fastly-ssl", "fly-client-ip", "fly-forwarded-proto", "fly-forwarded-ssl", "fly-forwarded-port",
	"incap-client-ip", "x-sucuri-clientip", "x-azure-clientip", "x-azure-socketip", "x-appengine-user-ip",
	"x-appengine-remote-addr", "x-appengine-https", "x-nf-client-connection-ip", "x-vercel-forwarded-for",
	"x-vercel-proxied-for", "do-connecting-ip", "cloudfront-viewer-address", "cloudfront-forwarded-proto",
	"x-envoy-external-address", "x-envoy-original-path", "x-envoy-original-host", "x-envoy-internal", "x-ms-original-url",
	"x-waws-unencoded-url", "x-arr-ssl", "front-end-https", "x-front-end-https", "x-url-scheme", "x-scheme", "x-https",
	"x-ssl",
	"x-proto", "x-original-proto", "x-original-scheme", "x-original-port", "x-script-name", "x-proxyuser-port",
}

// fields is what may not pass, and the names that we set.
type fields struct {
	removed  *names
	untold   *names   // removed unless the peer is a trusted proxy
	head     *names   // never in an answer's trailers
	told     []string // canonical names of all that says who is asking; see Decide
	identity config.IdentityHeaders
}

func newFields(c *config.Config) *fields {
	f := &fields{removed: newNames(), untold: newNames(), head: newNames(), identity: c.IdentityHeaders}
	for _, group := range claimed {
		for _, name := range group {
			f.removed.add(name)
		}
	}
	for _, name := range headAlone {
		f.head.add(name)
	}
	for _, name := range originNames {
		f.untold.add(name)
	}
	for _, name := range c.IdentityHeaders.All() {
		f.claim(name)
		f.tell(name)
	}
	for _, name := range config.CertHeaders() {
		f.claim(name)
		f.tell(name)
	}
	for _, name := range c.AllClaimHeaders() {
		f.claim(name)
		f.tell(name)
	}
	for _, r := range c.Routes {
		// One upstream's assertion is removed for all of them: an app must not see one that it was not sent by us.
		if r.Upstream != nil && r.Upstream.Assertion != nil {
			f.claim(r.Upstream.Assertion.Header)
			f.tell(r.Upstream.Assertion.Header)
		}
	}
	return f
}

func (f *fields) claim(name string) {
	if name != "" {
		f.removed.add(name)
	}
}

func (f *fields) tell(name string) {
	if name = textproto.CanonicalMIMEHeaderKey(name); name != "" && !slices.Contains(f.told, name) {
		f.told = append(f.told, name)
	}
}

// alias finds another spelling of a field that tells who is asking; "" if there is none.
func (f *fields) alias(h http.Header) string {
	var mine, other [maxFold]byte
	for name := range h {
		folded := fold(mine[:0], name)
		for _, told := range f.told {
			if len(told) == len(name) && name != told && string(fold(other[:0], told)) == string(folded) {
				return name
			}
		}
	}
	return ""
}

// passes reports whether a client may send a field of this name. Most names need not be folded for that.
func (f *fields) passes(name string, room []byte, trusted bool) bool {
	if !f.removed.could(name) && !f.untold.could(name) {
		return !extended(name) || !underOurs(name)
	}
	folded := fold(room, name)
	return !f.ours(folded) && (trusted || !f.untold.has(folded))
}

// extended is a short look at whether underOurs may be true.
func extended(name string) bool {
	return len(name) > 2 && name[0]|0x20 == 'x' && (name[2]|0x20 == 'f' || name[2]|0x20 == 'j')
}

// underOurs reports whether a name begins with one of the prefixes that are ours, in any spelling.
func underOurs[T grammar.Text](name T) bool {
	return folds(name, "x-forwarded") || folds(name, "x-jotgate-")
}

// folds reports whether a name begins with a prefix that is folded.
func folds[T grammar.Text](name T, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if foldByte(name[i]) != prefix[i] {
			return false
		}
	}
	return true
}

func (f *fields) ours(folded []byte) bool {
	return f.removed.has(folded) || underOurs(folded)
}

// A field is one that we set.
type field struct{ name, value string }

// ownAtMost is room for the fields that we set on one request.
const ownAtMost = 23

// A requestRule decides which fields of a client's request go on to the upstream, for every kind of upstream.
type requestRule struct {
	fields  *fields
	hops    hops
	tenant  string // the field that the tenant was read from: it is sent as it was judged
	judged  bool   // the route is not public
	traced  bool   // the trace fields are ours
	trusted bool   // the peer is a trusted proxy
}

// passes takes a canonical name, and room to fold it.
func (r *requestRule) passes(name string, room []byte) bool {
	switch {
	case name == "Authorization": // see passesAuthorization
	case name == dpop.Header && r.judged: // it was spent here: no app behind could take it for its own
	case name == r.tenant, r.traced && traceField(name), r.hops.end(name):
	default:
		return r.fields.passes(name, room, r.trusted)
	}
	return false
}

// WriteFields writes the client's fields that may pass, and then ours.
func (f *forwarding) WriteFields(to *h1.Head) {
	in := f.r.Header
	rule := requestRule{
		fields: f.gate.fields, hops: hopsOf(in), tenant: f.tenantHeader(), judged: !f.plan.route.Public,
		traced: f.x.Trace != nil, trusted: f.x.Trusted,
	}
	var room [maxFold]byte
	edits := f.plan.request
	for name, values := range in {
		if !rule.passes(name, room[:0]) || edits != nil && edits.drops(name) {
			continue
		}
		if f.upgrade != "" {
			name = websocketSpelling(name)
		}
		for _, value := range values {
			to.Field(name, value)
		}
	}
	if f.passesAuthorization() && !edits.drops("Authorization") { // should Connection list it, too
		for _, value := range in["Authorization"] {
			to.Field("Authorization", value)
		}
	}
	if httpguts.HeaderValuesContainsToken(in["Te"], "trailers") { // for one hop, but trailers are passed on
		to.Field("Te", "trailers")
	}
	for _, own := range f.own {
		to.Field(own.name, own.value)
	}
	if edits != nil {
		for _, v := range edits.set {
			to.Field(v.Name, v.Value)
		}
	}
}

// forOneHop reports whether a field, by its canonical name, ends with a connection (RFC 9110 §7.6.1).
func forOneHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// hops are the values of Connection, which may list further hop-by-hop fields.
type hops []string

// hopsOf leaves out the common values that list none.
func hopsOf(h http.Header) hops {
	values := h["Connection"]
	if len(values) == 1 && (strings.EqualFold(values[0], "keep-alive") || strings.EqualFold(values[0], "close")) {
		return nil
	}
	return values
}

func (h hops) list(name string) bool {
	return len(h) > 0 && httpguts.HeaderValuesContainsToken(h, name)
}

// end reports whether a field of a request or of an answer is hop-by-hop.
func (h hops) end(name string) bool { return forOneHop(name) || h.list(name) }

// websocketSpelling is a field's name as RFC 6455 spells it: some apps compare it letter by letter.
func websocketSpelling(name string) string {
	if rest, is := strings.CutPrefix(name, "Sec-Websocket-"); is {
		return "Sec-WebSocket-" + rest
	}
	return name
}

// passesAuthorization reports whether the client's credential goes on. On a public route nothing was judged, so it is
// the app's affair.
func (p *inbound) passesAuthorization() bool {
	return p.plan.route.Public || p.plan.route.ForwardToken && p.plan.sources.Authorization
}

func traceField(name string) bool { return name == otel.Parent || name == otel.State }

// own gives the fields that we set, each under its canonical name and none without a value.
func (g *Gate) own(p *inbound, to []field) ([]field, error) {
	to = set(to, request.RequestIDHeader, p.x.AppID())
	to = setOrigin(to, p)
	if p.x.Trace != nil {
		parent, state := p.x.Trace.Outgoing()
		to = set(set(to, otel.Parent, parent), otel.State, state)
	}
	to = setCertificate(to, p)
	if p.grant == nil {
		return to, nil
	}
	to = g.setIdentity(to, p)
	if !p.vouched() {
		return to, nil
	}
	to = set(to, p.tenantHeader(), p.tenant)
	to = g.setGrant(to, p)
	return g.setAssertion(to, p)
}

// tenantHeader is the field that the tenant was read from, canonical, since what was judged is what is sent; "" for
// none.
func (p *inbound) tenantHeader() string {
	if q := &p.plan.route.Require; q.From == config.FromHeader && p.vouched() {
		return textproto.CanonicalMIMEHeaderKey(q.Name)
	}
	return ""
}

// setIdentity says whose token it is.
func (g *Gate) setIdentity(to []field, p *inbound) []field {
	names, s := &g.fields.identity, p.grant
	to = set(to, names.Subject, s.subject)
	to = set(to, names.Issuer, s.issuer)
	to = set(to, names.Client, s.client)
	to = set(to, names.TokenID, s.id)
	for i := range p.plan.claims {
		to = set(to, p.plan.claims[i].name, s.claims[p.plan.claims[i].index])
	}
	return to
}

// setGrant says what the token allows here.
func (g *Gate) setGrant(to []field, p *inbound) []field {
	names := &g.fields.identity
	to = set(to, names.Tenant, p.tenant) // ASCII by its pattern, or by the configuration's
	return set(to, names.Actions, p.actions)
}

func set(to []field, name, value string) []field {
	if name == "" || value == "" {
		return to
	}
	return append(to, field{name, value})
}

// setOrigin says where the request came from, in the words of RFC 7239 and of the X-Forwarded fields that came before
// it. What a trusted proxy said is kept; what other peers said is gone.
func setOrigin(to []field, p *inbound) []field {
	x, in := p.x, p.r.Header
	address := addressOf(p.r.RemoteAddr, x.Peer)
	host := x.Host
	if strings.HasPrefix(p.r.Host, host) { // with its port, as long as it is the host that was judged
		host = p.r.Host
	}
	ours := forwarded(address, host, x.Scheme)
	if !x.Trusted {
		to = set(set(to, "X-Forwarded-For", address), "X-Forwarded-Host", host)
		return set(set(to, "X-Forwarded-Proto", x.Scheme), "Forwarded", ours)
	}
	before := strings.Join(in["X-Forwarded-For"], ", ")
	to = set(to, "X-Forwarded-For", chained(before, address))
	if said := in["X-Forwarded-Host"]; len(said) > 0 {
		host = strings.Join(said, ", ")
	}
	to = set(set(to, "X-Forwarded-Host", host), "X-Forwarded-Proto", x.Scheme)
	for _, name := range [...]string{"X-Forwarded-Port", "X-Forwarded-Prefix"} {
		to = set(to, name, strings.Join(in[name], ", "))
	}
	return set(to, "Forwarded", chained(forwardedFor(before), ours))
}

// forwardedFor is an X-Forwarded-For list in the words of RFC 7239, address by address, so that an app that reads the
// one sees the same addresses as an app that reads the other. What is no address is "unknown".
func forwardedFor(list string) string {
	if list == "" {
		return ""
	}
	var b strings.Builder
	for item := range strings.SplitSeq(list, ",") {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(forwarded(nodeOf(strings.Trim(item, " \t")), "", ""))
	}
	return b.String()
}

// nodeOf is an address without port and zone; "" for what is none.
func nodeOf(item string) string {
	if a, err := netip.ParseAddr(strings.Trim(item, "[]")); err == nil {
		return a.Unmap().WithZone("").String()
	}
	if a, err := netip.ParseAddrPort(item); err == nil {
		return a.Addr().Unmap().WithZone("").String()
	}
	return ""
}

// addressOf is the peer's address without port and zone. Of an IPv4 address the server's own text has it already.
func addressOf(remote string, peer netip.Addr) string {
	switch {
	case !peer.IsValid():
		return ""
	case peer.Is4() && strings.IndexByte(remote, ':') > 0 && strings.Count(remote, ":") == 1:
		return remote[:strings.IndexByte(remote, ':')]
	}
	return peer.Unmap().WithZone("").String()
}

func chained(before, last string) string {
	if before == "" || last == "" {
		return before + last
	}
	return before + ", " + last
}

// forwarded is one element of RFC 7239 §4. An IPv6 address is bracketed and quoted (§6), and so is a host with a port.
func forwarded(address, host, scheme string) string {
	var room [128]byte
	b := append(room[:0], "for="...)
	switch {
	case address == "":
		b = append(b, "unknown"...)
	case strings.IndexByte(address, ':') >= 0:
		b = append(append(append(b, `"[`...), address...), `]"`...)
	default:
		b = append(b, address...)
	}
	if host != "" {
		b = append(b, ";host="...)
		if strings.ContainsAny(host, ":[]") {
			b = append(append(append(b, '"'), host...), '"')
		} else {
			b = append(b, host...)
		}
	}
	if scheme != "" {
		b = append(append(b, ";proto="...), scheme...)
	}
	return string(b)
}
