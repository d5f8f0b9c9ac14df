package config

import (
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

func TestVerifierTakesOurTokensUpToTheLargerLimit(t *testing.T) {
	t.Parallel()
	c := parseGood(t, "sidecar.yaml")
	v, err := c.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, test := range []struct {
		name, typ, issuer string
		life              time.Duration
		refusal           string
	}{
		{"an hour", "at+jwt", c.Issuer.URL, time.Hour, ""},
		{"max_access_token_ttl", "at+jwt", c.Issuer.URL, 8760 * time.Hour, ""},
		{"a second more", "at+jwt", c.Issuer.URL, 8760*time.Hour + time.Second, "token_lifetime_too_long"},
		{"another kind of token", "JWT", c.Issuer.URL, time.Hour, "token_type_refused"},
		{"another issuer", "at+jwt", "http://other:8080", time.Hour, "token_issuer_unknown"},
	} {
		claims := &token.Claims{
			Issuer: test.issuer, Subject: "someone", Audience: c.Issuer.Audiences, ClientID: "web", ID: "1", Grantor: "web",
			IssuedAt: now.Truncate(time.Second).UnixMilli(), Expiry: now.Truncate(time.Second).Add(test.life).UnixMilli(),
		}
		signed, err := c.Issuer.Keys[0].Sign(test.typ, jose.EncodeClaims(nil, claims))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if _, err := v.Verify(signed, now, nil); err != nil {
			got, _, _ = strings.Cut(err.Error(), ":")
		}
		if got != test.refusal {
			t.Errorf("%s: refused as %q, want %q", test.name, got, test.refusal)
		}
	}
}
