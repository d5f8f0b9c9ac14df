package upstream

import (
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// longestPause bounds the growing pause of a server that fails again and again.
const longestPause = 5 * time.Minute

// Eject says when a server is left alone. A server that cannot be connected to is left alone at once, since the request
// that finds it out goes to another one; time-outs, broken answers and the statuses count, and answers in between begin
// the count anew.
type Eject struct {
	Failures int           // in a row; 0: no server is ejected
	For      time.Duration // the first pause; it doubles with each ejection in a row
	Statuses []int         // that count as failures
}

// isFailure notes an answer's status, and reports whether it counts as a failure.
func (p *Pool) isFailure(s *server, status int) bool {
	if e := &p.settings.Eject; len(e.Statuses) == 0 || !slices.Contains(e.Statuses, status) {
		return false
	}
	p.count(s, zap.Int("status", status))
	return true
}

// succeeded notes an answer that was no failure. It costs a healthy server two loads.
func (p *Pool) succeeded(s *server) {
	if s.failures.Load() != 0 {
		s.failures.Store(0)
	}
	if s.row.Load() != 0 && s.up(p.clock()) && s.row.Swap(0) != 0 && len(p.members.Load().all) > 1 {
		s.log().Info("upstream server is back", zap.String("server", s.name))
	}
}

// failed notes an error that is the server's.
func (p *Pool) failed(s *server, err error) {
	var (
		dial    *h1.DialError
		refused *refusal.Error
	)
	switch {
	case errors.As(err, &refused): // the client's body, or our own limits
	case errors.As(err, &dial):
		p.eject(s, zap.Error(err))
	default:
		p.count(s, zap.Error(err))
	}
}

func (p *Pool) count(s *server, why zap.Field) {
	if most := p.settings.Eject.Failures; most > 0 && int(s.failures.Add(1)) >= most {
		p.eject(s, why)
	}
}

// eject leaves a server alone, unless it is alone. Of failures of the same moment one does.
func (p *Pool) eject(s *server, why zap.Field) {
	e := &p.settings.Eject
	now := p.clock()
	until := s.down.Load()
	if e.Failures == 0 || len(p.members.Load().all) < 2 || until > now.UnixNano() {
		return
	}
	pause := min(e.For<<min(s.row.Load(), 10), max(longestPause, e.For))
	end := now.Add(pause)
	if !s.down.CompareAndSwap(until, end.UnixNano()) {
		return
	}
	s.row.Add(1)
	s.failures.Store(0)
	s.ejections.Add(1)
	s.warming.Store(end.Add(slowStart).UnixNano())
	s.log().Warn("upstream server is ejected", zap.String("server", s.name), zap.Duration("for", pause), why)
}
