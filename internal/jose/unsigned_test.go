package jose_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

// What is read without a signature reads as what is read with one, and the rules of its issuer hold.
func TestUnsignedReadsWhatVerifyReads(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	good := key.token(goodClaims)
	want, err := v.Verify(good, epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := *key
	stranger.kid = "unknown"
	for name, compact := range map[string]string{
		"signed": good, "signature of another": good[:len(good)-86] +
			key.token(with("sub", `"x"`))[len(key.token(with("sub", `"x"`)))-86:],
		"unknown key": stranger.token(goodClaims),
	} {
		have, err := v.Unsigned(compact)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want.Claims, have.Claims); diff != "" || have.Issuer != want.Issuer {
			t.Errorf("%s: (-verified +unsigned)\n%s", name, diff)
		}
	}
	said, err := v.Said(goodClaims)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Claims, said.Claims); diff != "" {
		t.Errorf("said: (-verified +said)\n%s", diff)
	}
}

func TestUnsignedRefusesWhatNoSignatureWouldMend(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	foreign := &jose.Issuer{
		URL: "https://kc", Types: []string{"JWT"}, Keys: holding(setOf(key)),
		Require: []jose.Requirement{{Claim: jose.Path{"typ"}, Condition: text("Bearer")}},
	}
	v := newVerifier(t, ours(key), foreign)
	for _, c := range []struct {
		name, payload string
		want          refusal.Reason
	}{
		{"no subject", with("sub", ""), refusal.TokenClaimsMalformed},
		{"another issuer", with("iss", `"https://evil"`), refusal.TokenIssuerUnknown},
		{"no strict JSON", `{"iss":"a",}`, refusal.TokenMalformed},
		{"a required claim is missing", `{"iss":"https://kc","scope":"x","exp":1700003600}`, refusal.TokenClaimRequired},
	} {
		if _, err := v.Said(c.payload); refusal.Of(err) != c.want {
			t.Errorf("%s, said: have %v, want %s", c.name, err, c.want)
		}
		if c.want == refusal.TokenClaimRequired {
			continue // its typ is another's
		}
		if _, err := v.Unsigned(key.token(c.payload)); refusal.Of(err) != c.want {
			t.Errorf("%s, unsigned: have %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := v.Said(`{"iss":"https://kc","exp":1700003600,"typ":"Bearer"}`); err != nil {
		t.Errorf("a foreign issuer's claims: %v", err)
	}
}
