package proxy

// story is the trace of a request that was refused as it was served: of what its steps have found, with none of them
// run again. The steps before the one that refused have passed.
func (g *Gate) story(p *inbound, err error) (trace *Trace) {
	t := &trial{trace: &Trace{}}
	p.trial = t // what a step says of itself may ask the trial
	defer func() {
		if p.trial = nil; recover() != nil { // what is told afterwards never changes what is answered
			trace = nil
		}
	}()
	if p.entry != nil {
		t.trace.Token = g.said(p.entry.verified)
	}
	failed := p.failed
	if failed == nil { // by the route's own nature, before its steps
		failed = &g.choosing
	}
	tell := func(s *step) bool {
		switch {
		case s == failed:
			t.refused(g, s, p, err)
			return false
		case p.anonymous && s.about != aboutRequest:
		case s.say != nil:
			t.tell(s.name, StepPassed, s.say(g, p))
		}
		return true
	}
	if tell(&g.choosing) && p.plan != nil {
		for i := range p.plan.steps {
			if !tell(&p.plan.steps[i]) {
				break
			}
		}
	}
	t.found(p)
	return t.trace
}
