package proxy

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/ticket"
)

// A ticket stands for a token in the query of one request. The gate takes it out of the query before anything else
// reads that, opens it, judges what the token said by every step but the signature, and uses the ticket up last.

// Tickets are what a gate draws and takes tickets with. They outlive reloads, but for TTL.
type Tickets struct {
	Sealer *ticket.Sealer
	Guard  TicketGuard
	TTL    time.Duration
}

// A TicketGuard accepts each ticket once. Its refusals are those of package replay.
type TicketGuard interface {
	Consume(ctx context.Context, u replay.Use, made int64) error
}

const (
	ticketMember = "ticket"
	inTicket     = "ticket" // as the place of a candidate
)

// takeTicket takes the member out of the query that goes on, and returns its value. On a route that takes tickets a
// member of this name belongs to the gate in any spelling that some reader takes for it.
func (p *inbound) takeTicket() (text string, found bool, err error) {
	t := &p.x.Target
	var kept []string
	for member := range strings.SplitSeq(t.Query, "&") {
		switch value, plain := strings.CutPrefix(member, ticketMember+"="); {
		case plain && !strings.Contains(value, ";") && found:
			return "", false, refusal.Because(refusal.CredentialsMultiple, "two tickets in the query")
		case plain && !strings.Contains(value, ";"):
			text, found = value, true
		case hasTicket(member):
			return "", false, refusal.Because(refusal.RequestMalformed, "query: another spelling of the member ticket")
		default:
			kept = append(kept, member)
		}
	}
	if !found {
		return "", false, nil
	}
	t.Query = strings.Join(kept, "&")
	t.HasQuery = t.Query != ""
	p.r.RequestURI = t.Path
	if t.HasQuery {
		p.r.RequestURI += "?" + t.Query
	}
	if p.r.URL != nil {
		p.r.URL.RawQuery = t.Query
	}
	return text, true, nil
}

// hasTicket reports whether some reader could find the member in a query: names are unescaped, in any case, with ";"
// for a separator, and with the brackets of a list.
func hasTicket(query string) bool {
	for member := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(member, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		name, _, _ = strings.Cut(name, "[")
		if strings.EqualFold(strings.TrimSpace(name), ticketMember) {
			return true
		}
	}
	return false
}

// bound is what a ticket for the request is bound to.
func (p *inbound) bound() *ticket.Request {
	return &ticket.Request{Method: p.r.Method, Host: p.x.Host, Path: p.x.Target.Path, Query: p.x.Target.Query}
}

// openTicket finds what the token said that the ticket stands for, by the present settings of its issuer.
func (g *Gate) openTicket(p *inbound) error {
	if g.tickets == nil {
		return fault("a route takes tickets, and the gate has no key for them")
	}
	c, err := g.tickets.Sealer.Open(p.token)
	switch {
	case errors.Is(err, ticket.ErrMalformed):
		return refusal.Because(refusal.TokenMalformed, "ticket: %v", err)
	case err != nil:
		return refusal.Because(refusal.TokenSignatureInvalid, "ticket: %v", err)
	case c.Request != p.bound().Digest():
		return refusal.Because(refusal.TicketMismatch, "drawn for another method, host, path or query")
	}
	now := p.now.UnixMilli()
	switch {
	case c.Expiry <= now:
		return refusal.Because(refusal.TokenExpired, "the ticket expired %d ms ago", now-c.Expiry)
	case c.Made > now+g.leeway.Milliseconds():
		return refusal.Because(refusal.TokenNotYetValid, "the ticket was drawn %d ms from now", c.Made-now)
	}
	v, err := g.verifier.Restored(c.Type, c.KeyID, c.Claims)
	if err != nil {
		return err
	}
	if err := g.trust.Opens(v); err != nil {
		return err
	}
	if c.Named { // a key that is gone ends what it has signed, as it does for tokens
		switch keys := v.Issuer.Keys(); {
		case keys == nil:
			return refusal.Because(refusal.IssuerUnavailable, "no keys of issuer %s are at hand", v.Issuer.URL)
		case keys.Key(c.KeyID) == nil:
			return refusal.Because(refusal.TokenKeyUnknown, "issuer %s has no key %.80q any more", v.Issuer.URL, c.KeyID)
		}
	}
	p.ticket, p.entry = c, &entry{verified: v, by: g.verifier}
	return nil
}

func stepTicket() step {
	return step{
		name: "ticket", about: aboutRequest, run: (*Gate).useTicket,
		wanted: (*config.Route).TakesTickets,
		say: func(_ *Gate, p *inbound) string {
			if !p.ticketed {
				return "none: the token came itself"
			}
			return "not used before"
		},
		need: func(*Gate, *inbound, refusal.Reason) string {
			return "a ticket of its own for every request: POST /api/v1/tickets"
		},
	}
}

// useTicket uses the ticket up. Whatever else would refuse the request must have been asked before.
func (g *Gate) useTicket(p *inbound) error {
	switch {
	case !p.ticketed && p.trial != nil:
		return omitted
	case !p.ticketed:
		return nil
	case p.ticket == nil:
		return fault("the ticket was not opened")
	}
	if p.ticket.Tenant != p.tenant { // it may stand in a header, which the ticket is not bound to
		return refusal.Because(refusal.TicketMismatch, "drawn for another tenant")
	}
	if p.trial != nil {
		return skipped("whether it was used before was not asked")
	}
	if _, err := upgradeOf(p.r, p.plan.route.Upgrade); err != nil {
		return err
	}
	v := p.entry.verified
	err := g.tickets.Guard.Consume(p.r.Context(), replay.Use{
		Client: config.TicketOwner(v.Issuer.Own, v.Issuer.URL, v.Claims.ClientID), Nonce: p.ticket.Nonce,
		Expiry: p.ticket.Expiry,
	}, p.ticket.Made)
	switch refusal.Of(err) {
	case "":
		p.x.Ticket = request.TicketRedeemed
		return nil
	case refusal.StoreUnavailable:
		return err
	}
	return refusal.Because(refusal.TicketUsed, "%v", err)
}

// confine keeps the answer to a ticket out of every cache, and its URL out of the Referer of what the answer links to.
func (p *inbound) confine() {
	if p.ticketed {
		h := p.x.Header()
		h["Cache-Control"] = []string{"no-store"}
		h["Referrer-Policy"] = []string{"no-referrer"}
	}
}
