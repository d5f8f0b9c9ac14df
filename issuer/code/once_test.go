package code_test

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/issuer/code"
)

// longestTTL is the longest code_ttl in these tests, in seconds.
const longestTTL = 8

// A world is two replicas, with or without a shared store, one clock, and every code that was ever sealed.
type world struct {
	t        *rapid.T
	shared   *sharedStore // nil: each replica remembers alone
	now      int64
	secret   []byte
	replicas [2]*replica
	codes    []*sealed
}

// A replica is one process: what it is, and what is known of it that says when it must accept.
type replica struct {
	guard    guard
	sealer   *code.Sealer // of …
	epoch    []byte       // … this one
	capacity int          // of each client
	clients  map[string]*clientModel
	steady   bool // the clock has not stepped back since the start
	highest  int64
}

// A guard is what the property is about: one of package replay's.
type guard interface {
	Consume(ctx context.Context, u replay.Use) error
	Epoch() []byte
}

// seals is the replica's sealer under its guard's present epoch.
func (w *world) seals(r *replica) *code.Sealer {
	if epoch := r.guard.Epoch(); !bytes.Equal(epoch, r.epoch) {
		var err error
		r.epoch = epoch
		r.sealer, err = code.New(code.Options{Issuer: "https://gate.example", Secrets: [][]byte{w.secret}, Epoch: epoch})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return r.sealer
}

// reconfigure is a reload.
func (w *world) reconfigure(r *replica, clients []string, capacity int) {
	switch g := r.guard.(type) {
	case *replay.Memory:
		if err := g.Reconfigure(clients, capacity); err != nil {
			w.t.Fatal(err)
		}
	case *replay.Redis:
		g.Reconfigure(clients)
	}
	r.reconfigured(w.now, clients, capacity)
}

// A clientModel knows which codes a guard may refuse for want of memory: those that expire at or below the threshold.
type clientModel struct {
	accepted  []int64 // when
	threshold int64
}

// A sealed is one code: what happened to it under whichever spelling and at whichever replica.
type sealed struct {
	text     string
	grant    code.Grant
	client   string
	epoch    []byte
	accepted int
}

var allClients = []string{"a", "b", "c"}

func (w *world) restart(i int) {
	r := &replica{clients: map[string]*clientModel{}, steady: true}
	clients, capacity := w.drawConfig()
	if w.shared != nil {
		r.guard = replay.NewRedis(w.shared.connect(w.t, i), clients)
	} else {
		memory, err := replay.NewMemory(replay.Options{
			Clients: clients, Capacity: capacity, Clock: func() time.Time { return time.UnixMilli(w.now) },
		})
		if err != nil {
			w.t.Fatal(err)
		}
		r.guard = memory
	}
	r.reconfigured(w.now, clients, capacity)
	w.replicas[i] = r
}

func (w *world) drawConfig() (clients []string, capacity int) {
	clients = slices.DeleteFunc(slices.Clone(allClients),
		func(string) bool { return rapid.IntRange(0, 3).Draw(w.t, "drop") == 0 })
	each := rapid.SampledFrom([]int{1, 2, 3, 6, 40}).Draw(w.t, "share")
	return clients, max(1, each*len(clients))
}

func (r *replica) reconfigured(now int64, clients []string, capacity int) {
	r.capacity = capacity / max(1, len(clients))
	for c := range r.clients {
		if !slices.Contains(clients, c) {
			delete(r.clients, c)
		}
	}
	for _, c := range clients {
		m, stays := r.clients[c]
		if !stays {
			m = &clientModel{threshold: r.highest}
			r.clients[c] = m
		} else if m.recent(now) > r.capacity {
			m.threshold = r.highest
		}
	}
}

// recent is how many codes were accepted within the longest life.
func (m *clientModel) recent(now int64) int {
	m.accepted = slices.DeleteFunc(m.accepted, func(at int64) bool { return at <= now-longestTTL*1000 })
	return len(m.accepted)
}

func (w *world) mint() {
	if len(w.codes) > 0 && rapid.IntRange(0, 9).Draw(w.t, "skip") == 0 {
		return
	}
	r := w.drawReplica()
	client := rapid.SampledFrom(allClients).Draw(w.t, "client")
	nominal := rapid.SampledFrom([]int{2, 5, longestTTL}).Draw(w.t, "ttl")
	g := code.Grant{
		IssuedAt: w.now, Nominal: time.Duration(nominal) * time.Second,
		Lifetime: time.Duration(rapid.IntRange(1, nominal).Draw(w.t, "lifetime")) * time.Second,
		Client:   code.DigestOf(client), Role: code.DigestOf("reader"), Subject: "somebody",
	}
	text, err := w.seals(r).Seal(g, code.Binding{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.codes = append(w.codes, &sealed{text: text, grant: g, client: client, epoch: r.epoch})
}

func (w *world) drawReplica() *replica {
	return w.replicas[min(1, rapid.IntRange(0, 4).Draw(w.t, "replica")/4)]
}

// drawCode prefers recent ones, and those that were accepted before.
func (w *world) drawCode() *sealed {
	if len(w.codes) == 0 {
		w.mint()
	}
	from := w.codes[max(0, len(w.codes)-12):]
	if rapid.Bool().Draw(w.t, "again") {
		if used := slices.DeleteFunc(slices.Clone(w.codes), func(c *sealed) bool { return c.accepted == 0 }); len(used) > 0 {
			from = used[max(0, len(used)-12):]
		}
	}
	return rapid.SampledFrom(from).Draw(w.t, "code")
}

// present is what an endpoint does with a code: open, check its life, consume.
func (w *world) present(r *replica, text string) error {
	opened, err := w.seals(r).Open(text, code.Binding{})
	if err != nil {
		return err
	}
	if err := opened.Live(time.UnixMilli(w.now), 0); err != nil {
		return err
	}
	client := ""
	for _, c := range allClients {
		if code.DigestOf(c) == opened.Client {
			client = c
		}
	}
	return r.guard.Consume(w.t.Context(), replay.Use{
		Client: client, Nonce: opened.Nonce, Expiry: opened.NominalExpiry(),
		Epoch: r.epoch,
	})
}

func (w *world) redeem() {
	w.redeemAt(w.drawReplica(), w.drawCode())
}

func (w *world) redeemAt(r *replica, c *sealed) {
	must := w.mustAccept(r, c)
	switch err := w.present(r, c.text); {
	case err == nil:
		w.accepted(r, c)
	case must:
		w.t.Fatalf("the first redemption was refused: %v", err)
	}
}

func (w *world) accepted(r *replica, c *sealed) {
	if c.accepted++; c.accepted > 1 {
		w.t.Fatal("a code was accepted twice")
	}
	m, present := r.clients[c.client]
	if !present {
		w.t.Fatal("a code of a client that is gone was accepted")
	}
	if m.recent(w.now) >= r.capacity {
		m.threshold = max(r.highest, m.threshold)
	}
	m.accepted = append(m.accepted, w.now)
	r.highest = max(r.highest, c.grant.NominalExpiry())
}

func (w *world) mustAccept(r *replica, c *sealed) bool {
	m, present := r.clients[c.client]
	if !present || !bytes.Equal(c.epoch, r.guard.Epoch()) || c.accepted > 0 || !r.steady ||
		c.grant.Live(time.UnixMilli(w.now), 0) != nil {
		return false
	}
	if w.shared != nil { // it has no floor but the store's clock, and a code must expire neither before it nor far from it
		left := time.Until(time.UnixMilli(c.grant.NominalExpiry()))
		return !w.shared.over[string(c.epoch)] && left > 0 && left < 9*time.Minute
	}
	return c.grant.NominalExpiry() > m.threshold
}

// redeemMutated presents what is nearly a code, or the same bytes in another spelling. If it is accepted, it is the
// code that was: that no such thing is accepted at all is for the tests of Open.
func (w *world) redeemMutated() {
	c := w.drawCode()
	at := rapid.IntRange(0, len(c.text)-1).Draw(w.t, "at")
	other := string(rapid.SampledFrom([]byte("ABCabc019-_")).Draw(w.t, "other"))
	text := rapid.SampledFrom([]string{
		c.text[:at] + other + c.text[at+1:],
		c.text[:at] + "\n" + c.text[at:],
		c.text + "=",
		c.text + "\r\n",
		strings.NewReplacer("-", "+", "_", "/").Replace(c.text),
		c.text[:at],
	}).Draw(w.t, "text")
	if text == c.text {
		return
	}
	if r := w.drawReplica(); w.present(r, text) == nil {
		w.accepted(r, c)
	}
}

func (w *world) tick() {
	w.now += rapid.SampledFrom([]int64{0, 1, 500, 1000, 2000, 5000, 9000}).Draw(w.t, "ms")
}

func (w *world) clockBack() {
	w.now -= rapid.SampledFrom([]int64{1, 1000, 5000, 20000}).Draw(w.t, "ms")
	for _, r := range w.replicas {
		r.steady = false
	}
}

// prune lets time pass until nothing lives, redeems fresh codes of every client, which prunes, and may set the clock
// back to where it was.
func (w *world) prune() {
	was := w.now
	w.now += (longestTTL + 1) * 1000
	for range rapid.IntRange(1, 3).Draw(w.t, "rounds") {
		for _, c := range slices.Sorted(maps.Keys(w.replicas[0].clients)) {
			g := code.Grant{
				IssuedAt: w.now, Nominal: time.Second, Lifetime: time.Second, Client: code.DigestOf(c),
				Role: code.DigestOf("r"), Subject: "s",
			}
			text, err := w.seals(w.replicas[0]).Seal(g, code.Binding{})
			if err != nil {
				w.t.Fatal(err)
			}
			fresh := &sealed{text: text, grant: g, client: c, epoch: w.replicas[0].epoch}
			w.redeemAt(w.replicas[0], fresh)
		}
	}
	if rapid.Bool().Draw(w.t, "and back") {
		w.now = was
		for _, r := range w.replicas {
			r.steady = false
		}
	}
}

func (w *world) resize() {
	r := w.replicas[0]
	clients := []string{}
	for _, c := range allClients {
		if _, ok := r.clients[c]; ok {
			clients = append(clients, c)
		}
	}
	capacity := max(1, rapid.IntRange(1, 4).Draw(w.t, "share")*len(clients))
	w.reconfigure(r, clients, capacity)
}

// reload drops and adds clients; those it drops are back in the next reload, more often than not.
func (w *world) reload() {
	r := w.replicas[0]
	clients, capacity := w.drawConfig()
	w.reconfigure(r, clients, capacity)
}

func (w *world) crash() {
	w.restart(rapid.IntRange(0, 1).Draw(w.t, "which"))
}

// A code is accepted at most once, ever, whatever happens. Without a restart, below capacity and with a steady clock
// its first redemption succeeds.
func TestPropertyOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: 1_700_000_000_000, secret: []byte(strings.Repeat("s", 32))}
		w.play(map[string]func(){})
	})
}

// play begins two replicas and does what comes to mind, these setbacks among it.
func (w *world) play(setbacks map[string]func()) {
	w.restart(0)
	w.restart(1)
	commands := map[string]func(){
		"mint": w.mint, "mint another": w.mint, "redeem": w.redeem, "redeem another": w.redeem, "redeem a third": w.redeem,
		"redeem again": w.redeem, "redeem mutated": w.redeemMutated, "tick": w.tick, "clock back": w.clockBack,
		"prune": w.prune, "resize": w.resize, "reload": w.reload, "crash": w.crash,
	}
	maps.Copy(commands, setbacks)
	names := slices.Sorted(maps.Keys(commands))
	// Some worlds have no setbacks: in those the first redemption must succeed, and so the test can tell.
	if rapid.Bool().Draw(w.t, "calm") {
		names = slices.DeleteFunc(names, func(n string) bool {
			return n == "clock back" || n == "crash" || n == "prune" || setbacks[n] != nil
		})
	}
	for range rapid.IntRange(40, 120).Draw(w.t, "length") {
		commands[rapid.SampledFrom(names).Draw(w.t, "command")]()
	}
}

// One day of a busy client, with the clock at real speed: nothing that was accepted is ever accepted again, and the
// client, which stays below its capacity, is never refused.
func TestPropertyBusyDay(t *testing.T) {
	t.Parallel()
	const ttl, perSecond, seconds = 60, 3, 3600
	now := int64(1_700_000_000_000)
	guard, err := replay.NewMemory(replay.Options{
		Clients: []string{"a"}, Capacity: ttl*perSecond + 1, Clock: func() time.Time { return time.UnixMilli(now) },
	})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := code.New(code.Options{
		Issuer: "x", Secrets: [][]byte{[]byte(strings.Repeat("s", 32))},
		Epoch: guard.Epoch(),
	})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var waiting, done []*code.Opened
	consume := func(o *code.Opened) error {
		return guard.Consume(t.Context(), replay.Use{Client: "a", Nonce: o.Nonce, Expiry: o.NominalExpiry()})
	}
	for range perSecond * seconds {
		now += 1000 / perSecond
		text, err := sealer.Seal(code.Grant{
			IssuedAt: now, Lifetime: ttl * time.Second, Nominal: ttl * time.Second,
			Subject: "s",
		}, code.Binding{})
		if err != nil {
			t.Fatal(err)
		}
		o, err := sealer.Open(text, code.Binding{})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, o)
		// About the 30th of those that wait is redeemed: each waits for some 10 s, in no order.
		if len(waiting) > 30 {
			i := random.IntN(len(waiting))
			o := waiting[i]
			waiting = slices.Delete(waiting, i, i+1)
			if o.Live(time.UnixMilli(now), 0) == nil {
				if err := consume(o); err != nil {
					t.Fatalf("first redemption: %v", err)
				}
				done = append(done, o)
			}
		}
		if len(done) > 0 {
			o := done[len(done)-1-min(len(done)-1, random.IntN(400))]
			if err := consume(o); refusal.Of(err) != refusal.CodeUsed && refusal.Of(err) != refusal.CodeBelowFloor {
				t.Fatalf("second redemption: %v", err)
			}
		}
	}
	if len(done) < perSecond*seconds/2 {
		t.Errorf("only %d were redeemed", len(done))
	}
}
