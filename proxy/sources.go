package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// A token stands in the Authorization field unless token_from names other places. Whatever could be a token in a place
// that is not named refuses the request: gate and app might each believe another. What may hold a token never reaches
// the app.

const (
	protocolField  = "Sec-Websocket-Protocol"
	bearerProtocol = "bearer" // is followed by the token, as the Kubernetes API server and others have it
)

// sources are the places of a route.
type sources struct {
	*config.TokenSources
	known   []string // cookies that hold a token on any route
	forward bool     // header and cookie go on
}

// authorizationAlone are the sources of routes without token_from.
var authorizationAlone = &config.TokenSources{Authorization: true}

func (g *Gate) sourcesOf(r *config.Route) sources {
	s := sources{TokenSources: r.TokenFrom, known: g.tokenCookies, forward: r.ForwardToken}
	if s.TokenSources == nil {
		s.TokenSources = authorizationAlone
	}
	return s
}

// A candidate is what could be the request's token.
type candidate struct {
	field string // the credential with its scheme, of Authorization
	token string
	where string
	named bool // by token_from
}

// elsewhere reports whether the request has, or its route allows, a token outside of Authorization: otherwise the
// common way of finding it will do.
func (s *sources) elsewhere(h http.Header) bool {
	return s.TokenSources != authorizationAlone && (!s.Authorization || len(s.Headers)+len(s.Cookies) > 0 ||
		s.WebSocketProtocol || s.Ticket) ||
		len(s.known) > 0 && len(h["Cookie"]) > 0 || len(h[protocolField]) > 0
}

// find looks in every place, and returns the one candidate, or nil for none.
func (s *sources) find(p *inbound) (*candidate, error) {
	var explicit, cookies []candidate
	h := p.r.Header
	for _, field := range h["Authorization"] {
		if s.Authorization || ofScheme(field, "bearer") || ofScheme(field, "dpop") {
			explicit = append(explicit, candidate{field: field, where: "Authorization", named: s.Authorization})
		}
	}
	for _, name := range s.Headers {
		for _, value := range h[name] {
			explicit = append(explicit, candidate{token: value, where: name, named: true})
		}
	}
	tokens, ok := protocolTokens(h[protocolField])
	if !ok {
		return nil, &refusal.Error{
			Reason: refusal.TokenMalformed,
			Detail: "bearer in Sec-WebSocket-Protocol is not followed by a token",
		}
	}
	for _, token := range tokens {
		explicit = append(explicit, candidate{token: token, where: "Sec-WebSocket-Protocol", named: s.WebSocketProtocol})
	}
	if s.Ticket && p.x.Target.HasQuery {
		text, found, err := p.takeTicket()
		if err != nil {
			return nil, err
		}
		if found {
			explicit = append(explicit, candidate{token: text, where: inTicket, named: true})
		}
	}
	for _, name := range s.known {
		named := slices.Contains(s.Cookies, name)
		for _, value := range cookieValues(h["Cookie"], name) {
			cookies = append(cookies, candidate{token: value, where: "cookie " + name, named: named})
		}
	}
	return s.choose(p, explicit, cookies)
}

func (s *sources) choose(p *inbound, explicit, cookies []candidate) (*candidate, error) {
	two := func(a, b *candidate) error {
		return refusal.Because(refusal.CredentialsMultiple, "%s beside %s", a.where, b.where)
	}
	for i := range cookies {
		if len(explicit) > 0 && !cookies[i].named {
			return nil, two(&explicit[0], &cookies[i])
		}
	}
	var one *candidate
	switch {
	case len(explicit) > 1:
		return nil, two(&explicit[0], &explicit[1])
	case len(explicit) == 1 && !explicit[0].named && len(cookies) > 0:
		return nil, two(&explicit[0], &cookies[0])
	case len(explicit) == 1:
		one = &explicit[0]
	case len(cookies) > 1:
		return nil, two(&cookies[0], &cookies[1])
	case len(cookies) == 1:
		one = &cookies[0]
	default:
		return nil, nil
	}
	if !one.named {
		return nil, refusal.Because(refusal.TokenMissing, "%s holds a token, which this route does not take from there",
			one.where)
	}
	if one.where == "Authorization" || len(explicit) > 0 {
		return one, nil
	}
	return one, p.sameSite()
}

// sameSite refuses a cookie that another site may have made the browser send (RFC 6265bis §8.8 says why a cookie alone
// shows no intent). Reading across sites is left to CORS and to the browser; all else, and a WebSocket, which neither
// bounds, needs the browser's word that the page is of this origin.
func (p *inbound) sameSite() error {
	h := p.r.Header
	switch p.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if !p.decision && len(h["Upgrade"]) == 0 && !wantsUpgrade(p.r) {
			return nil
		}
	}
	origins := h["Origin"]
	if c := p.plan.route.CORS; c != nil && c.Credentials && len(origins) == 1 && slices.Contains(c.Origins, origins[0]) {
		return nil
	}
	if said := h["Sec-Fetch-Site"]; len(said) > 0 {
		if len(said) == 1 && (said[0] == "same-origin" || said[0] == "none") {
			return nil
		}
		return refusal.Because(refusal.CrossSite, "Sec-Fetch-Site: %.64q", strings.Join(said, ", "))
	}
	if len(origins) == 1 && sameOrigin(origins[0], p.x.Scheme, p.authority()) {
		return nil
	}
	return refusal.Because(refusal.CrossSite, "Origin: %.128q, and the request is for %s://%.128s",
		strings.Join(origins, ", "), p.x.Scheme, p.authority())
}

// sameOrigin reports whether a page of the origin and the request have the same scheme, host and port (RFC 6454 §5).
func sameOrigin(origin, scheme, authority string) bool {
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	plain := func(s string) string { return strings.ToLower(strings.TrimSuffix(s, port)) }
	return port != "" && authority != "" && plain(origin) == plain(scheme+"://"+authority)
}

// protocolTokens lists what follows bearer in a list of subprotocols. ok is false if nothing does.
func protocolTokens(fields []string) (tokens []string, ok bool) {
	if len(fields) == 0 {
		return nil, true
	}
	list := protocols(fields)
	for i := 0; i < len(list); i++ {
		if list[i] != bearerProtocol {
			continue
		}
		if i++; i == len(list) {
			return nil, false
		}
		tokens = append(tokens, list[i])
	}
	return tokens, true
}

func protocols(fields []string) (list []string) {
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			if item = strings.Trim(item, " \t"); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// cookieValues lists the values of a cookie, unquoted (RFC 6265 §5.2 leaves the quotes; servers take them off).
func cookieValues(fields []string, name string) (values []string) {
	for _, field := range fields {
		for pair := range strings.SplitSeq(field, ";") {
			key, value, _ := strings.Cut(pair, "=")
			if strings.Trim(key, " \t") == name {
				values = append(values, strings.Trim(strings.Trim(value, " \t"), `"`))
			}
		}
	}
	return values
}

// conceal takes whatever may hold a token out of the request that goes on: of a refusal that a shadow let through, too.
func (p *inbound) conceal() {
	s, h := &p.plan.sources, p.r.Header
	if cookies := h["Cookie"]; request.HasConsoleCookie(cookies) {
		setOrDelete(h, "Cookie", withoutCookies(cookies, request.ConsoleCookies))
	}
	if p.plan.route.Public { // Authorization passes there; a cookie comes by itself
		if len(s.known) > 0 && len(h["Cookie"]) > 0 {
			setOrDelete(h, "Cookie", withoutCookies(h["Cookie"], s.known))
		}
		return
	}
	if !s.elsewhere(h) {
		return
	}
	if !s.Authorization {
		delete(h, "Authorization")
	}
	if len(h[protocolField]) > 0 {
		p.concealProtocol(h)
	}
	if s.forward {
		return
	}
	for _, name := range s.Headers {
		var mine, room [maxFold]byte
		folded := string(fold(mine[:0], name))
		for other := range h {
			if string(fold(room[:0], other)) == folded {
				delete(h, other)
			}
		}
	}
	if len(s.known) > 0 && len(h["Cookie"]) > 0 {
		setOrDelete(h, "Cookie", withoutCookies(h["Cookie"], s.known))
	}
}

func (p *inbound) concealProtocol(h http.Header) {
	var rest []string
	list := protocols(h[protocolField])
	for i := 0; i < len(list); i++ {
		if list[i] == bearerProtocol {
			p.offeredBearer = true
			i++
			continue
		}
		rest = append(rest, list[i])
	}
	if p.offeredBearer {
		setOrDelete(h, protocolField, strings.Join(rest, ", "))
	}
}

func setOrDelete(h http.Header, name, value string) {
	if value == "" {
		delete(h, name)
		return
	}
	h[name] = []string{value}
}

// withoutCookies joins the cookies but for some.
func withoutCookies(fields, names []string) string {
	var rest []string
	for _, field := range fields {
		for pair := range strings.SplitSeq(field, ";") {
			key, _, _ := strings.Cut(pair, "=")
			if pair = strings.Trim(pair, " \t"); pair != "" && !slices.Contains(names, strings.Trim(key, " \t")) {
				rest = append(rest, pair)
			}
		}
	}
	return strings.Join(rest, "; ")
}

// cacheable yields an answer's fields with what keeps a shared cache from storing it: RFC 9111 §3.5 does that for
// requests with Authorization alone.
func (p *inbound) cacheable(fields func(yield func(name, value string) bool)) func(yield func(name,
	value string) bool) {
	if !p.elsewhere {
		return fields
	}
	return func(yield func(name, value string) bool) {
		var directives []string
		private := false
		for name, value := range fields {
			switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
			case canonical == "Surrogate-Control", strings.HasSuffix(canonical, "-Cache-Control"):
				continue // a CDN's own field comes before Cache-Control (RFC 9213 §2.2)
			case canonical != "Cache-Control":
				if !yield(name, value) {
					return
				}
				continue
			}
			for item := range strings.SplitSeq(value, ",") {
				item = strings.Trim(item, " \t")
				key, _, _ := strings.Cut(item, "=")
				switch strings.ToLower(key) {
				case "", "public", "s-maxage":
				case "private", "no-store":
					private = private || item == key // private="Set-Cookie" keeps that field alone (RFC 9111 §5.2.2.7)
					fallthrough
				default:
					directives = append(directives, item)
				}
			}
		}
		if p.ticketed { // see confine
			return
		}
		if !private {
			directives = append(directives, "private")
		}
		yield("Cache-Control", strings.Join(directives, ", "))
	}
}
