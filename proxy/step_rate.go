package proxy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A limit by address counts before the token is looked at, since it is what bounds a flood of bad ones; the others
// count what is let through, so that no one uses up the turns of a tenant, subject or client whose token it does not
// have.

func stepRateByAddress() step {
	return rateStep("rate by address", func(l *config.RateLimit) bool { return l.By == config.ByIP })
}

func stepRate() step {
	return rateStep("rate", func(l *config.RateLimit) bool { return l.By != config.ByIP })
}

func rateStep(name string, counts func(*config.RateLimit) bool) step {
	return step{
		name: name,
		wanted: func(r *config.Route) bool {
			for i := range r.RateLimits {
				if counts(&r.RateLimits[i]) {
					return true
				}
			}
			return false
		},
		run: func(g *Gate, p *inbound) error {
			var told []string
			for i := range p.plan.rates {
				l := &p.plan.rates[i]
				if !counts(&l.RateLimit) {
					continue
				}
				if p.trial != nil {
					told = append(told, fmt.Sprintf("%d requests per %v by %s", l.Requests, l.Per, l.By))
					continue
				}
				if err := g.takeTurn(p, l); err != nil {
					return err
				}
			}
			if p.trial != nil {
				return skipped("requests are not counted here: " + strings.Join(told, "; "))
			}
			return nil
		},
	}
}

func (g *Gate) takeTurn(p *inbound, l *rateLimit) error {
	wait, full := l.take(p.r.Context(), p.rateKey(l.By), p.now)
	if wait <= 0 {
		return nil
	}
	// RFC 9110 §10.2.3, and draft-ietf-httpapi-ratelimit-headers in its present and in its older form, which more clients
	// read.
	h, retry, reset := p.x.Header(), ceiling(wait), ceiling(full)
	h["Retry-After"] = []string{retry}
	h["Ratelimit-Policy"] = []string{fmt.Sprintf(`"%s";q=%d;w=%s`, l.By, l.Requests, ceiling(l.Per))}
	h["Ratelimit"] = []string{fmt.Sprintf(`"%s";r=0;t=%s`, l.By, retry)}
	h["Ratelimit-Limit"], h["Ratelimit-Remaining"] = []string{strconv.Itoa(l.Requests)}, []string{"0"}
	h["Ratelimit-Reset"] = []string{reset}
	return refusal.Because(refusal.RateLimited, "more than %d requests per %v by %s", l.Requests, l.Per, l.By)
}

// ceiling is a time in whole seconds, rounded up.
func ceiling(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// rateKey names whose turns a request takes. On a route where a token is optional, a request without one counts by
// address.
func (p *inbound) rateKey(by string) string {
	if by != config.ByIP && p.entry == nil {
		return "address\x00" + network(p.x.Client)
	}
	switch by {
	case config.ByTenant:
		return p.tenant
	case config.BySubject:
		issuer, subject := p.entry.verified.Claims.Identity()
		return issuer + "\x00" + subject
	case config.ByClient:
		c := &p.entry.verified.Claims
		return c.Issuer + "\x00" + c.ClientID
	}
	return network(p.x.Client)
}
