package config

import (
	"net/netip"
	"net/url"
	"strings"
)

// LoginPlaceholder stands in a route's login_url for the percent-encoded URL of the page that was asked for.
const LoginPlaceholder = "{url}"

const loginExample = "write it like https://login.example.com/?return_to={url}"

// isLogin holds a login_url to where a URL may be put in without becoming another part of it: the query.
func isLogin(s string) (problem, remedy string) {
	if strings.Count(s, LoginPlaceholder) != 1 {
		return "does not have {url} once", loginExample
	}
	before, after, _ := strings.Cut(s, LoginPlaceholder)
	u, err := webURL(before + "x" + after)
	switch {
	case err != nil || u.User != nil:
		return "is not the URL of a login page", loginExample
	case !strings.Contains(before, "?") || strings.Contains(before, "#"):
		return "has {url} outside of its query", loginExample
	case u.Scheme != "https" && !onThisMachine(u):
		return "is not https: anybody on the way could change where it leads", loginExample
	}
	return "", ""
}

// onThisMachine reports whether a URL leads to this machine, as in development.
func onThisMachine(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// buildLogin takes over where persons without a token are sent.
func (b *builder) buildLogin(w *writtenRoute, r *Route) {
	if !w.loginURL.Usable() {
		return
	}
	r.LoginURL = w.loginURL.Value
	switch {
	case w.public.Given:
		b.Fault(w.loginURL.At, "has no effect on a public route", "remove it: a public route judges no token")
	case r.Require.Optional:
		b.Fault(w.loginURL.At, "has no effect with require: optional", "remove it: a request without a token passes")
	case w.upstream.Value == "none":
		b.Fault(w.loginURL.At, "has no effect with upstream: none",
			"set the login page in the proxy that asks, such as error_page 401 of nginx")
	}
}

// lintLogin warns of login pages that persons are not sent to, since any name may lead to the route.
func (b *builder) lintLogin() {
	for i, r := range b.Routes {
		if r.LoginURL != "" && len(r.Hosts) == 0 {
			b.Warn(b.file.routes.Value[i].Value.loginURL.At,
				"is used for hosts that other routes or issuer.url name, for localhost and for addresses alone",
				"add hosts to the route: a login page must not send its users back to a host that anybody can choose")
		}
	}
}
