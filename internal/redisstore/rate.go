package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// rate is a bucket that leaks at a steady rate: what is kept is when it will have leaked empty, in microseconds of the
// server's clock. KEYS: the bucket. ARGV: the microseconds that one turn takes to come back, and those of all turns. It
// answers how long to wait, 0: not at all, and how long until all turns are back.
var rate = redis.NewScript(`
local t = redis.call('TIME')
local now, each, most = t[1] * 1000000 + t[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local empty = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if empty > now + most then empty = now end -- the clock went back
local wait = math.ceil(empty + each - now - most)
if wait > 0 then return {string.format('%.0f', wait), string.format('%.0f', empty - now)} end
empty = empty + each
redis.call('SET', KEYS[1], string.format('%.3f', empty), 'PX', string.format('%.0f', math.ceil(most / 1000) + 1000))
return {'0', string.format('%.0f', empty - now)}
`)

// Take takes one of burst turns that all replicas have together, of which one comes back each period. It answers how
// long to wait for the next turn if there is none now, and how long until all are back; an error means that the store
// did not tell.
func (s *Store) Take(ctx context.Context, key string, each time.Duration, burst int) (wait, full time.Duration,
	err error,
) {
	one := float64(each) / float64(time.Microsecond)
	answer, err := s.Run(ctx, rate, []string{s.Key("rate:" + key)}, one, one*float64(burst))
	if err != nil {
		return 0, 0, err
	}
	said, _ := answer.([]any)
	if len(said) != 2 {
		return 0, 0, fmt.Errorf("redis: the script answered %T", answer)
	}
	for i, to := range []*time.Duration{&wait, &full} {
		text, _ := said[i].(string)
		microseconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("redis: the script answered %.100q", text)
		}
		*to = time.Duration(microseconds) * time.Microsecond
	}
	return wait, full, nil
}

// Allow takes one of so many turns a second, twice as many at once, that all replicas have together. It answers how
// long to wait for the next turn if there is none now; an error means that the store did not tell.
func (s *Store) Allow(ctx context.Context, key string, perSecond int) (wait time.Duration, err error) {
	wait, _, err = s.Take(ctx, key, time.Second/time.Duration(perSecond), 2*perSecond)
	return wait, err
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
