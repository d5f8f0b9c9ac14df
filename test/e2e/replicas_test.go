package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Several gates share a store that loses its mind, its data or its way. Whatever happens, a code is accepted once.

// A trouble befalls a fleet, and is over when end returns; then all must go well again.
type trouble struct {
	name       string
	begin, end func(t *testing.T)
}

func nothing(*testing.T) {}

// troubles is what a campaign goes through. Both stores are running, and the fleet's links lead to f.store; the other
// one is f.spare.
func troubles(f *fleet, spare *store) []trouble {
	var who []*replica // whom a trouble has befallen
	some := func(n int) []*replica {
		who = nil
		for _, i := range rand.Perm(len(f.gates))[:n] {
			who = append(who, f.gates[i])
		}
		return who
	}
	onLinks := func(name string, n int, w weather, delay time.Duration) trouble {
		return trouble{name, func(*testing.T) {
			for _, r := range some(n) {
				r.link.turn(w, delay)
			}
		}, func(*testing.T) {
			for _, r := range who {
				r.link.turn(fair, 0)
			}
		}}
	}
	var dump []byte
	return []trouble{
		{"kill -9 of two gates", func(*testing.T) {
			for _, r := range some(2) {
				r.kill()
			}
		}, func(t *testing.T) {
			for _, r := range who {
				r.start(t)
			}
		}},
		{
			"a gate stands still", func(t *testing.T) { some(1)[0].signal(t, syscall.SIGSTOP) },
			func(t *testing.T) { who[0].signal(t, syscall.SIGCONT) },
		},
		{"kill -9 of the store", func(*testing.T) { f.store.Kill() }, func(*testing.T) { f.store.Restart() }},
		{"the store stands still", func(t *testing.T) { f.store.Stop() }, func(t *testing.T) { f.store.Continue() }},
		onLinks("two gates are cut off", 2, ended, 0),
		onLinks("two gates' packets are lost", 2, hole, 0),
		onLinks("two gates hear nothing", 2, deaf, 0),
		onLinks("everyone hears nothing", 5, deaf, 0),
		onLinks("a slow network", 5, slow, 30*time.Millisecond),
		onLinks("a network slower than patience", 3, slow, 2*time.Second),
		{"answers are lost now and then", func(*testing.T) {
			for _, r := range f.gates {
				r.link.loseAnswers("eval", 20)
			}
		}, func(*testing.T) {
			for _, r := range f.gates {
				r.link.loseAnswers("", 0)
			}
		}},
		{"FLUSHALL", func(t *testing.T) { f.store.Do("FLUSHALL") }, nothing},
		{"FLUSHALL again and again", func(t *testing.T) {
			for range 5 {
				f.store.Do("FLUSHALL", "ASYNC")
			}
		}, func(t *testing.T) { f.store.Do("FLUSHDB") }},
		{"scripts and connections are dropped", func(t *testing.T) {
			f.store.Do("SCRIPT", "FLUSH")
			f.store.Do("CLIENT", "KILL", "TYPE", "normal")
		}, nothing},
		{
			"no room for another mark", func(t *testing.T) { f.store.Do("CONFIG", "SET", "maxmemory", "1mb") },
			func(t *testing.T) { f.store.Do("CONFIG", "SET", "maxmemory", "0") },
		},
		{"marks are dropped for want of room", func(t *testing.T) { f.store.evicts(t) }, nothing},
		{"the store pauses its clients", func(t *testing.T) { f.store.Do("CLIENT", "PAUSE", "2000", "WRITE") }, nothing},
		{"a restart with an append-only file", func(t *testing.T) {
			f.store.RestartWith(appends()...) // only a store that has begun so has anything on its disk
			f.well(t)
		}, func(*testing.T) { f.store.Restart() }},
		{"a restart that forgets", nothing, func(t *testing.T) {
			f.store.forget(t)
			f.store.RestartWith()
		}},
		{
			"an old dump is restored", func(t *testing.T) { dump = f.store.dump(t) },
			func(t *testing.T) { f.store.restore(t, dump) },
		},
		{"a failover that loses writes", func(t *testing.T) { spare.copies(t, f.store) }, func(*testing.T) {
			f.store.Kill()
			for _, r := range f.gates {
				r.link.lead(spare.Addr())
			}
			f.store, spare = spare, f.store
			spare.RestartWith()
		}},
		{
			"the store takes over an old copy of itself", func(t *testing.T) { spare.copies(t, f.store) },
			func(t *testing.T) { f.store.copies(t, spare) },
		},
	}
}

// Five gates, one store, and everything that can happen to them.
func TestAFleetAcceptsEachCodeOnceWhateverHappensToTheStore(t *testing.T) {
	t.Parallel()
	s, spare := newStore(t), newStore(t)
	f := newFleet(t, s, 5, "")
	f.well(t)
	all := troubles(f, spare)
	codes, rounds := fleetCodes()
	c := newCampaign(f, codes, rounds*len(all))
	begun := time.Now()
	c.run(t, func() {
		for range rounds {
			for _, i := range rand.Perm(len(all)) {
				c.through(t, all[i])
			}
		}
	})
	t.Logf("%d troubles in %s", rounds*len(all), time.Since(begun).Round(time.Second))
	c.settle(t)
}

// through lets a trouble come and go, with calm weather before it.
func (c *campaign) through(t *testing.T, x trouble) {
	t.Helper()
	c.await(t, c.quota, patience)
	c.trouble.Store(x.name)
	c.season.Add(1)
	x.begin(t)
	c.await(t, c.quota, time.Second)
	x.end(t)
	c.fleet.well(t)
	c.replayLatest(t, 200)
	c.season.Add(1)
}

// What a store may do to its data. used was redeemed after the store's copy, from which it may have been restored, and
// unused never.
func TestAStoreThatLostItsMarksRefusesTheCodesFromBefore(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, f *fleet, spare *store, dump []byte){
		"FLUSHALL":                   func(t *testing.T, f *fleet, _ *store, _ []byte) { f.store.Do("FLUSHALL") },
		"FLUSHDB":                    func(t *testing.T, f *fleet, _ *store, _ []byte) { f.store.Do("FLUSHDB", "ASYNC") },
		"a restart that forgets":     func(_ *testing.T, f *fleet, _ *store, _ []byte) { f.store.Restart() },
		"a restart that forgot some": func(_ *testing.T, f *fleet, _ *store, _ []byte) { f.store.RestartWith(appends()...) },
		"an old dump":                func(t *testing.T, f *fleet, _ *store, dump []byte) { f.store.restore(t, dump) },
		"a failover that lost writes": func(_ *testing.T, f *fleet, spare *store, _ []byte) {
			f.store.Kill()
			for _, r := range f.gates {
				r.link.lead(spare.Addr())
			}
		},
		"marks dropped for want of room": func(t *testing.T, f *fleet, _ *store, _ []byte) { f.store.evicts(t) },
		"an old copy taken over":         func(t *testing.T, f *fleet, spare *store, _ []byte) { f.store.copies(t, spare) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, spare := newStore(t), newStore(t)
			spare.copies(t, s) // who serves its first replica changes its replication id, and with it the epoch
			f := newFleet(t, s, 2, "")
			f.well(t)
			used, unused := f.code(t, f.gates[0]), f.code(t, f.gates[1])
			dump := s.dump(t)
			spare.copies(t, s)
			f.want(t, "for the first time", f.gates[1], used, http.StatusCreated)
			f.want(t, "again", f.gates[0], used, http.StatusBadRequest)

			lose(t, f, spare, dump)
			refusedAll := func(when string) {
				for i, r := range f.gates {
					for what, code := range map[string]string{"used": used, "unused": unused} {
						a := f.redeem(t, r, code)
						if !slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable}, a.status) {
							t.Errorf("%s: gate %d answers a code that was %s with %d %s %v", when, i, what, a.status, a.body, a.err)
						}
					}
				}
			}
			refusedAll("at once")
			f.well(t)
			refusedAll("when all is well again")
		})
	}
}

// The answer to a redemption is lost after the store has set its mark. The client that asked asks again, and is
// recognised; no one else is.
func TestALostAnswerIsAskedForAgainAndRecognised(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFleet(t, s, 2, "")
	f.well(t)
	for range 20 {
		code := f.code(t, f.gates[0])
		f.gates[0].link.loseAnswers("eval", 1)
		f.want(t, "with a lost answer", f.gates[0], code, http.StatusCreated)
		if f.gates[0].link.left() != 0 {
			t.Error("no answer was lost")
		}
		f.want(t, "again", f.gates[0], code, http.StatusBadRequest)
		f.want(t, "again, elsewhere", f.gates[1], code, http.StatusBadRequest)
	}
}

// A store that does not answer costs a redemption, and never opens anything; what needs no store goes on.
func TestAStoreThatDoesNotAnswerIs503(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct{ begin, end func(t *testing.T, f *fleet) }{
		"gone":     {func(_ *testing.T, f *fleet) { f.store.Kill() }, func(_ *testing.T, f *fleet) { f.store.Restart() }},
		"standing": {func(t *testing.T, f *fleet) { f.store.Stop() }, func(t *testing.T, f *fleet) { f.store.Continue() }},
		"cut off":  {func(_ *testing.T, f *fleet) { f.turn(ended, 0) }, func(_ *testing.T, f *fleet) { f.turn(fair, 0) }},
		"lost":     {func(_ *testing.T, f *fleet) { f.turn(hole, 0) }, func(_ *testing.T, f *fleet) { f.turn(fair, 0) }},
		"deaf":     {func(_ *testing.T, f *fleet) { f.turn(deaf, 0) }, func(_ *testing.T, f *fleet) { f.turn(fair, 0) }},
		"too slow": {
			func(_ *testing.T, f *fleet) { f.turn(slow, 20*time.Second) },
			func(_ *testing.T, f *fleet) { f.turn(fair, 0) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			f := newFleet(t, s, 2, "")
			f.well(t)
			opener := f.code(t, f.gates[0])
			token := f.want(t, "before", f.gates[1], opener, http.StatusCreated).token
			code := f.code(t, f.gates[0])
			trouble.begin(t, f)
			f.want(t, "without a store", f.gates[0], code, http.StatusServiceUnavailable)
			f.want(t, "without a store", f.gates[1], code, http.StatusServiceUnavailable)
			for i, r := range f.gates {
				if status, _, body := ask(t, "GET", r.url+"/t/acme/x", token, ""); status != http.StatusOK {
					t.Errorf("gate %d: a token without a store: %d %s, want 200", i, status, body)
				}
				if status, _, body := ask(t, "GET", r.url+"/.well-known/jwks.json", "", ""); status != http.StatusOK {
					t.Errorf("gate %d: the key set without a store: %d %s, want 200", i, status, body)
				}
			}
			trouble.end(t, f)
			f.well(t)
			f.want(t, "a used code afterwards", f.gates[0], opener, refusedStatus(name))
		})
	}
}

// Codes that no one sealed cost the store nothing that others would have to wait for, even while it stands still.
func TestAFloodOfUnknownCodesWhileTheStoreStandsStillIsAnswered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFleet(t, s, 1, "")
	f.well(t)
	code := f.code(t, f.gates[0])
	s.Stop()
	defer s.Continue()
	var flood sync.WaitGroup
	for i := range 200 {
		flood.Go(func() {
			forged := fmt.Sprintf("%s%04d", code[:len(code)-4], i)
			a := f.redeem(t, f.gates[0], forged)
			if !slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable}, a.status) {
				t.Errorf("%d %s %v", a.status, a.body, a.err)
			}
		})
	}
	flood.Wait()
}

// refusedStatus is how a used code is refused: a store that was started anew is another one, whose codes these are not.
func refusedStatus(trouble string) int {
	if trouble == "gone" {
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}

func (f *fleet) turn(w weather, delay time.Duration) {
	for _, r := range f.gates {
		r.link.turn(w, delay)
	}
}

// A store that may drop marks for want of room is refused at the start, and a gate says so.
func TestAStoreThatEvictsIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFleet(t, s, 1, "")
	r := f.gates[0]
	r.kill()
	for _, policy := range []string{"allkeys-lru", "allkeys-random", "volatile-ttl"} {
		s.Do("CONFIG", "SET", "maxmemory-policy", policy)
		exited := r.launch(t)
		select {
		case <-exited:
		case <-time.After(patience):
			t.Fatalf("%s: the gate goes on", policy)
		}
		if told := r.console.String(); !strings.Contains(told, "noeviction") {
			t.Errorf("%s: the gate says %s", policy, told)
		}
	}
}
