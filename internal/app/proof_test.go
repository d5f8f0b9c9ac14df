package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
)

// TestProofsThroughAReload: the token endpoint's metadata, its bound token, the route, behind a proxy that ends TLS;
// and what was used before a reload is used after it, also where proofs may be older then.
func TestProofsThroughAReload(t *testing.T) {
	t.Parallel()
	edits := []string{"may: [issue_codes]", "permissions: [{tenant: acme, actions: [READ]}]"}
	g := startGate(t, append(edits, "roles:", "trusted_proxies: [127.0.0.1]\ndpop: {max_age: 1m}\nroles:")...)
	key := dpoptest.New(t, "ES256", 0)
	ask := func(token, proof string) *http.Response {
		r, err := http.NewRequest(http.MethodGet, g.url("/t/acme/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "gate.test"
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Authorization", token)
		if proof != "" {
			r.Header.Set("DPoP", proof)
		}
		return exchangeOf(t, r)
	}
	r, err := http.NewRequest(http.MethodPost, g.url("/oauth2/token"),
		strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("web", "0123456789abcdefghijkl")
	first := key.Proof("POST", "https://gate.test/oauth2/token", time.Now())
	r.Header.Set("DPoP", first)
	var issued struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	decode(t, exchangeOf(t, r), &issued)
	if issued.Type != "DPoP" {
		t.Fatalf("%+v", issued)
	}
	proof := key.Proof("GET", "https://gate.test/t/acme/", time.Now(), dpoptest.For(issued.Token))
	traced, err := g.Trace(app.Question{
		Request: "GET https://gate.test/t/acme/", Header: http.Header{"Dpop": {proof}}, Token: issued.Token,
	})
	if err != nil || !traced.Allowed || traced.Token.Bound != key.Thumbprint {
		t.Errorf("explained, and not spent: %v, %+v", err, traced)
	}
	// So does a process that begins after the proof was made, as `jotgate explain` does.
	judge, err := app.NewJudge(g.Config(), func() time.Time { return time.Now().Add(3 * time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	traced, err = judge.Trace(app.Question{
		Request: "GET https://gate.test/t/acme/", Header: http.Header{"Dpop": {proof}}, Token: issued.Token,
	})
	if err != nil || !traced.Allowed {
		t.Errorf("explained by another process: %v, %+v", err, traced)
	}
	if err := judge.Close(); err != nil {
		t.Error(err)
	}
	if got := ask("DPoP "+issued.Token, proof); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, g.log)
	}
	seen := g.app.seen.Load()
	refused := func(name string, got *http.Response, challenge string) {
		t.Helper()
		const more = `", algs="ES256 Ed25519 EdDSA PS256 RS256", ` +
			`resource_metadata="https://gate.test/.well-known/oauth-protected-resource/api"`
		if got.StatusCode != 401 || got.Header.Get("Www-Authenticate") != `DPoP realm="jotgate", error="`+challenge+more {
			t.Errorf("%s: %d %v", name, got.StatusCode, got.Header)
		}
	}
	refused("again", ask("DPoP "+issued.Token, proof), "invalid_dpop_proof")
	refused("the token endpoint's", ask("DPoP "+issued.Token, first), "invalid_dpop_proof")
	refused("no proof", ask("DPoP "+issued.Token, ""), "invalid_dpop_proof")
	refused("as Bearer", ask("Bearer "+issued.Token, ""), "invalid_token")
	g.write(append(edits, "roles:", "trusted_proxies: [127.0.0.1]\ndpop: {max_age: 10m, capacity: 2048}\nroles:")...)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	refused("again, after a reload", ask("DPoP "+issued.Token, proof), "invalid_dpop_proof")
	g.write(append(edits, "roles:", "trusted_proxies: [127.0.0.1]\ndpop: {require_nonce: true}\nroles:")...)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	fresh := func(changes ...dpoptest.Change) *http.Response {
		changes = append(changes, dpoptest.For(issued.Token))
		return ask("DPoP "+issued.Token, key.Proof("GET", "https://gate.test/t/acme/", time.Now(), changes...))
	}
	without := fresh()
	refused("without a nonce", without, "use_dpop_nonce")
	if n := g.app.seen.Load(); n != seen {
		t.Errorf("the app saw %d requests that were refused", n-seen)
	}
	if got := fresh(dpoptest.Nonce(without.Header.Get("DPoP-Nonce"))); got.StatusCode != 200 {
		t.Errorf("with the nonce: %d", got.StatusCode)
	}
	for _, secret := range []string{first, proof, issued.Token} {
		if strings.Contains(g.log.String(), secret) {
			t.Error("a credential is in the log")
		}
	}
}
