package revoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/refusal"
)

// The keys of the list: what was revoked, by name; in which order; when entries end; how much each client has taken;
// the last number; for how long, in ms, marks of sessions are kept.
var names = [...]string{
	"revoked:records", "revoked:order", "revoked:ends", "revoked:shares", "revoked:last", "revoked:life",
}

func (s *sharing) keys() []string {
	keys := []string{s.o.Store.EpochKey()}
	for _, name := range names {
		keys = append(keys, s.o.Store.Key(name))
	}
	return keys
}

// An entry has a name, a JSON array of strings, and a record:
//
//	["token", ISSUER, JTI]         END CLIENT    END in ms; the client that revoked it first pays for it
//	[KIND, ISSUER, VALUE, BEFORE]  WHEN STATE    a mark of any kind, at BEFORE in ms, since WHEN in ms by the store's
//	                                             clock; STATE is empty where it is in force, or "undone mark"
//	[KIND, ISSUER, VALUE]          BEFORE        the latest mark, as versions up to 0.1.0 wrote it

// undoneState has a space, as no client's id has: it takes no share.
const undoneState = "undone mark"

// lives is Lua for how long marks of sessions and logouts are kept: lives(LIFE) is the longest life that any replica
// has told in the last day, since a later configuration may let in tokens that live longer than was known when a mark
// was set.
const lives = `
local function lives(life)
  local known = tonumber(redis.call('GET', KEYS[7]) or '0')
  if life == '0' or tonumber(life) < known then return known end
  redis.call('SET', KEYS[7], life, 'PX', '86400000')
  return tonumber(life)
end
`

// room is Lua for what finds room for an entry: full(NOW, CLIENT, CAPACITY, SHARE, KEPT) first forgets what ended. The
// end of a mark of a session is judged anew, by the life that is known by then.
const room = lives + `
local function ends(name) return tonumber(string.match(name, '"(%d+)"%]$') or '0') + lives('0') end
local function passing(name) return string.sub(name, 1, 6) == '["sid"' or string.sub(name, 1, 9) == '["logout"' end
local function drop(now, most, kept)
  local ended = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now - kept), 'LIMIT', 0, most)
  for _, gone in ipairs(ended) do
    if passing(gone) and ends(gone) > now - kept then
      redis.call('ZADD', KEYS[4], string.format('%.0f', ends(gone)), gone)
    else
      local owner = string.match(redis.call('HGET', KEYS[2], gone) or '', '^%d+ (.*)$')
      if passing(gone) then owner = 'logged out' elseif string.sub(gone, 1, 8) ~= '["token"' then owner = nil end
      if owner and redis.call('HINCRBY', KEYS[5], owner, -1) <= 0 then redis.call('HDEL', KEYS[5], owner) end
      redis.call('HDEL', KEYS[2], gone)
      redis.call('ZREM', KEYS[3], gone)
      redis.call('ZREM', KEYS[4], gone)
    end
  end
end
local function full(now, client, capacity, share, kept)
  local function over()
    return redis.call('HLEN', KEYS[2]) >= tonumber(capacity) or
      client ~= 'none' and tonumber(redis.call('HGET', KEYS[5], client) or '0') >= tonumber(share)
  end
  drop(now, 20, tonumber(kept))
  if over() then drop(now, 2000, tonumber(kept)) end
  return over()
end
local function write(name, value)
  redis.call('HSET', KEYS[2], name, value)
  redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[6]), name)
end
`

// putToken keeps a token's entry, unless there is no room for it. ARGV: name; its end; client; capacity; share; for how
// long a token's entry outlives it.
var putToken = redis.NewScript(redisstore.Prelude + room + `
local record, now = living(KEYS[1])
if not record then return 'over' end
local name, at, client = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local known = redis.call('HGET', KEYS[2], name)
if known then
  local until_, owner = string.match(known, '^(%d+) (.*)$')
  if tonumber(until_) >= at then return 'kept' end
  client = owner
else
  if full(now, client, ARGV[4], ARGV[5], ARGV[6]) then return 'full' end
  redis.call('HINCRBY', KEYS[5], client, 1)
end
write(name, ARGV[2] .. ' ' .. client)
redis.call('ZADD', KEYS[4], ARGV[2], name)
return 'kept'
`)

// putMark sets a mark, or undoes it, and answers since when. A replica that only tells what it knew before (told) is
// heard if it knows more than the store; otherwise the word is new, and so later than all that the replica or the store
// knew. Of two words of the same moment, the mark counts. ARGV: name; state; when the replica's last word on it was, or
// 0; told or new; capacity; for how long an ended entry is kept; for how long an undone mark is; the mark's name as of
// version 0.1.0; its moment; whose share it takes, or none; that share; how long the replica keeps marks of sessions.
var putMark = redis.NewScript(redisstore.Prelude + room + `
local record, now = living(KEYS[1])
if not record then return 'over' end
lives(ARGV[12])
local name, state, stamp, told = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == 'told'
local known = redis.call('HGET', KEYS[2], name)
local old = redis.call('HGET', KEYS[2], ARGV[8])
if old and string.match(old, '^(%d+)') == ARGV[9] then
  redis.call('HDEL', KEYS[2], ARGV[8])
  redis.call('ZREM', KEYS[3], ARGV[8])
end
if known then
  local when, is = string.match(known, '^(%d+) (.*)$')
  when = tonumber(when)
  if told then
    if when > stamp or when == stamp and (is == state or is == '') then return when end
  elseif is == state and when >= stamp then
    return when
  else
    stamp = math.max(stamp, when)
  end
else
  if full(now, ARGV[10], ARGV[5], ARGV[11], ARGV[6]) then return 'full' end
  if passing(name) then redis.call('HINCRBY', KEYS[5], 'logged out', 1) end
end
if not told then stamp = math.max(now, stamp + 1) end
local text = string.format('%.0f', stamp)
write(name, text .. ' ' .. state)
if passing(name) then
  redis.call('ZADD', KEYS[4], string.format('%.0f', ends(name)), name)
elseif state == '' then
  redis.call('ZREM', KEYS[4], name)
else
  redis.call('ZADD', KEYS[4], string.format('%.0f', stamp + tonumber(ARGV[7])), name)
end
return stamp
`)

// after tells what has a higher number than the last one seen, a page at a time, if the epoch is the one that the
// number belongs to, and begins with the lowest otherwise. ARGV: epoch, number, the length of a page; how long the
// replica keeps marks of sessions.
var after = redis.NewScript(redisstore.Prelude + lives + `
local record = living(KEYS[1])
if not record then return {''} end
lives(ARGV[4])
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

// keep writes a record to the store, and takes over when the store says that a mark's was written. A record that is
// told is one that the store is believed to have forgotten.
func (s *sharing) keep(ctx context.Context, r *record, quota int, life time.Duration, told bool) (bool, error) {
	script, args, err := s.put(r, quota, life, told)
	if err != nil {
		return false, err
	}
	for range 2 {
		answer, err := s.o.Store.Run(ctx, script, s.keys(), args...)
		if err != nil {
			return false, err
		}
		switch answer := answer.(type) {
		case int64:
			r.When = answer
			return true, nil
		case string:
			if answer != "over" {
				return answer == "kept", nil
			}
		}
		s.o.Store.Look(ctx) // begins the next epoch
	}
	return false, refusal.Because(refusal.StoreUnavailable, "redis: the store has no epoch")
}

// put is the script that writes a record, and its arguments.
func (s *sharing) put(r *record, quota int, life time.Duration, told bool) (*redis.Script, []any, error) {
	name, err := r.name()
	if err != nil {
		return nil, nil, err
	}
	if r.Kind == "token" {
		return putToken, []any{name, r.At, r.Client, s.o.Capacity, quota, keptAfterExpiry.Milliseconds()}, nil
	}
	older, err := json.Marshal([]string{r.Kind, r.Issuer, r.Value})
	if err != nil {
		return nil, nil, err
	}
	state, word, owner := "", "new", "none"
	if r.Client == logouts && !told {
		owner = logouts
	}
	if r.Undo {
		state = undoneState
	}
	if told {
		word = "told"
	}
	return putMark, []any{
		name, state, r.When, word, s.o.Capacity, keptAfterExpiry.Milliseconds(), keptUndone.Milliseconds(),
		string(older), r.At, owner, quota, life.Milliseconds(),
	}, nil
}

// name is a record's place in the store.
func (r *record) name() (string, error) {
	parts := []string{r.Kind, r.Issuer, r.Value}
	if r.Kind != "token" {
		parts = append(parts, strconv.FormatInt(r.At, 10))
	}
	name, err := json.Marshal(parts)
	return string(name), err
}

// tells reports whether the store, which has r, need not be told other, which is of the same name.
func (r *record) tells(other *record) bool {
	if r.Kind == "token" {
		return r.At >= other.At
	}
	return !word{other.When, other.Undo}.outdates(word{r.When, r.Undo})
}

func parseShared(name, value string) (record, error) {
	var parts []string
	if err := json.Unmarshal([]byte(name), &parts); err != nil || len(parts) < 3 || len(parts) > 4 {
		return record{}, errors.New("a name that is none of ours")
	}
	foreign := errors.New("a record that is none of ours")
	first, rest, found := strings.Cut(value, " ")
	at, err := strconv.ParseInt(first, 10, 64)
	if err != nil || !found {
		return record{}, foreign
	}
	r := record{Kind: parts[0], Issuer: parts[1], Value: parts[2], At: at}
	switch {
	case r.Kind == "token" && len(parts) == 3:
		r.Client = rest
		return r, nil
	case len(parts) == 3 && rest == "":
		return r, nil
	case r.Kind == "token" || len(parts) == 3 || rest != "" && rest != undoneState:
		return record{}, foreign
	}
	if r.At, err = strconv.ParseInt(parts[3], 10, 64); err != nil {
		return record{}, fmt.Errorf("%w: %w", foreign, err)
	}
	r.When, r.Undo = at, rest == undoneState
	return r, nil
}
