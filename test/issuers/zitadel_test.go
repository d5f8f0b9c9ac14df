package issuers_test

import (
	"bufio"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// zitadelProgram builds the provider, which is a client as well.
func zitadelProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "provider")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = "zitadel" // a module of its own
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// startZitadel runs the provider until the test ends.
func startZitadel(t *testing.T) string {
	t.Helper()
	line, err := bufio.NewReader(start(t, ".", zitadelProgram(t))).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider does not start: %v", err)
	}
	return strings.TrimSpace(line)
}

// TestZitadelProvider: tokens of the Go provider of zitadel/oidc, which a user's login ends with. Access tokens and
// id_tokens have the same typ, the same aud and the same key there.
func TestZitadelProvider(t *testing.T) {
	t.Parallel()
	provider := startZitadel(t)
	entry := `issuer: "` + provider +
		`", algorithms: [RS256], token_types: [JWT], roles: {from: realm.roles, map: {auditor: reader}}, permissions: ` +
		`[{tenant: acme, actions: ["*"]}]`
	g := startGate(t, entry, "shop")
	access, id := login(t, provider)
	g.want("its access token", "acme", access, "200 id1 from shop")
	g.want("the same from the cache", "acme", access, "200 id1 from shop")
	g.want("another tenant", "other", access, "403")
	g.want("its id_token", "acme", id, "401")
	strict := startGate(t, strings.Replace(entry, "token_types: [JWT], ", "", 1), "shop")
	strict.want("where only at+jwt is trusted", "acme", access, "401")
	strict.want("its id_token there", "acme", id, "401")
	elsewhere := startGate(t, entry)
	elsewhere.want("where its audience is another", "acme", access, "401")

	own := startGate(t, `issuer: "`+provider+`", preset: zitadel, algorithms: [RS256], roles: {map: {auditor: reader}}, `+
		`permissions: [{tenant: "*", actions: ["*"]}]`, "shop")
	own.want("a role that its organization granted", "acme", access, "200 id1 from shop")
	own.want("another organization", "other", access, "403")
	own.want("its id_token, by the preset", "acme", id, "401")
	moved := startGate(t, `issuer: "`+provider+`", preset: zitadel, algorithms: [RS256], tenants: {map: {acme: other}}, `+
		`roles: {map: {auditor: reader}}, permissions: [{tenant: "*", actions: ["*"]}]`, "shop")
	moved.want("an organization that is another tenant here", "acme", access, "403")

	all := mutants(t, access, publishedKey(t, provider))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		g.want("mutant: "+name, "acme", all[name], "401")
	}
	g.want("its access token, after all that", "acme", access, "200 id1 from shop")
}

// login goes the way of a user's browser, and then asks for the tokens as his client does.
func login(t *testing.T, provider string) (access, id string) {
	t.Helper()
	const redirect = "http://127.0.0.1/callback"
	next := provider + "/authorize?" + url.Values{
		"client_id": {"shop"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid profile"},
		"state": {"s"},
	}.Encode()
	for range 5 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, next, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		to, err := a.Location()
		if err != nil {
			t.Fatalf("%s: %d, %v", next, a.StatusCode, err)
		}
		if next = to.String(); strings.HasPrefix(next, redirect) {
			break
		}
	}
	back, err := url.Parse(next)
	if err != nil || back.Query().Get("code") == "" {
		t.Fatalf("no code in %s: %v", next, err)
	}
	status, body := ask(t, provider+"/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect},
		"client_id": {"shop"}, "client_secret": {"a-secret-of-this-test-alone"},
	})
	var answer struct {
		Access string `json:"access_token"`
		ID     string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || strings.Count(answer.Access, ".") != 2 ||
		answer.ID == "" {
		t.Fatalf("no tokens: %d %s", status, body)
	}
	return answer.Access, answer.ID
}

// publishedKey is the provider's RSA key.
func publishedKey(t *testing.T, provider string) *rsa.PublicKey {
	t.Helper()
	status, body := ask(t, provider+"/keys", nil)
	var set struct{ Keys []struct{ N, E string } }
	if err := json.Unmarshal([]byte(body), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("keys: %d %s", status, body)
	}
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	return &rsa.PublicKey{N: number(set.Keys[0].N), E: int(number(set.Keys[0].E).Int64())}
}

// mutants are what somebody makes of a good token who has no key of its issuer.
func mutants(t *testing.T, good string, published *rsa.PublicKey) map[string]string {
	t.Helper()
	segments := strings.Split(good, ".")
	decoded := func(i int) string {
		b, err := base64.RawURLEncoding.DecodeString(segments[i])
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	header, payload := decoded(0), decoded(1)
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(header, payload string) string {
		text := encode(header) + "." + encode(payload)
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, own, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + encode(string(signature))
	}
	replaced := func(s, old, fresh string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("no %s in %s", old, s)
		}
		return strings.Replace(s, old, fresh, 1)
	}
	symmetric := func(secret []byte) string {
		text := encode(replaced(header, "RS256", "HS256")) + "." + segments[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + encode(string(mac.Sum(nil)))
	}
	jwk := fmt.Sprintf(`{"alg":"RS256","typ":"JWT","jwk":{"kty":"RSA","n":%q,"e":"AQAB"}}`, encode(string(own.N.Bytes())))
	wider := replaced(payload, `"auditor"`, `"auditor","admin"`)
	return map[string]string{
		"a letter of the header":    flip(segments[0]) + "." + segments[1] + "." + segments[2],
		"a letter of the payload":   segments[0] + "." + flip(segments[1]) + "." + segments[2],
		"a letter of the signature": segments[0] + "." + segments[1] + "." + flip(segments[2]),
		"no signature":              segments[0] + "." + segments[1] + ".",
		"two segments":              segments[0] + "." + segments[1],
		"four segments":             good + ".x",
		"padded":                    good + "==",
		"alg none":                  encode(replaced(header, "RS256", "none")) + "." + segments[1] + ".",
		"alg None with the signature": encode(replaced(header, "RS256", "None")) + "." + segments[1] + "." +
			segments[2],
		"HS256 by the public modulus": symmetric(published.N.Bytes()),
		"HS256 by nothing":            symmetric(nil),
		"alg PS256": encode(replaced(header, "RS256", "PS256")) + "." + segments[1] + "." +
			segments[2],
		"another's signature, the same kid": signed(header, payload),
		"a key in the header":               signed(jwk, payload),
		"an address of keys in the header":  signed(replaced(header, `{`, `{"jku":"http://127.0.0.1:1/keys",`), payload),
		"wider claims":                      segments[0] + "." + encode(wider) + "." + segments[2],
		"wider claims, another's signature": signed(header, wider),
		"a claim twice": segments[0] + "." + encode(replaced(payload, `{`, `{"sub":"root",`)) + "." +
			segments[2],
		"another issuer": signed(header,
			replaced(payload, `"iss":"http://127.0.0.1`, `"iss":"http://127.0.0.2`)),
	}
}
