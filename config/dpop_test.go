package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDPoPMeansWhatItSays: what is written, what is not, and the nonces of replicas that share their codes.
func TestDPoPMeansWhatItSays(t *testing.T) {
	t.Parallel()
	const issuer = `version: 1
issuer:
  url: https://gate.example.com
  keys: [{file: main.pem, create: true}]
  code_secrets: [0123456789abcdef0123456789abcdef]
  clients: [{id: web, dpop: required, may: [issue_user_tokens]}, {id: shop}]
`
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse("/etc/jotgate/dpop.yaml", []byte(text), Options{Env: noEnvironment, ReadFile: laidOut})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	derived := parse(issuer)
	want := DPoP{
		MaxAge: time.Minute, NonceTTL: 5 * time.Minute, NonceSecrets: derived.Issuer.CodeSecrets,
		Capacity: 262144,
	}
	if diff := cmp.Diff(want, derived.DPoP); diff != "" || len(want.NonceSecrets) != 1 {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if c := derived.Issuer.Clients; !c[0].Bound || c[1].Bound {
		t.Errorf("clients that must bind: %t %t", c[0].Bound, c[1].Bound)
	}
	if w := derived.Warnings; len(w) != 1 ||
		!strings.Contains(w[0].String(), "issuer.clients[0].dpop: conflicts with issue_user_tokens") {
		t.Errorf("warnings %v", w)
	}
	whole := parse(issuer + `dpop:
  max_age: 10s
  require_nonce: true
  nonce_ttl: 30s
  nonce_secrets: [fedcba9876543210fedcba9876543210]
  origins: ["https://api.example.com", "http://127.0.0.1:8080"]
  capacity: 2048
`)
	want = DPoP{
		Given: true, MaxAge: 10 * time.Second, RequireNonce: true, NonceTTL: 30 * time.Second,
		NonceSecrets: []Secret{"fedcba9876543210fedcba9876543210"},
		Origins:      []string{"https://api.example.com", "http://127.0.0.1:8080"}, Capacity: 2048,
	}
	if diff := cmp.Diff(want, whole.DPoP); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if c := parse("version: 1\nroutes: [{path: /, public: true, upstream: " +
		"\"http://127.0.0.1:3000\"}]\n"); c.DPoP.MaxAge != time.Minute || c.DPoP.NonceSecrets != nil {
		t.Errorf("without an issuer: %+v", c.DPoP)
	}
}
