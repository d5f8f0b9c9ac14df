package app

import (
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/route"
)

// ServeHTTP is the chain that every request of a serving listener goes through. It stands here whole, in order; what
// the last line calls has its own list in proxy/gate.go and issuer/table.go.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.serve(w, r, "") }

func (g *Gate) serve(w http.ResponseWriter, r *http.Request, listener string) {
	snap := g.snapshot.Load()
	x, ok := g.exchanges.Get().(*request.Exchange)
	if !ok {
		x = new(request.Exchange)
	}
	x.Begin(w, g.clock())
	x.Listener = listener
	x.KeepStory = snap.keepStory
	defer g.finish(x, r, snap)

	x.CORS = snap.cors.Answer(r)             // what a script of another origin sees of refusals from before a route
	x.GRPC = request.IsGRPC(r)               // in whose words a refusal is told
	x.Visit = r                              // a person may be the one who sees it
	g.peer(x, r, snap)                       // who asks: request id, client address, scheme
	x.Trace = g.begin(x, r)                  // whose trace it is a part of; nil without tracing
	if err := snap.admit(x, r); err != nil { // what is refused on every route
		x.Refuse(err)
		return
	}
	if !x.Enter(&g.load, snap.loadLimits()) { // more requests at a time than the process should serve
		x.Refuse(refusal.Because(refusal.InFlightFull, "limits.in_flight is %d", snap.config.Limits.InFlight))
		return
	}
	snap.dispatch(x, r) // ours, or an app's
}

// finish answers a panic, which costs this request alone, writes the access line and counts.
func (g *Gate) finish(x *request.Exchange, r *http.Request, snap *snapshot) {
	p := recover()
	x.Leave()
	if p != nil && p != http.ErrAbortHandler {
		g.log.Error("panic", zap.String("request_id", x.ID), zap.String("route", x.Route),
			zap.String("type", panicType(p)), zap.ByteString("stack", debug.Stack()))
		x.Reason = refusal.InternalError
		if x.Status() == 0 {
			request.Problem(x, refusal.InternalError, x.ID)
			p = nil
		} else {
			p = http.ErrAbortHandler // an answer that broke off must not look whole
		}
	}
	if x.Reason != "" && x.KeepStory {
		g.keep(x, r)
	}
	g.log.Access(r, x, g.clock())
	snap.series.Observe(r.Method, x)
	if x.Trace != nil {
		endTrace(x, r)
	}
	if p != nil {
		panic(p)
	}
	if x.Released() {
		*x = request.Exchange{}
		g.exchanges.Put(x)
	}
}

// panicType says what kind of value a panic had: its text could hold a credential.
func panicType(p any) string {
	if err, ok := p.(error); ok {
		if _, runtimeFault := p.(interface{ RuntimeError() }); runtimeFault {
			return err.Error() // index out of range and the like: the runtime's own words
		}
	}
	return "panic"
}

func (snap *snapshot) loadLimits() request.LoadLimits {
	l := &snap.config.Limits
	return request.LoadLimits{InFlight: l.InFlight, Streams: l.Streams}
}

// admit refuses what no route can allow, and fills in what every later step judges by.
func (snap *snapshot) admit(x *request.Exchange, r *http.Request) error {
	x.LogPath = endpoint.Redact(pathOf(r.RequestURI))
	if len(r.RequestURI) > snap.config.Limits.URIBytes {
		x.LogPath = x.LogPath[:min(len(x.LogPath), longestLogged)]
		return refusal.Because(refusal.URITooLong, "%d bytes", len(r.RequestURI))
	}
	if r.Host != "" || r.ProtoMajor > 1 || r.ProtoMinor > 0 { // HTTP/1.0 has none; its requests match any host alone
		host, err := route.CanonicalHost(r.Host)
		if err != nil {
			return err
		}
		x.Host = host
	}
	if r.Method == http.MethodConnect && !strings.HasPrefix(r.RequestURI, "/") {
		x.Header().Set("Allow", "")
		return refusal.Because(refusal.MethodUnsupported, "CONNECT")
	}
	if err := x.Target.Parse(r.RequestURI); err != nil {
		return err
	}
	return nil
}

// pathOf returns a raw target without its query.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// longestLogged bounds what the log has of a target that is over the limit.
const longestLogged = 256

// dispatch gives our own endpoints to the issuer and the rest to the gate.
func (snap *snapshot) dispatch(x *request.Exchange, r *http.Request) {
	if document := snap.resources.find(x, r.URL.Path); document != nil {
		document.ServeHTTP(x, r)
		return
	}
	if snap.ownsTickets(x, r) {
		x.Visit = nil // programs alone call our endpoints
		snap.drawTicket(x, r)
		return
	}
	if snap.ownsLogout(x, r) {
		snap.logout.ServeHTTP(x, r)
		return
	}
	if snap.owns(x, r) {
		x.Visit = nil
		if !snap.preflight(x, r) {
			snap.issuer.ServeHTTP(x, r)
		}
		return
	}
	if !snap.config.Table.Knows(r.Method) {
		x.Header().Set("Allow", "") // RFC 9110 §15.5.6 wants the field; the gate fills it in if a route has the path
	}
	if snap.issuer != nil {
		x.ResourceMetadata = snap.issuer.ResourceMetadata(x.Host)
	}
	snap.gate.ServeHTTP(x, r)
}

func (snap *snapshot) owns(x *request.Exchange, r *http.Request) bool {
	return snap.issuer != nil && x.Target.Oddities == 0 && snap.issuer.Owns(x.Host, r.URL.Path)
}

// peer fills in who is asking. What a peer says of others counts only if it is one of trusted_proxies.
func (g *Gate) peer(x *request.Exchange, r *http.Request, snap *snapshot) {
	x.Scheme = "http"
	if r.TLS != nil {
		x.Scheme = "https"
	}
	peer := listen.PeerOf(r.RemoteAddr)
	x.Peer, x.Client = peer.Addr, peer.Addr
	if c := snap.config; len(c.TrustedProxies) > 0 && snap.trusts(x.Peer) || c.TrustUnix && peer.Unix {
		x.Trusted = true
		snap.behind(x, r.Header)
	}
	x.ID = request.NewID() // a proxy's may be its client's choice, and refusals are found by ours
}

func (snap *snapshot) trusts(a netip.Addr) bool {
	return within(snap.config.TrustedProxies, a)
}

// behind reads what a trusted proxy says of its client.
func (snap *snapshot) behind(x *request.Exchange, h http.Header) {
	snap.clientOf(x, h)
	switch proto := h.Values("X-Forwarded-Proto"); {
	case len(proto) == 1 && (proto[0] == "http" || proto[0] == "https"):
		x.Scheme = proto[0]
	}
	if id := h.Values(request.RequestIDHeader); len(id) == 1 && isRequestID(id[0]) {
		x.ProxyID = id[0]
	}
}

// clientOf finds the client: the last address of X-Forwarded-For that is no trusted proxy itself. An element that is
// not an address ends the walk, since no trusted proxy wrote it.
func (snap *snapshot) clientOf(x *request.Exchange, h http.Header) {
	given := h.Values("X-Forwarded-For")
	if len(given) == 0 {
		return
	}
	chain := strings.Split(strings.Join(given, ","), ",")
	for _, element := range slices.Backward(chain) {
		addr, ok := addressIn(strings.TrimSpace(element))
		if !ok {
			x.Client = netip.Addr{} // somebody whom we do not know
			break
		}
		x.Client = addr.Unmap().WithZone("")
		if !snap.trusts(x.Client) {
			break
		}
	}
}

// addressIn reads an address with or without a port: Azure's Application Gateway, IIS and ALB write one.
func addressIn(element string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(element, "[]")); err == nil {
		return addr, true
	}
	both, err := netip.ParseAddrPort(element)
	return both.Addr(), err == nil
}

// isRequestID bounds what we take over into logs and headers.
func isRequestID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
