package replay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/refusal"
)

// accept lets something be used once, or tells why not, in one atomic step. KEYS: the record of the epoch, the mark.
// ARGV: the epoch that it was sealed under, "" for what has none; its nominal expiry in ms; the longest life in ms; the
// owner; when it was made, in ms, "" for what has an epoch.
//
// Judged by the server's own clock, a mark lives for two skews after the nominal expiry, and nothing is accepted later
// than one skew after it: so a mark that is gone was never needed any more, as long as the server's clock does not go
// back by more than a skew (which ends the epoch). The clocks of the replicas do not come into it.
//
// What has no epoch is accepted only if it was made less than a skew ahead of the server's clock, by whatever clock it
// says so: then its time lies before the begin of every epoch to come, and the skew behind that, so that what was used
// before the store forgot it is refused after. Without that, a thing of a clock that is further ahead passed twice.
var accept = redis.NewScript(redisstore.Prelude + `
local expiry, longest = tonumber(ARGV[2]), tonumber(ARGV[3])
local record, now = living(KEYS[1])
if not record then return {'over', ''} end
local skew = tonumber(record[4]) -- the same for every replica
if ARGV[1] ~= '' and record[1] ~= ARGV[1] then return {'other', record[1]} end
local made = tonumber(ARGV[5]) -- nil for ""
if made and made < tonumber(record[2]) + skew then return {'forgotten', record[2]} end
if made and made >= now + skew then return {'early', string.format('%.0f', now)} end
if now >= expiry + skew then return {'late', string.format('%.0f', now - skew)} end
if expiry > now + longest + skew then return {'early', string.format('%.0f', now)} end
local life = string.format('%.0f', expiry + 2 * skew - now)
if redis.call('SET', KEYS[2], ARGV[4], 'NX', 'PX', life) then return {'first', ''} end
if redis.call('GET', KEYS[2]) == ARGV[4] then return {'mine', ''} end
return {'used', ''}
`)

// A Redis is a guard whose memory all replicas share. It is safe for concurrent use.
//
// Its epoch is the store's (package shared): a code that was sealed before the store may have forgotten something is
// refused. It has neither a floor nor a capacity of its own: what bounds it is the store's maxmemory, at which codes
// are refused with StoreUnavailable, since the store may not evict.
type Redis struct {
	store   *redisstore.Store
	clients atomic.Pointer[[]string]
}

// longestLife is how long a code can live, nominally (RFC 6749 §4.1.2).
const longestLife = 10 * time.Minute

// NewRedis makes a guard on a store, for the clients that may issue codes.
func NewRedis(store *redisstore.Store, clients []string) *Redis {
	g := &Redis{store: store}
	g.Reconfigure(clients)
	return g
}

// Reconfigure takes over a reload. What the clients' codes have used is the store's to remember.
func (g *Redis) Reconfigure(clients []string) {
	kept := slices.Clone(clients)
	g.clients.Store(&kept)
}

// Epoch is what codes are sealed under now: the last one that is known, or nil. It changes when the store's does.
func (g *Redis) Epoch() []byte {
	if epoch := g.store.State().Epoch; epoch != "" {
		return []byte(epoch)
	}
	return nil
}

// Fresh answers nil if the epoch was confirmed in the last seconds, and StoreUnavailable otherwise.
func (g *Redis) Fresh() error { return g.store.Fresh() }

// Refresh asks the store for its epoch, unless that was done a moment ago, and answers StoreUnavailable if it is not
// known then.
func (g *Redis) Refresh(ctx context.Context) error {
	if state := g.store.Refresh(ctx); state.Err != nil {
		return refusal.Because(refusal.StoreUnavailable, "%v", state.Err)
	}
	return nil
}

// Consume answers nil for the first use of a code, and for no other use of it ever after. Otherwise it is a
// *refusal.Error: CodeUsed, CodeBelowFloor for one whose nominal expiry has passed by the store's clock,
// CodeNotYetValid for one that expires later than any can, CodeOtherEpoch, CodeClientGone, or StoreUnavailable when the
// store did not answer in time: whether the code is spent is then unknown.
func (g *Redis) Consume(ctx context.Context, u Use) error {
	if !slices.Contains(*g.clients.Load(), u.Client) {
		return refusal.Because(refusal.CodeClientGone, "client %q may not issue codes", u.Client)
	}
	if len(u.Epoch) == 0 {
		return refusal.Because(refusal.StoreUnavailable, "client %q: the epoch of the shared store is not known", u.Client)
	}
	verdict, detail, err := ask(ctx, g.store, attempt{
		mark: "code:" + string(u.Nonce[:]), epoch: string(u.Epoch), expiry: u.Expiry, longest: longestLife,
	})
	if err != nil {
		return err
	}
	switch verdict {
	case "first", "mine":
		return nil
	case "used":
		return &refusal.Error{Reason: refusal.CodeUsed, Detail: u.Client}
	case "late":
		return refusal.Because(refusal.CodeBelowFloor, "client %q: nominal expiry %d ms is not above the store's floor %s ms",
			u.Client, u.Expiry, detail)
	case "early":
		return refusal.Because(refusal.CodeNotYetValid,
			"client %q: nominal expiry %d ms is further than a code's life from the store's time %s ms", u.Client, u.Expiry,
			detail)
	}
	g.store.Over(ctx, string(u.Epoch)) // so that the next codes are sealed under the new one
	return refusal.Because(refusal.CodeOtherEpoch,
		"client %q: sealed before the store may have forgotten which codes were used", u.Client)
}

// An attempt is one thing to be used once.
type attempt struct {
	mark    string // the name of its mark
	epoch   string // that it was sealed under, or "" …
	made    string // … and when it was made, in ms
	expiry  int64
	longest time.Duration
}

// ask runs the script, again and again if need be, with one owner: a second try knows the mark that the first one left.
func ask(ctx context.Context, store *redisstore.Store, a attempt) (verdict, detail string, err error) {
	if state := store.State(); state.Unfit {
		return "", "", refusal.Because(refusal.StoreUnavailable, "%v", state.Err)
	}
	answer, err := store.Run(ctx, accept, []string{store.EpochKey(), store.Key(a.mark)},
		a.epoch, a.expiry, a.longest.Milliseconds(), redisstore.Owner(), a.made)
	if err != nil {
		return "", "", err
	}
	said, ok := answer.([]any)
	if ok && len(said) == 2 {
		verdict, _ = said[0].(string)
		detail, _ = said[1].(string)
	}
	switch verdict {
	case "first", "mine", "used", "late", "early", "other", "over", "forgotten":
		return verdict, detail, nil
	}
	return "", "", refusal.Because(refusal.StoreUnavailable, "redis: the script answered %.100q", fmt.Sprint(answer))
}

// A Once is a memory of other things that are used once and have no epoch in them, such as client assertions (RFC 7523
// §3) and DPoP proofs (RFC 9449 §11.1). Each kind has a namespace of its own.
type Once struct {
	store   *redisstore.Store
	space   string
	longest time.Duration
}

// NewOnce makes the memory of one kind. longest is the longest time from when a thing is made to when it expires.
func NewOnce(store *redisstore.Store, space string, longest time.Duration) *Once {
	return &Once{store: store, space: space, longest: longest}
}

// Consume answers nil for the first use of a thing that u.Client made at this time (ms since 1970), and for no other
// use of it. Otherwise it is a *refusal.Error: CodeUsed; CodeBelowFloor for one that has expired, or was made before
// what the store remembers begins, so that it may have been used then; CodeNotYetValid for one that expires too late,
// or was made ahead of the store's clock; StoreUnavailable.
func (o *Once) Consume(ctx context.Context, u Use, made int64) error {
	for range 2 {
		verdict, detail, err := ask(ctx, o.store, attempt{
			mark: o.space + ":" + identity(u), made: strconv.FormatInt(made, 10), expiry: u.Expiry, longest: o.longest,
		})
		if err != nil {
			return err
		}
		switch verdict {
		case "first", "mine":
			return nil
		case "used":
			return &refusal.Error{Reason: refusal.CodeUsed, Detail: u.Client}
		case "over":
			o.store.Look(ctx) // begins the next epoch, before which this was made
			continue
		case "early":
			return refusal.Because(refusal.CodeNotYetValid,
				"%q: made at %d ms, expiry %d ms: too far from the store's time %s ms", u.Client, made, u.Expiry, detail)
		}
		return refusal.Because(refusal.CodeBelowFloor, "%q: made at %d ms, expires at %d ms: %s %s ms", u.Client, made,
			u.Expiry, verdict, detail)
	}
	return refusal.Because(refusal.StoreUnavailable, "redis: %v", o.store.State().Err)
}

// Since is the time, in milliseconds since 1970, from which on the store remembers all things, by every maker's clock;
// 0 if it never answered.
func (o *Once) Since() int64 {
	state := o.store.State()
	if state.Epoch == "" {
		return 0
	}
	return state.Began.Add(o.store.Skew()).UnixMilli()
}

// identity is what tells a thing from all others of its kind: two makers may choose the same name.
func identity(u Use) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(u.Client)))
	sum := sha256.Sum256(append(append(b, u.Client...), u.Nonce[:]...))
	return string(sum[:24])
}
