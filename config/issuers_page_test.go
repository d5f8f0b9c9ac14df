package config_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

const issuersPage = "../docs/issuers.md"

// recipes are the entries that the page shows, by the preset that they have; head is the rest of the file.
func recipes(t *testing.T) (head string, all map[string]string) {
	t.Helper()
	page, err := os.ReadFile(issuersPage)
	if err != nil {
		t.Fatal(err)
	}
	all = map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		block := m[1]
		if strings.HasPrefix(block, "version: 1") {
			head = block
			continue
		}
		name := regexp.MustCompile(`preset: (\w+)`).FindStringSubmatch(block)
		if name == nil {
			t.Fatalf("a recipe without a preset:\n%s", block)
		}
		all[name[1]] = block
	}
	return head, all
}

// TestIssuersPage: the table and the remarks are the presets', and each preset has a recipe that loads without a
// warning.
func TestIssuersPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(issuersPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- presets: go test ./config -run TestIssuersPage -update -->\n", "<!-- end of presets -->"
	before, rest, found := strings.Cut(string(page), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatal("the page has no place for the table")
	}
	var table strings.Builder
	table.WriteString("\n| preset | token_types | kinds | client_claim | tenants.from | roles.from | actions.from " +
		"| further | the vendor's document |\n")
	table.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range config.Presets() {
		var further []string
		if len(p.AudienceClaims) > 0 {
			further = append(further, "audience_claims: ["+strings.Join(p.AudienceClaims, ", ")+"]")
		}
		if p.RolesPerTenant {
			further = append(further, "roles: keys: true, tenants: keys")
		}
		if p.MaxTokenTTL > 0 {
			further = append(further, fmt.Sprintf("max_token_ttl: %gh", p.MaxTokenTTL.Hours()))
		}
		if p.JWKSPath != "" {
			further = append(further, "jwks_url: ISSUER"+p.JWKSPath)
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %s | %s | %s | [source](%s) |\n", p.Name,
			strings.Join(p.TokenTypes, ", "),
			strings.Join(p.Kinds, ", "), p.ClientClaim, p.Tenants, p.Roles, p.Actions, strings.Join(further, "; "),
			p.Source)
		if !strings.HasPrefix(p.Source, "https://") {
			t.Errorf("%s: no source of its facts", p.Name)
		}
	}
	table.WriteString("\n")
	want := before + begin + table.String() + end + after
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(issuersPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("the table is not the presets'; go test ./config -run TestIssuersPage -update writes it:\n%s", diff)
	}
	head, all := recipes(t)
	prose := strings.Join(strings.Fields(string(page)), " ")
	for _, p := range config.Presets() {
		if !strings.Contains(prose, strings.Join(strings.Fields(p.Odd), " ")) {
			t.Errorf("%s: the page does not say: %s", p.Name, p.Odd)
		}
		if all[p.Name] == "" {
			t.Errorf("%s has no recipe", p.Name)
			continue
		}
		if c := load(t, head+all[p.Name]); len(c.Warnings) > 0 {
			t.Errorf("%s: %v", p.Name, c.Warnings)
		}
		delete(all, p.Name)
	}
	for name := range all {
		t.Errorf("a recipe for %s, which is no preset", name)
	}
}

// load reads a file whose own files all hold the same: a certificate authority, or a token.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func parse(text string) (*config.Config, error) {
	return config.Parse("gate.yaml", []byte(text), config.Options{
		Env: func(string) (string, bool) { return "", false },
		ReadFile: func(path string) ([]byte, error) {
			switch {
			case strings.HasSuffix(path, ".crt"), strings.HasSuffix(path, "/token"):
				return []byte(files[path[strings.LastIndexByte(path, '/')+1:]]), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	})
}

var files = map[string]string{
	"token": "eyJ.projected.token",
	"ca.crt": `-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIUN7w/BzpdMNsKehKMIdpMT95XSQUwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMjAxMDIyMDQyWhgPMjEyNjExMDcwMjIwNDJa
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwB1CW3cB
aH0gHqlKMWKLwSkjp+aKVEU4PD+fyMwuHgfz8ul6y8j+AyZT22dIMJXEvupaCFQN
rjdEjMLuf8k1u6NTMFEwHQYDVR0OBBYEFJMvrPEVnUT8MxiVEfr/QRFVG0CwMB8G
A1UdIwQYMBaAFJMvrPEVnUT8MxiVEfr/QRFVG0CwMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIhALmMt8foVzBEwDZLtMhe0KVfTAUoaDC+d38szjAu
oeMcAiBW9TgvtCw437S/j1jy+fYI0+PkrCHsajtETbJvUxByiQ==
-----END CERTIFICATE-----
`,
}

// A vendorKey signs as a vendor does, and is published as the vendor publishes it.
type vendorKey struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

var theKey = func() vendorKey {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return vendorKey{r, e}
}()

var encode = base64.RawURLEncoding.EncodeToString

// fill puts the key's members into a template of a key set: N, E, X and Y in capitals.
func (k vendorKey) fill(jwks string) string {
	point, err := k.ec.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer("$N", encode(k.rsa.N.Bytes()), "$X", encode(point[1:33]), "$Y",
		encode(point[33:])).Replace(jwks)
}

// sign makes a token; the header says RS256 or ES256.
func (k vendorKey) sign(t testing.TB, header string, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := encode([]byte(header)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	if strings.Contains(header, "ES256") {
		r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	} else if signature, err = rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, digest[:]); err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// A published key set is a source of keys, as the gate has when it has fetched it.
type published struct{ set *jose.KeySet }

func (p published) Keys() *jose.KeySet                { return p.set }
func (p published) Seek(string) (*jose.KeySet, error) { return p.set, nil }

var now = time.Unix(1_800_000_000, 0)

// opens says what a token opens under a configuration whose issuers publish this key set: "refused: REASON", or its
// permissions, one entry after the other.
func opens(t testing.TB, c *config.Config, jwks, bearer string) string {
	t.Helper()
	set, _, err := jose.ParseRemoteKeySet([]byte(theKey.fill(jwks)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := keysets.VerifierWith(c, func(*config.TrustedIssuer) keysets.KeySource { return published{set} })
	if err != nil {
		t.Fatal(err)
	}
	x, err := v.Verify(bearer, now, nil)
	if err != nil {
		return "refused: " + string(refusal.Of(err))
	}
	for _, issuer := range c.TrustedIssuers {
		if issuer.Issuer != x.Claims.Issuer {
			continue
		}
		meant := false
		for _, a := range x.Claims.Audience {
			for _, ours := range issuer.Audiences {
				meant = meant || a == ours
			}
		}
		if !meant {
			return "refused: " + string(refusal.TokenAudienceMismatch)
		}
		permissions, err := issuer.Opens(x)
		if err != nil {
			return "refused: " + err.Error()
		}
		return spell(permissions)
	}
	return "refused: of no issuer"
}

func spell(p token.Permissions) string {
	var all []string
	for _, e := range p {
		if len(e.AllowedActions) > 0 {
			all = append(all, token.Shown(e.Tenant)+":"+strings.Join(e.AllowedActions, ","))
		}
	}
	return strings.Join(all, " ")
}

func pemOf(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&theKey.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// saidBy reads claims as those of a token of the first issuer; nil if they are none.
func saidBy(t testing.TB, c *config.Config, claims string) *jose.Verified {
	t.Helper()
	rest, isObject := strings.CutPrefix(strings.TrimSpace(claims), "{")
	if !isObject {
		return nil
	}
	if strings.TrimSpace(rest) != "}" {
		rest = "," + rest
	}
	v, err := keysets.Verifier(c)
	if err != nil {
		t.Fatal(err)
	}
	x, err := v.Said(fmt.Sprintf(`{"iss":%q,"aud":"shop","exp":4102444800%s`, c.TrustedIssuers[0].Issuer, rest))
	if err != nil {
		return nil
	}
	return x
}
