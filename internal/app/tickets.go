package app

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/ticket"
	"github.com/jotgate/jotgate/proxy"
)

// longestTicket is how long a ticket can be good: 5 minutes, and by how much another replica's clock may be ahead.
const longestTicket = 6 * time.Minute

// buildTickets makes what the gate draws and takes tickets with; nil where no route takes any.
func (g *Gate) buildTickets(c *config.Config) (*proxy.Tickets, error) {
	if !c.Tickets.Taken {
		return nil, nil
	}
	secrets := [][]byte{g.memory.ticketKey}
	if len(c.Tickets.Secrets) > 0 {
		secrets = nil
		for _, secret := range c.Tickets.Secrets {
			secrets = append(secrets, []byte(secret.Reveal()))
		}
	}
	t := &proxy.Tickets{TTL: c.Tickets.TTL, Guard: ownTickets{g.memory.tickets}}
	epoch := g.memory.tickets.Epoch()
	if g.memory.store != nil {
		t.Guard, epoch = replay.NewOnce(g.memory.store, "ticket", longestTicket), nil
	}
	var err error
	t.Sealer, err = ticket.New(secrets, epoch)
	return t, err
}

// ownTickets are the tickets that this process has accepted.
type ownTickets struct{ *replay.Memory }

func (t ownTickets) Consume(ctx context.Context, u replay.Use, _ int64) error {
	return t.Memory.Consume(ctx, u)
}

// reconfigureOnce gives each client and issuer its share of what is used once.
func (m *memory) reconfigureOnce(c *config.Config) error {
	if err := m.logouts.Reconfigure(logoutIssuers(c)); err != nil {
		return err
	}
	if !c.Tickets.Taken {
		return nil // what was used stays known
	}
	return m.tickets.Reconfigure(c.TicketOwners(), c.Tickets.Capacity)
}

// ownsTickets reports whether the request is for the endpoint that draws tickets.
func (snap *snapshot) ownsTickets(x *request.Exchange, r *http.Request) bool {
	c := snap.config
	if !c.Tickets.Taken || r.URL.Path != endpoint.Tickets || x.Target.Oddities != 0 {
		return false
	}
	return c.Issuer == nil || len(c.Issuer.Serve.Hosts) == 0 || slices.Contains(c.Issuer.Serve.Hosts, x.Host)
}

// drawTicket answers it. Its CORS fields are those of the token endpoints, or without an issuer the top level's.
func (snap *snapshot) drawTicket(x *request.Exchange, r *http.Request) {
	policy := snap.cors
	if snap.endpoints != nil {
		policy = snap.endpoints.tokens
	}
	x.CORS = policy.Answer(r)
	if policy != nil && cors.Asked(r) != "" {
		x.Route, x.Pattern = "tickets", endpoint.Tickets
		x.Preflight([]string{http.MethodPost})
		return
	}
	snap.gate.ServeTickets(x, r)
}
