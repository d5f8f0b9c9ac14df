package listen

import "time"

// enter registers s and reports whether it may be served. At the cap, it is only if an idle connection can be evicted.
func (ls *Listeners) enter(s *socket) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.stopped || len(ls.open) >= ls.limits.Connections && !ls.evict() {
		return false
	}
	ls.open[s] = struct{}{}
	return true
}

func (ls *Listeners) leave(s *socket) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.open, s)
	ls.emptied()
}

func (ls *Listeners) emptied() {
	if !ls.stopped || len(ls.open) > 0 {
		return
	}
	select {
	case <-ls.empty:
	default:
		close(ls.empty)
	}
}

// evictLook is how many connections are looked at for one to evict. Map order makes them a random sample.
const evictLook = 64

// evict closes the longest idle of a sample of connections, and reports whether there was one. The new connection does
// not wait for that, so the cap may be exceeded by the number of connections that are being closed.
func (ls *Listeners) evict() bool {
	var oldest connection
	since, look := time.Now().Add(-ls.limits.EvictIdleAfter), 0
	for s := range ls.open {
		if c := s.connection(); c != nil {
			if t, idle := c.IdleSince(); idle && t.Before(since) {
				oldest, since = c, t
			}
		}
		if look++; look == evictLook {
			break
		}
	}
	if oldest == nil {
		return false
	}
	oldest.Evict()
	return true
}
