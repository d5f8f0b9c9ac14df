package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/internal/refusal"
)

// Prelude is Lua that every script begins with that accepts something once. here() is what the server is now;
// living(key, skew) answers the record of the epoch if it was begun by this server as it is now, and the server's time
// in milliseconds, or nil if whatever was remembered may be forgotten. How many keys the server has evicted is part of
// what it is: noeviction is looked at only now and then, and while another policy was in force marks may have gone,
// which have an end, and the record not, which has none. INFO runs inside the script, so there is no moment between the
// question and what follows from it, whatever stands between us and the server.
const Prelude = `
local function here()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  local evicted = string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')
  if not run or not history or not evicted then return nil end
  return '/' .. run .. '/' .. history .. '/' .. evicted
end
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function living(key)
  local record = redis.call('HMGET', key, 'id', 'began', 'seen', 'skew')
  local server = here()
  local now = clock()
  if not server or not record[1] or string.sub(record[1], -#server) ~= server then return nil, now end
  local seen, skew = tonumber(record[3] or ''), tonumber(record[4] or '')
  if not seen or not skew then return nil, now end
  if now + skew < seen then return nil, now end
  if now > seen then redis.call('HSET', key, 'seen', string.format('%.0f', now)) end
  return record, now
end
`

// lookScript tells what the server is, and begins a new epoch where the old one is over. KEYS: the record. ARGV: a
// fresh sentinel, the skew in ms.
var lookScript = redis.NewScript(Prelude + `
local replication = redis.call('INFO', 'replication')
local role = string.match(replication, 'role:(%w+)')
local policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)')
local mode = string.match(redis.call('INFO', 'server'), 'redis_mode:(%w+)')
local server = here()
if not server or role ~= 'master' or policy ~= 'noeviction' or mode == 'cluster' then
  return {server or '', role or '', policy or '', mode or '', '', '', string.format('%.0f', clock()), ''}
end
local record, now = living(KEYS[1])
local ms = string.format('%.0f', now)
if not record then
  record = {ARGV[1] .. server, ms}
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'id', record[1], 'began', ms, 'seen', ms, 'skew', ARGV[2])
  record[4] = ARGV[2]
end
return {server, role, policy, mode, record[1], record[2], ms, record[4]}
`)

// epochKey is where the record of the epoch is kept: id, when it began, and the latest time that the server told.
const epochKey = "epoch"

// EpochKey is the key that [Prelude]'s living reads.
func (s *Store) EpochKey() string { return s.Key(epochKey) }

// A State is what a replica knows of the store.
type State struct {
	Epoch    string        // the last one that is known; "": none yet
	Began    time.Time     // by the store's clock
	Skew     time.Duration // that the epoch began with, whichever replica began it
	Answered time.Time     // when the store last said so
	Err      error         // why nothing can be accepted now, nil: it can
	Unfit    bool          // … and it is the store's own answer: only its operator can help
}

// State is what is known without asking.
func (s *Store) State() State { return *s.state.Load() }

// stale is how old what is known may be for something to be sealed by it: who cannot reach the store should not hand
// out what only the store can redeem.
const stale = 5 * lookEvery

// Fresh answers nil if the epoch is known and was confirmed in the last seconds, and StoreUnavailable otherwise.
func (s *Store) Fresh() error {
	state := s.state.Load()
	if state.Unfit || state.Epoch == "" || time.Since(state.Answered) > stale {
		return refusal.Because(refusal.StoreUnavailable, "%v", state.Err)
	}
	return nil
}

// shortest is the time between two looks that requests ask for.
const shortest = 10 * time.Millisecond

// Refresh asks the store for its epoch, unless that was done a moment ago.
func (s *Store) Refresh(ctx context.Context) State {
	return s.look(ctx, func(State) bool { return time.Since(s.looked) >= shortest })
}

// Over asks the store for its epoch after a script has said that this one is over, unless another is known by then.
func (s *Store) Over(ctx context.Context, epoch string) State {
	return s.look(ctx, func(known State) bool { return known.Epoch == epoch })
}

// Look asks the store what it is.
func (s *Store) Look(ctx context.Context) State { return s.look(ctx, func(State) bool { return true }) }

func (s *Store) look(ctx context.Context, needed func(State) bool) State {
	s.looking.Lock()
	defer s.looking.Unlock()
	old := s.State()
	if !needed(old) {
		return old
	}
	next := s.ask(ctx, old)
	if next.Err != nil && ctx.Err() != nil {
		return next // the caller has gone away, which says nothing of the store
	}
	s.looked = time.Now() // callers that waited for this one need not begin another
	s.tell(&old, &next)
	s.state.Store(&next)
	return next
}

func (s *Store) ask(ctx context.Context, old State) State {
	answer, err := s.Run(ctx, lookScript, []string{s.EpochKey()}, random(), s.skew.Milliseconds())
	if err != nil {
		old.Err, old.Unfit = err, false
		return old
	}
	said, err := words(answer, 8)
	if err != nil {
		old.Err, old.Unfit = err, true
		return old
	}
	if err := fit(said[0], said[1], said[2], said[3]); err != nil {
		old.Err, old.Unfit = err, true
		old.Answered = time.Now()
		return old
	}
	skew, err := strconv.ParseInt(said[7], 10, 64)
	if err != nil {
		old.Err, old.Unfit = fmt.Errorf("the epoch's record has the skew %.20q: somebody else writes under our prefix",
			said[7]), true
		return old
	}
	return State{
		Epoch: said[4], Began: milliseconds(said[5]), Skew: time.Duration(skew) * time.Millisecond,
		Answered: time.Now(),
	}
}

// errNotMaster passes by itself where Sentinels name the master: they do not tell all at the same moment.
var errNotMaster = errors.New("name the master, or use redis.sentinel")

// fit tells why a server cannot hold the guarantee.
func fit(server, role, policy, mode string) error {
	switch {
	case server == "":
		return errors.New("the server does not tell its run id, its replication id and its count of evicted keys, by which " +
			"we notice what it forgets: use one that does")
	case mode == "cluster":
		return errors.New("the server is part of a Redis Cluster: all that we keep would be in one slot, on one of " +
			"its servers, " +
			"and that nothing is forgotten while a slot moves to another server is not shown: use a single server or Sentinel")
	case role != "master":
		return fmt.Errorf("the server is a %s: %w", role, errNotMaster)
	case policy != "noeviction":
		return fmt.Errorf("the server's maxmemory-policy is %s, so it may forget which codes were used: set it "+
			"to noeviction "+
			"(CONFIG SET maxmemory-policy noeviction, and in its redis.conf)", policy)
	}
	return nil
}

// tell logs what has changed. It runs under the lock of the look.
func (s *Store) tell(old, next *State) {
	if next.Epoch != old.Epoch {
		s.epochs.Add(1)
		switch {
		case old.Epoch == "":
			s.log.Info("connected to the shared store", zap.String("server", server(next.Epoch)))
		default:
			s.log.Warn("the shared store has a new epoch: it was restarted, flushed, replaced or failed over, or its "+
				"clock went back; "+
				"codes from before are refused", zap.String("server", server(next.Epoch)), zap.String("was", server(old.Epoch)))
		}
	}
	if next.Epoch != old.Epoch && next.Skew != s.skew {
		s.log.Warn("the epoch of the shared store began with another redis.skew, which holds until it ends: replicas must "+
			"not differ in it",
			zap.Duration("skew_ms", next.Skew), zap.Duration("configured_ms", s.skew))
	}
	was, is := text(old.Err), text(next.Err)
	switch {
	case is == "" && was != "" && old.Epoch != "":
		s.log.Info("the shared store answers again")
	case is != "" && (was == "" || next.Unfit && is != was || old.Err == errUnasked):
		s.log.Error("the shared store cannot be used: codes are neither issued nor redeemed until it can",
			zap.Error(next.Err))
	}
}

var errUnasked = errors.New("not asked yet")

// server is an epoch without its sentinel, which no writer of the store may learn.
func server(epoch string) string {
	_, server, _ := strings.Cut(epoch, "/")
	return server
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// watch looks at the store again and again.
func (s *Store) watch(ctx context.Context) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			s.Look(ctx)
		}
	}
}
