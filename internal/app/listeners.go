package app

import (
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/listen"
	"github.com/jotgate/jotgate/internal/request"
)

// http2Of are the words of limits.http2.
var http2Of = map[string]listen.HTTP2{
	"own": listen.HTTP2Own, "standard": listen.HTTP2Standard, "off": listen.HTTP2Off,
}

func (g *Gate) listenOptions(c *config.Config) listen.Options {
	o := listen.Options{Log: g.log.Logger, Refused: g.refused, CORS: g.refusedCORS, Faulted: g.faulted}
	o.Limits = listen.Limits{
		Limits: httpserver.Limits{
			HeaderBytes: c.Limits.HeaderBytes, URIBytes: c.Limits.URIBytes,
			HeaderTimeout: c.Limits.HeaderTimeout, BodyStall: c.Limits.StallTimeout,
		},
		IdleTimeout: c.Limits.IdleTimeout, WriteStall: c.Limits.StallTimeout,
		Connections: c.Limits.Connections, H2Streams: uint32(c.Limits.H2Streams), HTTP2: http2Of[c.Limits.HTTP2],
	}
	for _, l := range c.Listeners {
		listener := listen.Listener{
			Name: l.Name, Address: l.Address, Mode: l.Mode, RedirectHTTPS: l.Redirect, H2C: l.H2C, ReusePort: l.ReusePort,
			Handler: onListener{g, l.Name},
		}
		if l.ProxyProtocol != nil {
			listener.Proxies = func(p listen.Peer) bool { return g.sendsPROXY(l.Name, p) }
		}
		if l.Redirect {
			listener.HTTPSPort = httpsPort(c.Listeners)
			listener.ACME = slices.Collect(maps.Values(g.certificates))
		}
		if certificates := g.certificates[l.Name]; certificates != nil {
			listener.TLS = certificates
		}
		o.Listeners = append(o.Listeners, listener)
	}
	if c.Decision != nil {
		o.Listeners = append(o.Listeners, g.decisionListener(c.Decision))
	}
	return o
}

// onListener serves the requests of one listener.
type onListener struct {
	gate *Gate
	name string
}

func (l onListener) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.gate.serve(w, r, l.name) }

// sendsPROXY reports whether a peer of the listener sends a PROXY header, by the configuration in force.
func (g *Gate) sendsPROXY(listener string, p listen.Peer) bool {
	c := g.Config()
	at := slices.IndexFunc(c.Listeners, func(l config.Listener) bool { return l.Name == listener })
	if at < 0 || c.Listeners[at].ProxyProtocol == nil {
		return false
	}
	from, unix := c.Listeners[at].ProxyProtocol.From, c.Listeners[at].ProxyProtocol.Unix
	if c.Listeners[at].ProxyProtocol.Trusted {
		from, unix = c.TrustedProxies, c.TrustUnix
	}
	return p.Unix && unix || p.Addr.IsValid() &&
		slices.ContainsFunc(from, func(r netip.Prefix) bool { return r.Contains(p.Addr) })
}

// httpsPort is where a redirect leads: the port of the first listener with certificates.
func httpsPort(all []config.Listener) int {
	for _, l := range all {
		if l.TLS == nil {
			continue
		}
		if _, text, err := net.SplitHostPort(l.Address); err == nil {
			if port, err := net.LookupPort("tcp", text); err == nil {
				return port
			}
		}
	}
	return 0
}

// refused writes the access line of a request that no handler saw.
func (g *Gate) refused(f listen.Refused) {
	x := request.Exchange{ID: f.RequestID, Reason: f.Reason, Detail: f.Detail}
	from(&x, f.Remote)
	g.log.Refused(&x)
	g.snapshot.Load().series.Refused(&x)
}

// refusedCORS tells a script of the answer to a request that no handler saw, by the policy of the top level.
func (g *Gate) refusedCORS(r *http.Request, h http.Header) { g.snapshot.Load().cors.Answer(r).Apply(h) }

// faulted counts an HTTP/2 fault, and writes the access line of a request, or a connection, that was refused without an
// answer.
func (g *Gate) faulted(f httpserver.Fault) {
	g.metrics.HTTP2Fault(f.Connection, f.Reason)
	if f.Refused == "" {
		return
	}
	x := request.Exchange{ID: request.NewID(), Reason: f.Refused, Detail: f.Detail}
	from(&x, f.Remote)
	g.log.Refused(&x)
	if !f.Connection {
		g.snapshot.Load().series.Refused(&x)
	}
}

// from sets the address of a client that no handler saw.
func from(x *request.Exchange, remote string) {
	if addr, err := netip.ParseAddrPort(remote); err == nil {
		x.Peer = addr.Addr().Unmap()
		x.Client = x.Peer
	}
}
