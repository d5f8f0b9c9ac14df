package proxy

import (
	"net/http"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A route in shadow is judged like any other, but what it would refuse for the token, the tenant or the permission is
// told (in the access log, in a metric, in a trace) and let through, so that an operator can put a gate before an app
// that is in use, and see whom it would stop before it does.
//
// Such a request goes on without whatever the gate would vouch for: the identity of a good token is told, since it is
// true whatever the request asks for; tenant, actions and assertion say that the request was allowed, so they are not.
// Where no token was good, nothing is told. The client's own copies of these fields are removed as ever, and the bearer
// stays here unless the route says forward_token.

// spare returns nil for a refusal that the route's shadow lets through.
func (p *inbound) spare(err error) error {
	if err == nil || !p.plan.route.Shadow || !spared(refusal.Of(err)) {
		return err
	}
	p.x.Spare(err)
	if p.ticketed { // it was not used up by this request, so it says nothing of who sends it
		p.grant = nil
	}
	return nil
}

// spared tells the refusals that a shadow lets through: those for which the request would be fine with another token,
// or with another tenant's name. What two readers could take differently (path, framing, two credentials) stays
// refused, since no policy would ever allow it; so do faults of ours.
func spared(r refusal.Reason) bool {
	switch r {
	case refusal.TenantMissing, refusal.TenantAmbiguous, refusal.TenantMalformed, refusal.IssuerUnavailable:
		return true
	case refusal.FrontForbidden, refusal.AddressDenied, refusal.ClientCertDenied:
		// no token, tenant or permission would help
		return false
	}
	status := r.Status()
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// vouched reports whether the gate vouches for what the request asks for.
func (p *inbound) vouched() bool { return p.grant != nil && p.x.Shadow == "" }
