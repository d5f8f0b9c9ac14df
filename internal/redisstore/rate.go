package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// rate is a bucket that leaks so many a second and holds twice as many: what is kept is when it will have leaked empty, in
// microseconds of the server's clock. KEYS: the bucket. ARGV: the rate. It answers how long to wait, 0: not at all.
var rate = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local each, most = 1000000 / tonumber(ARGV[1]), 2000000
local empty = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + each
if empty > now + 2 * most then empty = now + each end -- the clock went back
local wait = math.ceil(empty - now - most)
if wait > 0 then return string.format('%.0f', wait) end
redis.call('SET', KEYS[1], string.format('%.3f', empty), 'PX', 5000)
return '0'
`)

// Allow takes one of so many turns a second, twice as many at once, that all replicas have together. It answers how long
// to wait for the next turn if there is none now; an error means that the store did not tell.
func (s *Store) Allow(ctx context.Context, key string, perSecond int) (wait time.Duration, err error) {
	answer, err := s.Run(ctx, rate, []string{s.Key("rate:" + key)}, perSecond)
	if err != nil {
		return 0, err
	}
	text, _ := answer.(string)
	microseconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("redis: the script answered %T", answer)
	}
	return time.Duration(microseconds) * time.Microsecond, nil
}

// giveBack undoes what rate did. KEYS and ARGV are the same.
var giveBack = redis.NewScript(`
local empty = tonumber(redis.call('GET', KEYS[1]) or '0') - 1000000 / tonumber(ARGV[1])
if empty > 0 then redis.call('SET', KEYS[1], string.format('%.3f', empty), 'PX', 5000) end
return '0'
`)

// Return gives back a turn that Allow took, since nothing came of it.
func (s *Store) Return(ctx context.Context, key string, perSecond int) error {
	_, err := s.Run(ctx, giveBack, []string{s.Key("rate:" + key)}, perSecond)
	return err
}
