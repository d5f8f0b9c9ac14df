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
)

// TestDiffAgreesWithTheGate: for random pairs of configurations, a request of anybody is decided otherwise if and only
// if the diff says so. What it lists is shown by the request that it names, and of 100,000 random requests none is
// decided otherwise that it does not list. JOTGATE_CAMPAIGN makes it ten million.
func TestDiffAgreesWithTheGate(t *testing.T) {
	t.Parallel()
	const requests, shards = 250, 4
	pairs := 400
	if raceEnabled { // `make properties` has the others
		pairs = 20
	}
	if os.Getenv("JOTGATE_CAMPAIGN") != "" {
		pairs = 40_000
	}
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			differ, listed := 0, 0
			for seed := shard; seed < pairs; seed += shards {
				d, l := agree(t, seed, requests)
				if differ, listed = differ+d, listed+l; t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			if differ < pairs/shards || listed < pairs/shards {
				t.Errorf("of %d requests %d are decided otherwise, by %d changes: the generator finds too few",
					pairs/shards*requests, differ, listed)
			}
		})
	}
}

// agree compares one random pair, and returns how many requests were decided otherwise, and how many changes are
// listed.
func agree(t *testing.T, seed, requests int) (differ, listed int) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(seed), 20))
	g := generator{random}
	before, after := g.config(), ""
	if after = g.config(); random.IntN(2) == 0 {
		after = g.edited(before)
	}
	d, err := NewDiff(parsed(t, before), parsed(t, after), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	tables := d.tables()
	changes := d.Changes()
	for _, c := range changes {
		if c.Setting == "" {
			listed++
			tables.shown(t, c, before, after)
		}
	}
	for range requests {
		if tables.agrees(t, g, changes, before, after) {
			differ++
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return differ, listed
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
	if a, b := t.old.allows(p, h.bearer(0)), t.fresh.allows(p, h.bearer(1)); a != !c.Opens || b != c.Opens {
		tb.Errorf("%+v: before %v, after %v\n%s---\n%s", c, a, b, before, after)
	}
}

// agrees asks both gates a random request, and reports whether they decide it otherwise, which the changes must say.
func (t *tables) agrees(tb testing.TB, g generator, changes []Change, before, after string) bool {
	h := t.holders[g.IntN(len(t.holders))]
	p := g.request(t.methods)
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
			(c.Tenants == nil || slices.Contains(c.Tenants, tenant) || slices.Contains(c.Tenants, "other tenants") ||
				slices.Contains(c.Tenants, "its own tenant"))
	}) {
		tb.Errorf("%s of %s: before %v %s, after %v %s, which no change says: %+v\n%s---\n%s",
			p, h.name, was, a.Detail, is, b.Detail, changes, before, after)
	}
	return true
}

// A generator makes small configurations whose routes overlap each other, and requests that meet them.
type generator struct{ *rand.Rand }

func (g generator) one(words ...string) string { return words[g.IntN(len(words))] }

func (g generator) path() string {
	path, names := "", []string{"{x}", "{y}", "{z}"}
	for i := range 1 + g.IntN(3) {
		path += "/" + g.one("a", "b", "acme", names[i], names[i])
	}
	return path + g.one("", "/", "/")
}

func (g generator) route(path string) string {
	text := "  - {path: \"" + path + "\", upstream: \"http://127.0.0.1:1\""
	host := g.one("", "", "h.example", "{t}.example")
	if host != "" {
		text += ", hosts: [\"" + host + "\"]"
	}
	if g.IntN(3) == 0 {
		text += ", methods: [" + g.one("GET", "PUT", "GET, DELETE") + "]"
	}
	if g.IntN(12) == 0 {
		text += ", insecure_allow: [trailing_slash]"
	}
	places := []string{
		"tenant: acme", "tenant: a", "global: true", "tenant_from: header.X-Team", "tenant_from: query.team",
	}
	for _, name := range []string{"x", "y", "z"} {
		if strings.Contains(path, "{"+name+"}") {
			places = append(places, "tenant_from: path."+name, "tenant_from: path."+name)
		}
	}
	if strings.Contains(host, "{") {
		places = append(places, "tenant_from: host.t")
	}
	switch g.IntN(8) {
	case 0:
		return text + ", public: true}\n"
	case 1:
		return text + ", require: optional}\n"
	case 2:
		return text + ", require: authenticated}\n"
	}
	return text + ", require: {" + g.one(places...) + ", action: " + g.one("READ", "WRITE") + "}}\n"
}

func (g generator) permissions(templated bool) string {
	tenants := []string{"acme", "b", "zed", `"*"`}
	if templated {
		tenants = append(tenants, `"{tenant}"`, `"{tenant}"`)
	}
	g.Shuffle(len(tenants), func(i, j int) { tenants[i], tenants[j] = tenants[j], tenants[i] })
	var all []string
	some := tenants[:1+g.IntN(2)]
	rank := map[string]int{`"{tenant}"`: 1, `"*"`: 2} // the first that matches decides
	slices.SortFunc(some, func(a, b string) int { return cmp.Compare(rank[a], rank[b]) })
	for _, tenant := range slices.Compact(some) {
		all = append(all, "{tenant: "+tenant+", actions: ["+g.one("READ", "WRITE", "READ, WRITE", `"*"`)+"]}")
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (g generator) config() string {
	text := "version: 1\nissuer:\n  url: http://shop\n  keys: [{file: k.pem, create: true}]\n  clients:\n"
	for _, id := range []string{"web", "ops"} {
		text += "    - {id: " + id + ", permissions: " + g.permissions(false) + ", delegate: " + g.permissions(false) + "}\n"
	}
	text += "  users:\n    - {id: 6ba7b810-9dad-11d1-80b4-00c04fd430c8, role: fixed}\n"
	text += "roles:\n  fixed: " + g.permissions(false) + "\n  given: " + g.permissions(true) + "\n"
	text += "trusted_issuers:\n  - {issuer: https://kc.example, jwks_url: https://kc.example/keys, audiences: [api], " +
		"permissions: " + g.permissions(false) + "}\n"
	if g.IntN(4) == 0 {
		text += "tenant_pattern: \"" + g.one("[a-z]{1,4}", "[a-z]{1,4}|[A-Z]{3}", "[a-z-]{1,12}") + "\"\n"
	}
	text += "routes:\n  - {path: /b/, require: authenticated, upstream: \"http://127.0.0.1:1\"}\n"
	for range 2 + g.IntN(5) {
		text = g.with(text)
	}
	return text
}

// with adds a route, unless it conflicts with another.
func (g generator) with(text string) string {
	for range 20 {
		longer := text + g.route(g.path())
		if _, err := parse(longer); err == nil {
			return longer
		}
	}
	return text
}

// edited changes one thing: most changes of people are small.
func (g generator) edited(text string) string {
	lines := strings.SplitAfter(text, "\n")
	first := slices.Index(lines, "routes:\n") + 1
	switch i := first + g.IntN(max(1, len(lines)-first-1)); g.IntN(4) {
	case 0:
		return g.with(text)
	case 1:
		if len(lines)-first > 3 {
			lines = slices.Delete(lines, i, i+1)
		}
	case 2:
		lines[i] = strings.NewReplacer("READ", "WRITE", "WRITE", "READ", "require: authenticated", "public: true").
			Replace(lines[i])
	default:
		i = g.IntN(first)
		lines[i] = strings.NewReplacer("[READ]", "[READ, WRITE]", "tenant: zed", "tenant: b").Replace(lines[i])
	}
	if _, err := parse(strings.Join(lines, "")); err != nil {
		return g.with(text)
	}
	return strings.Join(lines, "")
}

func (g generator) request(methods []string) *probe {
	word := func() string { return g.one("a", "b", "acme", "acme", "zed", "other", "abc", "some-one", "ABC") }
	p := &probe{method: methods[g.IntN(len(methods))], header: http.Header{"X-Team": {word()}}}
	p.url = "https://" + g.one("h.example", "acme.example", "zed.example", "elsewhere.test")
	for range 1 + g.IntN(4) {
		p.url += "/" + word()
	}
	p.url += g.one("", "/") + "?team=" + word()
	return p
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
