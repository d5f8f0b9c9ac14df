package issuer

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/telemetry"
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

// Words are the event's members of a log line, but for its TTL; some say nothing, and are to be left out.
func (e *Event) Words() [11]telemetry.Word {
	return [...]telemetry.Word{
		{Name: "event", Value: e.Name},
		{Name: "outcome", Value: e.Outcome},
		{Name: "reason", Value: string(e.Reason)},
		{Name: "client_id", Value: e.ClientID},
		{Name: "subject", Value: e.Subject},
		{Name: "tenant", Value: e.Tenant},
		{Name: "role", Value: e.Role},
		{Name: "jti", Value: e.TokenID},
		{Name: "note", Value: e.Note},
		{Name: "request_id", Value: e.RequestID},
		{Name: "remote", Value: e.Remote},
	}
}

// Fields are the same for a logger.
func (e *Event) Fields() []zap.Field {
	fields := make([]zap.Field, 0, 12)
	for _, w := range e.Words() {
		if w.Value != "" {
			fields = append(fields, zap.String(w.Name, w.Value))
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

func remote(x *request.Exchange) string {
	if x.Client.IsValid() {
		return x.Client.String()
	}
	return ""
}
