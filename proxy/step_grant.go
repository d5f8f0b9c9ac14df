package proxy

import (
	"fmt"
	"strings"
	"sync"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A grant is what a verified token is worth under one configuration: judged once for both, since neither changes.
type grant struct {
	gate        *Gate // whose configuration it was
	err         error // the token opens nothing
	permissions token.Permissions
	index       token.Index
	actions     []string // of each permission, as the upstream gets them

	// The identity headers' values; "" sends none.
	subject, issuer, client, id string
	claims                      []string // of Gate.claims

	mu         sync.Mutex
	assertions map[assertionKey]assertion
}

func stepGrant() step {
	return step{
		name: "grant", about: aboutToken, run: (*Gate).granted,
		say: func(_ *Gate, p *inbound) string {
			if v := p.entry.verified; v.Issuer.Own {
				return fmt.Sprintf("granted by client %q, which may still delegate it", v.Claims.Grantor)
			}
			return "cut to what this issuer's tokens may open here"
		},
		need: func(_ *Gate, _ *inbound, reason refusal.Reason) string {
			switch reason {
			case refusal.GrantorUnknown:
				return "a token whose grantor and client_id are both clients in this config"
			case refusal.GrantorNotCovering:
				return "a grantor whose delegate (or permissions, for its own token) still covers all that the token says"
			case refusal.OriginalNotCovered:
				return "a token exchanged from one of an issuer that this config trusts with exchange: true, and whose " +
					"permissions still cover all that the token says"
			case refusal.TokenUnbound:
				return "a token that is bound to a key, which this client must have"
			}
			return ""
		},
	}
}

// granted finds what the token is worth here.
func (g *Gate) granted(p *inbound) error {
	s := p.entry.grant.Load()
	if s == nil || s.gate != g {
		s = g.newGrant(p.entry.verified)
		p.entry.grant.Store(s)
	}
	if s.err != nil {
		return s.err
	}
	c := &p.entry.verified.Claims
	p.x.Issuer, p.x.Subject, p.x.ClientID, p.x.TokenID = c.Issuer, c.Subject, c.ClientID, c.ID
	p.grant = s
	return nil
}

func (g *Gate) newGrant(v *jose.Verified) *grant {
	s := &grant{gate: g}
	s.permissions, s.err = g.trust.Worth(v)
	if s.err == nil {
		s.err = jose.CheckIdentity(&v.Claims)
	}
	if s.err != nil {
		return s
	}
	c := &v.Claims
	issuer, subject := c.Identity()
	s.subject, s.issuer, s.client, s.id = fieldValue(subject), fieldValue(issuer), fieldValue(c.ClientID), fieldValue(c.ID)
	if s.claims, s.err = g.claimValues(v); s.err != nil {
		return s
	}
	s.index = s.permissions.Index()
	s.actions = make([]string, len(s.permissions))
	for i := range s.permissions {
		if s.actions[i], s.err = actionList(s.permissions[i].AllowedActions); s.err != nil {
			return s
		}
	}
	return s
}

// actionList is the actions as one field value (RFC 9110 §5.6.1): a comma in a word is escaped like all that is not
// plain.
func actionList(actions []string) (string, error) {
	var b strings.Builder
	for i, action := range actions {
		if hasControl(action) {
			return "", refusal.Because(refusal.TokenIdentityRefused, "an action holds a control character")
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.ReplaceAll(fieldValue(action), ",", "%2C"))
	}
	return b.String(), nil
}
