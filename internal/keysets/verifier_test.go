package keysets

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

func TestVerifierTakesOurTokensUpToTheLargerLimit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../config/testdata/good/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("gate.yaml", text, config.Options{
		Env: func(string) (string, bool) { return "0123456789abcdefghijkl", true },
		ReadFile: func(path string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verifier(c)
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

func TestVerifierAsksForASourceOfEachIssuerWhoseKeysAreFetched(t *testing.T) {
	t.Parallel()
	const text = `version: 1
trusted_issuers:
  - {issuer: https://discovered.example, audiences: [api], permissions: []}
  - {issuer: https://filed.example, audiences: [api], permissions: [], keys: [{file: keys.json}]}
  - {issuer: https://published.example, jwks_url: https://keys.example/set, audiences: [api], permissions: []}
routes: [{path: /, require: authenticated, upstream: "http://127.0.0.1:3000"}]
`
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewKeySet(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("gate.yaml", []byte(text), config.Options{
		ReadFile: func(string) ([]byte, error) { return set.JWKS(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	if _, err := VerifierWith(c, func(of *config.TrustedIssuer) KeySource {
		asked = append(asked, of.Issuer)
		return nowhere{}
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"https://discovered.example", "https://published.example"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}
