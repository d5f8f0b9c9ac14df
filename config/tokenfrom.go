package config

import (
	"slices"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// TokenSources are the places of a request that may hold its token.
type TokenSources struct {
	Authorization     bool     // Bearer and DPoP
	WebSocketProtocol bool     // Sec-WebSocket-Protocol: bearer, TOKEN
	Headers           []string // canonical: fields that hold the token alone
	Cookies           []string
}

type writtenSource struct {
	word   string
	header yaml.Setting[string]
	cookie yaml.Setting[string]
}

func tokenFrom() yaml.Kind[[]yaml.Setting[writtenSource]] {
	type t = writtenSource
	word := yaml.Word("authorization", "websocket_protocol")
	mapping := yaml.Mapping(
		yaml.Placed("header", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.header },
			"request header that holds the token alone"),
		yaml.Placed("cookie", yaml.Text(isCookie).Like(filledLike), func(x *t) *yaml.Setting[string] { return &x.cookie },
			"cookie that holds the token; it counts where no other source is there, and across sites for safe methods alone"),
	).OneOf("header", "cookie")
	shape := &yaml.Shape{Either: []*yaml.Shape{word.Shape, mapping.Shape}}
	return yaml.List(1, yaml.Kind[t]{Shape: shape, Read: func(r *yaml.Reader, v yaml.Value) (t, bool) {
		if v.IsText() {
			text, ok := word.Read(r, v)
			return t{word: text}, ok
		}
		return mapping.Read(r, v)
	}})
}

// isCookie holds a cookie's name to RFC 6265 §4.1.1.
func isCookie(s string) (problem, remedy string) {
	bad := func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c) }
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, bad) {
		return "is not the name of a cookie", "write it like session or __Host-session"
	}
	return "", ""
}

// buildTokenFrom reads a list of sources; nil: it was not given.
func (b *builder) buildTokenFrom(w yaml.Setting[[]yaml.Setting[writtenSource]]) *TokenSources {
	if !w.Given {
		return nil
	}
	s := &TokenSources{}
	for i := range w.Value {
		one := &w.Value[i]
		name, list := one.Value.header, &s.Headers
		if one.Value.cookie.Given {
			name, list = one.Value.cookie, &s.Cookies
		}
		switch {
		case one.Bad:
		case one.Value.word == "authorization":
			s.Authorization = true
		case one.Value.word == "websocket_protocol":
			s.WebSocketProtocol = true
		case one.Value.header.Given == one.Value.cookie.Given:
			b.Fault(one.At, "names no source, or two",
				"write authorization, websocket_protocol, {header: NAME} or {cookie: NAME}")
		default:
			text := name.Value
			if one.Value.header.Given {
				text = canonicalHeader(text)
				if b.isOurHeader(text) {
					b.Fault(name.At, name.Shown+" is a header that the gate sets itself", "choose another header")
				}
			}
			if slices.Contains(*list, text) {
				b.Fault(name.At, name.Shown+" is listed twice", "remove one")
			}
			*list = append(*list, text)
		}
	}
	return s
}

func (b *builder) isOurHeader(name string) bool {
	return slices.Contains(b.IdentityHeaders.All(), name) || strings.HasPrefix(name, "X-Jotgate-") ||
		strings.HasPrefix(name, "X-Forwarded-") || name == "Dpop" || strings.HasPrefix(name, "Sec-")
}

// buildRouteSources takes over where the requests of a route may have their token.
func (b *builder) buildRouteSources(w *writtenRoute, r *Route) {
	own := b.buildTokenFrom(w.tokenFrom)
	switch {
	case own != nil && r.Public:
		b.Fault(w.tokenFrom.At, "has no effect on a public route", "remove it: a public route judges no token")
		return
	case r.Public:
		return
	case own != nil:
		r.TokenFrom = own
	default:
		r.TokenFrom = b.TokenFrom
	}
	if s := r.TokenFrom; s != nil && w.upstream.Value == "none" && len(s.Cookies) > 0 && !r.ForwardToken {
		b.Fault(w.upstream.At, "is none, and the cookie of token_from must not reach the app",
			"write forward_token: true, or take the token from a header: other proxies cannot take one cookie out")
	}
}

// TokenCookies lists the cookies that hold a token on any route, each once.
func (c *Config) TokenCookies() (names []string) {
	for _, r := range c.Routes {
		if r.TokenFrom == nil {
			continue
		}
		for _, name := range r.TokenFrom.Cookies {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
