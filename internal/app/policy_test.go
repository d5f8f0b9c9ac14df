package app_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
)

const policySettings = `version: 1
issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}]
  clients:
    - {id: narrow, delegate: [{tenant: acme, actions: [READ]}]}
    - {id: web, delegate: [{tenant: "*", actions: ["*"]}]}
trusted_issuers:
  - {issuer: https://idp.test, keys: [{file: idp.json}], audiences: [api], max_token_ttl: 10s, roles: {from: groups, map: {staff: reader}}, permissions: [{tenant: acme, actions: [READ]}]}
roles: {reader: [{tenant: acme, actions: [READ, WRITE]}]}
routes:
  - {path: "/t/{tenant}/", methods: [GET], require: {tenant_from: path.tenant, action: READ}, upstream: "http://127.0.0.1:9"}
  - {path: "/t/{tenant}/", methods: [PUT], require: {tenant_from: path.tenant, action: WRITE}, upstream: "http://127.0.0.1:9"}
  - {path: /h, require: {tenant_from: header.X-Tenant, action: READ}, upstream: "http://127.0.0.1:9"}
  - {path: /me, require: authenticated, upstream: "http://127.0.0.1:9"}
  - {path: /open, public: true, upstream: "http://127.0.0.1:9"}
tests:
`

// policy judges a configuration with these tests; the answer is the faults, one on a line.
func policy(t *testing.T, tests string) string {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "gate.yaml")
	for name, text := range map[string]string{
		"gate.yaml": policySettings + tests,
		"idp.json": `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256",` +
			`"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	judge, err := app.NewJudge(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer judge.Close()
	if err = judge.Policy(); err == nil {
		return ""
	}
	var faults config.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("the error is a %T: %v", err, err)
	}
	return strings.ReplaceAll(err.Error(), file+":", "")
}

func TestPolicyTestsThatHold(t *testing.T) {
	t.Parallel()
	if faults := policy(t, `
  - {request: "GET https://app/t/acme/1", permissions: [{tenant: acme, actions: [READ]}], expect: allow}
  - {request: "GET https://app/t/acme/1", permissions: [], expect: {refuse: tenant_denied}}
  - {request: "PUT https://app/t/acme/1", permissions: [{tenant: acme, actions: [READ]}], expect: {refuse: action_denied}}
  - {request: "GET https://app/t/acme/1", expect: {refuse: token_missing}}
  - {request: "GET https://app/open?x", expect: allow}
  - {request: "GET https://app/h", headers: {x-tenant: acme}, permissions: [{tenant: "*", actions: ["*"]}], expect: allow}
  - {request: "GET https://app/h", permissions: [{tenant: "*", actions: ["*"]}], expect: {refuse: tenant_missing}}
  - {request: "POST https://app/t/acme/1", permissions: [{tenant: "*", actions: ["*"]}], expect: {refuse: method_not_allowed}}
  - {request: "BREW https://app/t/acme/1", expect: {refuse: method_unsupported}}
  - {request: "GET https://app/t/acme/%2e%2e/", permissions: [{tenant: "*", actions: ["*"]}], expect: {refuse: path_ambiguous}}
  - {request: "GET https://app/nowhere", expect: {refuse: route_not_found}}
  - {request: "GET https://app/me", claims: {}, expect: allow}
  - {request: "GET https://app/me", claims: {sub: web}, expect: {refuse: token_subject_reserved}}
  - {request: "GET https://app/me", claims: {scope: issue_codes}, expect: {refuse: token_management}}
  - {request: "GET https://app/me", claims: {exp: 1}, expect: {refuse: token_expired}}
  - {request: "GET https://app/me", claims: {exp: soon}, expect: {refuse: token_claims_malformed}}
  - {request: "GET https://app/me", claims: {aud: [x]}, expect: {refuse: token_audience_mismatch}}
  - {request: "GET https://app/me", claims: {iss: "https://evil"}, expect: {refuse: token_issuer_unknown}}
  - {request: "GET https://app/me", claims: {grantor: gone}, expect: {refuse: grantor_unknown}}
  - {request: "GET https://app/t/other/", claims: {tenantPermissions: [{tenant: other, allowedActions: [READ]}]}, expect: allow}
  - {request: "GET https://app/t/other/", claims: {grantor: narrow, tenantPermissions: [{tenant: other, allowedActions: [READ]}]}, expect: {refuse: grantor_not_covering}}
  - {request: "GET https://app/t/acme/", claims: {iss: "https://idp.test", groups: [staff]}, expect: allow}
  - {request: "PUT https://app/t/acme/", claims: {iss: "https://idp.test", groups: [staff]}, expect: {refuse: action_denied}}
`); faults != "" {
		t.Error(faults)
	}
}

func TestPolicyTestsThatFailSayWhatCame(t *testing.T) {
	t.Parallel()
	got := policy(t, `
  - {request: "GET https://app/t/acme/1", permissions: [{tenant: acme, actions: [WRITE]}], expect: allow}
  - {request: "GET https://app/t/acme/1", permissions: [{tenant: acme, actions: [READ]}], expect: {refuse: action_denied}}
  - {request: "GET https://app/nowhere", expect: refuse}
  - {request: "GET https://app/nowhere", expect: allow}
  - {request: "GET https://app/nowhere", expect: {refuse: token_expierd}}
  - {request: "POST https://app/oauth2/token", expect: refuse}
`)
	want := `19:5: tests[0]: GET https://app/t/acme/1: expected allow, got reason action_denied (entry 0 does not hold READ); mend the policy, or the test (what would have been let through: READ, or "*", among the actions of entry 0 (tenant "acme"), which decides alone)
20:5: tests[1]: GET https://app/t/acme/1: expected refuse: action_denied, got allow; mend the policy, or the test
22:5: tests[3]: GET https://app/nowhere: expected allow, got reason route_not_found; mend the policy, or the test (what would have been let through: a route whose hosts and path cover this request)
23:50: tests[4].expect: expects the reason "token_expierd", which nothing is refused for; choose one of those in docs/troubleshooting.md
24:5: tests[5]: asks for one of the issuer's own endpoints, which no route decides; test the paths of routes alone`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

const (
	failing = "tests: [{request: \"GET http://app/t/acme/\", permissions: [], expect: allow}]\n"
	holding = "tests: [{request: \"GET http://app/t/acme/\", permissions: [], expect: refuse}]\n"
)

func TestFailingPolicyDoesNotStart(t *testing.T) {
	t.Parallel()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	g.write("routes:", failing+"routes:")
	c, err := keyfile.Load(g.file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(g.log, "info", true)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := app.New(app.Options{Config: c, ConfigPath: g.file, Log: log})
	var faults config.Faults
	if s != nil || !errors.As(err, &faults) || faults[0].Path != "tests[0]" {
		t.Errorf("started with %v", err)
	}
}

func TestFailingPolicyKeepsTheConfigurationInForce(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:", holding+"routes:")
	before := g.Config()
	g.write("routes:", failing+"routes:", "{path: /open/", "{path: /opened/")
	var faults config.Faults
	if err := g.Reload(); !errors.As(err, &faults) {
		t.Fatalf("reload: %v", err)
	}
	if g.Config() != before {
		t.Error("the configuration was replaced")
	}
	if status, _, _ := g.get("/open/"); status != 200 {
		t.Errorf("/open/ answers %d", status)
	}
	g.eventually("reload refused")
	g.write("routes:", holding+"routes:", "{path: /open/", "{path: /opened/")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := g.get("/opened/"); status != 200 {
		t.Errorf("/opened/ answers %d after the good reload", status)
	}
}

// A config is checked without a word to anybody: an issuer's keys are not fetched, and its claims can be tested all the
// same.
func TestPolicyIsJudgedWithoutTheNetwork(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	idp := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer idp.Close()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	text := `version: 1
trusted_issuers: [{issuer: "` + idp.URL + `", insecure_http: true, audiences: [api], permissions: [{tenant: acme, actions: [READ]}]}]
routes: [{path: /a, require: {tenant: acme, action: READ}, upstream: "http://127.0.0.1:9"}]
tests: [{request: "GET http://app/a", claims: {tenantPermissions: [{tenant: acme, allowedActions: [READ]}]}, expect: allow}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	judge, err := app.NewJudge(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(judge.Policy(), judge.Close()); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// The admin listener explains by the snapshot in force, for the operator alone.
func TestExplainOnAdmin(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	token := g.token("acme")
	ask := func(bearer, body string) (int, string) {
		r, err := http.NewRequest(http.MethodPost, "http://"+g.AdminAddr().String()+"/explain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var b bytes.Buffer
		if _, err := io.Copy(&b, answer.Body); err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, b.String()
	}
	const operator = "an-admin-token-of-the-test"
	for _, c := range []struct {
		name, bearer, body string
		status             int
		says               string
	}{
		{"allowed", operator, `{"request":"GET http://gate/t/acme/","token":"` + token + `"}`, 200, `"allowed": true`},
		{
			"refused", operator, `{"request":"GET http://gate/t/other/","token":"` + token + `"}`, 200,
			`"reason": "tenant_denied"`,
		},
		{
			"no token", operator, `{"request":"GET http://gate/t/other/","headers":{"accept":"x"}}`, 200,
			`"reason": "token_missing"`,
		},
		{"a token alone", operator, `{"token":"` + token + `"}`, 200, `"opens": [`},
		{"ours", operator, `{"request":"POST http://gate/oauth2/token"}`, 200, `"own_endpoint": true`},
		{"nothing", operator, `{}`, 400, "neither request nor token is there"},
		{"no request", operator, `{"request":"GET /x"}`, 400, "is not a request"},
		{"an unknown member", operator, `{"request":"GET http://x/","bearer":"x"}`, 400, "bearer"},
		{"a stranger", "somebody", `{"token":"x"}`, 401, "Unauthorized"},
	} {
		status, body := ask(c.bearer, c.body)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d with %s", c.name, status, body, c.status, c.says)
		}
		for _, part := range strings.Split(token, ".") {
			if strings.Contains(body, part) {
				t.Errorf("%s: the answer shows the token", c.name)
			}
		}
	}
	if g.app.seen.Load() != 0 {
		t.Errorf("the app saw %d requests", g.app.seen.Load())
	}
}
