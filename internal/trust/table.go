package trust

import (
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

// An Exchange says which tokens a client may exchange, and what comes out at most (RFC 8693).
type Exchange struct {
	Client, Issuer string
	Audiences      []string          // of the new token, where the request names none
	Named          []string          // that it can be for as well, where the request names them
	Most           token.Permissions // its permissions
	Claims         []string          // custom claims that it keeps
}

// Exchanges lists who may exchange what for what, by client and issuer in the file's order. Of one of our own tokens
// come no more audiences than it has.
func Exchanges(c *config.Config) (all []Exchange) {
	i := c.Issuer
	if i == nil || !i.Serve.OAuth2 {
		return nil
	}
	p := New(c)
	for _, client := range i.Clients {
		if client.Public || !slices.Contains(client.May, token.Exchange) {
			continue
		}
		all = append(all, Exchange{
			Client: client.ID, Issuer: i.URL, Audiences: i.Audiences, Most: client.Delegate, Claims: client.Claims,
		})
		for _, t := range c.TrustedIssuers {
			if !t.Exchange {
				continue
			}
			x := Exchange{
				Client: client.ID, Issuer: t.Issuer, Audiences: p.Narrow(i.Audiences, t.Audiences),
				Most: t.Permissions.Cut(client.Delegate), Claims: client.Claims,
			}
			for _, a := range i.Audiences {
				if !slices.Contains(x.Audiences, a) {
					x.Named = append(x.Named, a)
				}
			}
			all = append(all, x)
		}
	}
	return all
}

// A Workload says which tokens of a trusted issuer authenticate a client (RFC 7523).
type Workload struct {
	Client, Issuer string
	Is             string // its subject and claims, for people
	Identity       *config.Workload
}

// Workloads lists the clients that authenticate with tokens of trusted issuers, in the file's order.
func Workloads(c *config.Config) (all []Workload) {
	if c.Issuer == nil {
		return nil
	}
	for _, client := range c.Issuer.Clients {
		i := client.Identity
		if i == nil {
			continue
		}
		var is []string
		switch {
		case i.Subject != "":
			is = append(is, "sub "+i.Subject)
		case i.Prefix != "":
			is = append(is, "sub "+i.Prefix+"…")
		}
		for n := range i.Claims {
			is = append(is, strings.Join(i.Claims[n].Claim, ".")+" "+i.Claims[n].Condition.String())
		}
		all = append(all, Workload{client.ID, i.Issuer, strings.Join(is, ", "), i})
	}
	return all
}

// Authenticates lists the clients whose workload the token is of, by what it says. More than one are none, as the token
// endpoints have it.
func (p *Policy) Authenticates(v *jose.Verified) (clients []string) {
	if v.Kind != jose.KindWorkload || len(v.Claims.Audience) != 1 {
		return nil
	}
	for id, client := range p.clients {
		i := client.Identity
		if i != nil && i.Issuer == v.Issuer.URL && slices.Contains(i.Audiences, v.Claims.Audience[0]) &&
			i.Matches(v.Claims.Subject, v.Claim) {
			clients = append(clients, id)
		}
	}
	slices.Sort(clients)
	return clients
}
