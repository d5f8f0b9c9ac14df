package issuer

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/exchange"
	"github.com/jotgate/jotgate/internal/refusal"
)

// An Event is one issuance, or the refusal of one: who, for whom, what. It holds no credential: a token is named by its
// jti, and a code by the jti of the token that it stands for.
type Event struct {
	Name      string // code_issue, code_redeem, user_token_issue, access_token_create, access_token_delete
	Outcome   string // granted, or refused
	Reason    refusal.Reason
	ClientID  string // who called or, of a code, who issued it
	Subject   string // for whom
	Tenant    string
	Role      string
	TokenID   string // jti
	TTL       time.Duration
	Note      string // what else the operator should know
	RequestID string
	Remote    string // who is behind trusted proxies
}

// Fields are the event's fields for a log line; those that say nothing are left out.
func (e *Event) Fields() []zap.Field {
	fields := append(make([]zap.Field, 0, 12), zap.String("event", e.Name), zap.String("outcome", e.Outcome))
	for _, f := range [...]struct{ name, value string }{
		{"reason", string(e.Reason)},
		{"client_id", e.ClientID},
		{"subject", e.Subject},
		{"tenant", e.Tenant},
		{"role", e.Role},
		{"jti", e.TokenID},
		{"note", e.Note},
		{"request_id", e.RequestID},
		{"remote", e.Remote},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.name, f.value))
		}
	}
	if e.TTL != 0 {
		fields = append(fields, zap.Duration("ttl", e.TTL))
	}
	return fields
}

// longestNoted bounds, in bytes, what a line has of a name that the caller gave and that may have been refused for its
// length, or be a credential in the wrong place, of which this leaves the end out.
const longestNoted = longSubject

func noted(name string) string {
	if len(name) <= longestNoted {
		return name
	}
	return strings.ToValidUTF8(name[:longestNoted], "") + "…"
}

// record writes the call's event, if its endpoint has one, and tells the exchange what the event knows.
func (c *call) record(outcome string, reason refusal.Reason) {
	c.event.Subject, c.event.Tenant, c.event.Role = noted(c.event.Subject), noted(c.event.Tenant), noted(c.event.Role)
	c.x.ClientID, c.x.Subject, c.x.Tenant, c.x.TokenID = c.event.ClientID, c.event.Subject, c.event.Tenant, c.event.TokenID
	if c.event.Name == "" {
		return
	}
	c.event.Outcome, c.event.Reason = outcome, reason
	c.issuer.audit(c.event)
}

func remote(x *exchange.Exchange) string {
	if x.Client.IsValid() {
		return x.Client.String()
	}
	return ""
}
