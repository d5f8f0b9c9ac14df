package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/request"
)

// An app reads the fields that we set as the truth, so nobody else may set them, in any spelling that some reader takes
// for ours: CGI turns "-" into "_" (RFC 3875 §4.1.18), and old servers turned every other mark into "_" as well.
// Names are therefore compared folded: in lower case, with "-" for all that is neither letter nor digit.

// maxFold is room for a folded name; a longer one costs an allocation.
const maxFold = 64

func fold(room []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			c = '-'
		}
		room = append(room, c)
	}
	return room
}

// claimed are the folded names that a client may not send on, each group with its reason.
var claimed = [...][]string{
	// Another path, host or method than the one that was judged.
	{
		"x-original-url", "x-original-uri", "x-original-path", "x-original-method", "x-original-host", "x-rewrite-url", "x-rewrite-uri",
		"x-http-method-override", "x-http-method", "x-method-override", "x-host", "x-http-host-override", "x-http-path-override",
	},
	// Where the request came from: said anew, by us.
	{"forwarded", "x-real-ip", "x-original-forwarded-for", "x-original-remote-addr"},
	// httpoxy: a CGI app would take it for its HTTP_PROXY.
	{"proxy"},
	// For one hop only, whatever the spelling (RFC 9110 §7.6.1), or about the message's framing.
	{
		"connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info",
		"trailer", "transfer-encoding", "content-length", "upgrade", "http2-settings", "host",
	},
	{"x-request-id"},
}

// whereabouts are further names for a client's address, believed of a trusted proxy alone.
var whereabouts = [...]string{"true-client-ip", "x-client-ip", "x-cluster-client-ip", "cf-connecting-ip", "fastly-client-ip"}

// fields is what may not pass, and the names that we set.
type fields struct {
	removed  map[string]struct{} // folded
	untold   map[string]struct{} // folded, removed unless the peer is a trusted proxy
	head     map[string]struct{} // folded, never in an answer's trailers
	identity config.IdentityHeaders
}

func newFields(c *config.Config) *fields {
	f := &fields{removed: make(map[string]struct{}), untold: make(map[string]struct{}), head: make(map[string]struct{}), identity: c.IdentityHeaders}
	for _, group := range claimed {
		for _, name := range group {
			f.removed[name] = struct{}{}
		}
	}
	for _, name := range headAlone {
		f.head[name] = struct{}{}
	}
	for _, name := range whereabouts {
		f.untold[name] = struct{}{}
	}
	for _, name := range c.IdentityHeaders.All() {
		f.claim(name)
	}
	for _, r := range c.Routes {
		// One upstream's assertion is removed for all of them: an app must not see one that it was not sent by us.
		if r.Upstream != nil && r.Upstream.Assertion != nil {
			f.claim(r.Upstream.Assertion.Header)
		}
	}
	return f
}

func (f *fields) claim(name string) {
	if name != "" {
		f.removed[string(fold(nil, name))] = struct{}{}
	}
}

// strip removes from h what a client may not say. Fields that Connection lists must be gone already.
func (f *fields) strip(h http.Header, trusted bool) {
	var room [maxFold]byte
	for name := range h {
		if !f.passes(fold(room[:0], name), trusted) {
			delete(h, name)
		}
	}
}

// passes tells of a folded name that a client may say it.
func (f *fields) passes(folded []byte, trusted bool) bool {
	if f.ours(folded) {
		return false
	}
	_, is := f.untold[string(folded)]
	return trusted || !is
}

func (f *fields) ours(folded []byte) bool {
	if _, is := f.removed[string(folded)]; is {
		return true
	}
	return hasPrefix(folded, "x-forwarded") || hasPrefix(folded, "x-jotgate-")
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// A field is one that we set.
type field struct{ name, value string }

// ownAtMost is room for the fields that we set on one request.
const ownAtMost = 18

// outward turns the fields of a request, as the client sent them and without those for one hop, into those that its
// upstream gets.
func (g *Gate) outward(p *inbound, h http.Header) error {
	g.fields.strip(h, p.x.Trusted)
	delete(h, "Authorization")
	if p.x.Trace != nil {
		delete(h, otel.Parent)
		delete(h, otel.State)
	}
	if !p.plan.route.Public {
		delete(h, dpop.Header) // it was spent here: no app behind could take it for its own
	}
	if p.passesAuthorization() {
		restore(h, p.r.Header, "Authorization")
	}
	var room [ownAtMost]field
	own, err := g.own(p, room[:0])
	for _, f := range own {
		h[f.name] = []string{f.value}
	}
	return err
}

// passesAuthorization tells whether the client's credential goes on. On a public route nothing was judged, so it is the app's
// affair.
func (p *inbound) passesAuthorization() bool { return p.plan.route.Public || p.plan.route.ForwardToken }

func traceField(name string) bool { return name == otel.Parent || name == otel.State }

// restore brings back a field that was judged, or that passes on purpose, should Connection have listed it: what was
// judged is what is sent.
func restore(h, in http.Header, name string) {
	if values, ok := in[name]; ok {
		h[name] = values
	}
}

// own gives the fields that we set, each under its canonical name and none without a value.
func (g *Gate) own(p *inbound, to []field) ([]field, error) {
	to = set(to, request.RequestIDHeader, p.x.ID)
	to = setOrigin(to, p)
	if p.x.Trace != nil {
		parent, state := p.x.Trace.Outgoing()
		to = set(set(to, otel.Parent, parent), otel.State, state)
	}
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

// tenantHeader is the field that the tenant was read from, canonical, since what was judged is what is sent; "" for none.
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
	return set(to, names.TokenID, s.id)
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

// setOrigin says where the request came from, in the words of RFC 7239 and of the X-Forwarded fields that came before it.
// What a trusted proxy said is kept in front; what anybody else said is gone.
func setOrigin(to []field, p *inbound) []field {
	x, in := p.x, p.r.Header
	address := addressOf(p.r.RemoteAddr, x.Peer)
	host := x.Host
	if strings.HasPrefix(p.r.Host, host) { // with its port, as long as it is the host that was judged
		host = p.r.Host
	}
	to = set(to, "X-Forwarded-For", chained(in["X-Forwarded-For"], x.Trusted, address))
	to = set(to, "X-Forwarded-Host", host)
	to = set(to, "X-Forwarded-Proto", x.Scheme)
	return set(to, "Forwarded", chained(in["Forwarded"], x.Trusted, forwarded(address, host, x.Scheme)))
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

func chained(before []string, trusted bool, last string) string {
	if !trusted || len(before) == 0 {
		return last
	}
	if last == "" {
		return strings.Join(before, ", ")
	}
	return strings.Join(before, ", ") + ", " + last
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
