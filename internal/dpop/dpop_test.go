package dpop_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

const (
	target = "https://api.example/orders/7"
	bearer = "the.access.token"
)

// A desk is a Checker with a clock to turn.
type desk struct {
	*dpop.Checker
	t     testing.TB
	now   atomic.Int64 // ms
	state *dpop.State
}

func (d *desk) clock() time.Time { return time.UnixMilli(d.now.Load()) }

func newDesk(t testing.TB, change func(*dpop.Options)) *desk {
	t.Helper()
	d := &desk{t: t}
	d.now.Store(1_700_000_000_500)
	var err error
	if d.state, err = dpop.NewState(dpop.LeastCapacity, time.Minute, d.clock); err != nil {
		t.Fatal(err)
	}
	d.now.Add(10_000)
	d.configure(change)
	return d
}

func (d *desk) configure(change func(*dpop.Options)) {
	d.t.Helper()
	o := dpop.Options{
		MaxAge: time.Minute, Leeway: 5 * time.Second, NonceTTL: 5 * time.Minute, State: d.state,
		Clock: d.clock,
	}
	if change != nil {
		change(&o)
	}
	var err error
	if d.Checker, err = dpop.New(o); err != nil {
		d.t.Fatal(err)
	}
}

// request is the one that the good proofs are for.
func request(key string) *dpop.Request {
	return &dpop.Request{Method: "GET", Scheme: "https", Host: "api.example", Path: "/orders/7", Token: bearer, Key: key}
}

func (d *desk) judge(q *dpop.Request, proofs ...string) error {
	p, err := d.Read(proofs, q)
	if err != nil {
		return err
	}
	if err := p.Verify(); err != nil {
		return err
	}
	return p.Spend(context.Background())
}

func claims(pairs ...any) dpoptest.Change {
	c := dpoptest.Change{Claims: map[string]any{}}
	for i := 0; i < len(pairs); i += 2 {
		c.Claims[pairs[i].(string)] = pairs[i+1]
	}
	return c
}

func header(pairs ...any) dpoptest.Change { return dpoptest.Change{Header: claims(pairs...).Claims} }

func TestEveryAlgorithm(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for _, alg := range jose.ProofAlgorithms() {
		key := dpoptest.New(t, alg, 0)
		proof := key.Proof("GET", target, d.clock(), dpoptest.For(bearer))
		if err := d.judge(request(key.Thumbprint), proof); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if err := d.judge(request(key.Thumbprint), proof); refusal.Of(err) != refusal.ProofUsed {
			t.Errorf("%s, again: %v", alg, err)
		}
		// Ours and the field's own way of making a thumbprint agree.
		text, err := json.Marshal(key.JWK)
		if err != nil {
			t.Fatal(err)
		}
		if set, _, err := jose.ParseKeySet(text); err != nil || set.Keys()[0].ID() != key.Thumbprint {
			t.Errorf("%s: %v, thumbprint %s", alg, err, key.Thumbprint)
		}
	}
}

// TestProofAttacks: each is refused for its own reason, and none is spent.
func TestProofAttacks(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key, other, weak := dpoptest.New(t, "ES256", 0), dpoptest.New(t, "ES256", 0), dpoptest.New(t, "RS256", 0)
	ath := dpoptest.For(bearer)
	make := func(changes ...dpoptest.Change) string {
		return key.Proof("GET", target, d.clock(), append([]dpoptest.Change{ath}, changes...)...)
	}
	jwk := func(change func(map[string]any)) dpoptest.Change {
		k := maps.Clone(key.JWK)
		change(k)
		return header("jwk", k)
	}
	good := make()
	head, body, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(body, ".")
	public, err := json.Marshal(key.JWK)
	if err != nil {
		t.Fatal(err)
	}
	text := func(alg string) string { return fmt.Sprintf(`{"typ":"dpop+jwt","alg":%q,"jwk":%s}`, alg, public) }
	payload := fmt.Sprintf(`{"jti":"x","htm":"GET","htu":%q,"iat":%d,"ath":"x"}`, target, d.clock().Unix())
	ago := func(age time.Duration) dpoptest.Change { return claims("iat", d.clock().Add(-age).Unix()) }
	for name, c := range map[string]struct {
		proofs []string
		want   refusal.Reason
	}{
		"none":               {nil, refusal.ProofMissing},
		"two":                {[]string{make(), make()}, refusal.ProofMalformed},
		"two in one":         {[]string{make() + ", " + make()}, refusal.ProofMalformed},
		"empty":              {[]string{""}, refusal.ProofMalformed},
		"two segments":       {[]string{head + "." + body}, refusal.ProofMalformed},
		"no signature":       {[]string{head + "." + body + "."}, refusal.ProofMalformed},
		"padding":            {[]string{good + "="}, refusal.ProofMalformed},
		"oversized":          {[]string{make(claims("x", strings.Repeat("x", 4096)))}, refusal.ProofMalformed},
		"typ JWT":            {[]string{make(header("typ", "JWT"))}, refusal.ProofMalformed},
		"typ in capitals":    {[]string{make(header("typ", "DPOP+JWT"))}, refusal.ProofMalformed},
		"no typ":             {[]string{make(header("typ", nil))}, refusal.ProofMalformed},
		"alg none":           {[]string{key.Sign(text("none"), payload)}, refusal.ProofMalformed},
		"HS256 with the jwk": {[]string{dpoptest.HMAC(text("HS256"), payload, public)}, refusal.ProofMalformed},
		"ES384":              {[]string{make(header("alg", "ES384"))}, refusal.ProofMalformed},
		"alg of another key": {[]string{make(header("alg", "RS256"))}, refusal.ProofMalformed},
		"crit":               {[]string{make(header("crit", []string{"x"}))}, refusal.ProofMalformed},
		"jku":                {[]string{make(header("jku", "https://evil.example"))}, refusal.ProofMalformed},
		"x5c":                {[]string{make(header("x5c", []string{"x"}))}, refusal.ProofMalformed},
		"no jwk":             {[]string{make(header("jwk", nil))}, refusal.ProofMalformed},
		"jwk twice": {[]string{key.Sign(strings.Replace(text("ES256"), `"jwk":`, `"jwk":{},"jwk":`, 1),
			payload)}, refusal.ProofMalformed},
		"jwk as text": {[]string{make(header("jwk", "x"))}, refusal.ProofMalformed},
		"private jwk": {
			[]string{make(jwk(func(k map[string]any) { k["d"] = "AAAA" }))},
			refusal.ProofMalformed,
		},
		"private jwk, one prime": {
			[]string{make(jwk(func(k map[string]any) { k["p"] = "AAAA" }))},
			refusal.ProofMalformed,
		},
		"symmetric jwk": {
			[]string{make(header("jwk", map[string]any{"kty": "oct", "k": "AAAA"}))},
			refusal.ProofMalformed,
		},
		"symmetric jwk without k": {[]string{make(header("jwk", map[string]any{"kty": "oct"}))}, refusal.ProofMalformed},
		"jwk of another curve": {
			[]string{make(jwk(func(k map[string]any) { k["crv"] = "P-384" }))},
			refusal.ProofMalformed,
		},
		"jwk of another alg": {
			[]string{make(jwk(func(k map[string]any) { k["alg"] = "PS256" }))},
			refusal.ProofMalformed,
		},
		"jwk to encrypt with": {
			[]string{make(jwk(func(k map[string]any) { k["use"] = "enc" }))},
			refusal.ProofMalformed,
		},
		"point off the curve": {
			[]string{make(jwk(func(k map[string]any) { k["x"] = k["y"] }))},
			refusal.ProofMalformed,
		},
		"point at infinity": {[]string{make(jwk(func(k map[string]any) {
			k["x"] = strings.Repeat("A",
				43)
			k["y"] = k["x"]
		}))}, refusal.ProofMalformed},
		"coordinate of 31 bytes": {
			[]string{make(jwk(func(k map[string]any) { k["x"] = "AAAA" }))},
			refusal.ProofMalformed,
		},
		"low-order Ed25519": {[]string{make(header("alg", "EdDSA", "jwk",
			map[string]any{"kty": "OKP", "crv": "Ed25519", "x": strings.Repeat("A", 43)}))}, refusal.ProofMalformed},
		"X25519": {[]string{make(header("alg", "EdDSA", "jwk",
			map[string]any{"kty": "OKP", "crv": "X25519", "x": strings.Repeat("A", 43)}))}, refusal.ProofMalformed},
		"RSA of 1024 bits": {[]string{make(header("alg", "RS256", "jwk",
			map[string]any{"kty": "RSA", "e": "AQAB", "n": weak.JWK["n"].(string)[:171]}))}, refusal.ProofMalformed},
		"RSA of 4104 bits": {[]string{make(header("alg", "RS256", "jwk",
			map[string]any{"kty": "RSA", "e": "AQAB", "n": "AQ" + strings.Repeat("A", 681) + "B"}))}, refusal.ProofMalformed},
		"RSA with exponent 1": {[]string{make(header("alg", "RS256", "jwk",
			map[string]any{"kty": "RSA", "e": "AQ", "n": weak.JWK["n"]}))}, refusal.ProofMalformed},
		"RSA with a zero in front": {[]string{make(header("alg", "RS256", "jwk",
			map[string]any{"kty": "RSA", "e": "AAEAAQ", "n": weak.JWK["n"]}))}, refusal.ProofMalformed},
		"no jti":                {[]string{make(claims("jti", nil))}, refusal.ProofMalformed},
		"empty jti":             {[]string{make(claims("jti", ""))}, refusal.ProofMalformed},
		"long jti":              {[]string{make(claims("jti", strings.Repeat("x", 257)))}, refusal.ProofMalformed},
		"jti is a number":       {[]string{make(claims("jti", 7))}, refusal.ProofMalformed},
		"no htm":                {[]string{make(claims("htm", nil))}, refusal.ProofMalformed},
		"no htu":                {[]string{make(claims("htu", nil))}, refusal.ProofMalformed},
		"no iat":                {[]string{make(claims("iat", nil))}, refusal.ProofMalformed},
		"iat is text":           {[]string{make(claims("iat", "1700000000"))}, refusal.ProofMalformed},
		"htm of another method": {[]string{make(claims("htm", "POST"))}, refusal.ProofMismatch},
		"htm in small letters":  {[]string{make(claims("htm", "get"))}, refusal.ProofMismatch},
		"htu of another path":   {[]string{make(claims("htu", "https://api.example/orders/8"))}, refusal.ProofMismatch},
		"htu of the path above": {[]string{make(claims("htu", "https://api.example/orders/"))}, refusal.ProofMismatch},
		"htu with dot segments": {
			[]string{make(claims("htu", "https://api.example/x/../orders/7"))},
			refusal.ProofMismatch,
		},
		"htu with an escaped slash": {
			[]string{make(claims("htu", "https://api.example/orders%2F7"))},
			refusal.ProofMismatch,
		},
		"htu of another host": {
			[]string{make(claims("htu", "https://evil.example/orders/7"))},
			refusal.ProofMismatch,
		},
		"htu of another port": {
			[]string{make(claims("htu", "https://api.example:8443/orders/7"))},
			refusal.ProofMismatch,
		},
		"htu of http": {[]string{make(claims("htu", "http://api.example/orders/7"))}, refusal.ProofMismatch},
		"htu of ws":   {[]string{make(claims("htu", "wss://api.example/orders/7"))}, refusal.ProofMismatch},
		"htu with a user": {
			[]string{make(claims("htu", "https://api.example@evil.example/orders/7"))},
			refusal.ProofMismatch,
		},
		"htu with a user before ours": {
			[]string{make(claims("htu", "https://evil@api.example/orders/7"))},
			refusal.ProofMismatch,
		},
		"htu is a path": {[]string{make(claims("htu", "/orders/7"))}, refusal.ProofMismatch},
		"of the token endpoint": {[]string{make(claims("htm", "POST", "htu", "https://gate.example/oauth2/token", "ath",
			nil))}, refusal.ProofMismatch},
		"no ath":               {[]string{make(claims("ath", nil))}, refusal.ProofMismatch},
		"ath of another token": {[]string{make(dpoptest.For("another.access.token"))}, refusal.ProofMismatch},
		"ath with padding": {
			[]string{make(claims("ath", "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo="))},
			refusal.ProofMismatch,
		},
		"another key": {[]string{other.Proof("GET", target, d.clock(), ath)}, refusal.ProofKeyMismatch},
		"another key's signature": {
			[]string{other.Proof("GET", target, d.clock(), ath, header("jwk", key.JWK))},
			refusal.ProofSignatureInvalid,
		},
		"a signature of zeros": {
			[]string{head + "." + body + "." + strings.Repeat("A", 86)},
			refusal.ProofSignatureInvalid,
		},
		"another payload": {
			[]string{head + "." + strings.Split(make(), ".")[1] + "." + signature},
			refusal.ProofSignatureInvalid,
		},
		"a minute old":               {[]string{make(ago(time.Minute))}, refusal.ProofStale},
		"a day old":                  {[]string{make(ago(24 * time.Hour))}, refusal.ProofStale},
		"of the future":              {[]string{make(ago(-6 * time.Second))}, refusal.ProofStale},
		"expired by its own account": {[]string{make(claims("exp", d.clock().Unix()))}, refusal.ProofStale},
		"not yet by its own account": {[]string{make(claims("nbf", d.clock().Unix()+10))}, refusal.ProofStale},
	} {
		if err := d.judge(request(key.Thumbprint), c.proofs...); refusal.Of(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if err := d.judge(request(key.Thumbprint), good); err != nil {
		t.Errorf("after all that, a good one: %v", err)
	}
}

// TestSpellingsOfOneTarget: what RFC 3986 says is the same is the same, and nothing else is.
func TestSpellingsOfOneTarget(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "ES256", 0)
	for _, c := range []struct {
		scheme, host, path, htu string
		same                    bool
	}{
		{"https", "api.example", "/orders/7", "HTTPS://API.Example:443/orders/7", true},
		{"https", "API.example.:443", "/orders/7", "https://api.example/orders/7", true},
		{"https", "api.example", "/orders/7", "https://api.example/orders/7?x=1#y", true},
		{"https", "api.example", "/", "https://api.example", true},
		{"https", "api.example", "/", "https://api.example?x", true},
		{"https", "api.example", "/%7ea/%2f", "https://api.example/~a/%2F", true},
		{"https", "api.example", "/%41", "https://api.example/A", true},
		{"http", "[::1]:8080", "/x", "http://[0:0::1]:8080/x", true},
		{"http", "api.example", "/x", "http://api.example:80/x", true},
		{"http", "api.example", "/x", "http://api.example:443/x", false},
		{"https", "api.example", "/a", "https://api.example/A", false},
		{"https", "api.example", "/a/", "https://api.example/a", false},
		{"https", "api.example", "//a", "https://api.example/a", false},
		{"https", "api.example", "/a%2fb", "https://api.example/a/b", false},
		{"https", "api.example", "/a%3fb", "https://api.example/a?b", false},
		{"https", "api.example", "/%", "https://api.example/%", true},
		{"https", "api.example", "/%2", "https://api.example/%2", true},
		{"https", "a.example:x", "/a", "https://a.example/a", false},
		{"ftp", "a.example", "/a", "ftp://a.example/a", false},
		{"https", "", "/a", "https:///a", false},
	} {
		q := &dpop.Request{Method: "GET", Scheme: c.scheme, Host: c.host, Path: c.path}
		err := d.judge(q, key.Proof("GET", c.htu, d.clock()))
		if (err == nil) != c.same || err != nil && refusal.Of(err) != refusal.ProofMismatch {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestOriginsOfTheConfig: they replace what the request says of itself, but not what we know of ourselves.
func TestOriginsOfTheConfig(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *dpop.Options) { o.Origins = []string{"https://api.example", "https://www.example:8443"} })
	key := dpoptest.New(t, "EdDSA", 0)
	for _, c := range []struct {
		host, htu string
		known     bool
		want      refusal.Reason
	}{
		{"api.example", "https://api.example/x", false, ""},
		{"inner:8080", "https://api.example/x", false, ""},
		{"inner:8080", "https://www.example:8443/x", false, ""},
		{"inner:8080", "https://inner:8080/x", false, refusal.ProofMismatch},
		{"evil.example", "https://evil.example/x", false, refusal.ProofMismatch},
		{"gate.example", "https://gate.example/x", true, ""},
		{"gate.example", "https://api.example/x", true, ""},
	} {
		q := &dpop.Request{Method: "GET", Scheme: "https", Host: c.host, Path: "/x", Known: c.known}
		if err := d.judge(q, key.Proof("GET", c.htu, d.clock())); refusal.Of(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestProofOnceAmongMany: of many who present one proof at once, one is let in.
func TestProofOnceAmongMany(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "ES256", 0)
	proof := key.Proof("GET", target, d.clock(), dpoptest.For(bearer))
	var in atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			switch err := d.judge(request(key.Thumbprint), proof); refusal.Of(err) {
			case "":
				in.Add(1)
			case refusal.ProofUsed:
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d were let in", in.Load())
	}
}

// TestOneJtiOfTwoKeys: a jti is its key's own, so no client can spend another's.
func TestOneJtiOfTwoKeys(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for range 2 {
		key := dpoptest.New(t, "EdDSA", 0)
		if err := d.judge(request(key.Thumbprint), key.Proof("GET", target, d.clock(), dpoptest.For(bearer),
			claims("jti", "1"))); err != nil {
			t.Error(err)
		}
	}
}

// TestFloodNeverLetsAProofInTwice: with a memory that is full, old proofs are refused, and used ones stay so.
func TestFloodNeverLetsAProofInTwice(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "EdDSA", 0)
	make := func() string { return key.Proof("GET", target, d.clock(), dpoptest.For(bearer)) }
	first, unused := make(), make()
	if err := d.judge(request(key.Thumbprint), first); err != nil {
		t.Fatal(err)
	}
	for range dpop.LeastCapacity {
		d.now.Add(20)
		_ = d.judge(request(key.Thumbprint), make()) // some come too fast for so small a memory
	}
	for name, proof := range map[string]string{"used": first, "never used": unused} {
		if err := d.judge(request(key.Thumbprint), proof); refusal.Of(err) != refusal.ProofUsed {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.now.Add(1000)
	if err := d.judge(request(key.Thumbprint), make()); err != nil {
		t.Errorf("a new one: %v", err)
	}
}

// TestReloadThatLetsProofsGrowOlder: what was used and then too old is not let in again by a longer max_age.
func TestReloadThatLetsProofsGrowOlder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "EdDSA", 0)
	make := func() string { return key.Proof("GET", target, d.clock(), dpoptest.For(bearer)) }
	used := make()
	if err := d.judge(request(key.Thumbprint), used); err != nil {
		t.Fatal(err)
	}
	d.now.Add(90_000)
	for range 3 { // each prunes what is too old
		if err := d.judge(request(key.Thumbprint), make()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.state.Reconfigure(dpop.LeastCapacity, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	d.configure(func(o *dpop.Options) { o.MaxAge = 10 * time.Minute })
	if err := d.judge(request(key.Thumbprint), used); refusal.Of(err) != refusal.ProofUsed {
		t.Errorf("a used proof after the reload: %v", err)
	}
}

// TestAfterARestart: what may have been used before the process began needs a nonce of this process.
func TestAfterARestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "EdDSA", 0)
	before := d.Nonce()
	made := d.clock()
	d.now.Add(2000)
	var err error
	if d.state, err = dpop.NewState(dpop.LeastCapacity, time.Minute, d.clock); err != nil {
		t.Fatal(err)
	}
	d.configure(nil)
	old := func(changes ...dpoptest.Change) error {
		return d.judge(request(key.Thumbprint), key.Proof("GET", target, made, append(changes, dpoptest.For(bearer))...))
	}
	if err := old(); refusal.Of(err) != refusal.ProofNonce {
		t.Errorf("made before: %v", err)
	}
	if err := old(dpoptest.Nonce(before)); refusal.Of(err) != refusal.ProofNonce {
		t.Errorf("made before, with a nonce of before: %v", err)
	}
	if err := old(dpoptest.Nonce(d.Nonce())); err != nil {
		t.Errorf("by a slow clock, with a nonce of now: %v", err)
	}
	if err := d.judge(request(key.Thumbprint), key.Proof("GET", target, d.clock(), dpoptest.For(bearer))); err != nil {
		t.Errorf("made after: %v", err)
	}
}

// TestAheadOfItsTime: a proof by a clock that is ahead, within the leeway, is not accepted before its time has come: so
// no process that begins in between accepts it a second time, and a flood of such proofs never lifts the floor over
// now.
func TestAheadOfItsTime(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "ES256", 0)
	for name, change := range map[string]dpoptest.Change{
		"iat": {}, "nbf": claims("iat", d.clock().Unix(), "nbf", d.clock().Unix()+1),
	} {
		ahead := key.Proof("GET", target, d.clock().Add(time.Second), dpoptest.For(bearer), change)
		sent := time.Now()
		if err := d.judge(request(key.Thumbprint), ahead); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if until := d.clock().Truncate(time.Second).Add(time.Second).Sub(d.clock()); time.Since(sent) < until {
			t.Errorf("%s: accepted %v before its time", name, until-time.Since(sent))
		}
	}
	// The same proof at the next process, which begins when the time has come.
	ahead := key.Proof("GET", target, d.clock().Add(time.Second), dpoptest.For(bearer))
	if err := d.judge(request(key.Thumbprint), ahead); err != nil {
		t.Fatal(err)
	}
	d.now.Store(d.clock().Truncate(time.Second).Add(2 * time.Second).UnixMilli())
	var err error
	if d.state, err = dpop.NewState(dpop.LeastCapacity, time.Minute, d.clock); err != nil {
		t.Fatal(err)
	}
	d.configure(nil)
	if err := d.judge(request(key.Thumbprint), ahead); refusal.Of(err) != refusal.ProofNonce {
		t.Errorf("at the next process: %v", err)
	}
	if err := d.judge(request(key.Thumbprint), key.Proof("GET", target, d.clock(), dpoptest.For(bearer))); err != nil {
		t.Errorf("an honest client of a young process: %v", err)
	}
}

// TestFloodFromTheFuture: proofs by clocks that are ahead wait outside the memory of used ones, so that others go on
// meanwhile.
func TestFloodFromTheFuture(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	key := dpoptest.New(t, "EdDSA", 0)
	ctx, leave := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range 3 * dpop.LeastCapacity / 16 { // more than the share of one key holds
		proof, err := d.Read([]string{key.Proof("GET", target, d.clock().Add(5*time.Second), dpoptest.For(bearer))},
			request(key.Thumbprint))
		if err != nil {
			t.Fatal(err)
		}
		flood.Go(func() {
			if err := proof.Spend(ctx); refusal.Of(err) != refusal.ProofStale {
				t.Errorf("the flood: %v", err)
			}
		})
	}
	for i := range 20 {
		if err := d.judge(request(key.Thumbprint), key.Proof("GET", target, d.clock(), dpoptest.For(bearer))); err != nil {
			t.Fatalf("proof %d of now: %v", i, err)
		}
	}
	leave()
	flood.Wait()
}

func TestNonces(t *testing.T) {
	t.Parallel()
	secret := func(c byte) []byte { return []byte(strings.Repeat(string(c), dpop.LeastSecret)) }
	with := func(secrets ...[]byte) func(*dpop.Options) {
		return func(o *dpop.Options) { o.RequireNonce, o.NonceSecrets = true, secrets }
	}
	d := newDesk(t, with(secret('a'), secret('b')))
	key := dpoptest.New(t, "EdDSA", 0)
	ask := func(nonce string) (*dpop.Proof, error) {
		changes := []dpoptest.Change{dpoptest.For(bearer)}
		if nonce != "" {
			changes = append(changes, dpoptest.Nonce(nonce))
		}
		return d.Read([]string{key.Proof("GET", target, d.clock(), changes...)}, request(key.Thumbprint))
	}
	replica := newDesk(t, with(secret('b')))
	replica.now.Store(d.now.Load())
	stranger := newDesk(t, with(secret('c')))
	stranger.now.Store(d.now.Load())
	good := d.Nonce()
	forged := "B" + good[1:]
	for name, c := range map[string]struct {
		nonce string
		want  refusal.Reason
	}{
		"none":                 {"", refusal.ProofNonce},
		"good":                 {good, ""},
		"good, again":          {good, ""},
		"of the older secret":  {replica.Nonce(), ""},
		"of a stranger":        {stranger.Nonce(), refusal.ProofNonce},
		"another time":         {forged, refusal.ProofNonce},
		"cut":                  {good[:len(good)-1], refusal.ProofNonce},
		"longer":               {good + "A", refusal.ProofNonce},
		"another spelling":     {good[:len(good)-1] + string(good[len(good)-1]+1), refusal.ProofNonce},
		"a word":               {"nonce", refusal.ProofNonce},
		"longer than any ever": {strings.Repeat("A", 257), refusal.ProofMalformed},
	} {
		if _, err := ask(c.nonce); refusal.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := ask(good); err != nil || p.Nonce != "" {
		t.Errorf("a young nonce: %v, another is told: %q", err, p.Nonce)
	}
	d.now.Add(150_000)
	if p, err := ask(good); err != nil || p.Nonce == "" || p.Nonce == good {
		t.Errorf("half its life later: %v, %+v", err, p)
	}
	d.now.Add(149_999)
	if _, err := ask(good); err != nil {
		t.Errorf("in its last millisecond: %v", err)
	}
	d.now.Add(1)
	if _, err := ask(good); refusal.Of(err) != refusal.ProofNonce {
		t.Errorf("when it ended: %v", err)
	}
	d.now.Add(-310_000)
	if _, err := ask(good); refusal.Of(err) != refusal.ProofNonce {
		t.Errorf("of the future: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for name, change := range map[string]func(*dpop.Options){
		"no age":         func(o *dpop.Options) { o.MaxAge = 0 },
		"long age":       func(o *dpop.Options) { o.MaxAge = dpop.MostMaxAge + 1 },
		"no nonce":       func(o *dpop.Options) { o.NonceTTL = 0 },
		"long nonce":     func(o *dpop.Options) { o.NonceTTL = dpop.MostNonce + 1 },
		"long leeway":    func(o *dpop.Options) { o.Leeway = time.Hour },
		"no state":       func(o *dpop.Options) { o.State = nil },
		"short secret":   func(o *dpop.Options) { o.NonceSecrets = [][]byte{[]byte("short")} },
		"origin with no": func(o *dpop.Options) { o.Origins = []string{"api.example"} },
	} {
		o := dpop.Options{MaxAge: time.Minute, NonceTTL: time.Minute, State: d.state}
		change(&o)
		if _, err := dpop.New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := dpop.NewState(1, time.Minute, nil); err == nil {
		t.Error("a memory of one entry")
	}
}

// The example proofs of RFC 9449 (§5, figure 2; §7.1, figure 12), both by the key whose thumbprint is in §6.1, figure
// 8.
const (
	rfcTokenProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcRouteProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfcToken      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

func TestExamplesOfRFC9449(t *testing.T) {
	t.Parallel()
	d := &desk{t: t}
	d.now.Store(1562262616_000)
	var err error
	if d.state, err = dpop.NewState(dpop.LeastCapacity, time.Minute, d.clock); err != nil {
		t.Fatal(err)
	}
	d.configure(nil)
	if err := d.judge(&dpop.Request{
		Method: "POST", Scheme: "https", Host: "server.example.com", Path: "/token",
		Key: rfcThumbprint,
	}, rfcTokenProof); err != nil {
		t.Error(err)
	}
	route := dpop.Request{
		Method: "GET", Scheme: "https", Host: "resource.example.org", Path: "/protectedresource",
		Token: rfcToken, Key: rfcThumbprint,
	}
	if err := d.judge(&route, rfcRouteProof); err != nil {
		t.Error(err)
	}
}

// FuzzProof: what is accepted is signed by the key that it names, for exactly this request and token, now, and once.
func FuzzProof(f *testing.F) {
	d := newDesk(f, nil)
	key := dpoptest.New(f, "ES256", 0)
	rsa := dpoptest.New(f, "PS256", 0)
	for _, k := range []*dpoptest.Key{key, rsa, dpoptest.New(f, "Ed25519", 0)} {
		f.Add(k.Proof("GET", target, d.clock(), dpoptest.For(bearer)))
		f.Add(k.Proof("POST", target, d.clock()))
		f.Add(k.Proof("GET", target+"?x", d.clock(), dpoptest.For(bearer), dpoptest.Nonce("n"),
			claims("exp", d.clock().Unix()+1)))
	}
	f.Add(rfcTokenProof)
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		q := request("")
		p, err := d.Read([]string{text}, q)
		if err != nil {
			if reason := refusal.Of(err); !strings.HasPrefix(string(reason), "proof_") {
				t.Fatalf("%v", err)
			}
			return
		}
		if p.Verify() != nil {
			return
		}
		header, payload := independent(t, text)
		if header["typ"] != "dpop+jwt" || payload["htm"] != q.Method || payload["ath"] == nil || payload["jti"] == "" {
			t.Fatalf("accepted: %v %v", header, payload)
		}
		set, _, err := jose.ParseKeySet(raw(t, header["jwk"]))
		if err != nil || len(set.Keys()) != 1 || set.Keys()[0].Symmetric() {
			t.Fatalf("its jwk is no public key: %v", err)
		}
		if err := p.Spend(t.Context()); err != nil && refusal.Of(err) != refusal.ProofUsed {
			t.Fatal(err)
		}
		if err := p.Spend(t.Context()); refusal.Of(err) != refusal.ProofUsed {
			t.Fatalf("spent twice: %v", err)
		}
	})
}

// independent reads a proof with another reader.
func independent(t *testing.T, text string) (header, payload map[string]any) {
	t.Helper()
	segments := strings.Split(text, ".")
	for i, to := range []*map[string]any{&header, &payload} {
		data, err := decode(segments[i])
		if err == nil {
			err = json.Unmarshal(data, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func raw(t *testing.T, v any) []byte {
	t.Helper()
	jwk, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%v", v)
	}
	kept := map[string]any{} // jwx minds members that mean nothing here
	for name, value := range jwk {
		if slices.Contains([]string{"kty", "crv", "x", "y", "n", "e"}, name) {
			kept[name] = value
		}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func decode(segment string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(segment) }

// A proof of the second that the process began in may have been accepted by the process before: it is asked for a
// nonce.
func TestProofOfTheSecondOfTheStart(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.state.BeginAt(d.clock().Add(time.Second))
	key := dpoptest.New(t, "ES256", 0)
	proof := key.Proof("GET", target, d.clock(), dpoptest.For(bearer))
	if err := d.judge(request(key.Thumbprint), proof); refusal.Of(err) != refusal.ProofNonce {
		t.Errorf("%v", err)
	}
}
