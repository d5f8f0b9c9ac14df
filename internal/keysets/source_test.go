package keysets

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

func TestRotation(t *testing.T) {
	t.Parallel()
	old, fresh := newKey(t), newKey(t)
	p := publish(t, says(jwks(t, old)))
	s := open(t, usual(p.URL))
	s.ready()
	first := s.Keys()
	if first.Key(old.ID()) == nil {
		t.Fatal("the published key is not there")
	}

	p.become(says(jwks(t, old, fresh)))
	set, err := s.Seek(fresh.ID())
	if err != nil || set.Key(fresh.ID()) == nil || set != s.Keys() || set == first {
		t.Fatalf("a key that is published and not known yet: %v, %v", set, err)
	}
	if n := p.seen.Load(); n != 2 {
		t.Errorf("%d fetches, want one at the start and one for the new key", n)
	}

	p.become(says(jwks(t, fresh)))
	s.refetch()
	if set := s.Keys(); set.Key(old.ID()) != nil || set.Key(fresh.ID()) == nil {
		t.Error("a key that is no longer published still counts")
	}

	p.become(says(`{"keys":[]}`))
	s.refetch()
	if set := s.Keys(); set == nil || set.Len() != 0 {
		t.Error("an issuer that revokes every key is not believed")
	}
}

// TestTheSameKeysStayTheSameSet: the verified-token cache goes by the address, and must not start anew every ten
// minutes.
func TestTheSameKeysStayTheSameSet(t *testing.T) {
	t.Parallel()
	a, b := newKey(t), newKey(t)
	p := publish(t, says(jwks(t, a, b)))
	s := open(t, usual(p.URL))
	s.ready()
	first := s.Keys()
	p.become(says(strings.Replace(jwks(t, b, a), "{", `{"x": [1], `, 1)))
	s.refetch()
	if p.seen.Load() != 2 || s.Keys() != first {
		t.Error("another set for the same keys")
	}
	if at := s.Stats().Fetched; !at.Equal(s.clock.Now()) {
		t.Errorf("confirmed at %v, it is %v", at, s.clock.Now())
	}
}

// TestFloodOfUnknownKids: whatever is sent, one fetch per cooldown.
func TestFloodOfUnknownKids(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, says(jwks(t, key)))
	s := open(t, usual(p.URL))
	s.ready()
	for round := range 3 {
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				set, err := s.Seek(fmt.Sprintf("kid-%d-%d", round, i))
				if err == nil && set != s.Keys() || err != nil && refusal.Of(err) != refusal.IssuerUnavailable {
					t.Errorf("have %v, %v; want the present set, or that it cannot be known", set, err)
				}
			})
		}
		all.Wait()
		if n := p.seen.Load(); n != int64(round)+2 {
			t.Errorf("round %d: %d fetches", round, n)
		}
		s.clock.step(29 * time.Second)
		if _, err := s.Seek("again"); refusal.Of(err) != refusal.IssuerUnavailable || p.seen.Load() != int64(round)+2 {
			t.Errorf("round %d: a fetch within the cooldown (%v)", round, err)
		}
		s.clock.step(time.Second)
	}
}

// TestRotationDuringTheCooldown: unknown kids that a stranger makes up use the fetch that the cooldown allows. A key
// that is published then is not said to be unknown, which would be final, but cannot be judged yet; a kid that a fetch
// was made for stays unknown.
func TestRotationDuringTheCooldown(t *testing.T) {
	t.Parallel()
	old, fresh := newKey(t), newKey(t)
	p := publish(t, says(jwks(t, old)))
	s := open(t, usual(p.URL))
	s.ready()
	if set, err := s.Seek("made-up"); err != nil || set == nil {
		t.Fatalf("a kid that a fetch was made for: %v, %v", set, err)
	}
	p.become(says(jwks(t, fresh)))
	if set, err := s.Seek(fresh.ID()); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("rotated during the cooldown: %v, %v", set, err)
	}
	if set, err := s.Seek("made-up"); err != nil || set == nil {
		t.Errorf("a kid that is known to be missing: %v, %v", set, err)
	}
	s.clock.step(30 * time.Second)
	if set, err := s.Seek(fresh.ID()); err != nil || set.Key(fresh.ID()) == nil {
		t.Errorf("after the cooldown: %v, %v", set, err)
	}
	if set, err := s.Seek(old.ID()); err != nil || set == nil {
		t.Errorf("a kid that was removed: %v, %v", set, err)
	}
	for i := range 2 * mostAbsent {
		_, _ = s.Seek(fmt.Sprint("flood-", i))
		s.clock.step(30 * time.Second)
	}
	if n := len(s.absent); n > mostAbsent {
		t.Errorf("%d kids are remembered", n)
	}
}

// TestStaleKeysHaveAnAge: while its issuer is down a set counts for MaxAge, to the millisecond, and then never again.
func TestStaleKeysHaveAnAge(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, says(jwks(t, key)))
	s := open(t, usual(p.URL))
	s.ready()
	first := s.Keys()
	p.become(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	s.clock.step(24*time.Hour - time.Millisecond)
	if s.Keys() != first {
		t.Error("too old before its time")
	}
	if set, err := s.Seek(key.ID()); set != first || err != nil {
		t.Errorf("a known key: %v, %v", set, err)
	}
	if set, err := s.Seek("rotated"); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("an unknown key: %v, %v", set, err)
	}
	if stats := s.Stats(); !stats.Available || stats.Age != 24*time.Hour-time.Millisecond || stats.Err == nil ||
		stats.Failures == 0 {
		t.Errorf("%+v", stats)
	}
	s.clock.step(time.Millisecond)
	if s.Keys() != nil {
		t.Error("counts for longer than MaxAge")
	}
	if set, err := s.Seek(key.ID()); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("have %v, %v", set, err)
	}
	if stats := s.Stats(); stats.Available || stats.Keys != 0 || stats.Age != 24*time.Hour {
		t.Errorf("%+v", stats)
	}
	p.become(says(jwks(t, key)))
	s.refetch()
	if s.Keys() != first {
		t.Error("an issuer that is back is not believed, or the same keys are another set")
	}
}

// TestAgeGoesByBothClocks: one that is set back makes nothing younger, one that stands still neither.
func TestAgeGoesByBothClocks(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := &Source{settings: Settings{MaxAge: time.Hour}}
	set, err := jose.NewKeySet()
	if err != nil {
		t.Fatal(err)
	}
	s.held.Store(&held{set: set, at: now})
	for name, c := range map[string]struct {
		clock time.Time
		want  *jose.KeySet
	}{
		"at once":               {now, set},
		"in time":               {now.Add(time.Hour - 1), set},
		"too late":              {now.Add(time.Hour), nil},
		"by the calendar alone": {now.Round(0).Add(time.Hour), nil},
		"set back a little":     {now.Add(-time.Minute), set},
	} {
		s.clock = func() time.Time { return c.clock }
		if have := s.Keys(); have != c.want {
			t.Errorf("%s: %v", name, have)
		}
	}
}

// TestSlowIssuerHoldsNoRequestUp: a request waits its bounded moment, and only for a fetch.
func TestSlowIssuerHoldsNoRequestUp(t *testing.T) {
	t.Parallel()
	key, fresh := newKey(t), newKey(t)
	release := make(chan struct{})
	p := publish(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		says(jwks(t, key, fresh))(w, nil)
	})
	settings := usual(p.URL)
	settings.Wait = 10 * time.Millisecond
	s := open(t, settings)
	for range 2 { // both join the first fetch
		if set, err := s.Seek(key.ID()); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
			t.Errorf("before the first answer: %v, %v", set, err)
		}
	}
	close(release)
	s.settings.Wait = time.Minute
	s.ready()
	hang := make(chan struct{})
	p.become(func(http.ResponseWriter, *http.Request) { <-hang })
	s.settings.Wait = 10 * time.Millisecond
	if set, err := s.Seek("rotated"); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("an unknown key while the issuer hangs: %v, %v", set, err)
	}
	if set, err := s.Seek(key.ID()); err != nil || set.Key(key.ID()) == nil {
		t.Errorf("a known key while the issuer hangs: %v, %v", set, err)
	}
	close(hang)
}

func TestOnlySoManyWait(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	p := publish(t, func(http.ResponseWriter, *http.Request) { <-hang })
	s := open(t, usual(p.URL)) // a waiter waits a minute
	s.waiting.Store(mostWaiting)
	if set, err := s.Seek("x"); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("have %v, %v", set, err)
	}
	if n := s.waiting.Load(); n != mostWaiting {
		t.Errorf("%d wait", n)
	}
	close(hang)
}

// TestRefreshInTheBackground: no request asks, and the keys are new all the same.
func TestRefreshInTheBackground(t *testing.T) {
	t.Parallel()
	old, fresh := newKey(t), newKey(t)
	p := publish(t, says(jwks(t, old)))
	settings := usual(p.URL)
	settings.Refresh = time.Millisecond
	s := open(t, settings)
	s.ready()
	p.become(says(jwks(t, fresh)))
	for range 3 { // the second of these began after the change, and has ended when the third comes
		<-p.hits
	}
	if set := s.Keys(); set.Key(fresh.ID()) == nil || set.Key(old.ID()) != nil {
		t.Error("the old keys still")
	}
}

func TestDownAtTheStartThenThere(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	settings := usual(p.URL)
	settings.Refresh = time.Millisecond // no failure makes the next fetch later than this
	s := open(t, settings)
	if set, err := s.Seek(key.ID()); set != nil || refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("have %v, %v", set, err)
	}
	p.become(says(jwks(t, key)))
	for range 3 {
		<-p.hits
	}
	if s.Keys().Key(key.ID()) == nil {
		t.Error("an issuer that came up is not noticed")
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		failures    int
		least, most time.Duration
	}{
		{1, 500 * time.Millisecond, time.Second},
		{2, time.Second, 2 * time.Second},
		{5, 8 * time.Second, 16 * time.Second},
		{10, 256 * time.Second, 512 * time.Second},
		{11, 5 * time.Minute, 10 * time.Minute},
		{63, 5 * time.Minute, 10 * time.Minute},
		{64, 5 * time.Minute, 10 * time.Minute},
		{1 << 40, 5 * time.Minute, 10 * time.Minute},
	} {
		for range 100 {
			if d := backoff(c.failures, 10*time.Minute); d < c.least || d > c.most {
				t.Errorf("after %d failures: %v, want %v to %v", c.failures, d, c.least, c.most)
			}
		}
	}
}

func TestReloadKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, says(jwks(t, key)))
	all := New(nil, nil)
	t.Cleanup(all.Close)
	settings := usual(p.URL)
	take := func(s Settings) (*Source, func()) {
		t.Helper()
		source, release, err := all.Open(s)
		if err != nil {
			t.Fatal(err)
		}
		return source, release
	}
	first, releaseFirst := take(settings)
	if _, err := first.Seek(""); err != nil {
		t.Fatal(err)
	}
	second, releaseSecond := take(settings)
	if second != first {
		t.Error("the same settings, another source")
	}
	releaseFirst()
	releaseFirst() // once only
	settings.Refresh = time.Minute
	hang := make(chan struct{})
	p.become(func(http.ResponseWriter, *http.Request) { <-hang })
	third, releaseThird := take(settings)
	if third == first || third.Keys() == nil || third.Keys() != first.Keys() {
		t.Error("other times for the same address do not start from its keys")
	}
	close(hang)
	settings.URL += "/another"
	fourth, releaseFourth := take(settings)
	releaseFourth()
	<-fourth.ended
	if fourth.Keys() != nil {
		t.Error("another address starts from this one's keys")
	}
	if n := len(all.Stats()); n != 2 {
		t.Errorf("%d sources", n)
	}
	releaseSecond()
	releaseThird()
	<-first.ended
	<-third.ended
	if n := len(all.Stats()); n != 0 {
		t.Errorf("%d sources are left", n)
	}
	all.Close()
	if _, _, err := all.Open(settings); err == nil {
		t.Error("a source is opened while the process ends")
	}
}

// TestReleasedWhileSomebodyWaits: a reload drops an issuer while a request waits for its keys.
func TestReleasedWhileSomebodyWaits(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	p := publish(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done() // the fetch is cut short
	})
	all := New(nil, nil)
	t.Cleanup(all.Close)
	s, release, err := all.Open(usual(p.URL))
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error)
	go func() {
		_, err := s.Seek("x")
		refused <- err
	}()
	<-began
	release()
	if err := <-refused; refusal.Of(err) != refusal.IssuerUnavailable {
		t.Errorf("have %v", err)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	p := publish(t, says(jwks(t, key)))
	b := open(t, usual(p.URL+"/set?key=hunter2"))
	b.ready()
	settings := usual("http://127.0.0.1:1/nobody")
	settings.Issuer = "https://another.example"
	other, release, err := b.all.Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	(&bench{Source: other}).settled()
	b.clock.step(time.Minute)
	stats := b.all.Stats()
	if len(stats) != 2 || stats[0].Issuer != "https://another.example" || stats[1].Issuer != "https://idp.example" {
		t.Fatalf("%+v", stats)
	}
	if down := stats[0]; down.Available || down.Err == nil || down.Failures != 1 || down.Fetches != 1 ||
		!down.Fetched.IsZero() || down.Age != 0 || down.From != "" {
		t.Errorf("%+v", down)
	}
	if up := stats[1]; !up.Available || up.Err != nil || up.Keys != 1 || up.Age != time.Minute || up.Fetches != 1 ||
		up.Failures != 0 || up.From != p.URL+"/set" {
		t.Errorf("%+v", up)
	}
	if strings.Contains(b.logged(), "hunter2") {
		t.Errorf("the query of an address is logged:\n%s", b.logged())
	}
}
