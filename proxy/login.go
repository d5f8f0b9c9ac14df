package proxy

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/route"
)

// A person who opens a page of a route with login_url, and has no token, is sent to sign in. Only a navigation is: a
// script could neither show the page nor read where it leads. The page is told the request's own URL to come back to,
// and only where the host is known to be ours: a name that somebody points at this gate must not end up as the place
// that a login page sends its users, and what it gives them, to.

// errNoToken is the refusal of a request that has no credential anywhere.
var errNoToken error = &refusal.Error{Reason: refusal.TokenMissing}

// longestReturn bounds the URL to come back to: as a part of a header field it has up to three times the length.
const longestReturn = 2048

// loginFor returns where to send the person who sent a request that was refused; "": nowhere.
func (g *Gate) loginFor(p *inbound, why error) string {
	if !errors.Is(why, errNoToken) || p.plan == nil || p.plan.route.LoginURL == "" || p.decision ||
		p.r.Method != http.MethodGet || len(p.r.Header["Origin"]) > 0 || wantsUpgrade(p.r) || !request.Navigates(p.r) {
		return ""
	}
	if to := p.r.Header["Sec-Fetch-Dest"]; len(to) > 0 && to[0] != "document" { // most login pages refuse to be framed
		return ""
	}
	authority := p.authority()
	if !g.knowsHost(p, authority) {
		return ""
	}
	back := p.x.Scheme + "://" + authority + p.r.RequestURI
	if !strings.HasPrefix(p.r.RequestURI, "/") || len(back) > longestReturn {
		return ""
	}
	return strings.Replace(p.plan.route.LoginURL, config.LoginPlaceholder, url.QueryEscape(back), 1)
}

// knowsHost reports whether the host is one that the configuration names, or no name at all: that of a machine under
// test, which no other site can have.
func (g *Gate) knowsHost(p *inbound, authority string) bool {
	host, err := route.CanonicalHost(authority)
	switch {
	case err != nil:
		return false
	case host == p.x.Host && len(p.plan.route.Hosts) > 0:
		return true
	case host == "localhost" || g.ourHosts[host]:
		return true
	}
	_, err = netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// ownHosts are the names in a configuration that are the gate's own.
func ownHosts(c *config.Config) map[string]bool {
	all := map[string]bool{}
	add := func(hosts ...string) {
		for _, h := range hosts {
			if name, err := route.CanonicalHost(h); err == nil {
				all[name] = true
			}
		}
	}
	for _, r := range c.Routes {
		for _, h := range r.Hosts {
			if len(h.Params()) == 0 {
				add(h.String())
			}
		}
	}
	if c.Issuer != nil {
		add(c.Issuer.Serve.Hosts...)
		if u, err := url.Parse(c.Issuer.URL); err == nil {
			add(u.Host)
		}
	}
	return all
}
