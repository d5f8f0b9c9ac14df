package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/endpoint"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// TokenSources are the places of a request that may hold its token.
type TokenSources struct {
	Authorization     bool     // Bearer and DPoP
	WebSocketProtocol bool     // Sec-WebSocket-Protocol: bearer, TOKEN
	Ticket            bool     // a one-time ticket, in the query
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
	word := yaml.Word("authorization", "websocket_protocol", "ticket")
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
		case one.Value.word == "ticket":
			s.Ticket = true
		case one.Value.header.Given == one.Value.cookie.Given:
			b.Fault(one.At, "names no source, or two",
				"write authorization, websocket_protocol, ticket, {header: NAME} or {cookie: NAME}")
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
	if s := r.TokenFrom; s != nil && w.upstream.Value == "none" && s.Ticket {
		b.Fault(w.upstream.At, "is none, and token_from lists ticket",
			"give the route its own token_from without ticket: other proxies cannot take a ticket out of the query")
	}
}

// buildTickets comes after the routes, which say whether tickets are taken.
func (b *builder) buildTickets() {
	w := &b.file.tickets.Value
	b.Tickets = Tickets{TTL: w.ttl.Value, Capacity: w.capacity.Value, Secrets: yaml.Values(w.secrets)}
	for i, r := range b.Routes {
		b.Tickets.Taken = b.Tickets.Taken || r.TakesTickets()
		written := &b.file.routes.Value[i].Value
		if written.path.Usable() && r.Path.String() == endpoint.Tickets && b.takesTickets() {
			b.Fault(written.path.At, "is where the gate issues tickets, since the token_from of a route lists ticket",
				"choose another path")
		}
	}
	if len(b.Tickets.Secrets) == 0 && b.Issuer != nil {
		b.Tickets.Secrets = b.Issuer.CodeSecrets
	}
	if !b.Tickets.Taken {
		return
	}
	if b.file.redis.Given && len(b.Tickets.Secrets) == 0 {
		b.Fault(b.file.redis.At, "is shared by replicas, which cannot open each other's tickets without tickets.secrets",
			"add tickets: {secrets: [\"${env:TICKET_SECRET}\"]}, the same on every replica; `jotgate keygen --secret` makes "+
				"one")
	}
	if b.file.replicas.Value > 1 && !b.file.redis.Given {
		b.Fault(b.file.replicas.At, "is more than one, and each replica would take a ticket once", "add redis")
	}
	if n := len(b.TicketOwners()); w.capacity.Usable() && b.Tickets.Capacity < n {
		b.Fault(w.capacity.At, fmt.Sprintf("%d is less than one entry for each of %d clients and trusted issuers",
			b.Tickets.Capacity, n), "raise it")
	}
}

func (b *builder) takesTickets() bool {
	return slices.ContainsFunc(b.Routes, (*Route).TakesTickets)
}

// TakesTickets reports whether requests of the route may bring a ticket.
func (r *Route) TakesTickets() bool { return r.TokenFrom != nil && r.TokenFrom.Ticket && !r.Public }

// TicketOwners lists who shares the memory of used tickets: our clients, and the other issuers.
func (c *Config) TicketOwners() (owners []string) {
	if c.Issuer != nil {
		for _, client := range c.Issuer.Clients {
			owners = append(owners, TicketOwner(true, c.Issuer.URL, client.ID))
		}
	}
	for _, t := range c.TrustedIssuers {
		owners = append(owners, TicketOwner(false, t.Issuer, ""))
	}
	return owners
}

// TicketOwner is the share in which a ticket counts: the client's that a token of ours was issued to, or the other
// issuer's.
func TicketOwner(own bool, issuer, client string) string {
	if own {
		return "client " + client
	}
	return "issuer " + issuer
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
