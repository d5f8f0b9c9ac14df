package jose

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// wycheproof is the public corpus of signatures and tokens on which other implementations have failed. It is fetched
// like a module, with its version and digest, but is none of this one's: it asks for a newer Go.
const (
	wycheproof    = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	wycheproofSum = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

// vectors are a file of the corpus.
type vectors struct {
	Groups []struct {
		Type         string          `json:"type"`
		Comment      string          `json:"comment"`
		PublicKeyPEM string          `json:"publicKeyPem"`
		Public       json.RawMessage `json:"public"`
		Private      json.RawMessage `json:"private"`
		Tests        []vector        `json:"tests"`
	} `json:"testGroups"`
}

type vector struct {
	ID      int             `json:"tcId"`
	Comment string          `json:"comment"`
	Flags   []string        `json:"flags"`
	Message string          `json:"msg"`
	Sig     string          `json:"sig"`
	JWS     json.RawMessage `json:"jws"`
	Result  string          `json:"result"`
}

func corpus(t *testing.T) string {
	t.Helper()
	fetch := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", wycheproof)
	fetch.Dir, fetch.Stderr = t.TempDir(), os.Stderr
	said, err := fetch.Output()
	if err != nil {
		t.Fatalf("fetch %s: %v\n%s", wycheproof, err, said)
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal(said, &module); err != nil || module.Sum != wycheproofSum {
		t.Fatalf("fetch %s: %v, its sum is %s", wycheproof, err, module.Sum)
	}
	return filepath.Join(module.Dir, "testvectors_v1")
}

func readVectors(t *testing.T, file string) (v vectors) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil || len(v.Groups) == 0 {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every signature of the corpus is judged as it says, by keys that are prepared and by those that are not. Where its
// makers leave a signature to the implementation ("acceptable"), ours is the stricter reading: refused.
func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	folder, judged := corpus(t), 0
	for _, x := range []struct{ file, alg string }{
		{"ecdsa_secp256r1_sha256_p1363_test.json", "ES256"},
		{"ecdsa_secp384r1_sha384_p1363_test.json", "ES384"},
		{"ecdsa_secp521r1_sha512_p1363_test.json", "ES512"},
		{"ed25519_test.json", "EdDSA"},
		{"rsa_signature_2048_sha256_test.json", "RS256"},
		{"rsa_signature_2048_sha384_test.json", "RS384"},
		{"rsa_signature_2048_sha512_test.json", "RS512"},
		{"rsa_signature_3072_sha256_test.json", "RS256"},
		{"rsa_signature_4096_sha512_test.json", "RS512"},
		{"rsa_signature_8192_sha256_test.json", "RS256"},
		{"rsa_pss_2048_sha256_mgf1_32_test.json", "PS256"},
		{"rsa_pss_4096_sha512_mgf1_64_test.json", "PS512"},
	} {
		for _, group := range readVectors(t, filepath.Join(folder, x.file)).Groups {
			set, _, err := ParseKeySet([]byte(group.PublicKeyPEM))
			if err != nil {
				t.Logf("%s: a key that is not taken, for %d tests: %v", x.file, len(group.Tests), err)
				continue
			}
			key := set.Keys()[0]
			a := algorithms[x.alg]
			var quicker prepared
			if preparable(a) {
				quicker = prepare(key.material, a)
			}
			for _, v := range group.Tests {
				judged++
				message, signature := unhex(t, v.Message), unhex(t, v.Sig)
				have := a.verify(key.material, message, signature)
				if quicker != nil {
					if quick := quicker.verify(a, message, signature); quick != have {
						t.Errorf("%s %d (%s): prepared %v, by the library %v", x.file, v.ID, v.Comment, quick, have)
					}
				}
				if want := v.Result == "valid"; have != want && v.Result != "acceptable" {
					t.Errorf("%s %d (%s): %v, it is %s", x.file, v.ID, v.Comment, have, v.Result)
				}
			}
		}
	}
	if judged < 2000 {
		t.Errorf("only %d signatures were judged", judged)
	}
}

// otherwise are the tokens of the corpus that are judged otherwise than it says, each with the reason.
var otherwise = map[string]string{
	"invalidBase64Padding":              "has no padding, and a right signature",
	"invalidBase64PaddingInPayload":     "is the same token once more",
	"InvalidCharacterInsertedInHeader":  "has a question mark in its base64url, and is called valid",
	"InvalidCharacterInsertedInPayload": "has one, too",
	"emptyPayload":                      "has no claims, and could open nothing",
	"Figure20":                          "is PS384, its key says PS256: the algorithm is the key's",
	"Figure27":                          "has a key whose alg is ES521, which RFC 7518 does not know",
}

func TestWycheproofTokens(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	for _, group := range readVectors(t, filepath.Join(corpus(t), "json_web_signature_test.json")).Groups {
		text := group.Public
		if len(text) == 0 {
			text = group.Private // a shared secret
		}
		set, _, err := ParseKeySet(text)
		for _, v := range group.Tests {
			var compact string
			if json.Unmarshal(v.JWS, &compact) != nil {
				compact = string(v.JWS) // the JSON serialisation
			}
			opened := err == nil && opens(set.Keys()[0], compact)
			if opened {
				accepted++
			} else {
				refused++
			}
			if reason := otherwise[v.Comment]; (opened == (v.Result == "valid")) != (reason == "") {
				t.Errorf("%s %d (%s): opened: %v, the corpus says %s; expected otherwise: %q", group.Comment, v.ID, v.Comment,
					opened, v.Result, reason)
			}
		}
	}
	if accepted < 30 || refused < 300 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// opens reports whether a token is well formed, and signed by the key with its own algorithm.
func opens(key *PublicKey, compact string) bool {
	u, err := Parse(compact, 1<<16)
	return err == nil && u.Header.Algorithm == key.alg &&
		algorithms[key.alg].verify(key.material, bytesOf(u.signed), u.Signature)
}
