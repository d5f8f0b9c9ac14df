package jose_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

func publicText(t *testing.T, key *testKey) string {
	t.Helper()
	return string(must(json.Marshal(must(key.publicJWK()))))
}

func TestRemoteKeySetLosesOnlyItsBadKeys(t *testing.T) {
	t.Parallel()
	es, rs := publicText(t, keyFor(t, "ES256")), publicText(t, keyFor(t, "RS256"))
	renamed := strings.Replace(rs, `"kid-RS256"`, `"kid-ES256"`, 1)
	secret := `{"kty":"oct","kid":"shared","alg":"HS256","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}`
	weak := `{"kty":"RSA","kid":"weak","n":"` + strings.Repeat("x", 171) + `","e":"AQAB"}`
	for _, c := range []struct {
		name, text string
		kids       []string
		skipped    int
		fault      string
	}{
		{"two good keys", `{"keys":[` + es + `,` + rs + `]}`, []string{"kid-ES256", "kid-RS256"}, 0, ""},
		{
			"an unknown key type", `{"keys":[{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AA"},` + es + `]}`,
			[]string{"kid-ES256"},
			1, "",
		},
		{
			"an unknown curve", `{"keys":[` + es + `,{"kty":"EC","crv":"P-999","kid":"x","x":"AA","y":"AA"}]}`,
			[]string{"kid-ES256"},
			1, "",
		},
		{"a weak key", `{"keys":[` + weak + `,` + es + `]}`, []string{"kid-ES256"}, 1, ""},
		{"a symmetric key in the published set", `{"keys":[` + secret + `,` + es + `]}`, []string{"kid-ES256"}, 1, ""},
		{
			"one kid for two algorithms", `{"keys":[` + es + `,` + renamed + `,` + rs + `]}`,
			[]string{"kid-ES256", "kid-ES256", "kid-RS256"},
			0, "",
		},
		{"the same key twice", `{"keys":[` + es + `,` + es + `]}`, []string{"kid-ES256"}, 0, ""},
		{
			"a key for encryption", `{"keys":[{"kty":"RSA","use":"enc","kid":"e","n":"AQAB","e":"AQAB"},` + es + `]}`,
			[]string{"kid-ES256"},
			1, "",
		},
		{"a byte order mark", "\xef\xbb\xbf" + `{"keys":[` + es + `]}`, []string{"kid-ES256"}, 0, ""},
		{"two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf" + `{"keys":[]}`, nil, 0, "key set: "},
		{"everything revoked", `{"keys":[]}`, nil, 0, ""},
		{"none of use", `{"keys":[` + weak + `]}`, nil, 1, ""},
		{"one JWK, no set", es, nil, 0, "key set: no member keys, so it is no JWK set"},
		{"PEM", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", nil, 0, "key set: "},
		{"a page", "<!doctype html><title>Sign in</title>", nil, 0, "key set: "},
		{"keys is no list", `{"keys":{}}`, nil, 0, "key set: "},
		{"keys twice", `{"keys":[],"keys":[` + es + `]}`, nil, 0, "key set: "},
		{"cut off", `{"keys":[` + es, nil, 0, "key set: "},
		{
			"too many", `{"keys":[` + strings.Repeat(weak+",", 100) + weak + `]}`, nil, 0,
			"key set: byte 21609: keys[100]: more than 100 keys",
		},
		{
			"too large", `{"keys":[]}` + strings.Repeat(" ", jose.MaxKeySetBytes), nil, 0,
			"the key set has more than 1048576 bytes",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			set, skipped, err := jose.ParseRemoteKeySet([]byte(c.text))
			if c.fault != "" {
				if err == nil || set != nil || !strings.HasPrefix(err.Error(), c.fault) {
					t.Fatalf("have %v, want %s", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var kids []string
			for _, key := range set.Keys() {
				kids = append(kids, key.ID())
			}
			if diff := cmp.Diff(c.kids, kids); diff != "" || len(skipped) != c.skipped {
				t.Errorf("skipped %v (-want +have)\n%s", skipped, diff)
			}
		})
	}
}

func TestEqualKeySets(t *testing.T) {
	t.Parallel()
	parse := func(text string) *jose.KeySet {
		set, _, err := jose.ParseRemoteKeySet([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	es, rs := publicText(t, keyFor(t, "ES256")), publicText(t, keyFor(t, "RS256"))
	base := parse(`{"keys":[` + es + `,` + rs + `]}`)
	other := strings.Replace(publicText(t, keyFor(t, "ES384")), "kid-ES384", "kid-ES256", 1)
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"as it was", `{"keys":[` + es + `,` + rs + `]}`, true},
		{"in another order", `{"x":1,"keys":[` + rs + `,` + es + `]}`, true},
		{"one key less", `{"keys":[` + rs + `]}`, false},
		{"another key of that kid", `{"keys":[` + other + `,` + rs + `]}`, false},
		{
			"another alg of that key", `{"keys":[` + es + `,` + strings.Replace(rs, `"kid":`, `"alg":"PS256","kid":`, 1) + `]}`,
			false,
		},
		{"another kid of that key", `{"keys":[` + es + `,` + strings.Replace(rs, `kid-RS256`, `kid-2`, 1) + `]}`, false},
	} {
		if have := base.Equal(parse(c.text)); have != c.want {
			t.Errorf("%s: %t", c.name, have)
		}
	}
}

// TestSeekIsTheLastResort: another key set is asked for only if nothing but the key is missing from a token.
func TestSeekIsTheLastResort(t *testing.T) {
	t.Parallel()
	old, fresh := keyFor(t, "ES256"), keyFor(t, "EdDSA")
	payload := func(exp int) string { return fmt.Sprintf(`{"iss":"%s","sub":"s","exp":%d}`, foreignIssuer, exp) }
	good := payload(1_700_003_600)
	noKID := fresh.forge(`{"alg":"EdDSA","typ":"at+jwt"}`, good)
	unavailable := refusal.Because(refusal.IssuerUnavailable, "down")
	for _, c := range []struct {
		name   string
		held   *jose.KeySet
		found  *jose.KeySet
		err    error
		bearer string
		before error
		asked  string
		want   refusal.Reason
	}{
		{"a known kid", setOf(old), nil, nil, old.forge(old.header("at+jwt"), good), nil, "", ""},
		{
			"an unknown kid, found", setOf(old), setOf(old, fresh), nil, fresh.forge(fresh.header("at+jwt"), good), nil,
			"kid-EdDSA", "",
		},
		{
			"an unknown kid, not found", setOf(old), setOf(old), nil, fresh.forge(fresh.header("at+jwt"), good), nil,
			"kid-EdDSA", refusal.TokenKeyUnknown,
		},
		{
			"an unknown kid, and no answer", setOf(old), nil, unavailable, fresh.forge(fresh.header("at+jwt"), good), nil,
			"kid-EdDSA", refusal.IssuerUnavailable,
		},
		{"no keys yet", nil, setOf(old), nil, old.forge(old.header("at+jwt"), good), nil, "kid-ES256", ""},
		{"no keys still", nil, nil, nil, old.forge(old.header("at+jwt"), good), nil, "kid-ES256", refusal.IssuerUnavailable},
		{"no keys yet, no kid", nil, setOf(fresh), nil, noKID, nil, "-", ""},
		{"no kid among several keys", setOf(old, fresh), nil, nil, noKID, nil, "", ""},
		{"expired", setOf(old), nil, nil, fresh.forge(fresh.header("at+jwt"), payload(1)), nil, "", refusal.TokenExpired},
		{
			"refused by its audience", setOf(old), nil, nil, fresh.forge(fresh.header("at+jwt"), good),
			refusal.Because(refusal.TokenAudienceMismatch, "x"), "", refusal.TokenAudienceMismatch,
		},
		{
			"found, and signed by another", setOf(old), setOf(old, fresh), nil, old.forge(fresh.header("at+jwt"), good), nil,
			"kid-EdDSA", refusal.TokenSignatureInvalid,
		},
		{
			"found, and of another algorithm", setOf(old), setOf(old, fresh), nil,
			fresh.forge(`{"alg":"ES256","typ":"at+jwt","kid":"kid-EdDSA"}`, good), nil, "kid-EdDSA",
			refusal.TokenAlgorithmRefused,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			asked := ""
			v := newVerifier(t, &jose.Issuer{
				URL: foreignIssuer, Keys: holding(c.held),
				Seek: func(kid string) (*jose.KeySet, error) {
					if asked = kid; kid == "" {
						asked = "-"
					}
					return c.found, c.err
				},
			})
			x, err := v.Verify(c.bearer, epoch, func(*jose.Verified) error { return c.before })
			if refusal.Of(err) != c.want || asked != c.asked {
				t.Errorf("asked for %q, want %q; have %v, want %q", asked, c.asked, err, c.want)
			}
			if err == nil && c.asked != "" && x.Keys != c.found {
				t.Error("the token does not know the set that its key is of")
			}
			var own *refusal.Error
			if err != nil && !errors.As(err, &own) {
				t.Errorf("no refusal: %v", err)
			}
		})
	}
}
