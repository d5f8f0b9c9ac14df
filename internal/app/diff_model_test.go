package app

import (
	"cmp"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/proxy"
)

// TestDiffAgreesWithTheGate: for random pairs of configurations, a request of anybody is decided otherwise if and only
// if the diff says so. What it lists is shown by the request that it names, and of 100,000 random requests none is
// decided otherwise that it does not list: 1,800 pairs are asked 56 requests each, half of them by what a holder of
// either configuration has, half by the claims of a token. JOTGATE_CAMPAIGN makes it ten million.
func TestDiffAgreesWithTheGate(t *testing.T) {
	t.Parallel()
	const requests, shards = 56, 4
	clusters := 60   // of 30 pairs each
	if raceEnabled { // `make properties` has the others
		clusters = 4
	}
	if os.Getenv("JOTGATE_CAMPAIGN") != "" {
		clusters = 6_000
	}
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			var all agreement
			for seed := shard; seed < clusters; seed += shards {
				if all.cluster(t, seed, requests); t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			t.Logf("%+v", all)
			few := all.pairs / 2
			if raceEnabled { // a few clusters say nothing about the generator
				few = 0
			}
			if all.requests < all.pairs*requests || all.differ < few || all.listed < few ||
				all.tokens < few/8 || all.told < few/8 {
				t.Errorf("%+v: the generator finds too few", all)
			}
		})
	}
}

// An agreement counts what was compared.
type agreement struct {
	pairs, requests int
	listed          int // changes
	differ          int // holders' requests that are decided otherwise
	tokens          int // tokens' requests that are decided otherwise
	told            int // those of them that a setting alone tells
}

// cluster compares each two of a few random configurations, some of which are one change away from each other.
func (all *agreement) cluster(t *testing.T, seed, requests int) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(seed), 20))
	g := generator{Rand: random}
	texts := []string{g.config(), g.config()}
	for _, of := range []int{0, 0, 1, 2} {
		texts = append(texts, g.edited(texts[of]))
	}
	judges := make([]*Judge, len(texts))
	for i, text := range texts {
		j, err := NewJudge(parsed(t, text), time.Now)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		judges[i] = j
	}
	for i, old := range judges {
		for k, fresh := range judges {
			if i != k && !t.Failed() {
				all.pair(t, g, &Diff{old, fresh}, requests, texts[i], texts[k])
			}
		}
	}
	for _, j := range judges {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (all *agreement) pair(t *testing.T, g generator, d *Diff, requests int, before, after string) {
	t.Helper()
	all.pairs++
	tables := d.tables()
	changes := d.Changes()
	for _, c := range changes {
		if c.Setting == "" {
			all.listed++
			tables.shown(t, c, before, after)
		}
	}
	for i := range requests {
		all.requests++
		if i%2 == 0 {
			if tables.agrees(t, g, changes, before, after) {
				all.differ++
			}
			continue
		}
		differs, told := tables.tells(t, g, changes, before, after)
		if differs {
			all.tokens++
		}
		if told {
			all.told++
		}
	}
}

func parse(text string) (*config.Config, error) {
	return config.Parse("x.yaml", []byte(text), config.Options{ReadFile: func(path string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}})
}

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// shown asks both gates the request that a change names.
func (t *tables) shown(tb testing.TB, c Change, before, after string) {
	words := strings.Split(c.Example, " ")
	p := &probe{method: words[0], url: words[1], header: http.Header{}}
	for i := 2; i+1 < len(words); i += 2 {
		p.header.Set(strings.TrimSuffix(words[i], ":"), words[i+1])
	}
	i := slices.IndexFunc(t.holders, func(h *holder) bool { return h.name == c.Holder })
	h := t.holders[i]
	listeners := c.Listeners
	if listeners == nil {
		listeners = t.listeners
	}
	if !slices.ContainsFunc(listeners, func(name string) bool {
		p.listener = name
		return t.old.allows(p, h.bearer(0)) == !c.Opens && t.fresh.allows(p, h.bearer(1)) == c.Opens
	}) {
		tb.Errorf("%+v is not what the gates do\n%s---\n%s", c, before, after)
	}
}

// agrees asks both gates a random request, and reports whether they decide it otherwise, which the changes must say.
func (t *tables) agrees(tb testing.TB, g generator, changes []Change, before, after string) bool {
	h := t.holders[g.IntN(len(t.holders))]
	p := g.request(t.methods)
	p.listener = g.one(t.listeners...)
	a, b := t.old.trace(p, h.bearer(0)), t.fresh.trace(p, h.bearer(1))
	was, is := a.Allowed && !a.Own, b.Allowed && !b.Own
	if was == is {
		return false
	}
	r := b.Chosen
	if was {
		r = a.Chosen
	}
	tenant := cmp.Or(b.Tenant, a.Tenant)
	if was {
		tenant = cmp.Or(a.Tenant, b.Tenant)
	}
	if !slices.ContainsFunc(changes, func(c Change) bool {
		base, _, instance := strings.Cut(h.name, ofTenant)
		who := c.Holder == h.name || c.Holder == anonymous || c.Holder == anybody && h.name != anonymous ||
			instance && c.Holder == base+ofATenant
		return c.Setting == "" && c.Opens == is && who && c.Route == labelOf(r) &&
			(c.Methods == nil || slices.Contains(c.Methods, p.method)) &&
			(c.Listeners == nil || slices.Contains(c.Listeners, p.listener)) &&
			(c.Tenants == nil || slices.Contains(c.Tenants, tenant) || slices.Contains(c.Tenants, "other tenants") ||
				slices.Contains(c.Tenants, "its own tenant"))
	}) {
		tb.Errorf("%s of %s: before %v %s, after %v %s, which no change says: %+v\n%s---\n%s",
			p, h.name, was, a.Detail, is, b.Detail, changes, before, after)
	}
	return true
}

// tells asks both gates the request of a random token, by its claims, and reports whether they decide it otherwise,
// which a change or a setting must say, and whether a setting alone says it.
func (t *tables) tells(tb testing.TB, g generator, changes []Change, before, after string) (differs, bySetting bool) {
	p, claims := g.request(t.methods), g.claims()
	p.listener = g.one(t.listeners...)
	now := time.Now()
	a := t.old.trace(p, proxy.Bearer{Claims: t.old.snap.fill(claims, now), Brief: true})
	b := t.fresh.trace(p, proxy.Bearer{Claims: t.fresh.snap.fill(claims, now), Brief: true})
	was, is := a.Allowed && !a.Own, b.Allowed && !b.Own
	if was == is {
		return false, false
	}
	r := b.Chosen
	if was {
		r = a.Chosen
	}
	says := func(c Change) bool {
		return c.Opens == is && c.Setting == "" && c.Route == labelOf(r) &&
			(c.Methods == nil || slices.Contains(c.Methods, p.method)) &&
			(c.Listeners == nil || slices.Contains(c.Listeners, p.listener))
	}
	if slices.ContainsFunc(changes, says) {
		return true, false
	}
	if !slices.ContainsFunc(changes, func(c Change) bool { return c.Opens == is && c.Setting != "" }) {
		tb.Errorf("%s at %q with %s: before %v %s, after %v %s, which nothing says: %+v\n%s---\n%s",
			p, p.listener, claims, was, a.Detail, is, b.Detail, changes, before, after)
	}
	return true, true
}

// TestSamplesSuitThePattern: what tenants look like decides which samples stand for those that no configuration names.
func TestSamplesSuitThePattern(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"[A-Za-z0-9._~-]{1,64}", "[A-Z]{3}", "t-[0-9a-f]{8}(-eu|-us)?", "(a|b)+x?"} {
		text := "version: 1\ntenant_pattern: \"" + pattern + "\"\nroutes: [{path: /, public: true, upstream: \"http://a:1\"}]\n"
		d, err := NewDiff(parsed(t, text), parsed(t, text), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		tables := d.tables()
		if len(tables.samples) != 2 {
			t.Errorf("%s: %q", pattern, tables.samples)
		}
		for _, s := range tables.samples {
			if !tables.patterns[0].MatchString(s) {
				t.Errorf("%s: %q", pattern, s)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
