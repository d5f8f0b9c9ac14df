package e2e_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fleetCodes is how many codes a campaign plays, and how often it goes through all troubles: fewer where the race
// detector takes its time.
func fleetCodes() (codes, rounds int) {
	switch {
	case os.Getenv("JOTGATE_CAMPAIGN") != "":
		return 100_000, 3
	case raceDetected():
		return 5_000, 1
	}
	return 30_000, 1
}

// A ticket is a sealed code and what became of it.
type ticket struct {
	code   string
	born   int64 // the campaign's season when it was asked for
	tokens atomic.Int32
}

// A campaign hands out codes and has each redeemed by several gates at once, while troubles come and go. It keeps an
// account of every answer.
type campaign struct {
	fleet *fleet
	total int64
	quota int64 // codes from one change of the seasons to the next

	// season is even in calm weather and odd in trouble. A code whose whole story lies in one even season must have
	// exactly one winner.
	season  atomic.Int64
	trouble atomic.Value // the name of the present or the last trouble
	begun   atomic.Int64 // codes that were asked for
	done    atomic.Int64 // codes whose first presentations were answered
	calm    atomic.Int64 // of these, in one even season
	over    atomic.Bool
	replays atomic.Int64 // presentations of codes that had a winner

	mu      sync.Mutex
	tickets []*ticket // whose first round is over
	answers map[string]int
	faults  []string
}

func newCampaign(f *fleet, total, seasons int) *campaign {
	return &campaign{fleet: f, total: int64(total), quota: int64(max(1, total/(2*seasons))), answers: map[string]int{}}
}

const campaignWorkers = 16

// run plays codes until there were enough of them and `meanwhile` is over.
func (c *campaign) run(t *testing.T, meanwhile func()) {
	t.Helper()
	var workers sync.WaitGroup
	for range campaignWorkers {
		workers.Go(func() { c.work(t) })
	}
	meanwhile()
	c.over.Store(true)
	workers.Wait()
}

// work takes codes in one order and redeems them in another, so that there are always some on their way.
func (c *campaign) work(t *testing.T) {
	var held []*ticket
	for !c.over.Load() || c.begun.Load() < c.total {
		if fresh := c.ask(t); fresh != nil {
			held = append(held, fresh)
		}
		if len(held) > 0 && (len(held) >= 8 || rand.IntN(2) == 0) {
			i := rand.IntN(len(held))
			c.present(t, held[i])
			held = slices.Delete(held, i, i+1)
		}
		if rand.IntN(4) == 0 {
			c.again(t)
		}
	}
	for _, left := range held {
		c.present(t, left)
	}
}

func (c *campaign) any() *replica { return c.fleet.gates[rand.IntN(len(c.fleet.gates))] }

// ask is nil when no code is given.
func (c *campaign) ask(t *testing.T) *ticket {
	born := c.season.Load()
	code, a := c.fleet.issue(t, c.any())
	c.count("issue", a)
	if code == "" {
		if c.quiet(born) {
			c.fault("in calm weather no code was given: %d %s %v", a.status, a.body, a.err)
		}
		time.Sleep(time.Millisecond) // do not spin on a gate that is down
		return nil
	}
	c.begun.Add(1)
	return &ticket{code: code, born: born}
}

// quiet reports whether it has been calm since a season.
func (c *campaign) quiet(since int64) bool { return since%2 == 0 && c.season.Load() == since }

// present is a code's first round: two to four gates at once, the same one perhaps twice. Anyone who got no answer
// comes again, as people do.
func (c *campaign) present(t *testing.T, k *ticket) {
	for range 3 {
		var unanswered atomic.Bool
		var group sync.WaitGroup
		begin := make(chan struct{})
		for range 2 + rand.IntN(3) {
			group.Go(func() {
				<-begin
				if !c.try(t, k) {
					unanswered.Store(true)
				}
			})
		}
		close(begin)
		group.Wait()
		if c.quiet(k.born) {
			c.calm.Add(1)
			if n := k.tokens.Load(); n != 1 || unanswered.Load() {
				c.fault("in calm weather a code had %d winners, presentations without an answer: %t", n, unanswered.Load())
			}
		}
		if !unanswered.Load() || k.tokens.Load() > 0 {
			break
		}
	}
	c.mu.Lock()
	c.tickets = append(c.tickets, k) // not before, so that no one else can win in calm weather
	c.mu.Unlock()
	c.done.Add(1)
}

// try presents a code to some gate; it is false when it was neither accepted nor refused.
func (c *campaign) try(t *testing.T, k *ticket) bool {
	a := c.fleet.redeem(t, c.any(), k.code)
	c.count("redeem", a)
	switch a.status {
	case http.StatusCreated:
		if a.token == "" || a.err != nil {
			c.fault("201 without a token: %v", a.err)
		}
		if n := k.tokens.Add(1); n > 1 {
			c.fault("a code had %d winners", n)
		}
	case http.StatusBadRequest, http.StatusNotFound:
	case http.StatusServiceUnavailable:
		if a.retryAfter == "" {
			c.fault("503 without Retry-After: %s", a.body)
		}
		return false
	case 0:
		return false
	default:
		c.fault("%d %s", a.status, a.body)
	}
	return true
}

// again presents a code that was presented before.
func (c *campaign) again(t *testing.T) {
	c.mu.Lock()
	if len(c.tickets) == 0 {
		c.mu.Unlock()
		return
	}
	// Half of the time one of the latest, whose mark a store that lost something is the likeliest to have lost.
	from := 0
	if rand.IntN(2) == 0 {
		from = max(0, len(c.tickets)-200)
	}
	k := c.tickets[from+rand.IntN(len(c.tickets)-from)]
	c.mu.Unlock()
	c.replay(t, k)
}

func (c *campaign) replay(t *testing.T, k *ticket) {
	if k.tokens.Load() > 0 {
		c.replays.Add(1)
	}
	c.try(t, k)
}

// replayLatest presents the n codes again that were presented last, each to some gate.
func (c *campaign) replayLatest(t *testing.T, n int) {
	c.mu.Lock()
	latest := slices.Clone(c.tickets[max(0, len(c.tickets)-n):])
	c.mu.Unlock()
	var workers sync.WaitGroup
	work := make(chan *ticket)
	for range campaignWorkers {
		workers.Go(func() {
			for k := range work {
				c.replay(t, k)
			}
		})
	}
	for _, k := range latest {
		work <- k
	}
	close(work)
	workers.Wait()
}

func (c *campaign) count(what string, a answer) {
	key := fmt.Sprintf("%s %d", what, a.status)
	if a.status == 0 {
		key = what + " without an answer"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[key]++
}

func (c *campaign) fault(text string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf("season %d, %v: ", c.season.Load(), c.trouble.Load())+
		fmt.Sprintf(text, args...))
}

// await waits until so many more codes were presented; where there is trouble that may be never, and a while must do.
func (c *campaign) await(t *testing.T, codes int64, atMost time.Duration) {
	t.Helper()
	aim, deadline := c.done.Load()+codes, time.Now().Add(atMost)
	for c.done.Load() < aim {
		if time.Now().After(deadline) {
			if atMost == patience {
				t.Fatalf("%d codes, not %d", c.done.Load(), aim)
			}
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// settle presents every code again, and then compares the account with what must be.
func (c *campaign) settle(t *testing.T) {
	t.Helper()
	c.season.Add(1) // who wins now has no season to win in
	c.replayLatest(t, len(c.tickets))
	for i, f := range c.faults {
		if t.Error(f); i == 20 {
			t.Errorf("and %d more", len(c.faults)-i)
			break
		}
	}
	won, more := 0, 0
	for _, k := range c.tickets {
		switch n := k.tokens.Load(); {
		case n > 1:
			more++
		case n == 1:
			won++
		}
	}
	a := c.fleet.audit
	a.mu.Lock()
	granted, twice := len(a.granted), 0
	for jti, n := range a.granted {
		if n > 1 {
			if twice++; twice <= 5 {
				t.Errorf("the audit has %d tokens %s: a code had as many", n, jti)
			}
		}
	}
	a.mu.Unlock()
	if granted < won {
		t.Errorf("%d codes had a winner, but the audit has %d tokens", won, granted)
	}
	if c.calm.Load() == 0 {
		t.Error("no code lived in calm weather alone: that a first redemption succeeds was not shown")
	}
	t.Logf("%d codes: %d with one token (the audit has %d), %d with more; %d lived in calm weather alone and had their "+
		"one winner; %d presentations of used codes",
		len(c.tickets), won, granted, more, c.calm.Load(), c.replays.Load())
	t.Logf("answers: %s", counts(c.answers))
	t.Logf("refused redemptions by reason: %s", a.reasons())
}

func counts(of map[string]int) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%s: %d", key, of[key]))
	}
	return strings.Join(all, ", ")
}
