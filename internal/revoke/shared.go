package revoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
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

	epoch string // of the numbers; what follows is the poll's own
	last  int64
	stale bool

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
	l.shared = &sharing{o: o, stop: func() {}, began: time.Now()}
	l.any.Store(o.RefuseStale) // nothing may pass by the check
	return l, nil
}

func (s *sharing) close() {
	s.stop()
	s.stopped.Wait()
}

// The keys of the list: what was revoked, by name; in which order; when tokens end; how much each client has taken;
// the last number.
var names = [...]string{"revoked:records", "revoked:order", "revoked:ends", "revoked:shares", "revoked:last"}

func (s *sharing) keys() []string {
	keys := []string{s.o.Store.EpochKey()}
	for _, name := range names {
		keys = append(keys, s.o.Store.Key(name))
	}
	return keys
}

// put keeps one record, unless there is no place for it. ARGV: name; kind; at; client; capacity; share; for how
// long a token's entry outlives it. A record is "at client"; who revoked a token first pays for it.
var put = redis.NewScript(redisstore.Prelude + `
local record, now = living(KEYS[1])
if not record then return 'over' end
local name, kind, at, client = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local function drop(most)
  local ended = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now - tonumber(ARGV[7])), 'LIMIT', 0, most)
  for _, gone in ipairs(ended) do
    local owner = string.match(redis.call('HGET', KEYS[2], gone) or '', '^%d+ (.*)$')
    if owner and redis.call('HINCRBY', KEYS[5], owner, -1) <= 0 then redis.call('HDEL', KEYS[5], owner) end
    redis.call('HDEL', KEYS[2], gone)
    redis.call('ZREM', KEYS[3], gone)
    redis.call('ZREM', KEYS[4], gone)
  end
end
local known = redis.call('HGET', KEYS[2], name)
if known then
  local until_, owner = string.match(known, '^(%d+) (.*)$')
  if tonumber(until_) >= at then return 'known' end
  client = owner
else
  local function full()
    return redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) or
      kind == 'token' and tonumber(redis.call('HGET', KEYS[5], client) or '0') >= tonumber(ARGV[6])
  end
  drop(20)
  if full() then drop(2000) end
  if full() then return 'full' end
  if kind == 'token' then redis.call('HINCRBY', KEYS[5], client, 1) end
end
local number = redis.call('INCR', KEYS[6])
redis.call('HSET', KEYS[2], name, ARGV[3] .. ' ' .. client)
redis.call('ZADD', KEYS[3], number, name)
if kind == 'token' then redis.call('ZADD', KEYS[4], ARGV[3], name) end
return 'kept'
`)

// after tells what has a higher number than the last one seen, a page at a time, if the epoch is the one that the
// number belongs to, and begins with the lowest otherwise. ARGV: epoch, number, the length of a page.
var after = redis.NewScript(redisstore.Prelude + `
local record = living(KEYS[1])
if not record then return {''} end
local from = '(' .. ARGV[2]
if record[1] ~= ARGV[1] then from = '-inf' end
local found = redis.call('ZRANGEBYSCORE', KEYS[3], from, '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[3]))
local answer = {record[1]}
for i = 1, #found, 2 do
  answer[#answer + 1] = found[i]
  answer[#answer + 1] = found[i + 1]
  answer[#answer + 1] = redis.call('HGET', KEYS[2], found[i]) or ''
end
return answer
`)

// page is how many records one answer has at most: few enough for the deadline of one operation.
const page = 1000

// add keeps a record in the store.
func (s *sharing) add(ctx context.Context, r record, quota int) (kept bool, err error) {
	name, err := r.name()
	if err != nil {
		return false, err
	}
	for range 2 {
		answer, err := s.o.Store.Run(ctx, put, s.keys(), name, r.Kind, r.At, r.Client,
			s.o.Capacity, quota, keptAfterExpiry.Milliseconds())
		if err != nil {
			return false, err
		}
		switch answer {
		case "kept", "known":
			return true, nil
		case "full":
			return false, nil
		}
		s.o.Store.Look(ctx) // begins the next epoch
	}
	return false, refusal.Because(refusal.StoreUnavailable, "redis: the store has no epoch")
}

// name is a record's place in the store: what is revoked, without until when.
func (r record) name() (string, error) {
	name, err := json.Marshal([3]string{r.Kind, r.Issuer, r.Value})
	return string(name), err
}

func parseShared(name, value string) (record, error) {
	var parts []string
	if err := json.Unmarshal([]byte(name), &parts); err != nil || len(parts) != 3 {
		return record{}, errors.New("a name that is none of ours")
	}
	until, client, found := strings.Cut(value, " ")
	at, err := strconv.ParseInt(until, 10, 64)
	if err != nil || !found {
		return record{}, errors.New("a record that is none of ours")
	}
	return record{Kind: parts[0], Issuer: parts[1], Value: parts[2], Client: client, At: at}, nil
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
	began := time.Since(s.began)
	err := s.read(ctx, l)
	if err == nil {
		s.confirmed.Store(max(1, int64(began)))
	}
	s.judge(err)
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
	var there map[string]int64 // all that the store has, if it is read from its beginning
	defer func() {
		if err != nil && there != nil {
			s.epoch = "" // what is missing there is written at the next try, which begins anew
		}
	}()
	for {
		answer, err := s.o.Store.Run(ctx, after, s.keys()[:3], s.epoch, s.last, page)
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
			there = map[string]int64{}
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
func (s *sharing) take(l *List, said []any, there map[string]int64) error {
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
			there[name] = r.At
		}
		s.last = number
	}
	return nil
}

// restore writes what this replica knows and the store has forgotten. What ended long ago is forgotten here, too.
func (s *sharing) restore(ctx context.Context, l *List, there map[string]int64) error {
	restored := 0
	for _, r := range l.live() {
		s.judge(nil)
		name, err := r.name()
		if err != nil {
			return err
		}
		if at, known := there[name]; known && at >= r.At {
			continue
		}
		kept, err := s.add(ctx, r, s.o.Capacity)
		if err != nil {
			return err
		}
		if !kept {
			return refusal.Because(refusal.RevocationFull,
				"the shared store has no place for a revocation that this replica knows: raise revocations.capacity")
		}
		restored++
	}
	if restored > 0 {
		s.o.Log.Warn("revocations: the shared store had forgotten revocations, and has them again",
			zap.Int("withdrawals", restored))
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
