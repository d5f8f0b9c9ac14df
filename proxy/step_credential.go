package proxy

import (
	"net/url"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

func stepCredential() step {
	return step{
		name: "bearer", about: aboutToken, run: (*Gate).credential,
		say: func(_ *Gate, p *inbound) string {
			if p.elsewhere {
				return "one, where token_from has it"
			}
			return "one, in Authorization"
		},
		need: func(_ *Gate, _ *inbound, reason refusal.Reason) string {
			switch reason {
			case refusal.CrossSite:
				return "a request that the browser says a page of the same origin makes"
			case refusal.TokenMissing, refusal.TokenInQuery, refusal.TokenSchemeUnsupported:
				return "one header Authorization: Bearer TOKEN"
			}
			return ""
		},
	}
}

// credential takes the request's one credential: the Authorization field with the Bearer scheme (RFC 6750 §2.1). Tokens
// in the query end in logs and in Referer fields, so they are refused (RFC 9700 §4.3.2); a form body is not read, and a
// cookie is never a credential here. Two credentials are refused because gate and app might each take another (RFC 6750
// §2); a cookie named access_token beside the field is such a second one.
func (g *Gate) credential(p *inbound) error {
	if p.trial != nil && p.trial.as.Claims != "" {
		return omitted // the trial says what the token claims
	}
	if s := &p.plan.sources; s.TokenSources != nil && p.drawer == nil && s.elsewhere(p.r.Header) {
		return g.credentialElsewhere(p, s)
	}
	fields := p.r.Header["Authorization"]
	inQuery := p.x.Target.HasQuery && hasAccessToken(p.x.Target.Query)
	switch {
	case len(fields) > 1:
		return &refusal.Error{Reason: refusal.CredentialsMultiple, Detail: "Authorization is there more than once"}
	case len(fields) == 1 && inQuery:
		return &refusal.Error{Reason: refusal.CredentialsMultiple, Detail: "Authorization beside access_token in the query"}
	case len(fields) == 1 && request.HasTokenCookie(p.r.Header["Cookie"]):
		return &refusal.Error{Reason: refusal.CredentialsMultiple, Detail: "Authorization beside a cookie access_token"}
	case inQuery:
		return &refusal.Error{Reason: refusal.TokenInQuery}
	case len(fields) == 0 && p.plan.route.Require.Optional && p.drawer == nil:
		p.anonymous = true
		if p.trial != nil {
			return skipped("there is none, and the route can do without")
		}
		return nil
	case len(fields) == 0:
		return errNoToken
	}
	return g.takeToken(p, fields[0])
}

// credentialElsewhere takes the one credential of a request that has, or may have, it in other places than
// Authorization.
func (g *Gate) credentialElsewhere(p *inbound, s *sources) error {
	one, err := s.find(p)
	inQuery := p.x.Target.HasQuery && hasAccessToken(p.x.Target.Query)
	cookie := request.HasTokenCookie(p.r.Header["Cookie"]) && !slices.Contains(s.Cookies, "access_token")
	switch {
	case err != nil:
		return err
	case one == nil && inQuery:
		return &refusal.Error{Reason: refusal.TokenInQuery}
	case one != nil && inQuery:
		return refusal.Because(refusal.CredentialsMultiple, "%s beside access_token in the query", one.where)
	case one != nil && cookie:
		return refusal.Because(refusal.CredentialsMultiple, "%s beside a cookie access_token", one.where)
	case one == nil && p.plan.route.Require.Optional:
		p.anonymous = true
		if p.trial != nil {
			return skipped("there is none, and the route can do without")
		}
		return nil
	case one == nil:
		return errNoToken
	case one.where == "Authorization":
		return g.takeToken(p, one.field)
	}
	if one.where == inTicket {
		if p.decision {
			return refusal.Because(refusal.TokenMissing, "a ticket, which a front could not take out of the query")
		}
		p.ticketed = true
	}
	p.token, p.elsewhere = one.token, true
	return g.shortEnough(p)
}

func (g *Gate) takeToken(p *inbound, field string) error {
	switch {
	case ofScheme(field, "bearer"):
		field = field[len("bearer"):]
	case g.proofs != nil && ofScheme(field, "dpop"): // RFC 9449 §7.1; proof.go asks for the rest
		field, p.dpop, p.x.DPoP = field[len("dpop"):], true, true
	default:
		return &refusal.Error{Reason: refusal.TokenSchemeUnsupported}
	}
	p.token = strings.TrimLeft(field, " ")
	return g.shortEnough(p)
}

func (g *Gate) shortEnough(p *inbound) error {
	if len(p.token) > g.limits.TokenBytes {
		return refusal.Because(refusal.TokenTooLarge, "%d bytes, %d are allowed", len(p.token), g.limits.TokenBytes)
	}
	return nil // a token that is not in the cache is parsed to the letter, and one that is there was
}

func ofScheme(field, scheme string) bool {
	return len(field) >= len(scheme) && strings.EqualFold(field[:len(scheme)], scheme) &&
		(len(field) == len(scheme) || field[len(scheme)] == ' ')
}

// hasAccessToken reports whether some reader could find the member access_token in a query: names are unescaped, and
// ";" is taken for a separator as well.
func hasAccessToken(query string) bool {
	const name = "access_token"
	for query != "" {
		var member string
		if end := strings.IndexAny(query, "&;"); end >= 0 {
			member, query = query[:end], query[end+1:]
		} else {
			member, query = query, ""
		}
		member, _, _ = strings.Cut(member, "=")
		if len(member) < len(name) {
			continue
		}
		if strings.IndexByte(member, '%') >= 0 {
			if plain, err := url.QueryUnescape(member); err == nil {
				member = plain
			}
		}
		if member == name {
			return true
		}
	}
	return false
}
