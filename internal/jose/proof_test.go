package jose

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// FuzzParseProof: what is read and signed, jwx finds signed by the same key, of the same thumbprint, and public.
func FuzzParseProof(f *testing.F) {
	for _, alg := range ProofAlgorithms() {
		f.Add(dpoptest.New(f, alg, 0).Proof("GET", "https://api.example/", time.Unix(1_700_000_000, 0)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProof(text, 4096)
		if err != nil {
			if refusal.Of(err) != refusal.ProofMalformed {
				t.Fatal(err)
			}
			return
		}
		if !p.Signed(nil) {
			return
		}
		message, err := jws.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		head := message.Signatures()[0].ProtectedHeaders()
		sum, err := head.JWK().Thumbprint(crypto.SHA256)
		if err != nil || base64.RawURLEncoding.EncodeToString(sum) != p.Thumbprint {
			t.Fatalf("%v, thumbprint %x", err, sum)
		}
		if private, err := jwk.IsPrivateKey(head.JWK()); err != nil || private {
			t.Fatalf("a private key: %v", err)
		}
		alg := head.Algorithm()
		if alg == "Ed25519" {
			return // jwx v2 does not know RFC 9864
		}
		if _, err := jws.Verify([]byte(text), jws.WithKey(alg, head.JWK())); err != nil {
			t.Fatal(err)
		}
	})
}

// TestConfirmation: cnf with jkt or x5t#S256 binds; with anything else the token is refused, since nothing here could
// check it.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	const jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for cnf, want := range map[string]refusal.Reason{
		`{"jkt":"` + jkt + `"}`:                          "",
		`{"jkt":"` + jkt + `","x5t#S256":"` + jkt + `"}`: "",
		`{"x5t#S256":"` + jkt + `"}`:                     "",
		`{"x5t#S256":"` + jkt + `","kid":"x"}`:           refusal.TokenBindingUnsupported,
		`{"x5t#s256":"` + jkt + `"}`:                     refusal.TokenBindingUnsupported,
		`{"x5t":"` + jkt + `"}`:                          refusal.TokenBindingUnsupported,
		`{"x5t#S256":""}`:                                refusal.TokenClaimsMalformed,
		`{"x5t#S256":"` + jkt[:41] + `"}`:                refusal.TokenClaimsMalformed,
		`{"x5t#S256":["` + jkt + `"]}`:                   refusal.TokenClaimsMalformed,
		`{"jwk":{"kty":"EC"}}`:                           refusal.TokenBindingUnsupported,
		`{"kid":"x"}`:                                    refusal.TokenBindingUnsupported,
		`{}`:                                             refusal.TokenBindingUnsupported,
		`{"jkt":""}`:                                     refusal.TokenClaimsMalformed,
		`{"jkt":"` + jkt + `="}`:                         refusal.TokenClaimsMalformed,
		`{"jkt":"` + jkt[:42] + `J"}`:                    refusal.TokenClaimsMalformed,
		`{"jkt":7}`:                                      refusal.TokenClaimsMalformed,
		`{"jkt":"` + jkt + `","jkt":"` + jkt + `"}`:      refusal.TokenMalformed,
		`null`:          refusal.TokenClaimsMalformed,
		`"` + jkt + `"`: refusal.TokenClaimsMalformed,
		`[]`:            refusal.TokenClaimsMalformed,
	} {
		c, err := DecodeClaims(`{"iss":"i","exp":1,"cnf":` + cnf + `}`)
		if refusal.Of(err) != want || err == nil &&
			(c.Key == jkt) != strings.Contains(cnf, "jkt") || err == nil && (c.Cert == jkt) != strings.Contains(cnf, "x5t") {
			t.Errorf("%s: %v, %+v", cnf, err, c)
		}
	}
	both := EncodeClaims(nil, &token.Claims{Issuer: "i", Expiry: 1000, Key: jkt, Cert: jkt})
	if c, err := DecodeClaims(string(both)); err != nil || c.Key != jkt || c.Cert != jkt {
		t.Errorf("%s: %v", both, err)
	}
	text := EncodeClaims(nil, &token.Claims{Issuer: "i", Expiry: 1000, Key: jkt})
	if !json.Valid(text) || string(text) != `{"iss":"i","exp":1,"cnf":{"jkt":"`+jkt+`"}}` {
		t.Errorf("%s", text)
	}
}
