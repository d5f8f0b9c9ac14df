package config

import (
	"strings"
	"testing"
)

// TestRedacted: what a page shows of the file has no secret, wherever one can stand.
func TestRedacted(t *testing.T) {
	t.Parallel()
	text := `# a comment may hold SECRET-0
version: 1
admin: {token: SECRET-1-of-the-operator} # SECRET-2
redis: {url: "rediss://user:SECRET-3@127.0.0.1:6379/0"}
issuer:
  url: https://gate.example.com
  keys: [{file: keys/main.pem}]
  code_secrets: ["SECRET-4-of-the-codes", "${file:/run/secrets/code}"]
  clients:
    - {id: a, secret: SECRET-5-of-a-client, access_token_id: "${env:FIXED:-SECRET-6}"}
    - {id: b, secret: "${env:B_SECRET}", secret_sha256: SECRET-7}
trusted_issuers:
  - issuer: https://kc.example.com
    fetch: {bearer: SECRET-8, headers: {X-Custom: SECRET-9}}
tracing: {endpoint: "https://otel.example.com", headers: {Authorization: Basic SECRET-10}}
upstreams: {app: {servers: ["http://user:SECRET-11@127.0.0.1:3000"]}}
routes:
  - {path: /x/, upstream: app, public: true, headers: {request: {set: {Authorization: SECRET-12, X-Api-Key: SECRET-13}}}}
tests:
  - {request: GET https://x/, headers: {authorization: Bearer SECRET-14, Cookie: "a=SECRET-15"}, expect: allow}
`
	c := &Config{Text: Secret(text)}
	got, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "SECRET-") {
		t.Errorf("a secret is shown:\n%s", got)
	}
	for _, want := range []string{
		"url: https://gate.example.com", "file: keys/main.pem", "${file:/run/secrets/code}", "${env:B_SECRET}", "id: a",
		"path: /x/", "[redacted]", "https://otel.example.com",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if got, err := new(Config).Redacted(); got != "" || err != nil {
		t.Errorf("of no file: %q, %v", got, err)
	}
}
