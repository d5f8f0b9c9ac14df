package revoke

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/refusal"
)

// SharedOptions are what a list stands on that all replicas share.
type SharedOptions struct {
	Store    *redisstore.Store
	Capacity int // entries: tokens and marks together
	Clients  int // how many clients share the capacity
	Clock    func() time.Time
	Log      *zap.Logger
	Life     time.Duration // see List.SetLife

	Poll         time.Duration // between two looks for what others have revoked
	MaxStaleness time.Duration // without an answer for so long the list is stale …
	RefuseStale  bool          // … and then every token is refused
}

// sharing is a list's part in the memory that replicas share.
//
// The store numbers what is revoked, and each replica asks for what has a higher number than the last that it has
// seen. Numbers mean something only within one epoch of the store: after it, the replica reads everything anew and
// writes what it knows and the store does not. So a revocation is forgotten only if the store and every replica that
// knew of it lose their memory together.
type sharing struct {
	o SharedOptions

	epoch string // of the numbers; what follows belongs to the reader
	last  int64
	stale bool

	reading sync.Mutex  // one reader at a time
	again   atomic.Bool // all of it is to be read anew

	began     time.Time    // of this list
	confirmed atomic.Int64 // ns since then: when the store last told everything; 0: never

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Join opens the list that all replicas share and reads it, as far as the store answers, and then keeps reading until
// it is closed.
func Join(ctx context.Context, o SharedOptions) (*List, error) {
	l, err := newShared(o)
	if err != nil {
		return nil, err
	}
	l.shared.sync(ctx, l)
	background, stop := context.WithCancel(context.Background())
	l.shared.stop = stop
	l.shared.stopped.Go(func() { l.shared.poll(background, l) })
	return l, nil
}

// Borrow is the same list for one revocation: it is neither read nor kept up.
func Borrow(o SharedOptions) (*List, error) { return newShared(o) }

// Peek is the same list as the store has it now: it is read once, and not kept up.
func Peek(ctx context.Context, o SharedOptions) (*List, error) {
	l, err := newShared(o)
	if err != nil {
		return nil, err
	}
	return l, l.shared.read(ctx, l)
}

func newShared(o SharedOptions) (*List, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	l, err := newList(o.Clock, o.Capacity, o.Clients)
	if err != nil {
		return nil, err
	}
	l.life = max(l.life, o.Life)
	l.shared = &sharing{o: o, stop: func() {}, began: time.Now()}
	l.any.Store(o.RefuseStale) // nothing may pass by the check
	return l, nil
}

func (s *sharing) close() {
	s.stop()
	s.stopped.Wait()
}

func (s *sharing) poll(ctx context.Context, l *List) {
	every := time.NewTicker(s.o.Poll)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			s.sync(ctx, l)
		}
	}
}

// sync reads what is new.
func (s *sharing) sync(ctx context.Context, l *List) {
	s.reading.Lock()
	defer s.reading.Unlock()
	began := time.Since(s.began)
	err := s.read(ctx, l)
	if err == nil {
		s.confirmed.Store(max(1, int64(began)))
	}
	s.judge(err)
}

// refresh reads what is new for a caller that needs it now.
func (s *sharing) refresh(ctx context.Context, l *List) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.read(ctx, l)
}

// judge sees how old what is known is, and tells when that becomes too old, and when it no longer is.
func (s *sharing) judge(err error) {
	age := s.age()
	stale := age < 0 || age > s.o.MaxStaleness
	if stale == s.stale {
		return
	}
	s.stale = stale
	if !stale {
		s.o.Log.Info("revocations: what the shared store says is known again")
		return
	}
	consequence := "tokens are served by what is known (on_stale: serve)"
	if s.o.RefuseStale {
		consequence = "every token is refused (on_stale: refuse)"
	}
	s.o.Log.Error("revocations: the list of revoked tokens is stale: "+consequence,
		zap.Duration("max_staleness_ms", s.o.MaxStaleness), zap.Error(err))
}

func (s *sharing) read(ctx context.Context, l *List) (err error) {
	var there map[string]record // all that the store has, if it is read from its beginning
	defer func() {
		if err != nil && there != nil {
			s.epoch = "" // what is missing there is written at the next try, which begins anew
		}
	}()
	l.mu.RLock()
	life := l.life.Milliseconds()
	l.mu.RUnlock()
	if s.again.Swap(false) {
		s.epoch = ""
	}
	for {
		answer, err := s.o.Store.Run(ctx, after, s.keys(), s.epoch, s.last, page, life)
		if err != nil {
			return err
		}
		said, ok := answer.([]any)
		if !ok || len(said)%3 != 1 {
			return fmt.Errorf("redis: the script answered %T", answer)
		}
		epoch, _ := said[0].(string)
		if epoch == "" {
			if state := s.o.Store.Look(ctx); state.Err != nil {
				return state.Err
			}
			continue
		}
		if epoch != s.epoch {
			there = map[string]record{}
			s.epoch, s.last = epoch, 0
		}
		if err := s.take(l, said[1:], there); err != nil {
			return err
		}
		if len(said) > 3*page {
			s.judge(nil) // a long list on a slow line is no excuse
			continue
		}
		l.fit()
		if there != nil {
			return s.restore(ctx, l, there)
		}
		return nil
	}
}

// take applies one page.
func (s *sharing) take(l *List, said []any, there map[string]record) error {
	for i := 0; i < len(said); i += 3 {
		name, _ := said[i].(string)
		score, _ := said[i+1].(string)
		value, _ := said[i+2].(string)
		number, err := strconv.ParseInt(score, 10, 64)
		if err != nil {
			return fmt.Errorf("redis: revocations: number %q: %w", score, err)
		}
		r, err := parseShared(name, value)
		if err != nil {
			return fmt.Errorf("redis: revocations: %w: somebody else writes under our prefix", err)
		}
		l.apply(r)
		if there != nil {
			name, _ := r.name() // a mark's may be that of an older version
			there[name] = r
		}
		s.last = number
	}
	return nil
}

// restore writes what this replica knows and the store has forgotten. What ended long ago is forgotten here, too.
func (s *sharing) restore(ctx context.Context, l *List, there map[string]record) error {
	restored := 0
	l.mu.RLock()
	life := l.life
	l.mu.RUnlock()
	for _, r := range l.live() {
		s.judge(nil)
		name, err := r.name()
		if err != nil {
			return err
		}
		if said, known := there[name]; known && said.tells(&r) {
			continue
		}
		kept, err := s.keep(ctx, &r, s.o.Capacity, life, true)
		if err != nil {
			return err
		}
		if r.Undo {
			continue // without it, a mark may come back: too much is revoked, not too little
		}
		if !kept {
			return refusal.Because(refusal.RevocationFull,
				"the shared store has no place for a revocation that this replica knows: raise revocations.capacity")
		}
		restored++
	}
	if restored > 0 {
		s.o.Log.Warn("revocations: the shared store had forgotten revocations, and has them again",
			zap.Int("revocations", restored))
	}
	return nil
}

// refuses reports whether the list is stale, and stale lists refuse. It is a matter of the time of the request, not of
// the last question to the store, which may take a while to fail.
func (s *sharing) refuses() bool {
	if !s.o.RefuseStale {
		return false
	}
	age := s.age()
	return age < 0 || age > s.o.MaxStaleness
}

// age is how long ago the store last told everything; negative: never.
func (s *sharing) age() time.Duration {
	at := s.confirmed.Load()
	if at == 0 {
		return -1
	}
	return time.Since(s.began) - time.Duration(at)
}
