package proxy

import (
	"slices"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
)

// A step is one check of a request. The gate, explain and the policy's tests walk the same steps (Gate.walk); where a
// trial differs from serving, the step says so itself, by inbound.trial.
type step struct {
	name  string
	about about

	// wanted reports whether the requests of a route need the step. nil: those of every route that is not public.
	wanted func(*config.Route) bool
	// run judges the request; the error is the refusal.
	run func(*Gate, *inbound) error
	// say is what a trace tells of the step once it has passed; "" is not told.
	say func(*Gate, *inbound) string
	// need is what the step would have let through instead of what it refused; "" where the reason says it. nil: always
	// "".
	need func(*Gate, *inbound, refusal.Reason) string
}

// about is what a step judges.
type about int

const (
	aboutRequest about = iota // the request, and what its token is worth, however that became known
	aboutToken                // the token alone, whatever is asked for
	aboutBoth                 // the token for this request: what a token that is only said to be there cannot show
)

// steps lists every step behind the route, in the order in which they run.
func steps() []step {
	return []step{
		stepAddress(),       // a refused address is asked for nothing
		stepClientCert(),    // no token helps a connection without it
		stepRateByAddress(), // before anything is paid for
		stepPublic(),
		stepCredential(), // first what is cheap: a request without a credential costs no hashing
		stepToken(),      // nothing the token says counts before its signature does
		stepTime(),       // a cached token expires, too
		stepKind(),
		stepRevocation(),
		stepAudience(),
		stepIssuer(),
		stepProof(), // a stolen token that is bound to a key is no token, and what it opens stays unknown
		stepGrant(), // a token is worth what its grantor may still delegate, not what it says
		stepScopes(),
		stepClaims(),
		stepTenant(),     // after the token, so that strangers learn nothing about routes by their faults
		stepPermission(), // the verdict, made anew for every request
		stepRate(),       // what is let through counts
		stepTicket(),     // used up when nothing else can be refused any more
	}
}

// stepsOf returns the steps that a route's requests need.
func (g *Gate) stepsOf(r *config.Route) (all []step) {
	for _, s := range slices.Concat(steps(), g.further) {
		if s.wanted == nil && !r.Public || s.wanted != nil && s.wanted(r) {
			all = append(all, s)
		}
	}
	return all
}

// walk runs the steps of the request's route until one refuses.
func (g *Gate) walk(p *inbound) error {
	for i := range p.plan.steps {
		if err := p.try(g, &p.plan.steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// try runs one step.
func (p *inbound) try(g *Gate, s *step) error {
	if p.anonymous && s.about != aboutRequest {
		return nil // there is no token
	}
	if p.trial != nil {
		return p.trial.try(g, s, p)
	}
	err := s.run(g, p)
	if err != nil {
		p.failed = s
	}
	return err
}

// A skipped is what a step returns that a trial cannot run, with the reason why. Anything but a trial takes it for a
// fault.
type skipped string

func (s skipped) Error() string { return string(s) }

// omitted is a skipped step that a trial does not even mention.
const omitted = skipped("")
