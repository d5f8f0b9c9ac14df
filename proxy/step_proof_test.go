package proxy

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
)

const proofAlgs = `, algs="ES256 Ed25519 EdDSA PS256 RS256"`

const (
	badProof   = `DPoP realm="jotgate", error="invalid_dpop_proof"` + proofAlgs
	nonceAsked = `DPoP realm="jotgate", error="use_dpop_nonce"` + proofAlgs
	badBound   = `DPoP realm="jotgate", error="invalid_token"` + proofAlgs
	boundLess  = `DPoP realm="jotgate", error="insufficient_scope"` + proofAlgs
)

func boundTo(key *dpoptest.Key) func(*token.Claims) {
	return func(c *token.Claims) { c.Key = key.Thumbprint }
}

// TestBoundTokensNeedTheirProof: every way to use a bound token without the key, or a proof for what it was not made
// for.
func TestBoundTokensNeedTheirProof(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key, other := dpoptest.New(t, "ES256", 0), dpoptest.New(t, "ES256", 0)
	bound, plain := h.mint(boundTo(key)), h.mint()
	foreign := h.mintForeign("https://idp.example", "", boundTo(key))
	certificate := h.mintForeign("https://idp.example", `"cnf":{"x5t#S256":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`)
	both := h.mintForeign("https://idp.example", `"cnf":{"jkt":"`+key.Thumbprint+
		`","x5t#S256":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`)
	const url = "http://app.example/t/acme/x"
	proof := func(k *dpoptest.Key, token string, changes ...dpoptest.Change) string {
		return "DPoP: " + k.Proof("GET", url, h.clock(), append([]dpoptest.Change{dpoptest.For(token)}, changes...)...)
	}
	claim := func(name string, value any) dpoptest.Change {
		return dpoptest.Change{Claims: map[string]any{name: value}}
	}
	used := proof(key, bound)
	scheme := func(token string) string { return "Authorization: DPoP " + token }
	private := map[string]any{"d": "AAAA"}
	for name, value := range key.JWK {
		private[name] = value
	}
	refused := func(r refusal.Reason) verdict { return verdict{401, r, badProof, 0} }
	for _, c := range []struct {
		name, target string
		lines        []string
		want         verdict
	}{
		{"good", "/t/acme/x", []string{scheme(bound), used}, verdict{200, "", "", 1}},
		{"replayed", "/t/acme/x", []string{scheme(bound), used}, refused(refusal.ProofUsed)},
		{
			"good, scheme and query as they may be", "/t/acme/x?y=1",
			[]string{"authorization: dpop  " + bound, proof(key, bound)},
			verdict{200, "", "", 1},
		},
		{"foreign issuer's", "/t/acme/x", []string{scheme(foreign), proof(key, foreign)}, verdict{200, "", "", 1}},
		{"no proof", "/t/acme/x", []string{scheme(bound)}, refused(refusal.ProofMissing)},
		{
			"two proofs", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound), proof(key, bound)},
			refused(refusal.ProofMalformed),
		},
		{"empty proof", "/t/acme/x", []string{scheme(bound), "DPoP:"}, refused(refusal.ProofMalformed)},
		{"as Bearer", "/t/acme/x", []string{"Authorization: Bearer " + bound}, verdict{401, refusal.TokenBound, badBound, 0}},
		{
			"as Bearer, with the proof", "/t/acme/x",
			[]string{"Authorization: Bearer " + bound, proof(key, bound)},
			verdict{401, refusal.TokenBound, badBound, 0},
		},
		{
			"foreign as Bearer", "/t/acme/x",
			[]string{"Authorization: Bearer " + foreign},
			verdict{401, refusal.TokenBound, badBound, 0},
		},
		{
			"unbound as DPoP", "/t/acme/x",
			[]string{scheme(plain), proof(key, plain)},
			verdict{401, refusal.TokenUnbound, badBound, 0},
		},
		{"unbound as DPoP, no proof", "/t/acme/x", []string{scheme(plain)}, verdict{401, refusal.TokenUnbound, badBound, 0}},
		{
			"unbound with a proof beside", "/t/acme/x",
			[]string{"Authorization: Bearer " + plain, proof(key, plain)},
			verdict{200, "", "", 1},
		},
		{
			"bound to a certificate", "/t/acme/x",
			[]string{"Authorization: Bearer " + certificate},
			verdict{401, refusal.TokenCertMismatch, badToken, 0},
		},
		{
			"bound to both", "/t/acme/x",
			[]string{scheme(both), proof(key, both)},
			verdict{401, refusal.TokenCertMismatch, badBound, 0},
		},
		{"another key", "/t/acme/x", []string{scheme(bound), proof(other, bound)}, refused(refusal.ProofKeyMismatch)},
		{
			"another key's signature", "/t/acme/x",
			[]string{scheme(bound), proof(other, bound, dpoptest.Change{Header: map[string]any{"jwk": key.JWK}})},
			refused(refusal.ProofSignatureInvalid),
		},
		{
			"another token of the key", "/t/acme/x",
			[]string{scheme(bound), proof(key, foreign)},
			refused(refusal.ProofMismatch),
		},
		{
			"no ath", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound, claim("ath", nil))},
			refused(refusal.ProofMismatch),
		},
		{
			"another method", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound, claim("htm", "POST"))},
			refused(refusal.ProofMismatch),
		},
		{"another path", "/t/acme/y", []string{scheme(bound), proof(key, bound)}, refused(refusal.ProofMismatch)},
		{
			"another host", "/t/acme/x",
			[]string{"Host: www.example", scheme(bound), proof(key, bound)},
			refused(refusal.ProofMismatch),
		},
		{
			"of the token endpoint", "/t/acme/x",
			[]string{scheme(bound), "DPoP: " + key.Proof("POST", "https://gate.example/oauth2/token", h.clock())},
			refused(refusal.ProofMismatch),
		},
		{
			"of a minute ago", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound, claim("iat", h.clock().Add(-time.Minute).Unix()))},
			refused(refusal.ProofStale),
		},
		{
			"of the future", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound, claim("iat", h.clock().Unix()+7))},
			refused(refusal.ProofStale),
		},
		{"typ JWT", "/t/acme/x", []string{
			scheme(bound),
			proof(key, bound, dpoptest.Change{Header: map[string]any{"typ": "JWT"}}),
		}, refused(refusal.ProofMalformed)},
		{
			"private jwk", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound, dpoptest.Change{Header: map[string]any{"jwk": private}})},
			refused(refusal.ProofMalformed),
		},
		{
			"the token is its own proof", "/t/acme/x",
			[]string{scheme(bound), "DPoP: " + bound},
			refused(refusal.ProofMalformed),
		},
		{
			"oversized", "/t/acme/x",
			[]string{scheme(bound), proof(key, bound, claim("x", strings.Repeat("x", 4000)))},
			refused(refusal.ProofMalformed),
		},
		{"forwarded host of a stranger", "/t/acme/x", []string{
			"Host: www.example", "X-Forwarded-Host: app.example",
			scheme(bound), proof(key, bound),
		}, refused(refusal.ProofMismatch)},
		{"forwarded host of a trusted proxy", "/t/acme/x", []string{
			"Host: www.example", "X-Forwarded-Host: app.example",
			"Test-Trusted: 1", scheme(bound), proof(key, bound),
		}, verdict{200, "", "", 1}},
		{
			"beside a bearer", "/t/acme/x",
			[]string{scheme(bound), "Authorization: Bearer " + plain, proof(key, bound)},
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
		{
			"beside the query", "/t/acme/x?access_token=1",
			[]string{scheme(bound), proof(key, bound)},
			verdict{400, refusal.CredentialsMultiple, badRequest, 0},
		},
		{
			"no token", "/t/acme/x",
			[]string{"Authorization: DPoP", proof(key, bound)},
			verdict{401, refusal.TokenMalformed, badBound, 0},
		},
		{"what it does not open, without a proof", "/global", []string{scheme(bound)}, refused(refusal.ProofMissing)},
		{"a public route judges none", "/assets/x", []string{scheme(bound), used}, verdict{200, "", "", 1}},
	} {
		if got := h.verdict(head("GET", c.target, "", c.lines...)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	denied := "DPoP: " + key.Proof("GET", "http://app.example/global", h.clock(), dpoptest.For(bound))
	if got := h.verdict(head("GET", "/global", "", scheme(bound), denied)); got != (verdict{
		403, refusal.TenantDenied,
		boundLess, 0,
	}) {
		t.Errorf("what it does not open: %+v", got)
	}
}

// TestNonceOfTheGate: without one there is a refusal that brings one, and with it the same request passes.
func TestNonceOfTheGate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.judgeProofs(func(o *dpop.Options) { o.RequireNonce = true })
	h.build()
	key := dpoptest.New(t, "EdDSA", 0)
	bound := h.mint(boundTo(key))
	ask := func(nonce string) outcome {
		changes := []dpoptest.Change{dpoptest.For(bound)}
		if nonce != "" {
			changes = append(changes, dpoptest.Nonce(nonce))
		}
		return h.get("/me", "", "Authorization: DPoP "+bound, "DPoP: "+key.Proof("GET", "http://app.example/me", h.clock(),
			changes...))
	}
	got := ask("")
	nonce := got.header.Get("DPoP-Nonce")
	if got.status != 401 || got.reason != refusal.ProofNonce || got.header.Get("WWW-Authenticate") != nonceAsked ||
		nonce == "" {
		t.Fatalf("without: %+v", got)
	}
	if got := ask(nonce); got.status != 200 || got.header.Get("DPoP-Nonce") != "" {
		t.Errorf("with: %+v", got)
	}
	if got := ask("x" + nonce[1:]); got.status != 401 || got.reason != refusal.ProofNonce ||
		got.header.Get("DPoP-Nonce") == "" {
		t.Errorf("another: %+v", got)
	}
	h.now.Add((3 * time.Minute).Milliseconds())
	if got := ask(nonce); got.status != 200 || got.header.Get("DPoP-Nonce") == "" {
		t.Errorf("an old one: %+v", got)
	}
	h.now.Add((2 * time.Minute).Milliseconds())
	if got := ask(nonce); got.status != 401 || got.header.Get("DPoP-Nonce") == "" {
		t.Errorf("when it ended: %+v", got)
	}
}

// TestProofStaysHere: an app never sees a proof that was spent here; one that was not judged passes to the app.
func TestProofStaysHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := dpoptest.New(t, "EdDSA", 0)
	bound := h.mint(boundTo(key))
	for target, want := range map[string]struct{ authorization, proof int }{
		"/me": {0, 0}, "/pass": {1, 0}, "/assets/x": {1, 1},
	} {
		h.app.forget()
		proof := key.Proof("GET", "http://app.example"+target, h.clock(), dpoptest.For(bound))
		got := h.get(target, "", "Authorization: DPoP "+bound, "DPoP: "+proof)
		seen := h.app.seen()
		if got.status != 200 || len(seen) != 1 || len(seen[0].get("Authorization")) != want.authorization ||
			len(seen[0].get("Dpop")) != want.proof {
			t.Errorf("%s: %d, upstream saw %v", target, got.status, seen[0].fields)
		}
	}
}

// TestClientThatMustBind: what its tokens say counts only if they are bound, whichever client made them.
func TestClientThatMustBind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(strings.Replace(settings, "    - id: web\n", "    - id: web\n      dpop: required\n", 1))
	key := dpoptest.New(t, "EdDSA", 0)
	if got := h.verdict(head("GET", "/me", h.mint())); got != (verdict{401, refusal.TokenUnbound, badBound, 0}) {
		t.Errorf("unbound: %+v", got)
	}
	bound := h.mint(boundTo(key))
	proof := key.Proof("GET", "http://app.example/me", h.clock(), dpoptest.For(bound))
	if got := h.get("/me", "", "Authorization: DPoP "+bound, "DPoP: "+proof); got.status != 200 {
		t.Errorf("bound: %+v", got)
	}
}

// TestGateWithoutProofs lets in no bound token at all.
func TestGateWithoutProofs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.proofs = nil
	h.build()
	key := dpoptest.New(t, "EdDSA", 0)
	bound := h.mint(boundTo(key))
	if got := h.verdict(head("GET", "/me", bound)); got != (verdict{401, refusal.TokenBound, badBound, 0}) {
		t.Errorf("as Bearer: %+v", got)
	}
	if got := h.verdict(head("GET", "/me", "", "Authorization: DPoP "+bound)); got != (verdict{
		401,
		refusal.TokenSchemeUnsupported, noBearer, 0,
	}) {
		t.Errorf("as DPoP: %+v", got)
	}
}

// TestTraceOfABoundToken: explain tells the proof's check, and spends nothing.
func TestTraceOfABoundToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := dpoptest.New(t, "EdDSA", 0)
	bound := h.mint(boundTo(key))
	proof := key.Proof("GET", "http://app.example/me", h.clock(), dpoptest.For(bound))
	trace := func(scheme, proof string, as Bearer) *Trace {
		r := httptest.NewRequest(http.MethodGet, "http://app.example/me", nil)
		r.Header["Authorization"] = []string{scheme + " " + bound}
		if proof != "" {
			r.Header["Dpop"] = []string{proof}
		}
		x := new(request.Exchange)
		x.Begin(httptest.NewRecorder(), h.clock())
		x.Host, x.Scheme = "app.example", "http"
		if err := x.Target.Parse("/me"); err != nil {
			t.Fatal(err)
		}
		return h.gate.Trace(x, r, as)
	}
	check := func(name string, got *Trace, allowed bool, reason refusal.Reason, outcome string) {
		t.Helper()
		i := slices.IndexFunc(got.Steps, func(s Step) bool { return s.Check == "proof" })
		if got.Allowed != allowed || got.Reason != reason || i < 0 || got.Steps[i].Outcome != outcome ||
			got.Token.Bound != key.Thumbprint {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for range 2 {
		check("good", trace("DPoP", proof, Bearer{}), true, "", StepPassed)
	}
	check("no proof", trace("DPoP", "", Bearer{}), false, refusal.ProofMissing, StepRefused)
	check("as Bearer", trace("Bearer", "", Bearer{}), false, refusal.TokenBound, StepRefused)
	check("unverified", trace("Bearer", "", Bearer{Unverified: true}), true, "", StepSkipped)
	check("alone", h.gate.TraceToken(bound, false), true, "", StepSkipped)
	if got := h.get("/me", "", "Authorization: DPoP "+bound, "DPoP: "+proof); got.status != 200 {
		t.Errorf("after explaining: %+v", got)
	}
}
