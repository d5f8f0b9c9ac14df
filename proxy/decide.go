package proxy

import (
	"net/http"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// A Decision is what a front must do to a request before it forwards it.
type Decision struct {
	Set    []Field  // in the place of what the client sent; without a value: by nothing
	Remove []string // beside those

	// Preflight has the methods of the path where the question is about a CORS preflight, which the gate answers.
	Preflight []string
}

// A Field is a header field, under its canonical name.
type Field struct{ Name, Value string }

// Decide judges a request that another proxy forwards, by the steps that judge one of ours. The error is the refusal.
func (g *Gate) Decide(x *request.Exchange, r *http.Request) (Decision, error) {
	p := &inbound{x: x, r: r, now: g.clock(), decision: true}
	x.Header()[request.RequestIDHeader] = []string{x.ID}
	if err := g.admit(p); err != nil {
		return Decision{}, err
	}
	if p.preflight {
		return Decision{Preflight: p.methods}, nil
	}
	if !p.plan.route.Upgrade && wantsUpgrade(r) {
		return Decision{}, &refusal.Error{Reason: refusal.UpgradeNotAllowed, Detail: websocket}
	}
	if name := g.fields.alias(r.Header); name != "" {
		// CGI and old servers would read it as ours, and a front sets and removes fields by their own names alone.
		return Decision{}, refusal.Because(refusal.QuestionMalformed,
			"%.64q is another spelling of a field that the front sets", name)
	}
	own, err := g.decided(p)
	if err != nil {
		return Decision{}, err
	}
	var d Decision
	for _, name := range g.fields.told {
		value := ""
		for _, f := range own {
			if f.name == name {
				value = f.value
			}
		}
		d.Set = append(d.Set, Field{name, value})
	}
	if name := p.tenantHeader(); name != "" {
		d.Set = append(d.Set, Field{name, p.tenant})
	}
	for name, value := range g.concealed(p) {
		d.Set = append(d.Set, Field{name, value}) // without a value: by nothing
	}
	if !p.passesAuthorization() {
		d.Remove = append(d.Remove, "Authorization")
	}
	if !p.plan.route.Public {
		d.Remove = append(d.Remove, "Dpop") // it was spent here
	}
	return d, nil
}

// concealed returns the fields of the client that may hold a token, with what is left of them.
func (g *Gate) concealed(p *inbound) map[string]string {
	before := p.r.Header.Clone()
	p.conceal()
	changed := make(map[string]string)
	for name, values := range before {
		if rest := strings.Join(p.r.Header[name], ", "); rest != strings.Join(values, ", ") && name != "Authorization" {
			changed[name] = rest
		}
	}
	return changed
}

// decided returns the identity fields of a request that was let through.
func (g *Gate) decided(p *inbound) (own []field, err error) {
	own = setCertificate(own, p)
	if p.grant == nil {
		return own, nil
	}
	own = g.setIdentity(own, p)
	if !p.vouched() {
		return own, nil
	}
	own = g.setGrant(own, p)
	if p.plan.upstream == nil {
		return own, nil
	}
	return g.setAssertion(own, p)
}

// wantsUpgrade reports whether the client asks for a WebSocket. Fronts keep Upgrade and Connection to themselves, so
// that what else only a WebSocket's handshake has (RFC 6455 §4.1, Fetch Metadata) counts as well.
func wantsUpgrade(r *http.Request) bool {
	if mentions(strings.Join(r.Header["Upgrade"], ","), websocket) {
		return true
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Sec-Websocket-") || name == "Sec-Fetch-Mode" &&
			strings.EqualFold(strings.Join(values, ","), websocket) {
			return true
		}
	}
	return false
}
