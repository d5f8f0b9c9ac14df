package httpserver

import (
	"net/http"
	"time"
)

// A Pace is how much longer a body may keep its reader waiting. The zero Pace never gives up.
type Pace struct {
	credit time.Duration
	limits *Limits
}

// NewPace returns the pace of a new body, with the whole of its credit.
func NewPace(l *Limits) Pace {
	if l.BodyStall < 0 {
		return Pace{}
	}
	return Pace{credit: l.BodyStall, limits: l}
}

// PaceWithin returns the pace of a body that has a stall time of its own: any byte gives it the whole of it again.
func PaceWithin(stall time.Duration) Pace {
	return Pace{credit: stall, limits: &Limits{BodyStall: stall, BodyRate: -1}}
}

// SetStall gives the bodies of one request and its answer a stall time of their own, in place of those of the server.
// It is called before either is begun.
func SetStall(w http.ResponseWriter, stall time.Duration) {
	for w != nil {
		if own, is := w.(interface{ SetStall(stall time.Duration) }); is {
			own.SetStall(stall)
			return
		}
		inner, is := w.(interface{ Unwrap() http.ResponseWriter })
		if !is {
			return
		}
		w = inner.Unwrap()
	}
}

// Credit returns how long the next read may wait; false: without limit.
func (p *Pace) Credit() (time.Duration, bool) { return p.credit, p.limits != nil }

// Earn books a read of n bytes that took that long.
func (p *Pace) Earn(n int, took time.Duration) {
	switch {
	case p.limits == nil:
		return
	case n > 0 && p.limits.BodyRate < 0:
		p.credit = p.limits.BodyStall
		return
	}
	p.credit += time.Duration(n)*time.Second/time.Duration(max(1, p.limits.BodyRate)) - took
	p.credit = max(0, min(p.credit, p.limits.BodyStall))
}
