package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/proxy"
)

// policy runs the configuration's own tests by the gate that is to be put into force. A snapshot that fails one is not
// used: neither at a start nor by a reload.
//
// On a route in shadow they hold the verdict, not what is let through meanwhile: a shadow is for a while, and the tests
// say what the rules are to do when it ends.
func (snap *snapshot) policy(now time.Time) error {
	var faults config.Faults
	for _, t := range snap.config.Tests {
		if f := snap.try(t, now); f != nil {
			faults = append(faults, *f)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// try runs one test; nil: it passes.
func (snap *snapshot) try(t *config.Test, now time.Time) *config.Fault {
	if reason := refusal.Reason(t.Reason); t.Reason != "" && !slices.Contains(refusal.All(), reason) {
		f := t.ExpectFault(fmt.Sprintf("expects the reason %q, which nothing is refused for", t.Reason),
			"choose one of those in docs/troubleshooting.md")
		return &f
	}
	header := http.Header{}
	for name, value := range t.Headers {
		header.Set(name, value)
	}
	as := proxy.Bearer{Permissions: t.Permissions}
	if t.Claims != "" {
		as.Claims = snap.fill(t.Claims, now)
	}
	trace := snap.trace(newRequest(t.Method, t.URL, header), t.Listener, as, now)
	switch {
	case trace.Own:
		f := t.Fault("asks for one of the issuer's own endpoints, which no route decides", "test the paths of routes alone")
		return &f
	case trace.Allowed == t.Allow && (t.Reason == "" || trace.Reason == refusal.Reason(t.Reason)):
		return nil
	}
	f := t.Fault(fmt.Sprintf("%s %s: expected %s, got %s", t.Method, t.URL, expected(t), outcome(trace)),
		"mend the policy, or the test")
	if trace.Needed != "" {
		f.Remedy += " (what would have been let through: " + trace.Needed + ")"
	}
	return &f
}

func expected(t *config.Test) string {
	switch {
	case t.Allow:
		return "allow"
	case t.Reason == "":
		return "refuse"
	}
	return "refuse: " + t.Reason
}

func outcome(trace *proxy.Trace) string {
	switch {
	case trace.Allowed:
		return "allow"
	case trace.Detail == "":
		return "reason " + string(trace.Reason)
	}
	return fmt.Sprintf("reason %s (%s)", trace.Reason, trace.Detail)
}

// fill makes a whole claims set of what a test says of one: what it leaves out is as an ordinary token would have it. A
// token of ours needs a client that grants it; the first that may is taken.
func (snap *snapshot) fill(said string, now time.Time) string {
	claims := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(said), &claims) != nil {
		return said // the gate refuses it
	}
	missing := func(name string, value any) {
		if _, there := claims[name]; !there {
			if text, err := json.Marshal(value); err == nil {
				claims[name] = text
			}
		}
	}
	c := snap.config
	if c.Issuer != nil {
		missing("iss", c.Issuer.URL)
	} else if len(c.TrustedIssuers) > 0 {
		missing("iss", c.TrustedIssuers[0].Issuer)
	}
	missing("iat", now.Unix())
	missing("sub", "policy-test")
	missing("jti", "policy-test")
	var issuer string
	_ = json.Unmarshal(claims["iss"], &issuer) // what is no text is refused by the gate
	life := time.Minute
	for _, t := range c.TrustedIssuers {
		if t.Issuer == issuer {
			missing("aud", t.Audiences)
			life = min(life, t.MaxTokenTTL)
		}
	}
	missing("exp", now.Add(life).Unix())
	if c.Issuer != nil && c.Issuer.URL == issuer {
		missing("aud", c.Issuer.Audiences)
		snap.grant(claims, missing)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return said
	}
	return string(text)
}

// grant names the client whose delegate covers the claims, where they name none themselves.
func (snap *snapshot) grant(claims map[string]json.RawMessage, missing func(string, any)) {
	var permissions token.Permissions
	_ = json.Unmarshal(claims["tenantPermissions"], &permissions) // what cannot be read is refused by the gate
	clients := snap.config.Issuer.Clients
	if len(clients) == 0 {
		return
	}
	grantor := clients[0].ID
	if i := slices.IndexFunc(clients, func(c *config.Client) bool { return c.Delegate.Covers(permissions) }); i >= 0 {
		grantor = clients[i].ID
	}
	for _, name := range [...]string{"grantor", "client_id"} {
		var named string
		if json.Unmarshal(claims[name], &named) == nil && strings.TrimSpace(named) != "" {
			grantor = named
			break
		}
	}
	missing("grantor", grantor)
	missing("client_id", grantor)
}
